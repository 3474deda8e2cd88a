"""One call of every public function, with its peers: what bench_all.py times.

A function whose namesake scikit-image (or, among the metrics, scikit-learn) has is timed beside it
on the same arguments without being told to. Other peers stand in the row. A peer that answers
another question, or rounds otherwise, is named in `differs` with the reason, and is not compared.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import sklearn.cluster
import sklearn.ensemble
import sklearn.linear_model
import sklearn.metrics
import sklearn.mixture
import sklearn.neighbors
import sklearn.preprocessing
from common import noise, parts
from scipy import ndimage as ndi
from scipy.spatial import distance

import gpuseg
from gpuseg.estimators import Forest
from gpuseg.kernels.launch import thread_count

LEVELS = {
    "tiny": {2: (48, 56), 3: (14, 16, 18), 1: (600,)},
    "small": {2: (256, 256), 3: (48, 48, 48), 1: (10_000,)},
    "medium": {2: (1024, 1024), 3: (128, 128, 128), 1: (200_000,)},
    "large": {2: (4096, 4096), 3: (256, 256, 256), 1: (2_000_000,)},
}


def size_name(shape: tuple[int, ...]) -> str:
    if len(shape) == 1:
        return f"{shape[0]} rows"
    square = len(set(shape)) == 1
    return f"{shape[0]}^{len(shape)}" if square else "x".join(map(str, shape))


# --- what the calls are given ------------------------------------------------------------------


class Inputs:
    """Arrays of one shape, each made when first asked for."""

    ndi = ndi

    def __init__(self, shape: tuple[int, ...]):
        self.shape, self.ndim, self.size = shape, len(shape), int(np.prod(shape))

    @functools.cached_property
    def image(self):
        """Blobs and background, two peaks in the histogram, from 0 to 1."""
        image = noise(self.shape, 3.0) + np.float32(0.3) * noise(self.shape, seed=1)
        image += np.float32(4) * (image > 0.7)
        return (image - image.min()) / np.ptp(image)

    @functools.cached_property
    def uint8(self):
        return (self.image * 255).astype(np.uint8)

    @functools.cached_property
    def smooth(self):
        return ndi.gaussian_filter(self.image, 2)

    @functools.cached_property
    def mask(self):
        return self.image > 0.5

    @functools.cached_property
    def seeds(self):
        return self.mask & (self.image > np.quantile(self.image, 0.98))

    @functools.cached_property
    def noisy_mask(self):
        """What a worse segmentation finds."""
        return self.image + np.float32(0.1) * noise(self.shape, seed=2) > 0.5

    @functools.cached_property
    def classes(self):
        return np.digitize(self.image, [0.3, 0.5, 0.7]).astype(np.uint8)

    @functools.cached_property
    def noisy_classes(self):
        other = self.image + np.float32(0.05) * noise(self.shape, seed=2)
        return np.digitize(other, [0.3, 0.5, 0.7]).astype(np.uint8)

    @functools.cached_property
    def labels(self):
        return ndi.label(self.mask)[0].astype(np.int32)

    @functools.cached_property
    def grid(self):
        """Superpixels: blocks of equal size."""
        edge = 8
        labels = np.zeros(self.shape, np.int32)
        for axis, n in enumerate(self.shape):
            at = np.arange(n, dtype=np.int32).reshape(
                [-1 if a == axis else 1 for a in range(self.ndim)]
            )
            labels = labels * (-(-n // edge)) + at // edge
        return labels + 1

    @functools.cached_property
    def numbers(self):
        return np.arange(self.grid.max() + 1)

    @functools.cached_property
    def markers(self):
        return ndi.label(self.smooth < np.quantile(self.smooth, 0.1))[0].astype(np.int32)

    @functools.cached_property
    def seed_point(self):
        return tuple(int(i) for i in np.unravel_index(self.image.argmax(), self.shape))

    @functools.cached_property
    def footprint(self):
        import skimage.morphology

        return skimage.morphology.disk(3) if self.ndim == 2 else skimage.morphology.ball(2)

    @functools.cached_property
    def radius(self):
        return max(self.shape) // (8 if self.ndim == 3 else 2)

    @functools.cached_property
    def channels(self):
        return np.stack([noise(self.shape, seed=k) for k in range(4)], axis=-1)

    # Tables: `shape` is the number of rows.

    @functools.cached_property
    def rows(self):
        groups = 3 * np.random.default_rng(0).standard_normal((8, 5))
        at = np.random.default_rng(1).integers(0, 8, self.shape[0])
        return (groups[at] + np.random.default_rng(2).standard_normal((len(at), 5))).astype("f4")

    @functools.cached_property
    def doubles(self):
        return self.rows.astype(np.float64)

    @functools.cached_property
    def centers(self):
        return self.rows[:8].copy()

    @functools.cached_property
    def references(self):
        return self.doubles[:500] + 0.1

    @functools.cached_property
    def target(self):
        return self.doubles @ np.arange(1.0, 6.0) + 2

    @functools.cached_property
    def forest(self):
        """scikit-learn's, which has learned from a part of the rows."""
        forest = sklearn.ensemble.RandomForestClassifier(
            50, max_depth=8, random_state=0, n_jobs=thread_count()
        )
        return forest.fit(self.rows[:2000], self.rows[:2000, 0] > 0)

    @functools.cached_property
    def plain_forest(self):
        return Forest.from_sklearn(self.forest)

    @functools.cached_property
    def scaler(self):
        return sklearn.preprocessing.RobustScaler().fit(self.doubles)

    @functools.cached_property
    def quantiles(self):
        return sklearn.preprocessing.QuantileTransformer(
            n_quantiles=min(1000, self.shape[0]), random_state=0
        ).fit(self.doubles)

    @functools.cached_property
    def itk(self):
        import SimpleITK

        return SimpleITK.GetImageFromArray(self.image)

    @functools.cached_property
    def itk_uint8(self):
        import SimpleITK

        return SimpleITK.GetImageFromArray(self.uint8)

    @functools.cached_property
    def itk_mask(self):
        import SimpleITK

        return SimpleITK.GetImageFromArray(self.mask.astype(np.uint8))


class Device(NamedTuple):
    """Where what is for a GPU runs, and whose functions take arrays that lie there."""

    backend: str
    ndimage: str
    skimage: str

    def there(self, x):
        with gpuseg.using(self.backend):
            return gpuseg.asarray(x) if isinstance(x, np.ndarray) else x


GPU = Device("cuda", "cupyx.scipy.ndimage", "cucim.skimage")
REHEARSAL = Device("cpu", "scipy.ndimage", "skimage")


class OnDevice:
    """The same, with the arrays on the GPU."""

    def __init__(self, inputs: Inputs, device: Device):
        self._inputs, self._device, self._moved = inputs, device, {}

    @property
    def ndi(self):
        return importlib.import_module(self._device.ndimage)

    def __getattr__(self, name: str):
        if name not in self._moved:
            self._moved[name] = self._device.there(getattr(self._inputs, name))
        return self._moved[name]


# --- the rows ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """Arguments, keywords and peers of a function, as functions of `Inputs`."""

    args: Callable
    options: dict = field(default_factory=dict)
    peers: dict[str, Callable] = field(default_factory=dict)
    dims: tuple[int, ...] = (2, 3)
    largest: str = "large"
    namesake: str | None = ""  # where scikit-image has it; "" looks for it, None does not
    tolerance: float = 1e-4  # of the greatest value; integers must be equal
    differs: dict[str, str] = field(default_factory=dict)


def _cv2():
    import cv2

    cv2.setNumThreads(thread_count())
    return cv2


def _sitk():
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(thread_count())
    return SimpleITK


def _itk_threshold(name: str):
    def threshold(i):
        kernel = getattr(_sitk(), f"{name}ThresholdImageFilter")()
        kernel.SetNumberOfHistogramBins(256)
        kernel.Execute(i.itk_uint8)
        return kernel.GetThreshold()

    return threshold


def _itk_kernel(i):
    """Of the size of `footprint`, with ITK's idea of a ball."""
    sitk = _sitk()
    return {"kernelRadius": [3 if i.ndim == 2 else 2] * i.ndim, "kernelType": sitk.sitkBall}


def _threshold(itk: str = "", **more) -> Case:
    peers = {"SimpleITK": _itk_threshold(itk)} if itk else {}
    return Case(
        lambda i: (i.uint8,), peers=peers,
        differs={"SimpleITK": "its histogram has other bins"}, **more,
    )  # fmt: skip


def _edges(dims=(2, 3), **peers) -> Case:
    return Case(lambda i: (i.image,), dims=dims, peers=peers)


def _scipys_hysteresis(i):
    near = i.ndi.generate_binary_structure(i.ndim, i.ndim)
    opened = i.ndi.binary_opening(i.image > 0.6, near)
    return i.ndi.binary_propagation(opened, mask=opened | (i.image > 0.4))


def _hysteresis(i):
    return i.ndi.binary_propagation(i.seeds, mask=i.mask)


def _scikit_images_bank(i):
    from bench_features import whole_set

    return whole_set(i.image)


def _numpys_windows(i):
    view = np.lib.stride_tricks.sliding_window_view(
        np.pad(i.image, 1, mode="symmetric"), (3,) * i.ndim
    )
    return view.reshape(*i.shape, 3**i.ndim)


def _quadtree(i):
    import sys
    from pathlib import Path

    tests = str(Path(__file__).parents[1] / "tests")
    if tests not in sys.path:
        sys.path.append(tests)
    import naive

    return naive.quadtree(i.smooth, 0.1)


def _lloyd(i):
    model = sklearn.cluster.KMeans(8, init=i.centers, n_init=1, max_iter=10, tol=0)
    return _fitted(model, i.rows).labels_


def _mixture(i):
    model = sklearn.mixture.GaussianMixture(
        3, means_init=[[0.2], [0.4], [0.8]], init_params="random_from_data", max_iter=10, tol=0,
        random_state=0,
    )  # fmt: skip
    return _fitted(model, i.image.reshape(-1, 1)).predict(i.image.reshape(-1, 1))


def _clusters(i):
    start = np.array([[0.1], [0.3], [0.6], [0.8]])
    model = sklearn.cluster.KMeans(4, init=start, n_init=1, max_iter=10, tol=0)
    return _fitted(model, i.image.reshape(-1, 1)).labels_.reshape(i.shape)


def _fitted(model, rows):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ten steps do not converge
        return model.fit(rows)


def _of(score: Callable, first: str, second: str):
    """A score of scikit-learn's, which takes rows."""
    return lambda i: score(getattr(i, first).ravel(), getattr(i, second).ravel())


MASKS = {"args": lambda i: (i.mask, i.noisy_mask)}
CLASSES = {"args": lambda i: (i.classes, i.noisy_classes)}
SCORES = {"args": lambda i: (i.mask, i.uint8)}
REGIONS = {"args": lambda i: (i.classes.astype(np.int64), i.grid)}
TABLE = {"dims": (1,), "namesake": None}
STEPS = {"max_iter": 10, "tol": 0}
START = {"init": np.array([[0.1], [0.3], [0.6], [0.8]])}

CASES: dict[str, Case] = {
    "filters.apply_hysteresis_threshold": Case(
        lambda i: (i.image, 0.5, 0.8),
        peers={"SimpleITK": lambda i: _sitk().DoubleThreshold(i.itk, 0.5, 0.8, 2, 3)},
        differs={"SimpleITK": "its thresholds belong to the foreground"},
    ),
    "filters.apply_thresholds": Case(
        lambda i: (i.image, (0.3, 0.5, 0.7)),
        peers={"NumPy": lambda i: np.digitize(i.image, np.float32([0.3, 0.5, 0.7]), right=True)},
    ),
    "filters.compare_thresholds": Case(lambda i: (i.uint8,)),
    "filters.difference_of_gaussians": Case(lambda i: (i.image, 1, 2)),
    "filters.flood_masks": Case(lambda i: (i.seeds, i.mask), peers={"SciPy": _hysteresis}),
    "filters.gaussian": Case(
        lambda i: (i.image, 2),
        peers={
            "SciPy": lambda i: i.ndi.gaussian_filter(i.image, 2, mode="nearest"),
            "OpenCV": lambda i: _cv2().GaussianBlur(i.image, (17, 17), 2, borderType=1),
            "SimpleITK": lambda i: _sitk().SmoothingRecursiveGaussian(i.itk, 2.0),
        },
        differs={"SimpleITK": "a recursive filter, which only comes near"},
    ),
    "filters.histogram": Case(
        lambda i: (i.image,),
        namesake="exposure",
        peers={"NumPy": lambda i: np.histogram(i.image, 256)[0]},
        differs={"NumPy": "gives edges, not centres", "scikit-image": "adds in float64"},
    ),
    "filters.laplace": _edges(),
    "filters.median": Case(
        lambda i: (i.uint8, i.footprint),
        peers={
            "SciPy": lambda i: i.ndi.median_filter(i.uint8, footprint=i.footprint, mode="nearest"),
            "SimpleITK": lambda i: _sitk().Median(i.itk_uint8, [2] * i.ndim),
            "OpenCV": lambda i: _cv2().medianBlur(i.uint8, 5),
        },
        differs={"SimpleITK": "takes boxes only", "OpenCV": "takes boxes only"},
        largest="medium",
    ),
    "filters.prewitt": _edges(),
    "filters.prewitt_h": _edges(dims=(2,)),
    "filters.prewitt_v": _edges(dims=(2,)),
    "filters.scharr": _edges(),
    "filters.scharr_h": _edges(dims=(2,)),
    "filters.scharr_v": _edges(dims=(2,)),
    "filters.sobel": _edges(),
    "filters.sobel_h": _edges(
        dims=(2,), OpenCV=lambda i: _cv2().Sobel(i.image, 5, 0, 1, scale=0.25, borderType=2)
    ),
    "filters.sobel_v": _edges(
        dims=(2,), OpenCV=lambda i: _cv2().Sobel(i.image, 5, 1, 0, scale=0.25, borderType=2)
    ),
    "filters.subtract_background": Case(
        lambda i: (i.image, 10),
        peers={"SciPy": lambda i: i.image - i.ndi.gaussian_filter(i.image, 10, mode="nearest")},
    ),
    "filters.threshold_by_objects": Case(lambda i: (i.uint8,), {"size": (20, 2000)}),
    "filters.threshold_huang": _threshold("Huang"),
    "filters.threshold_intermodes": _threshold("Intermodes"),
    "filters.threshold_isodata": _threshold("IsoData"),
    "filters.threshold_li": _threshold("Li"),
    "filters.threshold_local": Case(lambda i: (i.image, 31)),
    "filters.threshold_maxentropy": _threshold("MaximumEntropy"),
    "filters.threshold_mean": _threshold(),
    "filters.threshold_minerror": _threshold("KittlerIllingworth"),
    "filters.threshold_minimum": _threshold(),
    "filters.threshold_moments": _threshold("Moments"),
    "filters.threshold_multiotsu": _threshold(),
    "filters.threshold_niblack": Case(lambda i: (i.image, 31)),
    "filters.threshold_otsu": Case(
        lambda i: (i.uint8,),
        peers={
            "SimpleITK": _itk_threshold("Otsu"),
            "OpenCV": lambda i: _cv2().threshold(i.uint8, 0, 255, 8)[0],
        },
        differs={"SimpleITK": "its histogram has other bins", "OpenCV": "gives the mask as well"},
    ),
    "filters.threshold_percentile": _threshold(),
    "filters.threshold_renyientropy": _threshold("RenyiEntropy"),
    "filters.threshold_sauvola": Case(lambda i: (i.image, 31)),
    "filters.threshold_shanbhag": _threshold("Shanbhag"),
    "filters.threshold_stability": Case(
        lambda i: (i.uint8,), {"noise": 5.0, "realizations": 5}, largest="medium"
    ),
    "filters.threshold_triangle": _threshold("Triangle"),
    "filters.threshold_yen": _threshold("Yen"),
    "filters.try_all_threshold": Case(
        lambda i: (i.uint8,),
        {"verbose": False},
        dims=(2,),
        largest="small",
        differs={"scikit-image": "draws a figure"},
    ),
    "morphology.ball": Case(lambda i: (i.radius,), dims=(3,)),
    "morphology.closing": Case(lambda i: (i.uint8, i.footprint), largest="medium"),
    "morphology.dilation": Case(lambda i: (i.uint8, i.footprint), largest="medium"),
    "morphology.disk": Case(lambda i: (i.radius,), dims=(2,)),
    "morphology.erosion": Case(
        lambda i: (i.uint8, i.footprint),
        peers={
            "SciPy": lambda i: i.ndi.grey_erosion(i.uint8, footprint=i.footprint),
            "OpenCV": lambda i: _cv2().erode(i.uint8, i.footprint),
            "SimpleITK": lambda i: _sitk().GrayscaleErode(i.itk_uint8, **_itk_kernel(i)),
        },
        differs={"SimpleITK": "its ball is another"},
        largest="medium",
    ),
    "morphology.opening": Case(lambda i: (i.uint8, i.footprint), largest="medium"),
    "morphology.reconstruction": Case(
        lambda i: (i.image - np.float32(0.1), i.image),
        peers={
            "SimpleITK": lambda i: _sitk().ReconstructionByDilation(i.itk - 0.1, i.itk, True),
        },
        largest="medium",
    ),
    "morphology.remove_small_holes": Case(lambda i: (i.mask,), {"max_size": 64}),
    "morphology.remove_small_objects": Case(lambda i: (i.mask,), {"max_size": 64}),
    "morphology.white_tophat": Case(
        lambda i: (i.uint8, i.footprint),
        peers={"SciPy": lambda i: i.ndi.white_tophat(i.uint8, footprint=i.footprint)},
        largest="medium",
    ),
    "measure.find_contours": Case(lambda i: (i.smooth, 0.5), dims=(2,), largest="medium"),
    "measure.label": Case(
        lambda i: (i.mask,),
        {"connectivity": 1},
        peers={
            "SciPy": lambda i: i.ndi.label(i.mask)[0],
            "OpenCV": lambda i: _cv2().connectedComponents(i.mask.view(np.uint8), connectivity=4)[
                1
            ],
            "SimpleITK": lambda i: _sitk().ConnectedComponent(i.itk_mask),
        },
        differs={"OpenCV": "numbers in another order", "SimpleITK": "numbers in another order"},
    ),
    "measure.marching_cubes": Case(lambda i: (i.smooth, 0.5), dims=(3,), largest="medium"),
    "measure.regionprops_table": Case(
        lambda i: (i.labels, i.image),
        {"properties": ("label", "area", "centroid", "intensity_mean")},
        largest="medium",
    ),
    "measure.volume_fraction": Case(
        lambda i: (i.mask,), peers={"NumPy": lambda i: np.count_nonzero(i.mask) / i.mask.size}
    ),
    "metrics.adapted_rand_error": Case(**REGIONS),
    "metrics.binary_accuracy": Case(
        **MASKS,
        peers={"scikit-learn": _of(sklearn.metrics.accuracy_score, "mask", "noisy_mask")},
    ),
    "metrics.boundary_recall": Case(**REGIONS),
    "metrics.classification_report": Case(
        **CLASSES, options={"output_dict": True}, largest="medium"
    ),
    "metrics.confusion_matrix": Case(**CLASSES, largest="medium"),
    "metrics.dice": Case(
        **MASKS, peers={"scikit-learn": _of(sklearn.metrics.f1_score, "mask", "noisy_mask")}
    ),
    "metrics.explained_variation": Case(lambda i: (i.image, i.grid)),
    "metrics.hit_map": Case(**MASKS),
    "metrics.jaccard": Case(
        **MASKS, peers={"scikit-learn": _of(sklearn.metrics.jaccard_score, "mask", "noisy_mask")}
    ),
    "metrics.mean_absolute_error": Case(lambda i: (i.image, i.smooth)),
    "metrics.mean_squared_error": Case(lambda i: (i.image, i.smooth)),
    "metrics.precision_recall_curve": Case(**SCORES, largest="medium"),
    "metrics.roc_auc_score": Case(**SCORES, largest="medium"),
    "metrics.roc_curve": Case(**SCORES, largest="medium"),
    "metrics.undersegmentation_error": Case(**REGIONS),
    "metrics.variation_of_information": Case(**REGIONS),
    "segmentation.clear_border": Case(lambda i: (i.labels,)),
    "segmentation.expand_labels": Case(lambda i: (i.labels, 8), largest="medium"),
    "segmentation.find_boundaries": Case(lambda i: (i.labels,)),
    "segmentation.flood": Case(lambda i: (i.image, i.seed_point), {"tolerance": 0.5}),
    "segmentation.flood_fill": Case(lambda i: (i.image, i.seed_point, 2), {"tolerance": 0.5}),
    "segmentation.gaussian_mixture": Case(
        lambda i: (i.image, 3),
        {"init": np.array([[0.2], [0.4], [0.8]]), **STEPS},
        peers={"scikit-learn": _mixture},
        differs={"scikit-learn": "starts with other weights and widths"},
        largest="small",
    ),
    "segmentation.guarded_threshold": Case(lambda i: (i.image, (0.3, 0.6)), largest="small"),
    "segmentation.hysteresis": Case(
        lambda i: (i.image, 0.4, 0.6),
        {"opening": 1},
        peers={"SciPy": _scipys_hysteresis},
        differs={"SciPy": "its opening takes what lies outside for background"},
    ),
    "segmentation.kmeans": Case(
        lambda i: (i.image, 4),
        {**START, **STEPS},
        peers={"scikit-learn": _clusters},
        differs={"scikit-learn": "may divide a few voxels that lie midway otherwise"},
        largest="medium",
    ),
    "segmentation.mark_boundaries": Case(
        lambda i: (i.image, i.labels), dims=(2,), largest="medium"
    ),
    "segmentation.markov_random_field": Case(
        lambda i: (i.image, 3),
        {"iterations": 3, "init": "kmeans", "random_state": 0},
        largest="medium",
    ),
    "segmentation.merge_superpixels": Case(lambda i: (i.grid, i.image, 0.1), largest="medium"),
    "segmentation.quadtree": Case(
        lambda i: (i.smooth, 0.1),
        peers={"NumPy recursion": _quadtree},
        differs={"NumPy recursion": "gives a list"},
        largest="small",
    ),
    "segmentation.slic": Case(
        lambda i: (i.image, 200),
        {"compactness": 0.1, "channel_axis": None},
        differs={"scikit-image": "adds in another order"},
        largest="medium",
    ),
    "segmentation.superpixel_classes": Case(
        lambda i: (i.image,), {"n_classes": 3, "n_segments": 200}, largest="medium"
    ),
    "segmentation.superpixel_means": Case(
        lambda i: (i.image, i.grid),
        peers={"SciPy": lambda i: i.ndi.mean(i.image, i.grid, i.numbers)[i.grid]},
        differs={"SciPy": "a mean of no voxel"},
    ),
    "segmentation.watershed": Case(
        lambda i: (i.smooth, i.markers),
        peers={
            "SimpleITK": lambda i: _sitk().MorphologicalWatershedFromMarkers(
                _sitk().GetImageFromArray(i.smooth),
                _sitk().GetImageFromArray(i.markers),
                markWatershedLine=False,
            )
        },
        differs={"SimpleITK": "leaves voxels of equal height to others"},
        largest="medium",
    ),
    "features.feature_names": Case(lambda i: (), {"ndim": 3}, dims=(3,), largest="small"),
    "features.feature_table": Case(lambda i: (i.image,), dims=(2,), largest="medium"),
    "features.filter_bank": Case(
        lambda i: (i.image,),
        peers={"scikit-image": _scikit_images_bank},
        tolerance=1e-3,
        largest="small",
    ),
    "features.neighborhood": Case(
        lambda i: (i.image,), peers={"NumPy": _numpys_windows}, largest="medium"
    ),
    "features.polynomial": Case(
        lambda i: (i.channels,),
        dims=(2,),
        peers={
            "scikit-learn": lambda i: (
                sklearn.preprocessing.PolynomialFeatures(2)
                .fit_transform(i.channels.reshape(-1, 4))
                .reshape(*i.shape, -1)
            )
        },
        largest="medium",
    ),
    "features.position": Case(
        lambda i: (i.image,), peers={"NumPy": lambda i: np.stack(np.indices(i.shape), axis=-1)}
    ),
    "estimators.center_distances": Case(
        lambda i: (i.doubles, i.centers),
        peers={
            "SciPy": lambda i: distance.cdist(i.doubles, i.centers),
            "scikit-learn": lambda i: sklearn.metrics.pairwise.euclidean_distances(
                i.doubles, i.centers.astype(np.float64)
            ),
        },
        **TABLE,
    ),
    "estimators.forest_predict": Case(
        lambda i: (i.rows, i.plain_forest),
        peers={"scikit-learn": lambda i: i.forest.predict_proba(i.rows)},
        **TABLE,
    ),
    "estimators.least_squares": Case(
        lambda i: (i.doubles, i.target),
        peers={
            "scikit-learn": lambda i: (
                sklearn.linear_model.LinearRegression().fit(i.doubles, i.target).coef_
            )
        },
        differs={"scikit-learn": "the coefficients alone"},
        **TABLE,
    ),
    "estimators.linear_predict": Case(
        lambda i: (i.doubles, np.arange(5.0)[None], np.ones(1)),
        peers={"NumPy": lambda i: i.doubles @ np.arange(5.0)[:, None] + 1},
        **TABLE,
    ),
    "estimators.lloyd": Case(
        lambda i: (i.rows, i.centers[None], 10, 0),
        peers={"scikit-learn": _lloyd},
        differs={"scikit-learn": "may divide a few rows that lie midway otherwise"},
        **TABLE,
    ),
    "estimators.nearest_centers": Case(
        lambda i: (i.rows, i.centers),
        peers={
            "scikit-learn": lambda i: sklearn.metrics.pairwise_distances_argmin_min(
                i.rows, i.centers, metric="sqeuclidean"
            )
        },
        **TABLE,
    ),
    "estimators.nearest_neighbors": Case(
        lambda i: (i.doubles, i.references, 5),
        peers={
            "scikit-learn": lambda i: (
                sklearn.neighbors.NearestNeighbors(n_jobs=thread_count())
                .fit(i.references)
                .kneighbors(i.doubles)
            )
        },
        **TABLE,
        largest="medium",
    ),
    "estimators.polynomial_table": Case(
        lambda i: (i.doubles,),
        peers={
            "scikit-learn": lambda i: sklearn.preprocessing.PolynomialFeatures().fit_transform(
                i.doubles
            )
        },
        **TABLE,
    ),
    "estimators.quantile_places": Case(
        lambda i: (i.doubles, i.quantiles.quantiles_, i.quantiles.references_),
        peers={"scikit-learn": lambda i: i.quantiles.transform(i.doubles)},
        **TABLE,
    ),
    "estimators.robust_scale": Case(
        lambda i: (i.doubles, i.scaler.center_, i.scaler.scale_),
        peers={"scikit-learn": lambda i: i.scaler.transform(i.doubles)},
        **TABLE,
    ),
}

# Which installed package each peer needs.
PACKAGES = {"OpenCV": "cv2", "SimpleITK": "SimpleITK"}
TWINS = {"cuCIM": "scikit-image", "CuPy": "SciPy"}  # on the GPU
FLAT = {"OpenCV"}  # 2-D images only


def function(name: str) -> Callable:
    module, _, short = name.rpartition(".")
    return getattr(importlib.import_module(f"gpuseg.{module}"), short)


def here(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def namesake(name: str, library: str = "skimage") -> Callable | None:
    """scikit-image's function of the same name, or cuCIM's."""
    case = CASES[name]
    if case.namesake is None:
        return None
    module, _, short = name.rpartition(".")
    try:
        found = importlib.import_module(f"{library}.{case.namesake or module}")
    except ImportError:
        return None
    return getattr(found, short, None)


def peers_there(name: str, device: Device) -> dict[str, Callable]:
    """The peers that take arrays which lie on the GPU."""
    case, found = CASES[name], {}
    if (same := namesake(name, device.skimage)) is not None:
        found["cuCIM"] = _namesakes(case, same)
    if "SciPy" in case.peers and here(device.ndimage.partition(".")[0]):
        found["CuPy"] = case.peers["SciPy"]
    return found


def peers(name: str, ndim: int) -> dict[str, Callable]:
    """The peers of a function that are installed: each takes `Inputs`."""
    case = CASES[name]
    found = {}
    if (same := namesake(name)) is not None:
        found["scikit-image"] = _namesakes(case, same)
    elif name.startswith("metrics.") and hasattr(sklearn.metrics, name.rpartition(".")[2]):
        same = getattr(sklearn.metrics, name.rpartition(".")[2])
        found["scikit-learn"] = lambda i: same(*(a.ravel() for a in case.args(i)), **case.options)
    for who, call in case.peers.items():
        if here(PACKAGES.get(who, "numpy")) and (ndim == 2 or who not in FLAT):
            found[who] = call
    return found


def _namesakes(case: Case, same: Callable) -> Callable:
    return lambda i: same(*case.args(i), **case.options)


def differences(ours, theirs, tolerance: float) -> str:
    """Where two results differ by more than a part of the greatest value; "" where they do not."""
    ours, theirs = (
        [gpuseg.asnumpy(_plain(part)) for part in parts(result)] for result in (ours, theirs)
    )
    if len(ours) != len(theirs):
        return f"{len(ours)} parts, {len(theirs)} parts"
    for number, (a, b) in enumerate(zip(ours, theirs)):
        a, b = np.asarray(a), np.asarray(b)
        if a.shape != b.shape:
            return f"part {number}: shapes {a.shape} and {b.shape}"
        if a.dtype.kind not in "fc" and b.dtype.kind not in "fc":
            if not np.array_equal(a, b):
                return f"part {number}: {np.mean(a != b):.2%} of the elements differ"
        elif not np.allclose(a, b, rtol=0, atol=tolerance * max(1e-30, np.abs(b).max())):
            return f"part {number}: differs by {np.nanmax(np.abs(a - b)):.3g}"
    return ""


def _plain(part):
    if type(part).__module__.startswith("SimpleITK"):
        return _sitk().GetArrayFromImage(part)
    return part
