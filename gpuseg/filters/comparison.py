"""Compare thresholds, choose one by the objects it gives, and see how firm it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .._backend import array_namespace, asarray, asnumpy, is_dask, run
from .._checks import (
    MOST_BINS,
    as_array,
    in_memory,
    integer,
    mask_array,
    not_colours,
    number,
    option,
    real_array,
    sequence,
    shown,
)
from .._contracts import Close, Exact, contract
from . import thresholding
from .thresholding import UndecidedError

# Every automatic method of one global threshold, and how it is written in a figure.
METHODS = {
    "huang": "Huang",
    "intermodes": "Intermodes",
    "isodata": "Isodata",
    "li": "Li",
    "maxentropy": "MaxEntropy",
    "mean": "Mean",
    "minerror": "MinError",
    "minimum": "Minimum",
    "moments": "Moments",
    "otsu": "Otsu",
    "percentile": "Percentile",
    "renyientropy": "RenyiEntropy",
    "shanbhag": "Shanbhag",
    "triangle": "Triangle",
    "yen": "Yen",
}


# --- classes ----------------------------------------------------------------------------------


@contract(Exact(), nan="omit", infinity="value")
def apply_thresholds(image, thresholds, *, nan="raise"):
    """Divide an image into the classes between thresholds.

    The class of an element is the number of thresholds below it: 0 where it is not above the
    first, ``len(thresholds)`` where it is above the last. The lowest and the highest class are
    open, so no element falls out, and an element equal to a threshold belongs below it, as in
    the mask ``image > threshold``.

    Parameters
    ----------
    image : (M, N[, ...]) array of bool, integers or floating point
        The image.
    thresholds : (K,) array_like or number
        In ascending order; equal ones make empty classes, infinite ones are allowed. At most
        65535.
    nan : {'raise', 'omit'}, optional
        What NaN in the image does: it is an error, or gets class 0, as it is in no mask
        ``image > threshold``.

    Returns
    -------
    (M, N[, ...]) array of uint8, or of uint16 for more than 255 thresholds
        The class of each element; equal to ``np.digitize(image, thresholds, right=True)`` where
        there is no NaN.

    Raises
    ------
    ValueError
        `thresholds` is empty, holds NaN or is not in ascending order; the image is empty, or
        holds NaN and `nan` is ``'raise'``.
    TypeError
        An argument does not hold real numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import apply_thresholds
    >>> apply_thresholds(np.array([[0, 10, 11], [20, 21, 255]], np.uint8), [10, 20])
    array([[0, 0, 1],
           [1, 2, 2]], dtype=uint8)
    """
    image = real_array(image)
    thresholds = ascending_thresholds(thresholds)
    option(nan, "nan", ("raise", "omit"))
    dtype = np.uint8 if thresholds.size <= 255 else np.uint16
    if is_dask(image):
        # Each chunk as a whole image: a pixel's class is its own, and NaN is told when it is met.
        return image.map_blocks(apply_thresholds, thresholds, nan=nan, dtype=dtype)
    image, thresholds, first = _comparable(image, thresholds)
    classes, found = run(apply_thresholds, image, thresholds, first=first, dtype=dtype)
    if found and nan == "raise":
        raise ValueError("image holds NaN, which has no class: pass nan='omit' for class 0")
    return classes


def count_above(image, thresholds, mask=None) -> tuple[np.ndarray, int]:
    """How many elements that the mask selects are above each of ascending thresholds, and how many
    are no NaN, in one pass."""
    if is_dask(image):
        from .._dask.filters.comparison import count_above as of_chunks

        return of_chunks(image, thresholds, mask)
    image = image if mask is None else image[array_namespace(image).asarray(mask)]
    size = image.size
    if not size:
        return np.zeros(len(thresholds), np.int64), 0
    image, thresholds, first = _comparable(image, thresholds)
    counts, nan = run(count_above, image, thresholds)
    return np.concatenate([np.full(first, size), asnumpy(counts)]), size - nan


def _numbers(values, name: str) -> np.ndarray:
    """A number, or a line of numbers, as a NumPy array without NaN."""
    values = np.atleast_1d(asnumpy(as_array(values, name)))
    values = real_array(values, name, ndim=1)
    if np.isnan(values).any():
        raise ValueError(f"{name} holds NaN")
    return values


def ascending_thresholds(thresholds) -> np.ndarray:
    thresholds = _numbers(thresholds, "thresholds")
    if thresholds.size > np.iinfo(np.uint16).max:
        raise ValueError(f"thresholds must be at most 65535, got {thresholds.size}")
    if (thresholds[1:] < thresholds[:-1]).any():
        raise ValueError(f"thresholds must be in ascending order, got {thresholds}")
    return thresholds


def _comparable(image, thresholds: np.ndarray):
    """Image and thresholds in one type in which ``>`` says what NumPy says in the types given.

    An integer is above a number where it is above its floor, a float32 where it is above the next
    float32 below. Thresholds under the range of the type are counted apart. 64-bit integers and
    floats are left as they are: NumPy compares them as float64.
    """
    kind, size = image.dtype.kind, image.dtype.itemsize
    if kind == "b":
        image, kind = image.view(np.uint8), "u"
    if kind == "f":
        image = image.astype({2: np.float32, 4: np.float32}.get(size, np.float64), copy=False)
        return image, _rounded_down(thresholds.astype(np.float64), image.dtype), 0
    if size == 8 and thresholds.dtype.kind == "f":
        return image, thresholds.astype(np.float64), 0
    span = np.iinfo(image.dtype)
    if thresholds.dtype.kind == "f":
        thresholds = np.clip(np.floor(thresholds), span.min - 1, span.max)
    floors = [min(max(int(t), span.min - 1), span.max) for t in thresholds]
    first = sum(t < span.min for t in floors)
    return image, np.array(floors[first:], image.dtype), first


def _rounded_down(values: np.ndarray, dtype) -> np.ndarray:
    with np.errstate(over="ignore"):
        nearest = values.astype(dtype)
    lower = np.nextafter(nearest, dtype.type(-np.inf))
    return np.where(nearest.astype(np.float64) > values, lower, nearest)


# --- methods side by side ---------------------------------------------------------------------


@contract(Close(bins=1), note="the fractions are exact for the values beside them", nan="omit")
def compare_thresholds(image, methods=None, *, mask=None, nan="raise", nbins=256):
    """Compare the automatic thresholds of an image in a table.

    The values come from one histogram, and are what each function gives on its own (Li's of a
    floating-point image has finer bins of its own); only the mean of such an image may differ from
    it by a bin. The fractions come from one pass that counts the elements above each value, so they
    are exact for floating point too.

    Parameters
    ----------
    image : (M, N[, ...]) array of bool, integers or floating point
        The image, 2-D, 3-D or more.
    methods : sequence of str or callable, optional
        Names of methods (``'otsu'`` for `threshold_otsu`) or functions that take the image (where
        there is a mask or NaN, the values that take part) and return a threshold. By default
        every automatic method.
    mask : (M, N[, ...]) array of bool, optional
        Only elements where it is True take part.
    nan : {'raise', 'omit'}, optional
        What NaN in the image does: it is an error, or it takes no part.
    nbins : int, optional
        Bins of the histogram of a floating-point image.

    Returns
    -------
    pandas.DataFrame
        A row a method, with the columns ``method``; ``value``; ``foreground_fraction``, the share
        of elements above the value; a column named after each method, the share of elements on
        which the two masks agree; and ``note``, empty or the reason why a method could not
        decide. Such a method's numbers are NaN.

    Raises
    ------
    ValueError
        A method is unknown or given twice, the image is empty, nothing is in the mask, or there
        is NaN and `nan` is ``'raise'``.

    Warns
    -----
    UserWarning
        If the image has three axes or more and the last has length 3 or 4, as that of colours has.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import compare_thresholds
    >>> image = np.array([[0, 0, 1, 1], [1, 2, 8, 9]], dtype=np.uint8)
    >>> table = compare_thresholds(image, ["mean", "otsu"])
    >>> table[["method", "value", "foreground_fraction", "otsu"]].to_string(index=False).split()
    ['method', 'value', 'foreground_fraction', 'otsu', 'mean', '2.75', '0.25', '1.0', 'otsu', \
'2.00', '0.25', '1.0']
    """
    import pandas

    image = real_array(image)
    not_colours(compare_thresholds, image, ndim=None)
    mask = mask_array(mask, image)
    option(nan, "nan", ("raise", "omit"))
    there = asarray(image)  # once, for the histogram and the counts
    decided = _decide(image, there, methods, mask=mask, nan=nan, nbins=nbins)

    values = np.array([d.value for d in decided])
    order = np.argsort(values)[: np.count_nonzero(~np.isnan(values))]
    above = np.full(len(decided), np.nan)
    if order.size:
        counts, size = count_above(there, values[order], mask)
        above[order] = counts / size
    names = [d.name for d in decided]
    agreement = 1 - np.abs(above[:, None] - above[None, :])
    return pandas.DataFrame(
        {"method": names, "value": values, "foreground_fraction": above}
        | {name: agreement[:, i] for i, name in enumerate(names)}
        | {"note": [d.note for d in decided]}
    )


class _Decision(NamedTuple):
    name: str
    value: np.float64
    note: str


def _resolve(method) -> tuple[str, Callable, bool]:
    """A method's name, its function, and whether the name is ours."""
    if callable(method):
        name = getattr(method, "__name__", type(method).__name__).removeprefix("threshold_")
        ours = name in METHODS and method is getattr(thresholding, f"threshold_{name}")
        return name, method, ours
    option(method, "method", tuple(METHODS))
    return method, getattr(thresholding, f"threshold_{method}"), True


def _threshold(value, name: str) -> np.float64:
    """What a method returned, in the type in which NumPy compares it with any image."""
    return np.float64(number(value, f"the threshold of {name}", finite=False))


def _decide(image, there, methods=None, *, mask=None, nan="raise", nbins=256) -> list[_Decision]:
    """The threshold of each method: ours from one histogram of the array that is there."""
    methods = tuple(METHODS) if methods is None else methods
    if isinstance(methods, str) or not sequence(methods, "methods", "methods"):
        raise ValueError(f"methods must be a sequence of names or functions, got {shown(methods)}")
    resolved = [_resolve(method) for method in methods]
    names = [name for name, _, _ in resolved]
    if len(set(names)) < len(names):
        raise ValueError(f"methods must have different names, got {names}")
    nbins = integer(nbins, "nbins", at_least=1, at_most=MOST_BINS)
    if "li" in names and image.dtype.kind == "f":
        hist, fine = thresholding.histograms(there, nbins, mask=mask, nan=nan)
    else:
        hist, fine = thresholding.histogram(there, nbins, mask=mask, nan=nan), None
    if image.dtype.kind == "f" and nan == "omit":
        mask = image == image if mask is None else mask & (image == image)
    decided = []
    for name, function, ours in resolved:
        try:
            if name == "li" and ours and image.dtype.kind == "f":
                # It works with finer bins, and with the lowest value by itself.
                value = thresholding.li(there, mask=mask, nan=nan, counted=fine)
            elif ours:
                value = function(hist=hist)
            else:
                whole = mask is None or bool(mask.all())
                value = function(image if whole else _selected(image, mask))
            decided.append(_Decision(name, _threshold(value, name), ""))
        except UndecidedError as error:
            decided.append(_Decision(name, np.float64(math.nan), str(error)))
    return decided


def _selected(image, mask):
    values = image[mask]
    return values.compute_chunk_sizes() if is_dask(values) else values


@contract(Close(bins=1), note="draws; the thresholds are those of compare_thresholds", nan="refuse")
def try_all_threshold(image, figsize=(8, 5), verbose=True):
    """Draw the mask of every automatic threshold beside the image.

    As in scikit-image, with all methods of this library, in four columns. The thresholds come
    from one histogram of the whole image; of a volume, the central slice along the first axis is
    drawn.

    Parameters
    ----------
    image : (M, N) or (P, M, N) array of bool, integers or floating point
        The image.
    figsize : tuple of float, optional
        Width and height in inches.
    verbose : bool, optional
        Whether to print each function's name.

    Returns
    -------
    fig : matplotlib.figure.Figure
        The figure, known to pyplot.
    ax : (R,) array of matplotlib.axes.Axes
        The original first, then a panel a method; a method that cannot decide shows no mask.

    Raises
    ------
    ValueError
        The image is neither 2-D nor 3-D, is empty, or holds NaN.
    ImportError
        matplotlib is not installed.

    Warns
    -----
    UserWarning
        If the image has three axes and the last has length 3 or 4, as that of colours has.

    Examples
    --------
    >>> import matplotlib, numpy as np
    >>> matplotlib.use("agg")
    >>> from gpuseg.filters import try_all_threshold
    >>> fig, ax = try_all_threshold(np.arange(64).reshape(8, 8) % 9, verbose=False)
    >>> ax[0].get_title(), ax[10].get_title()
    ('Original', 'Otsu')
    """
    from ..plot import draw_image, extra
    from ..plot.figures import checked_figsize

    pyplot = extra("matplotlib.pyplot")
    figsize = checked_figsize(figsize)
    image = real_array(image, ndim=(2, 3))
    not_colours(try_all_threshold, image)
    decided = _decide(image, asarray(image))
    shown = asnumpy(image if image.ndim == 2 else image[image.shape[0] // 2])

    columns = 4
    rows = math.ceil((len(decided) + 1) / columns)
    fig, ax = pyplot.subplots(rows, columns, figsize=figsize, sharex=True, sharey=True)
    ax = ax.reshape(-1)
    draw_image(ax[0], shown)
    ax[0].set_title("Original")
    for panel, decision in zip(ax[1:], decided):
        panel.set_title(METHODS[decision.name])
        if math.isnan(decision.value):
            panel.text(0.5, 0.5, "undecided", ha="center", va="center", transform=panel.transAxes)
        else:
            draw_image(panel, shown > decision.value)
        if verbose:
            function = getattr(thresholding, f"threshold_{decision.name}")
            print(f"{function.__module__}.{function.__name__}")
    for panel in ax:
        panel.axis("off")
    fig.tight_layout()
    return fig, ax


# --- by the objects ---------------------------------------------------------------------------


class ObjectThreshold(NamedTuple):
    """What `threshold_by_objects` found, and the curve that it searched."""

    threshold: Any
    fitting: int
    score: float
    curve: np.ndarray


_CURVE = np.dtype(
    [
        ("threshold", np.float64),
        ("objects", np.int64),
        ("fitting", np.int64),
        ("foreground", np.int64),
        ("fitting_area", np.int64),
        ("score", np.float64),
    ]
)


@contract(Exact(), nan="omit", infinity="value")
def threshold_by_objects(
    image,
    size=(200, 10_000),
    count=None,
    method="balanced",
    *,
    foreground="bright",
    connectivity=None,
    candidates=64,
    mask=None,
    nan="raise",
):
    """Choose the threshold whose connected objects have the wanted size, and number.

    At each candidate threshold the foreground is divided into connected objects, and those whose
    size lies in the window *fit*. Half of the candidates are evenly spaced in value, half in
    quantiles of the image (of an integer image with no more levels than that, all levels); then
    `candidates` / 4 more are tried between the neighbours of the best.

    Whoever looks for objects between two sizes will find some: look at the curve, where a wide
    plateau speaks for the threshold and a lone peak against it, and at the mask.

    Parameters
    ----------
    image : (M, N[, ...]) array of bool, integers or floating point
        The image.
    size : tuple of number, optional
        The least and the greatest number of elements (pixels, voxels) of a fitting object, both
        included; the greatest may be infinite.
    count : int, optional
        The wanted number of fitting objects. The thresholds that come nearest to it are taken,
        and of these the one with the best score.
    method : {'balanced', 'fraction', 'count'}, optional
        The score of a threshold, from 0 to 1:

        - ``'fraction'``: the share of the foreground's elements that lies in fitting objects. It
          is 1 for a single fitting object and nothing else, so it is best used with `count`.
        - ``'count'``: the number of fitting objects, as a share of the greatest such number at
          any threshold tried. It does not mind objects that do not fit.
        - ``'balanced'``: the product of the two.
    foreground : {'bright', 'dark'}, optional
        Whether objects are where ``image > threshold`` or where ``image <= threshold``.
    connectivity : int, optional
        As in `gpuseg.measure.label`: 1 for neighbours that share a face, by default the number of
        axes, for all neighbours.
    candidates : int or (K,) array_like, optional
        How many thresholds to try first, at least 4, or exactly the thresholds to try.
    mask : (M, N[, ...]) array of bool, optional
        Objects are sought only where it is True.
    nan : {'raise', 'omit'}, optional
        What NaN in the image does: it is an error, or it is never foreground.

    Returns
    -------
    ObjectThreshold
        A tuple of ``threshold``, in the image's type unless `candidates` are given; ``fitting``,
        the number of fitting objects there; its ``score``; and ``curve``, a structured array in
        ascending order of ``threshold`` with the fields ``objects`` and ``fitting`` (numbers of
        objects), ``foreground`` and ``fitting_area`` (numbers of elements) and ``score``. Of
        equally good thresholds the middle of the longest run is taken.

    Raises
    ------
    UndecidedError
        The image is constant, or no object at any threshold fits.
    ValueError, TypeError
        An argument is out of its range; the image is empty, or holds NaN and `nan` is
        ``'raise'``.

    Warns
    -----
    UserWarning
        If the image has three axes or more and the last has length 3 or 4, as that of colours has.

    Notes
    -----
    Each candidate costs one labelling. The component tree [1]_ gives the objects of all
    thresholds at once, but building it took as long as 67 to 1700 labellings on images from
    300 x 384 to 1024 x 1024 and 128 x 128 x 128.

    Of a Dask array the answer is the same, and computed at once, a chunk after the other: once for
    the extremes, once for the quantiles, once for all candidates and once more for those between.

    References
    ----------
    .. [1] P. Salembier, A. Oliveras, L. Garrido, "Antiextensive connected operators for image and
           sequence processing", IEEE Transactions on Image Processing 7 (1998) 555-570,
           :doi:`10.1109/83.663500`.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import threshold_by_objects
    >>> image = np.zeros((8, 8), dtype=np.uint8)
    >>> image[1:3, 1:3] = 90
    >>> image[5:7, 5:7] = 60
    >>> image[0, 7] = 30
    >>> found = threshold_by_objects(image, size=(4, 9))
    >>> int(found.threshold), found.fitting, found.score
    (44, 2, 1.0)
    """
    image = real_array(image)
    not_colours(threshold_by_objects, image, ndim=None)
    smallest, largest = _window(size)
    count = None if count is None else integer(count, "count", at_least=1)
    option(method, "method", ("balanced", "fraction", "count"))
    option(foreground, "foreground", ("bright", "dark"))
    option(nan, "nan", ("raise", "omit"))
    if connectivity is not None:
        connectivity = integer(connectivity, "connectivity", at_least=1, at_most=image.ndim)
    mask = mask_array(mask, image)
    given = np.ndim(candidates) > 0
    if given:
        candidates = np.unique(_numbers(candidates, "candidates"))
    else:
        candidates = integer(candidates, "candidates", at_least=4)

    sought = Sought(
        foreground == "bright", connectivity or image.ndim, smallest, largest, nan == "raise"
    )
    if is_dask(image):
        from .._dask.filters.comparison import count_objects, spread
    else:
        from .._cpu.filters.comparison import count_objects, spread

        image = asarray(image)
        mask = None if mask is None else array_namespace(image).asarray(mask)

    def counted(thresholds: list) -> dict[float, tuple]:
        rows = count_objects(image, mask, [exact(t) for t in thresholds], sought)
        return dict(zip(thresholds, rows))

    exact = candidates.dtype.type if given else image.dtype.type
    thresholds = candidates
    if not given:
        thresholds = _candidates(*spread(image, mask, sought), candidates, image.dtype)
    rows = counted(thresholds.tolist())
    curve = _curve(rows, method)
    if not given:
        more = _between(curve["threshold"], *_plateau(curve, count), candidates // 4, image.dtype)
        rows |= counted(more.tolist())
        curve = _curve(rows, method)
    best = curve[_middle(curve["threshold"], *_plateau(curve, count))]
    if not best["fitting"]:
        raise UndecidedError(
            f"none of {curve.size} thresholds from {curve['threshold'][0]:g} to "
            f"{curve['threshold'][-1]:g} gives an object of {smallest:g} to {largest:g} elements"
        )
    threshold = exact(best["threshold"])
    return ObjectThreshold(threshold, int(best["fitting"]), float(best["score"]), curve)


def _window(size) -> tuple[float, float]:
    if np.shape(size) != (2,):
        raise ValueError(f"size must be a pair, the least and the greatest size, got {shown(size)}")
    smallest = number(size[0], "size[0]", at_least=1)
    return smallest, number(size[1], "size[1]", at_least=smallest, finite=False)


class Sought(NamedTuple):
    """What an object is, the sizes that fit, and whether NaN is an error."""

    bright: bool
    connectivity: int
    smallest: float
    largest: float
    refuse_nan: bool

    def foreground(self, image, mask, threshold):
        there = image > threshold if self.bright else image <= threshold
        return there if mask is None else there & mask

    def check(self, image) -> None:
        if self.refuse_nan and image.dtype.kind == "f" and bool((image != image).any()):
            raise ValueError("image holds NaN: pass nan='omit' to keep it out of every object")

    def counts(self, sizes) -> tuple[int, int, int, int]:
        """Objects, fitting objects, elements of the foreground, elements of fitting objects."""
        fitting = sizes[(sizes >= self.smallest) & (sizes <= self.largest)]
        return sizes.size, fitting.size, int(sizes.sum()), int(fitting.sum())


def _candidates(low, high, sample, count: int, dtype) -> np.ndarray:
    """Thresholds that leave something on both sides, spaced in value and in quantiles."""
    if low is None:
        raise UndecidedError("the image holds no finite value")
    if low == high:
        raise UndecidedError(f"the image is constant: {low:g}")
    if dtype.kind != "f" and high - low <= count:
        return np.arange(low, high)
    inner = np.linspace(0, 1, count // 2 + 2)[1:-1]
    # Of a quarter: differences of great values can overflow.
    values = np.asarray(sample(65_536), np.float64)
    share = 0.25 if max(abs(float(low)), abs(float(high))) > 2.0**1000 else 1.0
    quantiles = np.quantile(values * share, inner) / share
    found = np.concatenate([low * (1 - inner) + high * inner, quantiles])
    found = np.unique(_representable(found, dtype))
    return found[(found >= low) & (found < high)]


def _representable(values: np.ndarray, dtype) -> np.ndarray:
    """The nearest values of a type, as float64; of integers, those below."""
    return values.astype(dtype).astype(np.float64) if dtype.kind == "f" else np.floor(values)


def _curve(rows: dict[float, tuple], method: str) -> np.ndarray:
    """Each threshold with its objects and its score, in ascending order."""
    curve = np.array([(t, *rows[t], 0.0) for t in sorted(rows)], _CURVE)
    share = curve["fitting"] / max(1, curve["fitting"].max())
    fraction = curve["fitting_area"] / np.maximum(1, curve["foreground"])
    scores = {"count": share, "fraction": fraction, "balanced": share * fraction}
    curve["score"] = scores[method]
    return curve


def _plateau(curve: np.ndarray, count: int | None) -> tuple[int, int]:
    """The longest run of equally good thresholds, as the range of its indices."""
    best = np.ones(curve.size, bool)
    if count is not None:
        miss = np.abs(curve["fitting"] - count)
        best = miss == miss.min()
    best &= curve["score"] == curve["score"][best].max()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], best, [False]])))
    starts, stops = edges[::2], edges[1::2]
    # Of a quarter: differences of great values can overflow.
    value = curve["threshold"] * (0.25 if abs(curve["threshold"]).max() > 2.0**1000 else 1)
    longest = np.argmax(value[stops - 1] - value[starts])
    return int(starts[longest]), int(stops[longest])


def _middle(thresholds: np.ndarray, start: int, stop: int) -> int:
    """The index of the threshold nearest to the middle of a run."""
    run = thresholds[start:stop]
    return start + int(np.argmin(np.abs(run - (run[0] / 2 + run[-1] / 2))))


def _between(thresholds: np.ndarray, start: int, stop: int, more: int, dtype) -> np.ndarray:
    """New thresholds between the neighbours of a run."""
    low, high = thresholds[max(start - 1, 0)], thresholds[min(stop, thresholds.size - 1)]
    inner = np.linspace(0, 1, more + 2)
    return np.setdiff1d(_representable(low * (1 - inner) + high * inner, dtype), thresholds)


# --- how firm ---------------------------------------------------------------------------------


class ThresholdStability(NamedTuple):
    """What `threshold_stability` found: a summary, and the trials behind it."""

    summary: Any
    trials: Any


@contract(Close(bins=1), note="Dice follows from the thresholds", nan="refuse")
def threshold_stability(
    image,
    method="otsu",
    *,
    samples=None,
    noise=None,
    worst=None,
    realizations=20,
    acceptable=0.95,
    foreground="bright",
    random_state=0,
):
    """Tell how firm an automatic threshold is: under noise, across samples, at the worst.

    Three ways of asking, in one table. *Model*: noise is added to an image many times, and each
    time its threshold is found anew. *Sample*: every image is divided at the thresholds of all
    others. *Worst case*: as the model, with the worst disturbance that you think possible. Each
    trial's mask is compared with the mask of the undisturbed image at its own threshold by the
    Dice coefficient [1]_.

    Parameters
    ----------
    image : (M, N[, ...]) array of bool, integers or floating point
        The image.
    method : str or callable, optional
        Name of an automatic method (``'otsu'`` for `threshold_otsu`), or a function that takes an
        image and returns a threshold.
    samples : sequence of array, optional
        Further images of the same kind, of any shape.
    noise : number or callable, optional
        For the model: the standard deviation of Gaussian noise, in the image's units, or a
        function of the image (a NumPy array) and a `numpy.random.Generator` that returns the
        disturbed image, of the same shape. Noise on integers is rounded and clipped to the range
        of their type, as a camera does.
    worst : number or callable, optional
        For the worst case, as `noise`: more noise, a shift, a gradient.
    realizations : int, optional
        How many disturbed images of each image, at least 2.
    acceptable : float, optional
        The least Dice coefficient, from 0 to 1, of an acceptable mask.
    foreground : {'bright', 'dark'}, optional
        Whether the mask is ``image > threshold`` or ``image <= threshold``.
    random_state : int, numpy.random.Generator or None, optional
        Seed of the noise; the same seed gives the same table, None another one every time.

    Returns
    -------
    ThresholdStability
        A tuple of two pandas.DataFrame. ``summary`` has a row for each ``kind`` (``'model'``,
        ``'sample'``, ``'worst case'``) and ``image`` (0 for `image`, then the samples), and where
        there are samples a row ``'all'`` for each kind; with the columns ``trials``;
        ``threshold``, the image's own; ``threshold_low``, ``threshold_q25``, ``threshold_q75``,
        ``threshold_high``, the extremes and quartiles over the trials; ``dice_worst``,
        ``dice_q25``, ``dice_median``, ``dice_q75``; and ``acceptable``, the share of acceptable
        trials. ``trials`` has a row for each trial: ``kind``, ``image``, ``source`` (the number
        of the realization, or of the image that the threshold came from), ``threshold``,
        ``dice``. A trial in which the method could not decide has a NaN threshold and Dice 0.

    Raises
    ------
    ValueError
        Nothing is asked for (neither `noise` nor `worst` nor `samples`), or an argument is out of
        its range, or a function for the noise returned another shape.
    UndecidedError
        The method cannot decide on an undisturbed image.

    Warns
    -----
    UserWarning
        If the image has three axes or more and the last has length 3 or 4, as that of colours has.

    References
    ----------
    .. [1] L. R. Dice, "Measures of the amount of ecologic association between species", Ecology
           26 (1945) 297-302, :doi:`10.2307/1932409`.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import threshold_stability
    >>> image = np.repeat(np.array([[20, 200]], np.uint8), 50, axis=1).repeat(50, axis=0)
    >>> firm = threshold_stability(image, "otsu", noise=10)
    >>> firm.summary[["kind", "trials", "dice_worst", "acceptable"]].to_string(index=False).split()
    ['kind', 'trials', 'dice_worst', 'acceptable', 'model', '20', '1.0', '1.0']
    """
    import pandas

    samples = [] if samples is None else sequence(samples, "samples", "images")
    in_memory(threshold_stability, image, *samples)
    images = [real_array(image)] + [real_array(x, f"samples[{i}]") for i, x in enumerate(samples)]
    for x in images:
        not_colours(threshold_stability, x, ndim=None)
    name, function, _ = _resolve(method)
    realizations = integer(realizations, "realizations", at_least=2)
    acceptable = number(acceptable, "acceptable", at_least=0, at_most=1)
    option(foreground, "foreground", ("bright", "dark"))
    disturb = {"model": _disturbance(noise, "noise"), "worst case": _disturbance(worst, "worst")}
    if not samples and not any(disturb.values()):
        raise ValueError("give noise, worst or samples: there is nothing to compare with")
    if random_state is not None and not isinstance(random_state, np.random.Generator):
        random_state = integer(random_state, "random_state", at_least=0)
    rng = np.random.default_rng(random_state)

    images = [asnumpy(x) for x in images]
    own = [_threshold(function(x), name) for x in images]
    masks = [_mask(x, t, foreground) for x, t in zip(images, own)]
    trials = []
    for kind, disturbed in disturb.items():
        for i, x in enumerate(images if disturbed else []):
            for k in range(realizations):
                noisy = disturbed(x, rng)
                threshold = _decided(function, noisy, name)
                dice = _dice(_mask(noisy, threshold, foreground), masks[i], threshold)
                trials.append((kind, i, k, threshold, dice))
    for i, x in enumerate(images):
        for k, threshold in enumerate(own):
            if k != i:
                dice = _dice(_mask(x, threshold, foreground), masks[i], threshold)
                trials.append(("sample", i, k, threshold, dice))

    trials = pandas.DataFrame(trials, columns=["kind", "image", "source", "threshold", "dice"])
    rows = []
    for kind in ("model", "sample", "worst case"):
        of_kind = trials[trials["kind"] == kind]
        for i, group in of_kind.groupby("image"):
            rows.append(_summary(kind, i, own[i], group, acceptable))
        if samples and len(of_kind):
            rows.append(_summary(kind, "all", math.nan, of_kind, acceptable))
    return ThresholdStability(pandas.DataFrame(rows), trials)


def _disturbance(noise, name: str):
    """A function of an image and a generator that gives the disturbed image; None for None."""
    if noise is None:
        return None
    if not callable(noise):
        noise = number(noise, name, at_least=0)

    def disturbed(image, rng):
        if callable(noise):
            noisy = real_array(noise(image.copy(), rng), f"the result of {name}")
            if noisy.shape != image.shape:
                raise ValueError(f"{name} must keep shape {image.shape}, got {noisy.shape}")
            return asnumpy(noisy)
        noisy = image + rng.normal(0, noise, image.shape)
        if image.dtype.kind == "f":
            return noisy.astype(image.dtype)
        span = (0, 1) if image.dtype == bool else (np.iinfo(image.dtype).min, _top(image.dtype))
        return np.clip(np.rint(noisy), *span).astype(image.dtype)

    return disturbed


def _top(dtype) -> float:
    """The greatest float64 that fits an integer type."""
    top = np.iinfo(dtype).max
    return float(top) if float(top) <= top else math.nextafter(float(top), 0)


def _decided(function, image, name: str) -> np.float64:
    try:
        return _threshold(function(image), name)
    except UndecidedError:
        return np.float64(math.nan)


def _mask(image, threshold: np.float64, foreground: str) -> np.ndarray:
    return image > threshold if foreground == "bright" else image <= threshold


def _dice(a: np.ndarray, b: np.ndarray, threshold: float) -> float:
    """2 |a and b| / (|a| + |b|), 1 for two empty masks; 0 where there was no threshold."""
    if math.isnan(threshold):
        return 0.0
    both = np.count_nonzero(a) + np.count_nonzero(b)
    return 2 * np.count_nonzero(a & b) / both if both else 1.0


def _summary(kind: str, image, own: float, trials, acceptable: float) -> dict:
    found = trials["threshold"].quantile([0, 0.25, 0.75, 1])
    dice = trials["dice"].quantile([0, 0.25, 0.5, 0.75])
    return {
        "kind": kind,
        "image": image,
        "trials": len(trials),
        "threshold": own,
        **dict(zip((f"threshold_{x}" for x in ("low", "q25", "q75", "high")), found)),
        **dict(zip((f"dice_{x}" for x in ("worst", "q25", "median", "q75")), dice)),
        "acceptable": float((trials["dice"] >= acceptable).mean()),
    }
