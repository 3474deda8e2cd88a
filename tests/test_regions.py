"""Growing regions beside scikit-image's; the watershed of CUDA beside its slow version, too."""

import tracemalloc

import dask.array as da
import naive
import numpy as np
import pytest
import skimage.data
import skimage.filters
import skimage.segmentation as peer
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage as ndi

import gpuseg
from gpuseg._backend import find
from gpuseg.segmentation import (
    clear_border,
    expand_labels,
    flood,
    flood_fill,
    gaussian_mixture,
    merge_superpixels,
    watershed,
)

# --- watershed --------------------------------------------------------------------------------


def _surface(data, backend):
    shapes = [(6, 5), (3, 4, 3), (1, 7), (1, 4, 5)]
    shape = data.draw(st.sampled_from(shapes + [(13, 11), (5, 6, 7)] * (backend != "sim")))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    values = data.draw(st.sampled_from([3, 10, 10_000]))
    kind = data.draw(st.sampled_from(["u1", "<i2", ">u4", "i8", "f2", ">f4", "f8"]))
    values = min(values, np.iinfo(kind).max) if kind[-2] in "iu" else values
    image = rng.integers(-values if kind[-2] in "if" else 0, values, shape).astype(kind)
    markers = np.zeros(shape, data.draw(st.sampled_from(["u1", "i4", "i8"])))
    count = data.draw(st.integers(1, 5))
    markers.flat[rng.permutation(image.size)[:count]] = np.arange(1, count + 1)
    mask = rng.random(shape) < data.draw(st.sampled_from([1.0, 0.7]))
    mask.flat[np.flatnonzero(markers)] = True
    return image, markers, data.draw(st.integers(1, len(shape))), mask


@given(data=st.data())
def test_watershed_is_that_of_its_definition(backend, data):
    """scikit-image's on the CPU, the fixed point on the device."""
    image, markers, connectivity, mask = _surface(data, backend)
    result = watershed(image, markers, connectivity, mask=mask)
    assert result.dtype == markers.dtype
    if backend == "cpu":
        native = image.astype(image.dtype.newbyteorder("="))
        expected = peer.watershed(native, markers, connectivity, mask=mask)
    else:
        expected = naive.watershed(image, markers, connectivity, mask)
    assert np.array_equal(result, expected)


def _passes(image, markers, connectivity):
    """The lowest level at which each pixel is connected to a marker, by trying every level."""
    structure = ndi.generate_binary_structure(image.ndim, connectivity)
    level = np.full(image.shape, -1)
    for value in np.unique(image):
        labels, _ = ndi.label(image <= value, structure)
        reached = np.isin(labels, np.unique(labels[(markers > 0) & (labels > 0)]))
        level[reached & (labels > 0) & (level < 0)] = value
    return level


def test_both_forms_give_every_pixel_a_marker_with_the_lowest_pass(rng):
    """Where one marker alone has it, all agree."""
    image = rng.permutation(30 * 40).reshape(30, 40)
    markers = np.zeros(image.shape, int)
    markers.flat[rng.permutation(image.size)[:9]] = np.arange(1, 10)
    lowest = _passes(image, markers, 1)
    alone = np.stack([_passes(image, markers * (markers == k), 1) == lowest for k in range(1, 10)])
    only = alone.sum(0) == 1
    assert only.mean() > 0.3
    for labels in (
        peer.watershed(image, markers),
        naive.watershed(image, markers, 1, np.ones(image.shape, bool)),
    ):
        assert np.take_along_axis(alone, labels[None] - 1, 0).all()
        assert np.array_equal(labels[only], alone.argmax(0)[only] + 1)


def _overlap(first, second):
    """The mean over the regions of the intersection over the union."""
    count = max(first.max(), second.max()) + 1
    both = np.bincount(second[first == second], minlength=count)
    sizes = [np.bincount(x.ravel(), minlength=count) for x in (first, second)]
    there = np.unique(second[second > 0])
    return (both / np.maximum(sum(sizes) - both, 1))[there].mean()


def _coins():
    image = skimage.data.coins()
    markers = np.zeros(image.shape, np.int32)
    markers[image < 30], markers[image > 150] = 1, 2
    return skimage.filters.sobel(image), markers


def _balls():
    """Touching balls under noise, from their centres: minus the distance to the outside."""
    where = np.indices((40, 44, 48))
    centers = np.stack(np.meshgrid([9, 19, 30], [10, 21, 33], [9, 20, 31, 40]), -1).reshape(-1, 3)
    centers += np.random.default_rng(5).integers(-1, 2, centers.shape)
    distance = [np.sqrt(((where - c[:, None, None, None]) ** 2).sum(0)) for c in centers]
    inside = np.min(distance, axis=0) < 7
    markers = np.zeros(inside.shape, np.int32)
    markers[tuple(centers.T)] = np.arange(1, 37)
    return -ndi.distance_transform_edt(inside), markers, inside


def _agreement(surface, markers, mask=None):
    """The overlap of the fixed point with scikit-image's; that it keeps the contract."""
    inside = np.ones(surface.shape, bool) if mask is None else mask
    found = naive.watershed(surface, markers, 1, inside).astype(markers.dtype)
    queue = peer.watershed(surface, markers, mask=mask)
    assert watershed.contract.compare(found, queue).passed
    return _overlap(found, queue)


def test_the_fixed_point_agrees_with_the_queue_on_real_images():
    surface, markers = _coins()
    assert _agreement(surface, markers) > 0.999
    # 256 grey values: plateaus, where age decides and steps do.
    coarse = np.rint(surface / surface.max() * 255).astype(np.uint8)
    assert _agreement(coarse, markers) > 0.999
    seeds, count = ndi.label(surface < 0.003)
    assert count > 1000
    assert _agreement(surface, seeds) > 0.99
    assert _agreement(coarse, seeds) > 0.97


def test_the_fixed_point_agrees_with_the_queue_in_a_volume():
    """Where distances tie, the queue agrees with itself in a mirror not much better."""
    surface, markers, inside = _balls()
    assert _agreement(surface, markers, inside) > 0.95
    mirror = (slice(None, None, -1),) * 3
    queue = peer.watershed(surface, markers, mask=inside)
    mirrored = peer.watershed(surface[mirror], markers[mirror], mask=inside[mirror])[mirror]
    assert _overlap(mirrored, queue) < 0.975
    assert _agreement(ndi.gaussian_filter(surface, 1), markers, inside) > 0.999


@pytest.mark.parametrize("markers", [None, 4])
def test_watershed_makes_its_own_markers(backend, rng, markers):
    image = ndi.gaussian_filter(rng.random((12, 14)), 2)
    mask = np.ones(image.shape, bool)
    mask[:, 0] = False
    result, expected = (f(image, markers, mask=mask) for f in (watershed, peer.watershed))
    assert set(np.unique(result)) == set(np.unique(expected))
    assert (result[mask] > 0).all()
    assert (result == expected).mean() > 0.8


def test_what_the_device_leaves_to_the_cpu(backend, rng):
    image = rng.random((7, 8))
    markers = np.zeros(image.shape, int)
    markers[1, 1], markers[5, 6] = 1, 2
    for options in (
        {"compactness": 0.5},
        {"watershed_line": True},
        {"connectivity": np.ones((3, 3))},
    ):
        result = watershed(image, markers, **options)
        assert np.array_equal(result, peer.watershed(image, markers, **options))
    line = np.array([3.0, 1, 2, 1, 4])
    assert watershed(line, np.array([0, 1, 0, 2, 0])).tolist() == [1, 1, 1, 2, 2]


@pytest.mark.sim
def test_floods_that_wind_through_many_tiles():
    """A spiral: one way in, hundreds of steps long."""
    image = np.full((11, 11), 9, np.uint8)
    image[0], image[:, 10], image[10], image[2:, 0], image[2, :9] = 1, 1, 1, 1, 1
    image[2:9, 8], image[8, 2:9], image[4:9, 2], image[4, 2:7] = 1, 1, 1, 1
    markers = np.zeros(image.shape, np.int32)
    markers[0, 0], markers[6, 5] = 1, 2
    every = np.ones(image.shape, bool)
    with gpuseg.using("sim"):
        result = watershed(image, markers)
    assert np.array_equal(result, naive.watershed(image, markers, 1, every))


# --- flood ------------------------------------------------------------------------------------


@given(data=st.data())
def test_floods_are_those_of_scikit_image(backend, data):
    shape = data.draw(st.sampled_from([(15,), (7, 9), (3, 4, 5)]))
    kind = data.draw(st.sampled_from(["?", "u1", "i1", ">i2", "u8", "f4", ">f8"]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    image = rng.integers(0, 2 if kind == "?" else 5, shape).astype(kind)
    image = np.asfortranarray(image) if data.draw(st.booleans()) else image[::-1]
    native = image.astype(image.dtype.newbyteorder("="))
    point = tuple(data.draw(st.integers(-n, n - 1)) for n in shape)
    options = {"connectivity": data.draw(st.one_of(st.none(), st.integers(1, len(shape))))}
    if kind != "?":
        options["tolerance"] = data.draw(
            st.sampled_from([None, 0, 1, 2.5 if "f" in kind else 2, 300])
        )
    expected = peer.flood(native, point, **options)
    assert np.array_equal(flood(image, point, **options), expected)
    filled = flood_fill(image, point, 1, **options)
    assert np.array_equal(filled, peer.flood_fill(native, point, 1, **options))
    assert np.array_equal(image, native)


_TYPES = ["bool", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">i8", ">u8"]


@given(data=st.data())
def test_floods_compare_integers_exactly(backend, data):
    """At the ends of every type, and past 2**53, where a float is not the integer beside it."""
    dtype = np.dtype(data.draw(st.sampled_from(_TYPES)))
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    near = sorted({v + d for v in (low, 0, 2**53, high) for d in range(-3, 4)})
    values = st.sampled_from([v for v in near if low <= v <= high])
    image = np.array(data.draw(st.lists(values, min_size=1, max_size=8)), dtype)
    tolerance = data.draw(
        st.sampled_from([0, 0.0, 0.5, 1, 1.0, 1.5, 3, 256, 300.7, 2**53, 2.0**53, 2**63, 2**64])
    )
    at = data.draw(st.integers(0, image.size - 1))
    there = [abs(int(v) - int(image[at])) <= tolerance for v in image]
    left, right = at, at
    while left and there[left - 1]:
        left -= 1
    while right + 1 < image.size and there[right + 1]:
        right += 1
    expected = np.zeros(image.size, bool)
    expected[left : right + 1] = True
    footprint = data.draw(st.sampled_from([None, np.ones(3)]))
    found = flood(image, at, footprint=footprint, tolerance=tolerance)
    assert found.tolist() == expected.tolist()
    filled = flood_fill(image, at, 1, footprint=footprint, tolerance=tolerance)
    assert filled.tolist() == np.where(expected, np.ones((), image.dtype), image).tolist()
    if backend == "cpu":
        chunks = da.from_array(image, chunks=3)
        assert flood(chunks, at, tolerance=tolerance).compute().tolist() == expected.tolist()


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4"])
def test_floods_of_floats_end_where_the_type_does(backend, dtype):
    most = np.finfo(dtype).max
    image = np.array([most, 0, -most, -np.inf, np.nan, most], dtype)
    assert flood(image, 0, tolerance=9e4).sum() == (2 if dtype == "f2" else 1)
    assert flood(image, 1, tolerance=1e300).tolist()[3:] == [False] * 3
    assert flood(image, 3, tolerance=5).tolist() == [0, 0, 0, 1, 0, 0]
    assert not flood(image, 4, tolerance=5).any()


def test_floods_in_odd_cases(backend):
    assert flood([1, 1, 2, 1], 0).tolist() == [True, True, False, False]
    footprint = np.array([1, 0, 1, 0, 1])
    assert flood([1, 0, 1, 0, 3], 0, footprint=footprint).tolist() == [1, 0, 1, 0, 0]
    assert flood(np.array([1, 1.5, np.nan, 1], np.float16), 0, tolerance=1).tolist() == [1, 1, 0, 0]
    assert not flood(np.array([1, np.nan]), 1).any()
    # scikit-image cuts 4 - 2.5 to a whole number, and takes in the 1.
    assert flood([4, 2, 1], 0, tolerance=2.5).tolist() == [True, True, False]
    image = np.array([5, 5, 1])
    assert flood_fill(image, 0, 9, in_place=True) is image
    assert image.tolist() == [9, 9, 1]


# --- labels -----------------------------------------------------------------------------------


@given(data=st.data())
def test_borders_are_cleared_as_by_scikit_image(backend, data):
    shape = data.draw(st.sampled_from([(15,), (9, 11), (5, 6, 7)]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    labels = rng.integers(0, 3, shape) * (rng.random(shape) < 0.6)
    kind = data.draw(st.sampled_from(["?", "u1", ">i4"]))
    labels = labels.astype(kind)
    native = labels.astype(labels.dtype.newbyteorder("="))
    options = {"bgval": data.draw(st.sampled_from([0, 1]))}
    if data.draw(st.booleans()):
        options["mask"] = rng.random(shape) < 0.9
    else:
        options["buffer_size"] = data.draw(st.integers(0, 2))
    assert np.array_equal(clear_border(labels, **options), peer.clear_border(native, **options))


def test_clear_border_into_an_array(backend):
    labels, out = np.array([1, 0, 2, 0]), np.zeros(4, int)
    assert clear_border(labels, out=out) is out
    assert out.tolist() == [0, 0, 2, 0]
    assert labels.tolist() == [1, 0, 2, 0]


@given(data=st.data())
def test_labels_expand_as_by_scikit_image(backend, data):
    """To the pixel, so that ties must be decided alike."""
    shape = data.draw(st.sampled_from([(30,), (1, 9), (12, 15), (6, 7, 8)]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    kind = data.draw(st.sampled_from(["?", "u1", ">i2", "i4", "i8"]))
    labels = rng.integers(1, 100, shape) * (rng.random(shape) < rng.choice([0, 0.02, 0.1, 0.3]))
    labels = labels.astype(kind)
    native = labels.astype(labels.dtype.newbyteorder("="))
    options = {
        "distance": data.draw(st.sampled_from([0, 1, 2.5, 4, np.inf])),
        "spacing": data.draw(st.sampled_from([1, 1.5, (2, 1, 0.5)[: len(shape)]])),
    }
    given = np.asfortranarray(labels) if data.draw(st.booleans()) else labels
    given.setflags(write=False)
    result = expand_labels(given, **options)
    assert result.dtype == native.dtype
    assert np.array_equal(result, peer.expand_labels(native, **options))


@pytest.mark.parametrize("shape", [(1, 11), (11, 1), (12, 13), (5, 6, 7)])
def test_labels_that_are_equally_near_win_as_in_scikit_image(backend, rng, shape):
    labels = np.arange(1, np.prod(shape) + 1).reshape(shape) * (rng.random(shape) < 0.1)
    labels.flat[[0, -1]] = 1001, 1002
    assert np.array_equal(expand_labels(labels, np.inf), peer.expand_labels(labels, np.inf))
    mirrored = expand_labels(labels[..., ::-1], np.inf)
    assert np.array_equal(mirrored, peer.expand_labels(labels[..., ::-1], np.inf))


def test_every_form_is_our_own_where_it_should_be():
    for function in (watershed, flood, clear_border, expand_labels):
        form, layer = find(function, "cuda")
        assert layer == "_cuda"
        assert form.__module__ == "gpuseg._cuda.segmentation.regions"


@pytest.mark.parametrize(
    ("function", "bytes_a_pixel"),
    [
        (lambda image, labels: watershed(image, labels), 30),
        (lambda image, labels: flood(image, (3, 3), tolerance=0.4), 5),
        (lambda image, labels: expand_labels(labels * (image > 0.9), 3), 40),
        (lambda image, labels: clear_border(labels), 16),
        (lambda image, labels: merge_superpixels(labels, image, 0.02), 20),
        (lambda image, labels: gaussian_mixture(image, 3, random_state=0, max_iter=3), 16),
    ],
)
def test_memory(rng, function, bytes_a_pixel):
    image = rng.random((900, 1000), dtype=np.float32)
    y, x = np.indices(image.shape, np.int32)
    labels = y // 16 * 100 + x // 16 + 1
    del y, x
    with gpuseg.using("cpu"):
        function(image, labels)
        tracemalloc.start()
        function(image, labels)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    # Pieces take up to 24 MiB, whatever the size of the image.
    assert peak < bytes_a_pixel * image.size + 24 * 2**20 * (bytes_a_pixel > 15)


# --- bad input --------------------------------------------------------------------------------

IMAGE = np.arange(12.0).reshape(3, 4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: watershed(IMAGE * np.nan), ValueError, "image holds NaN or infinity"),
        (lambda: watershed(IMAGE, IMAGE), TypeError, "markers must hold integers"),
        (lambda: watershed(IMAGE, np.ones(3, int)), ValueError, "markers must have the shape"),
        (lambda: watershed(IMAGE, 0), ValueError, "markers must be at least 1"),
        (lambda: watershed(IMAGE, 2.5), TypeError, "markers must be an integer"),
        (lambda: watershed(IMAGE, connectivity=3), ValueError, "connectivity must be at most 2"),
        (lambda: watershed(IMAGE, mask=IMAGE > 99), ValueError, "mask selects no element"),
        (lambda: watershed(IMAGE, mask=IMAGE[0] > 1), ValueError, "mask must have the shape"),
        (lambda: watershed(IMAGE, compactness=-1), ValueError, "compactness must be at least 0"),
        (lambda: flood(IMAGE, (1, 2, 3)), ValueError, "seed_point must be 2 integers"),
        (lambda: flood(IMAGE, (0.5, 1)), ValueError, "seed_point must be 2 integers"),
        (lambda: flood(IMAGE, (3, 0)), IndexError, r"seed_point \(3, 0\) is outside of shape"),
        (lambda: flood(IMAGE, (0, 0), tolerance=np.nan), ValueError, "tolerance must be finite"),
        (lambda: flood(IMAGE, (0, 0), tolerance=-1), ValueError, "tolerance must be at least 0"),
        (lambda: flood(IMAGE, (0, 0), connectivity=0), ValueError, "connectivity must be at least"),
        (lambda: flood_fill(IMAGE > 3, (0, 0), 7), ValueError, "new_value must be a number that"),
        (lambda: flood_fill([1, 2], 0, 1e30), ValueError, "new_value must be a number that int64"),
        (lambda: flood_fill([1, 2], 0, 2.0**63), ValueError, "new_value must be a number that"),
        (lambda: flood_fill([1, 2], 0, np.nan), ValueError, "new_value must be a number that"),
        (lambda: flood_fill(np.ones(2, "f4"), 0, 1e39), ValueError, "a number that float32 holds"),
        (lambda: flood_fill([1, 2], 0, 7, in_place=True), ValueError, "in_place needs an array"),
        (lambda: expand_labels(IMAGE), TypeError, "label_image must hold integers"),
        (lambda: expand_labels(IMAGE > 3, -1), ValueError, "distance must be at least 0"),
        (lambda: expand_labels(IMAGE > 3, spacing=0), ValueError, "spacing must be greater than 0"),
        (lambda: clear_border(IMAGE), TypeError, "labels must hold integers"),
        (lambda: clear_border(IMAGE > 3, 3), ValueError, "buffer_size must be below the shortest"),
        (
            lambda: clear_border(IMAGE > 3, mask=IMAGE[0] > 1),
            ValueError,
            "mask must have the shape",
        ),
    ],
)
def test_bad_input(call, error, message):
    with gpuseg.using("cpu"), pytest.raises(error, match=message):
        call()
