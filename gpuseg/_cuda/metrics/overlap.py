"""The overlap of two masks, by one look at both; three numbers are read back."""

from __future__ import annotations

import numpy as np

from ..._backend import array_namespace, asnumpy, cuda_stream, is_cupy
from ..._checks import bool_array
from ...kernels import overlap as kernel
from ...metrics.overlap import pieces

# Elements of a piece of what has to be copied.
_PIECE = 1 << 24


def counts(y_true, y_pred):
    xp, masks = array_namespace(y_true), (y_true, y_pred)
    ready = all(a.dtype == bool and a.flags.c_contiguous for a in masks)
    found = xp.zeros(3, np.uint64)
    for here in pieces(y_true.shape, most=y_true.size if ready else _PIECE):
        true, pred = bool_array(y_true[here], "y_true"), bool_array(y_pred[here], "y_pred")
        true, pred = (xp.ascontiguousarray(a).reshape(-1) for a in (true, pred))
        aligned = _address(true) % 8 == _address(pred) % 8 == 0
        true, pred = true.view(xp.uint8), pred.view(xp.uint8)
        kernel.count_cuda(true, pred, found, cuda_stream(true), aligned=aligned)
    return (*asnumpy(found).tolist(), y_true.size)


def _address(x) -> int:
    return x.data.ptr if is_cupy(x) else x.ctypes.data
