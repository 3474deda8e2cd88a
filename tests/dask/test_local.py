"""Functions of a neighbourhood, of chunked arrays, equal those of the whole."""

from functools import partial

import numpy as np
import pytest

da = pytest.importorskip("dask.array")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

import gpuseg  # noqa: E402
from gpuseg import filters, morphology, segmentation  # noqa: E402

MODES = ("reflect", "constant", "nearest", "mirror", "wrap")
DTYPES = ("bool", "uint8", "int16", "float16", "float32", "float64", ">u2")


def drawn(data, ndim: int, most: int = 14):
    """A shape, and two chunkings of it."""
    shape = data.draw(st.tuples(*[st.integers(1, most)] * ndim))
    cut = [data.draw(st.tuples(*(st.integers(1, n) for n in shape))) for _ in range(2)]
    return shape, *cut


def same(function, image, chunks, *, exact=True, **options):
    """That `function` gives for chunks, lazily, what it gives for the whole."""
    expected = function(image, **options)
    lazy = function(da.from_array(image, chunks=chunks), **options)
    assert isinstance(lazy, da.Array)
    assert lazy.shape == expected.shape
    assert lazy.dtype == expected.dtype
    found = lazy.compute(scheduler="sync")
    assert found.dtype == expected.dtype
    if exact:
        np.testing.assert_array_equal(found, expected)
    else:
        function = getattr(function, "func", function)
        compared = function.contract.compare(found, expected)
        assert compared.passed, compared.worst


def values(shape, dtype, seed=0):
    return (np.random.default_rng(seed).normal(size=shape) * 40).astype(dtype)


@settings(max_examples=40)
@given(st.data(), st.sampled_from(MODES), st.sampled_from(DTYPES), st.floats(0, 3))
def test_gaussians(data, mode, dtype, sigma):
    shape, chunks, _ = drawn(data, data.draw(st.integers(1, 3)))
    image = values(shape, dtype)
    options = {"mode": mode, "cval": 3, "truncate": data.draw(st.sampled_from([2.0, 4.0]))}
    same(filters.gaussian, image, chunks, sigma=sigma, **options)
    same(filters.difference_of_gaussians, image, chunks, low_sigma=sigma, high_sigma=4, **options)


def test_gaussians_of_channels_and_of_integers_that_keep_their_range():
    image = values((12, 9, 3), "uint8")
    same(filters.gaussian, image, (5, 4, 2), sigma=1.5, channel_axis=-1, preserve_range=True)


@settings(max_examples=30)
@given(st.data(), st.sampled_from(MODES), st.sampled_from(DTYPES))
def test_medians(data, mode, dtype):
    shape, chunks, _ = drawn(data, 2)
    footprint = data.draw(st.sampled_from([None, np.ones((2, 5)), np.ones((1, 4))]))
    same(filters.median, values(shape, dtype), chunks, footprint=footprint, mode=mode, cval=7)


def test_medians_by_ranks():
    image = values((21, 17), "uint8")
    same(filters.median, image, (6, 5), footprint=np.ones((3, 5)), behavior="rank")


@pytest.mark.parametrize("method", ["gaussian", "median", "closing", "rolling_ball"])
@pytest.mark.parametrize("smooth", [None, 3])
def test_backgrounds(method, smooth):
    image = values((23, 19), "float32")
    lazy = da.from_array(image, chunks=(7, 8))
    for foreground in ("bright", "dark"):
        options = {"sigma": 2.5, "method": method, "smooth": smooth, "foreground": foreground}
        same(filters.subtract_background, image, (7, 8), exact=False, **options)
        both = filters.subtract_background(lazy, **options, return_background=True)
        expected = filters.subtract_background(image, **options, return_background=True)
        for a, b in zip(both, expected):
            np.testing.assert_allclose(a.compute(), b, rtol=1e-6, atol=1e-4)


@settings(max_examples=30)
@given(st.data(), st.sampled_from(MODES), st.sampled_from(("bool", "uint8", "float32")))
def test_edges(data, mode, dtype):
    shape, chunks, others = drawn(data, data.draw(st.integers(2, 3)))
    image = values(shape, dtype)
    mask = np.random.default_rng(1).random(shape) < 0.8
    mask.flat[0] = True
    for name in ("sobel", "scharr", "prewitt"):
        function = getattr(filters, name)
        axis = data.draw(st.sampled_from([None, 0, (0, 1)]))
        same(function, image, chunks, axis=axis, mode=mode, cval=2)
        if data.draw(st.booleans()):
            found = function(
                da.from_array(image, chunks=chunks), da.from_array(mask, chunks=others)
            )
            np.testing.assert_array_equal(found, function(image, mask))


@pytest.mark.parametrize("name", ["sobel_h", "sobel_v", "scharr_h", "scharr_v", "prewitt_h"])
def test_edges_along_one_axis(name):
    same(getattr(filters, name), values((13, 11), "float64"), (4, 5))


@settings(max_examples=20)
@given(st.data(), st.sampled_from((3, 4, 5)), st.booleans())
def test_laplace(data, ksize, masked):
    shape, chunks, others = drawn(data, 2)
    image, mask = values(shape, "float32"), None
    expected = partial(filters.laplace, image, ksize)
    if masked:
        mask = np.random.default_rng(2).random(shape) < 0.7
        mask.flat[0] = True
    lazy_mask = None if mask is None else da.from_array(mask, chunks=others)
    found = filters.laplace(da.from_array(image, chunks=chunks), ksize, mask=lazy_mask)
    np.testing.assert_array_equal(found, expected(mask=mask))


@settings(max_examples=30)
@given(
    st.data(), st.sampled_from(MODES), st.sampled_from(("gaussian", "mean", "median")),
    st.sampled_from((3, 5, 9)),
)  # fmt: skip
def test_local_thresholds(data, mode, method, size):
    shape, chunks, _ = drawn(data, 2)
    image = values(shape, data.draw(st.sampled_from(DTYPES)))
    same(
        filters.threshold_local, image, chunks, block_size=size, method=method, mode=mode,
        offset=2, exact=False,
    )  # fmt: skip


def test_local_thresholds_by_a_function_of_your_own():
    image = values((15, 13), "float64")
    same(filters.threshold_local, image, (4, 13), block_size=(3, 7), method="generic", param=np.ptp)


@settings(max_examples=25)
@given(st.data(), st.sampled_from(("uint8", "float32", "float64")), st.sampled_from((3, 7, 11)))
def test_thresholds_by_moments(data, dtype, window):
    shape, chunks, _ = drawn(data, data.draw(st.integers(2, 3)))
    image = values(shape, dtype)
    same(filters.threshold_niblack, image, chunks, window_size=window, exact=False)
    same(filters.threshold_sauvola, image, chunks, window_size=window, exact=False)


@settings(max_examples=40)
@given(
    st.data(), st.sampled_from(("reflect", "constant", "wrap", "max", "min", "ignore")),
    st.sampled_from(("bool", "uint8", "float32")),
    st.sampled_from(("erosion", "dilation", "opening", "closing", "white_tophat")),
)  # fmt: skip
def test_morphology(data, mode, dtype, name):
    shape, chunks, _ = drawn(data, 2)
    footprint = data.draw(
        st.sampled_from(
            [
                None,
                np.ones((2, 3)),
                morphology.disk(2),
                [(np.ones((3, 1)), 2), (np.ones((1, 3)), 1)],
            ]
        )
    )
    image = values(shape, dtype)
    same(getattr(morphology, name), image, chunks, footprint=footprint, mode=mode, cval=0)


@settings(max_examples=30)
@given(st.data(), st.sampled_from((1, 2, 2.5, 100)), st.sampled_from((1, (2, 1), (0.5, 1.5))))
def test_labels_expand(data, distance, spacing):
    shape, chunks, _ = drawn(data, 2)
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    labels = rng.integers(1, 9, shape) * (rng.random(shape) < 0.15)
    same(segmentation.expand_labels, labels, chunks, distance=distance, spacing=spacing)


@settings(max_examples=30)
@given(st.data(), st.sampled_from(("thick", "inner", "outer")), st.integers(1, 2))
def test_boundaries(data, mode, connectivity):
    shape, chunks, _ = drawn(data, 2)
    labels = np.random.default_rng(data.draw(st.integers(0, 9))).integers(0, 3, shape)
    same(segmentation.find_boundaries, labels, chunks, mode=mode, connectivity=connectivity)


@pytest.mark.parametrize("shape", [(20, 17), (20, 17, 3)])
@pytest.mark.parametrize("outline", [None, (1, 0, 0)])
@pytest.mark.parametrize("mode", ["thick", "inner", "outer"])
def test_marked_boundaries(shape, outline, mode):
    image = np.random.default_rng(0).random(shape)
    labels = np.arange(20)[:, None] // 6 * 4 + np.arange(17) // 5
    options = {"outline_color": outline, "mode": mode}
    lazy = segmentation.mark_boundaries(
        da.from_array(image, chunks=7), da.from_array(labels, chunks=(6, 8)), **options
    )
    np.testing.assert_array_equal(lazy, segmentation.mark_boundaries(image, labels, **options))


def test_what_a_chunked_boundary_cannot_be():
    labels = da.ones((8, 8), dtype=int, chunks=4)
    with pytest.raises(ValueError, match="mode must not be 'subpixel' for a Dask array"):
        segmentation.find_boundaries(labels, mode="subpixel")


def test_nothing_is_computed_before_it_is_asked_for():
    def never(block):
        raise AssertionError("computed")

    lazy = da.zeros((30, 30), chunks=10).map_blocks(never, dtype=np.float32, meta=np.empty((0, 0)))
    for result in (
        filters.gaussian(lazy, 2),
        filters.median(lazy),
        filters.sobel(lazy),
        morphology.opening(lazy),
        filters.threshold_local(lazy, 5),
    ):
        assert isinstance(result, da.Array)


def test_tasks_are_as_many_as_chunks():
    lazy = da.zeros((64, 64, 64), chunks=8, dtype=np.float32)
    tasks = len(filters.gaussian(lazy, 1).__dask_graph__())
    assert tasks < 50 * lazy.npartitions


@pytest.mark.sim
@pytest.mark.parametrize("mode", ["reflect", "wrap"])
def test_a_chunk_too_large_for_the_device_is_worked_on_in_slabs(monkeypatch, caplog, mode):
    from gpuseg import _backend
    from gpuseg._cuda.filters import smoothing

    class OutOfMemoryError(MemoryError):
        """Named like CuPy's."""

    seen = []

    def small(image, footprint, *, mode, cval, behavior, whole=smoothing.median):
        if image.size > 250:
            raise OutOfMemoryError
        seen.append(image.shape)
        return whole(image, footprint, mode=mode, cval=cval, behavior=behavior)

    small.__name__ = "median"
    monkeypatch.setattr(smoothing, "median", small)
    _backend.find.cache_clear()
    _backend.log_once.cache_clear()
    image = values((40, 21), "float32")
    try:
        with _backend.using("sim"):
            lazy = filters.median(da.from_array(image, chunks=(40, 11)), mode=mode)
            found = lazy.compute(scheduler="sync")
    finally:
        _backend.find.cache_clear()
    with _backend.using("cpu"):
        np.testing.assert_array_equal(found, filters.median(image, mode=mode))
    assert len(seen) > 4
    assert [r.message for r in caplog.records] == [
        "out of device memory: chunks are worked on in smaller slabs"
    ]


@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["reflect", "wrap"])
def test_chunks_stream_through_the_device(mode):
    image = values((200, 180, 160), "uint16")
    with gpuseg.using("cpu"):
        expected = filters.gaussian(image, 2, mode=mode)
        mask = filters.apply_hysteresis_threshold(image, 30, 90)
    lazy = da.from_array(image, chunks=(64, 180, 160))
    found = filters.gaussian(lazy, 2, mode=mode).compute()
    assert isinstance(found, np.ndarray)
    assert filters.gaussian.contract.compare(found, expected).passed
    np.testing.assert_array_equal(filters.apply_hysteresis_threshold(lazy, 30, 90), mask)
