"""The nearest label of every pixel, for CUDA: one look along each axis after the other.

After the look along an axis, a pixel knows the nearest label among those that differ from it in
the axes up to this one. Where two are equally near, the one with the smaller position along the
last axis has it; then along the one before. That is how SciPy's feature transform decides.
"""

from __future__ import annotations

from numba import cuda, types

from . import launch
from .flood import divided

_BLOCK = 16 if launch.simulating() else 128


@cuda.jit
def look_along(squares, inner, limit, squared, labels, out_squared, out_labels):
    """Look both ways along one axis, `inner` pixels a step, as far as something nearer can be."""
    n = squares.size
    for i in range(cuda.grid(1), squared.size, cuda.gridsize(1)):
        along, _ = divided(i, inner)
        _, x = divided(along, n)
        best = squared[i]
        label = labels[i]
        for k in range(1, n):
            step = squares[k]
            if step > best or step > limit:
                break
            # Of those that are equally near, what lies to the left of all others so far has it.
            if x >= k and squared[i - k * inner] + step <= best:
                best = squared[i - k * inner] + step
                label = labels[i - k * inner]
            if x + k < n and squared[i + k * inner] + step < best:
                best = squared[i + k * inner] + step
                label = labels[i + k * inner]
            if x < k and x + k >= n:
                break
        out_squared[i] = best
        out_labels[i] = label


def look_along_cuda(squares, inner, limit, squared, labels, out_squared, out_labels, stream=0):
    """One axis; `squares` holds the squared length of 0, 1, 2, ... steps. All arrays are flat."""
    grid = launch.blocks(labels.size, _BLOCK, most=1 << 16)
    launch.start(
        look_along,
        grid,
        _BLOCK,
        stream,
        squares,
        inner,
        limit,
        squared,
        labels,
        out_squared,
        out_labels,
    )


def cuda_signatures():
    """(kernel, argument types, most registers a thread may take)."""
    squared, double = types.float64[::1], types.float64
    return [
        (look_along, (squared, types.int64, double, squared, kind, squared, kind), 64)
        for kind in (types.uint8[::1], types.int32[::1], types.int64[::1])
    ]
