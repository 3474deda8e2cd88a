"""Counts of the overlap of two masks in the simulator."""

import numpy as np
import pytest

from gpuseg._cpu.metrics.overlap import counts as expected
from gpuseg._cuda.metrics.overlap import counts

pytestmark = pytest.mark.sim


@pytest.mark.parametrize("shape", [(1,), (7,), (8, 3), (3, 5, 131)])
@pytest.mark.parametrize("dtype", ["bool", "float32", "uint8"])
def test_the_overlap_of_masks(rng, shape, dtype):
    true, found = (rng.random((2, *shape)) < 0.4).astype(dtype)
    assert counts(true, found) == expected(true, found)


def test_masks_of_bytes_that_are_not_one_and_that_begin_anywhere(rng):
    room = rng.integers(0, 3, (2, 1000), np.uint8) * np.uint8(127)
    for start in range(3):
        true, found = room[:, start:].view(bool)
        both = [(room[i, start:] != 0) for i in range(2)]
        assert counts(true, found) == expected(*both)


def test_masks_that_lie_apart_in_memory(rng):
    true, found = rng.random((2, 20, 30)) < 0.4
    assert counts(true[:, ::2], found[:, ::2]) == expected(true[:, ::2], found[:, ::2])
