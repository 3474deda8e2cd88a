"""Tables on the CPU, a row after the other: products of features, sums, places among quantiles."""

from __future__ import annotations

import numpy as np

from .kept import njit


@njit(nogil=True, cache=True)
def products_range(start, stop, table, parents, factors, out):
    """Each column is an earlier one times a feature; without parent the feature, or 1."""
    for i in range(start, stop):
        for t in range(parents.size):
            if parents[t] >= 0:
                out[i, t] = out[i, parents[t]] * table[i, factors[t]]
            elif factors[t] >= 0:
                out[i, t] = table[i, factors[t]]
            else:
                out[i, t] = 1


@njit(nogil=True, cache=True)
def linear_range(start, stop, table, coef, intercept, out):
    """The features of each row times the coefficients, added in their order."""
    for i in range(start, stop):
        for k in range(coef.shape[0]):
            total = table[i, 0] * coef[k, 0]
            for q in range(1, coef.shape[1]):
                total += table[i, q] * coef[k, q]
            out[i, k] = total + intercept[k]


@njit(nogil=True, cache=True)
def places_range(start, stop, column, quantiles, references, out):
    """The mean of what interpolation from the left and from the right gives; NaN stays.

    Each as `numpy.interp` reckons, to the last bit; they differ where a quantile comes twice.
    """
    last = quantiles.size - 1
    for i in range(start, stop):
        x = np.float64(column[i])
        if np.isnan(x):
            out[i] = x
            continue
        after = _not_above(quantiles, x)
        first = after
        while first > 0 and quantiles[first - 1] == x:
            first -= 1
        if first < after:
            place = 0.5 * (references[after - 1] + references[first])
        elif after == 0:
            place = references[0]
        elif after > last:
            place = references[last]
        else:
            rise = references[after] - references[after - 1]
            slope = rise / (quantiles[after] - quantiles[after - 1])
            up = slope * (x - quantiles[after - 1]) + references[after - 1]
            down = slope * (quantiles[after] - x) - references[after]
            place = 0.5 * (up - down)
        out[i] = place


@njit(nogil=True, cache=True)
def _not_above(quantiles, x):
    """How many of the sorted quantiles are not above x."""
    low, count = 0, quantiles.size
    while count > 0:
        half = count >> 1
        if quantiles[low + half] <= x:
            low += half + 1
            count -= half + 1
        else:
            count = half
    return low
