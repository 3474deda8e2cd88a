"""Classes and counts by the kernel, on all cores."""

from __future__ import annotations

import numpy as np

from ...kernels import digitize


def apply_thresholds(image, thresholds, *, first, dtype):
    out = np.empty(image.shape, dtype)
    flat = np.ascontiguousarray(image).reshape(-1)
    nan = digitize.classify_cpu(flat, thresholds, first, out.reshape(-1))
    return out, bool(nan)


def count_above(image, thresholds):
    counts = digitize.count_cpu(np.ascontiguousarray(image).reshape(-1), thresholds)
    return counts[:-1], int(counts[-1])
