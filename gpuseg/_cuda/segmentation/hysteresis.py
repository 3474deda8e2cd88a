"""The steps of hysteresis segmentation: the same code, flooded by the CUDA kernel."""

from scipy.ndimage import generate_binary_structure

from ..._backend import array_namespace, ndimage
from ..._cpu.segmentation import hysteresis as steps
from ..filters.hysteresis import flood_masks


def hysteresis(image, low, high, **how):
    return steps.hysteresis(image, low, high, flood=flood_masks, reach=_reached, **how)


def _reached(seeds, mask, distance: int, connectivity: int):
    """A step at a time: CuPy refuses several within a mask."""
    xp, dilate = array_namespace(mask), ndimage(mask).binary_dilation
    beside = xp.asarray(generate_binary_structure(mask.ndim, connectivity))
    for _ in range(distance):
        reached = dilate(seeds, beside, mask=mask)
        if not bool(xp.any(reached != seeds)):
            break
        seeds = reached
    return seeds
