"""Connected-component labels by a union of runs.

CPU: a binary image becomes rows of bits, an image of several values rows of runs of equal value.
Runs are numbered in raster order, joined with the runs that they touch in the rows before, and
the smallest run of each component stands for it; counting these in order gives the numbers that
a raster scan would. Beside input and result it needs 1/8 byte a voxel for the bits, 4 bytes a run
and 8 bytes a row.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from . import launch, runs
from .bits import pack_rows
from .runs import ONE, ZERO, coordinates, inside, run_starts, unite


def label_cpu(values, background, shape, connectivity):
    """Number the regions of equal value of a C-contiguous array, or the True ones of a mask.

    A mask comes as uint8 with `background` None. Returns labels (int32, or int64 past 2^31
    voxels) and their count.
    """
    *lead, length = (1, *shape) if len(shape) == 1 else shape
    rows = int(np.prod(lead, dtype=np.int64))
    near = (np.array(lead, np.int64), *runs.neighbours(tuple(lead), connectivity))
    values = values.reshape(-1)
    bases = np.zeros(rows + 1, np.int64)
    if background is None:
        words = np.empty((rows, runs.words_per_row(length)), np.uint64)
        launch.slabs(pack_rows, rows, values, length, values.dtype.type(0), words)
        launch.slabs(runs.count_runs, rows, words, bases[1:])
    else:
        launch.slabs(count_value_runs, rows, values, length, background, bases[1:])
    np.cumsum(bases, out=bases)
    count = int(bases[-1])
    # Labels fit where voxels do: there is at most one for each.
    dtype = np.int32 if rows * length < 2**31 else np.int64
    parents = np.arange(count, dtype=dtype)
    if background is None:
        join, args = runs.unite_range, (words, bases, 0, parents, *near)
    else:
        starts = np.empty(count, np.int32 if length < 2**31 else np.int64)
        launch.slabs(value_run_starts, rows, values, length, background, bases, starts)
        join, args = (
            unite_value_range,
            (values, length, background, starts, bases, parents, *near),
        )
    pieces = min(rows, launch.thread_count())
    launch.slabs(join, rows, *args, True, pieces=pieces)
    reach = -int(near[2].min(initial=0))
    for i in range(1, pieces):
        first = rows * i // pieces
        join(first, min(rows, first + reach), *args, False)
    total = number(parents)
    labels = np.empty(shape, dtype)
    flat = labels.reshape(-1)
    if background is None:
        launch.slabs(paint_runs, rows, words, length, bases, parents, flat)
    else:
        launch.slabs(paint_value_runs, rows, values, length, background, bases, parents, flat)
    return labels, total


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
    for r in range(first, last):
        run = bases[r] - 1
        before = ZERO
        at = r * length
        for w in range(words.shape[1]):
            word = words[r, w]
            starts = run_starts(word, before)
            before = word
            piece = labels[at + w * 64 : min(at + w * 64 + 64, at + length)]
            if word == ZERO:
                piece[:] = 0
                continue
            if starts == ZERO and word == ~ZERO:
                piece[:] = numbers[run]
                continue
            for k in range(piece.size):
                bit = np.uint64(k)
                run += np.int64((starts >> bit) & ONE)
                piece[k] = numbers[run] if (word >> bit) & ONE else 0


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
            unite(parents, a, b)
        if end_a <= end_b:
            # With corners, the next run of a row may still touch this one of the other.
            follows = wide and end_a == end_b and b + 1 < bases[other + 1]
            if follows and starts[b + 1] == end_b and row[starts[a]] == beside[starts[b + 1]]:
                unite(parents, a, b + 1)
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
