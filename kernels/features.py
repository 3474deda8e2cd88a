"""Filters of a smoothed image, and the structure tensor: derivatives and eigenvalues, fused.

CPU: row by row, in flat loops over buffers of a row that stay in the cache. None of them lets the
compiler contract or reorder sums: a voxel gets the same bits wherever it lies in its row. CUDA: a
thread a voxel.

Derivatives are small differences of values that may be large: they are taken in float64, of a
smoothed image in float64, and rounded once, to the type of the result.

Eigenvalues are in closed form, in float64 for any dtype. Matrices come as their diagonal, then
the other elements row by row: 00, 11, 01 in 2-D and 00, 11, 22, 01, 02, 12 in 3-D.
"""

from __future__ import annotations

import math

import numpy as np
from numba import cuda, types

from . import launch
from .flood import divided
from .gaussian import MODES, outside_cpu, outside_cuda
from .kept import njit

# Matrices whose eigenvalues are computed in one loop.
BATCH = 256
# The plane that asks for the products of derivatives instead of the magnitude.
_PRODUCTS = -1
# Below this an element counts as nothing beside 1.
_TINY = 1e-300
# cos(arccos(t) / 3) for t in [0, 1] to 1e-6, from where two steps of Newton's reach float64.
_C0, _C1, _C2, _C3, _C4, _C5 = (
    0.86602596,
    0.16662294,
    -0.04755537,
    0.02198093,
    -0.00905647,
    0.00198243,
)


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


def factor(i, n, half):
    """What to multiply a difference at i by: one-sided at the border, 0 along an axis of one."""
    if n == 1:
        return half - half
    return half if 0 < i < n - 1 else half + half


# --- CPU --------------------------------------------------------------------------------------

_compiled = njit(nogil=True, cache=True, error_model="numpy")
_inlined = njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
_eigenvalues2 = _inlined(eigenvalues2)
_eigenvalues3 = _inlined(eigenvalues3)
_below, _above, _factor = _compiled(below), _compiled(above), _compiled(factor)


def derive_cpu(blurred, mode: str, places, out):
    """Fill the planes of `out` with what is derived from a smoothed image.

    `places` are the planes of the gradient's magnitude, of the Laplacian, and the first of the
    Hessian's eigenvalues; -1 for what is not wanted.
    """
    volume, ndim = _volume(blurred.shape)
    source, planes = blurred.reshape(-1), out.reshape(len(out), -1)
    rows, how = volume[0] * volume[1], MODES.index(mode)
    sobel, laplace, hessian = places
    if sobel >= 0:
        scale = 0.25 ** (ndim - 1) / math.sqrt(ndim)
        launch.slabs(gradient_rows, rows, source, volume, ndim, how, scale, sobel, planes)
    if laplace >= 0:
        centre = 2.0 * ndim
        launch.slabs(laplace_rows, rows, source, volume, ndim, how, centre, laplace, planes)
    if hessian >= 0:
        launch.slabs(hessian_rows, rows, source, volume, ndim, 0.5, hessian, planes)


def products_cpu(values, mode: str, out):
    """Fill the planes of `out` with the products of the derivatives."""
    volume, ndim = _volume(values.shape)
    launch.slabs(
        gradient_rows, volume[0] * volume[1], values.reshape(-1), volume, ndim, MODES.index(mode),
        1.0, _PRODUCTS, out.reshape(len(out), -1),
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
        out[i] = np.float64(a[i]) + 2.0 * np.float64(b[i]) + np.float64(c[i])


@_compiled
def _difference(a, b, out):
    for i in range(out.size):
        out[i] = np.float64(b[i]) - np.float64(a[i])


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
def _row(source, z, y, volume, nothing):
    """A row of the image, or nothing where an index is negative."""
    if z < 0 or y < 0:
        return nothing
    at = (z * volume[1] + y) * volume[2]
    return source[at : at + volume[2]]


@_compiled
def _pad(row, mode):
    """Give a row, with room at both ends, what lies beyond them."""
    n = row.size - 2
    for i, at in ((0, outside_cpu(-1, n, mode)), (n + 1, outside_cpu(n, n, mode))):
        row[i] = row[1 + at] if at >= 0 else 0


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
def _solve(work, count, ndim):
    """Six rows of elements in, three of eigenvalues out, all in one array: so the loops have no
    pointers that might meet, and the compiler can do several matrices at a time."""
    if ndim == 2:
        for i in range(count):
            high, low = _eigenvalues2(work[i], work[BATCH + i], work[2 * BATCH + i])
            work[6 * BATCH + i] = high
            work[7 * BATCH + i] = low
        return
    for i in range(count):
        high, middle, low = _eigenvalues3(
            work[i], work[BATCH + i], work[2 * BATCH + i], work[3 * BATCH + i],
            work[4 * BATCH + i], work[5 * BATCH + i],
        )  # fmt: skip
        work[6 * BATCH + i] = high
        work[7 * BATCH + i] = middle
        work[8 * BATCH + i] = low


@_compiled
def gradient_rows(first, last, source, volume, ndim, mode, scale, plane, out):
    """Rows [first, last) of the gradient by Sobel's kernels: its magnitude, or the products."""
    depth, height, n = volume
    nothing = np.zeros(n, source.dtype)
    # Smoothed along two axes, or smoothed along one and changing along another; and for each of
    # three rows, smoothed along z and changing along z.
    work = np.zeros((9, n + 2))
    gradient = np.zeros((3, n))
    for r in range(first, last):
        z, y = r // height, r % height
        z0, z1 = outside_cpu(z - 1, depth, mode), outside_cpu(z + 1, depth, mode)
        for k in range(3):
            at = outside_cpu(y + k - 1, height, mode)
            smooth, change = work[3 + k, 1 : n + 1], work[6 + k, 1 : n + 1]
            if ndim == 3:
                back = _row(source, z0, at, volume, nothing)
                front = _row(source, z1, at, volume, nothing)
                _sum(back, _row(source, z, at, volume, nothing), front, smooth)
                _difference(back, front, change)
            else:
                _copy(_row(source, z, at, volume, nothing), smooth)
        _sum(work[3], work[4], work[5], work[0])
        _difference(work[3], work[5], work[1])
        _sum(work[6], work[7], work[8], work[2])
        for k in range(ndim):
            _pad(work[k], mode)
        _difference(work[0, :n], work[0, 2:], gradient[0])
        for k in range(1, ndim):
            _sum(work[k, :n], work[k, 1 : n + 1], work[k, 2:], gradient[k])
        start, stop = r * n, (r + 1) * n
        if plane != _PRODUCTS:
            _magnitude(gradient, scale, out[plane, start:stop])
            continue
        at = ndim
        for a in range(ndim):
            for b in range(a, ndim):
                place = a if a == b else at
                at += a != b
                to = out[place, start:stop]
                _product(gradient[ndim - 1 - a], gradient[ndim - 1 - b], to)


@_compiled
def laplace_rows(first, last, source, volume, ndim, mode, centre, plane, out):
    depth, height, n = volume
    nothing = np.zeros(n, source.dtype)
    padded = np.empty(n + 2, source.dtype)
    for r in range(first, last):
        z, y = r // height, r % height
        _copy(source[r * n : (r + 1) * n], padded[1 : n + 1])
        _pad(padded, mode)
        back = front = nothing
        if ndim == 3:
            back = _row(source, outside_cpu(z - 1, depth, mode), y, volume, nothing)
            front = _row(source, outside_cpu(z + 1, depth, mode), y, volume, nothing)
        up = _row(source, z, outside_cpu(y - 1, height, mode), volume, nothing)
        down = _row(source, z, outside_cpu(y + 1, height, mode), volume, nothing)
        _peak(padded, up, down, back, front, centre, out[plane, r * n : (r + 1) * n])


@_compiled
def hessian_rows(first, last, source, volume, ndim, half, plane, out):
    """Rows [first, last) of the eigenvalues of second derivatives."""
    depth, height, n = volume
    nothing = np.zeros(n, source.dtype)
    slope = np.empty(n, source.dtype)
    second = np.empty((6, n), source.dtype)
    work = np.empty(9 * BATCH, np.float64)
    yy, xx, yx = (0, 1, 2) if ndim == 2 else (1, 2, 5)
    for r in range(first, last):
        z, y = r // height, r % height
        _along(_row(source, z, y, volume, nothing), half, slope)
        _along(slope, half, second[xx])
        y0, y1 = _below(y, height), _above(y, height)
        fy = _factor(y, height, half)
        back, front = _row(source, z, y0, volume, nothing), _row(source, z, y1, volume, nothing)
        _slope(back, front, fy, slope)
        _along(slope, half, second[yx])
        _curve(
            _row(source, z, _below(y0, height), volume, nothing),
            _row(source, z, _above(y0, height), volume, nothing), _factor(y0, height, half),
            _row(source, z, _below(y1, height), volume, nothing),
            _row(source, z, _above(y1, height), volume, nothing), _factor(y1, height, half), fy,
            second[yy],
        )  # fmt: skip
        if ndim == 3:
            z0, z1 = _below(z, depth), _above(z, depth)
            fz = _factor(z, depth, half)
            back, front = _row(source, z0, y, volume, nothing), _row(source, z1, y, volume, nothing)
            _slope(back, front, fz, slope)
            _along(slope, half, second[4])
            _curve(
                _row(source, z0, y0, volume, nothing), _row(source, z1, y0, volume, nothing), fz,
                _row(source, z0, y1, volume, nothing), _row(source, z1, y1, volume, nothing), fz,
                fy, second[3],
            )  # fmt: skip
            _curve(
                _row(source, _below(z0, depth), y, volume, nothing),
                _row(source, _above(z0, depth), y, volume, nothing), _factor(z0, depth, half),
                _row(source, _below(z1, depth), y, volume, nothing),
                _row(source, _above(z1, depth), y, volume, nothing), _factor(z1, depth, half), fz,
                second[0],
            )  # fmt: skip
        for i in range(0, n, BATCH):
            m = min(BATCH, n - i)
            for k in range(ndim * (ndim + 1) // 2):
                _copy(second[k, i : i + m], work[k * BATCH : k * BATCH + m])
            _solve(work, m, ndim)
            for k in range(ndim):
                found = work[(6 + k) * BATCH : (6 + k) * BATCH + m]
                _copy(found, out[plane + k, r * n + i : r * n + i + m])


@_compiled
def eigenvalue_batches(first, last, diagonal, others):
    """Batches [first, last) of matrices, in place."""
    ndim, count = diagonal.shape
    work = np.empty(9 * BATCH, np.float64)
    for batch in range(first, last):
        start, stop = batch * BATCH, min((batch + 1) * BATCH, count)
        m = stop - start
        for k in range(ndim):
            _copy(diagonal[k, start:stop], work[k * BATCH : k * BATCH + m])
        for k in range(len(others)):
            _copy(others[k, start:stop], work[(ndim + k) * BATCH : (ndim + k) * BATCH + m])
        _solve(work, m, ndim)
        for k in range(ndim):
            _copy(work[(6 + k) * BATCH : (6 + k) * BATCH + m], diagonal[k, start:stop])


# --- CUDA -------------------------------------------------------------------------------------

_below_cuda, _above_cuda, _factor_cuda, _eigenvalues2_cuda, _eigenvalues3_cuda = (
    cuda.jit(device=True)(function)
    for function in (below, above, factor, eigenvalues2, eigenvalues3)
)


def _launched(count: int) -> tuple[int, int]:
    """Grid and block."""
    block = 8 if launch.simulating() else 256
    return launch.blocks(count, block, most=2 if launch.simulating() else 1 << 20), block


def derive_cuda(blurred, shape, mode: str, places, out, stream=0):
    """As `derive_cpu`, of flat arrays."""
    volume, ndim = _volume(shape)
    config = (*_launched(blurred.size), stream)
    how = MODES.index(mode)
    sobel, laplace, hessian = places
    if sobel >= 0:
        scale = 0.25 ** (ndim - 1) / math.sqrt(ndim)
        launch.start(sobel_voxels, *config, blurred, volume, ndim, how, scale, sobel, out)
    if laplace >= 0:
        launch.start(laplace_voxels, *config, blurred, volume, ndim, how, 2.0 * ndim, laplace, out)
    if hessian >= 0:
        launch.start(hessian_voxels, *config, blurred, volume, ndim, 0.5, hessian, out)


def products_cuda(values, shape, mode: str, out, stream=0):
    """As `products_cpu`, of flat arrays."""
    volume, ndim = _volume(shape)
    config = (*_launched(values.size), stream)
    launch.start(product_voxels, *config, values, volume, ndim, MODES.index(mode), out)


def eigenvalues_cuda(diagonal, others, stream=0):
    """As `eigenvalues_cpu`, of flat planes."""
    config = (*_launched(diagonal.shape[1]), stream)
    launch.start(eigenvalue_voxels, *config, diagonal, others)


@cuda.jit(device=True)
def _around(i, n, mode):
    """Where along an axis the three values about i are found; -1 for nowhere."""
    return outside_cuda(i - 1, n, mode), i, outside_cuda(i + 1, n, mode)


@cuda.jit(device=True)
def _at(source, z, y, x, volume):
    """The value at a place, zero for nowhere."""
    if z < 0 or y < 0 or x < 0:
        return 0.0
    return np.float64(source[np.uint64((z * volume[1] + y) * volume[2] + x)])


@cuda.jit(device=True)
def _line(source, zs, y, x, volume, ndim):
    """A line of three across y: smoothed along z, and its change along z."""
    centre = _at(source, zs[1], y, x, volume)
    if ndim == 2:
        return centre, centre - centre
    back, front = _at(source, zs[0], y, x, volume), _at(source, zs[2], y, x, volume)
    return back + (centre + centre) + front, front - back


@cuda.jit(device=True)
def _square(source, zs, ys, x, volume, ndim):
    """A square across x: smoothed, and its changes along y and z."""
    s0, c0 = _line(source, zs, ys[0], x, volume, ndim)
    s1, c1 = _line(source, zs, ys[1], x, volume, ndim)
    s2, c2 = _line(source, zs, ys[2], x, volume, ndim)
    return s0 + (s1 + s1) + s2, s2 - s0, c0 + (c1 + c1) + c2


@cuda.jit(device=True)
def _gradient_at(source, voxel, volume, ndim, mode):
    """Sobel's derivatives along x, y, z, not divided."""
    z, y, x = _place(voxel, volume)
    # Once for each axis: borders cost more than the sums.
    zs, ys = _around(z, volume[0], mode), _around(y, volume[1], mode)
    left, x, right = _around(x, volume[2], mode)
    s0, y0, z0 = _square(source, zs, ys, left, volume, ndim)
    _, y1, z1 = _square(source, zs, ys, x, volume, ndim)
    s2, y2, z2 = _square(source, zs, ys, right, volume, ndim)
    return s2 - s0, y0 + (y1 + y1) + y2, z0 + (z1 + z1) + z2


@cuda.jit(device=True)
def _place(voxel, volume):
    row, x = divided(voxel, volume[2])
    z, y = divided(row, volume[1])
    return z, y, x


@cuda.jit
def sobel_voxels(source, volume, ndim, mode, scale, plane, out):
    for voxel in range(cuda.grid(1), source.size, cuda.gridsize(1)):
        gx, gy, gz = _gradient_at(source, voxel, volume, ndim, mode)
        out[plane, voxel] = math.sqrt(gx * gx + gy * gy + gz * gz) * scale


@cuda.jit
def product_voxels(source, volume, ndim, mode, out):
    for voxel in range(cuda.grid(1), source.size, cuda.gridsize(1)):
        gx, gy, gz = _gradient_at(source, voxel, volume, ndim, mode)
        if ndim == 2:
            out[0, voxel], out[1, voxel], out[2, voxel] = gy * gy, gx * gx, gy * gx
        else:
            out[0, voxel], out[1, voxel], out[2, voxel] = gz * gz, gy * gy, gx * gx
            out[3, voxel], out[4, voxel], out[5, voxel] = gz * gy, gz * gx, gy * gx


@cuda.jit
def laplace_voxels(source, volume, ndim, mode, centre, plane, out):
    for voxel in range(cuda.grid(1), source.size, cuda.gridsize(1)):
        z, y, x = _place(voxel, volume)
        up, _, down = _around(y, volume[1], mode)
        left, _, right = _around(x, volume[2], mode)
        beside = _at(source, z, y, left, volume) + _at(source, z, y, right, volume)
        across = _at(source, z, up, x, volume) + _at(source, z, down, x, volume)
        value = source[voxel] * centre - beside - across
        if ndim == 3:
            back, _, front = _around(z, volume[0], mode)
            value -= _at(source, back, y, x, volume) + _at(source, front, y, x, volume)
        out[plane, voxel] = value


@cuda.jit(device=True)
def _slope_at(source, at, i, n, step, half):
    """The derivative at element i of an axis."""
    change = (
        source[at + (_above_cuda(i, n) - i) * step] - source[at + (_below_cuda(i, n) - i) * step]
    )
    return change * _factor_cuda(i, n, half)


@cuda.jit(device=True)
def _curve_at(source, at, i, n, step, half):
    """The second derivative along an axis."""
    low, high = _below_cuda(i, n), _above_cuda(i, n)
    right = _slope_at(source, at + (high - i) * step, high, n, step, half)
    left = _slope_at(source, at + (low - i) * step, low, n, step, half)
    return (right - left) * _factor_cuda(i, n, half)


@cuda.jit(device=True)
def _twist_at(source, at, first, second, half):
    """The derivative along one axis, then along another; each as (i, n, step)."""
    i, n, step = first
    j, m, jump = second
    right = _slope_at(source, at + (_above_cuda(j, m) - j) * jump, i, n, step, half)
    left = _slope_at(source, at + (_below_cuda(j, m) - j) * jump, i, n, step, half)
    return (right - left) * _factor_cuda(j, m, half)


@cuda.jit
def hessian_voxels(source, volume, ndim, half, plane, out):
    for voxel in range(cuda.grid(1), source.size, cuda.gridsize(1)):
        depth, height, width = volume
        z, y, x = _place(voxel, volume)
        on_z, on_y, on_x = (z, depth, height * width), (y, height, width), (x, width, 1)
        yy = np.float64(_curve_at(source, voxel, y, height, width, half))
        xx = np.float64(_curve_at(source, voxel, x, width, 1, half))
        yx = np.float64(_twist_at(source, voxel, on_y, on_x, half))
        if ndim == 2:
            out[plane, voxel], out[plane + 1, voxel] = _eigenvalues2_cuda(yy, xx, yx)
        else:
            zz = np.float64(_curve_at(source, voxel, z, depth, height * width, half))
            zy = np.float64(_twist_at(source, voxel, on_z, on_y, half))
            zx = np.float64(_twist_at(source, voxel, on_z, on_x, half))
            out[plane, voxel], out[plane + 1, voxel], out[plane + 2, voxel] = _eigenvalues3_cuda(
                zz, yy, xx, zy, zx, yx
            )


@cuda.jit
def eigenvalue_voxels(diagonal, others):
    for voxel in range(cuda.grid(1), diagonal.shape[1], cuda.gridsize(1)):
        a, b = np.float64(diagonal[0, voxel]), np.float64(diagonal[1, voxel])
        d = np.float64(others[0, voxel])
        if diagonal.shape[0] == 2:
            diagonal[0, voxel], diagonal[1, voxel] = _eigenvalues2_cuda(a, b, d)
        else:
            c, e = np.float64(diagonal[2, voxel]), np.float64(others[1, voxel])
            f = np.float64(others[2, voxel])
            diagonal[0, voxel], diagonal[1, voxel], diagonal[2, voxel] = _eigenvalues3_cuda(
                a, b, c, d, e, f
            )


def cuda_signatures():
    """(kernel, argument types, most registers a thread may take) of the main dtypes."""
    volume, count, double = types.UniTuple(types.int64, 3), types.int64, types.float64
    blurred, listed = double[::1], []
    for real in (types.float32, double):
        line, planes = real[::1], real[:, ::1]
        listed += [
            (sobel_voxels, (blurred, volume, count, count, double, count, planes), 128),
            (product_voxels, (line, volume, count, count, planes), 128),
            (laplace_voxels, (blurred, volume, count, count, double, count, planes), 128),
            (hessian_voxels, (blurred, volume, count, double, count, planes), 128),
            (eigenvalue_voxels, (planes, planes), 128),
        ]
    return listed
