"""Coins: a large mosaic of pictures, blobs by size, several thresholds, cleaned and counted."""

import sys

import numpy as np
from skimage import data, filters, measure, morphology

image = np.tile(data.coins(), (20, 20)).astype(np.float32) / 255
smooth = filters.gaussian(image, sigma=3)
rings = filters.difference_of_gaussians(image, 2, 8)
discs = filters.difference_of_gaussians(image, 6, 14)
values = {
    name: getattr(filters, f"threshold_{name}")(smooth)
    for name in ("otsu", "yen", "isodata", "triangle")
}
mask = filters.apply_hysteresis_threshold(smooth, 0.35, 0.55)
mask = morphology.remove_small_holes(mask, max_size=400)
labels = measure.label(mask)
sizes = np.bincount(labels[mask])
few = (slice(None, None, 5), slice(None, None, 5))
np.savez(sys.argv[1], rings=rings[few], discs=discs[few], labels=labels[few], sizes=sizes, **values)
