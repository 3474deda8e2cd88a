"""Fibres: how a noisy volume hangs together at several thresholds, and what a flood reaches."""

import sys

import numpy as np
from scipy import ndimage as ndi
from skimage import filters, measure

rng = np.random.default_rng(7)
volume = np.tile(rng.standard_normal((150, 300, 300), np.float32), (3, 1, 1))
volume = ndi.gaussian_filter(volume, 2.5)
volume /= volume.std()
counts, kept, closed = [], [], []
for threshold in (0.4, 0.8, 1.2, 1.6):
    mask = filters.apply_hysteresis_threshold(volume, threshold, threshold + 0.8)
    kept.append(mask.mean())
    closed.append(ndi.binary_fill_holes(mask).mean())
    counts.append(float(measure.label(mask, connectivity=1).max()))
mask = volume > 0.1
seeds = np.zeros_like(mask)
seeds[0] = mask[0]
reached = ndi.binary_propagation(seeds, mask=mask)
np.savez(sys.argv[1], counts=counts, kept=kept, closed=closed, reached=np.packbits(reached))
