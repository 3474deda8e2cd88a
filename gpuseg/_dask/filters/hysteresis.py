"""Hysteresis thresholding of chunked arrays.

A chunk floods by itself first. What is above low and not reached, and touches a neighbour, is kept
where the merge finds that it connects to something that was reached elsewhere.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from ..._backend import array_namespace
from .._components import grown
from .._connected import Found, decide, first_pass, last_pass, settle


def apply_hysteresis_threshold(image, low, high, *, connectivity, packed):
    return _flooded(partial(_above, low, high, connectivity), [image], connectivity, packed)


def flood_masks(seeds, mask, *, connectivity, packed):
    return _flooded(partial(_inside, connectivity), [mask, seeds], connectivity, packed)


def _flooded(find, arrays, connectivity, packed):
    passes = first_pass("flood", find, arrays, connectivity, partial(decide, 0))
    mask = last_pass(passes, partial(settle, _mask, 0), bool)
    return _packed(mask) if packed else mask


def _above(low, high, connectivity, sides, image):
    return _found(grown(image, low, image, high, connectivity, sides))


def _inside(connectivity, sides, mask, seeds):
    zero = np.uint8(0)
    return _found(grown(mask, zero, seeds, zero, connectivity, sides))


def _found(components):
    return Found(components, components.weights())


def _mask(kept):
    return kept


def _packed(mask):
    """Bits along the last axis, in chunks of whole bytes."""
    length = mask.shape[-1]
    ends = {min(length, -(-int(end) // 8) * 8) for end in np.cumsum(mask.chunks[-1])}
    sizes = np.diff(sorted({0, *ends}))
    mask = mask.rechunk({mask.ndim - 1: tuple(map(int, sizes))})
    chunks = (*mask.chunks[:-1], tuple(-(-int(n) // 8) for n in sizes))
    return mask.map_blocks(_bytes, chunks=chunks, dtype=np.uint8)


def _bytes(mask):
    xp = array_namespace(mask)
    short = -mask.shape[-1] % 8
    rows = xp.pad(mask, [(0, 0)] * (mask.ndim - 1) + [(0, short)])
    return xp.packbits(rows, bitorder="little").reshape(*mask.shape[:-1], -1)
