"""Morphology by scikit-image, or by cuCIM where the array is CuPy's."""

import numpy as np

from .._backend import skimage
from ..kernels.label import large_objects_cpu


def _grey(name: str):
    def form(image, footprint, *, mode, cval):
        peer = getattr(skimage(image, "morphology"), name)
        return peer(image, footprint, mode=mode, cval=cval)

    form.__name__ = name
    return form


erosion = _grey("erosion")
dilation = _grey("dilation")
opening = _grey("opening")
closing = _grey("closing")
white_tophat = _grey("white_tophat")


def reconstruction(seed, mask, method, footprint, offset):
    return skimage(seed, "morphology").reconstruction(seed, mask, method, footprint, offset)


def large_objects(mask, connectivity, most):
    mask = np.ascontiguousarray(mask)
    return large_objects_cpu(mask.view(np.uint8), mask.shape, connectivity, most)
