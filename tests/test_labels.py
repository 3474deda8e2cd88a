"""Any numbers are labels: far apart, above 2**63, the last of their type, below 0."""

import re
import tracemalloc

import numpy as np
import pytest
import skimage.segmentation

import gpuseg
from gpuseg import measure, metrics, morphology, report, segmentation
from gpuseg._cpu.regions import as_indices, compact

PLAIN = np.array(
    [[1, 1, 0, 0, 2, 2], [1, 1, 0, 0, 2, 2], [0, 0, 3, 3, 3, 0], [4, 0, 3, 3, 0, 0],
     [0, 0, 0, 0, 5, 5]]
)  # fmt: skip
IMAGE = np.arange(30.0).reshape(PLAIN.shape)
# What stands for 0 to 5, in order.
NAMES = {
    "gaps": (np.int64, [0, 1, 7, 2**40, 2**40 + 1, 2**41]),
    "above what float64 holds": (np.int64, [0, 3, 2**53, 2**53 + 1, 2**53 + 2, 2**63 - 1]),
    "the last of uint32": (np.uint32, [0, 1, 2, 2**31, 2**32 - 2, 2**32 - 1]),
    "the last of int8": (np.int8, [0, 1, 2, 3, 100, 127]),
    "the last of int32": (np.int32, [0, 1, 2, 3, 2**31 - 2, 2**31 - 1]),
    "around 2**63": (np.uint64, [0, 1, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 1]),
    "big-endian": (">u8", [0, 1, 2**53 + 1, 2**63, 2**63 + 1, 2**64 - 1]),
}
NEGATIVE = {
    "below 0": (np.int64, [0, 1, 2, -(2**63), -1, 2**63 - 1]),
    "the first of int8": (np.int8, [0, 1, 2, 127, -128, -1]),
}


def _tally(labels):
    tally = metrics.Tally()
    for rows in (slice(0, 2), slice(2, None)):
        tally.add(labels[rows], labels[::-1][rows])
    table = tally.classification_report(output_dict=True, zero_division=0)
    return (
        tally.confusion_matrix(),
        tally.adapted_rand_error(),
        tally.variation_of_information(),
        tally.undersegmentation_error(),
        tally.dice(),
        list(table.values()),
    )


def _report(labels, **options):
    table = metrics.classification_report(
        labels, labels[::-1], output_dict=True, zero_division=0, **options
    )
    return list(table.values())


# What takes labels; what it gives is numbers, or the labels again.
NUMBERS = {
    "adapted_rand_error": lambda x: metrics.adapted_rand_error(x, x[::-1]),
    "binary_accuracy": lambda x: metrics.binary_accuracy(x, x[::-1]),
    "boundary_recall": lambda x: metrics.boundary_recall(x, x[::-1], tolerance=0),
    "classification_report": _report,
    "confusion_matrix": lambda x: metrics.confusion_matrix(x, x[::-1]),
    "dice": lambda x: metrics.dice(x, x[::-1]),
    "explained_variation": lambda x: metrics.explained_variation(IMAGE, x),
    "find_boundaries": lambda x: [
        segmentation.find_boundaries(x, mode=mode) for mode in ("thick", "inner", "outer")
    ],
    "hit_map": lambda x: metrics.hit_map(x, x[::-1]),
    "label": measure.label,
    "mark_boundaries": lambda x: segmentation.mark_boundaries(IMAGE / 30, x),
    "merge_superpixels": lambda x: [
        segmentation.merge_superpixels(x, IMAGE, 5, criterion=by) for by in ("mean", "boundary")
    ],
    "remove_small_holes": lambda x: morphology.remove_small_holes(x, max_size=3),
    "superpixel_means": lambda x: [
        segmentation.superpixel_means(IMAGE, x, statistic=statistic)
        for statistic in ("mean", "sum", "std", "var", "min", "max", "median", np.ptp)
    ],
    "undersegmentation_error": lambda x: metrics.undersegmentation_error(x, x[::-1]),
    "variation_of_information": lambda x: metrics.variation_of_information(x, x[::-1]),
    "volume_fraction": measure.volume_fraction,
}
IN_MEMORY = {
    "Tally": _tally,
    "find_boundaries subpixel": lambda x: segmentation.find_boundaries(x, mode="subpixel"),
    "report.describe": lambda x: [report.describe(IMAGE, x)[k] for k in ("objects", "sizes")],
}
LABELS = {
    "clear_border": segmentation.clear_border,
    "expand_labels": lambda x: segmentation.expand_labels(x, 2),
    "regionprops_table": lambda x: measure.regionprops_table(
        x, IMAGE, ("label", "area", "bbox", "intensity_mean", "solidity")
    ),
    "remove_small_objects": lambda x: morphology.remove_small_objects(x, max_size=3),
}
LABELS_IN_MEMORY = {"watershed": lambda x: segmentation.watershed(IMAGE, x)}
# Those that take labels below 0, as background or as labels like others.
SIGNED = (
    "binary_accuracy", "classification_report", "clear_border", "confusion_matrix", "dice",
    "expand_labels", "find_boundaries", "find_boundaries subpixel", "hit_map", "label",
    "mark_boundaries", "remove_small_holes", "volume_fraction", "watershed",
)  # fmt: skip


def _flat(found):
    """All numbers of a result, in order."""
    if hasattr(found, "compute"):
        found = found.compute()
    if isinstance(found, dict):
        found = list(found.values())
    if isinstance(found, list | tuple):
        return [number for part in found for number in _flat(part)]
    return np.ravel(gpuseg.asnumpy(found)).tolist() if found is not None else []


def _named(dtype, names):
    return np.array(names, dtype)[PLAIN]


@pytest.mark.parametrize("names", NAMES)
def test_any_numbers_are_labels(backend, names):
    dtype, names = NAMES[names]
    labels = _named(dtype, names)
    for name, call in (NUMBERS | IN_MEMORY).items():
        assert _flat(call(labels)) == _flat(call(PLAIN)), name
    back = dict(zip(names, range(6)))
    for name, call in (LABELS | LABELS_IN_MEMORY).items():
        found, plain = call(labels), call(PLAIN)
        if isinstance(found, dict):
            assert found["label"].tolist() == names[1:], name
            found = found | {"label": plain["label"]}
        else:
            assert found.dtype == np.dtype(dtype).newbyteorder("="), name
            found = [back[int(label)] for label in found.reshape(-1)]
        assert _flat(found) == _flat(plain), name


@pytest.mark.parametrize("names", NEGATIVE)
def test_labels_below_0_where_scikit_image_takes_them(backend, names):
    labels = _named(*NEGATIVE[names])
    signed = (NUMBERS | IN_MEMORY | LABELS | LABELS_IN_MEMORY).items()
    plain = PLAIN.astype(np.int16) - 100 * np.isin(
        PLAIN, np.flatnonzero(np.array(NEGATIVE[names][1]) < 0)
    )
    order = np.unique(labels)
    for name, call in signed:
        if name in SIGNED:
            found, expected = call(labels), call(plain)
            if name in LABELS or name in LABELS_IN_MEMORY:
                found = np.searchsorted(order, found)
                expected = np.searchsorted(np.unique(plain), expected)
            assert _flat(found) == _flat(expected), name
        elif name != "regionprops_table":
            with pytest.raises(ValueError, match="negative"):
                call(labels)
    table = measure.regionprops_table(labels, IMAGE, ("label", "area"))
    kept = sorted((n, np.count_nonzero(labels == n)) for n in np.unique(labels[labels > 0]))
    assert [*zip(table["label"], table["area"])] == kept


@pytest.mark.parametrize("names", NAMES)
def test_any_numbers_are_labels_in_chunks(names):
    da = pytest.importorskip("dask.array")
    labels = _named(*NAMES[names])
    for name, call in (NUMBERS | LABELS).items():
        assert _flat(call(da.from_array(labels, chunks=(2, 3)))) == _flat(call(labels)), name


@pytest.mark.parametrize("names", NAMES | NEGATIVE)
def test_compact_labels_can_be_mapped_back(names):
    labels = _named(*(NAMES | NEGATIVE)[names]).astype((NAMES | NEGATIVE)[names][0], copy=False)
    labels = labels.astype(labels.dtype.newbyteorder("="))
    flat, numbers = compact(labels)
    assert flat.min() == 0
    assert flat.max() == numbers.size - 1 == 5
    np.testing.assert_array_equal(numbers[flat].reshape(labels.shape), labels)
    assert (np.diff(numbers.astype(object)) > 0).all()


def test_dense_labels_stay_as_they_are(rng):
    labels = rng.integers(0, 9, 100).astype(np.int32)
    flat, numbers = as_indices(labels)
    assert flat.base is labels or flat is labels
    assert numbers is None


def test_pairs_of_labels_of_two_types(backend):
    true, found = np.array([-1, -1, 5]), np.array([2**63 + 1, 5, 5], np.uint64)
    assert metrics.confusion_matrix(true, found).tolist() == [[0, 1, 1], [0, 1, 0], [0, 0, 0]]
    some = metrics.confusion_matrix(true, found, labels=[5, -1, 8])
    assert some.tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 0]]
    table = metrics.classification_report(true, found, output_dict=True, zero_division=0)
    assert [*table][:3] == ["-1", "5", str(2**63 + 1)]
    assert table["5"]["recall"] == 1
    tally = metrics.Tally()
    tally.add(np.array([1, 2]), np.array([1, 2], np.uint64))
    tally.add(np.array([1, 2], np.uint64), np.array([1, 2**63], np.uint64))
    assert tally.confusion_matrix().tolist() == [[2, 0, 0], [0, 1, 1], [0, 0, 0]]
    with pytest.raises(ValueError, match="of one integer type"):
        tally.add(np.array([-1, 2**62]), np.array([-1, 2]))


def test_figures_of_classes_in_two_types():
    plot = pytest.importorskip("gpuseg.plot")
    pytest.importorskip("matplotlib")
    true, found = np.array([[1, 2], [2, 3]]), np.array([[1, 2], [2**53, 2**53 + 1]], np.uint64)
    figure = plot.plot_confusion_matrix(true.ravel(), found.ravel())
    names = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert names == ["1", "2", "3", str(2**53), str(2**53 + 1)]
    drawn = plot.show_prediction(np.zeros((2, 2)), true, found)
    texts = [text.get_text() for text in drawn.findobj(lambda part: hasattr(part, "get_text"))]
    assert any(str(2**53 + 1) in text for text in texts)


def test_classes_of_pictures_in_two_types(rng):
    from gpuseg.pixels import PixelClassifier

    image = rng.random((12, 12)) + 5 * (np.arange(12) > 5)
    masks = [np.zeros((12, 12), dtype) for dtype in (np.int64, np.uint64)]
    for mask in masks:
        mask[2:4, 1:4], mask[2:4, 8:11] = 2**53, 2**53 + 1
    classes = PixelClassifier(random_state=0).fit([image] * 2, masks).predict(image)
    assert classes.dtype == np.int64
    assert classes[3, [2, 9]].tolist() == [2**53, 2**53 + 1]
    masks[0][5, 5], masks[1][5, 5] = -1, 2**63
    with pytest.raises(ValueError, match="labels must be of one integer type"):
        PixelClassifier().fit([image] * 2, masks)


@pytest.mark.parametrize("mode", ["outer", "inner", "thick"])
def test_boundaries_of_the_last_labels_of_a_type(rng, mode):
    # Labels that scikit-image gets right, and those that it takes for no label.
    labels = rng.integers(0, 3, (20, 20))
    expected = skimage.segmentation.find_boundaries(labels.astype(np.int16), mode=mode)
    for dtype in (np.int8, np.uint16, np.int64, np.uint64):
        last = np.array([0, 1, np.iinfo(dtype).max], dtype)[labels]
        np.testing.assert_array_equal(segmentation.find_boundaries(last, mode=mode), expected)


def test_one_large_label_takes_no_memory(rng):
    labels = rng.integers(0, 50, (300, 300))
    labels[0, 0] = 2**62
    for call in (LABELS["remove_small_objects"], lambda x: measure.regionprops_table(x)):
        call(labels[:2])  # imports
        tracemalloc.start()
        call(labels)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < 64 * labels.size


# --- a GPU's form, on a stand-in --------------------------------------------------------------


class Cucim:
    """What cuCIM's source says that its regionprops_table does, on NumPy arrays."""

    def __init__(self):
        self.calls = []

    def regionprops_table(self, labels, image=None, properties=("label", "bbox"), **options):
        self.calls.append((labels, properties))
        assert set(options) <= {"cache", "separator", "spacing"}
        assert len(set(properties)) == len(properties)
        if "intensity_median" in properties:
            raise NotImplementedError("Batch computation of 'intensity_median' is not supported")
        most = int(labels.max())
        # A row for each number up to the largest, in labels of the smallest type that holds it.
        kind = np.min_scalar_type(most)
        table = skimage.measure.regionprops_table(labels, image, properties)
        assert labels.dtype.kind in "iu"
        assert np.unique(labels[labels > 0]).size == most
        if "label" in table:
            table["label"] = np.arange(1, most + 1, dtype=kind)
        return {
            name: column.astype(np.float32) if column.dtype == float else column.astype(np.uint32)
            for prop in sorted(properties)  # in no order that was asked for
            for name, column in table.items()
            if name.split("-")[0] == prop
        }


@pytest.fixture
def cucim(monkeypatch):
    from gpuseg._cuda import measure as form

    stand_in = Cucim()
    monkeypatch.setattr(form, "skimage", lambda labels, module: stand_in)
    return stand_in


def _on_cuda(labels, image=None, properties=("label", "bbox"), **options):
    from gpuseg._cuda import measure as form

    given = {"cache": True, "separator": "-", "extra_properties": (), "spacing": None} | options
    return form.regionprops_table(labels, image, tuple(properties), **given)


@pytest.mark.parametrize("names", NAMES | NEGATIVE)
def test_cucim_gets_labels_without_gaps(cucim, names):
    dtype, names = (NAMES | NEGATIVE)[names]
    labels = np.array(names, np.dtype(dtype).newbyteorder("="))[PLAIN]
    properties = ("area", "Label", "centroid", "mean_intensity", "bbox")
    table = _on_cuda(labels, IMAGE, properties, separator="")
    expected = measure.regionprops_table(labels, IMAGE, properties, separator="")
    assert list(table) == list(expected)
    for name, column in expected.items():
        np.testing.assert_allclose(table[name], column, rtol=1e-6, err_msg=name)
        assert table[name].dtype == column.dtype, name
    assert len(cucim.calls) == 1


def test_cucim_is_not_asked_for_what_it_answers_otherwise(cucim):
    from gpuseg._backend import Unserved

    channels = np.stack([IMAGE, IMAGE], axis=-1)
    for image, properties, options in (
        (IMAGE, ["intensity_median"], {}),
        (IMAGE, ["intensity_std"], {}),
        (None, ["eccentricity"], {}),
        (None, ["orientation"], {}),
        (None, ["moments"], {}),
        (None, ["solidity"], {}),
        (None, ["perimeter"], {}),
        (None, ["area"], {"spacing": (1.0, 2.0)}),
        (None, ["area"], {"extra_properties": (np.sum,)}),
        (channels[..., :1], ["intensity_mean"], {}),
        (np.where(IMAGE == 3, np.nan, IMAGE), ["intensity_max"], {}),
    ):
        with pytest.raises(Unserved):
            _on_cuda(PLAIN, image, properties, **options)
    with pytest.raises(Unserved, match="no region"):
        _on_cuda(np.zeros_like(PLAIN))
    with pytest.raises(Unserved, match="axis_minor_length"):
        _on_cuda(PLAIN[None], None, ["axis_minor_length"])
    assert not cucim.calls
    assert list(_on_cuda(PLAIN, channels, ["intensity_min"])) == [
        "intensity_min-0",
        "intensity_min-1",
    ]


# --- errors -----------------------------------------------------------------------------------


MANY = np.ones((3, 3, 3), int)
BAD = [
    ({"separator": 5}, TypeError, "separator must be a string, got int 5"),
    ({"properties": "area"}, TypeError, "properties must be a sequence of names, got str 'area'"),
    ({"properties": 3}, TypeError, "properties must be a sequence of names, got int 3"),
    ({"properties": [3]}, TypeError, "properties must be names, got int 3"),
    ({"properties": ["aera"]}, ValueError, "'aera' is no region property; did you mean 'area'?"),
    ({"properties": ["intensity_mean"]}, ValueError, "'intensity_mean' needs an intensity_"),
    ({"properties": ["min_intensity"]}, ValueError, "'min_intensity' needs an intensity_image"),
    ({"properties": ["perimeter"], "spacing": (1, 2)}, ValueError, "'perimeter' needs the same"),
    ({"properties": ["moments_hu"], "spacing": 2}, ValueError, "'moments_hu' needs a spacing of"),
    ({"spacing": (1, 2, 3)}, ValueError, "spacing must be a number or have one for each of 2"),
    ({"spacing": 0}, ValueError, "spacing must be greater than 0"),
    ({"spacing": "a"}, TypeError, "spacing must be a number"),
    ({"extra_properties": 3}, TypeError, "extra_properties must be a sequence of functions"),
    ({"extra_properties": [3]}, TypeError, "extra_properties must be functions with a name"),
    ({"extra_properties": [lambda: 3]}, ValueError, "takes 0 arguments"),
    ({"extra_properties": [lambda m, i: 3]}, ValueError, "needs an intensity_image"),
    ({"intensity_image": np.ones((3, 4, 1, 1))}, ValueError, "intensity_image must have the"),
    ({"intensity_image": np.ones((3, 4), complex)}, TypeError, "intensity_image must hold"),
    ({"label_image": np.ones(3, int)}, ValueError, "label_image must have 2 or 3 axes"),
    ({"label_image": MANY, "properties": ["eccentricity"]}, ValueError, "needs labels of 2 axes"),
]


@pytest.mark.parametrize(("options", "error", "text"), BAD)
@pytest.mark.parametrize("chunked", [False, True])
def test_bad_arguments_of_a_table(options, error, text, chunked):
    options = {"label_image": np.eye(3, 4, dtype=int)} | options
    if chunked:
        from_array = pytest.importorskip("dask.array").from_array
        options["label_image"] = from_array(options["label_image"])
    with pytest.raises(error, match=re.escape(text)) as told:
        measure.regionprops_table(**options)
    assert len(str(told.value).splitlines()) == 1
