"""Spreads of large values, of little beside much, and at the ends of floating point."""

from fractions import Fraction

import numpy as np
import pytest

from gpuseg import filters, measure, metrics
from gpuseg.segmentation import superpixel_means

HALVES = np.arange(40) % 2.0
LABELS = np.repeat([1, 2, 3, 4], 10).reshape(5, 8)


def _squares(values):
    """The mean of some numbers, and that of their squared distances from it."""
    values = [Fraction(float(v)) for v in values]
    mean = sum(values) / len(values)
    return mean, sum((v - mean) ** 2 for v in values) / len(values)


def _root(x: Fraction) -> float:
    """The square root of a number of which float64 may not hold the square."""
    scale = 2 ** max(0, (x.denominator.bit_length() - x.numerator.bit_length()) // 2 + 40)
    shrink = 2 ** max(0, (x.numerator.bit_length() - x.denominator.bit_length()) // 2)
    return float(Fraction(float(x * scale**2 / shrink**2) ** 0.5) * shrink / scale)


IMAGES = {
    "0.5 at 1e6": 1e6 + HALVES,
    "0.5 at 1e15": 1e15 + HALVES,
    "beside 0": np.where(np.arange(40) < 20, 0, 1e8) + HALVES,
    "one value far off": np.where(np.arange(40) == 7, 1e9, HALVES),
    "of one region far off": np.where(np.arange(40) < 10, 1e12 * HALVES, HALVES),
    "float32 at 1e7": (1e7 + HALVES).astype(np.float32),
    "float16": (2000 + HALVES).astype(np.float16),
    "uint8": (254 + HALVES).astype(np.uint8),
    "int64 at 2**52": (2**52 + np.arange(40) % 2).astype(np.int64),
    "big-endian": (1e6 + HALVES).astype(">f8"),
    "one value": np.full(40, 1e6 + 0.1),
    "the least numbers": 5e-324 * np.arange(40),
    "the largest numbers": 1.7e308 * (np.arange(40) % 3 - 1),
    "huge": 1e300 * (1 + HALVES),
}


@pytest.mark.parametrize("name", IMAGES)
def test_spreads_of_superpixels(backend, name):
    image = IMAGES[name].reshape(LABELS.shape)
    with np.errstate(over="ignore"):
        found = {s: superpixel_means(image, LABELS, statistic=s) for s in ("std", "var", "mean")}
    for label in range(1, 5):
        mean, square = _squares(image[label == LABELS])
        about = {"rel": 1e-6 if found["std"].dtype == np.float32 else 1e-14, "abs": 0}
        assert found["mean"][label == LABELS][0] == pytest.approx(float(mean), **about)
        assert found["std"][label == LABELS][0] == pytest.approx(_root(square), **about)
        if 1e-300 < square < 1e308 or not square:
            assert found["var"][label == LABELS][0] == pytest.approx(float(square), **about)


@pytest.mark.parametrize("name", IMAGES)
def test_spreads_in_chunks(name):
    da = pytest.importorskip("dask.array")
    image = IMAGES[name].reshape(LABELS.shape)
    lazy = da.from_array(image, chunks=(2, 3)), da.from_array(LABELS, chunks=3)
    with np.errstate(over="ignore"):
        for statistic in ("std", "var", "mean", "sum", "min", "max"):
            whole = superpixel_means(image, LABELS, statistic=statistic)
            found = superpixel_means(*lazy, statistic=statistic).compute()
            np.testing.assert_array_equal(found, whole)
    assert metrics.explained_variation(*lazy) == metrics.explained_variation(image, LABELS)


@pytest.mark.parametrize("name", IMAGES)
def test_explained_variation(backend, name):
    image = IMAGES[name].reshape(LABELS.shape)
    _, total = _squares(image.reshape(-1))
    within = sum(_squares(image[label == LABELS])[1] for label in range(1, 5)) / 4
    expected = float(1 - within / total) if total else 1
    assert metrics.explained_variation(image, LABELS) == pytest.approx(
        expected, rel=1e-12, abs=1e-14
    )


def test_no_pixel_is_lost_beside_one_far_off(rng):
    image = rng.normal(0, 1, 1 << 16)
    image[5] = 1e7
    labels = np.ones(image.size, int)
    # Of so many squares float64 itself loses what is 0.7e-16 of the sum.
    expected = np.std(image.astype(np.longdouble))
    assert superpixel_means(image, labels, statistic="std")[0] == pytest.approx(expected, rel=1e-13)
    small = image[np.newaxis] + 3
    labels = np.where(image == 1e7, 2, 1)[np.newaxis]
    expected = small[labels == 1].mean(dtype=np.longdouble)
    assert superpixel_means(small, labels)[labels == 1][0] == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("chunked", [False, True])
def test_table_of_large_intensities(chunked):
    image = HALVES.reshape(5, 8)
    labels = LABELS
    if chunked:
        labels = pytest.importorskip("dask.array").from_array(LABELS, chunks=3)
    for dtype, much in ((np.float32, 1e7), (">f4", 1e7), (np.float64, 1e15), (np.int64, 1e15)):
        names = ("intensity_mean", "intensity_std")
        table = measure.regionprops_table(labels, (image + much).astype(dtype), names)
        np.testing.assert_allclose(table["intensity_mean"], much + 0.5, rtol=3e-16)
        assert table["intensity_std"].tolist() == [0.5] * 4


def test_minerror_of_narrow_peaks_far_from_0():
    """As the same peaks near 0, where sums of squares have room."""
    counts = np.array([3, 10**6, 10**6, 2, 0, 0, 1, 4, 10**5, 10**5, 1])
    for first in (0, 100, 60000):
        levels = first + np.arange(counts.size)
        histogram = np.zeros(65536, int)
        histogram[levels] = counts
        found = filters.threshold_minerror(hist=(histogram, np.arange(65536)))
        assert found - first == filters.threshold_minerror(hist=(counts, np.arange(counts.size)))
