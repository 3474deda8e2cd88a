"""Mixtures of chunked images are those of the whole, up to the last digits of sums."""

import numpy as np
import pytest

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from gpuseg.segmentation import gaussian_mixture  # noqa: E402


def chunkings(shape):
    return st.tuples(*(st.integers(-(-n // 4), n) for n in shape))


def two_classes(rng, shape):
    """Two kinds of pixels, far apart, that differ in how much their values vary."""
    wide = rng.random(shape) < 0.4
    return np.where(wide, rng.normal(150, 20, shape), rng.normal(40, 5, shape)).clip(0, 255)


def same(image, chunks, n_components, **options):
    """That everything is as of the whole; arrays among the options are cut."""
    cut = {
        name: da.from_array(x, chunks=(*c, *x.shape[len(c) :]))
        for name, (x, c) in options.pop("cut", {}).items()
    }
    options["return_result"] = True
    whole = {name: x.compute() for name, x in cut.items()}
    with dask.config.set(scheduler="sync"):
        expected = gaussian_mixture(image, n_components, **whole, **options)
        lazy = da.from_array(image, chunks=chunks)
        found = gaussian_mixture(lazy, n_components, **cut, **options)
        assert found.n_iter == expected.n_iter
        for name in ("labels", "probabilities", "log_likelihood"):
            assert isinstance(getattr(found, name), da.Array)
        for name in ("labels", "probabilities"):
            lazy, array = getattr(found, name), getattr(expected, name)
            assert (lazy.shape, lazy.dtype) == (array.shape, array.dtype)
            assert lazy.compute().shape == array.shape
        np.testing.assert_array_equal(found.labels, expected.labels)
        for name in expected._fields[1:-1]:
            np.testing.assert_allclose(getattr(found, name), getattr(expected, name), 1e-6, 1e-6)


@settings(max_examples=20)
@given(st.data(), st.sampled_from(["uint8", "int32", ">u2", "float32"]))
def test_mixtures(data, dtype):
    shape = data.draw(st.lists(st.integers(5, 12), min_size=1, max_size=3).map(tuple))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    image = two_classes(rng, shape).astype(dtype)
    options, cut = {"init": np.array([[40.0], [150.0]]), "max_iter": 20}, {}
    options["covariance_type"] = data.draw(st.sampled_from(["full", "diag"]))
    if data.draw(st.booleans()):
        mask = rng.random(shape) < 0.6
        mask.flat[:4] = True
        image.flat[:4] = (38, 42, 140, 160)
        cut["mask"] = mask, data.draw(chunkings(shape))
    if data.draw(st.booleans()):
        features = rng.normal(size=(*shape, 2)).astype(np.float32)
        cut["features"] = features, data.draw(chunkings(shape))
        options["init"] = np.array([[40.0, 0, 0], [150, 0, 0]])
    if data.draw(st.booleans()):
        options |= {"init": "kmeans", "random_state": 1}
    options["reg_covar"] = 0.1
    same(image, data.draw(chunkings(shape)), 2, cut=cut, **options)


def test_channels_and_position(rng):
    image = np.stack([two_classes(rng, (14, 11)) for _ in range(2)])
    same(image, (1, 5, 4), 2, channel_axis=0, spatial_weight=0.5, random_state=0)


def test_chunks_outside_the_mask(rng):
    """Many chunks that have nothing to add, one after the other."""
    image = two_classes(rng, (40, 40))
    mask = np.zeros(image.shape, bool)
    mask[37:, 33:] = True
    same(image, (2, 2), 2, random_state=0, cut={"mask": (mask, (2, 40))})


def test_values_of_few_bits_are_counted_once(rng):
    """Every chunk is computed a fixed number of times, whatever the number of steps."""
    image = two_classes(rng, (30, 30)).astype(np.uint8)
    counts = []

    def counted(block):
        counts.append(1)
        return block

    for tol in (1e3, 0):
        counts.clear()
        lazy = da.from_array(image, chunks=10).map_blocks(counted, dtype=image.dtype)
        counts.clear()
        found = gaussian_mixture(lazy, 2, random_state=0, tol=tol, max_iter=9, return_result=True)
        assert found.n_iter == (9 if tol == 0 else 2)
        assert len(counts) == 18


def test_bad_input_is_told_as_for_the_whole():
    image = np.ones((6, 7))
    lazy = da.from_array(image, chunks=3)
    with pytest.raises(ValueError, match="there are only 1 different pixels, for 2 clusters"):
        gaussian_mixture(lazy, 2)
    with pytest.raises(ValueError, match="no width left: reg_covar must be above 0"):
        gaussian_mixture(lazy, 1, reg_covar=0)
    with pytest.raises(ValueError, match="mask selects no element"):
        gaussian_mixture(lazy, 1, mask=da.zeros((6, 7), dtype=bool))
    with pytest.raises(ValueError, match="covariance_type"):
        gaussian_mixture(lazy, 1, covariance_type="round")
    image[4, 4] = np.inf
    with pytest.raises(ValueError, match="image holds NaN or infinity"):
        gaussian_mixture(da.from_array(image, chunks=3), 1)
