"""The argument checks: each refuses with the argument's name, what came, what is allowed."""

import numpy as np
import pytest

from gpuseg import _checks


@pytest.mark.parametrize(
    ("x", "error", "text"),
    [
        (np.zeros(3, complex), TypeError, "image must hold real numbers .* got complex128"),
        (np.array([None, 1]), TypeError, "image must hold real numbers .* got object"),
        (np.array(["a"]), TypeError, "image must hold real numbers"),
        (np.array(3.0), ValueError, "image must have at least one axis, got a 0-d array"),
        (5, ValueError, "0-d"),
        (np.zeros((0, 4)), ValueError, r"image is empty: shape \(0, 4\)"),
        ([[1, 2], [3]], ValueError, "image is not a rectangular array"),
        (None, TypeError, "image must be an array .* got NoneType"),
        ("file.png", TypeError, "image must be an array .* got str"),
        (np.ma.masked_array([1, 2], [True, False]), TypeError, "mask would be lost"),
        (np.zeros(3, "datetime64[s]"), TypeError, "got datetime64"),
    ],
)
def test_real_array_refuses(x, error, text):
    with pytest.raises(error, match=text):
        _checks.real_array(x)


def test_real_array_takes_what_it_can_as_it_is():
    for dtype in (bool, "u1", "i8", "f2", "f4", "f8"):
        x = np.ones((2, 3), dtype)[::-1, ::2]
        assert _checks.real_array(x) is x
    big = np.arange(4, dtype=">u2")
    native = _checks.real_array(big)
    assert native.dtype == np.uint16
    assert native.dtype.isnative
    np.testing.assert_array_equal(native, big)


def test_ndim():
    with pytest.raises(ValueError, match=r"image must have \(2, 3\) axes, got shape \(4,\)"):
        _checks.real_array(np.ones(4), ndim=(2, 3))


def test_bool_array():
    assert _checks.bool_array([[0, 2.5]]).tolist() == [[False, True]]


def test_mask_array():
    image = np.zeros((2, 2))
    assert _checks.mask_array(None, image) is None
    assert _checks.mask_array([[0, 3], [0, 0]], image).tolist() == [[False, True], [False, False]]
    for mask, error, text in (
        (np.ones((2, 3), bool), ValueError, "mask must have the shape of the image"),
        (np.ones((2, 2)), TypeError, "mask must be bool .* got float64"),
        (np.zeros((2, 2), bool), ValueError, "mask selects no element"),
    ):
        with pytest.raises(error, match=text):
            _checks.mask_array(mask, image)


@pytest.mark.parametrize("x", ["1", None, True, 1j, [1], np.array([1.0]), np.True_])
def test_number_refuses_other_things(x):
    with pytest.raises(TypeError, match="size must be a number, got"):
        _checks.number(x, "size")


def test_number_ranges():
    assert _checks.number(np.float32(2), "size", above=0, at_least=2, at_most=2) == 2
    assert _checks.number(np.array(3), "size") == 3
    for x, limits, text in (
        (0, {"above": 0}, "size must be greater than 0, got 0"),
        (-1, {"at_least": 0}, "size must be at least 0, got -1"),
        (2, {"at_most": 1}, "size must be at most 1, got 2"),
        (float("nan"), {}, "size must be finite, got nan"),
        (float("inf"), {}, "size must be finite, got inf"),
    ):
        with pytest.raises(ValueError, match=text):
            _checks.number(x, "size", **limits)


def test_integer():
    assert _checks.integer(np.uint8(3), "count", at_least=1) == 3
    for x in (1.0, "1", None, True, np.True_):
        with pytest.raises(TypeError, match="count must be an integer, got"):
            _checks.integer(x, "count")
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        _checks.integer(0, "count", at_least=1)


def test_option():
    assert _checks.option("a", "mode", ("a", "b")) == "a"
    with pytest.raises(ValueError, match="mode must be one of 'a', 'b', got 'c'"):
        _checks.option("c", "mode", ("a", "b"))


def test_per_axis():
    assert _checks.per_axis(2, "sigma", 3) == (2, 2, 2)
    assert _checks.per_axis((1, 0.5), "sigma", 2, at_least=0) == (1, 0.5)
    with pytest.raises(ValueError, match="sigma must be a number or have one for each of 2 axes"):
        _checks.per_axis((1, 2, 3), "sigma", 2)
    with pytest.raises(ValueError, match="sigma must be at least 0, got -1"):
        _checks.per_axis((1, -1), "sigma", 2, at_least=0)
