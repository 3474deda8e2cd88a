"""Convolution with a symmetric kernel along each axis: the Gaussian.

CPU: the last two axes are filtered together, band by band of rows in a padded buffer that stays
in the cache: along the rows of the band first, then across, in flat loops over thousands of
elements, four pairs of taps a loop. Every other axis is filtered in place, in columns of 4096
neighbouring elements with a ring of the last 2 r + 1 of them. A volume is so read twice and written
twice; beside input and result there are buffers of about a megabyte a thread.

CUDA: a pass an axis, which reads every element about once and writes it once. A block has a tile
with its halo in shared memory, a thread sums a run of results along the axis in registers. Kernels
of several hundred taps that leave no room for a tile go through a thread an element.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import cuda, types

from . import launch
from .kept import njit

MODES = ("constant", "nearest", "reflect", "mirror", "wrap")
CONSTANT, NEAREST, REFLECT, MIRROR, _WRAP = range(5)
# Elements of a flat loop, and of a thread's buffer.
CHUNK, BAND = 4096, 1 << 17


def weights(sigma: float, truncate: float) -> np.ndarray:
    """The centre and one side of a Gaussian kernel as SciPy makes it, in float64."""
    radius = int(truncate * float(sigma) + 0.5)
    if radius == 0:
        return np.ones(1)  # also for a sigma whose square is 0
    side = np.exp(-0.5 / (sigma * sigma) * np.arange(radius + 1) ** 2)
    return side / (side[0] + 2 * side[1:].sum())


def passes(shape, kernels):
    """How to filter a C-contiguous array: ``(rows, columns)``, each (outer, n, inner, kernel).

    `rows` are the last filtered axis and, where it has one, the axis before it; `columns` the
    others. Axes that are not filtered merge with their neighbours.
    """
    axes = [axis for axis, kernel in enumerate(kernels) if kernel.size > 1]
    spans = [
        (math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]), kernels[axis])
        for axis in axes
    ]
    # With a long step from element to element, a row is no row any more.
    if spans and spans[-1][2] < CHUNK:
        adjacent = len(axes) > 1 and axes[-2] == axes[-1] - 1
        count = 2 if adjacent else 1
        return spans[-count:], spans[:-count]
    return [], spans


def convolve_cpu(values, kernels, mode: str, cval, out):
    """Filter the C-contiguous `values` into `out` of their shape, in the float dtype of `out`.

    `kernels` holds for each axis the centre and one side of its kernel, or one number for none.
    """
    kernels = [np.asarray(kernel, out.dtype) for kernel in kernels]
    rows, columns = passes(values.shape, kernels)
    how = MODES.index(mode), out.dtype.type(cval)
    flat, result = values.reshape(-1), out.reshape(-1)
    if rows:
        _, length, step, along = rows[-1]
        none = np.ones(1, out.dtype)
        height, across = (rows[0][1], rows[0][3]) if len(rows) == 2 else (1, none)
        outer = values.size // (height * length * step)
        band = _band(height, length * step, (along.size - 1) * step, across.size - 1, outer)
        bands = -(-height // band)
        launch.slabs(filter_bands, outer * bands, flat, result, height, length, step, band,
                     bands, across, along, *how)  # fmt: skip
    else:
        result[:] = flat
    for outer, length, inner, kernel in columns:
        chunks = -(-inner // CHUNK)
        launch.slabs(filter_columns, outer * chunks, result, length, inner, chunks, kernel, *how)
    return out


def _band(height: int, length: int, pad: int, radius: int, outer: int) -> int:
    """Rows of a band: what the buffer holds beside the halo, and enough bands for all threads."""
    fit = max(4, 2 * radius, BAND // (length + 2 * pad) - 2 * radius)
    share = max(4, -(-height * outer // launch.thread_count())) if outer == 1 else height
    return max(1, min(height, fit, share))


def outside(i, n, mode):
    """Where beyond the border of an axis of length n the value at i is found; -1 for nowhere."""
    if 0 <= i < n:
        return i
    if mode == CONSTANT:
        return -1
    if mode == NEAREST or n == 1:
        return 0 if i < 0 else n - 1
    if mode == REFLECT:
        i = i % (2 * n)
        return i if i < n else 2 * n - 1 - i
    if mode == MIRROR:
        i = i % (2 * n - 2)
        return i if i < n else 2 * n - 2 - i
    return i % n


outside_cpu = njit(nogil=True, cache=True)(outside)


@njit(nogil=True, cache=True, fastmath={"contract"})
def _scale(out, a, w):
    for i in range(out.size):
        out[i] = w * a[i]


@njit(nogil=True, cache=True, fastmath={"contract"})
def _pair(out, a, b, w):
    for i in range(out.size):
        out[i] += w * a[i] + w * b[i]


@njit(nogil=True, cache=True, fastmath={"contract"})
def _pairs4(out, a0, b0, w0, a1, b1, w1, a2, b2, w2, a3, b3, w3):
    for i in range(out.size):
        out[i] += ((w0 * a0[i] + w0 * b0[i]) + (w1 * a1[i] + w1 * b1[i])) + (
            (w2 * a2[i] + w2 * b2[i]) + (w3 * a3[i] + w3 * b3[i])
        )


@njit(nogil=True, cache=True)
def _flat(source, at, step, kernel, out):
    """Filter ``source[at:]`` with taps `step` apart into the whole of `out`."""
    radius = kernel.size - 1
    for c in range(0, out.size, CHUNK):
        n = min(CHUNK, out.size - c)
        o, m = out[c : c + n], at + c
        _scale(o, source[m : m + n], kernel[0])
        k = 1
        while k + 3 <= radius:
            s0, s1, s2, s3 = k * step, (k + 1) * step, (k + 2) * step, (k + 3) * step
            _pairs4(
                o,
                source[m - s0 : m - s0 + n], source[m + s0 : m + s0 + n], kernel[k],
                source[m - s1 : m - s1 + n], source[m + s1 : m + s1 + n], kernel[k + 1],
                source[m - s2 : m - s2 + n], source[m + s2 : m + s2 + n], kernel[k + 2],
                source[m - s3 : m - s3 + n], source[m + s3 : m + s3 + n], kernel[k + 3],
            )  # fmt: skip
            k += 4
        while k <= radius:
            s0 = k * step
            _pair(o, source[m - s0 : m - s0 + n], source[m + s0 : m + s0 + n], kernel[k])
            k += 1


@njit(nogil=True, cache=True)
def _pad_row(row, length, step, pad, mode, cval, out):
    """A row of `length` steps with `pad` steps beyond each end."""
    out[pad * step : (pad + length) * step] = row
    for i in range(pad):
        for j in (-1 - i, length + i):
            at = outside_cpu(j, length, mode)
            to = (pad + j) * step
            for s in range(step):
                out[to + s] = cval if at < 0 else row[at * step + s]


@njit(nogil=True, cache=True)
def filter_bands(
    first, last, values, out, height, length, step, band, bands, across, along, mode, cval
):
    """Filter bands [first, last) of rows, along the rows and across them."""
    radius, pad = across.size - 1, along.size - 1
    width, margin = length * step, pad * step
    wide = width + 2 * margin
    padded = np.empty((band + 2 * radius) * wide, out.dtype)
    # The last filter reads as far beyond the band's rows as it pads them.
    half = np.zeros(band * wide + 2 * margin, out.dtype)
    done = np.empty(band * wide, out.dtype)
    for b in range(first, last):
        plane = (b // bands) * height * width
        top = (b % bands) * band
        rows = min(band, height - top)
        for y in range(rows + 2 * radius):
            at = outside_cpu(top + y - radius, height, mode)
            to = padded[y * wide : (y + 1) * wide]
            if at < 0:
                to[:] = cval
            else:
                row = values[plane + at * width : plane + (at + 1) * width]
                _pad_row(row, length, step, pad, mode, cval, to)
        _flat(padded, radius * wide, wide, across, half[margin : margin + rows * wide])
        _flat(half, margin, step, along, done[: rows * wide])
        for y in range(rows):
            to = plane + (top + y) * width
            out[to : to + width] = done[y * wide + margin : y * wide + margin + width]


@njit(nogil=True, cache=True)
def filter_columns(first, last, out, length, inner, chunks, kernel, mode, cval):
    """Filter columns [first, last) of up to CHUNK neighbours in place, across `inner`."""
    radius = kernel.size - 1
    turns = 2 * radius + 1
    ring = np.empty((turns, CHUNK), out.dtype)
    # Border elements may come from rows that are overwritten by then: both ends are kept.
    ends = np.empty((2, min(length, radius + 1), CHUNK), out.dtype)
    kept = ends.shape[1]
    for c in range(first, last):
        start = (c % chunks) * CHUNK
        n = min(CHUNK, inner - start)
        base = (c // chunks) * length * inner + start
        for i in range(kept):
            ends[0, i, :n] = out[base + i * inner : base + i * inner + n]
            at = base + (length - kept + i) * inner
            ends[1, i, :n] = out[at : at + n]
        for z in range(-radius, length + radius):
            slot = ring[(z + radius) % turns, :n]
            at = outside_cpu(z, length, mode)
            if at < 0:
                slot[:] = cval
            elif 0 <= z < length:
                slot[:] = out[base + z * inner : base + z * inner + n]
            elif at < kept:
                slot[:] = ends[0, at, :n]
            else:
                slot[:] = ends[1, at - (length - kept), :n]
            if z >= radius:
                centre = z - radius
                to = base + centre * inner
                _ring(ring, centre + radius, kernel, out[to : to + n])


@njit(nogil=True, cache=True)
def _ring(ring, at, kernel, out):
    """One output element of each column from the ring whose centre is turn `at`."""
    n, turns, radius = out.size, ring.shape[0], kernel.size - 1
    _scale(out, ring[at % turns, :n], kernel[0])
    k = 1
    while k + 3 <= radius:
        _pairs4(
            out,
            ring[(at - k) % turns, :n], ring[(at + k) % turns, :n], kernel[k],
            ring[(at - k - 1) % turns, :n], ring[(at + k + 1) % turns, :n], kernel[k + 1],
            ring[(at - k - 2) % turns, :n], ring[(at + k + 2) % turns, :n], kernel[k + 2],
            ring[(at - k - 3) % turns, :n], ring[(at + k + 3) % turns, :n], kernel[k + 3],
        )  # fmt: skip
        k += 4
    while k <= radius:
        _pair(out, ring[(at - k) % turns, :n], ring[(at + k) % turns, :n], kernel[k])
        k += 1


# --- CUDA -------------------------------------------------------------------------------------

# Elements of a block's tile and of its kernel in shared memory: 48 KB in float64.
TILE, TAPS = 5376, 768
# Results of a thread, 1 << BITS, and elements that it loads before it stores the first.
RUN, BITS, BATCH = 16, 4, 8
# Elements that RUN taps need for a run.
WINDOW = 2 * RUN - 1

outside_cuda = cuda.jit(device=True)(outside)


class Tiling(NamedTuple):
    """How blocks divide an array of (outer, n, inner) elements."""

    columns: int  # of a block, neighbours in memory
    runs: int  # of RUN results each, one after the other along the axis
    lines: int  # of a block, each as long as its runs: neighbours along the outer axis
    grid: tuple[int, int, int]  # blocks along the inner axis, the axis and the outer one
    pad: int  # elements left free after every RUN of the axis
    pitch: int  # elements from line to line of a tile


def tiling(outer: int, length: int, inner: int, radius: int) -> Tiling | None:
    """Tiles with their halo that fit into shared memory; None for kernels that are too wide."""
    threads, widest, most_lines = (16, 8, 2) if launch.simulating() else (256, 32, 64)
    wanted = -(-length // RUN)
    most = threads
    while 2 * radius < TAPS and most > 0:
        columns = _share(inner, widest)
        fit = min(most, threads // columns)
        # With a whole number of RUN of them, threads step over the same number of free elements.
        unit = RUN if fit >= RUN else 1
        runs = _share(wanted, fit // unit * unit)
        runs = runs if runs < RUN else -(-runs // RUN) * RUN
        pad = int(columns < 32 and runs % RUN == 0)
        extent = runs * RUN + 2 * radius
        # Odd, so that threads that read a line apart meet different banks.
        pitch = (extent * columns + extent // RUN * pad) | 1
        if pitch <= TILE:
            lines = min(threads // (columns * runs), TILE // pitch, most_lines, outer)
            grid = -(-inner // columns), -(-wanted // runs), -(-outer // lines)
            return Tiling(columns, runs, lines, grid, pad, pitch)
        if columns > 8:
            widest //= 2
        else:
            most = runs // 2
    return None


def _share(count: int, most: int) -> int:
    """At most so many, and all shares alike."""
    return -(-count // -(-count // most))


def convolve_cuda(values, spans, mode: str, cval, out, scratch, stream=0):
    """Filter flat `values` into `out`, a pass for each (outer, n, inner, kernel) of `spans`.

    Kernels lie on the device, in the type of `out`, which may be wider than that of `values`.
    `scratch` is as `out`; passes alternate between the two so that the last one writes `out`. With
    one pass it may be anything.
    """
    if out.size == 0:
        return
    source = values
    for i, (_, length, inner, kernel) in enumerate(spans):
        target = out if (len(spans) - i) % 2 else scratch
        _pass(source, length, inner, kernel, mode, cval, target, stream)
        source = target


def _pass(values, length, inner, kernel, mode, cval, out, stream):
    outer = out.size // (length * inner)
    how = MODES.index(mode), cval
    tiles = tiling(outer, length, inner, kernel.size - 1)
    if tiles is None:
        block = 8 if launch.simulating() else 256
        grid = launch.blocks(out.size, block, most=2 if launch.simulating() else 1 << 20)
        launch.start(convolve_axis, grid, block, stream, values, length, inner, kernel, *how, out)
        return
    across, along, outward = tiles.grid
    # Blocks that run together share their halos in the cache; a few of them side by side read
    # whole pages of the memory.
    shift = 3 if across >= 8 else 0
    groups = -(-across >> shift)
    block = tiles.columns, tiles.runs, tiles.lines
    grid = (groups * along * outward) << shift
    launch.start(
        convolve_tiles, grid, block, stream, values, outer, length, inner, np.uint32(shift),
        np.uint32(along), np.uint32(groups), np.int32(tiles.pad), np.int32(tiles.pitch), kernel,
        *how, out,
    )  # fmt: skip


@cuda.jit
def convolve_tiles(
    values, outer, length, inner, shift, along, groups, pad, pitch, kernel, mode, cval, out
):
    """One axis, a tile a block, a run of results along the axis a thread.

    The tile is put into shared memory with what lies beyond its ends. Of it a thread holds the
    elements that RUN taps need for its run, so that each is read once for all of them.
    """
    tile = cuda.shared.array(TILE, out.dtype)
    taps = cuda.shared.array(TAPS, out.dtype)
    total = cuda.local.array(RUN, out.dtype)
    window = cuda.local.array(WINDOW, out.dtype)
    batch = cuda.local.array(BATCH, out.dtype)
    columns, runs = np.int32(cuda.blockDim.x), np.int32(cuda.blockDim.y)
    column, run = np.int32(cuda.threadIdx.x), np.int32(cuda.threadIdx.y)
    line, lines = np.int32(cuda.threadIdx.z), np.int32(cuda.blockDim.z)
    radius = np.int32(kernel.size - 1)
    # Loops with `while`: for a range with a step Numba divides.
    k, threads = np.int32((line * runs + run) * columns + column), np.int32(columns * runs * lines)
    while k < 2 * radius + 1:
        taps[np.uint32(k)] = kernel[np.uint32(abs(np.int32(k - radius)))]
        k = np.int32(k + threads)

    # In 32 bits: a division in 64 takes longer than a run's sums.
    block = np.uint32(cuda.blockIdx.x)
    rest = np.uint32(block >> shift)
    rows = np.uint32(rest // along)
    planes = np.uint32(rows // groups)
    chunk = np.uint32(block - (rest << shift)) + np.uint32((rows - planes * groups) << shift)
    x = np.int64(chunk) * columns + column
    row = np.int64(planes) * lines + line
    start = np.int64(rest - rows * along) * np.int32(runs * RUN)
    exists = x < inner and row < outer
    base = row * length * inner + x
    corner = np.int32(line * pitch + column)
    first, extent = start - radius, np.int32(runs * RUN + 2 * radius)
    # Of the tile [low, high) lies in the array.
    low, high = np.int32(max(0, -first)), np.int32(min(np.int64(extent), length - first))
    if exists:
        a = np.int32(low + run)
        at, step = base + (first + a) * inner, runs * inner
        to = np.int32(corner + a * columns + (a >> BITS) * pad)
        hop = np.int32(runs * columns + (runs >> BITS) * pad)
        left = np.int32(high - a)
        # All loads of a batch before its first store: they are under way together.
        while left > (BATCH - 1) * runs:
            for j in range(BATCH):
                batch[j] = values[np.uint64(at)]
                at += step
            for j in range(BATCH):
                tile[np.uint32(to)] = batch[j]
                to = np.int32(to + hop)
            left = np.int32(left - BATCH * runs)
        while left > 0:
            # What is beyond the last element is the first of the batch once more.
            for j in range(BATCH // 2):
                batch[j] = values[np.uint64(at + j * step if j * runs < left else at)]
            for j in range(BATCH // 2):
                tile[np.uint32(to + j * hop if j * runs < left else to)] = batch[j]
            at += BATCH // 2 * step
            to = np.int32(to + BATCH // 2 * hop)
            left = np.int32(left - BATCH // 2 * runs)
        beyond, inside = run, np.int32(high - low)
        while beyond < extent - inside:
            a = beyond if beyond < low else np.int32(beyond + inside)
            i = outside_cuda(first + a, length, mode)
            value = cval if i < 0 else values[np.uint64(base + i * inner)]
            tile[np.uint32(corner + a * columns + (a >> BITS) * pad)] = value
            beyond = np.int32(beyond + runs)
    cuda.syncthreads()

    count = np.int32(min(np.int64(RUN), length - (start + run * RUN)))
    for i in range(RUN):
        total[i] = 0
    own = np.int32(corner + run * (RUN * columns + pad))
    if exists and count > 0:
        at, k = own, np.int32(0)
        for i in range(RUN - 1):
            window[i] = tile[np.uint32(at + i * columns)]
        while k + RUN <= 2 * radius + 1:
            window[RUN - 1] = tile[np.uint32(at + (RUN - 1) * columns)]
            at = np.int32(at + RUN * columns + pad)
            for i in range(RUN - 1):
                window[RUN + i] = tile[np.uint32(at + i * columns)]
            for j in range(RUN):
                weight = taps[np.uint32(k + j)]
                for i in range(RUN):
                    total[i] += weight * window[i + j]
            for i in range(RUN - 1):
                window[i] = window[RUN + i]
            k = np.int32(k + RUN)
        # The taps that are left, fewer than RUN.
        window[RUN - 1] = tile[np.uint32(at + (RUN - 1) * columns)]
        at = np.int32(at + RUN * columns + pad)
        for j in range(RUN - 1):
            if k + j <= 2 * radius:
                if j > 0:
                    window[RUN - 1 + j] = tile[np.uint32(at + (j - 1) * columns)]
                weight = taps[np.uint32(k + j)]
                for i in range(RUN):
                    total[i] += weight * window[i + j]

    if columns >= 8:
        if exists and count > 0:
            at = base + (start + run * RUN) * inner
            if count == RUN:
                for i in range(RUN):
                    out[np.uint64(at)] = total[i]
                    at += inner
                return
            for i in range(RUN):
                if i < count:
                    out[np.uint64(at)] = total[i]
                at += inner
        return
    # Neighbours in memory are results of one thread: they change hands in the tile.
    cuda.syncthreads()
    if exists and count > 0:
        for i in range(RUN):
            tile[np.uint32(own + i * columns)] = total[i]
    cuda.syncthreads()
    if exists:
        a, end = run, np.int32(min(np.int64(runs * RUN), length - start))
        at, step = base + (start + a) * inner, runs * inner
        to = np.int32(corner + a * columns + (a >> BITS) * pad)
        hop = np.int32(runs * columns + (runs >> BITS) * pad)
        while a < end:
            out[np.uint64(at)] = tile[np.uint32(to)]
            a, to = np.int32(a + runs), np.int32(to + hop)
            at += step


@cuda.jit(device=True)
def _tap(values, base, i, length, inner, mode, cval):
    at = outside_cuda(i, length, mode)
    return cval if at < 0 else values[base + at * inner]


@cuda.jit
def convolve_axis(values, length, inner, kernel, mode, cval, out):
    """One axis by a kernel too wide for tiles: element i lies `inner` from element i + 1."""
    radius = kernel.size - 1
    for element in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        at = (element // inner) % length
        base = element - at * inner
        total = kernel[0] * values[element]
        if radius <= at < length - radius:
            for k in range(1, radius + 1):
                total += kernel[k] * values[element - k * inner]
                total += kernel[k] * values[element + k * inner]
        else:
            for k in range(1, radius + 1):
                total += kernel[k] * _tap(values, base, at - k, length, inner, mode, cval)
                total += kernel[k] * _tap(values, base, at + k, length, inner, mode, cval)
        out[element] = total


def cuda_signatures():
    """(kernel, argument types, most registers a thread may take) of the main dtypes."""
    index, count, small = types.int64, types.uint32, types.int32
    single, double = types.float32, types.float64
    listed = []
    for given, real in ((single, single), (double, double), (single, double)):
        line, kernel = given[::1], real[::1]
        listed += [
            (
                convolve_tiles,
                (
                    line,
                    index,
                    index,
                    index,
                    *[count] * 3,
                    *[small] * 2,
                    kernel,
                    index,
                    real,
                    kernel,
                ),
                80 if real is single else 128,
            ),
            (convolve_axis, (line, index, index, kernel, index, real, kernel), 64),
        ]
    return listed
