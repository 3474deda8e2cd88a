"""Tables scaled and extended, in pieces on all cores."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from ..._backend import array_namespace, asnumpy
from ...kernels import columns as kernel
from ...kernels import launch

# Beyond this, scikit-learn takes the lowest and the highest value for the bounds themselves.
BOUND = 1e-7
# Rows of a piece.
_PIECE = 1 << 14


def _in_pieces(function, count, *args) -> None:
    launch.slabs(function, count, *args, pieces=-(-count // _PIECE))


def robust_scale(X, center, scale):
    def piece(start, stop):
        here = out[start:stop]
        here[...] = X[start:stop]
        if center is not None:
            here -= center
        if scale is not None:
            here /= scale

    out = np.empty(X.shape, X.dtype)
    _in_pieces(piece, len(X))
    return out


def quantile_places(X, quantiles, references, normal):
    def piece(start, stop):
        for column, result, sorted_values in zip(X.T, out.T, columns):
            if half:
                places = np.empty(stop - start, np.float32)
                values = column[start:stop].astype(np.float32)
                kernel.places_range(0, len(values), values, sorted_values, references, places)
                result[start:stop] = places
            else:
                kernel.places_range(start, stop, column, sorted_values, references, result)
            put_on_bounds(column[start:stop], result[start:stop], sorted_values, normal)
            if normal:
                normal_scores(ndtri, result[start:stop])

    half = X.dtype == np.float16  # Numba has no arithmetic for it
    out = np.empty(X.shape, X.dtype)
    columns = np.ascontiguousarray(quantiles.T)
    _in_pieces(piece, len(X))
    return out


def put_on_bounds(column, result, quantiles, normal) -> None:
    if normal:
        result[column + BOUND > quantiles[-1]] = 1
        result[column - BOUND < quantiles[0]] = 0
    else:
        result[column == quantiles[-1]] = 1
        result[column == quantiles[0]] = 0


def normal_scores(ndtri, result) -> None:
    """Quantiles of the normal distribution, without the infinite ones."""
    result[...] = ndtri(result)
    bound = BOUND - np.spacing(1)
    result.clip(*normal_bounds(bound), out=result)


def normal_bounds(bound) -> tuple[float, float]:
    return float(ndtri(bound)), float(ndtri(1 - bound))


def polynomial_table(X, parents, factors):
    if X.dtype == np.float16:
        return products_by_columns(X, parents, factors)
    out = np.empty((len(X), len(parents)), X.dtype)
    launch.slabs(kernel.products_range, len(X), X, parents, factors, out)
    return out


def products_by_columns(X, parents, factors):
    xp = array_namespace(X)
    out = xp.empty((len(X), len(parents)), X.dtype)
    for t, (parent, factor) in enumerate(zip(asnumpy(parents), asnumpy(factors))):
        if parent >= 0:
            xp.multiply(out[:, parent], X[:, factor], out=out[:, t])
        else:
            out[:, t] = X[:, factor] if factor >= 0 else 1
    return out
