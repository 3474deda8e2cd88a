"""Morphology: the same code, which calls cuCIM for CuPy's arrays."""

import numpy as np

from .._backend import array_namespace, cuda_stream
from .._cpu.morphology import (
    closing,
    dilation,
    erosion,
    large_labels,
    opening,
    reconstruction,
    white_tophat,
)
from ..kernels.sizes import add_up_sizes_cuda
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
    labels, count = label(ar, background=0, connectivity=connectivity)
    sizes = array_namespace(ar).zeros(count + 1, np.uint64)
    add_up_sizes_cuda(labels.reshape(-1), sizes, cuda_stream(ar))
    # The background has no size.
    return (sizes > most)[labels]
