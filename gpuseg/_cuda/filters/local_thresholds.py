"""Local thresholds: the same code, which calls cuCIM for CuPy's arrays."""

from ..._backend import Unserved
from ..._cpu.filters import local_thresholds as shared
from ..._cpu.filters.local_thresholds import threshold_niblack, threshold_sauvola

__all__ = ["threshold_local", "threshold_niblack", "threshold_sauvola"]


def threshold_local(image, block_size, method, *, mode, param, cval):
    if method == "generic":
        raise Unserved("method='generic' calls a function of the CPU")
    return shared.threshold_local(image, block_size, method, mode=mode, param=param, cval=cval)
