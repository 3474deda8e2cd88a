"""Cells: bright spots by differences of Gaussians and hysteresis, and what a watershed parts."""

import sys

import numpy as np
from scipy import ndimage as ndi
from skimage import filters, measure, morphology, segmentation

rng = np.random.default_rng(6)
image = np.zeros((1500, 1500), np.float32)
np.add.at(image, tuple((rng.random((1500, 2)) * 1500).astype(int).T), 1)
image = ndi.gaussian_filter(image, 7) / np.float32(0.004)
image = np.tile(image, (4, 4)) + np.float32(0.08) * np.tile(
    rng.standard_normal((1500, 1500), np.float32), (4, 4)
)
spots = filters.difference_of_gaussians(image, 3, 12)
mask = filters.apply_hysteresis_threshold(spots, 0.04, 0.12)
mask = ndi.binary_fill_holes(mask)
mask = morphology.remove_small_objects(mask, max_size=30)
labels = measure.label(mask)
corner = (slice(0, 1200), slice(0, 1200))
depth = filters.gaussian(ndi.distance_transform_edt(mask[corner]).astype(np.float32), 1.5)
tops = measure.label((depth > 3) & (depth >= ndi.maximum_filter(depth, 15)))
cells = segmentation.watershed(-depth, tops, mask=mask[corner])
sizes = np.bincount(labels[mask])
np.savez(sys.argv[1], spots=spots[::3, ::3], sizes=sizes, cells=cells)
