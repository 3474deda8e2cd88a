"""Quad-trees and octrees, bottom-up: a pyramid of blocks, one scan, leaves in Morton order.

An image is taken as (depth, height, width), with a depth of 1 in 2-D: there a block has one child
along the first axis and not two, and everything else is the same. Blocks have the sides 1, 2, 4,
... 2**top; those wholly outside the image do not exist, the others hold the voxels inside it.

First all blocks up to a tile's size are found for one group of tiles after the other, in the cache
(CPU) or in shared memory (CUDA); of these only the tiles are kept. The levels above are some
thousandths of the image. Every block knows how many leaves it would have, so that on the way down
each knows where its own go. A tile that is split finds its inner blocks once more to write them.

Sums are taken in float64 and one order on both backends: the two children of a row, then the rows.
A block's spread (the sum of squared distances from its mean) comes from those of its children, so
that a large mean costs no digits.
"""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
from numba import cuda, types
from numba.np.numpy_support import from_dtype

from . import launch
from .exact import multiply64
from .kept import njit

# Voxels along x that the CPU form works on at a time.
_CHUNK = 2048

# For what only other kernels call: half as long to compile as with a way in from Python.
part = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)


class Plan(NamedTuple):
    """The blocks of an image, from the tiles (level `tile`) up to the one that holds everything."""

    shape: np.ndarray  # depth, height, width
    flat: bool  # whether the image has two axes
    tile: int
    grids: np.ndarray  # for each level, the number of blocks along each axis
    bases: np.ndarray  # for each level, its first block among all

    @property
    def nodes(self) -> int:
        return int(self.bases[-1])


def layout(shape: tuple[int, ...], tile: int) -> Plan:
    """The blocks of an image of two or three axes, in tiles of side ``2**tile``."""
    flat = len(shape) == 2
    shape = np.array((1, *shape) if flat else shape, np.int64)
    top = max(tile, int(shape.max() - 1).bit_length())
    grids = np.array([-(-shape // (1 << level)) for level in range(tile, top + 1)])
    bases = np.concatenate([[0], np.cumsum(grids.prod(axis=1))])
    return Plan(shape, flat, tile, grids, bases)


class Rule(NamedTuple):
    """When a block is split: a side over `most`, or one over `least` and a measure over `limit`.

    `limit` is one number: float64, or uint64 for the range of integers. Where no variance is asked
    for, arrays of spreads are None, and kernels are compiled without all that they would take.
    """

    limit: np.ndarray
    by_variance: bool
    least: int
    most: int

    @property
    def numbers(self):
        return self.limit, self.least, self.most


class Leaves(NamedTuple):
    corner: np.ndarray
    level: np.ndarray
    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    variance: np.ndarray


def leaf_arrays(xp, count: int, dtype, mean_dtype, plan: Plan, rule: Rule) -> Leaves:
    """Room for `count` leaves; their variance only where it decides."""
    return Leaves(
        xp.empty((count, 2 if plan.flat else 3), np.int32),
        xp.empty(count, np.uint8),
        xp.empty(count, dtype),
        xp.empty(count, dtype),
        xp.empty(count, mean_dtype),
        xp.empty(count, np.float64) if rule.by_variance else None,
    )


def quadtree_cpu(values, plan: Plan, rule: Rule, mean_dtype):
    """The leaves of a C-contiguous image; None where it holds NaN or infinity."""
    table = table_cpu(plan.nodes, values.dtype, rule)
    if not survey_cpu(values, plan, rule, table):
        return None
    gather(*plan, *rule.numbers, *table)
    if not np.isfinite([table[0][-1], table[1][-1]]).all():
        return None
    leaves = leaf_arrays(np, int(table[-1][-1]), values.dtype, mean_dtype, plan, rule)
    starts = np.empty(plan.nodes, np.int64)
    scatter(*plan, *rule.numbers, *table, starts, *leaves)
    return leaves if emit_cpu(values, plan, rule, table, starts, leaves) else None


def table_cpu(nodes: int, dtype, rule: Rule):
    """What is known of blocks: least and greatest value, sum, spread or None, number of leaves."""
    spreads = np.empty(nodes) if rule.by_variance else None
    extremes = np.empty(nodes, dtype), np.empty(nodes, dtype)
    return *extremes, np.zeros(nodes), spreads, np.empty(nodes, np.int64)


def survey_cpu(values, plan: Plan, rule: Rule, table) -> bool:
    """Measure the tiles of a C-contiguous image; whether their sums are finite."""
    return _in_strips(survey, values, plan, rule, *table)


def emit_cpu(values, plan: Plan, rule: Rule, table, starts, leaves: Leaves) -> bool:
    """Write the leaves inside the tiles that have a start; whether the sums are finite."""
    return _in_strips(emit, values, plan, rule, *table, starts, *leaves)


def _in_strips(function, values, plan: Plan, rule: Rule, *arrays) -> bool:
    # Compiled for arrays that are read-only, as some are.
    rows = values.reshape(-1, values.shape[-1])
    rows.flags.writeable = False
    strips = int(plan.grids[0, 0] * plan.grids[0, 1])
    pieces = min(strips, 4 * launch.thread_count())
    given = rows, *plan, *rule.numbers, *arrays
    return not any(launch.slabs(function, strips, *given, pieces=pieces))


# --- the blocks of a group of tiles, a row of blocks at a time ----------------------------------


@part
def row_bases(flat, tile):
    """For each level the first of its rows of blocks among those of a tile's strip."""
    bases = np.zeros(tile + 2, np.int64)
    for level in range(1, tile + 1):
        side = np.int64(1) << (tile - level)
        bases[level + 1] = bases[level] + (side if flat else side * side)
    return bases


@part
def fill(row, value):
    for j in range(row.size):
        row[j] = value


@part
def smaller(a, b):
    return a if a < b else b


@part
def larger(a, b):
    return a if a > b else b


@part
def lowest(a, b, out, first):
    """The least of each pair of columns of two rows, and of the rows before if they are not first.

    Here as below, one loop for the first rows and one for others are vectorised, one for both not.
    """
    half = a.size // 2
    if first:
        for j in range(half):
            out[j] = smaller(smaller(a[2 * j], a[2 * j + 1]), smaller(b[2 * j], b[2 * j + 1]))
        if half < out.size:
            out[half] = smaller(a[2 * half], b[2 * half])
    else:
        for j in range(half):
            pair = smaller(smaller(a[2 * j], a[2 * j + 1]), smaller(b[2 * j], b[2 * j + 1]))
            out[j] = smaller(out[j], pair)
        if half < out.size:
            out[half] = smaller(out[half], smaller(a[2 * half], b[2 * half]))


@part
def highest(a, b, out, first):
    half = a.size // 2
    if first:
        for j in range(half):
            out[j] = larger(larger(a[2 * j], a[2 * j + 1]), larger(b[2 * j], b[2 * j + 1]))
        if half < out.size:
            out[half] = larger(a[2 * half], b[2 * half])
    else:
        for j in range(half):
            pair = larger(larger(a[2 * j], a[2 * j + 1]), larger(b[2 * j], b[2 * j + 1]))
            out[j] = larger(out[j], pair)
        if half < out.size:
            out[half] = larger(out[half], larger(a[2 * half], b[2 * half]))


@part
def extremes(a, b, lows, highs, first):
    """`lowest` and `highest` of the same two rows at once: they load but half as much."""
    half = a.size // 2
    if first:
        for j in range(half):
            p, q, r, s = a[2 * j], a[2 * j + 1], b[2 * j], b[2 * j + 1]
            lows[j] = smaller(smaller(p, q), smaller(r, s))
            highs[j] = larger(larger(p, q), larger(r, s))
        if half < lows.size:
            lows[half] = smaller(a[2 * half], b[2 * half])
            highs[half] = larger(a[2 * half], b[2 * half])
    else:
        for j in range(half):
            p, q, r, s = a[2 * j], a[2 * j + 1], b[2 * j], b[2 * j + 1]
            lows[j] = smaller(lows[j], smaller(smaller(p, q), smaller(r, s)))
            highs[j] = larger(highs[j], larger(larger(p, q), larger(r, s)))
        if half < lows.size:
            lows[half] = smaller(lows[half], smaller(a[2 * half], b[2 * half]))
            highs[half] = larger(highs[half], larger(a[2 * half], b[2 * half]))


@part
def add_row(a, out, first):
    """Add the pairs of a row to what the rows before it gave, if it is not the first."""
    kind = out.dtype.type
    half = a.size // 2
    if first:
        for j in range(half):
            out[j] = kind(a[2 * j]) + kind(a[2 * j + 1])
        if half < out.size:
            out[half] = a[2 * half]
    else:
        for j in range(half):
            out[j] += kind(a[2 * j]) + kind(a[2 * j + 1])
        if half < out.size:
            out[half] += kind(a[2 * half])


@part
def add_rows(a, b, out, first):
    """`add_row` of one row, then of the next."""
    kind = out.dtype.type
    half = a.size // 2
    if first:
        for j in range(half):
            pair = kind(a[2 * j]) + kind(a[2 * j + 1])
            out[j] = pair + (kind(b[2 * j]) + kind(b[2 * j + 1]))
        if half < out.size:
            out[half] = kind(a[2 * half]) + kind(b[2 * half])
    else:
        for j in range(half):
            pair = out[j] + (kind(a[2 * j]) + kind(a[2 * j + 1]))
            out[j] = pair + (kind(b[2 * j]) + kind(b[2 * j + 1]))
        if half < out.size:
            out[half] = (out[half] + kind(a[2 * half])) + kind(b[2 * half])


@part
def pool_sums(source, first, pitch, x, size, out, base):
    """The sums of a level from the one below it, whose rows are ``first + z * pitch + y``.

    `size` counts the blocks below along each axis, from column `x` on.
    """
    depth, height, width = size
    half, across = (height + 1) // 2, (width + 1) // 2
    for z in range(depth):
        for y in range(half):
            a = first + z * pitch + 2 * y
            total = out[base + z // 2 * half + y, :across]
            if 2 * y + 1 < height:
                b = source[a + 1, x : x + width]
                add_rows(source[a, x : x + width], b, total, z % 2 == 0)
            else:
                add_row(source[a, x : x + width], total, z % 2 == 0)


@part
def halved(size):
    return (size[0] + 1) // 2, (size[1] + 1) // 2, (size[2] + 1) // 2


@part
def find_extremes(rows, height, at, size, tile, bases, lows, highs):
    """The extremes of every block of a group of tiles."""
    depth, tall, wide = size
    size = halved(size)
    for z in range(depth):
        for y in range(size[1]):
            a = (at[0] + z) * height + at[1] + 2 * y
            # In the place of a row that is outside stands one that is not.
            b = a + 1 if 2 * y + 1 < tall else a
            r = bases[1] + z // 2 * size[1] + y
            below, above = lows[r, : size[2]], highs[r, : size[2]]
            one, two = rows[a, at[2] : at[2] + wide], rows[b, at[2] : at[2] + wide]
            extremes(one, two, below, above, z % 2 == 0)
    for level in range(2, tile + 1):
        depth, tall, wide = size
        size = halved(size)
        for z in range(depth):
            for y in range(size[1]):
                a = bases[level - 1] + z * tall + 2 * y
                b = a + 1 if 2 * y + 1 < tall else a
                r = bases[level] + z // 2 * size[1] + y
                lowest(lows[a, :wide], lows[b, :wide], lows[r, : size[2]], z % 2 == 0)
                highest(highs[a, :wide], highs[b, :wide], highs[r, : size[2]], z % 2 == 0)


@part
def find_sums(rows, height, at, size, tile, bases, sums):
    pool_sums(rows, at[0] * height + at[1], height, at[2], size, sums, bases[1])
    for level in range(2, tile + 1):
        size = halved(size)
        pool_sums(sums, bases[level - 1], size[1], 0, size, sums, bases[level])


@part
def add_squares(row, mean, out, first):
    """Add the squared distances of voxels from the mean of their block."""
    half = row.size // 2
    if first:
        fill(out, 0)
    for j in range(half):
        a, b = np.float64(row[2 * j]) - mean[j], np.float64(row[2 * j + 1]) - mean[j]
        out[j] += a * a + b * b
    if half < out.size:
        a = np.float64(row[2 * half]) - mean[half]
        out[half] += a * a


@part
def add_spreads(spreads, means, voxels, last, mean, out, first):
    """Add to each block the spreads of its children of a row, about the mean of the block.

    A child has so many `voxels`, the last one of the row `last`.
    """
    full = (means.size - 1) // 2
    if first:
        fill(out, 0)
    for j in range(full):
        a, b = means[2 * j] - mean[j], means[2 * j + 1] - mean[j]
        out[j] += (spreads[2 * j] + voxels * (a * a)) + (spreads[2 * j + 1] + voxels * (b * b))
    a = means[2 * full] - mean[full]
    if 2 * full + 1 == means.size:
        out[full] += spreads[2 * full] + last * (a * a)
    else:
        b = means[2 * full + 1] - mean[full]
        one = spreads[2 * full] + voxels * (a * a)
        out[full] += one + (spreads[2 * full + 1] + last * (b * b))


@part
def row_voxels(size, level, z, y):
    """The voxels of a row's blocks, and of the last one, in a group of `size` voxels."""
    side = np.int64(1) << level
    area = min(side, size[0] - z * side) * min(side, size[1] - y * side)
    count = (size[2] + side - 1) >> level
    return np.float64(area * side), np.float64(area * (size[2] - (count - 1) * side))


@part
def find_spreads(rows, height, at, size, tile, bases, lows, highs, sums, means, spreads):
    """The means and the spreads of every block of a group of tiles, from their sums."""
    within = size
    first, pitch, x = at[0] * height + at[1], height, at[2]
    for level in range(1, tile + 1):
        depth, tall, width = within
        within = halved(within)
        for z in range(within[0]):
            for y in range(within[1]):
                out = bases[level] + z * within[1] + y
                full, last = row_voxels(size, level, z, y)
                mean, spread = means[out, : within[2]], spreads[out, : within[2]]
                divide(sums[out, : within[2]], full, last, mean)
                for k in range(4):
                    below, behind = 2 * z + k // 2, 2 * y + k % 2
                    if below >= depth or behind >= tall:
                        continue
                    r = first + below * pitch + behind
                    if level == 1:
                        add_squares(rows[r, x : x + width], mean, spread, k == 0)
                    else:
                        full, last = row_voxels(size, level - 1, below, behind)
                        add_spreads(
                            spreads[r, :width], means[r, :width], full, last, mean, spread, k == 0
                        )
                settle_spreads(lows[out, : within[2]], highs[out, : within[2]], spread)
        first, pitch = bases[level], within[1]


@part
def divide(sums, voxels, last, means):
    for j in range(means.size):
        means[j] = sums[j] / voxels
    means[-1] = sums[-1] / last


@part
def settle_spreads(lows, highs, spreads):
    """Where all values are one, rounding of their mean is no spread."""
    for j in range(spreads.size):
        spreads[j] = spreads[j] if lows[j] < highs[j] else 0.0


@part
def mark_by_range(lows, highs, limit, level, marks):
    kind = limit.dtype.type
    most = limit[0]
    for j in range(marks.size):
        marks[j] = 0 if kind(highs[j]) - kind(lows[j]) > most else level


@part
def mark_by_variance(spreads, voxels, last, limit, level, marks):
    most = np.float64(limit[0])
    for j in range(marks.size - 1):
        marks[j] = level if spreads[j] / voxels <= most else 0
    marks[-1] = level if spreads[marks.size - 1] / last <= most else 0


@part
def mark_whole(
    size, tile, bases, limit, least, most, lows, highs, spreads, marks
):  # fmt: skip
    """Mark every block of a group of tiles that is not split with its level, the others with 0."""
    within = size
    for level in range(1, tile + 1):
        within = halved(within)
        side = np.int64(1) << level
        for z in range(within[0]):
            for y in range(within[1]):
                r = bases[level] + z * within[1] + y
                mark = marks[r, : within[2]]
                if side > most or side <= least:
                    fill(mark, 0 if side > most else level)
                elif spreads is not None:
                    full, last = row_voxels(size, level, z, y)
                    mark_by_variance(spreads[r], full, last, limit, np.uint8(level), mark)
                else:
                    mark_by_range(lows[r], highs[r], limit, np.uint8(level), mark)


@part
def mark_inside(size, tile, bases, marks):
    """Give all that lies inside a marked block smaller than a tile the mark of the largest one."""
    for level in range(tile - 1, 1, -1):
        side, half = np.int64(1) << level, np.int64(1) << (level - 1)
        depth, tall = (size[0] + half - 1) // half, (size[1] + half - 1) // half
        wide, pitch = (size[2] + half - 1) // half, (size[1] + side - 1) // side
        for z in range(depth):
            for y in range(tall):
                above = marks[bases[level] + z // 2 * pitch + y // 2]
                pass_down(above, marks[bases[level - 1] + z * tall + y, :wide])


@part
def pass_down(above, marks):
    for j in range(marks.size // 2):
        marks[2 * j] = above[j] if above[j] else marks[2 * j]
        marks[2 * j + 1] = above[j] if above[j] else marks[2 * j + 1]
    if marks.size % 2:
        marks[-1] = above[marks.size // 2] if above[marks.size // 2] else marks[-1]


@part
def count_leaves(size, tile, bases, marks, counts):
    """How many leaves every block of a group of tiles would have."""
    within = halved(size)
    for z in range(within[0]):
        for y in range(within[1]):
            r = bases[1] + z * within[1] + y
            full, last = row_voxels(size, 1, z, y)
            voxels = np.int32(full)
            for j in range(within[2]):
                counts[r, j] = 1 if marks[r, j] else voxels
            if marks[r, within[2] - 1] == 0:
                counts[r, within[2] - 1] = np.int32(last)
    for level in range(2, tile + 1):
        depth, tall, width = within
        within = halved(within)
        for z in range(depth):
            for y in range(tall):
                r = bases[level] + z // 2 * within[1] + y // 2
                row = counts[bases[level - 1] + z * tall + y, :width]
                add_row(row, counts[r, : within[2]], z % 2 == 0 and y % 2 == 0)
        for r in range(bases[level], bases[level] + within[0] * within[1]):
            for j in range(within[2]):
                counts[r, j] = 1 if marks[r, j] else counts[r, j]


# --- all tiles ----------------------------------------------------------------------------------


@part
def must_split(low, high, spread, voxels, level, limit, least, most):
    """Whether a block is split."""
    side = np.int64(1) << level
    if side > most or side <= least:
        return side > most
    if spread is not None:
        return not (spread / voxels <= limit[0])
    kind = limit.dtype.type
    return kind(high) - kind(low) > limit[0]


@part
def voxels_of(shape, level, z, y, x):
    """The voxels inside the image of a block, by its place among those of its level."""
    side = np.int64(1) << level
    deep = min(side, shape[0] - z * side)
    return deep * min(side, shape[1] - y * side) * min(side, shape[2] - x * side)


@part
def strip(index, shape, flat, tile, grid):
    """The corner of a strip of tiles along x, and its size."""
    side = np.int64(1) << tile
    z, y = index // grid[1] * side, index % grid[1] * side
    return z, y, min(side, shape[0] - z), min(side, shape[1] - y)


@part
def scratch(bases, kind):
    """Rows of the blocks of one group of tiles: extremes, sums, marks."""
    shape = bases[-1], _CHUNK // 2
    lows, highs = np.empty(shape, kind), np.empty(shape, kind)
    return lows, highs, np.empty(shape), np.empty(shape, np.uint8)


@part
def like(rows, spreads):
    """Rows of means or spreads, where the spreads of tiles are asked for."""
    if spreads is None:
        return None
    return np.empty(rows.shape)


@part
def entry(spreads, i):
    if spreads is None:
        return None
    return spreads[i]


@njit(nogil=True, cache=True)
def survey(
    start, stop, rows, shape, flat, tile, grids, node_bases, limit, least, most,
    all_lows, all_highs, all_sums, all_spreads, all_counts,
):  # fmt: skip
    """Measure the tiles of some strips, and count their leaves. True where a sum is not finite."""
    bases = row_bases(flat, tile)
    lows, highs, sums, marks = scratch(bases, all_lows.dtype)
    means, spreads = like(sums, all_spreads), like(sums, all_spreads)
    counts = np.empty(lows.shape, np.int32)
    height, width = shape[1], shape[2]
    last = bases[tile]
    bad = False
    for index in range(start, stop):
        z, y, deep, tall = strip(index, shape, flat, tile, grids[0])
        for x in range(0, width, _CHUNK):
            at, size = (z, y, x), (deep, tall, min(_CHUNK, width - x))
            tiles = (size[2] + (1 << tile) - 1) >> tile
            node = index * grids[0, 2] + (x >> tile)
            find_extremes(rows, height, at, size, tile, bases, lows, highs)
            if all_spreads is not None:
                find_sums(rows, height, at, size, tile, bases, sums)
                find_spreads(rows, height, at, size, tile, bases, lows, highs, sums, means, spreads)
            mark_whole(size, tile, bases, limit, least, most, lows, highs, spreads, marks)
            count_leaves(size, tile, bases, marks, counts)
            whole = 0
            for j in range(tiles):
                whole += marks[last, j] > 0
            # Where every tile is split by its range, so is all above: nobody asks for its sum.
            if whole > 0 and all_spreads is None:
                find_sums(rows, height, at, size, tile, bases, sums)
            for j in range(tiles):
                all_lows[node + j], all_highs[node + j] = lows[last, j], highs[last, j]
                all_counts[node + j] = counts[last, j]
                if all_spreads is not None:
                    all_spreads[node + j] = spreads[last, j]
                if all_spreads is not None or whole > 0:
                    all_sums[node + j] = sums[last, j]
                    bad |= not np.isfinite(sums[last, j])
    return bad


@part
def spread_of(shape, level, z, y, x, grid, first, total, sums, spreads):
    """The spread of a block from its children, those in `grid` that begin at entry `first`."""
    mean = total / voxels_of(shape, level, z, y, x)
    spread = 0.0
    for j in range(4):
        below, behind = 2 * z + j // 2, 2 * y + j % 2
        if below >= grid[0] or behind >= grid[1]:
            continue
        child = first + (j // 2 * grid[1] + j % 2) * grid[2]
        voxels = voxels_of(shape, level - 1, below, behind, 2 * x)
        apart = sums[child] / voxels - mean
        pair = spreads[child] + voxels * (apart * apart)
        if 2 * x + 1 < grid[2]:
            voxels = voxels_of(shape, level - 1, below, behind, 2 * x + 1)
            apart = sums[child + 1] / voxels - mean
            pair += spreads[child + 1] + voxels * (apart * apart)
        spread += pair
    return spread


@njit(nogil=True, cache=True)
def gather(
    shape, flat, tile, grids, node_bases, limit, least, most,
    lows, highs, sums, spreads, counts,
):  # fmt: skip
    """The blocks above the tiles, each from its children."""
    for k in range(1, grids.shape[0]):
        level = tile + k
        depth, tall, width = grids[k]
        deep, high, wide = grids[k - 1]
        for z in range(depth):
            for y in range(tall):
                for x in range(width):
                    node = node_bases[k] + (z * tall + y) * width + x
                    first = node_bases[k - 1] + (2 * z * high + 2 * y) * wide + 2 * x
                    paired = 2 * x + 1 < wide
                    low, top = lows[first], highs[first]
                    total, count = 0.0, np.int64(0)
                    for j in range(4):
                        if 2 * z + j // 2 >= deep or 2 * y + j % 2 >= high:
                            continue
                        child = first + (j // 2 * high + j % 2) * wide
                        low, top = min(low, lows[child]), max(top, highs[child])
                        pair = sums[child]
                        count += counts[child]
                        if paired:
                            low, top = min(low, lows[child + 1]), max(top, highs[child + 1])
                            pair += sums[child + 1]
                            count += counts[child + 1]
                        total += pair
                    voxels = voxels_of(shape, level, z, y, x)
                    if spreads is not None:
                        spreads[node] = 0
                        if low < top:
                            spreads[node] = spread_of(
                                shape, level, z, y, x, grids[k - 1], first, total, sums, spreads
                            )
                    lows[node], highs[node], sums[node] = low, top, total
                    split = must_split(
                        low, top, entry(spreads, node), voxels, level, limit, least, most
                    )
                    counts[node] = count if split else 1


@part
def put(
    i, z, y, x, tag, low, high, total, spread, voxels, corner, level, lows, highs, means, variances
):
    """Write one leaf; its mean is between its extremes, however it is rounded."""
    i = np.uint64(i)  # with no sign, there is no test for an index from the end
    if corner.shape[1] == 3:
        corner[i, 0], corner[i, 1], corner[i, 2] = z, y, x
    else:
        corner[i, 0], corner[i, 1] = y, x
    level[i] = tag
    lows[i] = low
    highs[i] = high
    mean = total / voxels
    mean = mean if mean > low else np.float64(low)
    means[i] = mean if mean < high else np.float64(high)
    if variances is not None:
        variances[i] = spread / voxels


@njit(nogil=True, cache=True)
def scatter(
    shape, flat, tile, grids, node_bases, limit, least, most,
    lows, highs, sums, spreads, counts,
    starts, corner, level_of, leaf_lows, leaf_highs, means, variances,
):  # fmt: skip
    """Where the leaves of each block go, or -1 below a leaf; write those of whole tiles and up."""
    starts[-1] = 0
    for k in range(grids.shape[0] - 1, -1, -1):
        level = tile + k
        depth, tall, width = grids[k]
        for z in range(depth):
            for y in range(tall):
                for x in range(width):
                    node = node_bases[k] + (z * tall + y) * width + x
                    start = starts[node]
                    voxels = voxels_of(shape, level, z, y, x)
                    spread = entry(spreads, node)
                    low, high = lows[node], highs[node]
                    split = must_split(low, high, spread, voxels, level, limit, least, most)
                    if start >= 0 and not split:
                        put(
                            start, z << level, y << level, x << level, level, low, high,
                            sums[node], spread, voxels,
                            corner, level_of, leaf_lows, leaf_highs, means, variances,
                        )  # fmt: skip
                        start = np.int64(-1)
                        # The tiles that `emit` looks at are those that are split.
                        starts[node] = start
                    if k == 0:
                        continue
                    deep, across, wide = grids[k - 1]
                    for j in range(8):
                        below, behind, beside = 2 * z + j // 4, 2 * y + j // 2 % 2, 2 * x + j % 2
                        if below < deep and behind < across and beside < wide:
                            child = node_bases[k - 1] + (below * across + behind) * wide + beside
                            starts[child] = start
                            if start >= 0:
                                start += counts[child]


@part
def morton(flat, tile):
    """Where in a tile its blocks of side 2 begin, in Morton order."""
    axes = 2 if flat else 3
    places = np.zeros((1 << (axes * (tile - 1)), 3), np.int64)
    for m in range(places.shape[0]):
        for bit in range(axes * (tile - 1)):
            places[m, 2 - bit % axes] |= ((m >> bit) & 1) << (bit // axes + 1)
    return places


@njit(nogil=True, cache=True)
def emit(
    start, stop, rows, shape, flat, tile, grids, node_bases, limit, least, most,
    all_lows, all_highs, all_sums, all_spreads, all_counts,
    starts, corner, level_of, leaf_lows, leaf_highs, leaf_means, variances,
):  # fmt: skip
    """Write the leaves inside the split tiles of some strips. True where a sum is not finite."""
    bases = row_bases(flat, tile)
    lows, highs, sums, marks = scratch(bases, all_lows.dtype)
    means, spreads = like(sums, all_spreads), like(sums, all_spreads)
    places = morton(flat, tile)
    offsets = np.empty(places.shape[0], np.uint64)
    steps = np.ones(tile, np.int64)
    for level in range(2, tile):
        steps[level] = steps[level - 1] * (4 if flat else 8)
    height, width = shape[1], shape[2]
    bad = False
    for index in range(start, stop):
        z, y, deep, tall = strip(index, shape, flat, tile, grids[0])
        for m in range(offsets.size):
            r = places[m, 0] // 2 * ((tall + 1) // 2) + places[m, 1] // 2
            offsets[m] = r * marks.shape[1] + places[m, 2] // 2
        for x in range(0, width, _CHUNK):
            at, size = (z, y, x), (deep, tall, min(_CHUNK, width - x))
            tiles = (size[2] + (1 << tile) - 1) >> tile
            node = index * grids[0, 2] + (x >> tile)
            split = 0
            for j in range(tiles):
                split += starts[node + j] >= 0
            if split == 0:
                continue
            find_extremes(rows, height, at, size, tile, bases, lows, highs)
            find_sums(rows, height, at, size, tile, bases, sums)
            for j in range(tiles):
                bad |= not np.isfinite(sums[bases[tile], j])
            if all_spreads is not None:
                find_spreads(rows, height, at, size, tile, bases, lows, highs, sums, means, spreads)
            mark_whole(size, tile, bases, limit, least, most, lows, highs, spreads, marks)
            mark_inside(size, tile, bases, marks)
            for j in range(tiles):
                if starts[node + j] >= 0:
                    emit_tile(
                        starts[node + j], j, rows, height, at, size, tile, bases, places, offsets,
                        steps, lows, highs, sums, spreads, marks,
                        corner, level_of, leaf_lows, leaf_highs, leaf_means, variances,
                    )  # fmt: skip
    return bad


@part
def emit_tile(
    i, j, rows, height, at, size, tile, bases, places, offsets, steps,
    lows, highs, sums, spreads, marks,
    corner, level_of, leaf_lows, leaf_highs, leaf_means, variances,
):  # fmt: skip
    """Write the leaves of a split tile, the one numbered `j` of its group."""
    deep, tall, wide = size[0], size[1], min(size[2], (j + 1) << tile)
    left = j << tile
    whole = size[0] * tall * (wide - left) == 4 * places.shape[0] * (1 if deep == 1 else 2)
    order = marks.reshape(-1)[left >> 1 :]
    following = np.uint64(0)
    while following < np.uint64(places.shape[0]):
        m = following
        z, y, x = places[m, 0], places[m, 1], places[m, 2] + left
        if not whole and (z >= deep or y >= tall or x >= wide):
            following += np.uint64(1)
            continue
        # What the next turn waits for is this alone.
        level = np.uint64(order[offsets[m]])
        following += np.uint64(steps[level])
        if level == 0:
            for below in range(z, min(z + 2, deep)):
                for behind in range(y, min(y + 2, tall)):
                    row = (at[0] + below) * height + at[1] + behind
                    for beside in range(at[2] + x, at[2] + min(x + 2, wide)):
                        value = rows[row, beside]
                        put(
                            i, at[0] + below, at[1] + behind, beside, 0, value, value,
                            np.float64(value), 0.0, 1,
                            corner, level_of, leaf_lows, leaf_highs, leaf_means, variances,
                        )  # fmt: skip
                        i += 1
            continue
        level = np.int64(level)
        side = np.int64(1) << level
        r = bases[level] + (z >> level) * ((tall + side - 1) >> level) + (y >> level)
        c = x >> level
        voxels = min(side, deep - z) * min(side, tall - y) * min(side, wide - x)
        put(
            i, at[0] + z, at[1] + y, at[2] + x, level, lows[r, c], highs[r, c],
            sums[r, c], entry(spreads, (r, c)), voxels,
            corner, level_of, leaf_lows, leaf_highs, leaf_means, variances,
        )  # fmt: skip
        i += 1


# --- CUDA --------------------------------------------------------------------------------------

# A thread has a cell of a tile: the voxels of a block of side 4.
CUDA_TILE = {2: 3, 3: 2} if launch.simulating() else {2: 5, 3: 3}
# So many threads have the cells of as many tiles as it takes.
_TILE_BLOCK = {2: 8, 3: 16} if launch.simulating() else {2: 128, 3: 64}
_BLOCK = 32 if launch.simulating() else 256
# Up to so many blocks of a level, one block of threads does this level and all above.
_CROWN_BLOCK = 8 if launch.simulating() else 512
_CROWN = 8 * _CROWN_BLOCK


@cuda.jit(device=True)
def _voxels(shape, level, z, y, x):
    """As `voxels_of`, in float64."""
    side = types.int64(1) << level
    deep, tall, wide = shape[0] - z * side, shape[1] - y * side, shape[2] - x * side
    deep = side if side < deep else deep
    tall = side if side < tall else tall
    wide = side if side < wide else wide
    return types.float64(deep * tall * wide)


@cuda.jit(device=True)
def _is_finite(x):
    return abs(x) <= 1.7976931348623157e308


@cuda.jit(device=True)
def _blocks_along(length, level):
    return (length + (types.int64(1) << level) - 1) >> level


@cuda.jit(device=True)
def _place_in(index, tall, wide):
    """Where the block numbered `index` is among those of a level. There are below 2**31."""
    index, tall, wide = types.uint32(index), types.uint32(tall), types.uint32(wide)
    row = types.uint32(index // wide)
    z = types.uint32(row // tall)
    return types.int64(z), types.int64(row - z * tall), types.int64(index - row * wide)


@cuda.jit(device=True)
def _least(a, b):
    """The smaller of two numbers, in 32 bits: Numba's own arithmetic takes 64."""
    a, b = types.int32(a), types.int32(b)
    return a if a < b else b


@cuda.jit(device=True)
def _part(length, most):
    """How much of a length there is, of `most` and not below 0."""
    length = types.int32(length)
    return _least(length if length > 0 else types.int32(0), most)


@cache
def _kernels(axes, tile, by_variance, kind):
    """The kernels for 2-D or 3-D, one size of tile, a rule and a type of values.

    Of a block, `counts` holds twice the number of its leaves, and one more where it is split. One
    that is outside the image has none.

    A tile's blocks are kept in shared memory: first itself, then each level in Morton order, down
    to side 4; then those of side 2, the first of every cell, the second, and so on.
    """
    fan = 1 << axes
    rows = fan // 2
    whole = kind.kind in "iu" and not by_variance
    # Sums over a tile of narrow integers fit 32 bits, which cost less than float64 and are as exact
    number = types.int32 if kind.kind == "u" and kind.itemsize < 4 else types.float64
    cells = fan ** (tile - 2)
    above = (fan ** (tile - 1) - 1) // (fan - 1)
    nodes = above + fan * cells
    voxels_of_tile = fan**tile
    tiles = max(1, _TILE_BLOCK[axes] // cells)
    threads = tiles * cells
    # Of all tiles of a block of threads, in shared memory.
    all_nodes, all_above, all_voxels = tiles * nodes, tiles * above, tiles * voxels_of_tile
    spread_nodes = all_nodes if by_variance else 1
    # So many threads write the leaves of a tile.
    crew = min(threads, max(32, cells))

    @cuda.jit(device=True)
    def is_split(low, high, spread, voxels, level, limit, least, most):
        side = types.int64(1) << level
        if side > most or side <= least:
            return side > most
        if by_variance:
            return not (spread / voxels <= limit)
        if whole:
            # The type of the values may be too narrow for their range.
            if low < 0 and high >= 0:
                return types.uint64(high) + types.uint64(-(low + 1)) + types.uint64(1) > limit
            return types.uint64(high - low) > limit
        return low < high and types.float64(high) - types.float64(low) > limit

    @cuda.jit(device=True)
    def first_of(level):
        """The place of the first block of a level in a tile, from side 4 on."""
        return (0x55555555 if axes == 2 else 0x49249249) & ((1 << axes * (tile - level)) - 1)

    @cuda.jit(device=True)
    def place(m, bits):
        """Where a block is that is number `m` in Morton order, of so many bits along an axis."""
        z, y, x = types.int32(0), types.int32(0), types.int32(0)
        for bit in range(bits):
            x = types.int32(x | ((m >> (axes * bit)) & 1) << bit)
            y = types.int32(y | ((m >> (axes * bit + 1)) & 1) << bit)
            if axes == 3:
                z = types.int32(z | ((m >> (axes * bit + 2)) & 1) << bit)
        return z, y, x

    @cuda.jit(device=True)
    def two_voxels(values, begin, plane, width, room, z, y, x):
        """A row of a block of side 2; in the place of voxels outside stand those before them."""
        # One multiplication of 32 bits to 64, as an axis is shorter than 2**31.
        y = types.uint32(_least(y, room[1] - 1))
        row = begin + types.int64(y) * types.int64(types.uint32(width))
        if axes == 3:
            row += types.int64(_least(z, room[0] - 1)) * plane
        one, two = _least(x, room[2] - 1), _least(x + 1, room[2] - 1)
        return values[types.uint64(row + one)], values[types.uint64(row + two)]

    @cuda.jit(device=True)
    def measure_voxels(values, begin, plane, width, room, z, y, x, size):
        """Extremes, sum and spread of a block of side 2, of which `size` is in the image.

        The extremes of one outside are those of voxels of its tile, so that they change nothing.
        """
        deep, tall, wide = size
        voxels = types.int32(deep * tall * wide)
        a, b = two_voxels(values, begin, plane, width, room, z, y, x)
        low, high = min(a, b), max(a, b)
        total = number(a)
        if wide > 1:
            total = number(total + number(b))
        for j in range(1, rows):
            a, b = two_voxels(values, begin, plane, width, room, z + (j >> 1), y + (j & 1), x)
            low, high = min(low, min(a, b)), max(high, max(a, b))
            pair = number(a)
            if wide > 1:
                pair = number(pair + number(b))
            if (j >> 1) < deep and (j & 1) < tall:
                total = number(total + pair)
        if voxels == 0:
            total = number(0)
        spread = types.float64(0)
        if by_variance and low < high and voxels > 0 and _is_finite(total):
            mean = total / types.float64(voxels)
            for j in range(rows):
                if (j >> 1) < deep and (j & 1) < tall:
                    a, b = two_voxels(
                        values, begin, plane, width, room, z + (j >> 1), y + (j & 1), x
                    )
                    apart = types.float64(a) - mean
                    pair = multiply64(apart, apart)
                    if wide > 1:
                        apart = types.float64(b) - mean
                        pair += multiply64(apart, apart)
                    spread += pair
        return low, high, total, spread

    @cuda.jit(device=True)
    def child_spread(voxels, mean, total, spread):
        """What a child adds to the spread; nothing where it is outside the image."""
        if voxels == 0:
            return types.float64(0)
        apart = total / voxels - mean
        return spread + multiply64(voxels, multiply64(apart, apart))

    @cuda.jit(device=True)
    def block_size(room, side, z, y, x):
        """The part inside the image of the block of a tile that begins at z, y, x."""
        deep = _part(room[0] - z, side) if axes == 3 else types.int32(1)
        return deep, _part(room[1] - y, side), _part(room[2] - x, side)

    @cuda.jit(device=True)
    def voxels_in(room, side, z, y, x):
        deep, tall, wide = block_size(room, side, z, y, x)
        return types.int32(deep * tall * wide)

    @cuda.jit(device=True)
    def spread_in(room, half, z, y, x, mean, first, step, sums, spreads):
        """The spread of a block of a tile from its children of side `half`, `step` entries apart"""
        spread, pair = types.float64(0), types.float64(0)
        for j in range(fan):
            down, behind, beside = z + (j >> 2) * half, y + (j >> 1 & 1) * half, x + (j & 1) * half
            voxels = types.float64(voxels_in(room, half, down, behind, beside))
            child = types.uint32(first + j * step)
            part = child_spread(voxels, mean, types.float64(sums[child]), spreads[child])
            if (j & 1) == 0:
                pair = part
            else:
                spread += pair + part
        return spread

    @cuda.jit(device=True)
    def measure_cell(
        values, begin, plane, width, room, t, m, limit, least, most,
        lows, highs, sums, spreads, counts,
    ):  # fmt: skip
        """Measure a cell and its blocks of side 2. Returns which of these are split, as bits."""
        z, y, x = place(m, tile - 2)
        z, y, x = types.int32(4 * z), types.int32(4 * y), types.int32(4 * x)
        low, _ = two_voxels(values, begin, plane, width, room, z, y, x)
        high = low
        total, pair = number(0), number(0)
        leaves, splits = types.int32(0), types.int32(0)
        base = types.int32(t * nodes)
        entry = types.uint32(base + above + m)
        for j in range(fan):
            down, behind = types.int32(z + (j >> 2) * 2), types.int32(y + (j >> 1 & 1) * 2)
            beside = types.int32(x + (j & 1) * 2)
            size = block_size(room, 2, down, behind, beside)
            least_here, most_here, part, spread = measure_voxels(
                values, begin, plane, width, room, down, behind, beside, size
            )
            lows[entry], highs[entry], sums[entry] = least_here, most_here, part
            if by_variance:
                spreads[entry] = spread
            entry = types.uint32(entry + cells)
            voxels = types.int32(size[0] * size[1] * size[2])
            if voxels > 0:
                real = types.float64(voxels)
                if is_split(least_here, most_here, spread, real, 1, limit, least, most):
                    splits = types.int32(splits | (1 << j))
                    leaves = types.int32(leaves + voxels)
                else:
                    leaves = types.int32(leaves + 1)
            low, high = min(low, least_here), max(high, most_here)
            if (j & 1) == 0:
                pair = part
            else:
                total = number(total + number(pair + part))
        spread = types.float64(0)
        voxels = types.float64(voxels_in(room, 4, z, y, x))
        if by_variance and low < high and voxels > 0 and _is_finite(total):
            spread = spread_in(
                room, 2, z, y, x, total / voxels, base + above + m, cells, sums, spreads
            )
        entry = types.uint32(base + first_of(2) + m)
        lows[entry], highs[entry], sums[entry] = low, high, total
        if by_variance:
            spreads[entry] = spread
        code = types.int32(0)
        if voxels > 0:
            split = is_split(low, high, spread, voxels, 2, limit, least, most)
            code = types.int32(2 * leaves + 1) if split else types.int32(2)
        counts[types.uint32(t * above + first_of(2) + m)] = code
        return splits

    @cuda.jit(device=True)
    def measure_above(t, m, level, room, limit, least, most, lows, highs, sums, spreads, counts):
        """Measure block `m` of a level over that of the cells of tile `t`, from its children."""
        here = types.int32(first_of(level) + m)
        child = types.uint32(t * nodes + fan * here + 1)
        low, high = lows[child], highs[child]
        total, leaves = number(0), types.int32(0)
        for j in range(0, fan, 2):
            one, two = types.uint32(child + j), types.uint32(child + j + 1)
            low, high = min(low, min(lows[one], lows[two])), max(high, max(highs[one], highs[two]))
            total = number(total + number(sums[one] + sums[two]))
            below = types.uint32(t * above + fan * here + 1 + j)
            count = (counts[below] >> 1) + (counts[types.uint32(below + 1)] >> 1)
            leaves = types.int32(leaves + count)
        spread, voxels = types.float64(0), types.float64(0)
        if by_variance:
            z, y, x = place(m, tile - level)
            side, half = types.int32(1 << level), types.int32(1 << (level - 1))
            z, y, x = types.int32(z * side), types.int32(y * side), types.int32(x * side)
            voxels = types.float64(voxels_in(room, side, z, y, x))
            if low < high and voxels > 0 and _is_finite(total):
                spread = spread_in(room, half, z, y, x, total / voxels, child, 1, sums, spreads)
        entry = types.uint32(t * nodes + here)
        lows[entry], highs[entry], sums[entry] = low, high, total
        if by_variance:
            spreads[entry] = spread
        code = types.int32(0)
        if leaves > 0:
            split = is_split(low, high, spread, voxels, level, limit, least, most)
            code = types.int32(2 * leaves + 1) if split else types.int32(2)
        counts[types.uint32(t * above + here)] = code

    @cuda.jit(device=True)
    def corner_of(tile_number, shape):
        tall, wide = _blocks_along(shape[1], tile), _blocks_along(shape[2], tile)
        z, y, x = _place_in(tile_number, tall, wide)
        return z << tile, y << tile, x << tile

    @cuda.jit(device=True)
    def room_at(at, shape):
        """How much of a tile is inside the image."""
        side = 1 << tile
        return (
            _part(shape[0] - at[0], side),
            _part(shape[1] - at[1], side),
            _part(shape[2] - at[2], side),
        )

    @cuda.jit(device=True)
    def build(
        values, shape, at, room, active, actives, limit, least, most,
        lows, highs, sums, spreads, counts,
    ):  # fmt: skip
        """Measure the blocks of the tiles that are active. Returns the bits of `measure_cell`."""
        t, m = types.int32(cuda.threadIdx.x // cells), types.int32(cuda.threadIdx.x % cells)
        splits = types.int32(0)
        if m == 0:
            actives[t] = active
        if active:
            plane = shape[1] * shape[2]
            begin = at[0] * plane + at[1] * shape[2] + at[2]
            splits = measure_cell(
                values, begin, plane, shape[2], room, t, m, limit, least, most,
                lows, highs, sums, spreads, counts,
            )  # fmt: skip
        for level in range(3, tile + 1):
            cuda.syncthreads()
            bits = axes * (tile - level)
            other = types.int32(cuda.threadIdx.x >> bits)
            if other < tiles and actives[types.uint32(other)]:
                # Only a spread asks how large blocks are; threads of another tile look there.
                place_of = room
                if by_variance and other != t:
                    number_of = types.int64(cuda.blockIdx.x) * tiles + other
                    place_of = room_at(corner_of(number_of, shape), shape)
                measure_above(
                    other, types.int32(cuda.threadIdx.x & ((1 << bits) - 1)), level, place_of,
                    limit, least, most, lows, highs, sums, spreads, counts,
                )  # fmt: skip
        cuda.syncthreads()
        return splits

    @cuda.jit
    def survey_tiles(
        values, depth, height, width, limit, least, most,
        all_lows, all_highs, all_sums, all_spreads, all_counts, found,
    ):  # fmt: skip
        """Measure tiles and count their leaves; `found[1]` where a sum is not finite."""
        lows = cuda.shared.array(all_nodes, values.dtype)
        highs = cuda.shared.array(all_nodes, values.dtype)
        sums = cuda.shared.array(all_nodes, number)
        spreads = cuda.shared.array(spread_nodes, types.float64)
        counts = cuda.shared.array(all_above, types.int32)
        actives = cuda.shared.array(tiles, types.uint8)
        shape = (depth, height, width)
        first = types.int64(cuda.blockIdx.x) * tiles
        node = first + cuda.threadIdx.x // cells
        at = corner_of(node, shape)
        active = at[0] < depth
        room = room_at(at, shape)
        build(
            values, shape, at, room, active, actives, limit, least, most,
            lows, highs, sums, spreads, counts,
        )  # fmt: skip
        if cuda.threadIdx.x < tiles and actives[cuda.threadIdx.x]:
            node = types.uint64(first + cuda.threadIdx.x)
            root = types.uint32(cuda.threadIdx.x * nodes)
            total = types.float64(sums[root])
            all_lows[node], all_highs[node], all_sums[node] = lows[root], highs[root], total
            all_counts[node] = counts[types.uint32(cuda.threadIdx.x * above)]
            if by_variance:
                all_spreads[node] = spreads[root]
            if not _is_finite(total):
                found[1] = 1

    @cuda.jit(device=True)
    def measure(shape, level, z, y, x, first, deep, tall, lows, highs, sums, spreads, counts):
        """Extremes, sum, spread of a block above the tiles, and its children's leaves.

        The first child is entry `first`, others `deep` and `tall` further along the axes.
        """
        low = lows[first]
        high = highs[first]
        total = types.float64(0)
        count = types.int64(0)
        half = types.int64(1) << (level - 1)
        paired = (2 * x + 1) * half < shape[2]
        for j in range(rows):
            below, behind = 2 * z + j // 2, 2 * y + j % 2
            if below * half < shape[0] and behind * half < shape[1]:
                child = first + j // 2 * deep + j % 2 * tall
                low, high = min(low, lows[child]), max(high, highs[child])
                pair = sums[child]
                count += counts[child] >> 1
                if paired:
                    child += 1
                    low, high = min(low, lows[child]), max(high, highs[child])
                    pair += sums[child]
                    count += counts[child] >> 1
                total += pair
        spread = types.float64(0)
        if by_variance and low < high and _is_finite(total):
            mean = total / _voxels(shape, level, z, y, x)
            for j in range(rows):
                below, behind = 2 * z + j // 2, 2 * y + j % 2
                if below * half < shape[0] and behind * half < shape[1]:
                    child = first + j // 2 * deep + j % 2 * tall
                    voxels = _voxels(shape, level - 1, below, behind, 2 * x)
                    pair = child_spread(voxels, mean, sums[child], spreads[child])
                    if paired:
                        child += 1
                        voxels = _voxels(shape, level - 1, below, behind, 2 * x + 1)
                        pair += child_spread(voxels, mean, sums[child], spreads[child])
                    spread += pair
        return low, high, total, spread, count

    @cuda.jit(device=True)
    def raise_node(
        index, level, base, below, shape, limit, least, most, lows, highs, sums, spreads, counts
    ):
        z, y, x = _place_in(index, _blocks_along(shape[1], level), _blocks_along(shape[2], level))
        tall, wide = _blocks_along(shape[1], level - 1), _blocks_along(shape[2], level - 1)
        first = types.uint64(below + (2 * z * tall + 2 * y) * wide + 2 * x)
        low, high, total, spread, count = measure(
            shape, level, z, y, x, first, types.uint64(tall * wide), types.uint64(wide),
            lows, highs, sums, spreads, counts,
        )  # fmt: skip
        voxels = _voxels(shape, level, z, y, x)
        split = is_split(low, high, spread, voxels, level, limit, least, most)
        node = types.uint64(base + index)
        lows[node], highs[node], sums[node] = low, high, total
        counts[node] = 2 * count + 1 if split else 2
        if by_variance:
            spreads[node] = spread

    @cuda.jit
    def gather_level(
        level, count, base, below, depth, height, width, limit, least, most,
        lows, highs, sums, spreads, counts,
    ):  # fmt: skip
        index = types.int64(cuda.grid(1))
        if index < count:
            raise_node(
                index, level, base, below, (depth, height, width), limit, least, most,
                lows, highs, sums, spreads, counts,
            )  # fmt: skip

    @cuda.jit
    def gather_crown(
        level, top, base, below, depth, height, width, limit, least, most,
        lows, highs, sums, spreads, counts, found,
    ):  # fmt: skip
        """All levels from `level` to `top`, by one block; `found[0]` is the number of leaves."""
        shape = (depth, height, width)
        while level <= top:
            count = _blocks_along(depth, level) * _blocks_along(height, level)
            count *= _blocks_along(width, level)
            for index in range(types.int64(cuda.threadIdx.x), count, types.int64(cuda.blockDim.x)):
                raise_node(
                    index, level, base, below, shape, limit, least, most,
                    lows, highs, sums, spreads, counts,
                )  # fmt: skip
            cuda.syncthreads()
            below = base
            base += count
            level += 1
        if cuda.threadIdx.x == 0:
            found[0] = counts[below] >> 1

    @cuda.jit(device=True)
    def write(
        i, z, y, x, tag, low, high, mean, variance, corner, level, lows, highs, means, variances
    ):
        """As `put`."""
        i = types.uint64(i)
        if axes == 3:
            corner[i, 0] = z
        corner[i, axes - 2] = y
        corner[i, axes - 1] = x
        level[i] = tag
        lows[i] = low
        highs[i] = high
        mean = mean if mean > low else types.float64(low)
        means[i] = mean if mean < high else types.float64(high)
        if by_variance:
            variances[i] = variance

    @cuda.jit
    def place_tiles(
        count, top, depth, height, width, lows, highs, sums, spreads, counts, starts,
        corner, level_of, leaf_lows, leaf_highs, means, variances,
    ):  # fmt: skip
        """Where the leaves of each tile go, or -1 where it is not split; write those that are not.

        A thread goes from the block that holds everything down to its tile. A leaf that is larger
        is written by the first tile in it.
        """
        index = types.int64(cuda.grid(1))
        if index >= count:
            return
        shape = (depth, height, width)
        z, y, x = _place_in(index, _blocks_along(height, tile), _blocks_along(width, tile))
        start, base = types.int64(0), types.int64(counts.size - 1)
        level = types.int64(top)
        while level >= tile:
            up = level - tile
            down, behind, beside = z >> up, y >> up, x >> up
            tall, wide = _blocks_along(height, level), _blocks_along(width, level)
            node = types.uint64(base + (down * tall + behind) * wide + beside)
            if counts[node] & 1 == 0:
                if down << up == z and behind << up == y and beside << up == x:
                    voxels = _voxels(shape, level, down, behind, beside)
                    spread = spreads[node] / voxels if by_variance else types.float64(0)
                    write(
                        start, z << tile, y << tile, x << tile, level, lows[node], highs[node],
                        sums[node] / voxels, spread,
                        corner, level_of, leaf_lows, leaf_highs, means, variances,
                    )  # fmt: skip
                start = types.int64(-1)
                level = types.int64(0)
            elif level > tile:
                deep, tall, wide = (
                    _blocks_along(depth, level - 1), _blocks_along(height, level - 1),
                    _blocks_along(width, level - 1),
                )  # fmt: skip
                base -= deep * tall * wide
                up -= 1
                own = (z >> up & 1) * 4 + (y >> up & 1) * 2 + (x >> up & 1)
                for j in range(fan - 1):
                    dz, dy, dx = 2 * down + j // 4, 2 * behind + j // 2 % 2, 2 * beside + j % 2
                    if j < own and dz < deep and dy < tall and dx < wide:
                        start += counts[types.uint64(base + (dz * tall + dy) * wide + dx)] >> 1
            level -= 1
        starts[types.uint64(index)] = start

    @cuda.jit(device=True)
    def list_cell(m, at, splits, room, codes):
        """Note the leaves in a cell that is split, from entry `at` on."""
        z, y, x = place(m, tile - 2)
        for j in range(fan):
            down, behind, beside = (
                4 * z + (j >> 2) * 2,
                4 * y + (j >> 1 & 1) * 2,
                4 * x + (j & 1) * 2,
            )
            deep, tall, wide = block_size(room, 2, down, behind, beside)
            first = (m * fan + j) * fan
            if deep * tall * wide > 0:
                if splits >> j & 1:
                    for k in range(fan):
                        if (k >> 2) < deep and (k >> 1 & 1) < tall and (k & 1) < wide:
                            codes[types.uint32(at)] = first + k
                            at = types.int32(at + 1)
                else:
                    codes[types.uint32(at)] = first | 1 << 12
                    at = types.int32(at + 1)

    @cuda.jit(device=True)
    def list_leaves(t, m, splits, room, counts, codes):
        """Note the leaves that begin in a cell: where in the tile, in Morton order, and the level.

        A thread goes from the tile down to its cell. A larger leaf is noted by the first cell in it
        """
        at = types.int32(t * voxels_of_tile)
        inside = False
        for level in range(tile, 1, -1):
            shift = axes * (level - 2)
            here = types.int32(t * above + first_of(level) + (m >> shift))
            count = counts[types.uint32(here)]
            if not inside:
                if count & 1 == 0:
                    if count > 0 and m & ((1 << shift) - 1) == 0:
                        codes[types.uint32(at)] = m * fan * fan | level << 12
                    inside = True
                elif level > 2:
                    child = t * above + fan * (here - t * above) + 1
                    own = m >> (shift - axes) & (fan - 1)
                    for j in range(fan - 1):
                        if j < own:
                            at = types.int32(at + (counts[types.uint32(child + j)] >> 1))
        if not inside:
            list_cell(m, at, splits, room, codes)

    @cuda.jit(device=True)
    def write_leaf(
        code, i, values, shape, at, room, base, lows, highs, sums, spreads,
        corner, level_of, leaf_lows, leaf_highs, means, variances,
    ):  # fmt: skip
        level, first = types.int32(code >> 12), types.int32(code & 4095)
        z, y, x = place(first, tile)
        down, behind, beside = at[0] + z, at[1] + y, at[2] + x
        if level == 0:
            value = values[types.uint64((down * shape[1] + behind) * shape[2] + beside)]
            write(
                i, down, behind, beside, 0, value, value, types.float64(value), types.float64(0),
                corner, level_of, leaf_lows, leaf_highs, means, variances,
            )  # fmt: skip
        else:
            entry = first >> axes * level
            if level == 1:
                entry = above + (entry & (fan - 1)) * cells + (entry >> axes)
            else:
                entry += first_of(level)
            entry = types.uint32(base + entry)
            voxels = types.float64(voxels_in(room, types.int32(1 << level), z, y, x))
            spread = spreads[entry] / voxels if by_variance else types.float64(0)
            write(
                i, down, behind, beside, level, lows[entry], highs[entry],
                sums[entry] / voxels, spread,
                corner, level_of, leaf_lows, leaf_highs, means, variances,
            )  # fmt: skip

    @cuda.jit
    def emit_tiles(
        values, depth, height, width, limit, least, most, starts,
        corner, level_of, leaf_lows, leaf_highs, means, variances,
    ):  # fmt: skip
        """Write the leaves of the tiles that are split, side by side."""
        lows = cuda.shared.array(all_nodes, values.dtype)
        highs = cuda.shared.array(all_nodes, values.dtype)
        sums = cuda.shared.array(all_nodes, number)
        spreads = cuda.shared.array(spread_nodes, types.float64)
        counts = cuda.shared.array(all_above, types.int32)
        actives = cuda.shared.array(tiles, types.uint8)
        codes = cuda.shared.array(all_voxels, types.uint16)
        shape = (depth, height, width)
        first = types.int64(cuda.blockIdx.x) * tiles
        t, m = types.int32(cuda.threadIdx.x // cells), types.int32(cuda.threadIdx.x % cells)
        at = corner_of(first + t, shape)
        active = at[0] < depth and starts[types.uint64(first + t)] >= 0
        room = room_at(at, shape)
        splits = build(
            values, shape, at, room, active, actives, limit, least, most,
            lows, highs, sums, spreads, counts,
        )  # fmt: skip
        if active:
            list_leaves(t, m, splits, room, counts, codes)
        cuda.syncthreads()
        for other in range(cuda.threadIdx.x // crew, tiles, threads // crew):
            if actives[types.uint32(other)]:
                start = starts[types.uint64(first + other)]
                at = corner_of(first + other, shape)
                room = room_at(at, shape)
                count = counts[types.uint32(other * above)] >> 1
                for k in range(cuda.threadIdx.x % crew, count, crew):
                    write_leaf(
                        codes[types.uint32(other * voxels_of_tile + k)], start + k,
                        values, shape, at, room, other * nodes, lows, highs, sums, spreads,
                        corner, level_of, leaf_lows, leaf_highs, means, variances,
                    )  # fmt: skip

    return SimpleNamespace(
        tiles=tiles,
        threads=threads,
        survey_tiles=survey_tiles,
        gather_level=gather_level,
        gather_crown=gather_crown,
        place_tiles=place_tiles,
        emit_tiles=emit_tiles,
    )


def _kernels_for(values, plan, rule):
    return _kernels(2 if plan.flat else 3, plan.tile, rule.by_variance, np.dtype(values.dtype))


def _crown(plan) -> int:
    """The first level that one block of threads can do with all those above it."""
    counts = np.diff(plan.bases)
    k = 1
    while k < len(counts) - 1 and counts[k] > _CROWN:
        k += 1
    return k


class Table(NamedTuple):
    """What is known of every block of a plan."""

    lows: np.ndarray
    highs: np.ndarray
    sums: np.ndarray
    spreads: np.ndarray
    counts: np.ndarray


def table_arrays(xp, dtype, plan: Plan, rule: Rule) -> Table:
    nodes = plan.nodes
    spreads = xp.empty(nodes if rule.by_variance else 1, np.float64)
    extremes = xp.empty(nodes, dtype), xp.empty(nodes, dtype)
    return Table(*extremes, xp.empty(nodes), spreads, xp.empty(nodes, np.int64))


def gather_cuda(values, plan: Plan, rule: Rule, table: Table, found, stream=0) -> None:
    """Measure every block. `found` gets the number of leaves, and 1 where a sum is not finite."""
    kernels = _kernels_for(values, plan, rule)
    shape, rest = tuple(map(int, plan.shape)), (rule.limit[0], rule.least, rule.most)
    counts, bases = np.diff(plan.bases).tolist(), plan.bases.tolist()
    tiles = launch.blocks(counts[0], kernels.tiles), kernels.threads, stream
    flat = values.reshape(-1)
    launch.start(kernels.survey_tiles, *tiles, flat, *shape, *rest, *table, found)
    crown = min(_crown(plan), len(counts))
    for k in range(1, crown):
        where = launch.blocks(counts[k], _BLOCK), _BLOCK, stream
        level = plan.tile + k
        launch.start(
            kernels.gather_level,
            *where,
            level,
            counts[k],
            bases[k],
            bases[k - 1],
            *shape,
            *rest,
            *table,
        )
    # Where a tile is all there is, this only says how many leaves it has.
    below = bases[crown - 1]
    first, top = plan.tile + crown, plan.tile + len(counts) - 1
    launch.start(
        kernels.gather_crown,
        1,
        _CROWN_BLOCK,
        stream,
        first,
        top,
        bases[crown],
        below,
        *shape,
        *rest,
        *table,
        found,
    )


def scatter_cuda(values, plan: Plan, rule: Rule, table: Table, starts, leaves: Leaves, stream=0):
    """Write the leaves; `starts` is scratch, one for each tile."""
    kernels = _kernels_for(values, plan, rule)
    if not rule.by_variance:
        leaves = leaves._replace(variance=table.spreads)  # nothing is written there
    shape, rest = tuple(map(int, plan.shape)), (rule.limit[0], rule.least, rule.most)
    tiles, top = starts.size, plan.tile + len(plan.grids) - 1
    where = launch.blocks(tiles, _BLOCK), _BLOCK, stream
    launch.start(kernels.place_tiles, *where, tiles, top, *shape, *table, starts, *leaves)
    where = launch.blocks(tiles, kernels.tiles), kernels.threads, stream
    flat = values.reshape(-1)
    launch.start(kernels.emit_tiles, *where, flat, *shape, *rest, starts, *leaves)


def cuda_signatures():
    def line(kind, axes=1):
        return types.Array(kind, axes, "C")

    whole, real, i64 = types.uint64, types.float64, types.int64
    signatures = []
    cases = [(2, kind, False) for kind in ("u1", "u2", "i4", "i8", "u8", "f4", "f8")]
    cases += [(2, "u1", True), (2, "f4", True), (3, "u2", False), (3, "f4", False), (3, "f4", True)]
    cases += [(3, "f8", True)]
    for axes, name, by_variance in cases:
        dtype = np.dtype(name)
        kind, limit = from_dtype(dtype), real if by_variance or dtype.kind == "f" else whole
        kernels = _kernels(axes, CUDA_TILE[axes], by_variance, dtype)
        narrow = not by_variance and np.result_type(dtype, np.float32) == np.float32
        mean = types.float32 if narrow else real
        sizes, rest = (i64,) * 3, (limit, i64, i64)
        table = (line(kind), line(kind), line(real), line(real), line(i64))
        leaves = (line(types.int32, 2), line(types.uint8), line(kind), line(kind), line(mean),
                  line(real))  # fmt: skip
        starts = found = line(i64)
        level = (*(i64,) * 4, *sizes, *rest)
        signatures += [
            (kernels.survey_tiles, (line(kind), *sizes, *rest, *table, found), 96),
            (kernels.gather_level, (*level, *table), 96),
            (kernels.gather_crown, (*level, *table, found), 96),
            (kernels.place_tiles, (i64, i64, *sizes, *table, starts, *leaves), 96),
            (kernels.emit_tiles, (line(kind), *sizes, *rest, starts, *leaves), 96),
        ]
    return signatures
