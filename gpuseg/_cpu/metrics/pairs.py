"""Pairs of labels, counted by the kernel where a table of them is small."""

from __future__ import annotations

import numpy as np

from ..._backend import array_namespace, asnumpy
from ...kernels.pairs import count_pairs_cpu
from ..regions import compact

# The largest table that each thread may have, in pairs.
_MOST = 1 << 18


def pair_counts(first, second):
    return counted(first, second, _dense)


def _dense(first, second, low, width):
    return count_pairs_cpu(np.ascontiguousarray(first), np.ascontiguousarray(second), low, width)


def counted(first, second, dense):
    """Values of both, and the pairs that occur: from a dense table, or by sorting."""
    kinds = first.dtype, second.dtype
    *values, first, second, counts = _counted(first, second, dense)
    # What int64 cannot hold keeps its type, so that it can be joined with more of its kind.
    own = [kind.kind == "b" or kind == np.uint64 for kind in kinds]
    values = [v.astype(kind) if its else v for v, kind, its in zip(values, kinds, own)]
    return *values, first, second, counts


def _counted(first, second, dense):
    xp = array_namespace(first)
    first, second = (a.reshape(-1) for a in (first, second))
    first, second = (a.view(xp.uint8) if a.dtype == bool else a for a in (first, second))
    low = tuple(int(a.min()) for a in (first, second))
    width = tuple(int(a.max()) - least + 1 for a, least in zip((first, second), low))
    if width[0] * width[1] <= _MOST and max(map(abs, low)) < 2**62:
        table = dense(first, second, low, width)
        values = [np.flatnonzero(table.any(axis=1 - a)) for a in (0, 1)]
        table = table[np.ix_(*values)]
        index = np.nonzero(table)
        return values[0] + low[0], values[1] + low[1], *index, table[index]
    labels, values = [], []
    for a in (first, second):
        flat, found = compact(a)
        labels.append(flat.astype(xp.int64, copy=False))
        values.append(asnumpy(found))
    pairs, counts = xp.unique(labels[0] * len(values[1]) + labels[1], return_counts=True)
    pairs, counts = asnumpy(pairs), asnumpy(counts)
    return *values, pairs // len(values[1]), pairs % len(values[1]), counts
