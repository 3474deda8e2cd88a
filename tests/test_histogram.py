"""Histograms: the counts of NumPy, on every backend, whatever the dtype and the strides."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gpuseg
from gpuseg.filters import histogram

INTEGERS = ["u1", "i1", "u2", "i2", "i4", "u4", "i8", "u8", ">u2", ">i4"]


def expected_integers(image):
    values = np.asarray(image).astype(np.int64).ravel()
    return np.bincount(values - values.min()), np.arange(values.min(), values.max() + 1)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers(backend, rng, dtype):
    low = -100 if np.dtype(dtype).kind == "i" else 3
    image = rng.integers(low, 120, (5, 9)).astype(dtype)
    counts, centers = histogram(image)
    expected = expected_integers(image)
    np.testing.assert_array_equal(counts, expected[0])
    np.testing.assert_array_equal(centers, expected[1])
    assert counts.dtype == centers.dtype == np.int64


@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4"])
@pytest.mark.parametrize("nbins", [1, 2, 256, 9000])
def test_floats(backend, rng, dtype, nbins):
    image = (rng.standard_normal((6, 11)) * 7 + 3).astype(dtype)
    counts, centers = histogram(image, nbins)
    expected, edges = np.histogram(image, nbins)
    np.testing.assert_array_equal(counts, expected)
    np.testing.assert_array_equal(centers, (edges[1:] + edges[:-1]) / 2)
    assert centers.dtype == np.dtype(dtype).newbyteorder("=")


@given(data=st.data(), dtype=st.sampled_from(["f4", "f8"]))
def test_values_on_the_edges_fall_where_numpy_puts_them(data, dtype):
    shape = data.draw(hnp.array_shapes(max_dims=3, max_side=40))
    nbins = data.draw(st.sampled_from([2, 10, 100, 256]))
    scale = data.draw(st.sampled_from([1e-3, 0.1, 1, 1e4]))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    image = (rng.integers(-nbins, nbins, shape) * scale).astype(dtype)
    image = data.draw(st.sampled_from([image, image[..., ::-1], image.T, image[..., ::2]]))
    if image.min() == image.max():
        return
    with gpuseg.using("cpu"):
        counts, _ = histogram(image, nbins)
    np.testing.assert_array_equal(counts, np.histogram(image, nbins)[0])


def test_a_large_image_in_many_pieces(monkeypatch, rng):
    monkeypatch.setenv("GPUSEG_NUM_THREADS", "7")
    image = rng.standard_normal((701, 503), dtype=np.float32)
    with gpuseg.using("cpu"):
        np.testing.assert_array_equal(histogram(image)[0], np.histogram(image, 256)[0])
        wide = (image * 3000).astype(np.int16)
        np.testing.assert_array_equal(histogram(wide)[0], expected_integers(wide)[0])


def test_bool_and_float16(backend):
    counts, centers = histogram(np.array([[True, False, True]]))
    assert counts.tolist() == [1, 2]
    assert centers.tolist() == [0, 1]
    half = np.array([0, 0.25, 1, 0.5], np.float16)
    np.testing.assert_array_equal(histogram(half, 4)[0], [1, 1, 1, 1])


def test_integers_too_far_apart_for_a_bin_each(backend):
    image = np.array([0, 2**31, 2**40], np.int64)
    counts, centers = histogram(image, 4)
    assert counts.tolist() == [2, 0, 0, 1]
    assert centers[0] == 2**37


def test_floats_too_close_for_so_many_bins(backend):
    image = np.array([16777216, 16777218, 16777220], np.float32)
    counts, _ = histogram(image, 256)
    assert counts.sum() == 3
    assert counts[0] == counts[-1] == 1


def test_mask(backend, rng):
    image, mask = rng.integers(0, 50, (7, 8)), rng.random((7, 8)) > 0.5
    np.testing.assert_array_equal(histogram(image, mask=mask)[0], expected_integers(image[mask])[0])


def test_nan_and_infinity(backend):
    image = np.array([[1.0, np.nan, 3.0, 2.0]])
    with pytest.raises(ValueError, match='image holds NaN; pass nan="omit"'):
        histogram(image)
    assert histogram(image, 2, nan="omit")[0].tolist() == [1, 2]
    mask = np.array([[True, True, True, False]])
    assert histogram(image, 2, nan="omit", mask=mask)[0].tolist() == [1, 1]
    with pytest.raises(ValueError, match="nothing but NaN"):
        histogram(np.full(3, np.nan), nan="omit")
    with pytest.raises(ValueError, match="infinite"):
        histogram(np.array([1, np.inf]))
    with pytest.raises(ValueError, match="infinite"):
        histogram(np.array([1, np.nan, -np.inf]), nan="omit")


def test_constant(backend):
    for image in (np.full((2, 3), 7, np.uint8), np.full(4, 2.5, np.float32)):
        counts, centers = histogram(image)
        assert counts.tolist() == [image.size]
        assert centers[0] == image.flat[0]


@pytest.mark.parametrize(
    ("image", "more", "error", "text"),
    [
        (np.zeros((0, 2)), {}, ValueError, "image is empty"),
        (np.zeros(2, complex), {}, TypeError, "image must hold real numbers"),
        (np.zeros(2), {"nbins": 0}, ValueError, "nbins must be at least 1"),
        (np.zeros(2), {"nbins": 2.5}, TypeError, "nbins must be an integer"),
        (np.zeros(2), {"nan": "drop"}, ValueError, "nan must be one of 'raise', 'omit'"),
        (np.zeros(2), {"mask": [True]}, ValueError, "mask must have the shape"),
    ],
)
def test_bad_input(image, more, error, text):
    with pytest.raises(error, match=text):
        histogram(image, **more)
