"""Histograms on the device: extremes by CuPy, counts by the kernel."""

import numpy as np

from ..._backend import array_namespace, cuda_stream
from ..._cpu.filters.thresholding import binned
from ..._cpu.filters.thresholding import threshold_mean as threshold_mean
from ...kernels import histogram as kernel


def histogram(image, nbins, *, mask):
    xp = array_namespace(image)
    values = image[mask] if mask is not None else xp.ravel(image, order="K")
    if values.dtype == bool:
        values = values.view(np.uint8)
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    stream = cuda_stream(values)

    def count_floats(values, edges):
        counts = xp.zeros(edges.size - 1, np.uint64)
        low, scale, _ = kernel.binning(edges)
        there = xp.asarray(edges)
        kernel.float_histogram_cuda(values, there, counts, low, scale, stream)
        return counts.astype(np.int64)

    def count_integers(values, low, bins):
        counts = xp.zeros(bins, np.uint64)
        kernel.integer_histogram_cuda(values, counts, low, stream)
        return counts.astype(np.int64)

    extremes = xp.stack((values.min(), values.max()))
    low, high = extremes if xp is np else extremes.get()
    return binned(values, low, high, nbins, count_floats, count_integers)
