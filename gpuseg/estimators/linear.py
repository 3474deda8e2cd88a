"""Linear regression: by scikit-learn on the CPU, by QR and singular values on a GPU."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy.sparse import issparse
from sklearn import linear_model
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from .._backend import run
from .._checks import finite_array, flags, number
from .._contracts import Close, Exact, contract
from ._base import Saved, on_host, scikit_learn


@contract(
    Close(rtol=1e-9, atol=1e-12),
    note="1e-4 for float32; where the table has full rank",
    nan="refuse",
)
def least_squares(X, y, sample_weight=None, *, fit_intercept=True, tol=1e-6):
    """Find the linear function of the features that is nearest to the targets.

    Parameters
    ----------
    X : array of real numbers of shape (rows, features)
    y : array of real numbers of shape (rows,) or (rows, targets)
    sample_weight : array of shape (rows,), optional
    fit_intercept : bool, optional
        Add a constant to the function.
    tol : number, optional
        Singular values up to this part of the greatest one are taken for zero. scikit-learn before
        1.7, which serves it on the CPU, takes the precision of the type instead.

    Returns
    -------
    coef : array of shape (features,) or (targets, features)
        Of all that are as near, the shortest.
    intercept : float or array of shape (targets,)
    rank : int
    singular : array of shape (min(rows, features),)
        The singular values of the table, less its means with `fit_intercept`.

    Raises
    ------
    TypeError, ValueError
        The arrays are not of real numbers and these shapes, or hold NaN or infinity.

    Notes
    -----
    Neither form squares the condition of the table, as normal equations do. The GPU form needs
    three times the memory of `X`; with fewer rows than features the CPU serves it.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.estimators import least_squares
    >>> coef, intercept, rank, _ = least_squares(np.array([[0.0], [1.0], [2.0]]), [10, 20, 30])
    >>> np.round(coef, 12), round(float(intercept), 12), rank
    (array([10.]), 10.0, 1)
    """
    flags(fit_intercept=fit_intercept)
    X, y = finite_array(X, "X", ndim=2), finite_array(y, "y", ndim=(1, 2))
    if len(y) != len(X):
        raise ValueError(f"X and y must have as many rows, got {len(X)} and {len(y)}")
    if sample_weight is not None:
        sample_weight = finite_array(sample_weight, "sample_weight", ndim=1)
        if len(sample_weight) != len(X):
            raise ValueError(f"sample_weight must have {len(X)} rows, got {len(sample_weight)}")
    tol = float(number(tol, "tol", at_least=0))
    return run(least_squares, X, y, sample_weight, fit_intercept=bool(fit_intercept), tol=tol)


@contract(Exact(), nan="refuse")
def linear_predict(X, coef, intercept):
    """Add up the features of each row times their coefficients.

    Parameters
    ----------
    X : array of real numbers of shape (rows, features)
    coef : float array of shape (targets, features)
    intercept : float array of shape (targets,)

    Returns
    -------
    float array of shape (rows, targets)
        Added in the order of the features, each row for itself, so that a row has the same result
        in any table.

    Raises
    ------
    TypeError, ValueError
        The arrays are not of real numbers and these shapes, or hold NaN or infinity.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.estimators import linear_predict
    >>> linear_predict(np.array([[1.0, 2.0]]), np.array([[10.0, 1.0]]), np.array([0.5]))
    array([[12.5]])
    """
    X, coef = finite_array(X, "X", ndim=2), finite_array(coef, "coef", ndim=2)
    intercept = finite_array(intercept, "intercept", ndim=1)
    if coef.shape != (len(intercept), X.shape[1]):
        raise ValueError(
            f"coef must have shape (targets, features), {(len(intercept), X.shape[1])}, "
            f"got {coef.shape}"
        )
    return run(linear_predict, X, coef, intercept)


class LinearRegression(Saved, linear_model.LinearRegression):
    """scikit-learn's linear regression, which a GPU fits by `least_squares`.

    Parameters and attributes are those of `sklearn.linear_model.LinearRegression`. Sparse tables
    and `positive` are served by scikit-learn.

    Examples
    --------
    >>> from gpuseg.estimators import LinearRegression
    >>> model = LinearRegression().fit([[0.0], [1.0], [2.0]], [10, 20, 30])
    >>> [round(float(x), 9) for x in model.predict([[-100.0], [500.0]])]
    [-990.0, 5010.0]
    """

    _STATE: ClassVar = {
        "coef_": ("f", "n", "tn"),
        "intercept_": ("f", "", "t"),
        "singular_": ("f", "s"),
    }
    _NUMBERS: ClassVar = {"n_features_in_": "iu", "rank_": "iu"}

    def _wrong(self) -> str:
        missing = self.coef_ is None or self.intercept_ is None
        return "coef_ or intercept_ are missing" if missing else ""

    def fit(self, X, y, sample_weight=None):
        """Find the coefficients.

        Parameters
        ----------
        X : array of shape (rows, features)
        y : array of shape (rows,) or (rows, targets)
        sample_weight : array of shape (rows,), optional

        Returns
        -------
        self
        """
        X, y, sample_weight = map(on_host, (X, y, sample_weight))
        reason = "sparse tables" if issparse(X) else "positive=True" if self.positive else ""
        if reason:
            return scikit_learn(
                lambda: super(LinearRegression, self).fit(X, y, sample_weight), reason
            )
        self._validate_params()
        X, y = validate_data(
            self, X, y, y_numeric=True, multi_output=True, dtype=[np.float64, np.float32]
        )
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, X, dtype=X.dtype, ensure_non_negative=True
            )
        self.coef_, self.intercept_, self.rank_, self.singular_ = run(
            least_squares, X, y, sample_weight, fit_intercept=self.fit_intercept,
            tol=getattr(self, "tol", float(np.finfo(X.dtype).eps)),
        )  # fmt: skip
        return self

    def predict(self, X):
        """The targets of rows.

        Parameters
        ----------
        X : array of shape (rows, features)

        Returns
        -------
        float array of shape (rows,) or (rows, targets)
        """
        check_is_fitted(self)
        X = on_host(X)
        if issparse(X):
            return scikit_learn(lambda: super(LinearRegression, self).predict(X), "sparse tables")
        X = validate_data(self, X, reset=False, accept_sparse=True)
        coef = np.atleast_2d(self.coef_)
        intercept = np.broadcast_to(np.asarray(self.intercept_, coef.dtype), len(coef))
        found = run(linear_predict, X, coef, intercept)
        return found[:, 0] if np.ndim(self.coef_) == 1 else found
