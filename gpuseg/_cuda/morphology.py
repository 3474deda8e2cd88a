"""Morphology: the same code, which calls cuCIM for CuPy's arrays."""

from .._cpu.morphology import closing, dilation, erosion, opening, reconstruction, white_tophat
from ..measure import label
from ..morphology import large_labels

__all__ = [
    "closing",
    "dilation",
    "erosion",
    "large_objects",
    "opening",
    "reconstruction",
    "white_tophat",
]


def large_objects(mask, connectivity, most):
    return large_labels(label(mask, connectivity=connectivity), most)
