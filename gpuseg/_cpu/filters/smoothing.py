"""Smoothing on the CPU; what is not the Gaussian kernel is written for both backends."""

import math

import numpy as np

from ..._backend import array_namespace, ndimage, skimage
from ...kernels.gaussian import convolve_cpu, weights


def gaussian(image, sigma, *, mode, cval, preserve_range, truncate):
    values = floating(image, preserve_range)
    if not any(sigma):
        return values.copy()
    values = np.ascontiguousarray(values)
    out = np.empty(values.shape, values.dtype)
    return convolve_cpu(values, kernels(sigma, truncate), mode, cval, out)


def kernels(sigma, truncate):
    return [weights(s, truncate) if s > 0 else np.ones(1) for s in sigma]


def floating(image, preserve_range):
    """The image in floating-point numbers by scikit-image's rules."""
    xp = array_namespace(image)
    if image.dtype.kind == "f":
        return image.astype(xp.float32 if image.dtype.itemsize <= 4 else xp.float64, copy=False)
    if preserve_range or image.dtype == bool:
        return image.astype(xp.float64)
    # As img_as_float; cuCIM's is in float32.
    values = xp.multiply(image, 1.0 / np.iinfo(image.dtype).max, dtype=xp.float64)
    return values if image.dtype.kind == "u" else xp.maximum(values, -1.0, out=values)


def difference_of_gaussians(image, low, high, *, mode, cval, truncate):
    return difference(gaussian, image, low, high, mode=mode, cval=cval, truncate=truncate)


def difference(gaussian, image, low, high, **options):
    values = floating(image, preserve_range=False)
    result = gaussian(values, low, preserve_range=True, **options)
    result -= gaussian(values, high, preserve_range=True, **options)
    return result


def median(image, footprint, *, mode, cval, behavior):
    if behavior == "rank":
        from skimage.filters import median as peer

        return peer(image, footprint, behavior="rank")
    image, dtype = (image.view("u1"), bool) if image.dtype == bool else (image, image.dtype)
    if image.dtype == np.float16:
        image = image.astype(np.float32)
    if footprint is None:
        result = median_of(image, mode, cval, size=3)
    else:
        result = median_of(image, mode, cval, footprint=footprint != 0)
    return result.astype(dtype, copy=False)


def median_of(image, mode, cval, **window):
    """The median in each window, a `size` or a `footprint`; NaN where a window holds one."""
    nd = ndimage(image)
    image, nan = without_nan(image)
    result = nd.median_filter(image, mode=mode, cval=cval, **window)
    if nan is not None:
        # The same windows on what is NaN.
        there = nd.maximum_filter(nan.view("u1"), mode=mode, cval=0, **window)
        result[there != 0] = math.nan
    return result


def without_nan(image):
    """The image with zeros in the place of NaN, and where these were: None if there is none."""
    xp = array_namespace(image)
    if image.dtype.kind != "f" or not math.isnan(image.min()):
        return image, None
    nan = xp.isnan(image)
    return xp.where(nan, image.dtype.type(0), image), nan


def subtract_background(image, sigma, *, method, smooth, foreground):
    return flattened(gaussian, image, sigma, method, smooth, foreground)


def flattened(gaussian, image, sigma, method, smooth, foreground):
    nd = ndimage(image)
    values = floating(image, preserve_range=True)
    radius = math.ceil(sigma)
    if method == "gaussian":
        background = gaussian(
            values, (sigma,) * values.ndim, mode="nearest", cval=0, preserve_range=True, truncate=4
        )
    elif method == "median":
        background = median_of(values, "nearest", 0, footprint=_ball(values, radius))
    elif method == "closing":
        filtered = nd.grey_closing if foreground == "dark" else nd.grey_opening
        background = filtered(values, footprint=_ball(values, radius), mode="nearest")
    else:
        peer = skimage(values, "restoration").rolling_ball
        inverted = foreground == "dark"
        background = peer(-values, radius=sigma) if inverted else peer(values, radius=sigma)
        background = -background if inverted else background
    if smooth is not None:
        values = median_of(values, "nearest", 0, footprint=_ball(values, smooth))
    return values - background, background


def _ball(image, radius):
    axes = np.ogrid[(slice(-radius, radius + 1),) * image.ndim]
    return array_namespace(image).asarray(sum(axis**2 for axis in axes) <= radius**2)
