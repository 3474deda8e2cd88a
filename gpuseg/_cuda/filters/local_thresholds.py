"""Local thresholds on the device, by the same code."""

from ..._backend import Unserved, array_namespace, cuda_stream
from ..._cpu.filters import local_thresholds as shared
from ...kernels.windows import local_cuda


def threshold_local(image, block_size, method, *, mode, param, cval):
    if method == "generic":
        raise Unserved("method='generic' calls a function of the CPU")
    return shared.by_neighbours(_local, image, block_size, method, mode, cval)


def threshold_niblack(image, window_size, k):
    return shared.niblack(_local, image, window_size, k)


def threshold_sauvola(image, window_size, k, r):
    return shared.sauvola(_local, image, window_size, k, r)


def _local(image, *args, scale):
    local_cuda(array_namespace(image), image, *args, scale=scale, stream=cuda_stream(image))
