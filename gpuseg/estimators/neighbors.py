"""Nearest neighbours: scikit-learn keeps the references, kernels of ours find the nearest."""

from __future__ import annotations

import numbers

import numpy as np
from scipy.sparse import issparse
from sklearn import neighbors
from sklearn.utils.validation import check_is_fitted, validate_data

from .._backend import choose, run
from .._checks import finite_array, integer, option
from .._contracts import Exact, contract
from ._base import names_in, on_host, part, plain, scikit_learn, take_names_in

# Beyond these, scikit-learn's matrix products are faster than comparing row with row.
_MOST_FEATURES = {"cpu": 15, "cuda": 32, "sim": 32}
_MOST_NEIGHBORS = 32

_METRICS = {
    "euclidean": "euclidean",
    "l2": "euclidean",
    "manhattan": "manhattan",
    "l1": "manhattan",
    "cityblock": "manhattan",
}


@contract(Exact(), nan="refuse")
def nearest_neighbors(X, references, k, *, metric="euclidean"):
    """Find the k nearest references of each row, nearest first.

    Parameters
    ----------
    X : array of real numbers of shape (rows, features)
    references : array of real numbers of shape (references, features)
    k : int
        How many, at most as many as there are references. On a GPU at most 32; the CPU serves
        more.
    metric : {'euclidean', 'manhattan'}, optional

    Returns
    -------
    distances : float64 array of shape (rows, k)
    indices : int64 array of shape (rows, k)
        Which references these are. Of equally near ones, those with smaller indices come first.

    Raises
    ------
    TypeError, ValueError
        `X` or `references` are no arrays of finite real numbers with two axes and as many
        features, `k` is less than 1 or more than there are references, `metric` is another.

    Notes
    -----
    NaN and infinity are refused.

    Every distance is computed from the differences, in float64 and in the order of the features,
    so that each row has the same result in any array, on every backend and number of threads. The
    CPU looks for them in a k-d tree [1]_, and a GPU compares each row with every reference.

    Beside input and result it takes 8 bytes for each feature of a row, if `X` is not float64, and
    for a reference 16 bytes for each feature (24, if they are not float64) and 20 more.

    References
    ----------
    .. [1] J.H. Friedman, J.L. Bentley, R.A. Finkel, "An algorithm for finding best matches in
           logarithmic expected time", ACM Transactions on Mathematical Software 3(3), 1977.
           :doi:`10.1145/355744.355745`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.estimators import nearest_neighbors
    >>> distances, indices = nearest_neighbors([[0, 0], [3, 4]], [[3, 3], [0, 4], [0, 9]], 2)
    >>> distances
    array([[4.        , 4.24264069],
           [1.        , 3.        ]])
    >>> indices
    array([[1, 0],
           [0, 1]])
    """
    X = finite_array(X, "X", ndim=2)
    references = finite_array(references, "references", ndim=2)
    if X.shape[1] != references.shape[1]:
        raise ValueError(
            f"X and references must have as many features, got {X.shape[1]} and "
            f"{references.shape[1]}"
        )
    k = integer(k, "k", at_least=1, at_most=len(references))
    option(metric, "metric", ("euclidean", "manhattan"))
    return run(nearest_neighbors, X, references, k, metric)


class _Nearest:
    """`kneighbors` by `nearest_neighbors`, for what scikit-learn fitted."""

    def _unserved(self, X) -> str:
        """Why `nearest_neighbors` does not serve these rows; empty where it does."""
        if issparse(X) or issparse(self._fit_X):
            return "sparse tables"
        if not isinstance(self._fit_X, np.ndarray):
            return "references that are a tree"
        if self.effective_metric_ not in _METRICS or self.effective_metric_params_:
            return f"metric {self.effective_metric_!r} with {self.effective_metric_params_}"
        most = _MOST_FEATURES[choose((X,))[0].kind]
        if self._fit_X.shape[1] > most:
            return f"more than {most} features: {self._fit_X.shape[1]}"
        return ""

    def _unserved_count(self, k) -> str:
        if not isinstance(k, numbers.Integral) or k < 1:
            return f"n_neighbors={k!r}"
        return f"more than {_MOST_NEIGHBORS} neighbours: {k}" if k > _MOST_NEIGHBORS else ""

    def kneighbors(self, X=None, n_neighbors=None, return_distance=True):  # noqa: FBT002
        """Find the nearest references of each row, by `nearest_neighbors`.

        Parameters
        ----------
        X : array of shape (rows, features), optional
            By default the references themselves, none of which is its own neighbour.
        n_neighbors : int, optional
            By default that of the estimator.
        return_distance : bool, optional

        Returns
        -------
        distances : float64 array of shape (rows, n_neighbors)
            Left out if `return_distance` is false.
        indices : int64 array of shape (rows, n_neighbors)
            Of equally near references those with smaller indices come first; scikit-learn's
            order depends on its algorithm, and it may choose others among the last.
        """
        check_is_fitted(self)
        X = on_host(X)
        k = self.n_neighbors if n_neighbors is None else n_neighbors
        count = self.n_samples_fit_ - (X is None)
        reason = self._unserved(X) or self._unserved_count(k)
        if not reason and k > count:
            reason = "there are too few references"  # scikit-learn says so
        if reason:
            return scikit_learn(
                lambda: super(_Nearest, self).kneighbors(X, n_neighbors, return_distance), reason
            )
        metric = _METRICS[self.effective_metric_]
        if X is None:
            found = self._nearest(self._fit_X, k + 1, metric)
            distances, indices = _without_themselves(*found)
        else:
            X = validate_data(self, X, reset=False, order="C")
            distances, indices = self._nearest(X, k, metric)
        return (distances, indices) if return_distance else indices

    def _nearest(self, X, k, metric):
        return run(nearest_neighbors, X, self._fit_X, k, metric)

    # --- a fitted estimator as arrays

    def _arrays(self) -> dict[str, np.ndarray]:
        check_is_fitted(self)
        if not isinstance(self._fit_X, np.ndarray):
            raise TypeError("an estimator fitted to a sparse table or a tree cannot be saved")
        return {"references": self._fit_X, "targets": plain(self._targets())} | names_in(self)

    @classmethod
    def _from_arrays(cls, params: dict, arrays: dict[str, np.ndarray]):
        sizes: dict[str, int] = {}
        references = part(arrays, "references", "f", "rn", sizes=sizes)
        targets = part(arrays, "targets", "biufU", "r", "ro", sizes=sizes)
        self = cls(**params)
        if isinstance(self.n_neighbors, int) and self.n_neighbors > len(references):
            raise ValueError(f"there are {len(references)} references for {self.n_neighbors}")
        self.fit(references, targets)
        # Whether a metric can be taken with its parameters, only scikit-learn knows.
        distances, _ = super(_Nearest, self).kneighbors(references[:1])
        if not np.isfinite(distances).all():
            raise ValueError(f"metric {self.metric!r} gives distances that are not finite")
        take_names_in(self, arrays)
        return self


def _without_themselves(distances, indices):
    """Leave out each row's own index, or the last if k others are just as near."""
    count, k = indices.shape
    out = indices == np.arange(count)[:, None]
    out[~out.any(axis=1), -1] = True
    return (part[~out].reshape(count, k - 1) for part in (distances, indices))


def _weights(distances):
    """The inverse of the distances; where there are zeros, these alone count."""
    with np.errstate(divide="ignore"):
        weights = 1.0 / distances
    endless = np.isinf(weights)
    rows = endless.any(axis=1)
    weights[rows] = endless[rows]
    return weights


class KNeighborsClassifier(_Nearest, neighbors.KNeighborsClassifier):
    """scikit-learn's classifier of nearest neighbours, which are found by `nearest_neighbors`.

    Parameters and attributes are those of `sklearn.neighbors.KNeighborsClassifier`. Up to 32
    neighbours in up to 15 features (32 on a GPU), Euclidean or Manhattan, are found by our kernels,
    whatever `algorithm`, on all cores, or ``GPUSEG_NUM_THREADS``; scikit-learn serves the rest.
    Its matrix products are faster there, and less exact.

    Examples
    --------
    >>> from gpuseg.estimators import KNeighborsClassifier
    >>> KNeighborsClassifier(1).fit([[0], [1], [2]], ["a", "b", "c"]).predict([[0.2], [1.9]])
    array(['a', 'c'], dtype='<U1')
    """

    def _votes(self, X):
        """The sum of the weights of each class, an array an output; or why there is none."""
        check_is_fitted(self)
        reason = self._unserved(X) or self._unserved_count(self.n_neighbors)
        if self.weights not in {None, "uniform", "distance"}:
            reason = reason or "weights that are a function"
        if reason:
            return None, reason
        if self.weights == "distance":
            distances, indices = self.kneighbors(X)
            weights = _weights(distances)
            if not weights.any(axis=1).all():
                return None, "neighbours beyond the range of float64"
        else:
            indices = self.kneighbors(X, return_distance=False)
            weights = np.ones(indices.shape, np.float32)
        several = self.classes_ if self.outputs_2d_ else [self.classes_]
        targets = self._y if self.outputs_2d_ else self._y[:, None]
        rows, votes = np.arange(len(indices)), []
        for k, classes in enumerate(several):
            votes.append(np.zeros((len(indices), len(classes))))
            for neighbor, weight in zip(indices.T, weights.T):
                votes[-1][rows, targets[neighbor, k]] += weight
        return votes, ""

    def predict(self, X):
        """The class of most weight among the neighbours, the first of equals.

        Parameters
        ----------
        X : array of shape (rows, features), or None
            None stands for the references, none of which is its own neighbour.

        Returns
        -------
        array of shape (rows,) or (rows, outputs)
        """
        X = on_host(X)
        votes, reason = self._votes(X)
        if reason:
            return scikit_learn(lambda: super(KNeighborsClassifier, self).predict(X), reason)
        if not self.outputs_2d_:
            return self.classes_.take(votes[0].argmax(axis=1))
        found = [c.take(v.argmax(axis=1)) for c, v in zip(self.classes_, votes)]
        return np.stack(found, axis=1).astype(self.classes_[0].dtype, copy=False)

    def predict_proba(self, X):
        """The share of each class in the weight of the neighbours.

        Parameters
        ----------
        X : array of shape (rows, features), or None
            None stands for the references, none of which is its own neighbour.

        Returns
        -------
        float64 array of shape (rows, classes), or a list of them, one an output
        """
        X = on_host(X)
        votes, reason = self._votes(X)
        if reason:
            return scikit_learn(lambda: super(KNeighborsClassifier, self).predict_proba(X), reason)
        for share in votes:
            share /= share.sum(axis=1)[:, None]
        return votes if self.outputs_2d_ else votes[0]

    def _targets(self):
        if not self.outputs_2d_:
            return self.classes_[self._y]
        return np.stack([c[y] for c, y in zip(self.classes_, self._y.T)], axis=1)


class KNeighborsRegressor(_Nearest, neighbors.KNeighborsRegressor):
    """scikit-learn's regression by nearest neighbours, which are found by `nearest_neighbors`.

    Parameters and attributes are those of `sklearn.neighbors.KNeighborsRegressor`. Up to 32
    neighbours in up to 15 features (32 on a GPU), Euclidean or Manhattan, are found by our kernels,
    whatever `algorithm`, on all cores, or ``GPUSEG_NUM_THREADS``; scikit-learn serves the rest.
    Its matrix products are faster there, and less exact.

    Examples
    --------
    >>> from gpuseg.estimators import KNeighborsRegressor
    >>> KNeighborsRegressor(2).fit([[0], [1], [4]], [10, 20, 50]).predict([[0.2], [3.0]])
    array([15., 35.])
    """

    def _targets(self):
        return self._y
