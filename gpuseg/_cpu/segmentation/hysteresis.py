"""The steps of hysteresis segmentation, written over ndimage for both backends."""

from scipy.ndimage import generate_binary_structure

from ..._backend import ndimage
from ...segmentation.hysteresis import HysteresisSteps
from ..filters.hysteresis import flood_masks


def hysteresis(
    image,
    low,
    high,
    *,
    opening,
    connectivity,
    max_distance,
    foreground,
    return_steps,
    flood=flood_masks,
    reach=None,
):
    strict, loose = beyond(image, low, high, foreground)
    opened = strict if opening is None else _opened(strict, opening)
    combined = opened | loose
    if max_distance is None:
        connected = flood(opened, combined, connectivity=connectivity, packed=False)
    else:
        connected = (reach or _reached)(opened, combined, max_distance, connectivity)
    steps = HysteresisSteps(strict, opened, loose, combined, connected)
    return steps if return_steps else connected


def beyond(image, low, high, foreground: str):
    """What is beyond the strict threshold, and what beyond the loose one."""
    if foreground == "bright":
        return image > high, image > low
    return image < low, image < high


def _opened(mask, footprint):
    nd = ndimage(mask)
    # A voxel beyond the border counts as set while eroding, and as unset while dilating.
    eroded = nd.binary_erosion(mask, footprint, border_value=1)
    return nd.binary_dilation(eroded, footprint)


def _reached(seeds, mask, distance: int, connectivity: int):
    if distance == 0:
        return seeds
    beside = generate_binary_structure(mask.ndim, connectivity)
    return ndimage(mask).binary_dilation(seeds, beside, iterations=distance, mask=mask)
