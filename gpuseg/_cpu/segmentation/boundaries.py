"""Boundaries by scikit-image, or by cuCIM where the array is CuPy's."""

from __future__ import annotations

import numpy as np

from ..._backend import array_namespace, skimage


def find_boundaries(label_img, *, background, **options):
    label_img, background = counted_exactly(label_img, background)
    peer = skimage(label_img, "segmentation").find_boundaries
    return peer(label_img, background=background, **options)


def mark_boundaries(image, *, label_img, background_label, **options):
    label_img, background = counted_exactly(label_img, background_label)
    peer = skimage(image, "segmentation").mark_boundaries
    return peer(image, label_img, background_label=background, **options)


def counted_exactly(labels, background: int):
    """Labels of a type whose greatest number float64 holds: what filters compute in."""
    if labels.dtype.itemsize < 8 or not labels.size:
        return labels, background
    xp, info = array_namespace(labels), np.iinfo(np.int32)
    least, most = int(labels.min()), int(labels.max())
    if info.min <= min(least, background) and max(most, background) < info.max:
        return labels.astype(np.int32), background
    values, ranks = xp.unique(labels, return_inverse=True)
    among = int(xp.searchsorted(values, background)) if least <= background <= most else -1
    if among >= 0 and int(values[among]) != background:
        among = -1
    return ranks.reshape(labels.shape).astype(np.int32), among
