"""Calls that a form could serve, but that the original refuses, warns of or answers otherwise.

A rule takes the image and the arguments by name, and gives the reason why the call must go to the
original; empty where it need not.
"""

from __future__ import annotations

import numpy as np


def _bins(image, given) -> str:
    if image.dtype == bool:
        return "scikit-image divides what lies between False and True in 256 bins"
    if given.get("hist") is not None:
        return "scikit-image looks at the image beside the histogram"
    if given.get("nbins", 256) < 2:
        return "scikit-image has rules of its own for a single bin"
    # An image whose ends differ need not be looked at whole.
    if image.dtype.kind == "f" and image.flat[0] == image.flat[-1] and np.ptp(image) == 0:
        return "scikit-image has rules of its own for constant images"
    return ""


def _otsu(image, given) -> str:
    if image.ndim > 2 and image.shape[-1] in (3, 4):
        return "scikit-image warns of images that may be coloured"
    return _bins(image, given)


def _background(image, given) -> str:
    background = given.get("background")
    if background is None:
        return ""
    if image.dtype == bool and background not in (0, 1):
        return "scikit-image overlooks a background that no mask holds"
    if image.dtype.kind in "ui":
        info = np.iinfo(image.dtype)
        if not (isinstance(background, int) and info.min <= background <= info.max):
            return "scikit-image takes integers of the image's type for background"
    return ""


def _boundaries(image, given) -> str:
    """Of filters that compute in float64, and take a type's last number for no label."""
    labels = given.get("label_img", image)
    mode = given.get("mode", "outer" if "label_img" in given and labels is not image else "thick")
    if labels.dtype.kind not in "ui" or (labels.dtype.itemsize < 8 and mode != "subpixel"):
        return ""
    most = int(labels.max())
    if mode == "subpixel" and most == np.iinfo(labels.dtype).max:
        return "scikit-image takes the last number of a type for no label"
    if labels.dtype.itemsize == 8 and (mode == "outer" or max(most, -int(labels.min())) > 2**53):
        return "scikit-image computes with labels that float64 does not hold"
    return ""


# Of a volume they need a convex hull.
_OF_HULLS = {"area_convex", "image_convex", "solidity", "feret_diameter_max"}


def _measures(image, given) -> str:
    from skimage.measure._regionprops import PROPS

    names = {PROPS.get(name, name) for name in given.get("properties", ())}
    if image.ndim == 3 and names & _OF_HULLS:
        return "scikit-image finds no hull of voxels in a plane"
    intensities = given.get("intensity_image")
    if "intensity_std" in names and getattr(intensities, "dtype", None) == np.float32:
        return "scikit-image adds up float32 in float32"
    return ""


def _flood(image, given) -> str:
    tolerance = given.get("tolerance")
    if tolerance is not None and tolerance < 0:
        return "scikit-image takes a tolerance below 0 for its size"
    if image.dtype.kind != "f" and not isinstance(tolerance, int | np.integer | None):
        return "scikit-image compares integers with limits that are floats"
    if image.dtype == bool and tolerance is not None:
        return "scikit-image overlooks the tolerance of masks"
    if image.dtype.kind == "f" and not np.isfinite(image[given["seed_point"]]).all():
        return "scikit-image floods from NaN, and to no infinity"
    return ""


def _nan(image, given) -> str:
    if image.dtype.kind == "f" and np.isnan(image.min()):
        return "the original's answer to NaN is of its own making"
    return ""


def _rank(image, given) -> str:
    if given.get("behavior", "ndimage") != "ndimage":
        return "scikit-image's own algorithm"
    return _nan(image, given)


def _one_object(image, given) -> str:
    out = given.get("out")
    if out is not None and out.dtype != image.dtype:
        return "output of another type"
    if image.dtype != bool and image.max() == 1:
        return "scikit-image warns of an image with one label"
    return ""


def _holes(image, given) -> str:
    out = given.get("out")
    if image.dtype != bool or (out is not None and out.dtype != bool):
        return "scikit-image warns of labels, and refuses them as output"
    return ""


def _opened(image, given) -> str:
    from .._cpu.morphology import settled  # loads Numba

    footprint = given.get("footprint")
    parts = footprint if isinstance(footprint, list | tuple) else [(footprint, 1)]
    if footprint is None:
        parts = [(np.ones((3,) * image.ndim), 1)]
    if settled(parts, given.get("mode", "reflect")):
        return _nan(image, given)
    return "scikit-image lets the border of an erosion go on, not that of the image"


def _mask(image, given) -> str:
    mask = given.get("mask")
    return "" if mask is None or mask.dtype == bool else "scikit-image refuses a mask of numbers"


def _errors(image, given) -> str:
    if any(isinstance(v, np.ndarray) and v.dtype == np.float32 for v in given.values()):
        return "scikit-learn adds up float32 in float32"
    return _labels(image, given)


def _contours(image, given) -> str:
    if given.get("level") is None and image.dtype.itemsize != 8:
        return "scikit-image adds the extremes in the image's type"
    return _mask(image, given)


def _surface(image, given) -> str:
    level = given.get("level")
    if given.get("mask") is not None:
        return "scikit-image asks one corner of a cube for the mask"
    if level is None or (image.astype(np.float32) == np.float32(level)).any():
        return "scikit-image leaves holes where values are the level"
    return ""


def _labels(image, given) -> str:
    arrays = [v for v in given.values() if isinstance(v, np.ndarray)]
    if image.ndim != 1 or len({v.shape for v in arrays}) != 1:
        return "scikit-learn takes columns for labels of their own, where ours are pixels"
    kinds = {v.dtype for v in arrays}
    if np.dtype(np.uint64) in kinds and len(kinds) > 1:
        return "scikit-learn compares uint64 with other types as floats"
    return ""


RULES = {
    "scipy.ndimage.median_filter": _nan,
    "skimage.filters.median": _rank,
    "skimage.filters.threshold_isodata": _bins,
    "skimage.filters.threshold_local": _nan,
    "skimage.filters.threshold_minimum": _bins,
    "skimage.filters.threshold_otsu": _otsu,
    "skimage.filters.threshold_triangle": _bins,
    "skimage.filters.threshold_yen": _bins,
    "skimage.measure.find_contours": _contours,
    "skimage.measure.marching_cubes": _surface,
    "skimage.measure.label": _background,
    "skimage.measure.regionprops_table": _measures,
    "skimage.morphology.closing": _opened,
    "skimage.morphology.dilation": _nan,
    "skimage.morphology.erosion": _nan,
    "skimage.morphology.opening": _opened,
    "skimage.morphology.white_tophat": _opened,
    "skimage.morphology.remove_small_holes": _holes,
    "skimage.morphology.remove_small_objects": _one_object,
    "skimage.segmentation.clear_border": _mask,
    "skimage.segmentation.find_boundaries": _boundaries,
    "skimage.segmentation.flood": _flood,
    "skimage.segmentation.flood_fill": _flood,
    "skimage.segmentation.mark_boundaries": _boundaries,
    "sklearn.metrics.mean_absolute_error": _errors,
    "sklearn.metrics.mean_squared_error": _errors,
} | {
    f"sklearn.metrics.{name}": _labels
    for name in (
        "classification_report",
        "confusion_matrix",
        "precision_recall_curve",
        "roc_auc_score",
        "roc_curve",
    )
}
