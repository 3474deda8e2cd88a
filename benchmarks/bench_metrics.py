"""Scores of whole volumes beside scikit-learn's and scikit-image's."""

import numpy as np
import pytest
import skimage.metrics
import sklearn.metrics
from common import measure, noise

from gpuseg import metrics


def _pair(classes, size=256):
    """Classes of smooth noise, and what a noisier image gives."""
    image = noise((size,) * 3, 3.0)
    edges = np.quantile(image.ravel()[::97], np.linspace(0, 1, classes + 1)[1:-1])
    other = image + np.float32(0.3) * noise((size,) * 3)
    return tuple(np.digitize(a, edges).astype(np.uint8) for a in (image, other))


@pytest.mark.parametrize("who", ["gpuseg", "scikit-learn"])
def bench_dice(benchmark, who):
    true, found = (a > 0 for a in _pair(2, 512))
    calls = {
        "gpuseg": lambda: metrics.dice(true, found),
        "scikit-learn": lambda: sklearn.metrics.f1_score(true.ravel(), found.ravel()),
    }
    result = measure(benchmark, who, calls[who], case="dice 512^3 bool", voxels=true.size)
    assert abs(result - calls["gpuseg"]()) < 1e-9


@pytest.mark.parametrize("who", ["gpuseg", "scikit-learn"])
@pytest.mark.parametrize(("classes", "size"), [(2, 256), (8, 512)])
def bench_confusion_matrix(benchmark, who, classes, size):
    true, found = _pair(classes, size)
    calls = {
        "gpuseg": lambda: metrics.confusion_matrix(true, found),
        "scikit-learn": lambda: sklearn.metrics.confusion_matrix(true.ravel(), found.ravel()),
    }
    case = f"confusion_matrix {size}^3 uint8, {classes} classes"
    result = measure(benchmark, who, calls[who], case=case, voxels=true.size)
    assert np.array_equal(result, calls["gpuseg"]())


@pytest.mark.parametrize("who", ["gpuseg", "scikit-learn"])
def bench_roc_auc_score(benchmark, who):
    true, score = _pair(2)[0] > 0, (noise((256,) * 3, 3.0) * 30 + 128).clip(0, 255).astype(np.uint8)
    calls = {
        "gpuseg": lambda: metrics.roc_auc_score(true, score),
        "scikit-learn": lambda: sklearn.metrics.roc_auc_score(true.ravel(), score.ravel()),
    }
    result = measure(benchmark, who, calls[who], case="roc_auc_score 256^3 uint8", voxels=true.size)
    assert abs(result - calls["gpuseg"]()) < 1e-9


@pytest.mark.parametrize("who", ["gpuseg", "scikit-image"])
def bench_adapted_rand_error(benchmark, who):
    true, found = (a.astype(np.int64) + 1 for a in _pair(8))
    functions = {
        "gpuseg": metrics.adapted_rand_error,
        "scikit-image": skimage.metrics.adapted_rand_error,
    }
    case = "adapted_rand_error 256^3 int64, 8 regions"
    result = measure(
        benchmark, who, lambda: functions[who](true, found), case=case, voxels=true.size
    )
    assert np.allclose(result, functions["gpuseg"](true, found))
