"""The watershed as a fixed point, for CUDA: every pixel looks at its neighbours until none changes.

A marker lies at the level of its own value. Any other pixel is reached from that neighbour which a
flood reaches first: the one with the lowest level; of these markers; then those whose level had to
rise, from the lowest on; then those in the fewest steps since; and then the one with the lowest
label. Its own level is the neighbour's or its own value, whichever is higher, and its label the
neighbour's. That is the order of a queue by value and age, but for the age of equals. A neighbour
is always before the pixels that it reaches, so there is exactly one solution, whatever the order
in which pixels are visited.

A block takes a tile and a rim of one pixel into shared memory, lets the tile settle and writes back
what changed. Where that is at the border of the tile, those around it are visited again; and so is
a tile that did not settle in some rounds.
"""

from __future__ import annotations

import numpy as np
from numba import cuda, types

from . import launch

# A key holds the level, below 2**31 - 1, in its upper half. In the lower stands 0 for a marker, one
# more than the level before it rose, or, above those, the steps since. What nothing has reached:
UNREACHED = np.int64(2**63 - 1)
_STEPS = 1 << 31
_ROUNDS = 4 if launch.simulating() else 64
# The largest tiles and their rims: 16 x 32, or 4 x 8 x 8.
_ROOM = 400 if launch.simulating() else 1024


def tile_shape(shape) -> tuple[int, int, int]:
    if launch.simulating():
        return (1, 4, 4) if shape[0] == 1 else (2, 4, 4)
    return (1, 16, 32) if shape[0] == 1 else (4, 8, 8)


def tile_grid(shape) -> tuple[int, int, int]:
    return tuple(-(-n // t) for n, t in zip(shape, tile_shape(shape)))


def neighbour_steps(shape, connectivity: int):
    """The steps to a pixel's neighbours in an image of three axes, of which some may be short."""
    box = np.stack(np.meshgrid(*[(-1, 0, 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
    along = np.abs(box).sum(axis=1)
    there = ((box == 0) | (np.array(shape) > 1)).all(axis=1)
    return np.ascontiguousarray(box[(along > 0) & (along <= connectivity) & there], np.int32)


@cuda.jit
def start(levels, markers, inside, keys):
    """Markers lie at their own level; all else is unreached."""
    for i in range(cuda.grid(1), keys.size, cuda.gridsize(1)):
        keys[i] = UNREACHED
        if inside[i] and markers[i] != 0:
            keys[i] = types.int64(levels[i]) << 32


@cuda.jit
def settle(levels, markers, inside, steps, tz, ty, tx, gy, gx, keys, labels, active, again):
    """Let one tile settle; `levels` and the others are of three axes. It is active no more."""
    key = cuda.shared.array(_ROOM, types.int64)
    name = cuda.shared.array(_ROOM, types.int32)
    moved = cuda.shared.array(2, types.int32)
    tile = types.int64(cuda.blockIdx.x)
    if active[tile] == 0:
        return
    depth, height, width = levels.shape
    gz = tile // (gy * gx)
    z0 = gz * tz
    y0 = (tile // gx % gy) * ty
    x0 = (tile % gx) * tx
    wide, rows = tx + 2, ty + 2
    flat = tz == 1 and depth == 1
    rim = 0 if flat else 1
    room = (tz + 2 * rim) * rows * wide
    for i in range(cuda.threadIdx.x, room, cuda.blockDim.x):
        z = z0 + i // (rows * wide) - rim
        y = y0 + i // wide % rows - 1
        x = x0 + i % wide - 1
        key[i] = UNREACHED
        name[i] = 0
        if z >= 0 and z < depth and y >= 0 and y < height and x >= 0 and x < width:
            key[i] = keys[z, y, x]
            name[i] = labels[z, y, x]
    if cuda.threadIdx.x < 2:
        moved[cuda.threadIdx.x] = 0
    t = types.int64(cuda.threadIdx.x)
    lz = t // (ty * tx)
    ly = t // tx % ty
    lx = t % tx
    z = z0 + lz
    y = y0 + ly
    x = x0 + lx
    here = ((lz + rim) * rows + ly + 1) * wide + lx + 1
    free = False
    level = types.int64(0)
    if z < depth and y < height and x < width:
        free = inside[z, y, x] != 0 and markers[z, y, x] == 0
        level = types.int64(levels[z, y, x])
    cuda.syncthreads()
    # All threads have seen that it is.
    if t == 0:
        active[tile] = 0
    old_key = key[here] if lz < tz else UNREACHED
    old_name = name[here] if lz < tz else types.int32(0)
    settled = False
    for _ in range(_ROUNDS):
        best = UNREACHED
        label = types.int32(0)
        if free:
            for k in range(steps.shape[0]):
                at = here + (steps[k, 0] * rows + steps[k, 1]) * wide + steps[k, 2]
                if key[at] < best or (key[at] == best and name[at] < label):
                    best = key[at]
                    label = name[at]
            if best != UNREACHED:
                if level > best >> 32:
                    best = (level << 32) | ((best >> 32) + 1)
                elif best & _STEPS:
                    best += 1
                else:
                    best = (best >> 32 << 32) | _STEPS
        cuda.syncthreads()
        changes = free and (best != key[here] or label != name[here])
        if changes:
            key[here] = best
            name[here] = label
        if cuda.syncthreads_or(types.int32(changes)) == 0:
            settled = True
            break
    if free and (key[here] != old_key or name[here] != old_name):
        keys[z, y, x] = key[here]
        labels[z, y, x] = name[here]
        inner = ly > 0 and ly < ty - 1 and lx > 0 and lx < tx - 1
        if not (inner and (flat or (lz > 0 and lz < tz - 1))):
            moved[0] = 1
    cuda.syncthreads()
    if t == 0 and not settled:
        again[tile] = 1
    # Whoever sees what changed looks again.
    if moved[0] != 0 and t == 0:
        for k in range(27):
            if k == 13:
                continue
            nz = gz + k // 9 - 1
            ny = tile // gx % gy + k // 3 % 3 - 1
            nx = tile % gx + k % 3 - 1
            if nz >= 0 and nz * tz < depth and ny >= 0 and ny < gy and nx >= 0 and nx < gx:
                again[(nz * gy + ny) * gx + nx] = 1


def settle_cuda(
    levels, markers, inside, steps, keys, labels, active, again, stream=0, *, visits=1
) -> None:
    """So many visits of all active tiles, from `active`. The next ones are marked in `again`, which
    holds nothing before; the two change places after each visit."""
    shape = levels.shape
    tile = tile_shape(shape)
    _, gy, gx = tile_grid(shape)
    where = active.size, int(np.prod(tile)), stream
    image = levels, markers, inside, steps
    for _ in range(visits):
        launch.start(settle, *where, *image, *tile, gy, gx, keys, labels, active, again)
        active, again = again, active


def start_cuda(levels, markers, inside, keys, stream=0) -> None:
    launch.start(
        start,
        launch.blocks(keys.size, 128, most=1 << 16),
        128,
        stream,
        levels,
        markers,
        inside,
        keys,
    )


def cuda_signatures():
    """(kernel, argument types, most registers a thread may take)."""
    flat = types.int32[::1], types.int32[::1], types.uint8[::1], types.int64[::1]
    image = types.int32[:, :, ::1], types.int32[:, :, ::1], types.uint8[:, :, ::1]
    tiles = types.uint8[::1], types.uint8[::1]
    state = types.int64[:, :, ::1], types.int32[:, :, ::1]
    long = types.int64
    return [
        (start, flat, 40),
        (settle, (*image, types.int32[:, ::1], *(long,) * 5, *state, *tiles), 72),
    ]
