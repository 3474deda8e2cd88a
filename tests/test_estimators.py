"""Neighbours, clusters, lines and scales against scikit-learn's own."""

import json
import tracemalloc
import warnings

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from scipy import sparse
from sklearn import cluster, linear_model, neighbors, preprocessing
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_limits

import gpuseg
from gpuseg.estimators import (
    KMeans,
    KNeighborsClassifier,
    KNeighborsRegressor,
    LinearRegression,
    Pipeline,
    PolynomialFeatures,
    QuantileTransformer,
    RobustScaler,
    center_distances,
    least_squares,
    linear_predict,
    lloyd,
    nearest_centers,
    nearest_neighbors,
    polynomial_table,
    quantile_places,
    robust_scale,
)

TRANSFORMERS = (RobustScaler, QuantileTransformer, PolynomialFeatures)
ALL = (KNeighborsClassifier, KNeighborsRegressor, KMeans, LinearRegression, *TRANSFORMERS)
SKIPPED = {
    # scikit-learn expects these two of its own class to fail.
    "check_sample_weight_equivalence_on_dense_data": "k-means++ draws others with weights",
    "check_sample_weight_equivalence_on_sparse_data": "k-means++ draws others with weights",
}


@parametrize_with_checks(
    [cls() for cls in ALL] + [KNeighborsClassifier(weights="distance")],
    expected_failed_checks=lambda e: SKIPPED if isinstance(e, KMeans) else {},
)
def test_scikit_learns_rules(estimator, check):
    with gpuseg.using("cpu"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


def plain(estimator):
    """scikit-learn's own estimator with the same parameters."""
    cls = next(c for c in type(estimator).__mro__ if c.__module__.startswith("sklearn."))
    return cls(**estimator.get_params())


def table(rng, backend, rows=500, features=5, dtype=np.float64):
    return rng.standard_normal((24 if backend == "sim" else rows, features)).astype(dtype)


# --- nearest neighbours -----------------------------------------------------------------------


def compared(X, references, k, metric="euclidean"):
    """Every row with every reference, in the order of the features; equals by their index."""
    difference = X[:, None].astype(float) - references.astype(float)
    terms = abs(difference) if metric == "manhattan" else difference * difference
    total = np.zeros(terms.shape[:2])
    for q in range(X.shape[1]):
        total += terms[:, :, q]
    order = np.argsort(total, axis=1, kind="stable")[:, :k]
    found = np.take_along_axis(total, order, axis=1)
    return (found if metric == "manhattan" else np.sqrt(found)), order


def assert_compared(X, references, k, metric="euclidean"):
    distances, indices = nearest_neighbors(X, references, k, metric=metric)
    expected = compared(X, references, k, metric)
    np.testing.assert_array_equal(indices, expected[1])
    np.testing.assert_array_equal(distances, expected[0])
    assert (distances.dtype, indices.dtype) == (np.float64, np.int64)


@pytest.mark.parametrize("metric", ["euclidean", "manhattan"])
@pytest.mark.parametrize(("features", "k"), [(1, 1), (2, 7), (5, 5), (11, 30)])
def test_neighbors_are_those_of_comparing_all(backend, rng, features, k, metric):
    X, references = table(rng, backend, 90, features), table(rng, "cpu", 700, features)
    references = references[:40] if backend == "sim" else references
    assert_compared(X, references, k, metric)
    # Coarse values: most distances come many times.
    assert_compared(np.rint(X), np.rint(references), k, metric)


@given(data=st.data())
def test_neighbors_of_any_tables(backend, data):
    features = data.draw(st.integers(1, 4))
    rows, count = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 20))
    dtype = data.draw(st.sampled_from([np.uint8, np.int16, np.float16, ">f4", np.float64, bool]))
    elements = None
    if np.dtype(dtype).kind == "f":
        elements = st.sampled_from([0.0, -0.0, 1.0, -2.5, 1e3, 6e4])
    X = data.draw(hnp.arrays(dtype, (features, rows), elements=elements)).T
    references = data.draw(hnp.arrays(dtype, (count, 2 * features), elements=elements))[:, ::-2]
    before = X.copy(), references.copy()
    assert_compared(X, references, data.draw(st.integers(1, count)))
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(references, before[1])


@pytest.mark.filterwarnings("ignore:.*overflow encountered")
def test_neighbors_at_the_ends_of_float64(backend):
    references = np.array([[-1e308], [1e308], [0.0], [1e200]])
    distances, indices = nearest_neighbors([[1e308], [0.0]], references, 4)
    assert indices.tolist() == [[1, 0, 2, 3], [2, 0, 1, 3]]
    assert distances.tolist() == [[0, *[np.inf] * 3]] * 2


def test_rows_do_not_see_each_other(backend, rng, monkeypatch):
    X, references = table(rng, backend, 300, 4), table(rng, backend, 900, 4)
    whole = nearest_neighbors(X, references, 3)
    for part in (slice(0, 1), slice(5, 9), slice(None, None, -1)):
        for found, expected in zip(nearest_neighbors(X[part], references, 3), whole):
            np.testing.assert_array_equal(found, expected[part])
    monkeypatch.setenv("GPUSEG_NUM_THREADS", "3")
    for found, expected in zip(nearest_neighbors(X, references, 3), whole):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize("algorithm", ["auto", "brute"])
@pytest.mark.parametrize("p", [1, 2])
def test_predictions_are_scikit_learns(backend, rng, weights, algorithm, p):
    X, fresh = table(rng, backend), table(rng, backend)
    fresh[:3] = X[:3]
    names = np.array(["low", "mid", "top"])[np.digitize(X[:, 0], [-0.5, 0.5])]
    options = {"weights": weights, "algorithm": algorithm, "p": p}
    ours = KNeighborsClassifier(**options).fit(X, names)
    theirs = plain(ours).fit(X, names)
    np.testing.assert_array_equal(ours.predict(fresh), theirs.predict(fresh))
    # A matrix product takes differences of large numbers: scikit-learn's brute force does.
    close = {"rtol": 1e-6 if algorithm == "brute" else 1e-12, "atol": 1e-7}
    np.testing.assert_allclose(ours.predict_proba(fresh), theirs.predict_proba(fresh), **close)
    targets = np.stack([X[:, 0], X[:, 1] ** 2], axis=1)
    for y in (targets, targets[:, 0], targets[:, :1]):
        ours = KNeighborsRegressor(**options).fit(X, y)
        np.testing.assert_allclose(ours.predict(fresh), plain(ours).fit(X, y).predict(fresh),
                                   **close)  # fmt: skip


def test_several_outputs(backend, rng):
    X = table(rng, backend)
    y = np.stack([X[:, 0] > 0, np.digitize(X[:, 1], [-0.5, 0.5])], axis=1).astype(int)
    ours = KNeighborsClassifier(3).fit(X, y)
    theirs = plain(ours).fit(X, y)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    for found, expected in zip(ours.predict_proba(X), theirs.predict_proba(X), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_references_are_not_their_own_neighbors(backend, rng):
    X = table(rng, backend, 200, 3)
    X[5] = X[6]
    ours = KNeighborsClassifier(4).fit(X, X[:, 0] > 0)
    theirs = plain(ours).fit(X, X[:, 0] > 0)
    # Which of the two equal rows comes first is ours to say.
    np.testing.assert_array_equal(ours.kneighbors()[0], theirs.kneighbors()[0])
    for row, found in enumerate(ours.kneighbors(return_distance=False)):
        expected = [i for i in compared(X[row : row + 1], X, 6)[1][0] if i != row]
        assert found.tolist() == expected[:4]
    assert (ours.kneighbors(return_distance=False) != np.arange(len(X))[:, None]).all()
    np.testing.assert_array_equal(ours.predict(None), theirs.predict(None))
    # With more doubles than neighbours, the row itself may not be among those found.
    doubles = KNeighborsClassifier(1).fit(np.zeros((4, 1)), [0, 0, 1, 1])
    assert doubles.kneighbors(return_distance=False).ravel().tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"metric": "chebyshev"}, "chebyshev"),
        ({"p": 3}, "minkowski"),
        ({"n_neighbors": 33}, "33"),
        ({"weights": lambda d: d + 1}, "function"),
    ],
)
def test_what_scikit_learn_serves(backend, rng, options, reason):
    X = rng.standard_normal((60, 3))
    ours = KNeighborsClassifier(**options).fit(X, X[:, 0] > 0)
    theirs = plain(ours).fit(X, X[:, 0] > 0)
    with gpuseg.trace() as calls:
        found = ours.predict_proba(X[:9])
    np.testing.assert_allclose(found, theirs.predict_proba(X[:9]), rtol=1e-12)
    served = calls[-1]  # inside it, scikit-learn may ask for neighbours
    assert (served.function, served.backend) == ("scikit_learn", "cpu")
    if backend != "cpu":
        assert reason in served.reason


def test_more_features_than_the_kernel_is_for(backend, rng):
    X = rng.standard_normal((60, 33))
    with gpuseg.trace() as calls:
        KNeighborsRegressor().fit(X, X[:, 0]).predict(X)
    assert [call.function for call in calls] == ["scikit_learn"]
    sparse_fit = KNeighborsRegressor().fit(sparse.csr_array(X), X[:, 0])
    dense = KNeighborsRegressor(algorithm="brute").fit(X, X[:, 0])
    np.testing.assert_allclose(sparse_fit.predict(X), dense.predict(X))


def test_more_neighbors_than_the_gpu_form_keeps(backend, rng):
    X = rng.standard_normal((40, 2))
    assert_compared(X[:3], X, 35)


def test_bad_neighbors(backend):
    X = np.eye(3)
    for args, error, text in (
        ((X, X, 4), ValueError, "k must be at most 3"),
        ((X, X, 0), ValueError, "k must be at least 1"),
        ((X, X, 1.5), TypeError, "k must be an integer"),
        ((X, X[:, :2], 1), ValueError, "as many features, got 3 and 2"),
        ((X + np.nan, X, 1), ValueError, "X holds NaN or infinity"),
        ((X, X + np.inf, 1), ValueError, "references holds NaN or infinity"),
        ((X[0], X, 1), ValueError, "X must"),
        ((X * 1j, X, 1), TypeError, "X must"),
    ):
        with pytest.raises(error, match=text):
            nearest_neighbors(*args)
    with pytest.raises(ValueError, match="metric must be one of"):
        nearest_neighbors(X, X, 1, metric="cosine")
    model = KNeighborsClassifier(4).fit(X, [0, 1, 2])
    with pytest.raises(ValueError, match="n_neighbors = 4, n_samples_fit = 3"):
        model.predict(X)
    with pytest.raises(ValueError, match="Expected n_neighbors > 0"):
        model.kneighbors(X, 0)
    with pytest.raises(ValueError, match="3 features"):
        model.kneighbors(X[:, :2], 1)
    with pytest.raises(ValueError, match="NaN"):
        model.kneighbors(X * np.nan, 1)
    with pytest.raises(NotFittedError):
        KNeighborsRegressor().predict(X)


# --- k-means ----------------------------------------------------------------------------------


def groups(backend, dtype=np.float32, clusters=4):
    rng = np.random.default_rng(3)
    rows = 60 if backend == "sim" else 3000
    centers = rng.uniform(-9, 9, (clusters, 3))
    return (centers[rng.integers(0, clusters, rows)] + rng.standard_normal((rows, 3))).astype(dtype)


@pytest.mark.parametrize("init", ["k-means++", "random", "array", "function"])
def test_clusters_are_scikit_learns(backend, init):
    X = groups(backend)
    start = {"array": X[:4], "function": lambda X, k, random_state: X[:k].copy()}.get(init, init)
    ours = KMeans(4, init=start, n_init=1, random_state=0)
    theirs = plain(ours).fit(X)
    before = X.copy()
    with gpuseg.trace() as calls:
        ours.fit(X)
    ran = [(call.function, call.backend.partition(":")[0]) for call in calls]
    assert ran == [("lloyd", backend)]
    np.testing.assert_array_equal(X, before)
    assert (ours.labels_ == theirs.labels_).mean() >= 0.999
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, atol=1e-3)
    np.testing.assert_allclose(ours.inertia_, theirs.inertia_, rtol=1e-4)
    assert ours.cluster_centers_.dtype == np.float32
    assert ours.labels_.dtype == theirs.labels_.dtype
    np.testing.assert_array_equal(ours.predict(X), ours.labels_)
    np.testing.assert_array_equal(clone(ours).fit_predict(X), ours.labels_)
    np.testing.assert_allclose(ours.transform(X), theirs.transform(X), atol=2e-3)
    np.testing.assert_allclose(ours.score(X), -ours.inertia_, rtol=1e-4)


def test_the_best_of_several_runs(backend):
    X = groups(backend, clusters=6)
    one = [KMeans(6, init=X[i : i + 6], n_init=1).fit(X).inertia_ for i in (0, 6, 12)]
    inits = np.stack([X[i : i + 6] for i in (0, 6, 12)])
    labels, centers, inertia, n_iter = lloyd(X, inits)
    assert inertia == pytest.approx(min(one), rel=1e-6)
    assert n_iter >= 1
    np.testing.assert_array_equal(nearest_centers(X, centers)[0], labels)


def test_centers_are_means(backend):
    X = groups(backend)
    labels, centers, inertia, _ = lloyd(X, X[None, :4], tol=0)
    for j, center in enumerate(centers):
        np.testing.assert_allclose(center, X[labels == j].mean(axis=0), rtol=1e-5, atol=1e-5)
    assert inertia == pytest.approx(((X - centers[labels]) ** 2).sum(), rel=1e-5)


@pytest.mark.parametrize(
    "case", ["float64", "weights", "elkan", "sparse"]
)  # fmt: skip
def test_clusters_that_scikit_learn_finds(backend, case):
    X = groups(backend, np.float64 if case == "float64" else np.float32)
    X = sparse.csr_array(X) if case == "sparse" else X
    options = {"algorithm": "elkan"} if case == "elkan" else {}
    weights = np.linspace(1, 2, X.shape[0]) if case == "weights" else None
    ours = KMeans(3, random_state=0, n_init=2, **options)
    with threadpool_limits(1):  # the sums of several threads depend on their order
        theirs = plain(ours).fit(X, sample_weight=weights)
        with gpuseg.trace() as calls:
            ours.fit(X, sample_weight=weights)
    assert [call.function for call in calls] == ["scikit_learn"]
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_)
    if case == "float64":
        np.testing.assert_array_equal(ours.predict(X), theirs.labels_)


def test_distances_do_not_depend_on_the_table(backend, rng):
    X = 1000 + table(rng, backend, 20000, 3)
    centers = X[:4]
    found = center_distances(X, centers)
    np.testing.assert_array_equal(found[7:9], center_distances(X[7:9], centers))
    expected = np.sqrt(((X[:, None].astype(np.longdouble) - centers) ** 2).sum(axis=2))
    np.testing.assert_allclose(found, expected.astype(float), rtol=1e-14)


def test_bad_clusters(backend):
    X = groups(backend)
    with pytest.raises(ValueError, match="n_samples=2 should be >= n_clusters=3"):
        KMeans(3).fit(X[:2])
    with pytest.raises(ValueError, match="n_clusters"):
        KMeans(0).fit(X)
    with pytest.raises(ValueError, match="NaN"):
        KMeans(2).fit(np.where(X > 1, np.nan, X).astype(np.float32))
    with pytest.warns(ConvergenceWarning, match=r"distinct clusters \(1\)"):
        KMeans(2, n_init=1).fit(np.ones((9, 2), np.float32))
    with pytest.raises(ValueError, match="3 features"):
        KMeans(2, n_init=1).fit(X).predict(X[:, :2])
    with pytest.raises(TypeError, match="X must be float32, got float64"):
        lloyd(X.astype(float), X[None, :2])
    with pytest.raises(ValueError, match="3 features of X"):
        lloyd(X, X[None, :2, :1])
    with pytest.raises(TypeError, match="centers must be float32"):
        nearest_centers(X, X[:2].astype(float))
    with pytest.raises(ValueError, match="as many features, got 3 and 2"):
        center_distances(X, X[:2, :2])
    with pytest.raises(TypeError, match="X must be float32 or float64"):
        center_distances(X.astype(int), X[:2])


# --- linear regression ------------------------------------------------------------------------


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_lines_are_scikit_learns(backend, rng, fit_intercept, weighted, dtype):
    X = table(rng, backend, dtype=dtype) + dtype(3)
    for y in (X @ np.arange(1, 6) + 2, np.stack([X[:, 0], X[:, 1] - X[:, 2] ** 2], axis=1)):
        y = y.astype(dtype)
        weights = np.linspace(0, 2, len(X)).astype(dtype) if weighted else None
        ours = LinearRegression(fit_intercept=fit_intercept).fit(X, y, weights)
        theirs = plain(ours).fit(X, y, weights)
        close = {"rtol": 1e-9, "atol": 1e-9} if dtype == np.float64 else {"rtol": 2e-4,
                                                                       "atol": 2e-4}  # fmt: skip
        for name in ("coef_", "intercept_", "singular_"):
            found, expected = np.asarray(getattr(ours, name)), getattr(theirs, name)
            np.testing.assert_allclose(found, expected, **close, err_msg=name)
            assert found.shape == np.shape(expected)
        assert ours.rank_ == theirs.rank_
        assert ours.predict(X).dtype == theirs.predict(X).dtype
        np.testing.assert_allclose(ours.predict(X), theirs.predict(X), **close)
        if backend == "cpu":
            np.testing.assert_array_equal(ours.coef_, theirs.coef_)


def test_lines_where_normal_equations_fail(backend, rng):
    """Two columns that differ in the ninth digit: squared, the difference is below the last."""
    x = rng.standard_normal(200)
    X = np.stack([x, x + 1e-9 * rng.standard_normal(200)], axis=1)
    coef, *_, rank, singular = least_squares(X, X @ [2.0, 1.0], fit_intercept=False, tol=1e-13)
    assert (rank, len(singular)) == (2, 2)
    np.testing.assert_allclose(coef, [2, 1], atol=1e-4)
    ours = LinearRegression(tol=1e-13) if hasattr(LinearRegression(), "tol") else LinearRegression()
    assert ours.fit(X, x).rank_ == 2
    twice = np.stack([x, x, x + 1], axis=1)
    coef, _, rank, _ = least_squares(twice, 3 * x + 1)
    assert rank == 1
    np.testing.assert_allclose(coef, [1, 1, 1], atol=1e-9)


def test_fewer_rows_than_features(backend, rng):
    X = rng.standard_normal((4, 6))
    ours = LinearRegression().fit(X, X[:, 0])
    np.testing.assert_allclose(ours.coef_, plain(ours).fit(X, X[:, 0]).coef_, atol=1e-12)


def test_lines_that_scikit_learn_fits(backend, rng):
    X = abs(rng.standard_normal((30, 3)))
    for ours, data in ((LinearRegression(positive=True), X),
                       (LinearRegression(), sparse.csr_array(X))):  # fmt: skip
        with gpuseg.trace() as calls:
            ours.fit(data, X[:, 0])
        assert [call.function for call in calls] == ["scikit_learn"]
        expected = plain(ours).fit(data, X[:, 0]).predict(data)
        np.testing.assert_allclose(ours.predict(data), expected)


def test_linear_predictions_row_by_row(backend, rng):
    X = table(rng, backend, 40000, 9)
    coef, intercept = rng.standard_normal((2, 9)), np.array([0.5, -1.0])
    for dtype in (np.uint8, np.float16, ">f4", np.int64):
        small = np.arange(18).reshape(2, 9).astype(dtype)[:, ::-1]
        for other in (np.float16, np.float32, float):
            found = linear_predict(small, coef.astype(other), intercept.astype(other))
            expected = small.astype(float) @ coef.T + intercept
            np.testing.assert_allclose(found, expected, atol=0.2 if other == np.float16 else 1e-3)
            assert found.dtype == np.result_type(small.dtype, other)
    found = linear_predict(X, coef, intercept)
    np.testing.assert_allclose(found, X @ coef.T + intercept, atol=1e-12)
    np.testing.assert_array_equal(linear_predict(X[11:14], coef, intercept), found[11:14])


def test_bad_lines(backend):
    X = np.ones((4, 2))
    for args, text in (
        ((X, np.ones(3)), "as many rows, got 4 and 3"),
        ((X, np.ones(4) * np.nan), "y holds NaN"),
        ((X, np.ones(4), np.ones(3)), "sample_weight must have 4 rows"),
    ):
        with pytest.raises(ValueError, match=text):
            least_squares(*args)
        with pytest.raises(ValueError, match=r"NaN|inconsistent|sample_weight"):
            LinearRegression().fit(*args)
    with pytest.raises(ValueError, match="coef must have shape"):
        linear_predict(X, np.ones((1, 3)), np.ones(1))
    with pytest.raises(ValueError, match="2 features"):
        LinearRegression().fit(X, np.ones(4)).predict(X[:, :1])


# --- scales, quantiles, products --------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32])
@pytest.mark.parametrize(
    "estimator",
    [
        RobustScaler(),
        RobustScaler(with_centering=False),
        RobustScaler(with_scaling=False, quantile_range=(10, 80)),
        QuantileTransformer(n_quantiles=20, random_state=0),
        QuantileTransformer(n_quantiles=20, random_state=0, output_distribution="normal"),
        PolynomialFeatures(),
        PolynomialFeatures(4, interaction_only=True),
        PolynomialFeatures(3, include_bias=False),
        PolynomialFeatures(3, order="F"),
        PolynomialFeatures((2, 3)),
        PolynomialFeatures(0),
    ],
    ids=str,
)
def test_tables_are_changed_as_by_scikit_learn(backend, rng, estimator, dtype):
    X = (4 * table(rng, backend, 20000, 3)).astype(dtype)
    fresh = (5 * table(rng, backend, 20000, 3)).astype(dtype)
    fresh[:3] = X[:3]
    before = fresh.copy()
    ours = clone(estimator).fit(X)
    found, expected = ours.transform(fresh), plain(estimator).fit(X).transform(fresh)
    np.testing.assert_array_equal(fresh, before)
    if "normal" in str(estimator) or (backend == "cuda" and "Quantile" in str(estimator)):
        close = {np.float16: 1e-2, np.float32: 2e-6}.get(dtype, 1e-12)
        np.testing.assert_allclose(found, expected, rtol=close, atol=close, strict=True)
    else:
        np.testing.assert_array_equal(found, expected, strict=True)
    names = plain(estimator).fit(X).get_feature_names_out()
    np.testing.assert_array_equal(ours.get_feature_names_out(), names)


@given(
    quantiles=hnp.arrays(float, st.integers(1, 9), elements=st.integers(-3, 3)),
    rows=hnp.arrays(
        np.float32, (7, 1), elements=st.sampled_from([-9, -3, -1.5, 0, 0.25, 2, np.nan])
    ),
    normal=st.booleans(),
)  # fmt: skip
def test_quantiles_that_come_twice(backend, quantiles, rows, normal):
    theirs = preprocessing.QuantileTransformer(
        n_quantiles=len(quantiles), output_distribution="normal" if normal else "uniform"
    )
    theirs.fit(np.arange(len(quantiles))[:, None])
    theirs.quantiles_ = np.sort(quantiles)[:, None]
    found = quantile_places(rows, theirs.quantiles_, theirs.references_, normal=normal)
    np.testing.assert_allclose(found, theirs.transform(rows), rtol=1e-6, atol=1e-6)


def test_missing_values_stay_missing(backend):
    X = np.array([[1.0, np.nan], [2.0, 4.0], [np.nan, 6.0], [5.0, 9.0]])
    for ours in (RobustScaler(), QuantileTransformer(n_quantiles=3)):
        expected = plain(ours).fit_transform(X)
        np.testing.assert_array_equal(ours.fit_transform(X), expected)


def test_tables_that_scikit_learn_changes(backend, rng):
    X = abs(rng.standard_normal((30, 3)))
    for ours, data in (
        (RobustScaler(with_centering=False), sparse.csr_array(X)),
        (RobustScaler(copy=False), X),
        (QuantileTransformer(n_quantiles=9), sparse.csc_array(X)),
        (PolynomialFeatures(), sparse.csr_array(X)),
    ):
        fitted = clone(ours).fit(data.copy())
        with gpuseg.trace() as calls:
            found = fitted.transform(data.copy())
        assert [call.function for call in calls] == ["scikit_learn"]
        expected = plain(ours).fit(data.copy()).transform(data.copy())
        dense = [x.toarray() if sparse.issparse(x) else x for x in (found, expected)]
        np.testing.assert_array_equal(*dense)


def test_bad_tables(backend):
    X = np.ones((4, 2))
    with pytest.raises(ValueError, match="center must have 2 elements, got 3"):
        robust_scale(X, center=np.ones(3))
    with pytest.raises(TypeError, match="X must be float16, float32 or float64"):
        robust_scale(X.astype(int))
    with pytest.raises(ValueError, match="quantiles must have the 2 features"):
        quantile_places(X, np.ones((3, 1)), np.ones(3))
    with pytest.raises(ValueError, match="references must have 3 elements"):
        quantile_places(X, np.ones((3, 2)), np.ones(2))
    with pytest.raises(ValueError, match="X holds NaN"):
        polynomial_table(X * np.nan)
    with pytest.raises(ValueError, match="degree"):
        polynomial_table(X, 0, include_bias=False)
    for cls in TRANSFORMERS:
        with pytest.raises(NotFittedError):
            cls().transform(X)
        with pytest.raises(ValueError, match="2 features"):
            cls(**({"n_quantiles": 2} if cls is QuantileTransformer else {})).fit(X).transform(
                X[:, :1]
            )


# --- fitted state as arrays -------------------------------------------------------------------


@pytest.mark.parametrize(
    "estimator",
    [
        KNeighborsClassifier(3, weights="distance"),
        KNeighborsRegressor(2, p=1),
        KMeans(3, n_init=1, random_state=0),
        LinearRegression(),
        RobustScaler(with_centering=False),
        QuantileTransformer(n_quantiles=9),
        PolynomialFeatures(3, interaction_only=True),
    ],
    ids=str,
)
def test_an_estimator_from_its_arrays(backend, rng, estimator, tmp_path):
    X = table(rng, backend, 200, 3, np.float32)
    y = np.where(X[:, 0] > 0, "in", "out") if "Classifier" in str(estimator) else X[:, :2]
    model = estimator.fit(X, y)
    np.savez(tmp_path / "model.npz", **model._arrays(), allow_pickle=False)
    with np.load(tmp_path / "model.npz", allow_pickle=False) as arrays:
        params = json.loads(json.dumps(model.get_params()))
        params = {k: tuple(v) if isinstance(v, list) else v for k, v in params.items()}
        again = type(model)._from_arrays(params, dict(arrays))
    methods = ("predict", "predict_proba", "transform", "kneighbors")
    tried = [method for method in methods if hasattr(model, method)]
    assert tried
    for method in tried:
        found, expected = (getattr(m, method)(X) for m in (again, model))
        np.testing.assert_array_equal(found, expected, strict=method != "kneighbors")
    assert again.get_params() == model.get_params()
    assert again.n_features_in_ == 3


def test_several_outputs_and_names_from_arrays(backend, rng):
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(rng.standard_normal((30, 2)), columns=["grey", "edge"])
    y = np.stack([X["grey"] > 0, X["edge"] > 0], axis=1).astype(int)
    model = KNeighborsClassifier(3).fit(X, y)
    again = KNeighborsClassifier._from_arrays(model.get_params(), model._arrays())
    assert again.feature_names_in_.tolist() == ["grey", "edge"]
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    with pytest.raises(TypeError, match="cannot be saved"):
        KNeighborsClassifier().fit(sparse.csr_array(X), y)._arrays()


def test_a_pipeline_row_by_row(backend, rng):
    X = table(rng, backend, 3000, 3, np.float32)
    steps = [("scale", RobustScaler()), ("places", QuantileTransformer(n_quantiles=20)),
             ("groups", KMeans(4, n_init=1, random_state=0)), ("more", PolynomialFeatures()),
             ("nearest", KNeighborsClassifier())]  # fmt: skip
    pipe = Pipeline(steps).fit(X, X[:, 0] > 0)
    whole = pipe.predict_proba(X)
    np.testing.assert_array_equal(pipe.predict_proba(X[3:11]), whole[3:11])
    with gpuseg.trace() as calls:
        pipe.predict(X)
    assert "scikit_learn" not in [call.function for call in calls]


def test_backends_agree(backend, rng):
    """The forms of a backend against those of the CPU, bit by bit where the contract is exact."""
    X = table(rng, backend, 2000, 3, np.float32)
    weights = np.linspace(0.5, 2, len(X))
    calls = [
        (nearest_neighbors, (X, X[:20], 4), {}),
        (lloyd, (X, X[None, :3]), {}),
        (nearest_centers, (X, X[:3]), {}),
        (center_distances, (X, X[:3]), {}),
        (least_squares, (X.astype(float), X[:, 0] * 2.0, weights), {}),
        (linear_predict, (X, X[:2].astype(float), np.ones(2)), {}),
        (robust_scale, (X, X[0], abs(X[1])), {}),
        (quantile_places, (X.astype(float), np.sort(X[:9], axis=0), np.linspace(0, 1, 9)),
         {"normal": True}),
        (polynomial_table, (X, 3), {}),
    ]  # fmt: skip
    for function, args, options in calls:
        found = function(*args, **options)
        with gpuseg.using("cpu"):
            expected = function(*args, **options)
        for a, b in zip(*(x if isinstance(x, tuple) else (x,) for x in (found, expected))):
            if function is lloyd and np.ndim(a) == 0:
                assert a == pytest.approx(b, rel=1e-6)
                continue
            comparison = function.contract.compare(a, b)
            assert comparison.passed, (function.__name__, comparison.worst)


@pytest.mark.parametrize(
    ("call", "most"),
    [
        (lambda X: nearest_neighbors(X, X[:50], 3), 8 * 5),
        (lambda X: nearest_neighbors(X[:50], X, 3), 24 * 5 + 20),
        (lambda X: nearest_neighbors(X[:50].astype(float), X.astype(float), 3), 24 * 5 + 20),
        (lambda X: lloyd(X, X[None, :4]), 4 * 5 + 8),
        (lambda X: nearest_centers(X, X[:4]), 4 * 5),
        (lambda X: center_distances(X, X[:4]), (8 * 5 + 60) * 16384 / 100_000),
    ],
)
def test_memory_is_what_is_said(rng, call, most):
    X = rng.standard_normal((100_000, 5)).astype(np.float32)
    with gpuseg.using("cpu"):
        call(X)
        tracemalloc.start()
        result = call(X)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    kept = sum(getattr(x, "nbytes", 0) for x in (result if isinstance(result, tuple) else [result]))
    assert (peak - kept) / len(X) <= most + 2


def test_parents_are_scikit_learns():
    pairs = {KNeighborsClassifier: neighbors.KNeighborsClassifier, KMeans: cluster.KMeans,
             KNeighborsRegressor: neighbors.KNeighborsRegressor, RobustScaler:
             preprocessing.RobustScaler, LinearRegression: linear_model.LinearRegression,
             QuantileTransformer: preprocessing.QuantileTransformer,
             PolynomialFeatures: preprocessing.PolynomialFeatures}  # fmt: skip
    assert set(pairs) == set(ALL)
    for ours, theirs in pairs.items():
        assert issubclass(ours, theirs)
        assert ours().get_params() == theirs().get_params()
    assert Pipeline.__module__ == "sklearn.pipeline"


@pytest.mark.filterwarnings("ignore:.*overflow encountered")
@pytest.mark.parametrize("features", [1, 5, 20])
def test_centers_beyond_all_distances(backend, features):
    """Every distance overflows to infinity: they are equal, and the first of equals is nearest."""
    X = np.linspace(0, 1, 40 * features, dtype=np.float32).reshape(40, features)
    centers = np.full((8, features), -np.finfo(np.float32).max, np.float32)
    labels, squares = nearest_centers(X, centers)
    assert (labels == 0).all()
    assert np.isinf(squares).all()
    labels = lloyd(X, centers[None], 5, 0)[0]
    assert 0 <= labels.min() <= labels.max() < 8
