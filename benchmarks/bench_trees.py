"""Prediction by trees and forests beside scikit-learn's, on as many threads."""

import functools

import numpy as np
import pytest
from common import measure
from sklearn import ensemble

from gpuseg import device_info
from gpuseg.estimators import RandomForestClassifier, RandomForestRegressor

ROWS, COLUMNS, TREES = 200_000, 8, 100
KINDS = {
    "regressor": (RandomForestRegressor, ensemble.RandomForestRegressor),
    "2 classes": (RandomForestClassifier, ensemble.RandomForestClassifier),
    "5 classes": (RandomForestClassifier, ensemble.RandomForestClassifier),
}
WHO = ("gpuseg", "scikit-learn")


def table(rows, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, COLUMNS), dtype=np.float32)


@functools.lru_cache(maxsize=2)
def forests(kind, depth):
    """Both libraries' forests, of the same trees; a deep one learns from fewer rows."""
    X = table(100_000 if depth else 10_000)
    y = np.sin(X[:, 0] * 2) + X[:, 1] * X[:, 2] + 0.3 * table(len(X), 1)[:, 0]
    if kind != "regressor":
        classes = int(kind[0])
        y = np.digitize(y, np.quantile(y, np.arange(1, classes) / classes))
    options = dict(n_estimators=TREES, max_depth=depth, random_state=0,
                   max_samples=0.3, n_jobs=device_info()["cpu"]["threads"])  # fmt: skip
    ours, theirs = (cls(**options) for cls in KINDS[kind])
    theirs.fit(X, y)
    vars(ours).update(vars(theirs))
    return dict(zip(WHO, (ours, theirs)))


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("depth", [6, 8, 10, 12, None])
@pytest.mark.parametrize("kind", KINDS)
def bench_forest(benchmark, who, kind, depth):
    models, X = forests(kind, depth), table(ROWS, 2)

    def call(name):
        model = models[name]
        return model.predict(X) if kind == "regressor" else model.predict_proba(X)

    case = f"forest of {TREES} trees, {kind}, depth {depth or 'unlimited'}, {ROWS} x {COLUMNS}"
    result = measure(benchmark, who, lambda: call(who), case=case, voxels=ROWS)
    if who != "gpuseg":
        assert np.abs(result - call("gpuseg")).max() < 1e-5


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("depth", [10, None])
def bench_classes(benchmark, who, depth):
    models, X = forests("5 classes", depth), table(ROWS, 2)
    case = f"classes by {TREES} trees, depth {depth or 'unlimited'}, {ROWS} x {COLUMNS}"
    result = measure(benchmark, who, lambda: models[who].predict(X), case=case, voxels=ROWS)
    if who != "gpuseg":
        assert np.mean(result == models["gpuseg"].predict(X)) > 0.9999


@pytest.mark.parametrize("who", WHO)
def bench_planes(benchmark, who):
    """Features as a filter bank gives them: a plane each."""
    models, X = forests("2 classes", 10), np.asfortranarray(table(ROWS, 2))
    case = f"forest of {TREES} trees, 2 classes, depth 10, planes of {ROWS} x {COLUMNS}"
    result = measure(benchmark, who, lambda: models[who].predict_proba(X), case=case, voxels=ROWS)
    if who != "gpuseg":
        assert np.abs(result - models["gpuseg"].predict_proba(X)).max() < 1e-5


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("rows", [1, 1000])
def bench_few_rows(benchmark, who, rows):
    models, X = forests("2 classes", 10), table(rows, 2)
    case = f"forest of {TREES} trees, 2 classes, depth 10, {rows} x {COLUMNS}"
    result = measure(benchmark, who, lambda: models[who].predict_proba(X), case=case, voxels=rows)
    if who != "gpuseg":
        assert np.abs(result - models["gpuseg"].predict_proba(X)).max() < 1e-5
