"""Labels by the kernel, measures by scikit-image."""

import math

import numpy as np
from scipy import ndimage as ndi

from .._backend import array_namespace, skimage
from ..kernels.label import label_cpu


def label(label_image, *, background, connectivity):
    values, background = with_background(label_image, background)
    values = np.ascontiguousarray(values)
    values = values.view(np.uint8) if values.dtype == bool else values
    return label_cpu(values, background, values.shape, connectivity)


def with_background(image, background):
    """An image, and its background in its type: a value that no voxel has where none can be equal.

    Or a mask of what is not background, and None.
    """
    xp, kind = array_namespace(image), image.dtype.kind
    if kind == "b":
        if background in (0, 1):
            return (~image if background else image), None
        image = image.view(xp.uint8)
    elif kind == "f":
        with np.errstate(over="ignore"):
            own = image.dtype.type(float(background))
        if image.dtype.itemsize == 2:
            image, own = image.astype(xp.float32), np.float32(own)
        # A float64 stands for the value next to it in the image's type, as in NumPy.
        equal = isinstance(background, float) or float(own) == background
        if equal and np.isinf(own) == (abs(background) == math.inf):
            return image, own
        return image, _absent(image, -np.inf, np.inf)
    info = np.iinfo(image.dtype)
    if background == background // 1 and info.min <= background <= info.max:
        return image, image.dtype.type(int(background))
    if image.dtype.itemsize < 4:
        return image.astype(xp.int32), np.int32(-(2**31))
    return image, _absent(image, info.min, info.max)


def _absent(image, low, high):
    """A value that no voxel has."""
    xp, of = array_namespace(image), image.dtype.type
    if of(image.max()) < of(high):
        return of(high)
    if of(image.min()) > of(low):
        return of(low)
    values = xp.unique(image)
    after = xp.nextafter(values, of(high)) if image.dtype.kind == "f" else values + of(1)
    return of(after[:-1][after[:-1] != values[1:]][0])


def regionprops_table(
    label_image, intensity_image, properties, *, cache, separator, extra_properties, spacing
):
    from .properties import Region, numbered, table_of

    options = {"extra_properties": extra_properties, "spacing": spacing}
    labels, numbers = numbered(label_image)
    objects = ndi.find_objects(labels)
    found = any(place is not None for place in objects)
    if not found:
        # One region tells the columns, and their types.
        labels, numbers = np.ones((1,) * label_image.ndim, np.uint8), None
        objects = [(slice(0, 1),) * labels.ndim]
        if intensity_image is not None:
            channels = intensity_image.shape[labels.ndim :]
            intensity_image = np.zeros((*labels.shape, *channels), intensity_image.dtype)
    regions = [
        Region(place, label, labels, intensity_image, cache, **options)
        for label, place in enumerate(objects, 1)
        if place is not None
    ]
    names = [*properties, *(function.__name__ for function in extra_properties)]
    table = table_of(regions, names, separator, numbers)
    return table if found else {name: column[:0] for name, column in table.items()}


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
