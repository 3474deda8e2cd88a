"""Hysteresis thresholding on the CPU."""

import numpy as np

from ...kernels.flood import flood_cpu


def apply_hysteresis_threshold(image, low, high, *, connectivity, packed):
    image = _bytes(np.ascontiguousarray(image))
    return flood_cpu(image, low, image, high, image.shape, connectivity, packed)


def flood_masks(seeds, mask, *, connectivity, packed):
    mask, seeds = (_bytes(np.ascontiguousarray(x)) for x in (mask, seeds))
    zero = np.uint8(0)
    return flood_cpu(mask, zero, seeds, zero, mask.shape, connectivity, packed)


def _bytes(x):
    return x.view(np.uint8) if x.dtype == bool else x
