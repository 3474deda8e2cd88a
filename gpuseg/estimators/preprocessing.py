"""Steps before an estimator: scikit-learn looks at the table, kernels of ours change it."""

from __future__ import annotations

import functools
import itertools
from typing import ClassVar

import numpy as np
from scipy.sparse import issparse
from sklearn import preprocessing
from sklearn.utils.validation import check_is_fitted, validate_data

from .._backend import run
from .._checks import finite_array, flags, real_array
from .._contracts import Close, Exact, contract
from ._base import Saved, on_host, scikit_learn

_FLOATS = (np.float64, np.float32, np.float16)


def _float_table(X, *, finite: bool = False):
    X = finite_array(X, "X", ndim=2) if finite else real_array(X, "X", ndim=2)
    if X.dtype not in _FLOATS:
        raise TypeError(f"X must be float16, float32 or float64, got {X.dtype}")
    return X.astype(X.dtype.newbyteorder("="), copy=False)


def _of_length(x, name: str, length: int):
    x = finite_array(x, name, ndim=1)
    if len(x) != length:
        raise ValueError(f"{name} must have {length} elements, got {len(x)}")
    return x


@contract(Exact(), nan="local")
def robust_scale(X, center=None, scale=None):
    """Subtract the center from each column, and divide by the scale.

    Parameters
    ----------
    X : float16, float32 or float64 array of shape (rows, features)
        May hold NaN.
    center, scale : array of real numbers of shape (features,), optional

    Returns
    -------
    array of the shape and type of `X`

    Raises
    ------
    TypeError, ValueError
        The arrays are not of these types and shapes.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.estimators import robust_scale
    >>> robust_scale(np.array([[1.0, 2.0]]), [1, 1], [5, 4])
    array([[0.  , 0.25]])
    """
    X = _float_table(X)
    center = None if center is None else _of_length(center, "center", X.shape[1])
    scale = None if scale is None else _of_length(scale, "scale", X.shape[1])
    return run(robust_scale, X, center, scale)


@contract(
    Close(rtol=1e-12), note="1e-6 for float32, 1e-3 for float16", nan="local", infinity="value"
)
def quantile_places(X, quantiles, references, *, normal=False):
    """Where each value lies among the quantiles of its column, from 0 to 1.

    Parameters
    ----------
    X : float16, float32 or float64 array of shape (rows, features)
        NaN stays NaN.
    quantiles : array of real numbers of shape (quantiles, features)
        In ascending order.
    references : array of real numbers of shape (quantiles,)
        The place of each quantile.
    normal : bool, optional
        Give the quantiles of the normal distribution for these places, within 5.2.

    Returns
    -------
    array of the shape and type of `X`

    Raises
    ------
    TypeError, ValueError
        The arrays are not of these types and shapes.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.estimators import quantile_places
    >>> quantile_places(np.array([[5.0], [2.5]]), [[0], [5], [10]], [0, 0.5, 1])
    array([[0.5 ],
           [0.25]])
    """
    flags(normal=normal)
    X = _float_table(X)
    quantiles = finite_array(quantiles, "quantiles", ndim=2).astype(np.float64)
    if quantiles.shape[1] != X.shape[1]:
        raise ValueError(f"quantiles must have the {X.shape[1]} features of X, "
                         f"got shape {quantiles.shape}")  # fmt: skip
    references = _of_length(references, "references", len(quantiles)).astype(np.float64)
    return run(quantile_places, X, quantiles, references, bool(normal))


@contract(Exact(), nan="refuse")
def polynomial_table(X, degree=2, *, interaction_only=False, include_bias=True):
    """Products of the features of each row, of all degrees up to one.

    Parameters
    ----------
    X : float16, float32 or float64 array of shape (rows, features)
    degree : int, optional
        The highest degree.
    interaction_only : bool, optional
        Leave out products in which a feature comes twice.
    include_bias : bool, optional
        Give the product of no feature too, which is 1.

    Returns
    -------
    array of shape (rows, products), of the type of `X`
        In the order of `sklearn.preprocessing.PolynomialFeatures`. `gpuseg.features.polynomial`
        gives the same for images.

    Raises
    ------
    TypeError, ValueError
        `X` is not of these types, has not two axes, or holds NaN or infinity; `degree` is
        negative, or leaves no product.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.estimators import polynomial_table
    >>> polynomial_table(np.array([[2.0, 3.0]]))
    array([[1., 2., 3., 4., 6., 9.]])
    """
    from ..features.channels import products

    flags(interaction_only=interaction_only, include_bias=include_bias)

    X = _float_table(X, finite=True)
    products(X.shape[1], degree, interaction_only, include_bias)  # checks
    terms = _terms(X.shape[1], degree, bool(interaction_only), bool(include_bias))
    return run(polynomial_table, X, *terms)


@functools.lru_cache(maxsize=16)
def _terms(features, degree, interaction_only, include_bias):
    """Each product as the column of a shorter one and the feature that it is multiplied by."""
    choose = itertools.combinations if interaction_only else (
        itertools.combinations_with_replacement
    )  # fmt: skip
    terms = [t for d in range(not include_bias, degree + 1) for t in choose(range(features), d)]
    columns = {term: i for i, term in enumerate(terms)}
    # scikit-learn multiplies by the first feature last.
    parents = [columns[t[1:]] if len(t) > 1 else -1 for t in terms]
    factors = [t[0] if t else -1 for t in terms]
    return np.array(parents, np.int32), np.array(factors, np.int32)


class RobustScaler(Saved, preprocessing.RobustScaler):
    """scikit-learn's scaler by median and quartiles, which are applied by `robust_scale`.

    Parameters and attributes are those of `sklearn.preprocessing.RobustScaler`. Sparse tables, and
    what is to be done in place (``copy=False``), are served by scikit-learn.

    Examples
    --------
    >>> from gpuseg.estimators import RobustScaler
    >>> RobustScaler().fit_transform([[1.0], [2.0], [3.0], [4.0], [9.0]]).ravel().tolist()
    [-1.0, -0.5, 0.0, 0.5, 3.0]
    """

    _STATE: ClassVar = {"center_": ("f", "n"), "scale_": ("f", "n")}

    def _wrong(self) -> str:
        if (self.center_ is None) == self.with_centering:
            return "center_ does not fit with_centering"
        if (self.scale_ is None) == self.with_scaling:
            return "scale_ does not fit with_scaling"
        if self.scale_ is not None and not (self.scale_ > 0).all():
            return "scale_ must be above 0"
        return ""

    def fit(self, X, y=None):
        return super().fit(on_host(X), y)

    def transform(self, X):
        """Centre and scale the columns.

        Parameters
        ----------
        X : array of shape (rows, features)

        Returns
        -------
        array of the same shape
        """
        check_is_fitted(self)
        X = on_host(X)
        reason = "sparse tables" if issparse(X) else "" if self.copy else "copy=False"
        if reason:
            return scikit_learn(lambda: super(RobustScaler, self).transform(X), reason)
        X = validate_data(self, X, dtype=_FLOATS, reset=False, ensure_all_finite="allow-nan")
        return run(
            robust_scale, X,
            self.center_ if self.with_centering else None,
            self.scale_ if self.with_scaling else None,
        )  # fmt: skip


class QuantileTransformer(Saved, preprocessing.QuantileTransformer):
    """scikit-learn's transformer to equal or normal distribution, applied by `quantile_places`.

    Parameters and attributes are those of `sklearn.preprocessing.QuantileTransformer`. Sparse
    tables, and what is to be done in place (``copy=False``), are served by scikit-learn.

    Examples
    --------
    >>> from gpuseg.estimators import QuantileTransformer
    >>> scaler = QuantileTransformer(n_quantiles=3).fit([[0.0], [5.0], [10.0]])
    >>> scaler.transform([[2.5], [100.0]]).ravel().tolist()
    [0.25, 1.0]
    """

    _STATE: ClassVar = {"quantiles_": ("f", "qn"), "references_": ("f", "q")}
    _NUMBERS: ClassVar = {"n_features_in_": "iu", "n_quantiles_": "iu"}

    def _wrong(self) -> str:
        if self.quantiles_ is None or self.references_ is None:
            return "quantiles_ or references_ are missing"
        if not 0 < len(self.references_) == self.n_quantiles_:
            return "n_quantiles_ does not fit quantiles_"
        if (np.diff(self.quantiles_, axis=0) < 0).any():
            return "quantiles_ must not fall"
        places = self.references_
        if not 0 <= places[0] <= places[-1] <= 1 or (np.diff(places) <= 0).any():
            return "references_ must rise from 0 to 1"
        return ""

    def fit(self, X, y=None):
        return super().fit(on_host(X), y)

    def transform(self, X):
        """Where each value lies among the quantiles of its column.

        Parameters
        ----------
        X : array of shape (rows, features)

        Returns
        -------
        array of the same shape
        """
        check_is_fitted(self)
        X = on_host(X)
        reason = "sparse tables" if issparse(X) else "" if self.copy else "copy=False"
        if not reason and not np.isfinite(self.quantiles_).all():
            reason = "columns of NaN"
        if reason:
            return scikit_learn(lambda: super(QuantileTransformer, self).transform(X), reason)
        X = validate_data(self, X, dtype=_FLOATS, reset=False, ensure_all_finite="allow-nan")
        normal = self.output_distribution == "normal"
        return run(quantile_places, X, self.quantiles_, self.references_, normal)


class PolynomialFeatures(Saved, preprocessing.PolynomialFeatures):
    """scikit-learn's products of features, made by `polynomial_table`.

    Parameters and attributes are those of `sklearn.preprocessing.PolynomialFeatures`. Sparse
    tables, a lowest degree above 1 and ``order="F"`` are served by scikit-learn.

    Examples
    --------
    >>> from gpuseg.estimators import PolynomialFeatures
    >>> PolynomialFeatures().fit_transform([[2.0, 3.0]])
    array([[1., 2., 3., 4., 6., 9.]])
    """

    _NUMBERS: ClassVar = dict.fromkeys(
        ("n_features_in_", "n_output_features_", "_n_out_full", "_min_degree", "_max_degree"), "iu"
    )

    def _wrong(self) -> str:
        from ..features.channels import count_products
        from ..features.transformers import MOST_CHANNELS

        given = self.degree, self.interaction_only, self.include_bias
        count_products(self.n_features_in_, *given, most=MOST_CHANNELS)  # a fit has no such bound
        # A fit looks at nothing but the number of features.
        again = type(self)(**self.get_params()).fit(np.empty((1, self.n_features_in_), np.bool_))
        wrong = [name for name in self._NUMBERS if getattr(self, name) != getattr(again, name)]
        return f"{wrong[0]} is not that" if wrong else ""

    def fit(self, X, y=None):
        return super().fit(on_host(X), y)

    def transform(self, X):
        """The products of the features of each row.

        Parameters
        ----------
        X : array of shape (rows, features)

        Returns
        -------
        array of shape (rows, products)
        """
        check_is_fitted(self)
        X = on_host(X)
        reason = "sparse tables" if issparse(X) else "" if self.order == "C" else "order='F'"
        if not reason and (self._min_degree > 1 or self._max_degree < 1):
            reason = f"degree={self.degree}"
        if not reason and self._min_degree and not self.n_output_features_:
            reason = "no products"
        if reason:
            return scikit_learn(lambda: super(PolynomialFeatures, self).transform(X), reason)
        X = validate_data(self, X, dtype=_FLOATS, reset=False)
        terms = _terms(X.shape[1], self._max_degree, self.interaction_only, self.include_bias)
        return run(polynomial_table, X, *terms)
