"""What is made of the leaves of a quad-tree or octree: images, and regions of similar neighbours.

A leaf is a corner and a level, and lies inside the image as far as that goes. CPU: each leaf is
filled. CUDA: leaves differ in size too much for that, so tiles are painted. The leaves of a tile
follow one another, and a voxel's is the last one that does not come after it in Morton order: where
leaves begin is marked by bits, one for each voxel in that order, and counting them gives the leaf.

Merging is one loop on one core: every merge depends on those before.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numba import cuda, types

from . import launch, warp
from .kept import njit
from .label import number
from .runs import root


def paint_cpu(corner, level, values, out) -> None:
    """Give each leaf's pixels its value."""
    pieces = min(len(level), 16 * launch.thread_count())
    out = out.reshape((1,) * (3 - out.ndim) + out.shape)
    launch.slabs(paint, len(level), corner, level, values, out, pieces=pieces)


def merge_cpu(numbers, corner, level, low, high, mean, variance, limit):
    """The number of each leaf's region, from 1 on; `numbers` has that of each pixel's leaf."""
    numbers = numbers.reshape((1,) * (3 - numbers.ndim) + numbers.shape)
    count = len(level)
    bounds = np.zeros(count + 1, np.int64)
    nobody = np.empty(0, np.int32)
    launch.slabs(find_neighbours, count, numbers, corner, level, bounds[1:], nobody)
    np.cumsum(bounds, out=bounds)
    others = np.empty(bounds[-1], np.int32)
    launch.slabs(find_neighbours, count, numbers, corner, level, bounds[:-1], others)
    leaves = np.repeat(np.arange(count, dtype=np.int32), np.diff(bounds))
    apart = np.abs(mean[leaves].astype(np.float64) - mean[others])
    order = np.argsort(apart, kind="stable")
    parents = np.arange(count, dtype=np.int32)
    pairs = leaves[order], others[order]
    if variance is not None:
        merge_by_variance(*pairs, voxels_of_leaves(numbers, corner, level), mean.copy(),
                          variance.copy(), limit, parents)  # fmt: skip
    else:
        merge_by_range(*pairs, low.copy(), high.copy(), limit, parents)
    number(parents)
    return parents


def voxels_of_leaves(numbers, corner, level):
    room = np.array(numbers.shape[-corner.shape[1] :]) - corner
    return np.minimum(room, 1 << level.astype(np.int64)[:, None]).prod(axis=1).astype(np.float64)


@njit(nogil=True, cache=True)
def box(i, corner, level, shape):
    """Where a leaf begins and ends inside the image."""
    side = np.int64(1) << np.int64(level[i])
    axes = corner.shape[1]
    z = np.int64(corner[i, 0]) if axes == 3 else np.int64(0)
    y, x = np.int64(corner[i, axes - 2]), np.int64(corner[i, axes - 1])
    return z, min(z + side, shape[0]), y, min(y + side, shape[1]), x, min(x + side, shape[2])


@njit(nogil=True, cache=True)
def paint(start, stop, corner, level, values, out):
    for i in range(start, stop):
        z, below, y, bottom, x, right = box(i, corner, level, out.shape)
        value = values[i]
        for k in range(z, below):
            for j in range(y, bottom):
                row = out[k, j]
                for c in range(np.uint64(x), np.uint64(right)):
                    row[c] = value


@njit(nogil=True, cache=True)
def find_neighbours(start, stop, numbers, corner, level, bounds, others):
    """The leaves at the far sides of each leaf, in order; their number where `others` is empty."""
    shape = numbers.shape
    for i in range(start, stop):
        begin = np.zeros(3, np.int64)
        end = np.zeros(3, np.int64)
        begin[0], end[0], begin[1], end[1], begin[2], end[2] = box(i, corner, level, shape)
        count = np.int64(0)
        for axis in range(3):
            if end[axis] >= shape[axis]:
                continue
            # Walk along the side, from each neighbour to the next; a neighbour counts where it
            # begins, or where it enters the side.
            u, v = (1 if axis == 0 else 0), (1 if axis == 2 else 2)
            at = begin.copy()
            at[axis] = end[axis]
            while at[u] < end[u]:
                at[v] = begin[v]
                nearest = end[u]
                while at[v] < end[v]:
                    other = numbers[at[0], at[1], at[2]]
                    side = np.int64(1) << np.int64(level[other])
                    # Blocks begin at multiples of their side.
                    first = at[u] == begin[u] or at[u] & (side - 1) == 0
                    if first:
                        if others.size:
                            others[bounds[i] + count] = other
                        count += 1
                    nearest = min(nearest, (at[u] | (side - 1)) + 1)
                    at[v] = (at[v] | (side - 1)) + 1
                at[u] = nearest
        if others.size:
            others[bounds[i] : bounds[i] + count].sort()
        else:
            bounds[i] = count


@njit(nogil=True, cache=True)
def merge_by_range(first, second, low, high, limit, parents):
    """Merge while the range allows it. A pair that is too far apart stays so: one pass is enough"""
    kind = limit.dtype.type
    for k in range(first.size):
        a, b = root(parents, first[k]), root(parents, second[k])
        if a == b:
            continue
        least, most = min(low[a], low[b]), max(high[a], high[b])
        if not kind(most) - kind(least) > limit[0]:
            a, b = min(a, b), max(a, b)
            parents[b] = a
            low[a], high[a] = least, most


@njit(nogil=True, cache=True)
def merge_by_variance(first, second, voxels, mean, variance, limit, parents):
    """Merge while the variance allows it, until a pass finds nothing more to merge."""
    merged = True
    while merged:
        merged = False
        for k in range(first.size):
            a, b = root(parents, first[k]), root(parents, second[k])
            if a == b:
                continue
            total = voxels[a] + voxels[b]
            share, apart = voxels[b] / total, mean[b] - mean[a]
            new = (1 - share) * variance[a] + share * variance[b]
            new += share * (1 - share) * (apart * apart)
            if new <= limit[0]:
                # Of equal means the mean is the same, however it is rounded.
                middle = mean[a] + share * apart
                a, b = min(a, b), max(a, b)
                parents[b] = a
                voxels[a], mean[a], variance[a] = total, middle, new
                merged = True


# --- CUDA --------------------------------------------------------------------------------------

_BLOCK = 16 if launch.simulating() else 256
# The side of what a block of threads paints, as a binary logarithm: 4096 voxels, in rows as long as
# the leaves of a tile allow.
_TILE = {2: 3, 3: 2} if launch.simulating() else {2: 6, 3: 4}


@cache
def _painters(axes):
    tile = _TILE[axes]
    side = 1 << tile
    voxels = side**axes
    words = voxels // 32

    @cuda.jit(device=True)
    def spread_bits(x):
        """The bits of x, below the side of a tile, `axes` places from one to the next."""
        x = types.uint32(x)
        if axes == 2:
            x = types.uint32((x | (x << 4)) & 0x0F0F)
            x = types.uint32((x | (x << 2)) & 0x3333)
            return types.uint32((x | (x << 1)) & 0x5555)
        x = types.uint32((x | (x << 4)) & 0x0C3)
        return types.uint32((x | (x << 2)) & 0x249)

    @cuda.jit(device=True)
    def place(z, y, x):
        """The place of a voxel of a tile in Morton order."""
        code = types.uint32(spread_bits(x) | (spread_bits(y) << 1))
        return types.uint32(code | (spread_bits(z) << 2)) if axes == 3 else code

    @cuda.jit(device=True)
    def corner_of(corner, i):
        i = types.uint64(i)  # with no sign, there is no test for an index from the end
        z = types.int64(corner[i, 0]) if axes == 3 else types.int64(0)
        return z, types.int64(corner[i, axes - 2]), types.int64(corner[i, axes - 1])

    @cuda.jit
    def find_tiles(corner, tall, wide, firsts):
        """The leaf that begins where a tile does; others stay as they are, at -1."""
        i = types.int64(cuda.grid(1))
        if i < corner.shape[0]:
            z, y, x = corner_of(corner, i)
            if (z | y | x) & (side - 1) == 0:
                firsts[((z >> tile) * tall + (y >> tile)) * wide + (x >> tile)] = i

    @cuda.jit(device=True)
    def first_leaf(z, y, x, tall, wide, firsts):
        """The leaf at the corner of a tile. One that began before began at a larger block's."""
        level = types.int64(0)
        leaf = firsts[(z * tall + y) * wide + x]
        while leaf < 0:
            level += 1
            behind, beside = y >> level << level, x >> level << level
            leaf = firsts[((z >> level << level) * tall + behind) * wide + beside]
        return leaf

    @cuda.jit
    def paint_tiles(corner, depth, height, width, tall, wide, firsts, values, out):
        bits = cuda.shared.array(words, types.uint32)
        before = cuda.shared.array(words, types.int32)
        shared_first = cuda.shared.array(1, types.int64)
        thread = types.int64(cuda.threadIdx.x)
        number = types.uint32(cuda.blockIdx.x)
        row = types.uint32(number // types.uint32(wide))
        tx = types.int64(number - row * types.uint32(wide))
        tz = types.int64(row // types.uint32(tall))
        ty = types.int64(row) - tz * tall
        if thread < words:
            bits[thread] = 0
        if thread == 0:
            shared_first[0] = first_leaf(tz, ty, tx, tall, wide, firsts)
        cuda.syncthreads()
        first = shared_first[0]
        i = first + thread
        last = min(corner.shape[0], first + voxels)
        while i < last:
            z, y, x = corner_of(corner, i)
            if z >> tile == tz and y >> tile == ty and x >> tile == tx:
                code = place(z & (side - 1), y & (side - 1), x & (side - 1))
                cuda.atomic.or_(bits, types.int64(code >> 5), types.uint32(1) << (code & 31))
                i += cuda.blockDim.x
            else:
                i = last
        if thread == 0:
            # Whether it begins here or before.
            cuda.atomic.or_(bits, 0, types.uint32(1))
        cuda.syncthreads()
        total = types.int32(0)
        if thread < words:
            total = types.int32(warp.popcount(bits[thread]))
            before[thread] = total
        step = types.int64(1)
        while step < words:
            cuda.syncthreads()
            part = types.int32(0)
            if step <= thread < words:
                part = before[thread - step]
            cuda.syncthreads()
            if thread < words:
                before[thread] = types.int32(before[thread] + part)
            step *= 2
        cuda.syncthreads()
        # What counts is the leaves before each word.
        if thread < words:
            before[thread] = types.int32(before[thread] - total)
        cuda.syncthreads()
        x = types.int32(thread & (side - 1))
        right = tx * side + x
        if right >= width:
            return
        first -= 1
        for line in range(thread >> tile, voxels // side, cuda.blockDim.x >> tile):
            z, y = line >> tile, line & (side - 1)
            below, behind = tz * side + z, ty * side + y
            if below < depth and behind < height:
                code = place(z, y, x)
                word = types.uint32(code >> 5)
                upto = types.uint32(bits[word] & ((types.int64(2) << (code & 31)) - 1))
                leaf = first + before[word] + warp.popcount(upto)
                out[types.uint64((below * height + behind) * width + right)] = values[
                    types.uint64(leaf)
                ]

    return find_tiles, paint_tiles


def tile_count(shape: tuple[int, ...]) -> int:
    """The tiles that an image is painted in."""
    return math.prod(-(-length >> _TILE[len(shape)]) for length in shape)


def paint_cuda(corner, values, firsts, out, stream=0) -> None:
    """As `paint_cpu`, of leaves in Morton order; `firsts` is -1 (int64) for every tile."""
    depth, height, width = (1,) * (3 - out.ndim) + out.shape
    tall, wide = (-(-length >> _TILE[out.ndim]) for length in (height, width))
    find_tiles, paint_tiles = _painters(out.ndim)
    grid, sizes = launch.blocks(corner.shape[0], _BLOCK), (depth, height, width, tall, wide)
    launch.start(find_tiles, grid, _BLOCK, stream, corner, tall, wide, firsts)
    launch.start(
        paint_tiles, firsts.size, _BLOCK, stream, corner, *sizes, firsts, values, out.reshape(-1)
    )


def cuda_signatures():
    def line(kind):
        return types.Array(kind, 1, "C")

    i64, corner = types.int64, types.Array(types.int32, 2, "C")
    signatures = []
    for axes in (2, 3):
        find_tiles, paint_tiles = _painters(axes)
        signatures.append((find_tiles, (corner, i64, i64, line(i64)), 32))
        for kind in (types.int32, types.float32, types.float64):
            arrays = line(i64), line(kind), line(kind)
            signatures.append((paint_tiles, (corner, *(i64,) * 5, *arrays), 64))
    return signatures
