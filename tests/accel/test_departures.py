"""Calls that ours answers otherwise on purpose: served, the original's answer is given."""

import warnings
from importlib import import_module

import numpy as np
import pytest

import gpuseg
from gpuseg.accel._serve import MISSED, Served
from gpuseg.accel._table import served

FLOOD, FILL = "skimage.segmentation.flood", "skimage.segmentation.flood_fill"
BIG = np.array([2**53 + 1, 2**53, 0])

# Functions of scikit-image with arguments for which ours answer otherwise.
CALLS = {
    "part of a mask": (FLOOD, (np.eye(4, dtype=bool), (0, 0)), {"tolerance": 0.5}),
    "past 2**53": (FLOOD, (BIG, (0,)), {"tolerance": 0.0}),
    "past 2**53, filled": (FILL, (BIG, (0,), 7), {"tolerance": 0.0}),
    "cut to zero": (FLOOD, (np.array([4, 1]), (0,)), {"tolerance": 2.5}),
    "from NaN": (FLOOD, (np.array([np.nan, 1]), (0,)), {}),
    "opened at a border": (
        "skimage.morphology.opening",
        (np.array([[3, 1, 2], [9, 5, 4], [7, 8, 6]]), np.array([[0, 1, 1], [0, 1, 0], [0, 0, 0]])),
        {"mode": "mirror"},
    ),
    "closed before a constant": (
        "skimage.morphology.closing",
        (np.array([[3, 1, 2], [9, 5, 4], [7, 8, 6]]),),
        {"mode": "min"},
    ),
    "midway": (
        "skimage.measure.find_contours",
        (np.array([[10, 10, 252], [10, 252, 252]], np.uint8),),
        {},
    ),
    "masked surface": (
        "skimage.measure.marching_cubes",
        (np.pad(np.ones((3, 3, 3)), 1), 0.5),
        {"mask": np.arange(125).reshape(5, 5, 5) > 24},
    ),
    "surface among the data": (
        "skimage.measure.marching_cubes",
        (np.pad(np.arange(27.0).reshape(3, 3, 3) % 4, 1), 2),
        {},
    ),
    "swapped": (
        "skimage.filters.apply_hysteresis_threshold",
        (np.array([1.0, 2, 3]), 2.5, 1.5),
        {},
    ),
    "below 0": (FLOOD, (np.array([1, 2]), (0,)), {"tolerance": -1}),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_departs_is_left_to_the_original(name, monkeypatch):
    path, args, options = CALLS[name]
    package, _, function = path.rpartition(".")
    original = getattr(import_module(package), function)
    original = getattr(original, "gpuseg_original", original)
    monkeypatch.setattr("gpuseg.accel._costs.purse.always", True)
    with gpuseg.using("cpu"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = original(*args, **options)
        one = Served(path, served(package)[function], original)
        assert one.attempt(args, options) is MISSED
        # It does depart: a rule that is not needed any longer is to go.
        try:
            ours = getattr(import_module(package.replace("skimage", "gpuseg")), function)(
                *args, **options
            )
        except ValueError:
            return
    if len(_parts(ours)) != len(_parts(wanted)):
        return
    for a, b in zip(_parts(ours), _parts(wanted), strict=True):
        if np.shape(a) != np.shape(b) or not np.array_equal(a, b):
            return
    pytest.fail("ours gives the original's answer")


def _parts(result):
    return result if isinstance(result, tuple | list) else [result]
