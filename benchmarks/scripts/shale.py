"""Shale: phases of a large slice by smoothing and thresholds, and superpixels of a part of it."""

import sys

import numpy as np
from scipy import ndimage as ndi
from skimage import filters, measure, morphology, segmentation

rng = np.random.default_rng(2)
grains = ndi.gaussian_filter(rng.standard_normal((1000, 1000), np.float32), 6)
phases = np.digitize(grains / grains.std(), [-0.6, 0.9]).astype(np.float32)
noise = np.tile(rng.standard_normal((2500, 2500), np.float32), (2, 2))
image = (60 + 60 * np.tile(phases, (5, 5)) + 22 * noise).clip(0, 255).astype(np.uint8)
light = filters.gaussian(image, sigma=60, preserve_range=True)
smooth = filters.gaussian(image, sigma=3, preserve_range=True) - light + light.mean()
classes = np.digitize(smooth, filters.threshold_multiotsu(image[:1000, :1000]))
pores = filters.apply_hysteresis_threshold(-smooth, -100, -80)
pores = morphology.remove_small_holes(pores, max_size=50)
bright = filters.apply_hysteresis_threshold(smooth, 130, 160)
regions = segmentation.slic(
    smooth[:400, :400] / 255, n_segments=300, compactness=0.05, channel_axis=None
)
sizes = np.bincount(measure.label(bright)[bright])
np.savez(sys.argv[1], classes=classes[::4, ::4], regions=regions, sizes=sizes,
         pores=np.packbits(pores))  # fmt: skip
