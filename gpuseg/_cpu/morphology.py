"""Morphology by scikit-image, or by cuCIM where the array is CuPy's."""

import math

from .._backend import array_namespace, skimage
from ..kernels.components import of_mask
from .filters.smoothing import without_nan


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


def _after_another(name: str, first, second):
    """Two of these one after the other, with the footprint mirrored."""

    def form(image, footprint, *, mode, cval):
        if without_nan(image)[1] is None:
            peer = getattr(skimage(image, "morphology"), name)
            return peer(image, footprint, mode=mode, cval=cval)
        footprint = _mapped(_of_odd_sides, footprint)
        between = first(image, footprint, mode=mode, cval=cval)
        return second(between, _mapped(_mirrored, footprint), mode=mode, cval=cval)

    form.__name__ = name
    return form


opening = _after_another("opening", erosion, dilation)
closing = _after_another("closing", dilation, erosion)


def white_tophat(image, footprint, *, mode, cval):
    if without_nan(image)[1] is None:
        peer = skimage(image, "morphology").white_tophat
        return peer(image, footprint, mode=mode, cval=cval)
    return image - opening(image, footprint, mode=mode, cval=cval)


def _mapped(change, footprint):
    if footprint is None:
        return None
    if isinstance(footprint, list | tuple):
        return tuple((change(part), count) for part, count in footprint)
    return change(footprint)


def _of_odd_sides(footprint):
    """As scikit-image makes a side of an even length odd."""
    return array_namespace(footprint).pad(footprint, [(1 - n % 2, 0) for n in footprint.shape])


def _mirrored(footprint):
    return footprint[(slice(None, None, -1),) * footprint.ndim]


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
    keep = array_namespace(labels).bincount(labels.reshape(-1)) > most
    keep[0] = False
    return keep[labels]
