"""Decision trees: the leaf of each row in every tree, and the sum of what the leaves say.

A place in a forest is an int32: a node that splits, or ``-1 - leaf``. A node is four words of 32
bits: threshold, feature (the sign bit set where a missing value goes right), left and right place.
The children of a node lie after it, so every walk ends. A row goes right where its feature is
greater than the threshold.

CPU: the top of each tree is also laid out as a complete heap, in which the children of n are 2n + 1
and 2n + 2 and a leaf goes on to the last level, so that one loop without a branch takes a block of
rows a level down. Rows that are then still at a node walk on from place to place. Blocks with
missing values walk all the way. CUDA: a thread a row, which walks several trees at a time, so that
one waits for memory while the others do.

Leaf values are added in float64, in the order of the trees, on every backend.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from . import launch

# Levels of a tree that are laid out as a heap, at most.
HEAP_LEVELS = 12
# Rows that are worked on at a time, and values of theirs that are copied at most.
_ROWS, _VALUES = 1024, 1 << 16


class Heaps(NamedTuple):
    """The tops of trees: tree t has ``2**levels[t] - 1`` nodes from ``starts[t]``.

    Its last level is in `exits`, one place more, from ``starts[t] + t``.
    """

    thresholds: np.ndarray
    features: np.ndarray
    exits: np.ndarray
    starts: np.ndarray
    levels: np.ndarray
    ends: np.ndarray


def node_words(thresholds, features, children, missing_right):
    """Nodes of four words, from float32 thresholds and the rest in arrays of their own."""
    words = np.empty((len(thresholds), 4), np.int32)
    words[:, 0] = np.asarray(thresholds, np.float32).view(np.int32)
    words[:, 1] = np.where(missing_right, np.int32(-(2**31)), np.int32(0)) | features
    words[:, 2:] = children
    return words


def heaps(words, roots):
    """The tops of the trees that begin at `roots`, as heaps."""
    depths = np.zeros(len(roots), np.int64)
    _depths(words, roots, depths)
    levels = np.minimum(depths, HEAP_LEVELS)
    starts = np.concatenate([[0], np.cumsum((1 << levels) - 1)])
    thresholds = np.empty(starts[-1], np.float32)
    features = np.empty(starts[-1], np.uint32)
    exits = np.empty(starts[-1] + len(roots), np.int32)
    _lay_out(words, words.view(np.float32), roots, levels, starts, thresholds, features, exits)
    return Heaps(thresholds, features, exits, starts, levels, depths <= levels)


@njit(nogil=True, cache=True)
def _depths(words, roots, depths):
    """The levels of each tree, counted as far as one more than a heap has."""
    front = np.empty(2 << HEAP_LEVELS, np.int32)
    for t in range(roots.size):
        front[0], count = roots[t], int(roots[t] >= 0)
        while count and depths[t] <= HEAP_LEVELS:
            depths[t] += 1
            # In place: from the last, two children where one was, then closed up.
            for i in range(count - 1, -1, -1):
                place = front[i]
                front[2 * i], front[2 * i + 1] = words[place, 2], words[place, 3]
            more = 0
            for i in range(2 * count):
                if front[i] >= 0:
                    front[more] = front[i]
                    more += 1
            count = more


@njit(nogil=True, cache=True)
def _lay_out(words, numbers, roots, levels, starts, thresholds, features, exits):
    place = np.empty((2 << HEAP_LEVELS) - 1, np.int32)
    for t in range(roots.size):
        place[0], inner = roots[t], (1 << levels[t]) - 1
        for i in range(inner):
            n, at = place[i], starts[t] + i
            if n >= 0:
                thresholds[at], features[at] = numbers[n, 0], words[n, 1] & 0x7FFFFFFF
                place[2 * i + 1], place[2 * i + 2] = words[n, 2], words[n, 3]
            else:
                thresholds[at], features[at] = np.inf, 0
                place[2 * i + 1] = place[2 * i + 2] = n
        for i in range(inner + 1):
            exits[starts[t] + t + i] = place[inner + i]


# --- CPU ------------------------------------------------------------------------------------------


@njit(nogil=True, cache=True)
def _copy_rows(rows, planes, start, table):
    """Rows as columns of a table; whether one of their values is missing."""
    missing = False
    for x in range(table.shape[1]):
        for q in range(table.shape[0]):
            value = rows[q, start + x] if planes else rows[start + x, q]
            table[q, x] = value
            missing |= value != value
    return missing


@njit(nogil=True, cache=True)
def _level(thresholds, features, table, stride, at):
    """Take each row a level down in a heap."""
    for x in range(at.size):
        n = at[x]
        value = table[features[n] * np.uint32(stride) + np.uint32(x)]
        at[x] = np.uint32(2) * n + np.uint32(1) + np.uint32(value > thresholds[n])


@njit(nogil=True, cache=True)
def _leave(exits, inner, at, places):
    for x in range(at.size):
        places[x] = exits[at[x] - np.uint32(inner)]


@njit(nogil=True, cache=True)
def _walk(words, numbers, table, places, active):
    """Take each row from its place to a leaf."""
    count = 0
    for x in range(places.size):
        active[count] = x
        count += places[x] >= 0
    while count:
        left = 0
        for i in range(count):
            x = active[i]
            n = places[x]
            word = words[n, 1]
            value = table[word & 0x7FFFFFFF, x]
            right = (value > numbers[n, 0]) | ((value != value) & (word < 0))
            n = words[n, 2 + right]
            places[x] = n
            active[left] = x
            left += n >= 0
        count = left


@njit(nogil=True, cache=True)
def _add(values, places, out):
    outputs = values.shape[1]
    if outputs == 1:
        for x in range(places.size):
            out[x, 0] += values[-1 - places[x], 0]
    elif outputs == 2:
        for x in range(places.size):
            leaf = -1 - places[x]
            out[x, 0] += values[leaf, 0]
            out[x, 1] += values[leaf, 1]
    else:
        for x in range(places.size):
            leaf = -1 - places[x]
            for c in range(outputs):
                out[x, c] += values[leaf, c]


@njit(nogil=True, cache=True)
def predict_range(
    start, stop, rows, planes, words, numbers, roots, values, thresholds, features, exits, starts,
    levels, ends, out,
):  # fmt: skip
    """The mean of the values of a row's leaves, for a range of rows."""
    many = rows.shape[0] if planes else rows.shape[1]
    block = max(16, min(_ROWS, _VALUES // many, stop - start))
    flat = np.empty(many * block, np.float32)
    table = flat.reshape(many, block)
    at, places = np.empty(block, np.uint32), np.empty(block, np.int32)
    active = np.empty(block + 1, np.int32)
    for begin in range(start, stop, block):
        size = min(block, stop - begin)
        missing = _copy_rows(rows, planes, begin, table[:, :size])
        here, reached, sums = at[:size], places[:size], out[begin : begin + size]
        sums[:] = 0
        for t in range(roots.size):
            if missing:
                reached[:] = roots[t]
            else:
                first, inner = starts[t], (1 << levels[t]) - 1
                here[:] = 0
                for _ in range(levels[t]):
                    _level(
                        thresholds[first : first + inner], features[first : first + inner],
                        flat, block, here,
                    )  # fmt: skip
                _leave(exits[first + t : first + t + inner + 1], inner, here, reached)
            if missing or not ends[t]:
                _walk(words, numbers, table, reached, active)
            _add(values, reached, sums)
        sums /= roots.size


def forest_cpu(rows, words, roots, values, tops, out):
    """The mean over the trees of each row's leaf values, into `out`.

    `rows` is a C-contiguous array, or the transposed view of one, or has any strides.
    """
    planes = not rows.flags.c_contiguous and rows.T.flags.c_contiguous
    launch.slabs(
        predict_range, len(rows), rows.T if planes else rows, planes, words,
        words.view(np.float32), roots, values, *tops, out,
    )  # fmt: skip
