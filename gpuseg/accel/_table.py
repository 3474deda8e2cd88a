"""Which names of other packages gpuseg can serve: read off the public layer, package by package."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable

# A package whose names are served, and the module of gpuseg that has them under the same names.
PACKAGES = {
    "skimage.feature": None,
    "skimage.filters": "filters",
    "skimage.measure": "measure",
    "skimage.metrics": "metrics",
    "skimage.morphology": "morphology",
    "skimage.segmentation": "segmentation",
    "scipy.ndimage": None,
    "sklearn.cluster": "estimators",
    "sklearn.ensemble": "estimators",
    "sklearn.linear_model": "estimators",
    "sklearn.metrics": "metrics",
    "sklearn.neighbors": "estimators",
    "sklearn.preprocessing": "estimators",
    "sklearn.tree": "estimators",
}

# Packages that have a function of another one as well.
ALIASES = {
    "skimage.morphology": {
        "flood": "skimage.segmentation",
        "flood_fill": "skimage.segmentation",
        "label": "skimage.measure",
    }
}

# Functions for which there is a form in a module here.
FORMS = {
    "scipy.ndimage": (
        "_scipy",
        ("binary_fill_holes", "binary_propagation", "gaussian_filter", "label", "median_filter"),
    ),
    "skimage.feature": ("_skimage", ("multiscale_basic_features",)),
    "skimage.filters": (
        "_skimage",
        (
            "threshold_isodata",
            "threshold_local",
            "threshold_minimum",
            "threshold_otsu",
            "threshold_triangle",
            "threshold_yen",
        ),
    ),
    "skimage.measure": ("_skimage", ("label",)),
}

# Public namesakes that do something else, or not the same, and why they stay as they are.
LEFT = {
    "skimage.filters.threshold_li": (
        "floating-point images are counted in bins: within one bin of 256, not the same number"
    ),
    "skimage.filters.threshold_multiotsu": "integer images of more than 256 values are binned",
    "skimage.filters.threshold_niblack": (
        "a last digit, from sums in another order, decides about voxels that are at their threshold"
    ),
    "skimage.filters.threshold_sauvola": "as threshold_niblack",
    "skimage.metrics.mean_squared_error": "one pass over two images, which NumPy makes as fast",
    "skimage.segmentation.slic": "other clusters: scikit-image's depend on the order of its sums",
    "skimage.filters.try_all_threshold": "draws more methods than scikit-image has",
    "skimage.morphology.ball": "a footprint of a few voxels, made at once",
    "skimage.morphology.disk": "a footprint of a few pixels, made at once",
}


@functools.cache
def served(package: str) -> dict[str, Callable]:
    """Functions that are served where the package has them, each with what gives its form."""
    names = _namesakes(package) | _written(package)
    return {name: names[name] for name in sorted(names) if f"{package}.{name}" not in LEFT}


def table() -> dict[str, Callable]:
    """Every function that is served here, by its path, with its form."""
    forms = {}
    for package in PACKAGES:
        theirs = importlib.import_module(package).__all__
        forms |= {f"{package}.{n}": form() for n, form in served(package).items() if n in theirs}
    return forms


def estimators(package: str) -> list[str]:
    """The names of scikit-learn's estimators in a package that ours stand for."""
    if not package.startswith("sklearn.") or PACKAGES[package] != "estimators":
        return []
    ours = set(importlib.import_module("gpuseg.estimators").__all__)
    theirs = vars(importlib.import_module(package))
    return sorted(name for name in ours & set(theirs) if inspect.isclass(theirs[name]))


def _namesakes(package: str) -> dict[str, Callable]:
    """Functions that the public layer has under the same name."""
    if PACKAGES[package] in {None, "estimators"}:
        return {}
    ours = importlib.import_module(f"gpuseg.{PACKAGES[package]}")
    return {
        name: functools.partial(getattr, ours, name)
        for name in ours.__all__
        if inspect.isfunction(getattr(ours, name))
    }


def _written(package: str) -> dict[str, Callable]:
    """Functions for which there is a form here, because a namesake alone does not give the answers.

    The forms are not imported with the package that they stand for: they need others.
    """

    def form(name: str):
        return getattr(importlib.import_module(f"gpuseg.accel.{module}"), name)

    module, names = FORMS.get(package, ("", ()))
    return {name: functools.partial(form, name) for name in names}
