"""Clusters of chunked images are those of the whole, bit for bit."""

import numpy as np
import pytest

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from gpuseg._cpu.segmentation import clustering  # noqa: E402
from gpuseg.segmentation import kmeans  # noqa: E402

DTYPES = ("uint8", "int16", "int32", ">u2", "float16", "float32", "float64", "bool")


def chunkings(shape):
    return st.tuples(*(st.integers(-(-n // 4), n) for n in shape))


def same(image, chunks, n_clusters, **options):
    """That labels, centers and steps are those of the whole; arrays among the options are cut."""
    cut = {
        name: da.from_array(x, chunks=(*c, *x.shape[len(c) :]))
        for name, (x, c) in options.pop("cut", {}).items()
    }
    options["return_result"] = True
    whole = {name: x.compute() for name, x in cut.items()}
    with dask.config.set(scheduler="sync"):
        expected = kmeans(image, n_clusters, **whole, **options)
        found = kmeans(da.from_array(image, chunks=chunks), n_clusters, **cut, **options)
        assert isinstance(found.labels, da.Array)
        assert found.labels.dtype == np.int32
        np.testing.assert_array_equal(found.labels.compute(), expected.labels)
        np.testing.assert_array_equal(found.centers, expected.centers)
        assert found.n_iter == expected.n_iter
        assert float(found.inertia) == pytest.approx(expected.inertia, rel=1e-6)


@settings(max_examples=25)
@given(st.data(), st.sampled_from(DTYPES), st.sampled_from(["k-means++", "random"]))
def test_clusters(data, dtype, init):
    shape = data.draw(st.lists(st.integers(4, 12), min_size=1, max_size=3).map(tuple))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    image = (rng.random(shape) * 200).astype(dtype)
    options, cut = {"init": init, "random_state": 3}, {}
    if data.draw(st.booleans()):
        mask = rng.random(shape) < 0.6
        mask.flat[:4] = True
        image.flat[:4] = (0, 1, 90, 140)
        cut["mask"] = mask, data.draw(chunkings(shape))
    if data.draw(st.booleans()):
        options["spatial_weight"] = data.draw(st.sampled_from([0.5, 20.0]))
    if data.draw(st.booleans()):
        features = rng.normal(size=(*shape, 2)).astype(np.float32)
        cut["features"] = features, data.draw(chunkings(shape))
    clusters = 2 if dtype == "bool" else 4
    if len(np.unique(image)) < clusters:
        return
    options["tol"] = data.draw(st.sampled_from([0, 1e-4, 0.1]))
    same(image, data.draw(chunkings(shape)), clusters, cut=cut, **options)


def test_channels(rng):
    image = rng.random((3, 14, 11)).astype(np.float32)
    same(image, (2, 5, 4), 3, channel_axis=0, random_state=0)


def test_clusters_that_lose_their_pixels_take_the_farthest(rng):
    """Centers far off lose all pixels; several pixels are equally far."""
    image = rng.integers(0, 9, (12, 13)) * 10
    init = np.array([[40.0], [-900.0], [-901.0], [5000.0]])
    mask = rng.random(image.shape) < 0.7
    for cut in ({}, {"mask": (mask, (12, 4))}):
        same(image, (5, 4), 4, init=init, tol=0, cut=cut)


@pytest.mark.parametrize("masked", [False, True])
def test_more_pixels_than_the_start_looks_at(monkeypatch, rng, masked):
    monkeypatch.setattr(clustering, "_SAMPLE", 60)
    image = rng.normal(size=(10, 12, 9))
    mask = rng.random(image.shape) < 0.5
    cut = {"mask": (mask, (10, 5, 9))} if masked else {}
    for init in ("k-means++", "random"):
        same(image, (4, 5, 4), 3, init=init, random_state=1, cut=cut)


def test_bad_input_is_told_as_for_the_whole():
    image = np.ones((6, 7))
    lazy = da.from_array(image, chunks=3)
    with pytest.raises(ValueError, match="there are only 1 different pixels, for 2 clusters"):
        kmeans(lazy, 2)
    with pytest.raises(ValueError, match="mask selects no element"):
        kmeans(lazy, 1, mask=da.zeros((6, 7), dtype=bool))
    image[4, 4] = np.nan
    with pytest.raises(ValueError, match="image holds NaN or infinity"):
        kmeans(da.from_array(image, chunks=3), 1)
