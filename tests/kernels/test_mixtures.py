"""The sums and chances of mixtures in the simulator, beside the array code."""

import numpy as np
import pytest

from gpuseg._cpu.segmentation import clustering as cpu
from gpuseg._cuda.segmentation import clustering as cuda

pytestmark = pytest.mark.sim


def _mixture(rng, classes, features, *, diagonal):
    weights = rng.random(classes) + 0.5
    spread = rng.random((classes, features)) + 0.5
    if not diagonal:
        root = rng.standard_normal((classes, features, features))
        spread = root @ root.swapaxes(1, 2) + np.eye(features)
    means = rng.standard_normal((classes, features))
    return cpu.Mixture(weights / weights.sum(), means, spread)


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize(("classes", "features", "pixels"), [(3, 1, 1), (2, 3, 213)])
def test_the_sums_of_a_mixture(rng, classes, features, pixels, diagonal):
    table = rng.standard_normal((features, pixels)).astype(np.float32)
    mixture = _mixture(rng, classes, features, diagonal=diagonal)
    found = cuda.CUDA.moments(table, mixture), cuda.CUDA.classified(table, mixture, True)
    expected = cpu.moments(table, mixture), cpu.classified(table, mixture, True)
    labels = expected[1][0]
    found += (cuda.CUDA.moments_of_labels(table, labels, classes, diagonal),)
    expected += (cpu.moments_of_labels(table, labels, classes, diagonal),)
    for ours, theirs in zip(found, expected):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)
    assert np.array_equal(found[1][0], labels)
