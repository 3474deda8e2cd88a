"""Least squares by scikit-learn, and predictions row by row."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LinearRegression

from ..._backend import array_namespace
from ...kernels import columns as kernel
from ...kernels import launch

# Rows that stay in the cache while their features are added up.
_PIECE = 1 << 14


def least_squares(X, y, sample_weight, fit_intercept, tol):
    model = LinearRegression(fit_intercept=fit_intercept)
    if hasattr(model, "tol"):  # since scikit-learn 1.7
        model.tol = tol
    model.fit(X, y, sample_weight)
    return model.coef_, model.intercept_, model.rank_, model.singular_


def linear_predict(X, coef, intercept):
    dtype = np.result_type(X.dtype, coef.dtype)
    if dtype == np.float16:  # Numba has no arithmetic for it
        return predict_by_columns(X, coef, intercept)
    X, coef, intercept = (x.astype(dtype, copy=False) for x in (X, coef, intercept))
    out = np.empty((len(X), len(coef)), dtype)
    launch.slabs(kernel.linear_range, len(X), X, coef, intercept, out)
    return out


def predict_by_columns(X, coef, intercept):
    xp = array_namespace(X)
    dtype = xp.result_type(X.dtype, coef.dtype)
    coef, intercept = coef.astype(dtype), intercept.astype(dtype)
    out = xp.empty((len(X), len(coef)), dtype)
    for start in range(0, len(X), _PIECE):
        piece = X[start : start + _PIECE].astype(dtype, copy=False)
        for k, row in enumerate(coef):
            total = piece[:, 0] * row[0]
            for q in range(1, len(row)):
                total += piece[:, q] * row[q]
            out[start : start + _PIECE, k] = total + intercept[k]
    return out
