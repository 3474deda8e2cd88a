"""Labels that each chunk finds by itself, numbered through."""

from __future__ import annotations

from functools import partial

import numpy as np

from .._backend import array_namespace, asnumpy
from ._blocks import overlapped
from ._components import Labels
from ._connected import Found, first_pass, last_pass, number, order, threads


def labelled(function, arrays, overlap: int):
    depth = [overlap] * arrays[0].ndim
    labels = overlapped(partial(_labels, function), arrays, depth, np.int64)
    passes = first_pass("apart", _found, [labels], 0, order, in_order=True)
    dtype = np.int32 if labels.size < 2**31 else np.int64
    return last_pass(passes, partial(number, dtype), dtype)


def _labels(function, *chunks):
    with threads():
        labels = function(*chunks)
    if getattr(labels, "shape", None) != chunks[0].shape or labels.dtype.kind not in "bui":
        got = f"{getattr(labels, 'dtype', type(labels).__name__)}, {getattr(labels, 'shape', '')}"
        raise TypeError(
            f"function must return labels (integers) of the shape of its chunk, "
            f"{chunks[0].shape}, got {got}"
        )
    return labels.astype(np.int64)


def _found(_, labels):
    """Labels in the order in which they begin."""
    names, first, places = np.unique(asnumpy(labels), return_index=True, return_inverse=True)
    numbers = np.zeros(names.size, np.int32)
    there = np.flatnonzero(names)
    numbers[there[np.argsort(first[there])]] = np.arange(1, there.size + 1)
    numbers = array_namespace(labels).asarray(numbers[places.reshape(labels.shape)])
    return Found(Labels(numbers, there.size))
