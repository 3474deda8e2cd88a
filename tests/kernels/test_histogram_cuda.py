"""The histogram kernels: every way to count, with several blocks and both forms the same."""

import numpy as np
import pytest

from gpuseg.kernels import histogram


def floats(values, edges):
    counts = np.zeros(edges.size - 1, np.uint64)
    binned = histogram.binning(edges)
    assert binned[-1] < 0.5
    histogram.float_histogram_cuda(values, edges, counts, binned)
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
    assert floats(values, np.linspace(0, max(size, 3), 3, dtype=np.float32)).sum() == size


# What one block counts, what several divide among them, and what is too much for them.
@pytest.mark.parametrize(
    "bins", [20, histogram.WIDE, 2 * histogram.WIDE + 5, histogram.WIDE * histogram.MOST_PARTS + 1]
)
@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.uint64, np.int64])
def test_integers(rng, dtype, bins):
    low = int(np.iinfo(dtype).min) + 3
    offsets = rng.integers(0, bins, 120)
    offsets[70:74] = np.array([0, 1, 2, 3]) * histogram.WIDE % bins
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


@pytest.mark.parametrize("start", range(5))
@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 70])
@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_shorts_from_any_address(rng, start, size, dtype):
    ends = np.iinfo(dtype)
    values = rng.choice([ends.min, -1 % ends.max, 0, 5, ends.max], 120).astype(dtype)
    values = values[start : start + size]
    low = int(values.min(initial=ends.max))
    counts = np.zeros(max(int(values.max(initial=ends.min)) - low, 0) + 1, np.uint64)
    histogram.integer_histogram_cuda(values, counts, low)
    offsets = values.astype(np.int64) - low
    assert counts.tolist() == np.bincount(offsets, minlength=counts.size).tolist()


@pytest.mark.parametrize("size", [1, 2, 7, 63, 64, 65, 128, 300])
@pytest.mark.parametrize("dtype", [np.uint16, np.int64, np.float32, np.float64])
def test_extremes(rng, dtype, size):
    values = (rng.random(size) * 100).astype(dtype)
    parts = np.empty((2, histogram.minmax_parts(size)), dtype)
    for k in rng.integers(0, size, 4):
        histogram.minmax_cuda(values, parts)
        assert parts[0].min() == values.min()
        assert parts[1].max() == values.max()
        values[k] = values.max() + 7 if k % 2 else values.min()
    if parts.dtype.kind == "f":
        for k in {0, size // 2, size - 1}:
            broken = values.copy()
            broken[k] = np.nan
            histogram.minmax_cuda(broken, parts)
            assert np.isnan(parts[0].min())
            assert np.isnan(parts[1].max())


def test_values_are_read_in_the_precision_of_the_edges(rng):
    values = (rng.random(90) * 1e-42).astype(np.float32)
    edges = np.linspace(float(values.min()), float(values.max()), 31)
    wanted = histogram.float_histogram_cpu(values.astype(np.float64), edges)
    assert floats(values, edges).tolist() == wanted.tolist()
    whole = rng.integers(-(2**62), 2**62, 90)
    edges = np.linspace(*whole[[whole.argmin(), whole.argmax()]].astype(float), 31)
    wanted = histogram.float_histogram_cpu(whole.astype(np.float64), edges)
    assert floats(whole, edges).tolist() == wanted.tolist()


def test_edges_that_were_rounded_in_float32():
    # A bin and a half of a float32 apart: none of the values is near where float64 has its edges.
    values = (1e6 + np.arange(385) / 16).astype(np.float32)
    edges = np.linspace(values.min(), values.max(), 257, dtype=np.float32).astype(np.float64)
    for some in (np.arange(385), np.flatnonzero(np.arange(385) % 3 == 1)):
        wanted, _ = np.histogram(values[some].astype(np.float64), edges)
        assert floats(values[some], edges).tolist() == wanted.tolist()
        of_cpu = histogram.float_histogram_cpu(values[some].astype(np.float64), edges)
        assert of_cpu.tolist() == wanted.tolist()


def test_counts_are_added():
    counts = np.full(3, 5, np.uint64)
    histogram.integer_histogram_cuda(np.array([7, 9, 9], np.int32), counts, 7)
    assert counts.tolist() == [6, 5, 7]


@pytest.mark.parametrize("bins", [1, 32, 256, 257, 3000, 8192])
@pytest.mark.parametrize("counters", [8192, 12288])
def test_replicas_fit(bins, counters):
    count = histogram._replicas(bins, counters)
    assert count * bins <= counters
    assert count in {1, 2, 4, 8, 16, 32}


def test_many_threads_do_not_multiply_great_tables(monkeypatch):
    monkeypatch.setenv("GPUSEG_NUM_THREADS", "64")
    assert histogram._tables(1000, 2**20).shape[:2] == (1, 1)
    assert histogram._tables(2**24, 256).shape[:2] == (64, 4)
    assert histogram._tables(2**24, 2**20).shape[:2] == (2, 1)
