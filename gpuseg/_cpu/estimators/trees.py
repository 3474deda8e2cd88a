"""Forests by the kernel."""

from __future__ import annotations

import numpy as np

from ...kernels import forest as kernel


def forest_predict(X, forest):
    out = np.empty((len(X), forest.values.shape[1]))
    kernel.forest_cpu(X, forest.words, forest.roots, forest.values, forest.heaps, out)
    return out
