"""Nearest neighbours, a thread a query."""

from __future__ import annotations

from ..._backend import Unserved, array_namespace, cuda_stream
from ...kernels import neighbors as kernel


def nearest_neighbors(X, references, k, metric):
    if k > kernel.MOST:
        raise Unserved(f"the GPU form keeps at most {kernel.MOST} neighbours, got k={k}")
    xp = array_namespace(X)
    queries = xp.ascontiguousarray(X.T, xp.float64)
    references = xp.ascontiguousarray(references, xp.float64)
    distances = xp.empty((len(X), k), xp.float64)
    indices = xp.empty((len(X), k), xp.int64)
    kernel.neighbors_cuda(
        queries, references, manhattan=metric == "manhattan", distances=distances,
        indices=indices, stream=cuda_stream(X),
    )  # fmt: skip
    if metric == "euclidean":
        xp.sqrt(distances, out=distances)
    return distances, indices
