"""Labels as indices, and sums over regions: array code for every backend."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._backend import array_namespace, asnumpy, is_cupy, ndimage
from ..kernels import regions as kernel

# Pixels that are in int64 and float64 at a time.
PIECE = 1 << 19


def as_indices(labels, *, signed=True):
    """Flat labels that can be indices of a table, and the label that each stands for.

    What it stands for is None where labels are not negative and so small that a table up to the
    largest takes little memory beside them: they stay as they are. Otherwise they are counted
    from 0 on in their order, of those alone that exist. Whatever allocates a place for each label
    goes by this function: one large label must not cost memory for all the numbers below it.
    `signed` is False where none is known to be negative.
    """
    xp = array_namespace(labels)
    flat = labels.reshape(-1)
    if flat.dtype.kind != "b":
        most = int(flat.max())
        least = int(flat.min()) if signed and flat.dtype.kind == "i" else 0
        if least < 0 or most > 4 * flat.size + 1024:
            return _ranks(flat)
    if flat.dtype not in (xp.int32, xp.int64):
        flat = flat.astype(xp.int32 if flat.dtype.itemsize < 4 else xp.int64)
    return flat, None


def _ranks(flat):
    """By sorting, of each run of equal labels the first."""
    xp = array_namespace(flat)
    new = xp.ones(flat.size, bool)
    new[1:] = flat[1:] != flat[:-1]
    numbers, ranks = xp.unique(flat[new], return_inverse=True)
    kind = xp.int32 if flat.size < 2**31 else xp.int64
    return ranks.astype(kind)[xp.cumsum(new, dtype=kind) - 1], _named(numbers)


def _named(numbers):
    """Labels in one type, whatever the chunk or piece they are of: int64 unless they are uint64."""
    return numbers if numbers.dtype == np.uint64 else numbers.astype(np.int64)


def compact(labels):
    """Flat labels 0, 1, ... and the label that each stands for; those that exist, in order.

    ``numbers[flat]`` are the labels again. They are int64, of uint64 labels uint64.
    """
    flat, numbers = as_indices(labels)
    if numbers is not None:
        return flat, numbers
    xp = array_namespace(flat)
    most = int(flat.max())
    there = xp.zeros(most + 1, bool)
    there[flat] = True
    numbers = xp.flatnonzero(there)
    if numbers.size <= most:
        flat = (xp.cumsum(there) - 1).astype(xp.int32)[flat]
    return flat, numbers.astype(np.uint64) if labels.dtype == np.uint64 else _named(numbers)


def is_label(numbers, label: int):
    """Where labels are a number, which their type need not hold."""
    info = np.iinfo(numbers.dtype)
    if not info.min <= label <= info.max:
        return array_namespace(numbers).zeros(numbers.shape, bool)
    return numbers == label


class Scale(NamedTuple):
    """The steps of sums, a power of two, and how many parts each has for what they leave over.

    Sums are of whole numbers of both, and neither has more bits than float64 holds: no order
    changes them. What is lost of a term is less than 2**-50 of the largest, for up to 2**27 pixels.
    """

    step: float
    parts: float

    def total(self, high, low):
        return (high + low / self.parts) * self.step

    def mean(self, high, low, sizes):
        return (high + low / self.parts) / sizes * self.step


def scale_for(most: float, size: int) -> Scale:
    """The scale for `size` terms up to `most`."""
    bits = int(size).bit_length()
    exponent = int(np.frexp(most)[1]) - 52 + bits if most else 0
    return Scale(2.0 ** max(exponent, -1074), 2.0 ** (53 - bits))


def largest(values) -> float:
    """The largest absolute value."""
    return max(abs(float(values.min())), abs(float(values.max())))


def region_sizes(flat, count):
    xp = array_namespace(flat)
    sizes = xp.zeros(count, xp.int64)
    for here in _pieces(flat):
        if is_cupy(flat):
            sizes += xp.bincount(flat[here], minlength=count)
        else:
            kernel.count(flat[here], sizes)
    return sizes


def region_sums(values, flat, count, scale):
    """Sums over regions, as the two numbers that a scale makes sums of."""
    xp = array_namespace(flat)
    sums = xp.zeros((2, count))
    for here in _pieces(flat):
        part = values[here].astype(xp.float64)
        if is_cupy(flat):
            _add_up(part, flat[here], scale, sums)
        else:
            kernel.add_up(part, flat[here], *scale, *sums)
    return sums


def region_means(values, flat, count):
    scale = scale_for(largest(values), values.size)
    return scale.mean(*region_sums(values, flat, count, scale), region_sizes(flat, count))


def region_ends(values, flat, count):
    """The least and the largest value of each region, in float64."""
    xp = array_namespace(values)
    if is_cupy(values):
        # Not by its ufunc.at, which was seen to give infinity for large float64.
        numbers = xp.arange(count)
        ends = (getattr(ndimage(values), name) for name in ("minimum", "maximum"))
        return tuple(xp.asarray(end(values, flat, numbers), xp.float64) for end in ends)
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    for here in _pieces(flat):
        kernel.widen(values[here].astype(np.float64), flat[here], low, high)
    return low, high


class Spreads(NamedTuple):
    """What the distances of the values of regions are measured from, and in: the middle between the
    ends, and 2**exponents, that of the value farthest off.

    So neither a large mean nor another region's spread costs digits, and no square is too large or
    too small for float64. The variance is the mean of the squares less the square of the mean; it
    is no less than 1 / (2 n) of the largest square, of n pixels.
    """

    middles: np.ndarray
    exponents: np.ndarray

    def sums(self, values, flat, scale):
        """The sums of the distances and of their squares, as `region_sums`, (4, regions)."""
        xp, count = array_namespace(flat), self.middles.size
        middles, exponents = (xp.asarray(part) for part in self)
        sums = xp.zeros((4, count))
        # Powers of two that float64 holds; others need two steps.
        plain = int(abs(exponents).max()) < 1000
        scales = xp.ldexp(1.0, -exponents) if plain else xp.ones(count)
        if not plain:
            middles = xp.ldexp(middles, -exponents)
        for here in _pieces(flat):
            part, regions = values[here].astype(xp.float64), flat[here]
            if not plain:
                part = xp.ldexp(part, -exponents[regions])
            if is_cupy(flat):
                part = (part - middles[regions]) * scales[regions]
                _add_up(part * part, regions, scale, sums[2:])
                _add_up(part, regions, scale, sums[:2])
            else:
                kernel.add_up_distances(part, regions, middles, scales, *scale, sums)
        return sums


def spreads_between(low, high) -> Spreads:
    """The middles and units of regions of which the ends are known."""
    xp = array_namespace(low)
    middles = 0.5 * low + 0.5 * high
    with np.errstate(over="ignore"):
        away = xp.maximum(xp.maximum(high - middles, middles - low), 0.0)
    exponents = xp.where(xp.isinf(away), 1025, xp.frexp(away)[1])
    return Spreads(middles, exponents.astype(xp.int32))


class Variances(NamedTuple):
    """Of each region its pixels, its mean, in units of 2**exponents from the middle, and its
    variance, in units of 4**exponents."""

    sizes: np.ndarray
    middles: np.ndarray
    means: np.ndarray
    values: np.ndarray
    exponents: np.ndarray

    def plain(self):
        return array_namespace(self.values).ldexp(self.values, 2 * self.exponents)

    def roots(self):
        xp = array_namespace(self.values)
        return xp.ldexp(xp.sqrt(self.values), self.exponents)

    def kept(self) -> float:
        """The share of the variance of all pixels that is that of the means."""
        sizes, middles, means, values, exponents = map(asnumpy, self)
        with np.errstate(over="ignore"):
            apart = middles.max() - middles.min()
        unit = max(int(exponents.max()), int(np.frexp(apart)[1]) if np.isfinite(apart) else 1025)
        within = (sizes * np.ldexp(values, 2 * (exponents - unit))).sum()
        away = np.ldexp(middles, -unit) - np.ldexp(middles[0], -unit)
        away += np.ldexp(means, exponents - unit)
        away -= (sizes * away).sum() / sizes.sum()
        between = (sizes * away**2).sum()
        return float(between / (within + between)) if within + between else 1.0


def variances_from(spreads, sums, sizes, scale) -> Variances:
    """From the sums of `Spreads`."""
    means, squares = scale.mean(*sums[:2], sizes), scale.mean(*sums[2:], sizes)
    values = array_namespace(squares).maximum(squares - means * means, 0.0)
    return Variances(sizes, spreads.middles, means, values, spreads.exponents)


def region_variances(values, flat, count) -> Variances:
    spreads = spreads_between(*region_ends(values, flat, count))
    scale = scale_for(1.0, values.size)
    sums = spreads.sums(values, flat, scale)
    return variances_from(spreads, sums, region_sizes(flat, count), scale)


def _pieces(flat):
    for at in range(0, flat.size, PIECE):
        yield slice(at, at + PIECE)


def _add_up(terms, regions, scale, sums) -> None:
    """As the kernel of the same name."""
    xp, count = array_namespace(terms), sums.shape[1]
    terms /= scale.step
    whole = xp.rint(terms)
    sums[0] += xp.bincount(regions, whole, count)
    terms -= whole
    terms *= scale.parts
    sums[1] += xp.bincount(regions, xp.rint(terms, out=terms), count)


def class_sums(values, flat, count, means=None, *, step=None):
    """Sums over a few classes, of the values or of their squared distances from `means`; and sizes.

    Every term is rounded to a multiple of one power of two, so few bits that float64 adds them
    without rounding, in any order: the `step` of these values, unless one for more is given. The
    CUDA kernel of the same name takes the same steps.
    """
    xp = array_namespace(values)
    if step is None:
        step = sum_step(largest(values), values.size, squares=means is not None)
    sums, sizes = xp.zeros(count), xp.zeros(count, xp.int64)
    for here in _pieces(flat):
        regions = flat[here]
        terms = values[here].astype(xp.float64)
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
