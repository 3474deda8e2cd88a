"""Markov random fields: sweeps over one colour of the checkerboard, and energies.

A pixel's neighbours share a face with it, so they have the other colour: all pixels of one colour
may change at once. Costs are whole numbers, the units of `UNIT`: the cost of a class for a value is
computed in float32 with the same roundings everywhere, less that of the pixel's cheapest class (so
that a value far from all classes still says which is nearest), and cut to a whole number; what
neighbours and chance add is whole. So all backends take the same decisions, and energies are exact.

Chance: the class with the least cost minus temperature times Gumbel noise is a sample of the local
distribution. The noise is a table, looked up by a hash of pixel, class and sweep. The pixel is
hashed before the sweep's seed comes in: seeds that are close would swap the noise of neighbours.
"""

from __future__ import annotations

import numpy as np
from numba import cuda, types

from . import launch
from .exact import fma_cpu, fma_cuda, multiply
from .kept import njit

# Costs in whole numbers: so many to one (in nats), and no more than this many.
UNIT = 1 << 16
MOST = 1 << 29
OUTSIDE = 255

_LOW = 0xFFFFFFFF


def gumbel_table():
    """Quantiles of the standard Gumbel distribution, in `UNIT`s."""
    size = 1 << 16
    quantiles = -np.log(-np.log((np.arange(size) + 0.5) / size))
    return np.rint(quantiles * UNIT).astype(np.int32)


# --- CPU ---------------------------------------------------------------------------------------


def sweep_cpu(values, labels, parity, model, beta, temperature, seed, noise, numbers=None) -> int:
    """Give every pixel of one colour its best class; how many changed.

    `values` is (channels, pixels) in float32, `labels` (depth, height, width) in uint8, and the
    model (means, weights, constants) says that class k costs ``constants[k]`` and `weights` times
    squared distances from `means`. With a `temperature` above 0, classes are drawn. Of a part
    of an image, `numbers` are those of its first pixel in the whole, and what they grow by from
    plane to plane and from row to row.
    """
    rows = labels.shape[0] * labels.shape[1]
    numbers = _whole(labels) if numbers is None else numbers
    args = (values, labels, parity, *model, beta, temperature, seed, *numbers, noise)
    return sum(launch.slabs(_sweep_rows, rows, *args))


def _whole(labels):
    """The numbers of the pixels of a whole image, see `sweep_cpu`."""
    return 0, labels.shape[1] * labels.shape[2], labels.shape[2]


def energy_cpu(values, labels, model, beta) -> int:
    """The cost of all classes, and `beta` for each pair of unequal neighbours."""
    rows = labels.shape[0] * labels.shape[1]
    return sum(launch.slabs(_energy_rows, rows, values, labels, *model, beta))


@njit(nogil=True, cache=True)
def _sweep_rows(
    start, stop, values, labels, parity, means, weights, constants, beta, temperature, seed,
    first_number, per_plane, per_row, noise,
):  # fmt: skip
    depth, height, width = labels.shape
    classes, half = constants.size, (width + 1) // 2
    # One colour of a row, side by side, so that loops run over whole registers.
    row, totals = np.empty((len(values), half), np.float32), np.empty((classes, half), np.float32)
    # The six neighbours; the last is nobody.
    sides = np.full((7, half), OUTSIDE, np.uint8)
    least, cost = np.empty(half, np.float32), np.empty(half, np.int32)
    best, index = np.empty(half, np.int32), np.empty(half, np.uint8)
    hashes = np.empty(half, np.uint32)
    line = np.full(width + 2, OUTSIDE, np.uint8)
    changed = 0
    for r in range(start, stop):
        z, y = r // height, r % height
        here = labels[z, y]
        first = (parity + z + y) & 1
        line[1:-1] = here
        for c in range(len(values)):
            _take(values[c, r * width : (r + 1) * width], first, row[c])
        _take(line, first, sides[0])
        _take(line[2:], first, sides[1])
        _take_row(labels, z, y - 1, first, sides[2])
        _take_row(labels, z, y + 1, first, sides[3])
        _take_row(labels, z - 1, y, first, sides[4])
        _take_row(labels, z + 1, y, first, sides[5])
        _add_up(row, 0, means, weights, constants, totals, least)
        if temperature > 0:
            _hash_pixels(first_number + z * per_plane + y * per_row + first, seed, hashes)
        best[:] = np.int32(2**31 - 1)
        for k in range(classes):
            number = np.uint8(k)
            _cut(totals[k], least, cost)
            _reward(cost, sides[0], sides[1], sides[2], sides[3], number, beta)
            if depth > 1:
                _reward(cost, sides[4], sides[5], sides[6], sides[6], number, beta)
            if temperature > 0:
                _add_noise(cost, hashes, np.uint32(k), temperature, noise)
            _compare(cost, number, best, index)
        changed += _put(index, first, here)
    return changed


@njit(nogil=True, cache=True)
def _take(row, first, out):
    """Every second element, from the first one on."""
    for j in range(min(out.size, (row.size - first + 1) // 2)):
        # Unsigned, or a test for negative indices keeps the loop from whole registers.
        out[j] = row[np.uint64(first + 2 * j)]


@njit(nogil=True, cache=True)
def _take_row(labels, z, y, first, out):
    """One colour of a row of labels, or what none has."""
    if 0 <= z < labels.shape[0] and 0 <= y < labels.shape[1]:
        _take(labels[z, y], first, out)
    else:
        out[:] = OUTSIDE


@njit(nogil=True, cache=True)
def _put(index, first, row):
    """Take the classes found into a row; how many are new."""
    changed = 0
    for j in range((row.size - first + 1) // 2):
        x = np.uint64(first + 2 * j)
        new = row[x] if row[x] == OUTSIDE else index[j]
        changed += np.int64(new != row[x])
        row[x] = new
    return changed


@njit(nogil=True, cache=True)
def _add_up(values, at, means, weights, constants, totals, least):
    """What each class costs at the pixels from `at` on, and the least of it."""
    least[:] = np.float32(np.inf)
    for k in range(constants.size):
        total = totals[k]
        total[:] = constants[k]
        for c in range(values.shape[0]):
            row = values[c, at : at + total.size]
            _add_distances(row, means[k, c], weights[k, c], total)
        _lower(least, total)


@njit(nogil=True, cache=True)
def _add_distances(row, mean, weight, total):
    for x in range(total.size):
        away = row[x] - mean
        total[x] = fma_cpu(away * away, weight, total[x])


@njit(nogil=True, cache=True)
def _lower(least, total):
    for x in range(least.size):
        least[x] = total[x] if total[x] < least[x] else least[x]


@njit(nogil=True, cache=True)
def _cut(total, least, cost):
    for x in range(cost.size):
        cost[x] = np.int32(min((total[x] - least[x]) * np.float32(UNIT), np.float32(MOST)))


@njit(nogil=True, cache=True)
def _reward(cost, a, b, c, d, number, beta):
    """Lessen the cost by `beta` for each of four neighbours with that class."""
    for x in range(cost.size):
        equal = np.int32(a[x] == number) + np.int32(b[x] == number)
        equal += np.int32(c[x] == number) + np.int32(d[x] == number)
        cost[x] -= np.int32(beta) * equal


@njit(nogil=True, cache=True)
def _compare(cost, number, best, index):
    for x in range(cost.size):
        better = cost[x] < best[x]
        best[x] = cost[x] if better else best[x]
        index[x] = number if better else index[x]


@njit(nogil=True, cache=True)
def _hash_pixels(at, seed, hashes):
    """The hashes of every second pixel from `at` on."""
    for j in range(hashes.size):
        pixel = at + 2 * j
        above = np.uint32(seed) ^ np.uint32(pixel >> 32)
        hashes[j] = _mixed(_mixed(np.uint32(pixel)) ^ above)


@njit(nogil=True, cache=True)
def _add_noise(cost, hashes, number, temperature, noise):
    for x in range(cost.size):
        drawn = noise[_mixed(hashes[x] ^ number) >> np.uint32(16)]
        cost[x] -= np.int32((np.int64(temperature) * np.int64(drawn)) >> 16)


@njit(nogil=True, cache=True)
def _mixed(h):
    """A bijection of the 32-bit numbers whose every output bit depends on all of the input."""
    h ^= h >> np.uint32(16)
    h = np.uint32(h * np.uint32(0x21F0AAAD))
    h ^= h >> np.uint32(15)
    h = np.uint32(h * np.uint32(0x735A2D97))
    return np.uint32(h ^ (h >> np.uint32(15)))


@njit(nogil=True, cache=True)
def _energy_rows(start, stop, values, labels, means, weights, constants, beta):
    depth, height, width = labels.shape
    totals, least = np.empty((constants.size, width), np.float32), np.empty(width, np.float32)
    cost = np.empty(width, np.int32)
    energy = np.int64(0)
    for r in range(start, stop):
        z, y = r // height, r % height
        here = labels[z, y]
        _add_up(values, r * width, means, weights, constants, totals, least)
        for k in range(constants.size):
            _cut(totals[k], least, cost)
            energy += _sum_where(cost, here, np.uint8(k))
        unequal = _count_unequal(here[:-1], here[1:])
        if y + 1 < height:
            unequal += _count_unequal(here, labels[z, y + 1])
        if z + 1 < depth:
            unequal += _count_unequal(here, labels[z + 1, y])
        energy += unequal * np.int64(beta)
    return energy


@njit(nogil=True, cache=True)
def _sum_where(cost, labels, number):
    total = np.int64(0)
    for x in range(cost.size):
        total += np.int64(cost[x]) if labels[x] == number else np.int64(0)
    return total


@njit(nogil=True, cache=True)
def _count_unequal(first, second):
    count = np.int64(0)
    for x in range(first.size):
        apart = (first[x] != second[x]) & (first[x] != OUTSIDE) & (second[x] != OUTSIDE)
        count += np.int64(apart)
    return count


# --- CUDA --------------------------------------------------------------------------------------

BLOCK = 32 if launch.simulating() else 256


@cuda.jit(device=True)
def _total(values, i, k, means, weights, constants):
    total = constants[k]
    for c in range(values.shape[0]):
        away = values[c, i] - means[k, c]
        total = fma_cuda(multiply(away, away), weights[k, c], total)
    return total


@cuda.jit(device=True)
def _least_total(values, i, means, weights, constants):
    least = np.float32(np.inf)
    for k in range(constants.size):
        total = _total(values, i, k, means, weights, constants)
        if total < least:
            least = total
    return least


@cuda.jit(device=True)
def _cost(values, i, k, least, means, weights, constants):
    above = multiply(_total(values, i, k, means, weights, constants) - least, np.float32(UNIT))
    if above > np.float32(MOST):
        above = np.float32(MOST)
    return types.int32(above)


@cuda.jit(device=True)
def _mixed_cuda(h):
    h ^= h >> 16
    h = (h * 0x21F0AAAD) & _LOW
    h ^= h >> 15
    h = (h * 0x735A2D97) & _LOW
    return h ^ (h >> 15)


@cuda.jit(device=True)
def _neighbour(labels, z, y, x, k):
    """The k-th of six face neighbours, or what none has."""
    depth, height, width = labels.shape
    if k == 0:
        return labels[z, y, x - 1] if x > 0 else OUTSIDE
    if k == 1:
        return labels[z, y, x + 1] if x + 1 < width else OUTSIDE
    if k == 2:
        return labels[z, y - 1, x] if y > 0 else OUTSIDE
    if k == 3:
        return labels[z, y + 1, x] if y + 1 < height else OUTSIDE
    if k == 4:
        return labels[z - 1, y, x] if z > 0 else OUTSIDE
    return labels[z + 1, y, x] if z + 1 < depth else OUTSIDE


@cuda.jit
def sweep(
    values, labels, parity, means, weights, constants, beta, temperature, seed, first_number,
    per_plane, per_row, noise, changed,
):  # fmt: skip
    depth, height, width = labels.shape
    half = (width + 1) // 2
    count = types.int64(0)
    beside = cuda.local.array(6, types.int32)
    for i in range(cuda.grid(1), types.int64(depth) * height * half, cuda.gridsize(1)):
        row = i // half
        z = row // height
        y = row - z * height
        x = 2 * (i - row * half) + ((parity + z + y) & 1)
        if x >= width:
            continue
        old = types.int32(labels[z, y, x])
        if old == OUTSIDE:
            continue
        for k in range(6):
            beside[k] = types.int32(_neighbour(labels, z, y, x, k))
        at = row * width + x
        best = types.int32(2**31 - 1)
        index = types.int32(0)
        least = _least_total(values, at, means, weights, constants)
        pixel = types.int64(0)
        if temperature > 0:
            number = first_number + z * per_plane + y * per_row + x
            pixel = _mixed_cuda(_mixed_cuda(number & _LOW) ^ seed ^ (number >> 32))
        for k in range(constants.size):
            cost = _cost(values, at, k, least, means, weights, constants)
            for n in range(6):
                if beside[n] == k:
                    cost = types.int32(cost - beta)
            if temperature > 0:
                drawn = types.int64(noise[_mixed_cuda(pixel ^ k) >> 16])
                cost = types.int32(cost - ((temperature * drawn) >> 16))
            if cost < best:
                best = cost
                index = types.int32(k)
        if index != old:
            labels[z, y, x] = index
            count += 1
    if count > 0:
        cuda.atomic.add(changed, 0, types.uint64(count))


@cuda.jit
def energy(values, labels, means, weights, constants, beta, total):
    depth, height, width = labels.shape
    mine = types.int64(0)
    for i in range(cuda.grid(1), types.int64(depth) * height * width, cuda.gridsize(1)):
        row = i // width
        x = i - row * width
        z = row // height
        y = row - z * height
        own = types.int32(labels[z, y, x])
        if own == OUTSIDE:
            continue
        least = _least_total(values, i, means, weights, constants)
        mine += _cost(values, i, own, least, means, weights, constants)
        for n in range(1, 6, 2):
            other = types.int32(_neighbour(labels, z, y, x, n))
            if other != own and other != OUTSIDE:
                mine += beta
    if mine != 0:
        cuda.atomic.add(total, 0, types.uint64(mine))


def sweep_cuda(
    values, labels, parity, model, beta, temperature, seed, noise, changed, stream=0, numbers=None
) -> None:
    """As `sweep_cpu`; what changed is added to the uint64 `changed[0]`."""
    where = launch.blocks(labels.size // 2 + 1, BLOCK, most=1 << 16), BLOCK, stream
    numbers = _whole(labels) if numbers is None else numbers
    launch.start(
        sweep, *where, values, labels, parity, *model, beta, temperature, seed, *numbers, noise,
        changed,
    )  # fmt: skip


def energy_cuda(values, labels, model, beta, total, stream=0) -> None:
    """As `energy_cpu`, added to the uint64 `total[0]`."""
    where = launch.blocks(labels.size, BLOCK, most=1 << 12), BLOCK, stream
    launch.start(energy, *where, values, labels, *model, beta, total)


def cuda_signatures():
    """(kernel, argument types, most registers a thread may take)."""
    table, labels = types.float32[:, ::1], types.uint8[:, :, ::1]
    model = (table, table, types.float32[::1])
    count = types.uint64[::1]
    long = types.int64
    return [
        (sweep, (table, labels, long, *model, *(long,) * 6, types.int32[::1], count), 80),
        (energy, (table, labels, *model, long, count), 80),
    ]
