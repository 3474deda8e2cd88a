"""Components of one chunk of a larger array, seen from its faces; on the CPU, over rows of bits.

The components are those of label.py: rows of bits, `bases` (the number of each row's first run)
and `numbers` (the component of each run, from 1 on). Nothing here writes an array of the chunk's
size, which is what makes the first look at a chunk cheap.
"""

from __future__ import annotations

import math

import numpy as np

from . import launch, runs
from .bits import spread64, trailing_zeros
from .kept import njit
from .runs import ONE, ZERO


def face(words, bases, numbers, shape, axis: int, index: int, reached=None):
    """The components along the plane ``index`` of an axis, 0 where there is none. With other bits
    that are `reached`, these are 1, and each component is one more."""
    *lead, length = shape
    reached = words[:0] if reached is None else reached
    if axis == len(lead):
        out = np.empty(lead, numbers.dtype)
        launch.slabs(paint_column, len(words), words, index % length, bases, numbers, reached,
                     out.reshape(-1))  # fmt: skip
        return out
    out = np.empty((*lead[:axis], *shape[axis + 1 :]), numbers.dtype)
    plane = lead[axis], index % lead[axis], math.prod(lead[axis + 1 :])
    launch.slabs(paint_plane, out.size // length, plane, words, length, bases, numbers, reached,
                 out.reshape(-1))  # fmt: skip
    return out


def sizes(words, bases, numbers, count: int):
    """How many bits each component has; entry 0 is empty."""
    out = np.zeros((launch.thread_count(), count + 1), np.int64)
    rows, pieces = len(words), len(out)
    bounds = np.array([rows * i // pieces for i in range(pieces + 1)])
    launch.slabs(add_sizes, pieces, bounds, words, bases, numbers, out)
    return out.sum(axis=0)


def keep(words, bases, numbers, kept, grown) -> None:
    """Set in `grown` the bits of the components that are `kept`."""
    launch.slabs(keep_runs, len(words), words, bases, numbers, kept, grown)


def listed(planes, is_there):
    """The components on some planes and those that are there anyway, in order; and the planes with
    1, 2, ... of these.
    """
    flat = np.concatenate([plane.reshape(-1) for plane in planes]) if planes else np.zeros(0, int)
    out = np.empty(flat.size, np.int32)
    touching = rename(flat, is_there, out)
    ends = np.cumsum([plane.size for plane in planes])[:-1]
    return touching, [x.reshape(p.shape) for x, p in zip(np.split(out, ends), planes)]


def pairs(a, b, last):
    """The pairs of numbers where neither plane is 0, as rows. `last` keeps what came last with each
    number of the first plane, and that does not come again."""
    out = np.empty((a.size, 2), np.int32)
    return out[: list_pairs(a.reshape(-1), b.reshape(-1), last, out)]


@njit(nogil=True, cache=True)
def rename(flat, is_there, out):
    """The numbers in `flat` and those that are there, in order; 1, 2, ... for them in `out`."""
    for number in flat:
        is_there[number] = True
    is_there[0] = False
    touching = np.flatnonzero(is_there)
    place = np.zeros(is_there.size, np.int32)
    for i in range(touching.size):
        place[touching[i]] = i + 1
    for i in range(flat.size):
        out[i] = place[flat[i]]
    return touching


@njit(nogil=True, cache=True)
def list_pairs(a, b, last, out):
    count = 0
    for i in range(a.size):
        if a[i] and b[i] and last[a[i]] != b[i]:
            out[count, 0] = a[i]
            out[count, 1] = last[a[i]] = b[i]
            count += 1
    return count


@njit(nogil=True, cache=True)
def join(pairs, first, second, parents):
    """Unite the sets of pairs of members, which count from `first` and `second` on."""
    for i in range(len(pairs)):
        runs.unite(parents, first + pairs[i, 0], second + pairs[i, 1])


@njit(nogil=True, cache=True)
def number_sets(parents):
    """Put the number of its set, from 0 on, in the place of each parent; how many sets."""
    count = 0
    for i in range(parents.size):
        # A parent is never larger, so it has its number already.
        if parents[i] == i:
            parents[i] = count
            count += 1
        else:
            parents[i] = parents[parents[i]]
    return count


@njit(nogil=True, cache=True)
def begin(sets, places, count):
    """Whether a set begins with a component: no other one of its lies before it."""
    first = np.full(count, -1)
    for i in range(sets.size):
        known = first[sets[i]]
        if known < 0 or places[i] < places[known]:
            first[sets[i]] = i
    begins = np.zeros(sets.size, np.bool_)
    begins[first] = True
    return begins


@njit(nogil=True, cache=True)
def begin_here(begun, touching, begins):
    """How many sets begin in each row, where components that touch others may have before."""
    out = np.empty(begun.size, np.int64)
    before = k = 0
    for r in range(begun.size):
        out[r] = begun[r] - before
        before = begun[r]
        while k < touching.size and touching[k] <= before:
            out[r] -= not begins[k]
            k += 1
    return out


@njit(nogil=True, cache=True)
def number_those_here(begun, touching, begins, sets, starts, numbers):
    """The numbers of the sets that begin with components that touch others; each row begins after
    so many."""
    before = k = 0
    for r in range(begun.size):
        elsewhere = 0
        while k < touching.size and touching[k] <= begun[r]:
            if begins[k]:
                numbers[sets[k]] = starts[r] + touching[k] - before - elsewhere
            else:
                elsewhere += 1
            k += 1
        before = begun[r]


@njit(nogil=True, cache=True)
def begun(bases, numbers, out):
    """The greatest number up to the end of each row."""
    most = 0
    for r in range(out.size):
        for run in range(bases[r], bases[r + 1]):
            most = max(most, numbers[run])
        out[r] = most


@njit(nogil=True, cache=True)
def final_numbers(begun, row_starts, elsewhere, their_numbers, numbers):
    """Number on from what each row starts with, but for those that have numbers from elsewhere."""
    numbers[0] = 0
    component = np.int64(0)
    known = 0
    for r in range(begun.size):
        number = row_starts[r]
        while component < begun[r]:
            component += 1
            if known < elsewhere.size and elsewhere[known] == component:
                numbers[component] = their_numbers[known]
                known += 1
            else:
                number += 1
                numbers[component] = number


@njit(nogil=True, cache=True)
def paint_plane(first, last, plane, words, length, bases, numbers, reached, out):
    """Of the rows of a plane [first, last), each voxel the number of its run."""
    size, index, after = plane
    more = reached.size > 0
    for i in range(first, last):
        r = (i // after * size + index) * after + i % after
        run = bases[r] - 1
        before = ZERO
        for w in range(words.shape[1]):
            at = i * length + w * 64
            known = reached[r, w] if more else ZERO
            if at + 64 <= last * length:
                spread64(out, at, known, out.dtype.type(1))  # the next row writes over the rest
            else:
                for k in range(last * length - at):
                    out[at + k] = (known >> np.uint64(k)) & ONE
            word = words[r, w]
            starts = runs.run_starts(word, before)
            before = word
            while word != ZERO:
                bit = word & (~word + ONE)
                run += np.int64((starts & bit) != ZERO)
                out[at + np.int64(trailing_zeros(word))] = numbers[run] + more
                word ^= bit


@njit(nogil=True, cache=True)
def paint_column(first, last, words, column, bases, numbers, reached, out):
    """Of each row one voxel, the number of its run."""
    at, bit = column // 64, ONE << np.uint64(column % 64)
    more = reached.size > 0
    for r in range(first, last):
        if not words[r, at] & bit:
            out[r] = more and reached[r, at] & bit != ZERO
            continue
        run = bases[r]
        before = ZERO
        for w in range(at):
            run += np.int64(runs.popcount(runs.run_starts(words[r, w], before)))
            before = words[r, w]
        out[r] = numbers[runs.run_of(run, runs.run_starts(words[r, at], before), bit)] + more


@njit(nogil=True, cache=True)
def add_sizes(first, last, bounds, words, bases, numbers, out):
    """Count bits by component, each piece of the rows into a row of `out`."""
    for piece in range(first, last):
        for r in range(bounds[piece], bounds[piece + 1]):
            run = bases[r] - 1
            before = ZERO
            for w in range(words.shape[1]):
                word = words[r, w]
                starts = runs.run_starts(word, before)
                before = word
                while word != ZERO:
                    part = runs.lowest_run(word)
                    run += np.int64((starts & part) != ZERO)
                    out[piece, numbers[run]] += np.int64(runs.popcount(part))
                    word ^= part


@njit(nogil=True, cache=True)
def keep_runs(first, last, words, bases, numbers, kept, grown):
    """Add the runs of kept components to rows of bits."""
    for r in range(first, last):
        run = bases[r] - 1
        before = ZERO
        for w in range(words.shape[1]):
            word = words[r, w]
            starts = runs.run_starts(word, before)
            before = word
            while word != ZERO:
                part = runs.lowest_run(word)
                run += np.int64((starts & part) != ZERO)
                if kept[numbers[run]]:
                    grown[r, w] |= part
                word ^= part
