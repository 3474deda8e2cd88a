"""Connected-component labels on a GPU, in raster order of the first voxel, as SciPy numbers them.

The runs and unions are those of flood_cuda.py. As run numbers ascend in raster order and the
smallest number of a set stays its root, the label of a component is the rank of its root among all
roots: roots are counted by piece, the caller sums the counts, and ranks are written over the roots,
negative, so that nothing else is mistaken for one. Labels of values join only equal neighbours;
their runs may touch, which makes the tables 4.3 bytes a voxel instead of 2.2.
"""

from __future__ import annotations

import numpy as np
from numba import cuda, types

from . import launch, warp
from .flood_cuda import (
    BLOCK,
    classify_image,
    first_run,
    grid,
    joined_bits,
    merge_mask_corners,
    merge_masks,
    merge_value_corners,
    merge_values,
    part_of_word,
    root,
    run_of,
    run_starts,
)

_LOADS = 8
_SCRATCH = warp.SCRATCH


@cuda.jit
def _classify_values(
    values, background, length, width, count, slots, mask, joins, bases, parents
):  # fmt: skip
    """What is not background, which voxels equal the one to their left, and run numbers."""
    scratch = cuda.shared.array(_SCRATCH, types.int64)
    ahead = cuda.local.array(_LOADS, values.dtype)
    ahead_left = cuda.local.array(_LOADS, values.dtype)
    lane = types.int64(cuda.laneid)
    piece = cuda.grid(1) // 32
    start = piece * 32
    if start >= count:
        return
    word = types.int64(0)
    joined = types.int64(0)
    row = start // width
    column = start - row * width
    for k in range(0, part_of_word(count - start), _LOADS):
        for j in range(_LOADS):
            x = column * 32 + lane
            ahead[j] = background
            ahead_left[j] = background
            if x < length and start + k + j < count:
                ahead[j] = values[row * length + x]
                if x > 0:
                    ahead_left[j] = values[row * length + x - 1]
            column += 1
            if column == width:
                column = types.int64(0)
                row += 1
        for j in range(_LOADS):
            is_set = ahead[j] != background
            within = warp.ballot(scratch, is_set)
            same = warp.ballot(scratch, is_set and ahead[j] == ahead_left[j])
            if lane == k + j:
                word = within
                joined = same
    index = start + lane
    starts = run_starts(word, joined, index)
    runs = warp.popcount(starts)
    base = warp.sum_before(scratch, runs)
    if index < count:
        mask[index] = word
        joins[index] = joined
        bases[index] = base
        number = 1 + piece * slots + base
        for i in range(runs):
            parents[number + i] = number + i


def _label_kernels(valued):
    """Count roots, number them, paint; a warp a piece, a lane a word."""

    @cuda.jit
    def count_roots(width, count, slots, mask, joins, bases, parents, counts):
        """The roots of each piece; and short ways to them."""
        scratch = cuda.shared.array(_SCRATCH, types.int64)
        index = types.int64(cuda.grid(1))
        lane = types.int64(cuda.laneid)
        if index - lane >= count:
            return
        roots = types.int64(0)
        if index < count:
            joined = joined_bits(mask, joins, index, index % width, valued)
            number = first_run(bases, index, slots)
            for _ in range(warp.popcount(run_starts(types.int64(mask[index]), joined, index))):
                top = root(parents, number)
                # Another thread that halves its way through here may undo this: no harm.
                parents[number] = top
                roots += top == number
                number += 1
        before = warp.sum_before(scratch, roots)
        if lane == 31:
            counts[index // 32] = before + roots

    @cuda.jit
    def number_roots(width, count, slots, mask, joins, bases, parents, counts, ends):
        """Minus its label over every root."""
        scratch = cuda.shared.array(_SCRATCH, types.int64)
        index = types.int64(cuda.grid(1))
        lane = types.int64(cuda.laneid)
        if index - lane >= count:
            return
        first = types.int64(0)
        runs = types.int64(0)
        roots = types.int64(0)
        if index < count:
            joined = joined_bits(mask, joins, index, index % width, valued)
            first = first_run(bases, index, slots)
            runs = warp.popcount(run_starts(types.int64(mask[index]), joined, index))
            for number in range(first, first + runs):
                roots += parents[number] == number
        label = ends[index // 32] - counts[index // 32] + warp.sum_before(scratch, roots)
        for number in range(first, first + runs):
            if parents[number] == number:
                label += 1
                parents[number] = -label

    @cuda.jit
    def paint(length, width, count, slots, mask, joins, bases, parents, out):
        scratch = cuda.shared.array(_SCRATCH, types.int64)
        index = types.int64(cuda.grid(1))
        lane = types.int64(cuda.laneid)
        if index - lane >= count:
            return
        word = types.int64(0)
        starts = types.int64(0)
        first = types.int64(0)
        at = types.int64(0)
        size = types.int64(0)
        if index < count:
            row = index // width
            column = index - row * width
            word = types.int64(mask[index])
            starts = run_starts(word, joined_bits(mask, joins, index, column, valued), index)
            first = first_run(bases, index, slots)
            at = row * length + column * 32
            size = part_of_word(length - column * 32)
        for k in range(part_of_word(count - (index - lane))):
            holder = types.int32(k)
            its_word = warp.from_lane(scratch, word, holder)
            its_starts = warp.from_lane(scratch, starts, holder)
            its_first = warp.from_lane(scratch, first, holder)
            begin = warp.from_lane(scratch, at, holder)
            end = warp.from_lane(scratch, size, holder)
            if lane < end:
                label = types.int64(0)
                bit = types.int64(1) << lane
                if its_word & bit:
                    label = types.int64(parents[run_of(its_first, its_starts, bit)])
                    while label > 0:
                        label = types.int64(parents[label])
                out[begin + lane] = -label

    return count_roots, number_roots, paint


_count_mask_roots, _number_mask_roots, _paint_mask = _label_kernels(valued=False)
_count_value_roots, _number_value_roots, _paint_values = _label_kernels(valued=True)


def join_cuda(values, background, plan, connectivity, *, near, mask, joins, bases, parents,
              counts, stream=0) -> None:  # fmt: skip
    """Join the runs of a flat array, and count the components that start in each piece.

    With `joins` None, the values are 0 and 1 (uint8), and `background` is not looked at. The
    tables are ``flood_cuda.tables(plan, np.int32)``; `joins` is like `mask`.
    """
    valued = joins is not None
    values, near, mask, joins, bases, parents, counts = map(
        launch.device_array,
        (values, near, mask, joins if valued else mask, bases, parents, counts),
    )
    where, sizes = (grid(plan), BLOCK, stream), tuple(map(np.int64, plan))
    if valued:
        _classify_values[where](values, background, *sizes, mask, joins, bases, parents)
        merge, merge_corners, count_roots = merge_values, merge_value_corners, _count_value_roots
    else:
        # Nothing is above the second threshold: every run starts as a set of its own.
        zero, one = np.uint8(0), np.uint8(1)
        classify_image[where](values, zero, values, one, *sizes, mask, bases, parents)
        merge, merge_corners, count_roots = merge_masks, merge_mask_corners, _count_mask_roots
        values = mask
    merge[where](values, *sizes, mask, joins, bases, parents, near)
    if connectivity > 1:
        merge_corners[where](values, *sizes, mask, joins, bases, parents, near)
    count_roots[where](*sizes[1:], mask, joins, bases, parents, counts)


def paint_cuda(plan, *, mask, joins, bases, parents, counts, ends, out, stream=0) -> None:
    """Write the labels, with what `join_cuda` left and the running sums (`ends`) of `counts`."""
    valued = joins is not None
    mask, joins, bases, parents, counts, ends, out = map(
        launch.device_array,
        (mask, joins if valued else mask, bases, parents, counts, ends, out),
    )
    number_roots = _number_value_roots if valued else _number_mask_roots
    paint = _paint_values if valued else _paint_mask
    where, sizes = (grid(plan), BLOCK, stream), tuple(map(np.int64, plan))
    number_roots[where](*sizes[1:], mask, joins, bases, parents, counts, ends)
    paint[where](*sizes, mask, joins, bases, parents, out)


def cuda_signatures():
    def line(kind):
        return types.Array(kind, 1, "C")

    plan, words, counts = (types.int64,) * 4, line(types.uint32), line(types.int64)
    kinds = (types.uint8, types.uint16, types.uint32, types.uint64, types.float32, types.float64)
    signatures = []
    for number, images in ((types.int32, kinds), (types.int64, (types.uint32,))):
        table = (words, words, line(types.uint16), line(number))
        signatures += [(_classify_values, (line(k), k, *plan, *table), 112) for k in images]
        for count_roots in (_count_mask_roots, _count_value_roots):
            signatures.append((count_roots, (*plan[1:], *table, counts), 48))
        for number_roots in (_number_mask_roots, _number_value_roots):
            signatures.append((number_roots, (*plan[1:], *table, counts, counts), 48))
        for paint in (_paint_mask, _paint_values):
            signatures.append((paint, (*plan, *table, line(number)), 64))
    return signatures
