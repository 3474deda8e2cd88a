"""Decision trees: the leaf of each row in every tree, and the sum of what the leaves say.

A place in a forest is an int32: a node that splits, or ``-1 - leaf``. A node is four words of 32
bits: threshold, feature (the sign bit set where a missing value goes right), left and right place.
The children of a node lie after it, so every walk ends. A row goes right where its feature is
greater than the threshold.

CPU: numbers are compared by their `keys`, integers in the same order, since a comparison of
integers is one instruction with the load of one of them. The top of each tree is also laid out as a
complete heap, in which the children of n are 2n and 2n + 1 and a leaf goes on to the last level, so
that one loop without a branch takes a block of rows a level down. Rows that are then still at a
node walk on from place to place. Blocks with missing values walk all the way. CUDA: a thread a row,
which walks several trees at a time, so that one waits for memory while the others do.

Leaf values are added in float64, in the order of the trees, on every backend.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numba import cuda, types

from . import launch
from .kept import njit

# Levels of a tree that are laid out as a heap, at most.
HEAP_LEVELS = 12
# One place in so many of a heap's level must be a node.
_FILLED = 16
# Rows that are worked on at a time, and values of theirs that are copied at most: so many that each
# tree is fetched once for many rows, and so few that they stay in the second cache.
_ROWS, _VALUES = 8192, 1 << 16
# Beside each feature's values: what is a power of two apart would meet in the cache.
_BESIDE = 48


# The key of a missing value: above that of every number.
_MISSING = np.uint32(0xFFFFFFFF)


class Heaps(NamedTuple):
    """The tops of trees: tree t has ``2**levels[t] - 1`` nodes after place ``starts[t]``.

    What its last level leads to is in `exits`, one place more, from ``starts[t] + t``.
    """

    keys: np.ndarray
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
    keys = np.empty(starts[-1], np.uint32)
    features = np.empty(starts[-1], np.uint32)
    exits = np.empty(starts[-1] + len(roots), np.int32)
    _lay_out(words, roots, levels, starts, keys, features, exits)
    return Heaps(keys, features, exits, starts, levels)


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
def _key(bits):
    """An unsigned integer in the order of float32 numbers, from the bits of one, as int32."""
    bits = np.int32(0) if bits == np.int32(-(2**31)) else bits  # -0.0 is 0.0
    key = np.uint32(bits ^ (bits >> np.int32(31) & np.int32(0x7FFFFFFF))) ^ np.uint32(1 << 31)
    return _MISSING if bits & np.int32(0x7FFFFFFF) > np.int32(0x7F800000) else key


@njit(nogil=True, cache=True)
def _lay_out(words, roots, levels, starts, keys, features, exits):
    place = np.empty((2 << HEAP_LEVELS) - 1, np.int32)
    for t in range(roots.size):
        place[0], inner = roots[t], (1 << levels[t]) - 1
        for i in range(inner):
            n, at = place[i], starts[t] + i
            if n >= 0:
                keys[at], features[at] = _key(words[n, 0]), words[n, 1] & 0x7FFFFFFF
                place[2 * i + 1], place[2 * i + 2] = words[n, 2], words[n, 3]
            else:
                keys[at], features[at] = _MISSING, 0
                place[2 * i + 1] = place[2 * i + 2] = n
        for i in range(inner + 1):
            exits[starts[t] + t + i] = place[inner + i]


# --- CPU ------------------------------------------------------------------------------------------


@njit(nogil=True, cache=True)
def _copy_rows(bits, start, table):
    """Rows as columns of keys; whether one of their values is missing."""
    missing = False
    for x in range(table.shape[1]):
        for q in range(table.shape[0]):
            table[q, x] = _key(bits[start + x, q])
            missing |= table[q, x] == _MISSING
    return missing


@njit(nogil=True, cache=True)
def _copy_plane(bits, line):
    missing = False
    for x in range(line.size):
        line[x] = _key(bits[x])
        missing |= line[x] == _MISSING
    return missing


@njit(nogil=True, cache=True)
def _top(r0, r1, r2, r3, r4, r5, r6, keys, at):
    """Three levels at once: all comparisons that they may need, of whole vectors of rows."""
    t0, t1, t2, t3 = keys[0], keys[1], keys[2], keys[3]
    t4, t5, t6 = keys[4], keys[5], keys[6]
    one = np.uint32(1)
    for x in range(at.size):
        a = np.uint32(r0[x] > t0)
        b = (np.uint32(r1[x] > t1) & (a ^ one)) | (np.uint32(r2[x] > t2) & a)
        left = (np.uint32(r3[x] > t3) & (b ^ one)) | (np.uint32(r4[x] > t4) & b)
        right = (np.uint32(r5[x] > t5) & (b ^ one)) | (np.uint32(r6[x] > t6) & b)
        c = (left & (a ^ one)) | (right & a)
        at[x] = np.uint32(8) + np.uint32(4) * a + np.uint32(2) * b + c


@njit(nogil=True, cache=True)
def _fourth(r0, r1, r2, r3, r4, r5, r6, r7, keys, at):
    """The fourth level in the same way, from places 8 to 15."""
    t0, t1, t2, t3 = keys[7], keys[8], keys[9], keys[10]
    t4, t5, t6, t7 = keys[11], keys[12], keys[13], keys[14]
    one = np.uint32(1)
    for x in range(at.size):
        n = at[x]
        a, b, c = (n >> np.uint32(2)) & one, (n >> one) & one, n & one
        left = (np.uint32(r0[x] > t0) & (c ^ one)) | (np.uint32(r1[x] > t1) & c)
        right = (np.uint32(r2[x] > t2) & (c ^ one)) | (np.uint32(r3[x] > t3) & c)
        low = (left & (b ^ one)) | (right & b)
        left = (np.uint32(r4[x] > t4) & (c ^ one)) | (np.uint32(r5[x] > t5) & c)
        right = (np.uint32(r6[x] > t6) & (c ^ one)) | (np.uint32(r7[x] > t7) & c)
        high = (left & (b ^ one)) | (right & b)
        at[x] = np.uint32(2) * n + ((low & (a ^ one)) | (high & a))


@njit(nogil=True, cache=True)
def _child(n, x, nodes, flat):
    node = nodes[n - np.uint64(1)]
    right = np.uint32(node) < flat[(node >> np.uint64(32)) + np.uint64(x)]
    return n + n + np.uint64(right)


@njit(nogil=True, cache=True)
def _levels(nodes, levels, flat, at):
    """Take each row some levels down in a heap: eight together, as each waits for its loads."""
    eights = at.size // 8 * 8
    for begin in range(0, eights, 8):
        # Places by constants from here, so that no register is spent on any of them.
        here, to = flat[begin:], at[begin : begin + 8]
        a, b, c, d = np.uint64(to[0]), np.uint64(to[1]), np.uint64(to[2]), np.uint64(to[3])
        e, f, g, h = np.uint64(to[4]), np.uint64(to[5]), np.uint64(to[6]), np.uint64(to[7])
        for _ in range(levels):
            a = _child(a, 0, nodes, here)
            b = _child(b, 1, nodes, here)
            c = _child(c, 2, nodes, here)
            d = _child(d, 3, nodes, here)
            e = _child(e, 4, nodes, here)
            f = _child(f, 5, nodes, here)
            g = _child(g, 6, nodes, here)
            h = _child(h, 7, nodes, here)
        to[0], to[1], to[2], to[3] = a, b, c, d
        to[4], to[5], to[6], to[7] = e, f, g, h
    for x in range(eights, at.size):
        n = np.uint64(at[x])
        for _ in range(levels):
            n = _child(n, x, nodes, flat)
        at[x] = n


@njit(nogil=True, cache=True)
def _down(keys, features, nodes, levels, table, flat, at):
    """Take each row from the root of a heap to below its last level."""
    q = features[:15]
    _top(
        table[q[0], : at.size], table[q[1], : at.size], table[q[2], : at.size],
        table[q[3], : at.size], table[q[4], : at.size], table[q[5], : at.size],
        table[q[6], : at.size], keys, at,
    )  # fmt: skip
    if levels > 3:
        _fourth(
            table[q[7], : at.size], table[q[8], : at.size], table[q[9], : at.size],
            table[q[10], : at.size], table[q[11], : at.size], table[q[12], : at.size],
            table[q[13], : at.size], table[q[14], : at.size], keys, at,
        )  # fmt: skip
    if levels > 4:
        _levels(nodes, levels - 4, flat, at)


@njit(nogil=True, cache=True)
def _leave(exits, at, places, active):
    """The place of each row, and the rows that are still at a node: how many."""
    count = 0
    for x in range(at.size):
        place = exits[np.uint64(at[x]) - np.uint64(exits.size)]
        places[x] = place
        active[count] = x
        count += place >= 0
    return count


@njit(nogil=True, cache=True)
def _walk(words, keys, flat, stride, places, active, count):
    """Take the active rows from their places to leaves; `words` are the nodes, flat."""
    while count:
        more = 0
        for i in range(count):
            x = np.uint64(active[i])
            n = np.uint64(places[x])
            word = words[n * np.uint64(4) + np.uint64(1)]
            value = flat[np.uint64(word & 0x7FFFFFFF) * np.uint64(stride) + x]
            right = value > keys[n] if value != _MISSING else word < 0
            place = words[n * np.uint64(4) + np.uint64(2) + np.uint64(right)]
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
    start, stop, block, stride, bits, planes, words, word_keys, roots, values, keys, features,
    nodes, exits, starts, levels, out,
):  # fmt: skip
    """The mean of the values of a row's leaves, for a range of rows."""
    flat = np.empty((bits.shape[0] if planes else bits.shape[1]) * stride, np.uint32)
    table = flat.reshape(-1, stride)
    at, places = np.empty(block, np.uint32), np.empty(block, np.int32)
    active = np.empty(block + 1, np.int32)
    for begin in range(start, stop, block):
        size = min(block, stop - begin)
        if planes:
            missing = False
            for q in range(len(table)):
                missing |= _copy_plane(bits[q, begin : begin + size], table[q, :size])
        else:
            missing = _copy_rows(bits, begin, table[:, :size])
        here, reached, sums = at[:size], places[:size], out[begin : begin + size]
        sums[:] = 0
        for t in range(roots.size):
            if missing:
                reached[:] = roots[t]
                active[:size] = np.arange(size)
                count = size if roots[t] >= 0 else 0
            else:
                i, n = starts[t], (1 << levels[t]) - 1
                _down(
                    keys[i : i + n], features[i : i + n], nodes[i : i + n], levels[t], table, flat,
                    here,
                )  # fmt: skip
                count = _leave(exits[i + t : i + t + n + 1], here, reached, active)
            _walk(words, word_keys, flat, stride, reached, active, count)
            _add(values, reached, sums)
        sums /= roots.size


@njit(nogil=True, cache=True)
def _keys_of(bits):
    keys = np.empty(bits.size, np.uint32)
    for i in range(bits.size):
        keys[i] = _key(bits[i])
    return keys


def forest_cpu(rows, words, roots, values, tops, out):
    """The mean over the trees of each row's leaf values, into `out`.

    `rows` is a C-contiguous array, or the transposed view of one, or has any strides.
    """
    planes = not rows.flags.c_contiguous and rows.T.flags.c_contiguous
    block = min(_ROWS, max(16, _VALUES // rows.shape[1] // 16 * 16), -(-len(rows) // 16) * 16)
    stride = block + _BESIDE
    # A node of a heap in one word: where its feature begins, and its key.
    nodes = (tops.features.astype(np.uint64) * np.uint64(stride)) << np.uint64(32) | tops.keys
    bits = rows.view(np.int32)
    launch.slabs(
        predict_range, len(rows), block, stride, bits.T if planes else bits, planes,
        words.reshape(-1), _keys_of(words[:, 0]), roots, values, tops.keys, tops.features, nodes,
        tops.exits, tops.starts, tops.levels, out,
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
    grid = launch.blocks(count, _BLOCK)
    for first in range(0, values.shape[1], _OUTPUTS[-1]):
        left = values.shape[1] - first
        outputs = next((n for n in _OUTPUTS if n >= left), _OUTPUTS[-1])
        launch.start(
            _predict(outputs, near), grid, _BLOCK, stream, rows, nodes, roots, values, first, out,
            shared=bytes_near * near,
        )  # fmt: skip


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
