"""SLIC superpixels: the nearest of the centres around a cell, and the sums of what each one won.

The image is divided into cells of one seed each, and the pixels of a cell compare a list of
centres: those of the cells around. Colours are whole multiples of a power of two, so few bits that
float64 adds them without rounding, in any order; distances are float32, by fused operations in one
order. So every backend and any number of threads finds the same labels.

CPU: a cell is worked on in pieces of a thousand pixels that stay in the first cache: its colours
and coordinates are copied into one table, and each centre is compared with all of them in one
loop. Sums are taken along runs of one label. No label is written before the last step. CUDA: some
blocks a cell, a thread a pixel, with sums in shared memory where the cell's centres fit.

Connected regions that are too small join a neighbour on the host, by the list of the faces of
these regions.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from llvmlite import ir
from numba import cuda, types
from numba.extending import intrinsic

from . import launch
from .exact import add, fma_cpu, fma_cuda, multiply
from .kept import njit

# Pixels that are compared at a time, and colours that the loop over them is unrolled for.
_PIECE, _UNROLLED = 1024, 4
# From one colour's row of a table to the next: no power of two, whose rows would meet in the cache.
_STRIDE = _PIECE + 48
# The index before any centre was compared: after all of them.
_NOBODY = np.int32(2**31 - 1)
# Centres of a cell that are compared without a look at their place alone.
SLOTS = 32
# Steps of the tables between which the colour conversion interpolates.
TABLE = 1 << 14


# --- colours ----------------------------------------------------------------------------------


def lab_tables():
    """Tables of sRGB to linear light, and of CIE's cube root, each of ``TABLE + 1`` float32."""
    t = np.linspace(0, 1, TABLE + 1)
    linear = np.where(t > 0.04045, ((t + 0.055) / 1.055) ** 2.4, t / 12.92)
    cube = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.stack([linear, cube]).astype(np.float32)


def lab_matrix():
    """Linear sRGB to XYZ over the white of D65."""
    matrix = np.array(
        [
            [0.412453, 0.357580, 0.180423],
            [0.212671, 0.715160, 0.072169],
            [0.019334, 0.119193, 0.950227],
        ]
    )
    return (matrix / np.array([[0.95047], [1.0], [1.08883]])).astype(np.float32)


@njit(nogil=True, cache=True)
def rescale_range(start, stop, values, factor, low, span, out):
    """``(values * factor - low) / span``, held within 0 and 1; what is no number gives 0."""
    for i in range(start, stop):
        value = np.float32((np.float64(values[i]) * factor - low) / span)
        value = value if value > 0 else np.float32(0)
        out[i] = value if value < 1 else np.float32(1)


@njit(nogil=True, cache=True)
def _interpolate(table, t):
    place = t * np.float32(TABLE)
    i = min(max(np.int64(place), 0), TABLE - 1)
    return fma_cpu(place - np.float32(i), table[i + 1] - table[i], table[i])


@njit(nogil=True, cache=True)
def _light(matrix, k, r, g, b):
    return fma_cpu(matrix[k, 2], b, fma_cpu(matrix[k, 1], g, matrix[k, 0] * r))


@njit(nogil=True, cache=True)
def lab_range(start, stop, tables, matrix, red, green, blue):
    """RGB to CIE L*a*b*, in place."""
    for i in range(start, stop):
        r = _interpolate(tables[0], red[i])
        g = _interpolate(tables[0], green[i])
        b = _interpolate(tables[0], blue[i])
        x = _interpolate(tables[1], _light(matrix, 0, r, g, b))
        y = _interpolate(tables[1], _light(matrix, 1, r, g, b))
        z = _interpolate(tables[1], _light(matrix, 2, r, g, b))
        red[i] = fma_cpu(np.float32(116), y, np.float32(-16))
        green[i] = np.float32(500) * (x - y)
        blue[i] = np.float32(200) * (y - z)


@njit(nogil=True, cache=True)
def round_range(start, stop, unit, values, out):
    """The nearest whole multiples of `unit`, a power of two."""
    for i in range(start, stop):
        out[i] = np.rint(values[i] / unit) * unit


# --- rows too short for the compiler's loops ------------------------------------------------------


def _copier(lanes):
    """A copy of so many elements of 32 bits, by their places in whole C-contiguous arrays."""

    @intrinsic
    def copy(typingctx, out, to, source, at):
        def codegen(context, builder, signature, args):
            vector = ir.VectorType(ir.IntType(32), lanes)

            def pointer(kind, array, index):
                data = context.make_array(kind)(context, builder, array).data
                return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())

            load = builder.load(pointer(source, args[2], args[3]))
            load.align = 4
            builder.store(load, pointer(out, args[0], args[1])).align = 4
            return context.get_dummy_value()

        return types.void(out, types.intp, source, types.intp), codegen

    return copy


_copy16, _copy4, _copy1 = _copier(16), _copier(4), _copier(1)


@njit(nogil=True, cache=True)
def _copy_row(out, to, source, at, n):
    """Copy `n` elements; the last vector overlaps the one before."""
    if n >= 16:
        for i in range(0, n - 15, 16):
            _copy16(out, to + i, source, at + i)
        _copy16(out, to + n - 16, source, at + n - 16)
    elif n >= 4:
        for i in range(0, n - 3, 4):
            _copy4(out, to + i, source, at + i)
        _copy4(out, to + n - 4, source, at + n - 4)
    else:
        for i in range(n):
            _copy1(out, to + i, source, at + i)


@njit(nogil=True, cache=True)
def _fill_row(out, to, value, sixteen, n):
    """Write `value` to `n` elements; `sixteen` is a buffer."""
    for i in range(16):
        sixteen[i] = value
    for i in range(0, n - 15, 16):
        _copy16(out, to + i, sixteen, 0)
    if n >= 16:
        _copy16(out, to + n - 16, sixteen, 0)
    else:
        _copy_row(out, to, sixteen, 0, n)


# --- a step of the clusters -------------------------------------------------------------------


def assign_cpu(
    colors, inside, grid, centers, weights, *, spatial, labels=None, sum_up=True
):  # fmt: skip
    """Give each pixel its nearest centre, by place alone or by place and colour.

    Of equally near ones it is the first. Writes `labels` (int32, like a channel; what is not
    `inside` keeps its label) if they are given. Returns the sums of what each centre won, one row a
    centre: its colours, coordinates and pixels. The squared distance of colours counts `weights`
    times, a number for each centre.
    """
    unroll = (0,) * (len(colors) if len(colors) <= _UNROLLED else 0)
    axes = (0,) * (centers.shape[1] - len(colors))
    args = (colors, inside, grid.shape, grid.steps, grid.counts, grid.starts, grid.near,
            grid.places, centers, unroll, axes, spatial, weights, labels, sum_up)  # fmt: skip
    pieces = 4 * launch.thread_count()
    parts = launch.slabs(assign_cells, int(np.prod(grid.counts)), *args, pieces=pieces)
    sums = np.zeros((centers.shape[0], centers.shape[1] + 1))
    for low, part in parts:
        sums[low : low + len(part)] += part
    return sums


@njit(nogil=True, cache=True)
def assign_cells(
    first, last, colors, inside, shape, steps, counts, starts, near, places, centers, unroll, axes,
    spatial, weights, labels, sum_up,
):  # fmt: skip
    """The pixels of cells [first, last): see `assign_cpu`. The sums begin with some centre."""
    features = centers.shape[1]
    most = 125 if starts.size == 0 else np.diff(starts).max()
    candidates = np.empty(most, np.int32)
    low, high = np.int64(centers.shape[0]), np.int64(0)
    if sum_up:
        for cell in range(first, last):
            _, n = _candidates(cell, counts, starts, near, candidates)
            for number in candidates[:n]:
                low, high = min(low, np.int64(number)), max(high, np.int64(number) + 1)
    sums = np.zeros((max(0, high - low), features + 1))
    table = np.empty((features, _STRIDE), np.float32)
    best, index = np.empty(_PIECE, np.float32), np.empty(_PIECE, np.int32)
    far = (np.empty(_PIECE, np.int32), np.empty_like(table), np.empty_like(best),
           np.empty_like(index), np.empty(most, np.float32))  # fmt: skip
    for cell in range(first, last):
        k, j, i = (
            cell // (counts[2] * counts[1]), cell // counts[2] % counts[1], cell % counts[2],
        )  # fmt: skip
        z0, y0, x0 = k * steps[0], j * steps[1], i * steps[2]
        z1 = z0 + steps[0] if k + 1 < counts[0] else shape[0]
        y1 = y0 + steps[1] if j + 1 < counts[1] else shape[1]
        x1 = x0 + steps[2] if i + 1 < counts[2] else shape[2]
        inner, total = _candidates(cell, counts, starts, near, candidates)
        height = y1 - y0
        for xa in range(x0, x1, _PIECE):
            width = min(_PIECE, x1 - xa)
            rows = (z1 - z0) * height
            step = _PIECE // width
            for row in range(0, rows, step):
                part = min(step, rows - row)
                if inside is not None and not _any_inside(
                    inside, shape, z0, y0, height, row, part, xa, width
                ):
                    continue
                n = part * width
                _load(colors, shape, places, z0, y0, height, row, part, xa, width, axes, table)
                how = unroll, axes, spatial, weights
                _nearest(table, n, centers, candidates[:inner], *how, best, index)
                if total > inner:
                    _nearest_of_far(table, width, part, centers, candidates[inner:total], *how,
                                    best, index, *far)  # fmt: skip
                if inside is not None:
                    _leave_out(inside, shape, z0, y0, height, row, part, xa, width, index)
                if labels is not None:
                    _write(index, shape, z0, y0, height, row, part, xa, width, labels)
                if sum_up:
                    _add_up(
                        table, index, z0, y0, height, row, part, xa, width, low, unroll, axes, sums
                    )
    return low, sums


@njit(nogil=True, cache=True)
def _candidates(cell, counts, starts, near, out):
    """The centres that a cell's pixels compare: how many of the first ones always, and of all.

    They are listed, or those of the 3^d cells around, and then of the 5^d.
    """
    if starts.size > 0:
        n = starts[cell + 1] - starts[cell]
        out[:n] = near[starts[cell] : starts[cell + 1]]
        return min(n, SLOTS), n
    at_z, at_y, at_x = (
        cell // (counts[2] * counts[1]), cell // counts[2] % counts[1], cell % counts[2],
    )  # fmt: skip
    n = inner = 0
    for reach in (1, 2):
        for z in range(max(0, at_z - reach), min(counts[0], at_z + reach + 1)):
            for y in range(max(0, at_y - reach), min(counts[1], at_y + reach + 1)):
                for x in range(max(0, at_x - reach), min(counts[2], at_x + reach + 1)):
                    away = max(abs(z - at_z), abs(y - at_y), abs(x - at_x))
                    if reach == 1 or away == 2:
                        out[n] = (z * counts[1] + y) * counts[2] + x
                        n += 1
        if reach == 1:
            inner = n
    return inner, n


@njit(nogil=True, cache=True)
def _any_inside(inside, shape, z0, y0, height, row, part, xa, width):
    for r in range(row, row + part):
        at = ((z0 + r // height) * shape[1] + y0 + r % height) * shape[2] + xa
        for x in range(at, at + width):
            if inside[x]:
                return True
    return False


@njit(nogil=True, cache=True)
def _load(colors, shape, places, z0, y0, height, row, part, xa, width, axes, table):
    """The colours and the coordinates of some rows of a cell, each in a row of `table`."""
    channels = colors.shape[0]
    place_z, place_y, place_x = places
    sixteen = np.empty(16, np.float32)
    last = (channels + len(axes) - 1) * table.shape[1]
    for r in range(part):
        z, y = z0 + (row + r) // height, y0 + (row + r) % height
        at, to = (z * shape[1] + y) * shape[2] + xa, r * width
        for c in range(channels):
            _copy_row(table, c * table.shape[1] + to, colors, c * colors.shape[1] + at, width)
        if len(axes) == 3:
            _fill_row(table, channels * table.shape[1] + to, place_z[z], sixteen, width)
        _fill_row(table, last - table.shape[1] + to, place_y[y], sixteen, width)
        _copy_row(table, last + to, place_x, xa, width)


@njit(nogil=True, cache=True)
def _nearest(table, n, centers, candidates, unroll, axes, spatial, weights, best, index):
    """The nearest candidate of each pixel, the first of those that are equally near."""
    best[:n] = np.inf
    index[:n] = _NOBODY
    for number in candidates:
        _compare_with(table, n, centers, number, unroll, axes, spatial, weights, best, index)


@njit(nogil=True, cache=True)
def _nearest_of_far(
    table, width, rows, centers, candidates, unroll, axes, spatial, weights, best, index,
    chosen, some, best_of_some, index_of_some, bounds,
):  # fmt: skip
    """Compare farther candidates with the pixels that these may be nearer to."""
    channels, features = table.shape[0] - len(axes), table.shape[0]
    low, high = np.empty(len(axes), np.float32), np.empty(len(axes), np.float32)
    for q in range(len(axes)):
        row = table[channels + q]
        # The coordinates of the box: x ascends along a row, the others from row to row.
        low[q], high[q] = row[0], row[width - 1]
        for r in range(rows):
            low[q], high[q] = min(low[q], row[r * width]), max(high[q], row[r * width])
    floor = np.float32(np.inf)
    for c in range(candidates.size):
        bounds[c] = _place_bound(centers[candidates[c]], channels, low, high)
        floor = min(floor, bounds[c])
    m = 0
    for i in range(width * rows):
        chosen[m] = i
        m += best[i] >= floor
    if m == 0:
        return
    most = np.float32(0)
    for j in range(m):
        i = np.uint64(chosen[j])
        best_of_some[j], index_of_some[j] = best[i], index[i]
        most = max(most, best[i])
        for q in range(features):
            some[q, j] = table[q, i]
    for c in range(candidates.size):
        if bounds[c] <= most:
            _compare_with(some, m, centers, candidates[c], unroll, axes, spatial, weights,
                          best_of_some, index_of_some)  # fmt: skip
    for j in range(m):
        index[np.uint64(chosen[j])] = index_of_some[j]


@njit(nogil=True, cache=True)
def _compare_with(table, n, centers, number, unroll, axes, spatial, weights, best, index):
    center = centers[number]
    if spatial:
        _compare(table, n, center, number, (), axes, np.float32(1), best, index)
    elif len(unroll) > 0:
        _compare(table, n, center, number, unroll, axes, weights[number], best, index)
    else:
        away = np.zeros(n, np.float32)
        for q in range(table.shape[0] - len(axes)):
            _add_square(table[q], center[q], away)
        _compare_many(table, n, away, center, number, axes, weights[number], best, index)


@njit(nogil=True, cache=True)
def _place_bound(center, channels, low, high):
    """What a centre's squared distance to any pixel of a box is at least, by place alone.

    It is rounded as the distances are: rounding keeps the order.
    """
    total = np.float32(0)
    for q in range(low.size):
        c = center[channels + q]
        away = low[q] - c if c < low[q] else (high[q] - c if c > high[q] else np.float32(0))
        total = fma_cpu(away, away, total)
    return total


@njit(nogil=True, cache=True)
def _add_square(row, center, total):
    for i in range(total.size):
        difference = row[i] - center
        total[i] = fma_cpu(difference, difference, total[i])


@njit(nogil=True, cache=True)
def _compare_many(table, n, total, center, number, axes, weight, best, index):
    first = table.shape[0] - len(axes)
    for i in range(n):
        away = total[i] * weight
        for q in range(len(axes)):
            difference = table[first + q, i] - center[first + q]
            away = fma_cpu(difference, difference, away)
        nearer = (away < best[i]) | ((away == best[i]) & (number < index[i]))
        best[i] = away if nearer else best[i]
        index[i] = number if nearer else index[i]


@njit(nogil=True, cache=True)
def _compare(table, n, center, number, unroll, axes, weight, best, index):
    first = table.shape[0] - len(axes)
    for i in range(n):
        total = np.float32(0)
        for q in range(len(unroll)):
            difference = table[q, i] - center[q]
            total = fma_cpu(difference, difference, total)
        total = total * weight
        for q in range(len(axes)):
            difference = table[first + q, i] - center[first + q]
            total = fma_cpu(difference, difference, total)
        nearer = (total < best[i]) | ((total == best[i]) & (number < index[i]))
        best[i] = total if nearer else best[i]
        index[i] = number if nearer else index[i]


@njit(nogil=True, cache=True)
def _leave_out(inside, shape, z0, y0, height, row, part, xa, width, index):
    """Label -1 for what is outside the mask."""
    for r in range(part):
        z, y = z0 + (row + r) // height, y0 + (row + r) % height
        at = (z * shape[1] + y) * shape[2] + xa
        for x in range(width):
            if not inside[at + x]:
                index[r * width + x] = -1


@njit(nogil=True, cache=True)
def _write(index, shape, z0, y0, height, row, part, xa, width, labels):
    for r in range(part):
        z, y = z0 + (row + r) // height, y0 + (row + r) % height
        at = (z * shape[1] + y) * shape[2] + xa
        _copy_row(labels, at, index, r * width, width)


@njit(nogil=True, cache=True)
def _add_up(table, index, z0, y0, height, row, part, xa, width, low, unroll, axes, sums):
    """Add the pixels of some rows to the sums of their centres, by runs of one label."""
    features = sums.shape[1] - 1
    channels = features - len(axes)
    for r in range(part):
        z, y = z0 + (row + r) // height, y0 + (row + r) % height
        x, end = np.uint64(r * width), np.uint64((r + 1) * width)
        while x < end:
            number, start = index[x], x
            # The chains of several sums overlap in time; those beyond the colours are never used.
            a = b = c = d = 0.0
            while x < end and index[x] == number:
                if len(unroll) > 0:
                    a += table[0, x]
                if len(unroll) > 1:
                    b += table[1, x]
                if len(unroll) > 2:
                    c += table[2, x]
                if len(unroll) > 3:
                    d += table[3, x]
                x += np.uint64(1)
            if number < 0:
                continue
            k = number - low
            if len(unroll) > 0:
                for q, total in zip(range(channels), (a, b, c, d)):
                    sums[k, q] += total
            else:
                for q in range(channels):
                    for i in range(start, x):
                        sums[k, q] += table[q, i]
            first, last = np.int64(start) - r * width, np.int64(x) - r * width - 1
            n = last - first + 1
            if len(axes) == 3:
                sums[k, channels] += z * n
            sums[k, features - 2] += y * n
            sums[k, features - 1] += xa * n + (first + last) * n // 2
            sums[k, features] += n


@njit(nogil=True, cache=True)
def farthest_range(start, stop, colors, labels, centers, most):
    """The largest squared distance of colours within each cluster, where it exceeds `most`."""
    most = most.copy()
    for i in range(start, stop):
        k = labels[i]
        if k >= 0:
            total = np.float32(0)
            for q in range(colors.shape[0]):
                difference = colors[q, i] - centers[k, q]
                total = fma_cpu(difference, difference, total)
            most[k] = total if total > most[k] else most[k]
    return most


# --- connected regions ------------------------------------------------------------------------


@njit(nogil=True, cache=True)
def faces_range(first, last, regions, small, shape):
    """Pairs (a small region, a neighbour) for the faces in planes or rows [first, last)."""
    found = np.empty((1024, 2), np.int64)
    count = 0
    strides = (shape[1] * shape[2], shape[2], np.int64(1))
    for line in range(first, last):
        z, y = line // shape[1], line % shape[1]
        for x in range(shape[2]):
            at = line * shape[2] + x
            here = regions[at]
            if not small[here]:
                continue
            place = (z, y, x)
            for axis in range(3):
                for side in (-1, 1):
                    if 0 <= place[axis] + side < shape[axis]:
                        there = regions[at + side * strides[axis]]
                        if there != here and there > 0:
                            if count == found.shape[0]:
                                found = np.concatenate((found, np.empty_like(found)))
                            found[count] = here, there
                            count += 1
    return found[:count]


@njit(nogil=True, cache=True)
def region_sums_range(start, stop, regions, colors):
    """The sums of the colours of regions, and their sizes, from the region `low` on."""
    low, high = regions[start], regions[start]
    for i in range(start, stop):
        low, high = min(low, regions[i]), max(high, regions[i])
    sums = np.zeros((high - low + 1, colors.shape[0] + 1))
    at = start
    while at < stop:
        region, first = regions[at], at
        while at < stop and regions[at] == region:
            at += 1
        for c in range(colors.shape[0]):
            total = 0.0
            for i in range(np.uint64(first), np.uint64(at)):
                total += colors[c, i]
            sums[region - low, c] += total
        sums[region - low, colors.shape[0]] += at - first
    return low, sums


@njit(nogil=True, cache=True)
def absorb(pairs, sizes, sums, least):
    """Join each region of less than `least` pixels to the neighbour that suits it best.

    That is the one with the least difference of mean colours for each face between the two.
    Regions count from 1 on. They are joined in their order, and a set of joined regions stays as
    it is once it is large enough. Returns for each the smallest region of its set.
    """
    parents = np.arange(sizes.size)
    sizes, sums = sizes.copy(), sums.copy()
    ends = np.zeros(sizes.size + 1, np.int64)
    for i in range(pairs.shape[0]):
        ends[pairs[i, 0] + 1] += 1
    ends = np.cumsum(ends)
    beside, filled = np.empty(pairs.shape[0], np.int64), ends.copy()
    for i in range(pairs.shape[0]):
        beside[filled[pairs[i, 0]]] = pairs[i, 1]
        filled[pairs[i, 0]] += 1
    changed = True
    while changed:
        changed = False
        for region in range(1, sizes.size):
            if ends[region] == ends[region + 1]:
                continue
            here = _root(parents, region)
            if sizes[here] >= least:
                continue
            there = _best(parents, sizes, sums, beside[ends[region] : ends[region + 1]], here)
            if there != here:
                low, high = min(here, there), max(here, there)
                parents[high] = low
                sizes[low] += sizes[high]
                sums[low] += sums[high]
                changed = True
    for region in range(sizes.size):
        parents[region] = _root(parents, region)
    return parents


@njit(nogil=True, cache=True)
def _root(parents, region):
    while parents[region] != region:
        parents[region] = parents[parents[region]]
        region = parents[region]
    return region


@njit(nogil=True, cache=True)
def _best(parents, sizes, sums, beside, here):
    """The set that suits `here` best of those beside; of equal ones that with the most faces."""
    for i in range(beside.size):
        beside[i] = _root(parents, beside[i])
    beside.sort()
    best, least, most = here, np.inf, 0
    start = 0
    while start < beside.size:
        there = beside[start]
        end = start + 1
        while end < beside.size and beside[end] == there:
            end += 1
        faces = end - start
        start = end
        if there == here:
            continue
        square = 0.0
        for c in range(sums.shape[1]):
            difference = sums[here, c] / sizes[here] - sums[there, c] / sizes[there]
            square += difference * difference
        weight = np.sqrt(square) / faces
        if weight < least or (weight == least and faces > most):
            best, least, most = there, weight, faces
    return best


@njit(nogil=True, cache=True)
def name_range(start, stop, regions, names, out):
    for i in range(start, stop):
        out[i] = names[regions[i]]


# --- CUDA --------------------------------------------------------------------------------------

BLOCK = 32 if launch.simulating() else 256
# Centres beyond the first ones whose place is bounded once a block, and sums of a centre that fit
# shared memory.
_OTHERS, _SUMS = 128, 8
_TABLE = SLOTS * _SUMS
# Rows of a cell that a thread goes through.
_ROWS = 2 if launch.simulating() else 8


@cuda.jit(device=True)
def _place_distance(center, first, axes, z, y, x):
    """The squared distance by place alone, added up in the order of the axes."""
    total = np.float32(0)
    if axes == 3:
        difference = add(z, -center[first])
        total = fma_cuda(difference, difference, total)
    difference = add(y, -center[first + axes - 2])
    total = fma_cuda(difference, difference, total)
    difference = add(x, -center[first + axes - 1])
    return fma_cuda(difference, difference, total)


@cuda.jit(device=True)
def _outside(low, high, c):
    """How far a coordinate is from a range."""
    if c < low:
        return add(low, -c)
    return add(high, -c) if c > high else np.float32(0)


@cuda.jit(device=True)
def _neighbour(slot, reach, at_z, at_y, at_x, counts):
    """The number of a cell among those around, or -1."""
    side = 2 * reach + 1
    z = at_z + slot // (side * side) - reach
    y = at_y + slot // side % side - reach
    x = at_x + slot % side - reach
    if z < 0 or y < 0 or x < 0 or z >= counts[0] or y >= counts[1] or x >= counts[2]:
        return -1
    return (z * counts[1] + y) * counts[2] + x


@cache
def _assign(channels, axes):
    """The step for so many channels, or, with 0, for any, in 2-D or 3-D."""
    room = max(channels, 1)

    @cuda.jit(device=True)
    def distance(colors, mine, at, center, many, spatial, weight, z, y, x):
        total = np.float32(0)
        if not spatial:
            if channels > 0:
                for q in range(channels):
                    difference = add(mine[q], -center[q])
                    total = fma_cuda(difference, difference, total)
            else:
                for q in range(many):
                    difference = add(colors[q, at], -center[q])
                    total = fma_cuda(difference, difference, total)
            total = multiply(total, weight)
        if axes == 3:
            difference = add(z, -center[many])
            total = fma_cuda(difference, difference, total)
        difference = add(y, -center[many + axes - 2])
        total = fma_cuda(difference, difference, total)
        difference = add(x, -center[many + axes - 1])
        return fma_cuda(difference, difference, total)

    @cuda.jit(device=True)
    def flush(table, sums, slot, index, mine, count, z, y, x):
        """Add up a run of pixels of one centre."""
        many = sums.shape[1] - axes - 1
        if slot < SLOTS and sums.shape[1] <= _SUMS:
            row = slot * _SUMS
            for q in range(channels):
                cuda.atomic.add(table, row + q, mine[q])
            if axes == 3:
                cuda.atomic.add(table, row + many, types.float64(z))
            cuda.atomic.add(table, row + many + axes - 2, types.float64(y))
            cuda.atomic.add(table, row + many + axes - 1, types.float64(x))
            cuda.atomic.add(table, row + many + axes, types.float64(count))
        else:
            for q in range(channels):
                cuda.atomic.add(sums, (index, q), mine[q])
            if axes == 3:
                cuda.atomic.add(sums, (index, many), types.float64(z))
            cuda.atomic.add(sums, (index, many + axes - 2), types.float64(y))
            cuda.atomic.add(sums, (index, many + axes - 1), types.float64(x))
            cuda.atomic.add(sums, (index, many + axes), types.float64(count))

    @cuda.jit
    def assign(
        colors, inside, shape, steps, counts, starts, near, place_z, place_y, place_x, centers,
        spatial, weights, parts, labels, sums,
    ):  # fmt: skip
        numbers = cuda.shared.array(SLOTS, types.int32)
        others = cuda.shared.array(_OTHERS, types.int32)
        bounds = cuda.shared.array(_OTHERS, types.float32)
        floor = cuda.shared.array(1, types.float32)
        table = cuda.shared.array(_TABLE, types.float64)
        thread = types.int64(cuda.threadIdx.x)
        cell = types.int64(cuda.blockIdx.x) // parts
        part = types.int64(cuda.blockIdx.x) % parts
        many = types.int64(colors.shape[0])
        at_z = cell // (counts[2] * counts[1])
        at_y = cell // counts[2] % counts[1]
        at_x = cell % counts[2]
        z0 = at_z * steps[0]
        y0 = at_y * steps[1]
        x0 = at_x * steps[2]
        z1 = z0 + steps[0] if at_z + 1 < counts[0] else shape[0]
        y1 = y0 + steps[1] if at_y + 1 < counts[1] else shape[1]
        x1 = x0 + steps[2] if at_x + 1 < counts[2] else shape[2]
        listed = starts.size > 0
        start = types.int64(0)
        end = types.int64(0)
        firsts = 9 if axes == 2 else 27
        if listed:
            start = starts[cell]
            end = starts[cell + 1]
            firsts = SLOTS
        # The first centres, those beyond with the least that they can be away, and empty sums.
        for i in range(thread, _TABLE, cuda.blockDim.x):
            table[i] = 0
        for i in range(thread, SLOTS, cuda.blockDim.x):
            number = types.int64(-1)
            if listed:
                if start + i < end:
                    number = types.int64(near[start + i])
            elif i < firsts:
                # In 2-D only the middle one of three layers.
                number = _neighbour(i + (9 if axes == 2 else 0), 1, at_z, at_y, at_x, counts)
            numbers[i] = number
        if thread == 0:
            floor[0] = np.float32(np.inf)
        cuda.syncthreads()
        for i in range(thread, _OTHERS, cuda.blockDim.x):
            number = types.int64(-1)
            if listed:
                if start + SLOTS + i < end:
                    number = types.int64(near[start + SLOTS + i])
            elif i < 5**axes:
                place = i + (50 if axes == 2 else 0)
                dz = place // 25 - 2
                dy = place // 5 % 5 - 2
                dx = place % 5 - 2
                if abs(dz) == 2 or abs(dy) == 2 or abs(dx) == 2:
                    number = _neighbour(place, 2, at_z, at_y, at_x, counts)
            others[i] = number
            if number >= 0:
                center = centers[number]
                bound = np.float32(0)
                if axes == 3:
                    away = _outside(place_z[z0], place_z[z1 - 1], center[many])
                    bound = fma_cuda(away, away, bound)
                away = _outside(place_y[y0], place_y[y1 - 1], center[many + axes - 2])
                bound = fma_cuda(away, away, bound)
                away = _outside(place_x[x0], place_x[x1 - 1], center[many + axes - 1])
                bound = fma_cuda(away, away, bound)
                bounds[i] = bound
                cuda.atomic.min(floor, 0, bound)
        cuda.syncthreads()
        mine = cuda.local.array(room, types.float32)
        run = cuda.local.array(room, types.float64)
        height = y1 - y0
        width = x1 - x0
        rows = (z1 - z0) * height
        groups = (rows + _ROWS - 1) // _ROWS
        for task in range(part * cuda.blockDim.x + thread, width * groups, parts * cuda.blockDim.x):
            x = x0 + task % width
            first = task // width * _ROWS
            last = first + _ROWS if first + _ROWS < rows else rows
            held = types.int32(-1)
            held_slot = 0
            count = types.int64(0)
            run_z = types.int64(0)
            run_y = types.int64(0)
            for row in range(first, last):
                z = z0 + row // height
                y = y0 + row % height
                at = (z * shape[1] + y) * shape[2] + x
                if inside.size > 0 and not inside[at]:
                    continue
                for q in range(channels):
                    mine[q] = colors[q, at]
                here_z = place_z[z]
                here_y = place_y[y]
                here_x = place_x[x]
                best = np.float32(np.inf)
                index = types.int32(_NOBODY)
                slot = SLOTS
                for i in range(firsts):
                    number = numbers[i]
                    if number >= 0:
                        away = distance(colors, mine, at, centers[number], many, spatial,
                                        weights[number], here_z, here_y, here_x)  # fmt: skip
                        if away < best or (away == best and number < index):
                            best = away
                            index = number
                            slot = i
                if floor[0] <= best:
                    for i in range(_OTHERS):
                        number = others[i]
                        if number >= 0 and bounds[i] <= best:
                            away = distance(colors, mine, at, centers[number], many, spatial,
                                            weights[number], here_z, here_y, here_x)  # fmt: skip
                            if away < best or (away == best and number < index):
                                best = away
                                index = number
                                slot = SLOTS
                for i in range(start + SLOTS + _OTHERS, end):
                    number = near[i]
                    place = _place_distance(centers[number], many, axes, here_z, here_y, here_x)
                    if place <= best:
                        away = distance(colors, mine, at, centers[number], many, spatial,
                                        weights[number], here_z, here_y, here_x)  # fmt: skip
                        if away < best or (away == best and number < index):
                            best = away
                            index = number
                            slot = SLOTS
                if labels.size > 0:
                    labels[at] = index
                if sums.size > 0:
                    if channels == 0:
                        for q in range(many):
                            cuda.atomic.add(sums, (index, q), types.float64(colors[q, at]))
                    if index != held:
                        if count > 0:
                            flush(table, sums, held_slot, held, run, count, run_z, run_y,
                                  x * count)  # fmt: skip
                        held = index
                        held_slot = slot
                        count = types.int64(0)
                        run_z = types.int64(0)
                        run_y = types.int64(0)
                        for q in range(channels):
                            run[q] = 0
                    count += 1
                    run_z += z
                    run_y += y
                    for q in range(channels):
                        run[q] += types.float64(mine[q])
            if count > 0:
                flush(table, sums, held_slot, held, run, count, run_z, run_y, x * count)
        cuda.syncthreads()
        if sums.size > 0 and sums.shape[1] <= _SUMS:
            for i in range(thread, _TABLE, cuda.blockDim.x):
                number = numbers[i // _SUMS]
                if number >= 0 and table[i] != 0:
                    cuda.atomic.add(sums, (number, i % _SUMS), table[i])

    return assign


def assign_cuda(
    colors, inside, grid, centers, weights, *, spatial, labels, sums, stream=0
) -> None:  # fmt: skip
    """As `assign_cpu`, with empty arrays for what is not given, and `sums` to add to."""
    axes, cells = centers.shape[1] - colors.shape[0], int(np.prod(grid.counts))
    channels = colors.shape[0] if colors.shape[0] <= _UNROLLED else 0
    depth, height, width = (int(s) for s in np.minimum(grid.steps, grid.shape))
    tasks = width * -(-depth * height // _ROWS)
    parts = max(1, min(tasks // BLOCK, -(-4096 // cells)))
    sizes = [tuple(map(int, x)) for x in (grid.shape, grid.steps, grid.counts)]
    launch.start(
        _assign(channels, axes), cells * parts, BLOCK, stream, colors, inside, *sizes, grid.starts,
        grid.near, *grid.places, centers, spatial, weights, parts, labels, sums,
    )  # fmt: skip


@cuda.jit
def _farthest(colors, labels, centers, most):
    for i in range(cuda.grid(1), labels.size, cuda.gridsize(1)):
        k = labels[i]
        if k >= 0:
            total = np.float32(0)
            for q in range(colors.shape[0]):
                difference = add(colors[q, i], -centers[k, q])
                total = fma_cuda(difference, difference, total)
            if total > most[k]:
                cuda.atomic.max(most, k, total)


@cuda.jit(device=True)
def _between(table, t):
    place = multiply(t, np.float32(TABLE))
    i = types.int64(place)
    if i < 0:
        i = types.int64(0)
    if i > TABLE - 1:
        i = types.int64(TABLE - 1)
    step = add(table[i + 1], -table[i])
    return fma_cuda(add(place, -np.float32(i)), step, table[i])


@cuda.jit(device=True)
def _light_cuda(matrix, k, r, g, b):
    total = multiply(matrix[k, 0], r)
    return fma_cuda(matrix[k, 2], b, fma_cuda(matrix[k, 1], g, total))


@cuda.jit
def _lab(tables, matrix, colors):
    for i in range(cuda.grid(1), colors.shape[1], cuda.gridsize(1)):
        r = _between(tables[0], colors[0, i])
        g = _between(tables[0], colors[1, i])
        b = _between(tables[0], colors[2, i])
        x = _between(tables[1], _light_cuda(matrix, 0, r, g, b))
        y = _between(tables[1], _light_cuda(matrix, 1, r, g, b))
        z = _between(tables[1], _light_cuda(matrix, 2, r, g, b))
        colors[0, i] = fma_cuda(np.float32(116), y, np.float32(-16))
        colors[1, i] = multiply(np.float32(500), add(x, -y))
        colors[2, i] = multiply(np.float32(200), add(y, -z))


def _each_pixel(kernel, count, arrays, stream):
    blocks = launch.blocks(count, BLOCK, most=4 if launch.simulating() else 1 << 16)
    launch.start(kernel, blocks, BLOCK, stream, *arrays)


def farthest_cuda(colors, labels, centers, most, stream=0) -> None:
    """As `farthest_range`, in place."""
    _each_pixel(_farthest, labels.size, (colors, labels, centers, most), stream)


def lab_cuda(tables, matrix, colors, stream=0) -> None:
    """As `lab_range`, of an array whose rows are the channels."""
    _each_pixel(_lab, colors.shape[1], (tables, matrix, colors), stream)


def cuda_signatures():
    """(kernel, argument types, most registers a thread may take)."""
    rows, line = types.float32[:, ::1], types.float32[::1]
    labels = types.int32[::1]
    assign = (
        rows, types.uint8[::1], *(types.UniTuple(types.int64, 3),) * 3, types.int64[::1], labels,
        *(line,) * 3, rows,
        types.boolean, line, types.int64, labels, types.float64[:, ::1],
    )  # fmt: skip
    signatures = [(_assign(c, d), assign, 128) for c in (0, 1, 3, 4) for d in (2, 3)]
    return [
        *signatures,
        (_farthest, (rows, labels, rows, line), 64),
        (_lab, (rows, rows, rows), 64),
    ]
