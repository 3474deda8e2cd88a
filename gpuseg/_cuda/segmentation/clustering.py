"""Clusters on the device: each step reads back the sums of the clusters, and nothing else."""

from __future__ import annotations

import numpy as np

from ..._backend import array_namespace, asnumpy, cuda_stream
from ..._cpu.segmentation import clustering as cpu
from ..._cpu.segmentation.clustering import Steps, run_kmeans, run_mixture, run_part
from ...kernels import clustering as kernel
from ...kernels import mixtures

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


# --- mixtures ---------------------------------------------------------------------------------


def _moments(table, mixture):
    diagonal = mixture.covariances.ndim == 2
    if not mixtures.fits(*mixture.means.shape[::-1], diagonal=diagonal):
        return cpu.moments(table, mixture)
    xp = array_namespace(table)
    *sums, likelihood = _added(table, xp.empty(0, xp.int32), _model(mixture), diagonal)
    return *sums, float(likelihood)


def _moments_of_labels(table, labels, count, diagonal):
    if not mixtures.fits(len(table), count, diagonal=diagonal):
        return cpu.moments_of_labels(table, labels, count, diagonal)
    return _added(table, labels, np.zeros((count, 1)), diagonal)[:-1]


def _added(table, labels, model, diagonal):
    """Sums of the classes, of the features and of their products; and the log likelihood."""
    xp, features = array_namespace(table), len(table)
    pairs = mixtures.factors(features, diagonal=diagonal)
    parts = xp.empty((mixtures.blocks(table.shape[1]), len(model) * len(pairs) + 1))
    mixtures.add_moments_cuda(
        table, labels, xp.asarray(model), diagonal, xp.asarray(pairs), parts, cuda_stream(table)
    )
    total = asnumpy(parts.sum(axis=0))
    counts, sums, products = np.split(total[:-1].reshape(len(model), -1), [1, 1 + features], axis=1)
    if not diagonal:
        square = np.empty((len(model), features, features))
        for (q, s), product in zip(pairs[1 + features :], products.T):
            square[:, q, s] = square[:, s, q] = product
        products = square
    return counts[:, 0], sums, products, total[-1]


def _model(mixture):
    """The rows of `mixtures`: a constant, the mean, factors of differences from it."""
    rows = []
    for weight, mean, covariance in zip(*mixture):
        if covariance.ndim == 1:
            factor = np.sqrt(covariance)
            scales = 1 / factor
        else:
            lower = np.linalg.cholesky(covariance)
            factor = np.diag(lower)
            scales = np.linalg.inv(lower)[np.tril_indices(mean.size)]
        constant = np.log(weight) - 0.5 * mean.size * np.log(2 * np.pi) - np.log(factor).sum()
        rows.append(np.concatenate([[constant], mean, scales]))
    return np.stack(rows)


def _classified(table, mixture, probabilities):
    diagonal = mixture.covariances.ndim == 2
    if not mixtures.fits(*mixture.means.shape[::-1], diagonal=diagonal):
        return cpu.classified(table, mixture, probabilities)
    xp, count = array_namespace(table), table.shape[1]
    labels = xp.empty(count, xp.int32)
    chances = xp.empty(len(mixture.weights) * count if probabilities else 0, xp.float32)
    likelihoods = xp.empty(mixtures.blocks(count))
    mixtures.classify_cuda(
        table, xp.asarray(_model(mixture)), diagonal, labels, chances, likelihoods,
        cuda_stream(table),
    )  # fmt: skip
    chances = chances.reshape(-1, count) if probabilities else None
    return labels, chances, float(likelihoods.sum())


CUDA = Steps(_rounded, _sums, _nearest, _moments, _moments_of_labels, _classified)
