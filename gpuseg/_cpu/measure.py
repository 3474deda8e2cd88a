"""Labels by the kernel, measures by scikit-image."""

import numpy as np

from .._backend import skimage
from ..kernels.label import label_cpu


def label(label_image, *, background, connectivity):
    if label_image.dtype == np.float16:
        label_image = label_image.astype(np.float32)
    if label_image.dtype != bool:
        # A value that the dtype cannot hold is no voxel's.
        common = np.result_type(label_image.dtype, np.min_scalar_type(background))
        if label_image.dtype.kind in "iu" and common != label_image.dtype:
            label_image = label_image.astype(common)
        values = np.ascontiguousarray(label_image)
        return label_cpu(values, values.dtype.type(background), values.shape, connectivity)
    mask = np.ascontiguousarray(label_image != bool(background))
    return label_cpu(mask.view(np.uint8), None, mask.shape, connectivity)


def regionprops_table(label_image, intensity_image, properties, **options):
    peer = skimage(label_image, "measure").regionprops_table
    return peer(label_image, intensity_image, properties, **options)


def find_contours(image, level, *args, **options):
    # Not bool, which has no differences.
    image = image.astype(np.uint8) if image.dtype == bool else image
    if level is None:
        level = _midway(image)
    return skimage(image, "measure").find_contours(image, level, *args, **options)


def _midway(image) -> float:
    """Halfway between the extremes, whose sum the type of the image need not hold."""
    if image.dtype.kind != "f":
        return (int(image.min()) + int(image.max())) / 2
    least, most = np.fmin.reduce(image, axis=None), np.fmax.reduce(image, axis=None)
    with np.errstate(over="ignore"):
        level = (least + most) / 2
    if np.isinf(level) and np.isfinite([least, most]).all():
        level = np.float64(least) / 2 + np.float64(most) / 2
    if not np.isfinite(level):
        raise ValueError("level must be given for an image of NaN alone, or with infinities")
    return float(level)


def marching_cubes(volume, level, *, mask, step_size, **options):
    if level is None:
        level = _midway(volume)
    if mask is not None:
        # The peer takes a cube for the mask at its last corner; it is inside where all corners are.
        mask = mask.copy()
        for axis in range(3):
            first, last = ((slice(None),) * axis + (part,) for part in
                           (slice(None, -step_size), slice(step_size, None)))  # fmt: skip
            mask[last] = mask[last] & mask[first]
    scale = 1.0
    if volume.dtype.kind == "f" and max(-volume.min(), volume.max()) > np.finfo(np.float32).max:
        # It computes in float32, which has no room for such values.
        scale = float(np.exp2(np.frexp(np.abs(volume).max())[1] - 1))
        volume, level = volume / scale, level / scale
    own = np.float32(level)
    data = volume.astype(np.float32)
    shift = 0.0
    if (data == own).any():
        # The peer leaves holes beside values that are the level: they count as just below it.
        shift = level
        if volume.dtype.kind == "f":
            data = volume - volume.dtype.type(level)
        else:
            data = volume.astype(np.float64) - level
        tiny = float(np.abs(data).max()) * 1e-6 or 1.0
        data = np.where(data == 0, -tiny, data).astype(np.float32)
        level = 0.0
        if not data.max() > 0:
            raise ValueError(f"level must be below the volume's greatest value, got {shift}")
    try:
        verts, faces, normals, values = skimage(volume, "measure").marching_cubes(
            data, level, mask=mask, step_size=step_size, **options
        )
    except RuntimeError:
        raise ValueError("level is crossed nowhere in the volume, or in its mask") from None
    if shift or scale != 1:
        with np.errstate(over="ignore"):
            values = ((values + np.float64(shift)) * scale).astype(np.float32)
    return verts, faces, normals, values
