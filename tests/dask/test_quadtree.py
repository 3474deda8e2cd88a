"""Quad-trees of chunked arrays are those of the whole, leaf by leaf."""

import numpy as np
import pytest

da = pytest.importorskip("dask.array")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from gpuseg.segmentation import quadtree  # noqa: E402

FIELDS = ("corner", "level", "min", "max", "mean", "variance")


@settings(max_examples=40)
@given(
    st.data(), st.sampled_from(("bool", "uint8", "int16", "float16", "float32", "float64")),
    st.sampled_from(("range", "std", "variance")), st.sampled_from((2, 3)),
)  # fmt: skip
def test_trees(data, dtype, criterion, ndim):
    most = {2: 150, 3: 40}[ndim]
    shape = data.draw(st.tuples(*[st.integers(1, most)] * ndim))
    chunks = data.draw(st.tuples(*(st.integers(1, n) for n in shape)))
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    image = (sum(np.ogrid[tuple(slice(n) for n in shape)]) / 9).round()
    image = (image * 4 + (rng.random(shape) < 0.01) * 9).astype(dtype)
    options = {
        "threshold": data.draw(st.sampled_from((0, 0.4, 4, 30))),
        "criterion": criterion,
        "min_size": data.draw(st.sampled_from((1, 4, 64))),
        "max_size": data.draw(st.sampled_from((None, 64))),
    }
    whole = quadtree(image, **options)
    tree = quadtree(da.from_array(image, chunks=chunks), **options)
    for name in FIELDS:
        found, expected = getattr(tree, name), getattr(whole, name)
        assert (found is None) == (expected is None)
        if expected is not None:
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)
    labels = tree.labels()
    assert isinstance(labels, da.Array)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, whole.labels())
    np.testing.assert_array_equal(tree.mean_image(), whole.mean_image())


def test_regions_of_leaves_that_touch():
    image = np.kron(np.arange(30).reshape(5, 6) % 4, np.ones((17, 13)))
    whole = quadtree(image, 0)
    regions = quadtree(da.from_array(image, chunks=33), 0).merge()
    np.testing.assert_array_equal(regions, whole.merge())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity(bad):
    image = np.zeros((70, 70), np.float32)
    image[66, 3] = bad
    with pytest.raises(ValueError, match="image holds NaN or infinity"):
        quadtree(da.from_array(image, chunks=32), 1)
