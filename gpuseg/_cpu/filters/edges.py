"""Edges by scikit-image, or by cuCIM where the array is CuPy's."""

from ..._backend import skimage


def _gradient(name: str):
    def form(image, *, mask, axis, mode, cval):
        peer = getattr(skimage(image, "filters"), name)
        # One axis keeps its sign; scikit-image tells that by a number instead of a sequence.
        axis = axis[0] if axis is not None and len(axis) == 1 else axis
        return peer(image, mask, axis=axis, mode=mode, cval=cval)

    form.__name__ = name
    return form


sobel = _gradient("sobel")
scharr = _gradient("scharr")
prewitt = _gradient("prewitt")


def laplace(image, ksize, *, mask):
    return skimage(image, "filters").laplace(image, ksize, mask)
