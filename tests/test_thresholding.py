"""Automatic thresholds: scikit-image's values where it has the method, ITK's and the papers' else.

Foreground is what lies above a threshold, and a threshold is the centre of a bin.
"""

import inspect
import itertools
from fractions import Fraction

import naive
import numpy as np
import pytest
import SimpleITK as sitk
import skimage.data
import skimage.filters
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import gpuseg.filters as filters
import gpuseg.filters.thresholding as public
from gpuseg.filters import UndecidedError

OF_SKIMAGE = ["otsu", "isodata", "li", "yen", "triangle", "minimum", "mean", "multiotsu"]
OTHERS = ["intermodes", "huang", "maxentropy", "minerror", "moments", "percentile",
          "renyientropy", "shanbhag"]  # fmt: skip
EVERY = OF_SKIMAGE + OTHERS
IMAGES = ["camera", "coins", "page"]
DTYPES = [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.int64,
          np.float32, np.float64]  # fmt: skip
# With more values than bins, threshold_multiotsu bins integers, and is tested apart.
CASES = [(name, dtype) for name in OF_SKIMAGE for dtype in DTYPES
         if name != "multiotsu" or dtype().itemsize == 1 or dtype().dtype.kind == "f"]  # fmt: skip
ITK = {
    "otsu": "Otsu",
    "yen": "Yen",
    "intermodes": "Intermodes",
    "huang": "Huang",
    "maxentropy": "MaximumEntropy",
    "moments": "Moments",
    "renyientropy": "RenyiEntropy",
    "shanbhag": "Shanbhag",
}


def ours(name):
    return getattr(filters, f"threshold_{name}")


def theirs(name):
    return getattr(skimage.filters, f"threshold_{name}")


def real(name, backend="cpu"):
    """A shipped photograph; every sixteenth pixel where a device is simulated."""
    image = getattr(skimage.data, name)()
    return np.ascontiguousarray(image[::16, ::16] if backend == "sim" else image)


def stretched(name):
    """Eight bits that start at 0 and end at 255, so that everybody's bins are the same."""
    image = getattr(skimage.data, name)().astype(float)
    image -= image.min()
    return np.round(image * 255 / image.max()).astype(np.uint8)


def as_dtype(image, dtype):
    """The same picture in another dtype, at home in it: floats have values between the steps too.

    Where they have not, or integers have a common factor, scikit-image sees gaps between them.
    """
    if dtype == np.int8:
        return (image.astype(np.int16) // 2 - 10).clip(0, None).astype(np.int8)
    if np.dtype(dtype).kind == "f":
        between = np.arange(image.size).reshape(image.shape) * 0.618034 % 1
        return ((image + between) / 7 - 3).astype(dtype)
    return image.astype(dtype) if dtype == np.uint8 else (image.astype(dtype) + 5).astype(dtype)


# --- scikit-image's -----------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "dtype"), CASES)
@pytest.mark.parametrize("picture", IMAGES)
def test_same_as_scikit_image(backend, picture, dtype, name):
    image = as_dtype(real(picture, backend), dtype)
    try:
        wanted = theirs(name)(image)
    except RuntimeError:
        with pytest.raises(UndecidedError):
            ours(name)(image)
        return
    found = ours(name)(image)
    assert type(found) is type(wanted)
    if name == "li" and image.dtype.kind == "f":
        assert found.dtype == wanted.dtype
        assert abs(found - wanted) <= np.ptp(image) / 256
    elif name == "mean" and image.dtype == np.float32 and backend != "cpu":
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
    else:
        np.testing.assert_array_equal(found, wanted)
        assert np.asarray(found).dtype == np.asarray(wanted).dtype


@given(
    image=hnp.arrays(
        st.sampled_from([np.uint8, np.int16, np.float32, np.float64]),
        hnp.array_shapes(min_dims=1, max_dims=4, min_side=2, max_side=6),
        elements=st.integers(0, 100),
    )
)
@pytest.mark.parametrize("name", ["otsu", "yen", "triangle"])
def test_small_images_of_any_shape(backend, name, image):
    if image.ndim > 2 and image.shape[-1] in {3, 4}:
        # scikit-image warns of what looks like colours; here any array is a grey image.
        image = np.concatenate((image, image, image), axis=-1)
    if name == "yen" and image.min() == image.max() and image.dtype.kind == "f":
        assert ours(name)(image) == image.flat[0]
        return
    if name == "triangle":
        # All values, so that there are no gaps, and more than two.
        image = np.append(image.astype(np.int16), [0, 1, 2]).clip(0, 40)
        image = np.append(image, np.arange(image.max()))
    with np.errstate(all="ignore"):
        wanted = theirs(name)(image)
    np.testing.assert_array_equal(ours(name)(image), wanted)


@pytest.mark.parametrize("name", OF_SKIMAGE)
def test_signatures_begin_as_scikit_images(name):
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD

    def positional(function):
        return [
            (p.name, p.default)
            for p in inspect.signature(function).parameters.values()
            if p.kind == kind
        ]

    (_, *mine), (_, *wanted) = positional(ours(name)), positional(theirs(name))
    assert mine == wanted
    more = set(inspect.signature(ours(name)).parameters)
    assert more >= {*inspect.signature(theirs(name)).parameters, "hist", "mask", "nan"}


@pytest.mark.parametrize("name", ["otsu", "isodata", "yen", "minimum", "multiotsu"])
def test_histograms_as_scikit_image_takes_them(backend, name):
    counts = np.bincount(real("camera").ravel(), minlength=300)
    assert counts[-1] == 0
    centers = np.arange(300) / 3
    for hist in (counts, (counts, centers), (counts.astype(float), centers)):
        before = np.copy(counts)
        np.testing.assert_array_equal(ours(name)(hist=hist), theirs(name)(hist=hist))
        assert (counts == before).all()


def test_isodata_returns_all(backend):
    image = real("coins", backend)
    np.testing.assert_array_equal(
        filters.threshold_isodata(image, return_all=True),
        skimage.filters.threshold_isodata(image, return_all=True),
    )
    assert filters.threshold_isodata(np.full(4, 7), return_all=True).tolist() == [7]


def test_minimum_gives_up_as_scikit_image_does(backend):
    image = real("camera", backend)
    for most in (1, 2, 5, 30, 100):
        try:
            wanted = skimage.filters.threshold_minimum(image, max_num_iter=most)
        except RuntimeError:
            with pytest.raises(UndecidedError, match="minimum"):
                filters.threshold_minimum(image, max_num_iter=most)
        else:
            assert filters.threshold_minimum(image, max_num_iter=most) == wanted
    one_peak = np.repeat(np.arange(5), [1, 2, 9, 2, 1])
    with pytest.raises(UndecidedError, match="minimum needs two peaks"):
        filters.threshold_minimum(one_peak)


@given(
    counts=hnp.arrays(np.int64, st.integers(3, 40), elements=st.integers(0, 20)),
    most=st.integers(1, 60),
)
def test_minimum_on_any_histogram(counts, most):
    counts[[0, 1, -1]] += 1  # without a common factor
    try:
        wanted = skimage.filters.threshold_minimum(hist=counts, max_num_iter=most)
    except RuntimeError:
        with pytest.raises(UndecidedError):
            filters.threshold_minimum(hist=counts, max_num_iter=most)
    else:
        assert filters.threshold_minimum(hist=counts, max_num_iter=most) == wanted


# --- constant images ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32, bool])
@pytest.mark.parametrize("name", EVERY)
def test_constant_images(backend, name, dtype):
    image = np.full((3, 4), 1, dtype)
    if name in {"minimum", "multiotsu", "intermodes", "minerror", "moments"}:
        with pytest.raises(UndecidedError, match=r"constant: 1|1 different values for 3"):
            ours(name)(image)
        return
    found = ours(name)(image)
    assert found == 1
    # What scikit-image returns for a constant bool or float image is a bin beside it, or an error.
    if name in OF_SKIMAGE and (image.dtype.kind in "ui" or name in {"otsu", "li"}):
        assert type(found) is type(theirs(name)(image))


# --- ITK's and the papers' ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ITK)
@pytest.mark.parametrize("picture", IMAGES)
def test_same_as_itk(picture, name):
    image = stretched(picture)
    kernel = getattr(sitk, f"{ITK[name]}ThresholdImageFilter")()
    kernel.SetNumberOfHistogramBins(256)
    kernel.Execute(sitk.GetImageFromArray(image))
    # ITK rounds the means of Huang's sides to whole values, and so moves by a few.
    assert abs(ours(name)(image) - kernel.GetThreshold()) <= (5 if name == "huang" else 0.5)


@pytest.mark.parametrize("picture", IMAGES)
def test_huang_is_the_least_fuzzy(picture):
    image = stretched(picture)
    counts = np.bincount(image.ravel())
    costs = [naive.huang_fuzziness(counts, t) for t in range(255)]
    assert filters.threshold_huang(image) == np.argmin(costs)


@pytest.mark.parametrize("picture", IMAGES)
def test_minerror_is_the_least_of_its_criterion(picture):
    image = stretched(picture)
    counts = np.bincount(image.ravel())
    costs = np.array([naive.minimum_error(counts, t) for t in range(255)])
    found = filters.threshold_minerror(image)
    assert found == costs.argmin()
    # ITK steps downhill from the mean, and may stop before the least.
    kernel = sitk.KittlerIllingworthThresholdImageFilter()
    kernel.SetNumberOfHistogramBins(256)
    kernel.Execute(sitk.GetImageFromArray(image))
    assert costs[found] <= costs[round(kernel.GetThreshold())]


def test_minerror_finds_where_two_normal_distributions_cross(rng):
    narrow, wide = rng.normal(60, 6, 60_000), rng.normal(150, 25, 40_000)
    image = np.clip(np.append(narrow, wide), 0, 255).astype(np.uint8)
    grey = np.arange(60, 150)
    density = [
        weight / sigma * np.exp(-0.5 * ((grey - mean) / sigma) ** 2)
        for weight, mean, sigma in ((0.6, 60, 6), (0.4, 150, 25))
    ]
    cross = grey[np.argmax(density[1] > density[0])]
    assert abs(filters.threshold_minerror(image) - cross) <= 3


@pytest.mark.parametrize("picture", IMAGES)
def test_maxentropy_has_the_most_information(picture):
    image = stretched(picture)
    counts = np.bincount(image.ravel())
    values = [naive.entropy_of_sides(counts, t, 1) for t in range(255)]
    assert filters.threshold_maxentropy(image) == np.argmax(values)


def test_renyientropy_weighs_three_entropies(rng):
    # One value decides all three where the histogram is its own mirror image.
    half = np.sort(rng.integers(1, 50, 20))
    counts = np.concatenate((half, half[::-1], half, half[::-1]))
    best = {
        int(np.argmax([naive.entropy_of_sides(counts, t, order) for t in range(79)]))
        for order in (0.5, 1, 2)
    }
    found = filters.threshold_renyientropy(hist=counts)
    assert min(best) <= found <= max(best)


@given(hnp.arrays(np.int64, st.integers(2, 60), elements=st.integers(0, 30)))
def test_percentile_halves_the_image(counts):
    counts[[0, -1]] += 1
    found = filters.threshold_percentile(hist=counts)
    error = [abs(counts[: t + 1].sum() / counts.sum() - 0.5) for t in range(counts.size)]
    assert error[found] == pytest.approx(min(error), abs=1e-12)


def test_moments_of_two_values_lie_between_them():
    # Tsai's own condition: the two values of the bilevel image keep the first three moments.
    image = np.repeat([20, 30, 200, 210], [30, 30, 20, 20]).astype(np.uint8)
    assert filters.threshold_moments(image) == 30
    assert (image > 30).mean() == pytest.approx(0.4)


def test_intermodes_is_half_way_between_two_peaks():
    counts = np.zeros(101, int)
    counts[18:23], counts[78:83] = [1, 5, 9, 5, 1], [1, 5, 9, 5, 1]
    counts[[0, 100]] = 1
    assert abs(filters.threshold_intermodes(hist=counts) - 50) <= 1
    with pytest.raises(UndecidedError, match="two peaks"):
        filters.threshold_intermodes(np.repeat(np.arange(5), [1, 2, 9, 2, 1]))


@given(
    counts=hnp.arrays(np.int64, st.integers(2, 80), elements=st.integers(0, 1000)),
    shift=st.integers(-1000, 1000),
)
@pytest.mark.parametrize("name", [n for n in EVERY if n != "multiotsu"])
def test_any_histogram_gives_a_threshold_inside_it_or_a_reason(name, counts, shift):
    counts[[0, -1]] += 1
    centers = np.arange(counts.size) + shift
    try:
        found = ours(name)(hist=(counts, centers))
    except UndecidedError:
        return
    assert centers[0] <= found <= centers[-1]
    # Moving the grey values moves the threshold, and empty ends change nothing.
    padded = np.concatenate(([0, 0], counts, [0]))
    moved = ours(name)(hist=(padded, np.arange(padded.size)))
    if name == "otsu":
        # Two thresholds may be equally good; which one wins, rounding says.
        assert _between(counts, moved - 2) == _between(counts, found - shift)
    else:
        assert moved - 2 == pytest.approx(found - shift, abs=1e-6)


def _between(counts, threshold):
    """The variance between the classes on both sides of a bin, exactly, times a constant."""
    parts = np.split(counts, [int(threshold) + 1])
    firsts = np.split(np.arange(counts.size), [int(threshold) + 1])
    (low, low_sum), (high, high_sum) = (
        (int(part.sum()), int((part * places).sum())) for part, places in zip(parts, firsts)
    )
    return Fraction((low_sum * high - high_sum * low) ** 2, max(1, low * high))


@pytest.mark.parametrize("name", OTHERS)
def test_wide_integer_images_are_merged_into_bins(backend, name):
    image = real("coins", backend)
    image = image.astype(np.uint16) * 257
    bins = 64
    counts, edges = np.histogram(image, bins)
    wanted = ours(name)(hist=(counts, (edges[:-1] + edges[1:]) / 2))
    assert ours(name)(image, bins) == pytest.approx(wanted, abs=1e-6 * 65535)
    with pytest.raises(ValueError, match="nbins must be at least 2"):
        ours(name)(image, 1)


# --- what all of them take ----------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_masks_shapes_and_layouts(backend, name):
    image = real("coins", backend)
    image = image[: image.shape[0] // 4 * 4, : image.shape[1] // 2 * 2]
    wanted = ours(name)(image)
    rows, columns = image.shape
    for other in (
        image.reshape(4, rows // 4, columns),
        np.asfortranarray(image),
        image[::-1, ::-1],
        image.astype(">u2")[:, ::1],
        image.ravel(),
    ):
        np.testing.assert_array_equal(ours(name)(other), wanted)
    mask = image > 40
    np.testing.assert_array_equal(ours(name)(image, mask=mask), ours(name)(image[mask]))


@pytest.mark.parametrize("name", EVERY)
def test_nan_is_an_error_or_left_out(backend, name):
    image = real("coins", backend).astype(np.float32) / 3
    holed = image.copy()
    holed[::5] = np.nan
    with pytest.raises(ValueError, match=r'holds NaN; pass nan="omit"'):
        ours(name)(holed)
    np.testing.assert_array_equal(
        ours(name)(holed, nan="omit"), ours(name)(image[~np.isnan(holed)])
    )
    with pytest.raises(ValueError, match="nothing but NaN"):
        ours(name)(np.full((2, 2), np.nan), nan="omit")
    with pytest.raises(ValueError, match="infinite"):
        ours(name)(np.array([1.0, 2.0, -np.inf, np.inf]))


@pytest.mark.parametrize("name", EVERY)
def test_histogram_instead_of_the_image(backend, name):
    image = real("camera", backend)
    counts = np.bincount(image.ravel())
    wanted = ours(name)(image)
    assert ours(name)(hist=(counts, np.arange(counts.size))) == pytest.approx(wanted)
    assert ours(name)(hist=counts.tolist()) == pytest.approx(wanted)


@pytest.mark.parametrize("name", EVERY)
def test_bool_images(backend, name):
    image = np.arange(30).reshape(5, 6) % 3 == 0
    if name in {"multiotsu", "minerror"}:
        with pytest.raises(UndecidedError):
            ours(name)(image)
        return
    for two in (image, ~image):
        assert ours(name)(two) == pytest.approx(ours(name)(two.astype(np.uint8)))
        assert ((two > ours(name)(two)) == two).all()


@pytest.mark.parametrize("name", EVERY)
def test_bad_input(backend, name):
    function = ours(name)
    line = np.arange(9)
    for image, error, text in (
        (np.zeros((0, 2)), ValueError, "image is empty"),
        (np.float32(2), ValueError, "at least one axis"),
        (line * 1j, TypeError, "real numbers"),
        (np.array(["x"]), TypeError, "real numbers"),
        (np.array([object()]), TypeError, "real numbers"),
        (None, ValueError, "either image or hist"),
    ):
        with pytest.raises(error, match=text):
            function(image)
    with pytest.raises(ValueError, match="mask must have the shape"):
        function(line, mask=np.ones((3, 3), bool))
    with pytest.raises(ValueError, match="mask selects no element"):
        function(line, mask=np.zeros(9, bool))
    with pytest.raises(ValueError, match="nan must be one of"):
        function(line, nan="ignore")
    for hist, text in (
        ((line, line[1:]), "as many bin centres"),
        (line.reshape(3, 3), "as many bin centres"),
        (-line, "finite and not negative"),
        (line * np.nan, "finite and not negative"),
        (line * 0, "counts nothing"),
        ((line, line[::-1]), "centres that ascend"),
        ((line, line * np.nan), "centres that ascend"),
    ):
        with pytest.raises(ValueError, match=text):
            function(hist=hist)


@pytest.mark.parametrize("name", EVERY)
def test_every_method_has_a_contract(name):
    assert ours(name).contract is not None
    assert ours(name).via in {filters.histogram, ours(name)}


# --- several classes ----------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_multiotsu_keeps_to_its_bins(backend, classes):
    image = real("camera", backend).astype(np.uint16) * 200 + 17
    counts, edges = np.histogram(image.astype(float), 64)
    centers = (edges[:-1] + edges[1:]) / 2
    wanted = skimage.filters.threshold_multiotsu(hist=(counts, centers), classes=classes)
    found = filters.threshold_multiotsu(image, classes, 64)
    # Other bins than NumPy's floats would differ by one at most.
    np.testing.assert_allclose(found, wanted, atol=edges[1] - edges[0])
    assert found.shape == (classes - 1,)


def test_multiotsu_of_eight_bits_needs_no_bins(backend):
    image = real("camera", backend)
    for classes in (2, 4):
        np.testing.assert_array_equal(
            filters.threshold_multiotsu(image, classes),
            skimage.filters.threshold_multiotsu(image, classes),
        )


def test_multiotsu_needs_as_many_values_as_classes(backend):
    image = np.array([1, 1, 5, 9], np.uint8)
    assert filters.threshold_multiotsu(image, 3).tolist() == [1, 5]
    with pytest.raises(UndecidedError, match="3 different values for 4 classes"):
        filters.threshold_multiotsu(image, 4)
    with pytest.raises(ValueError, match="3 different values for 4 classes"):
        filters.threshold_multiotsu(image, 4)
    with pytest.raises(ValueError, match="classes must be at least 2"):
        filters.threshold_multiotsu(image, 1)
    with pytest.raises(ValueError, match="nbins must be at least 1"):
        filters.threshold_multiotsu(image, 2, 0)


# --- Li -----------------------------------------------------------------------------------------


def li_cases(rng):
    size = 40_000
    yield "normal", rng.normal(size=size)
    yield "exponential", rng.exponential(size=size)
    yield "lognormal", rng.lognormal(sigma=2, size=size)
    yield "one far outlier", np.append(rng.random(size), 1e4)
    yield "zero background", np.append(np.zeros(size), rng.random(size // 10))
    yield "both", np.concatenate((np.zeros(size), rng.random(size // 10), [1e4]))
    yield "low", rng.random(size) ** 20
    yield "negative", -rng.exponential(size=size)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_li_is_within_a_bin_of_scikit_images(rng, dtype):
    for name, image in li_cases(rng):
        image = image.astype(dtype)
        wanted = skimage.filters.threshold_li(image, tolerance=np.ptp(image) * 1e-6)
        found = filters.threshold_li(image)
        assert found.dtype == dtype
        assert abs(found - wanted) <= np.ptp(image) / 256, name


def test_li_tells_values_below_an_outlier_apart(rng):
    values = np.concatenate((rng.normal(1, 0.1, 3000), rng.normal(3, 0.1, 1000)))
    alone = filters.threshold_li(values)
    with_outlier = filters.threshold_li(np.append(values, 1e6))
    assert 1.3 < alone < 2.7
    # The outlier is foreground, and what is above the threshold otherwise must not hang on bins.
    wanted = skimage.filters.threshold_li(np.append(values, 1e6), tolerance=1e-3)
    assert with_outlier == pytest.approx(wanted, rel=0.02)


class _NoEnd(Exception):
    pass


def _count(most):
    steps = []

    def report(value):
        steps.append(value)
        if len(steps) > most:
            raise _NoEnd

    return steps, report


# Counts so great that one voxel more or less is lost in rounding, and a voxel where they balance.
SWINGING = [
    ([0.0, 0.3964389514829554, 0.4610049058872715, 0.5404828798832907, 0.8833688233707825],
     [6743758002413901, 9923137979331324, 1, 1870565099019613, 5560339075927790]),
    ([0.0, 0.2398501078234887, 0.318423135679761, 0.7026262638435498, 0.8763546802192008],
     [9374435303592700, 5611940031106564, 1, 7412709974701590, 5520014471212396]),
    ([0.0, 0.223412281189592, 0.5033184703577038, 0.5412004984037926, 0.9087874420548738],
     [5934091658399834, 3526740994751226, 9106776393394582, 1, 9884075660346902]),
    ([0.0, 0.2124551032157821, 0.2414953056571566, 0.3616867865538105, 0.5947461062436902],
     [1645460269131879, 3100274518139068, 6803553326088537, 1, 8322882294223756]),
]  # fmt: skip


def test_li_ends_where_the_plain_iteration_swings():
    swings = 0
    for centers, counts in SWINGING:
        values, weights = np.array(centers), np.array(counts, float)
        threshold, seen = np.average(values, weights=weights), []
        while threshold not in seen:
            seen.append(threshold)
            above = values > threshold
            back = (weights * values)[~above].sum() / weights[~above].sum()
            fore = (weights * values)[above].sum() / weights[above].sum()
            threshold = (back - fore) / (np.log(back) - np.log(fore))
        swings += threshold != seen[-1]
        steps, report = _count(100)
        found = filters.threshold_li(hist=(counts, centers), tolerance=0, iter_callback=report)
        assert found in seen
        assert len(steps) <= len(seen) + 1
    assert swings, "none of the examples swings: they show nothing"


def test_li_reports_every_step(backend):
    image = real("camera", backend)
    mine, wanted = [], []
    filters.threshold_li(image, iter_callback=mine.append)
    skimage.filters.threshold_li(image, iter_callback=wanted.append)
    assert mine == wanted
    steps = []
    value = filters.threshold_li(image / 255, iter_callback=steps.append)
    assert len(steps) > 2
    assert steps[-1] == value


@pytest.mark.parametrize("guess", [30, 99.5, np.float32(200)])
def test_li_starts_where_it_is_told(backend, guess):
    image = real("camera", backend)
    mine, wanted = [], []
    found = filters.threshold_li(image, initial_guess=guess, iter_callback=mine.append)
    assert found == skimage.filters.threshold_li(
        image, initial_guess=guess, iter_callback=wanted.append
    )
    assert mine == wanted


def test_li_starts_where_a_function_says(backend):
    image = real("coins", backend)
    assert filters.threshold_li(image, initial_guess=np.median) == skimage.filters.threshold_li(
        image, initial_guess=np.median
    )
    assert filters.threshold_li(image.astype(float), initial_guess=np.median) == pytest.approx(
        skimage.filters.threshold_li(image.astype(float), initial_guess=np.median), abs=1
    )


def test_li_ends_sooner_with_a_tolerance(backend):
    image = real("camera", backend)
    for tolerance in (0.1, 5, 40):
        assert filters.threshold_li(image, tolerance=tolerance) == skimage.filters.threshold_li(
            image, tolerance=tolerance
        )


def test_li_takes_what_scikit_image_does_not(backend):
    image = np.array([[False, True, True]])
    with pytest.raises(TypeError):
        skimage.filters.threshold_li(image)
    assert 0 < filters.threshold_li(image) < 1
    # scikit-image subtracts the minimum in int8, where it does not fit.
    wide = np.array([-128, -120, 100, 127, 120], np.int8)
    assert filters.threshold_li(wide) == skimage.filters.threshold_li(wide.astype(np.int32))


def test_li_checks_its_arguments(backend):
    line = np.arange(9)
    for options, error, text in (
        ({"tolerance": -1}, ValueError, "tolerance must be at least 0"),
        ({"tolerance": "x"}, TypeError, "tolerance must be a number"),
        ({"initial_guess": 50}, ValueError, "initial_guess must lie between"),
        ({"initial_guess": "x"}, TypeError, "initial_guess must be a number"),
        ({"iter_callback": 3}, TypeError, "iter_callback must be a function"),
    ):
        with pytest.raises(error, match=text):
            filters.threshold_li(line, **options)
    with pytest.raises(ValueError, match="needs an image"):
        filters.threshold_li(hist=line, initial_guess=np.mean)


# --- the mean -----------------------------------------------------------------------------------


def test_mean_of_a_mask(backend, rng):
    image = rng.integers(0, 60_000, (20, 30), dtype=np.uint16)
    mask = image > 5000
    assert filters.threshold_mean(image, mask=mask) == image[mask].mean()
    assert filters.threshold_mean(hist=([1, 3], [2.0, 6.0])) == 5


def test_undecided_is_both_errors_of_scikit_image():
    assert issubclass(UndecidedError, RuntimeError)
    assert issubclass(UndecidedError, ValueError)
    assert public.UndecidedError is UndecidedError


# --- the answer does not depend on the unit and the zero of the values


SCALED = {
    "two peaks": lambda rng: np.concatenate(
        [rng.normal(0.2, 0.03, 3000), rng.normal(0.7, 0.1, 600)]
    ),
    "two values": lambda rng: (rng.random(3600) < 0.1).astype(float),
    "a background of one value": lambda rng: np.where(rng.random(3600) < 0.2, rng.random(3600), 0),
    "an outlier": lambda rng: np.append(rng.normal(0.5, 0.1, 3599), 100.0),
    "a long tail": lambda rng: rng.exponential(1, 3600),
}
EVERY = [name for name in filters.comparison.METHODS] + ["multiotsu"]


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("case", SCALED)
def test_a_threshold_follows_scale_and_offset(backend, rng, case, name):
    threshold = getattr(filters, f"threshold_{name}")

    def found(**given):
        try:
            return np.asarray(threshold(**given), np.float64)
        except UndecidedError:
            return None

    image = SCALED[case](rng).reshape(60, 60)
    wanted = found(image=image)
    for dtype, factor, offset in (
        (np.float64, 1 / 3, 0),
        (np.float64, 1e3, -5e2),
        (np.float64, 2, 1e6),
        (np.float64, 1e-300, 0),
        (np.float64, 1e300 / image.max(), 0),
        (np.float32, 1e-30, 0),
        (np.float32, 1e30, 0),
        (np.float32, 1, 10),
    ):
        values = (image * factor + offset).astype(dtype)
        value = found(image=values)
        assert (value is None) == (wanted is None), (dtype, factor, offset)
        if value is None:
            continue
        width = (float(values.max()) - float(values.min())) / 256
        assert (values.min() <= value).all()
        assert (value <= values.max()).all()
        # In bins: squares of such values would not be numbers.
        off = np.abs((value - offset) / width - wanted * (factor / width)).max()
        assert off <= 1.01, (dtype, factor, offset)
        if not (name == "li" and case in {"an outlier", "a long tail"}):  # finer bins than those
            off = np.abs(found(hist=filters.histogram(values)) - value).max()
            assert off <= 1.01 * width, ("hist", dtype, factor, offset)


GREY = {
    "two peaks": lambda rng: np.append(rng.normal(60, 12, 3000), rng.normal(170, 25, 600)),
    "every value": lambda rng: rng.integers(0, 100, 300),
    "few pixels": lambda rng: rng.integers(0, 100, 9),
    "two values": lambda rng: rng.random(100) < 0.2,
    "five values": lambda rng: rng.choice([0, 3, 50, 51, 90], 200),
}


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("case", GREY)
def test_a_threshold_of_integers_follows_factor_and_offset(rng, case, name):
    """To the last digit: a factor leaves gaps between the grey values, which are no valleys."""
    image = GREY[case](rng).clip(0, 255).astype(np.uint8)
    try:
        wanted = np.asarray(ours(name)(image), object)
    except UndecidedError:
        wanted = None
    for dtype, factor, offset in (
        (np.uint16, 257, 0),
        (np.int16, 16, -3000),
        (np.int32, 100, 10**9),
        (np.int64, 3, -(2**62)),
        (np.uint64, 5, 2**63 + 2**62),
    ):
        moved = (image.astype(object) * factor + offset).astype(dtype)
        for options in ({"image": moved}, {"hist": filters.histogram(moved)}):
            if wanted is None:
                with pytest.raises(UndecidedError):
                    ours(name)(**options)
                continue
            found = np.asarray(ours(name)(**options))
            off = np.abs(found.astype(object) - offset - wanted * factor).max()
            # Isodata's is a whole number. A mean of such great values has no more digits.
            allowed = factor if name == "isodata" else 1e-6 * factor
            assert off <= allowed + abs(offset) * 1e-15, (dtype, factor, offset)


@pytest.mark.parametrize("name", [n for n in EVERY if n != "shanbhag"])
@pytest.mark.parametrize("picture", IMAGES)
def test_bytes_have_the_same_threshold_as_floats(picture, name):
    """Shanbhag's criterion has two equally low places in one of these."""
    image = real(picture)
    wanted = np.asarray(ours(name)(image), float)
    for values, factor, offset in (
        (image / 255, 255, 0),
        ((image / 7 - 3).astype(np.float32), 7, 21),
        (image.astype(np.int64) * 10**9, 1e-9, 0),
    ):
        found = np.asarray(ours(name)(values), float) * factor + offset
        assert np.abs(found - wanted).max() <= 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_li_of_a_symmetric_image_does_not_hang_on_rounding(dtype):
    """The first guess, the mean, is one of the values."""
    image = np.arange(999) % 3 / 2
    found = {
        round((float(filters.threshold_li((image * a + b).astype(dtype))) - b) / a, 2)
        for a in (1, 3, 7.3, 1e-30, 1e30, 1e-9)
        for b in ((0, a, -5 * a))
    }
    assert found == {0.54}


def test_means_stay_among_the_values(backend):
    for values in ([0.1] * 7, [np.float32(0.1)] * 1000, [1.7e308] * 3, [np.float32(3e38)] * 9):
        image = np.array(values)
        assert filters.threshold_mean(image) == image[0]
        assert filters.threshold_mean(hist=filters.histogram(image)) == pytest.approx(image[0])
    assert filters.threshold_mean(np.array([-1.7e308, 1.7e308, 1.7e308])) == pytest.approx(
        1.7e308 / 3
    )


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("low", [0, -3, 7.5])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_li_of_two_values_is_scikit_images(dtype, low, share):
    """Where the background is one value, scikit-image ends at the mean: its logarithm is of 0."""
    image = np.where(np.arange(1000) < 1000 * share, low, low + 0.7).astype(dtype).reshape(20, 50)
    wanted = skimage.filters.threshold_li(image.astype(np.float64))
    assert abs(filters.threshold_li(image) - wanted) <= np.ptp(image) / 256


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_multiotsu_is_the_exhaustive_optimum(rng, classes):
    centers = np.arange(12)

    def within(thresholds, counts):
        """The squares of the distances from the mean of each class, added up."""
        sides = np.digitize(centers, thresholds, right=True)
        total = 0.0
        for side in range(classes):
            weights, values = counts[sides == side], centers[sides == side]
            if not weights.sum():
                return np.inf
            mean = np.average(values, weights=weights)
            total += (weights * (values - mean) ** 2).sum()
        return total

    for _ in range(30):
        counts = rng.integers(0, 50, 12) * (rng.random(12) < 0.8)
        counts[[0, -1]] = rng.integers(1, 500, 2)
        if np.count_nonzero(counts) < classes:
            continue
        found = filters.threshold_multiotsu(hist=(counts, centers), classes=classes)
        candidates = itertools.combinations(centers[:-1], classes - 1)
        best = min(within(candidate, counts) for candidate in candidates)
        assert within(found, counts) == pytest.approx(best, rel=1e-6)
        if classes == 2:
            assert found[0] == filters.threshold_otsu(hist=(counts, centers))


@pytest.mark.parametrize("scale", [5e-324, 1e-310, 1e300])
def test_values_at_the_ends_of_float64_have_thresholds(backend, rng, scale):
    grey = np.concatenate([rng.integers(0, 40, 300), rng.integers(90, 130, 100)])
    for name in EVERY:
        threshold = getattr(filters, f"threshold_{name}")
        message = ""
        try:
            found = np.asarray(threshold((grey * scale).reshape(20, 20)), np.float64)
        except UndecidedError as error:
            message = str(error)
        assert "constant" not in message
        if message:
            continue
        assert ((grey * scale).min() <= found).all()
        assert (found <= (grey * scale).max()).all()
