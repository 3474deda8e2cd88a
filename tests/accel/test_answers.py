"""Every function that is served, beside the original: values, types, and what it raises."""

import warnings
from importlib import import_module

import numpy as np
import pytest
from accel_cases import DTYPES, arguments, image

import gpuseg
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


def call(function, args):
    """What a function returns, or the type of what it raises; its warnings are not compared."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return function(*args)
        except Exception as error:
            return type(error)


def assert_same(found, wanted, where=""):
    if isinstance(wanted, dict):
        assert list(found) == list(wanted), where
        found, wanted = list(found.values()), list(wanted.values())
    if isinstance(wanted, tuple | list):
        assert len(found) == len(wanted), where
        for part, expected in zip(found, wanted):
            assert_same(part, expected, where)
        return
    assert type(found) is type(wanted), (where, type(found), type(wanted))
    if isinstance(wanted, np.ndarray | np.generic):
        assert found.dtype == wanted.dtype, (where, found.dtype, wanted.dtype)
        assert found.shape == wanted.shape, where
        scale = max(1e-30, float(np.abs(wanted.astype(np.float64)).max(initial=0)))
        exact = wanted.dtype.kind in "bui"
        np.testing.assert_allclose(
            found, wanted, rtol=0, atol=0 if exact else 1e-5 * scale, err_msg=where
        )
    else:
        assert found == wanted, where


@pytest.mark.parametrize("path", [p for p in TABLE if not p.startswith("sklearn.metrics")])
def test_a_served_function_gives_the_originals_answer(path):
    one, tried = entry(path), 0
    for shape in SHAPES:
        for dtype in DTYPES:
            args = arguments(path, image(shape, dtype))
            if args is None:
                continue
            before = [np.copy(a) if isinstance(a, np.ndarray) else a for a in args]
            wanted = call(one.original, args)
            found = one.attempt(args, {})
            if found is MISSED:
                continue
            tried += 1
            where = f"{path} {shape} {np.dtype(dtype)}"
            assert not isinstance(wanted, type), f"{where}: the original raises {wanted}"
            assert_same(found, wanted, where)
            for a, b in zip(args, before):
                np.testing.assert_array_equal(a, b)
    assert tried, "nothing is served"


def test_reasons_for_what_is_left_are_of_names_that_both_have():
    for path in LEFT:
        package, _, name = path.rpartition(".")
        assert hasattr(import_module(package), name)
        assert hasattr(import_module(f"gpuseg.{PACKAGES[package]}"), name)
