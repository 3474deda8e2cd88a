"""Boundaries by cuCIM, given what it counts or converts in another way than scikit-image."""

from __future__ import annotations

import numpy as np

from ..._backend import Unserved, array_namespace
from ..._cpu.filters.smoothing import floating
from ..._cpu.segmentation import boundaries as shared


def find_boundaries(label_img, **options):
    if options["mode"] == "subpixel" and min(label_img.shape) == 1:
        raise Unserved("places between pixels of a line are for the CPU")
    return shared.find_boundaries(_counted_exactly(label_img), **options)


def mark_boundaries(image, *, label_img, **options):
    if options["mode"] == "subpixel" and min(label_img.shape) == 1:
        raise Unserved("places between pixels of a line are for the CPU")
    image = floating(image, preserve_range=False)
    return shared.mark_boundaries(image, label_img=_counted_exactly(label_img), **options)


def _counted_exactly(labels):
    """Labels in a type that filters, which compute in float64, do not round."""
    if labels.dtype.itemsize < 8:
        return labels
    xp = array_namespace(labels)
    least, most = xp.stack((labels.min(), labels.max())).tolist()
    info = np.iinfo(np.int32)
    if least < info.min or most > info.max:
        raise Unserved("labels past 2**31 are for the CPU")
    return labels.astype(xp.int32)
