"""Convolution with a symmetric kernel along each axis: the Gaussian.

CPU: the last two axes are filtered together, band by band of rows in a padded buffer that stays
in the cache: along the rows of the band first, then across, in flat loops over thousands of
elements, four pairs of taps a loop. Every other axis is filtered in place, in columns of 4096
neighbouring elements with a ring of the last 2 r + 1 of them. A volume is so read twice and written
twice; beside input and result there are buffers of about a megabyte a thread. CUDA: a pass an
axis, neighbouring threads on neighbouring elements.
"""

from __future__ import annotations

import math

import numpy as np
from numba import cuda, njit, types

from . import launch

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
    """Filter the C-contiguous `values` into `out` of the same float dtype and shape.

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
        out[i] += w * (a[i] + b[i])


@njit(nogil=True, cache=True, fastmath={"contract"})
def _pairs4(out, a0, b0, w0, a1, b1, w1, a2, b2, w2, a3, b3, w3):
    for i in range(out.size):
        out[i] += (w0 * (a0[i] + b0[i]) + w1 * (a1[i] + b1[i])) + (
            w2 * (a2[i] + b2[i]) + w3 * (a3[i] + b3[i])
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
    padded = np.empty((band + 2 * radius) * wide, values.dtype)
    # The last filter reads as far beyond the band's rows as it pads them.
    half = np.zeros(band * wide + 2 * margin, values.dtype)
    done = np.empty(band * wide, values.dtype)
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


outside_cuda = cuda.jit(device=True)(outside)


def convolve_cuda(values, spans, mode: str, cval, out, scratch, stream=0):
    """Filter flat `values` into `out`, a pass for each (outer, n, inner, kernel) of `spans`.

    Kernels lie on the device. `scratch` is as large as `out`; passes alternate between the two so
    that the last one writes `out`.
    """
    values, out, scratch = map(launch.device_array, (values, out, scratch))
    block = 8 if launch.simulating() else 256
    grid = launch.blocks(out.size, block, most=2 if launch.simulating() else 1 << 20)
    source = values
    for i, (_, length, inner, kernel) in enumerate(spans):
        target = out if (len(spans) - i) % 2 else scratch
        kernel = launch.device_array(kernel)
        how = MODES.index(mode), cval
        convolve_axis[grid, block, stream](source, length, inner, kernel, *how, target)
        source = target


@cuda.jit(device=True)
def _tap(values, base, i, length, inner, mode, cval):
    at = outside_cuda(i, length, mode)
    return cval if at < 0 else values[base + at * inner]


@cuda.jit
def convolve_axis(values, length, inner, kernel, mode, cval, out):
    """One axis: element i of it lies `inner` from element i + 1."""
    radius = kernel.size - 1
    for element in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        at = (element // inner) % length
        base = element - at * inner
        total = kernel[0] * values[element]
        if radius <= at < length - radius:
            for k in range(1, radius + 1):
                total += kernel[k] * (values[element - k * inner] + values[element + k * inner])
        else:
            for k in range(1, radius + 1):
                total += kernel[k] * (
                    _tap(values, base, at - k, length, inner, mode, cval)
                    + _tap(values, base, at + k, length, inner, mode, cval)
                )
        out[element] = total


def cuda_signatures():
    """(kernel, argument types, most registers a thread may take) of the main dtypes."""
    return [
        (
            convolve_axis,
            (real[::1], types.int64, types.int64, real[::1], types.int64, real, real[::1]),
            64,
        )
        for real in (types.float32, types.float64)
    ]
