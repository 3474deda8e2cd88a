"""Nearest centres and the sums of each cluster: the two halves of a k-means step.

Values lie feature by feature, (features, samples) in float32, so that a warp (CUDA) or a vector
register (CPU) reads samples side by side. Two things make all backends agree to the last bit.
Squared distances are chains of fused multiply-adds in the order of the features, the same
operations everywhere. And the caller rounds the values of each feature to multiples of a power of
two, so few bits that float64 adds them without rounding, in whatever order.

CPU: a piece of samples that fits the cache meets one centre after the other. CUDA: a thread takes a
sample, keeps its features in registers, and adds them to one of several copies of the sums in
shared memory. Neither writes a distance or a label to memory while centres still move.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import cuda, types

from . import launch
from .exact import fma_cpu, fma_cuda
from .kept import njit

# Up to so many features, the loops over them are unrolled.
_UNROLLED = 8


def sums_cpu(values, centers):
    """The sums of the features of each centre's samples, and their number in a last column."""
    parts = launch.slabs(_add_up_range, values.shape[1], values, centers, _unroll(values))
    return np.sum(parts, axis=0)


def nearest_cpu(values, centers, labels, distances) -> None:
    """The nearest centre of each sample, the first of equals, and the squared distance to it."""
    launch.slabs(_nearest_range, labels.size, values, centers, _unroll(values), labels, distances)


def _unroll(values) -> tuple:
    """A tuple whose length, part of its type, is how far loops over features are unrolled."""
    features = values.shape[0]
    return (0,) * features if features <= _UNROLLED else ()


@njit(nogil=True, cache=True)
def _piece_size(features):
    """So many samples that a piece of them stays in the cache while every centre passes by."""
    return max(64, min(2048, 32768 // features))


@njit(nogil=True, cache=True)
def _load(values, start, stop, block):
    """The samples from `start` to `stop`, side by side in one piece of memory."""
    if stop - start < block.shape[1]:
        block = np.empty((values.shape[0], stop - start), np.float32)
    for q in range(values.shape[0]):
        block[q, :] = values[q, start:stop]
    return block


@njit(nogil=True, cache=True)
def _add_up_range(start, stop, values, centers, unroll):
    features = values.shape[0]
    size = _piece_size(features)
    block = np.empty((features, size), np.float32)
    best, total = np.empty(size, np.float32), np.empty(size, np.float32)
    index = np.empty(size, np.int32)
    sums = np.zeros((centers.shape[0], features + 1))
    for at in range(start, stop, size):
        end = min(at + size, stop)
        piece = _load(values, at, end, block)
        _nearest(piece, centers, unroll, total, best[: end - at], index[: end - at])
        _add_up(piece, index[: end - at], unroll, sums)
    return sums


@njit(nogil=True, cache=True)
def _nearest_range(start, stop, values, centers, unroll, labels, distances):
    size = _piece_size(values.shape[0])
    block = np.empty((values.shape[0], size), np.float32)
    total = np.empty(size, np.float32)
    for at in range(start, stop, size):
        end = min(at + size, stop)
        piece = _load(values, at, end, block)
        _nearest(piece, centers, unroll, total, distances[at:end], labels[at:end])


@njit(nogil=True, cache=True)
def _nearest(piece, centers, unroll, total, best, index):
    best[:] = np.inf
    index[:] = 0  # the first of equals, where every distance overflows
    for j in range(centers.shape[0]):
        if len(unroll) > 0:
            _compare_unrolled(piece, centers[j], np.int32(j), unroll, best, index)
        else:
            total[:] = 0
            for q in range(piece.shape[0]):
                _add_square(piece[q], centers[j, q], total)
            _compare(total, np.int32(j), best, index)


@njit(nogil=True, cache=True)
def _compare_unrolled(piece, center, number, unroll, best, index):
    for i in range(best.size):
        total = np.float32(0)
        for q in range(len(unroll)):
            difference = piece[q, i] - center[q]
            total = fma_cpu(difference, difference, total)
        nearer = total < best[i]
        best[i] = total if nearer else best[i]
        index[i] = number if nearer else index[i]


@njit(nogil=True, cache=True)
def _add_square(row, center, total):
    for i in range(row.size):
        difference = row[i] - center
        total[i] = fma_cpu(difference, difference, total[i])


@njit(nogil=True, cache=True)
def _compare(total, number, best, index):
    for i in range(best.size):
        nearer = total[i] < best[i]
        best[i] = total[i] if nearer else best[i]
        index[i] = number if nearer else index[i]


@njit(nogil=True, cache=True)
def _add_up(piece, index, unroll, sums):
    features = piece.shape[0]
    for i in range(index.size):
        j = index[i]
        if len(unroll) > 0:
            for q in range(len(unroll)):
                sums[j, q] += piece[q, i]
        else:
            for q in range(features):
                sums[j, q] += piece[q, i]
        sums[j, features] += 1


@njit(nogil=True, cache=True)
def round_range(start, stop, values, offset, factor, step, out):
    """``values - offset`` in units of `step`, whole ones; `factor` is 1 / step and the weight."""
    for i in range(start, stop):
        out[i] = np.float32(np.rint((np.float64(values[i]) - offset) * factor)) * step


# --- CUDA --------------------------------------------------------------------------------------

BLOCK = 32 if launch.simulating() else 256
# Shared memory for sums, in float64.
_SHARED = 64 if launch.simulating() else 4096


@cache
def _kernels(features):
    """Both steps for a number of features that fits the registers, or, with 0, for any."""
    room = max(features, 1)

    @cuda.jit(device=True)
    def nearest(values, centers, i):
        """The nearest centre of sample i, and the squared distance to it."""
        mine = cuda.local.array(room, types.float32)
        for q in range(features):
            mine[q] = values[q, i]
        best = np.float32(np.inf)
        index = 0
        for j in range(centers.shape[0]):
            total = np.float32(0)
            if features > 0:
                for q in range(features):
                    difference = mine[q] - centers[j, q]
                    total = fma_cuda(difference, difference, total)
            else:
                for q in range(values.shape[0]):
                    difference = values[q, i] - centers[j, q]
                    total = fma_cuda(difference, difference, total)
            if total < best:
                best = total
                index = j
        return index, best

    @cuda.jit
    def add_up_shared(values, centers, replicas, sums):
        table = cuda.shared.array(_SHARED, types.float64)
        for i in range(cuda.threadIdx.x, sums.size * replicas, cuda.blockDim.x):
            table[i] = 0
        cuda.syncthreads()
        width = values.shape[0] + 1
        lane = cuda.threadIdx.x % replicas
        for i in range(cuda.grid(1), values.shape[1], cuda.gridsize(1)):
            index, _ = nearest(values, centers, i)
            for q in range(width - 1):
                at = (index * width + q) * replicas + lane
                cuda.atomic.add(table, at, types.float64(values[q, i]))
            cuda.atomic.add(table, (index * width + width - 1) * replicas + lane, 1.0)
        cuda.syncthreads()
        for i in range(cuda.threadIdx.x, sums.size, cuda.blockDim.x):
            total = types.float64(0)
            for k in range(replicas):
                total += table[i * replicas + k]
            if total != 0:
                cuda.atomic.add(sums, i, total)

    @cuda.jit
    def add_up_global(values, centers, sums):
        width = values.shape[0] + 1
        for i in range(cuda.grid(1), values.shape[1], cuda.gridsize(1)):
            index, _ = nearest(values, centers, i)
            for q in range(width - 1):
                cuda.atomic.add(sums, index * width + q, types.float64(values[q, i]))
            cuda.atomic.add(sums, index * width + width - 1, 1.0)

    @cuda.jit
    def assign(values, centers, labels, distances):
        for i in range(cuda.grid(1), values.shape[1], cuda.gridsize(1)):
            labels[i], distances[i] = nearest(values, centers, i)

    return add_up_shared, add_up_global, assign


def _kernels_for(values):
    return _kernels(values.shape[0] if values.shape[0] <= _UNROLLED else 0)


def sums_cuda(values, centers, sums, stream=0) -> None:
    """As `sums_cpu`, added to the flat float64 array `sums`."""
    shared, plain, _ = _kernels_for(values)
    where = launch.blocks(values.shape[1], BLOCK, most=2048), BLOCK, stream
    replicas = 32
    while replicas and replicas * sums.size > _SHARED:
        replicas //= 2
    if replicas:
        launch.start(shared, *where, values, centers, replicas, sums)
    else:
        launch.start(plain, *where, values, centers, sums)


def nearest_cuda(values, centers, labels, distances, stream=0) -> None:
    """As `nearest_cpu`."""
    *_, assign = _kernels_for(values)
    grid = launch.blocks(values.shape[1], BLOCK, most=1 << 16)
    launch.start(assign, grid, BLOCK, stream, values, centers, labels, distances)


def cuda_signatures():
    """(kernel, argument types, most registers a thread may take)."""
    table = types.float32[:, ::1]
    signatures = []
    for features in (0, 1, 3, _UNROLLED):
        shared, plain, assign = _kernels(features)
        signatures += [
            (shared, (table, table, types.int64, types.float64[::1]), 80),
            (plain, (table, table, types.float64[::1]), 80),
            (assign, (table, table, types.int32[::1], types.float32[::1]), 80),
        ]
    return signatures
