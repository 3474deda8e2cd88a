"""Chunks with what lies around them, for what must know where in the volume a chunk is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from dask import array as da

from ._blocks import _fit
from ._connected import aligned, threads


class Window(NamedTuple):
    """A part of an image with channels last, which has the places and the shape of the whole."""

    values: np.ndarray
    start: tuple[int, ...]
    shape: tuple[int, ...]

    def __getitem__(self, place):
        return self.values[tuple(slice(s.start - a, s.stop - a) for s, a in zip(place, self.start))]

    def page(self, number: int) -> Window:
        """What there is at a place along the first axis."""
        return Window(self.values[number - self.start[0]], self.start[1:], self.shape[1:])


def around(work, image, *, depth, dtype, channels=None):
    """``work(window, core)`` of every chunk of an image with channels last, lazily.

    The window reaches `depth` voxels beyond the core along each axis. The result has `channels` on
    its last axis, or none.
    """
    shape, ndim = image.shape[:-1], image.ndim - 1
    (image,) = aligned([image])
    (image,) = _fit([image.rechunk({ndim: -1})], (*depth, 0), wrap=False)
    chunks = image.chunks[:-1]
    depth = [d if len(sizes) > 1 else 0 for d, sizes in zip(depth, chunks)]
    if any(depth):
        reach = dict(enumerate((*depth, 0)))
        image = da.overlap.overlap(image, reach, dict.fromkeys(reach, "none"), allow_rechunk=False)
    meta = image._meta.astype(dtype)
    return da.map_blocks(
        _worked,
        image,
        work=work,
        depth=depth,
        shape=shape,
        chunks=chunks if channels is None else (*chunks, (channels,)),
        drop_axis=[ndim] if channels is None else [],
        dtype=dtype,
        meta=meta.sum(axis=-1).astype(dtype) if channels is None else meta,
    )


def _worked(image, work, depth, shape, block_info=None):
    places = block_info[None]["array-location"][: len(shape)]
    start = tuple(max(0, first - d) for (first, _), d in zip(places, depth))
    window = Window(image, start, (*shape, image.shape[-1]))
    with threads():
        return work(window, tuple(slice(*ends) for ends in places))
