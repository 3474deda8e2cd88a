"""Sums over classes in the simulator: those of the array code, to the last bit."""

import numpy as np
import pytest

from gpuseg._cpu.segmentation.markov import class_sums as expected
from gpuseg._cuda.segmentation.markov import _class_sums as class_sums
from gpuseg.kernels.markov import OUTSIDE

pytestmark = pytest.mark.sim


@pytest.mark.parametrize("classes", [3, 255])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 3e5])
def test_sums_over_classes(rng, classes, scale):
    values = (rng.standard_normal((2, 700)) * scale).astype(np.float32)
    labels = rng.integers(0, classes, 700).astype(np.uint8)
    labels[rng.random(700) < 0.1] = OUTSIDE
    for means in (None, rng.standard_normal((classes, 2)) * scale):
        found = class_sums(values, labels, classes, means)
        for ours, theirs in zip(found, expected(values, labels, classes, means)):
            assert np.array_equal(ours, theirs)
            assert ours.dtype == theirs.dtype
