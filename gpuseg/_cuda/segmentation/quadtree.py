"""Quad-trees by the kernel; one read-back, of how many leaves there are."""

from __future__ import annotations

import numpy as np

from ..._backend import array_namespace, asnumpy, cuda_stream
from ..._cpu.segmentation import quadtree as cpu
from ...kernels import leaves as made
from ...kernels import quadtree as kernel


def quadtree(image, *, threshold, criterion, min_size, max_size):
    xp = array_namespace(image)
    plan = kernel.layout(image.shape, kernel.CUDA_TILE[image.ndim])
    rule = cpu.split_rule(image, threshold, criterion, min_size, max_size)
    values = cpu.working(image)
    values = values.reshape((1,) * (3 - values.ndim) + values.shape)
    table = kernel.table_arrays(xp, values.dtype, plan, rule)
    found, stream = xp.zeros(2, np.int64), cuda_stream(image)
    kernel.gather_cuda(values, plan, rule, table, found, stream)
    count, bad = asnumpy(found).tolist()
    if bad:
        raise ValueError(cpu.BAD)
    leaves = kernel.leaf_arrays(xp, count, values.dtype, cpu.mean_type(image, rule), plan, rule)
    starts = xp.empty(int(plan.bases[1]), np.int64)
    kernel.scatter_cuda(values, plan, rule, table, starts, leaves, stream)
    return cpu.as_type(leaves, image.dtype)


def paint_leaves(corner, *, level, values, shape):
    xp = array_namespace(corner)
    out = xp.empty(shape, values.dtype)
    firsts = xp.full(made.tile_count(shape), -1, np.int64)
    made.paint_cuda(corner, values, firsts, out, cuda_stream(corner))
    return out
