"""Hysteresis thresholding on the CPU."""

import numpy as np

from ...kernels.flood import flood_cpu


def apply_hysteresis_threshold(image, low, high, *, connectivity, packed):
    image = _bytes(np.ascontiguousarray(image))
    return _flood(image, low, image, high, connectivity, packed)


def flood_masks(seeds, mask, *, connectivity, packed):
    mask, seeds = (_bytes(np.ascontiguousarray(x)) for x in (mask, seeds))
    return _flood(mask, np.uint8(0), seeds, np.uint8(0), connectivity, packed)


def _flood(low_values, low, high_values, high, connectivity, packed):
    shape = low_values.shape
    out = None if packed else np.empty(shape, bool)
    return flood_cpu(low_values, low, high_values, high, shape, connectivity, out)


def _bytes(x):
    return x.view(np.uint8) if x.dtype == bool else x
