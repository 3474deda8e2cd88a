"""Smoothing on the CPU; what is not the Gaussian kernel is written for both backends."""

import math

import numpy as np

from ..._backend import array_namespace, ndimage, skimage
from ...kernels.gaussian import convolve_cpu, weights


def gaussian(image, sigma, *, mode, cval, preserve_range, truncate):
    values = floating(image, preserve_range)
    return blurred(values, sigma, mode, cval, truncate, values.dtype)


def blurred(values, sigma, mode, cval, truncate, dtype):
    """An image in floating-point numbers, smoothed in a type."""
    if not any(sigma):
        return values.astype(dtype)
    out = np.empty(values.shape, dtype)
    return convolve_cpu(np.ascontiguousarray(values), kernels(sigma, truncate), mode, cval, out)


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
    return difference(blurred, image, low, high, mode, cval, truncate)


def difference(blurred, image, low, high, *options):
    """In float64: it is small beside what it is the difference of."""
    xp = array_namespace(image)
    values = floating(image, preserve_range=False)
    narrow, wide = (blurred(values, sigma, *options, xp.float64) for sigma in (low, high))
    out = narrow if values.dtype == xp.float64 else xp.empty_like(values)
    return xp.subtract(narrow, wide, out=out, casting="same_kind")


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
    return flattened(blurred, image, sigma, method, smooth, foreground)


def flattened(blurred, image, sigma, method, smooth, foreground):
    xp = array_namespace(image)
    values = floating(image, preserve_range=True)
    ball = _ball(values, sigma if method == "rolling_ball" else math.ceil(sigma))
    if method == "gaussian":
        # In float64, and rounded where it has been subtracted.
        background = blurred(values, (sigma,) * values.ndim, "nearest", 0, 4, xp.float64)
    elif method == "median":
        background = median_of(values, "nearest", 0, footprint=ball)
    elif method == "closing":
        background = _closed(values, ball, foreground)
    else:
        background = _rolled(values, sigma, ball, foreground)
    if smooth is not None:
        values = median_of(values, "nearest", 0, footprint=_ball(values, smooth))
    flat = xp.subtract(values, background, out=xp.empty_like(values), casting="same_kind")
    return flat, background.astype(values.dtype, copy=False)


def _closed(values, ball, foreground):
    nd = ndimage(values)
    filtered = nd.grey_closing if foreground == "dark" else nd.grey_opening
    values, nan = without_nan(values)
    background = filtered(values, footprint=ball, mode="nearest")
    if nan is not None:
        # Each of its two steps sees as far as the ball.
        for _ in range(2):
            nan = nd.maximum_filter(nan, footprint=ball, mode="nearest")
        background[nan] = math.nan
    return background


def _rolled(values, radius, ball, foreground):
    peer = skimage(values, "restoration").rolling_ball
    values, nan = without_nan(values)
    inverted = foreground == "dark"
    background = peer(-values, radius=radius) if inverted else peer(values, radius=radius)
    background = -background if inverted else background
    if nan is not None:
        seen = ndimage(nan).maximum_filter(nan, footprint=ball, mode="constant", cval=0)
        background[seen] = math.nan
    return background


def _ball(image, radius):
    reach = math.ceil(radius)
    axes = np.ogrid[(slice(-reach, reach + 1),) * image.ndim]
    return array_namespace(image).asarray(sum(axis**2 for axis in axes) <= radius**2)
