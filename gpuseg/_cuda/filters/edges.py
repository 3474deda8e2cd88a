"""Edges by cuCIM, given what it converts or leaves out in another way than scikit-image."""

from ..._backend import Unserved, array_namespace
from ..._cpu.filters import edges as shared
from ..._cpu.filters.smoothing import floating


def _gradient(name: str):
    plain = getattr(shared, name)

    def form(image, *, mask, axis, mode, cval):
        image = floating(image, preserve_range=False)
        if mode != "constant" or not cval:
            return plain(image, mask=mask, axis=axis, mode=mode, cval=0)
        # cuCIM knows no constant but 0. These filters reach one pixel.
        xp = array_namespace(image)
        image = xp.pad(image, 1, constant_values=cval)
        mask = None if mask is None else xp.pad(mask, 1)
        found = plain(image, mask=mask, axis=axis, mode=mode, cval=0)
        return xp.ascontiguousarray(found[(slice(1, -1),) * image.ndim])

    form.__name__ = name
    return form


sobel = _gradient("sobel")
scharr = _gradient("scharr")
prewitt = _gradient("prewitt")


def laplace(image, ksize, *, mask):
    if ksize != 3:
        raise Unserved("kernels of other sizes than 3 are for the CPU")
    return shared.laplace(floating(image, preserve_range=False), ksize, mask=mask)
