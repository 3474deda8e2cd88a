"""Histograms on the device: extremes, then counts, each by one kernel and fetched once."""

import numpy as np

from ..._backend import array_namespace, asnumpy, cuda_stream
from ..._cpu.filters.thresholding import choose_bins, countable, guessable, trimmed, within
from ...kernels import histogram as kernel


def histogram(image, nbins, *, mask):
    xp = array_namespace(image)
    values = countable(image[mask] if mask is not None else xp.ravel(image, order="K"))
    stream = cuda_stream(values)
    if values.dtype.kind in "iu" and values.dtype.itemsize == 1:
        counts = xp.zeros(256, np.uint64)
        kernel.byte_histogram_cuda(values.view(np.uint8), counts, stream)
        low = int(np.iinfo(values.dtype).min)
        # int8: the bytes of the negative numbers come last.
        return trimmed(np.roll(_on_host(counts), low), low)
    # Not CuPy's own extremes and conversions: they take the smallest floats for zero.
    parts = xp.empty((2, kernel.minmax_parts(values.size)), values.dtype)
    kernel.minmax_cuda(values, parts, stream)
    lows, highs = asnumpy(parts)
    bins = choose_bins(lows.min(), highs.max(), nbins, values.dtype)
    if isinstance(bins, tuple):
        return None, bins
    if isinstance(bins, range):
        counts = xp.zeros(len(bins), np.uint64)
        kernel.integer_histogram_cuda(values, counts, bins.start, stream)
        return _on_host(counts), bins.start
    edges = guessable(bins.edges)
    counts = xp.zeros(edges.size - 1, np.uint64)
    binned = kernel.binning(edges)
    kernel.float_histogram_cuda(bins.scale.place(values), xp.asarray(edges), counts, binned, stream)
    return _on_host(counts), bins


def _on_host(counts):
    """Where the arithmetic on so few numbers is done."""
    return asnumpy(counts).view(np.int64)


def threshold_mean(image, *, mask):
    """Sums in float64: a device adds in an order of its own."""
    values = image if mask is None else image[mask]
    with np.errstate(over="ignore", invalid="ignore"):
        mean = values.mean(dtype=np.float64)
    mean = asnumpy(mean.astype(values.dtype) if values.dtype.kind == "f" else mean)

    def extremes():
        return asnumpy(values.min()), asnumpy(values.max())

    return within(mean, asnumpy(values[(0,) * values.ndim]), extremes)
