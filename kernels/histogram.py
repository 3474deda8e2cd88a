"""Histograms in one pass: numbers into bins between edges, or integers value by value.

Floats: bin i holds the values with ``edges[i] <= value < edges[i + 1]``, the last bin its upper
edge as well, as in `numpy.histogram`. Both forms guess a bin by arithmetic and then let the edges
decide, so that rounding cannot make them differ. CPU: the guess is vectorised, and a block of
values is looked at again only if one of them came close to an edge. CUDA: counters in shared
memory, replicated so that neighbouring threads seldom meet in one; one global addition a block
and bin. Read once, nothing else written.
"""

from __future__ import annotations

import numpy as np
from numba import cuda, njit, types

from . import launch

# Values that are binned, and then counted, at a time.
BLOCK = 256
# Counters in shared memory: 32 KB.
SHARED = 8192


def float_histogram_cpu(values, edges):
    """Counts (int64) of a 1-D float array between edges of its dtype that hold all its values."""
    bins = edges.size - 1
    low, scale, close = binning(edges)
    tables = np.zeros((_pieces(values.size), 4, bins), np.uint32)
    launch.slabs(count_floats, values.size, values, edges, low, scale, close, tables,
                 _starts(values.size, len(tables)), pieces=len(tables))  # fmt: skip
    return tables.sum(axis=(0, 1), dtype=np.int64)


def integer_histogram_cpu(values, low, bins):
    """Counts (int64) of the values low, low + 1, ... of a 1-D integer array that has no others."""
    # With many bins, one table fills the cache, and equal neighbours are rare.
    tables = np.zeros((_pieces(values.size), 4 if bins <= 4096 else 1, bins), np.uint32)
    starts = _starts(values.size, len(tables))
    count = count_indices if low == 0 and values.dtype.kind == "u" else count_integers
    launch.slabs(count, values.size, values, low, tables, starts, pieces=len(tables))
    return tables.sum(axis=(0, 1), dtype=np.int64)


def _pieces(size: int) -> int:
    # A counter has 32 bits, so that a table stays in the cache; no piece can fill one.
    return max(1, min(size, max(launch.thread_count(), -(-size // (2**32 - 1)))))


def _starts(size: int, pieces: int):
    return np.array([size * i // pieces for i in range(pieces)], np.int64)


def binning(edges):
    """What the guess needs: the lowest edge, bins per unit, and how near an edge it may err."""
    dtype = edges.dtype.type
    bins = edges.size - 1
    low, high = float(edges[0]), float(edges[-1])
    scale = bins / (high - low)
    # Roundings of the guess (3) and of edges laid in this precision (2 and one of their size).
    unit = float(np.finfo(edges.dtype).eps)
    close = unit / 2 * (6 * bins + 2 * max(abs(low), abs(high)) * scale)
    return dtype(low), dtype(scale), dtype(min(close, 1.0))


def minmax_cpu(values):
    """The least and the greatest of a 1-D array; NaN if there is one."""
    parts = launch.slabs(_minmax, values.size, values)
    return np.min([low for low, _ in parts]), np.max([high for _, high in parts])


def _minmax(first, last, values):
    # NumPy's own are vectorised and release the GIL; a block read for one is in the cache for both.
    blocks = [values[i : min(i + 131072, last)] for i in range(first, last, 131072)]
    extremes = [(block.min(), block.max()) for block in blocks]
    return np.min([low for low, _ in extremes]), np.max([high for _, high in extremes])


def settle(value, guess, edges):
    """The bin that the edges give to a value, from a guess near it."""
    last = edges.size - 2
    index = min(max(guess, 0), last)
    while index > 0 and value < edges[index]:
        index -= 1
    while index < last and value >= edges[index + 1]:
        index += 1
    return index


settle_cpu = njit(nogil=True, cache=True)(settle)


@njit(nogil=True, cache=True)
def _guess(values, low, scale, close, top, indices):
    """Bins by arithmetic; how many of them came close to an edge."""
    doubts = 0
    one = values.dtype.type(1)
    for k in range(values.size):
        at = (values[k] - low) * scale
        index = np.int32(at)
        within = at - values.dtype.type(index)
        doubts += np.int32((within < close) | (within > one - close))
        indices[k] = min(index, top)
    return doubts


@njit(nogil=True, cache=True)
def _settle_doubts(values, low, scale, close, edges, indices):
    one = values.dtype.type(1)
    for k in range(values.size):
        at = (values[k] - low) * scale
        within = at - values.dtype.type(np.int32(at))
        if within < close or within > one - close:
            indices[k] = settle_cpu(values[k], np.int64(indices[k]), edges)


@njit(nogil=True, cache=True)
def _add4(indices, a, b, c, d):
    """Four tables in turn: equal neighbours do not wait for each other."""
    quarter = indices.size // 4
    for k in range(quarter):
        a[indices[4 * k]] += 1
        b[indices[4 * k + 1]] += 1
        c[indices[4 * k + 2]] += 1
        d[indices[4 * k + 3]] += 1
    for k in range(4 * quarter, indices.size):
        a[indices[k]] += 1


@njit(nogil=True, cache=True)
def count_floats(first, last, values, edges, low, scale, close, tables, starts):
    """Count values [first, last) into the tables of their piece."""
    table = tables[np.searchsorted(starts, first)]
    indices = np.empty(BLOCK, np.uint32)
    top = np.int32(edges.size - 2)
    for i in range(first, last, BLOCK):
        block = values[i : min(i + BLOCK, last)]
        found = indices[: block.size]
        if _guess(block, low, scale, close, top, found) > 0:
            _settle_doubts(block, low, scale, close, edges, found)
        _add4(found, table[0], table[1], table[2], table[3])


@njit(nogil=True, cache=True)
def _offset(values, low, indices):
    for k in range(values.size):
        indices[k] = np.uint32(np.int64(values[k]) - low)


@njit(nogil=True, cache=True)
def count_integers(first, last, values, low, tables, starts):
    """Count values [first, last) into the tables of their piece."""
    table = tables[np.searchsorted(starts, first)]
    more = table.shape[0] - 1
    indices = np.empty(BLOCK, np.uint32)
    for i in range(first, last, BLOCK):
        block = values[i : min(i + BLOCK, last)]
        found = indices[: block.size]
        _offset(block, low, found)
        _add4(found, table[0], table[more // 3], table[2 * more // 3], table[more])


@njit(nogil=True, cache=True)
def count_indices(first, last, values, low, tables, starts):
    """The same where the values themselves number the bins."""
    table = tables[np.searchsorted(starts, first)]
    more = table.shape[0] - 1
    block = values[first:last]
    _add4(block, table[0], table[more // 3], table[2 * more // 3], table[more])


# --- CUDA -------------------------------------------------------------------------------------


settle_cuda = cuda.jit(device=True)(settle)


def float_histogram_cuda(values, edges, counts, low, scale, stream=0):
    """Add the counts of a flat float array between `edges` to `counts` (uint64 on the device)."""
    values, edges, counts = map(launch.device_array, (values, edges, counts))
    kernel = count_floats_shared if counts.size <= SHARED else count_floats_global
    grid, block = _grid(values.size)
    kernel[grid, block, stream](values, edges, low, scale, counts)


def integer_histogram_cuda(values, counts, low, stream=0):
    """Add the counts of low, low + 1, ... of a flat integer array to `counts` (uint64)."""
    values, counts = map(launch.device_array, (values, counts))
    kernel = count_integers_shared if counts.size <= SHARED else count_integers_global
    grid, block = _grid(values.size)
    kernel[grid, block, stream](values, low, counts)


def _grid(size: int) -> tuple[int, int]:
    if launch.simulating():
        return launch.blocks(size, 8, most=2), 8
    # Enough blocks to fill any device; each then strides through its share.
    return launch.blocks(size, 512, most=2048), 512


@cuda.jit(device=True)
def _clear_shared(table):
    for k in range(cuda.threadIdx.x, table.size, cuda.blockDim.x):
        table[k] = 0
    cuda.syncthreads()


@cuda.jit(device=True)
def _replicas(bins):
    """Tables side by side, one a lane if they fit, a power of two."""
    count = 32
    while count * bins > SHARED:
        count //= 2
    return count


@cuda.jit(device=True)
def _flush(table, replicas, counts):
    """The block's counters to the global ones."""
    cuda.syncthreads()
    for index in range(cuda.threadIdx.x, counts.size, cuda.blockDim.x):
        total = np.uint64(0)
        for replica in range(replicas):
            total += np.uint64(table[index * replicas + replica])
        if total > 0:
            cuda.atomic.add(counts, index, total)


@cuda.jit
def count_floats_shared(values, edges, low, scale, counts):
    table = cuda.shared.array(SHARED, np.uint32)
    _clear_shared(table)
    replicas = _replicas(counts.size)
    lane = cuda.threadIdx.x % replicas
    for i in range(cuda.grid(1), values.size, cuda.gridsize(1)):
        value = values[i]
        index = settle_cuda(value, np.int64((value - low) * scale), edges)
        cuda.atomic.add(table, index * replicas + lane, np.uint32(1))
    _flush(table, replicas, counts)


@cuda.jit
def count_floats_global(values, edges, low, scale, counts):
    for i in range(cuda.grid(1), values.size, cuda.gridsize(1)):
        value = values[i]
        index = settle_cuda(value, np.int64((value - low) * scale), edges)
        cuda.atomic.add(counts, index, np.uint64(1))


@cuda.jit
def count_integers_shared(values, low, counts):
    table = cuda.shared.array(SHARED, np.uint32)
    _clear_shared(table)
    replicas = _replicas(counts.size)
    lane = cuda.threadIdx.x % replicas
    for i in range(cuda.grid(1), values.size, cuda.gridsize(1)):
        index = np.int64(values[i]) - low
        cuda.atomic.add(table, index * replicas + lane, np.uint32(1))
    _flush(table, replicas, counts)


@cuda.jit
def count_integers_global(values, low, counts):
    for i in range(cuda.grid(1), values.size, cuda.gridsize(1)):
        cuda.atomic.add(counts, np.int64(values[i]) - low, np.uint64(1))


def cuda_signatures():
    """(kernel, argument types, most registers a thread may take) of the main dtypes."""
    counts = types.uint64[::1]
    table = []
    for real in (types.float32, types.float64):
        args = (real[::1], real[::1], real, real, counts)
        table += [(count_floats_shared, args, 40), (count_floats_global, args, 40)]
    for integer in (types.uint8, types.uint16, types.int32):
        args = (integer[::1], types.int64, counts)
        table += [(count_integers_shared, args, 40), (count_integers_global, args, 40)]
    return table
