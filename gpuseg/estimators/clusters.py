"""k-means: scikit-learn draws the first centers, kernels of ours move them."""

from __future__ import annotations

import warnings
from typing import ClassVar

import numpy as np
from scipy.sparse import issparse
from sklearn import cluster
from sklearn.base import _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, check_random_state
from sklearn.utils.extmath import row_norms
from sklearn.utils.validation import check_is_fitted, validate_data

from .._backend import run
from .._checks import finite_array, integer, number
from .._contracts import Close, Exact, contract
from ._base import Saved, on_host, scikit_learn


@contract(Exact(), note="inertia to 1e-6", nan="refuse")
def lloyd(X, inits, max_iter=300, tol=1e-4):
    """Move centers to the means of the rows nearest to them, until they stay.

    Parameters
    ----------
    X : float32 array of shape (rows, features)
    inits : array of real numbers of shape (runs, clusters, features)
        The first centers of each run.
    max_iter : int, optional
        Most steps.
    tol : number, optional
        A run ends where the sum of squares of the moves of its centers is at most `tol` times the
        mean variance of the features.

    Returns
    -------
    labels : int32 array of shape (rows,)
    centers : float32 array of shape (clusters, features)
    inertia : float
        The sum of squared distances.
    n_iter : int
        Steps of the run that came nearest, to which all this belongs.

    Raises
    ------
    TypeError, ValueError
        `X` is not float32, or a shape or number is none of these.

    Notes
    -----
    NaN and infinity are refused.

    As `gpuseg.segmentation.kmeans`: features are rounded to 2**-24 of their range for the means,
    so that they are the same on every backend and number of threads. Labels are those of the rows
    as they are.

    Beside `X` it needs 4 bytes for each feature of a row, and 8 a row.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.estimators import lloyd
    >>> labels, centers, inertia, n_iter = lloyd(
    ...     np.array([[0], [2], [8], [9]], np.float32), [[[0], [1]]]
    ... )
    >>> labels, centers.ravel(), inertia
    (array([0, 0, 1, 1], dtype=int32), array([1. , 8.5], dtype=float32), 2.5)
    """
    X = finite_array(X, "X", ndim=2)
    if X.dtype != np.float32:
        raise TypeError(f"X must be float32, got {X.dtype}")
    inits = finite_array(inits, "inits", ndim=3)
    if inits.shape[2] != X.shape[1]:
        raise ValueError(f"inits must have the {X.shape[1]} features of X, got shape {inits.shape}")
    max_iter = integer(max_iter, "max_iter", at_least=1)
    return run(lloyd, X, inits, max_iter, float(number(tol, "tol", at_least=0)))


@contract(Exact(), nan="refuse")
def nearest_centers(X, centers):
    """Find the nearest center of each row, the first of equals, and the squared distance to it.

    Parameters
    ----------
    X : float32 array of shape (rows, features)
    centers : float32 array of shape (clusters, features)

    Returns
    -------
    labels : int32 array of shape (rows,)
    squares : float32 array of shape (rows,)

    Raises
    ------
    TypeError, ValueError
        An array is not float32, holds NaN or infinity, or has another shape.

    Notes
    -----
    Beside `X` it needs 4 bytes for each feature of a row.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.estimators import nearest_centers
    >>> nearest_centers(np.array([[1], [7]], np.float32), np.array([[0], [8]], np.float32))
    (array([0, 1], dtype=int32), array([1., 1.], dtype=float32))
    """
    X, centers = _pair(X, centers)
    for name, x in (("X", X), ("centers", centers)):
        if x.dtype != np.float32:
            raise TypeError(f"{name} must be float32, got {x.dtype}")
    return run(nearest_centers, X, centers)


@contract(
    Close(rtol=1e-15), note="exact where the device rounds square roots correctly", nan="refuse"
)
def center_distances(X, centers):
    """The Euclidean distance of each row to each center.

    Parameters
    ----------
    X : float32 or float64 array of shape (rows, features)
    centers : array of real numbers of shape (clusters, features)

    Returns
    -------
    array of shape (rows, clusters), of the type of `X`
        From differences in float64, each row for itself.

    Raises
    ------
    TypeError, ValueError
        The arrays are not of these types and shapes, or hold NaN or infinity.

    Notes
    -----
    Beside the result it needs 8 bytes for each feature, and 60 more, of 16384 rows.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.estimators import center_distances
    >>> center_distances(np.array([[3.0, 4.0]]), np.array([[0, 0], [3, 5]]))
    array([[5., 1.]])
    """
    X, centers = _pair(X, centers)
    if X.dtype not in (np.float32, np.float64):
        raise TypeError(f"X must be float32 or float64, got {X.dtype}")
    return run(center_distances, X, centers)


def _pair(X, centers):
    X, centers = finite_array(X, "X", ndim=2), finite_array(centers, "centers", ndim=2)
    if X.shape[1] != centers.shape[1]:
        raise ValueError(
            f"X and centers must have as many features, got {X.shape[1]} and {centers.shape[1]}"
        )
    return X, centers


class KMeans(Saved, cluster.KMeans):
    """scikit-learn's k-means, with the steps of float32 tables by `lloyd`.

    Parameters and attributes are those of `sklearn.cluster.KMeans`. The first centers are those
    that scikit-learn draws for the same `random_state`. Tables of float64, sample weights, Elkan's
    algorithm and a report of the steps (`verbose`) are served by scikit-learn.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.estimators import KMeans
    >>> X = np.array([[0], [2], [8], [9]], np.float32)
    >>> KMeans(2, init=X[:2], n_init=1).fit(X).cluster_centers_.ravel()
    array([1. , 8.5], dtype=float32)
    """

    _STATE: ClassVar = {"cluster_centers_": ("f", "kn"), "labels_": ("i", "r")}
    _NUMBERS: ClassVar = {
        "n_features_in_": "iu",
        "inertia_": "f",
        "n_iter_": "iu",
        "_n_features_out": "iu",
        "_n_threads": "iu",
    }

    def _unserved(self, X, sample_weight=None) -> str:
        if issparse(X):
            return "sparse tables"
        if getattr(X, "dtype", None) != np.float32:
            return "tables that are not float32"
        if sample_weight is not None:
            return "sample weights"
        if self.algorithm != "lloyd":
            return f"algorithm {self.algorithm!r}"
        return "verbose" if self.verbose else ""

    def fit(self, X, y=None, sample_weight=None):
        """Find the clusters, by `lloyd` for float32 tables.

        Parameters
        ----------
        X : array of shape (rows, features)
        y : ignored
        sample_weight : array of shape (rows,), optional

        Returns
        -------
        self
        """
        X = on_host(X)
        reason = self._unserved(X, sample_weight)
        if reason:
            return scikit_learn(lambda: super(KMeans, self).fit(X, y, sample_weight), reason)
        return self._fit_lloyd(X)

    @_fit_context(prefer_skip_nested_validation=True)
    def _fit_lloyd(self, X):
        X = validate_data(self, X, dtype=np.float32, order="C")
        self._check_params_vs_input(X)
        inits = self._inits(X)
        labels, centers, inertia, n_iter = run(lloyd, X, inits, self.max_iter, float(self.tol))
        found = len(np.unique(labels))
        if found < self.n_clusters:
            warnings.warn(
                f"Number of distinct clusters ({found}) found smaller than n_clusters "
                f"({self.n_clusters}). Possibly due to duplicate points in X.",
                ConvergenceWarning,
                stacklevel=4,
            )
        self.labels_, self.cluster_centers_, self.inertia_ = labels, centers, inertia
        self.n_iter_, self._n_features_out, self._n_threads = n_iter, len(centers), 1
        return self

    def _wrong(self) -> str:
        if self.cluster_centers_ is None or self.labels_ is None:
            return "cluster_centers_ or labels_ are missing"
        if not 0 < len(self.cluster_centers_) == self._n_features_out or self._n_threads < 1:
            return "the numbers do not fit the centers"
        count = len(self.cluster_centers_)
        if self.labels_.size and not 0 <= self.labels_.min() <= self.labels_.max() < count:
            return f"labels_ must be from 0 to {count - 1}"
        return ""

    def _inits(self, X):
        """The first centers of each run, as scikit-learn draws them."""
        if not isinstance(self.init, str) and not callable(self.init):
            init = check_array(self.init, dtype=X.dtype, order="C")
            self._validate_center_shape(X, init)
            return init[None]
        random_state = check_random_state(self.random_state)
        mean = X.mean(axis=0)
        away = X - mean
        chosen = [
            self._init_centroids(
                away,
                x_squared_norms=row_norms(away, squared=True),
                init=self.init,
                random_state=random_state,
                sample_weight=np.ones(len(X), X.dtype),
            )
            for _ in range(self._n_init)
        ]
        return np.stack(chosen) + mean

    def predict(self, X):
        """The nearest center of each row.

        Parameters
        ----------
        X : array of shape (rows, features)

        Returns
        -------
        int32 array of shape (rows,)
        """
        check_is_fitted(self)
        X = on_host(X)
        reason = self._unserved(X)
        if not reason and self.cluster_centers_.dtype != np.float32:
            reason = "centers that are not float32"
        if reason:
            return scikit_learn(lambda: super(KMeans, self).predict(X), reason)
        return run(nearest_centers, self._check_test_data(X), self.cluster_centers_)[0]

    def _transform(self, X):
        if issparse(X):
            return scikit_learn(lambda: super(KMeans, self)._transform(X), "sparse tables")
        X = self._check_test_data(on_host(X))  # from `fit_transform` it comes as it was given
        return run(center_distances, X, self.cluster_centers_)
