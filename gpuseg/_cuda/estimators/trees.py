"""Forests by the kernel; a forest is put on a device once, and stays there as long as it lives."""

from __future__ import annotations

import numpy as np

from ..._backend import array_namespace, cuda_stream, is_cupy
from ...kernels import forest as kernel


def forest_predict(X, forest):
    xp = array_namespace(X)
    if not (X.flags.c_contiguous or X.flags.f_contiguous):
        X = xp.ascontiguousarray(X)
    out = xp.empty((len(X), forest.values.shape[1]))
    kernel.forest_cuda(X, *_tables(X, forest), out, stream=cuda_stream(X))
    return out


def _tables(X, forest):
    """The arrays of a forest, on the device of `X`."""
    device = X.device.id if is_cupy(X) else None
    if device not in forest.devices:
        xp = array_namespace(X)
        arrays = forest.words.view(np.int64), forest.roots, forest.values
        forest.devices[device] = tuple(map(xp.asarray, arrays))
    return forest.devices[device]
