"""Local thresholds by scikit-image, or by cuCIM where the array is CuPy's."""

from ..._backend import skimage


def threshold_local(image, block_size, method, *, mode, param, cval):
    peer = skimage(image, "filters").threshold_local
    return peer(image, block_size, method, mode=mode, param=param, cval=cval)


def threshold_niblack(image, window_size, k):
    return skimage(image, "filters").threshold_niblack(image, window_size, k)


def threshold_sauvola(image, window_size, k, r):
    return skimage(image, "filters").threshold_sauvola(image, window_size, k, r)
