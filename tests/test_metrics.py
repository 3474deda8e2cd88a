"""Scores of superpixels beside slow versions of their definitions, and values worked by hand."""

import naive
import numpy as np
import pytest
import skimage.metrics as peer
from hypothesis import given
from hypothesis import strategies as st

import gpuseg
from gpuseg.metrics import (
    Tally,
    adapted_rand_error,
    binary_accuracy,
    boundary_recall,
    classification_report,
    confusion_matrix,
    dice,
    explained_variation,
    hit_map,
    jaccard,
    mean_absolute_error,
    mean_squared_error,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
    undersegmentation_error,
    variation_of_information,
)


def _labels(data, shape, name):
    rng = np.random.default_rng(data.draw(st.integers(0, 99), label=name))
    coarse = rng.integers(0, 5, [-(-n // 3) for n in shape])
    labels = np.kron(coarse, np.ones([3] * len(shape), int))[tuple(map(slice, shape))]
    return labels.astype(data.draw(st.sampled_from(["u1", ">i4", "i8"])))


@given(data=st.data())
def test_partitions_are_scored_as_by_scikit_image(backend, data):
    shape = data.draw(st.sampled_from([(17,), (9, 11), (4, 5, 6)]))
    true, found = _labels(data, shape, "true"), _labels(data, shape, "found")
    native = [a.astype(np.int64) for a in (true, found)]
    # Labels far apart, and more of them than a table has room for.
    far = data.draw(st.sampled_from([1, 1000, 10**15]))
    ignore = data.draw(st.sampled_from([(), (0,), (1, 2)]))
    ours = (native[0] * far, native[1] * far) if far > 1 else (true, found)
    if np.isin(true, ignore).all():
        return
    options = {"ignore_labels": [k * far for k in ignore]}
    np.testing.assert_allclose(
        variation_of_information(*ours, **options),
        peer.variation_of_information(*native, ignore_labels=ignore),
        atol=1e-12,
    )
    table = peer.contingency_table(*native, ignore_labels=ignore, sparse_type="array")
    if all((table.sum(axis=a) ** 2).sum() > table.sum() for a in (0, 1)):
        np.testing.assert_allclose(
            adapted_rand_error(*ours, alpha=0.3, **options),
            peer.adapted_rand_error(*native, ignore_labels=ignore, alpha=0.3),
            rtol=1e-12,
        )
    normal = table / table.sum()
    np.testing.assert_allclose(
        variation_of_information(table=normal), variation_of_information(*ours, **options)
    )


def test_hit_map_tells_the_four_cases(backend):
    true, found = np.array([[1, 0], [1, 0]]), np.array([[1, 1], [0, 0]])
    colors = hit_map(true, found)
    assert colors.dtype == np.uint8
    assert colors.tolist() == [[[235] * 3, [213, 94, 0]], [[0, 114, 178], [0] * 3]]


@given(data=st.data())
def test_scores_are_those_of_their_definitions(backend, data):
    shape = data.draw(st.sampled_from([(17,), (9, 11), (4, 5, 6)]))
    true, found = _labels(data, shape, "true"), _labels(data, shape, "found")
    tolerance = data.draw(st.integers(0, 2))
    expected = naive.boundary_recall(true, found, tolerance)
    assert boundary_recall(true, found, tolerance=tolerance) == pytest.approx(expected)
    assert undersegmentation_error(true, found) == pytest.approx(
        naive.undersegmentation_error(true, found)
    )
    image = np.random.default_rng(data.draw(st.integers(0, 9))).random(shape)
    means = naive.region_statistic(image, found.astype(int) + 1, np.mean)
    assert explained_variation(image, found) == pytest.approx(means.var() / image.var())


def test_equal_and_empty_boundaries(backend, rng):
    labels = np.kron(rng.integers(0, 4, (4, 5)), np.ones((3, 3), int))
    assert boundary_recall(labels, labels, tolerance=0) == 1
    assert boundary_recall(labels, np.zeros_like(labels)) == 0
    assert boundary_recall(np.zeros_like(labels), labels) == 1


def test_scores_worked_by_hand(backend):
    true = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    assert undersegmentation_error(true, [7, 7, 7, 7, 7, 9, 9, 9]) == 2 / 8
    assert boundary_recall(true, [7, 7, 7, 7, 7, 9, 9, 9], tolerance=0) == 1 / 2
    assert boundary_recall(true, [7, 9, 9, 9, 9, 9, 9, 9], tolerance=2) == 1 / 2
    assert boundary_recall(true, [7, 9, 9, 9, 9, 9, 9, 9], tolerance=1) == 0
    assert explained_variation([0, 2, 4, 6], [1, 1, 2, 2]) == 4 / 5
    assert explained_variation([3, 3], [1, 2]) == 1
    assert explained_variation([True, False], [1, 2]) == 1


LABELS = np.ones((2, 3), int)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: boundary_recall(LABELS, LABELS[0]), ValueError, "must have one shape"),
        (lambda: boundary_recall(LABELS, LABELS * 1.0), TypeError, "y_pred must hold integers"),
        (lambda: boundary_recall(LABELS, LABELS, tolerance=-1), ValueError, "tolerance must be at"),
        (lambda: variation_of_information(LABELS), TypeError, "image0 and image1 are needed"),
        (
            lambda: adapted_rand_error(LABELS, LABELS, alpha=2),
            ValueError,
            "alpha must be at most 1",
        ),
        (lambda: adapted_rand_error(LABELS, LABELS[0]), ValueError, "must have one shape"),
        (lambda: hit_map(LABELS, LABELS[0]), ValueError, "must have one shape"),
        (lambda: undersegmentation_error(-LABELS, LABELS), ValueError, "must not be negative"),
        (lambda: explained_variation(LABELS, LABELS * 0.5), TypeError, "labels must hold integers"),
        (lambda: explained_variation(LABELS * np.nan, LABELS), ValueError, "image holds NaN"),
    ],
)
def test_bad_input(call, error, message):
    with gpuseg.using("cpu"), pytest.raises(error, match=message):
        call()


_PAIRED = (
    adapted_rand_error,
    binary_accuracy,
    boundary_recall,
    classification_report,
    confusion_matrix,
    dice,
    jaccard,
    mean_absolute_error,
    mean_squared_error,
    undersegmentation_error,
    variation_of_information,
)


@pytest.mark.gpu
@pytest.mark.parametrize("mixed", [False, True])
def test_scores_of_arrays_on_a_device(rng, mixed):
    """What SciPy and scikit-learn finish takes no array of a device."""
    true, found = rng.random((2, 20, 31)) < 0.4
    score = rng.random((20, 31)).astype(np.float32)
    labels = rng.integers(0, 9, (20, 31))
    with gpuseg.using("cuda"):
        there = [gpuseg.asarray(x) for x in (true, found, score, labels)]
    mine = true if mixed else there[0]
    for function in _PAIRED:
        np.testing.assert_equal(function(mine, there[1]), function(true, found))
        np.testing.assert_equal(function(there[0], found), function(true, found))
    for function in (precision_recall_curve, roc_curve):
        for ours, theirs in zip(function(mine, there[2]), function(true, score)):
            np.testing.assert_allclose(ours, theirs)
    assert roc_auc_score(mine, there[2]) == pytest.approx(roc_auc_score(true, score))
    image = score if mixed else there[2]
    assert explained_variation(image, there[3]) == pytest.approx(explained_variation(score, labels))
    tally = Tally()
    tally.add(mine, there[1])
    assert tally.dice() == dice(true, found)
    assert np.array_equal(tally.confusion_matrix(), confusion_matrix(true, found))
