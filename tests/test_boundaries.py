"""Boundaries, contours and surfaces: scikit-image's, and the lengths and areas of known shapes."""

import numpy as np
import pytest
import skimage.data
import skimage.measure
import skimage.segmentation
from hypothesis import given
from hypothesis import strategies as st

import gpuseg
from gpuseg.measure import find_contours, marching_cubes
from gpuseg.segmentation import find_boundaries, mark_boundaries


@given(data=st.data())
def test_boundaries_are_those_of_scikit_image(backend, data):
    shape = data.draw(st.sampled_from([(9,), (6, 8), (3, 4, 5)]))
    kind = data.draw(st.sampled_from(["?", "u1", "<i4", ">i8"]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    labels = rng.integers(0, 2 if kind == "?" else 4, shape)
    options = {
        "mode": data.draw(st.sampled_from(["thick", "inner", "outer"])),
        "connectivity": data.draw(st.integers(1, len(shape))),
        "background": data.draw(st.sampled_from([0, 1])),
    }
    # Of int64 it takes the greatest number for a float64, which has none, in mode "outer".
    expected = skimage.segmentation.find_boundaries(labels.astype(np.int32), **options)
    assert np.array_equal(
        find_boundaries(np.asfortranarray(labels.astype(kind)), **options), expected
    )


@pytest.mark.parametrize("offset", [0, 2**40, -(2**40)])
@pytest.mark.parametrize("mode", ["thick", "inner", "outer"])
def test_labels_of_any_width_have_the_same_boundaries(backend, mode, offset):
    labels = (np.indices((20, 30)) // 8).sum(0)
    for background in (0, 2, -7):
        options = {"mode": mode, "background": background}
        expected = skimage.segmentation.find_boundaries(labels.astype(np.int32), **options)
        options["background"] += offset
        assert np.array_equal(find_boundaries(labels + offset, **options), expected)


def test_scikit_image_takes_wide_labels_for_others():
    labels = (np.indices((20, 30)) // 8).sum(0)
    narrow, wide = (
        skimage.segmentation.find_boundaries(labels.astype(kind), mode="outer") for kind in "il"
    )
    assert narrow.sum() < wide.sum()


def test_boundaries_between_pixels(backend):
    labels = np.array([[1, 1, 2]])
    assert find_boundaries(labels, mode="subpixel").astype(int).tolist() == [[0, 0, 0, 1, 0]]


@pytest.mark.parametrize("kind", ["u1", ">u2", "f4", "f8"])
@pytest.mark.parametrize("mode", ["thick", "inner", "outer", "subpixel"])
def test_marked_boundaries_are_those_of_scikit_image(backend, kind, mode):
    image = skimage.data.coins()[:20, :30].astype(kind)
    labels = (np.indices(image.shape) // 8).sum(0).astype(np.int32)
    options = {"color": (1, 0, 0), "outline_color": (0, 0, 1), "mode": mode}
    expected = skimage.segmentation.mark_boundaries(image, labels, **options)
    result = mark_boundaries(image, labels, **options)
    assert result.dtype == expected.dtype
    np.testing.assert_allclose(result, expected, rtol=1e-6)
    colors = np.stack([image] * 3, -1)
    np.testing.assert_allclose(mark_boundaries(colors, labels, **options), expected, rtol=1e-6)


def test_the_contour_of_a_disk_is_a_circle(backend):
    y, x = np.mgrid[-30:31, -30:31]
    (line,) = find_contours(np.hypot(y, x), 20)
    np.testing.assert_allclose(np.hypot(*(line - 30).T), 20, atol=0.02)
    assert np.array_equal(line[0], line[-1])
    length = np.linalg.norm(np.diff(line, axis=0), axis=1).sum()
    assert length == pytest.approx(2 * np.pi * 20, rel=2e-3)


@pytest.mark.parametrize("kind", ["?", "u1", ">i2", "f4"])
def test_contours_are_those_of_scikit_image(backend, kind):
    image = skimage.data.coins()[::8, ::8]
    image = image > 120 if kind == "?" else (image // 2).astype(kind)
    mask = np.ones(image.shape, bool)
    mask[:, 5] = False
    expected = skimage.measure.find_contours(
        image.astype(float), 0.5 if kind == "?" else 60, mask=mask
    )
    for order in ("C", "F"):
        lines = find_contours(np.array(image, order=order), 0.5 if kind == "?" else 60, mask=mask)
        assert len(lines) == len(expected) > 3
        assert all(map(np.array_equal, lines, expected))


def test_the_surface_of_a_ball_has_its_area_and_volume(backend):
    z, y, x = np.mgrid[-15:16, -15:16, -15:16]
    distance = np.sqrt(z**2 + y**2 + x**2, dtype=np.float32)
    verts, faces, normals, _ = marching_cubes(
        distance, 10, spacing=(2, 2, 2), gradient_direction="ascent"
    )
    area = skimage.measure.mesh_surface_area(verts, faces)
    assert area == pytest.approx(4 * np.pi * 20**2, rel=5e-3)
    corners = verts[faces].astype(np.float64) - 30
    volume = np.linalg.det(corners).sum() / 6
    assert abs(volume) == pytest.approx(4 / 3 * np.pi * 20**3, rel=1e-2)
    outwards = (normals * (verts - 30)).sum(1)
    assert (outwards > 0).all() or (outwards < 0).all()


@pytest.mark.parametrize("kind", ["?", "u1", ">u2", "f8"])
def test_surfaces_are_those_of_scikit_image(backend, rng, kind):
    volume = rng.integers(0, 2 if kind == "?" else 50, (6, 7, 8)).astype(kind)
    level = 0.5 if kind == "?" else 24.5  # at values that are the level it leaves holes
    expected = skimage.measure.marching_cubes(volume.astype(volume.dtype.newbyteorder("=")), level)
    for ours, theirs in zip(marching_cubes(np.asfortranarray(volume), level), expected):
        assert np.array_equal(ours, theirs)


SQUARE, CUBE = np.eye(4), np.arange(27.0).reshape(3, 3, 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: find_boundaries(SQUARE), TypeError, "label_img must hold integers or bool"),
        (lambda: find_boundaries(SQUARE > 0, 3), ValueError, "connectivity must be at most 2"),
        (lambda: find_boundaries(SQUARE > 0, mode="wide"), ValueError, "mode must be one of"),
        (lambda: mark_boundaries(SQUARE, SQUARE > 0, (1, 2)), ValueError, "color must be three"),
        (lambda: mark_boundaries(SQUARE, CUBE > 3), ValueError, "label_img must have the shape"),
        (lambda: mark_boundaries(CUBE[:, :, :2], SQUARE > 0), ValueError, r"shape \(M, N\) or"),
        (lambda: find_contours(CUBE), ValueError, "image must have 2 axes"),
        (lambda: find_contours(SQUARE[:1]), ValueError, "image must be at least 2 x 2"),
        (lambda: find_contours(SQUARE, np.nan), ValueError, "level must be finite"),
        (lambda: find_contours(SQUARE, 0.5, "both"), ValueError, "fully_connected must be one of"),
        (lambda: find_contours(SQUARE, mask=SQUARE > 3), ValueError, "mask selects no element"),
        (lambda: marching_cubes(SQUARE), ValueError, "volume must have 3 axes"),
        (lambda: marching_cubes(CUBE, 99), ValueError, "level must be at most 26"),
        (lambda: marching_cubes(CUBE, spacing=0), ValueError, "spacing must be greater than 0"),
        (lambda: marching_cubes(CUBE, step_size=0), ValueError, "step_size must be at least 1"),
        (lambda: marching_cubes(CUBE, method="new"), ValueError, "method must be one of"),
    ],
)
def test_bad_input(call, error, message):
    with gpuseg.using("cpu"), pytest.raises(error, match=message):
        call()
