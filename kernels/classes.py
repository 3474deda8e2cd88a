"""Sums over a few classes of pixels, for CUDA.

Every term is a whole number of steps, so few that float64 adds them without rounding: the order
does not matter. A thread adds to one of several copies of the sums in shared memory.
"""

from __future__ import annotations

from numba import cuda, types

from . import launch

BLOCK = 32 if launch.simulating() else 256
_MOST = 3 if launch.simulating() else 2048
# Shared memory for sums, in float64: for those of 255 classes, at least.
_SHARED = 512 if launch.simulating() else 4096
# Added and taken off, it leaves a float64 below 2**51 rounded to a whole number, half to even.
_WHOLE = 1.5 * 2.0**52


@cuda.jit
def add_up(values, labels, centers, step, replicas, found):
    """Add to `found`, (classes, 2), terms in steps and pixels; labels past the classes are none."""
    table = cuda.shared.array(_SHARED, types.float64)
    classes = found.shape[0]
    for i in range(cuda.threadIdx.x, 2 * classes * replicas, cuda.blockDim.x):
        table[i] = 0
    cuda.syncthreads()
    lane = cuda.threadIdx.x % replicas
    for i in range(cuda.grid(1), values.size, cuda.gridsize(1)):
        k = types.int64(labels[i])
        if k >= classes:
            continue
        term = types.float64(values[i])
        if centers.size > 0:
            away = term - centers[k]
            term = away * away
        whole = (term / step + _WHOLE) - _WHOLE
        at = 2 * k * replicas + lane
        cuda.atomic.add(table, at, whole)
        cuda.atomic.add(table, at + replicas, 1.0)
    cuda.syncthreads()
    for i in range(cuda.threadIdx.x, 2 * classes, cuda.blockDim.x):
        total = types.float64(0)
        for j in range(replicas):
            total += table[i * replicas + j]
        if total != 0:
            cuda.atomic.add(found, (i // 2, i % 2), total)


def add_up_cuda(values, labels, centers, step, found, stream=0) -> None:
    """Add to the float64 `found` what the float32 `values` of each class are in steps, or their
    squared distances from `centers`, if there are any, and how many there are."""
    replicas = 32
    while 2 * len(found) * replicas > _SHARED:
        replicas //= 2
    where = launch.blocks(values.size, BLOCK, most=_MOST), BLOCK, stream
    launch.start(add_up, *where, values, labels, centers, step, replicas, found)


def cuda_signatures():
    """(kernel, argument types, most registers a thread may take)."""
    row = types.float64[::1]
    labels, found = types.uint8[::1], types.float64[:, ::1]
    return [(add_up, (types.float32[::1], labels, row, types.float64, types.int64, found), 64)]
