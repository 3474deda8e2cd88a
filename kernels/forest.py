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

from functools import cache
from typing import NamedTuple

import numpy as np
from numba import cuda, njit, types

from . import launch

# Levels of a tree that are laid out as a heap, at most.
HEAP_LEVELS = 12
# One place in so many of a heap's level must be a node.
_FILLED = 16
# Rows that are worked on at a time, and values of theirs that are copied at most: so many that each
# tree is fetched once for many rows, and so few that they stay in the second cache.
_ROWS, _VALUES = 8192, 1 << 16
# Beside each feature's values: what is a power of two apart would meet in the cache.
_BESIDE = 48


class Heaps(NamedTuple):
    """The tops of trees: tree t has ``2**levels[t] - 1`` nodes from ``starts[t]``.

    Its last level is in `exits`, one place more, from ``starts[t] + t``.
    """

    thresholds: np.ndarray
    features: np.ndarray
    exits: np.ndarray
    starts: np.ndarray
    levels: np.ndarray


def node_words(thresholds, features, children, missing_right):
    """Nodes of four words, from float32 thresholds and the rest in arrays of their own."""
    words = np.empty((len(thresholds), 4), np.int32)
    words[:, 0] = np.asarray(thresholds, np.float32).view(np.int32)
    words[:, 1] = np.where(missing_right, np.int32(-(2**31)), np.int32(0)) | features
    words[:, 2:] = children
    return words


def heaps(words, roots):
    """The tops of the trees that begin at `roots`, as heaps."""
    filled = np.zeros(len(roots), np.int64)
    _fill(words, roots, filled)
    levels = np.maximum(filled, 3)
    starts = np.concatenate([[0], np.cumsum((1 << levels) - 1)])
    thresholds = np.empty(starts[-1], np.float32)
    features = np.empty(starts[-1], np.uint32)
    exits = np.empty(starts[-1] + len(roots), np.int32)
    _lay_out(words, words.view(np.float32), roots, levels, starts, thresholds, features, exits)
    return Heaps(thresholds, features, exits, starts, levels)


@njit(nogil=True, cache=True)
def _fill(words, roots, filled):
    """The levels of each tree that are worth a place in a heap."""
    front = np.empty(2 << HEAP_LEVELS, np.int32)
    for t in range(roots.size):
        front[0], count = roots[t], int(roots[t] >= 0)
        level = 0
        while count and level < HEAP_LEVELS:
            level += 1
            # Where few nodes are, few rows still walk: that is faster than to take all of them on.
            if 2 * _FILLED * count >= 1 << level:
                filled[t] = level
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
def _copy_rows(rows, start, table):
    """Rows as columns of a table; whether one of their values is missing."""
    missing = False
    for x in range(table.shape[1]):
        for q in range(table.shape[0]):
            value = rows[start + x, q]
            table[q, x] = value
            missing |= value != value
    return missing


@njit(nogil=True, cache=True)
def _copy_plane(plane, line):
    missing = False
    for x in range(line.size):
        line[x] = plane[x]
        missing |= plane[x] != plane[x]
    return missing


@njit(nogil=True, cache=True)
def _top(r0, r1, r2, r3, r4, r5, r6, thresholds, at):
    """Three levels at once: all comparisons that they may need, of whole vectors of rows."""
    t0, t1, t2, t3 = thresholds[0], thresholds[1], thresholds[2], thresholds[3]
    t4, t5, t6 = thresholds[4], thresholds[5], thresholds[6]
    one = np.uint32(1)
    for x in range(at.size):
        a = np.uint32(r0[x] > t0)
        b = (np.uint32(r1[x] > t1) & (a ^ one)) | (np.uint32(r2[x] > t2) & a)
        left = (np.uint32(r3[x] > t3) & (b ^ one)) | (np.uint32(r4[x] > t4) & b)
        right = (np.uint32(r5[x] > t5) & (b ^ one)) | (np.uint32(r6[x] > t6) & b)
        c = (left & (a ^ one)) | (right & a)
        at[x] = np.uint32(7) + np.uint32(4) * a + np.uint32(2) * b + c


@njit(nogil=True, cache=True)
def _fourth(r0, r1, r2, r3, r4, r5, r6, r7, thresholds, at):
    """The fourth level in the same way, from places 7 to 14."""
    t0, t1, t2, t3 = thresholds[7], thresholds[8], thresholds[9], thresholds[10]
    t4, t5, t6, t7 = thresholds[11], thresholds[12], thresholds[13], thresholds[14]
    one = np.uint32(1)
    for x in range(at.size):
        n = at[x] - np.uint32(7)
        a, b, c = n >> np.uint32(2), (n >> one) & one, n & one
        left = (np.uint32(r0[x] > t0) & (c ^ one)) | (np.uint32(r1[x] > t1) & c)
        right = (np.uint32(r2[x] > t2) & (c ^ one)) | (np.uint32(r3[x] > t3) & c)
        low = (left & (b ^ one)) | (right & b)
        left = (np.uint32(r4[x] > t4) & (c ^ one)) | (np.uint32(r5[x] > t5) & c)
        right = (np.uint32(r6[x] > t6) & (c ^ one)) | (np.uint32(r7[x] > t7) & c)
        high = (left & (b ^ one)) | (right & b)
        at[x] = np.uint32(15) + np.uint32(2) * n + ((low & (a ^ one)) | (high & a))


@njit(nogil=True, cache=True)
def _child(n, x, thresholds, offsets, flat):
    right = flat[np.uint64(offsets[n]) + x] > thresholds[n]
    return n + n + np.uint64(1) + np.uint64(right)


@njit(nogil=True, cache=True)
def _levels(thresholds, offsets, levels, flat, at):
    """Take each row some levels down in a heap: eight together, as each waits for its loads."""
    eights = at.size // 8 * 8
    for begin in range(0, eights, 8):
        x = np.uint64(begin)
        x1, x2, x3 = x + np.uint64(1), x + np.uint64(2), x + np.uint64(3)
        x4, x5, x6, x7 = x + np.uint64(4), x + np.uint64(5), x + np.uint64(6), x + np.uint64(7)
        a, b, c, d = np.uint64(at[x]), np.uint64(at[x1]), np.uint64(at[x2]), np.uint64(at[x3])
        e, f, g, h = np.uint64(at[x4]), np.uint64(at[x5]), np.uint64(at[x6]), np.uint64(at[x7])
        for _ in range(levels):
            a = _child(a, x, thresholds, offsets, flat)
            b = _child(b, x1, thresholds, offsets, flat)
            c = _child(c, x2, thresholds, offsets, flat)
            d = _child(d, x3, thresholds, offsets, flat)
            e = _child(e, x4, thresholds, offsets, flat)
            f = _child(f, x5, thresholds, offsets, flat)
            g = _child(g, x6, thresholds, offsets, flat)
            h = _child(h, x7, thresholds, offsets, flat)
        at[x], at[x1], at[x2], at[x3] = a, b, c, d
        at[x4], at[x5], at[x6], at[x7] = e, f, g, h
    for begin in range(eights, at.size):
        x = np.uint64(begin)
        n = np.uint64(at[x])
        for _ in range(levels):
            n = _child(n, x, thresholds, offsets, flat)
        at[x] = n


@njit(nogil=True, cache=True)
def _down(thresholds, offsets, levels, table, flat, at):
    """Take each row from the root of a heap to the last level."""
    lines = offsets[:7] // np.uint32(table.shape[1])
    _top(
        table[lines[0], : at.size], table[lines[1], : at.size], table[lines[2], : at.size],
        table[lines[3], : at.size], table[lines[4], : at.size], table[lines[5], : at.size],
        table[lines[6], : at.size], thresholds, at,
    )  # fmt: skip
    if levels > 3:
        lines = offsets[7:15] // np.uint32(table.shape[1])
        _fourth(
            table[lines[0], : at.size], table[lines[1], : at.size], table[lines[2], : at.size],
            table[lines[3], : at.size], table[lines[4], : at.size], table[lines[5], : at.size],
            table[lines[6], : at.size], table[lines[7], : at.size], thresholds, at,
        )  # fmt: skip
    if levels > 4:
        _levels(thresholds, offsets, levels - 4, flat, at)


@njit(nogil=True, cache=True)
def _leave(exits, at, places, active):
    """The place of each row, and the rows that are still at a node: how many."""
    count = 0
    for x in range(at.size):
        place = exits[np.uint64(at[x]) - np.uint64(exits.size - 1)]
        places[x] = place
        active[count] = x
        count += place >= 0
    return count


@njit(nogil=True, cache=True)
def _walk(words, numbers, flat, stride, places, active, count):
    """Take the active rows from their places to leaves; `words`, `numbers` are the nodes, flat."""
    while count:
        more = 0
        for i in range(count):
            x = np.uint64(active[i])
            n = np.uint64(places[x]) * np.uint64(4)
            word = words[n + np.uint64(1)]
            value = flat[np.uint64(word & 0x7FFFFFFF) * np.uint64(stride) + x]
            right = np.uint64(value > numbers[n])
            right |= np.uint64(value != value) & np.uint64(word < 0)
            place = words[n + np.uint64(2) + right]
            places[x] = place
            active[more] = x
            more += place >= 0
        count = more


@njit(nogil=True, cache=True)
def _add(values, places, out):
    outputs = values.shape[1]
    if outputs == 1:
        for x in range(places.size):
            out[x, 0] += values[np.uint64(-1 - places[x]), 0]
    elif outputs == 2:
        for x in range(places.size):
            leaf = np.uint64(-1 - places[x])
            out[x, 0] += values[leaf, 0]
            out[x, 1] += values[leaf, 1]
    else:
        _add_many(values, places, out)


@njit(nogil=True, cache=True)
def _add_many(values, places, out):
    """Four outputs at a time: a loop over so few costs more than the sums."""
    fours = values.shape[1] // 4 * 4
    for c in range(0, fours, 4):
        here, there = values[:, c : c + 4], out[:, c : c + 4]
        for x in range(places.size):
            leaf = np.uint64(-1 - places[x])
            there[x, 0] += here[leaf, 0]
            there[x, 1] += here[leaf, 1]
            there[x, 2] += here[leaf, 2]
            there[x, 3] += here[leaf, 3]
    for c in range(fours, values.shape[1]):
        for x in range(places.size):
            out[x, c] += values[np.uint64(-1 - places[x]), c]


@njit(nogil=True, cache=True)
def predict_range(
    start, stop, block, stride, rows, planes, words, numbers, roots, values, thresholds, offsets,
    exits, starts, levels, out,
):  # fmt: skip
    """The mean of the values of a row's leaves, for a range of rows."""
    flat = np.empty((rows.shape[0] if planes else rows.shape[1]) * stride, np.float32)
    table = flat.reshape(-1, stride)
    at, places = np.empty(block, np.uint32), np.empty(block, np.int32)
    active = np.empty(block + 1, np.int32)
    for begin in range(start, stop, block):
        size = min(block, stop - begin)
        if planes:
            missing = False
            for q in range(len(table)):
                missing |= _copy_plane(rows[q, begin : begin + size], table[q, :size])
        else:
            missing = _copy_rows(rows, begin, table[:, :size])
        here, reached, sums = at[:size], places[:size], out[begin : begin + size]
        sums[:] = 0
        for t in range(roots.size):
            if missing:
                reached[:] = roots[t]
                active[:size] = np.arange(size)
                count = size if roots[t] >= 0 else 0
            else:
                i, n = starts[t], (1 << levels[t]) - 1
                _down(thresholds[i : i + n], offsets[i : i + n], levels[t], table, flat, here)
                count = _leave(exits[i + t : i + t + n + 1], here, reached, active)
            _walk(words, numbers, flat, stride, reached, active, count)
            _add(values, reached, sums)
        sums /= roots.size


def forest_cpu(rows, words, roots, values, tops, out):
    """The mean over the trees of each row's leaf values, into `out`.

    `rows` is a C-contiguous array, or the transposed view of one, or has any strides.
    """
    planes = not rows.flags.c_contiguous and rows.T.flags.c_contiguous
    block = min(_ROWS, max(16, _VALUES // rows.shape[1]), -(-len(rows) // 16) * 16)
    stride = block + _BESIDE
    offsets = tops.features * np.uint32(stride)
    launch.slabs(
        predict_range, len(rows), block, stride, rows.T if planes else rows, planes,
        words.reshape(-1), words.view(np.float32).reshape(-1), roots, values, tops.thresholds,
        offsets, tops.exits, tops.starts, tops.levels, out,
    )  # fmt: skip


# --- CUDA -----------------------------------------------------------------------------------------

# Threads of a block: so few in the simulator that a few rows fill several.
_BLOCK = 4 if launch.simulating() else 128
# Trees that a thread walks at a time, and outputs that it adds up in one walk.
_TREES, _OUTPUTS = 4, (1, 2, 4, 8)
# Bytes of shared memory for the rows of a block; longer rows are read where they are.
_SHARED = 32768

if launch.simulating():

    @cuda.jit(device=True)
    def _number(bits):
        return np.int32(bits).view(np.float32)

else:
    from numba.cuda import libdevice

    @cuda.jit(device=True)
    def _number(bits):
        return libdevice.int_as_float(types.int32(bits))


@cuda.jit(device=True)
def _right(value, split):
    """Whether a value goes right: `split` is the first half of a node."""
    above = value > _number(split & 0xFFFFFFFF)
    return above or (value != value and split < 0)


@cache
def _predict(outputs, near):
    """The kernel for so many outputs, with the rows in shared memory or not."""

    @cuda.jit
    def _predict_cuda(rows, nodes, roots, values, first, out):
        table = cuda.shared.array(0, types.float32)
        thread, block = types.int64(cuda.threadIdx.x), types.int64(cuda.blockDim.x)
        row = types.int64(cuda.blockIdx.x) * block + thread
        if row >= rows.shape[0]:
            return
        if near:
            # A thread reads what it wrote, so nothing needs to wait.
            for q in range(rows.shape[1]):
                table[q * block + thread] = rows[row, q]
        sums = cuda.local.array(outputs, types.float64)
        place = cuda.local.array(_TREES, types.int32)
        for c in range(outputs):
            sums[c] = 0.0
        for start in range(0, roots.shape[0], _TREES):
            walking = False
            for k in range(_TREES):
                place[k] = roots[start + k] if start + k < roots.shape[0] else -1
                walking = walking or place[k] >= 0
            while walking:
                walking = False
                for k in range(_TREES):
                    if place[k] >= 0:
                        node = types.int64(place[k])
                        split, ways = nodes[node, 0], nodes[node, 1]
                        q = (split >> 32) & 0x7FFFFFFF
                        value = table[q * block + thread] if near else rows[row, q]
                        ways = ways >> 32 if _right(value, split) else ways
                        place[k] = types.int32(ways & 0xFFFFFFFF)
                        walking = walking or place[k] >= 0
            for k in range(_TREES):
                if start + k < roots.shape[0]:
                    leaf = -1 - types.int64(place[k])
                    for c in range(outputs):
                        if first + c < values.shape[1]:
                            sums[c] += values[leaf, first + c]
        for c in range(outputs):
            if first + c < values.shape[1]:
                out[row, first + c] = sums[c] / types.float64(roots.shape[0])

    return _predict_cuda


def forest_cuda(rows, nodes, roots, values, out, stream=0):
    """As `forest_cpu`; `nodes` are the words in pairs, as int64."""
    count, many = rows.shape
    bytes_near = 4 * many * _BLOCK
    near = bytes_near <= _SHARED
    rows, nodes, roots, values, out = map(launch.device_array, (rows, nodes, roots, values, out))
    grid = launch.blocks(count, _BLOCK)
    for first in range(0, values.shape[1], _OUTPUTS[-1]):
        left = values.shape[1] - first
        outputs = next((n for n in _OUTPUTS if n >= left), _OUTPUTS[-1])
        _predict(outputs, near)[grid, _BLOCK, stream, bytes_near if near else 0](
            rows, nodes, roots, values, first, out
        )


def cuda_signatures():
    """(kernel, argument types, most registers a thread may take)."""
    rest = (
        types.int64[:, ::1], types.int32[::1], types.float64[:, ::1], types.int64,
        types.float64[:, ::1],
    )  # fmt: skip
    lines, planes = (types.Array(types.float32, 2, layout) for layout in "CF")
    kernels = [_predict(n, near) for n in _OUTPUTS for near in (False, True)]
    return [
        *((kernel, (lines, *rest), 80) for kernel in kernels),
        (_predict(2, True), (planes, *rest), 80),
    ]
