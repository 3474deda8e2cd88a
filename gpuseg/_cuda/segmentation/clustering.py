"""Clusters on the device: each step reads back the sums of the clusters, and nothing else."""

from __future__ import annotations

from ..._backend import array_namespace, asnumpy, cuda_stream
from ..._cpu.segmentation.clustering import Steps, run_kmeans, run_mixture, run_part
from ...kernels import clustering as kernel

# Elements that are in float64 at a time.
_PIECE = 1 << 24


def kmeans(image, *, features, weights, mask, n_clusters, init, random_state, max_iter, tol):
    return run_kmeans(
        CUDA, image, features, weights, mask, n_clusters, init, random_state, max_iter, tol
    )


def kmeans_part(work, image, *args, **pixels):
    return run_part(CUDA, work, image, *args, **pixels)


def gaussian_mixture(image, **options):
    return run_mixture(CUDA, image, **options)


def _rounded(column, offset, factor, step, row) -> None:
    xp = array_namespace(column)
    for at in range(0, row.size, _PIECE):
        here = slice(at, at + _PIECE)
        whole = xp.rint((column[here].astype(xp.float64) - offset) * factor)
        row[here] = whole.astype(xp.float32) * step


def _sums(table, centers):
    xp = array_namespace(table)
    sums = xp.zeros(len(centers) * (len(table) + 1), xp.float64)
    kernel.sums_cuda(table, xp.asarray(centers), sums, cuda_stream(table))
    return asnumpy(sums).reshape(len(centers), -1)


def _nearest(table, centers):
    xp = array_namespace(table)
    labels = xp.empty(table.shape[1], xp.int32)
    distances = xp.empty(table.shape[1], xp.float32)
    kernel.nearest_cuda(table, xp.asarray(centers), labels, distances, cuda_stream(table))
    return labels, distances


CUDA = Steps(_rounded, _sums, _nearest)
