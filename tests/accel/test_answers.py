"""Every function that is served, beside the original: values, types, and what it raises."""

import itertools
import warnings
from importlib import import_module

import numpy as np
import pytest
import sklearn.ensemble
import sklearn.neighbors
from accel_cases import DTYPES, calls, image

import gpuseg
import gpuseg.accel
from gpuseg.accel._estimators import stand_in_class
from gpuseg.accel._serve import MISSED, Served
from gpuseg.accel._table import LEFT, PACKAGES, served, table

TABLE = sorted(table())
SHAPES = ((33, 40), (9, 14, 12))


def entry(path: str) -> Served:
    package, _, name = path.rpartition(".")
    thing = getattr(import_module(package), name)
    return Served(path, served(package)[name], getattr(thing, "gpuseg_original", thing))


@pytest.fixture(autouse=True)
def always(monkeypatch):
    """Whatever pays."""
    monkeypatch.setattr("gpuseg.accel._costs.purse.always", True)
    with gpuseg.using("cpu"):
        yield


def call(function, args, kwargs):
    """What a function returns, or the type of what it raises; its warnings are not compared."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return function(*args, **kwargs)
        except Exception as error:
            return type(error)


def assert_same(found, wanted, where=""):
    if isinstance(wanted, dict):
        assert list(found) == list(wanted), where
        found, wanted = list(found.values()), list(wanted.values())
    if isinstance(wanted, tuple | list):
        assert type(found) is type(wanted), where
        assert len(found) == len(wanted), where
        for part, expected in zip(found, wanted):
            assert_same(part, expected, where)
        return
    assert type(found) is type(wanted), (where, type(found), type(wanted))
    if isinstance(wanted, np.ndarray | np.generic):
        assert found.dtype.str == wanted.dtype.str, (where, found.dtype, wanted.dtype)
        assert found.shape == wanted.shape, where
        sizes = np.abs(wanted.astype(np.float64))
        # What is less than this is the rounding of values near 1.
        scale = max(1e-2, float(sizes[np.isfinite(sizes)].max(initial=0)))
        exact = wanted.dtype.kind in "bui"
        np.testing.assert_allclose(
            found, wanted, rtol=0, atol=0 if exact else 1e-5 * scale, err_msg=where
        )
    else:
        assert found == wanted, where


def images():
    """Images of every type that comes along, and such as have no contrast, or but two values."""
    for shape in SHAPES:
        for dtype in (*DTYPES, np.float16, ">u2", ">f4"):
            yield image(shape, np.dtype(dtype).newbyteorder("=")).astype(dtype)
    # With gaps between the values.
    yield image(SHAPES[0], np.dtype(np.uint8)).astype(np.uint16) * 16
    yield image(SHAPES[0], np.dtype(np.uint8)).astype(np.float32) / 255
    for dtype in (np.uint8, np.float32):
        yield np.ones(SHAPES[0], dtype)
        yield (image(SHAPES[0], np.float64) > 0.5).astype(dtype)


@pytest.mark.parametrize("path", [p for p in TABLE if not p.startswith("sklearn.metrics")])
def test_a_served_function_gives_the_originals_answer(path):
    one, tried = entry(path), 0
    for x in images():
        wide = x.dtype.kind in "iu" and int(x.max()) - int(x.min()) > 5000
        if path == "skimage.filters.threshold_minimum" and wide:
            continue  # the original smooths a histogram of 65 536 bins ten thousand times
        for args, kwargs in calls(path, x):
            before = [np.copy(a) if isinstance(a, np.ndarray) else a for a in args]
            found = one.attempt(args, kwargs)
            if found is MISSED:
                continue
            tried += 1
            wanted = call(one.original, args, kwargs)
            where = f"{path} {x.shape} {x.dtype} {kwargs}"
            assert not isinstance(wanted, type), f"{where}: the original raises {wanted}"
            assert_same(found, wanted, where)
            for a, b in zip(args, before):
                np.testing.assert_array_equal(a, b)
    assert tried, "nothing is served"


LABELS = {
    "arrays": lambda x: x,
    "lists": lambda x: x.tolist(),
    "a column of a table": lambda x: pytest.importorskip("pandas").Series(x),
}


@pytest.mark.parametrize("container", LABELS)
@pytest.mark.parametrize("path", [p for p in TABLE if p.startswith("sklearn.metrics")])
def test_served_scores_are_the_originals(path, container):
    one, tried = entry(path), 0
    rng = np.random.default_rng(0)
    for count, classes in ((28, 2), (300, 2), (300, 5)):
        true = rng.integers(0, classes, count)
        found = np.where(rng.random(count) < 0.7, true, rng.integers(0, classes, count))
        scores = path.endswith(("curve", "auc_score"))
        second = rng.random(count).round(1) if scores else found
        weights = np.arange(count) % 3 + 1
        for dtype in (np.int64, np.uint8, bool):
            args = LABELS[container](true.astype(dtype)), LABELS[container](second)
            for kwargs in ({}, {"sample_weight": LABELS[container](weights)}):
                answer = one.attempt(args, kwargs)
                if answer is MISSED:
                    continue
                tried += 1
                wanted = call(one.original, args, kwargs)
                assert not isinstance(wanted, type)
                assert_same(answer, wanted, f"{path} {count} {classes} {np.dtype(dtype)} {kwargs}")
    assert tried, "nothing is served"


@pytest.mark.parametrize("algorithm", ["auto", "brute", "ball_tree"])
@pytest.mark.parametrize("name", ["KNeighborsClassifier", "KNeighborsRegressor"])
def test_equally_near_neighbours_are_the_originals(name, algorithm):
    original = getattr(sklearn.neighbors, name)
    stand_in = stand_in_class("sklearn.neighbors", name, original)
    rng = np.random.default_rng(0)
    for features, dtype, k, weights in itertools.product(
        (1, 2, 3), (np.uint8, np.float32), (1, 3), ("uniform", "distance")
    ):
        references, rows = (rng.integers(0, 6, (n, features)).astype(dtype) for n in (90, 300))
        targets = rng.integers(0, 3, len(references))
        ours, theirs = (
            kind(k, weights=weights, algorithm=algorithm).fit(references, targets)
            for kind in (stand_in, original)
        )
        for method in ("kneighbors", "predict", "predict_proba"):
            for X in (rows, None):
                if hasattr(original, method):
                    assert_same(getattr(ours, method)(X), getattr(theirs, method)(X))


def test_tables_and_lists_are_served_to_estimators():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(np.random.default_rng(0).random((60, 3)), columns=list("abc"))
    targets = np.arange(60) % 2
    original = sklearn.ensemble.RandomForestClassifier
    stand_in = stand_in_class("sklearn.ensemble", "RandomForestClassifier", original)
    fitted = stand_in(5, random_state=0).fit(table, targets)
    plain = stand_in(5, random_state=0).fit(table.to_numpy(), targets)
    with gpuseg.accel.profile() as calls:
        found = fitted.predict(table), plain.predict(table.to_numpy().tolist())
    wanted = original(5, random_state=0).fit(table, targets).predict(table)
    for one in found:
        np.testing.assert_array_equal(one, wanted)
    row = calls.rows["sklearn.ensemble.RandomForestClassifier.predict"]
    assert (row.served, row.original) == (2, 0)


def _flat_object():
    labels = np.zeros((3, 5, 5), int)
    labels[1, 1:4, 1:4] = 1
    return labels


@pytest.mark.parametrize(
    ("path", "args", "kwargs"),
    [
        ("skimage.measure.label", (np.array([[0, 1, 2]]),), {"background": 1.5}),
        ("skimage.measure.label", (np.array([[0, 1, 2]], np.uint8),), {"background": -1}),
        ("skimage.measure.label", (np.array([[0.2, 1.4, 2]]),), {"background": 1}),
        ("skimage.measure.regionprops_table", (_flat_object(),), {"properties": ["solidity"]}),
        ("skimage.measure.regionprops_table",
         (np.ones((2, 2), int), np.array([[1, 2], [1, 2]], np.float32) + np.float32(1e7)),
         {"properties": ["intensity_std"]}),
        *[
            (f"skimage.segmentation.{name}", (*image, labels), {"mode": mode})
            for name, image in (("find_boundaries", ()), ("mark_boundaries", (np.ones((5, 9)),)))
            for labels in (
                np.arange(45).reshape(5, 9) // 7 % 3 * (2**62),
                np.where(np.arange(45).reshape(5, 9) % 4, 127, 3).astype(np.int8),
                np.where(np.arange(45).reshape(5, 9) % 4, 0, 2**64 - 1).astype(np.uint64),
            )
            for mode in ("thick", "inner", "outer", "subpixel")
        ],
        ("sklearn.metrics.confusion_matrix",
         (np.array([1, 1]), np.array([2**63 + 1, 1], np.uint64)), {}),
    ],
)  # fmt: skip
def test_labels_of_which_the_original_has_its_own_view(path, args, kwargs):
    one = entry(path)
    found = one.attempt(args, kwargs)
    if found is not MISSED:
        assert_same(found, call(one.original, args, kwargs))


def test_reasons_for_what_is_left_are_of_names_that_both_have():
    for path in LEFT:
        package, _, name = path.rpartition(".")
        assert hasattr(import_module(package), name)
        assert hasattr(import_module(f"gpuseg.{PACKAGES[package]}"), name)
