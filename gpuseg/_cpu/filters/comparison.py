"""Classes and counts by the kernel, on all cores."""

from __future__ import annotations

import numpy as np

from ..._backend import array_namespace, asnumpy
from ...kernels import digitize


def apply_thresholds(image, thresholds, *, first, dtype):
    out = np.empty(image.shape, dtype)
    flat = np.ascontiguousarray(image).reshape(-1)
    nan = digitize.classify_cpu(flat, thresholds, first, out.reshape(-1))
    return out, bool(nan)


def count_above(image, thresholds):
    counts = digitize.count_cpu(np.ascontiguousarray(image).reshape(-1), thresholds)
    return counts[:-1], int(counts[-1])


# What `threshold_by_objects` asks of an image, on any device: its objects and its values.


def count_objects(image, mask, thresholds, sought):
    """The counts of `sought` at each threshold."""
    from ...measure import label

    sought.check(image)
    rows = []
    for threshold in thresholds:
        labels = label(
            sought.foreground(image, mask, threshold), connectivity=sought.connectivity
        ).reshape(-1)
        rows.append(sought.counts(asnumpy(array_namespace(labels).bincount(labels))[1:]))
    return rows


def spread(image, mask, sought):
    """The least and the greatest finite value that the mask selects, None where there is none; and
    a function that takes about so many of them, evenly in raster order, as float64."""
    sought.check(image)
    values = image.reshape(-1) if mask is None else image[mask]
    if image.dtype.kind == "f":
        finite = array_namespace(image).isfinite(values)
        values = values if bool(finite.all()) else values[finite]

    def sample(most: int):
        step = values.size // most | 1  # odd, so that it does not keep to a few columns
        return asnumpy(values[::step]).astype(np.float64)

    if not values.size:
        return None, None, sample
    return float(values.min()), float(values.max()), sample
