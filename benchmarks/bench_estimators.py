"""Neighbours, clusters, lines and scales beside scikit-learn's, both with all cores."""

import numpy as np
import pytest
from common import measure
from sklearn import cluster, linear_model, neighbors, preprocessing

from gpuseg import estimators
from gpuseg.kernels.launch import thread_count

QUERIES = 200_000
WHO = pytest.mark.parametrize("who", ["gpuseg", "scikit-learn"])


def _rows(count, features, seed=0):
    return np.random.default_rng(seed).standard_normal((count, features))


@WHO
@pytest.mark.parametrize(("references", "features"), [(1000, 5), (5000, 5), (50_000, 5), (5000, 9)])
def bench_neighbors(benchmark, who, references, features):
    X, fresh = _rows(references, features), _rows(QUERIES, features, seed=1)
    y = (X[:, 0] > 0).astype(int)
    ours = estimators.KNeighborsClassifier(5).fit(X, y)
    theirs = neighbors.KNeighborsClassifier(5, n_jobs=thread_count()).fit(X, y)
    model = ours if who == "gpuseg" else theirs
    case = f"KNeighborsClassifier.predict 2e5 x {features}, {references} references, k = 5"
    found = measure(benchmark, who, lambda: model.predict(fresh), case=case, voxels=QUERIES)
    if who != "gpuseg":
        np.testing.assert_array_equal(found, ours.predict(fresh))
        for a, b in zip(ours.kneighbors(fresh[:999]), theirs.kneighbors(fresh[:999])):
            np.testing.assert_array_equal(a, b)


@WHO
def bench_kmeans(benchmark, who):
    X = (_rows(8, 5) * 3)[np.random.default_rng(1).integers(0, 8, 1_000_000)]
    X = (X + _rows(len(X), 5)).astype(np.float32)
    options = {"init": X[:8], "n_init": 1, "max_iter": 20, "tol": 0}
    cls = estimators.KMeans if who == "gpuseg" else cluster.KMeans
    case = "KMeans.fit 1e6 x 5 float32, k = 8, 20 steps"
    model = measure(benchmark, who, lambda: cls(8, **options).fit(X), case=case, voxels=len(X))
    if who != "gpuseg":
        found = estimators.KMeans(8, **options).fit(X)
        assert (found.labels_ == model.labels_).mean() > 0.999
        assert abs(found.inertia_ / model.inertia_ - 1) < 1e-4


@WHO
@pytest.mark.parametrize("method", ["fit", "predict"])
def bench_linear(benchmark, who, method):
    X = _rows(1_000_000, 9)
    y = X @ np.arange(9) + 1
    cls = estimators.LinearRegression if who == "gpuseg" else linear_model.LinearRegression
    model = cls().fit(X, y)
    calls = {"fit": lambda: cls().fit(X, y).coef_, "predict": lambda: model.predict(X)}
    case = f"LinearRegression.{method} 1e6 x 9"
    found = measure(benchmark, who, calls[method], case=case, voxels=len(X))
    np.testing.assert_allclose(found, np.arange(9) if method == "fit" else y, atol=1e-9)


@WHO
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("RobustScaler", {}),
        ("QuantileTransformer", {"random_state": 0}),
        ("QuantileTransformer", {"random_state": 0, "output_distribution": "normal"}),
        ("PolynomialFeatures", {}),
        ("PolynomialFeatures", {"degree": 4}),
    ],
    ids=str,
)
def bench_transform(benchmark, who, name, options, dtype):
    X = _rows(1_000_000, 3).astype(dtype)
    ours = getattr(estimators, name)(**options).fit(X)
    theirs = getattr(preprocessing, name)(**options).fit(X)
    model = ours if who == "gpuseg" else theirs
    case = f"{name}({', '.join(map(str, options.values()))}).transform 1e6 x 3 {X.dtype}"
    found = measure(benchmark, who, lambda: model.transform(X), case=case, voxels=len(X))
    if who != "gpuseg":
        np.testing.assert_allclose(ours.transform(X), found, rtol=1e-6, atol=1e-6)
