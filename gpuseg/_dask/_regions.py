"""Regions of chunked label images: what each chunk holds of them, joined.

Each pass over the chunks is computed by itself. In one graph, what two passes look at would wait in
memory for the second: the whole image.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from dask import array as da

from .._backend import array_namespace, asnumpy
from .._cpu.regions import (
    Spreads,
    Variances,
    compact,
    largest,
    region_ends,
    region_sizes,
    region_sums,
    scale_for,
    spreads_between,
    variances_from,
)
from ._connected import aligned
from ._reduce import each, joined


class Regions(NamedTuple):
    """Labels that occur, in order, with their pixels and a number of each channel."""

    numbers: np.ndarray
    sizes: np.ndarray
    values: np.ndarray


class Measured(NamedTuple):
    """An image with its channels along a last axis, and labels in its chunks."""

    image: da.Array
    labels: da.Array

    @property
    def arrays(self):
        return [self.image, self.labels]


def measured(image, labels) -> Measured:
    """What regions are measured of."""
    image = da.asarray(image)
    image = image.rechunk({image.ndim - 1: -1})
    *chunks, _ = aligned([image])[0].chunks
    image = image.rechunk((*chunks, -1))
    return Measured(image, da.asarray(labels).rechunk(tuple(chunks)))


def sums(these: Measured) -> Regions:
    """The sums of the values of each region. No sum depends on the chunks."""
    parts, scales = _sums(these)
    found = [scale.total(*pair) for scale, pair in zip(scales, _pairs(parts))]
    return parts._replace(values=np.stack(found, axis=1))


def means(these: Measured) -> Regions:
    parts, scales = _sums(these)
    found = [scale.mean(*pair, parts.sizes) for scale, pair in zip(scales, _pairs(parts))]
    return parts._replace(values=np.stack(found, axis=1))


def _sums(these: Measured):
    """The two numbers of the sums of each channel, and its scale."""
    most = joined(_largest, each(_most, [these.image])).compute()
    scales = [scale_for(float(m), these.labels.size) for m in most]
    return joined(added, each(_sums_of, these.arrays, scales)).compute(), scales


def _most(image):
    return np.array([largest(values) for values in channels(image)])


def _largest(parts):
    return np.max(parts, axis=0)


def _sums_of(scales, image, labels) -> Regions:
    flat, numbers = compacted(labels, image)
    columns = [
        region_sums(values, flat, numbers.size, scale)
        for values, scale in zip(channels(image), scales)
    ]
    return _of_columns(flat, numbers, columns)


def _of_columns(flat, numbers, columns) -> Regions:
    sizes = region_sizes(flat, numbers.size)
    return Regions(numbers, asnumpy(sizes), np.concatenate(list(map(asnumpy, columns))).T)


def _pairs(regions: Regions):
    return zip(regions.values[:, ::2].T, regions.values[:, 1::2].T)


def variances(these: Measured) -> tuple[np.ndarray, list[Variances]]:
    """The labels that occur, and the variances of each channel."""
    ends = joined(_farther, each(_ends, these.arrays)).compute()
    units = [spreads_between(-low, high) for low, high in _pairs(ends)]
    scale = scale_for(1.0, these.labels.size)
    found = joined(added, each(_spreads_of, these.arrays, ends.numbers, units, scale)).compute()
    return found.numbers, [
        variances_from(unit, found.values[:, 4 * c : 4 * c + 4].T, found.sizes, scale)
        for c, unit in enumerate(units)
    ]


def _ends(image, labels) -> Regions:
    """Minus the least value of each region, and the largest, for each channel."""
    flat, numbers = compacted(labels, image)
    columns = []
    for values in channels(image):
        low, high = map(asnumpy, region_ends(values, flat, numbers.size))
        columns.append(np.stack([-low, high]))
    return _of_columns(flat, numbers, columns)


def _farther(parts) -> Regions:
    return together(parts, np.maximum, -np.inf)


def _spreads_of(every, units, scale, image, labels) -> Regions:
    flat, numbers = compacted(labels, image)
    at = np.searchsorted(every, numbers)
    columns = [
        Spreads(*(part[at] for part in unit)).sums(values, flat, scale)
        for values, unit in zip(channels(image), units)
    ]
    return _of_columns(flat, numbers, columns)


def channels(image):
    """The flat values of each channel of a chunk; bool as whole numbers."""
    for c in range(image.shape[-1]):
        values = image[..., c].reshape(-1)
        yield values.astype(np.uint8) if values.dtype == bool else values


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
