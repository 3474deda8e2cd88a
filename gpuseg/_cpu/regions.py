"""Labels as indices, and sums over regions: array code for every backend."""

from __future__ import annotations

import numpy as np

from .._backend import array_namespace

# Pixels that are in int64 and float64 at a time.
PIECE = 1 << 20


def compact(labels):
    """Flat labels 0, 1, ... and the label that each stands for; those that exist, in order."""
    xp = array_namespace(labels)
    flat = labels.reshape(-1)
    if flat.dtype not in (xp.int32, xp.int64):
        flat = flat.astype(xp.int32 if flat.dtype.itemsize < 4 else xp.int64)
    most = int(flat.max())
    if most > 4 * flat.size + 1024:
        numbers, flat = xp.unique(flat, return_inverse=True)
        return flat, numbers
    there = xp.zeros(most + 1, bool)
    there[flat] = True
    numbers = xp.flatnonzero(there)
    if numbers.size <= most:
        flat = (xp.cumsum(there) - 1).astype(xp.int32)[flat]
    return flat, numbers


def region_sums(values, flat, count, means=None, *, step=None):
    """Sums over regions, of the values or of their squared distances from `means`; and sizes.

    Every term is rounded to a multiple of one power of two, so few bits that float64 adds them
    without rounding, in any order: the `step` of these values, unless one for more is given.
    """
    xp = array_namespace(values)
    if step is None:
        most = max(abs(float(values.min())), abs(float(values.max())))
        step = sum_step(most, values.size, squares=means is not None)
    sums, sizes = xp.zeros(count), xp.zeros(count, xp.int64)
    for at in range(0, flat.size, PIECE):
        regions = flat[at : at + PIECE]
        terms = values[at : at + PIECE].astype(xp.float64)
        if means is not None:
            terms -= means[regions]
            terms *= terms
        terms /= step
        sums += xp.bincount(regions, xp.rint(terms, out=terms), count)
        sizes += xp.bincount(regions, minlength=count)
    return sums * step, sizes


def sum_step(most: float, size: int, *, squares: bool) -> float:
    """The power of two that `size` values up to `most`, or their squared distances, are rounded to
    a multiple of."""
    most = (2 * most) ** 2 if squares else most
    return 2.0 ** (np.frexp(most)[1] - 52 + int(size).bit_length()) if most else 1.0
