"""Clusters of chunked images.

Those of k-means are the same to the last bit: the sums of chunks are exact, so they add up to those
of the whole. Those of a mixture are sums of float64, in the order of the chunks.
"""

from __future__ import annotations

import itertools
from fractions import Fraction
from functools import partial

import numpy as np
from dask import array as da

from ..._backend import array_namespace, asnumpy
from ..._cpu.filters.thresholding import pieces
from ..._cpu.segmentation import clustering as whole
from ...kernels import histogram as kernel
from ...segmentation.clustering import kmeans_part
from .._connected import Grid, aligned, threads
from .._reduce import each, joined


def kmeans(image, *, features, weights, mask, n_clusters, init, random_state, max_iter, tol):
    given = {"image": image, "features": features, "mask": mask}
    pixels = Pixels({name: x for name, x in given.items() if x is not None}, weights)
    centers, _, n_iter = found_centers(pixels, n_clusters, init, random_state, max_iter, tol)
    labels, inertia = pixels.labelled(centers.astype(np.float32))
    return labels, centers + pixels.offsets, inertia, n_iter


def gaussian_mixture(
    image, *, features, weights, mask, n_components, covariance_type, init, random_state, max_iter,
    tol, reg_covar, probabilities,
):  # fmt: skip
    given = {"image": image, "features": features, "mask": mask}
    pixels = Pixels({name: x for name, x in given.items() if x is not None}, weights)
    if isinstance(init, str):
        centers, named, _ = found_centers(
            pixels, n_components, "k-means++", random_state, 300, 1e-4
        )
    else:
        centers, named, _ = _start(pixels, n_components, init, random_state)
    start = pixels.moments_of_nearest(centers.astype(np.float32), covariance_type == "diag")
    mixture, n_iter = whole.fitted(
        pixels.moments, pixels.count, start, max_iter, tol, reg_covar, in_order=named
    )
    labels, chances, likelihood = pixels.classified(mixture, probabilities)
    means = mixture.means + pixels.offsets
    return labels, chances, mixture.weights, means, mixture.covariances, likelihood, n_iter


def found_centers(pixels: Pixels, n_clusters: int, init, random_state, max_iter: int, tol: float):
    """The centers of k-means, whether they were asked for by name, and the steps to them."""
    centers, named, variance = _start(pixels, n_clusters, init, random_state)
    centers, n_iter = whole.lloyd(
        pixels.sums, pixels.farthest, centers, max_iter, tol * variance if tol else 0.0
    )
    if named:
        centers = centers[np.argsort(centers[:, 0], kind="stable")]
    return centers, named, n_iter


class Pixels:
    """Arrays in the same chunks, and how their features are rounded."""

    def __init__(self, given: dict, weights):
        self.shape = given["image"].shape[:-1]
        self.axes = tuple(range(len(self.shape)))
        lazy = next(x for x in given.values() if isinstance(x, da.Array))
        self.chunks = aligned([lazy])[0].chunks[: len(self.shape)]
        self.arrays = [
            da.asarray(x).rechunk((*self.chunks, *(-1,) * (x.ndim - len(self.shape))))
            for x in given.values()
        ]
        self.names, self.weights = tuple(given), tuple(weights)
        self.grid = Grid(self.chunks, 0)
        self._find_scales()

    def _find_scales(self):
        """Look at all chunks for the extremes of each feature; with a mask for how many pixels
        there are in each row; and where there is one small whole number a pixel, how often each
        comes."""
        image = self.arrays[0]
        few = image.dtype.kind in "bui" and image.dtype.itemsize <= 2 and image.shape[-1] == 1
        few = few and "features" not in self.names and not self.weights
        parts = each(_seen, self.arrays, self.names, self.weights, few, places=True).compute()
        self.rows = [rows for rows, _, _ in parts]
        self.count, self.starts = int(np.prod(self.shape)), None
        if "mask" in self.names:
            self.starts, self.count = self.grid.ranks(self.rows)
        if not self.count:
            raise ValueError("mask selects no element")
        ends = np.array([ends for _, ends, _ in parts if ends is not None])
        low, high = ends[:, 0].min(axis=0), ends[:, 1].max(axis=0)
        weights = (1.0,) * (low.size - len(self.weights)) + self.weights
        self.scales = [
            whole.scale(float(a), float(b), weight, self.count)
            for a, b, weight in zip(low, high, weights)
        ]
        self.few = None
        if few:
            counts = sum(counts for _, _, counts in parts if counts is not None)
            self._count_values(image.dtype, counts)
        self._part = partial(_part, names=self.names, weights=self.weights, scales=self.scales)
        self.offsets = np.array([offset * w for (offset, _), w in zip(self.scales, weights)])

    def _count_values(self, dtype, counts):
        """One pixel for each value, and how many it stands for."""
        values = np.flatnonzero(counts)
        least = 0 if dtype.kind == "b" else np.iinfo(dtype).min
        pixels = (values + least).astype(np.float32)
        ((offset, step),) = self.scales
        table = np.empty((1, values.size), np.float32)
        whole.CPU.rounded(pixels, offset, 1.0 / step, np.float32(step), table[0])
        self.few = table, counts[values]

    def _ranks(self, n: int):
        """The rank of the first pixel of each row of a chunk, in a scan over everything; and how
        many pixels each row has."""
        if self.starts is not None:
            return self.starts[n], self.rows[n]
        *lead, (first, stop) = self._box(n)
        rows = np.ravel_multi_index(
            np.ix_(*(np.arange(*ends) for ends in lead)), self.shape[:-1]
        ) if lead else np.zeros(1, np.int64)  # fmt: skip
        starts = rows.reshape(-1) * self.shape[-1] + first
        return starts, np.full(starts.size, stop - first)

    def _box(self, n: int):
        at = np.unravel_index(n, self.grid.shape)
        return [(int(b[i]), int(b[i + 1])) for i, b in zip(at, self.grid.bounds)]

    def _each(self, work, *args, own=None):
        """A step of every chunk, with what is given, and something of its own."""
        own = [()] * len(self.rows) if own is None else own
        return each(self._part, self.arrays, work, args, along=[own], places=True)

    def start(self, n_clusters: int, chosen):
        """Some different pixels; the chosen ones; and of each feature the exact variance."""
        units = [step for _, step in self.scales]
        picked = [_picked(chosen, *self._ranks(n)) for n in range(len(self.rows))]
        own = [(here,) for _, here in picked]
        parts = self._each(whole.part_start, n_clusters, units, own=own).compute()
        sample = np.empty((chosen.size, len(units)), np.float32)
        found = [(part, place) for part, (place, _) in zip(parts, picked) if part is not None]
        for (_, rows, _), place in found:
            sample[place] = rows
        distinct = np.unique(np.concatenate([part[0] for part, _ in found]), axis=0)
        variances = []
        for sums, unit in zip(zip(*(part[2] for part, _ in found)), units):
            total, squares = (Fraction(sum(terms)) for terms in zip(*sums))
            variance = squares / self.count - (total / self.count) ** 2
            variances.append(float(variance * Fraction(unit) ** 2))
        return distinct, sample, variances

    def values(self, chosen):
        """The values of some pixels in the first channel, in float64, by their ranks."""
        picked = [_picked(chosen, *self._ranks(n)) for n in range(len(self.rows))]
        own = [here for _, here in picked]
        values = np.empty(chosen.size)
        parts = each(_values_at, self.arrays, self.names, along=[own]).compute()
        for part, (place, _) in zip(parts, picked):
            values[place] = part
        return values

    def sums(self, centers):
        if self.few is not None:
            table, counts = self.few
            labels, _ = whole.CPU.nearest(table, centers)
            terms = (counts * table[0].astype(np.float64), counts)
            sums = [np.bincount(labels, term, len(centers)) for term in terms]
            return np.stack(sums, axis=1)
        parts = self._each(whole.part_sums, centers)
        return joined(_added, parts).compute()

    def farthest(self, centers, count: int):
        parts = self._each(whole.farthest, centers, count).compute()
        found = []
        for n, pixels in enumerate(parts):
            starts, counts = self._ranks(n)
            ends = np.cumsum(counts)
            for pixel in pixels or ():
                row = int(np.searchsorted(ends, pixel.index, side="right"))
                rank = int(starts[row] + pixel.index - (ends[row] - counts[row]))
                found.append(pixel._replace(index=rank))
        return sorted(found, key=lambda pixel: (-pixel.distance, pixel.index))[:count]

    def moments_of_nearest(self, centers, diagonal):
        """The moments of the pixels nearest to each center, see `whole.moments_of_labels`."""
        if self.few is not None:
            table, counts = self.few
            labels, _ = whole.CPU.nearest(table, centers)
            return whole.moments_of_labels(table, labels, len(centers), diagonal, counts)
        parts = self._each(whole.part_moments_of_nearest, centers, diagonal)
        return joined(_added_each, parts).compute()

    def moments(self, mixture):
        """The moments of the classes of a mixture, see `whole.moments`."""
        if self.few is not None:
            table, counts = self.few
            return whole.moments(table, mixture, counts)
        return joined(_added_each, self._each(whole.part_moments, mixture)).compute()

    def labelled(self, centers):
        """The clusters and the sum of squared distances, lazy."""
        labels = self._mapped(_labels, centers, np.int32)
        return labels, self._mapped(_inertia, centers, np.float64, number=True).sum()

    def classified(self, mixture, probabilities):
        """The classes, their probabilities, if asked for, and the mean log likelihood, lazy."""
        labels = self._mapped(_classes, mixture, np.int32)
        chances = None
        if probabilities:
            chances = self._mapped(_chances, mixture, np.float32, first=len(mixture.weights))
        likelihood = self._mapped(_likelihood, mixture, np.float64, number=True)
        return labels, chances, likelihood.sum() / self.count

    def _mapped(self, function, found, dtype, *, number=False, first=None):
        """An array of what is found in each chunk: of its shape; a number; or with so many on one
        more axis, the first."""
        leading = () if first is None else (2 * len(self.axes),)  # no number of another axis
        meta = self.arrays[0]._meta.sum(axis=-1).astype(dtype)
        pairs = [
            (x, (*self.axes, *(len(self.axes) + i,) * (x.ndim - len(self.axes))))
            for i, x in enumerate(self.arrays)
        ]
        lines = zip(self.axes, self.shape, self.chunks)
        pairs += [(da.arange(n, chunks=(sizes,)), (axis,)) for axis, n, sizes in lines]
        return da.blockwise(
            function,
            (*leading, *self.axes),
            *itertools.chain(*pairs),
            part=self._part,
            found=found,
            new_axes=dict.fromkeys(leading, first),
            adjust_chunks=dict.fromkeys(self.axes, 1) if number else None,
            concatenate=True,
            dtype=dtype,
            meta=meta if first is None else meta[np.newaxis],
        )


def _seen(names, weights, few, origin, *blocks):
    """How many pixels of the mask, if any, each row has; the extremes of each feature; and how
    often each value comes, where they are few."""
    pixels = dict(zip(names, blocks))
    mask = pixels.get("mask")
    rows = None if mask is None else asnumpy(mask.sum(axis=-1)).reshape(-1)
    if rows is not None and not rows.any():
        return rows, None, None
    given = pixels["image"], pixels.get("features"), weights, mask, origin
    ends = [(float(x.min()), float(x.max())) for x, _ in whole.columns(*given)]
    return rows, np.array(ends).T, _value_counts(pixels["image"][..., 0], mask) if few else None


def _values_at(names, here, *blocks):
    """Some of the pixels of a chunk, of its mask, if any."""
    pixels = dict(zip(names, blocks))
    column, mask = pixels["image"][..., 0], pixels.get("mask")
    flat = column.reshape(-1) if mask is None else column[mask]
    return asnumpy(flat[array_namespace(flat).asarray(here)]).astype(np.float64)


def _value_counts(image, mask):
    """How often each value of a type comes."""
    if image.dtype.kind == "b":
        least, many = 0, 2
    else:
        least, many = np.iinfo(image.dtype).min, 256**image.dtype.itemsize
    image, mask = asnumpy(image), None if mask is None else asnumpy(mask)
    with threads():
        parts = [part for part in pieces(image, mask) if part.size]
        return sum(kernel.integer_histogram_cpu(part, int(least), many) for part in parts)


def _part(work, args, own, origin, *blocks, names, weights, scales):
    pixels = {"features": None, "mask": None} | dict(zip(names, blocks))
    return kmeans_part(
        work, pixels.pop("image"), *args, *own, **pixels, weights=weights, origin=origin,
        scales=scales,
    )  # fmt: skip


def _labels(*blocks, part, found):
    labels = _of_chunk(whole.part_labels, part, (found,), blocks)
    return _spread(labels, part, blocks, -1, np.int32)


def _inertia(*blocks, part, found):
    inertia = _of_chunk(whole.part_inertia, part, (found,), blocks)
    return np.full((1,) * (blocks[0].ndim - 1), inertia or 0.0)


def _classes(*blocks, part, found):
    labels, *_ = _of_chunk(whole.part_classified, part, (found, False), blocks) or [None]
    return _spread(labels, part, blocks, -1, np.int32)


def _chances(*blocks, part, found):
    _, rows, _ = _of_chunk(whole.part_classified, part, (found, True), blocks) or [None] * 3
    rows = [None] * len(found.weights) if rows is None else rows
    xp = array_namespace(blocks[0])
    return xp.stack([_spread(row, part, blocks, 0, np.float32) for row in rows])


def _likelihood(*blocks, part, found):
    *_, likelihood = _of_chunk(whole.part_classified, part, (found, False), blocks) or [0.0]
    return np.full((1,) * (blocks[0].ndim - 1), likelihood)


def _spread(values, part, blocks, outside, dtype):
    """What was found of the pixels of a chunk, if it has any, in the chunk."""
    shape = blocks[0].shape[:-1]
    if values is None:
        return array_namespace(blocks[0]).full(shape, outside, dtype)
    mask = dict(zip(part.keywords["names"], blocks)).get("mask")
    return whole.spread(values, shape, mask, outside)


def _of_chunk(work, part, args, blocks):
    """What a step finds in a chunk, which comes with its places along each axis."""
    ndim = blocks[0].ndim - 1
    origin = [int(line[0]) for line in blocks[-ndim:]]
    with threads():
        return part(work, args, (), origin, *blocks[:-ndim])


def _picked(chosen, starts, counts):
    """Which of the chosen pixels lie in a chunk, and where in it."""
    first = np.searchsorted(chosen, starts)
    several = np.searchsorted(chosen, starts + counts) - first
    place = np.arange(several.sum()) + np.repeat(first - (np.cumsum(several) - several), several)
    before = np.cumsum(counts) - counts
    return place, chosen[place] - np.repeat(starts - before, several)


def _added(parts):
    return sum(part for part in parts if part is not None)


def _added_each(parts):
    parts = [part for part in parts if part is not None]
    return tuple(map(sum, zip(*parts))) if parts else None


def _start(pixels: Pixels, n_clusters: int, init, random_state):
    """The first centers, less the offsets, whether they were asked for by name, and the mean
    variance of the features."""
    named = isinstance(init, str)
    random_state, chosen = whole.drawn(pixels.count if named else 0, random_state)
    distinct, sample, variances = pixels.start(n_clusters, chosen)
    whole.check_enough(len(distinct), n_clusters)
    variance = float(np.float32(sum(variances) / len(variances)))
    if not named:
        return init - pixels.offsets, False, variance
    return whole.first_centers(sample, n_clusters, init, random_state), True, variance
