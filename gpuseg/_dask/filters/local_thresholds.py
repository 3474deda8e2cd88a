"""Local thresholds of chunked arrays."""

from __future__ import annotations

from ...filters import local_thresholds as public
from .._blocks import local


def threshold_local(image, block_size, method, **options):
    return local(
        public.threshold_local,
        image,
        depth=[size // 2 for size in block_size],
        wrap=options["mode"] == "wrap",
        block_size=block_size,
        method=method,
        **options,
    )


def threshold_niblack(image, window_size, k):
    return _by_moments(public.threshold_niblack, image, window_size, k=k)


def threshold_sauvola(image, window_size, k, r):
    return _by_moments(public.threshold_sauvola, image, window_size, k=k, r=r)


def _by_moments(function, image, window_size, **options):
    depth = [size // 2 for size in window_size]
    return local(function, image, depth=depth, window_size=window_size, **options)
