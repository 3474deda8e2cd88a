"""Histograms and thresholds of chunked arrays equal those of the whole."""

import numpy as np
import pytest

da = pytest.importorskip("dask.array")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from gpuseg import filters, segmentation  # noqa: E402

DTYPES = ["bool", "uint8", "int8", "uint16", "int32", ">u2", "float16", "float32", "float64"]


def chunkings(shape):
    return st.tuples(*(st.integers(1, n) for n in shape))


@settings(max_examples=40)
@given(st.data(), st.sampled_from(DTYPES), st.booleans(), st.integers(1, 40))
def test_histograms(data, dtype, masked, nbins):
    shape = data.draw(st.tuples(st.integers(1, 12), st.integers(1, 9), st.integers(1, 5)))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    image = (rng.normal(size=shape) * 50).astype(dtype)
    mask = rng.random(shape) < 0.5 if masked else None
    if masked:
        mask[0, 0, 0] = True
    chunks = data.draw(chunkings(shape))
    lazy = da.from_array(image, chunks=chunks)
    lazy_mask = None if mask is None else da.from_array(mask, chunks=data.draw(chunkings(shape)))
    expected = filters.histogram(image, nbins, mask=mask)
    found = filters.histogram(lazy, nbins, mask=lazy_mask)
    for a, b in zip(found, expected):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


AUTOMATIC = [
    "huang", "intermodes", "isodata", "li", "maxentropy", "minerror", "minimum", "moments",
    "otsu", "percentile", "renyientropy", "shanbhag", "triangle", "yen",
]  # fmt: skip


@pytest.mark.parametrize("name", AUTOMATIC)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_thresholds(name, dtype, rng):
    image = np.concatenate([rng.normal(60, 9, 3000), rng.normal(150, 20, 1500)])
    image = rng.permutation(image).clip(0, 255).astype(dtype).reshape(30, 30, 5)
    function = getattr(filters, f"threshold_{name}")
    lazy = da.from_array(image, chunks=(7, 30, 2))
    assert function(lazy) == function(image)


def test_several_thresholds_and_means(rng):
    image = rng.normal(size=(40, 50)).astype(np.float32)
    lazy = da.from_array(image, chunks=(9, 50))
    np.testing.assert_array_equal(
        filters.threshold_multiotsu(lazy), filters.threshold_multiotsu(image)
    )
    mean = filters.threshold_mean(lazy)
    assert mean == pytest.approx(image.astype(float).mean(), rel=1e-6)
    assert mean.dtype == filters.threshold_mean(image).dtype


def test_nan_and_infinity_are_told_as_for_the_whole():
    image = np.ones((6, 6), np.float32)
    image[2, 3] = np.nan
    image[0, 0] = 3
    lazy = da.from_array(image, chunks=2)
    with pytest.raises(ValueError, match="image holds NaN"):
        filters.threshold_otsu(lazy)
    found, expected = (filters.histogram(x, nan="omit") for x in (lazy, image))
    for a, b in zip(found, expected):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="infinite"):
        filters.threshold_otsu(da.from_array(np.array([[np.inf, 1.0]]), chunks=1))
    with pytest.raises(ValueError, match="mask selects no element"):
        filters.histogram(lazy, mask=da.zeros((6, 6), dtype=bool))


@pytest.mark.parametrize("dtype", DTYPES)
def test_classes_by_thresholds(dtype, rng):
    image = (rng.normal(size=(17, 12, 5)) * 50).astype(dtype)
    lazy = filters.apply_thresholds(da.from_array(image, chunks=(5, 12, 2)), [-3, 0.5, 20])
    expected = filters.apply_thresholds(image, [-3, 0.5, 20])
    assert isinstance(lazy, da.Array)
    assert lazy.dtype == expected.dtype
    np.testing.assert_array_equal(lazy.compute(), expected)
    if dtype.startswith("float"):
        image[3, 3, 3] = np.nan
        lazy = da.from_array(image, chunks=(5, 12, 2))
        found = filters.apply_thresholds(lazy, [-3, 0.5, 20])
        with pytest.raises(ValueError, match="image holds NaN"):
            found.compute()


def test_what_has_no_form_says_so():
    with pytest.raises(TypeError, match=r"slic has no form for Dask arrays .*call .compute\(\)"):
        segmentation.slic(da.zeros((20, 20)), channel_axis=None)
