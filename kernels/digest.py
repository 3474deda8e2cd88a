"""A digest of bytes, on all cores: blocks one by one, then the digests of the blocks."""

from __future__ import annotations

import hashlib

import numpy as np

from . import launch
from .kept import njit

# Words of a block.
BLOCK = 1 << 15
_LANES = 4
_ODD = np.uint64(0x9E3779B97F4A7C15)
_TURN = np.uint64(29)


@njit(nogil=True, cache=True)
def digest_range(start, stop, words, out):
    """Each step is one to one in the word and in what was before it: no single change is lost."""
    for block in range(start, stop):
        first = block * BLOCK
        end = min(first + BLOCK, words.size)
        a = np.uint64(1)
        b = np.uint64(2)
        c = np.uint64(3)
        d = np.uint64(4)
        whole = first + (end - first) // _LANES * _LANES
        for i in range(first, whole, _LANES):
            a = (a ^ words[i]) * _ODD
            b = (b ^ words[i + 1]) * _ODD
            c = (c ^ words[i + 2]) * _ODD
            d = (d ^ words[i + 3]) * _ODD
            a ^= a >> _TURN
            b ^= b >> _TURN
            c ^= c >> _TURN
            d ^= d >> _TURN
        for i in range(whole, end):
            a = (a ^ words[i]) * _ODD
            a ^= a >> _TURN
        out[block, 0] = a
        out[block, 1] = b
        out[block, 2] = c
        out[block, 3] = d


def digest_cpu(values: np.ndarray) -> int:
    """64 bits for the bytes of a one-dimensional uint8 array."""
    whole = values.size // 8
    words = values[: whole * 8].view(np.uint64)
    out = np.empty((-(-whole // BLOCK), _LANES), np.uint64)
    if len(out):
        launch.slabs(digest_range, len(out), words, out)
    end = hashlib.blake2b(out, digest_size=8)
    end.update(values[whole * 8 :])
    end.update(values.size.to_bytes(8, "little"))
    return int.from_bytes(end.digest(), "little")
