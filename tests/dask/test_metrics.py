"""Scores of chunked arrays equal those of the whole."""

import numpy as np
import pytest

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

from hypothesis import assume, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from gpuseg import metrics  # noqa: E402

DTYPES = ["bool", "uint8", "int16", ">i4", "int64", "uint64"]


@st.composite
def pairs(draw, dtypes=DTYPES, found=None):
    """Two images of regions, and one of them or both in chunks."""
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    images = []
    for kinds in (dtypes, found or dtypes):
        dtype = np.dtype(draw(st.sampled_from(kinds)))
        top = 2 if dtype.kind == "b" else draw(st.sampled_from([2, 5, 120]))
        images.append(rng.integers(0, top, shape).astype(dtype))
    lazy = [da.from_array(x, chunks=draw(chunkings(shape))) for x in images]
    i = draw(st.integers(0, 2))
    if i < 2:
        lazy[i] = images[i]
    return images, lazy


def chunkings(shape):
    return st.tuples(*(st.integers(-(-n // 4), n) for n in shape))


def same(function, whole, chunked, **options):
    """That both give the same, under the function's contract."""
    with np.errstate(all="ignore"), dask.config.set(scheduler="sync"):
        expected, got = function(*whole, **options), function(*chunked, **options)
    if isinstance(expected, str | dict):
        assert got == expected
        return
    several = isinstance(expected, tuple)
    for a, b in zip(got if several else [got], expected if several else [expected]):
        found = function.contract.compare(a, b)
        assert found.passed, (function.__name__, found.worst, a, b)


@settings(max_examples=25)
@given(pairs())
def test_masks_classes_and_regions(case):
    for name in (
        "dice", "jaccard", "binary_accuracy", "undersegmentation_error", "confusion_matrix",
        "mean_absolute_error", "mean_squared_error",
    ):  # fmt: skip
        options = {"labels": range(120)} if name == "confusion_matrix" else {}
        same(getattr(metrics, name), *case, **options)
    for ignored in ((), (0,)):
        same(metrics.variation_of_information, *case, ignore_labels=ignored)
        same(metrics.adapted_rand_error, *case, ignore_labels=ignored)
    same(metrics.classification_report, *case, zero_division=0)
    same(metrics.explained_variation, *case)


@settings(max_examples=25)
@given(pairs(), st.integers(0, 3))
def test_boundary_recall(case, tolerance):
    same(metrics.boundary_recall, *case, tolerance=tolerance)


@settings(max_examples=30)
@given(pairs(["bool"], ["float32", "float64", "uint8", "float16"]), st.booleans())
def test_scores(case, drop):
    assume(0 < case[0][0].mean() < 1)
    for name in ("roc_curve", "precision_recall_curve"):
        same(getattr(metrics, name), *case, drop_intermediate=drop)
    same(metrics.roc_auc_score, *case)


@pytest.mark.parametrize("kind", ["uint8", "float64"])
def test_weights(kind, rng):
    true, found = rng.integers(0, 2, (2, 12, 15))
    weights = (rng.random((12, 15)) * 9 + 1).astype(kind)
    score = rng.integers(0, 20, (12, 15)) / 20
    lazy = [da.from_array(x, chunks=(5, 4)) for x in (true, found, score)]
    lazy_weights = da.from_array(weights, chunks=(7, 15))
    for name, i in (
        ("confusion_matrix", 1), ("roc_curve", 2), ("precision_recall_curve", 2),
        ("roc_auc_score", 2), ("mean_squared_error", 2), ("mean_absolute_error", 2),
    ):  # fmt: skip
        function = getattr(metrics, name)
        expected = function(true, (found, score)[i - 1], sample_weight=weights)
        got = function(lazy[0], lazy[i], sample_weight=lazy_weights)
        if isinstance(expected, tuple):
            for a, b in zip(got, expected):
                np.testing.assert_allclose(a, b, rtol=1e-12)
        else:
            np.testing.assert_allclose(got, expected, rtol=1e-12)
            assert np.asarray(got).dtype == np.asarray(expected).dtype
    report = metrics.classification_report
    expected = report(true, found, sample_weight=weights, output_dict=True)["macro avg"]
    got = report(*lazy[:2], sample_weight=lazy_weights, output_dict=True)["macro avg"]
    assert got == pytest.approx(expected, rel=1e-12)


def test_large_numbers_keep_every_bit():
    true = np.array([0, 1, 2**64 - 1, 2**63, 2**63 + 1, 3], np.uint64)
    found = np.array([5, 5, 2**64 - 2, 1, 1, 9], np.uint64)
    lazy = [da.from_array(x, chunks=2) for x in (true, found)]
    np.testing.assert_array_equal(
        metrics.confusion_matrix(*lazy), metrics.confusion_matrix(true, found)
    )
    tally = metrics.Tally()
    for at in (0, 2, 4):
        tally.add(true[at : at + 2], found[at : at + 2])
    assert tally.y_true.tolist() == sorted(true.tolist())


def test_hit_maps_are_lazy(rng):
    true, found = rng.random((2, 7, 9, 5)) < 0.5
    computed = []
    lazy = da.from_array(true, chunks=(3, 4, 5)).map_blocks(
        lambda x: computed.append(1) or x, dtype=bool, meta=np.zeros((0,) * 3, bool)
    )
    picture = metrics.hit_map(lazy, found)
    assert not computed
    assert picture.chunks[:3] == lazy.chunks
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture.compute(), metrics.hit_map(true, found))


def test_a_tally_takes_chunked_pieces(rng):
    true, found = rng.integers(0, 4, (2, 10, 12))
    tally = metrics.Tally()
    tally.add(da.from_array(true[:6], chunks=4), found[:6])
    tally.add(true[6:], da.from_array(found[6:], chunks=3))
    assert tally.mean_squared_error() == metrics.mean_squared_error(true, found)
    np.testing.assert_array_equal(tally.confusion_matrix(), metrics.confusion_matrix(true, found))


def test_bad_input_is_told_as_for_the_whole(rng):
    true, score = rng.integers(0, 2, (6, 6)), rng.random((6, 6))
    score[4, 4] = np.nan
    lazy_true, lazy_score = (da.from_array(x, chunks=4) for x in (true, score))
    with pytest.raises(ValueError, match="y_score holds NaN or infinity"):
        metrics.roc_curve(lazy_true, lazy_score)
    with pytest.raises(ValueError, match="y_true must not be negative, got -1"):
        metrics.undersegmentation_error(lazy_true - 1, lazy_true)
    with pytest.raises(ValueError, match="must have one shape"):
        metrics.dice(lazy_true, lazy_score[:3])
    with pytest.raises(TypeError, match="y_true must hold integers"):
        metrics.confusion_matrix(lazy_score, lazy_true)
    with pytest.raises(ValueError, match="the sum of sample_weight must be greater than 0"):
        metrics.mean_squared_error(lazy_true, lazy_true, sample_weight=da.zeros((6, 6)))
