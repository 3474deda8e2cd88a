"""Histograms in one pass: numbers into bins between edges, or integers value by value.

Floats: bin i holds the values with ``edges[i] <= value < edges[i + 1]``, the last bin its upper
edge as well, as in `numpy.histogram`. Both forms guess a bin by arithmetic and then let the edges
decide where it came close to one, so that rounding cannot make them differ. CPU: the guess is
vectorised, and a block of values is compared with edges only if one of them came close to one.
CUDA: counters in shared memory, replicated so that neighbouring threads seldom meet in one, and one
global addition a block and bin. Integers of more bins than fit are divided among blocks that read
the same values at about the same time, each for its share of the bins. Where there are still more,
global counters and one addition for a run of equal values.
"""

from __future__ import annotations

import numpy as np
from numba import cuda, types

from . import launch
from .kept import njit

# Values that are binned, and then counted, at a time; how many share one look at the edges.
BLOCK = 2048
CHECKED = 256
# With more bins one table fills the cache, and equal neighbours are rare.
MOST_IN_FOUR_TABLES = 4096
# Unused counters after each table: two threads that write to one cache line wait for each other.
APART = 64
# Counters in a block's shared memory: 32 KB, and 48 KB, the most that any device gives unasked.
SHARED = 8192
WIDE = 1024 if launch.simulating() else 12288
# Blocks that divide the bins of an integer among them: enough for 16 bits.
MOST_PARTS = 6


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
    if not (np.isfinite(scale) and np.isfinite(span)):
        return real(low), real(0), real(1)
    # Three roundings in the guess and three in the edges, relative; one in the edges, absolute.
    unit = float(np.finfo(real).eps) / 2
    close = 1.1 * unit * (6 * bins + max(abs(low), abs(high)) * float(scale))
    # Edges in float64 may have been rounded in float32 before.
    places = (edges.astype(np.float64) - low) * (bins / (high - low))
    close += float(np.abs(places - np.arange(edges.size)).max())
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


def minmax_cuda(values, parts, stream=0):
    """Write the least and the greatest of each block's share of flat values to two rows.

    NaN where there is one. `parts` has the values' dtype and `minmax_parts` columns.
    """
    launch.start(find_extremes, parts.shape[1], MINMAX_BLOCK, stream, values, parts)


def minmax_parts(size: int) -> int:
    """How many blocks look for extremes: each gives two numbers for the host to compare."""
    return launch.blocks(size, 8 * MINMAX_BLOCK, most=2 if launch.simulating() else 1056)


def float_histogram_cuda(values, edges, counts, binned, stream=0):
    """Add the counts of flat values between `edges` to `counts` (uint64 on the device).

    The values may have any dtype: they are converted to that of the edges as they are read.
    `binned` is what `binning` gives for the edges.
    """
    bins = counts.size
    grid, block = _grid(values.size)
    if bins <= SHARED:
        replicas = np.int32(_replicas(bins, SHARED))
        launch.start(
            count_floats_shared, grid, block, stream, values, edges, *binned, replicas, counts
        )
    else:
        launch.start(count_floats_global, grid, block, stream, values, edges, *binned, counts)


def integer_histogram_cuda(values, counts, low, stream=0):
    """Add the counts of low, low + 1, ... of a flat integer array to `counts` (uint64)."""
    bins = counts.size
    parts = -(-bins // WIDE)
    replicas = np.int32(_replicas(min(bins, WIDE), WIDE))
    if parts > MOST_PARTS:
        grid, block = _grid(values.size)
        values, low = _signed(values, low)
        launch.start(count_integers_global, grid, block, stream, values, low, counts)
        return
    # Tables of so many bins are to be added up at the end: as few as fill a device.
    grid, block = _grid(values.size, 528 // parts)
    grid *= parts
    if values.dtype.itemsize == 2:
        # The bits of negative numbers follow on those of the others.
        values = values.view(np.uint16)
        words, head = _words(values)
        launch.start(
            count_shorts,
            grid,
            block,
            stream,
            values,
            words,
            np.int32(head),
            np.int32(low % 65536),
            np.int32(parts),
            replicas,
            counts,
        )
    else:
        values, low = _signed(values, low)
        launch.start(
            count_integers_shared,
            grid,
            block,
            stream,
            values,
            low,
            np.int32(parts),
            replicas,
            counts,
        )


def byte_histogram_cuda(values, counts, stream=0):
    """Add the counts of a flat uint8 array to 256 `counts` (uint64), read eight bytes at a time."""
    words, head = _words(values)
    grid, block = _grid(words.size)
    launch.start(count_bytes, grid, block, stream, values, words, np.int32(head), counts)


def _words(values):
    """The whole aligned 8-byte words within a flat array, and how many values come before them."""
    interface = getattr(values, "__cuda_array_interface__", None) or values.__array_interface__
    each = 8 // values.dtype.itemsize
    head = min(-interface["data"][0] % 8 // values.dtype.itemsize, values.size)
    tail = head + (values.size - head) // each * each
    return values[head:tail].view(np.uint64), head


def _grid(size: int, most: int = 1056) -> tuple[int, int]:
    """Enough blocks to fill any device; each then strides through its share."""
    if launch.simulating():
        return launch.blocks(size, 8, most=2), 8
    return launch.blocks(size, 512, most), 512


def _replicas(bins: int, counters: int) -> int:
    """Tables side by side, one a lane if they fit, a power of two."""
    return min(32, 1 << (counters // bins).bit_length() - 1)


_guess_cuda = cuda.jit(device=True)(guess)
_settle_cuda = cuda.jit(device=True)(settle)

MINMAX_BLOCK = 8 if launch.simulating() else 256


@cuda.jit(device=True)
def _four(values, i, step):
    """Four loads on their way at a time, by unsigned indices, which never count from the end."""
    i, step = np.uint64(i), np.uint64(step)
    two = step + step
    return values[i], values[i + step], values[i + two], values[i + two + step]


@cuda.jit(device=True)
def _least(a, b):
    """The lesser, or the NaN."""
    return a if (a <= b) | (a != a) else b


@cuda.jit(device=True)
def _greatest(a, b):
    return a if (a >= b) | (a != a) else b


@cuda.jit
def find_extremes(values, parts):
    lows = cuda.shared.array(MINMAX_BLOCK, values.dtype)
    highs = cuda.shared.array(MINMAX_BLOCK, values.dtype)
    step = cuda.gridsize(1)
    start = cuda.grid(1)
    low = high = values[min(start, values.size - 1)]
    for i in range(start, values.size - 7 * step, 8 * step):
        a, b, c, d = _four(values, i, step)
        e, f, g, h = _four(values, i + 4 * step, step)
        least = _least(_least(_least(a, b), _least(c, d)), _least(_least(e, f), _least(g, h)))
        low = _least(low, least)
        ab, cd = _greatest(a, b), _greatest(c, d)
        ef, gh = _greatest(e, f), _greatest(g, h)
        high = _greatest(high, _greatest(_greatest(ab, cd), _greatest(ef, gh)))
        start = i + 8 * step
    for i in range(start, values.size, step):
        low, high = _least(low, values[i]), _greatest(high, values[i])
    thread = cuda.threadIdx.x
    lows[thread], highs[thread] = low, high
    cuda.syncthreads()
    half = MINMAX_BLOCK // 2
    while half > 0:
        if thread < half:
            lows[thread] = _least(lows[thread], lows[thread + half])
            highs[thread] = _greatest(highs[thread], highs[thread + half])
        cuda.syncthreads()
        half //= 2
    if thread == 0:
        parts[0, cuda.blockIdx.x], parts[1, cuda.blockIdx.x] = lows[0], highs[0]


@cuda.jit(device=True)
def _float_bin(value, edges, low, scale, close):
    """The bin by arithmetic; edges, two loads, are asked only close to one inside."""
    top = np.int32(edges.size - 2)
    real = edges.dtype.type
    half = real(0.5)
    middle = real(top + 1) * half
    one = real(1)
    at = _guess_cuda(value, low, scale)
    index = np.int32(at)
    near = abs(at - real(index) - half) > half - close
    # Images are full of their own extremes, which are on the outer edges and in no doubt.
    inside = abs(at - middle) <= middle - (one - close)
    # Unsigned, so that whatever comes, nothing is written beside the table.
    index = np.int32(min(np.uint32(index), np.uint32(top)))
    if near & inside:
        index = np.int32(_settle_cuda(value, index, edges, top))
    return index


@cuda.jit(device=True)
def _clear(table, used):
    for k in range(cuda.threadIdx.x, used, cuda.blockDim.x):
        table[k] = 0
    cuda.syncthreads()


@cuda.jit(device=True)
def _flush(table, replicas, first, bins, counts):
    """The block's counters, of bins from the first on, to the global ones."""
    cuda.syncthreads()
    for index in range(cuda.threadIdx.x, bins, cuda.blockDim.x):
        total = np.uint64(0)
        for replica in range(replicas):
            total += np.uint64(table[index * replicas + replica])
        if total > 0:
            cuda.atomic.add(counts, first + index, total)


@cuda.jit(device=True)
def _add_float(table, value, edges, low, scale, close, replicas, lane):
    index = _float_bin(edges.dtype.type(value), edges, low, scale, close)
    cuda.atomic.add(table, np.uint32(index * replicas + lane), np.uint32(1))


@cuda.jit
def count_floats_shared(values, edges, low, scale, close, replicas, counts):
    table = cuda.shared.array(SHARED, np.uint32)
    _clear(table, counts.size * replicas)
    lane = cuda.threadIdx.x & (replicas - 1)
    step = cuda.gridsize(1)
    start = cuda.grid(1)
    for i in range(start, values.size - 3 * step, 4 * step):
        a, b, c, d = _four(values, i, step)
        _add_float(table, a, edges, low, scale, close, replicas, lane)
        _add_float(table, b, edges, low, scale, close, replicas, lane)
        _add_float(table, c, edges, low, scale, close, replicas, lane)
        _add_float(table, d, edges, low, scale, close, replicas, lane)
        start = i + 4 * step
    for i in range(start, values.size, step):
        _add_float(table, values[i], edges, low, scale, close, replicas, lane)
    _flush(table, replicas, 0, counts.size, counts)


@cuda.jit
def count_floats_global(values, edges, low, scale, close, counts):
    last, run = np.int32(0), np.uint64(0)
    for i in range(cuda.grid(1), values.size, cuda.gridsize(1)):
        index = _float_bin(edges.dtype.type(values[i]), edges, low, scale, close)
        if index != last:
            cuda.atomic.add(counts, last, run)
            last, run = index, np.uint64(0)
        run += np.uint64(1)
    cuda.atomic.add(counts, last, run)


@cuda.jit(device=True)
def _add_integer(table, offset, bins, replicas, lane):
    """Another of a bin, if that is one of the table's."""
    if 0 <= offset < bins:
        cuda.atomic.add(table, np.uint32(np.int32(offset) * replicas + lane), np.uint32(1))


@cuda.jit
def count_integers_shared(values, low, parts, replicas, counts):
    """Block b counts the bins of part b % parts; those beside it read the same for the others."""
    table = cuda.shared.array(WIDE, np.uint32)
    first = cuda.blockIdx.x % parts * WIDE
    bins = np.int32(min(counts.size - first, WIDE))
    _clear(table, bins * replicas)
    lane = cuda.threadIdx.x & (replicas - 1)
    origin = low + first
    step = cuda.gridDim.x // parts * cuda.blockDim.x
    start = cuda.blockIdx.x // parts * cuda.blockDim.x + cuda.threadIdx.x
    for i in range(start, values.size - 3 * step, 4 * step):
        a, b, c, d = _four(values, i, step)
        _add_integer(table, np.int64(a) - origin, bins, replicas, lane)
        _add_integer(table, np.int64(b) - origin, bins, replicas, lane)
        _add_integer(table, np.int64(c) - origin, bins, replicas, lane)
        _add_integer(table, np.int64(d) - origin, bins, replicas, lane)
        start = i + 4 * step
    for i in range(start, values.size, step):
        _add_integer(table, np.int64(values[i]) - origin, bins, replicas, lane)
    _flush(table, replicas, first, bins, counts)


@cuda.jit(device=True)
def _add_four(table, word, shift, bins, replicas, lane):
    """The 16-bit numbers of a word, shifted so that the table's first bin is 0."""
    for k in range(4):
        value = np.int32(word >> np.uint64(16 * k) & np.uint64(0xFFFF))
        _add_integer(table, np.int32(value + shift & 0xFFFF), bins, replicas, lane)


@cuda.jit
def count_shorts(values, words, head, low, parts, replicas, counts):
    """As `count_integers_shared`, four of 16 bits at a time, and one by one at both ends."""
    table = cuda.shared.array(WIDE, np.uint32)
    first = cuda.blockIdx.x % parts * WIDE
    bins = np.int32(min(counts.size - first, WIDE))
    _clear(table, bins * replicas)
    lane = cuda.threadIdx.x & (replicas - 1)
    shift = np.int32(2 * 65536 - low - first)
    step = cuda.gridDim.x // parts * cuda.blockDim.x
    start = cuda.blockIdx.x // parts * cuda.blockDim.x + cuda.threadIdx.x
    ends = start
    for i in range(start, words.size - 3 * step, 4 * step):
        a, b, c, d = _four(words, i, step)
        _add_four(table, a, shift, bins, replicas, lane)
        _add_four(table, b, shift, bins, replicas, lane)
        _add_four(table, c, shift, bins, replicas, lane)
        _add_four(table, d, shift, bins, replicas, lane)
        start = i + 4 * step
    for i in range(start, words.size, step):
        _add_four(table, words[i], shift, bins, replicas, lane)
    tail = head + 4 * words.size
    for i in range(ends, head + values.size - tail, step):
        value = values[i if i < head else tail + i - head]
        _add_integer(table, np.int32(np.int32(value) + shift & 0xFFFF), bins, replicas, lane)
    _flush(table, replicas, first, bins, counts)


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


@cuda.jit(device=True)
def _add_eight(table, word, lane):
    """The bytes of a word, each to the lane's own table."""
    for k in range(8):
        value = np.int32(word >> np.uint64(8 * k) & np.uint64(255))
        cuda.atomic.add(table, np.uint32(value * 32 + lane), np.uint32(1))


@cuda.jit
def count_bytes(values, words, head, counts):
    """Bytes before the first and after the last whole word are counted one by one."""
    table = cuda.shared.array(SHARED, np.uint32)
    _clear(table, SHARED)
    lane = cuda.threadIdx.x & 31
    step = cuda.gridsize(1)
    start = cuda.grid(1)
    for i in range(start, words.size - 3 * step, 4 * step):
        a, b, c, d = _four(words, i, step)
        _add_eight(table, a, lane)
        _add_eight(table, b, lane)
        _add_eight(table, c, lane)
        _add_eight(table, d, lane)
        start = i + 4 * step
    for i in range(start, words.size, step):
        _add_eight(table, words[i], lane)
    tail = head + 8 * words.size
    for i in range(cuda.grid(1), head + values.size - tail, step):
        value = values[i if i < head else tail + i - head]
        cuda.atomic.add(table, np.uint32(np.int32(value) * 32 + lane), np.uint32(1))
    _flush(table, 32, 0, 256, counts)


def cuda_signatures():
    """(kernel, argument types, most registers a thread may take) of the main dtypes."""
    counts, words, i32 = types.uint64[::1], types.uint64[::1], types.int32
    table = [
        (count_bytes, (types.uint8[::1], words, i32, counts), 56),
        (count_shorts, (types.uint16[::1], words, i32, i32, i32, i32, counts), 56),
    ]
    for values, real in (
        (types.float32, types.float32),
        (types.float32, types.float64),
        (types.float64, types.float64),
        (types.int64, types.float64),
    ):
        args = (values[::1], real[::1], real, real, real)
        table.append((count_floats_shared, (*args, i32, counts), 56))
        table.append((count_floats_global, (*args, counts), 48))
    for integer in (types.int32, types.int64):
        table.append((count_integers_shared, (integer[::1], types.int64, i32, i32, counts), 48))
        table.append((count_integers_global, (integer[::1], types.int64, counts), 48))
    for kind in (types.uint16, types.int32, types.float32, types.float64):
        table.append((find_extremes, (kind[::1], kind[:, ::1]), 64))
    return table
