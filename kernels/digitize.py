"""The class of each element among ascending thresholds, and how many elements each class has.

The class of x is the number of thresholds t with x > t. A threshold has the image's own type, or
float64; the host sees to it. NaN is above nothing: class 0, and it is counted apart.
"""

from __future__ import annotations

import numpy as np
from numba import cuda, types

from . import launch
from .kept import njit

_BLOCK = 8 if launch.simulating() else 256
_MOST_BLOCKS = 4 if launch.simulating() else 4096
# The bins of a block, each once per lane, so that lanes of a warp never meet in one counter.
_LANES = 2 if launch.simulating() else 32
_BINS = 8 if launch.simulating() else 64
_COUNTERS = _BINS * _LANES
_THRESHOLDS_PER_PASS = _BINS - 2

# So many thresholds a comparison each costs no more than a search among them.
_FEW = 16

_PIECE = 4096


# --- CPU --------------------------------------------------------------------------------------


@njit(nogil=True, cache=True)
def _add_above(line, threshold, out):
    for i in range(line.size):
        out[i] += line[i] > threshold


@njit(nogil=True, cache=True)
def _count_above(line, threshold):
    count = np.uint32(0)
    for i in range(line.size):
        count += np.uint32(line[i] > threshold)
    return count


@njit(nogil=True, cache=True)
def _count_nan(line):
    count = np.uint32(0)
    for i in range(line.size):
        count += np.uint32(line[i] != line[i])
    return count


@njit(nogil=True, cache=True)
def _classify_cpu(start, stop, flat, thresholds, first, out):
    nan = 0
    for begin in range(start, stop, _PIECE):
        end = min(begin + _PIECE, stop)
        line, classes = flat[begin:end], out[begin:end]
        classes[:] = first
        for k in range(thresholds.size):
            _add_above(line, thresholds[k], classes)
        nan += _count_nan(line)
    return nan


@njit(nogil=True, cache=True)
def _count_cpu(start, stop, flat, thresholds):
    counts = np.zeros(thresholds.size + 1, np.int64)
    for begin in range(start, stop, _PIECE):
        line = flat[begin : min(begin + _PIECE, stop)]
        for k in range(thresholds.size):
            counts[k] += _count_above(line, thresholds[k])
        counts[-1] += _count_nan(line)
    return counts


def classify_cpu(flat, thresholds, first: int, out) -> int:
    """Write `first` plus the class of each element to `out`; the number of NaN."""
    return sum(launch.slabs(_classify_cpu, flat.size, flat, thresholds, out.dtype.type(first), out))


def count_cpu(flat, thresholds):
    """How many elements are above each threshold, and, last, how many are NaN."""
    return sum(launch.slabs(_count_cpu, flat.size, flat, thresholds))


# --- CUDA -------------------------------------------------------------------------------------


@cuda.jit(device=True)
def _class_of(x, thresholds, count):
    """The number of the first `count` thresholds below x, by bisection."""
    low, high = np.int32(0), np.int32(count)
    while low < high:
        middle = np.int32((low + high) >> 1)
        if x > thresholds[np.uint32(middle)]:
            low = np.int32(middle + 1)
        else:
            high = middle
    return low


@cuda.jit(device=True)
def _stage(thresholds, start, count, mine):
    """Copy some thresholds to shared memory."""
    for k in range(cuda.threadIdx.x, count, cuda.blockDim.x):
        mine[k] = thresholds[start + k]
    cuda.syncthreads()


@cuda.jit(device=True)
def _four(flat, i):
    """Four elements side by side, by unsigned indices, which never count from the end."""
    i, one = np.uint64(i), np.uint64(1)
    return flat[i], flat[i + one], flat[i + one + one], flat[i + one + one + one]


@cuda.jit(device=True)
def _above(x, threshold, unit):
    return unit if x > threshold else unit - unit


@cuda.jit
def _classify_few(flat, thresholds, first, out, words, nan):
    """Four elements a thread: their classes are the bytes, or 16 bits each, of one word.

    Each threshold is read once for the four. No class is too great for its part of the word, so
    that one addition never touches the next.
    """
    mine = cuda.shared.array(_FEW, thresholds.dtype)
    count = np.int32(thresholds.size)
    _stage(thresholds, 0, count, mine)
    word_of = words.dtype.type
    bits = 8 * out.itemsize
    one = word_of(1)
    two, three, four = word_of(one << bits), word_of(one << 2 * bits), word_of(one << 3 * bits)
    base = word_of(word_of(first) * word_of(one + two + three + four))
    broken = False
    for i in range(cuda.grid(1), words.size, cuda.gridsize(1)):
        a, b, c, d = _four(flat, 4 * i)
        word = base
        for k in range(count):
            threshold = mine[np.uint32(k)]
            word = word_of(word + _above(a, threshold, one))
            word = word_of(word + _above(b, threshold, two))
            word = word_of(word + _above(c, threshold, three))
            word = word_of(word + _above(d, threshold, four))
        words[np.uint64(i)] = word
        broken |= (a != a) | (b != b) | (c != c) | (d != d)
    for i in range(4 * words.size + cuda.grid(1), flat.size, cuda.gridsize(1)):
        out[i] = first + _class_of(flat[i], mine, count)
        broken |= flat[i] != flat[i]
    if broken:
        nan[0] = 1  # all writers agree


@cuda.jit
def _classify_many(flat, thresholds, first, out, nan):
    broken = False
    for i in range(cuda.grid(1), flat.size, cuda.gridsize(1)):
        x = flat[i]
        out[i] = first + _class_of(x, thresholds, thresholds.size)
        broken |= x != x
    if broken:
        nan[0] = 1  # all writers agree


@cuda.jit(device=True)
def _tally(mine, x, thresholds, count, lane):
    slot = _class_of(x, thresholds, count) if x == x else np.int32(_BINS - 1)
    cuda.atomic.add(mine, np.uint32(slot * _LANES + lane), np.uint32(1))


@cuda.jit
def _histogram_cuda(flat, thresholds, start, stop, counts):
    """Add the class counts of some thresholds to counts[0 .. stop - start], NaN to the last."""
    mine = cuda.shared.array(_COUNTERS, types.uint32)
    near = cuda.shared.array(_BINS, thresholds.dtype)
    for i in range(cuda.threadIdx.x, _COUNTERS, cuda.blockDim.x):
        mine[i] = 0
    count = np.int32(stop - start)
    _stage(thresholds, start, count, near)
    lane = cuda.threadIdx.x % _LANES
    whole = flat.size // 4
    # Neighbours four at a time, so that their loads are on their way together.
    for i in range(cuda.grid(1), whole, cuda.gridsize(1)):
        a, b, c, d = _four(flat, 4 * i)
        _tally(mine, a, near, count, lane)
        _tally(mine, b, near, count, lane)
        _tally(mine, c, near, count, lane)
        _tally(mine, d, near, count, lane)
    for i in range(4 * whole + cuda.grid(1), flat.size, cuda.gridsize(1)):
        _tally(mine, flat[i], near, count, lane)
    cuda.syncthreads()
    for slot in range(cuda.threadIdx.x, _BINS, cuda.blockDim.x):
        total = types.int64(0)
        for k in range(_LANES):
            total += mine[slot * _LANES + k]
        if total:
            cuda.atomic.add(counts, slot, total)


def classify_cuda(flat, thresholds, first: int, out, nan, stream=0) -> None:
    """Write `first` plus the class of each element to `out`, and 1 to `nan` where there is one.

    `out` is uint8 or uint16, and begins at the address of a whole word of four elements.
    """
    grid = launch.blocks(-(-flat.size // 4), _BLOCK, _MOST_BLOCKS)
    few = thresholds.size <= _FEW
    words = out[: out.size // 4 * 4].view(np.uint32 if out.itemsize == 1 else np.uint64)
    if few:
        launch.start(
            _classify_few, grid, _BLOCK, stream, flat, thresholds, np.int64(first), out, words, nan
        )
    else:
        launch.start(
            _classify_many, grid, _BLOCK, stream, flat, thresholds, np.int64(first), out, nan
        )


def passes(count: int) -> list[tuple[int, int]]:
    """The runs of thresholds that one launch of the histogram can take."""
    step = _THRESHOLDS_PER_PASS
    return [(i, min(i + step, count)) for i in range(0, max(count, 1), step)]


def histogram_cuda(flat, thresholds, counts, stream=0) -> None:
    """Add the class counts to row i of `counts` (zeroed, `passes` x `bins`) for pass i."""
    grid = launch.blocks(-(-flat.size // 4), _BLOCK, _MOST_BLOCKS)
    runs = passes(thresholds.size)
    for row, (start, stop) in enumerate(runs):
        launch.start(
            _histogram_cuda,
            grid,
            _BLOCK,
            stream,
            flat,
            thresholds,
            np.int64(start),
            np.int64(stop),
            counts[row],
        )


def bins() -> int:
    """The length of a row of the counts that `histogram_cuda` fills."""
    return _BINS


def cuda_signatures():
    kinds = (types.uint8, types.uint16, types.int16, types.int64, types.float32, types.float64)
    line = {kind: types.Array(kind, 1, "C") for kind in kinds}
    signatures = []
    for image, threshold in [*zip(kinds, kinds), (types.int64, types.float64)]:
        ends = (line[image], line[threshold])
        for out, word in ((types.uint8, types.uint32), (types.uint16, types.uint64)):
            args = (*ends, types.int64, line[out])
            signatures.append((_classify_few, (*args, word[::1], types.uint8[::1]), 56))
            signatures.append((_classify_many, (*args, types.uint8[::1]), 40))
        args = (*ends, types.int64, types.int64, line[types.int64])
        signatures.append((_histogram_cuda, args, 40))
    return signatures
