"""The CUDA neighbours in the simulator, against comparing every query with every reference."""

import numpy as np
import pytest

from gpuseg._cuda.estimators.neighbors import nearest_neighbors
from gpuseg.kernels import neighbors as kernel

pytestmark = pytest.mark.sim


@pytest.mark.parametrize("metric", ["euclidean", "manhattan"])
@pytest.mark.parametrize("k", [1, 2, 8, 9, 32])
@pytest.mark.parametrize("features", [1, 8, 9])
def test_every_room_and_number_of_features(rng, features, k, metric):
    # More queries than a block has threads, and not a whole number of blocks.
    X = rng.integers(-2, 3, (kernel.BLOCK + 3, features)).astype(float)
    references = rng.integers(-2, 3, (k + 5, features)) + 0.1 * (features > 1)
    difference = X[:, None] - references
    terms = abs(difference) if metric == "manhattan" else difference * difference
    total = np.zeros(terms.shape[:2])
    for q in range(features):
        total += terms[:, :, q]
    order = np.argsort(total, axis=1, kind="stable")[:, :k]
    distances, indices = nearest_neighbors(X, references, k, metric)
    np.testing.assert_array_equal(indices, order)
    expected = np.take_along_axis(total, order, axis=1)
    np.testing.assert_array_equal(distances, expected if metric == "manhattan" else expected**0.5)


def test_the_tree_gives_what_the_device_gives(rng):
    X, references = rng.standard_normal((20, 3)), rng.standard_normal((150, 3)).round(1)
    device = nearest_neighbors(X, references, 6, "euclidean")
    for leaf in (1, 7, 200):
        distances, indices = np.empty((20, 6)), np.empty((20, 6), np.int64)
        kernel.neighbors_cpu(
            X, kernel.tree_cpu(references, leaf), manhattan=False, distances=distances,
            indices=indices,
        )  # fmt: skip
        np.testing.assert_array_equal(indices, device[1])
        np.testing.assert_array_equal(np.sqrt(distances), device[0])
