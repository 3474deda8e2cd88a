"""SLIC: the same labels everywhere, and superpixels as good as scikit-image's or better."""

import tracemalloc

import numpy as np
import pytest
import skimage.color
import skimage.data
import skimage.filters
import skimage.measure
import skimage.segmentation
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage as ndi

import gpuseg
from gpuseg._contracts import SamePartition
from gpuseg._cpu.segmentation import superpixels
from gpuseg.segmentation import find_boundaries, slic

GREY = {"compactness": 0.1, "channel_axis": None}


def _on_the_cpu(*args, **options):
    with gpuseg.using("cpu"):
        return slic(*args, **options)


def _small(backend, image, tiny):
    """A part of an image that the backend can do in a second or so."""
    return image[tuple(slice(0, n) for n in tiny)] if backend == "sim" else image


def _volume():
    rng = np.random.default_rng(1)
    return ndi.gaussian_filter(rng.random((20, 30, 28)), 2)


# --- what it computes -------------------------------------------------------------------------


def _lloyd(image, seeds, step, compactness, iterations):
    """k-means of colour and place with every seed, in float64, the first of them by place."""
    place = np.indices(image.shape).reshape(image.ndim, -1).T / step * compactness
    rows = np.concatenate([image.reshape(-1, 1), place], axis=1)
    centers = np.concatenate([np.zeros((len(seeds), 1)), seeds / step * compactness], axis=1)
    for i in range(iterations):
        away = (rows[:, None] - centers) ** 2
        labels = (away[..., 1:] if i == 0 else away).sum(-1).argmin(1)
        for k in np.unique(labels):
            centers[k] = rows[labels == k].mean(0)
    return labels.reshape(image.shape)


@pytest.mark.parametrize("shape", [(24, 30), (12, 10, 11)])
def test_it_is_k_means_of_colour_and_place(backend, rng, shape):
    if backend == "sim":
        shape = tuple(n // 2 for n in shape)
    image = ndi.gaussian_filter(rng.random(shape), 1)
    image = (image - image.min()) / np.ptp(image)
    slices = skimage.util.regular_grid(shape, 8)
    seeds = np.stack(np.mgrid[tuple(slice(0, n) for n in shape)], -1)[slices].reshape(
        -1, len(shape)
    )
    step = max(s.step or 1 for s in slices)
    expected = _lloyd(image, seeds, step, 0.5, 4)
    result = slic(image, n_segments=8, compactness=0.5, max_num_iter=4, start_label=0,
                  enforce_connectivity=False, channel_axis=None)  # fmt: skip
    assert len(seeds) > 3
    # float32 decides otherwise where two centres are equally near to six digits.
    assert (result == expected).mean() > 0.99


def test_the_first_step_is_the_grid_of_seeds(backend):
    image = np.arange(64.0).reshape(8, 8) % 7
    labels = slic(image, n_segments=4, max_num_iter=1, channel_axis=None)
    # Seeds at 2 and 6: what is at 4 is equally near to both, and the first wins.
    expected = np.array([[1, 2], [3, 4]]).repeat([5, 3], 0).repeat([5, 3], 1)
    assert np.array_equal(labels, expected)


CASES = {
    "rgb": (lambda: skimage.data.astronaut()[60:160, 170:290], {"n_segments": 40}),
    "grey": (lambda: skimage.data.coins()[60:160, 60:180], {"n_segments": 30, **GREY}),
    "volume": (_volume, {"n_segments": 30, **GREY}),
    "spacing": (_volume, {"n_segments": 30, "spacing": (3, 1, 1), **GREY}),
    "five channels": (lambda: np.stack([_volume()[i] for i in range(5)]),
                      {"n_segments": 20, "compactness": 0.1, "channel_axis": 0}),
    "slico": (lambda: skimage.data.coins()[60:160, 60:180],
              {"n_segments": 30, "slic_zero": True, **GREY}),
    "sigma": (lambda: skimage.data.astronaut()[60:160, 170:290],
              {"n_segments": 40, "sigma": (1, 2)}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_without_connectivity_it_agrees_with_scikit_image(case):
    make, options = CASES[case]
    image, options = make(), options | {"enforce_connectivity": False}
    with gpuseg.using("cpu"):
        ours = slic(image, **options)
    theirs = skimage.segmentation.slic(image, **options)
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    assert len(np.unique(ours)) == len(np.unique(theirs))
    # Lab colours are interpolated, and the centres that a pixel compares are not quite the same.
    rough = options.get("channel_axis", -1) is not None
    assert SamePartition(0.94 if rough else 0.99).compare(ours, theirs).passed


@pytest.mark.parametrize("case", CASES)
def test_every_backend_and_any_number_of_threads_have_the_same_labels(backend, case, monkeypatch):
    make, options = CASES[case]
    image = make()
    if backend == "sim":
        few = options.get("channel_axis", -1)
        tiny = {None: (12, 14) if image.ndim == 2 else (5, 6, 7), 0: (5, 9, 8), -1: (12, 10, 3)}
        image = image[tuple(slice(0, n) for n in tiny[few])]
        options = options | {"n_segments": 6, "max_num_iter": 3}
    result = slic(image, **options)
    for threads in (1, 3, 7):
        monkeypatch.setenv("GPUSEG_NUM_THREADS", str(threads))
        assert np.array_equal(_on_the_cpu(image, **options), result)
    assert result.max() > 2


def test_colours_are_those_of_scikit_image():
    image = skimage.data.astronaut()[:60, 150:250].copy()
    # Its whole range, so that scaling leaves it as it is.
    image[0, 0], image[0, 1] = 0, 255
    colors = superpixels._colors(
        superpixels._SLIC, np.moveaxis(image, -1, 0), 0.0, 255.0, (0, 0), lab=True
    )
    expected = skimage.color.rgb2lab(image)
    assert np.abs(np.moveaxis(colors.reshape(3, 60, 100), 0, -1) - expected).max() < 0.02
    smooth = superpixels._colors(
        superpixels._SLIC, np.moveaxis(image, -1, 0), 0.0, 255.0, (2, 0.7), lab=True
    )
    expected = skimage.filters.gaussian(expected, (2, 0.7), mode="reflect", channel_axis=-1)
    assert np.abs(np.moveaxis(smooth.reshape(3, 60, 100), 0, -1) - expected).max() < 0.02


def test_sums_of_colours_are_exact():
    """Any order gives the same: they are whole multiples of a power of two, and not too many."""
    image = np.random.default_rng(0).random((1, 50, 60), dtype=np.float32)
    low, high = float(image.min()), float(image.max())
    colors = superpixels._colors(superpixels._SLIC, image, low, high, (1, 1), lab=False)
    whole = colors.astype(np.float64) * 2**22
    assert np.array_equal(whole, np.rint(whole))
    assert whole.max() <= 2**22
    assert len(np.unique(whole)) > 2000


# --- what superpixels are for -----------------------------------------------------------------


def _quality(labels, truth, image):
    """Boundary recall within 2 pixels, 1 - under-segmentation error, explained variation,
    compactness; higher is better."""
    away = ndi.distance_transform_edt(~find_boundaries(labels, mode="thick"))
    recall = (away[find_boundaries(truth, mode="inner")] <= 2).mean()
    labels = np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
    truth = np.unique(truth, return_inverse=True)[1].reshape(labels.shape)
    both = np.zeros((labels.max() + 1, truth.max() + 1))
    np.add.at(both, (labels.ravel(), truth.ravel()), 1)
    sizes = both.sum(1)
    error = np.minimum(both, sizes[:, None] - both).sum() / labels.size
    rows = image.reshape(labels.size, -1).astype(float)
    means = np.stack([np.bincount(labels.ravel(), c) / sizes for c in rows.T], 1)
    within = (sizes[:, None] * (means - rows.mean(0)) ** 2).sum()
    variation = within / ((rows - rows.mean(0)) ** 2).sum()
    perimeter = np.zeros(sizes.size)
    padded = np.pad(labels, 1, constant_values=-1)
    for axis in (0, 1):
        for side in (-1, 1):
            other = np.roll(padded, side, axis)
            edge = (other != padded) & (padded >= 0)
            perimeter += np.bincount(padded[edge], minlength=sizes.size)
    compactness = (sizes / labels.size * 4 * np.pi * sizes / perimeter**2).sum()
    return np.array([recall, 1 - error, variation, compactness])


def _coins():
    image = skimage.data.coins()
    markers = np.zeros(image.shape, int)
    markers[image < 30], markers[image > 150] = 1, 2
    coins = skimage.segmentation.watershed(skimage.filters.sobel(image), markers) == 2
    truth = skimage.measure.label(ndi.binary_fill_holes(coins))
    assert 20 < len(np.unique(truth)) < 60
    return image, truth, None


def _retina():
    """The vessels and the field of view, from the green and the red channel."""
    image = skimage.data.retina()[::3, ::3]
    green = skimage.filters.gaussian(image[..., 1].astype(float), 1)
    vessels = green - skimage.filters.gaussian(green, 10) < -5
    return image, vessels + 2 * (image[..., 0] > 20), -1


@pytest.mark.parametrize("case", [_coins, _retina], ids=["coins", "retina"])
@pytest.mark.parametrize("n_segments", [200, 400, 1200])
@pytest.mark.parametrize("sigma", [0, 1])
def test_quality_is_at_least_scikit_images(case, n_segments, sigma):
    image, truth, channel_axis = case()
    options = {
        "n_segments": n_segments, "sigma": sigma, "channel_axis": channel_axis,
        "compactness": 10 if channel_axis else 0.2,
    }  # fmt: skip
    with gpuseg.using("cpu"):
        ours = slic(image, **options)
    theirs = skimage.segmentation.slic(image, **options)
    assert 0.97 * theirs.max() <= ours.max() <= max(1.15 * theirs.max(), n_segments)
    assert (_quality(ours, truth, image) >= 0.99 * _quality(theirs, truth, image)).all()


# --- connected regions ------------------------------------------------------------------------


@given(data=st.data())
def test_superpixels_are_connected_and_not_too_small(backend, data):
    shape = data.draw(st.sampled_from([(9, 11), (3, 5, 6)] if backend == "sim" else
                                      [(30, 41), (60, 7), (9, 12, 10)]))  # fmt: skip
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    n_segments = data.draw(st.integers(1, 12))
    image = ndi.gaussian_filter(rng.random(shape), data.draw(st.sampled_from([0, 1])))
    labels = slic(image, n_segments=n_segments, compactness=0.02, max_num_iter=2, start_label=0,
                  min_size_factor=0.5, channel_axis=None)  # fmt: skip
    regions = skimage.measure.label(labels, background=-1, connectivity=1)
    # Numbered in the order of their first pixels, as scikit-image labels regions.
    assert np.array_equal(regions, labels + 1)
    seeds = len(np.zeros(shape)[skimage.util.regular_grid(shape, n_segments)].ravel())
    least = int(0.5 * labels.size / seeds)
    assert np.bincount(labels.ravel()).min() >= min(least, labels.size)


def _sizes(labels):
    return np.bincount(labels.ravel())[1:]


def test_large_regions_are_cut(backend):
    image = np.zeros((12, 20) if backend == "sim" else (40, 60))
    options = {"n_segments": 4, "max_num_iter": 2, "min_size_factor": 0, "channel_axis": None}
    sizes = _sizes(slic(image, max_size_factor=0.3, **options))
    assert sizes.size >= 12
    assert sizes.max() <= 0.3 * image.size / 4
    assert sizes.min() > 0.3 * sizes.max()
    assert _sizes(slic(image, max_size_factor=3, **options)).size == len(
        np.unique(slic(image, enforce_connectivity=False, **options))
    )


def test_a_small_region_joins_what_it_looks_like():
    """A speck on the border of two superpixels, of nearly the colour of one."""
    labels = np.repeat([0, 2], 8)[None].repeat(16, 0).astype(np.int32)
    labels[7:9, 7] = 1
    image = np.where(labels == 0, 0.0, 1.0)
    image[7:9, 7] = 0.9
    colors = image.reshape(1, -1).astype(np.float32)
    regions, names = superpixels._connected(
        superpixels._SLIC, labels[None], colors, least=10, most=1000, start_label=1
    )
    assert np.array_equal(names[regions][0], np.where(image > 0.5, 2, 1))
    # As far from both, it joins the one with which it has more faces: three, not two.
    colors[0, labels.ravel() == 1] = 0.5
    labels[7:9, 7:9] = [[1, 1], [1, 2]]
    colors = np.where(labels == 1, 0.5, labels / 2).reshape(1, -1).astype(np.float32)
    regions, names = superpixels._connected(
        superpixels._SLIC, labels[None], colors, least=10, most=1000, start_label=1
    )
    faces = [int((ndi.binary_dilation(labels == k) & (labels == 1)).sum()) for k in (0, 2)]
    assert faces[0] != faces[1] or names[regions][0, 7, 7] in (1, 2)
    assert set(np.unique(names[regions])) == {1, 2}


def test_a_chain_of_small_regions_ends():
    image = np.indices((12, 12)).sum(0) % 2
    with gpuseg.using("cpu"):
        labels = slic(image, n_segments=4, compactness=1e-3, channel_axis=None)
    assert _sizes(labels).min() >= 18


# --- masks ------------------------------------------------------------------------------------


def test_superpixels_cover_the_mask_only(backend):
    image = _small(backend, skimage.data.coins()[40:140, 40:160].astype(float), (16, 18))
    y, x = np.indices(image.shape)
    h, w = image.shape
    mask = ((y - h / 2) / h) ** 2 + ((x - w / 2) / w) ** 2 < 0.16
    few = 4 if backend == "sim" else 40
    image[~mask] = np.nan
    options = {"n_segments": few, "mask": mask, "max_num_iter": 3, **GREY}
    labels = slic(image, **options)
    assert np.array_equal(labels > 0, mask)
    assert np.array_equal(slic(image, start_label=0, **options), labels - 1)
    assert 0.7 * few <= labels.max() <= 1.3 * few
    assert np.array_equal(labels, _on_the_cpu(image, **options))
    regions = skimage.measure.label(labels, connectivity=1)
    assert regions.max() == labels.max()
    assert np.isnan(image[~mask]).all()


def test_masks_agree_with_scikit_image():
    """Seeds differ, so only what superpixels are for is compared."""
    image, truth, _ = _coins()
    mask = ndi.binary_dilation(truth > 0, iterations=8)
    options = {"n_segments": 300, "mask": mask, **GREY}
    with gpuseg.using("cpu"):
        ours = slic(image, **options)
    theirs = skimage.segmentation.slic(image, **options)
    assert abs(ours.max() / theirs.max() - 1) < 0.1
    good, expected = (
        _quality(labels[:, :], np.where(mask, truth, -1), image) for labels in (ours, theirs)
    )
    assert (good >= 0.99 * expected).all()


@pytest.mark.parametrize("spacing", [None, (1, 2, 4)])
def test_masks_in_3d_and_far_apart(spacing):
    volume = _volume()
    mask = np.zeros(volume.shape, bool)
    mask[1:6, 2:9, 3:9] = mask[15, 20, 20] = mask[12:19, 20:29, 2:8] = True
    with gpuseg.using("cpu"):
        labels = slic(volume, n_segments=12, mask=mask, spacing=spacing, **GREY)
        one = slic(volume, n_segments=1, mask=mask, enforce_connectivity=False, **GREY)
        all_ = slic(volume, n_segments=10**6, mask=mask, enforce_connectivity=False, **GREY)
    assert np.array_equal(labels > 0, mask)
    assert 8 <= labels.max() <= 16
    assert np.array_equal(one > 0, mask)
    assert one.max() == 1
    assert np.array_equal(all_ > 0, mask)
    assert all_.max() == mask.sum()


# --- any image --------------------------------------------------------------------------------


@given(data=st.data())
def test_types_and_layouts(backend, data):
    kinds = ["?", "u1", "i1", "<u2", ">i4", "i8", "u8", "f2", ">f4", "<f8"]
    kind = data.draw(st.sampled_from(kinds))
    shape = (9, 10) if backend == "sim" else (31, 27)
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    image = (ndi.gaussian_filter(rng.random(shape), 1) * 500 - 240).astype("i2").clip(0, 63)
    image = (image > 31) if kind == "?" else image
    options = {"n_segments": 5, "max_num_iter": 2, **GREY}
    expected = slic(image.astype(np.float64), **options)
    view = image.astype(kind)
    view = data.draw(st.sampled_from([
        view, np.asfortranarray(view), np.repeat(view, 2, 1)[:, ::2], view[::-1].copy()[::-1],
    ]))  # fmt: skip
    before = view.copy()
    view.flags.writeable = False
    assert np.array_equal(slic(view, **options), expected)
    assert np.array_equal(view, before)


def test_channels_along_any_axis():
    image = skimage.data.astronaut()[100:150, 200:260]
    with gpuseg.using("cpu"):
        expected = slic(image, n_segments=20)
        for axis in (0, 1, 2, -3):
            there = np.moveaxis(image, -1, axis)
            assert np.array_equal(slic(there, n_segments=20, channel_axis=axis), expected)
        plain = slic(image, n_segments=20, convert2lab=False)
        deep = slic(image, n_segments=20, channel_axis=None)
    assert not np.array_equal(plain, expected)
    assert deep.shape == image.shape


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((1, 1)), np.zeros((1, 30)), np.zeros((1, 12, 9)), np.full((7, 8), 5),
        np.linspace(-1, 1, 72).reshape(8, 9) * 1.7e308, np.array([[0, 2**63]], np.uint64),
    ],
    ids=["a pixel", "a row", "a layer", "constant", "whole range of float64", "uint64"],
)  # fmt: skip
@pytest.mark.parametrize("n_segments", [1, 4, 10**9])
def test_images_at_the_limits(image, n_segments):
    with gpuseg.using("cpu"):
        for compactness in (1e-300, 0.1, 1e300):
            labels = slic(image, n_segments=n_segments, compactness=compactness, channel_axis=None)
            assert labels.min() == 1
            assert labels.shape == image.shape
    if n_segments == 1:
        assert labels.max() == 1


def test_scale_and_offset_do_not_matter():
    image = skimage.data.coins()[:80, :80].astype(np.float64)
    with gpuseg.using("cpu"):
        expected = slic(image, **GREY)
        assert np.array_equal(slic(image * 1024 - 4096, **GREY), expected)


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"n_segments": 0}, ValueError, "n_segments must be at least 1"),
        ({"n_segments": 3.5}, TypeError, "n_segments must be an integer"),
        ({"n_segments": float("nan")}, TypeError, "n_segments must be an integer"),
        ({"compactness": 0}, ValueError, "compactness must be greater than 0"),
        ({"compactness": float("nan")}, ValueError, "compactness must be finite"),
        ({"compactness": "a"}, TypeError, "compactness must be a number"),
        ({"max_num_iter": 0}, ValueError, "max_num_iter must be at least 1"),
        ({"sigma": -1}, ValueError, "sigma must be at least 0"),
        ({"sigma": (1, 2, 3)}, ValueError, "sigma must be a number or have one for each of 2"),
        ({"sigma": float("inf")}, ValueError, "sigma must be finite"),
        ({"spacing": 1}, TypeError, "spacing must be a sequence of numbers"),
        ({"spacing": (1, 1, 1)}, ValueError, "spacing must be a number or have one for each of 2"),
        ({"spacing": (1, 0)}, ValueError, "spacing must be greater than 0"),
        ({"channel_axis": 2}, ValueError, "channel_axis must be one of the 2 axes"),
        ({"channel_axis": -1}, ValueError, "2 or 3 axes beside its channels.*channel_axis=None"),
        ({"convert2lab": True}, ValueError, "convert2lab needs an RGB image"),
        ({"mask": np.zeros((8, 9), bool)}, ValueError, "mask selects no element"),
        ({"mask": np.ones((9, 8), bool)}, ValueError, "mask must have the shape of the image"),
        ({"start_label": 2}, ValueError, "start_label must be one of 0, 1"),
        ({"min_size_factor": -1}, ValueError, "min_size_factor must be at least 0"),
        ({"max_size_factor": 0}, ValueError, "max_size_factor must be greater than 0"),
        ({"image": np.full((8, 9), np.nan)}, ValueError, "image holds NaN or infinity"),
        ({"image": np.array([[0, np.inf]])}, ValueError, "image holds NaN or infinity"),
        ({"image": np.zeros((8, 9), complex)}, TypeError, "image must hold real numbers"),
        ({"image": np.zeros((0, 9))}, ValueError, "image is empty"),
        ({"image": np.zeros(5)}, ValueError, "2 or 3 axes"),
        ({"image": np.zeros((2, 2, 2, 2))}, ValueError, "2 or 3 axes"),
    ],
)
def test_bad_input(change, error, message):
    arguments = {"image": np.arange(72.0).reshape(8, 9), "channel_axis": None} | change
    with gpuseg.using("cpu"), pytest.raises(error, match=message):
        slic(**arguments)


def test_nan_within_the_mask():
    image = np.zeros((8, 9))
    image[4, 4] = np.nan
    with gpuseg.using("cpu"), pytest.raises(ValueError, match="infinity within the mask"):
        slic(image, channel_axis=None, mask=np.ones((8, 9), bool))


# --- memory -----------------------------------------------------------------------------------


def _peak(image, **options):
    with gpuseg.using("cpu"):
        slic(image, **options)
        tracemalloc.start()
        slic(image, **options)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return peak / np.prod(image.shape[:2])


def test_memory():
    rng = np.random.default_rng(0)
    image = ndi.gaussian_filter(rng.random((1600, 1700), dtype=np.float32), 3)
    mask = np.zeros(image.shape, bool)
    mask[100:600, 100:1200] = True
    options = {"n_segments": 3000, "compactness": 1, "channel_axis": None}
    # For each channel 4, and 4 for clusters, 4 for regions, a little for their runs.
    assert _peak(image, **options) < 14
    assert _peak(image, sigma=2, **options) < 24
    rgb = (np.stack([image] * 3, -1) * 255).astype(np.uint8)
    assert _peak(rgb, n_segments=3000, compactness=30) < 22
    within = _peak(image, mask=mask, **options) * image.size
    assert within < 14 * image.size + 80 * mask.sum()
