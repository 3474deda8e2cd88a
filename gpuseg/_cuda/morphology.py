"""Morphology: the same code, which calls cuCIM for CuPy's arrays."""

from .._cpu.morphology import (
    closing,
    dilation,
    erosion,
    large,
    large_labels,
    opening,
    reconstruction,
    white_tophat,
)
from .measure import label

__all__ = [
    "closing",
    "dilation",
    "erosion",
    "opening",
    "reconstruction",
    "remove_small_objects",
    "white_tophat",
]


def remove_small_objects(ar, *, most, connectivity):
    if ar.dtype != bool:
        return large_labels(ar, most)
    labels, _ = label(ar, background=0, connectivity=connectivity)
    return large(labels, most)
