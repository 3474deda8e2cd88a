"""Statistics of chunked superpixels."""

from __future__ import annotations

import itertools
from functools import partial

import dask
import numpy as np
from dask import array as da

from ..._backend import array_namespace, asnumpy
from ..._cpu.segmentation.superpixels import statistics
from .. import _regions
from .._connected import threads
from .._reduce import each, joined
from .._regions import Regions


def superpixel_means(image, *, labels, statistic, background):
    these = _regions.measured(image, labels)
    dtype = np.result_type(image.dtype, np.float32)
    return da.map_blocks(
        _painted,
        these.labels[..., np.newaxis],
        found=_found(these, statistic),
        background=background,
        into=dtype,
        dtype=dtype,
        chunks=these.image.chunks,
        meta=these.image._meta.astype(dtype),
    )


def _painted(labels, found, background, into):
    xp = array_namespace(labels)
    with threads():
        flat, numbers = _regions.compacted(labels)
        values = found.values[np.searchsorted(found.numbers, numbers)]
        values[numbers == background] = 0
        values = xp.asarray(values.astype(into))
        return values[flat].reshape(*labels.shape[:-1], -1)


def _found(these, statistic):
    """A number of each channel of each region, lazy."""
    if statistic in ("min", "max"):
        ufunc, start = (np.minimum, np.inf) if statistic == "min" else (np.maximum, -np.inf)
        join = partial(_regions.together, ufunc=ufunc, start=start)
        return joined(join, each(_measured, these.arrays, statistic))
    if callable(statistic) or statistic == "median":
        held = joined(_regions.added, each(_held, [these.labels]))
        return _finished(statistic, joined(_laid, each(_gathered, these.arrays, statistic, held)))
    sums = _regions.sums(these)
    if statistic == "sum":
        return sums
    means = _per_pixel(sums)
    if statistic == "mean":
        return means
    variances = _per_pixel(_regions.sums(these, means))
    return variances if statistic == "var" else _root(variances)


@dask.delayed(pure=True)
def _per_pixel(sums):
    return sums._replace(values=sums.values / sums.sizes[:, np.newaxis])


@dask.delayed(pure=True)
def _root(variances):
    return variances._replace(values=np.sqrt(variances.values))


def _measured(statistic, image, labels) -> Regions:
    """A statistic of every region of a chunk."""
    flat, numbers = _regions.compacted(labels, image)
    pixels = image.reshape(-1, image.shape[-1])
    return _of(pixels, flat, numbers, statistic)


def _of(pixels, flat, numbers, statistic) -> Regions:
    columns = [statistics(column, flat, numbers.size, statistic) for column in pixels.T]
    return Regions(numbers, np.ones(numbers.size, int), np.stack(list(map(asnumpy, columns)), 1))


# --- statistics of pixels that must be together -------------------------------------------------


def _held(labels) -> Regions:
    """The regions of a chunk, each with a 1."""
    _, numbers = _regions.compacted(labels)
    return Regions(numbers, np.ones(numbers.size, int), np.ones((numbers.size, 1)))


def _gathered(statistic, held, image, labels):
    """The statistic of regions that lie in this chunk alone; the pixels of the others."""
    flat, numbers = _regions.compacted(labels, image)
    flat, pixels = asnumpy(flat), asnumpy(image).reshape(-1, image.shape[-1])
    alone = held.sizes[np.searchsorted(held.numbers, numbers)] == 1
    here, place = alone[flat], np.cumsum(alone) - 1
    found = _of(pixels[here], place[flat[here]], numbers[alone], statistic) if alone.any() else None
    return [found] * (found is not None), [(numbers[flat[~here]], pixels[~here])]


def _laid(parts):
    return tuple(list(itertools.chain(*lists)) for lists in zip(*parts))


@dask.delayed(pure=True)
def _finished(statistic, gathered) -> Regions:
    found, pixels = gathered
    labels, pixels = map(np.concatenate, zip(*pixels))
    if labels.size:
        numbers, flat = np.unique(labels, return_inverse=True)
        found = [*found, _of(pixels, flat, numbers, statistic)]
    return _regions.added(found)
