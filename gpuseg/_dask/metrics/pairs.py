"""Pairs of labels of chunked arrays."""

from __future__ import annotations

import numpy as np

from .classification import counted


def pair_counts(first, second):
    first, second, counts = counted(first, second)
    first_values, first = np.unique(first, return_inverse=True)
    second_values, second = np.unique(second, return_inverse=True)
    return first_values, second_values, first, second, counts
