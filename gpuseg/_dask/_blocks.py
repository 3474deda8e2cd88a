"""Functions of a voxel's neighbourhood on chunked arrays.

A chunk is computed with what lies around it in its neighbours, as deep as a result can see, and
what that gave wrong at the rim is cut off. Where the volume itself ends the chunk ends too, so that
the function meets there the border that it would meet in the whole, by its own mode; only where it
wraps around are the voxels of the other end brought in.
"""

from __future__ import annotations

import dask.array as da
import numpy as np

from .._backend import DeviceFullError, array_namespace, log_once, run, telling_full
from ._connected import aligned, threads


def local(function, image, *, depth, beside=None, wrap=False, channels=None, pick=None, **options):
    """A public function's result, lazily, in the chunks of `image`.

    `depth` is how far along each axis a result can see. `beside` names arrays of the image's shape
    that it sees as well, or None. The result may have `channels` along one more, last axis; of a
    result in parts, `pick` is the number of the one that is wanted.
    """
    beside = beside or {}
    options |= {name: None for name, x in beside.items() if x is None}
    beside = {name: x for name, x in beside.items() if x is not None}
    work = _Work(function, tuple(beside), options, pick)
    ones = (np.ones((1,) * image.ndim, x.dtype) for x in (image, *beside.values()))
    dtype = work(*ones).dtype
    return overlapped(work, [image, *beside.values()], depth, dtype, wrap=wrap, channels=channels)


def overlapped(work, arrays, depth, dtype, *, wrap=False, channels=None):
    """What `work` makes of each chunk of some arrays with what lies around it, without that."""
    arrays = _fit(aligned(arrays), depth, wrap)
    chunks, ndim, like = arrays[0].chunks, arrays[0].ndim, arrays[0]._meta
    # An axis that is one chunk meets its own ends; where it wraps around, it is never cut.
    whole = [wrap and len(axis) == 1 for axis in chunks]
    reach = [None if once else d for d, once in zip(depth, whole)]
    depth = [d if len(axis) > 1 else 0 for d, axis in zip(depth, chunks)]
    if any(depth):
        boundary = dict.fromkeys(range(ndim), "periodic" if wrap else "none")
        arrays = [
            da.overlap.overlap(x, dict(enumerate(depth)), boundary, allow_rechunk=False)
            for x in arrays
        ]
    meta = like.astype(dtype)
    if channels is not None:
        chunks, meta = (*chunks, (channels,)), meta[..., np.newaxis]
    return da.map_blocks(
        _inner,
        *arrays,
        work=work,
        reach=reach,
        depth=depth,
        wrap=wrap,
        chunks=chunks,
        new_axis=None if channels is None else ndim,
        dtype=dtype,
        meta=meta,
    )


def _fit(arrays, depth, wrap):
    """Arrays in chunks that are nowhere thinner than what their neighbours want of them."""
    chunks = list(arrays[0].chunks)
    for axis, (sizes, d) in enumerate(zip(arrays[0].chunks, depth)):
        length = sum(sizes)
        if d > length and wrap:
            chunks[axis] = (length,)
        elif min(sizes) < d and len(sizes) > 1:
            chunks[axis] = da.overlap.ensure_minimum_chunksize(min(d, length), sizes)
    return [x.rechunk(tuple(chunks)) for x in arrays]


class _Work:
    """A call that takes chunks; it can be pickled and has a name that tells it from others."""

    def __init__(self, function, names, options, pick):
        self.function, self.names, self.options, self.pick = function, names, options, pick

    def __call__(self, image, *beside):
        with threads():
            result = run(self.function, image, **dict(zip(self.names, beside)), **self.options)
        return result if self.pick is None else result[self.pick]

    def __dask_tokenize__(self):
        from dask.base import normalize_token

        where = self.function.__module__, self.function.__name__
        return (*where, *map(normalize_token, (self.names, self.options, self.pick)))


def _inner(image, *beside, work, reach, depth, wrap, block_info=None):
    result = _in_slabs(work, [image, *beside], reach)
    place, count = block_info[0]["chunk-location"], block_info[0]["num-chunks"]
    inside = tuple(
        slice(d if wrap or at else 0, size - (d if wrap or at < n - 1 else 0))
        for d, at, n, size in zip(depth, place, count, image.shape)
    )
    return result[inside]


def _in_slabs(work, arrays, reach):
    """The result for a chunk; where that is too much for a device, for its halves along an axis, of
    which a result sees so much, or everything (None)."""
    try:
        with telling_full():
            return work(*arrays)
    except DeviceFullError:
        shape = arrays[0].shape
        axis = int(np.argmax([0 if r is None else n / (r + 1) for n, r in zip(shape, reach)]))
        middle, around = shape[axis] // 2, reach[axis]
        if around is None or middle <= around:
            return work(*arrays)  # no smaller: the CPU has room
    log_once("out of device memory: chunks are worked on in smaller slabs")
    halves = []
    for start, stop in ((0, middle), (middle, shape[axis])):
        ends = max(0, start - around), min(shape[axis], stop + around)
        lead = (slice(None),) * axis
        half = _in_slabs(work, [x[(*lead, slice(*ends))] for x in arrays], reach)
        halves.append(half[(*lead, slice(start - ends[0], stop - ends[0]))])
    return array_namespace(halves[0]).concatenate(halves, axis=axis)
