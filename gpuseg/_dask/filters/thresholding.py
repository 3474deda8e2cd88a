"""Histograms and means of chunked arrays: counts and sums of chunks add up."""

from __future__ import annotations

import math

import dask
import numpy as np

from ..._backend import asnumpy
from ..._cpu.filters import thresholding as whole
from ...kernels import histogram as kernel
from .._connected import aligned, threads


def histogram(image, nbins, *, mask):
    """As on the CPU: the extremes of all chunks lay the bins, then each chunk is counted."""
    blocks = _blocks(image, mask)
    dtype = whole.countable(np.empty(0, image.dtype)).dtype
    if dtype.kind in "iu" and dtype.itemsize == 1:
        low = int(np.iinfo(dtype).min)
        counts = _each(_integer_counts, blocks, low, 256)
        return whole.trimmed(sum(counts), low)
    found = [ends for ends in _each(_extremes, blocks) if ends is not None]
    low, high = np.min([low for low, _ in found]), np.max([high for _, high in found])
    bins = whole.choose_bins(low, high, nbins, dtype)
    if isinstance(bins, tuple):
        return None, bins
    if isinstance(bins, range):
        return sum(_each(_integer_counts, blocks, bins.start, len(bins))), bins.start
    return sum(_each(_float_counts, blocks, bins)), bins


def threshold_mean(image, *, mask):
    blocks = _blocks(image, mask)
    sums = [found for found in _each(_sum, blocks) if found[1]]
    mean = math.fsum(total for total, _, _ in sums) / sum(count for _, count, _ in sums)
    mean = np.asarray(mean).astype(np.mean(np.empty(1, image.dtype)).dtype)

    def extremes():
        found = [ends for ends in _each(_extremes, blocks) if ends is not None]
        return np.min([low for low, _ in found]), np.max([high for _, high in found])

    return whole.within(mean, sums[0][2], extremes)


def _blocks(image, mask) -> list:
    """The chunks of an image and of its mask, as they are to be computed."""
    if mask is not None and not bool(mask.any()):
        raise ValueError("mask selects no element")
    arrays = aligned([image] if mask is None else [image, mask])
    return list(zip(*(array.to_delayed().reshape(-1) for array in arrays)))


def _each(function, blocks, *given) -> tuple:
    return dask.compute(*(dask.delayed(_alone)(function, given, *block) for block in blocks))


def _alone(function, given, image, mask=None):
    image, mask = asnumpy(image), None if mask is None else asnumpy(mask)
    with threads():
        return function(image, mask, *given)


def _extremes(image, mask):
    found = [kernel.minmax_cpu(part) for part in whole.pieces(image, mask) if part.size]
    return (np.min([a for a, _ in found]), np.max([b for _, b in found])) if found else None


def _integer_counts(image, mask, low, bins):
    parts = [part for part in whole.pieces(image, mask) if part.size]
    counts = [kernel.integer_histogram_cpu(part, low, bins) for part in parts]
    return sum(counts, np.zeros(bins, np.int64))


def _float_counts(image, mask, bins):
    parts = [part for part in whole.pieces(image, mask) if part.size]
    counts = [whole.count_floats(part, bins) for part in parts]
    return sum(counts, np.zeros(bins.edges.size - 1, np.int64))


def _sum(image, mask):
    """The sum of what counts in a chunk, how much that is, and the first of it."""
    values = image if mask is None else image[mask]
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(values.sum(dtype=np.float64))
    return total, values.size, float(values[(0,) * values.ndim]) if values.size else 0.0
