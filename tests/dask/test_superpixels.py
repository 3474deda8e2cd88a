"""Superpixels in chunks merge as those of the whole."""

import numpy as np
import pytest

da = pytest.importorskip("dask.array")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from gpuseg.segmentation import merge_superpixels  # noqa: E402


@settings(max_examples=60)
@given(
    st.data(), st.sampled_from(("mean", "boundary")), st.sampled_from((None, 0, 3)),
    st.sampled_from(("uint8", "float32", "float64")),
)  # fmt: skip
def test_merging(data, criterion, background, dtype):
    ndim = data.draw(st.integers(1, 3))
    shape = data.draw(st.tuples(*[st.integers(1, (40, 12, 6)[ndim - 1])] * ndim))
    cut = st.tuples(*(st.integers(1, n) for n in shape))
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    labels = rng.integers(0, 5, shape).repeat(2, axis=-1)[..., : shape[-1]]
    colours = data.draw(st.sampled_from((None, 3)))
    image = (rng.random(shape if colours is None else (*shape, colours)) * 90).astype(dtype)
    options = {
        "threshold": data.draw(st.sampled_from((None, 5, 40))),
        "n_segments": data.draw(st.sampled_from((2, 3))),
        "criterion": criterion,
        "channel_axis": None if colours is None else -1,
        "connectivity": data.draw(st.integers(1, ndim)),
        "background": background,
    }
    lazy = merge_superpixels(
        da.from_array(labels, chunks=data.draw(cut)),
        da.from_array(image, chunks=(*data.draw(cut), 2)[: image.ndim]),
        **options,
    )
    expected = merge_superpixels(labels, image, **options)
    assert isinstance(lazy, da.Array)
    assert lazy.dtype == expected.dtype
    np.testing.assert_array_equal(lazy.compute(scheduler="sync"), expected)
