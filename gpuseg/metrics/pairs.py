"""How often each pair of labels occurs: what scores of classes and of regions are made of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._backend import asnumpy, run


class Pairs(NamedTuple):
    """Pairs of labels that occur, in host memory: indices of their values, and counts."""

    first_values: np.ndarray
    second_values: np.ndarray
    first: np.ndarray
    second: np.ndarray
    counts: np.ndarray

    @property
    def second_sizes(self) -> np.ndarray:
        return np.bincount(self.second, self.counts, len(self.second_values)).astype(np.int64)


def pair_counts(first, second) -> Pairs:
    """Count the pairs of two integer or bool arrays of one shape."""
    # Of CuPy arrays they come back as such, to the few pairs that scikit-learn and SciPy take.
    return Pairs(*map(asnumpy, run(pair_counts, first, second)))
