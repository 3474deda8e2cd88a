"""k-means of a table, on the device."""

from __future__ import annotations

from ..._backend import array_namespace, cuda_stream
from ..._cpu.estimators.clusters import center_distances, run_lloyd
from ...kernels import clustering as kernel
from ..segmentation.clustering import CUDA

__all__ = ["center_distances", "lloyd", "nearest_centers"]


def lloyd(X, inits, max_iter, tol):
    return run_lloyd(CUDA, nearest_centers, X, inits, max_iter, tol)


def nearest_centers(X, centers):
    xp = array_namespace(X)
    labels, squares = xp.empty(len(X), xp.int32), xp.empty(len(X), xp.float32)
    table, centers = xp.ascontiguousarray(X.T), xp.ascontiguousarray(centers)
    kernel.nearest_cuda(table, centers, labels, squares, cuda_stream(X))
    return labels, squares
