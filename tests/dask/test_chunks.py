"""Labels that each chunk finds by itself."""

from functools import partial

import numpy as np
import pytest

pytest.importorskip("zarr")
da = pytest.importorskip("dask.array")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from gpuseg.measure import label  # noqa: E402
from gpuseg.segmentation import slic, watershed  # noqa: E402
from gpuseg.volume import by_chunks  # noqa: E402


def numbered(labels):
    """Labels as a raster scan meets them."""
    names, first = np.unique(labels, return_index=True)
    numbers = {0: 0} | {n: i for i, n in enumerate(
        (n for _, n in sorted(zip(first, names)) if n), 1)}  # fmt: skip
    return np.vectorize(numbers.get)(labels)


@settings(max_examples=30)
@given(st.data(), st.integers(1, 3))
def test_labels_are_those_of_each_chunk_numbered_through(data, ndim):
    shape = data.draw(st.tuples(*[st.integers(1, 9)] * ndim))
    chunks = data.draw(st.tuples(*(st.integers(1, n) for n in shape)))
    mask = np.random.default_rng(data.draw(st.integers(0, 9))).random(shape) < 0.6
    lazy = da.from_array(mask, chunks=chunks)
    expected = np.zeros(shape, int)
    for n, part in enumerate(da.core.slices_from_chunks(lazy.chunks)):
        found = label(mask[part])
        expected[part] = np.where(found, found + n * 10_000, 0)
    labels = by_chunks(label, lazy)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, numbered(expected))


def test_what_lies_around_a_chunk_is_seen_and_cut_off():
    seen = []

    def every(chunk, mask):
        seen.append(chunk.shape)
        assert mask.shape == chunk.shape
        return chunk + (chunk > 0) * mask

    image = np.arange(24).reshape(4, 6)
    lazy = by_chunks(every, da.from_array(image, chunks=(4, 2)), image > 3, overlap=1)
    np.testing.assert_array_equal(lazy.compute(scheduler="sync"), numbered(image))
    assert sorted(seen) == [(4, 3), (4, 3), (4, 4)]


def test_superpixels_and_watersheds_fill_every_chunk(rng):
    image = rng.random((40, 30)).astype(np.float32)
    lazy = da.from_array(image, chunks=(20, 30))
    function = partial(slic, n_segments=20, channel_axis=None)
    labels = by_chunks(function, lazy, overlap=4).compute()
    assert labels.min() == 1
    assert not set(labels[:20].flat) & set(labels[20:].flat)
    assert 30 < labels.max() < 60
    assert by_chunks(watershed, lazy).compute().min() == 1


def test_what_cannot_be():
    lazy = da.ones((8, 8), chunks=4, dtype=int)
    with pytest.raises(TypeError, match="image must be a Dask array, got ndarray"):
        by_chunks(label, np.ones((3, 3)))
    with pytest.raises(TypeError, match="function must be callable, got int"):
        by_chunks(3, lazy)
    with pytest.raises(ValueError, match="overlap must be at least 0"):
        by_chunks(label, lazy, overlap=-1)
    with pytest.raises(ValueError, match=r"others\[0\] and image must have one shape"):
        by_chunks(label, lazy, np.ones((3, 3)))
    with pytest.raises(TypeError, match=r"function must return labels .* got float64"):
        by_chunks(np.sqrt, lazy).compute()
    with pytest.raises(TypeError, match=r"by_chunks labels each chunk by itself\); call"):
        slic(lazy, channel_axis=None)
