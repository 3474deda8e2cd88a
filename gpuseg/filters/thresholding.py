"""Automatic thresholds: one histogram of the image, and arithmetic on it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .._backend import array_namespace, asnumpy, run
from .._checks import (
    MOST_BINS,
    as_array,
    flags,
    integer,
    mask_array,
    not_colours,
    number,
    option,
    real_array,
)
from .._contracts import Close, Exact, contract
from . import _from_histogram
from ._from_histogram import UNSCALED, Scale, UndecidedError

# An integer image whose values span more than this is binned like a floating-point one.
MOST_INTEGER_BINS = 2**26
# Finer bins than the others', for a method that works on the values themselves.
LI_BINS = 2048
# Where the mean of its background lies within so few bins, the lowest are divided again.
LI_COARSE = 64
LI_REFINEMENTS = 6
# A share of the range: no threshold of bins changes by as little.
LI_TOLERANCE = 1e-7

_NAN = 'image holds NaN; pass nan="omit" to leave it out'
_INFINITE = "image holds infinite values, which have no bin and no mean; mask them"


@contract(Exact(), nan="omit")
def histogram(image, nbins=256, *, mask=None, nan="raise"):
    """Count the values of an image, in one pass.

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis
        float16 is counted as float32.
    nbins : int, optional
        Bins between the extremes of a floating-point image. An integer or bool image has one bin
        for each value between its extremes (up to 2**26; beyond, it is binned as well).
    mask : bool array of the shape of `image`, optional
        Only what is inside counts.
    nan : {'raise', 'omit'}, optional
        Whether NaN is an error or left out. Infinities are always an error: no bins hold them.

    Returns
    -------
    counts : int64 array
        The first and the last count are not zero.
    centers : array of as many bin centres
        int64 for integer images (uint64 where they do not fit), else of the image's precision. A
        constant image has one bin.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers, is empty, holds infinities, or NaN with
        ``nan="raise"`` or nothing else; for a `mask` of another shape, or `nbins` below 1.

    Notes
    -----
    Integer counts are those of `numpy.bincount`, floating-point ones those of `numpy.histogram`, on
    every backend. Where that one refuses so many bins in so short a range, there are fewer, down to
    one for each number; and a range may be greater than the greatest number.
    Any array is one grey image, whatever its shape: a last axis of 3 or 4 is not taken for colours.
    `skimage.exposure.histogram` differs in its arguments, and lays 256 bins between False and True.

    References
    ----------
    .. [1] C. Nugteren et al., "High performance predictable histogramming on GPUs", GPGPU-4, 2011.
           :doi:`10.1145/1964179.1964181`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import histogram
    >>> histogram(np.array([3, 5, 5], dtype=np.uint8))
    (array([1, 0, 2]), array([3, 4, 5]))
    """
    image, nbins, mask = _countable(image, nbins, mask, nan)
    found = run(histogram, image, nbins, mask=mask)
    counts, bins = _with_bins(found, image, nbins, mask, nan)
    if isinstance(bins, Bins):
        # Where numbers are few, two bins can have the same of them in the middle.
        centers, first = np.unique(bins.centers, return_index=True)
        return np.add.reduceat(counts, first), centers
    return counts, bins


def _countable(image, nbins, mask, nan):
    image = real_array(image)
    nbins = integer(nbins, "nbins", at_least=1, at_most=MOST_BINS)
    option(nan, "nan", ("raise", "omit"))
    return image, nbins, mask_array(mask, image)


def _with_bins(found, image, nbins, mask, nan):
    """What a backend found, as counts with the `Bins` of floats, or with the value of each bin."""
    counts, bins = found
    if counts is None and np.isnan(bins[0]) and nan == "omit":
        mask = _not_nan(image, mask)
        counts, bins = run(histogram, image, nbins, mask=mask)
    if counts is None:
        return _one_bin(image, mask, *bins)
    counts = asnumpy(counts)
    if isinstance(bins, Bins):
        return counts, bins
    whole = np.int64 if bins + counts.size <= 2**63 else np.uint64
    return counts, np.arange(counts.size, dtype=whole) + whole(bins)


def _counted(image, nbins, mask, nan):
    """The histogram of an image with its bins, instead of their centres."""
    image, nbins, mask = _countable(image, nbins, mask, nan)
    return _with_bins(run(histogram, image, nbins, mask=mask), image, nbins, mask, nan)


def histograms(image, nbins, *, mask, nan):
    """The histogram of an image, and what `li` can start from, by one pass if the latter's finer
    bins are parts of the bins."""
    fine = _counted(image, LI_BINS, mask, nan) if image.dtype.kind == "f" else None
    if fine is not None and isinstance(fine[1], Bins) and LI_BINS % nbins == 0:
        counts, bins = fine
        step, kind = LI_BINS // nbins, np.float64 if image.dtype.itemsize > 4 else np.float32
        whole = lay_bins(bins.edges[0], bins.edges[-1], nbins, kind)
        same = whole.edges.dtype == bins.edges.dtype and UNSCALED == whole.scale == bins.scale
        if same and np.array_equal(whole.edges, bins.edges[::step]):
            return (counts.reshape(-1, step).sum(axis=1), whole.centers), fine
    return histogram(image, nbins, mask=mask, nan=nan), fine


def _not_nan(image, mask):
    there = ~array_namespace(image).isnan(image)
    there = there if mask is None else there & mask
    if not there.any():
        raise ValueError("image holds nothing but NaN" + " inside mask" * (mask is not None))
    return there


def _one_bin(image, mask, low, high):
    if np.isnan(low):
        raise ValueError(_NAN)
    if np.isinf(low) or np.isinf(high):
        raise ValueError(_INFINITE)
    size = image.size if mask is None else int(mask.sum())
    return np.array([size]), np.array([low])


@dataclass(frozen=True)
class Bins:
    """The edges of bins as places of a scale, and the value in the middle of each.

    Nearly all images have the scale of their own values. Others are those whose numbers are so
    great or small that their differences and ratios are none, and those that span so few numbers
    that the bins have but a few each, or `single` ones.
    """

    edges: np.ndarray
    centers: np.ndarray
    scale: Scale = UNSCALED
    single: bool = False


def lay_bins(low, high, nbins: int, dtype) -> Bins:
    """`nbins` equal bins, as `numpy.histogram` lays them.

    Where float32 numbers lie too far apart for so many bins, the edges are float64; where float64
    numbers do so, there are fewer bins, each with as many numbers.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        edges = np.linspace(low, high, nbins + 1, dtype=dtype)
        if edges.dtype == np.float32 and (np.diff(edges) > 0).all():
            return Bins(edges, edges[:-1] / 2 + edges[1:] / 2)
    low, high = np.float64(low), np.float64(high)
    greatest = max(abs(low), abs(high))
    usual = 2.0**-900 < greatest < 2.0**1000
    scale = UNSCALED if usual else Scale(0.0, _from_histogram.power_of_two(greatest))
    bottom, top = scale.place(low), scale.place(high)
    if top - bottom >= 8 * nbins * np.spacing(greatest) * scale.factor:
        edges = np.linspace(bottom, top, nbins + 1)
        # Halves first: the sum of two great edges can overflow.
        return Bins(edges, scale.value(edges[:-1] / 2 + edges[1:] / 2), scale)
    # Differences of so near neighbours are exact.
    scale = Scale(low, scale.factor)
    apart = np.spacing(min(abs(low), abs(high))) * scale.factor
    numbers = round(scale.place(high) / apart) + 1
    each = -(-numbers // nbins)
    firsts = np.arange(-(-numbers // each)) * each
    middles = np.minimum(firsts + (each - 1) // 2, numbers - 1)
    edges = np.append(firsts, firsts[-1] + each) * apart
    return Bins(edges, scale.value(middles * apart), scale, each == 1)


def _histogram_of(image, nbins, hist, mask, nan):
    """The histogram that came, or that of the image that came, as checked float counts."""
    if hist is None:
        if image is None:
            raise ValueError("either image or hist must be given")
        counts, centers = histogram(image, nbins, mask=mask, nan=nan)
        return counts.astype(np.float64), centers
    counts, centers = hist if isinstance(hist, tuple | list) and len(hist) == 2 else (hist, None)
    counts = asnumpy(as_array(counts, "hist"))
    centers = np.arange(counts.size) if centers is None else asnumpy(as_array(centers, "hist"))
    if counts.ndim != 1 or counts.shape != centers.shape:
        raise ValueError(
            "hist must be counts, or counts and as many bin centres, "
            f"got shapes {counts.shape} and {centers.shape}"
        )
    if counts.dtype.kind not in "buif" or not (np.isfinite(counts) & (counts >= 0)).all():
        raise ValueError("hist must hold counts that are finite and not negative")
    if centers.dtype.kind not in "iuf" or not (np.diff(centers) > 0).all():
        raise ValueError("hist must hold bin centres that ascend")
    used = np.flatnonzero(counts)
    if not used.size:
        raise ValueError("hist counts nothing")
    within = slice(used[0], used[-1] + 1)
    return counts[within].astype(np.float64), centers[within]


def merged(counts, centers, nbins: int):
    """At most `nbins` bins: a wide integer image has one a value, up to millions."""
    if counts.size <= nbins:
        return counts, centers
    places, scale = _from_histogram.placed(centers)
    counts, edges = np.histogram(places, nbins, weights=counts)
    return counts, _from_histogram.within(scale.value((edges[:-1] + edges[1:]) / 2), centers)


def without_gaps(counts, centers):
    """A bin for each grey value where the values are evenly spaced, and bins between them empty.

    Otherwise what looks at neighbouring bins would answer otherwise for a camera's 12 bits that are
    stored as 16, and for bytes that are stored as floats.
    """
    if centers.dtype.kind == "f":
        return _in_even_steps(counts, centers) if counts.size <= 4096 else (counts, centers)
    # Most images have what rules it out among their first values.
    step = np.gcd.reduce(np.flatnonzero(counts[:4096]))
    step = step if step == 1 else np.gcd.reduce(np.flatnonzero(counts))
    return (counts[::step], centers[::step]) if step else (counts, centers)


def _in_even_steps(counts, centers):
    """The fewest even steps from the lower edge of the bins to the upper one that meet all values,
    which may have been rounded into the bin beside theirs, and that do so by no accident."""
    bins, used = counts.size, np.flatnonzero(counts)
    for steps in range(used.size - 1, bins - 1):
        width = bins / steps
        rounding = min(0.05, (width - 1) / 4)
        level = np.ceil((used - rounding) / width)
        level[-1] = steps
        if (level * width > used + 1 + rounding).any() or (np.diff(level) <= 0).any():
            continue
        tried = steps - used.size + 2
        if used.size > 2 and tried * _chance(used.size - 2, steps - 1, bins - 2) > 0.05:
            continue
        level = level.astype(np.int64)
        place = (np.arange(steps + 1) * width).astype(np.int64)
        place[level] = used
        return np.bincount(level, counts[used], steps + 1), centers[place]
    return counts, centers


def _chance(values: int, places: int, bins: int) -> float:
    """How likely so many of all bins are all among so many places."""
    ways = [math.lgamma(n + 1) - math.lgamma(n + 1 - values) for n in (places, bins)]
    return math.exp(ways[0] - ways[1])


def _decide(method, image, nbins, hist, mask, nan, *, constant="bin", bins="all", **options):
    """Apply a method to a histogram: "all" of its bins, those "without gaps", or these "merged".

    What a constant image gives: its "value" in its own dtype, or the centre of its one "bin", or
    an "error", as in scikit-image.
    """
    counts, centers = _histogram_of(image, nbins, hist, mask, nan)
    if bins != "all":
        counts, centers = without_gaps(counts, centers)
    if bins == "merged":
        nbins = integer(nbins, "nbins", at_least=2, at_most=MOST_BINS)
        counts, centers = merged(counts, centers, nbins)
    if counts.size > 1:
        return method(counts, centers, **options)
    if constant == "error":
        raise UndecidedError(f"the image is constant: {centers[0]:g}")
    if constant == "value":
        return _constant(image, hist, centers)
    return centers if options.get("return_all") else centers[0]


def _constant(image, hist, centers):
    return centers[0] if hist is not None else as_array(image, "image").dtype.type(centers[0])


@contract(Exact(), via=histogram, nan="omit")
def threshold_otsu(image=None, nbins=256, *, hist=None, mask=None, nan="raise"):
    """Threshold with the least variance within the two sides (Otsu).

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis, optional
        May be left out if `hist` is given.
    nbins : int, optional
        Bins between the extremes of a floating-point image; integers have one a value.
    hist : array or pair of arrays, optional
        Counts, or counts and bin centres, to be used instead of the image's own histogram; centres
        are 0, 1, ... if not given.
    mask : bool array of the shape of `image`, optional
        Only what is inside counts.
    nan : {'raise', 'omit'}, optional
        What to do about NaN.

    Returns
    -------
    threshold : number
        Voxels above it are foreground. Of the type of the bin centres: int64 for integer images.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers, is empty, holds infinities, or NaN with
        ``nan="raise"``; for a `mask` of another shape or a `hist` that is none.

    Warns
    -----
    UserWarning
        If the image has three axes or more and the last has length 3 or 4, as that of colours has.

    References
    ----------
    .. [1] N. Otsu, "A threshold selection method from gray-level histograms", IEEE Transactions
           on Systems, Man, and Cybernetics 9(1), 1979. :doi:`10.1109/TSMC.1979.4310076`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import threshold_otsu
    >>> image = np.array([10, 11, 11, 12, 40, 41, 41, 42], dtype=np.uint8)
    >>> threshold_otsu(image)
    np.int64(12)
    """
    not_colours(threshold_otsu, image, hist, ndim=None)
    return _decide(_from_histogram.otsu, image, nbins, hist, mask, nan, constant="value")


@contract(Exact(), via=histogram, nan="omit")
def threshold_yen(image=None, nbins=256, *, hist=None, mask=None, nan="raise"):
    """Threshold with the most correlation of the two sides (Yen, Chang and Chang).

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis, optional
        May be left out if `hist` is given.
    nbins : int, optional
        Bins between the extremes of a floating-point image; integers have one a value.
    hist : array or pair of arrays, optional
        Counts, or counts and bin centres, to be used instead of the image's own histogram; centres
        are 0, 1, ... if not given.
    mask : bool array of the shape of `image`, optional
        Only what is inside counts.
    nan : {'raise', 'omit'}, optional
        What to do about NaN.

    Returns
    -------
    threshold : number
        Voxels above it are foreground. Of the type of the bin centres: int64 for integer images.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers, is empty, holds infinities, or NaN with
        ``nan="raise"``; for a `mask` of another shape or a `hist` that is none.

    Warns
    -----
    UserWarning
        If the image has three axes or more and the last has length 3 or 4, as that of colours has.

    References
    ----------
    .. [1] J.C. Yen, F.J. Chang, S. Chang, "A new criterion for automatic multilevel thresholding",
           IEEE Transactions on Image Processing 4(3), 1995. :doi:`10.1109/83.366472`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import threshold_yen
    >>> image = np.array([10, 11, 11, 12, 40, 41, 41, 42], dtype=np.uint8)
    >>> threshold_yen(image)
    np.int64(12)
    """
    not_colours(threshold_yen, image, hist, ndim=None)
    return _decide(_from_histogram.yen, image, nbins, hist, mask, nan)


@contract(Exact(), via=histogram, nan="omit")
def threshold_isodata(
    image=None, nbins=256, return_all=False, *, hist=None, mask=None, nan="raise"
):
    """Threshold half-way between the means of its two sides (Ridler and Calvard).

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis, optional
        May be left out if `hist` is given.
    nbins : int, optional
        Bins between the extremes of a floating-point image; integers have one a value.
    return_all : bool, optional
        Return every such threshold instead of the lowest.
    hist : array or pair of arrays, optional
        Counts, or counts and bin centres, to be used instead of the image's own histogram; centres
        are 0, 1, ... if not given.
    mask : bool array of the shape of `image`, optional
        Only what is inside counts.
    nan : {'raise', 'omit'}, optional
        What to do about NaN.

    Returns
    -------
    threshold : number, or array
        Voxels above it are foreground; all candidates if `return_all`.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers, is empty, holds infinities, or NaN with
        ``nan="raise"``; for a `mask` of another shape or a `hist` that is none.

    Warns
    -----
    UserWarning
        If the image has three axes or more and the last has length 3 or 4, as that of colours has.

    Notes
    -----
    For integer images the value is scikit-image's. That one adds up floating-point values in
    float32; here they are added up from the lowest value in float64, so that an image far from zero
    for its contrast has the threshold that it has near zero, within a bin.

    References
    ----------
    .. [1] T.W. Ridler, S. Calvard, "Picture thresholding using an iterative selection method", IEEE
           Transactions on Systems, Man, and Cybernetics 8(8), 1978.
           :doi:`10.1109/TSMC.1978.4310039`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import threshold_isodata
    >>> image = np.array([10, 11, 11, 12, 40, 41, 41, 42], dtype=np.uint8)
    >>> threshold_isodata(image)
    np.int64(26)
    """
    flags(return_all=return_all)
    not_colours(threshold_isodata, image, hist, ndim=None)
    return _decide(_from_histogram.isodata, image, nbins, hist, mask, nan, return_all=return_all)


@contract(Exact(), via=histogram, nan="omit")
def threshold_minimum(
    image=None, nbins=256, max_num_iter=10_000, *, hist=None, mask=None, nan="raise"
):
    """Threshold at the valley between the two peaks of the smoothed histogram.

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis, optional
        May be left out if `hist` is given.
    nbins : int, optional
        Bins between the extremes of a floating-point image; integers have one a value.
    max_num_iter : int, optional
        How often to smooth at most.
    hist : array or pair of arrays, optional
        Counts, or counts and bin centres, to be used instead of the image's own histogram; centres
        are 0, 1, ... if not given.
    mask : bool array of the shape of `image`, optional
        Only what is inside counts.
    nan : {'raise', 'omit'}, optional
        What to do about NaN.

    Returns
    -------
    threshold : number
        Voxels above it are foreground. Of the type of the bin centres: int64 for integer images.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers, is empty, holds infinities, or NaN with
        ``nan="raise"``; for a `mask` of another shape or a `hist` that is none.
    UndecidedError
        If the histogram gives the method nothing to decide by (a constant image, one peak).

    Warns
    -----
    UserWarning
        If the image has three axes or more and the last has length 3 or 4, as that of colours has.

    Notes
    -----
    Of integers with a common factor, and of floats in even steps, only the bins of these values
    count, and of two values the lower one is the threshold. scikit-image smooths over the bins
    between: its threshold of bytes times 16 is another one than that of the bytes, or none.

    References
    ----------
    .. [1] J.M.S. Prewitt, M.L. Mendelsohn, "The analysis of cell images", Annals of the New York
           Academy of Sciences 128, 1966. :doi:`10.1111/j.1749-6632.1965.tb11715.x`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import threshold_minimum
    >>> image = np.repeat(np.arange(10), [1, 5, 9, 5, 1, 1, 5, 9, 5, 1])
    >>> threshold_minimum(image)
    np.int64(4)
    """
    not_colours(threshold_minimum, image, hist, ndim=None)
    return _decide(
        _from_histogram.minimum,
        image,
        nbins,
        hist,
        mask,
        nan,
        max_num_iter=integer(max_num_iter, "max_num_iter", at_least=1),
        constant="error",
        bins="without gaps",
    )


@contract(Exact(), via=histogram, nan="omit")
def threshold_triangle(image=None, nbins=256, *, hist=None, mask=None, nan="raise"):
    """Threshold farthest from the line between the peak and the end of the tail (Zack).

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis, optional
        May be left out if `hist` is given.
    nbins : int, optional
        Bins between the extremes of a floating-point image; integers have one a value.
    hist : array or pair of arrays, optional
        Counts, or counts and bin centres, to be used instead of the image's own histogram; centres
        are 0, 1, ... if not given.
    mask : bool array of the shape of `image`, optional
        Only what is inside counts.
    nan : {'raise', 'omit'}, optional
        What to do about NaN.

    Returns
    -------
    threshold : number
        Voxels above it are foreground. Of the type of the bin centres: int64 for integer images.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers, is empty, holds infinities, or NaN with
        ``nan="raise"``; for a `mask` of another shape or a `hist` that is none.

    Warns
    -----
    UserWarning
        If the image has three axes or more and the last has length 3 or 4, as that of colours has.

    Notes
    -----
    Of integers with a common factor, and of floats in even steps, only the bins of these values
    count, and of two values the lower one is the threshold. scikit-image takes the bins between
    for empty ones: its threshold of bytes times 3 is another one than that of the bytes, and of
    the values 0 and 1 it may be 1, with nothing above it.

    References
    ----------
    .. [1] G.W. Zack, W.E. Rogers, S.A. Latt, "Automatic measurement of sister chromatid exchange
           frequency", Journal of Histochemistry and Cytochemistry 25(7), 1977.
           :doi:`10.1177/25.7.70454`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import threshold_triangle
    >>> image = np.array([10, 11, 11, 12, 40, 41, 41, 42], dtype=np.uint8)
    >>> threshold_triangle(image)
    np.int64(13)
    """
    not_colours(threshold_triangle, image, hist, ndim=None)
    return _decide(
        _from_histogram.triangle,
        image,
        nbins,
        hist,
        mask,
        nan,
        constant="value",
        bins="without gaps",
    )


@contract(Exact(), via=histogram, nan="omit")
def threshold_intermodes(image=None, nbins=256, *, hist=None, mask=None, nan="raise"):
    """Threshold half-way between the two peaks of the smoothed histogram.

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis, optional
        May be left out if `hist` is given.
    nbins : int, optional
        Bins between the extremes of the image; of an integer image (or `hist`) with more of them,
        neighbours are merged, as ImageJ does.
    hist : array or pair of arrays, optional
        Counts, or counts and bin centres, to be used instead of the image's own histogram; centres
        are 0, 1, ... if not given.
    mask : bool array of the shape of `image`, optional
        Only what is inside counts.
    nan : {'raise', 'omit'}, optional
        What to do about NaN.

    Returns
    -------
    threshold : number
        Voxels above it are foreground. Of the type of the bin centres: int64 for integer images.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers, is empty, holds infinities, or NaN with
        ``nan="raise"``; for a `mask` of another shape or a `hist` that is none.
    UndecidedError
        If the histogram gives the method nothing to decide by (a constant image, one peak).

    Warns
    -----
    UserWarning
        If the image has three axes or more and the last has length 3 or 4, as that of colours has.

    References
    ----------
    .. [1] J.M.S. Prewitt, M.L. Mendelsohn, "The analysis of cell images", Annals of the New York
           Academy of Sciences 128, 1966. :doi:`10.1111/j.1749-6632.1965.tb11715.x`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import threshold_intermodes
    >>> image = np.repeat(np.arange(10), [1, 5, 9, 5, 1, 1, 5, 9, 5, 1])
    >>> threshold_intermodes(image)
    np.int64(4)
    """
    not_colours(threshold_intermodes, image, hist, ndim=None)
    return _decide(
        _from_histogram.intermodes, image, nbins, hist, mask, nan, constant="error", bins="merged"
    )


@contract(Exact(), via=histogram, nan="omit")
def threshold_huang(image=None, nbins=256, *, hist=None, mask=None, nan="raise"):
    """Threshold that leaves the least fuzziness (Huang and Wang).

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis, optional
        May be left out if `hist` is given.
    nbins : int, optional
        Bins between the extremes of the image; of an integer image (or `hist`) with more of them,
        neighbours are merged, as ImageJ does.
    hist : array or pair of arrays, optional
        Counts, or counts and bin centres, to be used instead of the image's own histogram; centres
        are 0, 1, ... if not given.
    mask : bool array of the shape of `image`, optional
        Only what is inside counts.
    nan : {'raise', 'omit'}, optional
        What to do about NaN.

    Returns
    -------
    threshold : number
        Voxels above it are foreground. Of the type of the bin centres: int64 for integer images.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers, is empty, holds infinities, or NaN with
        ``nan="raise"``; for a `mask` of another shape or a `hist` that is none.

    Warns
    -----
    UserWarning
        If the image has three axes or more and the last has length 3 or 4, as that of colours has.

    References
    ----------
    .. [1] L.K. Huang, M.J.J. Wang, "Image thresholding by minimizing the measures of fuzziness",
           Pattern Recognition 28(1), 1995. :doi:`10.1016/0031-3203(94)E0043-K`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import threshold_huang
    >>> image = np.array([10, 11, 11, 12, 40, 41, 41, 42], dtype=np.uint8)
    >>> threshold_huang(image)
    np.int64(12)
    """
    not_colours(threshold_huang, image, hist, ndim=None)
    return _decide(_from_histogram.huang, image, nbins, hist, mask, nan, bins="merged")


@contract(Exact(), via=histogram, nan="omit")
def threshold_maxentropy(image=None, nbins=256, *, hist=None, mask=None, nan="raise"):
    """Threshold with the most entropy in the two sides together (Kapur, Sahoo and Wong).

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis, optional
        May be left out if `hist` is given.
    nbins : int, optional
        Bins between the extremes of the image; of an integer image (or `hist`) with more of them,
        neighbours are merged, as ImageJ does.
    hist : array or pair of arrays, optional
        Counts, or counts and bin centres, to be used instead of the image's own histogram; centres
        are 0, 1, ... if not given.
    mask : bool array of the shape of `image`, optional
        Only what is inside counts.
    nan : {'raise', 'omit'}, optional
        What to do about NaN.

    Returns
    -------
    threshold : number
        Voxels above it are foreground. Of the type of the bin centres: int64 for integer images.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers, is empty, holds infinities, or NaN with
        ``nan="raise"``; for a `mask` of another shape or a `hist` that is none.

    Warns
    -----
    UserWarning
        If the image has three axes or more and the last has length 3 or 4, as that of colours has.

    References
    ----------
    .. [1] J.N. Kapur, P.K. Sahoo, A.K.C. Wong, "A new method for gray-level picture thresholding
           using the entropy of the histogram", Computer Vision, Graphics, and Image Processing
           29(3), 1985. :doi:`10.1016/0734-189X(85)90125-2`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import threshold_maxentropy
    >>> image = np.array([10, 11, 11, 12, 40, 41, 41, 42], dtype=np.uint8)
    >>> threshold_maxentropy(image)
    np.int64(12)
    """
    not_colours(threshold_maxentropy, image, hist, ndim=None)
    return _decide(_from_histogram.maxentropy, image, nbins, hist, mask, nan, bins="merged")


@contract(Exact(), via=histogram, nan="omit")
def threshold_minerror(image=None, nbins=256, *, hist=None, mask=None, nan="raise"):
    """Threshold with the least error of two normal distributions (Kittler and Illingworth).

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis, optional
        May be left out if `hist` is given.
    nbins : int, optional
        Bins between the extremes of the image; of an integer image (or `hist`) with more of them,
        neighbours are merged, as ImageJ does.
    hist : array or pair of arrays, optional
        Counts, or counts and bin centres, to be used instead of the image's own histogram; centres
        are 0, 1, ... if not given.
    mask : bool array of the shape of `image`, optional
        Only what is inside counts.
    nan : {'raise', 'omit'}, optional
        What to do about NaN.

    Returns
    -------
    threshold : number
        Voxels above it are foreground. Of the type of the bin centres: int64 for integer images.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers, is empty, holds infinities, or NaN with
        ``nan="raise"``; for a `mask` of another shape or a `hist` that is none.
    UndecidedError
        If the histogram gives the method nothing to decide by (a constant image, one peak).

    Warns
    -----
    UserWarning
        If the image has three axes or more and the last has length 3 or 4, as that of colours has.

    Notes
    -----
    The criterion is evaluated at every bin, as in the paper; ImageJ and ITK follow it from the
    mean to the next fixed point, which may be another minimum.

    References
    ----------
    .. [1] J. Kittler, J. Illingworth, "Minimum error thresholding", Pattern Recognition 19(1),
           1986. :doi:`10.1016/0031-3203(86)90030-0`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import threshold_minerror
    >>> image = np.array([10, 11, 11, 12, 40, 41, 41, 42], dtype=np.uint8)
    >>> threshold_minerror(image)
    np.int64(12)
    """
    not_colours(threshold_minerror, image, hist, ndim=None)
    return _decide(
        _from_histogram.minerror, image, nbins, hist, mask, nan, constant="error", bins="merged"
    )


@contract(Exact(), via=histogram, nan="omit")
def threshold_moments(image=None, nbins=256, *, hist=None, mask=None, nan="raise"):
    """Threshold that keeps the first three moments of the image (Tsai).

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis, optional
        May be left out if `hist` is given.
    nbins : int, optional
        Bins between the extremes of the image; of an integer image (or `hist`) with more of them,
        neighbours are merged, as ImageJ does.
    hist : array or pair of arrays, optional
        Counts, or counts and bin centres, to be used instead of the image's own histogram; centres
        are 0, 1, ... if not given.
    mask : bool array of the shape of `image`, optional
        Only what is inside counts.
    nan : {'raise', 'omit'}, optional
        What to do about NaN.

    Returns
    -------
    threshold : number
        Voxels above it are foreground. Of the type of the bin centres: int64 for integer images.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers, is empty, holds infinities, or NaN with
        ``nan="raise"``; for a `mask` of another shape or a `hist` that is none.
    UndecidedError
        If the histogram gives the method nothing to decide by (a constant image, one peak).

    Warns
    -----
    UserWarning
        If the image has three axes or more and the last has length 3 or 4, as that of colours has.

    References
    ----------
    .. [1] W.H. Tsai, "Moment-preserving thresholding: a new approach", Computer Vision, Graphics,
           and Image Processing 29(3), 1985. :doi:`10.1016/0734-189X(85)90133-1`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import threshold_moments
    >>> image = np.array([10, 11, 11, 12, 40, 41, 41, 42], dtype=np.uint8)
    >>> threshold_moments(image)
    np.int64(12)
    """
    not_colours(threshold_moments, image, hist, ndim=None)
    return _decide(
        _from_histogram.moments, image, nbins, hist, mask, nan, constant="error", bins="merged"
    )


@contract(Exact(), via=histogram, nan="omit")
def threshold_percentile(image=None, nbins=256, *, hist=None, mask=None, nan="raise"):
    """Threshold with half of the voxels on each side (Doyle).

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis, optional
        May be left out if `hist` is given.
    nbins : int, optional
        Bins between the extremes of the image; of an integer image (or `hist`) with more of them,
        neighbours are merged, as ImageJ does.
    hist : array or pair of arrays, optional
        Counts, or counts and bin centres, to be used instead of the image's own histogram; centres
        are 0, 1, ... if not given.
    mask : bool array of the shape of `image`, optional
        Only what is inside counts.
    nan : {'raise', 'omit'}, optional
        What to do about NaN.

    Returns
    -------
    threshold : number
        Voxels above it are foreground. Of the type of the bin centres: int64 for integer images.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers, is empty, holds infinities, or NaN with
        ``nan="raise"``; for a `mask` of another shape or a `hist` that is none.

    Warns
    -----
    UserWarning
        If the image has three axes or more and the last has length 3 or 4, as that of colours has.

    References
    ----------
    .. [1] W. Doyle, "Operations useful for similarity-invariant pattern recognition", Journal of
           the ACM 9(2), 1962. :doi:`10.1145/321119.321123`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import threshold_percentile
    >>> image = np.array([10, 11, 11, 12, 40, 41, 41, 42], dtype=np.uint8)
    >>> threshold_percentile(image)
    np.int64(12)
    """
    not_colours(threshold_percentile, image, hist, ndim=None)
    return _decide(_from_histogram.percentile, image, nbins, hist, mask, nan, bins="merged")


@contract(Exact(), via=histogram, nan="omit")
def threshold_renyientropy(image=None, nbins=256, *, hist=None, mask=None, nan="raise"):
    """Threshold from three Renyi entropies (Sahoo, Wilkins and Yeager).

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis, optional
        May be left out if `hist` is given.
    nbins : int, optional
        Bins between the extremes of the image; of an integer image (or `hist`) with more of them,
        neighbours are merged, as ImageJ does.
    hist : array or pair of arrays, optional
        Counts, or counts and bin centres, to be used instead of the image's own histogram; centres
        are 0, 1, ... if not given.
    mask : bool array of the shape of `image`, optional
        Only what is inside counts.
    nan : {'raise', 'omit'}, optional
        What to do about NaN.

    Returns
    -------
    threshold : number
        Voxels above it are foreground. Of the type of the bin centres: int64 for integer images.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers, is empty, holds infinities, or NaN with
        ``nan="raise"``; for a `mask` of another shape or a `hist` that is none.

    Warns
    -----
    UserWarning
        If the image has three axes or more and the last has length 3 or 4, as that of colours has.

    References
    ----------
    .. [1] P. Sahoo, C. Wilkins, J. Yeager, "Threshold selection using Renyi's entropy", Pattern
           Recognition 30(1), 1997. :doi:`10.1016/S0031-3203(96)00065-9`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import threshold_renyientropy
    >>> image = np.array([10, 11, 11, 12, 40, 41, 41, 42], dtype=np.uint8)
    >>> threshold_renyientropy(image)
    np.int64(12)
    """
    not_colours(threshold_renyientropy, image, hist, ndim=None)
    return _decide(_from_histogram.renyientropy, image, nbins, hist, mask, nan, bins="merged")


@contract(Exact(), via=histogram, nan="omit")
def threshold_shanbhag(image=None, nbins=256, *, hist=None, mask=None, nan="raise"):
    """Threshold with the same fuzzy information on both sides (Shanbhag).

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis, optional
        May be left out if `hist` is given.
    nbins : int, optional
        Bins between the extremes of the image; of an integer image (or `hist`) with more of them,
        neighbours are merged, as ImageJ does.
    hist : array or pair of arrays, optional
        Counts, or counts and bin centres, to be used instead of the image's own histogram; centres
        are 0, 1, ... if not given.
    mask : bool array of the shape of `image`, optional
        Only what is inside counts.
    nan : {'raise', 'omit'}, optional
        What to do about NaN.

    Returns
    -------
    threshold : number
        Voxels above it are foreground. Of the type of the bin centres: int64 for integer images.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers, is empty, holds infinities, or NaN with
        ``nan="raise"``; for a `mask` of another shape or a `hist` that is none.

    Warns
    -----
    UserWarning
        If the image has three axes or more and the last has length 3 or 4, as that of colours has.

    References
    ----------
    .. [1] A.G. Shanbhag, "Utilization of information measure as a means of image thresholding",
           CVGIP: Graphical Models and Image Processing 56(5), 1994. :doi:`10.1006/cgip.1994.1037`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import threshold_shanbhag
    >>> image = np.array([10, 11, 11, 12, 40, 41, 41, 42], dtype=np.uint8)
    >>> threshold_shanbhag(image)
    np.int64(12)
    """
    not_colours(threshold_shanbhag, image, hist, ndim=None)
    return _decide(_from_histogram.shanbhag, image, nbins, hist, mask, nan, bins="merged")


@contract(Exact(), via=histogram, nan="omit")
def threshold_multiotsu(image=None, classes=3, nbins=256, *, hist=None, mask=None, nan="raise"):
    """Thresholds between several classes with the least variance within them (Otsu).

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis, optional
        May be left out if `hist` is given.
    classes : int, optional
        How many, at least 2.
    nbins : int, optional
        Bins between the extremes of the image.
    hist : array or pair of arrays, optional
        Counts, or counts and bin centres, to be used instead of the image's own histogram; centres
        are 0, 1, ... if not given.
    mask : bool array of the shape of `image`, optional
        Only what is inside counts.
    nan : {'raise', 'omit'}, optional
        What to do about NaN.

    Returns
    -------
    thresholds : array of ``classes - 1`` numbers, ascending
        Class i lies above i of them: see `apply_thresholds`.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers, is empty, holds infinities, or NaN with
        ``nan="raise"``; for a `mask` of another shape or a `hist` that is none.
    UndecidedError
        If the histogram has fewer different values than `classes`.

    Warns
    -----
    UserWarning
        If the image has three axes or more and the last has length 3 or 4, as that of colours has.

    Notes
    -----
    The thresholds are the best of all, and those of `threshold_otsu` for two classes; of equally
    good ones, the lowest. scikit-image weighs the first bin as if it were the second, and adds in
    float32, so that its thresholds may be others. It also ignores `nbins` for integer images, and
    searches up to 65 536 bins of a 16-bit image for minutes. Here an integer image that is to have
    more than two classes and whose values span more than `nbins` is binned.

    References
    ----------
    .. [1] P.S. Liao, T.S. Chen, P.C. Chung, "A fast algorithm for multilevel thresholding",
           Journal of Information Science and Engineering 17(5), 2001.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import threshold_multiotsu
    >>> threshold_multiotsu(np.array([1, 1, 2, 7, 7, 8, 20, 21, 22], dtype=np.uint8))
    array([2, 8])
    """
    not_colours(threshold_multiotsu, image, hist, ndim=None)
    classes = integer(classes, "classes", at_least=2)
    nbins = integer(nbins, "nbins", at_least=1, at_most=MOST_BINS)
    counts, centers = _histogram_of(image, nbins, hist, mask, nan)
    if hist is None and classes > 2 and counts.size > nbins:
        counts, centers = merged(*without_gaps(counts, centers), nbins)
    return _from_histogram.multiotsu(counts, centers, classes=classes)


@contract(Exact(), via=histogram, nan="omit")
def threshold_li(
    image=None,
    *,
    tolerance=None,
    initial_guess=None,
    iter_callback=None,
    hist=None,
    mask=None,
    nan="raise",
):
    """Threshold with the least cross entropy between image and segmentation (Li).

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis, optional
        May be left out if `hist` is given.
    tolerance : float, optional
        End when the threshold changes by no more; by default half of the smallest difference
        between two values for integers, and a ten-millionth of the range for others.
    initial_guess : float or function, optional
        Where to start: a value between the extremes of the image, or a function that finds one in
        the image less its minimum (as in scikit-image). By default its mean.
    iter_callback : function, optional
        Called with the threshold at every step.
    hist : array or pair of arrays, optional
        Counts, or counts and bin centres, to be used instead of the image's own histogram; centres
        are 0, 1, ... if not given.
    mask : bool array of the shape of `image`, optional
        Only what is inside counts.
    nan : {'raise', 'omit'}, optional
        What to do about NaN.

    Returns
    -------
    threshold : float
        Voxels above it are foreground.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers, is empty, holds infinities, or NaN with
        ``nan="raise"``; for a `mask` of another shape or a `hist` that is none.

    Warns
    -----
    UserWarning
        If the image has three axes or more and the last has length 3 or 4, as that of colours has.

    Notes
    -----
    For integer images without a common factor the value is scikit-image's. That one ends at half a
    grey value whatever the factor.

    A floating-point image is taken as a histogram of 2048 bins, finer at its lower end where
    outliers or a background that is nearly black make that necessary, with the lowest value by
    itself. So the value lies within one bin of 256 of scikit-image's, which passes over the image
    again and again. That one never ends on some large float32 volumes, because it swings between
    two neighbouring numbers; this one ends when a value comes again. It takes bool images too.

    Of a background of the lowest value alone, the method knows no logarithm: it ends there, as in
    scikit-image, so that the threshold of two values is their mean. With a `hist` of floats, nobody
    knows how the values of the first bin lie in it: what it has more than the second is taken for
    the lowest value.

    References
    ----------
    .. [1] C.H. Li, C.K. Lee, "Minimum cross entropy thresholding", Pattern Recognition 26(4), 1993.
           :doi:`10.1016/0031-3203(93)90115-D`
    .. [2] C.H. Li, P.K.S. Tam, "An iterative algorithm for minimum cross entropy thresholding",
           Pattern Recognition Letters 18(8), 1998. :doi:`10.1016/S0167-8655(98)00057-9`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import threshold_li
    >>> image = np.array([10, 11, 11, 12, 40, 41, 41, 42], dtype=np.uint8)
    >>> round(float(threshold_li(image)), 2)
    18.74
    """
    not_colours(threshold_li, image, hist, ndim=None)
    if tolerance is not None:
        number(tolerance, "tolerance", at_least=0)
    if iter_callback is not None and not callable(iter_callback):
        raise TypeError(f"iter_callback must be a function, got {type(iter_callback).__name__}")
    return li(image, hist, mask, nan, tolerance, initial_guess, iter_callback)


def li(
    image,
    hist=None,
    mask=None,
    nan="raise",
    tolerance=None,
    initial_guess=None,
    iter_callback=None,
    counted=None,
):
    """Li's threshold of an image, or of a histogram, with arguments that are checked.

    What `histograms` gave for the image may be given as `counted`.
    """
    if hist is None and image is not None:
        image = real_array(image)
        mask = mask_array(mask, image)
        counts, bins = counted or _counted(image, LI_BINS, mask, nan)
        few = isinstance(bins, Bins) and image.size <= 2 * LI_BINS
        if few:
            counts, bins = _every_value(image, mask, bins.centers.dtype)
        counts = counts.astype(np.float64)
    else:
        counts, bins = _histogram_of(None, 1, hist, None, nan)
        few = bins.dtype.kind in "iu" or not _even(bins)
    if counts.size == 1:
        return _constant(image, hist, bins)
    values = _li_values(counts, bins, few)
    if tolerance is not None:
        values = values._replace(tolerance=float(tolerance) * values.scale.factor)
    values = values._replace(guess=_li_guess(initial_guess, image, mask, values))
    if isinstance(bins, Bins) and not bins.single:
        values = _li_refined(image, mask, counts, bins, values)
    if iter_callback is None:
        return values.value(values.threshold())
    return values.value(values.threshold(lambda place: iter_callback(values.value(place))))


def _every_value(image, mask, dtype):
    """How often each value is in an image of few pixels, where each of them makes a difference."""
    values = asnumpy(image).astype(dtype)
    values = values[~np.isnan(values) & (True if mask is None else asnumpy(mask))]
    values, counts = np.unique(values, return_counts=True)
    return counts, values


def _even(centers) -> bool:
    """Whether centres of a histogram are those of equal bins, or whole numbers."""
    places, _ = _from_histogram.placed(centers)
    step = places[-1] / max(1, places.size - 1)
    return bool(np.abs(places - np.arange(places.size) * step).max() < 0.1 * step)


class _LiValues(NamedTuple):
    """What Li's method looks at: bins as places from the lowest value, and how to come back.

    Places are counted from `lowest`, a place of the scale itself.
    """

    bins: tuple  # see `_from_histogram.li`
    scale: Scale
    lowest: float
    extremes: tuple
    kind: type
    tolerance: float
    guess: float | None = None

    def threshold(self, report=lambda _: None) -> float:
        options = {"tolerance": self.tolerance, "guess": self.guess, "report": report}
        return _from_histogram.li(*self.bins, **options)

    def value(self, place):
        """The value at a place, within the image's range and in the type of what is returned."""
        low, high = self.extremes
        if issubclass(self.kind, np.integer):
            return self.kind(min(int(low) + int(place), int(high)))
        with np.errstate(over="ignore"):
            value = self.kind(self.scale.value(self.lowest + place))
        if np.issubdtype(type(low), np.floating) and self.scale.place(value) > self.lowest + place:
            # What is above it is to be above the rounded one too.
            value = np.nextafter(value, self.kind(-np.inf))
        return np.clip(value, self.kind(low), self.kind(high))


def _li_values(counts, bins, each) -> _LiValues:
    """How a search begins among bins, or among values, of which `each` is by itself."""
    if not isinstance(bins, Bins):
        places, scale = _from_histogram.placed(bins)
        extremes, kind = (bins[0], bins[-1]), bins.dtype.type
        if bins.dtype.kind == "f" and not each:
            # From half a bin before the first of the middles.
            step = places[-1] / (counts.size - 1)
            edges = (np.arange(counts.size + 1) - 0.5) * step
            found = _from_histogram.spread(counts, edges - edges[0])
            tolerance = LI_TOLERANCE * places[-1]
            return _LiValues(found, scale, edges[0], extremes, kind, tolerance)
        below = places
        if bins.dtype.kind == "f":
            # Rounding is not to decide whether a value that is the threshold is above it.
            greatest = scale.factor * max(abs(float(bins[0])), abs(float(bins[-1])))
            below = places - max(1e-9 * places[-1], 4 * np.finfo(kind).eps * greatest)
        elif max(abs(int(bins[0])), abs(int(bins[-1]))) <= 2**53:
            kind = np.float64  # beyond, it has no room for all integers
        half = _half_a_step(counts, places)
        return _LiValues((counts, places, below, below), scale, 0.0, extremes, kind, half)
    low, high = bins.scale.value(bins.edges[[0, -1]].astype(np.float64))
    with np.errstate(over="ignore"):
        span = min(high - low, np.finfo(np.float64).max)
    scale = Scale(low, _from_histogram.power_of_two(span))
    edges = _li_places(bins, scale)
    if bins.single:
        places = edges[:-1]
        found, tolerance = (counts, places, places, places), _half_a_step(counts, places)
        high = bins.centers[-1]
    else:
        found, tolerance = _from_histogram.spread(counts, edges), LI_TOLERANCE * edges[-1]
    return _LiValues(found, scale, 0.0, (low, high), bins.centers.dtype.type, tolerance)


def _half_a_step(counts, places) -> float:
    """Half of the smallest difference between two values, where scikit-image ends."""
    return float(np.diff(places[counts > 0]).min()) / 2


def _li_places(bins, scale):
    return scale.place(bins.scale.value(bins.edges.astype(np.float64)))


def _li_guess(guess, image, mask, values):
    """The first guess as a place, None for the mean."""
    low, high = values.extremes
    if guess is None:
        return None
    if callable(guess):
        if image is None:
            raise ValueError("initial_guess as a function needs an image")
        guess = guess(_from_minimum(image, mask))
        number(guess, "the result of initial_guess", finite=False)
        place = float(guess) * values.scale.factor
        inside = 0 <= place <= values.bins[3].max()
    else:
        number(guess, "initial_guess", finite=False)
        inside = low < guess < high
        place = float(values.scale.place(np.float64(guess))) - values.lowest
        # scikit-image starts integer images at a whole number.
        place = float(int(place)) if inside and np.issubdtype(type(low), np.integer) else place
    if not inside:
        raise ValueError(
            f"initial_guess must lie between the extremes of the image, {low} and {high}, "
            f"got {guess}" + " above the lowest" * callable(guess)
        )
    return place


def _li_refined(image, mask, counts, bins, values):
    """The same with finer bins below where nearly all of the background is in a few bins.

    The method takes logarithms of means counted from the lowest value: a few bright voxels must
    not decide how finely the others are told apart, and a background of one exact value has the
    mean 0.
    """
    low = values.extremes[0]
    first = low if image.dtype.kind != "f" else image.dtype.type(low)
    # The lowest value, and the bins above the finest ones, once these are divided.
    lowest, above = None, (np.empty(0),) * 4
    for _ in range(LI_REFINEMENTS):
        place, edges = values.threshold(), _li_places(bins, values.scale)
        # The lowest value comes first, and is known if it is by itself.
        known = 0 if lowest is None else 1
        weights, places, _, last = (part[known:] for part in values.bins)
        back = last <= place
        if (weights * places)[back].sum() > LI_COARSE * (edges[1] - edges[0]) * weights[back].sum():
            break
        few = min(LI_COARSE, counts.size)
        if known and (few == counts.size or place < edges[0]):
            break  # no other value is in the background, or none that can be told apart
        there = image > first
        if few < counts.size:
            there &= bins.scale.place(image) < bins.edges[few]
        there = there if mask is None else there & mask
        rest = _from_histogram.spread(counts, edges)
        rest = [part[np.tile(np.arange(counts.size) >= few, 2)] for part in rest]
        above = tuple(np.concatenate(pair) for pair in zip(rest, above))
        inside, counts, found = counts[:few].sum(), np.empty(0), (np.empty(0),) * 4
        if bool(there.any()):
            counts, bins = _counted(image, LI_BINS, there, "raise")
            counts = counts.astype(np.float64)
            if not isinstance(bins, Bins) or bins.single:
                places = bins.centers if isinstance(bins, Bins) else bins
                places = values.scale.place(places.astype(np.float64))
                found = counts, places, places, places
            else:
                found = _from_histogram.spread(counts, _li_places(bins, values.scale))
        if lowest is None:
            lowest = ([inside - counts.sum()], [0.0], [0.0], [0.0])
        values = values._replace(
            bins=tuple(np.concatenate(parts) for parts in zip(lowest, found, above))
        )
        if counts.size < 2 or bins.single:
            break
    return values


def _from_minimum(image, mask):
    image = real_array(image)
    values = image if mask is None else image[mask_array(mask, image)]
    values = values.astype(np.uint8) if values.dtype.kind == "b" else values
    values = values[~array_namespace(values).isnan(values)]
    return values - values.min()


@contract(Close(rtol=1e-6, bins=0.001), note="sums of floats depend on their order", nan="omit")
def threshold_mean(image=None, *, hist=None, mask=None, nan="raise"):
    """Threshold at the mean (Glasbey).

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis, optional
        May be left out if `hist` is given.
    hist : array or pair of arrays, optional
        Counts, or counts and bin centres, to be used instead of the image's own histogram; centres
        are 0, 1, ... if not given.
    mask : bool array of the shape of `image`, optional
        Only what is inside counts.
    nan : {'raise', 'omit'}, optional
        What to do about NaN.

    Returns
    -------
    threshold : float
        Voxels above it are foreground.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers, is empty, holds infinities, or NaN with
        ``nan="raise"``; for a `mask` of another shape or a `hist` that is none.

    Warns
    -----
    UserWarning
        If the image has three axes or more and the last has length 3 or 4, as that of colours has.

    References
    ----------
    .. [1] C.A. Glasbey, "An analysis of histogram-based thresholding algorithms", CVGIP: Graphical
           Models and Image Processing 55(6), 1993. :doi:`10.1006/cgip.1993.1040`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import threshold_mean
    >>> threshold_mean(np.array([1, 2, 6]))
    np.float64(3.0)
    """
    not_colours(threshold_mean, image, hist, ndim=None)
    option(nan, "nan", ("raise", "omit"))
    if hist is not None:
        return _from_histogram.mean(*_histogram_of(None, 1, hist, None, nan))
    if image is None:
        raise ValueError("either image or hist must be given")
    image = real_array(image)
    mask = mask_array(mask, image)
    value = asnumpy(run(threshold_mean, image, mask=mask))[()]
    if np.isfinite(value):
        return value
    xp = array_namespace(image)
    inside = image if mask is None else image[mask]
    if xp.isnan(inside).any():
        if nan == "raise":
            raise ValueError(_NAN)
        mask = _not_nan(image, mask)
        inside = image[mask]
        value = asnumpy(run(threshold_mean, image, mask=mask))[()]
    if xp.isinf(inside).any():
        raise ValueError(_INFINITE)
    if np.isfinite(value):
        return value
    # The sum is beyond the range of the type, the mean is not.
    share = asnumpy(run(threshold_mean, inside / 2.0**64, mask=None))[()]
    with np.errstate(over="ignore"):
        value = share * share.dtype.type(2.0**64)
    top = np.finfo(value.dtype).max
    return np.clip(value, -top, top)
