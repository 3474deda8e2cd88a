"""Labels numbered as SciPy does, and what is built on them: measures, small objects, scores."""

import tracemalloc

import dask.array as da
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import skimage.measure
import skimage.morphology
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage as ndi
from test_hysteresis import adversaries

import gpuseg
from gpuseg import measure, metrics, morphology
from gpuseg.kernels.launch import thread_count

DTYPES = ["u1", "i1", "u2", "i4", "i8", "u8", "f2", "f4", "f8", ">i4"]


def scipy_label(mask, connectivity):
    return ndi.label(mask, ndi.generate_binary_structure(mask.ndim, connectivity))


@given(data=st.data())
def test_masks_are_numbered_as_scipy_does(data):
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=8))
    shape = (*shape[:-1], data.draw(st.integers(1, 140)))
    connectivity = data.draw(st.integers(1, len(shape)))
    density = data.draw(st.sampled_from([0.05, 0.3, 0.5, 0.7, 0.95]))
    mask = np.random.default_rng(data.draw(st.integers(0, 999))).random(shape) < density
    mask = data.draw(st.sampled_from([mask, mask[..., ::-1], np.asfortranarray(mask)]))
    with gpuseg.using("cpu"):
        labels, count = measure.label(mask, connectivity=connectivity, return_num=True)
    expected = scipy_label(mask, connectivity)
    assert count == expected[1]
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, expected[0])


@given(data=st.data(), dtype=st.sampled_from(["i1", "i4", "f4"]))
def test_values_are_numbered_as_scikit_image_does(data, dtype):
    # Its order is another one where the last axis has length 1: shapes without.
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=2, max_side=8))
    shape = (*shape[:-1], data.draw(st.integers(2, 70)))
    connectivity = data.draw(st.integers(1, len(shape)))
    background = data.draw(st.sampled_from([None, 0, -1, 7]))
    image = np.random.default_rng(data.draw(st.integers(0, 999))).integers(-1, 3, shape)
    options = dict(background=background, connectivity=connectivity, return_num=True)
    with gpuseg.using("cpu"):
        labels, count = measure.label(image.astype(dtype), **options)
    expected = skimage.measure.label(image, **options)
    assert count == expected[1]
    np.testing.assert_array_equal(labels, expected[0])


@pytest.mark.parametrize("connectivity", [1, 2, 3])
def test_adversaries(backend, connectivity):
    for name, image in adversaries((3, 4, 35) if backend == "sim" else (9, 20, 130)):
        mask = image > 0.5
        labels, count = measure.label(mask, connectivity=connectivity, return_num=True)
        expected = scipy_label(mask, connectivity)
        np.testing.assert_array_equal(labels, expected[0], err_msg=name)
        assert count == expected[1]


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(backend, rng, dtype):
    image = rng.integers(0, 3, (4, 9)).astype(dtype)
    for background in (None, 2):
        np.testing.assert_array_equal(
            measure.label(image, background),
            skimage.measure.label(image.astype(int), background),
        )


def test_defaults_are_scikit_images(backend, rng):
    mask = rng.random((5, 20)) < 0.4
    np.testing.assert_array_equal(measure.label(mask), skimage.measure.label(mask))
    np.testing.assert_array_equal(
        measure.label(mask, background=1), skimage.measure.label(mask, background=1)
    )
    assert measure.label(mask.astype(np.int64)).dtype == np.int32


def test_a_background_that_the_dtype_cannot_hold_is_no_voxels(backend):
    image = np.array([[0, 0, 5]], np.uint8)
    for background in (-1, 300):
        assert measure.label(image, background=background).tolist() == [[1, 1, 2]]


def test_floats_are_not_rounded(backend):
    assert measure.label(np.array([0.2, 0.2, 0.4, 0.0])).tolist() == [1, 1, 2, 0]


def test_labels_in_many_pieces(monkeypatch, rng):
    monkeypatch.setenv("GPUSEG_NUM_THREADS", "5")
    mask = rng.random((13, 40, 70)) < 0.4
    with gpuseg.using("cpu"):
        for connectivity in (1, 2, 3):
            np.testing.assert_array_equal(
                measure.label(mask, connectivity=connectivity), scipy_label(mask, connectivity)[0]
            )
            np.testing.assert_array_equal(
                measure.label(mask.astype("u1") * 3, connectivity=connectivity),
                scipy_label(mask, connectivity)[0],
            )


@pytest.mark.parametrize(
    ("image", "more", "error", "text"),
    [
        (np.zeros((0, 2)), {}, ValueError, "label_image is empty"),
        (np.zeros(2, complex), {}, TypeError, "label_image must hold real numbers"),
        (np.zeros((2, 2)), {"connectivity": 3}, ValueError, "connectivity must be at most 2"),
        (np.zeros((2, 2)), {"connectivity": 0}, ValueError, "connectivity must be at least 1"),
        (np.zeros((2, 2)), {"background": "0"}, TypeError, "background must be a number"),
    ],
)
def test_bad_input(image, more, error, text):
    with pytest.raises(error, match=text):
        measure.label(image, **more)


def test_regionprops_table(backend, rng):
    labels = scipy_label(rng.random((9, 30)) < 0.5, 1)[0]
    values = rng.random(labels.shape)
    names = ("label", "area", "bbox", "centroid", "mean_intensity")
    ours = measure.regionprops_table(labels, values, names)
    expected = skimage.measure.regionprops_table(labels, values, names)
    assert list(ours) == list(expected)
    for name in expected:
        close = 1e-6 if backend == "cuda" else 1e-12
        np.testing.assert_allclose(ours[name], expected[name], rtol=close)
        assert ours[name].dtype == expected[name].dtype
    with pytest.raises(TypeError, match="label_image must hold integers"):
        measure.regionprops_table(values)
    with pytest.raises(ValueError, match="intensity_image must have the shape"):
        measure.regionprops_table(labels, values[1:])


def test_volume_fraction(backend):
    image = np.array([[0, 2, 0, 1]])
    assert measure.volume_fraction(image) == 0.5
    assert measure.volume_fraction(image > 0, mask=[[1, 1, 1, 0]]) == 1 / 3
    with pytest.raises(ValueError, match="mask selects no element"):
        measure.volume_fraction(image, mask=np.zeros((1, 4), bool))


# --- lines and surfaces -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]
)
def test_the_level_midway_is_that_of_real_numbers(backend, dtype):
    kind = np.dtype(dtype)
    low, high = (x(kind).max for x in (np.finfo if kind.kind == "f" else np.iinfo,) * 2)
    image = np.zeros((6, 7), dtype)
    image[:] = low - low // 4
    image[2:4, 2:5] = high
    lines = measure.find_contours(image)
    assert len(lines) == 1
    volume = np.stack([image[:1].repeat(6, axis=0), image, image, image[:1].repeat(6, axis=0)])
    verts = measure.marching_cubes(volume)[0]
    # Half way between two voxels, all of them.
    assert {round(2 * float(x), 3) % 1 for x in np.concatenate([lines[0], verts[:, 1:]]).ravel()
            } == {0.0}  # fmt: skip


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("shape", [(5, 5, 5), (7, 6, 5)])
def test_a_mirrored_mask_gives_a_mirrored_surface(backend, rng, shape, step):
    shape = tuple(1 + step * (n - 1) for n in shape)  # the same voxels from both ends
    volume = ndi.gaussian_filter(rng.random(shape), 1)
    level, mask = float(np.median(volume)) + 1e-4, rng.random(shape) < 0.97
    verts = measure.marching_cubes(volume, level, mask=mask, step_size=step)[0]
    for axis in range(3):
        turned = measure.marching_cubes(
            np.flip(volume, axis), level, mask=np.flip(mask, axis), step_size=step
        )[0]
        turned[:, axis] = shape[axis] - 1 - turned[:, axis]
        points = ({tuple(p) for p in np.round(v, 3).tolist()} for v in (verts, turned))
        first, second = points
        assert len(first ^ second) <= 0.1 * len(first)  # cubes of two ways have a point inside


@pytest.mark.parametrize("dtype", ["u1", "i2", "i8", "f4", "f8"])
@pytest.mark.parametrize("direction", ["ascent", "descent"])
def test_surfaces_are_closed_where_the_level_is_among_the_data(backend, rng, dtype, direction):
    for _ in range(8):
        volume = np.pad(rng.integers(0, 4, (6, 6, 6)), 1).astype(dtype)
        for level in (0, 1, 2):
            faces = measure.marching_cubes(volume, level, gradient_direction=direction)[1]
            edges = np.concatenate([faces[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))])
            there, back = (sorted(map(tuple, e.tolist())) for e in (edges, edges[:, ::-1]))
            assert there == back
        with pytest.raises(ValueError, match="level must be below the volume's greatest value"):
            measure.marching_cubes(volume, int(volume.max()))


# --- morphology -------------------------------------------------------------------------------

GREY = ["erosion", "dilation", "opening", "closing", "white_tophat"]


@pytest.mark.parametrize("name", GREY)
@pytest.mark.parametrize("dtype", ["?", "u1", "f4"])
def test_grey_morphology_is_scikit_images(backend, rng, name, dtype):
    image = rng.integers(0, 2 if dtype == "?" else 50, (8, 11)).astype(dtype)
    ours, peer = getattr(morphology, name), getattr(skimage.morphology, name)
    for footprint in (None, morphology.disk(2), np.ones((1, 3))):
        np.testing.assert_array_equal(ours(image, footprint), peer(image, footprint))
    np.testing.assert_array_equal(ours(image, mode="ignore"), peer(image, mode="ignore"))
    sequence = morphology.disk(3, decomposition="sequence")
    np.testing.assert_array_equal(ours(image, sequence), peer(image, sequence))
    out = np.empty_like(image)
    assert ours(image, out=out) is out
    np.testing.assert_array_equal(out, peer(image))
    with pytest.raises(ValueError, match="footprint must have the image's 2 axes"):
        ours(image, np.ones(3))
    with pytest.raises(ValueError, match="mode must be one of"):
        ours(image, mode="edge")


_PADS = {"reflect": "symmetric", "mirror": "reflect", "nearest": "edge", "wrap": "wrap"}


def _opened(image, parts, mode):
    """By definition: the continued image is eroded and dilated far beyond the border."""
    wide = 12
    parts = [np.pad(part, [(1 - n % 2, 0) for n in part.shape]) for part in parts]
    if mode in _PADS:
        x = np.pad(image, wide, mode=_PADS[mode])
    else:
        least, most = {"b": (0, 1), "f": (-np.inf, np.inf)}.get(image.dtype.kind, (0, 255))
        fill = {"max": most, "min": least, "constant": min(7, most), "ignore": most}[mode]
        x = np.pad(image, wide, constant_values=fill)
    inner = (slice(wide, -wide),) * image.ndim
    outer = np.ones(x.shape, bool)
    outer[inner] = False
    for part in parts:
        x = ndi.grey_erosion(x, footprint=part)
        x[outer] = most if mode == "ignore" else x[outer]
    for part in parts[::-1]:
        x[outer] = least if mode == "ignore" else x[outer]
        x = ndi.grey_dilation(x, footprint=part)
    return x[inner]


@pytest.mark.parametrize("dtype", ["?", "u1", "f8"])
@pytest.mark.parametrize(
    "mode", ["reflect", "mirror", "nearest", "wrap", "constant", "max", "min", "ignore"]
)
def test_an_opening_is_nowhere_above_the_image(backend, rng, mode, dtype):
    footprints = [rng.random(shape) < 0.6 for shape in ((3, 3), (2, 4), (5, 1), (2, 2), (3, 4))]
    footprints += [np.eye(3, dtype=bool), np.ones((2, 1), bool), np.fliplr(np.eye(4, dtype=bool))]
    sequence = [footprints[0], footprints[3], footprints[3], np.eye(3, dtype=bool)]
    for footprint in filter(np.any, footprints):
        _compare_opened(backend, rng, footprint, [footprint], mode, dtype)
    pairs = [(sequence[0], 1), (sequence[1], 2), (sequence[3], 1)]
    _compare_opened(backend, rng, pairs, sequence, mode, dtype)


def _compare_opened(backend, rng, footprint, parts, mode, dtype):
    shape = (17, 18) if mode != "wrap" else (12, 13)
    image = rng.integers(0, 2 if dtype == "?" else 200, shape).astype(dtype)
    options = {"mode": mode, "cval": 7}
    opened = morphology.opening(image, footprint, **options)
    assert (opened <= image).all()
    np.testing.assert_array_equal(opened, _opened(image, parts, mode))
    hats = morphology.white_tophat(image, footprint, **options)
    np.testing.assert_array_equal(hats, image ^ opened if dtype == "?" else image - opened)
    assert (morphology.closing(image, footprint, **options) >= image).all()
    if dtype == "u1":
        # Values upside down, an opening is a closing.
        turned = {"max": "min", "min": "max"}.get(mode, mode)
        closed = morphology.closing(255 - image, footprint, mode=turned, cval=248)
        np.testing.assert_array_equal(closed, 255 - opened)
    if backend == "cpu":
        chunks = da.from_array(image, chunks=(12, 9))
        lazy = morphology.opening(chunks, footprint, **options)
        np.testing.assert_array_equal(lazy.compute(), opened)


def test_a_constant_beyond_the_border_is_held_within_the_type(backend):
    image = np.full((1, 5), 9, np.uint8)
    for name, cval, ends in (("erosion", -1, 0), ("dilation", 300, 255), ("erosion", -np.inf, 0)):
        found = getattr(morphology, name)(image, mode="constant", cval=cval)
        assert (found == ends).all()


def test_footprints():
    np.testing.assert_array_equal(morphology.disk(3), skimage.morphology.disk(3))
    np.testing.assert_array_equal(morphology.ball(2), skimage.morphology.ball(2))
    with pytest.raises(ValueError, match="radius must be at least 0"):
        morphology.disk(-1)


def test_reconstruction(backend, rng):
    mask = rng.integers(0, 50, (7, 9))
    seed = np.where(rng.random((7, 9)) < 0.2, mask, 0)
    np.testing.assert_array_equal(
        morphology.reconstruction(seed, mask), skimage.morphology.reconstruction(seed, mask)
    )
    with pytest.raises(ValueError, match="seed and mask must have one shape"):
        morphology.reconstruction(seed[1:], mask)


@pytest.mark.parametrize("connectivity", [1, 2])
@pytest.mark.parametrize("size", [0, 1, 4, 1000])
def test_small_objects_and_holes_go_as_in_scikit_image(backend, rng, connectivity, size):
    mask = rng.random((9, 30)) < 0.5
    options = dict(connectivity=connectivity, max_size=size)
    for name in ("remove_small_objects", "remove_small_holes"):
        ours = getattr(morphology, name)(mask, **options)
        np.testing.assert_array_equal(ours, getattr(skimage.morphology, name)(mask, **options))
        assert ours.dtype == bool
    labels = scipy_label(mask, connectivity)[0]
    np.testing.assert_array_equal(
        morphology.remove_small_objects(labels, max_size=size),
        skimage.morphology.remove_small_objects(labels, max_size=size),
    )


def test_the_deprecated_names_go_on_working():
    mask = np.array([1, 0, 1, 1, 0, 1, 1, 1], bool)
    with pytest.warns(FutureWarning, match="min_size is deprecated"):
        ours = morphology.remove_small_objects(mask, 3)
    assert ours.astype(int).tolist() == [0, 0, 0, 0, 0, 1, 1, 1]
    with pytest.warns(FutureWarning, match="area_threshold is deprecated"):
        assert morphology.remove_small_holes(mask, 2).all()


@pytest.mark.parametrize(
    ("ar", "more", "error", "text"),
    [
        (np.zeros((3, 3)), {}, TypeError, "ar must be bool or integer, got float64"),
        (np.array([-1, 2]), {}, ValueError, "ar must hold no negative labels, got -1"),
        (np.zeros(3, bool), {"max_size": -1}, ValueError, "max_size must be at least 0"),
        (np.zeros(3, bool), {"connectivity": 2}, ValueError, "connectivity must be at most 1"),
        (np.zeros((0,), bool), {}, ValueError, "ar is empty"),
    ],
)
def test_bad_objects(ar, more, error, text):
    with pytest.raises(error, match=text):
        morphology.remove_small_objects(ar, **more)


# --- scores -----------------------------------------------------------------------------------


@given(pair=hnp.arrays(bool, (2, 5, 7)))
def test_scores_are_those_of_the_confusion_matrix(pair):
    (tn, fp), (fn, tp) = (
        [np.count_nonzero((pair[0] == t) & (pair[1] == p)) for p in (0, 1)] for t in (0, 1)
    )
    union = tp + fp + fn
    assert metrics.jaccard(*pair) == (tp / union if union else 1)
    assert metrics.dice(*pair) == (2 * tp / (2 * tp + fp + fn) if union else 1)
    assert metrics.binary_accuracy(*pair) == (tp + tn) / 35


def test_scores_refuse_other_shapes():
    for score in (metrics.dice, metrics.jaccard, metrics.binary_accuracy):
        with pytest.raises(ValueError, match="y_true and y_pred must have one shape"):
            score([1, 0], [1, 0, 1])
        with pytest.raises(ValueError, match="y_true is empty"):
            score([], [])


@given(
    shape=st.sampled_from([(200,), (1, 129), (40, 64), (9, 5, 130), (3, 4, 5, 70)]),
    density=st.floats(0.05, 0.95),
    most=st.integers(0, 40),
    connectivity=st.integers(1, 4),
    seed=st.integers(0, 2**16),
)
def test_small_objects_go_run_by_run_as_in_scikit_image(shape, density, most, connectivity, seed):
    rng = np.random.default_rng(seed)
    # Runs of all lengths, over the ends of words too.
    mask = np.repeat(rng.random(shape) < density, rng.integers(1, 5), axis=-1)
    connectivity = min(connectivity, mask.ndim)
    wanted = skimage.morphology.remove_small_objects(mask, max_size=most, connectivity=connectivity)
    found = morphology.remove_small_objects(mask, max_size=most, connectivity=connectivity)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("sigma", [0, 2])
def test_small_objects_take_the_memory_that_is_said(rng, sigma):
    mask = ndi.gaussian_filter(rng.standard_normal((60, 70, 80)), sigma) > 0
    _, count = ndi.label(mask)
    rows = 60 * 70
    runs = np.count_nonzero(np.diff(mask.astype(int), axis=-1, prepend=0) == 1)
    morphology.remove_small_objects(mask)  # compiles
    with gpuseg.using("cpu"):
        tracemalloc.start()
        morphology.remove_small_objects(mask)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    said = rows * (2 * 128 / 8 + 16) + 4 * runs + 8 * count * (thread_count() + 1)
    assert most < mask.size + said + 20_000


# --- backgrounds ------------------------------------------------------------------------------

BACKGROUNDS = (0, 1, 2, 1.5, -1, 300, True, 2**63, -(2**63), 2**64, 1e300, 0.1, -np.inf)


def _labels_by_value(image, background, connectivity):
    """SciPy's labels of each value but the background, numbered in the order of a scan."""
    labels, count = np.zeros(image.shape, int), 0
    for value in np.unique(image):
        # Of floats, a float stands for the nearest number of their type.
        equal = value.item() == background
        weak = isinstance(background, float) and image.dtype.kind == "f"
        if weak and abs(background) <= float(np.finfo(image.dtype).max):
            equal = value == image.dtype.type(background)
        if not equal:
            part, more = scipy_label(image == value, connectivity)
            labels[part > 0] = part[part > 0] + count
            count += more
    names, first = np.unique(labels, return_index=True)
    order = np.zeros(count + 1, int)
    inside = names[names > 0][np.argsort(first[names > 0])]
    order[inside] = np.arange(1, count + 1)
    return order[labels]


@pytest.mark.parametrize("dtype", ["?", *DTYPES, "u4", "i2", ">f8"])
def test_only_what_equals_the_background_is_background(backend, rng, dtype):
    dtype = np.dtype(dtype)
    if dtype.kind in "ui":
        info = np.iinfo(dtype)
        pool = np.array([0, 1, 2, info.min, info.min + 1, info.max - 1, info.max], dtype)
    elif dtype.kind == "f":
        pool = np.array([0, -0.0, 1.5, 0.1, -2, np.inf, -np.inf]).astype(dtype)
    else:
        pool = np.array([0, 1], dtype)
    image = pool[rng.integers(0, pool.size, (4, 7))]
    image.reshape(-1)[: pool.size] = pool  # no number of the type's ends is free
    for background in BACKGROUNDS:
        expected = _labels_by_value(image, background, 1)
        labels = measure.label(image, background, connectivity=1)
        np.testing.assert_array_equal(labels, expected, err_msg=str(background)[:30])


@pytest.mark.parametrize("dtype", ["?", "u1", "i8", "u8", "f4"])
def test_backgrounds_in_chunks(rng, dtype):
    da = pytest.importorskip("dask.array")
    image = rng.integers(0, 2 if dtype == "?" else 3, (5, 7)).astype(dtype)
    for background in (1, 1.5, -1, 300):
        labels = measure.label(da.from_array(image, chunks=3), background)
        np.testing.assert_array_equal(labels.compute(), measure.label(image, background))


# --- objects in a plane, along a line, of one voxel -------------------------------------------


def _objects(ndim):
    """Objects of fewer axes than their image, and images of one pixel along an axis."""
    for axes in range(ndim + 1):
        labels = np.zeros((9,) * ndim, int)
        labels[tuple(slice(1, 6) if a < axes else slice(2, 3) for a in range(ndim))] = 1
        yield labels, 5**axes, np.sqrt(25 + 16 * (axes - 1)) if axes else 1
    yield np.ones((1,) * ndim, int), 1, 1.0
    yield np.ones((1,) * (ndim - 1) + (7,), int), 7, 7.0
    yield np.ones((7,) + (1,) * (ndim - 1), int), 7, 7.0
    diagonal = np.zeros((9,) * ndim, int)
    diagonal[(np.arange(2, 7),) * ndim] = 1
    yield diagonal, None, None


def _measurable(ndim, spacing):
    from gpuseg._cpu.properties import DTYPES

    flat = {"eccentricity", "orientation", "perimeter", "perimeter_crofton"}
    names = [n for n in DTYPES if ndim == 2 or n not in flat]
    if ndim == 3 or spacing != (1.0,) * ndim:
        names = [n for n in names if "hu" not in n]
    return [n for n in names if len(set(spacing)) == 1 or "perimeter" not in n]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 0.5, 3.0)])
@pytest.mark.parametrize("ndim", [2, 3])
def test_every_measure_of_flat_objects(rng, ndim, spacing, chunked):
    spacing = spacing[:ndim]
    names = _measurable(ndim, spacing)
    undefined = ("moments_normalized", "moments_weighted_normalized")  # those of order 0 and 1
    for labels, convex, diameter in _objects(ndim):
        given = labels
        if chunked:
            given = pytest.importorskip("dask.array").from_array(labels, chunks=4)
        image = rng.random(labels.shape)
        table = measure.regionprops_table(given, image, names, spacing=spacing)
        for name, column in table.items():
            if column.dtype != object and not name.startswith(undefined):
                assert np.isfinite(column).all(), name
        if convex:
            assert table["area_convex"] == pytest.approx(convex * np.prod(spacing))
            assert table["solidity"] == 1
            assert table["image_convex"][0].all()
        if diameter and set(spacing) == {1.0}:
            # From face centre to face centre of two voxels.
            assert table["feret_diameter_max"] == pytest.approx(diameter)
        # The others are those of scikit-image, which finds no hull of flat objects in 3-D.
        hulls = ("area_convex", "solidity", "feret_diameter_max", "image_convex")
        rest = [name for name in names if ndim == 2 or name not in hulls]
        peer = skimage.measure.regionprops_table(labels, image, rest, spacing=spacing)
        for name, column in peer.items():
            assert table[name].dtype == column.dtype, name
            if column.dtype != object:
                np.testing.assert_allclose(
                    table[name], column, rtol=1e-9, atol=1e-6, err_msg=name, equal_nan=True
                )


def test_hulls_of_solid_objects_are_scikit_images(rng):
    labels = ndi.label(ndi.gaussian_filter(rng.standard_normal((20, 22, 24)), 2) > 0.02)[0]
    names = ("label", "area_convex", "solidity", "image_convex")
    ours = measure.regionprops_table(labels, properties=names)
    solid = [i for i, hull in enumerate(ours["image_convex"]) if min(hull.shape) > 2]
    assert len(solid) >= 3
    peer = skimage.measure.regionprops(labels)
    for i in solid:
        np.testing.assert_array_equal(ours["image_convex"][i], peer[i].image_convex)
    one = (labels == ours["label"][solid[0]]).astype(int)
    for properties in (["feret_diameter_max"], ["area_convex"]):
        expected = skimage.measure.regionprops_table(one, properties=properties)
        found = measure.regionprops_table(one, properties=properties)
        np.testing.assert_allclose(found[properties[0]], expected[properties[0]], rtol=1e-12)


@pytest.mark.parametrize("chunked", [False, True])
def test_what_is_weighted_by_nothing_is_nan(chunked):
    labels = np.ones((3, 4), int)
    given = labels
    if chunked:
        given = pytest.importorskip("dask.array").from_array(labels, chunks=2)
    names = ("centroid_weighted", "moments_weighted_hu", "moments_weighted_normalized")
    table = measure.regionprops_table(given, np.zeros((3, 4)), names)
    assert all(np.isnan(column).all() for column in table.values())


@pytest.mark.parametrize("chunked", [False, True])
def test_a_table_of_no_region(chunked):
    labels = np.zeros((4, 5, 3), int)
    if chunked:
        labels = pytest.importorskip("dask.array").from_array(labels, chunks=2)
    channels = np.ones((4, 5, 3, 2), np.float32)
    names = ("label", "solidity", "feret_diameter_max", "mean_intensity", "bbox", "image")
    table = measure.regionprops_table(labels, channels, names)
    full = measure.regionprops_table(np.ones((2, 2, 2), int), channels[:2, :2, :2], names)
    assert [*table] == [*full]
    assert all(c.size == 0 and c.dtype == full[n].dtype for n, c in table.items())
