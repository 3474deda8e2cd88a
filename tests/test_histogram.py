"""The one pass over the image: counts equal NumPy's, bin by bin, on every backend and layout."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import gpuseg
import gpuseg.filters.thresholding as public
from gpuseg._cpu.filters import thresholding as on_cpu
from gpuseg.filters import histogram

INTEGERS = [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.uint64, np.int64]
FLOATS = [np.float16, np.float32, np.float64]


def expected_floats(values, nbins):
    """Counts by bisection among NumPy's own edges, and the centres of the bins."""
    values = values.ravel()
    values = values.astype(np.float32) if values.dtype == np.float16 else values
    edges = np.histogram_bin_edges(values, nbins)
    bins = np.minimum(np.searchsorted(edges, values, side="right") - 1, nbins - 1)
    return np.bincount(bins, minlength=nbins), (edges[:-1] + edges[1:]) / 2


def check(image, nbins=256, **options):
    counts, centers = histogram(image, nbins, **options)
    assert counts.dtype == np.int64
    assert counts.shape == centers.shape
    assert counts[0] > 0
    assert counts[-1] > 0
    return counts, centers


def few(backend, image):
    """A simulated device takes milliseconds a voxel."""
    return image[..., :200] if backend == "sim" else image


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_have_a_bin_a_value(backend, rng, dtype):
    top = min(int(np.iinfo(dtype).max), 3000)
    image = few(backend, rng.integers(max(np.iinfo(dtype).min, -3000), top, 5000, dtype=dtype))
    counts, centers = check(image)
    values = image.astype(np.int64)
    assert centers.tolist() == list(range(values.min(), values.max() + 1))
    assert counts.tolist() == np.bincount(values - values.min()).tolist()


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("end", ["min", "max"])
def test_integers_at_the_ends_of_their_range(backend, dtype, end):
    limit = int(getattr(np.iinfo(dtype), end))
    step = 1 if end == "min" else -1
    image = np.array([limit, limit + 5 * step, limit + 2 * step, limit], dtype)
    counts, centers = check(image)
    assert [int(center) for center in centers] == sorted(limit + i * step for i in range(6))
    assert dict(zip(centers.tolist(), counts.tolist()))[limit] == 2
    assert counts.sum() == 4


def test_16_bit_images_use_their_whole_range(backend, rng):
    image = few(backend, rng.integers(0, 2**16, 100_000, dtype=np.uint16))
    image[:2] = 0, 65535
    counts, centers = check(image)
    assert counts.size == 65536
    assert (counts == np.bincount(image, minlength=65536)).all()
    assert (centers[0], centers[-1]) == (0, 65535)


def test_bool_counts_as_two_integers(backend):
    counts, centers = check(np.array([[True, False], [True, True]]))
    assert counts.tolist() == [1, 3]
    assert centers.tolist() == [0, 1]


@pytest.mark.parametrize("dtype", [np.int32, np.uint64, np.int64])
def test_beyond_the_most_integer_bins_integers_are_binned(backend, rng, dtype, monkeypatch):
    monkeypatch.setattr(public, "MOST_INTEGER_BINS", 1000)
    image = rng.integers(0, 1000, 100).astype(dtype)
    image[:2] = 0, 999
    assert check(image)[0].size == 1000
    image[1] = 1000
    counts, centers = check(image, 50)
    wanted, where = expected_floats(image.astype(np.float64), 50)
    np.testing.assert_array_equal(counts, wanted)
    np.testing.assert_array_equal(centers, where)
    wide = np.array([0, np.iinfo(dtype).max, np.iinfo(dtype).min], dtype)
    assert check(wide, 4)[0].sum() == 3


def float_cases(rng):
    noise = rng.standard_normal(3000)
    yield "noise", noise
    yield "offset", noise + 1e6
    yield "far offset", noise + 1e9
    yield "tiny", noise * 1e-30
    yield "three halves of a float32 a bin of 256", 1e6 + rng.integers(0, 385, 3000) / 16
    yield "on the edges", rng.integers(0, 257, 3000).astype(float)
    yield "thirds", rng.integers(0, 100, 3000) / 3
    yield "eight bits", rng.integers(0, 256, 3000) / 255
    yield "mostly background", np.maximum(noise, 1)
    yield "mostly saturated", np.minimum(noise, -1)
    yield "skewed", rng.random(3000) ** 30
    yield "outlier", np.append(rng.random(3000), 1e6)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("nbins", [1, 7, 256, 4096, 20_000])
def test_floats_are_binned_as_numpy_does(backend, rng, dtype, nbins):
    for name, image in float_cases(rng):
        if dtype == np.float16 and np.abs(image).max() > 60_000:
            continue
        image = np.ascontiguousarray(few(backend, image.astype(dtype)))
        if (backend == "sim" and nbins in {1, 4096}) or image.min() == image.max():
            continue
        wide = image.astype(np.float32) if dtype == np.float16 else image
        edges = np.histogram_bin_edges(wide.astype(np.float64), nbins).astype(wide.dtype)
        if not (np.diff(edges) > 0).all():
            # NumPy gives up here: "Too many bins for data range".
            assert check(image, nbins)[0].sum() == image.size, name
            continue
        counts, centers = check(image, nbins)
        wanted, where = expected_floats(image, nbins)
        np.testing.assert_array_equal(counts, wanted, err_msg=name)
        np.testing.assert_array_equal(centers, where, err_msg=name)
        assert centers.dtype == wide.dtype


@given(
    image=hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        hnp.array_shapes(max_dims=4, max_side=6),
        elements=st.floats(-(2.0**100), 2.0**100, width=32),
    ),
    nbins=st.integers(1, 300),
)
def test_any_floats_are_counted_between_numpys_edges(backend, image, nbins):
    counts, centers = histogram(image, nbins)
    assert counts.sum() == image.size
    if image.min() == image.max():
        assert centers.tolist() == [image.min()]
        return
    assert (np.diff(centers) > 0).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        edges = np.linspace(image.min(), image.max(), nbins + 1, dtype=image.dtype)
    if counts.size == nbins and (np.diff(edges) > 0).all() and centers.dtype == image.dtype:
        wanted, _ = expected_floats(image, nbins)
        np.testing.assert_array_equal(counts, wanted)


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        (np.float32, [-3e38, 3e38, 0]),
        (np.float32, [1e-44, 3e-44, 0]),
        (np.float32, [1e-40, 6e-41, 0]),
        (np.float64, [5e-324, 1.5e-323, 0]),
        (np.float64, [1e-310, 3e-310, 0]),
        (np.float64, [1, np.nextafter(1, 2), np.nextafter(1, 0)]),
        (np.float32, [1, np.nextafter(np.float32(1), 2), 1]),
    ],
)
def test_ranges_that_leave_little_room_for_bins(backend, dtype, values):
    image = np.array(values, dtype)
    counts, centers = check(image)
    assert counts.sum() == 3
    assert np.isfinite(centers).all()
    assert (np.diff(centers) > 0).all()
    assert image.min() <= centers[0] <= centers[-1] <= image.max()
    half = (float(image.max()) - float(image.min())) / counts.size / 2
    for center in centers[counts > 0]:
        assert np.abs(image.astype(float) - center).min() <= half * 1.01


def test_a_range_beyond_float64_is_counted(backend):
    counts, centers = histogram(np.array([-1.7e308, 0, 1.7e308]), 4)
    assert counts.tolist() == [1, 0, 1, 1]
    np.testing.assert_allclose(centers / 1.7e308, [-0.75, -0.25, 0.25, 0.75])


@pytest.mark.parametrize("low", [0.0, 1.0, -3e-320, 1e300])
def test_neighbouring_numbers_have_a_bin_each(backend, low):
    values = [low]
    for _ in range(4):
        values.append(np.nextafter(values[-1], np.inf))
    counts, centers = histogram(np.array([values[0], values[1], values[1], values[4]]))
    assert counts.tolist() == [1, 2, 0, 0, 1]
    assert centers.tolist() == values


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16, np.float32, bool])
def test_layout_does_not_matter(backend, rng, dtype):
    image = rng.integers(0, 200, (6, 8, 10)).astype(dtype)
    wanted = [part.tolist() for part in check(image, 10)]
    read_only = image.copy()
    read_only.setflags(write=False)
    big = np.repeat(np.repeat(image, 2, 0), 3, 2)
    for other in (
        np.asfortranarray(image),
        image.transpose(1, 2, 0),
        image[::-1, :, ::-1],
        image.astype(image.dtype.newbyteorder(">")),
        big[::2, :, ::3],
        read_only,
        image.ravel(),
    ):
        before = other.copy()
        assert [part.tolist() for part in check(other, 10)] == wanted
        assert (other == before).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float64])
def test_arrays_counted_piece_by_piece(backend, rng, dtype, monkeypatch):
    monkeypatch.setattr(on_cpu, "PIECE", 50)
    image = rng.integers(0, 40, (20, 6, 9)).astype(dtype)
    mask = rng.random(image.shape) < 0.2
    mask[3:9] = False
    wanted = check(image.transpose(2, 0, 1)[::2, 1:, :].copy())
    for one, other in zip(wanted, check(image.transpose(2, 0, 1)[::2, 1:, :])):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(check(image[mask]), check(image, mask=mask)):
        np.testing.assert_array_equal(one, other)


def test_many_threads_share_the_values(monkeypatch, rng):
    monkeypatch.setenv("GPUSEG_NUM_THREADS", "7")
    noise = rng.standard_normal((701, 503))
    for image in (noise.astype(np.float32), (noise * 3000).astype(np.int16)):
        with gpuseg.using("cpu"):
            counts, _ = histogram(image)
        if image.dtype.kind == "i":
            np.testing.assert_array_equal(counts, np.bincount((image - image.min()).ravel()))
        else:
            np.testing.assert_array_equal(counts, expected_floats(image, 256)[0])


def test_constant_images_have_one_bin(backend):
    for image in (np.full((2, 3), 7, np.uint8), np.full(4, 2.5, np.float32), np.full(3, -7)):
        counts, centers = check(image)
        assert (counts.tolist(), centers.tolist()) == ([image.size], [image.flat[0]])


def test_pieces_are_no_greater_than_they_should_be(monkeypatch):
    monkeypatch.setattr(on_cpu, "PIECE", 100)
    image = np.arange(4000.0).reshape(10, 20, 20).transpose(1, 2, 0)
    for part, mask in ((image[::2], None), (image, np.ones(image.shape, bool))):
        sizes = [piece.size for piece in on_cpu.pieces(part, mask)]
        assert sum(sizes) == part.size
        assert max(sizes) <= 400
    # What lies in one block, in whatever order, is not copied at all.
    (whole,) = on_cpu.pieces(image, None)
    assert np.shares_memory(whole, image)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_mask_counts_what_is_inside(backend, rng, order):
    image = np.array(rng.normal(size=(9, 11)).astype(np.float32), order=order)
    image[0, 0] = np.nan
    mask = np.isfinite(image) & (rng.random(image.shape) < 0.5)
    for one, other in zip(check(image[mask], 20), check(image, 20, mask=mask)):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(check(image[mask], 20), check(image, 20, mask=mask.astype(np.uint8))):
        np.testing.assert_array_equal(one, other)


def test_nan_is_an_error_or_left_out(backend, rng):
    image = rng.normal(size=60)
    wanted = check(image, 9)
    image = np.insert(image, [0, 7, 60], np.nan)
    with pytest.raises(ValueError, match=r'image holds NaN; pass nan="omit"'):
        histogram(image, 9)
    for one, other in zip(wanted, check(image, 9, nan="omit")):
        np.testing.assert_array_equal(one, other)
    inside = np.ones(63, bool)
    inside[20:40] = False
    for one, other in zip(
        check(image[inside & np.isfinite(image)], 9), check(image, 9, mask=inside, nan="omit")
    ):
        np.testing.assert_array_equal(one, other)


def test_bad_images(backend):
    line = np.arange(4.0)
    for nan in ("raise", "omit"):
        with pytest.raises(ValueError, match="infinite values"):
            histogram(np.append(line, np.inf), nan=nan)
    with pytest.raises(ValueError, match="infinite values"):
        histogram([np.nan, -np.inf, 1.0], nan="omit")
    with pytest.raises(ValueError, match="nothing but NaN"):
        histogram(np.full(3, np.nan), nan="omit")
    with pytest.raises(ValueError, match="nothing but NaN inside mask"):
        histogram(np.append(line, np.nan), nan="omit", mask=[0, 0, 0, 0, 1])
    for image, error, text in (
        (np.zeros((0, 3)), ValueError, "empty"),
        (np.float64(3), ValueError, "at least one axis"),
        (line + 1j, TypeError, "real numbers"),
        (np.array(["a"]), TypeError, "real numbers"),
        (np.array([None]), TypeError, "real numbers"),
    ):
        with pytest.raises(error, match=text):
            histogram(image)
    with pytest.raises(ValueError, match="shape of the image"):
        histogram(line, mask=np.ones(3, bool))
    with pytest.raises(ValueError, match="selects no element"):
        histogram(line, mask=np.zeros(4, bool))
    with pytest.raises(ValueError, match="nbins must be at least 1"):
        histogram(line, 0)
    with pytest.raises(TypeError, match="nbins must be an integer"):
        histogram(line, 2.5)
    with pytest.raises(ValueError, match="nan must be one of 'raise', 'omit'"):
        histogram(line, nan="propagate")
