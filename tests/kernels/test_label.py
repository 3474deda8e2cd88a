"""The CUDA labels, against SciPy and scikit-image, in the simulator: the same numbers, in order."""

import numpy as np
import pytest
import scipy.ndimage as ndi
import skimage.measure

from gpuseg._cuda.measure import label
from gpuseg.kernels import flood


def assert_as_scipy(mask, connectivity):
    structure = ndi.generate_binary_structure(mask.ndim, connectivity)
    expected, count = ndi.label(mask, structure)
    labels, found = label(mask, background=0, connectivity=connectivity)
    assert (type(found), found) == (int, count)
    np.testing.assert_array_equal(labels, expected, strict=True)


def assert_as_skimage(image, connectivity, background=0):
    expected, count = skimage.measure.label(
        image, background=background, return_num=True, connectivity=connectivity
    )
    labels, found = label(image, background=background, connectivity=connectivity)
    assert found == count
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize(
    "shape", [(1,), (70,), (5, 3), (4, 5, 37), (3, 4, 70), (2, 3, 2, 9), (2, 2, 2, 2, 3)], ids=str
)
def test_masks_of_any_rank_and_connectivity(rng, shape):
    for connectivity in range(1, len(shape) + 1):
        assert_as_scipy(rng.random(shape) < 0.4, connectivity)


@pytest.mark.parametrize("shape", [(70,), (5, 3), (4, 5, 37), (2, 3, 35)], ids=str)
def test_values_of_any_connectivity(rng, shape):
    for connectivity in range(1, len(shape) + 1):
        assert_as_skimage(rng.integers(-1, 2, shape).astype(np.int16), connectivity)


@pytest.mark.parametrize("length", [31, 32, 33, 63, 64, 65])
def test_rows_around_whole_words(rng, length):
    assert_as_scipy(rng.random((4, length)) < 0.5, 2)
    assert_as_skimage(rng.integers(0, 3, (4, length)), 2)


def test_rows_over_several_pieces(rng):
    mask = np.ones((2, 1100), bool)
    mask[0, ::2] = mask[0, 1023] = False
    assert_as_scipy(mask, 1)
    values = np.repeat(rng.integers(0, 3, (2, 22)), 50, axis=1)
    values[:, 1000:1050] = 1
    assert_as_skimage(values, 1)


@pytest.mark.parametrize(
    ("shape", "connectivity"), [((2, 20, 96), 1), ((4, 24, 32), 2), ((4, 24, 32), 3)], ids=str
)
def test_whole_pieces_in_several_tiles(rng, shape, connectivity):
    for share in (0.3, 0.6):
        assert_as_scipy(rng.random(shape) < share, connectivity)
    assert_as_skimage(rng.integers(0, 3, shape).astype(np.uint8), connectivity)


def test_as_many_runs_as_there_can_be():
    line = np.arange(1100)
    labels, count = label(1 + line % 2, background=0, connectivity=1)
    assert count == line.size
    np.testing.assert_array_equal(labels, line + 1)
    assert_as_scipy(line % 2 == 0, 1)
    for length in (1, 2, 3):
        values = 1 + np.indices((40, length)).sum(0) % 2
        assert_as_skimage(values, 1)
        assert_as_scipy(values == 1, 1)


@pytest.mark.parametrize("kind", ["all", "none", "checkerboard", "comb"])
def test_extremes(kind):
    shape = (3, 4, 33)
    mask = np.full(shape, kind != "none")
    if kind == "checkerboard":
        mask = np.indices(shape).sum(0) % 2 == 0
    if kind == "comb":
        # Teeth that meet only in the last row: their labels are one, and the smallest.
        mask = np.indices(shape)[2] % 2 == 0
        mask[-1, -1] = True
    for connectivity in (1, 3):
        assert_as_scipy(mask, connectivity)
        assert_as_skimage(mask.astype(np.uint8) + np.uint8(kind != "none"), connectivity)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
def test_dtypes_and_backgrounds(rng, dtype):
    background = 2
    image = rng.integers(0, 4, (4, 40))
    expected, count = skimage.measure.label(
        image, background=background, return_num=True, connectivity=1
    )
    labels, found = label(image.astype(dtype), background=background, connectivity=1)
    assert found == count
    np.testing.assert_array_equal(labels, expected)


def test_a_background_that_no_voxel_can_have(rng):
    image = rng.integers(0, 3, (3, 40)).astype(np.uint8)
    assert_as_skimage(image.astype(int), 1, background=-1)
    labels, _ = label(image, background=-1, connectivity=1)
    np.testing.assert_array_equal(
        labels, skimage.measure.label(image.astype(int), background=-1, connectivity=1)
    )
    wide, _ = label(image.astype(np.uint64), background=-1, connectivity=1)
    np.testing.assert_array_equal(wide, labels)


def test_bool_with_true_as_background(rng):
    mask = rng.random((4, 40)) < 0.5
    labels, _ = label(mask, background=1, connectivity=2)
    np.testing.assert_array_equal(labels, ndi.label(~mask, np.ones((3, 3)))[0])


def test_arrays_of_any_layout_and_unchanged(rng):
    image = rng.integers(0, 3, (6, 5, 40))
    kept = image.copy()
    for view in (image[::2, ::-1, 1::2], image.T, np.asfortranarray(image)[:3]):
        view.flags.writeable = False
        assert_as_skimage(view, 1)
    np.testing.assert_array_equal(image, kept)


@pytest.mark.parametrize("dtype", [bool, np.int32])
def test_wide_run_numbers(rng, monkeypatch, dtype):
    def tables(plan, narrow, *, of=flood.tables):
        found = of(plan, narrow)
        return found | {"parents": (found["parents"][0], np.int64)}

    monkeypatch.setattr(flood, "tables", tables)
    assert_as_skimage(rng.integers(0, 2, (3, 4, 40)).astype(dtype), 2)
