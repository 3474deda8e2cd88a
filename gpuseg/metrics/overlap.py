"""How well a mask matches another one."""

from __future__ import annotations

import math

import numpy as np

from .._backend import array_namespace, is_cupy, is_dask, run
from .._checks import beside, bool_array, real_array, same_shape
from .._contracts import Exact, contract

# Elements of a piece.
_PIECE = 1 << 20

# Colours of `hit_map`: true negative, true positive, false positive, false negative.
_COLORS = np.array([[0, 0, 0], [235, 235, 235], [213, 94, 0], [0, 114, 178]], np.uint8)


@contract(Exact(), nan="refuse", infinity="value")
def dice(y_true, y_pred):
    """Twice the overlap of two masks, over the sum of their sizes.

    Parameters
    ----------
    y_true, y_pred : bool or number arrays of one shape
        Any value but zero is foreground. The order does not matter.

    Returns
    -------
    float
        From 0 (no overlap) to 1 (equal). Two empty masks are equal: 1.

    Raises
    ------
    TypeError, ValueError
        For arrays that are not of real numbers, are empty, or differ in shape.

    Notes
    -----
    NaN is neither foreground nor background, and is refused; infinity is foreground.

    References
    ----------
    .. [1] L.R. Dice, "Measures of the amount of ecologic association between species", Ecology
           26(3), 1945. :doi:`10.2307/1932409`

    Examples
    --------
    >>> from gpuseg.metrics import dice
    >>> dice([1, 1, 0, 0], [1, 0, 0, 0])
    0.6666666666666666
    """
    return dice_of(*counts(y_true, y_pred))


@contract(Exact(), nan="refuse", infinity="value")
def jaccard(y_true, y_pred):
    """The overlap of two masks, over the size of their union.

    Parameters
    ----------
    y_true, y_pred : bool or number arrays of one shape
        Any value but zero is foreground. The order does not matter.

    Returns
    -------
    float
        From 0 (no overlap) to 1 (equal). Two empty masks are equal: 1.

    Raises
    ------
    TypeError, ValueError
        For arrays that are not of real numbers, are empty, or differ in shape.

    Notes
    -----
    NaN is neither foreground nor background, and is refused; infinity is foreground.

    References
    ----------
    .. [1] P. Jaccard, "The distribution of the flora in the alpine zone", New Phytologist 11(2),
           1912. :doi:`10.1111/j.1469-8137.1912.tb05611.x`

    Examples
    --------
    >>> from gpuseg.metrics import jaccard
    >>> jaccard([1, 1, 0, 0], [1, 0, 0, 0])
    0.5
    """
    return jaccard_of(*counts(y_true, y_pred))


@contract(Exact(), nan="refuse", infinity="value")
def binary_accuracy(y_true, y_pred):
    """The share of the voxels on which two masks agree.

    Parameters
    ----------
    y_true, y_pred : bool or number arrays of one shape
        Any value but zero is foreground.

    Returns
    -------
    float
        From 0 to 1.

    Raises
    ------
    TypeError, ValueError
        For arrays that are not of real numbers, are empty, or differ in shape.

    Notes
    -----
    NaN is neither foreground nor background, and is refused; infinity is foreground.

    References
    ----------
    .. [1] T. Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27(8), 2006.
           :doi:`10.1016/j.patrec.2005.10.010`

    Examples
    --------
    >>> from gpuseg.metrics import binary_accuracy
    >>> binary_accuracy([1, 1, 0, 0], [1, 0, 0, 0])
    0.75
    """
    return accuracy_of(*counts(y_true, y_pred))


def dice_of(both: int, first: int, second: int, size: int) -> float:
    return 2 * both / (first + second) if first + second else 1.0


def jaccard_of(both: int, first: int, second: int, size: int) -> float:
    union = first + second - both
    return both / union if union else 1.0


def accuracy_of(both: int, first: int, second: int, size: int) -> float:
    return (size - first - second + 2 * both) / size


def counts(y_true, y_pred) -> tuple[int, int, int, int]:
    """Voxels in both masks, in the first, in the second, and altogether."""
    y_true, y_pred = real_array(y_true, "y_true"), real_array(y_pred, "y_pred")
    same_shape(y_true, y_pred, "y_true", "y_pred")
    y_pred = beside(y_pred, y_true)
    if is_dask(y_true) or is_dask(y_pred) or is_cupy(y_true):
        return run(counts, y_true, y_pred)
    from .._cpu.metrics.overlap import counts as counted

    # A look at them here takes less time than their way to a device.
    return counted(y_true, y_pred)


def pieces(shape, margin: int = 0, *, most: int | None = None):
    """Slices along the first axis, of about so many elements: what is made of them is small."""
    step = max(1 + 2 * margin, (most or _PIECE) // max(1, math.prod(shape[1:])))
    for start in range(0, shape[0], step):
        yield slice(start, min(start + step, shape[0]))


def _masks(y_true, y_pred):
    y_true, y_pred = bool_array(y_true, "y_true"), bool_array(y_pred, "y_pred")
    same_shape(y_true, y_pred, "y_true", "y_pred")
    return y_true, beside(y_pred, y_true)


@contract(Exact(), nan="refuse", infinity="value")
def hit_map(y_true, y_pred):
    """Show where a mask is right and where it is wrong, as a picture.

    Parameters
    ----------
    y_true, y_pred : bool or number arrays of one shape
        Any value but zero is foreground.

    Returns
    -------
    uint8 array of shape (..., 3)
        RGB: white where both are foreground, black where neither is, orange (213, 94, 0) where
        `y_pred` alone is (a false positive), and blue (0, 114, 178) where `y_true` alone is (a
        false negative): colours that the colour-blind can tell apart.

    Raises
    ------
    TypeError, ValueError
        For arrays that are not of real numbers, are empty, or differ in shape.

    Notes
    -----
    NaN is neither foreground nor background, and is refused; infinity is foreground.

    References
    ----------
    .. [1] T. Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27(8), 2006.
           :doi:`10.1016/j.patrec.2005.10.010`

    Examples
    --------
    >>> from gpuseg.metrics import hit_map
    >>> hit_map([1, 0, 1], [1, 1, 0]).tolist()
    [[235, 235, 235], [213, 94, 0], [0, 114, 178]]
    """
    y_true, y_pred = _masks(y_true, y_pred)
    if is_dask(y_true) or is_dask(y_pred):
        return run(hit_map, y_true, y_pred)
    xp = array_namespace(y_true)
    kind = xp.where(y_pred, xp.where(y_true, 1, 2), xp.where(y_true, 3, 0))
    return xp.asarray(_COLORS)[kind]
