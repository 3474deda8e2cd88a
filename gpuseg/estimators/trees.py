"""Decision trees and random forests: scikit-learn learns, kernels of ours predict."""

from __future__ import annotations

import functools
import weakref
from dataclasses import dataclass, fields

import numpy as np
from scipy.sparse import issparse
from sklearn import ensemble, tree
from sklearn.base import is_classifier
from sklearn.utils.validation import _check_n_features, check_is_fitted, validate_data

from .._backend import run
from .._checks import real_array
from .._contracts import Exact, contract
from ._base import names_in, on_host, part, plain, take_names_in

# Values of a sparse table that are made dense at a time.
_DENSE = 1 << 22


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees as plain arrays: what a prediction needs of a fitted estimator.

    A place is the number of a node that splits, or ``-1 - leaf``. A row goes to the right child
    of a node where its feature is greater than the threshold.

    Parameters
    ----------
    thresholds : float32 array of shape (nodes,)
    features : int32 array of shape (nodes,)
    children : int32 array of shape (nodes, 2)
        The places left and right of a node: those of nodes come after it.
    missing_right : bool array of shape (nodes,)
        Where a missing value goes right.
    roots : int32 array of shape (trees,)
        The place where each tree begins.
    values : float64 array of shape (leaves, outputs)
        What each leaf says: the share of each class, or the target.
    n_features : int
        How many features a row must have.

    Raises
    ------
    TypeError, ValueError
        The arrays are not of these types and shapes, a node leads out of them or back, a threshold
        is NaN, or a leaf says NaN or infinity.

    Examples
    --------
    >>> from sklearn.tree import DecisionTreeRegressor
    >>> Forest.from_sklearn(DecisionTreeRegressor().fit([[0], [1], [2]], [5, 5, 7])).thresholds
    array([1.5], dtype=float32)
    """

    thresholds: np.ndarray
    features: np.ndarray
    children: np.ndarray
    missing_right: np.ndarray
    roots: np.ndarray
    values: np.ndarray
    n_features: int

    def __post_init__(self):
        for name, (dtype, shape) in {
            "thresholds": (np.float32, (-1,)),
            "features": (np.int32, (-1,)),
            "children": (np.int32, (-1, 2)),
            "missing_right": (np.bool_, (-1,)),
            "roots": (np.int32, (-1,)),
            "values": (np.float64, (-1, -1)),
        }.items():
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != dtype:
                kind = getattr(array, "dtype", type(array).__name__)
                raise TypeError(f"{name} must be an array of {np.dtype(dtype)}, got {kind}")
            if array.ndim != len(shape) or any(
                b not in {-1, a} for a, b in zip(array.shape, shape)
            ):
                raise ValueError(f"{name} has a wrong shape for a forest: {array.shape}")
            object.__setattr__(self, name, np.ascontiguousarray(array))
        nodes, leaves = len(self.thresholds), len(self.values)
        if {len(self.features), len(self.children), len(self.missing_right)} != {nodes}:
            raise ValueError("thresholds, features, children and missing_right differ in length")
        if not self.values.size or not len(self.roots) or self.n_features < 1:
            raise ValueError("a forest needs a tree, a leaf, an output and a feature")
        if nodes and not 0 <= self.features.min() <= self.features.max() < self.n_features:
            raise ValueError(f"features of nodes must be from 0 to {self.n_features - 1}")
        if np.isnan(self.thresholds).any() or not np.isfinite(self.values).all():
            raise ValueError("thresholds must not be NaN, and values of leaves must be finite")
        places = np.concatenate([self.roots, self.children.ravel()])
        if not -leaves <= places.min() <= places.max() < nodes:
            raise ValueError(f"a place is neither one of {nodes} nodes nor of {leaves} leaves")
        # What only leads onwards comes to an end.
        at = np.arange(nodes, dtype=np.int32)[:, None]
        if ((self.children >= 0) & (self.children <= at)).any():
            raise ValueError("a node leads back to itself or to one before it")

    @classmethod
    def from_sklearn(cls, estimator) -> Forest:
        """The trees of a fitted tree or forest of scikit-learn, or of this module.

        Parameters
        ----------
        estimator : fitted estimator
            With ``tree_``, or with ``estimators_`` that have one.

        Returns
        -------
        Forest
            Thresholds are the largest float32 numbers that are not above those of `estimator`:
            float32 rows reach the same leaves.
        """
        check_is_fitted(estimator)
        return cls._from_trees(_trees(estimator), estimator.n_features_in_)

    @classmethod
    def _from_trees(cls, trees, n_features: int) -> Forest:
        parts, nodes, leaves = [], 0, 0
        for one in trees:
            state = one.__getstate__()
            table = state["nodes"]
            leaf = table["left_child"] < 0
            place = np.where(leaf, -leaves - np.cumsum(leaf), nodes - 1 + np.cumsum(~leaf))
            inner = table[~leaf]
            parts.append((
                _not_above(inner["threshold"]),
                inner["feature"],
                np.stack([place[inner["left_child"]], place[inner["right_child"]]], axis=1),
                inner["missing_go_to_left"] == 0,
                place[:1],
                state["values"][leaf].reshape(np.count_nonzero(leaf), -1),
            ))  # fmt: skip
            nodes, leaves = nodes + len(inner), leaves + np.count_nonzero(leaf)
        if max(nodes, leaves) >= 2**31:
            raise ValueError(f"the forest has {nodes} nodes: more than 2**31 cannot be numbered")
        types = (np.float32, np.int32, np.int32, np.bool_, np.int32, np.float64)
        arrays = [np.concatenate(part).astype(kind) for part, kind in zip(zip(*parts), types)]
        return cls(*arrays, n_features=int(n_features))

    def arrays(self) -> dict[str, np.ndarray]:
        """All that the forest is, as arrays by name.

        Returns
        -------
        dict of str to numpy.ndarray
        """
        return {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Forest:
        """The forest of what `arrays` gave.

        Parameters
        ----------
        arrays : dict of str to numpy.ndarray

        Returns
        -------
        Forest
        """
        *names, count = (field.name for field in fields(cls))
        for name in names:
            if name not in arrays:
                raise ValueError(f"arrays of a fitted estimator must have {name}")
        tables = [np.asarray(arrays[name]) for name in names]
        return cls(*tables, n_features=part(arrays, count, "iu", "").item())

    @functools.cached_property
    def words(self) -> np.ndarray:
        """The nodes as the kernels read them."""
        from ..kernels.forest import node_words

        return node_words(self.thresholds, self.features, self.children, self.missing_right)

    @functools.cached_property
    def heaps(self):
        """The tops of the trees as the CPU's kernel reads them."""
        from ..kernels.forest import heaps

        return heaps(self.words, self.roots)

    @functools.cached_property
    def devices(self) -> dict:
        """The tables as the GPU's kernel reads them, for each device that has them."""
        return {}

    def __getstate__(self):
        return {field.name: getattr(self, field.name) for field in fields(self)}


def _not_above(thresholds):
    """The largest float32 that is not above each float64."""
    near = thresholds.astype(np.float32)
    return np.where(near > thresholds, np.nextafter(near, np.float32(-np.inf)), near)


@contract(Exact(), nan="local", infinity="value")
def forest_predict(X, forest):
    """The mean over the trees of what the leaves say of each row.

    Parameters
    ----------
    X : array of shape (rows, features)
        Of real numbers; used as float32. A row-major array and the transposed view of one are read
        as they are, whichever strides they have. NaN is a missing value.
    forest : Forest
        See `Forest.from_sklearn`.

    Returns
    -------
    float64 array of shape (rows, outputs)
        Sums over the trees are in float64 and in their order, as in scikit-learn with one job, so
        the result is the same whatever else is in `X`, on any number of threads.

    Raises
    ------
    TypeError, ValueError
        `X` is not of real numbers, has not two axes or not the features of the forest, or holds
        numbers beyond float32; `forest` is no `Forest`.

    Notes
    -----
    Takes 8 bytes for each row and output, and a megabyte for each thread; on a GPU also the forest:
    16 bytes a node, and 8 for each output of a leaf.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.estimators import DecisionTreeRegressor
    >>> forest = Forest.from_sklearn(DecisionTreeRegressor().fit([[0], [1], [2]], [5, 5, 7]))
    >>> forest_predict(np.array([[0.5], [1.6]]), forest)
    array([[5.],
           [7.]])
    """
    X = real_array(X, "X", ndim=2)
    if not isinstance(forest, Forest):
        raise TypeError(f"forest must be a Forest, got {type(forest).__name__}")
    if X.shape[1] != forest.n_features:
        raise ValueError(
            f"X has {X.shape[1]} features, and the forest was made for {forest.n_features}"
        )
    if X.dtype.itemsize == 8 and X.dtype.kind == "f":
        largest = np.finfo(np.float32).max
        if ((abs(X) > largest) & (abs(X) < np.inf)).any():
            raise ValueError("X holds numbers beyond the range of float32")
    return run(forest_predict, X.astype(np.float32, copy=False), forest)


# --- estimators -------------------------------------------------------------------------------

# The forest of a fitted estimator, with the trees that it was made of. Not in the estimator, which
# a prediction must not change.
_forests: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def _trees(estimator) -> list:
    """The trees that scikit-learn made; none for an estimator restored from arrays."""
    if hasattr(estimator, "tree_"):
        return [estimator.tree_]
    return [one.tree_ for one in getattr(estimator, "estimators_", ())]


class _Predicts:
    """Prediction by `forest_predict`, for trees and forests that scikit-learn fitted."""

    def _forest(self) -> Forest:
        trees = _trees(self)
        if not trees:
            return self._restored
        made_of, forest = _forests.get(self, ((), None))
        if len(made_of) != len(trees) or any(a is not b for a, b in zip(made_of, trees)):
            forest = Forest._from_trees(trees, self.n_features_in_)
            _forests[self] = trees, forest
        return forest

    def _rows(self, X, *, check_input=True):
        """float32 rows, checked as scikit-learn checks them."""
        check_is_fitted(self)
        X = on_host(X)
        if not check_input:
            _check_n_features(self, X, reset=False)
            return X
        allow_nan = self.__sklearn_tags__().input_tags.allow_nan and not issparse(X)
        return validate_data(
            self, X, dtype=np.float32, accept_sparse="csr", reset=False,
            ensure_all_finite="allow-nan" if allow_nan else True,
        )  # fmt: skip

    def _means(self, X):
        """What `forest_predict` says of checked rows, by outputs and their classes."""
        forest = self._forest()
        if issparse(X):
            rows = max(1, _DENSE // X.shape[1])
            pieces = [X[i : i + rows].toarray() for i in range(0, X.shape[0], rows)]
            found = np.concatenate([forest_predict(piece, forest) for piece in pieces])
        else:
            found = forest_predict(X, forest)
        return found.reshape(len(found), self.n_outputs_, -1)

    @property
    def feature_importances_(self):
        """The share of the impurity that each feature removes."""
        if _trees(self) or not hasattr(self, "_importances"):
            return super().feature_importances_
        return self._importances

    # --- a fitted estimator as arrays

    def _arrays(self) -> dict[str, np.ndarray]:
        """The fitted state: all that prediction needs, without the trees of scikit-learn."""
        check_is_fitted(self)
        arrays = self._forest().arrays()
        arrays["n_outputs"] = np.asarray(self.n_outputs_)
        arrays["feature_importances"] = np.asarray(self.feature_importances_)
        if hasattr(self, "classes_"):
            several = self.classes_ if self.n_outputs_ > 1 else [self.classes_]
            arrays["classes_are_objects"] = np.asarray(several[0].dtype == object)
            for i, classes in enumerate(several):
                arrays[f"classes_{i}"] = plain(classes)
        return arrays | names_in(self)

    @classmethod
    def _from_arrays(cls, params: dict, arrays: dict[str, np.ndarray]):
        """A fitted estimator that predicts the same bits; it can be fitted again."""
        self = cls(**params)
        forest = Forest.from_arrays(arrays)
        columns = forest.values.shape[1]
        outputs = part(arrays, "n_outputs", "iu", "").item()
        if not 1 <= outputs <= columns:
            raise ValueError(f"n_outputs does not fit {columns} values: {outputs}")
        self._restored, self.n_outputs_ = forest, outputs
        self.n_features_in_ = forest.n_features
        sizes = {"n": forest.n_features}
        self._importances = part(arrays, "feature_importances", "f", "n", sizes=sizes)
        if (self._importances < 0).any():
            raise ValueError("feature_importances must not be negative")
        widths = [1] * outputs
        if is_classifier(self):
            if (forest.values < 0).any():
                raise ValueError("values of leaves must not be negative: they are shares")
            classes = [part(arrays, f"classes_{i}", "biufU", "c") for i in range(outputs)]
            if not all(np.array_equal(values, np.unique(values)) for values in classes):
                raise ValueError("classes must differ from each other, and rise")
            if part(arrays, "classes_are_objects", "b", ""):
                classes = [values.astype(object) for values in classes]
            widths = [len(values) for values in classes]
            one = outputs == 1
            self.classes_ = classes[0] if one else classes
            self.n_classes_ = widths[0] if one else np.array(widths, np.intp)
        if columns != outputs * max(widths):
            raise ValueError(
                f"values of leaves have {columns} columns, and the classes of the outputs need "
                f"{outputs * max(widths)}"
            )
        take_names_in(self, arrays)
        return self


class _Classifies(_Predicts):
    """Classes, and the share of each, for one output or a list for several."""

    def _shares(self, X) -> list:
        means = self._means(X)
        counts = np.atleast_1d(self.n_classes_)
        return [np.ascontiguousarray(means[:, k, :n]) for k, n in enumerate(counts)]

    def _likely(self, X):
        shares = self._shares(X)
        several = self.classes_ if self.n_outputs_ > 1 else [self.classes_]
        found = [kinds.take(share.argmax(axis=1)) for kinds, share in zip(several, shares)]
        if len(found) == 1:
            return found[0]
        return np.stack(found, axis=1).astype(several[0].dtype)


class _Regresses(_Predicts):
    def _targets(self, X):
        means = self._means(X)[:, :, 0]
        return means[:, 0] if self.n_outputs_ == 1 else means


def _one_or_list(parts: list):
    return parts[0] if len(parts) == 1 else parts


class DecisionTreeClassifier(_Classifies, tree.DecisionTreeClassifier):
    """scikit-learn's decision tree, with prediction by `forest_predict`.

    Parameters and attributes are those of `sklearn.tree.DecisionTreeClassifier`, which learns the
    tree on the CPU, whatever the backend. A tree that was read from a model file has no ``tree_``.

    Examples
    --------
    >>> DecisionTreeClassifier().fit([[0], [1], [2], [3]], list("aabb")).predict([[0.4], [2.2]])
    array(['a', 'b'], dtype='<U1')
    """

    def predict(self, X, check_input=True):  # noqa: FBT002
        return self._likely(self._rows(X, check_input=check_input))

    def predict_proba(self, X, check_input=True):  # noqa: FBT002
        return _one_or_list(self._shares(self._rows(X, check_input=check_input)))


class DecisionTreeRegressor(_Regresses, tree.DecisionTreeRegressor):
    """scikit-learn's regression tree, with prediction by `forest_predict`.

    Parameters and attributes are those of `sklearn.tree.DecisionTreeRegressor`, which learns the
    tree on the CPU, whatever the backend. A tree that was read from a model file has no ``tree_``.

    Examples
    --------
    >>> DecisionTreeRegressor().fit([[0], [1], [2]], [5, 5, 7]).predict([[0.4], [1.6]])
    array([5., 7.])
    """

    def predict(self, X, check_input=True):  # noqa: FBT002
        return self._targets(self._rows(X, check_input=check_input))


class RandomForestClassifier(_Classifies, ensemble.RandomForestClassifier):
    """scikit-learn's random forest, with prediction by `forest_predict`.

    Parameters and attributes are those of `sklearn.ensemble.RandomForestClassifier`, which learns
    the trees on the CPU, whatever the backend, with `n_jobs` threads. Prediction takes
    all cores, or ``GPUSEG_NUM_THREADS``. A forest that was read from a model file has no
    ``estimators_``.

    Examples
    --------
    >>> forest = RandomForestClassifier(n_estimators=5, random_state=0)
    >>> forest.fit([[0], [1], [2], [3]], [0, 0, 1, 1]).predict([[0.1], [2.9]])
    array([0, 1])
    """

    def predict(self, X):
        return self._likely(self._rows(X))

    def predict_proba(self, X):
        return _one_or_list(self._shares(self._rows(X)))


class RandomForestRegressor(_Regresses, ensemble.RandomForestRegressor):
    """scikit-learn's regression forest, with prediction by `forest_predict`.

    Parameters and attributes are those of `sklearn.ensemble.RandomForestRegressor`, which learns
    the trees on the CPU, whatever the backend, with `n_jobs` threads. Prediction takes all cores,
    or ``GPUSEG_NUM_THREADS``. A forest that was read from a model file has no ``estimators_``.

    Examples
    --------
    >>> forest = RandomForestRegressor(n_estimators=5, bootstrap=False)
    >>> forest.fit([[0], [1], [2]], [5, 5, 7]).predict([[0.4], [1.6]])
    array([5., 7.])
    """

    def predict(self, X):
        return self._targets(self._rows(X))
