"""The class of each element among ascending thresholds, and how many elements each class has.

The class of x is the number of thresholds t with x > t. A threshold has the image's own type, or
float64; the host sees to it. NaN is above nothing: class 0, and it is counted apart.
"""

from __future__ import annotations

import numpy as np
from numba import cuda, njit, types

from . import launch

_BLOCK = 8 if launch.simulating() else 256
_MOST_BLOCKS = 4 if launch.simulating() else 4096
# The bins of a block, each once per lane, so that lanes of a warp never meet in one counter.
_LANES = 2 if launch.simulating() else 32
_BINS = 8 if launch.simulating() else 64
_COUNTERS = _BINS * _LANES
_THRESHOLDS_PER_PASS = _BINS - 2

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
def _class_of(x, thresholds, start, stop):
    """The number of thresholds in [start, stop) below x, by bisection."""
    low, high = start, stop
    while low < high:
        middle = (low + high) // 2
        if x > thresholds[middle]:
            low = middle + 1
        else:
            high = middle
    return low - start


@cuda.jit
def _classify_cuda(flat, thresholds, first, out, nan):
    for i in range(cuda.grid(1), flat.size, cuda.gridsize(1)):
        x = flat[i]
        out[i] = first + _class_of(x, thresholds, 0, thresholds.size)
        if x != x:
            nan[0] = 1  # all writers agree


@cuda.jit
def _histogram_cuda(flat, thresholds, start, stop, counts):
    """Add the class counts of some thresholds to counts[0 .. stop - start], NaN to the last."""
    mine = cuda.shared.array(_COUNTERS, types.uint32)
    for i in range(cuda.threadIdx.x, _COUNTERS, cuda.blockDim.x):
        mine[i] = 0
    cuda.syncthreads()
    lane = cuda.threadIdx.x % _LANES
    for i in range(cuda.grid(1), flat.size, cuda.gridsize(1)):
        x = flat[i]
        slot = _class_of(x, thresholds, start, stop) if x == x else _BINS - 1
        cuda.atomic.add(mine, slot * _LANES + lane, types.uint32(1))
    cuda.syncthreads()
    for slot in range(cuda.threadIdx.x, _BINS, cuda.blockDim.x):
        total = types.int64(0)
        for k in range(_LANES):
            total += mine[slot * _LANES + k]
        if total:
            cuda.atomic.add(counts, slot, total)


def classify_cuda(flat, thresholds, first: int, out, nan, stream=0) -> None:
    """Write `first` plus the class of each element to `out`, and 1 to `nan` where there is one."""
    grid = launch.blocks(flat.size, _BLOCK, _MOST_BLOCKS)
    flat, thresholds, out, nan = map(launch.device_array, (flat, thresholds, out, nan))
    _classify_cuda[grid, _BLOCK, stream](flat, thresholds, np.int64(first), out, nan)


def passes(count: int) -> list[tuple[int, int]]:
    """The runs of thresholds that one launch of the histogram can take."""
    step = _THRESHOLDS_PER_PASS
    return [(i, min(i + step, count)) for i in range(0, max(count, 1), step)]


def histogram_cuda(flat, thresholds, counts, stream=0) -> None:
    """Add the class counts to row i of `counts` (zeroed, `passes` x `bins`) for pass i."""
    grid = launch.blocks(flat.size, _BLOCK, _MOST_BLOCKS)
    runs = passes(thresholds.size)
    flat, thresholds, counts = map(launch.device_array, (flat, thresholds, counts))
    for row, (start, stop) in enumerate(runs):
        _histogram_cuda[grid, _BLOCK, stream](
            flat, thresholds, np.int64(start), np.int64(stop), counts[row]
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
        for out in (types.uint8, types.uint16):
            args = (*ends, types.int64, line[out], line[types.uint8])
            signatures.append((_classify_cuda, args, 40))
        args = (*ends, types.int64, types.int64, line[types.int64])
        signatures.append((_histogram_cuda, args, 40))
    return signatures
