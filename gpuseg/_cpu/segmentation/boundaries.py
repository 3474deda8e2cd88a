"""Boundaries by scikit-image, or by cuCIM where the array is CuPy's."""

from __future__ import annotations

import numpy as np

from ..._backend import asnumpy, skimage
from ..regions import compact, is_label


def find_boundaries(label_img, *, background, **options):
    label_img, background = counted_exactly(label_img, background)
    peer = skimage(label_img, "segmentation").find_boundaries
    return peer(label_img, background=background, **options)


def mark_boundaries(image, *, label_img, background_label, **options):
    label_img, background = counted_exactly(label_img, background_label)
    peer = skimage(image, "segmentation").mark_boundaries
    return peer(image, label_img, background_label=background, **options)


def counted_exactly(labels, background: int):
    """Labels of a type whose greatest number float64 holds, and none has: what filters compute in,
    and take for a place that is no region's."""
    kind = labels.dtype
    if kind.kind == "b":
        return labels, background
    most, last = int(labels.max()), np.iinfo(np.int32)
    if kind.itemsize < 8 and most < np.iinfo(kind).max:
        return labels, background
    least = int(labels.min())
    if last.min <= min(least, background) and max(most, background) < last.max:
        return labels.astype(np.int32), background
    flat, values = compact(labels)
    among = np.flatnonzero(asnumpy(is_label(values, background)))
    return flat.reshape(labels.shape).astype(np.int32), int(among[0]) if among.size else -1
