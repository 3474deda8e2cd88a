"""Hysteresis thresholding: keep what is above `low` and connected to something above `high`.

CPU: two bit masks (above low; above high, grown) of one bit a voxel each. Raster sweeps grow the
second inside the first, a whole word at a time, forwards and backwards, while many rows grow: one
or two of them. From there on words that grew are listed, and each grows the words around it. If
that comes back to the same words again and again (a maze), a union of runs on the same masks
finishes. Cost: the image is read once, the result is written once, and the masks stay near the
cache.

CUDA: an array of any rank is taken as rows along its last axis, a row as words of 32 voxels, and 32
words one after the other as a piece: the work of a warp. A run is a maximal series of set bits
within one row and one piece. Runs have numbers in raster order without anything being counted
first: piece p owns the numbers from 1 + p * slots on, and `bases` says how many runs of the piece
start before a word. `parents` is a union-find forest over these numbers, in which a parent is never
above its child. Number 0 is the set of all that is kept: a run with a voxel above `high` starts out
in it.

Launches: classify; merge_tiles, which joins runs within a block's words in shared memory, where an
atomic costs little; merge, which joins those of two tiles; paint. Nothing is read back to the host.
For an image of N voxels with rows of whole words the tables take 2.2 N bytes (`tables`), more where
rows are shorter than a word; by count of loads and stores the kernels move (image + 2.2) N bytes
and some 16 a run.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
from numba import cuda, types

from . import launch, runs, warp
from .bits import paint_rows, popcount, word_greater
from .kept import njit
from .runs import ONE, TOP, ZERO

# At most so many sweeps, and while at least one in so many rows grows, before words are listed. Two
# at least, or none: what a seed touches lies in both directions.
SWEEPS = 8
FEW = 16
# Threads spread what they list, each in rows of its own, and meet at their borders so many times.
# What goes back and forth more often, or takes more steps than there are words, a union ends.
ROUNDS = 8
# Stamps of rows: one that starts with something, and one that no row has.
SEEDED, NEVER = 2, 255
# How rows were left that spread.
STILL, GREW, UNFINISHED = 0, 1, 2
# Words of a mask that are worth a thread of their own.
PIECE = 4096
# Voxels that are made contiguous at a time.
STAGE = 1 << 17


def flood_cpu(low_values, low, high_values, high, shape, connectivity, packed):
    """Voxels of ``low_values > low`` that connect to one of ``high_values > high`` as well.

    `low_values` and `high_values` are C-contiguous (one array, or two bool masks as uint8) of
    `shape`. The result is bool, or `packed` as ``numpy.packbits(.., axis=-1, bitorder="little")``.
    """
    grown = grown_bits(low_values, low, high_values, high, shape, connectivity)[1]
    if packed:
        return _packed(grown, shape[-1]).reshape(*shape[:-1], -1)
    return painted(grown, shape)


def grown_bits(low_values, low, high_values, high, shape, connectivity):
    """What is above low, as rows of bits, and what of it `flood_cpu` keeps.

    Here the values need not be contiguous.
    """
    *lead, length = (1, *shape) if len(shape) == 1 else shape
    rows = int(np.prod(lead, dtype=np.int64))
    mask = np.empty((rows, runs.words_per_row(length)), np.uint64)
    grown = np.empty_like(mask)
    near = (np.array(lead, np.int64), *runs.neighbours(tuple(lead), connectivity))
    stamps = np.empty(rows, np.uint8)
    seeds = _classified(low_values, low, high_values, high, length, mask, grown, stamps)
    if seeds and not _grow(mask, grown, stamps, near, SWEEPS):
        _unite(mask, grown, stamps, near)
    return mask, grown


def _classified(low_values, low, high_values, high, length, mask, grown, stamps) -> bool:
    """Fill the tables; whether there is any seed."""
    if low_values.flags.c_contiguous and high_values.flags.c_contiguous:
        return any(_slabs(classify, mask, low_values.reshape(-1), low, high_values.reshape(-1),
                          high, length, mask, grown, stamps))  # fmt: skip
    # A piece at a time becomes contiguous, small enough to stay near the cache.
    planes = len(low_values) if low_values.ndim > 1 else 1
    step = max(1, STAGE * planes // low_values.size)
    found = False
    for start in range(0, planes, step):
        part = slice(start, start + step) if low_values.ndim > 1 else slice(None)
        values = np.ascontiguousarray(low_values[part])
        seeds = values if high_values is low_values else np.ascontiguousarray(high_values[part])
        rows = slice(start * len(mask) // planes, min(planes, start + step) * len(mask) // planes)
        tables = mask[rows], grown[rows], stamps[rows]
        found |= any(_slabs(classify, tables[0], values.reshape(-1), low, seeds.reshape(-1), high,
                            length, *tables))  # fmt: skip
    return found


def painted(words, shape):
    """Rows of bits as a bool array."""
    # Made only now, so that it never stands beside the table of a union.
    out = np.empty(shape, np.bool_)
    _slabs(paint_rows, words, words, shape[-1], out.reshape(-1).view(np.uint8))
    return out


def exposed(words, kept, shape, connectivity, sides):
    """What `words` hold beside `kept`, where it connects to a face, one of `sides` as (axis, 0 or
    -1), within itself; or all of it, where that takes less. The words are used up.
    """
    left = sum(_slabs(clear_bits, words, words, kept))
    if left * 8 <= words.size:
        return words  # a union of so few runs takes less than to see which of them to leave out
    *lead, length = (1, *shape) if len(shape) == 1 else shape
    grown = np.zeros_like(words)
    grid, within = (x.reshape(*shape[:-1], -1) for x in (grown, words))
    for axis, end in sides:
        if axis < len(shape) - 1:
            face = (slice(None),) * axis + (end,)
            grid[face] = within[face]
        else:
            word, bit = divmod(end % length, 64)
            grid[..., word] |= within[..., word] & (ONE << np.uint64(bit))
    stamps = np.empty(len(words), np.uint8)
    _slabs(fill_rows, words, words, grown, stamps)
    near = (np.array(lead, np.int64), *runs.neighbours(tuple(lead), connectivity))
    return grown if _grow(words, grown, stamps, near, 0) else words


def _grow(mask, grown, stamps, near, sweeps: int) -> bool:
    """Grow rows inside the mask until nothing changes; False if that takes too long."""
    latest = SEEDED
    for i in range(sweeps):
        # The seeds are for the first sweep of each direction; the others go on from the one before.
        since = SEEDED if i < 2 else latest
        latest += 1
        args = mask, grown, stamps, latest, since, *near
        grew = sum(_slabs(sweep, mask, 1 - i % 2 * 2, *args))
        if i > 0 and grew * FEW < len(mask):
            break
    for _ in range(ROUNDS):
        left = max(_slabs(spread, mask, mask, grown, stamps, latest, *near))
        if left == UNFINISHED:
            return False
        if left == STILL or _pieces(mask) == 1:
            return True
        latest = NEVER
    return False


def _unite(mask, grown, stamps, near) -> None:
    """Grow by joining runs; set number 0 holds every run that is grown into already."""
    _slabs(fill_rows, mask, mask, grown, stamps)
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
def clear_bits(first, last, words, kept):
    """Clear the bits of rows [first, last) that are kept; how many runs are left."""
    count = np.int64(0)
    for r in range(first, last):
        before = ZERO
        for w in range(words.shape[1]):
            word = words[r, w] & ~kept[r, w]
            words[r, w] = word
            count += np.int64(popcount(runs.run_starts(word, before)))
            before = word
    return count


@njit(nogil=True, cache=True, forceinline=True)
def fill(bits, mask, carry):
    """Grow `bits` through the runs of `mask` towards higher bits; `carry` is the bit below."""
    bits |= carry & mask
    return bits | (mask & ~(mask + bits))


@njit(nogil=True, cache=True, forceinline=True)
def fill_down(bits, mask):
    """Grow `bits` through the runs of `mask` towards lower bits."""
    for shift in (1, 2, 4, 8, 16, 32):
        bits |= mask & (bits >> np.uint64(shift))
        mask &= mask >> np.uint64(shift)
    return bits


@njit(nogil=True, cache=True, forceinline=True)
def fill_row(mask, grown, r):
    """Grow a row along itself, to both sides."""
    carry = ZERO
    for w in range(mask.shape[1]):
        bits = fill(grown[r, w], mask[r, w], carry)
        grown[r, w] = bits
        carry = bits >> TOP
    fill_row_down(mask, grown, r)


@njit(nogil=True, cache=True, forceinline=True)
def fill_row_down(mask, grown, r):
    """Grow a row along itself towards lower bits."""
    carry = ZERO
    for w in range(mask.shape[1] - 1, -1, -1):
        within = mask[r, w]
        bits = grown[r, w] | ((carry << TOP) & within)
        if within & ~bits & (bits >> ONE):
            bits = fill_down(bits, within)
        grown[r, w] = bits
        carry = bits & ONE


@njit(nogil=True, cache=True)
def fill_rows(first, last, mask, grown, stamps):
    """Grow rows [first, last) along themselves; `stamps` says which have anything."""
    for r in range(first, last):
        bits = ZERO
        for w in range(grown.shape[1]):
            bits |= grown[r, w]
        stamps[r] = SEEDED if bits != ZERO else 0
        if bits != ZERO:
            fill_row(mask, grown, r)


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
        stamps[r] = SEEDED if seeds != ZERO else 0
        if seeds != ZERO:
            fill_row(mask, grown, r)
            found = True
    return found


@njit(nogil=True, cache=True, forceinline=True)
def coming(grown, r, w, wide):
    """The bits that touch word w of a row beside row r."""
    bits = grown[r, w]
    if not wide:
        return bits
    before = grown[r, w - 1] >> TOP if w > 0 else ZERO
    after = grown[r, w + 1] << TOP if w + 1 < grown.shape[1] else ZERO
    return bits | (bits << ONE) | before | (bits >> ONE) | after


@njit(nogil=True, cache=True)
def sweep(first, last, sign, mask, grown, stamps, now, since, lead, steps, deltas, wide):
    """Grow each row from those beside it that come before it and grew `since`, upwards (`sign` 1)
    or downwards (-1); how many grew.

    Other threads may be growing rows that are read: what is missed so is for `spread`.
    """
    grew = 0
    axis = lead.size - 1
    length = lead[axis]
    # What lies beside the rows of a plane, and of it beside one row what grew.
    near = np.empty((deltas.size, 2), np.int64)
    wides = np.empty(deltas.size, np.bool_)
    others = np.empty((deltas.size, 2), np.int64)
    r = first if sign > 0 else last - 1
    while first <= r < last:
        # The rows that share all coordinates but the last leading one have the same neighbours.
        outer = r // length
        count = 0
        for k in range(deltas.size):
            if exists(outer, lead, steps[k], sign):
                near[count, 0], near[count, 1] = sign * deltas[k], sign * steps[k, axis]
                wides[count] = wide[k]
                count += 1
        at = r - outer * length
        stop = min(last, (outer + 1) * length) if sign > 0 else max(first, outer * length) - 1
        while r != stop:
            beside = 0
            for i in range(count):
                if 0 <= at + near[i, 1] < length and stamps[r + near[i, 0]] >= since:
                    others[beside, 0], others[beside, 1] = r + near[i, 0], wides[i]
                    beside += 1
            if beside and pull(mask, grown, r, others, beside):
                stamps[r] = now
                grew += 1
            r += sign
            at += sign
    return grew


@njit(nogil=True, cache=True, forceinline=True)
def pull(mask, grown, r, others, count):
    """Grow row r from others, of which the second column says whether corners touch; whether it
    grew."""
    changed = carry = ZERO
    for w in range(mask.shape[1]):
        within, old = mask[r, w], grown[r, w]
        bits = old
        if old != within:
            for i in range(count):
                bits |= coming(grown, others[i, 0], w, others[i, 1])
            bits = fill(bits & within, within, carry)
            grown[r, w] = bits
            changed |= bits ^ old
        carry = bits >> TOP
    if changed == ZERO:
        return False
    fill_row_down(mask, grown, r)
    return True


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
def is_beside(r, lead, step, sign):
    """Whether the step from a row stays inside."""
    where = r % lead[-1] + sign * step[-1]
    return 0 <= where < lead[-1] and exists(r // lead[-1], lead, step, sign)


@njit(nogil=True, cache=True)
def spread(first, last, mask, grown, stamps, latest, lead, steps, deltas, wide):
    """Grow rows [first, last) until nothing in them changes: from the rows whose stamp is `latest`,
    and from what lies beside them in other ranges; how they were left."""
    width = mask.shape[1]
    listed = np.zeros((last - first) * width, np.bool_)
    words = np.empty(listed.size, np.int64)
    reach = -deltas.min() if deltas.size else 0
    state, steps_left = STILL, listed.size
    for start in range(first, last):
        count = 0
        if stamps[start] == latest:
            for w in range(width):
                if grown[start, w] != ZERO:
                    count = enlist(listed, words, count, (start - first) * width + w)
        if 0 < first > start - reach or len(mask) > last <= start + reach:
            for k in range(deltas.size):
                for sign in (-1, 1):
                    other = start + sign * deltas[k]
                    if first <= other < last or not 0 <= other < len(mask):
                        continue
                    if is_beside(start, lead, steps[k], sign):
                        for w in range(width):
                            come = coming(grown, other, w, wide[k])
                            if come & mask[start, w] & ~grown[start, w] != ZERO:
                                add(mask, grown, start, w, come)
                                count = enlist(listed, words, count, (start - first) * width + w)
                                state = GREW
        while count:
            if steps_left == 0:
                return UNFINISHED
            steps_left -= 1
            count -= 1
            index = words[count]
            listed[index] = False
            r, w = first + index // width, index % width
            bits = grown[r, w]
            if w > 0 and bits & ONE & (mask[r, w - 1] >> TOP) & ~(grown[r, w - 1] >> TOP) != ZERO:
                add(mask, grown, r, w - 1, ONE << TOP)
                count = enlist(listed, words, count, index - 1)
                state = GREW
            if w + 1 < width and (bits >> TOP) & mask[r, w + 1] & ~grown[r, w + 1] != ZERO:
                add(mask, grown, r, w + 1, ONE)
                count = enlist(listed, words, count, index + 1)
                state = GREW
            for k in range(deltas.size):
                for sign in (-1, 1):
                    other = r + sign * deltas[k]
                    if not first <= other < last:
                        continue
                    for shift in range(-1, 2) if wide[k] else range(1):
                        if not 0 <= w + shift < width:
                            continue
                        if shift < 0:
                            come = bits << TOP
                        elif shift > 0:
                            come = bits >> TOP
                        else:
                            come = bits | (bits << ONE) | (bits >> ONE) if wide[k] else bits
                        if come & mask[other, w + shift] & ~grown[other, w + shift] == ZERO:
                            continue
                        if is_beside(r, lead, steps[k], sign):
                            add(mask, grown, other, w + shift, come)
                            where = (other - first) * width + w + shift
                            count = enlist(listed, words, count, where)
                            state = GREW
    return state


@njit(nogil=True, cache=True, forceinline=True)
def add(mask, grown, r, w, bits):
    """Grow a word from bits that touch it."""
    within = mask[r, w]
    grown[r, w] = fill_down(fill((grown[r, w] | bits) & within, within, ZERO), within)


@njit(nogil=True, cache=True, forceinline=True)
def enlist(listed, words, count, index):
    """List a word that is not listed; how many are."""
    if not listed[index]:
        listed[index] = True
        words[count] = index
        count += 1
    return count


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


# --- CUDA --------------------------------------------------------------------------------------

BLOCK = 32 if launch.simulating() else 256
# Words whose runs are joined in shared memory, by a block of as many threads.
TILE = 64 if launch.simulating() else 256
_LOADS = 16
_SCRATCH = warp.SCRATCH


class Layout(NamedTuple):
    """Rows of `length` voxels in `width` words each; `count` words, and `slots` runs a piece."""

    length: int
    width: int
    count: int
    slots: int

    @property
    def pieces(self) -> int:
        return -(-self.count // 32)


def layout(shape, *, valued=False) -> Layout:
    length = shape[-1]
    width = -(-length // 32)
    # Runs of one value may touch; else there is a voxel at least between two runs of a row.
    slots = 32 * (min(32, length) if valued else min(16, (length + 1) // 2))
    return Layout(length, width, math.prod(shape[:-1]) * width, slots)


def tables(plan: Layout, narrow=np.uint32) -> dict[str, tuple[int, type]]:
    """Length and dtype of the arrays that the caller allocates, uninitialised."""
    numbers = 1 + plan.pieces * plan.slots
    return {
        "mask": (plan.count, np.uint32),
        "bases": (plan.count, np.uint16),
        "parents": (numbers, narrow if numbers <= np.iinfo(narrow).max else np.int64),
    }


def grid(plan: Layout) -> int:
    """Blocks of `BLOCK` threads that make a warp a piece."""
    return launch.blocks(plan.pieces * 32, BLOCK)


@functools.lru_cache(256)
def neighbour_table(shape, connectivity: int):
    """The leading axes' lengths (row 0) and, a row each, the steps to the rows before a row.

    The last two columns are the difference of row numbers, and whether voxels that differ by one
    along the row touch as well. The row before along the last leading axis comes last. In row 0
    the last column says whether all neighbours touch that there can be.
    """
    steps, deltas, wide = runs.neighbours(tuple(shape[:-1]), connectivity)
    lead = np.array([[*shape[:-1], 0, connectivity == len(shape)]], np.int64)
    table = np.concatenate([lead, np.column_stack([steps, deltas, wide]).astype(np.int64)])
    table.flags.writeable = False
    return table


@cuda.jit(device=True)
def part_of_word(left):
    """The smaller of `left` and 32; ``min`` does not compile in every Numba's CUDA target."""
    return left if left < 32 else types.int64(32)


@cuda.jit(device=True)
def divided(index, length):
    """Quotient and remainder of numbers that are not negative.

    In 32 bits where they are enough: there is no instruction for more, but a long subroutine.
    """
    if (index | length) >> 32 == 0:
        quotient = types.int64(types.uint32(index) // types.uint32(length))
    else:
        quotient = types.int64(types.uint64(index) // types.uint64(length))
    return quotient, index - quotient * length


# --- runs and their numbers -------------------------------------------------------------------


@cuda.jit(device=True)
def entry(table, index):
    """An entry of a table. The index is never negative, which Numba would look after."""
    return types.int64(table[types.uint64(index)])


@cuda.jit(device=True)
def joined_bits(mask, joins, index, column, valued):
    """The voxels of a word that continue the voxel to their left.

    For masks that is every set voxel after a set one; with values, `joins` says it.
    """
    if valued:
        return entry(joins, index)
    word = entry(mask, index)
    left = types.int64(0)
    if column > 0:
        left = entry(mask, index - 1) >> 31
    return word & ((word << 1) | left)


@cuda.jit(device=True)
def run_starts(word, joined, index):
    """The first voxel of every run; a piece starts a run of its own."""
    if index % 32 == 0:
        joined &= -2
    return word & ~joined


@cuda.jit(device=True)
def first_run(bases, index, slots):
    """The number of the first run that starts in a word, if one does."""
    return 1 + (index // 32) * slots + entry(bases, index)


@cuda.jit(device=True)
def run_of(first, starts, bit):
    """The number of the run that holds `bit`: the last that starts up to there."""
    return first + warp.popcount(starts & (2 * bit - 1)) - 1


@cuda.jit(device=True)
def runs_used(mask, joins, bases, piece, width, count, valued):
    """How many runs a piece has."""
    index = piece * 32 + part_of_word(count - piece * 32) - 1
    joined = joined_bits(mask, joins, index, divided(index, width)[1], valued)
    starts = run_starts(entry(mask, index), joined, index)
    return entry(bases, index) + warp.popcount(starts)


# --- union-find -------------------------------------------------------------------------------
# Other threads change parents meanwhile, and a read may even be stale. Both are harmless: whatever
# was read is, or once was, an ancestor, and two runs once connected stay connected.


@cuda.jit(device=True)
def root(parents, a):
    """The root of a run; halves the way to it."""
    while True:
        parent = entry(parents, a)
        if parent == a:
            return a
        above = entry(parents, parent)
        if above == parent:
            return parent
        # Not atomic: this may undo what another thread has just set, but that thread goes on to
        # join what it found here before with what it set. A root is never overwritten here.
        parents[types.uint64(a)] = above
        a = above


@cuda.jit(device=True)
def unite(parents, a, b):
    """Join the sets of two runs; the smaller root stays."""
    while True:
        a = root(parents, a)
        b = root(parents, b)
        if a == b:
            return
        if a > b:
            a, b = b, a
        # The old value is the truth, whatever was read before. If b was no root any more, its
        # former parent has to be joined as well; that one is smaller, so this ends.
        old = types.int64(cuda.atomic.min(parents, types.uint64(b), a))
        if old == b:
            return
        b = old


# --- classify ---------------------------------------------------------------------------------


def _classify_kernel(apart):
    """Masks and run numbers; `apart` where seeds are in an array of their own.

    Which voxels are above `high` waits a word each where the parents of the piece's first runs
    will be: the next kernel takes them from there.
    """
    loads = _LOADS // 2 if apart else _LOADS

    @cuda.jit
    def classify(values, low, seeds, high, length, width, count, slots, mask, bases, parents):
        scratch = cuda.shared.array(_SCRATCH, types.int64)
        ahead = cuda.local.array(loads, values.dtype)
        ahead_seeds = cuda.local.array(loads, seeds.dtype)
        lane = types.int64(cuda.laneid)
        piece = cuda.grid(1) // 32
        start = piece * 32
        if start >= count:
            return
        votes = types.uint32(0)
        high_votes = types.uint32(0)
        row, column = divided(start, width)
        # The first voxel of a word, and how many its row has from there on.
        at = row * length + column * 32
        left = length - column * 32
        whole = length == width * 32 and start + 32 <= count
        for k in range(0, part_of_word(count - start), loads):
            # Several loads on their way at once, then the votes.
            if whole:
                for j in range(loads):
                    ahead[j] = values[types.uint64(at + lane + j * 32)]
                    if apart:
                        ahead_seeds[j] = seeds[types.uint64(at + lane + j * 32)]
                at += loads * 32
            else:
                for j in range(loads):
                    ahead[j] = low
                    if apart:
                        ahead_seeds[j] = high
                    if lane < left and at < values.size:
                        ahead[j] = values[types.uint64(at + lane)]
                        if apart:
                            ahead_seeds[j] = seeds[types.uint64(at + lane)]
                    at += part_of_word(left)
                    left -= 32
                    if left <= 0:
                        left = types.int64(length)
            turn = types.int32(lane - k)
            for j in range(loads):
                within = warp.ballot(scratch, ahead[j] > low)
                if apart:
                    above = warp.ballot(scratch, ahead_seeds[j] > high)
                else:
                    above = warp.ballot(scratch, ahead[j] > high)
                if turn == j:
                    votes = types.uint32(within)
                    high_votes = types.uint32(above & within)
        index = start + lane
        word = types.int64(votes)
        before = warp.from_lane_before(scratch, word) >> 31
        if lane == 0 or types.uint32(column + lane) % types.uint32(width) == 0:
            before = types.int64(0)
        starts = word & ~((word << 1) | before)
        base = warp.sum_before(scratch, warp.popcount(starts))
        if index < count:
            mask[index] = word
            bases[index] = base
            parents[1 + piece * slots + lane] = high_votes
        if index == 0:
            parents[0] = 0

    return classify


classify_image = _classify_kernel(apart=False)
_classify_masks = _classify_kernel(apart=True)


# --- merge ------------------------------------------------------------------------------------


@cuda.jit(device=True)
def _inside(outer, at, near, k):
    """Whether the row that step k leads to exists.

    `at` is where a row is along the last leading axis, and `outer` the number of that line of rows.
    """
    last = near.shape[1] - 3
    where = at + near[k, last]
    if where < 0 or where >= near[0, last]:
        return False
    for axis in range(last - 1, 0, -1):
        outer, where = divided(outer, near[0, axis])
        where += near[k, axis]
        if where < 0 or where >= near[0, axis]:
            return False
    if last == 0:
        return True
    where = outer + near[k, 0]
    return where >= 0 and where < near[0, 0]


@cuda.jit(device=True)
def _detour(mask, index, there, at, width, near, k):
    """Voxels through which two rows are joined by other steps anyway.

    Rows r and r + d, and their neighbours before along the last leading axis, r - e and r + d - e:
    where all of them are set the way r, r - e, r + d - e, r + d exists. Where d has a part along
    that axis one row is in between, r - e or r + d - e, and is enough. It always is where all
    neighbours touch: then r - e touches r + d. For d = -e there is none.
    """
    last = near.shape[1] - 3
    step = near[k, last]
    if k == near.shape[0] - 1 or (step == 0 and at == 0):
        return types.int64(0)
    full = near[0, last + 2] != 0
    bits = types.int64(0xFFFFFFFF)
    if step <= 0:
        bits &= entry(mask, index - width)
    if step > 0 or (step == 0 and not full):
        bits &= entry(mask, there - width)
    return bits


def _join_function(valued, corners, within):
    """Join the runs of a word with those before that they touch; with `valued`, of equal `values`.

    With `corners` also runs that touch one voxel further along the row. `tile` is the first word of
    the tile. With `within`, only runs of the same tile are joined, and `parents` has the tile's
    numbers, which are less by `shift`; else only runs of two tiles.
    """

    @cuda.jit(device=True)
    def equal(values, length, index, row, column, bit, delta, shift):
        """Whether a voxel of a word has the value of that `delta` rows and `shift` voxels away."""
        if not valued:
            return True
        at = row * length + column * 32 + warp.popcount(bit - 1)
        return values[at] == values[at + delta * length + shift]

    @cuda.jit(device=True)
    def run_at(mask, joins, bases, slots, index, column, bit):
        joined = joined_bits(mask, joins, index, column, valued)
        starts = run_starts(entry(mask, index), joined, index)
        return run_of(first_run(bases, index, slots), starts, bit)

    @cuda.jit(device=True)
    def join(
        values, length, width, slots, mask, joins, bases, parents, near, index, row, column, tile,
        shift,
    ):  # fmt: skip
        word = entry(mask, index)
        joined = joined_bits(mask, joins, index, column, valued)
        starts = run_starts(word, joined, index)
        first = first_run(bases, index, slots) - shift
        if index % 32 == 0 and joined & 1 and (index > tile) == within:
            last = types.int64(1) << 31
            before = run_at(mask, joins, bases, slots, index - 1, column - 1, last) - shift
            unite(parents, before, first)
        for k in range(1, near.shape[0]):
            delta = near[k, near.shape[1] - 2]
            wide = near[k, near.shape[1] - 1] if corners else types.int64(0)
            there = index + delta * width
            # The row may not exist, and these be bits of another: `_inside` has the last word.
            if there < 0 or (there + wide < tile if within else there - wide >= tile):
                continue
            other = entry(mask, there)
            other_joined = joined_bits(mask, joins, there, column, valued)
            both = word & other
            # Where both go on from their left, the voxels to their left join them.
            todo = both & ~(joined & other_joined)
            if (there >= tile) != within:
                todo = types.int64(0)
            lefts = types.int64(0)
            rights = types.int64(0)
            if corners and wide:
                # One voxel further along the row, where nothing upright does it.
                left = other << 1
                right = other >> 1
                ends = ~(joined >> 1)
                other_ends = ~(other_joined >> 1)
                if column > 0:
                    left |= entry(mask, there - 1) >> 31
                if column + 1 < width:
                    right |= (entry(mask, there + 1) & 1) << 31
                    after = joined_bits(mask, joins, index + 1, column + 1, valued)
                    ends &= ~((after & 1) << 31)
                    after = joined_bits(mask, joins, there + 1, column + 1, valued)
                    other_ends &= ~((after & 1) << 31)
                lefts = word & left & ~joined & ~other_joined
                rights = word & right & ends & other_ends
            if todo | lefts | rights == 0:
                continue
            outer, at = divided(row, near[0, near.shape[1] - 3])
            if not _inside(outer, at, near, k):
                continue
            around = types.int64(0)
            if not valued:
                around = _detour(mask, index, there, at, width, near, k)
                if corners and near[0, near.shape[1] - 1]:
                    # What touches a voxel and the one over there, of the row in between.
                    lefts &= ~(around | (around << 1))
                    rights &= ~(around | (around >> 1))
                    around |= (around << 1) | (around >> 1)
            other_starts = run_starts(other, other_joined, there)
            other_first = first_run(bases, there, slots) - shift
            while todo != 0:
                bit = todo & -todo
                todo ^= bit
                if (both & ~(both + bit)) & around:
                    continue
                if equal(values, length, index, row, column, bit, delta, 0):
                    a = run_of(first, starts, bit)
                    unite(parents, a, run_of(other_first, other_starts, bit))
            while corners and lefts | rights:
                beside = types.int64(-1)
                todo = lefts
                if lefts == 0:
                    beside = types.int64(1)
                    todo = rights
                bit = todo & -todo
                if beside < 0:
                    lefts ^= bit
                else:
                    rights ^= bit
                # The voxel over there may lie in the word before or after.
                step = types.int64(0)
                over = bit << 1
                if beside < 0:
                    over = bit >> 1
                if over == 0:
                    step = types.int64(-1)
                    over = types.int64(1) << 31
                elif over >> 32:
                    step = types.int64(1)
                    over = types.int64(1)
                if (there + step >= tile) != within:
                    continue
                if equal(values, length, index, row, column, bit, delta, beside):
                    a = run_of(first, starts, bit)
                    b = run_at(mask, joins, bases, slots, there + step, column + step, over)
                    unite(parents, a, b - shift)

    return join


def _merge_kernels(valued, corners):
    """Join the runs that touch, one thread a word: first within each tile, then across tiles."""
    join_within = _join_function(valued, corners, within=True)
    join_across = _join_function(valued, corners, within=False)
    pieces = TILE // 32
    numbers = 1 + pieces * (1024 if valued else 512)

    @cuda.jit
    def merge_tiles(values, length, width, count, slots, mask, joins, bases, parents, near):
        """The first parents of all runs: the smallest of the tile that they connect to in it.

        In shared memory, where a tile's runs are counted from 1, and 0 is what is kept.
        """
        tops = cuda.shared.array(numbers, types.int32)
        used = cuda.shared.array(pieces, types.int32)
        thread = types.int64(cuda.threadIdx.x)
        tile = types.int64(cuda.blockIdx.x) * TILE
        index = tile + thread
        lane = thread % 32
        piece = index // 32
        shift = tile // 32 * slots
        word = types.int64(0)
        first = types.int64(0)
        kept_before = False
        row = types.int64(0)
        column = types.int64(0)
        if thread == 0:
            tops[0] = 0
        if index < count:
            word = entry(mask, index)
            row, column = divided(index, width)
            joined = joined_bits(mask, joins, index, column, valued)
            starts = run_starts(word, joined, index)
            first = first_run(bases, index, slots) - shift
            high = types.int64(0)
            if not valued:
                high = entry(parents, 1 + piece * slots + lane)
            # A run from the word before, of which only this word has seen that it is kept.
            kept_before = word & ~starts & 1 != 0 and word & ~(word + 1) & high != 0
            number = first
            while starts != 0:
                bit = starts & -starts
                tops[types.uint64(number)] = (
                    number if valued or word & ~(word + bit) & high == 0 else 0
                )
                number += 1
                starts ^= bit
            if lane == 31 or index == count - 1:
                used[thread // 32] = number - 1 - (piece * slots - shift)
        cuda.syncthreads()
        if kept_before:
            tops[first - 1] = 0
        cuda.syncthreads()
        if word != 0:
            join_within(
                values, length, width, slots, mask, joins, bases, tops, near, index, row, column,
                tile, shift,
            )  # fmt: skip
        cuda.syncthreads()
        if piece * 32 < count:
            first = piece * slots - shift + 1
            for number in range(first + lane, first + used[thread // 32], 32):
                highest = root(tops, number)
                parents[types.uint64(number + shift)] = highest + shift if highest != 0 else 0

    @cuda.jit
    def merge(values, length, width, count, slots, mask, joins, bases, parents, near):
        index = types.int64(cuda.grid(1))
        if index >= count or entry(mask, index) == 0:
            return
        row, column = divided(index, width)
        join_across(
            values, length, width, slots, mask, joins, bases, parents, near, index, row, column,
            index // TILE * TILE, 0,
        )  # fmt: skip

    return merge_tiles, merge


_merge_mask_tiles, _merge_masks = _merge_kernels(valued=False, corners=False)
_merge_mask_corner_tiles, _merge_mask_corners = _merge_kernels(valued=False, corners=True)
_merge_value_tiles, _merge_values = _merge_kernels(valued=True, corners=False)
_merge_value_corner_tiles, _merge_value_corners = _merge_kernels(valued=True, corners=True)
_MASK_MERGES = (
    (_merge_mask_tiles, _merge_masks), (_merge_mask_corner_tiles, _merge_mask_corners)
)  # fmt: skip
_VALUE_MERGES = (
    (_merge_value_tiles, _merge_values), (_merge_value_corner_tiles, _merge_value_corners)
)  # fmt: skip


def merge_runs(values, plan, connectivity, mask, joins, bases, parents, near, stream) -> None:
    """Join all runs that touch, or with `values` those of one value."""
    merges = _MASK_MERGES if values is None else _VALUE_MERGES
    where = launch.blocks(plan.count, TILE), TILE, stream
    compared, sizes = mask if values is None else values, tuple(map(np.int64, plan))
    for merge in merges[connectivity > 1]:
        launch.start(merge, *where, compared, *sizes, mask, joins, bases, parents, near)


# --- paint ------------------------------------------------------------------------------------


@cuda.jit(device=True)
def _kept_bits(mask, bases, parents, index, column, slots):
    """The voxels of a word whose runs are in set 0."""
    word = entry(mask, index)
    if word == 0:
        return word
    starts = run_starts(word, joined_bits(mask, mask, index, column, False), index)
    number = first_run(bases, index, slots)
    # A one added to the lowest bit of a run clears the run, and carries into a bit that is none.
    ones = types.int64(0)
    if word & 1 and not starts & 1 and root(parents, number - 1) == 0:
        ones = types.int64(1)
    while starts != 0:
        bit = starts & -starts
        if root(parents, number) == 0:
            ones |= bit
        number += 1
        starts ^= bit
    return word & ~(word + ones)


def _paint_kernel(per):
    """Bits to bytes, `per` voxels (1 or 4) a store, so that a warp writes bytes side by side."""
    lanes = 32 // per

    @cuda.jit
    def paint(length, width, count, slots, mask, bases, parents, out):
        scratch = cuda.shared.array(_SCRATCH, types.int64)
        index = types.int64(cuda.grid(1))
        lane = types.int64(cuda.laneid)
        start = index - lane
        if start >= count:
            return
        kept = types.int64(0)
        # The first voxel of a word, and how many there are.
        at = types.int64(0)
        size = types.int64(0)
        if index < count:
            row, column = divided(index, width)
            kept = _kept_bits(mask, bases, parents, index, column, slots)
            at = row * length + column * 32
            size = part_of_word(length - column * 32)
        whole = length == width * 32
        x = (lane % lanes) * per
        for k in range(0, part_of_word(count - start), per):
            holder = types.int32(k + lane // lanes)
            word = warp.word_of_lane(scratch, kept, holder)
            begin = (start + k + lane // lanes) * 32
            end = types.int64(32)
            if not whole:
                begin = warp.from_lane(scratch, at, holder)
                end = warp.from_lane(scratch, size, holder)
            elif start + holder >= count:
                end = types.int64(0)
            if x < end:
                voxels = (word >> x) & (2**per - 1)
                # Each bit to a byte of its own.
                out[types.uint64((begin + x) // per)] = (
                    (voxels * 0x00204081) & 0x01010101 if per == 4 else voxels
                )

    return paint


_paint_bytes = _paint_kernel(1)
_paint_fours = _paint_kernel(4)


@cuda.jit
def _paint_bits(length, width, count, slots, mask, bases, parents, out):
    """One bit a voxel, rows padded to whole bytes."""
    index = types.int64(cuda.grid(1))
    if index >= count:
        return
    row, column = divided(index, width)
    kept = _kept_bits(mask, bases, parents, index, column, slots)
    row_bytes = (length + 7) // 8
    at = column * 4
    for k in range(4):
        if at + k < row_bytes:
            out[row * row_bytes + at + k] = (kept >> (8 * k)) & 255


# --- host -------------------------------------------------------------------------------------


def flood_cuda(values, low, seeds, high, plan, connectivity, *, near, mask, bases, parents, out,
               packed, stream=0) -> None:  # fmt: skip
    """Keep ``values > low`` that connects to ``values > high``, or to ``seeds > high``.

    `values`, `seeds` (or None) and `out` are flat, `out` uint8 with a byte a voxel or, if `packed`,
    a bit a voxel. `near` is `neighbour_table`, and the other arrays are what `tables` says.
    """
    paint = _paint_bits if packed else _paint_bytes
    if not packed and plan.length % 4 == 0:
        paint, out = _paint_fours, out.view(np.uint32)
    classify = classify_image if seeds is None else _classify_masks
    seeds = values if seeds is None else seeds
    where, sizes = (grid(plan), BLOCK, stream), tuple(map(np.int64, plan))
    launch.start(classify, *where, values, low, seeds, high, *sizes, mask, bases, parents)
    merge_runs(None, plan, connectivity, mask, mask, bases, parents, near, stream)
    launch.start(paint, *where, *sizes, mask, bases, parents, out)


def cuda_signatures():
    def line(kind):
        return types.Array(kind, 1, "C")

    bits = (types.uint8, types.uint16, types.uint32, types.uint64)
    signed = (types.int8, types.int16, types.int32, types.int64)
    kinds = (*bits, *signed, types.float32, types.float64)
    plan = (types.int64,) * 4
    byte, words, bases = types.uint8, line(types.uint32), line(types.uint16)

    signatures = []
    for number in (types.uint32, types.int64):
        table = (words, bases, line(number))
        images = kinds if number is types.uint32 else (types.float32,)
        signatures += [
            *((classify_image, (line(k), k, line(k), k, *plan, *table), 104) for k in images),
            (_classify_masks, (line(byte), byte, line(byte), byte, *plan, *table), 88),
            (_paint_bytes, (*plan, *table, line(byte)), 88),
            (_paint_fours, (*plan, *table, words), 88),
            (_paint_bits, (*plan, *table, line(byte)), 88),
        ]
    for number in (types.uint32, types.int32, types.int64):
        table = (words, words, bases, line(number), types.Array(types.int64, 2, "C"))
        signatures += [(k, (words, *plan, *table), 104) for pair in _MASK_MERGES for k in pair]
        if number is not types.uint32:
            compared = bits if number is types.int32 else (types.uint32,)
            signatures += [
                (k, (line(kind), *plan, *table), 104)
                for pair in _VALUE_MERGES for k in pair for kind in compared
            ]  # fmt: skip
    return signatures
