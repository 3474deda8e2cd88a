"""How much of two masks is set in both, in the first and in the second, for CUDA.

A thread takes eight voxels at a time, as one word of eight bytes, and keeps its counts to itself
until the end.
"""

from __future__ import annotations

import numpy as np
from numba import cuda, types

from . import launch

BLOCK = 32 if launch.simulating() else 256
_MOST = 3 if launch.simulating() else 2048

_LOW = np.uint64(0x7F7F7F7F7F7F7F7F)
_TOP = np.uint64(0x8080808080808080)


@cuda.jit(device=True)
def _set_bytes(word):
    """The top bit of every byte that is not zero: what is not 0 is True, whatever it is."""
    return (((word & _LOW) + _LOW) | word) & _TOP


@cuda.jit(device=True)
def _add_up(table, both, first, second, found):
    """Add the counts of all threads of a block to those of all blocks."""
    if cuda.threadIdx.x < 3:
        table[cuda.threadIdx.x] = 0
    cuda.syncthreads()
    cuda.atomic.add(table, 0, both)
    cuda.atomic.add(table, 1, first)
    cuda.atomic.add(table, 2, second)
    cuda.syncthreads()
    if cuda.threadIdx.x < 3:
        cuda.atomic.add(found, cuda.threadIdx.x, types.uint64(table[cuda.threadIdx.x]))


@cuda.jit
def count_words(first, second, found):
    table = cuda.shared.array(3, types.uint32)
    both = types.uint32(0)
    here = types.uint32(0)
    there = types.uint32(0)
    for i in range(cuda.grid(1), first.size, cuda.gridsize(1)):
        a = _set_bytes(first[i])
        b = _set_bytes(second[i])
        both += types.uint32(cuda.popc(a & b))
        here += types.uint32(cuda.popc(a))
        there += types.uint32(cuda.popc(b))
    _add_up(table, both, here, there, found)


@cuda.jit
def count_bytes(first, second, found):
    """As `count_words`, for what is no row of whole words."""
    table = cuda.shared.array(3, types.uint32)
    both = types.uint32(0)
    here = types.uint32(0)
    there = types.uint32(0)
    for i in range(cuda.grid(1), first.size, cuda.gridsize(1)):
        both += types.uint32(first[i] != 0 and second[i] != 0)
        here += types.uint32(first[i] != 0)
        there += types.uint32(second[i] != 0)
    _add_up(table, both, here, there, found)


def count_cuda(first, second, found, stream=0, *, aligned) -> None:
    """Add to the uint64 `found` how many elements of two flat uint8 arrays are not 0 in both, in
    the first and in the second; `aligned` says whether both begin at a word in memory."""
    whole = first.size - first.size % 8 if aligned else 0
    if whole:
        words = (x[:whole].view(np.uint64) for x in (first, second))
        where = launch.blocks(whole // 8, BLOCK, most=_MOST), BLOCK, stream
        launch.start(count_words, *where, *words, found)
    if whole < first.size:
        rest = (x[whole:] for x in (first, second))
        where = launch.blocks(first.size - whole, BLOCK, most=_MOST), BLOCK, stream
        launch.start(count_bytes, *where, *rest, found)


def cuda_signatures():
    """(kernel, argument types, most registers a thread may take)."""
    words, parts = types.uint64[::1], types.uint8[::1]
    return [(count_words, (words, words, words), 48), (count_bytes, (parts, parts, words), 48)]
