"""Growing regions: scikit-image's watershed and expansion, our own flood and labels."""

from __future__ import annotations

import math

import numpy as np

from ..._backend import array_namespace, skimage
from ..filters.hysteresis import flood_masks
from ..measure import label


def watershed(image, *, markers, connectivity, offset, mask, compactness, watershed_line):
    peer = skimage(image, "segmentation").watershed
    return peer(image, markers, connectivity, offset, mask, compactness, watershed_line)


def flood(image, seed_point, *, footprint, connectivity, tolerance):
    if footprint is None:
        return flooded(image, seed_point, connectivity, tolerance, flood_masks)
    # What belongs to it is decided here, for the peer's limits are rounded to the image's type.
    there = alike(image, image[seed_point], tolerance)
    found = skimage(image, "segmentation").flood(
        there.view(np.uint8), seed_point, footprint=footprint
    )
    return found & there


def flooded(image, seed_point, connectivity, tolerance, flood):
    there = alike(image, image[seed_point], tolerance)
    seeds = array_namespace(image).zeros(image.shape, bool)
    seeds[seed_point] = True
    return flood(seeds & there, there, connectivity=connectivity, packed=False)


def alike(image, value, tolerance):
    """Where an image differs from one of its values by no more than the tolerance.

    Limits are found as whole numbers for integers, and stay within the type: no value is rounded.
    """
    if not tolerance:
        return image == value
    xp, dtype = array_namespace(image), image.dtype
    if dtype.kind == "b":
        return image == value if tolerance < 1 else xp.ones(image.shape, bool)
    if dtype.kind in "ui":
        value, tolerance, limits = int(value), math.floor(tolerance), np.iinfo(dtype)
    else:
        wide = np.promote_types(dtype, np.float64).type
        value, tolerance, limits = wide(value.item()), wide(tolerance), np.finfo(dtype)
        if not np.isfinite(value):
            return image == value
    with np.errstate(over="ignore"):
        low, high = max(limits.min, value - tolerance), min(limits.max, value + tolerance)
    return (image >= dtype.type(low)) & (image <= dtype.type(high))


def expand_labels(label_image, **options):
    return skimage(label_image, "segmentation").expand_labels(label_image, **options)


def clear_border(labels, *, buffer_size, bgval, mask):
    return cleared(labels, buffer_size, bgval, mask, label)


def cleared(labels, buffer_size, bgval, mask, label):
    xp = array_namespace(labels)
    numbers, count = label(labels, background=0, connectivity=labels.ndim)
    doomed = xp.zeros(count + 1, bool)
    if mask is not None:
        doomed[numbers[~mask]] = True
    else:
        for a in range(labels.ndim):
            for side in (slice(buffer_size + 1), slice(-buffer_size - 1, None)):
                doomed[numbers[(slice(None),) * a + (side,)]] = True
    out = labels.copy()
    doomed[0] = doomed[0] and bgval != 0
    out[doomed[numbers]] = bgval
    return out
