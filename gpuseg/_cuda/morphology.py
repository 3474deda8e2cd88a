"""Morphology: the same code, which calls cuCIM for CuPy's arrays."""

import numpy as np

from .._backend import array_namespace, cuda_stream
from .._cpu import morphology as shared
from .._cpu.morphology import large_labels
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


def _grey(name: str):
    plain = getattr(shared, name)

    def form(image, footprint, *, mode, cval):
        if isinstance(footprint, list | tuple):  # parts and how often each is used
            xp = array_namespace(image)
            footprint = tuple((xp.asarray(part), count) for part, count in footprint)
        return plain(image, footprint, mode=mode, cval=cval)

    form.__name__ = name
    return form


erosion = _grey("erosion")
dilation = _grey("dilation")
opening = _grey("opening")
closing = _grey("closing")
white_tophat = _grey("white_tophat")


def reconstruction(seed, mask, method, footprint, offset):
    found = shared.reconstruction(seed, mask, method, footprint, offset)
    # As scikit-image, which computes in float64 but for float32.
    return found if found.dtype == np.float32 else found.astype(np.float64, copy=False)


def remove_small_objects(ar, *, most, connectivity):
    if ar.dtype != bool:
        return large_labels(ar, most)
    labels, count = label(ar, background=0, connectivity=connectivity)
    sizes = array_namespace(ar).zeros(count + 1, np.uint64)
    add_up_sizes_cuda(labels.reshape(-1), sizes, cuda_stream(ar))
    # The background has no size.
    return (sizes > most)[labels]
