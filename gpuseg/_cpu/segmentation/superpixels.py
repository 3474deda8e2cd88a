"""Superpixels: their statistics, the graph of those that touch, and SLIC."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree
from skimage.util import regular_grid

from ..._backend import array_namespace, asnumpy, ndimage
from ...kernels import launch
from ...kernels import superpixels as kernel
from ...kernels.gaussian import CHUNK, REFLECT, convolve_cpu, filter_columns, weights
from ...kernels.label import label_cpu
from ...kernels.merging import merge
from ..regions import (
    PIECE,
    class_sums,
    compact,
    is_label,
    largest,
    region_ends,
    region_means,
    region_sizes,
    region_sums,
    region_variances,
    scale_for,
)


def superpixel_means(image, *, labels, statistic, background):
    xp = array_namespace(image)
    flat, numbers = compact(labels)
    dtype = np.result_type(image.dtype, np.float32)
    out = xp.empty((flat.size, image.shape[-1]), dtype)
    for c in range(image.shape[-1]):
        values = statistics(image[..., c].reshape(-1), flat, numbers.size, statistic)
        values[is_label(numbers, background)] = 0
        values = values.astype(dtype)
        for at in range(0, flat.size, PIECE):
            out[at : at + PIECE, c] = values[flat[at : at + PIECE]]
    return out.reshape(image.shape)


def statistics(values, flat, count, statistic):
    """One number for each region, in float64."""
    xp = array_namespace(values)
    if callable(statistic):
        regions = np.arange(count)
        return ndimage(values).labeled_comprehension(
            values, flat, regions, statistic, np.float64, np.nan
        )
    values = values.view(xp.uint8) if values.dtype == bool else values
    if statistic == "median":
        found = ndimage(values).median(values, flat, xp.arange(count))
        return xp.asarray(found, dtype=xp.float64)
    if statistic in ("min", "max"):
        return region_ends(values, flat, count)[statistic == "max"]
    if statistic == "sum":
        scale = scale_for(largest(values), values.size)
        return scale.total(*region_sums(values, flat, count, scale))
    if statistic == "mean":
        return region_means(values, flat, count)
    found = region_variances(values, flat, count)
    return found.plain() if statistic == "var" else found.roots()


def merge_superpixels(
    labels, *, image, threshold, least, by_strength, connectivity, background
):  # fmt: skip
    xp = array_namespace(labels)
    flat, numbers = compact(labels)
    flat = flat.astype(xp.int32, copy=False)
    channels = [image[..., c] for c in range(image.shape[-1])]
    graph = region_graph(flat.reshape(labels.shape), channels if by_strength else (), connectivity)
    sizes = region_sizes(flat, numbers.size)
    sums = [asnumpy(statistics(c.reshape(-1), flat, numbers.size, "sum")) for c in channels]
    sums = np.stack(sums, axis=1)
    names = merged_names(
        asnumpy(numbers), graph, asnumpy(sizes), sums, by_strength, threshold, least, background
    )
    return xp.asarray(names)[flat].reshape(labels.shape)


def merged_names(numbers, graph, sizes, sums, by_strength, threshold, least, background):
    """What each region is called once its graph is merged."""
    first, second, lengths, strengths = graph
    outside = np.flatnonzero(is_label(numbers, background))  # none, or the one
    inside = ~(np.isin(first, outside) | np.isin(second, outside))
    parents = merge(
        first[inside],
        second[inside],
        lengths[inside],
        strengths[inside],
        sizes,
        sums,
        by_strength,
        threshold,
        least + outside.size,
    )
    roots = np.setdiff1d(parents, outside)
    names = np.searchsorted(roots, parents).astype(np.int32) + 1
    names[outside] = 0
    return names


def region_graph(labels, channels, connectivity):
    """Pairs of regions that touch, first < second, in host memory.

    With them the number of pairs of pixels that do, and the sum of the distances of these pixels
    in the channels. Pairs of pixels lie along up to `connectivity` axes.
    """
    xp = array_namespace(labels)
    count = int(labels.max()) + 1
    keys, distances = [], []
    for step in half_steps(labels.ndim, connectivity):
        a, b = _shifted(labels, step)
        edge = a != b
        a, b = a[edge].astype(xp.int64), b[edge]
        keys.append(xp.minimum(a, b) * count + xp.maximum(a, b))
        square = xp.zeros(keys[-1].size)
        for channel in channels:
            here, there = (part[edge].astype(xp.float64) for part in _shifted(channel, step))
            here -= there
            here *= here
            square += here
        distances.append(xp.sqrt(square))
    edges, index = xp.unique(xp.concatenate(keys), return_inverse=True)
    distances = xp.concatenate(distances)
    if not edges.size:
        return (np.zeros(0, np.int64),) * 2 + (np.zeros(0),) * 2
    strengths, lengths = class_sums(distances, index.reshape(-1), edges.size)
    edges = asnumpy(edges)
    return (
        edges // count,
        edges % count,
        asnumpy(lengths).astype(np.float64),
        asnumpy(strengths),
    )


def half_steps(ndim, connectivity):
    """The steps to a pixel's neighbours, one of each pair of opposite ones."""
    for step in itertools.product((-1, 0, 1), repeat=ndim):
        if step > (0,) * ndim and sum(map(abs, step)) <= connectivity:
            yield step


def _shifted(image, step):
    """Two views of an image: pixels, and the pixels one step further."""
    here = tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(step, image.shape))
    there = tuple(slice(max(0, s), n - max(0, -s)) for s, n in zip(step, image.shape))
    return image[here], image[there]


# --- SLIC -------------------------------------------------------------------------------------

# Colours are whole multiples of 2**-_BITS of a bound of their size, and so are the Gaussian's
# weights: products and sums of these have no rounding in float64, nor sums of colours.
_BITS = 22


class Steps(NamedTuple):
    """What a backend does itself."""

    rescaled: Callable
    to_lab: Callable
    rounded: Callable
    smoothed: Callable
    assign: Callable
    farthest: Callable
    label: Callable
    faces: Callable
    region_sums: Callable
    named: Callable


class Grid(NamedTuple):
    """The cells of an image, and the centres that the pixels of each compare.

    Cell (k, j, i) begins at ``steps * (k, j, i)``, and the last ones end with the image. Its
    centres are ``near[starts[cell] : starts[cell + 1]]``, the nearest first, or, where these are
    empty, those of its own number and of the cells around. `places` holds the coordinates along
    each axis in float32, in the units of the colours.
    """

    shape: np.ndarray
    steps: np.ndarray
    counts: np.ndarray
    starts: np.ndarray
    near: np.ndarray
    places: tuple


def slic(image, **options):
    return run_slic(_SLIC, image, **options)


def run_slic(
    steps, image, *, inside, low, high, n_segments, compactness, max_num_iter, sigma, spacing,
    lab, connected, min_size_factor, max_size_factor, zero, start_label,
):  # fmt: skip
    """SLIC of an image with its channels first, by the steps of a backend."""
    xp, shape = array_namespace(image), image.shape[1:]
    flat = (1,) * (3 - len(shape))
    space, spacing = flat + shape, np.array(flat + spacing, np.float64)
    colors = _colors(steps, image, low, high, sigma, lab)
    if inside is None:
        seeds, step, cells = _grid_of_seeds(space, n_segments)
        plan = [True] + [False] * (max_num_iter - 1)
    else:
        pixels = np.argwhere(asnumpy(inside).reshape(space))
        seeds, step = _seeds_within(pixels, n_segments)
        cells = _cells_within(pixels, seeds, spacing, space)
        plan = [True] * max_num_iter
        inside = xp.ascontiguousarray(inside).reshape(-1)
    # A power of two, which rounds nothing, keeps squares of places in float32.
    scale = spacing * 2.0 ** -math.ceil(math.log2((spacing * space).max()))
    unit = (step * scale.max() / spacing.max()) ** 2
    # Beyond these bounds either colour or place is nothing.
    compactness = min(max(compactness, 1e-12), 1e12)
    places = tuple(xp.asarray((np.arange(n) * s).astype(np.float32)) for n, s in zip(space, scale))
    moving = slice(3 - len(shape), 3)
    centers = np.zeros((len(seeds), len(colors) + len(shape)), np.float32)
    centers[:, len(colors) :] = (seeds * scale)[:, moving]
    centers = xp.asarray(centers)
    clusters = _Clusters(steps, colors, inside, xp.asarray(scale[moving]), unit, compactness**2)
    if inside is not None:
        centers = clusters.moved(_grid(xp, cells, places), centers, plan)
        seeds = np.zeros_like(seeds)
        seeds[:, moving] = asnumpy(centers)[:, len(colors) :] / scale[moving]
        cells = _cells_within(pixels, seeds, spacing, space)
        plan = [False] * max_num_iter
        del pixels
    grid = _grid(xp, cells, places)
    if zero:
        labels = clusters.adapted(grid, centers, plan)
    else:
        labels = clusters.moved(grid, centers, plan, last=True)
    if not connected:
        return (labels.astype(xp.int64) + start_label).reshape(shape)
    size = (labels.size if inside is None else int(xp.count_nonzero(inside))) / len(seeds)
    bounds = int(min_size_factor * size), int(max_size_factor * size)
    regions, names = _connected(steps, labels.reshape(space), colors, *bounds, start_label)
    del labels, colors, clusters
    out = xp.empty(shape, xp.int64)
    steps.named(regions.reshape(-1), xp.asarray(names), out.reshape(-1))
    return out


def _grid(xp, cells, places):
    """A grid whose lists lie where the image does."""
    *sizes, starts, near = cells
    return Grid(*sizes, xp.asarray(starts), xp.asarray(near), places)


class _Clusters(NamedTuple):
    """What stays the same from step to step.

    Squared distances are those of places, with seeds `unit` apart (squared), and `unit` times those
    of colours over `compactness` (squared).
    """

    steps: Steps
    colors: object
    inside: object
    scale: object
    unit: float
    compactness: float

    def moved(self, grid, centers, plan, *, last=False):
        """The centres after some steps, each by place alone (True) or by place and colour.

        Or, if this is the `last` that is asked for, each pixel's label in the last step.
        """
        xp = array_namespace(self.colors)
        weights = xp.full(len(centers), self.unit / self.compactness, xp.float32)
        every = self.colors, self.inside, grid
        for spatial in plan[: len(plan) - last]:
            centers = self._means(
                self.steps.assign(*every, centers, weights, spatial=spatial), centers
            )
        return self._labels(grid, centers, weights, plan[-1]) if last else centers

    def adapted(self, grid, centers, plan):
        """Each pixel's label in the last step, where the compactness of each cluster is the largest
        distance of its colours so far."""
        xp = array_namespace(self.colors)
        most = xp.full(len(centers), self.compactness, xp.float32)
        unit = xp.float32(self.unit)
        labels = self._nobody()
        for spatial in plan[:-1]:
            sums = self.steps.assign(
                self.colors, self.inside, grid, centers, unit / most, spatial=spatial, labels=labels
            )
            centers = self._means(sums, centers)
            most = self.steps.farthest(self.colors, labels, centers, most)
        return self._labels(grid, centers, unit / most, plan[-1])

    def _labels(self, grid, centers, weights, spatial):
        labels = self._nobody()
        how = {"spatial": spatial, "labels": labels, "sum_up": False}
        self.steps.assign(self.colors, self.inside, grid, centers, weights, **how)
        return labels

    def _nobody(self):
        """Label -1: what is outside the mask keeps it."""
        xp = array_namespace(self.colors)
        return xp.full(self.colors.shape[1], -1, xp.int32)

    def _means(self, sums, centers):
        """The mean of what each centre won; it stays where it is if that is nothing."""
        xp = array_namespace(sums)
        means = sums[:, :-1] / xp.maximum(sums[:, -1:], 1)
        means[:, len(self.colors) :] *= self.scale
        return xp.where(sums[:, -1:] > 0, means.astype(xp.float32), centers)


def _colors(steps, image, low, high, sigma, lab):
    """Channels in float32, (channel, pixel): in [0, 1] or L*a*b*, smoothed, in whole units."""
    xp, shape = array_namespace(image), image.shape[1:]
    factor = 0.5 if math.isinf(high - low) else 1.0
    low *= factor
    span = (high * factor - low) or 1.0
    colors = xp.empty((len(image), math.prod(shape)), xp.float32)
    for channel, row in zip(image, colors):
        if channel.dtype == np.float16:
            channel = channel.astype(xp.float32)
        channel = channel.view(xp.uint8) if channel.dtype == bool else channel
        steps.rescaled(xp.ascontiguousarray(channel).reshape(-1), factor, low, span, row)
    if lab:
        steps.to_lab(colors)
    unit = (128.0 if lab else 1.0) * 2.0**-_BITS
    kernels = [_whole_weights(s) if s > 0 else None for s in sigma]
    for row in colors:
        steps.rounded(row, unit, row)
        if any(kernel is not None for kernel in kernels):
            steps.smoothed(row.reshape(shape), kernels, unit)
    return colors


def _whole_weights(sigma):
    """A Gaussian kernel whose weights are whole multiples of 2**-24 and have the sum 1."""
    kernel = np.rint(weights(sigma, 4.0) * 2.0**24)
    kernel[0] = 2.0**24 - 2 * kernel[1:].sum()
    return kernel * 2.0**-24


def _grid_of_seeds(shape, n_segments):
    """Seeds on scikit-image's regular grid, its widest step, and a cell for each."""
    slices = regular_grid(shape, n_segments)
    axes = [np.arange(n)[s] for n, s in zip(shape, slices)]
    counts = np.array([a.size for a in axes])
    steps = np.array([int(s.step or 1) for s in slices])
    seeds = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3).astype(np.float64)
    nothing = np.empty(0, np.int64), np.empty(0, np.int32)
    return seeds, float(steps.max()), (np.array(shape), steps, counts, *nothing)


def _seeds_within(pixels, n_segments):
    """Seeds spread over the pixels of a mask by k-means, and scikit-image's step between them."""
    random = np.random.RandomState(123)
    count = min(n_segments, len(pixels))
    seeds = pixels[np.sort(random.choice(len(pixels), count, replace=False))].astype(np.float64)
    dense = 10 ** pixels.shape[1] * count
    if len(pixels) > dense:
        pixels = pixels[np.sort(random.choice(len(pixels), dense, replace=False))]
    for _ in range(5):
        nearest = cKDTree(seeds).query(pixels)[1]
        sizes = np.bincount(nearest, minlength=count)
        for axis in range(3):
            sums = np.bincount(nearest, pixels[:, axis], count)
            seeds[:, axis] = np.where(sizes > 0, sums / np.maximum(sizes, 1), seeds[:, axis])
    if count == 1:
        return seeds, float(max(np.ptp(pixels, axis=0).max(), 1))
    closest = cKDTree(seeds).query(seeds, k=2)[1][:, 1]
    return seeds, float(max(np.abs(seeds - seeds[closest]).mean(0).max(), 1))


def _cells_within(pixels, seeds, spacing, shape):
    """Cells as large as a seed's share of a mask, and the seeds about each that holds pixels."""
    flat = np.array([n == 1 for n in shape])
    share = len(pixels) / len(seeds) * np.prod(spacing[~flat])
    edge = share ** (1 / max(1, np.count_nonzero(~flat)))
    steps = np.clip(np.ceil(edge / spacing), 1, shape).astype(np.int64)
    counts = np.maximum(np.array(shape) // steps, 1)
    cell = np.minimum(pixels // steps, counts - 1)
    occupied = np.unique((cell[:, 0] * counts[1] + cell[:, 1]) * counts[2] + cell[:, 2])
    cell = np.stack(np.unravel_index(occupied, counts), 1)
    first, last = cell * steps, np.where(cell + 1 < counts, (cell + 1) * steps, shape) - 1
    tree = cKDTree(seeds * spacing)
    middle = (first + last) / 2 * spacing
    radius = np.linalg.norm((last - first) / 2 * spacing, axis=1)
    nearest = tree.query(middle)[0]
    # Whatever is nearest to some pixel of the cell lies within twice its radius of the nearest.
    reach = np.maximum(radius + 2 * edge, (nearest + 2 * radius) * 1.001 + 1e-9)
    around = tree.query_ball_point(middle, reach)
    lengths = np.array([len(some) for some in around])
    near = np.concatenate([np.asarray(some, np.int32) for some in around])
    owner = np.repeat(np.arange(len(lengths)), lengths)
    away = np.linalg.norm(seeds[near] * spacing - middle[owner], axis=1)
    sizes = np.zeros(np.prod(counts), np.int64)
    sizes[occupied] = lengths
    starts = np.concatenate([[0], np.cumsum(sizes)])
    return np.array(shape), steps, counts, starts, near[np.lexsort((near, away, owner))]


def _connected(steps, labels, colors, least, most, start_label):
    """The connected regions of equal label, and each one's name once small ones have joined."""
    regions, sums, sizes = _sized(steps, labels, colors)
    large = sizes > max(most, 1)
    large[0] = False
    if large.any():
        regions, sums, sizes = _sized(steps, _cut(regions, sizes, large, max(most, 1)), colors)
    small = sizes < least
    small[0] = False
    parents = np.arange(sizes.size)
    if small.any():
        parents = kernel.absorb(steps.faces(regions, small), sizes, sums, least)
    roots = parents == np.arange(sizes.size)
    names = np.cumsum(roots)[parents] - 2 + start_label
    names[0] = start_label - 1
    return regions, names


def _sized(steps, labels, colors):
    """Connected regions of equal label from 1 on, 0 for label -1; sums of colours and sizes."""
    regions, count = steps.label(labels)
    sums = steps.region_sums(regions.reshape(-1), colors, count + 1)
    return regions, sums[:, :-1], sums[:, -1].astype(np.int64)


def _cut(regions, sizes, large, most):
    """Cut the large regions across their longest axes into parts of up to `most` pixels."""
    xp, flat = array_namespace(regions), regions.reshape(-1)
    numbers = np.flatnonzero(large)
    parts = -(-sizes[numbers] // most)
    rank = np.cumsum(large) - 1
    pixels = xp.flatnonzero(xp.asarray(large)[flat])
    region = xp.asarray(rank)[flat[pixels]]
    places = xp.stack(xp.unravel_index(pixels, regions.shape)).astype(xp.int32)
    low = xp.full((3, numbers.size), max(regions.shape), xp.int32)
    high = xp.zeros_like(low)
    for axis in range(3):
        xp.minimum.at(low[axis], region, places[axis])
        xp.maximum.at(high[axis], region, places[axis])
    longest = (high - low).argmax(0)
    each = xp.arange(numbers.size)
    low, extent = low[longest, each], (high - low)[longest, each] + 1
    # The layers of all these regions in one row: which part does each belong to?
    ends = xp.cumsum(extent)
    layer = places[longest[region], xp.arange(pixels.size)] - low[region] + (ends - extent)[region]
    counts = xp.bincount(layer, minlength=int(ends[-1]))
    owner = xp.repeat(each, asnumpy(extent).tolist())
    before = xp.cumsum(counts) - counts
    before -= before[ends - extent][owner]
    part = before * xp.asarray(parts)[owner] // xp.asarray(sizes[numbers])[owner]
    firsts = xp.asarray(sizes.size + np.cumsum(parts) - parts)
    cut = flat.copy()
    cut[pixels] = (firsts[region] + part[layer]).astype(cut.dtype)
    cut = cut.reshape(regions.shape)
    cut[cut == 0] = -1
    return cut


def _rescaled(values, factor, low, span, out):
    launch.slabs(kernel.rescale_range, out.size, values, factor, low, span, out)


def _to_lab(colors):
    tables = kernel.lab_tables(), kernel.lab_matrix()
    launch.slabs(kernel.lab_range, colors.shape[1], *tables, *colors)


def _rounded(values, unit, out):
    values, out = values.reshape(-1), out.reshape(-1)
    launch.slabs(kernel.round_range, out.size, values.dtype.type(unit), values, out)


def _smoothed(channel, kernels, unit):
    """Smooth in place, an axis at a time, and round after each."""
    values = channel.astype(np.float64)
    *others, last = kernels
    for axis, weight in enumerate(others):
        if weight is not None:
            outer, length = math.prod(channel.shape[:axis]), channel.shape[axis]
            inner = math.prod(channel.shape[axis + 1 :])
            chunks = -(-inner // CHUNK)
            launch.slabs(filter_columns, outer * chunks, values.reshape(-1), length, inner, chunks,
                         weight, REFLECT, 0.0)  # fmt: skip
            _rounded(values, unit, values)
    if last is not None:
        alone = [np.ones(1)] * len(others) + [last]
        values = convolve_cpu(values, alone, "reflect", 0.0, np.empty_like(values))
        _rounded(values, unit, values)
    channel[:] = values


def _farthest(colors, labels, centers, most):
    parts = launch.slabs(kernel.farthest_range, labels.size, colors, labels, centers, most)
    return np.maximum.reduce(parts)


def _label(labels):
    return label_cpu(labels, labels.dtype.type(-1), labels.shape, 1)


def _faces(regions, small):
    lines = regions.shape[0] * regions.shape[1]
    shape = np.array(regions.shape)
    parts = launch.slabs(kernel.faces_range, lines, regions.reshape(-1), small, shape)
    return np.concatenate(parts)


def _region_sums(regions, colors, count):
    sums = np.zeros((count, len(colors) + 1))
    for low, part in launch.slabs(kernel.region_sums_range, regions.size, regions, colors):
        sums[low : low + len(part)] += part
    return sums


def _named(regions, names, out):
    launch.slabs(kernel.name_range, out.size, regions, names, out)


_SLIC = Steps(
    _rescaled, _to_lab, _rounded, _smoothed, kernel.assign_cpu, _farthest, _label, _faces,
    _region_sums, _named,
)  # fmt: skip
