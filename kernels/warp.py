"""Operations of a warp (32 lanes), by name.

On a GPU these are the warp instructions. Numba's simulator has none: there the same names are plain
functions that meet in `scratch`, shared memory of `SCRATCH` int64 that the kernel allocates, and a
block is one warp. Every lane of the warp must make the call.
"""

from __future__ import annotations

import sys
import threading

import numpy as np
from numba import cuda, types

from . import launch

SCRATCH = 64 if launch.simulating() else 1

if launch.simulating():
    # The simulator's main thread polls; where it gives way sooner, a warp runs six times faster.
    sys.setswitchinterval(1e-4)

    # Not cuda.jit: the simulator of plain Numba loses its place when threads meet at a barrier
    # inside a device function of another module.

    def _meet(scratch, value):
        """All lanes' values, and the lane."""
        thread = threading.current_thread()
        lane = thread.thread_id % 32
        # Two halves in turn: nobody overwrites what another lane may still be reading.
        half = thread.half = 32 - getattr(thread, "half", 32)
        scratch[half + lane] = value
        thread.syncthreads()
        return scratch[half : half + 32], lane

    def popcount(bits):
        return int(bits).bit_count()

    def ballot(scratch, predicate):
        values, _ = _meet(scratch, predicate)
        return int(np.packbits(values != 0, bitorder="little").view("<u4")[0])

    def from_lane(scratch, value, lane):
        return _meet(scratch, value)[0][lane]

    def word_of_lane(scratch, word, lane):
        return _meet(scratch, word)[0][lane]

    def from_lane_before(scratch, value):
        values, lane = _meet(scratch, value)
        return values[max(lane - 1, 0)]

    def sum_before(scratch, value):
        values, lane = _meet(scratch, value)
        return values[:lane].sum()

    def sync(scratch):
        _meet(scratch, 0)

else:
    _ALL = 0xFFFFFFFF

    @cuda.jit(device=True)
    def popcount(bits):
        """Bits set among the low 32."""
        return types.int64(cuda.popc(types.uint32(bits)))

    @cuda.jit(device=True)
    def ballot(scratch, predicate):
        """A word with the bit of every lane whose predicate holds."""
        return types.int64(types.uint32(cuda.ballot_sync(_ALL, predicate)))

    @cuda.jit(device=True)
    def from_lane(scratch, value, lane):
        """The value of another lane."""
        return cuda.shfl_sync(_ALL, value, lane)

    @cuda.jit(device=True)
    def word_of_lane(scratch, word, lane):
        """The low 32 bits of another lane's word: half of what `from_lane` does for 64."""
        return types.int64(types.uint32(cuda.shfl_sync(_ALL, types.int32(word), lane)))

    @cuda.jit(device=True)
    def from_lane_before(scratch, value):
        """The value of the lane before; the first lane gets its own."""
        return cuda.shfl_up_sync(_ALL, value, 1)

    @cuda.jit(device=True)
    def sum_before(scratch, value):
        """The sum of the values of all lanes before, each below 2**26."""
        total = types.int32(value)
        for k in range(5):
            step = 1 << k
            other = cuda.shfl_up_sync(_ALL, total, step)
            if cuda.laneid >= step:
                total = types.int32(total + other)
        return types.int64(total) - types.int64(value)

    @cuda.jit(device=True)
    def sync(scratch):
        """Wait for the other lanes; what they wrote before can be read after."""
        cuda.syncwarp(_ALL)
