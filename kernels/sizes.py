"""The sizes of labelled objects, for CUDA: a warp counts the runs of its 32 voxels at once."""

from __future__ import annotations

from numba import cuda, types

from . import launch, warp

BLOCK = 32 if launch.simulating() else 256
_SCRATCH = warp.SCRATCH


@cuda.jit
def add_up_sizes(labels, sizes):
    """Add the voxels of each label to `sizes`, but for those of label 0."""
    scratch = cuda.shared.array(_SCRATCH, types.int64)
    lane = types.int64(cuda.laneid)
    i = types.int64(cuda.grid(1))
    if i - lane >= labels.size:
        return
    label = types.int64(0)
    if i < labels.size:
        label = types.int64(labels[i])
    if warp.ballot(scratch, label != 0) == 0:
        return
    left = warp.from_lane_before(scratch, label)
    starts = warp.ballot(scratch, lane == 0 or label != left)
    if label != 0 and (lane == 0 or label != left):
        # The first lane after this one at which another run starts, if there is one.
        later = (starts >> lane) >> 1
        length = types.int64(32) - lane
        if later != 0:
            length = warp.popcount((later ^ (later - 1)) & 0xFFFFFFFF)
        cuda.atomic.add(sizes, label, types.uint64(length))


def add_up_sizes_cuda(labels, sizes, stream=0) -> None:
    """Add the voxels of each label from 1 on to the uint64 `sizes`; `labels` is flat."""
    where = launch.blocks(labels.size, BLOCK), BLOCK, stream
    launch.start(add_up_sizes, *where, labels, sizes)


def cuda_signatures():
    """(kernel, argument types, most registers a thread may take)."""
    kinds = types.int32, types.int64
    return [(add_up_sizes, (kind[::1], types.uint64[::1]), 32) for kind in kinds]
