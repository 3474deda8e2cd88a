"""Every public function gives for chunks what it gives for the whole, or says why not."""

import importlib
import inspect
import math

import numpy as np
import pytest

da = pytest.importorskip("dask.array")

from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from pandas.testing import assert_frame_equal  # noqa: E402

import gpuseg  # noqa: E402
from gpuseg import features, filters, measure, metrics, morphology, segmentation  # noqa: E402
from gpuseg._dask import REASONS  # noqa: E402

MODULES = ("filters", "morphology", "measure", "metrics", "segmentation", "features", "estimators")
FUNCTIONS = {
    f"{module}.{name}": getattr(importlib.import_module(f"gpuseg.{module}"), name)
    for module in MODULES
    for name in importlib.import_module(f"gpuseg.{module}").__all__
}
FUNCTIONS = {name: f for name, f in FUNCTIONS.items() if inspect.isfunction(f)}
# They make an array from numbers alone.
NO_IMAGE = {"features.feature_names", "morphology.ball", "morphology.disk"}

THRESHOLDS = sorted(
    name.removeprefix("filters.")
    for name in FUNCTIONS
    if name.startswith("filters.threshold_") and FUNCTIONS[name].via is filters.histogram
)


class Case:
    """An image, two label images, a mask and scores of one shape, each cut in its own way."""

    def __init__(self, shape, seed):
        rng = np.random.default_rng(seed)
        self.image = (rng.random(shape) ** 2 * 255).astype(np.uint8)
        self.labels = rng.integers(0, 4, shape)
        self.others = rng.integers(0, 3, shape)
        self.mask = rng.random(shape) < 0.5
        self.truth = rng.random(shape) < 0.5
        self.scores = rng.random(shape).round(1)
        self.mask.flat[0] = self.truth.flat[-1] = True
        self.truth.flat[0] = False

    def cut(self, chunks):
        """The same in chunks."""
        cut = object.__new__(Case)
        for (name, array), size in zip(vars(self).items(), chunks):
            setattr(cut, name, da.from_array(array, chunks=size))
        return cut


def _one(function, **options):
    return lambda x: function(x.image, **options)


def _of(function, *names, **options):
    return lambda x: function(*(getattr(x, name) for name in names), **options)


def _undecided(function):
    """A threshold, or that the image has none."""

    def call(x):
        try:
            return function(x.image)
        except filters.UndecidedError as error:
            return str(error)

    return call


CALLS = {
    **{f"filters.{name}": _undecided(getattr(filters, name)) for name in THRESHOLDS},
    **{
        f"filters.{name}": _one(getattr(filters, name))
        for name in (
            "histogram", "laplace", "median", "prewitt", "scharr", "sobel", "threshold_mean",
            "threshold_niblack", "threshold_sauvola",
        )
    },
    **{
        f"filters.{name}_{side}": _one(getattr(filters, f"{name}_{side}"))
        for name in ("prewitt", "scharr", "sobel") for side in "hv"
    },
    **{
        f"morphology.{name}": _one(getattr(morphology, name))
        for name in ("closing", "dilation", "erosion", "opening", "white_tophat")
    },
    **{
        f"metrics.{name}": _of(getattr(metrics, name), "truth", "mask")
        for name in ("binary_accuracy", "dice", "hit_map", "jaccard")
    },
    **{
        f"metrics.{name}": _of(getattr(metrics, name), "labels", "others")
        for name in (
            "adapted_rand_error", "boundary_recall", "confusion_matrix",
            "undersegmentation_error", "variation_of_information",
        )
    },
    "metrics.classification_report": lambda x: metrics.classification_report(
        x.labels, x.others, zero_division=0
    ),
    **{
        f"metrics.{name}": _of(getattr(metrics, name), "truth", "scores")
        for name in (
            "mean_absolute_error", "mean_squared_error", "precision_recall_curve", "roc_auc_score",
            "roc_curve",
        )
    },
    "features.filter_bank": _one(features.filter_bank, sigmas=(1,)),
    "features.neighborhood": _one(features.neighborhood),
    "features.polynomial": lambda x: features.polynomial(x.image[..., None]),
    "features.position": _one(features.position),
    "filters.apply_hysteresis_threshold": _one(
        filters.apply_hysteresis_threshold, low=100, high=180
    ),
    "filters.apply_thresholds": _one(filters.apply_thresholds, thresholds=[40, 100]),
    "filters.compare_thresholds": _one(filters.compare_thresholds, methods=["otsu", "mean"]),
    "filters.difference_of_gaussians": _one(filters.difference_of_gaussians, low_sigma=1),
    "filters.flood_masks": lambda x: filters.flood_masks(x.truth, x.mask),
    "filters.gaussian": _one(filters.gaussian, sigma=1.5),
    "filters.subtract_background": _one(filters.subtract_background, sigma=2),
    "filters.threshold_by_objects": _one(
        filters.threshold_by_objects, size=(1, math.inf), candidates=[20, 50, 90]
    ),
    "filters.threshold_local": _one(filters.threshold_local, block_size=3),
    "filters.try_all_threshold": lambda x: [
        panel.images[0].get_array() if panel.images else None
        for panel in filters.try_all_threshold(x.image[:, :9], verbose=False)[1][:18]
    ],
    "measure.label": lambda x: measure.label(x.others),
    "measure.regionprops_table": lambda x: measure.regionprops_table(
        x.labels, x.image, ("label", "area", "bbox", "centroid", "intensity_max")
    ),
    "measure.volume_fraction": lambda x: measure.volume_fraction(x.truth, mask=x.mask),
    "metrics.explained_variation": lambda x: metrics.explained_variation(x.image, x.labels),
    "morphology.reconstruction": lambda x: morphology.reconstruction(
        x.image * x.truth, x.image
    ),
    "morphology.remove_small_holes": lambda x: morphology.remove_small_holes(x.mask, max_size=2),
    "morphology.remove_small_objects": lambda x: morphology.remove_small_objects(
        x.mask, max_size=2
    ),
    "segmentation.clear_border": lambda x: segmentation.clear_border(x.others),
    "segmentation.expand_labels": lambda x: segmentation.expand_labels(x.labels, 2),
    "segmentation.find_boundaries": lambda x: segmentation.find_boundaries(x.labels),
    "segmentation.flood": lambda x: segmentation.flood(x.others, (0, 0)),
    "segmentation.flood_fill": lambda x: segmentation.flood_fill(x.others, (0, 0), 7),
    "segmentation.gaussian_mixture": _one(
        segmentation.gaussian_mixture, n_components=2, random_state=0
    ),
    "segmentation.hysteresis": _one(
        segmentation.hysteresis, low=100, high=180
    ),
    "segmentation.kmeans": _one(segmentation.kmeans, n_clusters=3, random_state=0),
    "segmentation.mark_boundaries": lambda x: segmentation.mark_boundaries(x.image, x.labels),
    "segmentation.markov_random_field": _one(
        segmentation.markov_random_field, n_classes=2, return_result=True
    ),
    "segmentation.merge_superpixels": lambda x: segmentation.merge_superpixels(
        measure.label(x.labels, connectivity=2), x.image, 30
    ),
    "segmentation.quadtree": _one(segmentation.quadtree, threshold=90),
    "segmentation.superpixel_means": lambda x: segmentation.superpixel_means(x.image, x.labels),
}  # fmt: skip


def test_every_function_has_a_form_or_a_reason():
    assert not set(CALLS) & set(REASONS)
    assert set(CALLS) | set(REASONS) | NO_IMAGE == set(FUNCTIONS)


def compare(found, expected, contract):
    if isinstance(found, da.Array):
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype
        found = found.compute(scheduler="sync")
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        found, expected = list(found.values()), list(expected.values())
    if isinstance(expected, tuple | list):
        assert len(found) == len(expected)
        for a, b in zip(found, expected):
            compare(a, b, contract)
    elif hasattr(expected, "to_dict") or hasattr(expected, "to_dataframe"):
        expected, found = (getattr(x, "to_dataframe", lambda x=x: x)() for x in (expected, found))
        assert_frame_equal(found, expected)
    elif isinstance(expected, str | type(None)):
        assert found == expected
    else:
        assert np.asarray(found).dtype == np.asarray(expected).dtype
        assert contract.compare(found, expected).passed, (found, expected)


@pytest.mark.filterwarnings("ignore:More than 20 figures")
@pytest.mark.parametrize("name", sorted(CALLS))
@settings(max_examples=6, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_chunks_give_what_the_whole_gives(name, data):
    shape = data.draw(st.tuples(st.integers(2, 20), st.integers(2, 20)))
    whole = Case(shape, data.draw(st.integers(0, 9)))
    chunks = [data.draw(st.tuples(*(st.integers(1, n) for n in shape))) for _ in vars(whole)]
    call = CALLS[name]
    try:
        expected = call(whole)
    except ValueError as refused:
        assert whole.image.size < 20  # too few values, as for several clusters
        with pytest.raises(type(refused)):
            call(whole.cut(chunks))
        return
    compare(call(whole.cut(chunks)), expected, FUNCTIONS[name].contract)


@pytest.mark.parametrize("name", sorted(REASONS))
def test_what_has_no_form_says_why(name):
    assert name in FUNCTIONS
    module, attribute = name.split(".")
    lazy = da.ones((6, 6, 6), chunks=3)
    refused = {
        "features.feature_table": lambda f: f(lazy),
        "segmentation.superpixel_classes": lambda f: f(lazy[0], 0.5),
        "filters.threshold_stability": lambda f: f(lazy, noise=1),
        "measure.find_contours": lambda f: f(lazy[0], 0.5),
        "measure.marching_cubes": lambda f: f(lazy, 0.5),
        "segmentation.guarded_threshold": lambda f: f(lazy, [0.5]),
        "segmentation.slic": lambda f: f(lazy, channel_axis=None),
        "segmentation.watershed": lambda f: f(lazy, lazy.astype(int)),
    }
    call = refused.get(name, lambda f: gpuseg._backend.run(f, lazy))
    with pytest.raises(TypeError, match="has no form for Dask arrays") as told:
        call(getattr(getattr(gpuseg, module), attribute))
    assert REASONS[name] in str(told.value)
