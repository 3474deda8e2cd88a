"""The sizes of labels in the simulator."""

import numpy as np
import pytest

from gpuseg.kernels.sizes import add_up_sizes_cuda

pytestmark = pytest.mark.sim


@pytest.mark.parametrize("size", [1, 31, 32, 100])
@pytest.mark.parametrize("longest", [1, 5, 70])
def test_the_sizes_of_labels(rng, size, longest):
    lengths = rng.integers(1, longest + 1, size)
    labels = np.repeat(rng.integers(0, 4, size), lengths)[:size].astype(np.int32)
    sizes = np.zeros(4, np.uint64)
    add_up_sizes_cuda(labels, sizes)
    assert np.array_equal(sizes[1:], np.bincount(labels, minlength=4)[1:])
    assert sizes[0] == 0
