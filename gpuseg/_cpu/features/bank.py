"""The bank of filters on the CPU."""

import itertools

import numpy as np
from scipy import ndimage

from ...kernels.gaussian import convolve_cpu
from ..filters.smoothing import kernels
from .channels import last, planes


def filter_bank(image, sigmas, kinds, *, channel_axis, mode, keep=False):
    channels = 1 if channel_axis is None else image.shape[channel_axis]
    ndim = image.ndim - (channel_axis is not None)
    count = per_channel(len(sigmas), kinds, ndim)
    image, out, new = planes(image, channel_axis, channels * count, keep=keep)
    for values, part in zip(image, np.split(new, channels)):
        values = np.ascontiguousarray(values, out.dtype)
        _fill(values, sigmas, kinds, mode, part)
    return last(out)


def per_channel(sigmas: int, kinds, ndim: int) -> int:
    """How many features a channel has."""
    several = {"dog": 0, "hessian_eigenvalues": ndim, "structure_tensor_eigenvalues": ndim}
    count = sigmas * sum(several.get(kind, 1) for kind in kinds)
    return count + ("dog" in kinds) * max(1, sigmas - 1)


def _fill(values, sigmas, kinds, mode, out):
    at, before = 0, values
    for i, sigma in enumerate(sigmas):
        blurred = _blurred(values, sigma, mode)
        for kind in kinds:
            if kind == "dog" and i == 0 and len(sigmas) > 1:
                continue
            for plane in _filtered(kind, values, blurred, before, sigma, mode):
                out[at] = plane
                at += 1
        before = blurred


def _blurred(values, sigma, mode):
    weights = kernels((sigma,) * values.ndim, 4.0)
    return convolve_cpu(values, weights, mode, 0, np.empty_like(values))


def _filtered(kind, values, blurred, before, sigma, mode):
    ndim = values.ndim
    if kind == "gaussian":
        return [blurred]
    if kind == "dog":
        return [blurred - before]
    if kind == "laplace":
        return [-ndimage.laplace(blurred, mode=mode)]
    if kind == "sobel":
        squares = sum((d / 4 ** (ndim - 1)) ** 2 for d in _derivatives(blurred, mode))
        return [np.sqrt(squares / ndim)]
    if kind == "hessian_eigenvalues":
        first = [_gradient(blurred, a) for a in range(ndim)]
        pairs = itertools.combinations_with_replacement(range(ndim), 2)
        return _eigenvalues([_gradient(first[a], b) for a, b in pairs])
    pairs = itertools.combinations_with_replacement(_derivatives(values, mode), 2)
    return _eigenvalues([_blurred(a * b, sigma, mode) for a, b in pairs])


def _derivatives(values, mode):
    return [ndimage.sobel(values, axis=a, mode=mode) for a in range(values.ndim)]


def _gradient(values, axis):
    return np.zeros_like(values) if values.shape[axis] == 1 else np.gradient(values, axis=axis)


def _eigenvalues(parts):
    ndim = 2 if len(parts) == 3 else 3
    matrix = np.empty((*parts[0].shape, ndim, ndim), parts[0].dtype)
    for (a, b), part in zip(itertools.combinations_with_replacement(range(ndim), 2), parts):
        matrix[..., a, b] = matrix[..., b, a] = part
    return np.moveaxis(np.linalg.eigvalsh(matrix), -1, 0)[::-1]
