"""The bank of filters on the device."""

import math

from ..._backend import array_namespace, cuda_stream
from ..._cpu.features import bank as shared
from ..._cpu.filters.smoothing import kernels
from ...kernels.features import derive_cuda, eigenvalues_cuda, products_cuda
from ...kernels.gaussian import convolve_cuda


def filter_bank(image, sigmas, kinds, *, channel_axis, mode, keep=False, inside=None):
    return shared.bank(_Steps, image, sigmas, kinds, channel_axis, mode, keep=keep, inside=inside)


class _Steps:
    """What the bank is made of, in CUDA kernels."""

    @staticmethod
    def rows(values, dtype):
        return array_namespace(values).ascontiguousarray(values, dtype)

    @staticmethod
    def blur(values, sigma, mode, out):
        xp = array_namespace(values)
        kernel = kernels((sigma,), 4.0)[0]
        if kernel.size == 1:
            out[...] = values
            return
        kernel = xp.asarray(kernel.astype(out.dtype))
        inner = [math.prod(values.shape[a + 1 :]) for a in range(values.ndim)]
        spans = [(None, n, step, kernel) for n, step in zip(values.shape, inner)]
        flat, result, scratch = (x.reshape(-1) for x in (values, out, xp.empty_like(out)))
        convolve_cuda(flat, spans, mode, out.dtype.type(0), result, scratch, cuda_stream(values))

    @staticmethod
    def derive(blurred, mode, places, out):
        flat = out.reshape(len(out), -1)
        derive_cuda(blurred.reshape(-1), blurred.shape, mode, places, flat, cuda_stream(out))

    @staticmethod
    def products(values, mode, out):
        flat = out.reshape(len(out), -1)
        products_cuda(values.reshape(-1), values.shape, mode, flat, cuda_stream(out))

    @staticmethod
    def eigenvalues(diagonal, others):
        flat = (x.reshape(len(x), -1) for x in (diagonal, others))
        eigenvalues_cuda(*flat, cuda_stream(diagonal))
