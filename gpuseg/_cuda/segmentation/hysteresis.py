"""The steps of hysteresis segmentation: the same code, flooded by the CUDA kernel."""

from ..._cpu.segmentation import hysteresis as steps
from ..filters.hysteresis import flood_masks


def hysteresis(image, high, low, **how):
    return steps.hysteresis(image, high, low, flood=flood_masks, **how)
