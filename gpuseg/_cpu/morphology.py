"""Morphology by scikit-image, or by cuCIM where the array is CuPy's."""

import math

import numpy as np
from scipy.ndimage import generate_binary_structure

from .._backend import array_namespace, asnumpy, skimage
from ..kernels.components import of_mask
from .filters.smoothing import without_nan
from .regions import as_indices


def _grey(name: str):
    """The least or the greatest of a window; NaN where it holds one."""

    def form(image, footprint, *, mode, cval):
        peer = getattr(skimage(image, "morphology"), name)
        image, nan = without_nan(image)
        result = peer(image, footprint, mode=mode, cval=cval)
        if nan is not None:
            # The same windows, and nothing beyond the border, on what is NaN: none in it, or any.
            none = 1 if name == "erosion" else 0
            mode = "ignore" if mode in ("max", "min") else mode
            seen = peer(nan.view("u1") ^ none, footprint, mode=mode, cval=none)
            result[seen != none] = math.nan
        return result

    form.__name__ = name
    return form


erosion = _grey("erosion")
dilation = _grey("dilation")


def opening(image, footprint, *, mode, cval):
    return _opened("opening", image, footprint, mode, cval)


def closing(image, footprint, *, mode, cval):
    return _opened("closing", image, footprint, mode, cval)


def white_tophat(image, footprint, *, mode, cval):
    opened = _opened("opening", image, footprint, mode, cval)
    return image ^ opened if image.dtype == bool else image - opened


def _opened(name: str, image, footprint, mode, cval):
    """An opening, or a closing, of an image that goes on beyond its border.

    The peers find the second half of it from what they take to lie beyond the border of the first
    half. That is something else than the first half of the continued image, but where `settled`.
    For several footprints they go through them in one order both times.
    """
    parts = footprint if isinstance(footprint, list | tuple) else [(footprint, 1)]
    if footprint is None:
        parts = [(generate_binary_structure(image.ndim, 1), 1)]
    goes_on = settled(parts, mode)
    if goes_on and without_nan(image)[1] is None:
        return getattr(skimage(image, "morphology"), name)(image, footprint, mode=mode, cval=cval)
    first, second = (erosion, dilation) if name == "opening" else (dilation, erosion)
    xp = array_namespace(image)
    parts = [(_odd(xp, xp.asarray(part)), times) for part, times in parts]
    # What was done last is undone first.
    back = [(xp.flip(part), times) for part, times in parts[::-1]]
    if goes_on or mode == "ignore":
        return second(first(image, parts, mode=mode, cval=cval), back, mode=mode, cval=cval)
    margin = [
        2 * sum(part.shape[axis] // 2 * times for part, times in parts)
        for axis in range(image.ndim)
    ]
    inner = tuple(slice(n, n + size) for n, size in zip(margin, image.shape))
    found = first(_continued(image, margin, mode, cval), parts, mode="ignore", cval=cval)
    return xp.ascontiguousarray(second(found, back, mode="ignore", cval=cval)[inner])


def _odd(xp, part):
    """A footprint of odd sizes: the centre of an even one is before the middle, as the peers'."""
    return xp.pad(part, [(1 - n % 2, 0) for n in part.shape])


def settled(parts, mode: str) -> bool:
    """Whether what lies beyond the border of an image and of its erosion is the same by a mode."""
    if mode in ("ignore", "wrap"):
        return mode == "wrap" or len(parts) == 1
    if mode not in ("reflect", "mirror", "nearest"):
        return False
    halves = []
    for part, _ in parts:
        part = asnumpy(part) != 0
        for axis in range(part.ndim):
            if part.shape[axis] % 2 == 0 or not np.array_equal(part, np.flip(part, axis)):
                return False
        halves.append(part[tuple(slice(n // 2, None) for n in part.shape)])
    if mode != "nearest":
        return True
    # It holds what lies on the way to any of its elements, so no erosion is above what it came of.
    return len(halves) == 1 and all(
        (np.diff(halves[0].astype(np.int8), axis=axis) <= 0).all() for axis in range(part.ndim)
    )


def _continued(image, margin, mode: str, cval):
    """An image with what a mode says lies beyond its border, so wide along each axis."""
    xp = array_namespace(image)
    if mode in ("constant", "max", "min"):
        value = cval if mode == "constant" else _extreme(image.dtype, mode)
        shape = [size + 2 * n for size, n in zip(image.shape, margin)]
        out = xp.full(shape, value, image.dtype)
        out[tuple(slice(n, n + size) for n, size in zip(margin, image.shape))] = image
        return out
    for axis, (n, size) in enumerate(zip(margin, image.shape)):
        at = np.arange(-n, size + n)
        if mode == "nearest":
            at = at.clip(0, size - 1)
        else:
            period = 2 * size if mode == "reflect" else max(1, 2 * size - 2)
            at %= period
            at = np.minimum(at, (period - 1 if mode == "reflect" else period) - at)
        image = xp.take(image, xp.asarray(at), axis=axis)
    return image


def _extreme(dtype, mode: str):
    if dtype.kind == "b":
        return mode == "max"
    if dtype.kind == "f":
        return np.inf if mode == "max" else -np.inf
    return getattr(np.iinfo(dtype), mode)


def reconstruction(seed, mask, method, footprint, offset):
    return skimage(seed, "morphology").reconstruction(seed, mask, method, footprint, offset)


def remove_small_objects(ar, *, most, connectivity):
    if ar.dtype != bool:
        return large_labels(ar, most)
    components = of_mask(ar, connectivity)
    return components.kept(components.sizes() > most)


def large_labels(ar, most):
    """A label image without the labels of up to `most` voxels."""
    if ar.min() < 0:
        raise ValueError(f"ar must hold no negative labels, got {int(ar.min())}")
    xp = array_namespace(ar)
    return xp.where(large(ar, most), ar, ar.dtype.type(0))


def large(labels, most):
    """Where labels of more than `most` voxels are."""
    flat, numbers = as_indices(labels, signed=False)
    keep = array_namespace(labels).bincount(flat) > most
    if numbers is None:
        keep[0] = False
    else:
        keep &= numbers != 0
    return keep[flat].reshape(labels.shape)
