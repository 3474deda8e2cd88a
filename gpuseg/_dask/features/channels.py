"""Places, neighbours and products of chunked images."""

from __future__ import annotations

from functools import partial

import numpy as np
from dask import array as da

from ..._backend import run
from ..._cpu.features.channels import floating
from ...features import channels as public
from .._around import around
from .._connected import aligned, threads
from ._local import Features, channels_of


def position(image, polar, scale, *, channel_axis):
    image = image[..., np.newaxis] if channel_axis is None else da.moveaxis(image, channel_axis, -1)
    ndim = image.ndim - 1
    work = partial(_places, polar, scale)
    return around(work, image, depth=[0] * ndim, dtype=np.dtype(floating(image)), channels=ndim)


def _places(polar, scale, window, core):
    place = [cut.start for cut in core], window.shape[:-1]
    return run(public.position, window.values[..., 0], polar, scale, channel_axis=None, place=place)


def neighborhood(image, radius, mode, *, cval, channel_axis):
    channels = channels_of(image, channel_axis)
    return Features(public.neighborhood, (radius, mode), {"cval": cval}).of(
        channels,
        reach=radius,
        dtype=floating(image),
        count=(2 * radius + 1) ** channels[0].ndim * len(channels),
        wrap=mode == "wrap",
    )


def polynomial(features, terms):
    last = features.ndim - 1
    (features,) = aligned([features.rechunk({last: -1})])
    dtype = np.dtype(floating(features))
    return da.map_blocks(
        _products,
        features,
        terms,
        chunks=(*features.chunks[:-1], (len(terms),)),
        dtype=dtype,
        meta=features._meta.astype(dtype),
    )


def _products(features, terms):
    with threads():
        return run(public.polynomial, features, terms)
