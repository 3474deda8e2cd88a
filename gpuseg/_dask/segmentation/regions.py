"""Flood fill, objects at the border and growing labels, of chunked arrays."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from scipy.ndimage import generate_binary_structure

from ..._backend import array_namespace
from ..._cpu.segmentation.regions import alike
from ...segmentation import regions as public
from .._blocks import local
from .._components import grown, of_values
from .._connected import Found, decide, first_pass, last_pass, settle
from ..filters.hysteresis import flood_masks


def flood(image, seed_point, *, footprint, connectivity, tolerance):
    connectivity = _steps(footprint, connectivity, image.ndim)
    there, seeds = _at_point(image, seed_point, tolerance)
    return flood_masks(seeds, there, connectivity=connectivity, packed=False)


def flood_fill(image, seed_point, value, *, footprint, connectivity, tolerance):
    connectivity = _steps(footprint, connectivity, image.ndim)
    there, seeds = _at_point(image, seed_point, tolerance)
    find = partial(_grown, connectivity)
    passes = first_pass("fill", find, [there, seeds, image], connectivity, partial(decide, 0))
    return last_pass(passes, partial(settle, partial(_filled, value), 0), image.dtype)


def expand_labels(label_image, *, distance, spacing):
    lengths = zip(label_image.shape, spacing)
    return local(
        public.expand_labels,
        label_image,
        depth=[math.ceil(min(distance / step, length)) for length, step in lengths],
        distance=distance,
        spacing=spacing,
    )


def clear_border(labels, *, buffer_size, bgval, mask):
    inside = _inside(labels, buffer_size) if mask is None else mask
    find = partial(_objects, bgval != 0)
    # An object stays where it has no voxel, minus one each, in the border: where it weighs 0.
    passes = first_pass("border", find, [labels, inside], labels.ndim, partial(decide, -1))
    return last_pass(passes, partial(settle, partial(_cleared, bgval), -1), labels.dtype)


def _steps(footprint, connectivity: int, ndim: int) -> int:
    """A footprint as a connectivity; others connect what lies apart, for which no face speaks."""
    if footprint is None:
        return connectivity
    footprint = np.asarray(footprint) != 0
    for steps in range(1, ndim + 1):
        if np.array_equal(footprint, generate_binary_structure(ndim, steps)):
            return steps
    raise ValueError(
        "footprint must be that of a connectivity (scipy.ndimage.generate_binary_structure) for a "
        "Dask array; for others call .compute() on the image first"
    )


def _at_point(image, point, tolerance):
    """What is like a point of an image, and the point alone."""
    ends = [np.cumsum(c) for c in image.chunks]
    block = tuple(int(np.searchsorted(e, i, side="right")) for e, i in zip(ends, point))
    within = tuple(int(i - (e[b] - c[b])) for i, e, b, c in zip(point, ends, block, image.chunks))
    there = image.map_blocks(_alike, image[point], tolerance, dtype=bool)
    return there, there.map_blocks(_seeds, block, within, dtype=bool)


def _alike(image, value, tolerance):
    return alike(image, value, tolerance)


def _seeds(there, block, within, block_info=None):
    seeds = array_namespace(there).zeros(there.shape, bool)
    if block_info is None or tuple(block_info[0]["chunk-location"]) == block:
        seeds[within] = there[within]
    return seeds


def _grown(connectivity, sides, there, seeds, image):
    zero = np.uint8(0)
    found = grown(there, zero, seeds, zero, connectivity, sides)
    return Found(found, found.weights(), (image,))


def _filled(value, kept, image):
    image = image.copy()
    image[kept] = value
    return image


def _inside(labels, buffer_size: int):
    """What is farther from the outermost voxels than that."""
    return labels.map_blocks(
        _farther, labels.shape, buffer_size, dtype=bool, meta=labels._meta.astype(bool)
    )


def _farther(labels, shape, buffer_size, block_info=None):
    inside = array_namespace(labels).ones(labels.shape, bool)
    for axis, (start, stop) in enumerate(block_info[0]["array-location"]):
        line = np.arange(start, stop)
        near = (line <= buffer_size) | (line >= shape[axis] - buffer_size - 1)
        index = tuple(slice(None) if a == axis else None for a in range(labels.ndim))
        inside &= array_namespace(labels).asarray(~near)[index]
    return inside


def _objects(background_too, _, labels, inside):
    found = of_values(labels, 0, labels.ndim)
    xp = array_namespace(labels)
    hits = xp.bincount(found.labels[~xp.asarray(inside)], minlength=found.count + 1)
    weights = -np.asarray(hits.get() if hasattr(hits, "get") else hits)
    weights[0] *= background_too
    return Found(found, weights, (labels,), values=labels)


def _cleared(bgval, kept, labels):
    labels = labels.copy()
    labels[~kept] = bgval
    return labels
