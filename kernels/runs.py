"""What flood fill and labelling share on the CPU: rows of bits, their runs, a union of runs.

An array of any rank is taken as rows along its last axis: ``words[r, w]`` holds the voxels of row
r, 64 to a word, padded with zeros. A run is a maximal series of set bits of one row; runs are
numbered in raster order, and `bases[r]` is the number of the first run of row r. Two runs belong
together where they touch; the rows to look at are given by `neighbours`.
"""

from __future__ import annotations

import itertools

import numpy as np

from .bits import popcount
from .kept import njit

ZERO, ONE = np.uint64(0), np.uint64(1)
TOP = np.uint64(63)


def words_per_row(length: int) -> int:
    return -(-length // 64)


def neighbours(lead: tuple[int, ...], connectivity: int):
    """The rows before a row, in raster order, that its runs can touch.

    Returns
    -------
    steps : int64 array (rows, axes)
        Steps along the leading axes.
    deltas : int64 array (rows,)
        The same as a difference of row numbers.
    wide : bool array (rows,)
        Whether voxels that differ by one along the row touch as well.
    """
    strides = [int(np.prod(lead[axis + 1 :], dtype=np.int64)) for axis in range(len(lead))]
    zero = (0,) * len(lead)
    steps = [
        step
        for step in itertools.product((-1, 0, 1), repeat=len(lead))
        if step < zero and sum(map(abs, step)) <= connectivity
    ]
    deltas = [sum(a * b for a, b in zip(step, strides)) for step in steps]
    wide = [sum(map(abs, step)) < connectivity for step in steps]
    return (
        np.array(steps, np.int64).reshape(len(steps), len(lead)),
        np.array(deltas, np.int64),
        np.array(wide, np.bool_),
    )


@njit(nogil=True, cache=True)
def coordinates(row, lead):
    """The leading coordinates of a row."""
    at = np.empty(lead.size, np.int64)
    for axis in range(lead.size - 1, -1, -1):
        at[axis] = row % lead[axis]
        row //= lead[axis]
    return at


@njit(nogil=True, cache=True)
def advance(at, lead, step):
    """Go to the next row in raster order (`step` 1) or to the one before (-1)."""
    for axis in range(lead.size - 1, -1, -1):
        at[axis] += step
        if 0 <= at[axis] < lead[axis]:
            return
        at[axis] = 0 if step > 0 else lead[axis] - 1


@njit(nogil=True, cache=True)
def inside(at, lead, step, sign):
    """Whether the row `step` away (times `sign`) exists."""
    for axis in range(lead.size):
        where = at[axis] + sign * step[axis]
        if where < 0 or where >= lead[axis]:
            return False
    return True


@njit(nogil=True, cache=True)
def run_starts(word, before):
    """The lowest bit of every run that starts in `word`; `before` is the word to its left."""
    return word & ~((word << ONE) | (before >> TOP))


@njit(nogil=True, cache=True)
def lowest_run(word):
    """The bits of the lowest run of a word that is not 0."""
    return word & ~(word + (word & (~word + ONE)))


@njit(nogil=True, cache=True)
def count_runs(first, last, words, counts):
    """The number of runs of each row."""
    for r in range(first, last):
        before = ZERO
        total = np.int64(0)
        for w in range(words.shape[1]):
            word = words[r, w]
            total += np.int64(popcount(run_starts(word, before)))
            before = word
        counts[r] = total


@njit(nogil=True, cache=True)
def unite(parents, a, b):
    """Join two sets; the smaller number stays the root (Rem's algorithm with splicing)."""
    while parents[a] != parents[b]:
        if parents[a] > parents[b]:
            a, b = b, a
        # Now the parent of b is the larger one.
        if b == parents[b]:
            parents[b] = parents[a]
            return
        up = parents[b]
        parents[b] = parents[a]
        b = up


@njit(nogil=True, cache=True)
def root(parents, a):
    """The smallest number of the set; shortens the way to it for the next call.

    Threads may do this at the same time: a parent is only ever replaced by one of its own.
    """
    while parents[a] != a:
        parents[a] = parents[parents[a]]
        a = parents[a]
    return a


@njit(nogil=True, cache=True)
def run_of(base, starts, bit):
    """The number of the run that holds `bit`: of the runs up to it, the last."""
    return base + np.int64(popcount(starts & (bit | (bit - ONE)))) - 1


@njit(nogil=True, cache=True)
def unite_bits(parents, bits, base_a, starts_a, base_b, starts_b, shift):
    """Join, for each of `bits` in row a, its run with the run of row b `shift` to the left."""
    while bits != ZERO:
        bit = bits & (~bits + ONE)
        other = bit >> ONE if shift > 0 else bit << ONE if shift < 0 else bit
        unite(parents, run_of(base_a, starts_a, bit), run_of(base_b, starts_b, other))
        bits ^= bit


@njit(nogil=True, cache=True)
def unite_rows(parents, words, a, base_a, b, base_b, wide):
    """Join the runs of row `a` with those that they touch in row `b`."""
    before_a = before_b = before_both = ZERO
    count = words.shape[1]
    for w in range(count):
        word_a, word_b = words[a, w], words[b, w]
        starts_a, starts_b = run_starts(word_a, before_a), run_starts(word_b, before_b)
        both = word_a & word_b
        # One union for each maximal stretch of voxels that the two rows share.
        first = both & ~((both << ONE) | (before_both >> TOP))
        unite_bits(parents, first, base_a, starts_a, base_b, starts_b, 0)
        if wide:
            # What touches only by a corner; any other diagonal pair shares a stretch as well.
            left = (word_b << ONE) & ~word_b & word_a & ~(word_a << ONE)
            right = (word_b >> ONE) & ~word_b & word_a & ~(word_a >> ONE)
            unite_bits(parents, left, base_a, starts_a, base_b, starts_b, 1)
            unite_bits(parents, right, base_a, starts_a, base_b, starts_b, -1)
            # The same across the border with the word to the left.
            if before_b >> TOP and not before_a >> TOP and word_a & ONE and not word_b & ONE:
                unite(parents, run_of(base_a, starts_a, ONE), base_b - 1)
            if before_a >> TOP and not before_b >> TOP and word_b & ONE and not word_a & ONE:
                unite(parents, base_a - 1, run_of(base_b, starts_b, ONE))
        base_a += np.int64(popcount(starts_a))
        base_b += np.int64(popcount(starts_b))
        before_a, before_b, before_both = word_a, word_b, both


@njit(nogil=True, cache=True)
def unite_range(first, last, words, bases, offset, parents, lead, steps, deltas, wide, inner):
    """Join the runs of rows [first, last) with those before them.

    With `inner`, only with rows of the same range, so that ranges can run at the same time;
    without, only with rows before it.
    """
    at = coordinates(first, lead)
    for r in range(first, last):
        if bases[r + 1] > bases[r]:
            for k in range(deltas.size):
                other = r + deltas[k]
                if (other >= first) != inner or not inside(at, lead, steps[k], 1):
                    continue
                if bases[other + 1] > bases[other]:
                    a, b = bases[r] + offset, bases[other] + offset
                    unite_rows(parents, words, r, a, other, b, wide[k])
        advance(at, lead, 1)
