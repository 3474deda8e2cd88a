"""What a call costs by either way on the CPU, so that there only what pays is served.

Loading Numba takes half a second, which a script of small images never earns back. So the first
calls go to the original, until ours would have spared half of that: a script that has lost so much
will most likely lose as much again, and one that ends then has lost little. Where a core is to
spare, Numba is loaded beside an original once these have cost a tenth as much: they are C, and
leave the interpreter to the one that loads.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import NamedTuple

from ..kernels.launch import thread_count

# Seconds to import Numba and make it ready, and for each function's compiled kernels.
LOAD_NUMBA = 0.5
LOAD_FORM = 0.02
# The share of that time which must have been forgone.
PATIENCE = 0.5
BESIDE = 0.1
# What must be left of a gain, on a machine or an image that is not the one measured.
MARGIN = 0.8


class Cost(NamedTuple):
    """What a call takes on the CPU, measured for the type of images for which ours gains least."""

    original: float  # nanoseconds a value
    ours: float  # nanoseconds a value
    more: float  # microseconds that a call of ours takes beside

    def gain(self, size: int) -> float:
        """Seconds that ours spares."""
        return ((self.original * MARGIN - self.ours) * size - self.more * 1e3) * 1e-9


# By `python benchmarks/accel_costs.py` on 2 cores. What is not here is never faster on the CPU.
# What the values of an estimator are, `_estimators.work` says.
COSTS = {
    "scipy.ndimage.binary_fill_holes": Cost(22.64, 3.33, 63),
    "scipy.ndimage.binary_propagation": Cost(24.84, 6.62, 0),
    "scipy.ndimage.gaussian_filter": Cost(11.51, 1.56, 90),
    "scipy.ndimage.label": Cost(5.36, 2.69, 248),
    "skimage.feature.multiscale_basic_features": Cost(283.44, 33.93, 530),
    "skimage.filters.apply_hysteresis_threshold": Cost(12.22, 1.43, 85),
    "skimage.filters.difference_of_gaussians": Cost(39.33, 12.19, 98),
    "skimage.filters.gaussian": Cost(11.78, 3.89, 89),
    "skimage.filters.threshold_isodata": Cost(1.17, 0.33, 81),
    "skimage.filters.threshold_local": Cost(18.55, 6.45, 70),
    "skimage.filters.threshold_minimum": Cost(0.92, 0.29, -113),
    "skimage.filters.threshold_otsu": Cost(1.22, 0.37, 73),
    "skimage.filters.threshold_triangle": Cost(1.23, 0.24, 87),
    "skimage.filters.threshold_yen": Cost(1.19, 0.34, 109),
    "skimage.measure.label": Cost(5.31, 2.69, 148),
    "skimage.morphology.remove_small_holes": Cost(8.98, 1.83, 501),
    "skimage.morphology.remove_small_objects": Cost(8.9, 1.73, 391),
    "skimage.segmentation.flood": Cost(4.54, 3.29, 0),
    "skimage.segmentation.flood_fill": Cost(4.62, 3.07, 7),
    "sklearn.ensemble.RandomForestClassifier.predict": Cost(56.05, 6.89, 0),
    "sklearn.ensemble.RandomForestClassifier.predict_proba": Cost(55.27, 6.34, 0),
    "sklearn.ensemble.RandomForestRegressor.predict": Cost(52.03, 6.0, 0),
    "sklearn.metrics.classification_report": Cost(231.05, 3.71, 487),
    "sklearn.metrics.confusion_matrix": Cost(85.09, 3.01, 333),
    "sklearn.neighbors.KNeighborsClassifier.kneighbors": Cost(908.08, 217.07, 959),
    "sklearn.neighbors.KNeighborsClassifier.predict": Cost(966.2, 256.26, 277),
    "sklearn.neighbors.KNeighborsClassifier.predict_proba": Cost(922.16, 237.88, 1226),
    "sklearn.neighbors.KNeighborsRegressor.kneighbors": Cost(904.39, 218.85, 682),
    "sklearn.neighbors.KNeighborsRegressor.predict": Cost(908.29, 221.81, 1050),
    "sklearn.preprocessing.PolynomialFeatures.transform": Cost(2.92, 1.07, 50),
    "sklearn.preprocessing.QuantileTransformer.transform": Cost(133.39, 28.02, 546),
    "sklearn.tree.DecisionTreeClassifier.predict": Cost(11.08, 5.42, 140),
    "sklearn.tree.DecisionTreeClassifier.predict_proba": Cost(8.88, 3.27, 138),
    "sklearn.tree.DecisionTreeRegressor.predict": Cost(9.37, 3.13, 136),
}


def _taps(sigma) -> float:
    """How many values are added up for one, over all axes, by a Gaussian cut at four sigma."""
    sigmas = list(sigma) if hasattr(sigma, "__len__") else [sigma]
    return 8 * sum(sigmas) / len(sigmas) + 1


def _difference(given) -> float:
    low = _taps(given["low_sigma"])
    high = given.get("high_sigma")
    return (low + (1.6 * low if high is None else _taps(high))) / (_taps(1) + _taps(3))


# How much more there is to do for each value than in what was measured, by a call's arguments.
WORK = {
    "scipy.ndimage.gaussian_filter": lambda given: _taps(given["sigma"]) / _taps(2),
    "skimage.filters.gaussian": lambda given: _taps(given.get("sigma", 1)) / _taps(1),
    "skimage.filters.difference_of_gaussians": _difference,
    "skimage.filters.threshold_local": lambda given: _taps(given.get("block_size", 3)) / _taps(15),
}


def _load() -> None:
    """Import Numba and make it ready."""
    import numpy as np

    from .. import filters, using

    with using("cpu"):
        filters.gaussian(np.zeros((2, 2), np.float32), 1)


class Purse:
    """What the originals have cost too much so far, against what loading ours costs."""

    def __init__(self, load=_load):
        self.always = False  # serve what can be served, for tests
        self.forgone = 0.0
        self.loaded: set[str] = set()
        self._load, self._loading = load, None

    def why_not(self, path: str, size: float) -> str:
        """Why the original should be called on the CPU instead of ours; empty where ours pays.

        `size` is the number of values, times how much more there is to do than in `COSTS`.
        """
        cost = COSTS.get(path)
        if cost is None:
            return "no faster on the CPU"
        gain = cost.gain(size)
        if gain <= 0:
            return f"no faster on the CPU for {size:.0f} values"
        if path in self.loaded:
            return ""
        there = self._numba_is_there()
        price = LOAD_FORM if there else LOAD_NUMBA + LOAD_FORM
        self.forgone += gain
        if self.forgone < PATIENCE * price:
            if not there and self.forgone >= BESIDE * price:
                self._load_beside()
            return f"would spare {gain * 1e3:.1f} ms, and loading it take {price * 1e3:.0f}"
        self.forgone = 0.0
        self.loaded.add(path)
        return ""

    def _numba_is_there(self) -> bool:
        if self._loading is not None:
            return not self._loading.is_alive()
        return "numba" in sys.modules

    def _load_beside(self) -> None:
        if self._loading is None and thread_count() > 1:
            # No daemon: the interpreter must not end in the midst of what LLVM does.
            self._loading = threading.Thread(target=self._load)
            self._loading.start()

    def wait(self) -> None:
        """Let what is being loaded come to its end: a child of a fork could never load it."""
        loading = self._loading
        if loading is not None and loading is not threading.current_thread():
            loading.join(60)


purse = Purse()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=lambda: purse.wait())
