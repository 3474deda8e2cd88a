"""The Gaussian's CUDA kernels, in the simulator, against SciPy."""

import numpy as np
import pytest
import scipy.ndimage as ndi

from gpuseg.kernels import gaussian
from gpuseg.kernels.gaussian import convolve_cuda, tiling

MODES = ["constant", "nearest", "reflect", "mirror", "wrap"]


def kernel(rng, radius, dtype="f8"):
    """The centre and one side of a kernel."""
    return rng.random(radius + 1).astype(dtype)


def convolved(image, kernels, mode, cval=0.7):
    """Each axis by its kernel, None for an axis that is left as it is."""
    spans = [
        (None, n, int(np.prod(image.shape[axis + 1 :])), kernels[axis])
        for axis, n in enumerate(image.shape)
        if kernels[axis] is not None
    ]
    out, scratch = np.empty((2, image.size), image.dtype)
    convolve_cuda(image.ravel(), spans, mode, image.dtype.type(cval), out, scratch)
    return out.reshape(image.shape)


def check(image, kernels, mode, cval=0.7):
    expected = image.astype("f8")
    for axis, side in enumerate(kernels):
        if side is not None:
            whole = np.concatenate([side[:0:-1], side])
            expected = ndi.correlate1d(expected, whole, axis, mode=mode, cval=cval)
    found = convolved(image, kernels, mode, cval)
    rtol = 1e-13 if image.dtype == "f8" else 2e-6
    np.testing.assert_allclose(found, expected, rtol=0, atol=rtol * np.abs(expected).max())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("length", [1, 5, 16, 17, 70])
@pytest.mark.parametrize("inner", [1, 3])
def test_an_axis(rng, inner, length, mode):
    """Within a run, within a tile, and over several; kernels longer than the axis."""
    image = rng.standard_normal((2, length, inner))
    for radius in (2, 9):
        check(image, [None, kernel(rng, radius), None], mode)


@pytest.mark.parametrize("radius", range(1, 18))
def test_kernels_of_any_length(rng, radius):
    image = rng.standard_normal((1, 30)).astype("f4")
    check(image, [None, kernel(rng, radius, "f4")], "reflect")
    check(image.reshape(15, 2), [kernel(rng, radius, "f4"), None], "constant")


@pytest.mark.parametrize("length", [250, 500])
def test_long_axes(rng, length):
    """As many runs of a block as there are results of a thread, and more."""
    image = rng.standard_normal((1, length))
    assert tiling(1, length, 1, 8).pad == 1
    check(image, [None, kernel(rng, 8)], "reflect")
    check(image, [None, kernel(rng, 20)], "constant")


@pytest.mark.parametrize("inner", [8, 9, 33, 70])
def test_columns_side_by_side(rng, inner):
    """Chunks of columns, in groups that the last ones do not fill."""
    check(rng.standard_normal((19, inner)), [kernel(rng, 2), kernel(rng, 3)], "mirror")


@pytest.mark.parametrize("outer", [1, 5, 9])
def test_lines_of_a_block(rng, outer):
    image = rng.standard_normal((outer, 5, 2))
    check(image, [None, kernel(rng, 1), None], "wrap")
    check(image.reshape(outer, 10), [None, kernel(rng, 2)], "wrap")


@pytest.mark.parametrize("radius", [380, 400])
def test_wide_kernels(rng, radius):
    """Narrower tiles, and where none is narrow enough, no tile."""
    image = rng.standard_normal((6, 5))
    assert (tiling(1, 6, 5, radius) is None) == (radius == 400)
    check(image, [kernel(rng, radius), kernel(rng, radius)], "reflect")


@pytest.mark.parametrize("shape", [(9,), (3, 4, 5), (2, 3, 4, 5)], ids=str)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_all_axes(rng, shape, dtype):
    image = rng.standard_normal(shape).astype(dtype)
    check(image, [kernel(rng, 2, dtype) for _ in shape], "constant")


def test_a_value_that_is_no_number_reaches_as_far_as_the_kernel(rng):
    image = np.zeros((5, 40))
    image[2, 20] = np.nan
    for radius in (1, 4, 7):
        found = convolved(image, [kernel(rng, radius), kernel(rng, radius)], "nearest")
        expected = np.zeros((5, 40), bool)
        expected[max(0, 2 - radius) : 3 + radius, 20 - radius : 21 + radius] = True
        np.testing.assert_array_equal(np.isnan(found), expected)


def test_nothing():
    assert convolved(np.empty((0, 3)), [np.ones(2), np.ones(2)], "wrap").shape == (0, 3)


@pytest.mark.parametrize("length", [1, 5, 64, 511, 512, 8192, 10**7])
@pytest.mark.parametrize("inner", [1, 2, 3, 15, 31, 32, 33, 512, 8191, 1 << 20])
def test_tiles_cover_the_array_and_fit(monkeypatch, inner, length):
    """With the blocks of a GPU."""
    monkeypatch.setattr(gaussian.launch, "simulating", lambda: False)
    for outer in (1, 7, 10**5):
        for radius in (1, 8, 32, 100, 300):
            tiles = tiling(outer, length, inner, radius)
            threads = tiles.columns * tiles.runs * tiles.lines
            assert 1 <= threads <= 256
            assert tiles.lines <= 64
            assert tiles.lines * tiles.pitch <= gaussian.TILE
            extent = tiles.runs * gaussian.RUN + 2 * radius
            last = extent * tiles.columns - 1 + (extent - 1) // gaussian.RUN * tiles.pad
            assert last < tiles.pitch
            sides = tiles.columns, tiles.runs * gaussian.RUN, tiles.lines
            for side, count, n in zip(sides, tiles.grid, (inner, length, outer)):
                assert side * (count - 1) < n <= side * count
