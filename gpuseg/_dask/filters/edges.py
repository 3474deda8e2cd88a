"""Edges of chunked arrays."""

from __future__ import annotations

from ...filters import edges as public
from .._blocks import local


def _gradient(name: str):
    def form(image, *, mask, **options):
        return local(
            getattr(public, name),
            image,
            depth=[1] * image.ndim,
            beside={"mask": mask},
            wrap=options["mode"] == "wrap",
            **options,
        )

    form.__name__ = name
    return form


sobel = _gradient("sobel")
scharr = _gradient("scharr")
prewitt = _gradient("prewitt")


def laplace(image, ksize, *, mask):
    depth = [max(1, ksize // 2)] * image.ndim
    return local(public.laplace, image, depth=depth, beside={"mask": mask}, ksize=ksize)
