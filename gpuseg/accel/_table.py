"""Which names of other packages gpuseg can serve: read off the public layer, package by package."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable

# A package whose names are served, and the module of gpuseg that has them under the same names.
PACKAGES = {
    "skimage.feature": "features",
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

# Public namesakes that do something else, or not the same, and why they stay as they are.
LEFT = {
    "skimage.filters.threshold_li": (
        "floating-point images are counted in bins: within one bin of 256, not the same number"
    ),
    "skimage.filters.threshold_multiotsu": "integer images of more than 256 values are binned",
    "skimage.metrics.mean_squared_error": "one pass over two images, which NumPy makes as fast",
    "skimage.segmentation.slic": "other clusters: scikit-image's depend on the order of its sums",
    "skimage.filters.try_all_threshold": "draws more methods than scikit-image has",
    "skimage.morphology.ball": "a footprint of a few voxels, made at once",
    "skimage.morphology.disk": "a footprint of a few pixels, made at once",
}


# Types of images for which a form gives other answers than scikit-image: kinds of NumPy's dtypes.
OTHER_KINDS = dict.fromkeys(
    (
        "skimage.filters.threshold_isodata",
        "skimage.filters.threshold_minimum",
        "skimage.filters.threshold_otsu",
        "skimage.filters.threshold_triangle",
        "skimage.filters.threshold_yen",
    ),
    {"b": "a threshold between False and True is False, scikit-image's in 256 bins between them"},
)


@functools.cache
def served(package: str) -> dict[str, Callable]:
    """The names of a package that are served, each with the form that gives its answers."""
    forms = dict(_namesakes(package)) | _adapters(package)
    return {name: forms[name] for name in sorted(forms) if f"{package}.{name}" not in LEFT}


def _namesakes(package: str):
    module = PACKAGES[package]
    if module is None:
        return
    ours = importlib.import_module(f"gpuseg.{module}")
    theirs = set(_public_names(package))
    for name in ours.__all__:
        form = getattr(ours, name)
        if name in theirs and inspect.isfunction(form):
            yield name, form


def _public_names(package: str) -> list[str]:
    """The names of a package, as its stub tells them where they are loaded when asked for."""
    module = importlib.import_module(package)
    return list(getattr(module, "__all__", ()))


def _adapters(package: str) -> dict[str, Callable]:
    """Forms written for a package, where a namesake alone does not give its answers."""
    from . import _scipy, _skimage

    return {"skimage": _skimage, "scipy": _scipy}[package.partition(".")[0]].FORMS.get(package, {})
