"""Smoothing: SciPy's and scikit-image's numbers, whatever the shape, the mode and the dtype."""

import tracemalloc

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import skimage.data
import skimage.filters
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage as ndi

import gpuseg
from gpuseg import filters
from gpuseg.filters import difference_of_gaussians, gaussian, median, subtract_background

MODES = ["reflect", "constant", "nearest", "mirror", "wrap"]
DTYPES = ["?", "u1", "i1", "u2", "i4", "f2", "f4", "f8", ">f4", ">u2"]


def close(ours, expected, rtol=None):
    assert ours.shape == expected.shape
    assert ours.dtype == expected.dtype
    rtol = rtol or (1e-12 if expected.dtype == np.float64 else 2e-6)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=rtol * np.abs(expected).max() + 1e-300)


@given(data=st.data(), dtype=st.sampled_from(["f4", "f8"]), mode=st.sampled_from(MODES))
def test_gaussian_equals_scipy(data, dtype, mode):
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=14))
    if len(shape) < 3:
        shape = tuple(n * data.draw(st.sampled_from([1, 3, 17])) for n in shape)
    sigmas = st.sampled_from([0, 0.3, 1, 2.2, 4])
    sigma = [data.draw(sigmas) for _ in shape]
    image = np.random.default_rng(data.draw(st.integers(0, 99))).standard_normal(shape)
    image = image.astype(dtype)
    image = data.draw(st.sampled_from([image, image[::-1], np.asfortranarray(image)]))
    with gpuseg.using("cpu"):
        ours = gaussian(image, sigma, mode=mode, cval=1.5, truncate=3)
    expected = ndi.gaussian_filter(image.astype("f8"), sigma, mode=mode, cval=1.5, truncate=3)
    close(ours, expected.astype(dtype))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(19,), (7, 9), (4, 5, 6)])
def test_gaussian(backend, rng, shape, mode):
    image = rng.standard_normal(shape)
    for sigma in (0.4, 1.5, tuple(range(len(shape)))):
        for dtype in ("f4", "f8"):
            typed = image.astype(dtype)
            ours = gaussian(typed, sigma, mode=mode, cval=0.7)
            close(ours, skimage.filters.gaussian(typed, sigma, mode=mode, cval=0.7))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("preserve_range", [True, False])
def test_gaussian_takes_dtypes_by_scikit_images_rules(backend, rng, dtype, preserve_range):
    image = rng.integers(0, 120, (6, 9)).astype(dtype)
    ours = gaussian(image, 1, preserve_range=preserve_range)
    peer = image.astype(image.dtype.newbyteorder("="))
    close(ours, skimage.filters.gaussian(peer, 1, preserve_range=preserve_range))


def test_gaussian_of_large_images_in_bands_and_columns(monkeypatch, rng):
    monkeypatch.setenv("GPUSEG_NUM_THREADS", "3")
    with gpuseg.using("cpu"):
        for shape, sigma in (((301, 5000), 3), ((40, 70, 90), 2), ((30, 9000), (2, 0)),
                             ((3, 200, 300), (0, 2, 2)), ((20, 30, 40), (3, 0, 2))):  # fmt: skip
            image = rng.standard_normal(shape).astype(np.float32)
            close(gaussian(image, sigma), skimage.filters.gaussian(image, sigma))


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_gaussian_of_channels(backend, rng, axis):
    image = rng.random((5, 6, 7))
    close(
        gaussian(image, 1, channel_axis=axis),
        skimage.filters.gaussian(image, 1, channel_axis=axis),
    )
    close(
        gaussian(image, (1, 2), channel_axis=axis),
        skimage.filters.gaussian(image, (1, 2), channel_axis=axis),
    )


def test_gaussian_spreads_nan_over_the_kernel_only(backend):
    image = np.zeros((9, 40))
    image[4, 20] = np.nan
    ours = gaussian(image, 0.5)
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(ndi.gaussian_filter(image, 0.5)))


def test_gaussian_out_and_input(backend, rng):
    image = rng.random((6, 7))
    before = image.copy()
    image.setflags(write=False)
    out = np.empty((6, 7), np.float32)
    assert gaussian(image, 1, out=out) is out
    np.testing.assert_allclose(out, gaussian(image, 1), rtol=1e-6)
    np.testing.assert_array_equal(image, before)
    none = gaussian(image, 0)
    np.testing.assert_array_equal(none, image)
    assert none is not image


def test_gaussian_needs_little_memory_beside_the_result(rng):
    image = rng.standard_normal((96, 256, 256), dtype=np.float32)
    with gpuseg.using("cpu"):
        gaussian(image[:4], 2)
        tracemalloc.start()
        result = gaussian(image, 2)
        peak = tracemalloc.get_traced_memory()[1] - result.nbytes
        tracemalloc.stop()
    assert peak < 0.5 * image.nbytes


@pytest.mark.parametrize(
    ("more", "error", "text"),
    [
        ({"sigma": -1}, ValueError, "sigma must be at least 0, got -1"),
        ({"sigma": np.nan}, ValueError, "sigma must be finite"),
        ({"sigma": "1"}, TypeError, "sigma must be a number"),
        ({"sigma": (1, 2, 3)}, ValueError, "sigma must be a number or have one for each of 2"),
        ({"mode": "edge"}, ValueError, "mode must be one of 'reflect'"),
        ({"truncate": 0}, ValueError, "truncate must be greater than 0"),
        ({"out": np.zeros((3, 3), int)}, ValueError, "out must be an array of floating-point"),
        ({"out": np.zeros((3, 4))}, ValueError, r"out must be an array of shape \(3, 3\)"),
        ({"channel_axis": 2}, ValueError, "channel_axis must be at most 1"),
        ({"image": np.zeros((0, 3))}, ValueError, "image is empty"),
        ({"image": np.zeros(3, complex)}, TypeError, "image must hold real numbers"),
        ({"image": np.array([None])}, TypeError, "image must hold real numbers"),
    ],
)
def test_bad_input(more, error, text):
    with pytest.raises(error, match=text):
        gaussian(**({"image": np.zeros((3, 3))} | more))


@pytest.mark.parametrize("dtype", ["u1", "f4", "f8", "i2"])
def test_difference_of_gaussians(backend, rng, dtype):
    image = rng.integers(0, 100, (8, 12)).astype(dtype)
    for low, high in ((1, None), (0.5, 2), ((1, 0.5), (1, 2))):
        close(
            difference_of_gaussians(image, low, high),
            skimage.filters.difference_of_gaussians(image, low, high),
            rtol=1e-5,
        )
    with pytest.raises(ValueError, match="high_sigma must not be below low_sigma, got 1 and 2"):
        difference_of_gaussians(image, 2, 1)


@pytest.mark.parametrize("dtype", ["?", "u1", "i2", "f2", "f4", "f8"])
@pytest.mark.parametrize("mode", ["nearest", "constant"])
def test_median(backend, rng, dtype, mode):
    image = rng.integers(0, 100, (7, 9)).astype(dtype)
    for footprint in (None, np.ones((1, 5)), skimage.morphology.disk(2)):
        ours = median(image, footprint, mode=mode)
        peer = (
            image.astype("u1") if dtype == "?" else image.astype("f4") if dtype == "f2" else image
        )
        expected = skimage.filters.median(peer, footprint, mode=mode).astype(dtype)
        np.testing.assert_array_equal(ours, expected)
        assert ours.dtype == dtype
    with pytest.raises(ValueError, match="footprint must have the image's 2 axes"):
        median(image, np.ones(3))


def test_median_by_rank(backend):
    image = skimage.data.coins()[:20, :30]
    np.testing.assert_array_equal(
        median(image, np.ones((3, 3), np.uint8), behavior="rank"),
        skimage.filters.median(image, np.ones((3, 3), np.uint8), behavior="rank"),
    )


@pytest.mark.parametrize("method", ["gaussian", "median", "closing", "rolling_ball"])
@pytest.mark.parametrize("foreground", ["bright", "dark"])
def test_background_of_uneven_light_goes(backend, rng, method, foreground):
    y, x = np.mgrid[:24, :32]
    light = 50 + 2.0 * x + y
    spots = np.zeros(light.shape)
    spots[6:8, 5:8] = spots[15:17, 22:25] = 40 if foreground == "bright" else -40
    flat, background = subtract_background(
        light + spots, 5, method, foreground=foreground, return_background=True
    )
    np.testing.assert_allclose(flat + background, light + spots, rtol=1e-12)
    sign = 1 if foreground == "bright" else -1
    inside = sign * flat[spots != 0]
    outside = sign * flat[spots == 0]
    assert np.quantile(inside, 0.1) > np.quantile(outside, 0.95)


def test_median_less_gaussian(backend, rng):
    image = rng.random((15, 20))
    ours = subtract_background(image, 3, smooth=1)
    expected = ndi.median_filter(
        image, footprint=skimage.morphology.disk(1), mode="nearest"
    ) - ndi.gaussian_filter(image, 3, mode="nearest")
    np.testing.assert_allclose(ours, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"sigma": 0}, "sigma must be greater than 0"),
        ({"method": "mean"}, "method must be one of 'gaussian', 'median', 'closing'"),
        ({"foreground": "grey"}, "foreground must be one of 'bright', 'dark'"),
        ({"smooth": 0}, "smooth must be at least 1"),
    ],
)
def test_bad_input_of_the_background(more, text):
    with pytest.raises(ValueError, match=text):
        subtract_background(np.zeros((5, 5)), **more)


# --- edges ------------------------------------------------------------------------------------

GRADIENTS = [name + side for name in ("sobel", "scharr", "prewitt") for side in ("", "_h", "_v")]


@pytest.mark.parametrize("dtype", ["?", "u1", "i2", "f2", "f4", "f8"])
@pytest.mark.parametrize("name", [*GRADIENTS, "laplace"])
def test_edges_equal_scikit_image(backend, rng, name, dtype):
    image = rng.integers(0, 2, (8, 9)).astype(dtype)
    mask = np.ones((8, 9), bool)
    mask[:2] = False
    ours, peer = getattr(filters, name), getattr(skimage.filters, name)
    native = image.astype("f4") if dtype == "f2" else image
    for more in ({}, {"mask": mask}):
        close(ours(image, **more), peer(native, **more), rtol=1e-5)


@pytest.mark.parametrize("name", ["sobel", "scharr", "prewitt"])
def test_edges_along_axes_in_three_dimensions(backend, rng, name):
    image = rng.random((4, 5, 6))
    ours, peer = getattr(filters, name), getattr(skimage.filters, name)
    for axis in (None, 0, 2, (0, 2)):
        for mode in ("reflect", "constant"):
            options = dict(axis=axis, mode=mode, cval=1)
            close(ours(image, **options), peer(image, **options))
    # scikit-image takes -1 for another axis than the last, and smooths along that one as well.
    np.testing.assert_array_equal(ours(image, axis=-1), ours(image, axis=2))
    with pytest.raises(ValueError, match="axis must be at most 2"):
        ours(image, axis=3)
    with pytest.raises(ValueError, match="image must have 2 axes"):
        getattr(filters, f"{name}_h")(image)


# --- small changes of large values, and the largest ones ---------------------------------------


@pytest.mark.parametrize(("dtype", "level"), [("u2", 5e4), ("f4", 5e4), ("f4", 1e6), ("f8", 1e12)])
@pytest.mark.parametrize("shape", [(19,), (13, 14), (5, 6, 7)])
def test_small_changes_of_large_values(backend, rng, shape, dtype, level):
    """As with the level taken off first, in float64, to what the values themselves are known to."""
    if backend == "sim":
        shape = shape[:2]
    image = (level + rng.normal(0, 9, shape).round()).astype(dtype)
    exact = image.astype("f8") - level
    unit = 1 / np.iinfo(dtype).max if dtype == "u2" else 1.0
    known = np.spacing(np.asarray(level, "f4" if dtype == "f4" else "f8"))
    for name, args, scaled in (
        ("difference_of_gaussians", (1,), True),
        ("difference_of_gaussians", (2, 3), True),
        ("subtract_background", (2,), False),
        ("subtract_background", (2, "median"), False),
        ("subtract_background", (2, "closing"), False),
        ("sobel", (), True),
        ("scharr", (), True),
        ("prewitt", (), True),
        ("laplace", (), True),
    ):
        function = getattr(filters, name)
        found, expected = function(image, *args), function(exact, *args)
        expected = expected * unit if scaled else expected
        rounded = dtype == "f8"  # the smoothed image itself is
        atol = 20 * known if rounded else 1e-6 * np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=atol, err_msg=name)
    for name in ("niblack", "sauvola"):
        function = getattr(filters, f"threshold_{name}")
        options = {"k": 3.0, "r": 9.0} if name == "sauvola" else {"k": 3.0}
        expected = function(image.astype("f8"), 3, **options)
        atol = 1e-6 * level if name == "sauvola" else 2 * known
        np.testing.assert_allclose(function(image, 3, **options), expected, rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("shape", [(40,), (30, 33), (9, 10, 11)])
def test_the_largest_values(backend, rng, shape, dtype):
    largest = np.finfo(dtype).max
    if backend == "sim":
        shape = tuple(n // 3 for n in shape)
    image = (rng.random(shape) * 0.2 + 0.79).astype(dtype)
    for sigma in (0.7, 2, 5):
        expected = filters.gaussian(image, sigma)
        found = filters.gaussian(image * largest, sigma)
        np.testing.assert_allclose(found / largest, expected, rtol=1e-5)
    close(
        filters.threshold_niblack(image * largest, 3) / largest,
        filters.threshold_niblack(image, 3),
        rtol=1e-5,
    )


# --- local thresholds -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", "f4", "f8"])
def test_local_thresholds_equal_scikit_image(backend, rng, dtype):
    image = rng.integers(0, 100, (12, 15)).astype(dtype)
    for args in (
        {"block_size": 5},
        {"block_size": (3, 5), "method": "mean", "mode": "nearest"},
        {"block_size": 3, "method": "median", "offset": 4},
        {"block_size": 5, "param": 2.0, "mode": "constant", "cval": 3},
        {"block_size": 3, "method": "generic", "param": lambda values: values.max()},
    ):
        close(
            filters.threshold_local(image, **args),
            skimage.filters.threshold_local(image, **args),
            rtol=1e-5,
        )
    for name in ("niblack", "sauvola"):
        ours = getattr(filters, f"threshold_{name}")
        peer = getattr(skimage.filters, f"threshold_{name}")
        close(ours(image, 5), peer(image, 5), rtol=1e-5)
        close(ours(image, (3, 7), k=0.4), peer(image, (3, 7), k=0.4), rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "args", "text"),
    [
        ("local", {"block_size": 4}, "block_size must be odd, got 4"),
        ("local", {"block_size": 0}, "block_size must be at least 1"),
        ("local", {"block_size": (3, 3, 3)}, "block_size must be a number or have one for each"),
        ("local", {"method": "mode"}, "method must be one of"),
        ("local", {"method": "generic"}, "param must be a function"),
        ("niblack", {"window_size": 4}, "window_size must be odd"),
        ("sauvola", {"r": 0}, "r must be greater than 0"),
    ],
)
def test_bad_input_of_local_thresholds(name, args, text):
    with pytest.raises(ValueError, match=text):
        getattr(filters, f"threshold_{name}")(np.zeros((9, 9)), **args)


def test_a_sigma_whose_square_is_zero_changes_nothing(backend):
    image = np.arange(5.0)
    np.testing.assert_array_equal(filters.gaussian(image, 1e-200), image)
