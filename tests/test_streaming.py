"""Scores of images that come in pieces equal those of the whole."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg import metrics
from gpuseg.metrics import Tally


def tallied(true, found, cuts) -> Tally:
    """A tally of pieces along the first axis."""
    tally = Tally()
    for start, stop in zip([0, *cuts], [*cuts, len(true)]):
        if stop > start:
            tally.add(true[start:stop], found[start:stop])
    return tally


@st.composite
def regions(draw):
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=2, max_size=3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = draw(st.sampled_from([np.uint8, np.int32, np.int64, bool]))
    true, found = rng.integers(0, 2 if dtype is bool else 5, (2, *shape)).astype(dtype)
    return true, found, sorted(draw(st.lists(st.integers(0, shape[0]), max_size=3)))


@given(regions())
def test_every_score_equals_that_of_the_whole(backend, case):
    true, found, cuts = case
    tally = tallied(true, found, cuts)
    assert tally.size == true.size
    for name in ("dice", "jaccard", "binary_accuracy", "undersegmentation_error"):
        assert getattr(tally, name)() == getattr(metrics, name)(true, found), name
    for name in ("variation_of_information", "adapted_rand_error"):
        with np.errstate(all="ignore"):
            np.testing.assert_allclose(
                getattr(tally, name)(ignore_labels=()),
                getattr(metrics, name)(true, found, ignore_labels=()),
                rtol=1e-12,
            )
    labels = [0, 1, 2, 3, 4]  # scikit-learn warns where a single one occurs
    np.testing.assert_array_equal(
        tally.confusion_matrix(labels=labels), metrics.confusion_matrix(true, found, labels=labels)
    )
    assert tally.classification_report(zero_division=0) == metrics.classification_report(
        true, found, zero_division=0
    )
    for name in ("mean_absolute_error", "mean_squared_error"):
        peer = getattr(metrics, name)(true, found)
        assert getattr(tally, name)() == pytest.approx(peer, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_scores_of_probabilities(backend, dtype, rng):
    true = rng.random((30, 40)) < 0.3
    score = (true * 40 + rng.integers(0, 100, true.shape)).astype(dtype)
    score = score / dtype(140) if dtype is not np.uint8 else score
    tally = tallied(true, score, [7, 20])
    assert tally.roc_auc_score() == pytest.approx(metrics.roc_auc_score(true, score), rel=1e-12)
    for name in ("roc_curve", "precision_recall_curve"):
        for ours, whole in zip(getattr(tally, name)(), getattr(metrics, name)(true, score)):
            np.testing.assert_allclose(ours, whole, rtol=1e-12)


def test_tallies_merge(backend, rng):
    true, found = rng.integers(0, 4, (2, 10, 12))
    first, second = tallied(true[:3], found[:3], [1]), tallied(true[3:], found[3:], [])
    first.merge(second)
    first.merge(Tally())
    np.testing.assert_array_equal(first.confusion_matrix(), metrics.confusion_matrix(true, found))
    assert first.counts.sum() == first.size == 120
    with pytest.raises(TypeError, match="other must be a Tally, got int"):
        first.merge(3)


def test_true_values_in_floating_point_have_mean_errors_alone(rng):
    true, found = rng.normal(size=(2, 20, 30))
    tally = tallied(true, found, [4])
    expected = metrics.mean_squared_error(true, found)
    assert tally.mean_squared_error() == pytest.approx(expected, rel=1e-12)
    assert tally.counts is None
    with pytest.raises(ValueError, match="mean errors alone"):
        tally.dice()


def test_bad_pieces():
    tally = Tally()
    with pytest.raises(ValueError, match="nothing was added"):
        tally.dice()
    with pytest.raises(ValueError, match="nothing was added"):
        tally.mean_absolute_error()
    with pytest.raises(ValueError, match="one shape"):
        tally.add(np.zeros(3, int), np.zeros(4, int))
    with pytest.raises(ValueError, match="y_found holds NaN"):
        tally.add(np.zeros(2, int), np.array([0, np.nan]))
    assert tally.size == 0
    tally.add(np.array([-1, 2]), np.array([0, 1]))
    with pytest.raises(ValueError, match="negative"):
        tally.variation_of_information()


@pytest.mark.parametrize("tolerance", [0, 1, 3])
@pytest.mark.parametrize("shape", [(50, 20), (30, 9, 8)])
def test_boundary_recall_and_overlap_in_pieces(monkeypatch, rng, shape, tolerance):
    true, found = rng.integers(0, 2, (2, *shape))
    true[5:20], found[8:25] = 1, 0
    whole = metrics.boundary_recall(true, found, tolerance=tolerance), metrics.dice(true, found)
    monkeypatch.setattr(metrics.overlap, "_PIECE", 3 * true[0].size)
    pieces = metrics.boundary_recall(true, found, tolerance=tolerance), metrics.dice(true, found)
    assert pieces == whole
