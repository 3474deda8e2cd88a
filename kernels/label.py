"""Connected-component labels by a union of runs.

CPU: a binary image becomes rows of bits, an image of several values rows of runs of equal value.
Runs are numbered in raster order, joined with the runs that they touch in the rows before, and
the smallest run of each component stands for it; counting these in order gives the numbers that
a raster scan would. Beside input and result it needs 1/8 byte a voxel for the bits, 4 bytes a run
and 8 bytes a row.

CUDA: the runs and unions are those of flood.py. As run numbers ascend in raster order and the
smallest number of a set stays its root, the label of a component is the rank of its root among all
roots: roots are counted by piece, the caller sums the counts, and ranks are written over the roots,
negative, so that nothing else is mistaken for one. Labels of values join only equal neighbours;
their runs may touch, which makes the tables 4.3 bytes a voxel instead of 2.2.
"""

from __future__ import annotations

import numpy as np
from numba import cuda, types

from . import launch, runs, warp
from .bits import pack_rows, spread64, trailing_zeros
from .flood import (
    BLOCK,
    classify_image,
    divided,
    entry,
    grid,
    joined_bits,
    merge_runs,
    part_of_word,
    root,
    run_of,
    run_starts,
    runs_used,
)
from .kept import njit
from .runs import ONE, ZERO, coordinates, inside


def label_cpu(values, background, shape, connectivity):
    """Number the regions of equal value of a C-contiguous array, or the True ones of a mask.

    A mask comes as uint8 with `background` None. Returns labels (int32, or int64 past 2^31
    voxels) and their count.
    """
    *lead, length = (1, *shape) if len(shape) == 1 else shape
    rows = int(np.prod(lead, dtype=np.int64))
    values = values.reshape(-1)
    # Labels fit where voxels do: there is at most one for each.
    dtype = np.int32 if rows * length < 2**31 else np.int64
    labels = np.empty(shape, dtype)
    if background is None:
        words = np.empty((rows, runs.words_per_row(length)), np.uint64)
        launch.slabs(pack_rows, rows, values, length, values.dtype.type(0), words)
        bases, numbers, total = numbered_runs(words, lead, connectivity, dtype)
        paint_mask(words, bases, numbers, labels)
        return labels, total
    near = (np.array(lead, np.int64), *runs.neighbours(tuple(lead), connectivity))
    bases = np.zeros(rows + 1, np.int64)
    launch.slabs(count_value_runs, rows, values, length, background, bases[1:])
    np.cumsum(bases, out=bases)
    parents = np.arange(bases[-1], dtype=dtype)
    starts = np.empty(parents.size, np.int32 if length < 2**31 else np.int64)
    launch.slabs(value_run_starts, rows, values, length, background, bases, starts)
    _join(unite_value_range, rows, near, values, length, background, starts, bases, parents)
    total = number(parents)
    flat = labels.reshape(-1)
    launch.slabs(paint_value_runs, rows, values, length, background, bases, parents, flat)
    return labels, total


def numbered_runs(words, lead, connectivity, dtype):
    """The number of each row's first run, the component of each run, and the components' count."""
    near = (np.array(lead, np.int64), *runs.neighbours(tuple(lead), connectivity))
    bases = np.zeros(len(words) + 1, dtype)
    launch.slabs(runs.count_runs, len(words), words, bases[1:])
    np.cumsum(bases, out=bases)
    parents = np.arange(bases[-1], dtype=dtype)
    _join(runs.unite_range, len(words), near, words, bases, 0, parents)
    return bases, parents, number(parents)


def paint_mask(words, bases, numbers, labels) -> None:
    """Write the numbers of the runs of rows of bits to a C-contiguous array, 0 between them."""
    flat = labels.reshape(-1)
    launch.slabs(paint_runs, len(words), words, labels.shape[-1], bases, numbers, flat)


def _join(function, rows, near, *args) -> None:
    """Join runs within as many pieces as there are threads, then those of rows of two pieces."""
    pieces = min(rows, launch.thread_count())
    launch.slabs(function, rows, *args, *near, True, pieces=pieces)
    reach = -int(near[2].min(initial=0))
    for i in range(1, pieces):
        first = rows * i // pieces
        function(first, min(rows, first + reach), *args, *near, False)


@njit(nogil=True, cache=True)
def number(parents):
    """Replace every run's parent by the number of its component, from 1 on in raster order."""
    total = 0
    for run in range(parents.size):
        parent = parents[run]
        if parent == run:
            total += 1
            parents[run] = total
        else:
            # A parent comes before its run, so it holds its number already.
            parents[run] = parents[parent]
    return total


@njit(nogil=True, cache=True)
def paint_runs(first, last, words, length, bases, numbers, labels):
    """Each voxel of the bits gets its run's number, each other 0."""
    end = last * length
    nothing = labels.dtype.type(0)
    for r in range(first, last):
        run = bases[r] - 1
        before = ZERO
        for w in range(words.shape[1]):
            word = words[r, w]
            starts = runs.run_starts(word, before)
            before = word
            at = r * length + w * 64
            if at + 64 <= end:
                # The lowest run, and zeros around it; the next row writes over what is too much.
                part = runs.lowest_run(word)
                run += np.int64((starts & part) != ZERO)
                spread64(labels, at, part, numbers[run] if part != ZERO else nothing)
                word ^= part
            else:
                labels[at : min(end, (r + 1) * length)] = nothing
            while word != ZERO:
                bit = word & (~word + ONE)
                run += np.int64((starts & bit) != ZERO)
                labels[at + np.int64(trailing_zeros(word))] = numbers[run]
                word ^= bit


# --- several values ---------------------------------------------------------------------------


@njit(nogil=True, cache=True)
def count_value_runs(first, last, values, length, background, counts):
    """The number of runs of equal value of each row, without those of the background."""
    for r in range(first, last):
        row = values[r * length : (r + 1) * length]
        total = np.int64(row[0] != background)
        for x in range(1, length):
            total += np.int64((row[x] != row[x - 1]) & (row[x] != background))
        counts[r] = total


@njit(nogil=True, cache=True)
def value_run_starts(first, last, values, length, background, bases, starts):
    """Where in its row each run begins."""
    for r in range(first, last):
        row = values[r * length : (r + 1) * length]
        run = bases[r]
        for x in range(length):
            if row[x] != background and (x == 0 or row[x] != row[x - 1]):
                starts[run] = x
                run += 1


@njit(nogil=True, cache=True)
def unite_value_range(
    first, last, values, length, background, starts, bases, parents, lead, steps, deltas, wide,
    inner,
):  # fmt: skip
    """Join the runs of rows [first, last) with those of their value before them; see
    `runs.unite_range` for `inner`."""
    at = coordinates(first, lead)
    for r in range(first, last):
        for k in range(deltas.size):
            other = r + deltas[k]
            if (other >= first) == inner and inside(at, lead, steps[k], 1):
                unite_value_rows(values, length, starts, bases, parents, r, other, wide[k])
        runs.advance(at, lead, 1)


@njit(nogil=True, cache=True)
def unite_value_rows(values, length, starts, bases, parents, r, other, wide):
    """Walk along both rows' runs at once, and join those that touch and are of one value."""
    a, b = bases[r], bases[other]
    row, beside = values[r * length : (r + 1) * length], values[other * length :][:length]
    reach = 1 if wide else 0
    end_a = end_b = np.int64(-1)
    while a < bases[r + 1] and b < bases[other + 1]:
        if end_a < 0:
            end_a = run_end(row, starts[a])
        if end_b < 0:
            end_b = run_end(beside, starts[b])
        touch = starts[a] < end_b + reach and starts[b] < end_a + reach
        if touch and row[starts[a]] == beside[starts[b]]:
            runs.unite(parents, a, b)
        if end_a <= end_b:
            # With corners, the next run of a row may still touch this one of the other.
            follows = wide and end_a == end_b and b + 1 < bases[other + 1]
            if follows and starts[b + 1] == end_b and row[starts[a]] == beside[starts[b + 1]]:
                runs.unite(parents, a, b + 1)
            a += 1
            end_a = np.int64(-1)
        else:
            b += 1
            end_b = np.int64(-1)


@njit(nogil=True, cache=True)
def run_end(row, start):
    """Where the run of equal value that begins at `start` ends."""
    value = row[start]
    x = np.int64(start) + 1
    while x < row.size and row[x] == value:
        x += 1
    return x


@njit(nogil=True, cache=True)
def paint_value_runs(first, last, values, length, background, bases, numbers, labels):
    """Each voxel that is not background gets its run's number."""
    for r in range(first, last):
        row = values[r * length : (r + 1) * length]
        out = labels[r * length : (r + 1) * length]
        run = bases[r] - 1
        for x in range(length):
            if row[x] == background:
                out[x] = 0
            else:
                run += np.int64(x == 0 or row[x] != row[x - 1])
                out[x] = numbers[run]


# --- CUDA --------------------------------------------------------------------------------------

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
    votes = types.uint32(0)
    joined_votes = types.uint32(0)
    row, column = divided(start, width)
    # The first voxel of a word, and how many its row has from there on.
    at = row * length + column * 32
    left = length - column * 32
    # Nothing is before the first voxel of all.
    whole = length == width * 32 and start + 32 <= count and start > 0
    for k in range(0, part_of_word(count - start), _LOADS):
        if whole:
            for j in range(_LOADS):
                ahead[j] = values[types.uint64(at + lane + j * 32)]
                ahead_left[j] = values[types.uint64(at + lane + j * 32 - 1)]
            at += _LOADS * 32
        else:
            for j in range(_LOADS):
                ahead[j] = background
                ahead_left[j] = background
                if lane < left and at < values.size:
                    ahead[j] = values[types.uint64(at + lane)]
                    if lane > 0 or left < length:
                        ahead_left[j] = values[types.uint64(at + lane - 1)]
                at += part_of_word(left)
                left -= 32
                if left <= 0:
                    left = types.int64(length)
        turn = types.int32(lane - k)
        for j in range(_LOADS):
            is_set = ahead[j] != background
            within = warp.ballot(scratch, is_set)
            same = warp.ballot(scratch, is_set and ahead[j] == ahead_left[j])
            if turn == j:
                votes = types.uint32(within)
                joined_votes = types.uint32(same)
    index = start + lane
    joined = types.int64(joined_votes)
    if types.uint32(column + lane) % types.uint32(width) == 0:
        # The voxel before is of another row.
        joined &= -2
    base = warp.sum_before(scratch, warp.popcount(run_starts(types.int64(votes), joined, index)))
    if index < count:
        mask[index] = votes
        joins[index] = joined
        bases[index] = base


@cuda.jit(device=True)
def _label_of(parents, first, word, starts, base, bit):
    """The label of a voxel of a word, of whose runs `base` start before in the piece."""
    if word & bit:
        return -entry(parents, run_of(first + base, starts, bit))
    return types.int64(0)


def _label_kernels(valued):
    """Count roots, number them, paint; a warp a piece, whose runs have numbers side by side."""

    @cuda.jit
    def count_roots(width, count, slots, mask, joins, bases, parents, counts):
        """The roots of each piece; and short ways to them."""
        scratch = cuda.shared.array(_SCRATCH, types.int64)
        lane = types.int64(cuda.laneid)
        piece = cuda.grid(1) // 32
        if piece * 32 >= count:
            return
        used = runs_used(mask, joins, bases, piece, width, count, valued)
        roots = types.int64(0)
        for i in range(0, used, 32):
            number = 1 + piece * slots + i + lane
            is_root = False
            if i + lane < used:
                top = root(parents, number)
                # Another thread that halves its way through here may undo this: no harm.
                parents[types.uint64(number)] = top
                is_root = top == number
            roots += warp.popcount(warp.ballot(scratch, is_root))
        if lane == 0:
            counts[piece] = roots

    @cuda.jit
    def number_roots(width, count, slots, mask, joins, bases, parents, counts, ends):
        """Minus its label over every root."""
        scratch = cuda.shared.array(_SCRATCH, types.int64)
        lane = types.int64(cuda.laneid)
        piece = cuda.grid(1) // 32
        if piece * 32 >= count:
            return
        used = runs_used(mask, joins, bases, piece, width, count, valued)
        label = ends[piece] - counts[piece]
        lanes_before = (types.int64(1) << lane) - 1
        for i in range(0, used, 32):
            number = 1 + piece * slots + i + lane
            is_root = False
            if i + lane < used:
                is_root = entry(parents, number) == number
            roots = warp.ballot(scratch, is_root)
            if is_root:
                above = label + 1 + warp.popcount(roots & lanes_before)
                parents[types.uint64(number)] = -above
            label += warp.popcount(roots)

    @cuda.jit
    def paint(length, width, count, slots, mask, joins, bases, parents, out):
        scratch = cuda.shared.array(_SCRATCH, types.int64)
        index = types.int64(cuda.grid(1))
        lane = types.int64(cuda.laneid)
        start = index - lane
        if start >= count:
            return
        first = 1 + start // 32 * slots
        # Once a run, not once a voxel. Who reads a run meanwhile finds its label or a way to it.
        used = runs_used(mask, joins, bases, start // 32, width, count, valued)
        for number in range(first + lane, first + used, 32):
            parent = entry(parents, number)
            while parent > 0:
                parent = entry(parents, parent)
            parents[types.uint64(number)] = parent
        warp.sync(scratch)
        word = types.int64(0)
        starts = types.int64(0)
        base = types.int64(0)
        if index < count:
            word = entry(mask, index)
            column = divided(index, width)[1]
            starts = run_starts(word, joined_bits(mask, joins, index, column, valued), index)
            base = entry(bases, index)
        row, column = divided(start, width)
        at = row * length + column * 32
        left = length - column * 32
        bit = types.int64(1) << lane
        if length == width * 32 and start + 32 <= count:
            for k in range(32):
                holder = types.int32(k)
                its_word = warp.word_of_lane(scratch, word, holder)
                its_starts = warp.word_of_lane(scratch, starts, holder)
                its_base = warp.word_of_lane(scratch, base, holder)
                label = _label_of(parents, first, its_word, its_starts, its_base, bit)
                out[types.uint64(at + lane + k * 32)] = label
            return
        for k in range(part_of_word(count - start)):
            holder = types.int32(k)
            its_word = warp.word_of_lane(scratch, word, holder)
            its_starts = warp.word_of_lane(scratch, starts, holder)
            its_base = warp.word_of_lane(scratch, base, holder)
            label = _label_of(parents, first, its_word, its_starts, its_base, bit)
            if lane < left:
                out[types.uint64(at + lane)] = label
            at += part_of_word(left)
            left -= 32
            if left <= 0:
                left = types.int64(length)

    return count_roots, number_roots, paint


_count_mask_roots, _number_mask_roots, _paint_mask = _label_kernels(valued=False)
_count_value_roots, _number_value_roots, _paint_values = _label_kernels(valued=True)


def join_cuda(values, background, plan, connectivity, *, near, mask, joins, bases, parents,
              counts, stream=0) -> None:  # fmt: skip
    """Join the runs of a flat array, and count the components that start in each piece.

    With `joins` None, the values are 0 and 1 (uint8), and `background` is not looked at. The
    tables are ``flood.tables(plan, np.int32)``; `joins` is like `mask`.
    """
    valued = joins is not None
    joins = joins if valued else mask
    where, sizes = (grid(plan), BLOCK, stream), tuple(map(np.int64, plan))
    if valued:
        launch.start(
            _classify_values, *where, values, background, *sizes, mask, joins, bases, parents
        )
        count_roots = _count_value_roots
    else:
        # Nothing is above the second threshold: every run starts as a set of its own.
        zero, one = np.uint8(0), np.uint8(1)
        launch.start(
            classify_image, *where, values, zero, values, one, *sizes, mask, bases, parents
        )
        values, count_roots = None, _count_mask_roots
    merge_runs(values, plan, connectivity, mask, joins, bases, parents, near, stream)
    launch.start(count_roots, *where, *sizes[1:], mask, joins, bases, parents, counts)


def paint_cuda(plan, *, mask, joins, bases, parents, counts, ends, out, stream=0) -> None:
    """Write the labels, with what `join_cuda` left and the running sums (`ends`) of `counts`."""
    valued = joins is not None
    joins = joins if valued else mask
    number_roots = _number_value_roots if valued else _number_mask_roots
    paint = _paint_values if valued else _paint_mask
    where, sizes = (grid(plan), BLOCK, stream), tuple(map(np.int64, plan))
    launch.start(number_roots, *where, *sizes[1:], mask, joins, bases, parents, counts, ends)
    launch.start(paint, *where, *sizes, mask, joins, bases, parents, out)


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
