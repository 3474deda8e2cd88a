"""Regions of chunked label images: what each chunk holds of them, joined.

Each pass over the chunks is computed by itself. In one graph, what two passes look at would wait in
memory for the second: the whole image.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from dask import array as da

from .._backend import array_namespace, asnumpy
from .._cpu.regions import compact, region_sums, sum_step
from ._connected import aligned
from ._reduce import each, joined


class Regions(NamedTuple):
    """Labels that occur, in order, with their pixels and a number of each channel."""

    numbers: np.ndarray
    sizes: np.ndarray
    values: np.ndarray


class Measured(NamedTuple):
    """An image with its channels along a last axis, labels in its chunks, and the largest absolute
    value of each channel."""

    image: da.Array
    labels: da.Array
    most: np.ndarray

    @property
    def arrays(self):
        return [self.image, self.labels]


def measured(image, labels) -> Measured:
    """What regions are measured of."""
    image = da.asarray(image)
    image = image.rechunk({image.ndim - 1: -1})
    *chunks, _ = aligned([image])[0].chunks
    image = image.rechunk((*chunks, -1))
    labels = da.asarray(labels).rechunk(tuple(chunks))
    return Measured(image, labels, joined(_largest, each(_most, [image])).compute())


def _most(image):
    flat = image.reshape(-1, image.shape[-1])
    ends = np.stack(
        [asnumpy(end).astype(np.float64) for end in (flat.min(axis=0), flat.max(axis=0))]
    )
    return np.abs(ends).max(axis=0)


def _largest(parts):
    return np.max(parts, axis=0)


def sums(these: Measured, means=None):
    """The sums of the values of each region; or of their squared distances from its mean, or
    from one mean of all. No sum is rounded."""
    parts = each(_sums, these.arrays, means, these.most, these.labels.size)
    return joined(added, parts).compute()


def _sums(means, most, size, image, labels):
    flat, numbers = compacted(labels, image)
    count, columns = numbers.size, []
    if isinstance(means, Regions):
        means = means.values[np.searchsorted(means.numbers, numbers)]
    elif means is not None:
        means = np.full((count, image.shape[-1]), means)
    for c in range(image.shape[-1]):
        values = image[..., c].reshape(-1)
        values = values.astype(np.uint8) if values.dtype == bool else values
        step = sum_step(float(most[c]), size, squares=means is not None)
        away = None if means is None else array_namespace(values).asarray(means[:, c])
        total, sizes = region_sums(values, flat, count, away, step=step)
        columns.append(asnumpy(total))
    return Regions(numbers, asnumpy(sizes), np.stack(columns, axis=1))


def compacted(labels, image=None):
    """Flat labels 0, 1, ... where the image is, and in host memory what they stand for."""
    flat, numbers = compact(labels if image is None else array_namespace(image).asarray(labels))
    return flat, asnumpy(numbers)


def added(parts) -> Regions:
    return together(parts, np.add, 0)


def together(parts, ufunc, start) -> Regions:
    """Regions of several parts, their values joined by a ufunc."""
    numbers, at = np.unique(np.concatenate([p.numbers for p in parts]), return_inverse=True)
    sizes = np.zeros(numbers.size, np.int64)
    np.add.at(sizes, at, np.concatenate([p.sizes for p in parts]))
    given = np.concatenate([p.values for p in parts])
    values = np.full((numbers.size, given.shape[1]), start, given.dtype)
    ufunc.at(values, at, given)
    return Regions(numbers, sizes, values)
