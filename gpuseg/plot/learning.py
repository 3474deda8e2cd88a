"""What a pipeline does to an image, and how well a model reads it."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from .. import metrics
from .._backend import asnumpy
from .._checks import (
    axis,
    finite_array,
    flags,
    integer,
    number,
    of_one_type,
    option,
    real_array,
    same_shape,
    sequence,
)
from ..metrics.classification import numbers_in
from .figures import (
    AS_IT_IS,
    draw_image,
    extra,
    finished,
    grey,
    label_colors,
    label_of,
    new_figure,
    printable,
)

__all__ = [
    "plot_confusion_matrix",
    "plot_roc",
    "plot_tree",
    "show_kernel",
    "show_pipeline",
    "show_prediction",
]

_TILES = 64  # pictures in a mosaic
_ROWS, _COLUMNS = 4, 6  # of a mosaic with an image a row and a channel a column
_LONGEST = 400  # pixels along an edge of a drawn picture or table
_SCORED = 20  # whose Dice is told
_LINES = 6  # channels with a histogram each
_BINS = 64
_CLASSES = 16  # that are named


def show_pipeline(
    pipe,
    image,
    *,
    channel_axis: int | None = None,
    columns: int = 4,
    histograms: bool = True,
    figsize: tuple[float, float] | None = None,
):
    """Draw what an image becomes in each step of a fitted scikit-learn pipeline.

    Parameters
    ----------
    pipe : sklearn.pipeline.Pipeline
        Fitted. Each step but the last has ``transform``; the last predicts where it can.
    image : array_like of real numbers
        - (M, N): one grey image, which enters the pipeline as a stack of one, (1, M, N, 1).
          If the first step was fitted on a table of N columns: a table with a sample a row.
        - (n, M, N): a stack of grey images, which enters as it is.
        - (n, M, N, C) or (n, P, M, N, C): a stack of images or volumes, channels last.
        - Any of two or three spatial axes with `channel_axis`: one image with channels.
    channel_axis : int, optional
        Axis of the channels of a single image.
    columns : int, optional
        Steps in a row of the figure.
    histograms : bool, optional
        Whether a histogram of the values stands below each picture.
    figsize : tuple of float, optional
        Width and height in inches.

    Returns
    -------
    matplotlib.figure.Figure
        A panel for the input and one for each step (from left to right), titled by the step's
        name, what it is, and the shape of what it gives; with `histograms`, the axes of each
        panel are followed by those of its histogram.

    Raises
    ------
    TypeError
        `pipe` is no pipeline, or `image` does not hold real numbers.
    ValueError
        The shape of `image` is none of those above, or a step is not fitted.
    ImportError
        matplotlib is not installed.

    Notes
    -----
    Images are drawn with their channels side by side, each in grey between its own 0.5 and 99.5
    percent quantiles (an RGB input in colour), volumes by their middle slice, and a table with a
    pixel a row as the image that it came from. Of many images or channels the first are drawn.
    All steps compute on the whole image.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import Pipeline
    >>> from sklearn.preprocessing import RobustScaler
    >>> from gpuseg.plot import show_pipeline
    >>> table = np.array([[0, 1], [2, 5], [4, 3]])
    >>> pipe = Pipeline([("normalize", RobustScaler())]).fit(table)
    >>> figure = show_pipeline(pipe, table)
    >>> [ax.get_title().split() for ax in figure.axes[::2]]
    [['input', '3', 'x', '2'], ['normalize:', 'RobustScaler()', '3', 'x', '2']]
    """
    from sklearn.pipeline import Pipeline

    flags(histograms=histograms)

    if not isinstance(pipe, Pipeline):
        raise TypeError(f"pipe must be a scikit-learn Pipeline, got {type(pipe).__name__}")
    columns = integer(columns, "columns", at_least=1)
    data, stack = _pipeline_input(pipe, image, channel_axis)
    stages = _stages(pipe, data)
    columns = min(columns, len(stages))
    rows = math.ceil(len(stages) / columns)
    figure = new_figure(
        figsize if figsize is not None else (3.6 * columns, (3.6 + 1.7 * histograms) * rows)
    )
    per_panel = 2 if histograms else 1
    grid = figure.add_gridspec(
        per_panel * rows, columns, height_ratios=([3, 1.1] if histograms else [1]) * rows
    )
    for i, stage in enumerate(stages):
        row, column = divmod(i, columns)
        ax = figure.add_subplot(grid[per_panel * row, column])
        _draw_stage(ax, stage, asnumpy(data), stack)
        if histograms:
            _draw_histogram(figure.add_subplot(grid[2 * row + 1, column]), stage)
    return finished(figure)


def plot_tree(
    tree,
    feature_names=None,
    class_names=None,
    *,
    max_depth: int | None = 3,
    figsize: tuple[float, float] | None = None,
):
    """Draw the questions that a decision tree asks.

    Parameters
    ----------
    tree : DecisionTreeClassifier or DecisionTreeRegressor
        Fitted; a tree of a forest is ``forest.estimators_[0]``.
    feature_names : sequence of str, optional
        A name for each feature; by default those that the tree was fitted with, if any.
    class_names : sequence of str, optional
        A name for each class, in ascending order; by default ``tree.classes_``.
    max_depth : int, optional
        Levels of questions that are drawn; what lies below is a grey box. None: all.
    figsize : tuple of float, optional
        Width and height in inches; by default as large as the drawn levels need.

    Returns
    -------
    matplotlib.figure.Figure
        With one axis.

    Raises
    ------
    TypeError
        `tree` is no decision tree.
    ValueError
        `tree` is not fitted, or the number of names is not that of the features or classes.
    ImportError
        matplotlib is not installed.

    See Also
    --------
    sklearn.tree.plot_tree : Draws the tree.

    Examples
    --------
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from gpuseg.plot import plot_tree
    >>> tree = DecisionTreeClassifier().fit([[0], [1], [2], [3]], [0, 0, 1, 1])
    >>> figure = plot_tree(tree, ["size"])
    >>> figure.axes[0].texts[0].get_text().splitlines()[0]
    'size <= 1.5'
    """
    import sklearn.tree
    from sklearn.utils.validation import check_is_fitted

    if not isinstance(tree, sklearn.tree.BaseDecisionTree):
        raise TypeError(
            f"tree must be a DecisionTreeClassifier or DecisionTreeRegressor, "
            f"got {type(tree).__name__}"
        )
    check_is_fitted(tree)
    if max_depth is not None:
        max_depth = integer(max_depth, "max_depth", at_least=0)
    if feature_names is None:
        feature_names = getattr(tree, "feature_names_in_", None)
    feature_names = _names(feature_names, "feature_names", tree.n_features_in_)
    classes = getattr(tree, "classes_", None)
    if class_names is None and isinstance(classes, np.ndarray):
        class_names = classes
    class_names = _names(class_names, "class_names", None if classes is None else len(classes))
    leaves, depth = _extent(tree.tree_, max_depth)
    figure = new_figure(
        figsize if figsize is not None else (max(4.0, 1.5 * leaves), max(3.0, 1.3 * (depth + 1)))
    )
    ax = figure.add_subplot()
    # scikit-learn measures the texts, for which matplotlib reads what is between two $ as TeX.
    feature_names, class_names = (
        names and [name.replace("$", r"\$") for name in names]
        for names in (feature_names, class_names)
    )
    sklearn.tree.plot_tree(
        tree,
        max_depth=max_depth,
        feature_names=feature_names,
        class_names=class_names,
        filled=True,
        rounded=True,
        precision=3,
        fontsize=8,
        ax=ax,
    )
    ax.set_axis_off()
    for text in ax.texts:
        text.set_text(text.get_text().replace(r"\$", "$"))
    return finished(figure)


def plot_roc(y_true, y_score, *, title: str = "ROC", figsize: tuple[float, float] = (5, 5)):
    """Draw the rate of true positives over that of false ones, for every threshold of a score.

    Parameters
    ----------
    y_true : array_like of bool or int
        The truth, of any shape: two values, the larger the positive one.
    y_score : array_like of float, or mapping of str to array_like
        The score of each element, higher for positive ones; or several, by name.
    title : str, optional
        Title of the figure.
    figsize : tuple of float, optional
        Width and height in inches.

    Returns
    -------
    matplotlib.figure.Figure
        With one axis: a curve for each score with the area below it (AUC) in the legend, best
        first, and the diagonal of a score that says nothing.

    Raises
    ------
    ValueError
        A score has not the shape of `y_true` or is not finite, or `y_true` has not two values.
    ImportError
        matplotlib is not installed.

    See Also
    --------
    gpuseg.metrics.roc_curve, gpuseg.metrics.roc_auc_score : The numbers.

    References
    ----------
    .. [1] T. Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27(8), 2006.
           :doi:`10.1016/j.patrec.2005.10.010`

    Examples
    --------
    >>> from gpuseg.plot import plot_roc
    >>> figure = plot_roc([0, 0, 1, 1], {"size": [1, 2, 3, 4], "colour": [1, 4, 3, 2]})
    >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    ['size  AUC 1.000', 'colour  AUC 0.500']
    """
    curves = y_score if isinstance(y_score, Mapping) else {"": y_score}
    if not curves:
        raise ValueError("y_score is empty")
    y_true = asnumpy(real_array(y_true, "y_true")).ravel()
    found = []
    for name, score in curves.items():
        score = asnumpy(real_array(score, f"score {name!r}" if name else "y_score")).ravel()
        auc = float(metrics.roc_auc_score(y_true, score))
        found.append((auc, name, *metrics.roc_curve(y_true, score)[:2]))
    figure = new_figure(figsize)
    ax = figure.add_subplot()
    ax.plot([0, 1], [0, 1], color="0.7", linestyle=":")
    for auc, name, fpr, tpr in sorted(found, key=lambda curve: -curve[0]):
        ax.plot(fpr, tpr, label=label_of(f"{name}  AUC {auc:.3f}".strip()))
    ax.set(
        title=title,
        xlabel="false positive rate",
        ylabel="true positive rate",
        xlim=(-0.01, 1.01),
        ylim=(-0.01, 1.01),
        aspect="equal",
    )
    ax.legend(loc="lower right", fontsize="small")
    return finished(figure)


def plot_confusion_matrix(
    y_true,
    y_pred,
    *,
    labels=None,
    normalize: str | None = None,
    class_names=None,
    figsize: tuple[float, float] | None = None,
):
    """Draw how often each class was taken for each.

    Parameters
    ----------
    y_true, y_pred : array_like of bool or int, of one shape
        The true class of each element, and the predicted one.
    labels : sequence of int, optional
        The classes in the order of rows and columns; by default all that occur.
    normalize : {'true', 'pred', 'all'}, optional
        Show shares of the rows, of the columns, or of all, in place of counts.
    class_names : sequence of str, optional
        A name for each row and column.
    figsize : tuple of float, optional
        Width and height in inches.

    Returns
    -------
    matplotlib.figure.Figure
        With one axis: true classes in rows, predicted ones in columns, a number in each cell.

    Raises
    ------
    TypeError, ValueError
        As `gpuseg.metrics.confusion_matrix`; or there are not as many names as classes.
    ImportError
        matplotlib is not installed.

    See Also
    --------
    gpuseg.metrics.confusion_matrix : The numbers.

    Examples
    --------
    >>> from gpuseg.plot import plot_confusion_matrix
    >>> figure = plot_confusion_matrix([0, 0, 1], [0, 1, 1])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['1', '1', '0', '1']
    """
    y_true, y_pred = (
        asnumpy(real_array(y, name)) for y, name in ((y_true, "y_true"), (y_pred, "y_pred"))
    )
    table = metrics.confusion_matrix(y_true, y_pred, labels=labels, normalize=normalize)
    if labels is None:
        labels = numbers_in(y_true, y_pred)
    names = _names(class_names, "class_names", len(table)) or [str(label) for label in labels]
    size = max(3.5, 0.55 * len(table) + 1.5)
    figure = new_figure(figsize, (size + 0.8, size))
    ax = figure.add_subplot()
    shown = ax.imshow(table, cmap="Blues", vmin=0)
    _annotate(ax, table, shown, "{:.2f}" if normalize else "{:d}")
    places = range(len(table))
    long = any(len(name) > 3 for name in names)
    ax.set_xticks(places, names, rotation=45 * long, ha="right" if long else "center", **AS_IT_IS)
    ax.set_yticks(places, names, **AS_IT_IS)
    ax.set(xlabel="predicted", ylabel="true")
    share = {"true": "share of the true class", "pred": "share of the predicted class"}
    figure.colorbar(shown, ax=ax, label=share.get(normalize, "share" if normalize else "count"))
    return finished(figure)


def show_prediction(
    image,
    truth,
    prediction,
    *,
    threshold: float | None = None,
    figsize: tuple[float, float] | None = None,
):
    """Draw an image, its true mask or classes, the predicted ones, and where they differ.

    Parameters
    ----------
    image : (M, N) or (M, N, 3) array_like
        Grey or RGB.
    truth : (M, N) array_like
        A mask, of which any value but zero is object; or classes: whole numbers, of which more
        than one is not zero.
    prediction : (M, N) array_like
        A mask (bool, or whole numbers of which one at most is not zero), a score for each pixel,
        or, where the truth holds classes, the class of each pixel in whole numbers.
    threshold : float, optional
        A score above this is object; a number says that `prediction` is a score. By default the
        one with the greatest Dice on this truth, which flatters: on other images it may be lower.

    Returns
    -------
    matplotlib.figure.Figure
        With the image, the truth, the prediction, and the hits. Of a mask or a score these are
        white where both are object, orange where only the prediction is, blue where only the
        truth is; Dice and IoU stand in their title, and the AUC and the threshold of a score in
        that of the prediction, with a line at the threshold in its colour bar. Of classes they are
        white where both are of one class and orange elsewhere; the title has the share of pixels
        that are right and the mean of the classes' Dice, and the legend the Dice of each class, or
        of the 20 largest.

    Raises
    ------
    TypeError, ValueError
        For arrays of other kinds, of different shapes, or with NaN or infinity.
    ImportError
        matplotlib is not installed.

    See Also
    --------
    gpuseg.metrics.dice, gpuseg.metrics.jaccard, gpuseg.metrics.hit_map : What is shown.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.plot import show_prediction
    >>> image = np.arange(12).reshape(3, 4)
    >>> figure = show_prediction(image, image > 5, image > 7)
    >>> figure.axes[3].get_title()
    'hits  Dice 0.800, IoU 0.667'
    >>> figure = show_prediction(image, image > 5, image / 100)
    >>> figure.axes[2].get_title().splitlines()
    ['prediction  AUC 1.000', 'above 0.055 (the greatest Dice)']
    """
    image = asnumpy(real_array(image, "image", ndim=(2, 3)))
    if image.ndim == 3 and image.shape[2] not in (3, 4):
        raise ValueError(f"image must have shape (M, N) or (M, N, 3), got {image.shape}")
    truth = asnumpy(finite_array(truth, "truth"))
    prediction = asnumpy(finite_array(prediction, "prediction"))
    if threshold is not None:
        threshold = number(threshold, "threshold")
    same_shape(truth, prediction, "truth", "prediction")
    if truth.shape != image.shape[:2]:
        raise ValueError(
            f"truth must have the shape of image, {image.shape[:2]}, got {truth.shape}"
        )
    tall = min(max(image.shape[0] / image.shape[1], 0.1), 3)
    if tall < 0.5:  # below one another
        shape, default = (4, 1), (7, 4 * (7 * tall + 0.55))
    else:
        shape, default = (1, 4), (13.6, 3.3 * tall + 0.6)
    figure = new_figure(figsize, default)
    axes = figure.subplots(*shape).ravel()
    several = np.unique(truth[truth != 0]).size > 1
    if several and threshold is None and _are_whole(truth) and _are_whole(prediction):
        titles = _draw_classes(axes, image, truth, prediction)
    else:
        titles = _draw_mask(axes, image, truth != 0, prediction, threshold)
        # Of several values one mask was made.
        titles[1] += " (what is not 0)" * several
    for ax, text in zip(axes, titles):
        ax.set_title(text, fontsize="medium")
    return finished(figure)


def _are_whole(values) -> bool:
    """Whether values can be classes: of integers, or floating-point numbers that are whole."""
    return values.dtype.kind in "ui" or (values.dtype.kind == "f" and not (values % 1).any())


def _draw_mask(axes, image, truth, prediction, threshold) -> list[str]:
    """Draw a prediction of objects; the titles."""
    is_mask = prediction.dtype == bool or (
        threshold is None
        and prediction.dtype.kind in "ui"
        and np.unique(prediction[prediction != 0]).size <= 1
    )
    title = "prediction"
    if is_mask:
        mask = prediction != 0
    else:
        if truth.any() and not truth.all():
            title += f"  AUC {metrics.roc_auc_score(truth, prediction):.3f}"
        cut = _best_cut(truth, prediction) if threshold is None else threshold
        title += f"\nabove {cut:.4g}" + " (the greatest Dice)" * (threshold is None)
        mask = prediction > cut
    for ax, picture in zip(axes, (image, truth, mask, asnumpy(metrics.hit_map(truth, mask)))):
        draw_image(ax, picture)
    if not is_mask:
        axes[2].clear()
        axes[2].set_axis_off()
        bar = _color_bar(axes[2], axes[2].imshow(prediction, cmap="viridis"))
        if prediction.min() <= cut <= prediction.max():
            bar.ax.axhline(cut, color="C3", linewidth=2)
    dice, iou = metrics.dice(truth, mask), metrics.jaccard(truth, mask)
    return ["image", "truth", title, f"hits  Dice {dice:.3f}, IoU {iou:.3f}"]


def _best_cut(truth, score):
    """The number above which a score has the greatest Dice, midway between two scores."""
    score, inverse = np.unique(score, return_inverse=True)
    found = np.bincount(inverse.ravel())[::-1].cumsum()
    right = np.bincount(inverse.ravel(), weights=truth.ravel())[::-1].cumsum()
    if not right[-1]:
        return score[-1]  # above which is nothing, as in the truth
    above = score.size - 1 - int(np.argmax(2 * right / (found + right[-1])))
    if score.dtype.kind in "ui":
        low = int(score[above - 1]) if above else int(score[0]) - 1
        return (low + int(score[above])) // 2
    if not above:
        return np.nextafter(score[0], score.dtype.type(-np.inf))
    low, high = score[above - 1], score[above]
    middle = low / 2 + high / 2
    return middle if low <= middle < high else low


def _draw_classes(axes, image, truth, prediction) -> list[str]:
    """Draw a prediction of classes, with the Dice of each in the legend; the titles."""
    patch = extra("matplotlib.patches").Patch
    truth, prediction = of_one_type([truth, prediction], "truth and prediction")
    values = np.union1d(truth, prediction)
    colors = label_colors(np.arange(1, values.size + 1))
    colors[values == 0] = 0.15
    kinds = [np.searchsorted(values, classes) for classes in (truth, prediction)]
    counts = [np.bincount(kind.ravel(), minlength=values.size) for kind in kinds]
    hits = truth == prediction
    right = np.bincount(kinds[0][hits], minlength=values.size)
    dice = 2 * right / (counts[0] + counts[1])
    shades = np.rint(255 * colors).astype(np.uint8)
    agreement = np.where(hits[..., None], np.uint8(235), np.array([213, 94, 0], np.uint8))
    for ax, picture in zip(axes, (image, *(shades[kind] for kind in kinds), agreement)):
        draw_image(ax, picture)
    largest = np.sort(np.argsort(-counts[0] - counts[1], kind="stable")[:_SCORED])
    # All digits of integers, which tell two classes apart.
    names = [f"{v:.15g}" if isinstance(v, float) else str(v) for v in values[largest].tolist()]
    handles = [
        patch(color=colors[i], label=f"{name}  Dice {dice[i]:.3f}")
        for name, i in zip(names, largest)
    ]
    if values.size > _SCORED:
        handles.append(patch(color="none", label=f"and {values.size - _SCORED} more"))
    axes[3].legend(
        handles=handles,
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        frameon=False,
        fontsize="small",
    )
    return [
        "image",
        "truth",
        "prediction",
        f"hits  {hits.mean():.3f} of all\nmean Dice {dice.mean():.3f}",
    ]


def show_kernel(
    coef,
    intercept: float | None = None,
    *,
    ndim: int = 2,
    channel_names=("",),
    columns: int | None = None,
    figsize: tuple[float, float] | None = None,
):
    """Draw the kernel that a linear regression on neighbourhoods has learned.

    Parameters
    ----------
    coef : array_like of float
        Either the kernel itself, with two or three axes, or the flat ``coef_`` of a regression
        on `gpuseg.features.neighborhood`: all shifts in C order, channels fastest.
    intercept : float, optional
        Stands in the title.
    ndim : int, optional
        Spatial axes of a flat `coef`, whose kernel is as long along each.
    channel_names : sequence of str, optional
        A name for each channel of a flat `coef`.
    columns : int, optional
        Panels in a row; by default all slices of a channel.
    figsize : tuple of float, optional
        Width and height in inches.

    Returns
    -------
    matplotlib.figure.Figure
        With a panel for each channel, and in 3-D for each slice along the first axis. Each cell
        shows its weight; red weights are positive, blue ones negative, on one scale.

    Raises
    ------
    ValueError
        A flat `coef` has no length that such a kernel has, or `coef` has other axes.
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> from gpuseg.plot import show_kernel
    >>> figure = show_kernel([0, -1, 0, -1, 4, -1, 0, -1, 0], 0.5)
    >>> [text.get_text() for text in figure.axes[0].texts][3:6]
    ['-1', '4', '-1']
    """
    coef = asnumpy(real_array(coef, "coef", ndim=(1, 2, 3))).astype(float)
    names = [str(name) for name in channel_names]
    kernels = _flat_kernels(coef, ndim, names) if coef.ndim == 1 else {"": coef}
    panels = {}
    for name, kernel in kernels.items():
        if kernel.ndim == 2:
            panels[name] = kernel
        else:
            middle = kernel.shape[0] // 2
            panels |= {
                f"{name}  slice {i - middle:+d}".strip(): part for i, part in enumerate(kernel)
            }
    columns = columns or max(1, len(panels) // len(kernels))
    columns = integer(columns, "columns", at_least=1)
    rows = math.ceil(len(panels) / columns)
    height, width = coef.shape[-2:] if coef.ndim > 1 else next(iter(panels.values())).shape
    size = 0.55 * columns * width + 1.6, 0.55 * rows * height + 0.5 * rows + 0.5
    figure = new_figure(figsize, (max(3.2, size[0]), max(2.4, size[1])))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    limit = max(np.abs(coef[np.isfinite(coef)]).max(initial=0), np.finfo(float).tiny)
    for ax, (name, kernel) in zip(axes, panels.items(), strict=False):
        shown = ax.imshow(kernel, cmap="RdBu_r", vmin=-limit, vmax=limit)
        _annotate(ax, kernel, shown, "{:.2g}")
        ax.set_title(name, fontsize="medium")
        ax.set(xticks=[], yticks=[])
    for ax in axes[len(panels) :]:
        ax.remove()
    figure.colorbar(shown, ax=list(axes[: len(panels)]), label="weight")
    if intercept is not None:
        figure.suptitle(f"intercept {number(intercept, 'intercept'):.4g}", fontsize="medium")
    return finished(figure)


class _Stack(NamedTuple):
    """The images that the rows of a table came from."""

    count: int
    shape: tuple[int, ...]

    @property
    def pixels(self) -> int:
        return self.count * math.prod(self.shape)


class _Stage(NamedTuple):
    title: str
    data: np.ndarray
    predicted: bool


def _pipeline_input(pipe, image, channel_axis):
    """What enters the first step, and the stack of images that it is (None: a table)."""
    if channel_axis is not None:
        image = real_array(image, "image", ndim=(3, 4))
        channel_axis = axis(channel_axis, "channel_axis", image.ndim)
        order = [i for i in range(image.ndim) if i != channel_axis] + [channel_axis]
        data = image.transpose(order)[None]
        return data, _Stack(1, data.shape[1:-1])
    image = real_array(image, "image", ndim=(2, 3, 4, 5))
    if image.ndim == 2:
        if getattr(pipe.steps[0][1], "n_features_in_", None) == image.shape[1]:
            return image, None
        return image[None, ..., None], _Stack(1, image.shape)
    if image.ndim == 3:
        return image, _Stack(image.shape[0], image.shape[1:])
    return image, _Stack(image.shape[0], image.shape[1:-1])


def _stages(pipe, data) -> list[_Stage]:
    stages = [_stage("input", data, predicted=False)]
    last = len(pipe.steps) - 1
    for i, (name, step) in enumerate(pipe.steps):
        predicts = i == last and hasattr(step, "predict")
        if step not in (None, "passthrough"):
            data = step.predict(data) if predicts else step.transform(data)
        what = "nothing is done" if step in (None, "passthrough") else _written(step)
        stages.append(_stage(f"{name}: {what}", data, predicted=predicts))
    return stages


def _written(step) -> str:
    """A step on one line, functions by their names alone."""
    return re.sub(r"<function (\S+) at \w+>", r"\1", " ".join(repr(step).split()))


def _stage(title, data, *, predicted) -> _Stage:
    data = data.toarray() if hasattr(data, "toarray") else data
    data = np.asarray(asnumpy(data))
    lines = textwrap.wrap(title, 42, max_lines=3, placeholder=" ...")
    lines.append(" x ".join(map(str, data.shape)))
    return _Stage("\n".join(lines), data, predicted)


def _draw_stage(ax, stage, given, stack) -> None:
    ax.set_title(stage.title, fontsize="small")
    data = _as_numbers(stage.data)
    rows = data.shape[0]
    if stack is not None and (data.ndim > 2 or rows == stack.pixels):
        if data.ndim <= 2:
            data = data.reshape(stack.count, *stack.shape, -1)
        elif data.ndim == 1 + len(stack.shape):
            data = data[..., None]
        _draw_stack(ax, _middle(data), stage)
    elif stage.predicted and stack is not None and rows == stack.count and data.ndim == 1:
        images = given if given.ndim > 1 + len(stack.shape) else given[..., None]
        names = [printable(value) for value in _short(stage.data)]
        _draw_stack(ax, _middle(images)[..., :1], stage, names)
    elif given.ndim == 2 and given.shape[1] == 2 and rows == len(given) and stage.predicted:
        _color_bar(ax, ax.scatter(*given.T, c=data, s=8), stage)
    elif data.ndim == 2 and data.shape[1] == 2 and stack is None:
        ax.scatter(*data.T, s=8, color="0.3")
    else:
        _draw_table(ax, data.reshape(rows, -1))
    ax.tick_params(labelsize="small")
    ax.locator_params(nbins=6)


def _draw_stack(ax, images, stage, names=()) -> None:
    """A mosaic of an image a tile, or a channel a tile, or a row an image with its channels."""
    ax.set_axis_off()
    if stage.predicted and images.shape[0] == images.shape[3] == 1:
        _color_bar(ax, ax.imshow(_thinned(images[0, ..., 0], 2), cmap="viridis"), stage)
        return
    if stage.title.startswith("input\n") and images.shape[0] == 1 and images.shape[3] == 3:
        ax.imshow(_thinned(grey(images[0]), 2))
        return
    if min(images.shape[0], images.shape[3]) > 1:
        images = images[:_ROWS, ..., :_COLUMNS]
        across = images.shape[3]
    else:
        images = images[:_TILES, ..., :_TILES]
        tiles = images.shape[0] * images.shape[3]
        tall = images.shape[1] / images.shape[2]
        across = min(tiles, max(1, round(math.sqrt(tiles * tall))))
    images = _thinned(np.moveaxis(images, -1, 1), 2)
    images = np.stack([grey(images[:, c]) for c in range(images.shape[1])], axis=1)
    tiles = images.reshape(-1, *images.shape[2:])
    down, (height, width) = math.ceil(len(tiles) / across), tiles.shape[1:]
    gap = max(1, round(0.02 * max(height, width))) if len(tiles) > 1 else 0
    pitch = round(1.5 * height) + gap if len(names) else height + gap
    canvas = np.full((down * pitch - gap, across * (width + gap) - gap), 255, np.uint8)
    for i, tile in enumerate(tiles):
        row, column = i // across * pitch, i % across * (width + gap)
        canvas[row : row + height, column : column + width] = tile
        if i < len(names):
            below = column + width / 2, row + height
            ax.text(*below, names[i], fontsize="small", va="top", ha="center")
    ax.imshow(canvas, cmap="gray", vmin=0, vmax=255)


def _draw_table(ax, table) -> None:
    ax.imshow(
        grey(_thinned(table, 2)),
        cmap="gray",
        vmin=0,
        vmax=255,
        aspect="auto",
        interpolation="nearest",
        extent=(-0.5, table.shape[1] - 0.5, table.shape[0] - 0.5, -0.5),
    )
    ax.set(xlabel="column", ylabel="row")


def _draw_histogram(ax, stage) -> None:
    ax.tick_params(labelsize="small")
    if names := _classes(stage.data):
        counts = np.unique(stage.data, return_counts=True)[1]
        ax.bar(range(len(names)), counts, color="0.65")
        tilt = 60 * (sum(map(len, names)) > 24)
        ax.set_xticks(range(len(names)), names, rotation=tilt, **AS_IT_IS)
        return
    channels = stage.data.reshape(-1, stage.data.shape[-1] if stage.data.ndim in (2, 4, 5) else 1)
    if channels.shape[1] > _LINES:
        channels = channels.reshape(-1, 1)
    channels = channels.astype(np.float64)
    finite = channels[np.isfinite(channels)]
    edges = np.histogram_bin_edges(finite, _BINS) if finite.size else np.array([0.0, 1.0])
    for i, channel in enumerate(channels.T):
        counts = np.histogram(channel[np.isfinite(channel)], edges)[0]
        if channels.shape[1] == 1:
            ax.stairs(counts, edges, fill=True, color="0.65")
        else:
            ax.stairs(counts, edges, color=f"C{i}", label=str(i))
    if channels.shape[1] > 1:
        ax.legend(fontsize="x-small", ncols=2, handlelength=1, title_fontsize="x-small")
    ax.set_yscale("log")
    ax.set_ylim(bottom=0.7)


def _as_numbers(data: np.ndarray) -> np.ndarray:
    """Names of classes as their places in alphabetical order."""
    if data.dtype.kind in "buif":
        return data
    return np.unique(data, return_inverse=True)[1].reshape(data.shape)


def _classes(data: np.ndarray) -> list[str]:
    """The values of a table of classes in ascending order, where they are few."""
    values = [] if data.dtype.kind == "f" else np.unique(data)
    return [printable(value) for value in values] if len(values) <= _CLASSES else []


def _short(values):
    return [f"{value:.3g}" for value in values] if values.dtype.kind == "f" else values


def _middle(images: np.ndarray) -> np.ndarray:
    """(n, M, N, C): of volumes the middle slice."""
    return images[:, images.shape[1] // 2] if images.ndim == 5 else images


def _thinned(array: np.ndarray, axes: int) -> np.ndarray:
    """Every k-th pixel along the last axes but those that are too short to need it."""
    first = array.ndim - axes
    steps = [slice(None)] * first
    steps += [slice(None, None, max(1, size // _LONGEST)) for size in array.shape[first:]]
    return array[tuple(steps)]


def _color_bar(ax, shown, stage=None):
    """The values of the colours: those of a few classes by name."""
    bar = ax.figure.colorbar(shown, ax=ax, shrink=0.8, pad=0.02)
    classes = _classes(stage.data) if stage else ()
    if classes:
        values = np.unique(_as_numbers(stage.data))
        bar.set_ticks(values, labels=classes, **AS_IT_IS)
    bar.ax.tick_params(labelsize="small")
    return bar


def _annotate(ax, table, shown, form: str) -> None:
    """Write each value into its cell, in white on dark ones."""
    for (row, column), value in np.ndenumerate(table):
        red, green, blue, _ = shown.cmap(shown.norm(value))
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
        text = form.format(value.item())
        color = "white" if dark else "black"
        ax.text(column, row, text, ha="center", va="center", fontsize="small", color=color)


def _names(names, argument: str, count: int | None):
    if names is None or count is None:
        return None
    names = [printable(name) for name in sequence(names, argument, "names")]
    if len(names) != count:
        raise ValueError(f"{argument} must be {count} names, got {len(names)}")
    return names


def _extent(tree, max_depth) -> tuple[int, int]:
    """Boxes side by side and levels of a drawing."""
    leaves, deepest, todo = 0, 0, [(0, 0)]
    while todo:
        node, depth = todo.pop()
        deepest = max(deepest, depth)
        children = tree.children_left[node], tree.children_right[node]
        if children[0] == children[1] or (max_depth is not None and depth > max_depth):
            leaves += 1
        else:
            todo += [(child, depth + 1) for child in children]
    return leaves, deepest


def _flat_kernels(coef, ndim, names) -> dict[str, np.ndarray]:
    ndim = option(ndim, "ndim", (2, 3))
    length = round((coef.size / max(1, len(names))) ** (1 / ndim))
    if not names or length**ndim * len(names) != coef.size or len(set(names)) < len(names):
        raise ValueError(
            f"coef of {coef.size} values is no {ndim}-D kernel as long along each axis "
            f"with {len(names)} different channel_names"
        )
    kernels = coef.reshape((length,) * ndim + (len(names),))
    return {name: kernels[..., i] for i, name in enumerate(names)}
