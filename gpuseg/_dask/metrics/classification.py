"""Classes, scores and errors of chunked arrays: each chunk is counted, and the counts add up."""

from __future__ import annotations

import math

from ...metrics import classification as public
from .._connected import aligned
from .._reduce import each, joined


def counted(true, found):
    return joined(public.joined, each(_counted, aligned([true, found]))).compute()


def weighed(true, found, weights):
    return joined(public.joined, each(public.weighed, aligned([true, found, weights]))).compute()


def error_sum(y_true, y_pred, weights, error):
    arrays = [y_true, y_pred] if weights is None else [y_true, y_pred, weights]
    totals, sizes = zip(*each(_error_sum, aligned(arrays), error).compute())
    return math.fsum(totals), math.fsum(sizes)


def _counted(true, found):
    return public.counted(true, public.beside(found, true))


def _error_sum(error, y_true, y_pred, weights=None):
    weights = None if weights is None else public.beside(weights, y_true)
    return public.error_sum(y_true, public.beside(y_pred, y_true), weights, error)
