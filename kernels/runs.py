"""What flood fill and labelling share on the CPU: rows of bits, their runs, and unions of runs.

An array of any rank is taken as rows along its last axis: ``words[r, w]`` holds the voxels of row
r, 64 to a word, the last word of a row padded with zeros. A run is a maximal series of set bits of
one row. Runs are numbered in raster order: those of row r from ``bases[r]`` to ``bases[r + 1]``.

Two runs of different rows belong together where they touch; `neighbours` lists the rows before a
row that can touch it, and whether they touch by corners too. ``parents[i] <= i`` is the union-find
forest over run numbers: the root of a set is its smallest number. The order of use:

1. ``count_runs`` (in slabs of rows), then ``bases = first_number + exclusive sum``;
2. ``parents = arange``;
3. ``unite_inside`` in slabs of rows at the same time: each joins runs of its own rows only;
4. ``unite_across``: the slabs with one another, one call each, one after the other.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from numba import njit

from .bits import popcount

ZERO, ONE = np.uint64(0), np.uint64(1)
TOP = np.uint64(63)


class Neighbours(NamedTuple):
    """The rows before a row, in raster order, that its runs can touch; kernels take it whole."""

    height: int  # rows along the last leading axis
    outer: np.ndarray  # the sizes of the leading axes before that one
    steps: np.ndarray  # (rows, outer axes): the step to each along the outer axes
    rise: np.ndarray  # the step to each along the last leading axis
    deltas: np.ndarray  # the same as a difference of row numbers, always negative
    wide: np.ndarray  # whether voxels that differ by one along the row touch as well


def words_per_row(length: int) -> int:
    return -(-length // 64)


def neighbours(lead: tuple[int, ...], connectivity: int) -> Neighbours:
    """The neighbours of a row of an image with these leading axes."""
    lead = lead or (1,)
    strides = [int(np.prod(lead[axis + 1 :], dtype=np.int64)) for axis in range(len(lead))]
    before = (0,) * len(lead)
    steps = [
        step
        for step in itertools.product((-1, 0, 1), repeat=len(lead))
        if step < before and sum(map(abs, step)) <= connectivity
    ]
    table = np.array(steps, np.int64).reshape(len(steps), len(lead))
    return Neighbours(
        lead[-1],
        np.array(lead[:-1], np.int64),
        np.ascontiguousarray(table[:, :-1]),
        np.ascontiguousarray(table[:, -1]),
        table @ np.array(strides, np.int64),
        np.abs(table).sum(axis=1) < connectivity,
    )


@njit(nogil=True, cache=True)
def exist(line, near, sign, found):
    """Which neighbours (`sign` -1: those after) a line of rows has, but for its own ends."""
    for k in range(near.deltas.size):
        found[k] = True
        rest = line
        for axis in range(near.outer.size - 1, -1, -1):
            at = rest % near.outer[axis] + sign * near.steps[k, axis]
            rest //= near.outer[axis]
            if at < 0 or at >= near.outer[axis]:
                found[k] = False


@njit(nogil=True, cache=True)
def run_starts(word, before):
    """The lowest bit of every run that starts in `word`; `before` is the word to its left."""
    return word & ~((word << ONE) | (before >> TOP))


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
        up = parents[b]
        parents[b] = parents[a]
        if b == up:
            return
        b = up


@njit(nogil=True, cache=True)
def root(parents, a):
    """The smallest number of the set of `a`; changes nothing, so threads may ask together."""
    up = parents[a]
    while up != a:
        a, up = up, parents[up]
    return a


@njit(nogil=True, cache=True)
def run_at(base, starts, bit):
    """The last run that starts at `bit` or before, where `base` runs start before the word."""
    return base + np.int64(popcount(starts & (bit | (bit - ONE)))) - 1


@njit(nogil=True, cache=True)
def unite_rows(parents, words, a, base_a, b, base_b, wide, witnessed):
    """Join the runs of row `a` with those that they touch in row `b`.

    `witnessed` says that rows a - 1 and b - 1 touch in the same way and are joined too, so that
    where all four are set there is nothing left to do.
    """
    before_a = before_b = before_both = ZERO
    for w in range(words.shape[1]):
        word_a, word_b = words[a, w], words[b, w]
        starts_a, starts_b = run_starts(word_a, before_a), run_starts(word_b, before_b)
        both = word_a & word_b
        # One union for each maximal stretch of voxels that the two rows share.
        bits = run_starts(both, before_both)
        seen = both & words[a - 1, w] & words[b - 1, w] if witnessed else ZERO
        while bits != ZERO:
            bit = bits & (~bits + ONE)
            bits ^= bit
            if both & ~(both + bit) & seen == ZERO:
                unite(parents, run_at(base_a, starts_a, bit), run_at(base_b, starts_b, bit))
        if wide:
            # What touches by a corner and shares no stretch: one ends where the other begins.
            left_a = (word_a << ONE) | (before_a >> TOP)
            left_b = (word_b << ONE) | (before_b >> TOP)
            bits = (left_a & ~left_b & word_b & ~word_a) | (left_b & ~left_a & word_a & ~word_b)
            while bits != ZERO:
                bit = bits & (~bits + ONE)
                bits ^= bit
                unite(parents, run_at(base_a, starts_a, bit), run_at(base_b, starts_b, bit))
        base_a += np.int64(popcount(starts_a))
        base_b += np.int64(popcount(starts_b))
        before_a, before_b, before_both = word_a, word_b, both


@njit(nogil=True, cache=True)
def unite_range(first, last, lowest, highest, words, bases, parents, near):
    """Join the runs of rows [first, last) with those of neighbours in [lowest, highest)."""
    found = np.empty(near.deltas.size, np.bool_)
    y = first % near.height
    for r in range(first, last):
        if y == 0 or r == first:
            exist(r // near.height, near, 1, found)
        if bases[r + 1] > bases[r]:
            for k in range(near.deltas.size):
                other, up = r + near.deltas[k], y + near.rise[k]
                if (
                    found[k]
                    and 0 <= up < near.height
                    and lowest <= other < highest
                    and bases[other + 1] > bases[other]
                ):
                    # Rows of one line are their own witnesses.
                    witnessed = y > 0 and up > 0 and other // near.height != r // near.height
                    unite_rows(
                        parents, words, r, bases[r], other, bases[other], near.wide[k], witnessed
                    )
        y = y + 1 if y + 1 < near.height else 0


@njit(nogil=True, cache=True)
def unite_inside(first, last, words, bases, parents, near):
    """Join the runs of rows [first, last) among themselves."""
    unite_range(first, last, first, last, words, bases, parents, near)


@njit(nogil=True, cache=True)
def unite_across(first, last, words, bases, parents, near):
    """Join the runs of rows [first, last) with those of all rows before `first`."""
    reach = np.int64(0)
    for k in range(near.deltas.size):
        reach = max(reach, -near.deltas[k])
    unite_range(first, min(last, first + reach), 0, first, words, bases, parents, near)
