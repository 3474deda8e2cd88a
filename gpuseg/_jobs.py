"""What `gpuseg segment` can do: one table of methods. Adding a method is adding an entry."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Options:
    """What was asked for; None where nothing was."""

    method: str = "otsu"
    threshold: float | None = None
    low: float | None = None
    high: float | None = None
    opening: int | None = None
    max_distance: int | None = None
    classes: int | None = None
    window: int | None = None
    k: float | None = None
    r: float | None = None
    offset: float | None = None
    object_size: tuple[float, float] | None = None
    count: int | None = None
    segments: int | None = None
    compactness: float | None = None
    merge: float | None = None
    spatial_weight: float | None = None
    beta: float | None = None
    distance: int | None = None
    background: float | None = None
    sigma: float | None = None
    foreground: str | None = None
    connectivity: int = 1
    label: bool = False
    min_size: int | None = None
    nan: str = "raise"

    def given(self) -> dict[str, Any]:
        """The options that are not at their defaults, by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)
                if getattr(self, f.name) != f.default}  # fmt: skip

    @property
    def side(self) -> str:
        return self.foreground or "bright"


class Outcome(NamedTuple):
    """A mask (bool) or classes (integers), the numbers that divide them, and what to say of it."""

    result: Any
    thresholds: dict[str, float]
    notes: tuple[str, ...] = ()


class Method(NamedTuple):
    """A way to divide an image.

    `run` takes the image as it is filtered by then, the options, and the image that was given:
    filtering makes floating-point numbers of integers, and narrows their range, so whatever
    follows from the type or the range of an image is taken from the one that was given.
    """

    run: Callable[..., Outcome]
    takes: frozenset[str]
    help: str
    classes: bool = False  # the result is classes, not a mask
    of_level: bool = False  # it divides by shares of the image's level: a background leaves one


class Result(NamedTuple):
    """What a job gives: the result in host memory, and the image just before it was divided."""

    result: Any
    prepared: Any
    thresholds: dict[str, float]
    seconds: float
    notes: tuple[str, ...] = ()


# --- the methods ------------------------------------------------------------------------------


def _side(image, threshold, options: Options):
    return image > threshold if options.side == "bright" else image <= threshold


# Methods that see next to nothing in the histogram of an image of 16 bits: most of its bins hold
# no pixel or one. Smoothed, the same image has few bins, as every floating-point one.
_FEW_BINS = frozenset({"minimum", "triangle", "yen"})
_MOST_BINS = 256


def automatic(name: str, dtype) -> Callable:
    """The function of an automatic threshold, as the commands use it on images of a type."""
    from . import filters

    function = getattr(filters, f"threshold_{name}")
    if name not in _FEW_BINS or dtype.kind not in "iu" or dtype.itemsize == 1:
        return function

    @functools.wraps(function)
    def of_few_bins(image, nan="raise"):
        from .filters.thresholding import merged, without_gaps

        counts, values = without_gaps(*filters.histogram(image, nan=nan))
        return function(hist=merged(counts, values, _MOST_BINS))

    return of_few_bins


def _automatic(name: str) -> Method:
    def run(image, options, given):
        value = automatic(name, image.dtype)(image, nan=options.nan)
        return Outcome(_side(image, value, options), {name: float(value)})

    return Method(run, frozenset({"foreground"}), "automatic global threshold")


def _manual(image, options, given):
    mask = _side(image, options.threshold, options)
    return Outcome(mask, {"manual": options.threshold})


def _local(name: str, *own: str) -> Method:
    def run(image, options, given):
        from . import filters

        arguments = {key: getattr(options, key) for key in own}
        notes = ()
        if "r" in own and options.r is None:
            arguments["r"], notes = _largest_spread(given)
        arguments = {key: value for key, value in arguments.items() if value is not None}
        window = {"block_size" if name == "local" else "window_size": options.window or 25}
        function = getattr(filters, f"threshold_{name}")
        return Outcome(_side(image, function(image, **window, **arguments), options), {}, notes)

    takes = frozenset({"foreground", "window", *own})
    return Method(run, takes, "threshold of a window around", of_level="r" in own)


def _largest_spread(image) -> tuple[float, tuple[str, ...]]:
    """Sauvola's r: half the range of the image's type, as in scikit-image.

    Floating-point images count as from -1 to 1 there. One with other values is taken at its own
    range: a spread of many times r would put nearly all of it on one side.
    """
    from skimage.util import dtype_limits

    if image.dtype.kind != "f":
        low, high = map(float, dtype_limits(image, clip_negative=False))
        return high / 2 - low / 2, ()
    if float(image.min()) >= -1 and float(image.max()) <= 1:
        return 1.0, ()
    r = _half_range(image)
    note = f"r of sauvola is {r:.6g}, half the range of the image, whose values are not in -1 to 1"
    return r, (note,)


def _half_range(image) -> float:
    return float(image.max()) / 2 - float(image.min()) / 2


def _multiotsu(image, options, given):
    from . import filters

    values = filters.threshold_multiotsu(image, classes=options.classes or 3, nan=options.nan)
    classes = filters.apply_thresholds(image, values, nan=options.nan)
    return Outcome(classes, _numbered("multiotsu", values))


def _hysteresis(image, options, given):
    from . import filters, segmentation

    low, high = options.low, options.high
    if options.side == "dark" or options.opening or options.max_distance is not None:
        mask = segmentation.hysteresis(
            image,
            low,
            high,
            opening=options.opening or None,
            connectivity=options.connectivity,
            max_distance=options.max_distance,
            foreground=options.side,
        )
    else:
        mask = filters.apply_hysteresis_threshold(
            image, low, high, connectivity=options.connectivity
        )
    return Outcome(mask, {"low": low, "high": high})


def _objects(image, options, given):
    from . import filters

    found = filters.threshold_by_objects(
        image,
        options.object_size or (200, 10_000),
        options.count,
        foreground=options.side,
        connectivity=options.connectivity,
        nan=options.nan,
    )
    value = float(found.threshold)
    return Outcome(_side(image, value, options), {"objects": value})


def _quadtree(image, options, given):
    from . import segmentation

    tree = segmentation.quadtree(image, options.threshold)
    labels = tree.labels() if options.merge is None else tree.merge(options.merge)
    return Outcome(labels, {})


def _slic(image, options, given):
    from . import filters, segmentation

    compactness = 0.1 if options.compactness is None else options.compactness
    compactness *= _narrowed(image, given)
    labels = segmentation.slic(image, options.segments or 100, compactness, channel_axis=None)
    if options.merge is not None:
        labels = segmentation.merge_superpixels(labels, image, options.merge)
    if options.classes is None:
        return Outcome(labels, {})
    means = segmentation.superpixel_means(image, labels)
    values = filters.threshold_multiotsu(means, classes=options.classes)
    return Outcome(filters.apply_thresholds(means, values), _numbered("superpixels", values))


def _narrowed(image, given) -> float:
    """How many times the range of the given image is that of the filtered one.

    Superpixels scale an image by its own range, where their compactness is meant for that of the
    image that was given.
    """
    range_now = _half_range(image)
    return _half_range(given) / range_now if range_now > 0 else 1.0


def _clusters(name: str) -> Method:
    def run(image, options, given):
        from . import segmentation

        function = getattr(segmentation, name)
        more = {}
        if name == "gaussian_mixture":
            # Its default is for values in the hundreds: it would be all there is of small ones.
            more["reg_covar"] = 1e-6 * min(1.0, float(given.var(dtype=float)) or 1.0)
        labels = function(
            image, options.classes or 3, options.spatial_weight, random_state=0, **more
        )
        return Outcome(labels, {})

    help = {"kmeans": "clusters of values", "gaussian_mixture": "classes of normal distributions"}
    return Method(run, frozenset({"classes", "spatial_weight"}), help[name], classes=True)


def _guarded(image, options, given):
    from . import filters, segmentation

    given = [t for t in (options.threshold, options.low, options.high) if t is not None]
    if not given:
        given = filters.threshold_multiotsu(image, classes=options.classes or 3)
    labels = segmentation.guarded_threshold(image, given)
    return Outcome(labels, _numbered("guarded", given))


def _markov(image, options, given):
    from . import segmentation

    beta = 1.0 if options.beta is None else options.beta
    return Outcome(segmentation.markov_random_field(image, options.classes or 3, beta=beta), {})


def _watershed(image, options, given):
    """Foreground by a threshold, cut where it is narrow: from the middles of its thick parts."""
    import numpy as np
    from scipy import ndimage
    from skimage.feature import peak_local_max

    from . import _backend, filters, segmentation

    value = options.threshold
    if value is None:
        value = float(filters.threshold_otsu(image))
    mask = _backend.asnumpy(_side(image, value, options))
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[(slice(1, -1),) * mask.ndim]
    middles = peak_local_max(
        depth, min_distance=options.distance or 10, exclude_border=False, labels=mask.astype(int)
    )
    markers = np.zeros(mask.shape, np.int32)
    markers[tuple(middles.T)] = np.arange(1, len(middles) + 1)
    surface = _backend.asarray(-depth.astype(np.float32))
    labels = segmentation.watershed(surface, markers, mask=mask)
    return Outcome(labels, {"foreground": value})


def _numbered(name: str, values) -> dict[str, float]:
    return {f"{name} {i}": float(value) for i, value in enumerate(values, 1)}


AUTOMATIC = ("huang", "intermodes", "isodata", "li", "maxentropy", "mean", "minerror", "minimum",
             "moments", "otsu", "percentile", "renyientropy", "shanbhag", "triangle",
             "yen")  # fmt: skip

METHODS: dict[str, Method] = {name: _automatic(name) for name in AUTOMATIC} | {
    "manual": Method(_manual, frozenset({"threshold", "foreground"}), "the number you give"),
    "local": _local("local", "offset"),
    "niblack": _local("niblack", "k"),
    "sauvola": _local("sauvola", "k", "r"),
    "multiotsu": Method(_multiotsu, frozenset({"classes"}), "several classes", classes=True),
    "hysteresis": Method(
        _hysteresis,
        frozenset({"low", "high", "opening", "max_distance", "foreground"}),
        "strict threshold, grown into a loose one",
    ),
    "objects": Method(
        _objects, frozenset({"object_size", "count", "foreground"}), "by the objects it gives"
    ),
    "guarded": Method(
        _guarded,
        frozenset({"classes", "threshold", "low", "high"}),
        "thresholds away from edges, then region growing",
        classes=True,
    ),
    "kmeans": _clusters("kmeans"),
    "mixture": _clusters("gaussian_mixture"),
    "markov": Method(
        _markov, frozenset({"classes", "beta"}), "classes that neighbours share", classes=True
    ),
    "quadtree": Method(
        _quadtree,
        frozenset({"threshold", "merge"}),
        "squares or cubes of little range",
        classes=True,
    ),
    "slic": Method(
        _slic,
        frozenset({"segments", "compactness", "merge", "classes"}),
        "superpixels",
        classes=True,
    ),
    "watershed": Method(
        _watershed,
        frozenset({"threshold", "distance", "foreground"}),
        "foreground cut into objects",
        classes=True,
    ),
}

# Those whose answer for the whole is found chunk by chunk.
CHUNKED = (*AUTOMATIC, "manual", "multiotsu", "hysteresis", "objects", "local", "kmeans")

# What every method goes with.
_COMMON = frozenset({"method", "background", "sigma", "connectivity", "label", "min_size", "nan"})


# --- a job ------------------------------------------------------------------------------------


class UsageError(ValueError):
    """Options that make no sense together."""


def check(options: Options) -> None:
    """Refuse options that the method does not take."""
    if options.method not in METHODS:
        raise UsageError(f"--method must be one of {', '.join(METHODS)}, got {options.method!r}")
    for name in options.given():
        if name not in METHODS[options.method].takes | _COMMON:
            users = [other for other, method in METHODS.items() if name in method.takes]
            listed = "the single thresholds" if len(users) > 12 else ", ".join(users)
            raise UsageError(
                f"--{name.replace('_', '-')} is not for --method {options.method}, but for {listed}"
            )
    if options.method in ("manual", "quadtree") and options.threshold is None:
        raise UsageError(f"--method {options.method} needs --threshold")
    if options.method == "hysteresis":
        if options.low is None or options.high is None:
            raise UsageError("--method hysteresis needs --low and --high")
        if options.low > options.high:
            raise UsageError(f"--low {options.low:g} must not be above --high {options.high:g}")
    if options.foreground not in (None, "bright", "dark"):
        raise UsageError(f"--foreground must be bright or dark, got {options.foreground!r}")
    if options.nan not in ("raise", "omit"):
        raise UsageError(f"--nan must be raise or omit, got {options.nan!r}")
    if options.window is not None and options.window % 2 == 0:
        raise UsageError(f"--window must be odd, got {options.window}")
    if METHODS[options.method].classes and options.min_size:
        raise UsageError(f"--min-size is for objects, --method {options.method} gives classes")


def check_chunked(options: Options) -> None:
    """Refuse options for which the whole image must be in memory."""
    check(options)
    if options.method not in CHUNKED:
        raise UsageError(
            f"--method {options.method} needs the whole image in memory; for volumes there are "
            f"{', '.join(CHUNKED)}"
        )
    if options.max_distance is not None:
        raise UsageError("--max-distance needs the whole image in memory")
    if options.nan != "raise":
        raise UsageError("--nan omit needs the whole image in memory")


def steps(options: Options) -> list[str]:
    """What a job does, one line a step."""
    return [
        *["subtract the background"] * bool(options.background),
        *["smooth"] * bool(options.sigma),
        f"segment ({options.method})",
        *["remove small objects"] * bool(options.min_size),
        *["number the objects"] * options.label,
    ]


def segment(image, options: Options, step: Callable = contextlib.nullcontext) -> Result:
    """Run a job on an array; `step` is entered with the name of each step."""
    from . import _backend, filters, measure, morphology

    check(options)
    _check_nan(image, options)
    start = time.perf_counter()
    there = _backend.asarray(image)  # once: what follows stays on the device
    given, method = there, METHODS[options.method]
    if options.background:
        with step("subtract the background"):
            there, background = filters.subtract_background(
                there, options.background, return_background=True
            )
            if method.of_level:
                there += float(background.mean(dtype=float))
            del background
    if options.sigma:
        with step("smooth"):
            there = filters.gaussian(there, options.sigma, preserve_range=True)
    with step(f"segment ({options.method})"):
        result, thresholds, notes = method.run(there, options, given)
    if options.min_size:
        with step("remove small objects"):
            result = morphology.remove_small_objects(
                result, max_size=options.min_size - 1, connectivity=options.connectivity
            )
    if options.label:
        with step("number the objects"):
            result = measure.label(result, connectivity=options.connectivity)
    took = time.perf_counter() - start
    return Result(_backend.asnumpy(result), there, thresholds, took, notes)


def _check_nan(image, options: Options) -> None:
    import numpy as np

    if image.dtype.kind != "f" or not np.isnan(image).any():
        return
    if options.nan == "raise":
        raise ValueError("the image holds NaN: pass --nan omit to leave it out of every mask")
    spreading = [f"--{name}" for name in ("sigma", "background") if getattr(options, name)]
    if "window" in METHODS[options.method].takes:
        spreading.append(f"--method {options.method}")
    if spreading:
        raise ValueError(f"the image holds NaN, which {spreading[0]} would spread to neighbours")
