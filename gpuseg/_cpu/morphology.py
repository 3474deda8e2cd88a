"""Morphology by scikit-image, or by cuCIM where the array is CuPy's."""

from .._backend import array_namespace, skimage
from ..kernels.components import of_mask


def _grey(name: str):
    def form(image, footprint, *, mode, cval):
        peer = getattr(skimage(image, "morphology"), name)
        return peer(image, footprint, mode=mode, cval=cval)

    form.__name__ = name
    return form


erosion = _grey("erosion")
dilation = _grey("dilation")
opening = _grey("opening")
closing = _grey("closing")
white_tophat = _grey("white_tophat")


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
