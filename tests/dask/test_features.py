"""Features of chunked images equal those of the whole."""

import numpy as np
import pytest

da = pytest.importorskip("dask.array")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from gpuseg import features  # noqa: E402
from gpuseg.features.bank import KINDS, MODES  # noqa: E402

DTYPES = ("uint8", "float16", "float32", "float64", ">u2", "bool")


@st.composite
def images(draw, most=14):
    """An image, its chunks, and the axis of its channels."""
    ndim = draw(st.integers(2, 3))
    shape = draw(st.lists(st.integers(1, most), min_size=ndim, max_size=ndim))
    axis = draw(st.sampled_from([None, 0, -1]))
    if axis is not None:
        shape.insert(len(shape) if axis else 0, 2)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    image = (rng.random(shape) * 100).astype(draw(st.sampled_from(DTYPES)))
    return image, tuple(draw(st.integers(-(-n // 4), n)) for n in shape), axis


def same(function, image, chunks, *args, **options):
    """That a lazy array gives what the whole does, in its chunks, bit for bit."""
    expected = function(image, *args, **options)
    found = function(da.from_array(image, chunks=chunks), *args, **options)
    assert isinstance(found, da.Array)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    found = found.compute(scheduler="sync")
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=30)
@given(images(), st.booleans())
def test_places(case, polar):
    image, chunks, axis = case
    scale = [0.5, 2, 3][: image.ndim - (axis is not None)]
    same(features.position, image, chunks, polar, scale, channel_axis=axis)


@settings(max_examples=30)
@given(images(10), st.integers(0, 2), st.sampled_from(MODES))
def test_neighbours(case, radius, mode):
    image, chunks, axis = case
    same(features.neighborhood, image, chunks, radius, mode, cval=3, channel_axis=axis)


@settings(max_examples=30)
@given(
    images(),
    st.sampled_from([0, 0.7, (1, 2)]),
    st.lists(st.sampled_from(KINDS), min_size=1, unique=True),
    st.sampled_from(MODES),
)
def test_filters(case, sigmas, kinds, mode):
    image, chunks, axis = case
    same(features.filter_bank, image, chunks, sigmas, kinds, channel_axis=axis, mode=mode)


@settings(max_examples=20)
@given(images(), st.sampled_from([1, 2, (2, 3)]), st.booleans())
def test_products(case, degree, interaction_only):
    image, chunks, _ = case
    same(features.polynomial, image, chunks, degree, interaction_only=interaction_only)


def test_nothing_is_computed_before_it_is_asked_for():
    image = np.ones((9, 9))
    image[8, 8] = np.nan
    lazy = da.from_array(image, chunks=3)
    found = [
        features.position(lazy),
        features.neighborhood(lazy),
        features.filter_bank(lazy, 0.5, "gaussian"),
        features.polynomial(lazy),
    ]
    for x in found:
        x[:3, :3].compute()
        with pytest.raises(ValueError, match="holds NaN or infinity"):
            x.compute()


def test_transformers_say_what_takes_chunks():
    with pytest.raises(TypeError, match="X must be in memory"):
        features.AddFilters().transform(da.zeros((1, 8, 8, 1)))
