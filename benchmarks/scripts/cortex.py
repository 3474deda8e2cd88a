"""Cortex: layers told apart by k-means of grey values at several scales and their places."""

import sys

import numpy as np
from scipy import ndimage as ndi
from sklearn.cluster import KMeans
from sklearn.preprocessing import QuantileTransformer

rng = np.random.default_rng(1)
rows, columns = np.mgrid[:2000, :2000].astype(np.float32)
layers = np.sin(rows / 90 + 0.6 * np.sin(columns / 120))
image = layers + np.float32(0.4) * rng.standard_normal(rows.shape, np.float32)
scales = [ndi.gaussian_filter(image, sigma) for sigma in (2, 4, 8, 16, 32, 64)]
features = np.stack([image, *scales, rows / 300], axis=-1).reshape(-1, 8)
even = QuantileTransformer(n_quantiles=500, random_state=0).fit_transform(features)
start = np.quantile(even[::50], np.linspace(0.1, 0.9, 5), axis=0)
model = KMeans(5, init=start, n_init=1, max_iter=15).fit(even)
np.savez(sys.argv[1], labels=model.labels_, centers=model.cluster_centers_)
