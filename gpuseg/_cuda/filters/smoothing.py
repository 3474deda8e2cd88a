"""Smoothing on the device: the Gaussian by the kernel, the rest by CuPy and cuCIM."""

import numpy as np

from ..._backend import Unserved, array_namespace, cuda_stream
from ..._cpu.filters import smoothing as shared
from ...kernels.gaussian import convolve_cuda


def gaussian(image, sigma, *, mode, cval, preserve_range, truncate):
    xp = array_namespace(image)
    values = xp.ascontiguousarray(shared.floating(image, preserve_range))
    spans = []
    for axis, kernel in enumerate(shared.kernels(sigma, truncate)):
        if kernel.size > 1:
            inner = int(np.prod(values.shape[axis + 1 :], dtype=np.int64))
            kernel = xp.asarray(kernel.astype(values.dtype))
            spans.append((None, values.shape[axis], inner, kernel))
    if not spans:
        return values.copy()
    out, scratch = xp.empty_like(values), xp.empty_like(values)
    convolve_cuda(
        values.reshape(-1), spans, mode, values.dtype.type(cval), out.reshape(-1),
        scratch.reshape(-1), cuda_stream(values),
    )  # fmt: skip
    return out


def difference_of_gaussians(image, low, high, *, mode, cval, truncate):
    return shared.difference(gaussian, image, low, high, mode=mode, cval=cval, truncate=truncate)


def median(image, footprint, *, mode, cval, behavior):
    if behavior == "rank":
        raise Unserved("behavior='rank' runs on the CPU only")
    return shared.median(image, footprint, mode=mode, cval=cval, behavior=behavior)


def subtract_background(image, sigma, *, method, smooth, foreground):
    return shared.flattened(gaussian, image, sigma, method, smooth, foreground)
