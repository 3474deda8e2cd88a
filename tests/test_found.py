"""What runs with new examples have found: each input that went wrong, mended since."""

import numpy as np
import pytest

from gpuseg import segmentation
from gpuseg.features import AddPosition

IMAGE = np.random.default_rng(0).random((6, 7))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: segmentation.watershed(IMAGE, None, connectivity=[[1, 2], [3]]),
            "connectivity is not a rectangular array",
        ),
        (
            lambda: segmentation.watershed(IMAGE, [[1, 2], [3]]),
            "markers is not a rectangular array",
        ),
        (
            lambda: AddPosition(polar=np.eye(2)).fit_transform(IMAGE[None, ..., None]),
            "polar must be True or False",
        ),
        (
            lambda: segmentation.gaussian_mixture(np.ones((6, 7)), 3),
            "image: there are only 1 different pixels, for 3 clusters",
        ),
    ],
)
def test_a_bad_argument_is_named(call, message):
    with pytest.raises((ValueError, TypeError), match=message) as told:
        call()
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("chunks", [np.float32, "many", (1, 2, 3, 4), object()])
def test_chunks_that_are_none_are_named(tmp_path, chunks):
    pytest.importorskip("dask.array")
    from gpuseg import volume

    np.save(tmp_path / "a.npy", np.zeros((3, 4, 5), np.uint8))
    with pytest.raises((ValueError, TypeError), match="chunks must be"):
        volume.open(tmp_path / "a.npy", chunks=chunks)
    with pytest.raises((ValueError, TypeError), match=r"chunks (and shards )?must be"):
        volume.save(tmp_path / "a.zarr", np.zeros((3, 4, 5), np.uint8), chunks=chunks)
