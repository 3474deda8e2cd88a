"""Mean and spread of the values in a box around each element, axis by axis.

No sum is ever made smaller again, as integral images and running sums are: so a value that is no
number spoils nothing but its own windows, and squares are of differences to a mean, so that a
small spread of large values is not lost.

CPU: a window is the end of one block of its length and the beginning of the next (van Herk, 1992).
So an element is added twice, whatever the length, in columns whose loops are flat. CUDA: a thread
an element, which looks at its window along the axis twice.

Each axis gives means, and that of equal values is the value itself. Where means of integers alone
are asked for, it gives sums, which are exact, and only the last one divides.
"""

from __future__ import annotations

import math

import numpy as np
from numba import cuda, types

from . import launch
from .gaussian import MODES, outside_cpu, outside_cuda
from .kept import njit

# Elements of one of a thread's buffers; columns side by side, neighbours in memory or rows.
_ROOM, _WIDEST, _ROWS, _FEWEST = 1 << 14, 512, 128, 16
# Elements of a row that are read and written at a time.
_TURN = 8
# Fewer elements are worth no second thread.
_ALONE = 1 << 15
# Elements of a batch, between whose axes means wait.
_BATCH = 1 << 21


def local_cpu(values, windows, mode: str, cval: float, formula, out, *, scale: float = 1.0):
    """Fill `out` with ``m * (a + b * s) + c * s`` of the mean m and the standard deviation s.

    `values` and `out` are C-contiguous, of one shape; `windows` holds an odd length for each axis
    and `formula` is (a, b, c): where b = c = 0, no deviation is made. What is not finite makes all
    its windows NaN. Values are multiplied by `scale`, a power of two, before they are squared.
    """
    _local(_pass_cpu, np, values, windows, mode, cval, formula, out, scale)


def local_cuda(xp, values, windows, mode: str, cval: float, formula, out, *, scale=1.0, stream=0):
    """As `local_cpu`, of arrays of the namespace `xp`."""

    def one_pass(*args):
        _pass_cuda(stream, *args)

    _local(one_pass, xp, values, windows, mode, cval, formula, out, scale)


def _local(one_pass, xp, values, windows, mode, cval, formula, out, scale):
    """From values to means and variances along the first axis, and to the result at the last."""
    spread = any(formula[1:])
    exact = values.dtype.kind in "bui" and not spread
    axes = [axis for axis, window in enumerate(windows) if window > 1] or [values.ndim - 1]
    shape, small = values.shape, values.dtype.itemsize <= (4 if values.dtype.kind == "f" else 2)
    # float32 holds the small integers as they are. Only for these types are there kernels.
    values = values.astype(xp.float32 if small and len(axes) > 1 else xp.float64, copy=False)
    nothing = xp.empty(0, xp.float64)
    count, beyond = 1.0, float(cval) * scale

    def along(i, source, before, shape, mean, variance, target):
        """One axis; where there is a target, the last."""
        axis = axes[i]
        window = windows[axis]
        # How many values an element is the sum of, and what the last sums are divided by.
        number = count if exact else 1.0
        divisor = number * window if exact and target.size else 1.0
        numbers = (scale if i == 0 else 1.0, divisor, 1.0 / scale, *formula)
        span = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]), window
        one_pass(source, before, span, MODES.index(mode), beyond * number, numbers, exact, spread,
                 mean, variance, target)  # fmt: skip

    if len(axes) == 1:
        along(0, values.reshape(-1), nothing, shape, nothing, nothing, out.reshape(-1))
        return
    size = values.size
    mean, variance = xp.empty(size, xp.float64), xp.empty(size if spread else 0, xp.float64)
    along(0, values.reshape(-1), nothing, shape, mean, variance, nothing)
    plane = size // shape[0]
    rows = shape[0] if len(axes) == 2 else max(1, min(shape[0], _BATCH // plane))
    rooms = [
        (xp.empty(rows * plane, xp.float64), xp.empty(rows * plane * spread, xp.float64))
        for _ in range(min(2, len(axes) - 2))
    ]
    flat = out.reshape(-1)
    after_first = float(windows[axes[0]])
    for start in range(0, shape[0], rows):
        here = slice(start * plane, min(start + rows, shape[0]) * plane)
        part = (here.stop - here.start) // plane, *shape[1:]
        source, before, count = mean[here], variance[here] if spread else nothing, after_first
        for i in range(1, len(axes)):
            if i == len(axes) - 1:
                along(i, source, before, part, nothing, nothing, flat[here])
                continue
            n = here.stop - here.start
            to, apart = rooms[(i - 1) % len(rooms)]
            to, apart = to[:n], apart[: n if spread else 0]
            along(i, source, before, part, to, apart, nothing)
            source, before, count = to, apart, count * windows[axes[i]]


# --- CPU --------------------------------------------------------------------------------------

_compiled = njit(nogil=True, cache=True, error_model="numpy")


def _pass_cpu(source, before, span, mode, beyond, numbers, exact, spread, mean, variance, target):
    outer, length, inner, window = span
    if inner == 1:  # rows, side by side
        groups, columns, step, apart, widest = 1, outer, 1, length, _ROWS
    else:
        groups, columns, step, apart, widest = outer, inner, inner, 1, _WIDEST
    # Enough chunks for all threads, and not so wide that the buffers leave the cache.
    pieces = 1 if source.size < _ALONE else launch.thread_count()
    share = -(-columns * groups // pieces)
    chunk = max(_FEWEST, min(widest, _ROOM // window, share))
    chunks = -(-columns // chunk)
    launch.slabs(
        window_columns, groups * chunks, source, before, length, columns, step, apart,
        length * inner, chunk, chunks, window, mode, beyond, numbers, exact, spread, mean,
        variance, target, pieces=pieces,
    )  # fmt: skip


@_compiled
def _fetch(source, at, scale, out):
    for i in range(out.size):
        out[i] = source[at + i] * scale


@_compiled
def _fetch_turned(source, at, count, apart, scale, columns, out):
    """Some elements of each column, which are neighbours in memory, into a row each."""
    for i in range(columns):
        for k in range(count):
            out[k, i] = source[at + i * apart + k] * scale


@_compiled
def _store(rows, at, out):
    for i in range(rows.size):
        out[at + i] = rows[i]


@_compiled
def _store_turned(rows, at, count, apart, columns, out):
    for i in range(columns):
        for k in range(count):
            out[at + i * apart + k] = rows[k, i]


@_compiled
def _more_sums(x, total, out):
    for i in range(out.size):
        out[i] = total[i] + x[i]


@_compiled
def _more_means(x, total, share, out):
    for i in range(out.size):
        out[i] = total[i] + (x[i] - total[i]) * share


@_compiled
def _more_squares(x, v, total, squares, share, weight, out, out_squares):
    for i in range(out.size):
        d = x[i] - total[i]
        out_squares[i] = squares[i] + v[i] + d * d * weight
        out[i] = total[i] + d * share


@_compiled
def _add(x, v, total, squares, k, exact, spread, out, out_squares):
    """Add an element to `k` others."""
    share = 1.0 / (k + 1.0)
    if exact:
        _more_sums(x, total, out)
    elif spread:
        _more_squares(x, v, total, squares, share, k * share, out, out_squares)
    else:
        _more_means(x, total, share, out)


@_compiled
def _join_sums(a, b, out):
    for i in range(out.size):
        out[i] = a[i] + b[i]


@_compiled
def _join_means(a, b, share, out):
    for i in range(out.size):
        out[i] = a[i] + (b[i] - a[i]) * share


@_compiled
def _join_squares(a, a_squares, b, b_squares, share, weight, out, out_squares):
    for i in range(out.size):
        d = b[i] - a[i]
        out_squares[i] = a_squares[i] + b_squares[i] + d * d * weight
        out[i] = a[i] + d * share


@_compiled
def _join(a, a_squares, n, b, b_squares, k, exact, spread, out, out_squares):
    """What n elements and k others make together."""
    share = k / (n + k)
    if exact:
        _join_sums(a, b, out)
    elif spread:
        _join_squares(a, a_squares, b, b_squares, share, n * share, out, out_squares)
    else:
        _join_means(a, b, share, out)


@_compiled
def _finish(total, squares, window, numbers, spread, out):
    """The result, of the mean and the standard deviation."""
    _, divisor, unit, a, b, c = numbers
    if not spread:
        for i in range(total.size):
            m = total[i] / divisor * unit
            out[i] = m * a + (m - m)
        return
    for i in range(total.size):
        m, s = total[i] * unit, math.sqrt(squares[i] / window) * unit
        # What is not finite may have come out as NaN or as infinity.
        out[i] = m * (a + b * s) + c * s + ((m - m) + (s - s))


@_compiled
def window_columns(
    first, last, source, before, length, columns, step, apart, group, chunk, chunks, window, mode,
    beyond, numbers, exact, spread, mean, variance, out,
):  # fmt: skip
    """Chunks [first, last) of columns, whose elements are `step` and which are `apart`.

    Where not the columns are neighbours in memory but their elements, _TURN of these are read and
    written at a time.
    """
    radius = window // 2
    scale = numbers[0]
    turned = apart != 1
    # The block that follows; the sums of the ends of this one; and those of the next one's
    # beginning.
    x, v = np.zeros((window, chunk)), np.zeros((window, chunk))
    ends, end_squares = np.zeros((window, chunk)), np.zeros((window, chunk))
    begun, begun_squares = np.zeros(chunk), np.zeros(chunk)
    total, squares = np.zeros((_TURN, chunk)), np.zeros((_TURN, chunk))
    read, read_before = np.zeros((_TURN, chunk)), np.zeros((_TURN, chunk))
    for task in range(first, last):
        start = (task % chunks) * chunk
        n = min(chunk, columns - start)
        base = (task // chunks) * group + start * apart
        there = -1
        for i in range(length + window - 1):
            # Element i of the axis with what lies beyond its ends.
            j, block = i % window, i // window
            at = outside_cpu(i - radius, length, mode)
            if at < 0:
                x[j, :n] = beyond
                v[j, :n] = 0
            elif turned:
                if at // _TURN != there:
                    there = at // _TURN
                    begin = base + there * _TURN
                    count = min(_TURN, length - there * _TURN)
                    _fetch_turned(source, begin, count, apart, scale, n, read)
                    if before.size:
                        _fetch_turned(before, begin, count, apart, 1.0, n, read_before)
                x[j, :n] = read[at % _TURN, :n]
                v[j, :n] = read_before[at % _TURN, :n]
            else:
                _fetch(source, base + at * step, scale, x[j, :n])
                if before.size:
                    _fetch(before, base + at * step, 1.0, v[j, :n])
            # The window that ends here.
            to = i - window + 1
            turn = to % _TURN if turned else 0
            if block:
                # The beginning of this block with the end of the one before it.
                if j == 0:
                    begun[:n] = x[0, :n]
                    begun_squares[:n] = v[0, :n]
                else:
                    _add(x[j, :n], v[j, :n], begun[:n], begun_squares[:n], float(j), exact,
                         spread, begun[:n], begun_squares[:n])  # fmt: skip
                if j < window - 1:
                    _join(ends[j + 1, :n], end_squares[j + 1, :n], float(window - 1 - j),
                          begun[:n], begun_squares[:n], float(j + 1), exact, spread,
                          total[turn, :n], squares[turn, :n])  # fmt: skip
            if j == window - 1:
                ends[j, :n] = x[j, :n]
                end_squares[j, :n] = v[j, :n]
                for k in range(window - 2, -1, -1):
                    _add(x[k, :n], v[k, :n], ends[k + 1, :n], end_squares[k + 1, :n],
                         float(window - 1 - k), exact, spread, ends[k, :n],
                         end_squares[k, :n])  # fmt: skip
                total[turn, :n] = ends[0, :n]
                squares[turn, :n] = end_squares[0, :n]
            if to < 0:
                continue
            if out.size:
                _finish(total[turn, :n], squares[turn, :n], window, numbers, spread,
                        total[turn, :n])  # fmt: skip
            elif spread:
                squares[turn, :n] /= window
            begin, count = base + (to - turn) * step, turn + 1
            if not turned:
                if out.size:
                    _store(total[0, :n], begin, out)
                else:
                    _store(total[0, :n], begin, mean)
                    if spread:
                        _store(squares[0, :n], begin, variance)
            elif count == _TURN or to == length - 1:
                if out.size:
                    _store_turned(total, begin, count, apart, n, out)
                else:
                    _store_turned(total, begin, count, apart, n, mean)
                    if spread:
                        _store_turned(squares, begin, count, apart, n, variance)


# --- CUDA -------------------------------------------------------------------------------------


def _pass_cuda(
    stream, source, before, span, mode, beyond, numbers, exact, spread, mean, variance, target
):
    _, length, inner, window = span
    block = 8 if launch.simulating() else 256
    grid = launch.blocks(source.size, block, most=2 if launch.simulating() else 1 << 20)
    launch.start(
        window_elements, grid, block, stream, source, before, length, inner, window, mode,
        float(beyond), numbers, int(exact), int(spread), mean, variance, target,
    )  # fmt: skip


@cuda.jit(device=True)
def _element(source, base, i, length, inner, mode, beyond, scale):
    at = outside_cuda(i, length, mode)
    return beyond if at < 0 else np.float64(source[base + at * inner]) * scale


@cuda.jit
def window_elements(
    source, before, length, inner, window, mode, beyond, numbers, exact, spread, mean, variance, out
):
    scale, divisor, unit = numbers[0], numbers[1], numbers[2]
    for element in range(cuda.grid(1), source.size, cuda.gridsize(1)):
        i = (element // inner) % length
        base, low = element - i * inner, i - window // 2
        # From a value of the window on, so that the mean of equal ones is exact.
        near = 0.0
        if not exact:
            near = _element(source, base, low, length, inner, mode, beyond, scale)
        total = 0.0
        for k in range(low, low + window):
            total += _element(source, base, k, length, inner, mode, beyond, scale) - near
        middle = total / window + near
        squares = 0.0
        if spread:
            for k in range(low, low + window):
                d = _element(source, base, k, length, inner, mode, beyond, scale) - middle
                squares += d * d
                at = outside_cuda(k, length, mode)
                if before.size and at >= 0:
                    squares += before[base + at * inner]
            squares /= window
        if exact:
            middle = total
        if out.size:
            m, s = middle / divisor * unit, math.sqrt(squares) * unit
            result = m * (numbers[3] + numbers[4] * s) + numbers[5] * s
            out[element] = result + ((m - m) + (s - s))
        else:
            mean[element] = middle
            if spread:
                variance[element] = squares


def cuda_signatures():
    """(kernel, argument types, most registers a thread may take) of the main dtypes."""
    index, real, line = types.int64, types.float64, types.float64[::1]
    numbers = types.UniTuple(real, 6)
    return [
        (
            window_elements,
            (source[::1], line, index, index, index, index, real, numbers, index, index, line, line,
             out[::1]),
            96,
        )
        for source, out in (
            (types.float32, types.float64), (types.float64, types.float64),
            (types.float64, types.float32),
        )
    ]  # fmt: skip
