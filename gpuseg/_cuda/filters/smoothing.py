"""Smoothing on the device: the Gaussian by the kernel, the rest by CuPy and cuCIM."""

import math

from ..._backend import Unserved, array_namespace, cuda_stream
from ..._cpu.filters import smoothing as shared
from ...kernels.gaussian import convolve_cuda


def gaussian(image, sigma, *, mode, cval, preserve_range, truncate):
    values = shared.floating(image, preserve_range)
    return blurred(values, sigma, mode, cval, truncate, values.dtype)


def blurred(values, sigma, mode, cval, truncate, dtype):
    """An image in floating-point numbers, smoothed in a type."""
    xp = array_namespace(values)
    values = xp.ascontiguousarray(values)
    sides = dict(zip(sigma, shared.kernels(sigma, truncate)))
    # One copy to the device for all axes of the same sigma.
    sides = {s: xp.asarray(side.astype(dtype)) for s, side in sides.items() if side.size > 1}
    spans = [
        (None, n, math.prod(values.shape[axis + 1 :]), sides[s])
        for axis, (n, s) in enumerate(zip(values.shape, sigma))
        if s in sides
    ]
    if not spans:
        return values.astype(dtype)
    out = xp.empty(values.shape, dtype)
    scratch = xp.empty_like(out) if len(spans) > 1 else out
    convolve_cuda(
        values.reshape(-1), spans, mode, out.dtype.type(cval), out.reshape(-1),
        scratch.reshape(-1), cuda_stream(values),
    )  # fmt: skip
    return out


def difference_of_gaussians(image, low, high, *, mode, cval, truncate):
    return shared.difference(blurred, image, low, high, mode, cval, truncate)


def median(image, footprint, *, mode, cval, behavior):
    if behavior == "rank":
        raise Unserved("behavior='rank' runs on the CPU only")
    return shared.median(image, footprint, mode=mode, cval=cval, behavior=behavior)


def subtract_background(image, sigma, *, method, smooth, foreground):
    return shared.flattened(blurred, image, sigma, method, smooth, foreground)
