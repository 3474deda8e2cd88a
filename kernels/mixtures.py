"""Gaussian mixtures, for CUDA: the chances of the classes for each pixel, and sums over the pixels.

A block takes a piece of pixels, a thread a pixel, and leaves the chances and the features of the
piece in shared memory. Then each warp takes some of the sums and adds the piece to them, a lane
every 32nd pixel, in places of shared memory that no other lane has: nothing waits for an atomic
operation, and the order is always the same. The sums of each block are added up by the caller.

The model is a row a class: a constant, the mean, and what makes differences from the mean
independent of each other and of variance 1: for each feature one factor, or a row of the lower
triangle of the inverse Cholesky factor.
"""

from __future__ import annotations

import math

import numpy as np
from numba import cuda, types

from . import launch

BLOCK = 32 if launch.simulating() else 128
LANES = 8 if launch.simulating() else 32
# Blocks that share the pixels, and bytes of shared memory that each may have.
_MOST = 3 if launch.simulating() else 2048
_SHARED = 48 * 1024


def blocks(pixels: int) -> int:
    return launch.blocks(pixels, BLOCK, most=_MOST)


def factors(features: int, *, diagonal: bool):
    """The features that are multiplied in the sums of a class: (sums, 2). The one after the last
    is 1 everywhere."""
    second = [(q, s) for q in range(features) for s in range(q + 1)]
    if diagonal:
        second = [(q, q) for q in range(features)]
    first = [(q, features) for q in range(features)]
    return np.array([(features, features), *first, *second], np.int32)


def fits(features: int, classes: int, *, diagonal: bool) -> bool:
    """Whether a block has room for a piece and its sums."""
    return _bytes(features, classes, classes * len(factors(features, diagonal=diagonal))) <= _SHARED


def _bytes(features, classes, sums) -> int:
    return 8 * ((classes + features + 1) * BLOCK + sums * LANES)


@cuda.jit(device=True)
def _load(room, values, classes, i):
    """The features of pixel i, after the chances of all; zeros past the last pixel."""
    p = cuda.threadIdx.x
    for q in range(values.shape[0]):
        value = types.float64(0)
        if i < values.shape[1]:
            value = types.float64(values[q, i])
        room[(classes + q) * BLOCK + p] = value


@cuda.jit(device=True)
def _log_density(room, features, model, c, diagonal):
    p = cuda.threadIdx.x
    classes = model.shape[0]
    total = types.float64(0)
    at = 1 + features
    for q in range(features):
        scaled = types.float64(0)
        for s in range(q if diagonal else 0, q + 1):
            scaled += model[c, at] * (room[(classes + s) * BLOCK + p] - model[c, 1 + s])
            at += 1
        total += scaled * scaled
    return model[c, 0] - 0.5 * total


@cuda.jit(device=True)
def _take_chances(room, features, model, diagonal):
    """The chances of the classes for this thread's pixel; its log likelihood."""
    p = cuda.threadIdx.x
    top = -np.inf
    for c in range(model.shape[0]):
        row = _log_density(room, features, model, c, diagonal)
        room[c * BLOCK + p] = row
        top = max(top, row)
    total = types.float64(0)
    for c in range(model.shape[0]):
        chance = math.exp(room[c * BLOCK + p] - top)
        room[c * BLOCK + p] = chance
        total += chance
    for c in range(model.shape[0]):
        room[c * BLOCK + p] /= total
    return top + math.log(total)


@cuda.jit(device=True)
def _add_up_block(room, mine):
    """The sum of a number of each thread, in the first one."""
    p = cuda.threadIdx.x
    cuda.syncthreads()
    room[p] = mine
    cuda.syncthreads()
    total = types.float64(0)
    if p == 0:
        for j in range(BLOCK):
            total += room[j]
    return total


@cuda.jit
def add_moments(values, labels, model, diagonal, pairs, sums):
    """Sums of the classes over the pixels of each block, and in a last column the log likelihood.

    With `labels`, a pixel is in its class for certain, and `model` is of that many rows alone.
    """
    room = cuda.shared.array(0, types.float64)
    p = cuda.threadIdx.x
    lane = p % LANES
    features, classes = values.shape[0], model.shape[0]
    each = pairs.shape[0]
    count = classes * each
    room[(classes + features) * BLOCK + p] = 1
    base = (classes + features + 1) * BLOCK
    for t in range(p, count * LANES, BLOCK):
        room[base + t] = 0
    likelihood = types.float64(0)
    for first in range(
        types.int64(cuda.blockIdx.x) * BLOCK,
        values.shape[1],
        types.int64(cuda.gridDim.x) * BLOCK,
    ):
        i = first + p
        # The piece before has been added by all.
        cuda.syncthreads()
        _load(room, values, classes, i)
        if i >= values.shape[1]:
            for c in range(classes):
                room[c * BLOCK + p] = 0
        elif labels.size > 0:
            for c in range(classes):
                room[c * BLOCK + p] = types.float64(labels[i] == c)
        else:
            likelihood += _take_chances(room, features, model, diagonal)
        cuda.syncthreads()
        for t in range(p // LANES, count, BLOCK // LANES):
            c = t // each
            at = c * BLOCK + lane
            q = (classes + pairs[t - c * each, 0]) * BLOCK + lane
            s = (classes + pairs[t - c * each, 1]) * BLOCK + lane
            total = types.float64(0)
            for k in range(0, BLOCK, LANES):
                total += room[at + k] * room[q + k] * room[s + k]
            room[base + t * LANES + lane] += total
    cuda.syncthreads()
    for t in range(p, count, BLOCK):
        total = types.float64(0)
        for j in range(LANES):
            total += room[base + t * LANES + j]
        sums[cuda.blockIdx.x, t] = total
    total = _add_up_block(room, likelihood)
    if p == 0:
        sums[cuda.blockIdx.x, count] = total


@cuda.jit
def classify(values, model, diagonal, labels, chances, likelihoods):
    """The most probable class of each pixel, the first of equals, and all chances, if there is room
    for them; the log likelihood of each block."""
    room = cuda.shared.array(0, types.float64)
    p = cuda.threadIdx.x
    features, classes = values.shape[0], model.shape[0]
    likelihood = types.float64(0)
    for first in range(
        types.int64(cuda.blockIdx.x) * BLOCK,
        values.shape[1],
        types.int64(cuda.gridDim.x) * BLOCK,
    ):
        i = first + p
        if i < values.shape[1]:
            # A thread looks at its own pixel alone.
            _load(room, values, classes, i)
            likelihood += _take_chances(room, features, model, diagonal)
            best = types.float64(-1)
            index = types.int32(0)
            for c in range(classes):
                chance = room[c * BLOCK + p]
                if chance > best:
                    best = chance
                    index = types.int32(c)
                if chances.size > 0:
                    chances[c * values.shape[1] + i] = chance
            labels[i] = index
    total = _add_up_block(room, likelihood)
    if p == 0:
        likelihoods[cuda.blockIdx.x] = total


def add_moments_cuda(values, labels, model, diagonal, pairs, sums, stream=0) -> None:
    """Fill `sums`, (blocks, classes times `pairs` and one), in float64; `labels` may be empty."""
    room = _bytes(len(values), len(model), len(model) * len(pairs))
    launch.start(
        add_moments,
        sums.shape[0],
        BLOCK,
        stream,
        values,
        labels,
        model,
        diagonal,
        pairs,
        sums,
        shared=room,
    )


def classify_cuda(values, model, diagonal, labels, chances, likelihoods, stream=0) -> None:
    """Fill int32 `labels`, `likelihoods` of blocks, and float32 `chances`, flat, classes first,
    which may be empty."""
    room = _bytes(len(values), len(model), 0)
    launch.start(
        classify,
        likelihoods.size,
        BLOCK,
        stream,
        values,
        model,
        diagonal,
        labels,
        chances,
        likelihoods,
        shared=room,
    )


def cuda_signatures():
    """(kernel, argument types, most registers a thread may take)."""
    table, model = types.float32[:, ::1], types.float64[:, ::1]
    labels, flag = types.int32[::1], types.boolean
    return [
        (add_moments, (table, labels, model, flag, types.int32[:, ::1], model), 100),
        (classify, (table, model, flag, labels, types.float32[::1], types.float64[::1]), 88),
    ]
