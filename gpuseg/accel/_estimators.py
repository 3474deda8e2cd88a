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

from .._backend import choose
from ._costs import purse
from ._serve import Ledger

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
        reason = _refuses(self, path, X)
        if reason:
            ledger.missed(reason)
        start = time.perf_counter()
        result = (theirs if reason else ours)(self, X, *args, **kwargs)
        seconds = time.perf_counter() - start
        if reason:
            ledger.spent(seconds)
        else:
            ledger.served(X, seconds)
        return result

    return method


def _refuses(estimator, path: str, X) -> str:
    if type(X) is not np.ndarray:
        return f"the table is no NumPy array, but {type(X).__name__}"
    if X.dtype.kind not in "buif" or X.ndim != 2 or not X.size:
        return f"the table is {X.dtype} of shape {X.shape}"
    if purse.always or choose(())[0].kind != "cpu":
        return ""
    return purse.why_not(path, work(estimator, X))


def work(estimator, X) -> int:
    """In what the cost of a method is counted: values, times what each is compared with."""
    if hasattr(estimator, "n_clusters"):
        return X.size * estimator.n_clusters
    if hasattr(estimator, "n_estimators"):
        return len(X) * len(estimator.estimators_)
    return len(X) * getattr(estimator, "n_output_features_", X.shape[1])
