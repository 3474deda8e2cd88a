"""Automatic thresholds: scikit-image's own values, ITK's, and a clear word where there is none."""

import inspect

import numpy as np
import pytest
import SimpleITK
import skimage.data
import skimage.filters
from scipy import ndimage as ndi

import gpuseg
from gpuseg import filters
from gpuseg.filters import UndecidedError

SCIKIT_IMAGE = ["isodata", "li", "mean", "minimum", "otsu", "triangle", "yen"]
IMAGEJ = ["huang", "intermodes", "maxentropy", "minerror", "moments", "percentile",
          "renyientropy", "shanbhag"]  # fmt: skip
UNDECIDED = {"minimum", "intermodes", "minerror", "moments"}


def ours(name, *args, **kwargs):
    return getattr(filters, f"threshold_{name}")(*args, **kwargs)


def theirs(name, *args, **kwargs):
    return getattr(skimage.filters, f"threshold_{name}")(*args, **kwargs)


@pytest.fixture(scope="module")
def images():
    return {name: getattr(skimage.data, name)()[::3, ::3] for name in ("camera", "coins", "page")}


DTYPES = {
    "uint8": lambda image: image,
    "int8": lambda image: (image // 2).astype(np.int8) - np.int8(20),
    "uint16": lambda image: image.astype(np.uint16) * 3,
    "int16": lambda image: image.astype(np.int16) - 100,
    "int32": lambda image: image.astype(np.int32) * 2 - 77,
    "big-endian": lambda image: image.astype(">u2") * 3,
    "fortran": np.asfortranarray,
    "negative strides": lambda image: image[::-1, ::-1],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SCIKIT_IMAGE)
def test_integers_equal_scikit_image_exactly(images, name, dtype):
    for image in map(DTYPES[dtype], images.values()):
        try:
            expected = theirs(name, image.astype(image.dtype.newbyteorder("=")))
        except RuntimeError:
            with pytest.raises(UndecidedError):
                ours(name, image)
            continue
        with gpuseg.using("cpu"):
            found = ours(name, image)
        assert found == expected
        assert np.dtype(type(found)) == np.dtype(type(expected))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", SCIKIT_IMAGE)
def test_floats_lie_within_one_bin_of_scikit_image(images, name, dtype):
    for image in images.values():
        image = ndi.gaussian_filter(image.astype(dtype), 1) / 3
        with gpuseg.using("cpu"):
            found = ours(name, image)
        try:
            expected = theirs(name, image)
        except RuntimeError:
            continue
        assert abs(found - expected) <= np.ptp(image) / 256
        if name != "li":
            assert found == expected
            assert found.dtype == dtype


def test_float16_as_float32(images):
    image = (images["camera"] / 255).astype(np.float16)
    for name in SCIKIT_IMAGE:
        wide = theirs(name, image.astype(np.float32))
        assert ours(name, image) == pytest.approx(wide, abs=2 / 256)


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_multiotsu(images, classes):
    for image in images.values():
        expected = skimage.filters.threshold_multiotsu(image, classes)
        np.testing.assert_array_equal(filters.threshold_multiotsu(image, classes), expected)
        scaled = image / np.float32(255)
        expected = skimage.filters.threshold_multiotsu(scaled, classes)
        np.testing.assert_array_equal(filters.threshold_multiotsu(scaled, classes), expected)


def test_multiotsu_honours_nbins_for_integers(images):
    """scikit-image ignores it, and searches every grey value of a 16-bit image."""
    wide = images["coins"].astype(np.uint16) * 257
    found = filters.threshold_multiotsu(wide, 3)
    expected = skimage.filters.threshold_multiotsu(images["coins"], 3) * 257.0
    assert np.abs(found - expected).max() <= 257
    few = filters.threshold_multiotsu(wide, 3, nbins=16)
    assert np.abs(few - expected).max() <= 65535 / 16 * 1.5


ITK = {
    "huang": ("Huang", 5), "intermodes": ("Intermodes", 1), "isodata": ("IsoData", 3),
    "li": ("Li", 3), "maxentropy": ("MaximumEntropy", 0), "moments": ("Moments", 0),
    "otsu": ("Otsu", 0), "renyientropy": ("RenyiEntropy", 0), "shanbhag": ("Shanbhag", 0),
    "triangle": ("Triangle", 1), "yen": ("Yen", 0),
}  # fmt: skip


def itk(name, image):
    image = image.copy()
    # ITK lays its 256 bins between the extremes: at these, a bin is a grey value.
    image.flat[:2] = 0, 255
    method = getattr(SimpleITK, f"{name}ThresholdImageFilter")()
    method.SetNumberOfHistogramBins(256)
    method.Execute(SimpleITK.GetImageFromArray(image))
    return image, method.GetThreshold()


@pytest.mark.parametrize("name", ITK)
def test_itk_agrees(images, name):
    """Some of ITK's name the bin's other edge; its Huang rounds means to grey values."""
    filter_name, tolerance = ITK[name]
    for image in images.values():
        image, expected = itk(filter_name, image)
        assert abs(ours(name, image) - expected) <= tolerance


def test_minerror_is_the_least_of_the_published_criterion(images):
    """Kittler and Illingworth's J(T), written out; ITK's search stops at the nearest minimum."""
    for image in images.values():
        p = np.bincount(image.ravel(), minlength=256) / image.size
        grey = np.arange(256)
        best = np.inf, None
        for t in range(255):
            sides = []
            for part in (grey <= t, grey > t):
                weight = p[part].sum()
                if weight == 0:
                    break
                mean = (p[part] * grey[part]).sum() / weight
                spread = (p[part] * (grey[part] - mean) ** 2).sum() / weight
                if spread < 1e-9:
                    break
                sides.append(weight * np.log(np.sqrt(spread)) - weight * np.log(weight))
            if len(sides) == 2:
                best = min(best, (1 + 2 * sum(sides), t))
        assert filters.threshold_minerror(image) == best[1]
    rng = np.random.default_rng(0)
    two = np.concatenate([rng.normal(60, 5, 4000), rng.normal(150, 20, 9000)])
    two = np.clip(np.round(two), 0, 255).astype(np.uint8)
    two, expected = itk("KittlerIllingworth", two.reshape(100, 130))
    assert abs(filters.threshold_minerror(two) - expected) <= 4


def test_percentile_halves(images):
    for image in images.values():
        t = filters.threshold_percentile(image)
        below = [(image <= value).mean() for value in range(256)]
        assert abs(below[t] - 0.5) == min(abs(b - 0.5) for b in below)


@pytest.mark.parametrize("name", SCIKIT_IMAGE + IMAGEJ)
def test_backends_agree(backend, rng, name):
    image = np.concatenate([rng.normal(60, 9, 90), rng.normal(150, 20, 60)]).reshape(3, 5, 10)
    for dtype in ("u1", "f4"):
        typed = image.astype(dtype)
        found = ours(name, typed)
        with gpuseg.using("cpu"):
            rule = getattr(filters, f"threshold_{name}").contract
            assert rule.compare(found, ours(name, typed)).passed


@pytest.mark.parametrize("name", SCIKIT_IMAGE + IMAGEJ)
def test_hist_and_mask_stand_for_the_image(images, name):
    image = images["coins"]
    whole = ours(name, image)
    hist = filters.histogram(image)
    if name != "li":
        assert ours(name, hist=hist) == pytest.approx(whole, rel=1e-12)
        padded = np.bincount(image.ravel(), minlength=300)
        assert ours(name, hist=padded) == pytest.approx(whole, rel=1e-12)
    frame = np.zeros((image.shape[0] + 2, image.shape[1] + 2), image.dtype)
    frame[1:-1, 1:-1] = image
    inside = np.zeros(frame.shape, bool)
    inside[1:-1, 1:-1] = True
    assert ours(name, frame, mask=inside) == whole
    with pytest.raises(ValueError, match="mask must have the shape"):
        ours(name, image, mask=inside)


@pytest.mark.parametrize("name", SCIKIT_IMAGE + IMAGEJ)
@pytest.mark.parametrize("image", [np.full((4, 4), 7, np.uint8), np.full((4, 4), 0.5)])
def test_a_constant_image_is_its_own_threshold_or_undecided(name, image):
    if name in UNDECIDED:
        with pytest.raises(UndecidedError, match="constant"):
            ours(name, image)
    else:
        assert ours(name, image) == image.flat[0]


@pytest.mark.parametrize("name", SCIKIT_IMAGE + IMAGEJ)
def test_bool_and_two_values(name):
    image = np.array([[False] * 6 + [True] * 3] * 4)
    try:
        t = ours(name, image)
    except UndecidedError:
        return
    assert 0 <= t <= 1


def test_undecided_is_what_scikit_image_raises():
    flat = np.arange(200, dtype=np.uint8)
    for kind in (RuntimeError, ValueError):
        with pytest.raises(kind):
            filters.threshold_minimum(flat)
        with pytest.raises(kind, match="2 different values for 3 classes"):
            filters.threshold_multiotsu(np.array([1, 2], np.uint8), 3)
    with pytest.raises(UndecidedError, match="two peaks"):
        filters.threshold_intermodes(flat)


def test_isodata_returns_all(images):
    for image in images.values():
        np.testing.assert_array_equal(
            filters.threshold_isodata(image, return_all=True),
            skimage.filters.threshold_isodata(image, return_all=True),
        )


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_li_follows_scikit_image_step_by_step(images):
    image = images["camera"]
    for guess in (None, 100, skimage.filters.threshold_otsu):
        steps = [], []
        for function, seen in zip((filters.threshold_li, skimage.filters.threshold_li), steps):
            function(image, initial_guess=guess, iter_callback=seen.append)
        np.testing.assert_allclose(*steps, rtol=1e-6)
        assert len(steps[0]) > 2
    loose = filters.threshold_li(image, tolerance=50)
    assert loose == skimage.filters.threshold_li(image, tolerance=50)


def test_li_ends_where_rounding_swings():
    """A tolerance below the spacing of floats: without a memory this swings for ever."""
    rng = np.random.default_rng(1)
    image = ndi.gaussian_filter(rng.standard_normal((40, 40, 40)), 2).astype(np.float32)
    t = filters.threshold_li(image, tolerance=1e-300)
    assert image.min() < t < image.max()


@pytest.mark.parametrize("guess", [-5, 255, 1000])
def test_li_refuses_a_guess_outside_the_image(images, guess):
    with pytest.raises(ValueError, match="initial_guess must lie between the extremes"):
        filters.threshold_li(images["camera"], initial_guess=guess)


def test_mean_is_numpys(images):
    for image in (images["page"], (images["page"] / 7).astype(np.float32)):
        found = filters.threshold_mean(image)
        assert found == image.mean()
        assert found.dtype == image.mean().dtype
    assert filters.threshold_mean(hist=([1, 3], [0, 4])) == 3


def test_nan(backend):
    image = np.array([1, 1.5, np.nan, 9, 9.5])
    for name in ("otsu", "mean", "li"):
        with pytest.raises(ValueError, match="image holds NaN"):
            ours(name, image)
        np.testing.assert_allclose(ours(name, image, nan="omit"), ours(name, image[image > 0]))
        with pytest.raises(ValueError, match="infinite"):
            ours(name, np.array([1, np.inf]))


@pytest.mark.parametrize("name", [*SCIKIT_IMAGE, *IMAGEJ, "multiotsu"])
@pytest.mark.parametrize(
    ("args", "error", "text"),
    [
        ((np.zeros((0, 3)),), ValueError, "image is empty"),
        ((np.float64(3),), ValueError, "0-d"),
        ((np.zeros(3, complex),), TypeError, "image must hold real numbers"),
        ((np.array(["a"]),), TypeError, "image must hold real numbers"),
        ((np.array([None]),), TypeError, "image must hold real numbers"),
        ((np.full(3, np.nan),), ValueError, "image holds NaN"),
        ((), ValueError, "either image or hist must be given"),
    ],
)
def test_bad_input(name, args, error, text):
    with pytest.raises(error, match=text):
        ours(name, *args)


@pytest.mark.parametrize(
    ("hist", "text"),
    [
        (([1, 2], [1, 2, 3]), "as many bin centres"),
        (np.zeros(3), "hist counts nothing"),
        (np.array([1, -1]), "not negative"),
        (np.array([1, np.nan]), "finite"),
        (np.ones((2, 2)), "hist must be counts"),
    ],
)
def test_bad_hist(hist, text):
    with pytest.raises(ValueError, match=text):
        filters.threshold_otsu(hist=hist)


@pytest.mark.parametrize("name", [*SCIKIT_IMAGE, "multiotsu"])
def test_signatures_begin_as_scikit_images(name):
    mine = inspect.signature(getattr(filters, f"threshold_{name}")).parameters
    peers = inspect.signature(getattr(skimage.filters, f"threshold_{name}")).parameters
    for parameter in peers.values():
        assert mine[parameter.name].kind == parameter.kind
        if parameter.default is not parameter.empty:
            assert mine[parameter.name].default == parameter.default
    positional = [p.name for p in peers.values() if p.kind != p.KEYWORD_ONLY]
    assert list(mine)[: len(positional)] == positional
