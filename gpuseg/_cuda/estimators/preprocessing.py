"""Tables scaled and extended, on the device."""

from __future__ import annotations

import importlib

from ..._backend import array_namespace, is_cupy
from ..._cpu.estimators.preprocessing import normal_scores, products_by_columns, put_on_bounds


def robust_scale(X, center, scale):
    out = X.copy()
    if center is not None:
        out -= center
    if scale is not None:
        out /= scale
    return out


def quantile_places(X, quantiles, references, normal):
    xp = array_namespace(X)
    special = importlib.import_module("cupyx.scipy.special" if is_cupy(X) else "scipy.special")
    out = xp.empty(X.shape, X.dtype)
    for column, result, sorted_values in zip(X.T, out.T, quantiles.T):
        column, sorted_values = map(xp.ascontiguousarray, (column, sorted_values))
        backwards = (xp.ascontiguousarray(-x[::-1]) for x in (sorted_values, references))
        up = xp.interp(column, sorted_values, references)
        down = xp.interp(-column, *backwards)
        result[...] = xp.where(xp.isnan(column), column, 0.5 * (up - down))
        put_on_bounds(column, result, sorted_values, normal)
        if normal:
            normal_scores(special.ndtri, result)
    return out


def polynomial_table(X, parents, factors):
    return products_by_columns(X, parents, factors)
