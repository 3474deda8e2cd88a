"""The bank of filters beside scikit-image's functions, each with two threads where it has any."""

import itertools

import numpy as np
import pytest
import skimage.feature
import skimage.filters
from common import measure, noise
from sklearn.preprocessing import PolynomialFeatures

from gpuseg.features import filter_bank, neighborhood, polynomial

SHAPES = {"1024^2": (1024, 1024), "128^3": (128, 128, 128)}
WHO = ["gpuseg", "scikit-image"]
SIGMAS = (2, 5, 8)
# Those that multiscale_basic_features makes of a range from 2 to 8.
POWERS = (2, 4, 8)
BASIC = ("gaussian", "sobel", "hessian_eigenvalues")


def basic_features(image):
    return skimage.feature.multiscale_basic_features(image, sigma_min=2, sigma_max=8, workers=2)


def whole_set(image):
    """The default set of the bank, written out."""
    features, before = [], None
    for sigma in SIGMAS:
        smooth = skimage.filters.gaussian(image, sigma)
        first = np.gradient(smooth)
        pairs = itertools.combinations_with_replacement(range(image.ndim), 2)
        second = [np.gradient(first[a], axis=b) for a, b in pairs]
        tensor = skimage.feature.structure_tensor(image, sigma, mode="nearest")
        features += [
            smooth,
            *([] if before is None else [smooth - before]),
            skimage.filters.sobel(smooth),
            skimage.filters.laplace(smooth),
            *skimage.feature.hessian_matrix_eigvals(second),
            *skimage.feature.structure_tensor_eigenvalues(tensor),
        ]
        before = smooth
    return np.stack(features, axis=-1)


def assert_close(ours, theirs):
    """To the precision that float32 leaves to second derivatives of a wide blur."""
    for k in range(theirs.shape[-1]):
        peer = theirs[..., k]
        assert np.abs(ours[..., k] - peer).max() < 1e-4 * np.abs(peer).max()


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("shape", SHAPES)
def bench_basic_features(benchmark, who, shape):
    image = noise(SHAPES[shape])
    calls = {"gpuseg": lambda: filter_bank(image, POWERS, BASIC),
             "scikit-image": lambda: basic_features(image)}  # fmt: skip
    case = f"filter_bank as multiscale_basic_features, sigmas 2, 4, 8, float32 {shape}"
    result = measure(benchmark, who, calls[who], case=case, voxels=image.size)
    if who != "gpuseg":
        assert_close(calls["gpuseg"](), result)


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("shape", SHAPES)
def bench_whole_set(benchmark, who, shape):
    image = noise(SHAPES[shape])
    calls = {"gpuseg": lambda: filter_bank(image), "scikit-image": lambda: whole_set(image)}
    case = f"filter_bank, default set, float32 {shape}"
    result = measure(benchmark, who, calls[who], case=case, voxels=image.size)
    if who != "gpuseg":
        assert_close(calls["gpuseg"](), result)


@pytest.mark.parametrize("who", ["gpuseg", "NumPy"])
def bench_neighborhood(benchmark, who):
    image = noise(SHAPES["1024^2"])

    def windows():
        view = np.lib.stride_tricks.sliding_window_view(np.pad(image, 1, mode="symmetric"), (3, 3))
        return view.reshape(*image.shape, 9)

    calls = {"gpuseg": lambda: neighborhood(image), "NumPy": windows}
    result = measure(
        benchmark, who, calls[who], case="neighborhood 3x3 float32 1024^2", voxels=image.size
    )
    np.testing.assert_array_equal(result, calls["gpuseg"]())


@pytest.mark.parametrize("who", ["gpuseg", "scikit-learn"])
def bench_polynomial(benchmark, who):
    features = np.stack([noise((512 * 512,), seed=k) for k in range(8)], axis=-1)
    peer = PolynomialFeatures(2)
    calls = {"gpuseg": lambda: polynomial(features),
             "scikit-learn": lambda: peer.fit_transform(features)}  # fmt: skip
    result = measure(
        benchmark, who, calls[who], case="polynomial degree 2 of 8, 512^2", voxels=len(features)
    )
    np.testing.assert_allclose(result, calls["gpuseg"](), rtol=1e-6)
