"""Labels by the kernel: the one number that is read back is how many there are."""

from __future__ import annotations

import numpy as np

from .._backend import Unserved, array_namespace, cuda_stream, skimage
from ..kernels import flood
from ..kernels import label as labels
from .filters.hysteresis import neighbour_table


def label(label_image, *, background, connectivity):
    xp, shape = array_namespace(label_image), label_image.shape
    values, background = _comparable(label_image, background)
    valued = label_image.dtype != bool
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
    if image.dtype == bool:
        image = ~image if background else image
        return xp.ascontiguousarray(image).reshape(-1).view(xp.uint8), None
    if image.dtype.kind in "iu":
        info = np.iinfo(image.dtype)
        if not info.min <= background <= info.max:
            # No voxel is background: a wider type has room for a value that none has.
            if image.dtype.itemsize == 8:
                raise Unserved(f"the background {background} is outside the range of {image.dtype}")
            image = image.astype(xp.int64)
            background = max(-(2**63), min(2**63 - 1, background))
        bits = np.dtype(f"u{image.dtype.itemsize}")
        background = np.array(background, image.dtype).view(bits)[()]
        return xp.ascontiguousarray(image).reshape(-1).view(bits), background
    if image.dtype == np.float16:
        image = image.astype(xp.float32)
    return xp.ascontiguousarray(image).reshape(-1), image.dtype.type(background)


def regionprops_table(label_image, intensity_image, properties, *, extra_properties, **options):
    if extra_properties is not None:
        raise Unserved("extra_properties are functions for the CPU")
    peer = skimage(label_image, "measure").regionprops_table
    table = peer(label_image, intensity_image, properties, **options)
    # cuCIM has an order and types of its own.
    parts = tuple(name + options["separator"] for name in properties)
    places = {name: properties.index(name) for name in table if name in properties}
    for name in table.keys() - places.keys():
        places[name] = parts.index(max((p for p in parts if name.startswith(p)), key=len))
    return {name: _wide(table[name]) for name in sorted(table, key=places.get)}


def _wide(column):
    kinds = {"i": np.int64, "u": np.int64, "f": np.float64}
    return column.astype(kinds.get(column.dtype.kind, column.dtype), copy=False)
