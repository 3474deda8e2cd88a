"""Counts of pairs of small numbers: the joint histogram of two label images, on the CPU.

Each thread counts into a table of its own, two of them by turns, so that an element need not wait
for the count of the one before where both are of one pair.
"""

from __future__ import annotations

import numpy as np

from . import launch
from .kept import njit


def count_pairs_cpu(first, second, low, width):
    """How often ``(a, b)`` occurs, as an int64 table of shape `width`, from ``(low, low)`` on."""
    # A few small pieces a thread, no more: each has a table.
    pieces = launch.slabs(_count_range, first.size, first, second, *low, *width)
    return np.sum(pieces, axis=0)


@njit(nogil=True, cache=True)
def _count_range(start, stop, first, second, low_a, low_b, width_a, width_b):
    even, odd = np.zeros((2, width_a, width_b), np.int64)
    for i in range(start, stop - 1, 2):
        even[np.int64(first[i]) - low_a, np.int64(second[i]) - low_b] += 1
        odd[np.int64(first[i + 1]) - low_a, np.int64(second[i + 1]) - low_b] += 1
    if (stop - start) % 2:
        even[np.int64(first[stop - 1]) - low_a, np.int64(second[stop - 1]) - low_b] += 1
    return even + odd
