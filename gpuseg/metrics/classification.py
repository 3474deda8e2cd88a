"""Scores of classes, of their probabilities, and of numbers: scikit-learn's, for large images.

The work on the pixels is one count: of pairs of classes, or of each score in each class. What
scikit-learn then gets are the few different ones, with the counts as weights.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from .._backend import array_namespace, asnumpy, is_dask, run
from .._checks import (
    as_array,
    beside,
    finite_array,
    flags,
    integer,
    integer_array,
    number,
    of_one_type,
    option,
    same_shape,
    sequence,
)
from .._contracts import Close, Exact, contract
from .pairs import pair_counts

# Pixels that are in float64 at a time.
_PIECE = 1 << 22


@contract(Exact(), nan=None)
def confusion_matrix(y_true, y_pred, *, labels=None, sample_weight=None, normalize=None):
    """Count how often each class is taken for each.

    Parameters
    ----------
    y_true, y_pred : integer or bool arrays of one shape
        The true class of each pixel, and that of the segmentation.
    labels : sequence of int, optional
        The classes of the rows and columns; others do not count. By default all that occur.
    sample_weight : array of the shape of `y_true`, optional
        What each pixel counts. Not bool; whole numbers are added exactly.
    normalize : {'true', 'pred', 'all'}, optional
        Divide by the sums of the rows, of the columns, or of all.

    Returns
    -------
    array of shape (classes, classes)
        Row i, column j: how often class i was taken for class j. int64, or float64 with weights
        in floats or where normalized.

    Raises
    ------
    TypeError, ValueError
        For arrays that are not of integers, are empty, or differ in shape, an unknown word, and
        labels none of which occur.

    Notes
    -----
    With weights it is scikit-learn's function on the CPU.

    References
    ----------
    .. [1] T. Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27(8), 2006.
           :doi:`10.1016/j.patrec.2005.10.010`

    Examples
    --------
    >>> from gpuseg.metrics import confusion_matrix
    >>> confusion_matrix([0, 0, 1, 1], [0, 1, 1, 1])
    array([[1, 1],
           [0, 2]])
    """
    from sklearn import metrics

    option(normalize, "normalize", (None, "true", "pred", "all"))
    labels = _labels(labels)
    classes, numbers = _comparable(_classes(y_true, y_pred, sample_weight))
    if numbers and labels is not None:
        labels = _places(labels, numbers)
    matrix = metrics.confusion_matrix(
        classes.true, classes.found, labels=labels, sample_weight=classes.counts
    )
    if normalize is None:
        return matrix
    # scikit-learn's own way to divide warns of rows without a pixel.
    sums = {"true": matrix.sum(axis=1, keepdims=True), "pred": matrix.sum(axis=0, keepdims=True)}
    divisor = sums.get(normalize, matrix.sum())
    with np.errstate(all="ignore"):
        return np.nan_to_num(matrix / divisor)


@contract(Close(rtol=1e-12), nan=None)
def classification_report(
    y_true,
    y_pred,
    *,
    labels=None,
    target_names=None,
    sample_weight=None,
    digits=2,
    output_dict=False,
    zero_division="warn",
):
    """Precision, recall and F1 score of each class, as a text or a dict.

    Parameters
    ----------
    y_true, y_pred : integer or bool arrays of one shape
        The true class of each pixel, and that of the segmentation.
    labels, target_names, digits, output_dict, zero_division
        As for `sklearn.metrics.classification_report`.
    sample_weight : array of the shape of `y_true`, optional
        What each pixel counts.

    Returns
    -------
    str or dict
        As from scikit-learn.

    Raises
    ------
    TypeError, ValueError
        As for `confusion_matrix`, and what scikit-learn refuses.

    References
    ----------
    .. [1] T. Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27(8), 2006.
           :doi:`10.1016/j.patrec.2005.10.010`

    Examples
    --------
    >>> from gpuseg.metrics import classification_report
    >>> report = classification_report([0, 0, 1, 1], [0, 1, 1, 1], output_dict=True)
    >>> report["1"]["precision"]
    0.6666666666666666
    """
    flags(output_dict=output_dict)
    labels = _labels(labels)
    if target_names is not None:
        target_names = sequence(target_names, "target_names", "names")
    integer(digits, "digits", at_least=0, at_most=100)
    classes = _classes(y_true, y_pred, sample_weight)
    return report_of(
        classes,
        whole=sample_weight is None,
        labels=labels,
        target_names=target_names,
        digits=digits,
        output_dict=output_dict,
        zero_division=zero_division,
    )


@contract(Close(rtol=1e-12), nan="refuse")
def roc_curve(y_true, y_score, *, pos_label=None, sample_weight=None, drop_intermediate=True):
    """How many false positives each threshold of a score lets in, and how many true ones.

    Parameters
    ----------
    y_true : integer or bool array
        The true class of each pixel, of two.
    y_score : array of real numbers of the shape of `y_true`
        The higher, the more likely the class is the positive one.
    pos_label : int, optional
        The positive class: by default 1 of {0, 1} or {-1, 1}.
    sample_weight : array of the shape of `y_true`, optional
        What each pixel counts.
    drop_intermediate : bool, optional
        Leave out points along straight lines.

    Returns
    -------
    fpr, tpr : float64 arrays
        The share of the negative pixels, and of the positive ones, at or above each threshold.
    thresholds : array
        Descending; the first is infinite.

    Raises
    ------
    TypeError, ValueError
        For arrays of other kinds or shapes, scores that are NaN or infinite, and what scikit-learn
        refuses.

    Notes
    -----
    Scores that occur often are counted, not sorted: 8-bit and 16-bit images take one pass.

    References
    ----------
    .. [1] T. Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27(8), 2006.
           :doi:`10.1016/j.patrec.2005.10.010`

    Examples
    --------
    >>> from gpuseg.metrics import roc_curve
    >>> fpr, tpr, thresholds = roc_curve([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    >>> fpr.tolist(), tpr.tolist()
    ([0.0, 0.0, 0.5, 0.5, 1.0], [0.0, 0.5, 0.5, 1.0, 1.0])
    """
    from sklearn import metrics

    flags(drop_intermediate=drop_intermediate)
    pos_label = None if pos_label is None else number(pos_label, "pos_label")
    scores = _scores(y_true, y_score, sample_weight)
    return metrics.roc_curve(
        scores.true,
        scores.found,
        pos_label=pos_label,
        sample_weight=scores.counts,
        drop_intermediate=bool(drop_intermediate),
    )


@contract(Close(rtol=1e-12), nan="refuse")
def roc_auc_score(y_true, y_score, *, sample_weight=None, max_fpr=None):
    """The area under the ROC curve: how likely a positive pixel has a higher score than a negative.

    Parameters
    ----------
    y_true : integer or bool array
        The true class of each pixel, of two; the larger is the positive one.
    y_score : array of real numbers of the shape of `y_true`
        The higher, the more likely the class is the positive one.
    sample_weight : array of the shape of `y_true`, optional
        What each pixel counts.
    max_fpr : float, optional
        Only the part of the curve up to this share of false positives, standardized.

    Returns
    -------
    float
        From 0 to 1; 0.5 for scores that say nothing.

    Raises
    ------
    TypeError, ValueError
        As for `roc_curve`, and where only one class occurs.

    Notes
    -----
    NaN and infinity are refused.

    scikit-learn's other arguments (several classes or labels at once) are not offered.

    References
    ----------
    .. [1] J.A. Hanley, B.J. McNeil, "The meaning and use of the area under a receiver operating
           characteristic (ROC) curve", Radiology 143(1), 1982.
           :doi:`10.1148/radiology.143.1.7063747`

    Examples
    --------
    >>> from gpuseg.metrics import roc_auc_score
    >>> float(roc_auc_score([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]))
    0.75
    """
    from sklearn import metrics

    scores = _scores(y_true, y_score, sample_weight)
    if max_fpr is not None:
        max_fpr = float(number(max_fpr, "max_fpr", above=0, at_most=1))
    classes = np.unique(scores.true)
    if len(classes) != 2:
        raise ValueError(f"y_true must hold two classes, got {classes.tolist()}")
    return metrics.roc_auc_score(
        scores.true, scores.found, sample_weight=scores.counts, max_fpr=max_fpr
    )


@contract(Close(rtol=1e-12), nan="refuse")
def precision_recall_curve(
    y_true, y_score, *, pos_label=None, sample_weight=None, drop_intermediate=False
):
    """Precision and recall at each threshold of a score.

    Parameters
    ----------
    y_true, y_score, pos_label, sample_weight
        As for `roc_curve`.
    drop_intermediate : bool, optional
        Leave out points along straight lines.

    Returns
    -------
    precision, recall : float64 arrays
        Of what is at or above each threshold, the share that is positive; and of what is positive,
        the share at or above it. The last ones are 1 and 0.
    thresholds : array
        Ascending, one less.

    Raises
    ------
    TypeError, ValueError
        As for `roc_curve`.

    Notes
    -----
    NaN and infinity are refused.

    References
    ----------
    .. [1] J. Davis, M. Goadrich, "The relationship between precision-recall and ROC curves",
           International Conference on Machine Learning, 2006. :doi:`10.1145/1143844.1143874`

    Examples
    --------
    >>> from gpuseg.metrics import precision_recall_curve
    >>> precision, recall, thresholds = precision_recall_curve([0, 1, 1], [0.1, 0.4, 0.8])
    >>> recall.tolist()
    [1.0, 1.0, 0.5, 0.0]
    """
    from sklearn import metrics

    flags(drop_intermediate=drop_intermediate)
    pos_label = None if pos_label is None else number(pos_label, "pos_label")
    scores = _scores(y_true, y_score, sample_weight)
    precision, recall, thresholds = metrics.precision_recall_curve(
        scores.true,
        scores.found,
        pos_label=pos_label,
        sample_weight=scores.counts,
        drop_intermediate=bool(drop_intermediate),
    )
    if thresholds.dtype.kind in "iu":
        thresholds = thresholds.astype(as_array(y_score, "y_score").dtype)
    return precision, recall, thresholds


@contract(Close(rtol=1e-9), nan="refuse")
def mean_absolute_error(y_true, y_pred, *, sample_weight=None):
    """The mean distance of two images.

    Parameters
    ----------
    y_true, y_pred : arrays of real numbers of one shape
    sample_weight : array of the same shape, optional
        What each pixel counts.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        For arrays that are not of real numbers, are empty, hold NaN or infinity, or differ in
        shape, and weights whose sum is not above 0.

    References
    ----------
    .. [1] C.J. Willmott, K. Matsuura, "Advantages of the mean absolute error (MAE) over the root
           mean square error (RMSE) in assessing average model performance", Climate Research 30(1),
           2005. :doi:`10.3354/cr030079`

    Examples
    --------
    >>> from gpuseg.metrics import mean_absolute_error
    >>> mean_absolute_error([1, 2, 3], [1, 4, 4])
    1.0
    """
    return _mean_error(y_true, y_pred, sample_weight, np.abs)


@contract(Close(rtol=1e-9), nan="refuse")
def mean_squared_error(y_true, y_pred, *, sample_weight=None):
    """The mean squared distance of two images.

    Parameters
    ----------
    y_true, y_pred : arrays of real numbers of one shape
    sample_weight : array of the same shape, optional
        What each pixel counts.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        As for `mean_absolute_error`.

    Notes
    -----
    NaN and infinity are refused.

    References
    ----------
    .. [1] Z. Wang, A.C. Bovik, "Mean squared error: love it or leave it?", IEEE Signal Processing
           Magazine 26(1), 2009. :doi:`10.1109/MSP.2008.930649`

    Examples
    --------
    >>> from gpuseg.metrics import mean_squared_error
    >>> mean_squared_error([1, 2, 3], [1, 4, 5])
    2.6666666666666665
    """
    return _mean_error(y_true, y_pred, sample_weight, np.square)


class Counted(NamedTuple):
    """True classes, and the classes or scores that were found, with how often they occur."""

    true: np.ndarray
    found: np.ndarray
    counts: np.ndarray


def counted(true, found) -> Counted:
    """Count the pairs of classes with classes or scores."""
    if is_dask(true) or is_dask(found):
        return run(counted, true, found)
    values = None
    if found.dtype.kind == "f":
        xp = array_namespace(found)
        values, found = xp.unique(found, return_inverse=True)
        found = found.reshape(true.shape)
    pairs = pair_counts(true, found)
    found = pairs.second_values[pairs.second]
    if values is not None:
        found = asnumpy(values)[found]
    return Counted(pairs.first_values[pairs.first], found, pairs.counts)


def weighed(true, found, weights) -> Counted:
    """Add up the weights of each pair of classes with classes or scores."""
    true, found, weights = (asnumpy(a).reshape(-1) for a in (true, found, weights))
    order = np.lexsort((found, true))
    return joined([Counted(true[order], found[order], weights[order])])


def joined(parts: list[Counted]) -> Counted:
    """The pairs of several parts, each once, in order."""
    true, found, counts = (np.concatenate(of_one_type(column)) for column in zip(*parts))
    if len(parts) > 1:
        order = np.lexsort((found, true))
        true, found, counts = true[order], found[order], counts[order]
    new = np.ones(len(true), bool)
    new[1:] = (true[1:] != true[:-1]) | (found[1:] != found[:-1])
    starts = np.flatnonzero(new)
    sums = np.int64 if counts.dtype.kind in "iu" else np.float64
    return Counted(true[starts], found[starts], np.add.reduceat(counts, starts, dtype=sums))


def _comparable(classes: Counted) -> tuple[Counted, list[int]]:
    """Classes that can be compared: in one type, or as 0, 1, ... in the order of the numbers that
    are returned with them."""
    columns = []
    for values in (classes.true, classes.found):
        small = values.dtype == np.uint64 and int(values.max(initial=0)) < 2**63
        columns.append(values.astype(np.int64) if small else values)
    kinds = [column.dtype for column in columns]
    if np.uint64 not in kinds or kinds[0] == kinds[1]:
        return Counted(*columns, classes.counts), []
    found = [np.unique(column, return_inverse=True) for column in columns]
    numbers = numbers_in(*columns)
    columns = [_places(values.tolist(), numbers)[at] for values, at in found]
    return Counted(*columns, classes.counts), numbers


def numbers_in(y_true, y_pred) -> list:
    """The classes of two arrays, in order."""
    if y_true.dtype == y_pred.dtype:
        return np.union1d(y_true, y_pred).tolist()
    return sorted({int(label) for y in (y_true, y_pred) for label in np.unique(y)})


def _places(classes, numbers):
    """Where classes are among some numbers; -1, -2, ... for others."""
    place = {number: i for i, number in enumerate(numbers)}
    return np.array([place.setdefault(int(c), len(numbers) - 1 - len(place)) for c in classes])


def report_of(classes: Counted, *, whole=True, output_dict=False, labels=None, **options):
    from sklearn import metrics

    classes, numbers = _comparable(classes)
    if numbers:
        named = numbers if labels is None else list(labels)
        labels = None if labels is None else _places(labels, numbers)
        if options.get("target_names") is None:
            options["target_names"] = [str(number) for number in named]
    report = metrics.classification_report(
        classes.true,
        classes.found,
        labels=labels,
        sample_weight=classes.counts,
        output_dict=output_dict,
        **options,
    )
    if output_dict or not whole:
        return report
    # Pixels are whole, which scikit-learn cannot know of weights.
    decimals = re.compile(r" +(\d+)\.0$", re.MULTILINE)
    return decimals.sub(lambda match: f" {match[1]:>9}", report)


def _labels(labels):
    """Which classes to tell of, if not all."""
    if labels is None:
        return None
    limits = {"at_least": -(2**63), "at_most": 2**64 - 1}
    return [integer(v, "labels", **limits) for v in sequence(labels, "labels", "integers")]


def _classes(y_true, y_pred, sample_weight) -> Counted:
    y_true, y_pred = integer_array(y_true, "y_true"), integer_array(y_pred, "y_pred")
    return _found(y_true, y_pred, "y_pred", sample_weight)


def _scores(y_true, y_score, sample_weight) -> Counted:
    return _found(y_true, y_score, "y_score", sample_weight)


def _found(y_true, found, name, sample_weight) -> Counted:
    y_true, found, sample_weight = _checked(y_true, found, name, sample_weight)
    if sample_weight is None:
        return counted(y_true, found)
    if any(map(is_dask, (y_true, found, sample_weight))):
        return run(weighed, y_true, found, sample_weight)
    return Counted(*(asnumpy(a).reshape(-1) for a in (y_true, found, sample_weight)))


def _checked(y_true, found, name: str, sample_weight):
    y_true, found = integer_array(y_true, "y_true"), finite_array(found, name)
    same_shape(y_true, found, "y_true", name)
    if sample_weight is not None:
        sample_weight = beside(finite_array(sample_weight, "sample_weight"), y_true)
        same_shape(y_true, sample_weight, "y_true", "sample_weight")
        if not is_dask(sample_weight) and not (sample_weight != 0).any():
            raise ValueError("sample_weight must not be 0 everywhere")
    return y_true, beside(found, y_true), sample_weight


def _mean_error(y_true, y_pred, sample_weight, error) -> float:
    y_true, y_pred = finite_array(y_true, "y_true"), finite_array(y_pred, "y_pred")
    same_shape(y_true, y_pred, "y_true", "y_pred")
    weights = None
    if sample_weight is not None:
        weights = beside(finite_array(sample_weight, "sample_weight"), y_true)
        same_shape(y_true, weights, "y_true", "sample_weight")
    total, weight = error_sum(y_true, beside(y_pred, y_true), weights, error)
    if weights is not None:
        number(weight, "the sum of sample_weight", above=0)
    return total / weight


def error_sum(y_true, y_pred, weights, error) -> tuple[float, float]:
    """The sums of errors and of weights in float64: np.abs or np.square of the differences."""
    if any(map(is_dask, (y_true, y_pred, weights))):
        return run(error_sum, y_true, y_pred, weights, error)
    xp = array_namespace(y_true)
    y_true, y_pred = y_true.reshape(-1), y_pred.reshape(-1)
    total = 0.0
    for at in range(0, y_true.size, _PIECE):
        here = slice(at, at + _PIECE)
        errors = error(y_true[here].astype(xp.float64) - y_pred[here])
        total += float((errors if weights is None else errors * weights.reshape(-1)[here]).sum())
    return total, float(y_true.size if weights is None else weights.sum(dtype=xp.float64))
