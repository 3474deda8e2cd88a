"""Labels by the kernel: the one number that is read back is how many there are."""

from __future__ import annotations

import math
import re

import numpy as np

from .._backend import Unserved, array_namespace, asnumpy, cuda_stream, skimage
from .._cpu.measure import with_background
from .._cpu.regions import compact
from ..kernels import flood
from ..kernels import label as labels
from .filters.hysteresis import neighbour_table


def label(label_image, *, background, connectivity):
    xp, shape = array_namespace(label_image), label_image.shape
    values, background = _comparable(label_image, background)
    valued = background is not None
    plan = flood.layout(shape, valued=valued)
    tables = {name: xp.empty(*table) for name, table in flood.tables(plan, np.int32).items()}
    tables["joins"] = xp.empty_like(tables["mask"]) if valued else None
    tables["counts"] = xp.empty(plan.pieces, xp.int64)
    near = neighbour_table(label_image, connectivity)
    stream = cuda_stream(label_image)
    labels.join_cuda(values, background, plan, connectivity, near=near, **tables, stream=stream)
    ends = xp.cumsum(tables["counts"])
    out = xp.empty(shape, xp.int32 if label_image.size < 2**31 else xp.int64)
    labels.paint_cuda(plan, **tables, ends=ends, out=out.reshape(-1), stream=stream)
    return out, int(ends[-1])


def _comparable(image, background):
    """Flat values for which equality is all that counts, and the background among them."""
    xp = array_namespace(image)
    values, background = with_background(image, background)
    values = xp.ascontiguousarray(values).reshape(-1)
    if values.dtype.kind in "bi":
        bits = np.dtype(f"u{values.itemsize}")
        values = values.view(bits)
        background = None if background is None else background.view(bits)
    return values, background


# What cuCIM measures as scikit-image does; of the rest it has not all, or other columns, or other
# answers: of a region of one pixel, of equal axes, of large intensities with little spread.
_SERVED = {
    "area", "area_bbox", "bbox", "centroid", "centroid_local", "equivalent_diameter_area", "extent",
    "inertia_tensor", "inertia_tensor_eigvals", "label", "num_pixels",
}  # fmt: skip
_SERVED_OF_INTENSITIES = {"intensity_max", "intensity_mean", "intensity_min"}
_SERVED_IN_2D = {"axis_major_length", "axis_minor_length"}


def regionprops_table(
    label_image, intensity_image, properties, *, cache, separator, extra_properties, spacing
):
    if extra_properties:
        raise Unserved("extra_properties are functions for the CPU")
    if spacing is not None and set(spacing) != {1.0}:
        raise Unserved("cuCIM leaves the spacing out of most properties")
    from .._cpu.properties import DTYPES, PROPS

    names = [PROPS.get(name, name) for name in properties]
    _check_served(set(names), label_image, intensity_image)
    # Without gaps: cuCIM has a row for every number up to the largest.
    flat, numbers = compact(label_image.clip(0) if label_image.dtype.kind == "i" else label_image)
    numbers = asnumpy(numbers).tolist()
    if numbers[0]:
        flat, numbers = flat + 1, [0, *numbers]
    if len(numbers) == 1:
        raise Unserved("there is no region")
    peer = skimage(label_image, "measure").regionprops_table
    table = peer(flat.reshape(label_image.shape), intensity_image, tuple(dict.fromkeys(names)))
    columns = {}
    for given, name in zip(properties, names):
        dtype = np.dtype(DTYPES[name])
        for column, values in table.items():
            # cuCIM has an order and types of its own.
            if re.fullmatch(name + r"(-\d+)*", column):
                place = column[len(name) :].replace("-", separator)
                columns[given + place] = values.astype(dtype, copy=False)
    xp = array_namespace(label_image)
    kind = np.uint64 if numbers[-1] >= 2**63 else np.int64
    own = {"label": xp.asarray(np.array(numbers[1:], kind))}
    return columns | {given: own[name] for given, name in zip(properties, names) if name in own}


def _check_served(names, labels, image) -> None:
    """Leave to the CPU what cuCIM has not, or answers otherwise."""
    served = _SERVED | _SERVED_OF_INTENSITIES
    if labels.ndim == 2:
        served |= _SERVED_IN_2D
    if names - served:
        raise Unserved(f"cuCIM does not measure {min(names - served)!r} as scikit-image does")
    if image is None or not names & _SERVED_OF_INTENSITIES:
        return
    if image.ndim > labels.ndim and image.shape[-1] == 1:
        raise Unserved("cuCIM has no column for a channel alone")
    if image.dtype.kind == "f" and not all(math.isfinite(v) for v in (image.min(), image.max())):
        raise Unserved("cuCIM passes over NaN")
