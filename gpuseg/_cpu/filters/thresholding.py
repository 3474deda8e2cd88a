"""Histograms and means on the CPU."""

import numpy as np

from ...kernels import histogram as kernel


def histogram(image, nbins, *, mask):
    """Counts and the edges or first value of the bins; see the public layer."""
    values = image[mask] if mask is not None else image.ravel(order="K")
    if values.dtype == bool:
        values = values.view(np.uint8)
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    if values.dtype.kind in "iu" and values.dtype.itemsize == 1:
        # All 256 bins cost no more than those between the extremes, and spare the search for them.
        low = int(np.iinfo(values.dtype).min)
        counts = kernel.integer_histogram_cpu(values, low, 256)
        used = np.flatnonzero(counts)
        return counts[used[0] : used[-1] + 1], low + int(used[0])
    low, high = kernel.minmax_cpu(values)
    return binned(values, low, high, nbins, _count_floats, kernel.integer_histogram_cpu)


def binned(values, low, high, nbins, count_floats, count_integers):
    """Choose the bins by dtype and range, as both backends do."""
    from ...filters.thresholding import MOST_INTEGER_BINS, bin_edges

    if values.dtype.kind in "iu":
        low, high = int(low), int(high)
        if high - low < MOST_INTEGER_BINS:
            return count_integers(values, low, high - low + 1), low
        values = values.astype(np.float64)
    edges = bin_edges(low, high, nbins, values.dtype)
    if edges is None:
        return None, (low, high)
    return count_floats(values.astype(edges.dtype, copy=False), edges), edges


def _count_floats(values, edges):
    return kernel.float_histogram_cpu(values, edges)


def threshold_mean(image, *, mask):
    return np.mean(image) if mask is None else np.mean(image[mask])
