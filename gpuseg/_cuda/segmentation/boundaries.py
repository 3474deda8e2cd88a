"""Boundaries by cuCIM, given what it converts or counts in another way than scikit-image."""

from __future__ import annotations

from ..._backend import Unserved
from ..._cpu.filters.smoothing import floating
from ..._cpu.segmentation import boundaries as shared


def find_boundaries(label_img, **options):
    _served(label_img, options)
    return shared.find_boundaries(label_img, **options)


def mark_boundaries(image, *, label_img, **options):
    _served(label_img, options)
    image = floating(image, preserve_range=False)
    return shared.mark_boundaries(image, label_img=label_img, **options)


def _served(label_img, options) -> None:
    if options["mode"] == "subpixel" and min(label_img.shape) == 1:
        raise Unserved("places between the pixels of a line are for the CPU")
