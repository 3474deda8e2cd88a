"""The steps of hysteresis segmentation of chunked arrays."""

from __future__ import annotations

from functools import partial

from scipy.ndimage import generate_binary_structure

from ..._backend import array_namespace, ndimage
from ..._cpu.segmentation.hysteresis import beyond
from ...segmentation.hysteresis import HysteresisSteps
from ..filters.hysteresis import flood_masks


def hysteresis(image, low, high, *, opening, connectivity, max_distance, foreground, return_steps):
    strict, loose = beyond(image, low, high, foreground)
    opened = strict if opening is None else _opened(strict, opening)
    combined = opened | loose
    if max_distance is None:
        connected = flood_masks(opened, combined, connectivity=connectivity, packed=False)
    else:
        connected = _reached(opened, combined, max_distance, connectivity)
    steps = HysteresisSteps(strict, opened, loose, combined, connected)
    return steps if return_steps else connected


def _opened(mask, footprint):
    # Beyond the border counts as set while eroding, and as unset while dilating; the opening reads
    # as far as both together.
    reach = {axis: 2 * (n // 2) for axis, n in enumerate(footprint.shape)}
    return _overlapping(_opening, [mask], reach, footprint)


def _overlapping(function, masks, reach, *args):
    """Call a function on chunks with as much around them as there is, up to a reach."""
    from dask import array as da

    reach = {axis: min(n, masks[0].shape[axis]) for axis, n in reach.items()}
    return da.map_overlap(
        partial(function, *args), *masks, depth=reach, boundary="none", dtype=bool,
        meta=masks[0]._meta.astype(bool),
    )  # fmt: skip


def _opening(footprint, mask):
    nd, footprint = ndimage(mask), array_namespace(mask).asarray(footprint)
    return nd.binary_dilation(nd.binary_erosion(mask, footprint, border_value=1), footprint)


def _reached(seeds, mask, distance: int, connectivity: int):
    if distance == 0:
        return seeds
    reach = dict.fromkeys(range(mask.ndim), distance)
    return _overlapping(_grown, [seeds, mask], reach, distance, connectivity)


def _grown(distance, connectivity, seeds, mask):
    beside = array_namespace(mask).asarray(generate_binary_structure(mask.ndim, connectivity))
    return ndimage(mask).binary_dilation(seeds, beside, iterations=distance, mask=mask)
