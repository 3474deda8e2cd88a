"""k-means of a table, by the steps of the segmentation's."""

from __future__ import annotations

import numpy as np

from ..._backend import array_namespace, asnumpy
from ...kernels import clustering as kernel
from ..segmentation.clustering import CPU, _lloyd, _mean_variance, feature_table

# Rows whose distances are reckoned at a time.
_PIECE = 1 << 14


def lloyd(X, inits, max_iter, tol):
    return run_lloyd(CPU, nearest_centers, X, inits, max_iter, tol)


def run_lloyd(steps, nearest, X, inits, max_iter, tol):
    table, offsets = feature_table(steps, X, None, (), None)
    tol = tol * _mean_variance(table) if tol else 0.0
    runs = []
    for init in asnumpy(inits):
        centers, n_iter = _lloyd(steps, table, init - offsets, max_iter, tol)
        # Of the runs, the one whose rounded table is nearest to its centers.
        _, squares = steps.nearest(table, centers.astype(np.float32))
        runs.append((float(squares.sum(dtype=np.float64)), len(runs), centers + offsets, n_iter))
    del table, squares
    _, _, centers, n_iter = min(runs)
    centers = centers.astype(X.dtype)
    labels, squares = nearest(X, array_namespace(X).asarray(centers))
    return labels, centers, float(squares.sum(dtype=np.float64)), n_iter


def nearest_centers(X, centers):
    labels, squares = np.empty(len(X), np.int32), np.empty(len(X), np.float32)
    kernel.nearest_cpu(np.ascontiguousarray(X.T), np.ascontiguousarray(centers), labels, squares)
    return labels, squares


def center_distances(X, centers):
    xp = array_namespace(X)
    out = xp.empty((len(X), len(centers)), X.dtype)
    for start in range(0, len(X), _PIECE):
        piece = X[start : start + _PIECE].T.astype(xp.float64)
        for j, center in enumerate(centers.astype(xp.float64)):
            total = xp.zeros(piece.shape[1])
            for row, value in zip(piece, center):
                total += (row - value) ** 2
            out[start : start + _PIECE, j] = xp.sqrt(total)
    return out
