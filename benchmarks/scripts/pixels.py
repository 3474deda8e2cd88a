"""Pixels: texture told apart by a forest on features at several scales, scored elsewhere."""

import sys

import numpy as np
from scipy import ndimage as ndi
from skimage import feature
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import classification_report, confusion_matrix

rng = np.random.default_rng(3)
shape = (1800, 1800)
truth = ndi.gaussian_filter(rng.standard_normal(shape, np.float32), 20) > 0
coarse = ndi.gaussian_filter(rng.standard_normal(shape, np.float32), 2)
fine = np.float32(0.3) * rng.standard_normal(shape, np.float32)
image = np.where(truth, fine, 1.1 * coarse / coarse.std())
table = feature.multiscale_basic_features(image, sigma_min=1, sigma_max=8)
rows = table.reshape(-1, table.shape[-1])
learned = slice(0, truth.size // 2, 256)
forest = RandomForestClassifier(100, max_depth=10, n_jobs=2, random_state=0)
forest.fit(rows[learned], truth.ravel()[learned])
likely = forest.predict_proba(rows)[:, 1]
unseen = slice(truth.size // 2, None)
errors = confusion_matrix(truth.ravel()[unseen], likely[unseen] > 0.5)
report = classification_report(truth.ravel()[unseen], likely[unseen] > 0.5, output_dict=True)
np.savez(sys.argv[1], likely=likely, errors=errors, f1=report["macro avg"]["f1-score"])
