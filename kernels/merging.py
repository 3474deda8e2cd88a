"""Merging of the regions of a graph, the most similar neighbours first. On the host alone.

The graph is small beside the image that it was made of, and each merge depends on the ones
before, so this is one loop on one core. Regions know their edges by linked lists; edges wait in a
heap by weight, and an entry that an edge has outlived is recognised by its stamp.
"""

from __future__ import annotations

from heapq import heappop, heappush

import numpy as np

from .kept import njit


@njit(nogil=True, cache=True)
def merge(first, second, lengths, strengths, sizes, sums, by_strength, threshold, least):
    """The smallest region that each has merged with, once no edge is below `threshold`, or at
    `least` regions.

    Edge e joins regions ``first[e] < second[e]``, with the sum `strengths` over the `lengths` faces
    between them. Regions have `sizes` pixels and the `sums` of their channels. An edge weighs its
    mean strength, or else the distance of the means. All arrays are overwritten.
    """
    regions, edges = sizes.size, first.size
    parents = np.arange(regions)
    stamps = np.zeros(edges, np.int64)
    # The edges of a region: half-edge 2 e lies in the list of first[e], 2 e + 1 in second[e]'s.
    heads = np.full(regions, -1, np.int64)
    following = np.full(2 * edges, -1, np.int64)
    heap = [(0.0, np.int64(-1), np.int64(0)) for _ in range(0)]
    for e in range(edges):
        following[2 * e], heads[first[e]] = heads[first[e]], 2 * e
        following[2 * e + 1], heads[second[e]] = heads[second[e]], 2 * e + 1
        weight = _weight(e, first, second, lengths, strengths, sizes, sums, by_strength)
        if weight < threshold:
            heappush(heap, (weight, np.int64(e), np.int64(0)))
    # At the merge that is under way, the edge from the surviving region to each other one.
    edge_to = np.full(regions, -1, np.int64)
    left = regions
    while len(heap) > 0 and left > least:
        _, e, stamp = heappop(heap)
        if stamp != stamps[e]:
            continue
        kept, gone = min(first[e], second[e]), max(first[e], second[e])
        parents[gone] = kept
        left -= 1
        sizes[kept] += sizes[gone]
        sums[kept] += sums[gone]
        stamps[e] = -1
        heads[kept] = _without_dead(heads[kept], following, stamps)
        heads[gone] = _without_dead(heads[gone], following, stamps)
        half = heads[kept]
        while half >= 0:
            edge_to[_other(half, first, second)] = half // 2
            half = following[half]
        half = heads[gone]
        while half >= 0:
            after = following[half]
            other = _other(half, first, second)
            twin = edge_to[other]
            if twin >= 0:
                lengths[twin] += lengths[half // 2]
                strengths[twin] += strengths[half // 2]
                stamps[half // 2] = -1
            else:
                if half % 2 == 0:
                    first[half // 2] = kept
                else:
                    second[half // 2] = kept
                following[half], heads[kept] = heads[kept], half
            half = after
        half = heads[kept]
        while half >= 0:
            edge_to[_other(half, first, second)] = -1
            e = half // 2
            stamps[e] += 1
            weight = _weight(e, first, second, lengths, strengths, sizes, sums, by_strength)
            if weight < threshold:
                heappush(heap, (weight, e, stamps[e]))
            half = following[half]
    for r in range(regions):
        top = r
        while parents[top] != top:
            top = parents[top]
        parents[r] = top
    return parents


@njit(nogil=True, cache=True)
def _other(half, first, second):
    """The region at the other end of a half-edge."""
    return second[half // 2] if half % 2 == 0 else first[half // 2]


@njit(nogil=True, cache=True)
def _without_dead(head, following, stamps):
    """A region's list of half-edges, without those of edges that merges have removed."""
    while head >= 0 and stamps[head // 2] < 0:
        head = following[head]
    half = head
    while half >= 0:
        after = following[half]
        while after >= 0 and stamps[after // 2] < 0:
            after = following[after]
        following[half] = after
        half = after
    return head


@njit(nogil=True, cache=True)
def _weight(e, first, second, lengths, strengths, sizes, sums, by_strength):
    if by_strength:
        return strengths[e] / lengths[e]
    a, b = first[e], second[e]
    total = 0.0
    for c in range(sums.shape[1]):
        difference = sums[a, c] / sizes[a] - sums[b, c] / sizes[b]
        total += difference * difference
    return np.sqrt(total)
