"""Histograms, curves, grids of images, overlays."""

from __future__ import annotations

import importlib
import math
import textwrap
import unicodedata
from collections.abc import Mapping
from numbers import Real

import numpy as np

from .._backend import asnumpy
from .._checks import flags, integer, mapping, number, real_array, sequence

__all__ = ["curve_figure", "grid_figure", "histogram_figure", "outlines", "overlay"]

_STYLES = ("-", "--", ":", "-.")
# Of texts: to be shown as they are, whatever the caller's settings. They may hold $ and \\.
AS_IT_IS = {"parse_math": False, "usetex": False}


def extra(module: str):
    """Import a module of the extra `plot`, or say in one line what to install."""
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise ImportError(f"{package} is not installed: pip install 'gpuseg[plot]'") from None


def histogram_figure(
    counts,
    centers,
    thresholds: Mapping[str, float] | None = None,
    *,
    log: bool = False,
    title: str = "Histogram",
    figsize: tuple[float, float] = (8, 4),
):
    """Draw a histogram with thresholds as vertical lines.

    Parameters
    ----------
    counts, centers : (N,) array_like
        Number of elements in each bin, and the bins' centres in ascending order.
    thresholds : mapping of str to float, optional
        Name and value of each line. One that is not finite is named in the legend and not drawn.
    log : bool, optional
        Whether the axis of the counts is logarithmic.
    title : str, optional
        Title of the figure.
    figsize : tuple of float, optional
        Width and height in inches.

    Returns
    -------
    matplotlib.figure.Figure
        With one axis; ``figure.savefig(path)`` writes it.

    Raises
    ------
    ValueError
        `counts` and `centers` differ in length.
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> from gpuseg.plot import histogram_figure
    >>> figure = histogram_figure([4, 1, 0, 3], [0, 1, 2, 3], {"otsu": 1.0})
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['otsu  1']
    """
    flags(log=log)
    counts = asnumpy(real_array(counts, "counts", ndim=1))
    centers = asnumpy(real_array(centers, "centers", ndim=1)).astype(float)
    if counts.shape != centers.shape:
        raise ValueError(
            f"counts and centers must have the same length, got {counts.size} and {centers.size}"
        )
    figure = new_figure(figsize)
    ax = figure.add_subplot()
    middle = (centers[1:] + centers[:-1]) / 2
    first = centers[0] - (middle[0] - centers[0] if middle.size else 0.5)
    last = centers[-1] + (centers[-1] - middle[-1] if middle.size else 0.5)
    ax.stairs(counts, np.concatenate([[first], middle, [last]]), fill=True, color="0.65")
    ax.set(title=title, xlabel="value", ylabel="elements", yscale="log" if log else "linear")
    named = sorted(
        _named_numbers(thresholds).items(), key=lambda item: (math.isnan(item[1]), item[1])
    )
    colors = extra("matplotlib").colormaps["tab10"].colors
    for i, (name, value) in enumerate(named):
        style = {"color": colors[i % 10], "linestyle": _STYLES[i // 10 % 4], "linewidth": 1.5}
        if math.isfinite(value):
            ax.axvline(value, label=label_of(f"{name}  {value:.6g}"), **style)
        else:
            ax.plot([], [], label=label_of(f"{name}  undecided"), color="none")
    if named:
        ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize="small")
    return finished(figure)


def curve_figure(
    x,
    curves: Mapping[str, object],
    *,
    chosen: float | None = None,
    xlabel: str = "threshold",
    title: str = "",
    figsize: tuple[float, float] | None = None,
):
    """Draw curves over a common axis, each in a panel of its own.

    Parameters
    ----------
    x : (N,) array_like
        The common axis.
    curves : mapping of str to (N,) array_like
        Name and values of each curve.
    chosen : float, optional
        A vertical line through all panels at this value of `x`.
    xlabel, title : str, optional
        Name of the common axis, title of the figure.
    figsize : tuple of float, optional
        Width and height in inches.

    Returns
    -------
    matplotlib.figure.Figure
        With one axis for each curve, from top to bottom.

    Raises
    ------
    ValueError
        There is no curve, or one has not the length of `x`.
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> from gpuseg.plot import curve_figure
    >>> figure = curve_figure([1, 2, 3], {"objects": [4, 5, 1]}, chosen=2)
    >>> figure.axes[0].get_ylabel()
    'objects'
    """
    x = asnumpy(real_array(x, "x", ndim=1))
    curves = mapping(curves, "curves")
    chosen = None if chosen is None else number(chosen, "chosen")
    if not curves:
        raise ValueError("curves is empty")
    figure = new_figure(figsize, (8, 1 + 1.8 * len(curves)))
    axes = figure.subplots(len(curves), 1, sharex=True, squeeze=False)[:, 0]
    for ax, (name, values) in zip(axes, curves.items(), strict=True):
        values = asnumpy(real_array(values, f"curves[{name!r}]"))
        if values.shape != x.shape:
            raise ValueError(f"curve {name!r} must have shape {x.shape}, got {values.shape}")
        ax.plot(x, values, marker=".", markersize=4, linewidth=1)
        ax.set_ylabel(name)
        ax.grid(visible=True, alpha=0.3)
        if chosen is not None:
            ax.axvline(chosen, color="C3")
    if chosen is not None:
        title = f"{title}  (chosen: {chosen:.6g})" if title else f"chosen: {chosen:.6g}"
    axes[0].set_title(title)
    axes[-1].set_xlabel(xlabel)
    return finished(figure)


def grid_figure(
    panels: Mapping[str, object],
    *,
    columns: int | None = None,
    figsize: tuple[float, float] | None = None,
):
    """Draw images side by side, each under its title.

    Parameters
    ----------
    panels : mapping of str to (M, N) or (M, N, 3) array_like
        Title and image. Two axes are drawn in grey between the 0.5 and 99.5 percent quantiles
        (bool: black and white), three as RGB.
    columns : int, optional
        Panels in a row; by default the grid is about square.
    figsize : tuple of float, optional
        Width and height in inches.

    Returns
    -------
    matplotlib.figure.Figure
        With one axis for each panel.

    Raises
    ------
    ValueError
        There is no panel, or one is no 2-D image.
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.plot import grid_figure
    >>> image = np.arange(12).reshape(3, 4)
    >>> figure = grid_figure({"image": image, "mask": image > 5})
    >>> [ax.get_title() for ax in figure.axes]
    ['image', 'mask']
    """
    panels = mapping(panels, "panels")
    if not panels:
        raise ValueError("panels is empty")
    columns = None if columns is None else integer(columns, "columns", at_least=1, at_most=100)
    columns = columns or math.ceil(math.sqrt(len(panels)))
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(figsize, (3.2 * columns, 3.2 * rows))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, (title, image) in zip(axes, panels.items(), strict=False):
        draw_image(ax, image)
        ax.set_title(textwrap.fill(printable(title), 34), fontsize="medium")
    for ax in axes[len(panels) :]:
        ax.remove()
    return finished(figure)


def overlay(image2d, labels2d, alpha: float = 0.4):
    """Colour the regions of a label image on a grey image.

    Parameters
    ----------
    image2d : (M, N) array_like
        The image, drawn in grey between its 0.5 and 99.5 percent quantiles; NaN is black.
    labels2d : (M, N) array_like of bool or int
        Zero stays grey; every other label gets a colour of its own, the same one in every call.
    alpha : float, optional
        Weight of the colour, from 0 to 1.

    Returns
    -------
    (M, N, 3) ndarray of uint8
        RGB.

    Raises
    ------
    ValueError
        The shapes differ or are not 2-D, or `alpha` is out of range.
    TypeError
        `labels2d` is neither bool nor integer.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.plot import overlay
    >>> overlay(np.array([[0, 0, 255]]), np.array([[0, 1, 0]])).tolist()
    [[[0, 0, 0], [102, 41, 0], [255, 255, 255]]]
    """
    image2d, labels2d = _image_and_labels(image2d, labels2d)
    alpha = number(alpha, "alpha", at_least=0, at_most=1)
    rgb = np.repeat(grey(image2d)[..., None], 3, axis=-1)
    inside = labels2d != 0
    colors = 255 * label_colors(labels2d[inside])
    rgb[inside] = np.rint((1 - alpha) * rgb[inside] + alpha * colors)
    return rgb


def outlines(image2d, labels2d, *, color=(1, 0.85, 0)) -> np.ndarray:
    """Draw the boundaries of regions onto a grey image.

    Parameters
    ----------
    image2d : (M, N) array_like
        The image; grey values between the 0.5 and 99.5 percent quantiles are shown.
    labels2d : (M, N) array_like of bool or int
        The regions. Each is outlined along its own edge pixels; 0 is background.
    color : three numbers, optional
        Red, green and blue, from 0 to 1.

    Returns
    -------
    (M, N, 3) ndarray of uint8
        RGB.

    Raises
    ------
    ValueError
        The shapes differ or are not 2-D, or `color` is not three numbers from 0 to 1.
    TypeError
        `labels2d` is neither bool nor integer.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.plot import outlines
    >>> outlines(np.zeros((1, 4)), np.array([[0, 1, 1, 1]]))[0, :, 0].tolist()
    [0, 255, 0, 0]
    """
    from ..segmentation import find_boundaries

    image2d, labels2d = _image_and_labels(image2d, labels2d)
    color = sequence(color, "color", "numbers")
    if len(color) != 3:
        raise ValueError(f"color must be three numbers, got {len(color)}")
    color = [number(part, "color", at_least=0, at_most=1) for part in color]
    rgb = np.repeat(grey(image2d)[..., None], 3, axis=-1)
    rgb[find_boundaries(labels2d, mode="inner")] = np.rint(255 * np.array(color))
    return rgb


def _image_and_labels(image2d, labels2d):
    image2d = asnumpy(real_array(image2d, "image2d", ndim=2))
    labels2d = asnumpy(real_array(labels2d, "labels2d", ndim=2))
    if labels2d.shape != image2d.shape:
        raise ValueError(
            f"labels2d must have the shape of image2d, {image2d.shape}, got {labels2d.shape}"
        )
    if labels2d.dtype.kind not in "bui":
        raise TypeError(f"labels2d must be bool or integer, got {labels2d.dtype}")
    return image2d, labels2d


def draw_image(ax, image) -> None:
    """Show a grey, binary or RGB image on an axis without ticks."""
    image = asnumpy(real_array(image, "a panel", ndim=(2, 3)))
    if image.ndim == 2:
        ax.imshow(grey(image), cmap="gray", vmin=0, vmax=255)
    elif image.shape[2] in (3, 4):
        ax.imshow(image)
    else:
        raise ValueError(f"a panel must have shape (M, N) or (M, N, 3), got {image.shape}")
    ax.set_axis_off()


def printable(text) -> str:
    """A text without what no font can show and no SVG may hold: control codes, lone surrogates."""
    return "".join(
        c.encode("unicode_escape").decode("ascii")
        if (unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t") or c in "\ufffe\uffff"
        else c
        for c in str(text)
    )


def label_of(text) -> str:
    """A line's name for the legend, which leaves out those that begin with an underscore."""
    text = printable(text)
    return f" {text}" if text.startswith("_") else text


def finished(figure):
    """The figure, with its titles, names and texts shown as they are."""
    texts = [*figure.texts]
    for ax in figure.axes:
        texts += [ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
        if ax.get_legend() is not None:
            texts += ax.get_legend().get_texts()
    for text in texts:
        text.set(text=printable(text.get_text()), **AS_IT_IS)
    return figure


def _named_numbers(thresholds) -> dict[str, float]:
    thresholds = mapping(thresholds, "thresholds")
    for value in thresholds.values():
        # NaN is a method's that could not decide.
        if not (isinstance(value, Real) and math.isnan(value)):
            number(value, "thresholds", finite=False)
    return {str(name): float(value) for name, value in thresholds.items()}


def checked_figsize(figsize) -> tuple[float, float]:
    """Width and height in inches, of a picture that memory can hold."""
    figsize = sequence(figsize, "figsize", "numbers")
    if len(figsize) != 2:
        raise ValueError(f"figsize must be a width and a height, got {len(figsize)} numbers")
    return tuple(number(n, "figsize", above=0, at_most=500) for n in figsize)


def new_figure(figsize, default=None):
    """A figure that belongs to no window, of a size that is asked for, or a default."""
    figsize = checked_figsize(default if figsize is None else figsize)
    extra("matplotlib")
    figure = importlib.import_module("matplotlib.figure").Figure(
        figsize=figsize, layout="constrained"
    )
    importlib.import_module("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
    return figure


def grey(image: np.ndarray) -> np.ndarray:
    """An image as uint8 grey values between its 0.5 and 99.5 percent quantiles."""
    if image.dtype == bool:
        return image.astype(np.uint8) * 255
    image = image.astype(np.float64)
    finite = image[np.isfinite(image)]
    if not finite.size:
        return np.zeros(image.shape, np.uint8)
    low, high = np.quantile(finite, [0.005, 0.995])
    if low == high:  # nearly all of one value: keep the few that differ in sight
        low, high = finite.min(), finite.max()
    scale = high - low if high > low else 1.0
    grey = (
        np.clip(np.nan_to_num(image, nan=low, posinf=high, neginf=low), low, high) - low
    ) / scale
    return np.rint(255 * grey).astype(np.uint8)


def label_colors(labels: np.ndarray) -> np.ndarray:
    """A bright colour in 0..1 for each label: hues a golden angle apart, so neighbours differ."""
    golden = (math.sqrt(5) - 1) / 2
    hue = np.mod((labels.astype(np.float64) - 1) * golden + 0.0666, 1.0) * 6
    ramps = [np.abs(hue - 3) - 1, 2 - np.abs(hue - 2), 2 - np.abs(hue - 4)]
    return np.clip(np.stack(ramps, axis=-1), 0, 1)
