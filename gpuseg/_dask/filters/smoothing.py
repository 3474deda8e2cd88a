"""Smoothing of chunked arrays."""

from __future__ import annotations

import math

from ...filters import smoothing as public
from .._blocks import local


def gaussian(image, sigma, **options):
    return local(
        public.gaussian,
        image,
        depth=[_reach(s, options["truncate"]) for s in sigma],
        wrap=options["mode"] == "wrap",
        sigma=sigma,
        **options,
    )


def difference_of_gaussians(image, low, high, **options):
    return local(
        public.difference_of_gaussians,
        image,
        depth=[_reach(max(pair), options["truncate"]) for pair in zip(low, high)],
        wrap=options["mode"] == "wrap",
        low=low,
        high=high,
        **options,
    )


def median(image, footprint, **options):
    sizes = (3,) * image.ndim if footprint is None else footprint.shape
    return local(
        public.median,
        image,
        depth=[size // 2 for size in sizes],
        wrap=options["mode"] == "wrap" and options["behavior"] == "ndimage",
        footprint=footprint,
        **options,
    )


def subtract_background(image, sigma, *, method, smooth, foreground):
    radius = math.ceil(sigma)
    reach = {
        "gaussian": _reach(sigma, 4),
        "median": radius,
        "closing": 2 * radius,
        "rolling_ball": radius + 1,
    }
    depth = [max(reach[method], smooth or 0)] * image.ndim
    options = {"sigma": sigma, "method": method, "smooth": smooth, "foreground": foreground}
    # Whoever wants only the first never computes the second.
    return tuple(
        local(public.subtract_background, image, depth=depth, pick=part, **options)
        for part in range(2)
    )


def _reach(sigma, truncate) -> int:
    return int(truncate * sigma + 0.5)
