"""Page: text under uneven light, by a local threshold, and by hysteresis on a flattened page."""

import sys

import numpy as np
from skimage import data, filters, measure

page = np.tile(data.page(), (32, 16)).astype(np.float32) / 255
local = page < filters.threshold_local(page, 35, offset=0.04)
rest = filters.gaussian(page, sigma=12) - page
text = filters.apply_hysteresis_threshold(rest, 0.08, 0.2)
bold = filters.apply_hysteresis_threshold(filters.gaussian(rest, sigma=1), 0.05, 0.15)
letters = measure.label(text, connectivity=2)
sizes = np.bincount(letters[text])
np.savez(sys.argv[1], local=np.packbits(local), bold=np.packbits(bold), sizes=sizes)
