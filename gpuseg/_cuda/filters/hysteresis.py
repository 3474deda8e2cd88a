"""Hysteresis thresholding by the kernel: four launches, nothing read back."""

from __future__ import annotations

import functools

import numpy as np

from ..._backend import array_namespace, cuda_stream, is_cupy
from ...kernels import flood


def apply_hysteresis_threshold(image, low, high, *, connectivity, packed):
    return _flood(image, low, None, high, connectivity, packed)


def flood_masks(seeds, mask, *, connectivity, packed):
    zero = np.uint8(0)
    return _flood(mask, zero, seeds, zero, connectivity, packed)


def _flood(values, low, seeds, high, connectivity, packed):
    xp, shape = array_namespace(values), values.shape
    plan = flood.layout(shape)
    tables = {name: xp.empty(*table) for name, table in flood.tables(plan).items()}
    out = xp.empty((*shape[:-1], -(-shape[-1] // 8)) if packed else shape, xp.uint8)
    flood.flood_cuda(
        _flat(values), low, None if seeds is None else _flat(seeds), high, plan, connectivity,
        near=neighbour_table(values, connectivity),
        **tables, out=out.reshape(-1), packed=packed, stream=cuda_stream(values),
    )  # fmt: skip
    return out if packed else out.view(xp.bool_)


def neighbour_table(x, connectivity):
    """``flood.neighbour_table`` where `x` is."""
    if is_cupy(x):
        return _uploaded_table(x.shape, connectivity, x.device.id)
    return flood.neighbour_table(x.shape, connectivity)


@functools.lru_cache(64)
def _uploaded_table(shape, connectivity, device):
    """Kept, as most calls are for shapes seen before: it is small, and a copy is waited for."""
    import cupy

    with cupy.cuda.Device(device):
        table = cupy.asarray(flood.neighbour_table(shape, connectivity))
        # Who takes it next may do so on another stream.
        cupy.cuda.get_current_stream().synchronize()
    return table


def _flat(x):
    """A row-major copy where need be, bool as bytes."""
    xp = array_namespace(x)
    x = xp.ascontiguousarray(x).reshape(-1)
    return x.view(xp.uint8) if x.dtype == bool else x
