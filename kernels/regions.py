"""Sums over regions, on the CPU: of whole numbers of steps, so that no order changes them."""

from __future__ import annotations

import numpy as np

from .kept import njit


@njit(nogil=True, cache=True)
def add_up(values, regions, step, parts, high, low):
    """Add to `high` each value in steps, and to `low` the rest in parts of a step."""
    for i in range(values.size):
        region, term = regions[i], values[i] / step
        whole = np.rint(term)
        high[region] += whole
        low[region] += np.rint((term - whole) * parts)


@njit(nogil=True, cache=True)
def add_up_distances(values, regions, centers, scales, step, parts, sums):
    """As `add_up`, of the distances from the centers, scaled, (0 and 1 in `sums`), and of their
    squares (2 and 3)."""
    for i in range(values.size):
        region = regions[i]
        away = (values[i] - centers[region]) * scales[region]
        square = away * away
        away /= step
        whole = np.rint(away)
        sums[0, region] += whole
        sums[1, region] += np.rint((away - whole) * parts)
        square /= step
        whole = np.rint(square)
        sums[2, region] += whole
        sums[3, region] += np.rint((square - whole) * parts)


@njit(nogil=True, cache=True)
def widen(values, regions, low, high):
    """Put the least value of each region in `low`, and the largest in `high`."""
    for i in range(values.size):
        region, value = regions[i], values[i]
        if value < low[region]:
            low[region] = value
        if value > high[region]:
            high[region] = value


@njit(nogil=True, cache=True)
def count(regions, sizes):
    for region in regions:
        sizes[region] += 1
