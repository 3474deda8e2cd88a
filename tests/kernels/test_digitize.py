"""The class kernels, with more blocks than one and more thresholds than a pass takes."""

import numpy as np
import pytest

from gpuseg.kernels import digitize


@pytest.mark.parametrize("count", [1, 6, 7, 20])
@pytest.mark.parametrize("size", [1, 7, 100])
def test_both_forms_agree_with_numpy(rng, count, size):
    flat = rng.integers(0, 50, size).astype(np.float32)
    flat[::9] = np.nan
    thresholds = np.sort(rng.integers(0, 50, count)).astype(np.float32)
    expected = np.add.reduce([flat > t for t in thresholds], dtype=np.int64)

    on_cpu, on_gpu = np.empty(size, np.uint8), np.empty(size, np.uint8)
    nan = np.zeros(1, np.uint8)
    assert digitize.classify_cpu(flat, thresholds, 3, on_cpu) == np.isnan(flat).sum()
    digitize.classify_cuda(flat, thresholds, 3, on_gpu, nan)
    np.testing.assert_array_equal(on_cpu, expected + 3)
    np.testing.assert_array_equal(on_gpu, expected + 3)
    assert nan[0] == 1

    counts = np.zeros((len(digitize.passes(count)), digitize.bins()), np.int64)
    digitize.histogram_cuda(flat, thresholds, counts)
    for (start, stop), row in zip(digitize.passes(count), counts):
        numbers = np.searchsorted(thresholds[start:stop], flat[~np.isnan(flat)])
        assert (
            row[: stop - start + 1].tolist()
            == np.bincount(numbers, minlength=stop - start + 1).tolist()
        )
        assert row[-1] == np.isnan(flat).sum()
        assert row.sum() == size
    above = digitize.count_cpu(flat, thresholds)
    assert above.tolist() == [*((flat > t).sum() for t in thresholds), np.isnan(flat).sum()]


def test_passes_cover_every_threshold_once():
    for count in (1, 6, 7, 13):
        covered = [i for start, stop in digitize.passes(count) for i in range(start, stop)]
        assert covered == list(range(count))


def test_without_nan_the_flag_stays_down():
    nan, out = np.zeros(1, np.uint8), np.empty(3, np.uint16)
    digitize.classify_cuda(np.arange(3.0), np.array([0.5]), 0, out, nan)
    assert (nan[0], out.tolist()) == (0, [0, 1, 1])


@pytest.mark.parametrize("size", [3, 4, 41])
@pytest.mark.parametrize("count", [3, digitize._FEW, digitize._FEW + 1])
@pytest.mark.parametrize(("dtype", "first"), [(np.uint8, 255), (np.uint16, 65535)])
def test_the_greatest_class_does_not_touch_its_neighbours(rng, size, count, dtype, first):
    flat = rng.integers(-1, 40, size).astype(np.int16)
    thresholds = np.arange(count, dtype=np.int16)
    out, nan = np.empty(size, dtype), np.zeros(1, np.uint8)
    digitize.classify_cuda(flat, thresholds, first - count, out, nan)
    assert out.tolist() == [first - count + (x > thresholds).sum() for x in flat]
    assert nan[0] == 0
