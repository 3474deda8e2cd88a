"""Quad-trees of chunked arrays.

Chunks begin where tiles do, so that each measures its own tiles. The levels above are found for all
in one place; then the chunks are computed again in which a tile is split, to write its leaves.
"""

from __future__ import annotations

from functools import partial

import dask
import dask.array as da
import numpy as np

from ..._backend import asnumpy
from ..._cpu.segmentation import quadtree as whole
from ...kernels import leaves as made
from ...kernels import quadtree as kernel
from .._connected import aligned, threads


def quadtree(image, *, threshold, criterion, min_size, max_size):
    tile = whole.TILE[image.ndim]
    image = in_tiles(image)
    rule = whole.split_rule(image, threshold, criterion, min_size, max_size)
    plan = kernel.layout(image.shape, tile)
    dtype = whole.working(np.empty((0,) * image.ndim, image.dtype)).dtype
    mean_dtype = whole.mean_type(image, rule)
    blocks, corners = image.to_delayed().reshape(-1), list(_corners(image.chunks))
    boxes = [tuple(slice(c >> tile, -(-(c + n) >> tile)) for c, n in zip(*at)) for at in corners]

    table = kernel.table_cpu(plan.nodes, dtype, rule)
    grid = tuple(map(int, plan.grids[0]))[-image.ndim :]
    tiles = [None if x is None else x[: np.prod(grid)].reshape(grid) for x in table]
    measure = dask.delayed(partial(_measured, rule, tile))
    for box, found in zip(boxes, dask.compute(*map(measure, blocks))):
        for all_tiles, part in zip(tiles, found):
            if part is not None:
                all_tiles[box] = part

    kernel.gather(*plan, *rule.numbers, *table)
    if not np.isfinite([table[0][-1], table[1][-1]]).all():
        raise ValueError(whole.BAD)
    leaves = kernel.leaf_arrays(np, int(table[-1][-1]), dtype, mean_dtype, plan, rule)
    starts = np.empty(plan.nodes, np.int64)
    kernel.scatter(*plan, *rule.numbers, *table, starts, *leaves)

    starts = starts[: np.prod(grid)].reshape(grid)
    split = [n for n, box in enumerate(boxes) if (starts[box] >= 0).any()]
    write = dask.delayed(partial(_written, rule, tile, mean_dtype))
    counts = [np.where(starts[boxes[n]] >= 0, tiles[-1][boxes[n]], 0).reshape(-1) for n in split]
    tasks = [write(blocks[n], count) for n, count in zip(split, counts)]
    for n, count, found in zip(split, counts, dask.compute(*tasks)):
        first = np.cumsum(count) - count
        places = np.arange(count.sum()) + np.repeat(starts[boxes[n]].reshape(-1) - first, count)
        found.corner[...] += np.array(corners[n][0], np.int32)
        for all_leaves, part in zip(leaves, found):
            if part is not None:
                all_leaves[places] = part
    return whole.as_type(leaves, image.dtype)


def in_tiles(image):
    """An image in chunks that begin where a tile does, about as large as they were."""
    (image,) = aligned([image])
    side = 1 << whole.TILE[image.ndim]
    chunks = []
    for sizes in image.chunks:
        ends = {min(sum(sizes), -(-int(end) // side) * side) for end in np.cumsum(sizes)}
        chunks.append(tuple(map(int, np.diff(sorted({0, *ends})))))
    return image.rechunk(tuple(chunks))


def _corners(chunks):
    """The first voxel and the shape of each chunk."""
    starts = [np.cumsum(sizes) - sizes for sizes in chunks]
    for at in np.ndindex(*map(len, chunks)):
        yield (
            tuple(int(s[i]) for s, i in zip(starts, at)),
            tuple(sizes[i] for sizes, i in zip(chunks, at)),
        )


def _tiles(rule, tile, values):
    values = whole.working(asnumpy(values))
    plan = kernel.layout(values.shape, tile)
    count = int(plan.bases[1])
    return values, plan, kernel.table_cpu(count, values.dtype, rule)


def _measured(rule, tile, block):
    values, plan, table = _tiles(rule, tile, block)
    with threads():
        if not kernel.survey_cpu(values, plan, rule, table):
            raise ValueError(whole.BAD)
    shape = tuple(map(int, plan.grids[0]))[-values.ndim :]
    return [None if part is None else part.reshape(shape) for part in table]


def _written(rule, tile, mean_dtype, block, counts):
    """The leaves of the tiles that have some, one tile after the other."""
    values, plan, table = _tiles(rule, tile, block)
    starts = np.where(counts, np.cumsum(counts) - counts, -1)
    leaves = kernel.leaf_arrays(np, int(counts.sum()), values.dtype, mean_dtype, plan, rule)
    with threads():
        if not kernel.emit_cpu(values, plan, rule, table, starts, leaves):
            raise ValueError(whole.BAD)
    return leaves


# --- leaves as an image -----------------------------------------------------------------------


def painted(corner, level, values, chunks):
    """An image in chunks of whole tiles in which each leaf has its value."""
    leaves = dask.delayed((corner, level, values), traverse=False)
    paint = dask.delayed(_painted)
    blocks = np.empty(tuple(map(len, chunks)), object)
    for at, (first, shape) in zip(np.ndindex(*blocks.shape), _corners(chunks)):
        blocks[at] = da.from_delayed(paint(leaves, first, shape), shape, values.dtype)
    return da.block(blocks.tolist())


def _painted(leaves, corner, shape):
    corners, level, values = leaves
    tile = whole.TILE[len(shape)]
    first = corners - np.array(corner, np.int32)
    side = np.int64(1) << level.astype(np.int64)
    here = ((first < shape) & (first + side[:, None] > 0)).all(axis=1)
    first, level, side, values = first[here], level[here], side[here], values[here]
    out = np.empty(shape, values.dtype)
    for i in np.flatnonzero(level > tile):  # these may reach beyond the chunk
        out[tuple(slice(max(0, c), max(0, c + side[i])) for c in first[i])] = values[i]
    within = level <= tile
    with threads():
        made.paint_cpu(np.ascontiguousarray(first[within]), level[within], values[within], out)
    return out
