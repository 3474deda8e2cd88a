"""Pixel classification from end to end beside scikit-image's features and scikit-learn's forest."""

import functools

import numpy as np
import pytest
import sklearn.ensemble
from bench_features import whole_set
from common import measure, noise

from gpuseg.estimators import RandomForestClassifier
from gpuseg.features import AddFilters
from gpuseg.pixels import PixelClassifier

SHAPES = {"1024^2": (1024, 1024), "128^3": (128, 128, 128)}
FOREST = {"n_estimators": 100, "max_depth": 12, "n_jobs": 2, "random_state": 0}


@functools.cache
def _problem(shape, labelled=0.01):
    """Two classes that smooth noise divides, seen through noise; and a model of each library."""
    hidden = noise(SHAPES[shape], 6.0)
    image = hidden + noise(SHAPES[shape], seed=1)
    labels = np.where(np.random.default_rng(0).random(image.shape) < labelled, 1 + (hidden > 0), 0)
    ours = PixelClassifier(AddFilters(), RandomForestClassifier(**FOREST)).fit(image, labels)
    features = _features(image)
    at = labels > 0
    forest = sklearn.ensemble.RandomForestClassifier(**FOREST).fit(features[at], labels[at])
    return image, ours, forest


def _features(image):
    return np.concatenate([image[..., None], whole_set(image)], axis=-1)


def _theirs(image, forest):
    rows = _features(image).reshape(image.size, -1)
    return forest.predict(rows).reshape(image.shape)


@pytest.mark.parametrize("who", ["gpuseg", "scikit-image + scikit-learn"])
@pytest.mark.parametrize(("shape", "labelled"), [("1024^2", 1), ("1024^2", 10), ("128^3", 1)])
def bench_predict(benchmark, who, shape, labelled):
    """The more pixels it learned from, the fuller are the trees."""
    image, ours, forest = _problem(shape, labelled / 100)
    calls = {
        "gpuseg": lambda: ours.predict(image),
        "scikit-image + scikit-learn": lambda: _theirs(image, forest),
    }
    case = f"PixelClassifier.predict {shape} float32, {labelled} % labelled, 100 trees of depth 12"
    result = measure(benchmark, who, calls[who], case=case, voxels=image.size)
    assert (result == calls["gpuseg"]()).mean() > 0.99
