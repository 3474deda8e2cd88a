"""Means and deviations of windows, on the CPU and in the simulator, against their definition."""

import numpy as np
import pytest

from gpuseg.kernels import windows
from gpuseg.kernels.windows import local_cpu, local_cuda

MODES = {
    "constant": {"mode": "constant", "constant_values": 3},
    "nearest": {"mode": "edge"},
    "reflect": {"mode": "symmetric"},
    "mirror": {"mode": "reflect"},
    "wrap": {"mode": "wrap"},
}
FORMULA = (0.8, 0.01, -0.3)


def local(image, sizes, mode, formula=FORMULA, **options):
    """By both kernels."""
    single = image.dtype.kind == "f" and image.dtype.itemsize <= 4
    found = []
    for function in (local_cpu, lambda *args, **more: local_cuda(np, *args, **more)):
        out = np.empty(image.shape, np.float32 if single else np.float64)
        function(image, sizes, mode, 3.0, formula, out, **options)
        found.append(out)
    return found


def naive(image, sizes, mode):
    """Mean and deviation in long doubles."""
    padded = np.pad(image.astype(np.longdouble), [(n // 2, n // 2) for n in sizes], **MODES[mode])
    seen = np.lib.stride_tricks.sliding_window_view(padded, sizes)
    axes = tuple(range(image.ndim, 2 * image.ndim))
    return seen.mean(axes), seen.std(axes)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ((1,), (3,)),
        ((19,), (5,)),
        ((9, 11), (3, 5)),
        ((9, 11), (1, 1)),
        ((7, 9), (1, 3)),
        ((6, 1), (3, 3)),
        ((4, 9), (15, 3)),
        ((3, 5, 9), (3, 3, 5)),
        ((2, 3, 4, 5), (3, 1, 3, 5)),
    ],
)
@pytest.mark.parametrize("dtype", ["b1", "u2", "i8", "f2", "f4", "f8"])
def test_windows(rng, monkeypatch, shape, sizes, mode, dtype):
    monkeypatch.setattr(windows, "_BATCH", 12)
    image = (rng.random(shape) * 200).astype(dtype)
    m, s = naive(image, sizes, mode)
    a, b, c = FORMULA
    rtol = 2e-6 if dtype in {"f2", "f4"} else 1e-13
    for found in local(image, sizes, mode):
        expected = (m * (a + b * s) + c * s).astype(float)
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol * 200)
    for found in local(image, sizes, mode, (1.0, 0.0, 0.0)):
        np.testing.assert_allclose(found, m.astype(float), rtol=rtol, atol=rtol * 200)


@pytest.mark.parametrize("offset", [0, 5e4, 1e8, 1e12])
def test_a_small_spread_of_large_values(rng, offset):
    image = offset + rng.integers(0, 2, (12, 13)).astype(float)
    _, s = naive(image, (5, 5), "mirror")
    for found in local(image, (5, 5), "mirror", (0.0, 0.0, 1.0)):
        # The means of rows are rounded as the values are.
        np.testing.assert_allclose(found, s.astype(float), rtol=1e-9, atol=1e-15 * offset)


def test_a_small_spread_beside_one_huge_value(rng):
    image = rng.random((15, 15))
    image[7, 7] = -3e38
    _, s = naive(image, (3, 3), "mirror")
    away = np.ones(image.shape, bool)
    away[6:9, 6:9] = False
    for found in local(image, (3, 3), "mirror", (0.0, 0.0, 1.0)):
        np.testing.assert_allclose(found[away], s[away].astype(float), rtol=1e-12)


@pytest.mark.parametrize("value", [0.1, 1 / 3, 5e4 + 0.1])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_the_mean_of_equal_values_is_the_value(value, dtype):
    image = np.full((9, 10), value, dtype)
    for formula in ((1.0, 0.0, 0.0), (1.0, 0.0, -0.2)):
        for found in local(image, (5, 7), "mirror", formula):
            np.testing.assert_array_equal(found, image)


def test_means_of_integers_are_exact(rng):
    image = rng.integers(0, 2**16, (11, 12)).astype(np.uint16)
    seen = np.lib.stride_tricks.sliding_window_view(np.pad(image, 1, mode="symmetric"), (3, 3))
    expected = seen.sum((2, 3), dtype=np.int64) / 9
    for found in local(image, (3, 3), "reflect", (1.0, 0.0, 0.0)):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.filterwarnings("ignore:.*invalid value:RuntimeWarning")  # of the simulator
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("formula", [(1.0, 0.0, 0.0), FORMULA])
def test_what_is_not_finite_makes_its_windows_nan(rng, value, formula):
    image = rng.random((9, 14)).astype(np.float32)
    expected = np.zeros(image.shape, bool)
    expected[2:5, 3:10] = True
    clean = local(image, (3, 7), "mirror", formula)
    image[3, 6] = value
    for found, other in zip(local(image, (3, 7), "mirror", formula), clean):
        np.testing.assert_array_equal(np.isnan(found), expected)
        np.testing.assert_array_equal(found[~expected], other[~expected])


@pytest.mark.parametrize(("unit", "scale"), [(2.0**-1040, 2.0**1000), (2.0**1000, 2.0**-1000)])
def test_a_scale_keeps_squares_in_range(rng, unit, scale):
    image = rng.integers(1, 9, (8, 8)).astype(float)
    expected = local(image, (3, 3), "mirror", (0.8, 0.0, -0.2))
    found = local(image * unit, (3, 3), "mirror", (0.8, 0.0, -0.2), scale=scale)
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one / unit, other, rtol=1e-8)
