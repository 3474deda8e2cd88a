"""What each served call costs by either way on the CPU: the table of `gpuseg/accel/_costs.py`.

``python benchmarks/accel_costs.py`` measures for about four minutes and prints its lines;
``python benchmarks/accel_costs.py label KMeans`` those of paths with such a part. Both ways are
timed in turn at two sizes, functions for several types of images: the line of a function is that
of the type for which ours gains least.
"""

import sys
import time
import warnings
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from accel_cases import arguments, image

import gpuseg
from gpuseg.accel._estimators import work
from gpuseg.accel._table import table

SIZES = ((128, 128), (768, 768))
DTYPES = (bool, np.uint8, np.float32, np.float64)
ROWS = (3_000, 60_000)


def fastest(calls, rounds: int) -> list[float]:
    """Seconds of each call at its fastest, in turn."""
    best = [float("inf")] * len(calls)
    for _ in range(rounds):
        for i, call in enumerate(calls):
            start = time.perf_counter()
            call()
            best[i] = min(best[i], time.perf_counter() - start)
        if sum(best) > 1:
            break
    return best


def cost(times, sizes) -> tuple[float, float, int]:
    """(nanoseconds a value of the original, of ours, microseconds that ours costs more)."""
    (fixed, theirs), (our_fixed, ours) = (_line(seconds, sizes) for seconds in zip(*times))
    return round(theirs, 2), round(ours, 2), round((our_fixed - fixed) * 1e6)


def _line(seconds, sizes) -> tuple[float, float]:
    """Seconds of a call on nothing, and nanoseconds a value, of two times."""
    slope = max(0.0, float((seconds[1] - seconds[0]) / (sizes[1] - sizes[0])))
    return max(0.0, seconds[0] - slope * sizes[0]), slope * 1e9


def of_function(form, original, cases, sizes):
    """The least of what a function gains over types of arguments: a list for each, by size."""
    worst = None
    for case in cases:
        times = []
        try:
            for args in case:
                original(*args), form(*args)
                times.append(fastest([partial(original, *args), partial(form, *args)], 15))
        except Exception:
            continue  # a type that is not served
        found = cost(times, sizes)
        if worst is None or found[0] / max(found[1], 0.01) < worst[0] / max(worst[1], 0.01):
            worst = found
    return worst


def images(path: str) -> list:
    cases = [[arguments(path, image(shape, dtype)) for shape in SIZES] for dtype in DTYPES]
    return [case for case in cases if None not in case]


def tables(rows: int):
    rng = np.random.default_rng(0)
    X = rng.random((rows, 6)).astype(np.float32)
    return X, (X.sum(axis=1) + rng.normal(0, 0.5, rows) > 3).astype(int)


def labels(path: str) -> list:
    """Truth and prediction, or truth and score."""
    rng, rows = np.random.default_rng(0), (20_000, 500_000)
    if path.endswith(("matrix", "report")):
        return [[(rng.integers(0, 3, n), rng.integers(0, 3, n)) for n in rows]]
    return [[(rng.integers(0, 2, n), rng.random(n)) for n in rows]]


# The parameters of the estimators that are timed, and the methods.
ESTIMATORS = {
    "cluster.KMeans": (
        {"n_clusters": 8, "n_init": 1, "max_iter": 20, "tol": 0},
        ("fit", "predict"),
    ),
    "ensemble.RandomForestClassifier": (
        {"n_estimators": 20, "max_depth": 10},
        ("predict", "predict_proba"),
    ),
    "ensemble.RandomForestRegressor": ({"n_estimators": 20, "max_depth": 10}, ("predict",)),
    "linear_model.LinearRegression": ({}, ("predict",)),
    "neighbors.KNeighborsClassifier": ({}, ("predict", "predict_proba", "kneighbors")),
    "neighbors.KNeighborsRegressor": ({}, ("predict", "kneighbors")),
    "preprocessing.PolynomialFeatures": ({}, ("transform",)),
    "preprocessing.QuantileTransformer": ({}, ("transform",)),
    "preprocessing.RobustScaler": ({}, ("transform",)),
    "tree.DecisionTreeClassifier": ({"max_depth": 10}, ("predict", "predict_proba")),
    "tree.DecisionTreeRegressor": ({"max_depth": 10}, ("predict",)),
}


def of_methods(place: str):
    """(method, cost) of an estimator."""
    package, _, name = place.partition(".")
    parameters, methods = ESTIMATORS[place]
    if name not in {"KNeighborsClassifier", "KNeighborsRegressor", "LinearRegression",
                    "PolynomialFeatures", "RobustScaler"}:  # fmt: skip
        parameters = parameters | {"random_state": 0}
    both = [
        getattr(import_module(where), name)(**parameters).fit(*tables(ROWS[0]))
        for where in (f"sklearn.{package}", "gpuseg.estimators")
    ]
    for method in methods:
        times, sizes = [], []
        for rows in ROWS:
            X, _ = tables(rows)
            sizes.append(work(both[1], X))
            times.append(fastest([partial(getattr(one, method), X) for one in both], 8))
        yield method, cost(times, sizes)


def lines(chosen):
    for path, form in table().items():
        if chosen and not any(part in path for part in chosen):
            continue
        package, _, name = path.rpartition(".")
        original = getattr(import_module(package), name)
        if package == "sklearn.metrics":
            yield path, of_function(form, original, labels(path), (20_000, 500_000))
        else:
            sizes = [np.prod(shape) for shape in SIZES]
            yield path, of_function(form, original, images(path), sizes)
    for place in ESTIMATORS:
        if chosen and not any(part in place for part in chosen):
            continue
        for method, found in of_methods(place):
            yield f"sklearn.{place}.{method}", found


def main() -> None:
    warnings.simplefilter("ignore")
    gpuseg.set_device("cpu")
    for path, found in lines(sys.argv[1:]):
        if found is not None and found[1] < 0.8 * found[0]:
            print(f'    "{path}": Cost{found},', flush=True)


if __name__ == "__main__":
    main()
