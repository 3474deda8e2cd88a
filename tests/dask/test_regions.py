"""Measures of the regions of chunked label images equal those of the whole."""

import tracemalloc

import numpy as np
import pytest

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

import gpuseg  # noqa: E402
from gpuseg.measure import regionprops_table  # noqa: E402
from gpuseg.metrics import explained_variation  # noqa: E402
from gpuseg.segmentation import superpixel_means  # noqa: E402

SUMMED = (
    "label", "bbox", "num_pixels", "area", "area_bbox", "extent", "equivalent_diameter_area",
    "centroid", "centroid_local", "inertia_tensor", "inertia_tensor_eigvals", "axis_major_length",
    "axis_minor_length", "moments", "moments_central", "moments_normalized",
)  # fmt: skip
INTENSITIES = (
    "intensity_max", "intensity_mean", "intensity_min", "intensity_std", "centroid_weighted",
    "centroid_weighted_local", "moments_weighted", "moments_weighted_central",
    "moments_weighted_normalized",
)  # fmt: skip
PIXELS = ("euler_number", "area_filled", "coords", "coords_scaled", "image", "image_filled")
FLAT = ("perimeter", "perimeter_crofton")


def chunkings(shape):
    return st.tuples(*(st.integers(-(-n // 4), n) for n in shape))


@st.composite
def cases(draw, ndim=None):
    ndim = ndim or draw(st.integers(2, 3))
    shape = tuple(draw(st.lists(st.integers(1, 12), min_size=ndim, max_size=ndim)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = rng.integers(0, draw(st.sampled_from([2, 4, 12])), shape)
    labels[rng.random(shape) < draw(st.sampled_from([0, 0.5]))] = 0
    labels = labels.astype(draw(st.sampled_from(["uint8", "int32", ">i4", "int64"])))
    channels = draw(st.sampled_from([(), (2,)]))
    image = rng.normal(50, 20, (*shape, *channels)).astype(
        draw(st.sampled_from(["uint8", "float32", "float64", ">u2"]))
    )
    return labels, image, draw(chunkings(shape)), draw(chunkings(shape))


def same(labels, image, chunks, image_chunks, properties, **options):
    """That every column is that of the whole."""
    lazy = da.from_array(labels, chunks=chunks)
    lazy_image = None
    if image is not None:
        lazy_image = da.from_array(image, chunks=(*image_chunks, *image.shape[labels.ndim :]))
    with np.errstate(all="ignore"), dask.config.set(scheduler="sync"):
        with gpuseg.using("cpu"):
            expected = regionprops_table(labels, image, properties, **options)
        found = regionprops_table(lazy, lazy_image, properties, **options)
    assert list(found) == list(expected)
    for name, column in expected.items():
        assert found[name].dtype == column.dtype, name
        assert found[name].shape == column.shape, name
        if column.dtype == object:
            for a, b in zip(found[name], column):
                np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-12)
        elif column.dtype.kind in "iu":
            np.testing.assert_array_equal(found[name], column, name)
        else:
            # Moments that vanish do so up to the rounding of their terms.
            root = name.split("-")[0]
            terms = [c for n, c in expected.items() if n.split("-")[0] == root]
            scale = max((np.nanmax(np.abs(c), initial=0) for c in terms), default=0)
            # Lengths are square roots of such.
            atol = 1e-6 if root.startswith("axis") else 1e-9 * scale
            np.testing.assert_allclose(found[name], column, rtol=1e-6, atol=atol, err_msg=name)


@settings(max_examples=14)
@given(cases(), st.sampled_from([None, 2, "each"]))
def test_measures_of_places(case, spacing):
    labels, _, chunks, _ = case
    spacing = (0.5, 2, 1.5)[: labels.ndim] if spacing == "each" else spacing
    same(labels, None, chunks, None, SUMMED, spacing=spacing)


@settings(max_examples=14)
@given(cases())
def test_measures_of_intensities(case):
    same(*case, ("label", *INTENSITIES))


@settings(max_examples=15)
@given(cases(), st.booleans())
def test_measures_of_pixels(case, weighed):
    labels, image, *chunks = case
    names = PIXELS + (FLAT if labels.ndim == 2 else ())
    names += ("image_intensity", "intensity_median") if weighed else ()
    same(labels, image if weighed else None, *chunks, ("area", *names))


@pytest.mark.parametrize("properties", [("label",), ("area", "bbox"), ("centroid",)])
def test_few_measures(properties, rng):
    labels = rng.integers(0, 5, (9, 12))
    same(labels, None, (4, 5), None, properties)


def test_measures_of_flat_shapes():
    """Angles of shapes that have one: none is as wide as it is high."""
    labels = np.zeros((30, 40), np.int32)
    y, x = np.mgrid[:30, :40]
    labels[(y - 12) ** 2 / 9 + (x - 14 - y / 3) ** 2 / 60 < 1] = 3
    labels[22:27, 5:38] = 7
    names = (
        "orientation", "eccentricity", "moments_hu", "solidity", "area_convex", "feret_diameter_max"
    )  # fmt: skip
    same(labels, None, (7, 9), None, names)
    same(labels, x * 1.0, (7, 9), (30, 40), ("moments_weighted_hu", "orientation"))


def test_functions_of_the_caller(rng):
    labels, image = rng.integers(0, 4, (12, 11)), rng.random((12, 11))

    def filled(mask):
        return mask.mean()

    def quartiles(mask, image):
        return np.percentile(image[mask], (25, 50, 75))

    same(labels, image, (5, 4), (12, 3), ("label",), extra_properties=(filled, quartiles))


def test_no_region_and_labels_far_apart():
    same(np.zeros((5, 6), int), None, (2, 6), None, ("label", "centroid", "image"))
    labels = np.zeros((6, 7), np.int64)
    labels[1, 2:6], labels[4] = 70_000, 5
    same(labels, None, (2, 3), None, SUMMED)
    lazy = da.from_array(labels, chunks=3) + np.where(labels > 9, 2**40, 0)
    assert regionprops_table(lazy)["label"].tolist() == [5, 2**40 + 70_000]


def test_bad_input_is_told_as_for_the_whole():
    lazy = da.ones((6, 6), dtype=int, chunks=3)
    with pytest.raises(ValueError, match="spacing"):
        regionprops_table(lazy, spacing=(1, 2, 3))
    with pytest.raises(ValueError, match="intensity_mean"):
        regionprops_table(lazy, properties=("intensity_mean",))
    with pytest.raises(ValueError, match="nothing"):
        regionprops_table(lazy, properties=("nothing",))
    with pytest.raises(ValueError, match="shape of label_image"):
        regionprops_table(lazy, lazy[:4])


STATISTICS = ("mean", "sum", "std", "var", "min", "max", "median", np.ptp)


@settings(max_examples=24)
@given(cases(), st.sampled_from(STATISTICS), st.sampled_from([0, 1, None]))
def test_means_of_superpixels(case, statistic, background):
    labels, image, chunks, image_chunks = case
    axis = None if image.ndim == labels.ndim else -1
    options = {"statistic": statistic, "background": background, "channel_axis": axis}
    lazy = da.from_array(labels, chunks=chunks)
    lazy_image = da.from_array(image, chunks=image_chunks + (1,) * (axis is not None))
    expected = superpixel_means(image, labels, **options)
    for a, b in ((lazy_image, lazy), (image, lazy), (lazy_image, labels)):
        found = superpixel_means(a, b, **options)
        assert isinstance(found, da.Array)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found.compute(scheduler="sync"), expected)


def test_superpixels_are_checked_in_chunks():
    labels = da.from_array(np.array([[1, 1, -2], [3, 3, 3]]), chunks=2)
    image = da.from_array(np.array([[1.0, 2, np.nan], [0, 0, 1]]), chunks=2)
    with pytest.raises(ValueError, match="labels must not be negative, got -2"):
        superpixel_means(da.nan_to_num(image), labels)
    with pytest.raises(ValueError, match="image holds NaN or infinity"):
        superpixel_means(image, abs(labels))


def test_each_pass_over_an_image_lets_go_of_it():
    """Of 20 MB there are never more than a third in memory, with all that the work takes."""
    chunks = ((40,) * 40, (40,), (40,))
    image = da.map_blocks(_numbered, chunks=chunks, dtype=float, meta=np.zeros((0, 0, 0)))
    labels = image.astype(np.int32) + 1

    def work(image, labels):
        for statistic in ("std", "median"):
            superpixel_means(image, labels, statistic=statistic)[::40].sum().compute()
        explained_variation(image, labels)
        regionprops_table(labels, image, ("area", "intensity_std", "euler_number"))

    with dask.config.set(scheduler="sync"):
        work(image[:80], labels[:80])  # compiles kernels
        tracemalloc.start()
        try:
            work(image, labels)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < image.nbytes / 3


def _numbered(block_info=None):
    return np.full((40, 40, 40), float(block_info[None]["chunk-location"][0]))
