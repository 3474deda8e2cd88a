"""Local thresholds by cuCIM, in floating-point numbers: it takes float32 where scikit-image takes
float64."""

from skimage.util import dtype_limits

from ..._backend import Unserved
from ..._cpu.filters import local_thresholds as shared
from ..._cpu.filters.smoothing import floating


def threshold_local(image, block_size, method, *, mode, param, cval):
    if method == "generic":
        raise Unserved("method='generic' calls a function of the CPU")
    values = floating(image, preserve_range=True)
    return shared.threshold_local(values, block_size, method, mode=mode, param=param, cval=cval)


def threshold_niblack(image, window_size, k):
    return shared.threshold_niblack(floating(image, preserve_range=True), window_size, k)


def threshold_sauvola(image, window_size, k, r):
    if r is None:
        low, high = dtype_limits(image, clip_negative=False)
        r = (high - low) / 2
    return shared.threshold_sauvola(floating(image, preserve_range=True), window_size, k, r)
