"""Calls of every function that `gpuseg.accel` serves: for the tests and for the costs."""

from importlib import import_module
from inspect import signature

import numpy as np
from scipy import ndimage as ndi

DTYPES = (bool, np.uint8, np.int16, np.uint16, np.float32, np.float64)


def image(shape, dtype, seed: int = 0):
    """Smooth noise over the range of a type, without its extremes."""
    x = ndi.gaussian_filter(np.random.default_rng(seed).random(shape), 1.5)
    x = (x - x.min()) / np.ptp(x)
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return x > 0.5
    if dtype.kind == "f":
        return x.astype(dtype)
    return (x * 0.8 * np.iinfo(dtype).max).astype(dtype)


def _between(x, q: float) -> float:
    return float(np.quantile(x.astype(np.float64), q))


def _mask(x):
    return x if x.dtype == bool else x > _between(x, 0.5)


def _labels(x):
    return ndi.label(_mask(x))[0]


def _two_labels(x):
    labels = _labels(x)
    return labels, np.roll(labels, 2, axis=0)


def _centre(x):
    return tuple(n // 2 for n in x.shape)


def _seeds(x):
    seeds = np.zeros(x.shape, bool)
    seeds[_centre(x)] = True
    return seeds


# What a function is called with for an image; where there is nothing here, with the image alone.
# None: it does not take such an image.
ARGUMENTS = {
    "scipy.ndimage.binary_fill_holes": lambda x: (_mask(x),),
    "scipy.ndimage.binary_propagation": lambda x: (_seeds(x), None, _mask(x)),
    "scipy.ndimage.gaussian_filter": lambda x: (x, 2) if x.dtype.kind == "f" else None,
    "scipy.ndimage.label": lambda x: (_mask(x),),
    "scipy.ndimage.median_filter": lambda x: (x, 3),
    "skimage.feature.multiscale_basic_features": lambda x: (x,),
    "skimage.filters.apply_hysteresis_threshold": lambda x: (x, _between(x, 0.5), _between(x, 0.9)),
    "skimage.filters.difference_of_gaussians": lambda x: (x, 1, 3),
    "skimage.filters.threshold_local": lambda x: (x, 15),
    # The original smooths a histogram of 65 536 bins ten thousand times.
    "skimage.filters.threshold_minimum": lambda x: (
        (x,) if x.dtype == np.uint8 or x.dtype.kind == "f" else None
    ),
    "skimage.measure.find_contours": lambda x: (x, 0.5) if x.dtype.kind == "f" else None,
    "skimage.measure.label": lambda x: (_mask(x),),
    "skimage.measure.regionprops_table": lambda x: (_labels(x),),
    "skimage.metrics.adapted_rand_error": _two_labels,
    "skimage.metrics.variation_of_information": _two_labels,
    "skimage.morphology.reconstruction": lambda x: (
        (np.minimum(x, x.dtype.type(x.max() * 0.6)), x) if x.dtype != bool else None
    ),
    "skimage.morphology.remove_small_holes": lambda x: (_mask(x),),
    "skimage.morphology.remove_small_objects": lambda x: (_mask(x),),
    "skimage.segmentation.clear_border": lambda x: (_labels(x),),
    "skimage.segmentation.expand_labels": lambda x: (_labels(x), 3),
    "skimage.segmentation.find_boundaries": lambda x: (_labels(x),),
    "skimage.segmentation.flood": lambda x: (_mask(x), _centre(x)),
    "skimage.segmentation.flood_fill": lambda x: (
        _mask(x).astype(np.uint8),
        _centre(x),
        7,
    ),
    "skimage.segmentation.mark_boundaries": lambda x: (x, _labels(x)),
    "skimage.segmentation.watershed": lambda x: (
        (x, ndi.label(x > _between(x, 0.9))[0]) if x.dtype != bool else None
    ),
}
# Of three axes alone.
ARGUMENTS_3D = {
    "skimage.measure.marching_cubes": lambda x: (x, 0.51) if x.dtype.kind == "f" else None
}


def arguments(path: str, x) -> tuple | None:
    """What to call a function with; None where it does not take such an image."""
    if x.ndim == 3 and path in ARGUMENTS_3D:
        return ARGUMENTS_3D[path](x)
    if path in ARGUMENTS_3D or (x.ndim == 3 and path in ONLY_2D):
        return None
    return ARGUMENTS.get(path, lambda x: (x,))(x)


ONLY_2D = {
    "skimage.filters.prewitt_h",
    "skimage.filters.prewitt_v",
    "skimage.filters.scharr_h",
    "skimage.filters.scharr_v",
    "skimage.filters.sobel_h",
    "skimage.filters.sobel_v",
    "skimage.measure.find_contours",
    "skimage.segmentation.mark_boundaries",
}


# More calls than one: what else a function is asked for, by name; a function of the image where it
# must have its shape.
def _window(n):
    return lambda x: {"footprint": np.ones((n,) * x.ndim, bool)}


def _corner(x):
    """A footprint without symmetry."""
    footprint = np.zeros((3,) * x.ndim, bool)
    footprint[(1,) * x.ndim] = footprint[(0,) * x.ndim] = True
    return {"footprint": footprint}


def _part(dtype):
    return lambda x: {"mask": (np.indices(x.shape).sum(axis=0) % 7 > 2).astype(dtype)}


_BINS = (
    {"nbins": 1},
    {"nbins": 10},
    {"nbins": 1000},
    {"hist": (np.array([3, 0, 5, 1, 2]), np.arange(5.0))},
)
_GREY = (
    _window(2),
    _window(3),
    _corner,
    {"mode": "ignore"},
    {"mode": "constant", "cval": 3},
    lambda x: {"footprint": [(np.ones((3,) + (1,) * (x.ndim - 1), bool), 2)]},
)
OPTIONS = {
    "scipy.ndimage.binary_fill_holes": (lambda x: {"structure": np.ones((3,) * x.ndim)},),
    "scipy.ndimage.gaussian_filter": ({"mode": "wrap"}, {"order": 1}, {"radius": 2}, {"sigma": 0}),
    "scipy.ndimage.label": (lambda x: {"structure": np.ones((3,) * x.ndim)},),
    "scipy.ndimage.median_filter": ({"size": 2}, {"mode": "wrap"}),
    "skimage.feature.multiscale_basic_features": ({"edges": False}, {"num_sigma": 2}),
    "skimage.filters.difference_of_gaussians": ({"mode": "constant", "cval": 1}, {"truncate": 2.0}),
    "skimage.filters.gaussian": (
        {"sigma": 0},
        {"mode": "constant", "cval": 3},
        {"preserve_range": True},
        {"channel_axis": -1},
    ),
    "skimage.filters.laplace": ({"ksize": 5}, _part(bool)),
    "skimage.filters.median": (_window(2), {"mode": "wrap"}, {"behavior": "rank"}),
    "skimage.filters.sobel": ({"axis": 0}, _part(bool), _part(int), {"mode": "wrap"}),
    "skimage.filters.threshold_isodata": (*_BINS, {"return_all": True}),
    "skimage.filters.threshold_local": ({"method": "mean"}, {"method": "median"}, {"offset": 2}),
    "skimage.filters.threshold_minimum": (*_BINS, {"max_num_iter": 3}),
    "skimage.filters.threshold_otsu": _BINS,
    "skimage.filters.threshold_triangle": _BINS[:3],
    "skimage.filters.threshold_yen": _BINS,
    "skimage.measure.label": ({"background": 1}, {"background": -1}, {"return_num": True}),
    "skimage.measure.regionprops_table": (
        {"properties": ("label", "solidity"), "spacing": 2.0},
        lambda x: {"intensity_image": x, "properties": ("label", "intensity_mean")},
    ),
    "skimage.morphology.closing": _GREY,
    "skimage.morphology.dilation": _GREY,
    "skimage.morphology.erosion": _GREY,
    "skimage.morphology.opening": _GREY,
    "skimage.morphology.reconstruction": ({"method": "dilation", "offset": None},),
    "skimage.morphology.remove_small_holes": ({"max_size": 5}, {"connectivity": 2}),
    "skimage.morphology.remove_small_objects": ({"max_size": 5}, {"connectivity": 2}),
    "skimage.morphology.white_tophat": _GREY,
    "skimage.segmentation.clear_border": (
        {"buffer_size": 2},
        {"bgval": 5},
        _part(bool),
        _part(int),
    ),
    "skimage.segmentation.expand_labels": ({"spacing": 2}, {"distance": 0}),
    "skimage.segmentation.find_boundaries": ({"mode": "subpixel"}, {"background": 2}),
    "skimage.segmentation.flood": ({"tolerance": 1}, {"tolerance": 0.1}, {"connectivity": 1}),
    "skimage.segmentation.flood_fill": ({"tolerance": 1}, {"tolerance": 0.1}),
    "skimage.segmentation.mark_boundaries": ({"mode": "inner"}, {"outline_color": (1, 1, 0)}),
    "skimage.segmentation.watershed": (
        {"watershed_line": True},
        {"markers": None},
        {"compactness": 0.1},
        _part(int),
    ),
}


def calls(path: str, x):
    """The arguments by position and by name of every call that is tried on an image."""
    args = arguments(path, x)
    if args is None:
        return
    yield args, {}
    names = list(signature(_original(path)).parameters)
    for options in OPTIONS.get(path, ()):
        options = dict(options(x) if callable(options) else options)
        changed = list(args)
        for name in names[: len(args)]:
            if name in options:
                changed[names.index(name)] = options.pop(name)
        yield tuple(changed), options


def _original(path: str):
    package, _, name = path.rpartition(".")
    thing = getattr(import_module(package), name)
    return getattr(thing, "gpuseg_original", thing)
