"""Histograms in one pass: numbers into bins between edges, or integers value by value.

Floats: bin i holds the values with ``edges[i] <= value < edges[i + 1]``, the last bin its upper
edge as well, as in `numpy.histogram`. Both forms guess a bin by arithmetic and then let the edges
decide, so that rounding cannot make them differ. CPU: the guess is vectorised, and a block of
values is compared with edges only if one of them came close to one. CUDA: counters in shared
memory, replicated so that neighbouring threads seldom meet in one, and one global addition a block
and bin; where so many bins do not fit, global counters and one addition for a run of equal values.
"""

from __future__ import annotations

import numpy as np
from numba import cuda, njit, types

from . import launch

# Values that are binned, and then counted, at a time; how many share one look at the edges.
BLOCK = 2048
CHECKED = 256
# With more bins one table fills the cache, and equal neighbours are rare.
MOST_IN_FOUR_TABLES = 4096
# Unused counters after each table: two threads that write to one cache line wait for each other.
APART = 64
# Counters in a block's shared memory: 32 KB.
SHARED = 8192


# --- the arithmetic of both forms -------------------------------------------------------------


def guess(value, low, scale):
    """The bin of a value as a real number, off by less than the `close` of `binning`."""
    return (value - low) * scale


def settle(value, index, edges, top):
    """The bin that the edges give to a value, from a guess off by one at most."""
    below = (value < edges[index]) & (index > 0)
    above = (value >= edges[index + 1]) & (index < top)
    return index - below + above


def binning(edges):
    """What the guess needs: the lowest edge, bins per unit, and by how much it may err.

    The last is below 0.5 if the guess is good enough for these edges in their dtype; if not, the
    same edges in float64 may do. A single bin needs no guess.
    """
    real = edges.dtype.type
    bins = edges.size - 1
    low, high = float(edges[0]), float(edges[-1])
    with np.errstate(over="ignore"):
        scale = real(np.float64(bins) / (high - low))
        span = real(high - low)
    # Three roundings in the guess and three in the edges, relative; one in the edges, absolute.
    unit = float(np.finfo(real).eps) / 2
    close = 1.1 * unit * (6 * bins + max(abs(low), abs(high)) * float(scale))
    if not (np.isfinite(scale) and np.isfinite(span)):
        return real(low), real(0), real(1)
    return real(low), scale, real(min(close, 1.0))


# --- CPU --------------------------------------------------------------------------------------


def float_histogram_cpu(values, edges):
    """Counts (int64) of a 1-D float array between edges of its dtype that hold all its values."""
    low, scale, close = binning(edges)
    tables = _tables(values.size, edges.size - 1)
    launch.slabs(count_floats, len(tables), values, edges, low, scale, close, tables)
    return _sum(tables, edges.size - 1)


def integer_histogram_cpu(values, low, bins):
    """Counts (int64) of the values low, low + 1, ... of a 1-D integer array that has no others."""
    tables = _tables(values.size, bins)
    if low == 0 and values.dtype.kind == "u":
        launch.slabs(count_indices, len(tables), values, tables)
    else:
        launch.slabs(count_integers, len(tables), *_signed(values, low), tables)
    return _sum(tables, bins)


def minmax_cpu(values):
    """The least and the greatest of a 1-D array; NaN if there is one."""
    parts = launch.slabs(_minmax, values.size, values)
    return np.min([low for low, _ in parts]), np.max([high for _, high in parts])


def _minmax(first, last, values):
    # NumPy's own are vectorised and release the GIL; a block read for one is in the cache for both.
    blocks = [values[i : min(i + 131072, last)] for i in range(first, last, 131072)]
    extremes = [(block.min(), block.max()) for block in blocks]
    return np.min([low for low, _ in extremes]), np.max([high for _, high in extremes])


def _signed(values, low):
    """uint64 as the int64 of the same bits: offsets from the lowest value stay what they are."""
    values = values.view(np.int64) if values.dtype == np.uint64 else values
    return values, np.int64((low + 2**63) % 2**64 - 2**63)


def _tables(size: int, bins: int):
    """Zeroed counters: a piece of the values for each thread, and four tables a piece if small.

    A counter has 32 bits, so that a table stays in the cache, and no piece can fill one. Tables
    together stay well below the size of the values.
    """
    worth = max(1, size // (8 * bins))
    pieces = max(min(launch.thread_count(), worth), -(-size // (2**32 - 1)))
    return np.zeros((pieces, 4 if bins <= MOST_IN_FOUR_TABLES else 1, bins + APART), np.uint32)


def _sum(tables, bins: int):
    return tables[:, :, :bins].sum(axis=(0, 1), dtype=np.int64)


_guess_cpu = njit(nogil=True, cache=True)(guess)
_settle_cpu = njit(nogil=True, cache=True)(settle)


@njit(nogil=True, cache=True)
def _share(values, piece, pieces):
    return values[values.size * piece // pieces : values.size * (piece + 1) // pieces]


@njit(nogil=True, cache=True)
def _bin(values, low, scale, close, top, indices):
    """Bins by arithmetic; whether any value came close to an edge inside."""
    doubt = np.int32(0)
    half = values.dtype.type(0.5)
    middle = values.dtype.type(top + 1) * half
    for k in range(values.size):
        at = _guess_cpu(values[k], low, scale)
        index = np.int32(at)
        near = abs(at - values.dtype.type(index) - half) > half - close
        # Images are full of their own extremes, which are on the outer edges and in no doubt.
        inside = abs(at - middle) < middle - half
        doubt |= np.int32(near & inside)
        # Unsigned, so that whatever comes, nothing is written beside the table.
        indices[k] = min(np.uint32(index), np.uint32(top))
    return doubt > 0


@njit(nogil=True, cache=True)
def _settle(values, edges, top, indices):
    for k in range(values.size):
        indices[k] = _settle_cpu(values[k], np.int32(indices[k]), edges, top)


@njit(nogil=True, cache=True)
def _add(indices, table):
    """Add to the tables in turn, so that equal neighbours do not wait for each other."""
    more = table.shape[0] - 1
    a, b, c, d = table[0], table[more // 3], table[2 * more // 3], table[more]
    quarter = indices.size // 4
    for k in range(quarter):
        a[indices[4 * k]] += 1
        b[indices[4 * k + 1]] += 1
        c[indices[4 * k + 2]] += 1
        d[indices[4 * k + 3]] += 1
    for k in range(4 * quarter, indices.size):
        a[indices[k]] += 1


@njit(nogil=True, cache=True)
def count_floats(first, last, values, edges, low, scale, close, tables):
    """Count the share of the values of each table from `first` to `last`."""
    indices = np.empty(BLOCK, np.uint32)
    top = np.int32(edges.size - 2)
    for piece in range(first, last):
        share = _share(values, piece, tables.shape[0])
        for i in range(0, share.size, BLOCK):
            block = share[i : i + BLOCK]
            for j in range(0, block.size, CHECKED):
                checked, found = block[j : j + CHECKED], indices[j : min(j + CHECKED, block.size)]
                if _bin(checked, low, scale, close, top, found):
                    _settle(checked, edges, top, found)
            _add(indices[: block.size], tables[piece])


@njit(nogil=True, cache=True)
def _offset(values, low, indices):
    for k in range(values.size):
        indices[k] = np.uint32(np.int64(values[k]) - low)


@njit(nogil=True, cache=True)
def count_integers(first, last, values, low, tables):
    """Count the share of the values of each table."""
    indices = np.empty(BLOCK, np.uint32)
    for piece in range(first, last):
        share = _share(values, piece, tables.shape[0])
        for i in range(0, share.size, BLOCK):
            block = share[i : i + BLOCK]
            _offset(block, low, indices[: block.size])
            _add(indices[: block.size], tables[piece])


@njit(nogil=True, cache=True)
def count_indices(first, last, values, tables):
    """The same where the values themselves number the bins."""
    for piece in range(first, last):
        _add(_share(values, piece, tables.shape[0]), tables[piece])


# --- CUDA -------------------------------------------------------------------------------------


def float_histogram_cuda(values, edges, counts, low, scale, stream=0):
    """Add the counts of a flat float array between `edges` to `counts` (uint64 on the device)."""
    shared = counts.size <= SHARED
    values, edges, counts = map(launch.device_array, (values, edges, counts))
    kernel = count_floats_shared if shared else count_floats_global
    grid, block = _grid(values.size)
    kernel[grid, block, stream](values, edges, low, scale, counts)


def integer_histogram_cuda(values, counts, low, stream=0):
    """Add the counts of low, low + 1, ... of a flat integer array to `counts` (uint64)."""
    values, low = _signed(values, low)
    shared = counts.size <= SHARED
    values, counts = map(launch.device_array, (values, counts))
    kernel = count_integers_shared if shared else count_integers_global
    grid, block = _grid(values.size)
    kernel[grid, block, stream](values, low, counts)


def byte_histogram_cuda(values, counts, stream=0):
    """Add the counts of a flat uint8 array to 256 `counts` (uint64), read eight bytes at a time."""
    words, head = _words(values)
    values, words, counts = map(launch.device_array, (values, words, counts))
    grid, block = _grid(words.size)
    count_bytes[grid, block, stream](values, words, head, counts)


def _words(values):
    """The whole aligned words within a flat uint8 array, and how many bytes come before them."""
    interface = getattr(values, "__cuda_array_interface__", None) or values.__array_interface__
    head = min(-interface["data"][0] % 8, values.size)
    tail = head + (values.size - head) // 8 * 8
    return values[head:tail].view(np.uint64), head


def _grid(size: int) -> tuple[int, int]:
    if launch.simulating():
        return launch.blocks(size, 8, most=2), 8
    # Enough blocks to fill any device; each then strides through its share.
    return launch.blocks(size, 512, most=1024), 512


_guess_cuda = cuda.jit(device=True)(guess)
_settle_cuda = cuda.jit(device=True)(settle)


@cuda.jit(device=True)
def _float_bin(value, edges, low, scale):
    top = edges.size - 2
    index = min(np.int64(_guess_cuda(value, low, scale)), np.int64(top))
    return _settle_cuda(value, index, edges, top)


@cuda.jit(device=True)
def _clear(table, used):
    for k in range(cuda.threadIdx.x, used, cuda.blockDim.x):
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
    replicas = _replicas(counts.size)
    _clear(table, counts.size * replicas)
    lane = cuda.threadIdx.x % replicas
    one = np.uint32(1)
    step = cuda.gridsize(1)
    start = cuda.grid(1)
    # Four loads on their way at a time.
    for i in range(start, values.size - 3 * step, 4 * step):
        a, b, c, d = values[i], values[i + step], values[i + 2 * step], values[i + 3 * step]
        cuda.atomic.add(table, _float_bin(a, edges, low, scale) * replicas + lane, one)
        cuda.atomic.add(table, _float_bin(b, edges, low, scale) * replicas + lane, one)
        cuda.atomic.add(table, _float_bin(c, edges, low, scale) * replicas + lane, one)
        cuda.atomic.add(table, _float_bin(d, edges, low, scale) * replicas + lane, one)
        start = i + 4 * step
    for i in range(start, values.size, step):
        cuda.atomic.add(table, _float_bin(values[i], edges, low, scale) * replicas + lane, one)
    _flush(table, replicas, counts)


@cuda.jit
def count_floats_global(values, edges, low, scale, counts):
    last, run = np.int64(0), np.uint64(0)
    for i in range(cuda.grid(1), values.size, cuda.gridsize(1)):
        index = _float_bin(values[i], edges, low, scale)
        if index != last:
            cuda.atomic.add(counts, last, run)
            last, run = index, np.uint64(0)
        run += np.uint64(1)
    cuda.atomic.add(counts, last, run)


@cuda.jit
def count_integers_shared(values, low, counts):
    table = cuda.shared.array(SHARED, np.uint32)
    replicas = _replicas(counts.size)
    _clear(table, counts.size * replicas)
    lane = cuda.threadIdx.x % replicas
    for i in range(cuda.grid(1), values.size, cuda.gridsize(1)):
        index = np.int64(values[i]) - low
        cuda.atomic.add(table, index * replicas + lane, np.uint32(1))
    _flush(table, replicas, counts)


@cuda.jit
def count_integers_global(values, low, counts):
    last, run = np.int64(0), np.uint64(0)
    for i in range(cuda.grid(1), values.size, cuda.gridsize(1)):
        index = np.int64(values[i]) - low
        if index != last:
            cuda.atomic.add(counts, last, run)
            last, run = index, np.uint64(0)
        run += np.uint64(1)
    cuda.atomic.add(counts, last, run)


@cuda.jit
def count_bytes(values, words, head, counts):
    """Bytes before the first and after the last whole word are counted one by one."""
    table = cuda.shared.array(SHARED, np.uint32)
    _clear(table, SHARED)
    lane = cuda.threadIdx.x % 32
    for i in range(cuda.grid(1), words.size, cuda.gridsize(1)):
        word = words[i]
        for _ in range(8):
            cuda.atomic.add(table, np.int64(word & np.uint64(255)) * 32 + lane, np.uint32(1))
            word >>= np.uint64(8)
    tail = head + 8 * words.size
    for i in range(cuda.grid(1), head + values.size - tail, cuda.gridsize(1)):
        value = values[i if i < head else tail + i - head]
        cuda.atomic.add(table, np.int64(value) * 32 + lane, np.uint32(1))
    _flush(table, 32, counts)


def cuda_signatures():
    """(kernel, argument types, most registers a thread may take) of the main dtypes."""
    counts = types.uint64[::1]
    table = [(count_bytes, (types.uint8[::1], types.uint64[::1], types.int64, counts), 48)]
    for real in (types.float32, types.float64):
        args = (real[::1], real[::1], real, real, counts)
        table += [(count_floats_shared, args, 64), (count_floats_global, args, 48)]
    for integer in (types.uint16, types.int16, types.int32):
        args = (integer[::1], types.int64, counts)
        table += [(count_integers_shared, args, 48), (count_integers_global, args, 48)]
    return table
