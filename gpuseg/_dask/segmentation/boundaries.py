"""Boundaries in chunked arrays."""

from __future__ import annotations

import dask.array as da

from ...segmentation import boundaries as public
from .._blocks import local


def find_boundaries(label_img, **options):
    _whole_voxels(options["mode"])
    # One voxel for the boundary, one more for what it leaves out.
    return local(public.find_boundaries, label_img, depth=[2] * label_img.ndim, **options)


def mark_boundaries(image, *, label_img, **options):
    _whole_voxels(options["mode"])
    if image.ndim == 2:
        return _marked(image, label_img, options)
    return da.stack([_marked(image[..., c], label_img, options)[..., c] for c in range(3)], axis=-1)


def _marked(image, label_img, options):
    beside = {"label_img": label_img}
    depth = [3] * image.ndim
    return local(public.mark_boundaries, image, depth=depth, beside=beside, channels=3, **options)


def _whole_voxels(mode: str) -> None:
    if mode == "subpixel":
        raise ValueError(
            "mode must not be 'subpixel' for a Dask array: the result has other voxels; "
            "call .compute() first"
        )
