"""Automatic thresholds as arithmetic on a histogram: plain NumPy, the same for all backends.

Each function takes the counts (float64, the first and the last not zero) and the centres of the
bins, and returns the threshold: voxels above it are foreground. Where scikit-image has the method,
it does the arithmetic, so that the value is its own.
"""

from __future__ import annotations

import functools

import numpy as np


class UndecidedError(RuntimeError, ValueError):
    """The histogram gives a method nothing to decide by.

    Both of the errors that scikit-image raises then, so that code that catches one goes on working.
    """


# Centres between these, and no farther from zero than so many times their span, are taken as they
# come, to scikit-image's last digit: it works in float32, and squares them.
_SPANS = 1e-15, 1e15
_FAR = 64


def ordinary(first: float, last: float) -> bool:
    """Whether scikit-image's arithmetic serves for values between these."""
    span = last / 2 - first / 2  # the distance between two great numbers can overflow
    return _SPANS[0] < 2 * span < _SPANS[1] and max(abs(first), abs(last)) <= _FAR * 2 * span


def _conditioned(method):
    """A method whose answer does not depend on the unit and the zero of the values.

    Centres that are far from zero for their span, or very large or small, are counted from the
    first and scaled by a power of two, which changes no bin that is found.
    """

    @functools.wraps(method)
    def decide(counts, centers, **options):
        if ordinary(float(centers[0]), float(centers[-1])):
            return method(counts, centers, **options)
        units, _ = in_units(centers, centers[0])
        found = method(counts, units, **options)
        return centers[np.searchsorted(units, found)]

    return decide


def in_units(centers, lowest):
    """Distances from `lowest` in float64, times a power of two: the last from 0.5 to 1.

    Also the exponent of the power that gives the distances back.
    """
    if centers.dtype.kind in "iu":
        distances = (centers - centers.dtype.type(lowest)).astype(np.float64)
        exponent = 0
    else:
        # Halves first: the distance between two great numbers can overflow.
        distances = centers.astype(np.float64) / 2 - float(lowest) / 2
        exponent = 1
        if 0 < distances[-1] < 1e-290:  # a half may be too small for float64
            distances, exponent = centers.astype(np.float64) - float(lowest), 0
    power = int(np.frexp(distances[-1])[1])
    # In two steps: one factor may be too great for float64.
    half = -power // 2
    return np.ldexp(np.ldexp(distances, half), -power - half), exponent + power


@_conditioned
def otsu(counts, centers):
    from skimage.filters import threshold_otsu

    return threshold_otsu(hist=(counts, centers))


def yen(counts, centers):
    from skimage.filters import threshold_yen

    with np.errstate(divide="ignore", invalid="ignore"):
        return threshold_yen(hist=(counts, centers))


@_conditioned
def _all_isodata(counts, centers):
    from skimage.filters import threshold_isodata

    with np.errstate(divide="ignore", invalid="ignore"):
        return threshold_isodata(hist=(counts, centers), return_all=True)


def isodata(counts, centers, *, return_all=False):
    found = _all_isodata(counts, centers)
    if return_all:
        return found
    if not found.size:
        raise UndecidedError("isodata finds no threshold half-way between the two means")
    return found[0]


def minimum(counts, centers, *, max_num_iter=10_000):
    """The lowest bin between the two peaks that are left when the histogram is smoothed."""
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
    """The thresholds of most variance between the classes; of equal ones, the lowest."""
    used = np.flatnonzero(counts)
    if used.size < classes:
        raise UndecidedError(
            f"the histogram has {used.size} different values for {classes} classes"
        )
    if classes == 2:
        return np.array([otsu(counts, centers)])
    # Empty bins divide nothing: a threshold at the last bin before them is the lowest of equals.
    weights = counts[used] / counts.sum()
    units, _ = in_units(centers, centers[0])
    units = units[used]
    units = units - (weights * units).sum()
    below = np.concatenate(([0.0], np.cumsum(weights)))
    moments = np.concatenate(([0.0], np.cumsum(weights * units)))

    def between(start, stops):
        """What the class of the values from `start` to before each of `stops` adds."""
        return (moments[stops] - moments[start]) ** 2 / (below[stops] - below[start])

    # gain[i]: the most that the values from i on can give in so many classes; `ends` says where
    # the first of these ends.
    count = used.size
    gain = np.full(count + 1, -np.inf)
    gain[:count] = (moments[-1] - moments[:count]) ** 2 / (below[-1] - below[:count])
    ends = []
    for _ in range(classes - 1):
        gain, end = _best_ends(gain, between, count)
        ends.append(end)
    places, at = [], 0
    for end in reversed(ends):
        at = end[at]
        places.append(used[at - 1])
    return centers[np.array(places)]


def _best_ends(rest, between, count: int):
    """For each start, the best end of one more class before the `rest`, and what that gives.

    The best ends ascend with the starts (the variance within a class satisfies the quadrangle
    inequality), so half of the search ends at the answer for the start in the middle.
    """
    gain, end = np.full(count + 1, -np.inf), np.zeros(count + 1, np.int64)
    waiting = [(0, count - 1, 1, count)]
    while waiting:
        first, last, low, high = waiting.pop()
        if first > last:
            continue
        middle = (first + last) // 2
        stops = np.arange(max(low, middle + 1), high + 1)
        totals = between(middle, stops) + rest[stops]
        best = int(np.argmax(totals))
        gain[middle], end[middle] = totals[best], stops[best]
        if np.isneginf(gain[middle]):  # too few values are left for the classes
            waiting.append((first, middle - 1, low, high))
            continue
        waiting.append((first, middle - 1, low, end[middle]))
        waiting.append((middle + 1, last, end[middle], high))
    return gain, end


def triangle(counts, centers):
    """The bin farthest below the line from the peak to the end of the longer tail."""
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


def li(counts, centers, *, lowest, tolerance, initial_guess=None, iter_callback=None):
    """Fixed point of the cross entropy of values counted from `lowest`, as the first guess is.

    It ends, as in scikit-image, where the background is the lowest value alone.
    """
    values, exponent = in_units(centers, lowest)
    if abs(exponent) < 64:  # to scikit-image's last digit, which the logarithms decide
        values, exponent = np.ldexp(values, exponent), 0
    moments = counts * values
    tolerance = np.ldexp(tolerance, -exponent)
    if initial_guess is None:
        guess = moments.sum() / counts.sum()
    else:
        guess = np.ldexp(initial_guess, -exponent)

    def in_grey(guess):
        return lowest + np.ldexp(guess, exponent)

    report = iter_callback or (lambda value: None)
    report(in_grey(guess))
    # Rounding can make the iteration swing between two neighbours for ever: a value that comes
    # again is the end.
    seen, last = set(), np.inf
    while abs(guess - last) > tolerance and guess not in seen:
        seen.add(guess)
        last = guess
        fore = values > last
        weights = counts[fore].sum(), counts[~fore].sum()
        if not all(weights):
            break
        mean_fore, mean_back = moments[fore].sum() / weights[0], moments[~fore].sum() / weights[1]
        if mean_back == 0:
            break
        guess = (mean_back - mean_fore) / (np.log(mean_back) - np.log(mean_fore))
        report(in_grey(guess))
    return in_grey(guess)


def mean(counts, centers):
    with np.errstate(over="ignore", invalid="ignore"):
        value = (counts * centers).sum() / counts.sum()
    # The sum of great values can overflow, their shares in the mean cannot.
    return value if np.isfinite(value) else (counts / counts.sum() * centers).sum()


def intermodes(counts, centers):
    """Half-way between the two peaks that are left when the histogram is smoothed."""
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
