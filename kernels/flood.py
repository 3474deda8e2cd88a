"""Hysteresis thresholding: keep what is above `low` and connected to something above `high`.

CPU: two bit masks (above low; above high, grown) of one bit a voxel each. Raster sweeps grow the
second inside the first, a whole word at a time, forwards and backwards; smooth data is done after
a handful. If it is not (a maze), a union of runs on the same masks finishes. Cost: the image is
read once, the result is written once, and the masks stay near the cache.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from . import launch, runs
from .bits import paint_rows, word_greater
from .runs import ONE, TOP, ZERO

# Sweeps before the union of runs takes over: more than smooth volumes and noise need (3 to 8).
SWEEPS = 12
# Words of a mask that are worth a thread of their own.
PIECE = 4096


def flood_cpu(low_values, low, high_values, high, shape, connectivity, packed):
    """Voxels of ``low_values > low`` that connect to one of ``high_values > high`` as well.

    `low_values` and `high_values` are C-contiguous (one array, or two bool masks as uint8) of
    `shape`. The result is bool, or `packed` as ``numpy.packbits(.., axis=-1, bitorder="little")``.
    """
    *lead, length = (1, *shape) if len(shape) == 1 else shape
    rows = int(np.prod(lead, dtype=np.int64))
    mask = np.empty((rows, runs.words_per_row(length)), np.uint64)
    grown = np.empty_like(mask)
    near = (np.array(lead, np.int64), *runs.neighbours(tuple(lead), connectivity))
    stamps = np.empty(rows, np.uint8)
    seeds = _slabs(classify, mask, low_values.reshape(-1), low, high_values.reshape(-1),
                   high, length, mask, grown, stamps)  # fmt: skip
    if any(seeds) and not _sweep(mask, grown, stamps, near):
        _unite(mask, grown, near)
    if packed:
        return _packed(grown, length).reshape(*shape[:-1], -1)
    # Made only now, so that it never stands beside the table of a union.
    out = np.empty(shape, np.bool_)
    _slabs(paint_rows, grown, grown, length, out.reshape(-1).view(np.uint8))
    return out


def _sweep(mask, grown, stamps, near) -> bool:
    """Grow until nothing changes; False if that takes more than SWEEPS."""
    for i in range(SWEEPS):
        if not any(_slabs(sweep, mask, mask, grown, stamps, 4 + 2 * i, *near)):
            return True
    return False


def _unite(mask, grown, near) -> None:
    """Grow by joining runs; set number 0 holds every run that is grown into already."""
    rows = len(mask)
    bases = np.zeros(rows + 1, np.int64)
    _slabs(runs.count_runs, mask, mask, bases[1:])
    np.cumsum(bases, out=bases)
    count = int(bases[-1]) + 1
    parents = np.empty(count, np.int32 if count < 2**31 else np.int64)
    parents[0] = 0
    pieces = _pieces(mask)
    _slabs(seed_runs, mask, mask, grown, bases, parents)
    _slabs(runs.unite_range, mask, mask, bases, 1, parents, *near, True)
    for i in range(1, pieces):
        first = rows * i // pieces
        # Only the first rows of a piece have neighbours before it.
        last = min(rows, first - int(near[2].min(initial=0)))
        runs.unite_range(first, last, mask, bases, 1, parents, *near, False)
    _slabs(grow_runs, mask, mask, grown, bases, parents)


def _pieces(words) -> int:
    return max(1, min(len(words), launch.thread_count(), words.size // PIECE))


def _slabs(function, words, *args) -> list:
    """On all cores over the rows of the words, where that is worth it."""
    return launch.slabs(function, len(words), *args, pieces=_pieces(words))


def _packed(words, length: int):
    """Rows of words as rows of bytes, the lowest bit first."""
    data = words.astype("<u8", copy=False).view(np.uint8)
    return np.ascontiguousarray(data[:, : -(-length // 8)])


@njit(nogil=True, cache=True)
def fill(bits, mask, carry):
    """Grow `bits` through the runs of `mask` towards higher bits; `carry` is the bit below."""
    bits |= carry & mask
    return bits | (mask & ~(mask + bits))


@njit(nogil=True, cache=True)
def fill_down(bits, mask):
    """Grow `bits` through the runs of `mask` towards lower bits."""
    for shift in (1, 2, 4, 8, 16, 32):
        bits |= mask & (bits >> np.uint64(shift))
        mask &= mask >> np.uint64(shift)
    return bits


@njit(nogil=True, cache=True)
def fill_row(mask, grown, r):
    """Grow a row along itself, to both sides."""
    carry = ZERO
    count = mask.shape[1]
    for w in range(count):
        bits = fill(grown[r, w], mask[r, w], carry)
        grown[r, w] = bits
        carry = bits >> TOP
    carry = ZERO
    for w in range(count - 1, -1, -1):
        within = mask[r, w]
        bits = grown[r, w] | ((carry << TOP) & within)
        if bits != within:
            bits = fill_down(bits, within)
        grown[r, w] = bits
        carry = bits & ONE


@njit(nogil=True, cache=True)
def classify(first, last, low_values, low, high_values, high, length, mask, grown, stamps):
    """The two masks of rows [first, last); whether any voxel is above high."""
    found = False
    for r in range(first, last):
        seeds = ZERO
        for w in range(mask.shape[1]):
            start = r * length + w * 64
            count = min(64, length - w * 64)
            within = word_greater(low_values, start, count, low)
            bits = ZERO
            if within != ZERO:
                bits = word_greater(high_values, start, count, high) & within
            mask[r, w] = within
            grown[r, w] = bits
            seeds |= bits
        stamps[r] = 2 if seeds != ZERO else 0
        if seeds != ZERO:
            fill_row(mask, grown, r)
            found = True
    return found


@njit(nogil=True, cache=True)
def pull(mask, grown, r, other, wide):
    """Grow row r from a row beside it; whether anything came."""
    changed = ZERO
    before = ZERO
    count = mask.shape[1]
    for w in range(count):
        bits = grown[other, w]
        come = bits
        if wide:
            after = grown[other, w + 1] if w + 1 < count else ZERO
            come |= (bits << ONE) | (before >> TOP) | (bits >> ONE) | (after << TOP)
            before = bits
        old = grown[r, w]
        new = old | (come & mask[r, w])
        grown[r, w] = new
        changed |= new ^ old
    return changed != ZERO


@njit(nogil=True, cache=True)
def sweep(first, last, mask, grown, stamps, now, lead, steps, deltas, wide):
    """Rows upwards, then downwards, each from the rows that came before it; whether any grew.

    Other threads may be growing the rows that are read: bits are only ever set, and a sweep in
    which any range grew is followed by another.
    """
    up = grow_rows(first, last, 1, mask, grown, stamps, now, lead, steps, deltas, wide)
    down = grow_rows(first, last, -1, mask, grown, stamps, now + 1, lead, steps, deltas, wide)
    return up or down


@njit(nogil=True, cache=True)
def grow_rows(first, last, sign, mask, grown, stamps, now, lead, steps, deltas, wide):
    """One pass over the rows. `stamps` holds the pass in which a row grew last.

    A row beside is looked at again only if it grew in this sweep or the one before: three passes
    back, because another thread may have grown it after this one had looked.
    """
    changed = False
    axis = lead.size - 1
    length = lead[axis]
    near = np.empty(deltas.size, np.int64)
    r = first if sign > 0 else last - 1
    while first <= r < last:
        # The rows that share all coordinates but the last leading one have the same neighbours.
        outer = r // length
        count = 0
        for k in range(deltas.size):
            if exists(outer, lead, steps[k], sign):
                near[count] = k
                count += 1
        at = r - outer * length
        stop = min(last, (outer + 1) * length) if sign > 0 else max(first, outer * length) - 1
        while r != stop:
            came = False
            for i in range(count):
                k = near[i]
                if 0 <= at + sign * steps[k, axis] < length:
                    other = r + sign * deltas[k]
                    if stamps[other] + 3 >= now:
                        came |= pull(mask, grown, r, other, wide[k])
            if came:
                fill_row(mask, grown, r)
                stamps[r] = now
                changed = True
            r += sign
            at += sign
    return changed


@njit(nogil=True, cache=True)
def exists(outer, lead, step, sign):
    """Whether the step stays inside along every leading axis but the last."""
    for axis in range(lead.size - 2, -1, -1):
        where = outer % lead[axis] + sign * step[axis]
        if where < 0 or where >= lead[axis]:
            return False
        outer //= lead[axis]
    return True


@njit(nogil=True, cache=True)
def seed_runs(first, last, mask, grown, bases, parents):
    """Every run its own set, or in set 0 if the row's bits are grown into it already."""
    for r in range(first, last):
        run = bases[r]
        before = ZERO
        for w in range(mask.shape[1]):
            starts = runs.run_starts(mask[r, w], before)
            before = mask[r, w]
            bits = grown[r, w]
            while starts != ZERO:
                bit = starts & (~starts + ONE)
                run += 1
                # A row is grown along itself, so a run's first bit speaks for all of it.
                parents[run] = 0 if bits & bit else run
                starts ^= bit


@njit(nogil=True, cache=True)
def grow_runs(first, last, mask, grown, bases, parents):
    """The runs of set 0 as bits."""
    for r in range(first, last):
        run = bases[r]
        before = carry = ZERO
        for w in range(mask.shape[1]):
            within = mask[r, w]
            starts = runs.run_starts(within, before)
            before = within
            bits = ZERO
            while starts != ZERO:
                bit = starts & (~starts + ONE)
                run += 1
                if runs.root(parents, run) == 0:
                    bits |= bit
                starts ^= bit
            bits = fill(bits, within, carry)
            grown[r, w] = bits
            carry = bits >> TOP
