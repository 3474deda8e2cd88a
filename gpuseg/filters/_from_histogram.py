"""Automatic thresholds as arithmetic on a histogram: plain NumPy, the same for all backends.

Each function takes the counts (float64, the first and the last not zero) and the centres of the
bins, and returns the threshold: voxels above it are foreground. Where scikit-image has the method,
it does the arithmetic, so that the value is its own.
"""

from __future__ import annotations

import numpy as np


class UndecidedError(RuntimeError, ValueError):
    """The histogram gives a method nothing to decide by.

    Both of the errors that scikit-image raises then, so that code that catches one goes on working.
    """


def otsu(counts, centers):
    from skimage.filters import threshold_otsu

    return threshold_otsu(hist=(counts, centers))


def yen(counts, centers):
    from skimage.filters import threshold_yen

    with np.errstate(divide="ignore", invalid="ignore"):
        return threshold_yen(hist=(counts, centers))


def isodata(counts, centers, *, return_all=False):
    from skimage.filters import threshold_isodata

    with np.errstate(divide="ignore", invalid="ignore"):
        found = threshold_isodata(hist=(counts, centers), return_all=True)
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
    from skimage.filters import threshold_multiotsu

    values = int(np.count_nonzero(counts))
    if values < classes:
        raise UndecidedError(f"the histogram has {values} different values for {classes} classes")
    return threshold_multiotsu(hist=(counts / counts.sum(), centers), classes=classes)


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
    """Fixed point of the cross entropy of values counted from `lowest`, as the first guess is."""
    values = np.asarray(centers - lowest, np.float64)
    moments = counts * values
    guess = moments.sum() / counts.sum() if initial_guess is None else initial_guess
    report = iter_callback or (lambda value: None)
    report(guess + lowest)
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
        report(guess + lowest)
    return guess + lowest


def mean(counts, centers):
    return (counts * centers).sum() / counts.sum()


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
