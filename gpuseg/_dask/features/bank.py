"""The bank of filters of chunked images."""

from __future__ import annotations

from dask import array as da

from ..._cpu.features.bank import _layout
from ..._cpu.features.channels import floating
from ...features import bank as public
from ._local import Features, channels_of

_HESSIAN = "hessian_eigenvalues"


def filter_bank(image, sigmas, kinds, *, channel_axis, mode):
    channels = channels_of(image, channel_axis)
    if mode == "wrap" and _HESSIAN in kinds:
        return _with_own_ends(channels, sigmas, kinds)
    return _bank(channels, sigmas, kinds, mode)


def _bank(channels, sigmas, kinds, mode):
    _, count = _layout(len(sigmas), kinds, channels[0].ndim)
    return Features(public.filter_bank, (sigmas, kinds), {"mode": mode}).of(
        channels,
        reach=public.reach(sigmas, kinds),
        dtype=floating(channels[0]),
        count=count * len(channels),
        wrap=mode == "wrap",
    )


def _with_own_ends(channels, sigmas, kinds):
    """The image wraps around and its second derivatives do not: these are of the smoothed image."""
    others = tuple(kind for kind in kinds if kind != _HESSIAN)
    planes = []
    dtype = floating(channels[0])
    for channel in channels:
        rest = iter(_planes(_bank([channel], sigmas, others, "wrap") if others else None))
        layout, _ = _layout(len(sigmas), kinds, channel.ndim)
        for sigma, places in zip(sigmas, layout):
            for kind in places:
                if kind == _HESSIAN:
                    # In float64, as the derivatives of a whole image are taken.
                    exact = channel.astype("f8")
                    smooth = _planes(_bank([exact], (sigma,), ("gaussian",), "wrap"))
                    found = _bank(smooth, (0.0,), (_HESSIAN,), "nearest").astype(dtype)
                    planes += _planes(found)
                else:
                    several = channel.ndim if kind.endswith("eigenvalues") else 1
                    planes += [next(rest) for _ in range(several)]
    return da.stack(planes, axis=-1).rechunk({channels[0].ndim: -1})


def _planes(features) -> list:
    return [] if features is None else [features[..., i] for i in range(features.shape[-1])]
