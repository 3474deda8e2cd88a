"""Features: scikit-image's and scikit-learn's numbers, and the same bits in a part of an image."""

import itertools
import json
import tracemalloc

import hypothesis.extra.numpy as hnp
import naive
import numpy as np
import pandas as pd
import pytest
import skimage.feature
import skimage.filters
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

import gpuseg
from gpuseg._contracts import Close
from gpuseg.features import (
    AddFilters,
    AddNeighborhood,
    AddPolynomial,
    AddPosition,
    FlattenImage,
    FlattenPixels,
    feature_names,
    feature_table,
    filter_bank,
    neighborhood,
    polynomial,
    position,
)
from gpuseg.features.bank import KINDS

MODES = ["reflect", "constant", "nearest", "mirror", "wrap"]
BASIC = ("gaussian", "sobel", "hessian_eigenvalues")
SHAPES = [(6, 7), (4, 3, 5)]


def close(ours, expected, rtol=1e-5):
    assert ours.shape == expected.shape
    assert ours.dtype == expected.dtype
    worst = np.abs(expected).max(tuple(range(expected.ndim - 1)))
    error = np.abs(ours - expected).max(tuple(range(expected.ndim - 1)))
    assert (error <= rtol * np.maximum(worst, worst.max() * 1e-2)).all(), (error / worst).max()


def by_scikit_image(image, sigmas, kinds, mode):
    """The bank written out in scikit-image's functions."""
    features, before = [], image
    for i, sigma in enumerate(sigmas):
        smooth = skimage.filters.gaussian(image, sigma, mode=mode, preserve_range=True)
        first = np.gradient(smooth)
        pairs = list(itertools.combinations_with_replacement(range(image.ndim), 2))
        tensor = skimage.feature.structure_tensor(image, sigma, mode=mode)
        of_kind = {
            "gaussian": lambda smooth=smooth: [smooth],
            "dog": lambda i=i, smooth=smooth, before=before: (
                [smooth - before] * (i > 0 or len(sigmas) == 1)
            ),
            "sobel": lambda smooth=smooth: [skimage.filters.sobel(smooth, mode=mode)],
            "laplace": lambda smooth=smooth: [-ndi.laplace(smooth, mode=mode)],
            "hessian_eigenvalues": lambda first=first, pairs=pairs: (
                skimage.feature.hessian_matrix_eigvals(
                    [np.gradient(first[a], axis=b) for a, b in pairs]
                )
            ),
            "structure_tensor_eigenvalues": lambda tensor=tensor: (
                skimage.feature.structure_tensor_eigenvalues(tensor)
            ),
        }
        for kind in kinds:
            features += list(of_kind[kind]())
        before = smooth
    return np.stack(features, axis=-1)


# --- the bank ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_bank_equals_multiscale_basic_features(backend, rng, shape):
    image = rng.random(shape, dtype=np.float32)
    expected = skimage.feature.multiscale_basic_features(image, sigma_min=0.5, sigma_max=1)
    close(filter_bank(image, (0.5, 1), BASIC), expected)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_bank_equals_scikit_image_in_every_mode(backend, rng, shape, mode):
    image = rng.standard_normal(shape)
    sigmas = (0.2, 0.4)
    ours = filter_bank(image, sigmas, mode=mode)
    close(ours, by_scikit_image(image, sigmas, KINDS, mode), rtol=1e-7)
    assert ours.shape[-1] == len(feature_names(sigmas, ndim=len(shape)))


@pytest.mark.parametrize("shape", [(70, 300), (21, 22, 530)], ids=str)
def test_the_bank_of_wide_images(rng, monkeypatch, shape):
    monkeypatch.setenv("GPUSEG_NUM_THREADS", "3")
    image = 100 * rng.random(shape, dtype=np.float32)
    with gpuseg.using("cpu"):
        close(filter_bank(image, (1, 3)), by_scikit_image(image, (1, 3), KINDS, "nearest"), 1e-4)


@given(data=st.data())
def test_any_kinds_in_any_order(data):
    kinds = data.draw(st.lists(st.sampled_from(KINDS), min_size=1, unique=True))
    sigmas = data.draw(st.lists(st.sampled_from([0.4, 1, 1.7]), min_size=1, unique=True))
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=3, min_side=2, max_side=9))
    image = np.random.default_rng(len(kinds)).standard_normal(shape)
    with gpuseg.using("cpu"):
        ours = filter_bank(image, sigmas, kinds)
    if not ours.size:
        assert kinds == ["dog"]
        return
    close(ours, by_scikit_image(image, sigmas, kinds, "nearest"), rtol=1e-7)


def test_a_single_sigma_differs_from_the_image(backend, rng):
    image = rng.random((5, 6))
    expected = skimage.filters.gaussian(image, 0.7) - image
    close(filter_bank(image, 0.7, "dog")[..., 0][..., None], expected[..., None], 1e-12)


def test_sigma_zero_leaves_the_image(backend, rng):
    image = rng.random((4, 5))
    np.testing.assert_array_equal(filter_bank(image, 0, "gaussian")[..., 0], image)


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1), (2, 2), (1, 3, 1), (2, 1, 5)], ids=str)
def test_images_smaller_than_the_filters(backend, rng, shape):
    """An axis of a single voxel has no derivative: the rest is as without it."""
    image = rng.standard_normal(shape)
    bank = filter_bank(image, 0.6, BASIC)
    smooth = skimage.filters.gaussian(image, 0.6)
    np.testing.assert_allclose(bank[..., 0], smooth, rtol=0, atol=1e-15)
    first = [np.gradient(smooth, axis=a) if n > 1 else 0 * smooth for a, n in enumerate(shape)]
    second = np.zeros((*shape, len(shape), len(shape)))
    for a, b in itertools.combinations_with_replacement(range(len(shape)), 2):
        if shape[b] > 1:
            second[..., a, b] = second[..., b, a] = np.gradient(first[a], axis=b)
    expected = np.linalg.eigvalsh(second)[..., ::-1]
    np.testing.assert_allclose(bank[..., 2:], expected, rtol=0, atol=3e-8 * np.abs(second).max())


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_channels_are_filtered_one_by_one(backend, rng, axis):
    image = rng.random((3, 4, 5))
    ours = filter_bank(image, 0.5, ("gaussian", "laplace"), channel_axis=axis)
    parts = [
        filter_bank(part, 0.5, ("gaussian", "laplace")) for part in np.moveaxis(image, axis, 0)
    ]
    np.testing.assert_array_equal(ours, np.concatenate(parts, axis=-1))


@pytest.mark.parametrize(
    "dtype", ["?", "u1", "i1", "u2", "i4", "i8", "f2", "f4", ">f4", ">u2", "f8"]
)
def test_values_are_kept_whatever_their_type(backend, rng, dtype):
    image = rng.integers(0, 2 if dtype == "?" else 100, (4, 3)).astype(dtype)
    wanted = np.float64 if dtype == "f8" else np.float32
    expected = filter_bank(image.astype(wanted), 0.3, BASIC)
    readonly = image.copy()
    readonly.setflags(write=False)
    strided = np.repeat(image[::-1], 2, axis=1)[::-1, ::2]
    forms = (image, np.asfortranarray(image), strided, readonly)
    for same in forms[2:3] if backend == "sim" else forms:
        given = same.copy()
        np.testing.assert_array_equal(filter_bank(same, 0.3, BASIC), expected, strict=True)
        np.testing.assert_array_equal(same, given)


def test_every_feature_is_a_plane_in_memory(backend, rng):
    for features in (filter_bank(rng.random((4, 5)), 0.3), neighborhood(rng.random((4, 5))),
                     AddFilters(0.3).transform(rng.random((1, 2, 3, 2)))[0]):  # fmt: skip
        assert np.moveaxis(features, -1, 0).flags.c_contiguous


def test_backends_agree(backend, rng):
    for shape in SHAPES if backend != "sim" else [(5, 6), (3, 4, 3)]:
        image = rng.random(shape, dtype=np.float32)
        with gpuseg.using("cpu"):
            expected = filter_bank(image, (0.3, 0.6))
        comparison = Close(rtol=1e-5).compare(filter_bank(image, (0.3, 0.6)), expected)
        assert comparison.passed, comparison


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": np.full((3, 3), np.nan)}, "image holds NaN"),
        ({"image": np.array([[1, np.inf]])}, "image holds NaN or infinity"),
        ({"image": np.ones(3)}, "image must have"),
        ({"image": np.ones((2, 2, 2, 2))}, "image must have"),
        ({"image": np.ones((3, 3)), "channel_axis": 0}, "beside its channels"),
        ({"image": np.ones((3, 3, 3)), "channel_axis": 3}, "channel_axis"),
        ({"sigmas": ()}, "sigmas must hold"),
        ({"sigmas": (1, -2)}, "sigmas must be at least 0"),
        ({"sigmas": (1, 1.0)}, "sigmas must differ"),
        ({"kinds": ()}, "kinds must hold"),
        ({"kinds": ("gaussian", "gauss")}, "kinds must be one of"),
        ({"kinds": ("gaussian", "gaussian")}, "kinds must differ"),
        ({"mode": "edge"}, "mode must be one of"),
    ],
)
def test_bad_input_to_the_bank(arguments, message):
    with pytest.raises(ValueError, match=message):
        filter_bank(**{"image": np.ones((3, 3)), **arguments})


def test_wrong_types_to_the_bank():
    for arguments in ({"image": np.ones((3, 3), complex)}, {"sigmas": ("2",)}, {"sigmas": True}):
        with pytest.raises(TypeError):
            filter_bank(**{"image": np.ones((3, 3)), **arguments})


@pytest.mark.parametrize(
    ("shape", "kinds", "most"),
    [((1000, 1200), KINDS, 4), ((90, 110, 120), KINDS, 9), ((1000, 1200), ("dog", "sobel"), 4)],
    ids=str,
)
def test_memory_beside_image_and_result(rng, monkeypatch, shape, kinds, most):
    monkeypatch.setenv("GPUSEG_NUM_THREADS", "1")
    image = rng.random(shape, dtype=np.float32)
    with gpuseg.using("cpu"):
        tracemalloc.start()
        result = filter_bank(image, (1, 2), kinds)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    numbers = (peak - result.nbytes) / image.nbytes
    assert most <= numbers < most + 4e6 / image.nbytes


@pytest.mark.parametrize("mode", ["nearest", "wrap"])
@pytest.mark.parametrize(("dtype", "level"), [("u2", 5e4), ("f4", 5e4), ("f4", 1e6), ("i4", 1e7)])
@pytest.mark.parametrize("shape", [(40, 36), (9, 8, 12)])
def test_small_changes_of_large_values(backend, rng, shape, dtype, level, mode):
    """Of raw values, every filter but the mean is as with the mean taken off first."""
    if backend == "sim":
        if (dtype, mode) != ("f4", "nearest"):
            return  # a minute each
        shape = (7, 6, 5)[: len(shape)]
    image = (level + rng.normal(0, 9, shape).round()).astype(dtype)
    exact = image.astype("f8") - level
    for kinds in (KINDS[1:], ("gaussian", "dog")):
        found = filter_bank(image, (1, 3), kinds, mode=mode)
        expected = filter_bank(exact, (1, 3), kinds, mode=mode)
        names = feature_names((1, 3), kinds, ndim=len(shape))
        for i, name in enumerate(names):
            if not name.startswith("gaussian"):
                away = np.abs(found[..., i] - expected[..., i]).max()
                assert away < 1e-5 * np.abs(expected[..., i]).max(), name


# --- eigenvalues ------------------------------------------------------------------------------


def nasty_matrices(rng, ndim):
    """Symmetric matrices whose eigenvalues are equal, nearly equal, zero, or far apart."""
    count = 200
    turn, _ = np.linalg.qr(rng.standard_normal((count, ndim, ndim)))
    free = rng.standard_normal((count, ndim, ndim))
    twice = np.repeat(rng.standard_normal((count, 1)), ndim, axis=1)
    nearly = twice + 10.0 ** rng.uniform(-17, -1, (count, ndim)) * (np.arange(ndim) > 0)
    twice[:, 0] = rng.standard_normal(count)
    of = [twice, nearly, np.ones((count, ndim)), rng.standard_normal((count, 1)) * np.eye(ndim)[0]]
    made = [turn * values[:, None] @ turn.swapaxes(1, 2) for values in of]
    made += [free, free * 10.0 ** rng.uniform(-15, 15, free.shape), np.eye(ndim) * free]
    made += [np.round(2 * free), 1e300 * free, 1e-300 * free, 1e-316 * free, 0 * free]
    stack = np.concatenate(made)
    return np.tril(stack) + np.tril(stack, -1).swapaxes(1, 2)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_eigenvalues_of_nasty_matrices(rng, ndim, dtype):
    from gpuseg.kernels.features import eigenvalues_cpu

    with np.errstate(over="ignore", under="ignore"):
        matrices = nasty_matrices(rng, ndim).astype(dtype)
    matrices = matrices[np.isfinite(matrices).all((1, 2))]
    diagonal = np.stack([matrices[:, a, a] for a in range(ndim)])
    pairs = itertools.combinations(range(ndim), 2)
    eigenvalues_cpu(diagonal, np.stack([matrices[:, a, b] for a, b in pairs]))
    expected = np.linalg.eigvalsh(matrices.astype(np.float64))[:, ::-1].T
    error = np.abs(diagonal - expected).max(0)
    scale = np.abs(expected).max(0)
    tiniest = np.finfo(dtype).smallest_subnormal
    assert (error <= 1e-7 * scale + 2 * tiniest).all()
    assert (np.diff(diagonal, axis=0) <= 0).all()


# --- a part of an image -----------------------------------------------------------------------


def part_and_whole(step, image, low, high):
    """The features of the same voxels: cut out with a halo, and in the whole image."""
    shape = image.shape[:-1]
    first = tuple(max(0, a - step.halo) for a in low)
    last = tuple(min(n, b + step.halo) for n, b in zip(shape, high))
    part = image[tuple(map(slice, first, last))]
    inside = tuple(slice(a - f, b - f) for a, b, f in zip(low, high, first))
    part = step._compute_inside(part, origin=first, shape=shape, inside=inside)
    whole = step._compute(image, origin=(0,) * len(shape), shape=shape)
    return part, whole[tuple(map(slice, low, high))]


STEPS = st.one_of(
    st.builds(
        AddFilters,
        sigmas=st.lists(st.sampled_from([0, 0.3, 0.7, 1, 1.5, 2, 3]), min_size=1, max_size=2,
                        unique=True),
        kinds=st.lists(st.sampled_from(KINDS), min_size=1, unique=True),
        mode=st.sampled_from(MODES[:-1]),
    ),
    st.builds(AddNeighborhood, radius=st.integers(0, 2), mode=st.sampled_from(MODES[:-1])),
    st.builds(AddPosition, polar=st.booleans(), scale=st.sampled_from([1, 0.3])),
    st.builds(AddPolynomial, degree=st.integers(1, 3)),
)  # fmt: skip


@settings(max_examples=120)
@given(step=STEPS, data=st.data(), dtype=st.sampled_from(["f4", "f8", "u2"]))
def test_a_part_with_its_halo_has_the_bits_of_the_whole(step, data, dtype):
    ndim = data.draw(st.sampled_from([2, 3]))
    sides = {"min_side": 1, "max_side": 70 if ndim == 2 else 30}
    shape = data.draw(hnp.array_shapes(min_dims=ndim, max_dims=ndim, **sides))
    low = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    high = tuple(data.draw(st.integers(a + 1, n)) for a, n in zip(low, shape))
    image = 1000 * np.random.default_rng(sum(shape)).random((*shape, 2))
    with gpuseg.using("cpu"):
        part, whole = part_and_whole(step, image.astype(dtype), low, high)
    np.testing.assert_array_equal(part, whole, strict=True)


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_part_has_the_bits_of_the_whole_on_every_backend(backend, rng, ndim):
    shape = (7, 9) if ndim == 2 else (3, 4, 8)
    image = rng.random((*shape, 1), dtype=np.float32)
    low, high = tuple(n // 3 for n in shape), tuple(n // 2 + 1 for n in shape)
    for step in (AddFilters((0.3,)), AddNeighborhood(), AddPosition(True), AddPolynomial()):
        part, whole = part_and_whole(step, image, low, high)
        np.testing.assert_array_equal(part, whole)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ndim", [2, 3])
def test_the_halo_is_no_larger_than_needed(ndim, kind):
    """A single voxel changes features as far away as the halo says, and no farther."""
    step = AddFilters(0.8, (kind,))
    size = 2 * step.halo + 5
    # A slope, so that squares of derivatives change with a small bump too.
    image = 100.0 * np.indices((size,) * ndim).sum(0)[..., None]
    bumped = image.copy()
    bumped[(size // 2,) * ndim] += 1e6
    with gpuseg.using("cpu"):
        changed = (step.transform(image[None]) != step.transform(bumped[None]))[0, ..., 1:].any(-1)
    reached = np.abs(np.argwhere(changed) - size // 2).max()
    assert reached == step.halo


# --- places, neighbours, products -------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4)], ids=str)
def test_position(backend, shape):
    scale = tuple(range(1, len(shape) + 1))
    expected = np.moveaxis(np.indices(shape), 0, -1) * np.array(scale)
    ours = position(np.zeros(shape, "u1"), scale=scale)
    np.testing.assert_array_equal(ours, expected.astype(np.float32), strict=True)
    channels = position(np.zeros((*shape, 7)), channel_axis=-1)
    np.testing.assert_array_equal(channels, position(np.zeros(shape)), strict=True)


def test_polar_position(backend):
    centre = np.array([2.0, 1.5])
    offset = np.moveaxis(np.indices((5, 4)), 0, -1) - centre
    expected = np.stack(
        [np.sqrt((offset**2).sum(-1)), np.arctan2(offset[..., 0], offset[..., 1])], axis=-1
    )
    np.testing.assert_allclose(position(np.zeros((5, 4)), polar=True), expected, atol=1e-15)
    radius, inclination, azimuth = np.moveaxis(
        position(np.zeros((3, 4, 5)), True, (2, 1, 1)), -1, 0
    )
    z, y, x = np.indices((3, 4, 5)) - np.array([1, 1.5, 2]).reshape(3, 1, 1, 1)
    np.testing.assert_allclose(radius * np.cos(inclination), 2 * z, atol=1e-14)
    np.testing.assert_allclose(radius * np.sin(inclination) * np.sin(azimuth), y, atol=1e-14)
    np.testing.assert_allclose(radius * np.sin(inclination) * np.cos(azimuth), x, atol=1e-14)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("shape", "radius"), [((4, 5), 1), ((2, 3), 4), ((3, 1, 2), 1), ((6,), 2)])
def test_neighborhood_is_scipys(backend, rng, shape, radius, mode):
    image = rng.random(shape)
    expected = naive.neighborhood(image, radius, mode, 7.5)
    np.testing.assert_array_equal(neighborhood(image, radius, mode, cval=7.5), expected)


def test_neighborhood_of_channels(backend, rng):
    image = rng.random((3, 4, 5)).astype(np.float32)
    ours = neighborhood(image, channel_axis=0).reshape(4, 5, 9, 3)
    for channel in range(3):
        np.testing.assert_array_equal(ours[..., channel], neighborhood(image[channel]), strict=True)


def test_coefficients_on_neighbours_are_a_kernel(backend, rng):
    image, kernel = rng.random((6, 7)), rng.random((3, 3))
    expected = ndi.correlate(image, kernel, mode="reflect")
    np.testing.assert_allclose(neighborhood(image) @ kernel.ravel(), expected)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("interaction_only", [True, False])
@pytest.mark.parametrize("degree", [1, 2, 4, (2, 3), (0, 1)], ids=str)
def test_polynomial_is_scikit_learns(backend, rng, degree, interaction_only, bias):
    options = {"interaction_only": interaction_only, "include_bias": bias}
    features = rng.standard_normal((3, 2, 4))
    expected = PolynomialFeatures(degree, **options).fit_transform(features.reshape(-1, 4))
    ours = polynomial(features, degree, **options)
    assert ours.shape == (3, 2, expected.shape[1])
    np.testing.assert_allclose(ours.reshape(6, -1), expected, rtol=1e-14)
    assert polynomial(features.astype("f4"), degree, **options).dtype == np.float32


@pytest.mark.parametrize(
    ("call", "most"),
    [
        (lambda image: position(image), 0),
        (lambda image: position(image, polar=True), 56),
        (lambda image: neighborhood(image), 4),
        (lambda image: polynomial(image, 2), 0),
    ],
    ids=["position", "polar", "neighborhood", "polynomial"],
)
def test_bytes_beside_image_and_result(rng, call, most):
    image = rng.random((60, 70, 5), dtype=np.float32)
    with gpuseg.using("cpu"):
        call(image)
        tracemalloc.start()
        result = call(image)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    # A border of one widens this image by half.
    assert peak - result.nbytes < (1.5 * most + 2) * image.size


def test_feature_table(backend, rng):
    image = rng.random((2, 3))
    features = filter_bank(image, 0.5, BASIC)
    names = feature_names(0.5, BASIC)
    table = feature_table(image, features, names=names)
    assert isinstance(table, pd.DataFrame)
    assert list(table) == ["x", "y", "intensity", *names]
    for _, row in table.iterrows():
        place = int(row["y"]), int(row["x"])
        assert row["intensity"] == image[place]
        np.testing.assert_array_equal(row[names], features[place])
    colours = feature_table(rng.random((2, 3, 4, 2)), rng.random((2, 3, 4, 1)), channel_axis=-1)
    assert list(colours) == ["x", "y", "z", "intensity 0", "intensity 1", "feature 0"]
    assert colours.iloc[-1][["x", "y", "z"]].tolist() == [3, 2, 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: position(np.ones(3), polar=True), "polar"),
        (lambda: position(np.ones((3, 3)), scale=(1, 2, 3)), "scale"),
        (lambda: position(np.ones((3, 3)), scale=np.inf), "scale"),
        (lambda: neighborhood(np.ones((3, 3)), -1), "radius"),
        (lambda: neighborhood(np.ones((3, 3)), mode="edge"), "mode"),
        (lambda: neighborhood(np.full((3, 3), np.nan)), "image holds NaN"),
        (lambda: neighborhood(np.ones((3, 0))), "image is empty"),
        (lambda: polynomial(np.full((3, 3), np.inf)), "features holds NaN"),
        (lambda: polynomial(np.ones((3, 3)), -1), "degree"),
        (lambda: polynomial(np.ones((3, 3)), (3, 2)), "degree"),
        (lambda: polynomial(np.ones((3, 2)), 0, include_bias=False), "degree leaves no product"),
        (lambda: feature_table(np.ones((3, 3)), np.ones((3, 4, 2))), "features must have"),
        (lambda: feature_table(np.ones((3, 3)), np.ones((3, 3, 2)), names=["a"]), "names must"),
        (lambda: feature_table(np.ones((3, 3)), np.ones((3, 3, 1)), names=["x"]), "names must"),
        (lambda: feature_table(np.ones((3, 3)), names=["a"]), "features is None"),
        (lambda: feature_names(ndim=4), "ndim"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- transformers -----------------------------------------------------------------------------

ADDS = [
    AddPosition(),
    AddPosition(polar=True, scale=0.5),
    AddFilters((0.2, 0.3)),
    AddFilters(0.3, "dog", "reflect"),
    AddNeighborhood(1, "constant", 2.0),
    AddPolynomial(3, interaction_only=True, include_bias=True),
]


@pytest.mark.parametrize("step", ADDS, ids=str)
@pytest.mark.parametrize("shape", [(2, 3, 4, 2), (1, 3, 2, 4, 1)], ids=str)
def test_transformers(backend, rng, step, shape):
    images = rng.random(shape)
    ours = clone(step).fit_transform(images)
    assert ours.shape[:-1] == shape[:-1]
    names = clone(step).fit(images).get_feature_names_out()
    assert len(names) == len(set(names)) == ours.shape[-1]
    assert step._names([f"c{i}" for i in range(shape[-1])], ndim=len(shape) - 2)
    again = type(step)(**json.loads(json.dumps(step.get_params())))
    image, place = images[0], {"origin": (0,) * (len(shape) - 2), "shape": shape[1:-1]}
    np.testing.assert_array_equal(again._compute(image, **place), ours[0], strict=True)
    if not isinstance(step, AddNeighborhood) and not getattr(step, "include_bias", False):
        np.testing.assert_array_equal(ours[..., : shape[-1]], images)


def test_transformers_give_what_the_functions_give(backend, rng):
    images = rng.random((1, 4, 5, 2), dtype=np.float32)
    image, last = images[0], {"channel_axis": -1}
    np.testing.assert_array_equal(
        AddFilters(0.3, BASIC).transform(images)[0, ..., 2:], filter_bank(image, 0.3, BASIC, **last)
    )
    np.testing.assert_array_equal(
        AddPosition(scale=3).transform(images)[0, ..., 2:], position(image, scale=3, **last)
    )
    np.testing.assert_array_equal(
        AddNeighborhood(mode="wrap").transform(images)[0], neighborhood(image, 1, "wrap", **last)
    )
    np.testing.assert_array_equal(
        AddPolynomial(2).transform(images)[0], polynomial(image, 2, include_bias=False)
    )


def test_names_of_channels():
    step = AddFilters(2, ("gaussian", "hessian_eigenvalues"))
    eigenvalues = [f"hessian_eigenvalues 2 ({k})" for k in range(3)]
    assert step._names(["a"], ndim=3) == ["a", "gaussian 2", *eigenvalues]
    assert step._names(["a", "b"], ndim=2)[2] == "a gaussian 2"
    assert AddNeighborhood()._names(["a", "b"], ndim=2)[:3] == [
        "a (-1, -1)",
        "b (-1, -1)",
        "a (-1, 0)",
    ]
    assert AddPosition(polar=True)._names(["a"], ndim=2) == ["a", "radius", "angle"]
    assert AddPolynomial(include_bias=True)._names(["a"]) == ["1", "a", "a^2"]
    with pytest.raises(ValueError, match="not known before the first fit"):
        step._names(["a"])


def test_pipeline(rng):
    images = rng.random((2, 5, 6, 1))
    pipe = Pipeline(
        [
            ("filters", AddFilters(0.5, ("gaussian", "sobel"))),
            ("position", AddPosition()),
            ("pixels", FlattenPixels()),
            ("scale", StandardScaler()),
        ]
    )
    table = pipe.fit_transform(images)
    names = ["intensity", "gaussian 0.5", "sobel 0.5", "y", "x"]
    assert pipe.get_feature_names_out().tolist() == names
    place = np.array([(y, x) for _ in range(2) for y in range(5) for x in range(6)])
    np.testing.assert_allclose(table[:, 3:], StandardScaler().fit_transform(place))
    frame = clone(pipe).set_output(transform="pandas").fit_transform(images)
    np.testing.assert_array_equal(frame, table)


def test_flatten(rng):
    images = rng.random((4, 3, 2))
    step = FlattenImage().fit(images)
    np.testing.assert_array_equal(step.transform(images), images.reshape(4, 6))
    assert step.get_feature_names_out().tolist()[:3] == ["(0, 0)", "(0, 1)", "(1, 0)"]
    pixels = FlattenPixels().fit_transform(images[None])
    np.testing.assert_array_equal(pixels, images.reshape(12, 2))
    features = AddFilters(1).transform(images[None])
    assert np.shares_memory(FlattenPixels().transform(features), features)


def test_bad_stacks():
    for step in (FlattenPixels(), AddFilters(), AddPosition()):
        with pytest.raises(ValueError, match="X must be a stack of images"):
            step.fit_transform(np.ones((3, 3)))
        with pytest.raises(ValueError, match="X holds NaN"):
            step.fit_transform(np.full((1, 3, 3, 1), np.nan))
    with pytest.raises(ValueError, match="sigmas"):
        AddFilters(-1).transform(np.ones((1, 3, 3, 1)))
    for step in (AddFilters(mode="wrap"), AddNeighborhood(mode="wrap")):
        with pytest.raises(ValueError, match="other side of the image"):
            step.halo  # noqa: B018
    with pytest.raises(ValueError, match="input_features"):
        FlattenPixels().fit(np.ones((1, 3, 3, 1))).get_feature_names_out(["a", "b"])
