"""Automatic thresholds as arithmetic on a histogram: plain NumPy, the same for all backends.

Each function takes the counts (float64, the first and the last not zero) and the centres of the
bins, and returns the threshold: voxels above it are foreground. Where scikit-image has the method,
it does the arithmetic, so that the value is its own, on centres that its types have room for.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np


class UndecidedError(RuntimeError, ValueError):
    """The histogram gives a method nothing to decide by.

    Both of the errors that scikit-image raises then, so that code that catches one goes on working.
    """


class Scale(NamedTuple):
    """Values as places: distances from an origin, times a power of two, which changes no digit.

    For values whose own squares and ratios are no numbers, or lose what tells them apart.
    """

    origin: float = 0.0
    factor: float = 1.0

    def place(self, values):
        if self == UNSCALED:
            return values
        return values.astype(np.float64) * self.factor - self.origin * self.factor

    def value(self, places):
        if self == UNSCALED:
            return places
        return (self.origin * self.factor + places) / self.factor


UNSCALED = Scale()


def power_of_two(greatest) -> float:
    """What brings a float64 number near 1, as nearly as powers of two go."""
    return float(2.0 ** -np.clip(np.frexp(greatest)[1], -1000, 1020))


def placed(centers):
    """Centres as float64 distances from the first that may be multiplied, and their scale."""
    if centers.dtype.kind in "iu":
        # As unsigned numbers, whose differences have room for all of them.
        places = centers.astype(np.uint64) - centers[:1].astype(np.uint64)
        return places.astype(np.float64), Scale(float(centers[0]))
    values = centers.astype(np.float64)
    scale = Scale(values[0], power_of_two(max(abs(values[0]), abs(values[-1]))))
    return scale.place(values), scale


def within(values, centers):
    """Values that rounding may have moved beyond the first or the last centre."""
    return np.clip(values, np.float64(centers[0]), np.float64(centers[-1]))


def _harmless(centers) -> bool:
    """Whether sums and squares of centres keep what tells these apart."""
    kind = np.finfo(centers.dtype if centers.dtype.kind == "f" else np.float64)
    low, high = float(centers[0]), float(centers[-1])
    greatest, span = max(abs(low), abs(high)), high - low
    room = float(kind.tiny) ** 0.45 < span and greatest < float(kind.max) ** 0.45
    return room and greatest * float(kind.eps) * 2**16 <= span


def _by_values(method, counts, centers):
    """What a method of scikit-image finds among centres, or among their places where it must."""
    if _harmless(centers):
        return method(hist=(counts, centers))
    places, _ = placed(centers)
    return centers[np.searchsorted(places, method(hist=(counts, places)))]


def otsu(counts, centers):
    return _by_values(of_skimage("otsu"), counts, centers)


def of_skimage(name: str):
    """A method of scikit-image as a function of a histogram; it divides by sides of nothing."""
    import skimage.filters

    method = getattr(skimage.filters, f"threshold_{name}")

    def of_histogram(hist, **options):
        with np.errstate(divide="ignore", invalid="ignore"):
            return method(hist=hist, **options)

    return of_histogram


def yen(counts, centers):
    return of_skimage("yen")((counts, centers))


def isodata(counts, centers, *, return_all=False):
    if centers.dtype.kind == "f":
        found = centers[_half_way(counts, placed(centers)[0])]
    else:
        every = functools.partial(of_skimage("isodata"), return_all=True)
        found = _by_values(every, counts, centers)
    if return_all:
        return found
    if not found.size:
        raise UndecidedError("isodata finds no threshold half-way between the two means")
    return found[0]


def _half_way(counts, places):
    """The bins half-way between the means of both sides, as in scikit-image, but in float64.

    Nor does rounding decide between two bins if the middle is where they meet.
    """
    below, moments = np.cumsum(counts)[:-1], np.cumsum(counts * places)
    above = np.cumsum(counts[::-1])[::-1][1:]
    above_moments = np.cumsum((counts * places)[::-1])[::-1][1:]
    width = places[1] - places[0]
    off = (moments[:-1] / below + above_moments / above) / 2 - places[:-1] + 1e-3 * width
    return np.flatnonzero((off >= 0) & (off < width))


def minimum(counts, centers, *, max_num_iter=10_000):
    """The lowest bin between the two peaks that are left when the histogram is smoothed."""
    return centers[0] if counts.size == 2 else valley(counts, centers, max_num_iter=max_num_iter)


def valley(counts, centers, *, max_num_iter=10_000):
    """The same as scikit-image finds it, which sees no two peaks in two values."""
    from scipy.ndimage import uniform_filter1d

    # float32 as in scikit-image, whose own search walks bin by bin: minutes for 16-bit images.
    smooth = counts.astype(np.float32)
    # What only the last of the smoothings leaves does not count, as in scikit-image.
    for _ in range(max_num_iter - 1):
        smooth = uniform_filter1d(smooth, 3)
        peaks = _peaks(smooth)
        if peaks.size < 3:
            break
    else:
        raise UndecidedError(f"minimum finds more than two peaks in {max_num_iter} smoothings")
    if peaks.size != 2:
        raise UndecidedError(f"minimum needs two peaks, and smoothing leaves {peaks.size}")
    first, second = peaks
    return centers[first + int(smooth[first : second + 1].argmin())]


def _peaks(heights):
    """The last bins of the rises, and of the level ground after them, that a fall ends."""
    steps = np.diff(heights)
    ends = np.flatnonzero(steps)
    falls = steps[ends] < 0
    return ends[falls & np.append(True, ~falls[:-1])[: falls.size]]


def multiotsu(counts, centers, *, classes):
    """The last bins of the classes, of the lowest such bins where several do as well."""
    used = np.flatnonzero(counts)
    if used.size < classes:
        raise UndecidedError(
            f"the histogram has {used.size} different values for {classes} classes"
        )
    if classes == 2:
        return np.array([otsu(counts, centers)])
    places = placed(centers)[0][used]
    # From the middle, so that the sums are small; what is added to all of them changes nothing.
    places -= np.average(places, weights=counts[used])
    weights, moments = (np.append(0.0, np.cumsum(x)) for x in (counts[used], counts[used] * places))
    nearly = 1e-12 * (counts[used] * places**2).sum()
    # The most variance between classes that the bins from each on can have: in one class, in two...
    best = _between(weights, moments, np.arange(used.size), used.size)
    ends = []
    for _ in range(classes - 1):
        found, best = _first_ends(weights, moments, best, nearly)
        ends.append(found)
    stops = [0]
    for found in reversed(ends):
        stops.append(found[stops[-1]])
    return centers[used[np.array(stops[1:]) - 1]]


def _between(weights, moments, start, stop):
    """A class's part of the variance between classes, of the bins from `start` to `stop`."""
    return (moments[stop] - moments[start]) ** 2 / (weights[stop] - weights[start])


def _first_ends(weights, moments, rest, nearly):
    """Where a class that starts at each bin best ends, and what it gives with the `rest` then.

    The best end never moves back as the start moves on, so that of the start in the middle is a
    bound for all others.
    """
    starts = rest.size - 1
    ends, best = np.empty(starts, np.int64), np.empty(starts)
    open_ranges = [(0, starts, 1, starts)]
    while open_ranges:
        first, stop, low, high = open_ranges.pop()
        if first == stop:
            continue
        start = (first + stop) // 2
        tried = np.arange(max(low, start + 1), high + 1)
        found = _between(weights, moments, start, tried) + rest[tried]
        best[start] = found.max()
        ends[start] = end = tried[np.argmax(found >= best[start] - nearly)]
        open_ranges += [(first, start, low, end), (start + 1, stop, end, high)]
    return ends, best


def triangle(counts, centers):
    """The bin farthest below the line from the peak to the end of the longer tail.

    Of two values the lower one, which divides them: no line lies above either.
    """
    return centers[0] if counts.size == 2 else tail(counts, centers)


def tail(counts, centers):
    """The same as scikit-image finds it."""
    peak = int(counts.argmax())
    flip = peak < counts.size - 1 - peak
    side = counts[::-1] if flip else counts
    width = counts.size - 1 - peak if flip else peak
    along = np.arange(width)
    if not width:
        return centers[peak]
    norm = np.sqrt(counts[peak] ** 2 + width**2)
    index = int(np.argmax(counts[peak] / norm * along - width / norm * side[:width]))
    return centers[counts.size - 1 - index if flip else index]


def li(counts, places, first, last, *, tolerance, guess=None, report=lambda place: None):
    """Fixed point of the cross entropy, as a distance from the lowest value, as all others are.

    What has its mean at one of `places` is background from `last` on, and foreground up to `first`;
    between them it is numbers that are spread evenly.
    """
    moments = counts * places
    place = moments.sum() / counts.sum() if guess is None else guess
    report(place)
    # Rounding can make the iteration swing between two neighbours for ever: a value that comes
    # again is the end.
    seen, before = set(), np.inf
    while abs(place - before) > tolerance and place not in seen:
        seen.add(place)
        before = place
        back, fore = last <= place, first > place
        below, above = counts[back].sum(), counts[fore].sum()
        sum_below, sum_above = moments[back].sum(), moments[fore].sum()
        for i in np.flatnonzero(~(back | fore)):
            part = counts[i] * ((place - first[i]) / (last[i] - first[i]))
            below, above = below + part, above + (counts[i] - part)
            sum_below += part * (first[i] / 2 + place / 2)
            sum_above += (counts[i] - part) * (place / 2 + last[i] / 2)
        # A background of the lowest value alone has no logarithm, and no side may be empty.
        if not (sum_below > 0 and above > 0):
            break
        mean_back, mean_fore = sum_below / below, sum_above / above
        logs = np.log(mean_back), np.log(mean_fore)
        if not logs[0] < logs[1]:
            break
        place = (mean_back - mean_fore) / (logs[0] - logs[1])
        report(place)
    return place


def spread(counts, edges):
    """Equal bins as `li` takes them, from their edges.

    What a bin has more than both of its neighbours is taken for one number: in the first bin for
    the lowest of all, as in a background that is exactly black. No rounding is to decide on which
    side of a threshold such a number lies, so that one that is at the threshold is below it.
    """
    width = edges[1] - edges[0]
    beside = np.maximum(np.append(0, counts[:-1]), np.append(counts[1:], 0))
    even = np.minimum(counts, beside)
    middles = edges[:-1] / 2 + edges[1:] / 2
    singles = middles.copy()
    singles[0] = edges[0]
    at = np.maximum(edges[:-1] - width / 2, edges[0])
    parts = (counts - even, singles, at, at), (even, middles, edges[:-1], edges[1:])
    return tuple(np.concatenate(pair) for pair in zip(*parts))


def mean(counts, centers):
    if _harmless(centers):  # to the last digit of the mean of an image of integers
        return within((counts * centers).sum() / counts.sum(), centers)
    places, scale = placed(centers)
    return within(scale.value((counts / counts.sum() * places).sum()), centers)


def intermodes(counts, centers):
    """Half-way between the two peaks that are left when the histogram is smoothed."""
    if counts.size == 2:
        return centers[0]
    first, second = _two_peaks(counts)
    return centers[(first + second) // 2]


def _two_peaks(counts, most=10_000):
    from scipy.ndimage import uniform_filter1d

    smooth = np.pad(counts.astype(np.float64), 1)
    for _ in range(most):
        inner = smooth[1:-1]
        peaks = np.flatnonzero((inner > smooth[:-2]) & (inner >= smooth[2:]))
        if peaks.size == 2:
            return peaks
        if peaks.size < 2:
            break
        # Beyond the ends there is nothing: the histogram may spread, but not fold back.
        smooth = np.pad(uniform_filter1d(smooth, 3, mode="constant")[1:-1], 1)
    raise UndecidedError("intermodes needs two peaks, and smoothing leaves fewer or more")


def huang(counts, centers):
    """Least fuzziness: how unlike the means of its side each value is, as an entropy."""
    from scipy.special import xlogy

    grey = np.flatnonzero(counts)
    weights = counts[grey]
    moments = np.cumsum(weights * grey)
    numbers = np.cumsum(weights)
    span = counts.size - 1
    cost = np.empty(grey.size - 1)
    for t in range(grey.size - 1):
        fore = (moments[-1] - moments[t]) / (numbers[-1] - numbers[t])
        means = np.where(grey <= grey[t], moments[t] / numbers[t], fore)
        unlike = np.abs(grey - means) / span
        # The entropy of a membership of 1 / (1 + unlike).
        entropy = np.log1p(unlike) - xlogy(unlike, unlike) / (1 + unlike)
        cost[t] = (weights * entropy).sum()
    return centers[grey[cost.argmin()]]


def maxentropy(counts, centers):
    """Most information in the two sides together."""
    return centers[int(np.argmax(_entropies(counts, 1.0)))]


def _entropies(counts, order):
    """For each bin, the Renyi entropy (of order 1: Shannon's) of both sides of it, added."""
    p = counts / counts.sum()
    below = np.cumsum(p)[:-1]
    # From above, so that rounding never leaves a side without weight.
    above = np.cumsum(p[::-1])[::-1][1:]
    if order == 1.0:
        plogp = np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0)
        part = np.cumsum(plogp)[:-1]
        rest = np.cumsum(plogp[::-1])[::-1][1:]
        return np.log(below) - part / below + np.log(above) - rest / above
    power = p**order
    part = np.cumsum(power)[:-1]
    rest = np.cumsum(power[::-1])[::-1][1:]
    return (np.log(part / below**order) + np.log(rest / above**order)) / (1 - order)


def renyientropy(counts, centers):
    """The thresholds of three Renyi entropies, weighed by how close they lie together."""
    low, middle, high = sorted(
        int(np.argmax(_entropies(counts, order))) for order in (0.5, 1.0, 2.0)
    )
    near = middle - low <= 5, high - middle <= 5
    first, second, third = {
        (True, True): (1, 2, 1),
        (False, False): (1, 2, 1),
        (True, False): (0, 1, 3),
        (False, True): (3, 1, 0),
    }[near]
    below = np.cumsum(counts) / counts.sum()
    omega = below[high] - below[low]
    index = (
        low * (below[low] + omega * first / 4)
        + middle * omega * second / 4
        + high * (1 - below[high] + omega * third / 4)
    )
    return centers[min(int(index), counts.size - 1)]


def _first(counts):
    """The share of the first 1, 2, ... bins but the last, and their variance, in bins: a sum over
    the bins, of which none is below 0 and none is lost in the square of a mean."""
    grey, total = np.arange(counts.size, dtype=np.float64), np.cumsum(counts, dtype=np.float64)
    some = np.maximum(total, np.finfo(np.float64).tiny)
    middle = np.cumsum(counts * grey) / some
    more = np.zeros(counts.size)
    more[1:] = counts[1:] * (total[:-1] / some[1:]) * (grey[1:] - middle[:-1]) ** 2
    return (total / total[-1])[:-1], (np.cumsum(more) / some)[:-1]


def minerror(counts, centers):
    """Least overlap of the two normal distributions that the sides would come from."""
    (below, spread_below), (above, spread_above) = _first(counts), _first(counts[::-1])
    above, spread_above = above[::-1], spread_above[::-1]
    # A side of one value has no spread to speak of; the paper leaves it out.
    valid = (spread_below > 0) & (spread_above > 0)
    if not valid.any():
        raise UndecidedError("minerror needs two values at least on each side of a threshold")
    with np.errstate(divide="ignore", invalid="ignore"):
        cost = below * np.log(spread_below) + above * np.log(spread_above)
        cost -= 2 * (below * np.log(below) + above * np.log(above))
    cost[~valid] = np.inf
    return centers[int(cost.argmin())]


def moments(counts, centers):
    """The two grey values of one weight each that keep the first three moments."""
    grey = np.arange(counts.size, dtype=np.float64)
    p = counts / counts.sum()
    m1, m2, m3 = (float((p * grey**k).sum()) for k in (1, 2, 3))
    spread = m2 - m1 * m1
    if spread <= 0:
        raise UndecidedError("moments needs more than one value")
    c0, c1 = (m1 * m3 - m2 * m2) / spread, (m1 * m2 - m3) / spread
    root = np.sqrt(max(c1 * c1 - 4 * c0, 0.0))
    if root == 0:
        raise UndecidedError("moments finds one grey value only")
    z0, z1 = (-c1 - root) / 2, (-c1 + root) / 2
    fraction = (z1 - m1) / (z1 - z0)
    # Two values have just this fraction below, but for rounding.
    return centers[min(int(np.searchsorted(np.cumsum(p), fraction - 1e-9)), p.size - 1)]


def percentile(counts, centers):
    """Half of the voxels on each side, as nearly as the bins allow."""
    below = np.cumsum(counts) / counts.sum()
    return centers[int(np.abs(below - 0.5).argmin())]


def shanbhag(counts, centers):
    """Least difference of the information in the two sides' fuzzy memberships."""
    p = counts / counts.sum()
    below = np.cumsum(p)
    above = np.append(np.cumsum(p[::-1])[::-1][1:], 0)
    difference = np.empty(p.size - 1)
    for t in range(p.size - 1):
        sure = 0.5 / below[t]
        back = -sure * (p[1 : t + 1] * np.log(1 - sure * below[:t])).sum()
        sure = 0.5 / above[t]
        fore = -sure * (p[t + 1 :] * np.log(1 - sure * above[t + 1 :])).sum()
        difference[t] = abs(back - fore)
    return centers[int(difference.argmin())]
