"""Measures of single regions: scikit-image's, with what it gets wrong of flat objects mended."""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import cdist
from skimage.measure import _regionprops, find_contours, marching_cubes
from skimage.morphology import convex_hull_image

from .regions import as_indices

PROPS, DTYPES = _regionprops.PROPS, _regionprops.COL_DTYPES

# How far beyond a face of a convex hull a voxel counts as inside: scikit-image's.
_ROUNDING = 1e-10


def _cached(measure):
    return property(_regionprops._cached(measure))


def _undefined_is_nan(name: str):
    """A property that divides by the sum of the intensities, which may be 0."""
    measure = getattr(_regionprops.RegionProperties, name).fget

    def quiet(self):
        with np.errstate(all="ignore"):
            return measure(self)

    return property(quiet)


class Region(_regionprops.RegionProperties):
    """A region, of which scikit-image's names are measured."""

    @_cached
    def image_convex(self):
        return convex_image(self.image)

    @property
    def feret_diameter_max(self):
        hull = np.pad(self.image_convex, 2)
        if hull.ndim == 2:
            places = np.vstack(find_contours(hull, 0.5, fully_connected="high"))
        else:
            places = marching_cubes(hull, level=0.5)[0]
        return farthest_apart(places * self._spacing)

    @property
    def intensity_mean(self):
        return np.mean(self._values, axis=0, dtype=self._exact)

    @property
    def intensity_std(self):
        values = self._values.astype(self._exact)
        return np.std(values - values[0], axis=0)

    centroid_weighted_local = _undefined_is_nan("centroid_weighted_local")
    moments_weighted_central = _undefined_is_nan("moments_weighted_central")
    moments_weighted_hu = _undefined_is_nan("moments_weighted_hu")
    moments_weighted_normalized = _undefined_is_nan("moments_weighted_normalized")

    @property
    def _values(self):
        return self.image_intensity[self.image]

    @property
    def _exact(self):
        """The type of sums: of the mean of large float32 values that type leaves too little."""
        return np.result_type(self._intensity_image.dtype, np.float64)


def convex_image(image):
    """The pixels in the convex hull of a mask, of which each counts as far as its face centres.

    By scikit-image, which in 3-D finds none for voxels that lie in a plane: it looks for a hull of
    their centres first.
    """
    if image.ndim == 2:
        return convex_hull_image(image)
    ends = image.copy()
    ends[..., 1:-1] &= ~(image[..., :-2] & image[..., 2:])
    points = np.argwhere(ends)
    points = _outer(points)
    steps = 0.5 * np.concatenate([np.eye(image.ndim), -np.eye(image.ndim)])
    corners = np.unique((points[:, np.newaxis] + steps).reshape(-1, image.ndim), axis=0)
    inside = np.ones(image.shape, bool)
    places = np.ogrid[tuple(map(slice, image.shape))]
    for *normal, offset in np.unique(ConvexHull(corners).equations, axis=0):
        inside &= sum(n * place for n, place in zip(normal, places)) + offset < _ROUNDING
    return inside


def _outer(points):
    """Those of some points that span the others; all of them if these lie in a plane."""
    try:
        return points[ConvexHull(points).vertices]
    except QhullError:
        return points


def farthest_apart(points) -> float:
    """The largest distance of two points."""
    points = _outer(points)
    rows = range(0, len(points), 256)
    most = max(cdist(points[i : i + 256], points[i:], "sqeuclidean").max() for i in rows)
    return math.sqrt(most)


def numbered(labels):
    """Labels of which there are few beyond those that exist, and what each stands for (None:
    itself). What is not above 0 is background, 0.
    """
    if labels.dtype.kind == "i" and int(labels.min()) < 0:
        labels = labels.clip(0)
    flat, numbers = as_indices(labels)
    if numbers is None:
        return labels, None
    if int(numbers[0]):
        flat, numbers = flat + 1, np.append(numbers.dtype.type(0), numbers)
    return flat.reshape(labels.shape), numbers


def table_of(regions, names, separator, numbers=None) -> dict:
    """The table of some regions, numbered as in `numbered`."""
    table = _regionprops._props_to_dict(regions, names, separator)
    if numbers is not None:
        if numbers.dtype == np.uint64 and int(numbers[-1]) < 2**63:
            numbers = numbers.astype(np.int64)
        for name in names:
            if PROPS.get(name, name) == "label":
                table[name] = numbers[table[name]]
    return table
