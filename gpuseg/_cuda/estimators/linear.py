"""Least squares on the device: QR of the table, then singular values of its small factor."""

from __future__ import annotations

from ..._backend import Unserved, array_namespace
from ..._cpu.estimators.linear import predict_by_columns


def linear_predict(X, coef, intercept):
    return predict_by_columns(X, coef, intercept)


def least_squares(X, y, sample_weight, fit_intercept, tol):
    if len(X) < X.shape[1]:
        raise Unserved("fewer rows than features")
    xp = array_namespace(X)
    dtype = xp.result_type(X.dtype, xp.float32)
    X, y = X.astype(dtype), y.astype(dtype)
    targets = y.reshape(len(y), -1)
    weights = None if sample_weight is None else sample_weight.astype(dtype)[:, None]
    x_mean, y_mean = xp.zeros(X.shape[1], dtype), xp.zeros(targets.shape[1], dtype)
    if fit_intercept:
        x_mean, y_mean = _mean(X, weights), _mean(targets, weights)
        X, targets = X - x_mean, targets - y_mean
    if weights is not None:
        root = xp.sqrt(weights)
        X, targets = X * root, targets * root
    # The condition of normal equations would be the square of that of the table.
    q, r = xp.linalg.qr(X)
    u, singular, v = xp.linalg.svd(r)
    kept = singular > tol * singular[0]
    inverse = xp.where(kept, 1 / xp.where(kept, singular, 1), 0)
    coef = v.T @ (inverse[:, None] * (u.T @ (q.T @ targets)))
    intercept = y_mean - x_mean @ coef
    if y.ndim == 1:
        coef, intercept = coef[:, 0], intercept[0]
    if not fit_intercept:
        intercept = 0.0
    return coef.T, intercept, int(xp.count_nonzero(kept)), singular


def _mean(x, weights):
    xp = array_namespace(x)
    total = x if weights is None else x * weights
    count = len(x) if weights is None else weights.sum(dtype=xp.float64)
    return (total.sum(axis=0, dtype=xp.float64) / count).astype(x.dtype)
