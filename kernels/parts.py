"""What a chunk holds of each region: where its pixels are, and sums of powers of their places. On
the CPU, in runs of equal labels along the last axis.
"""

from __future__ import annotations

import numpy as np

from .kept import njit

# Powers of a coordinate, from 0 on.
POWERS = 4


@njit(nogil=True, cache=True)
def boxes(labels, count: int):
    """The first place and the one after the last of regions 1, 2, ... of a 3-D array, per axis."""
    out = np.empty((count + 1, 2, 3), np.int64)
    for label in range(count + 1):
        for axis in range(3):
            out[label, 0, axis] = labels.shape[axis]
            out[label, 1, axis] = 0
    for z in range(labels.shape[0]):
        for y in range(labels.shape[1]):
            row = labels[z, y]
            x = 0
            while x < row.size:
                label, first = row[x], x
                while x < row.size and row[x] == label:
                    x += 1
                if label:
                    box = out[label]
                    box[0, 0] = min(box[0, 0], z)
                    box[1, 0] = max(box[1, 0], z + 1)
                    box[0, 1] = min(box[0, 1], y)
                    box[1, 1] = max(box[1, 1], y + 1)
                    box[0, 2] = min(box[0, 2], first)
                    box[1, 2] = max(box[1, 2], x)
    return out


@njit(nogil=True, cache=True)
def moments(labels, centers, exponents, values, out):
    """Add up products of powers of the distances from a region's centre, times the values, if any.

    ``out[label, e]`` is that of the powers ``exponents[e]`` along the three axes.
    """
    weighted = values.size > 0
    sums, high, wide = np.empty(POWERS), np.empty(POWERS), np.empty(POWERS)
    for z in range(labels.shape[0]):
        for y in range(labels.shape[1]):
            row = labels[z, y]
            x = 0
            while x < row.size:
                label = row[x]
                if not label:
                    x += 1
                    continue
                center = centers[label]
                sums[:] = 0
                while x < row.size and row[x] == label:
                    term = values[z, y, x] if weighted else 1.0
                    for k in range(POWERS):
                        sums[k] += term
                        term *= x - center[2]
                    x += 1
                _powers(z - center[0], high)
                _powers(y - center[1], wide)
                for e in range(len(exponents)):
                    a, b, c = exponents[e]
                    out[label, e] += high[a] * wide[b] * sums[c]


@njit(nogil=True, cache=True)
def _powers(x, out):
    out[0] = 1.0
    for k in range(1, POWERS):
        out[k] = out[k - 1] * x


@njit(nogil=True, cache=True)
def spreads(labels, values, out):
    """The least and the largest value of each region, and the sums of the squared distances and
    of the distances from what comes in ``out[:, 2]``."""
    centers = out[:, 2].copy()
    out[:, 0], out[:, 1], out[:, 2], out[:, 3] = np.inf, -np.inf, 0.0, 0.0
    for z in range(labels.shape[0]):
        for y in range(labels.shape[1]):
            for x in range(labels.shape[2]):
                label = labels[z, y, x]
                if label:
                    value = values[z, y, x]
                    found = out[label]
                    if value < found[0] or value != value:
                        found[0] = value
                    if value > found[1] or value != value:
                        found[1] = value
                    away = value - centers[label]
                    found[2] += away * away
                    found[3] += away
