"""Automatic thresholds: one histogram of the image, and arithmetic on it."""

from __future__ import annotations

from dataclasses import dataclass

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
from ._from_histogram import UndecidedError

# An integer image whose values span more than this is binned like a floating-point one.
MOST_INTEGER_BINS = 2**26
# Finer bins than the others', for a method that works on the values themselves.
LI_BINS = 2048
# Where the mean of its background lies within so few bins, the lowest are divided again.
LI_COARSE = 64
LI_REFINEMENTS = 4

# Floats below this are scaled up to be divided into bins.
_SMALL = 1e-290
_SCALE = 2.0**500

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
    Integer counts are those of `numpy.bincount`, floating-point ones those of `numpy.histogram`
    (where that one refuses so many bins in so short a range, there are fewer), on every backend.
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
    image = real_array(image)
    nbins = integer(nbins, "nbins", at_least=1, at_most=MOST_BINS)
    option(nan, "nan", ("raise", "omit"))
    mask = mask_array(mask, image)
    image = _at_most_float64(image)
    counts, bins = run(histogram, image, nbins, mask=mask)
    if counts is None and np.isnan(bins[0]) and nan == "omit":
        mask = _not_nan(image, mask)
        counts, bins = run(histogram, image, nbins, mask=mask)
    if counts is None:
        return _one_bin(image, mask, *bins)
    counts = asnumpy(counts)
    if isinstance(bins, Bins):
        # Where numbers are few, two bins can have the same of them in the middle.
        centers, first = np.unique(bins.centers, return_index=True)
        return np.add.reduceat(counts, first), centers
    whole = np.int64 if bins + counts.size <= 2**63 else np.uint64
    return counts, np.arange(counts.size, dtype=whole) + whole(bins)


def _at_most_float64(image):
    wide = image.dtype.kind == "f" and image.dtype.itemsize > 8
    return image.astype(np.float64) if wide else image


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
    """Edges between which ``(value - origin) * factor`` is counted, and the middle of each bin.

    For nearly all images `origin` is 0 and `factor` is 1. The others are those whose numbers are
    too great or too small for differences and ratios of them to be numbers, and those that span a
    few neighbouring numbers. The factor is a power of two, so that it changes no digit.
    """

    edges: np.ndarray
    centers: np.ndarray
    origin: float = 0.0
    factor: float = 1.0

    def place(self, values):
        """Values as the edges see them."""
        if self.origin == 0 and self.factor == 1:
            return values
        return (values.astype(np.float64) - self.origin) * self.factor


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
    apart = np.spacing(max(abs(low), abs(high)))
    factor = power_of_two(low, high)
    bottom, top = low * factor, high * factor
    if top - bottom >= 8 * nbins * (apart * factor):
        edges = np.linspace(bottom, top, nbins + 1)
        return Bins(edges, (edges[:-1] / 2 + edges[1:] / 2) / factor, 0.0, factor)
    # Differences of so near neighbours are exact.
    apart = np.spacing(min(abs(low), abs(high))) * factor
    numbers = round((high - low) * factor / apart) + 1
    each = -(-numbers // nbins)
    firsts = np.arange(-(-numbers // each)) * each
    middles = np.minimum(firsts + (each - 1) // 2, numbers - 1) * apart
    edges = np.append(firsts, firsts[-1] + each) * apart
    return Bins(edges, low + middles / factor, low, factor)


def power_of_two(low, high) -> float:
    """What makes float64 numbers near the ends of the type ones to count with; 1 for others."""
    greatest = max(abs(low), abs(high))
    if greatest > 2.0**1000:
        return 2.0**-64
    return 2.0**600 if greatest < 2.0**-900 else 1.0


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


def _merged(counts, centers, nbins: int):
    """At most `nbins` bins: a wide integer image has one a value, up to millions."""
    if counts.size <= nbins:
        return counts, centers
    counts, edges = np.histogram(centers, nbins, weights=counts)
    return counts, edges[:-1] / 2 + edges[1:] / 2


def _decide(method, image, nbins, hist, mask, nan, *, constant="bin", merge=False, **options):
    """Apply a method to a histogram, with `merge` to one of at most `nbins` bins.

    What a constant image gives: its "value" in its own dtype, or the centre of its one "bin", or
    an "error", as in scikit-image.
    """
    counts, centers = _histogram_of(image, nbins, hist, mask, nan)
    if merge:
        counts, centers = _merged(
            counts, centers, integer(nbins, "nbins", at_least=2, at_most=MOST_BINS)
        )
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
    return _decide(_from_histogram.triangle, image, nbins, hist, mask, nan, constant="value")


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
        _from_histogram.intermodes, image, nbins, hist, mask, nan, constant="error", merge=True
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
    return _decide(_from_histogram.huang, image, nbins, hist, mask, nan, merge=True)


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
    return _decide(_from_histogram.maxentropy, image, nbins, hist, mask, nan, merge=True)


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
        _from_histogram.minerror, image, nbins, hist, mask, nan, constant="error", merge=True
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
        _from_histogram.moments, image, nbins, hist, mask, nan, constant="error", merge=True
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
    return _decide(_from_histogram.percentile, image, nbins, hist, mask, nan, merge=True)


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
    return _decide(_from_histogram.renyientropy, image, nbins, hist, mask, nan, merge=True)


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
    return _decide(_from_histogram.shanbhag, image, nbins, hist, mask, nan, merge=True)


@contract(Exact(), via=histogram, nan="omit")
def threshold_multiotsu(image=None, classes=3, nbins=256, *, hist=None, mask=None, nan="raise"):
    """Thresholds between several classes with the least variance within them (Otsu).

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis, optional
        May be left out if `hist` is given.
    classes : int, optional
        How many, at least 2. The work grows with the power ``classes - 1`` of the number of bins.
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
    scikit-image ignores `nbins` for integer images, and searches up to 65 536 bins of a 16-bit
    image for minutes. Here an integer image whose values span more than `nbins` is binned; one
    that does not (8-bit images, by default) gets scikit-image's thresholds.

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
    if hist is None:
        counts, centers = _merged(counts, centers, nbins)
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
        End when the threshold changes by no more; by default half a grey value for integers, and
        zero (when a threshold comes again) for others.
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
    For integer images the value is scikit-image's. A floating-point image is taken as a histogram
    of 2048 bins, finer at its lower end where outliers make that necessary, so that the value lies
    within one bin of 256 of scikit-image's, which passes over the image again and again. That one
    never ends on some large float32 volumes, because it swings between two neighbouring numbers;
    this one ends when a value comes again. It takes bool images too.

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
    counts, centers = _histogram_of(image, LI_BINS, hist, mask, nan)
    if counts.size == 1:
        return _constant(image, hist, centers)
    whole = centers.dtype.kind in "iu"
    binned = hist is None and not whole
    lowest = centers[0]
    if binned:
        image = real_array(image)
        mask = mask_array(mask, image)
        if nan == "omit" and image.dtype.kind == "f":
            mask = _not_nan(image, mask)
        counts, centers, lowest = _from_lowest(counts, centers, image, mask)
    options = {
        "lowest": lowest,
        "initial_guess": _li_guess(initial_guess, image, mask, centers, lowest),
        "tolerance": 0.5 if whole else 0.0,
    }
    if tolerance is not None:
        options["tolerance"] = float(tolerance)
    if binned:
        counts, centers = _li_refined(image, mask, counts, centers, options)
    value = _from_histogram.li(counts, centers, iter_callback=iter_callback, **options)
    if whole:
        # Beyond 2**53 float64 has no room for all integers, and rounds out of the range.
        far = max(abs(int(centers[0])), abs(int(centers[-1]))) > 2**53
        return np.float64(value) if not far else _whole_between(value, centers)
    return centers.dtype.type(value)


def _whole_between(value, centers):
    return centers.dtype.type(min(max(int(value), int(centers[0])), int(centers[-1])))


def _from_lowest(counts, centers, image, mask):
    """The bins with one more before them, for what is the lowest value itself.

    Means are counted from it: a background of one value has the mean 0, whatever the bins.
    """
    from .comparison import count_above

    lowest = centers.dtype.type(_extreme(image, mask))
    above, _ = count_above(image, np.array([lowest], image.dtype), mask)
    there = counts.sum() - above[0]
    counts = np.concatenate(([there], counts))
    counts[1] -= there
    return counts, np.concatenate(([lowest], centers)), lowest


def _extreme(image, mask):
    """The lowest value that counts."""
    values = image if mask is None else array_namespace(image).where(mask, image, np.inf)
    return asnumpy(values.min())[()]


def _li_guess(guess, image, mask, centers, lowest):
    """The first guess as a distance from the lowest value, None for the mean."""
    if guess is None:
        return None
    if callable(guess):
        if image is None:
            raise ValueError("initial_guess as a function needs an image")
        return float(guess(_from_minimum(image, mask)))
    number(guess, "initial_guess", finite=False)
    if not lowest < guess < centers[-1]:
        raise ValueError(
            f"initial_guess must lie between the extremes of the image, {lowest} and "
            f"{centers[-1]}, got {guess}"
        )
    guess = float(guess) - float(lowest)
    # scikit-image starts integer images at a whole number.
    return float(int(guess)) if centers.dtype.kind in "iu" else guess


def _li_refined(image, mask, counts, centers, options):
    """The histogram, with finer bins below where nearly all of the background is in a few bins.

    The method takes logarithms of means counted from the lowest value: a few bright voxels must
    not decide how finely the others are told apart.
    """
    lowest = options["lowest"]
    for _ in range(LI_REFINEMENTS):
        value = _from_histogram.li(counts, centers, **options)
        below = centers <= value
        width = centers[2] - centers[1] if centers.size > 2 else centers[1] - centers[0]
        end = centers.dtype.type(min(float(lowest) + LI_COARSE * float(width), float(centers[-1])))
        reached = centers[1:] - width / 2 <= value
        if not counts[1:][reached].any():
            break  # the background is the lowest value
        shares = counts[below] / counts[below].sum()
        if (shares * centers[below]).sum() >= end:
            break
        there = image < end
        there = there if mask is None else there & mask
        found, finer = histogram(image, LI_BINS, mask=there)
        above = centers > end
        if finer.size == 1:
            break
        found, finer, _ = _from_lowest(found.astype(np.float64), finer, image, there)
        counts = np.concatenate((found, counts[above]))
        centers = np.concatenate((finer, centers[above]))
    return counts, centers


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
    share = asnumpy(run(threshold_mean, image.astype(np.float64) * 2.0**-64, mask=mask))[()]
    return image.dtype.type(share * 2.0**64)
