"""The histogram kernels: every way to count, with several blocks and both forms the same."""

import numpy as np
import pytest

from gpuseg.kernels import histogram


def floats(values, edges):
    counts = np.zeros(edges.size - 1, np.uint64)
    low, scale, close = histogram.binning(edges)
    assert close < 0.5
    histogram.float_histogram_cuda(values, edges, counts, low, scale)
    return counts


# Few bins, more than one replica holds, and more than shared memory holds.
@pytest.mark.parametrize("bins", [1, 10, 700, histogram.SHARED, histogram.SHARED + 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats(rng, bins, dtype):
    values = rng.normal(size=150).astype(dtype)
    values[5:40] = values.min()
    edges = np.linspace(values.min(), values.max(), bins + 1, dtype=dtype)
    values[50:60] = rng.choice(edges, 10)
    wanted = np.bincount(
        np.minimum(np.searchsorted(edges, values, side="right") - 1, bins - 1), minlength=bins
    )
    assert floats(values, edges).tolist() == wanted.tolist()
    assert histogram.float_histogram_cpu(values, edges).tolist() == wanted.tolist()


@pytest.mark.parametrize("size", [1, 3, 16, 17, 63, 64, 65, 200])
def test_four_at_a_time_misses_none(size):
    values = np.arange(size, dtype=np.float32)
    assert floats(values, np.array([0, 2, max(size, 3)], np.float32)).sum() == size


@pytest.mark.parametrize("bins", [20, histogram.SHARED + 5])
@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.uint64, np.int64])
def test_integers(rng, dtype, bins):
    low = int(np.iinfo(dtype).min) + 3
    offsets = rng.integers(0, bins, 120)
    offsets[10:70] = bins - 1
    values = (offsets.astype(dtype) + dtype(low)).astype(dtype)
    wanted = np.bincount(offsets, minlength=bins).tolist()
    counts = np.zeros(bins, np.uint64)
    histogram.integer_histogram_cuda(values, counts, low)
    assert counts.tolist() == wanted
    assert histogram.integer_histogram_cpu(values, low, bins).tolist() == wanted


@pytest.mark.parametrize("start", range(9))
@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 100])
def test_bytes_from_any_address(rng, start, size):
    values = rng.integers(0, 256, 120, dtype=np.uint8)[start : start + size]
    counts = np.zeros(256, np.uint64)
    histogram.byte_histogram_cuda(values, counts)
    assert counts.tolist() == np.bincount(values, minlength=256).tolist()
    words, head = histogram._words(values)
    # A device refuses to read a word from between two.
    assert words.ctypes.data % 8 == 0 or not words.size
    assert size - 14 <= head + 8 * words.size <= size


def test_counts_are_added():
    counts = np.full(3, 5, np.uint64)
    histogram.integer_histogram_cuda(np.array([7, 9, 9], np.int32), counts, 7)
    assert counts.tolist() == [6, 5, 7]


@pytest.mark.parametrize("bins", [1, 32, 256, 257, 3000, 8192])
def test_replicas_fit(bins):
    count = histogram._replicas(bins)
    assert count * bins <= histogram.SHARED
    assert count in {1, 2, 4, 8, 16, 32}


def test_many_threads_do_not_multiply_great_tables(monkeypatch):
    monkeypatch.setenv("GPUSEG_NUM_THREADS", "64")
    assert histogram._tables(1000, 2**20).shape[:2] == (1, 1)
    assert histogram._tables(2**24, 256).shape[:2] == (64, 4)
    assert histogram._tables(2**24, 2**20).shape[:2] == (2, 1)
