"""Filters of a smoothed image, and the structure tensor: derivatives and eigenvalues, fused.

CPU: row by row, in flat loops over buffers of a row that stay in the cache, so that a smoothed
image is read once for its edges, its Laplacian and its Hessian. None of the loops lets the compiler
contract or reorder sums: a voxel gets the same bits wherever it lies in its row. CUDA: a thread a
voxel.

Eigenvalues are in closed form, in float64 for any dtype. Matrices come as their diagonal, then
the other elements row by row: 00, 11, 01 in 2-D and 00, 11, 22, 01, 02, 12 in 3-D.
"""

from __future__ import annotations

import math

import numpy as np
from numba import cuda, njit, types

from . import launch
from .gaussian import MODES, outside_cpu, outside_cuda

# Matrices whose eigenvalues are computed in one loop.
BATCH = 256
# Below this an element counts as nothing beside 1.
_TINY = 1e-290
# cos(arccos(t) / 3) for t in [0, 1] to 1e-6, from where two steps of Newton's reach float64.
_C0, _C1, _C2, _C3, _C4, _C5 = 0.86602596, 0.16662294, -0.04755537, 0.02198093, -0.00905647, 0.00198243


def eigenvalues2(a, b, d):
    """Of [[a, d], [d, b]], the largest first."""
    mean, half = 0.5 * a + 0.5 * b, 0.5 * a - 0.5 * b
    u, v = abs(half), abs(d)
    scale = u if u > v else v
    scale = scale if scale > _TINY else _TINY
    u, v = u / scale, v / scale
    root = scale * math.sqrt(u * u + v * v)
    return mean + root, mean - root


def eigenvalues3(a, b, c, d, e, f):
    """Of [[a, d, e], [d, b, f], [e, f, c]], the largest first (Smith, 1961).

    The eigenvalues are q + 2 p cos(angle), with the angles a third of a turn apart. Of their
    cosines the one that is farthest from the others is found by Newton's method, whose equation is
    well conditioned there, and the other two from it.
    """
    scale = _TINY
    for x in (a, b, c, d, e, f):
        scale = abs(x) if abs(x) > scale else scale
    unit = 1.0 / scale
    a, b, c, d, e, f = a * unit, b * unit, c * unit, d * unit, e * unit, f * unit
    q = (a + b + c) * (1.0 / 3.0)
    a, b, c = a - q, b - q, c - q
    p2 = (a * a + b * b + c * c + 2.0 * (d * d + e * e + f * f)) * (1.0 / 6.0)
    p = math.sqrt(p2)
    # Where p is beyond float64's precision of q, the angle does not count.
    volume = p2 * p if p2 > 1e-60 else 1.0
    r = 0.5 * (a * (b * c - f * f) - d * (d * c - f * e) + e * (d * f - b * e)) / volume
    t = abs(r)
    t = t if t < 1.0 else 1.0
    x = _C0 + t * (_C1 + t * (_C2 + t * (_C3 + t * (_C4 + t * _C5))))
    x -= (x * (4.0 * x * x - 3.0) - t) / (12.0 * x * x - 3.0)
    x -= (x * (4.0 * x * x - 3.0) - t) / (12.0 * x * x - 3.0)
    x = x if x < 1.0 else 1.0
    apart = math.sqrt(3.0 * (1.0 - x) * (1.0 + x))
    high, low = -x + apart, -x - apart
    first = 2.0 * x if r >= 0.0 else -low
    second = high if r >= 0.0 else -high
    third = low if r >= 0.0 else -2.0 * x
    return scale * (q + p * first), scale * (q + p * second), scale * (q + p * third)


def below(i, n):
    """The neighbour that a difference along an axis starts from: itself at the border."""
    return i - 1 if i > 0 else 0


def above(i, n):
    return i + 1 if i < n - 1 else n - 1


# --- CPU --------------------------------------------------------------------------------------

_compiled = njit(nogil=True, cache=True, error_model="numpy")
_inlined = njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
_eigenvalues2 = _inlined(eigenvalues2)
_eigenvalues3 = _inlined(eigenvalues3)
_below, _above = _compiled(below), _compiled(above)


def derive_cpu(blurred, before, mode: str, places, out):
    """Fill the planes of `out` with what is derived from a smoothed image.

    `places` are the planes of the difference to `before`, of the gradient's magnitude, of the
    Laplacian, and the first of the Hessian's eigenvalues; -1 for what is not wanted.
    """
    volume, ndim = _volume(blurred.shape)
    kind = out.dtype.type
    factors = kind(0.5), kind(0.25 ** (ndim - 1) / math.sqrt(ndim)), kind(2 * ndim)
    launch.slabs(
        derive_rows, volume[0] * volume[1], blurred.reshape(-1), before.reshape(-1), volume, ndim,
        MODES.index(mode), factors, places, out.reshape(len(out), -1),
    )  # fmt: skip


def products_cpu(values, mode: str, out):
    """Fill the planes of `out` with the products of the derivatives."""
    volume, ndim = _volume(values.shape)
    launch.slabs(
        product_rows, volume[0] * volume[1], values.reshape(-1), volume, ndim, MODES.index(mode),
        out.reshape(len(out), -1),
    )  # fmt: skip


def eigenvalues_cpu(diagonal, others):
    """Replace the planes of the matrices' diagonal by their eigenvalues."""
    diagonal, others = (x.reshape(len(x), -1) for x in (diagonal, others))
    launch.slabs(eigenvalue_batches, -(-diagonal.shape[1] // BATCH), diagonal, others)


def _volume(shape) -> tuple[tuple[int, int, int], int]:
    return (1,) * (3 - len(shape)) + tuple(shape), len(shape)


@_compiled
def _copy(a, out):
    for i in range(out.size):
        out[i] = a[i]


@_compiled
def _sum(a, b, c, out):
    for i in range(out.size):
        out[i] = a[i] + (b[i] + b[i]) + c[i]


@_compiled
def _difference(a, b, out):
    for i in range(out.size):
        out[i] = b[i] - a[i]


@_compiled
def _slope(a, b, factor, out):
    for i in range(out.size):
        out[i] = (b[i] - a[i]) * factor


@_compiled
def _curve(a, b, left, c, d, right, factor, out):
    for i in range(out.size):
        out[i] = ((d[i] - c[i]) * right - (b[i] - a[i]) * left) * factor


@_compiled
def _product(a, b, out):
    for i in range(out.size):
        out[i] = a[i] * b[i]


@_compiled
def _magnitude(gradient, factor, out):
    x, y, z = gradient[0], gradient[1], gradient[2]
    for i in range(out.size):
        out[i] = math.sqrt(x[i] * x[i] + y[i] * y[i] + z[i] * z[i]) * factor


@_compiled
def _peak(row, up, down, front, back, centre, out):
    """Laplacian of a padded row among its four neighbours."""
    for i in range(out.size):
        out[i] = (
            row[i + 1] * centre - (row[i] + row[i + 2]) - (up[i] + down[i]) - (front[i] + back[i])
        )


@_compiled
def _row(source, z, y, volume, mode, nothing):
    """A row of the image, or beyond its border."""
    depth, height, width = volume
    z, y = outside_cpu(z, depth, mode), outside_cpu(y, height, mode)
    if z < 0 or y < 0:
        return nothing
    at = (z * height + y) * width
    return source[at : at + width]


@_compiled
def _pad(row, mode):
    """Give a row, with room at both ends, what lies beyond them."""
    n = row.size - 2
    for i, at in ((0, outside_cpu(-1, n, mode)), (n + 1, outside_cpu(n, n, mode))):
        row[i] = row[1 + at] if at >= 0 else 0


@_compiled
def _gradient(source, z, y, volume, ndim, mode, nothing, work, out):
    """Sobel's derivatives of a row along x, y, z into the rows of `out`, not divided.

    `work` has nine rows, each an element longer at both ends.
    """
    n = volume[2]
    for k in range(3):
        smooth, change = work[3 + k, 1 : n + 1], work[6 + k, 1 : n + 1]
        if ndim == 3:
            back = _row(source, z - 1, y + k - 1, volume, mode, nothing)
            front = _row(source, z + 1, y + k - 1, volume, mode, nothing)
            _sum(back, _row(source, z, y + k - 1, volume, mode, nothing), front, smooth)
            _difference(back, front, change)
        else:
            _copy(_row(source, z, y + k - 1, volume, mode, nothing), smooth)
    _sum(work[3], work[4], work[5], work[0])
    _difference(work[3], work[5], work[1])
    _pad(work[0], mode)
    _pad(work[1], mode)
    _difference(work[0, :n], work[0, 2:], out[0])
    _sum(work[1, :n], work[1, 1 : n + 1], work[1, 2:], out[1])
    if ndim == 3:
        _sum(work[6], work[7], work[8], work[2])
        _pad(work[2], mode)
        _sum(work[2, :n], work[2, 1 : n + 1], work[2, 2:], out[2])


@_compiled
def _factor(i, n, half):
    """What to multiply a difference at i by: nothing along an axis of one."""
    distance = _above(i, n) - _below(i, n)
    return half * (2 // distance) if distance > 0 else half * 0


@_compiled
def _along(row, half, out):
    """The derivative along a row."""
    n = out.size
    if n == 1:
        out[0] = 0
        return
    out[0] = row[1] - row[0]
    out[n - 1] = row[n - 1] - row[n - 2]
    _slope(row[: n - 2], row[2:], half, out[1 : n - 1])


@_compiled
def _hessian(source, z, y, volume, ndim, half, work, out):
    """Second derivatives of a row, without z in 2-D, into the rows of `out`."""
    depth, height, _ = volume
    line = _row(source, z, y, volume, 1, work[0])
    y0, y1 = _below(y, height), _above(y, height)
    fy = work.dtype.type(_factor(y, height, half))
    _slope(
        _row(source, z, y0, volume, 1, work[0]), _row(source, z, y1, volume, 1, work[0]), fy,
        work[1],
    )  # fmt: skip
    _along(line, half, work[0])
    yy, xx, yx = (0, 1, 2) if ndim == 2 else (1, 2, 5)
    _along(work[0], half, out[xx])
    _along(work[1], half, out[yx])
    _curve(
        _row(source, z, _below(y0, height), volume, 1, work[0]),
        _row(source, z, _above(y0, height), volume, 1, work[0]),
        work.dtype.type(_factor(y0, height, half)),
        _row(source, z, _below(y1, height), volume, 1, work[0]),
        _row(source, z, _above(y1, height), volume, 1, work[0]),
        work.dtype.type(_factor(y1, height, half)), fy, out[yy],
    )  # fmt: skip
    if ndim == 2:
        return
    z0, z1 = _below(z, depth), _above(z, depth)
    fz = work.dtype.type(_factor(z, depth, half))
    _slope(
        _row(source, z0, y, volume, 1, work[0]), _row(source, z1, y, volume, 1, work[0]), fz,
        work[2],
    )  # fmt: skip
    _along(work[2], half, out[4])
    _curve(
        _row(source, z0, y0, volume, 1, work[0]), _row(source, z1, y0, volume, 1, work[0]), fz,
        _row(source, z0, y1, volume, 1, work[0]), _row(source, z1, y1, volume, 1, work[0]), fz,
        fy, out[3],
    )  # fmt: skip
    _curve(
        _row(source, _below(z0, depth), y, volume, 1, work[0]),
        _row(source, _above(z0, depth), y, volume, 1, work[0]),
        work.dtype.type(_factor(z0, depth, half)),
        _row(source, _below(z1, depth), y, volume, 1, work[0]),
        _row(source, _above(z1, depth), y, volume, 1, work[0]),
        work.dtype.type(_factor(z1, depth, half)), fz, out[0],
    )  # fmt: skip


@_compiled
def _batch2(a, b, d, first, second):
    for i in range(first.size):
        high, low = _eigenvalues2(np.float64(a[i]), np.float64(b[i]), np.float64(d[i]))
        first[i] = high
        second[i] = low


@_compiled
def _batch3(work, n):
    """Six elements in, three eigenvalues out, all in one array: so the loop has no pointers that
    might meet, and the compiler can do several matrices at a time."""
    for i in range(n):
        high, middle, low = _eigenvalues3(
            work[i], work[BATCH + i], work[2 * BATCH + i], work[3 * BATCH + i],
            work[4 * BATCH + i], work[5 * BATCH + i],
        )  # fmt: skip
        work[6 * BATCH + i] = high
        work[7 * BATCH + i] = middle
        work[8 * BATCH + i] = low


@_compiled
def _matrices(diagonal, others, start, stop, work, out):
    """The eigenvalues of matrices [start, stop) into `out`, from its first element on."""
    ndim = len(diagonal)
    if ndim == 2:
        n = stop - start
        _batch2(diagonal[0, start:stop], diagonal[1, start:stop], others[0, start:stop],
                out[0, :n], out[1, :n])  # fmt: skip
        return
    for first in range(start, stop, BATCH):
        n = min(BATCH, stop - first)
        for k in range(3):
            to, off = work[k * BATCH : k * BATCH + n], work[(3 + k) * BATCH : (3 + k) * BATCH + n]
            _copy(diagonal[k, first : first + n], to)
            _copy(others[k, first : first + n], off)
        _batch3(work, n)
        at = first - start
        for k in range(3):
            _copy(work[(6 + k) * BATCH : (6 + k) * BATCH + n], out[k, at : at + n])


@_compiled
def derive_rows(first, last, blurred, before, volume, ndim, mode, factors, places, out):
    """Rows [first, last) of all that is derived from a smoothed image."""
    height, n = volume[1], volume[2]
    dog, sobel, laplace, hessian = places
    half, scale, centre = factors
    nothing = np.zeros(n, out.dtype)
    padded = np.empty(n + 2, out.dtype)
    wide = np.zeros((9, n + 2), out.dtype)
    gradient = np.zeros((3, n), out.dtype)
    slopes = np.empty((3, n), out.dtype)
    second = np.empty((6, n), out.dtype)
    work = np.empty(9 * BATCH, np.float64)
    for r in range(first, last):
        z, y = r // height, r % height
        start, stop = r * n, (r + 1) * n
        line = blurred[start:stop]
        if dog >= 0:
            _difference(before[start:stop], line, out[dog, start:stop])
        if sobel >= 0:
            _gradient(blurred, z, y, volume, ndim, mode, nothing, wide, gradient)
            _magnitude(gradient, scale, out[sobel, start:stop])
        if laplace >= 0:
            _copy(line, padded[1 : n + 1])
            _pad(padded, mode)
            back = front = nothing
            if ndim == 3:
                back = _row(blurred, z - 1, y, volume, mode, nothing)
                front = _row(blurred, z + 1, y, volume, mode, nothing)
            up = _row(blurred, z, y - 1, volume, mode, nothing)
            down = _row(blurred, z, y + 1, volume, mode, nothing)
            _peak(padded, up, down, back, front, centre, out[laplace, start:stop])
        if hessian >= 0:
            _hessian(blurred, z, y, volume, ndim, half, slopes, second)
            target = out[hessian : hessian + ndim, start:stop]
            _matrices(second[:ndim], second[ndim:], 0, n, work, target)


@_compiled
def product_rows(first, last, values, volume, ndim, mode, out):
    """Rows [first, last) of the products of derivatives, the last axis being the last of them."""
    height, n = volume[1], volume[2]
    nothing = np.zeros(n, out.dtype)
    wide = np.zeros((9, n + 2), out.dtype)
    gradient = np.zeros((3, n), out.dtype)
    for r in range(first, last):
        start, stop = r * n, (r + 1) * n
        _gradient(values, r // height, r % height, volume, ndim, mode, nothing, wide, gradient)
        at = ndim
        for a in range(ndim):
            along = gradient[ndim - 1 - a]
            _product(along, along, out[a, start:stop])
            for b in range(a + 1, ndim):
                _product(along, gradient[ndim - 1 - b], out[at, start:stop])
                at += 1


@_compiled
def eigenvalue_batches(first, last, diagonal, others):
    """Batches [first, last) of matrices, in place."""
    ndim, count = diagonal.shape
    work = np.empty(9 * BATCH, np.float64)
    for batch in range(first, last):
        start, stop = batch * BATCH, min((batch + 1) * BATCH, count)
        _matrices(diagonal, others, start, stop, work, diagonal[:, start:stop])
