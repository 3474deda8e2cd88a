"""Histograms and means on the CPU."""

import numpy as np

from ...kernels import histogram as kernel

# Elements that are copied at a time where an array cannot be counted as it lies in memory.
PIECE = 2**22


def histogram(image, nbins, *, mask):
    """Counts and the bins or the value of the first; see the public layer."""
    dtype = countable(image[:0]).dtype
    if dtype.kind in "iu" and dtype.itemsize == 1:
        # All 256 bins cost no more than those between the extremes, and spare the search for them.
        low = int(np.iinfo(dtype).min)
        counts = sum(kernel.integer_histogram_cpu(part, low, 256) for part in pieces(image, mask))
        return trimmed(counts, low)
    extremes = [kernel.minmax_cpu(part) for part in pieces(image, mask) if part.size]
    low = np.min([low for low, _ in extremes])
    high = np.max([high for _, high in extremes])
    bins = choose_bins(low, high, nbins, dtype)
    if isinstance(bins, tuple):
        return None, bins
    if isinstance(bins, range):
        parts = (kernel.integer_histogram_cpu(part, bins.start, len(bins))
                 for part in pieces(image, mask))  # fmt: skip
        return sum(parts), bins.start
    return sum(count_floats(part, bins) for part in pieces(image, mask)), bins


def count_floats(values, bins):
    edges = guessable(bins.edges)
    return kernel.float_histogram_cpu(
        bins.scale.place(values).astype(edges.dtype, copy=False), edges
    )


def pieces(image, mask):
    """The values that count as 1-D arrays of a dtype that kernels take, copied only if need be."""
    if mask is None:
        flat = image.ravel(order="K") if _in_one_block(image) else None
        if flat is not None and flat.dtype != np.float16:
            yield countable(flat)
            return
    # Along the axis that is longest in memory, so that a piece is as compact as can be.
    axis = int(np.argmax(np.abs(image.strides)))
    image = np.moveaxis(image, axis, 0)
    mask = None if mask is None else np.moveaxis(mask, axis, 0)
    rows = max(1, PIECE * len(image) // image.size)
    for i in range(0, len(image), rows):
        part = image[i : i + rows]
        part = part.ravel(order="K") if mask is None else part[mask[i : i + rows]]
        yield countable(part)


def _in_one_block(image) -> bool:
    axes = sorted(range(image.ndim), key=lambda axis: -image.strides[axis])
    return image.transpose(axes).flags.c_contiguous


def countable(values):
    """bool as uint8, float16 as float32."""
    if values.dtype == bool:
        return values.view(np.uint8)
    return values.astype(np.float32) if values.dtype == np.float16 else values


def trimmed(counts, low):
    """Counts without the empty ends, and the value of the first."""
    used = np.flatnonzero(counts)
    return counts[used[0] : used[-1] + 1], low + int(used[0])


def choose_bins(low, high, nbins, dtype):
    """A range of integer values, or bins of floats, or the extremes if no bins can be laid."""
    from ...filters.thresholding import MOST_INTEGER_BINS, lay_bins

    if dtype.kind in "iu":
        low, high = int(low), int(high)
        if high - low < MOST_INTEGER_BINS:
            return range(low, high + 1)
        low, high, dtype = np.float64(low), np.float64(high), np.float64
    if not (np.isfinite(low) and np.isfinite(high)) or low == high:
        return low, high
    return lay_bins(low, high, nbins, dtype)


def guessable(edges):
    """The same edges in a precision in which the kernels can guess a bin."""
    return edges if kernel.binning(edges)[2] < 0.5 else edges.astype(np.float64)


def threshold_mean(image, *, mask):
    values = image if mask is None else image[mask]
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.mean(values)
    return within(mean, values[(0,) * values.ndim], lambda: (values.min(), values.max()))


def within(mean, first, extremes):
    """A mean, put back among values that are all so much alike that rounding may have moved it
    beyond them. They are looked at only if the first of them is nearly the mean."""
    mean, first = np.asarray(mean)[()], float(first)
    if not np.isfinite(mean) or abs(mean / 2 - first / 2) > 1e-3 * abs(first):
        return mean
    return mean.dtype.type(np.clip(mean, *extremes()))
