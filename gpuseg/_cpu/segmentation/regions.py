"""Growing regions: scikit-image's watershed and expansion, our own flood and labels."""

from __future__ import annotations

import numpy as np

from ..._backend import array_namespace, skimage
from ..filters.hysteresis import flood_masks
from ..measure import label


def watershed(image, *, markers, connectivity, offset, mask, compactness, watershed_line):
    peer = skimage(image, "segmentation").watershed
    return peer(image, markers, connectivity, offset, mask, compactness, watershed_line)


def flood(image, seed_point, *, footprint, connectivity, tolerance):
    if footprint is not None:
        image = image.astype(np.float32) if image.dtype == np.float16 else image
        options = {"footprint": footprint, "tolerance": tolerance}
        return skimage(image, "segmentation").flood(image, seed_point, **options)
    return flooded(image, seed_point, connectivity, tolerance, flood_masks)


def flooded(image, seed_point, connectivity, tolerance, flood):
    there = alike(image, image[seed_point], tolerance)
    seeds = array_namespace(image).zeros(image.shape, bool)
    seeds[seed_point] = True
    return flood(seeds & there, there, connectivity=connectivity, packed=False)


def alike(image, value, tolerance):
    """Where an image differs from a value by no more than the tolerance."""
    if tolerance is None or image.dtype == bool:
        return image == value
    if image.dtype.kind in "ui":
        limits = np.iinfo(image.dtype)
        low, high = max(limits.min, int(value) - tolerance), min(limits.max, int(value) + tolerance)
        return (image >= low) & (image <= high)
    return (image >= float(value) - tolerance) & (image <= float(value) + tolerance)


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
