"""scikit-learn's estimators: classes that take the place of the original ones.

Ours are scikit-learn's with some methods done by our kernels, and go to scikit-learn's for what
these do not take. A stand-in has the original's name, so that what is pickled here is read where
gpuseg is not; for ``isinstance`` the two are one class.
"""

from __future__ import annotations

import functools
import time
from importlib import import_module

import numpy as np

from .._backend import choose, run
from ._costs import purse
from ._serve import Ledger, as_table

# The methods that ours do in another way, each with a table as its first argument.
METHODS = ("fit", "kneighbors", "predict", "predict_proba", "transform")


def stand_in_class(package: str, name: str, original: type) -> type:
    ours = getattr(import_module("gpuseg.estimators"), name)
    above = ours.__mro__[: ours.__mro__.index(original)]
    methods = {
        method: _gated(f"{package}.{name}.{method}", getattr(ours, method), original)
        for method in METHODS
        if any(method in vars(parent) for parent in above)
    }

    class OneClass(type(original)):
        """For ``isinstance`` and ``issubclass`` the stand-in is the original."""

        def __instancecheck__(cls, thing):
            return issubclass(type(thing), cls)

        def __subclasscheck__(cls, kind):
            # Not by the original's own check, which asks its subclasses: this one.
            return original in kind.__mro__ if cls is made else super().__subclasscheck__(kind)

    if hasattr(ours, "_nearest"):
        methods["_nearest"] = _nearest
    names = {"__module__": package, "__qualname__": name, "__doc__": original.__doc__}
    made = OneClass(name, (ours,), names | methods)
    made.gpuseg_original = original
    return made


def _gated(path: str, ours, original: type):
    """A method that is the original's for a table for which ours does not pay."""
    ledger = Ledger(path)
    theirs = getattr(original, ours.__name__)

    @functools.wraps(theirs)
    def method(self, X=None, *args, **kwargs):
        table = as_table(X)
        reason = _refuses(self, path, table)
        start = time.perf_counter()
        if not reason:
            try:
                # As it came: a pandas table has names, which scikit-learn checks.
                result = ours(self, X, *args, **kwargs)
            except _TiedError as tied:
                reason = str(tied)
            else:
                ledger.served(table, time.perf_counter() - start)
                return result
        ledger.missed(reason)
        start = time.perf_counter()
        result = theirs(self, X, *args, **kwargs)
        ledger.spent(time.perf_counter() - start)
        return result

    return method


def _refuses(estimator, path: str, X) -> str:
    if type(X) is not np.ndarray:
        return f"the table is no array of numbers, but {type(X).__name__}"
    if X.dtype.kind not in "buif" or X.ndim != 2 or not X.size:
        return f"the table is {X.dtype} of shape {X.shape}"
    if purse.always or choose(())[0].kind != "cpu":
        return ""
    return purse.why_not(path, work(estimator, X))


class _TiedError(Exception):
    """Equally near references, among which only scikit-learn's own search chooses as it does."""


# Distances that may come out equal, or in another order, by other ways to compute them.
_EQUAL = 1e-12


def _nearest(estimator, X, k, metric):
    """The k nearest references as scikit-learn finds them, ties included.

    Of equally near references scikit-learn's tree keeps those that it meets first. So the rows in
    which two of the k + 1 nearest are equally near are looked up in that tree.
    """
    from ..estimators import nearest_neighbors

    references = estimator._fit_X
    more = min(k + 1, len(references))
    distances, indices = run(nearest_neighbors, X, references, more, metric)
    tree = getattr(estimator, "_tree", None)
    # Squares beyond float64 tell nothing, which is none of the user's concern.
    with np.errstate(over="ignore", invalid="ignore"):
        squares = distances**2
        rounding = _EQUAL * squares[:, 1:]
        if tree is None:
            # Without a tree distances are |x|^2 - 2 x y + |y|^2, which rounds by the size of these.
            greatest = max(float(np.abs(table).max()) for table in (X, references))
            rounding = rounding + _EQUAL * X.shape[1] * greatest**2
        tied = (np.diff(squares) <= rounding).any(axis=1)
    distances, indices = distances[:, :k], indices[:, :k]
    if tied.any():
        if tree is None or X is references:
            raise _TiedError("references that are equally near")
        distances[tied], indices[tied] = tree.query(X[tied], k)
    return distances, indices


def work(estimator, X) -> int:
    """In what the cost of a method is counted: values, times what each is compared with."""
    if hasattr(estimator, "n_clusters"):
        return X.size * estimator.n_clusters
    if hasattr(estimator, "n_estimators"):
        return len(X) * len(estimator.estimators_)
    return len(X) * getattr(estimator, "n_output_features_", X.shape[1])
