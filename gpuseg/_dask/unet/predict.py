"""Prediction for chunked images."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from dask import array as da

from ..._backend import array_namespace
from ...unet._device import torch_device
from ...unet.predict import (
    _crops,
    _divide,
    _equal,
    _Network,
    _norms,
    _Plan,
    _size,
    _weighted,
    _window,
    halo_of,
    tiles,
    where_there_is_room,
)
from .._around import Window, around


def likely_chunks(image, plan, given, convert):
    model, stack = plan.model, plan.pages is not None
    if plan.channel_axis is None:
        image = image[..., np.newaxis]
    else:
        image = da.moveaxis(image, plan.channel_axis + stack, -1)
    if plan.blend == "crop":
        depth = [halo_of(model) + model.multiple] * model.ndim
    else:
        sizes = [_size(tile.read) for row in plan.rows for tile in row.tiles]
        depth = np.max(sizes, axis=0).tolist()
    depth = [0] * stack + depth  # the images of a stack do not see one another
    plan = plan._replace(image=None, pages=None, rows=None, channel_axis=model.ndim)
    work = _Work(plan, given["window"], given["overlap"], given["device"], convert)
    sample = convert(np.zeros((model.config["out_channels"], *(1,) * len(depth)), np.float32))
    channels = sample.shape[-1] if sample.ndim > len(depth) else None
    return around(work, image, depth=depth, dtype=sample.dtype, channels=channels)


class _Work(NamedTuple):
    """What to do with a chunk; the device is chosen where the chunk is."""

    plan: _Plan
    window: tuple[int, ...] | int | None
    overlap: float
    device: str | None
    convert: partial

    def __call__(self, window: Window, core):
        if len(core) == self.plan.model.ndim:
            likely = self._likely(window, core)
        else:
            pages = range(core[0].start, core[0].stop)
            likely = np.stack([self._likely(window.page(n), core[1:]) for n in pages], axis=1)
        return array_namespace(window.values).asarray(self.convert(likely))

    def _likely(self, window: Window, core):
        predicted = self._cropped if self.plan.blend == "crop" else self._blended
        plan = self.plan._replace(image=window.values, device=torch_device(self.device))
        return where_there_is_room(partial(predicted, window, core), plan)

    def _cropped(self, window, core, plan):
        model = plan.model
        size = self.window or _equal(_size(core), model)
        rows = _crops(plan.shape, _window(size, model), model, core)
        out = np.empty((model.config["out_channels"], *_size(core)), np.float32)
        for tile, likely in _answers(plan, rows, window.start):
            of, into = _common(tile, core)
            out[into] = likely[of].cpu().numpy()
        return out

    def _blended(self, window, core, plan):
        rows = tiles(plan.model, plan.shape, "gaussian", self.window, self.overlap)
        norms = _norms(rows, plan.shape)
        rows = [row._replace(tiles=[t for t in row.tiles if _meets(t, core)]) for row in rows]
        out = np.zeros((plan.model.config["out_channels"], *_size(core)), np.float32)
        for tile, likely in _answers(plan, [row for row in rows if row.tiles], window.start):
            of, into = _common(tile, core)
            out[into] += _weighted(tile, likely)[of].cpu().numpy()
        _divide(out, [norm[cut] for norm, cut in zip(norms, core)])
        return out


def _answers(plan, rows, start):
    """Tiles with their probabilities, of an image that begins at `start`."""
    rows = [
        row._replace(
            tiles=[t._replace(read=_moved(t.read, start)) for t in row.tiles],
            read=_moved([row.read], start)[0],
        )
        for row in rows
    ]
    network = _Network(plan._replace(rows=rows))
    for row in rows:
        yield from network(row)


def _moved(place, start):
    return tuple(slice(cut.start - a, cut.stop - a) for cut, a in zip(place, start))


def _meets(tile, core) -> bool:
    return all(a.start < b.stop and b.start < a.stop for a, b in zip(tile.core, core))


def _common(tile, core):
    """What a tile and a chunk have in common, as a part of each, with all channels."""
    both = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(tile.core, core)]
    return tuple(
        (slice(None), *_moved(both, [cut.start for cut in place])) for place in (tile.core, core)
    )
