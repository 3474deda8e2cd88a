"""Local thresholds on the CPU: the windows' kernel, SciPy's rank filter, a function of your own."""

import math

import numpy as np
from skimage.util import dtype_limits

from ..._backend import array_namespace, skimage
from ...kernels.windows import local_cpu
from . import smoothing


def threshold_local(image, block_size, method, *, mode, param, cval):
    if method == "generic":
        values = smoothing.floating(image, preserve_range=True)
        peer = skimage(values, "filters").threshold_local
        return peer(values, block_size, method, mode=mode, param=param, cval=cval)
    return by_neighbours(local_cpu, image, block_size, method, mode, cval)


def threshold_niblack(image, window_size, k):
    return niblack(local_cpu, image, window_size, k)


def threshold_sauvola(image, window_size, k, r):
    return sauvola(local_cpu, image, window_size, k, r)


# --- for both backends ------------------------------------------------------------------------


def by_neighbours(local, image, block_size, method, mode, cval):
    if method == "median":
        values = smoothing.floating(image, preserve_range=True)
        return smoothing.median_of(values, mode, cval, size=block_size)
    return of_windows(local, image, block_size, (1.0, 0.0, 0.0), mode, cval)


def niblack(local, image, window_size, k):
    return of_windows(local, image, window_size, (1.0, 0.0, -float(k)))


def sauvola(local, image, window_size, k, r):
    if r is None:
        low, high = dtype_limits(image, clip_negative=False)
        r = 0.5 * (float(high) - float(low))
    return of_windows(local, image, window_size, (1.0 - k, k / r, 0.0))


def of_windows(local, image, windows, formula, mode="mirror", cval=0.0):
    """What `kernels.windows.local_cpu` makes of an image."""
    xp = array_namespace(image)
    single = image.dtype.kind == "f" and image.dtype.itemsize <= 4
    out = xp.empty(image.shape, xp.float32 if single else xp.float64)
    image = xp.ascontiguousarray(image)
    local(image, windows, mode, float(cval), formula, out, scale=_scale(xp, image))
    return out


def _scale(xp, image) -> float:
    """A power of two that brings values within reach of their squares."""
    if image.dtype.kind != "f" or image.dtype.itemsize <= 4:
        return 1.0
    ends = float(image.min()), float(image.max())
    if not all(map(math.isfinite, ends)):
        finite = image[xp.isfinite(image)]
        ends = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    peak = max(map(abs, ends))
    if peak == 0 or 1e-100 < peak < 1e100:
        return 1.0
    return 2.0 ** -int(np.clip(math.frexp(peak)[1], -1000, 1000))
