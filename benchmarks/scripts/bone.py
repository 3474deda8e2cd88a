"""Bone: a volume with pores and noise, smoothed; pores by hysteresis, filled and counted."""

import sys

import numpy as np
from scipy import ndimage as ndi
from skimage import filters, morphology

rng = np.random.default_rng(0)
blobs = ndi.zoom(rng.standard_normal((20, 32, 32), np.float32), 8, order=1)
scan = np.where(blobs > 1.1, np.float32(60), np.float32(190))
scan += 32 * rng.standard_normal(scan.shape, np.float32)
scan = np.tile(scan, (2, 2, 2))
smooth = filters.gaussian(scan, sigma=1.5, preserve_range=True)
otsu = filters.threshold_otsu(smooth)
pores = filters.apply_hysteresis_threshold(-smooth, -140, -100)
pores = morphology.remove_small_objects(pores, max_size=30)
filled = ndi.binary_fill_holes(pores)
labels, count = ndi.label(filled)
sizes = np.bincount(labels[filled])
np.savez(sys.argv[1], pores=np.packbits(filled), count=count, sizes=sizes, otsu=otsu)
