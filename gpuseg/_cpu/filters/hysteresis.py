"""Hysteresis thresholding on the CPU."""

import numpy as np

from ...kernels.flood import flood_cpu

# Rows are padded to words of 64 voxels: an image of shorter rows than this is worth turning.
_SHORT = 32


def apply_hysteresis_threshold(image, low, high, *, connectivity, packed):
    order = _rows_last(image)
    image = _turned(image, order)
    return _flood(image, low, image, high, order, connectivity, packed)


def flood_masks(seeds, mask, *, connectivity, packed):
    order = _rows_last(mask)
    mask, seeds = _turned(mask, order), _turned(seeds, order)
    zero = np.uint8(0)
    return _flood(mask, zero, seeds, zero, order, connectivity, packed)


def _rows_last(x) -> list[int]:
    """The axes from far apart to close in memory; to the algorithm all axes are alike.

    Axes of one voxel come first, and the longest last where rows would be short.
    """
    order = sorted(range(x.ndim), key=lambda axis: (x.shape[axis] > 1, -abs(x.strides[axis])))
    if x.shape[order[-1]] < _SHORT:
        order.sort(key=lambda axis: x.shape[axis])
    return order


def _turned(x, order):
    x = np.ascontiguousarray(x.transpose(order))
    return x.view(np.uint8) if x.dtype == bool else x


def _flood(low_values, low, high_values, high, order, connectivity, packed):
    along_rows = packed and order[-1] == len(order) - 1
    shape = low_values.shape
    out = flood_cpu(low_values, low, high_values, high, shape, connectivity, along_rows)
    out = out.transpose(np.argsort(order))
    return np.packbits(out, axis=-1, bitorder="little") if packed and not along_rows else out
