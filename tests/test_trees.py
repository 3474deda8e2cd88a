"""Trees and forests beside scikit-learn's: the same leaf for every row, and the same bits."""

import copy
import io
import pickle
import tracemalloc

import naive
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from sklearn import ensemble, tree
from sklearn.base import clone, is_classifier
from sklearn.utils.estimator_checks import check_estimator

import gpuseg
from gpuseg import estimators
from gpuseg.estimators import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    Forest,
    RandomForestClassifier,
    RandomForestRegressor,
    forest_predict,
)

PEERS = {
    DecisionTreeClassifier: tree.DecisionTreeClassifier,
    DecisionTreeRegressor: tree.DecisionTreeRegressor,
    RandomForestClassifier: ensemble.RandomForestClassifier,
    RandomForestRegressor: ensemble.RandomForestRegressor,
}
KINDS = list(PEERS)
# What scikit-learn's own forests fail too: a bootstrap draws other rows than those repeated.
BOOTSTRAP = {
    f"check_sample_weight_equivalence_on_{kind}_data": "bootstrap" for kind in ("dense", "sparse")
}


def made(kind, **parameters):
    """An estimator with few trees, which scikit-learn adds up in order."""
    few = {} if kind.__name__.startswith("Decision") else {"n_estimators": 5, "n_jobs": 1}
    return kind(**few | {"random_state": 0} | parameters)


def pair(kind, X, y, **parameters):
    """Ours and scikit-learn's, fitted alike."""
    return [made(k, **parameters).fit(X, y) for k in (kind, PEERS[kind])]


def assert_same(ours, theirs, X):
    """The same from every method that predicts."""
    methods = ["predict"]
    if is_classifier(theirs):
        methods += ["predict_proba", "predict_log_proba"]
    for method in methods:
        with np.errstate(divide="ignore"):
            a, b = getattr(ours, method)(X), getattr(theirs, method)(X)
        for found, expected in zip(*(x if isinstance(x, list) else [x] for x in (a, b))):
            np.testing.assert_array_equal(found, expected, strict=True)


def table(rng, rows, columns, values=None):
    """Rows of few different values, so that many lie on thresholds once these are halved."""
    if values is None:
        return rng.standard_normal((rows, columns)).astype(np.float32)
    return rng.integers(0, values, (rows, columns)).astype(np.float32)


def targets(rng, kind, rows, classes=3):
    return rng.integers(0, classes, rows) if "Classifier" in kind.__name__ else rng.random(rows)


# --- as scikit-learn ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_scikit_learns_own_checks(kind):
    forest = "Forest" in kind.__name__
    with gpuseg.using("cpu"):
        check_estimator(
            kind(n_estimators=3) if forest else kind(),
            expected_failed_checks=BOOTSTRAP if forest else {},
            on_skip=None,
        )


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_random_tables(kind, backend, data):
    seed = data.draw(st.integers(0, 10**6))
    rng = np.random.default_rng(seed)
    columns = data.draw(st.integers(1, 6))
    values = data.draw(st.sampled_from([None, 2, 5]))
    X = table(rng, data.draw(st.integers(1, 120)), columns, values)
    y = targets(rng, kind, len(X), data.draw(st.integers(1, 12)))
    depth = data.draw(st.sampled_from([None, 1, 2, 3, 4, 7]))
    few = 4 if backend == "sim" else 60
    fresh = table(rng, few, columns, values)
    # Thresholds lie half-way between values.
    asked = np.concatenate([X[:few], fresh, fresh + np.float32(0.5)])
    ours, theirs = pair(kind, X, y, max_depth=depth)
    assert_same(ours, theirs, asked)
    assert_same(ours, theirs, np.asfortranarray(asked))
    assert_same(ours, theirs, asked.astype(np.float64))


@pytest.mark.parametrize("kind", KINDS)
def test_missing_values(kind, backend, rng):
    X = table(rng, 80, 3)
    X[rng.random(X.shape) < 0.2] = np.nan
    y = targets(rng, kind, 80)
    ours, theirs = pair(kind, X, y)
    assert_same(ours, theirs, X[:20])
    # Learnt without missing values, and asked with them.
    known = np.nan_to_num(X, nan=0.3)
    assert_same(*pair(kind, known, y), X[:20])


@pytest.mark.parametrize("kind", KINDS)
def test_several_outputs(kind, backend, rng):
    X = table(rng, 60, 3)
    y = np.stack([targets(rng, kind, 60, n) for n in (2, 5, 1)], axis=1)
    assert_same(*pair(kind, X, y), X[:12])


@pytest.mark.parametrize("kind", KINDS)
def test_sparse_tables(kind, backend, rng):
    X = table(rng, 40, 4, 3)
    ours, theirs = pair(kind, X, targets(rng, kind, 40))
    assert_same(ours, theirs, scipy.sparse.csr_matrix(X[:10]))
    assert_same(ours, theirs, scipy.sparse.csc_array(X[:10]))


@pytest.mark.parametrize("kind", [DecisionTreeClassifier, RandomForestClassifier])
def test_labels_of_any_type(kind, backend, rng):
    X, y = table(rng, 60, 3), rng.integers(0, 3, 60)
    for labels in (np.array(["b", "cc", "a"]), np.array([7, -1, 3]), np.array([True, False, True]),
                   np.array(["b", "cc", "a"], object)):  # fmt: skip
        assert_same(*pair(kind, X, labels[y], class_weight="balanced"), X[:10])
    weights = {0: 1.0, 1: 20.0, 2: 0.1}
    assert_same(*pair(kind, X, y, class_weight=weights), X[:10])


@pytest.mark.parametrize("kind", KINDS)
def test_other_parameters(kind, backend, rng):
    X, y = table(rng, 100, 4), targets(rng, kind, 100)
    few = X[:8]
    assert_same(*pair(kind, X, y, ccp_alpha=0.01), few)
    assert_same(*pair(kind, X, y, max_leaf_nodes=7, min_samples_leaf=3), few)
    if "Forest" in kind.__name__:
        assert_same(*pair(kind, X, y, bootstrap=False, max_features=0.5), few)
        ours, theirs = pair(kind, X, y, oob_score=True, n_estimators=40)
        assert ours.oob_score_ == theirs.oob_score_


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_class_or_target_is_a_tree_of_one_leaf(kind, backend, rng):
    X = table(rng, 10, 2)
    ours, theirs = pair(kind, X, np.full(10, 4))
    assert_same(ours, theirs, X)
    assert len(Forest.from_sklearn(ours).thresholds) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_bad_rows_are_scikit_learns_errors(kind, rng):
    ours, theirs = pair(kind, table(rng, 20, 3), targets(rng, kind, 20))
    for bad in (np.full((2, 3), 1e300), np.full((2, 3), np.inf), np.zeros((2, 4)), np.zeros(3),
                np.zeros((0, 3)), [["a", "b", "c"]], scipy.sparse.csr_matrix((2, 4))):  # fmt: skip
        errors = []
        for model in (ours, theirs):
            with np.errstate(over="ignore"), pytest.raises(ValueError) as caught:  # noqa: PT011
                model.predict(bad)
            errors.append(str(caught.value))
        assert errors[0] == errors[1]
    with pytest.raises(Exception, match="not fitted"):
        kind().predict([[1.0]])


def test_a_tree_deeper_than_a_heap(backend, rng):
    """A chain: each value has a leaf of its own, one level below the last."""
    X = np.arange(40, dtype=np.float32)[:, None]
    y = 2.0 ** np.arange(40)
    for kind in (DecisionTreeRegressor, RandomForestRegressor):
        ours, theirs = pair(kind, X, y)
        assert tree.DecisionTreeRegressor().fit(X, y).get_depth() > 20
        assert_same(ours, theirs, np.concatenate([X, X + 0.5]))


@pytest.mark.parametrize("kind", KINDS)
def test_copies_pickles_and_new_fits(kind, rng):
    X, y = table(rng, 50, 3), targets(rng, kind, 50)
    ours, theirs = pair(kind, X, y)
    expected = theirs.predict(X)
    before = dict(vars(ours))
    ours.predict(X)
    assert vars(ours) == before
    for other in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        np.testing.assert_array_equal(other.predict(X), expected)
    assert len(pickle.dumps(ours)) < 1.1 * len(pickle.dumps(theirs))
    # A new fit predicts by the new trees, as do trees that are taken away.
    again = targets(np.random.default_rng(1), kind, 50)
    assert_same(ours.fit(X, again), theirs.fit(X, again), X)
    if "Forest" in kind.__name__:
        ours.estimators_, theirs.estimators_ = ours.estimators_[1:3], theirs.estimators_[1:3]
        assert_same(ours, theirs, X)
        ours, theirs = (m.set_params(warm_start=True, n_estimators=9).fit(X, y)
                        for m in pair(kind, X, y))  # fmt: skip
        assert_same(ours, theirs, X)
    np.testing.assert_array_equal(clone(ours).fit(X, y).predict(X), made(
        PEERS[kind], **ours.get_params()).fit(X, y).predict(X))  # fmt: skip


# --- forests as arrays ----------------------------------------------------------------------------


def test_a_forest_against_one_node_after_the_other(backend, rng):
    X = table(rng, 70, 4, 6)
    X[rng.random(X.shape) < 0.1] = np.nan
    model = made(RandomForestRegressor, max_depth=6).fit(X, rng.random(70))
    asked = np.concatenate([X[:9], [[np.inf] * 4, [-np.inf] * 4, [np.nan] * 4]]).astype(np.float32)
    found = forest_predict(asked, Forest.from_sklearn(model))
    trees = [one.tree_ for one in model.estimators_]
    np.testing.assert_array_equal(found[:, 0], naive.forest_means(asked, trees))


@pytest.mark.parametrize("outputs", [1, 2, 3, 5, 8, 9, 17])
def test_any_number_of_outputs(outputs, backend, rng):
    X, y = table(rng, 60, 3), rng.random((60, outputs))
    y = y[:, 0] if outputs == 1 else y
    assert_same(*pair(RandomForestRegressor, X, y, max_depth=3), X[:6])


@pytest.mark.parametrize("columns", [1, 2, 40, 3000])
def test_any_number_of_features(columns, backend, rng):
    X = table(rng, 30, columns)
    assert_same(*pair(RandomForestRegressor, X, X[:, -1], max_features=1.0), X[:6])


def test_any_layout_and_type(backend, rng):
    X = rng.integers(0, 9, (40, 4))
    forest = Forest.from_sklearn(made(RandomForestRegressor).fit(X, rng.random(40)))
    X = X[:10]
    expected = forest_predict(X.astype(np.float32), forest)
    for kind in (np.uint8, np.int64, np.float16, np.float64, ">f4", ">i2"):
        np.testing.assert_array_equal(forest_predict(X.astype(kind), forest), expected)
    rows = X.astype(np.float32)
    planes = np.ascontiguousarray(rows.T)
    wide = np.zeros((4, 30), np.float32)
    wide[:, 5:15] = planes
    spread = np.zeros((20, 8), np.float32)
    spread[::2, ::2] = rows
    for layout in (planes.T, wide[:, 5:15].T, spread[::2, ::2], rows[::-1].copy()[::-1]):
        layout.setflags(write=False)
        np.testing.assert_array_equal(forest_predict(layout, forest), expected)


def test_pieces_give_the_bits_of_the_whole(backend, rng, monkeypatch):
    X = table(rng, 200, 5)
    model = made(RandomForestRegressor, n_estimators=11).fit(X, rng.random(200))
    forest = Forest.from_sklearn(model)
    X = table(rng, 20, 5) if backend == "sim" else table(rng, 20_000, 5)
    X[7, 2] = np.nan
    whole = forest_predict(X, forest)
    for size in (1, 7, 4099):
        pieces = [forest_predict(X[i : i + size], forest) for i in range(0, 20, size)]
        np.testing.assert_array_equal(np.concatenate(pieces)[:20], whole[:20])
    for threads in ("1", "3"):
        monkeypatch.setenv("GPUSEG_NUM_THREADS", threads)
        np.testing.assert_array_equal(forest_predict(X, forest), whole)
    np.testing.assert_array_equal(model.predict(X), whole[:, 0])


def test_thresholds_are_rounded_downwards():
    """A float64 threshold just below a float32 number sends that number right."""
    X = np.array([[1.0], [1 + 2**-21]], np.float32)
    model = DecisionTreeRegressor().fit(X, [0, 1])
    forest = Forest.from_sklearn(model)
    assert forest.thresholds.dtype == np.float32
    assert forest.thresholds[0].astype(np.float64) <= model.tree_.threshold[0]
    np.testing.assert_array_equal(forest_predict(X, forest)[:, 0], [0, 1])
    low = estimators.trees._not_above(np.array([1 + 1e-9, 1 - 1e-9, -1 - 1e-9, 0.5]))
    np.testing.assert_array_equal(low, np.array([1, 1 - 2**-24, -1 - 2**-23, 0.5], np.float32))


def test_bad_arguments_of_forest_predict(rng):
    forest = Forest.from_sklearn(made(DecisionTreeRegressor).fit(table(rng, 9, 2), rng.random(9)))
    for bad, error, text in (
        (np.zeros((3, 4)), ValueError, "X has 4 features, and the forest was made for 2"),
        (np.zeros(3), ValueError, "X must have 2 axes"),
        (np.zeros((0, 2)), ValueError, "X is empty"),
        (np.zeros((2, 2), complex), TypeError, "X must hold real numbers"),
        (np.full((2, 2), 1e300), ValueError, "X holds numbers beyond the range of float32"),
    ):
        with pytest.raises(error, match=text):
            forest_predict(bad, forest)
    with pytest.raises(TypeError, match="forest must be a Forest, got dict"):
        forest_predict(np.zeros((2, 2)), {})


def test_damaged_arrays_are_refused(rng):
    whole = Forest.from_sklearn(made(RandomForestRegressor).fit(table(rng, 30, 2), rng.random(30)))
    arrays = whole.arrays()
    nodes, leaves = len(whole.thresholds), len(whole.values)

    def changed(name, at, value):
        array = arrays[name].copy()
        array[at] = value
        return arrays | {name: array}

    cases = [
        (changed("features", 3, 2), "features of nodes must be from 0 to 1"),
        (changed("features", 0, -1), "features of nodes"),
        (changed("children", (2, 1), nodes), "neither one of"),
        (changed("children", (2, 0), -leaves - 1), "neither one of"),
        (changed("roots", 1, nodes), "neither one of"),
        (changed("roots", 0, -(2**31)), "neither one of"),
        (changed("children", (5, 1), 5), "leads back"),
        (changed("children", (5, 0), 1), "leads back"),
        (arrays | {"features": arrays["features"][1:]}, "differ in length"),
        (arrays | {"children": arrays["children"][:, :1]}, "children has a wrong shape"),
        (arrays | {"values": arrays["values"][:0]}, "needs a tree"),
        (arrays | {"roots": arrays["roots"][:0]}, "needs a tree"),
        (arrays | {"n_features": np.array(0)}, "needs a tree"),
        (arrays | {"n_features": np.array([2, 2])}, "n_features must have shape"),
        ({k: v for k, v in arrays.items() if k != "roots"}, "must have roots"),
    ]
    for damaged, text in cases:
        with pytest.raises(ValueError, match=text):
            Forest.from_arrays(damaged)
    with pytest.raises(TypeError, match="thresholds must be an array of float32, got float64"):
        Forest.from_arrays(arrays | {"thresholds": arrays["thresholds"].astype(np.float64)})


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_estimators_restored_from_arrays(kind, several, backend, rng):
    X, y = table(rng, 60, 3), targets(rng, kind, 60)
    if several:
        y = np.stack([y, targets(rng, kind, 60, 2)], axis=1)
    if is_classifier(kind()) and not several:
        y = np.array(["one", "three", "two"], object)[y]
    model = made(kind, max_depth=4).fit(X, y)
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **model._arrays())
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        restored = kind._from_arrays(model.get_params(), dict(arrays))
    assert restored.get_params() == model.get_params()
    assert restored.n_features_in_ == 3
    assert restored.n_outputs_ == model.n_outputs_
    np.testing.assert_array_equal(restored.feature_importances_, model.feature_importances_)
    asked = X[:10].copy()
    asked[0, 0] = np.nan
    for rows in (asked, scipy.sparse.csr_matrix(X[:10])):
        assert_same(restored, model, rows)
    for other in (pickle.loads(pickle.dumps(restored)), copy.deepcopy(restored)):
        np.testing.assert_array_equal(other.predict(asked), model.predict(asked))
    again = model._arrays()
    assert set(again) == set(restored._arrays())
    for name, array in restored._arrays().items():
        np.testing.assert_array_equal(array, again[name], strict=True)
    # It learns like any other.
    assert_same(restored.fit(X, y), made(PEERS[kind], max_depth=4).fit(X, y), X[:10])


def test_damaged_estimators_are_refused(rng):
    X = table(rng, 30, 3)
    model = made(RandomForestClassifier).fit(X, rng.integers(0, 3, 30))
    arrays = model._arrays()
    for name, array in (
        ("classes_0", np.arange(2)),
        ("feature_importances", np.zeros(2)),
        ("n_outputs", np.array(2)),
        ("classes_are_objects", None),
        ("n_outputs", np.array(0)),
        ("n_outputs", np.array(-1)),
        ("classes_0", np.zeros((3, 1))),
    ):
        with pytest.raises(ValueError, match=r"feature_importances|classes|outputs"):
            RandomForestClassifier._from_arrays(
                {}, {k: v for k, v in (arrays | {name: array}).items() if v is not None}
            )


def test_names_of_features_are_kept(rng):
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(table(rng, 20, 2), columns=["a", "b"])
    model = made(RandomForestRegressor).fit(X, rng.random(20))
    restored = RandomForestRegressor._from_arrays({}, model._arrays())
    assert restored.feature_names_in_.tolist() == ["a", "b"]
    np.testing.assert_array_equal(restored.predict(X), model.predict(X))
    with pytest.raises(ValueError, match="feature names"):
        restored.predict(X.rename(columns={"a": "c"}))


def test_memory_is_the_result_and_a_block(rng, monkeypatch):
    monkeypatch.setenv("GPUSEG_NUM_THREADS", "2")
    X = table(rng, 100_000, 8)
    forest = Forest.from_sklearn(made(RandomForestRegressor).fit(X[:500], X[:500, 0]))
    with gpuseg.using("cpu"):
        forest_predict(X, forest)
        tracemalloc.start()
        forest_predict(X, forest)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # A transposed table or a copy would be 3.2 MB.
    assert peak < 8 * len(X) + 1_000_000
