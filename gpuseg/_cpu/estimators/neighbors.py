"""Nearest neighbours by the tree of the kernel."""

from __future__ import annotations

import numpy as np

from ...kernels import neighbors as kernel


def nearest_neighbors(X, references, k, metric):
    queries, references = (np.ascontiguousarray(x, np.float64) for x in (X, references))
    distances = np.empty((len(X), k))
    indices = np.empty((len(X), k), np.int64)
    # For a few queries, dividing the references costs more than looking at all of them.
    leaf = kernel.LEAF if len(X) > 16 else max(kernel.LEAF, len(references))
    tree = kernel.tree_cpu(references, leaf)
    manhattan = metric == "manhattan"
    kernel.neighbors_cpu(queries, tree, manhattan=manhattan, distances=distances, indices=indices)
    if not manhattan:
        np.sqrt(distances, out=distances)
    return distances, indices
