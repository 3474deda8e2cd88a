"""The k nearest references of each query, nearest first; of equally near ones the first.

Distances are sums of float64 squares (or magnitudes) in the order of the features, the same
operations on every backend, so all find the same neighbours to the last bit.

CPU: references lie in the leaves of a balanced tree, feature by feature within a leaf, so that a
leaf is compared side by side. A node is passed by when its box is farther than what was found. The
distance to a box is computed by the very operations of the distance to a point, which keep order
when they round: no point of the box can come out nearer. CUDA: a thread takes a query and meets
every reference; a warp reads the same reference at a time.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numba import cuda, types

from . import launch
from .exact import multiply64
from .kept import njit

# References of a leaf, at most.
LEAF = 64


class Tree(NamedTuple):
    """Node 1 is the root, 2 i and 2 i + 1 are the halves of node i, the last level are leaves."""

    points: np.ndarray  # references in the order of the leaves, (features, references)
    order: np.ndarray  # their numbers
    boxes: np.ndarray  # (nodes, 2, features): least and greatest values
    levels: int


def tree_cpu(references, leaf: int = LEAF) -> Tree:
    """The tree of float64 references, (references, features)."""
    count, features = references.shape
    levels = 0
    while count >> levels > leaf:
        levels += 1
    order = np.arange(count)
    boxes = np.empty((2 << levels, 2, features))
    _divide(references, levels, order, boxes)
    return Tree(np.ascontiguousarray(references[order].T), order, boxes, levels)


def neighbors_cpu(queries, tree: Tree, *, manhattan: bool, distances, indices) -> None:
    """Fill float64 `distances` and int64 `indices`, (queries, k); Euclidean ones are squared."""
    # More pieces than threads: some queries have far more to look at than others.
    pieces = 8 * launch.thread_count()
    launch.slabs(
        _neighbors_range, len(queries), queries, *tree, manhattan, distances, indices, pieces=pieces
    )


@njit(nogil=True, cache=True)
def _divide(references, levels, order, boxes):
    count, features = references.shape
    keys = np.empty(count)
    for level in range(levels + 1):
        for j in range(1 << level):
            start, stop = count * j >> level, count * (j + 1) >> level
            low, high = boxes[(1 << level) + j]
            low[:] = np.inf
            high[:] = -np.inf
            for i in order[start:stop]:
                for q in range(features):
                    low[q] = min(low[q], references[i, q])
                    high[q] = max(high[q], references[i, q])
            if level < levels:
                widest = np.argmax(high - low)
                for i in range(start, stop):
                    keys[i] = references[order[i], widest]
                _select(keys, order, start, stop - 1, count * (2 * j + 1) >> (level + 1))


@njit(nogil=True, cache=True)
def _select(keys, order, left, right, middle):
    """Put what belongs there at `middle`, no greater keys before it and no smaller after it."""
    while left < right:
        pivot = keys[(left + right) // 2]
        i, j = left, right
        while i <= j:
            while keys[i] < pivot:
                i += 1
            while keys[j] > pivot:
                j -= 1
            if i <= j:
                keys[i], keys[j] = keys[j], keys[i]
                order[i], order[j] = order[j], order[i]
                i += 1
                j -= 1
        if middle <= j:
            right = j
        elif middle >= i:
            left = i
        else:
            return


@njit(nogil=True, cache=True)
def _neighbors_range(
    start, stop, queries, points, order, boxes, levels, manhattan, distances, indices
):
    count, first_leaf = points.shape[1], 1 << levels
    away = np.empty(count // first_leaf + 1)
    nodes, bounds = np.empty(levels + 2, np.int64), np.empty(levels + 2)
    for i in range(start, stop):
        query, best, found = queries[i], distances[i], indices[i]
        best[:] = np.inf
        found[:] = count
        last = best.size - 1
        nodes[0], bounds[0], waiting = 1, 0.0, 1
        while waiting:
            waiting -= 1
            node, bound = nodes[waiting], bounds[waiting]
            # A node that is just as far may hold a reference that comes first.
            while bound <= best[last] and node < first_leaf:
                node *= 2
                bound = _to_box(query, boxes[node], manhattan)
                other = _to_box(query, boxes[node + 1], manhattan)
                far, far_bound = node + 1, other
                if other < bound:
                    far, far_bound, node, bound = node, bound, node + 1, other
                if far_bound <= best[last]:
                    nodes[waiting], bounds[waiting] = far, far_bound
                    waiting += 1
            if bound <= best[last]:
                at = count * (node - first_leaf) >> levels
                size = (count * (node - first_leaf + 1) >> levels) - at
                _to_points(query, points, at, manhattan, away[:size])
                for j in range(size):
                    if away[j] <= best[last]:
                        _insert(away[j], order[at + j], best, found)


@njit(nogil=True, cache=True)
def _to_box(query, box, manhattan):
    total = 0.0
    for q in range(query.size):
        gap = max(box[0, q] - query[q], query[q] - box[1, q], 0.0)
        total += gap if manhattan else gap * gap
    return total


@njit(nogil=True, cache=True)
def _to_points(query, points, at, manhattan, away):
    away[:] = 0
    for q in range(query.size):
        if manhattan:
            _add_magnitudes(points[q, at : at + away.size], query[q], away)
        else:
            _add_squares(points[q, at : at + away.size], query[q], away)


@njit(nogil=True, cache=True)
def _add_squares(row, value, away):
    for j in range(away.size):
        difference = row[j] - value
        away[j] += difference * difference


@njit(nogil=True, cache=True)
def _add_magnitudes(row, value, away):
    for j in range(away.size):
        away[j] += abs(row[j] - value)


@njit(nogil=True, cache=True)
def _insert(distance, index, best, found):
    """Put a reference in its place among those found, if there is one for it."""
    at = best.size
    while at and (distance < best[at - 1] or (distance == best[at - 1] and index < found[at - 1])):
        at -= 1
        if at + 1 < best.size:
            best[at + 1] = best[at]
            found[at + 1] = found[at]
    if at < best.size:
        best[at] = distance
        found[at] = index


# --- CUDA --------------------------------------------------------------------------------------

BLOCK = 16 if launch.simulating() else 128
# Neighbours that a thread keeps, at most, and features that it keeps in registers.
MOST = 32
_KEPT = 8


@cache
def _kernel(features, room, manhattan):
    """For so many features (0: any, read again for each reference) and up to `room` neighbours."""
    size = max(features, 1)

    @cuda.jit(device=True)
    def term(value, reference):
        difference = value - reference
        return abs(difference) if manhattan else multiply64(difference, difference)

    @cuda.jit
    def neighbors(queries, references, distances, indices):
        best = cuda.local.array(room, types.float64)
        found = cuda.local.array(room, types.int64)
        mine = cuda.local.array(size, types.float64)
        k = distances.shape[1]
        for i in range(cuda.grid(1), queries.shape[1], cuda.gridsize(1)):
            for j in range(k):
                best[j] = np.inf
                found[j] = 0
            for q in range(features):
                mine[q] = queries[q, i]
            worst = types.float64(np.inf)
            for r in range(references.shape[0]):
                total = types.float64(0)
                if features > 0:
                    for q in range(features):
                        total += term(mine[q], references[r, q])
                else:
                    for q in range(queries.shape[0]):
                        total += term(queries[q, i], references[r, q])
                # References come in order: of equals the first stays. Until there are k, any fits.
                if total < worst or r < k:
                    at = k - 1 if r >= k else r
                    while at > 0 and total < best[at - 1]:
                        best[at] = best[at - 1]
                        found[at] = found[at - 1]
                        at -= 1
                    best[at] = total
                    found[at] = r
                    worst = best[k - 1]
            for j in range(k):
                distances[i, j] = best[j]
                indices[i, j] = found[j]

    return neighbors


def _kernel_for(features, k, manhattan):
    room = next(size for size in (1, 8, MOST) if size >= k)
    return _kernel(features if features <= _KEPT else 0, room, manhattan)


def neighbors_cuda(queries, references, *, manhattan, distances, indices, stream=0) -> None:
    """As `neighbors_cpu`; `queries` are (features, queries), `references` (references, features).

    At most `MOST` neighbours.
    """
    kernel = _kernel_for(queries.shape[0], distances.shape[1], manhattan)
    grid = launch.blocks(queries.shape[1], BLOCK, most=1 << 16)
    launch.start(kernel, grid, BLOCK, stream, queries, references, distances, indices)


def cuda_signatures():
    """(kernel, argument types, most registers a thread may take)."""
    table, numbers = types.float64[:, ::1], types.int64[:, ::1]
    return [
        (_kernel(features, room, manhattan), (table, table, table, numbers), 96)
        for features, room, manhattan in (
            (0, MOST, False),
            (1, 1, False),
            (3, 8, True),
            (_KEPT, MOST, False),
        )
    ]
