"""Scores: segmentations of a large volume into four classes against the truth."""

import sys

import numpy as np
from scipy import ndimage as ndi
from sklearn.metrics import classification_report, confusion_matrix

rng = np.random.default_rng(5)
field = ndi.gaussian_filter(rng.standard_normal((260, 260, 260), np.float32), 4)
field /= field.std()
truth = np.digitize(field, [-0.7, 0, 0.7]).ravel()
results = {}
for strength in (0.1, 0.3):
    noisy = field + np.float32(strength) * rng.standard_normal(field.shape, np.float32)
    found = np.digitize(noisy, [-0.7, 0, 0.7]).ravel()
    report = classification_report(truth, found, output_dict=True)
    results[f"errors{strength}"] = confusion_matrix(truth, found) / truth.size
    results[f"f1{strength}"] = [report[str(k)]["f1-score"] for k in range(4)]
np.savez(sys.argv[1], **results)
