"""Statistics of chunked superpixels, and their merging."""

from __future__ import annotations

import itertools
from functools import partial

import dask
import numpy as np
from dask import array as da

from ..._backend import array_namespace, asnumpy
from ..._cpu.regions import class_sums, is_label, sum_step
from ..._cpu.segmentation.superpixels import half_steps, merged_names, statistics
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
        found=dask.delayed(_found(these, statistic), traverse=False),
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
        values[is_label(numbers, background)] = 0
        values = xp.asarray(values.astype(into))
        return values[flat].reshape(*labels.shape[:-1], -1)


def _found(these, statistic) -> Regions:
    """A number of each channel of each region."""
    if statistic in ("min", "max"):
        ufunc, start = (np.minimum, np.inf) if statistic == "min" else (np.maximum, -np.inf)
        join = partial(_regions.together, ufunc=ufunc, start=start)
        return joined(join, each(_measured, these.arrays, statistic)).compute()
    if callable(statistic) or statistic == "median":
        held = joined(_regions.added, each(_held, [these.labels])).compute()
        gathered = joined(_laid, each(_gathered, these.arrays, statistic, held)).compute()
        return _finished(statistic, gathered)
    if statistic in ("std", "var"):
        numbers, channels = _regions.variances(these)
        found = [v.roots() if statistic == "std" else v.plain() for v in channels]
        return Regions(numbers, channels[0].sizes, np.stack(found, axis=1))
    return _regions.sums(these) if statistic == "sum" else _regions.means(these)


def _measured(statistic, image, labels) -> Regions:
    """A statistic of every region of a chunk."""
    flat, numbers = _regions.compacted(labels, image)
    pixels = image.reshape(-1, image.shape[-1])
    return _of(pixels, flat, numbers, statistic)


def _of(pixels, flat, numbers, statistic) -> Regions:
    columns = [statistics(values, flat, numbers.size, statistic) for values in pixels.T]
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


def _finished(statistic, gathered) -> Regions:
    found, pixels = gathered
    labels, pixels = map(np.concatenate, zip(*pixels))
    if labels.size:
        numbers, flat = np.unique(labels, return_inverse=True)
        found = [*found, _of(pixels, flat, numbers, statistic)]
    return _regions.added(found)


# --- merging ----------------------------------------------------------------------------------


def merge_superpixels(
    labels, *, image, threshold, least, by_strength, connectivity, background
):  # fmt: skip
    these = _regions.measured(image, labels)
    sums = _regions.sums(these)
    graph = _graph(these, sums, by_strength, connectivity)
    given = by_strength, threshold, least, background
    names = merged_names(sums.numbers, graph, sums.sizes, sums.values, *given)
    table = dask.delayed((sums.numbers, names), traverse=False)
    return da.map_blocks(_named, these.labels, table, dtype=np.int32)


def _named(labels, table):
    (every, names), (flat, numbers) = table, _regions.compacted(labels)
    names = array_namespace(labels).asarray(names[np.searchsorted(every, numbers)])
    return names[flat].reshape(labels.shape)


def _graph(these, sums, by_strength, connectivity):
    """As `region_graph` of the whole: each pair of pixels is seen from the chunk of its first."""
    labels = these.labels
    deep = [int(len(sizes) > 1) for sizes in labels.chunks]
    cores = [
        tuple(
            slice(d * (i > 0), d * (i > 0) + sizes[i])
            for d, i, sizes in zip(deep, place, labels.chunks)
        )
        for place in np.ndindex(labels.numblocks)
    ]

    arrays = [labels, these.image] if by_strength else [labels]
    around = [
        da.overlap.overlap(x, dict(enumerate([*deep, 0][: x.ndim])), "none", allow_rechunk=False)
        for x in arrays
    ]
    step = None
    if by_strength:
        strengths = each(_strength, around, connectivity, along=[cores])
        most, count = joined(_strongest, strengths).compute()
        step = sum_step(float(most), count, squares=False)
    edges = each(_edges, around, connectivity, sums, step, along=[cores])
    return _ends(joined(_regions.added, edges).compute(), sums)


def _pairs(connectivity, core, labels, image=None):
    """The labels of pixels of the core, and of their neighbours, where they differ; with the
    distance of their values, or 0."""
    for step in half_steps(labels.ndim, connectivity):
        reach = [
            (max(c.start, -s), min(c.stop, n - max(0, s)))
            for c, s, n in zip(core, step, labels.shape)
        ]
        here = tuple(slice(low, high) for low, high in reach)
        there = tuple(slice(low + s, high + s) for (low, high), s in zip(reach, step))
        edge = labels[here] != labels[there]
        square = np.zeros(int(np.count_nonzero(edge)))
        for c in range(0 if image is None else image.shape[-1]):
            away = image[..., c][here][edge].astype(np.float64)
            away -= image[..., c][there][edge].astype(np.float64)
            away *= away
            square += away
        yield labels[here][edge], labels[there][edge], np.sqrt(square)


def _strength(connectivity, core, *blocks):
    """The largest distance of two neighbours, and how many there are."""
    distances = [d for _, _, d in _pairs(connectivity, core, *map(asnumpy, blocks))]
    return max(d.max(initial=0) for d in distances), sum(d.size for d in distances)


def _strongest(parts):
    return max(most for most, _ in parts), sum(count for _, count in parts)


def _edges(connectivity, sums, step, core, *blocks) -> Regions:
    """The edges of the graph, as keys, with the number of pairs and the sum of their distances."""
    keys, distances, count = [], [], sums.numbers.size
    for a, b, distance in _pairs(connectivity, core, *map(asnumpy, blocks)):
        a, b = (np.searchsorted(sums.numbers, x).astype(np.int64) for x in (a, b))
        keys.append(np.minimum(a, b) * count + np.maximum(a, b))
        distances.append(distance)
    keys, flat = np.unique(np.concatenate(keys), return_inverse=True)
    if not keys.size:
        return Regions(keys, np.zeros(0, np.int64), np.zeros((0, 1)))
    strengths, lengths = class_sums(np.concatenate(distances), flat, keys.size, step=step)
    return Regions(keys, lengths, strengths[:, np.newaxis])


def _ends(edges, sums):
    first, second = np.divmod(edges.numbers, sums.numbers.size)
    return first, second, edges.sizes.astype(np.float64), edges.values[:, 0]
