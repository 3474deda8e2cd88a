"""Classes between thresholds, methods side by side, and thresholds chosen by what they give."""

import sys

import hypothesis.extra.numpy as hnp
import naive
import numpy as np
import pandas as pd
import pytest
import skimage.data
import skimage.filters
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from gpuseg import filters
from gpuseg.filters import (
    UndecidedError,
    apply_thresholds,
    compare_thresholds,
    threshold_by_objects,
    threshold_stability,
    try_all_threshold,
)
from gpuseg.filters.comparison import METHODS, count_above

DTYPES = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", ">u2", ">f4"]


def numpy_classes(image, thresholds):
    """NumPy's own comparison with each threshold in turn."""
    return np.add.reduce([image > t for t in thresholds], dtype=np.int64)


@st.composite
def images_and_thresholds(draw):
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=5))
    inside = {"allow_nan": False} if dtype.kind == "f" else {}
    values = hnp.from_dtype(dtype, **inside)
    image = draw(hnp.arrays(dtype, shape, elements=values))
    kind = np.dtype(draw(st.sampled_from(["f8", "f4", "i8", "u1", dtype.str])))
    inside = {"allow_nan": False} if kind.kind == "f" else {}
    thresholds = draw(hnp.arrays(kind, st.integers(1, 9), elements=hnp.from_dtype(kind, **inside)))
    if dtype.kind != "b" and kind.kind != "b" and draw(st.booleans()):
        # Thresholds that the image holds are where a wrong rounding or <= shows.
        with np.errstate(all="ignore"):
            thresholds = np.concatenate([thresholds, image.reshape(-1)[:3].astype(kind)])
    return image, np.sort(thresholds)


@given(images_and_thresholds())
def test_classes_are_those_of_numpy(backend, case):
    image, thresholds = case
    before = image.copy(), thresholds.copy()
    classes = apply_thresholds(image, thresholds)
    assert classes.dtype == np.uint8
    assert classes.shape == image.shape
    np.testing.assert_array_equal(classes, numpy_classes(image, thresholds))
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(thresholds, before[1])


@given(images_and_thresholds())
def test_counts_are_those_of_numpy(backend, case):
    image, thresholds = case
    image = image.astype(image.dtype.newbyteorder("="))
    counts, size = count_above(image, thresholds)
    assert size == image.size
    assert counts.tolist() == [np.count_nonzero(image > t) for t in thresholds]


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "f8"])
def test_classes_are_those_of_digitize_and_of_the_slow_version(backend, rng, dtype):
    image = rng.integers(0, 100, (6, 7)).astype(dtype)
    for thresholds in ([50], [0, 20, 20, 99], [-5, 3.5, 98, 1000], np.linspace(0, 99, 30)):
        classes = apply_thresholds(image, thresholds)
        np.testing.assert_array_equal(classes, np.digitize(image, thresholds, right=True))
        np.testing.assert_array_equal(classes, naive.classes(image, thresholds))


def test_nothing_falls_out_at_either_end(backend):
    classes = apply_thresholds(np.array([0, 1, 254, 255], np.uint8), [0, 254])
    assert classes.tolist() == [0, 1, 1, 2]
    infinite = np.array([-np.inf, np.inf], np.float32)
    assert apply_thresholds(infinite, [-1e300, 1e300]).tolist() == [0, 2]
    assert apply_thresholds(infinite, [-np.inf, np.inf]).tolist() == [0, 1]


def test_more_than_255_thresholds_need_two_bytes(backend):
    image = np.array([[0, 255, 256, 299, 300]], np.uint16)
    assert apply_thresholds(image, np.arange(255)).dtype == np.uint8
    classes = apply_thresholds(image, np.arange(300))
    assert classes.dtype == np.uint16
    assert classes.tolist() == [[0, 255, 256, 299, 300]]


def test_memory_layout_does_not_matter(backend, rng):
    whole = rng.integers(0, 255, (6, 8, 4)).astype(np.float32)
    whole.setflags(write=False)
    for image in (whole[::2, ::-1], np.asfortranarray(whole), whole.T, whole[:, 3]):
        np.testing.assert_array_equal(
            apply_thresholds(image, [80, 160]), numpy_classes(image, [80, 160])
        )


def test_one_threshold_is_the_mask(backend, rng):
    image = rng.random((5, 5))
    np.testing.assert_array_equal(apply_thresholds(image, 0.5), (image > 0.5).astype(np.uint8))


def test_nan_has_no_class(backend):
    image = np.array([1.0, np.nan, 3.0], np.float32)
    with pytest.raises(ValueError, match="image holds NaN"):
        apply_thresholds(image, [2])
    assert apply_thresholds(image, [0, 2], nan="omit").tolist() == [1, 0, 2]
    counts, size = count_above(image, np.array([0, 2]))
    assert (counts.tolist(), size) == ([2, 1], 2)


@pytest.mark.parametrize(
    ("thresholds", "error", "message"),
    [
        ([], ValueError, "thresholds is empty"),
        ([2, 1], ValueError, "ascending order"),
        ([1, np.nan], ValueError, "thresholds holds NaN"),
        ([[1, 2]], ValueError, "thresholds must have 1 axes"),
        (np.zeros(65536), ValueError, "at most 65535"),
        ("12", TypeError, "thresholds must be an array"),
        ([1 + 2j], TypeError, "real numbers"),
    ],
)
def test_bad_thresholds(thresholds, error, message):
    with pytest.raises(error, match=message):
        apply_thresholds(np.arange(4), thresholds)


def test_bad_images():
    with pytest.raises(ValueError, match="image is empty"):
        apply_thresholds(np.zeros((0, 3)), [1])
    with pytest.raises(TypeError, match="image must hold real numbers"):
        apply_thresholds(np.zeros(3, complex), [1])
    with pytest.raises(ValueError, match="nan must be one of"):
        apply_thresholds(np.zeros(3), [1], nan="ignore")


# --- compare_thresholds -----------------------------------------------------------------------


def two_humps(rng, shape, dtype=np.float64):
    image = np.where(rng.random(shape) < 0.3, 180, 60) + rng.normal(0, 12, shape)
    return np.clip(image, 0, 255).astype(dtype)


def check_table(table, values):
    """Fractions and agreements against masks made one by one."""
    masks = {m: values > v for m, v in zip(table["method"], table["value"])}
    for row in table.to_dict("records"):
        if np.isnan(row["value"]):
            assert row["note"]
            assert np.isnan([row["foreground_fraction"], *(row[m] for m in masks)]).all()
            continue
        assert row["note"] == ""
        mask = masks[row["method"]]
        assert row["foreground_fraction"] == pytest.approx(mask.mean(), abs=1e-12)
        for other, value in zip(table["method"], table["value"]):
            agreement = np.nan if np.isnan(value) else (mask == masks[other]).mean()
            assert row[other] == pytest.approx(agreement, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "f4", "f8"])
def test_the_table_holds_what_the_masks_say(backend, rng, dtype):
    image = two_humps(rng, (16, 16) if backend == "sim" else (60, 70), dtype)
    before = image.copy()
    table = compare_thresholds(image)
    assert list(table["method"]) == list(METHODS)
    assert list(table.columns) == ["method", "value", "foreground_fraction", *METHODS, "note"]
    assert table["value"].notna().sum() >= len(METHODS) - 2
    check_table(table, image)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("dtype", ["u1", "f4"])
@pytest.mark.parametrize("name", METHODS)
def test_the_values_are_those_of_the_functions(backend, rng, name, dtype):
    image = two_humps(rng, (16, 16) if backend == "sim" else (60, 70), dtype)
    within = 0
    if dtype == "f4" and name in ("li", "mean"):
        within = float(np.ptp(image)) / 256
    function = getattr(filters, f"threshold_{name}")
    value = compare_thresholds(image, [name])["value"].item()
    try:
        assert value == pytest.approx(float(function(image)), rel=1e-12, abs=within)
    except UndecidedError:
        assert np.isnan(value)


def test_volume_mask_and_nan(backend, rng):
    volume = two_humps(rng, (4, 8, 8), np.float32)
    mask = rng.random(volume.shape) < 0.6
    volume[0, :2, :2] = np.nan
    inside = volume[mask & ~np.isnan(volume)]
    table = compare_thresholds(volume, ["otsu", "mean", "yen"], mask=mask, nan="omit")
    check_table(table, inside)
    same = compare_thresholds(inside, ["otsu", "mean", "yen"])
    pd.testing.assert_frame_equal(table, same)
    with pytest.raises(ValueError, match="NaN"):
        compare_thresholds(volume, ["otsu"])


def test_own_functions_stand_beside_ours(backend, rng):
    image = two_humps(rng, (12, 12), np.uint8)

    def threshold_median(values):
        assert isinstance(values, np.ndarray)
        return np.median(values)

    table = compare_thresholds(image, ["otsu", threshold_median, filters.threshold_mean])
    assert list(table["method"]) == ["otsu", "median", "mean"]
    assert table["value"][1] == np.median(image)
    check_table(table, image)
    mask = image > 100
    table = compare_thresholds(image, [threshold_median], mask=mask)
    assert table["value"].item() == np.median(image[mask])
    image = image.astype(np.float32)
    image[0, :5] = np.nan
    table = compare_thresholds(image, [threshold_median], nan="omit")
    assert table["value"].item() == np.nanmedian(image)


def test_who_cannot_decide_gets_a_row_with_the_reason(backend):
    image = np.array([[0, 1, 2, 3, 4, 5, 6, 7]], np.uint8).repeat(8, axis=0)

    def never(values):
        raise UndecidedError("no idea")

    table = compare_thresholds(image, ["mean", never])
    assert table["note"].tolist() == ["", "no idea"]
    assert table["value"].isna().tolist() == [False, True]
    check_table(table, image)
    assert compare_thresholds(image, [never])["foreground_fraction"].isna().all()


def test_bad_methods(rng):
    image = two_humps(rng, (8, 8), np.uint8)
    for methods, message in (
        (["otsu", "nothing"], "method must be one of 'huang'"),
        (["otsu", filters.threshold_otsu], "different names"),
        ([], "methods must be a sequence"),
        ("otsu", "methods must be a sequence"),
    ):
        with pytest.raises(ValueError, match=message):
            compare_thresholds(image, methods)
    with pytest.raises(ValueError, match="mask must have the shape"):
        compare_thresholds(image, mask=np.ones(3, bool))
    with pytest.raises(TypeError, match="the threshold of local must be a number"):
        compare_thresholds(image, [skimage.filters.threshold_local])
    with pytest.raises(TypeError, match="the threshold of <lambda> must be a number"):
        threshold_stability(image, lambda x: x, noise=1)


def test_a_missing_extra_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"is not installed: pip install 'gpuseg\[plot\]'$"):
        try_all_threshold(np.arange(16, dtype=np.uint8).reshape(4, 4))


# --- try_all_threshold ------------------------------------------------------------------------


@pytest.fixture
def pyplot():
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


@pytest.mark.parametrize("shape", [(20, 24), (3, 20, 24)])
def test_try_all_draws_the_original_and_a_mask_a_method(rng, pyplot, capsys, shape):
    image = two_humps(rng, shape, np.uint8)
    fig, ax = try_all_threshold(image, figsize=(10, 6))
    assert pyplot.gcf() is fig
    assert fig.get_size_inches().tolist() == [10, 6]
    assert [a.get_title() for a in ax] == ["Original", *METHODS.values()]
    printed = capsys.readouterr().out.split()
    assert printed == [f"gpuseg.filters.thresholding.threshold_{m}" for m in METHODS]
    table = compare_thresholds(image)
    shown = image if image.ndim == 2 else image[1]
    for panel, value in zip(ax[1:], table["value"]):
        if np.isnan(value):
            assert panel.texts[0].get_text() == "undecided"
        else:
            drawn = np.asarray(panel.images[0].get_array()) > 0
            np.testing.assert_array_equal(drawn, shown > value)
    fig.canvas.draw()
    boxes = [a.title.get_window_extent() for a in ax]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_try_all_wants_an_image_that_can_be_drawn(pyplot, capsys):
    with pytest.raises(ValueError, match="image must have"):
        try_all_threshold(np.zeros((2, 2, 2, 2)))
    image = np.array([[0, 0, 9, 9]], np.uint8).repeat(4, axis=0)
    try_all_threshold(image, verbose=False)
    assert capsys.readouterr().out == ""


# --- threshold_by_objects ---------------------------------------------------------------------


def blobs(shape, seed=3):
    rng = np.random.default_rng(seed)
    image = skimage.filters.gaussian(rng.random(shape), 1)
    return np.rint((image - image.min()) / np.ptp(image) * 200).astype(np.uint8)


def check_curve(found, image, size, method, foreground="bright", connectivity=None, count=None):
    """Every point of the curve, and the choice on it, made again one by one."""
    rows = []
    for t in found.curve["threshold"]:
        mask = image > t if foreground == "bright" else image <= t
        sizes = naive.object_sizes(mask, connectivity or image.ndim)
        fits = sizes[(sizes >= size[0]) & (sizes <= size[1])]
        rows.append((len(sizes), len(fits), sizes.sum(), fits.sum()))
    most = max(row[1] for row in rows)
    scores = []
    for _, fitting, area, fitting_area in rows:
        fraction = fitting_area / area if area else 0
        each = {"fraction": fraction, "count": fitting / most,
                "balanced": fraction * fitting / most}  # fmt: skip
        scores.append(each[method])
    np.testing.assert_allclose(found.curve["score"], scores, rtol=1e-12)
    fields = ["objects", "fitting", "foreground", "fitting_area"]
    assert [tuple(row) for row in found.curve[fields].tolist()] == rows
    keys = [(-abs(row[1] - count) if count else 0, s) for row, s in zip(rows, scores)]
    at = found.curve["threshold"].tolist().index(float(found.threshold))
    assert keys[at] == pytest.approx(max(keys))
    assert (found.fitting, found.score) == (rows[at][1], pytest.approx(scores[at]))


@pytest.mark.parametrize("method", ["balanced", "fraction", "count"])
@pytest.mark.parametrize("foreground", ["bright", "dark"])
def test_the_curve_is_what_flooding_finds(backend, method, foreground):
    image = blobs((8, 8) if backend == "sim" else (24, 30))
    size, candidates = (3, 12), 4 if backend == "sim" else 40
    found = threshold_by_objects(
        image, size, method=method, foreground=foreground, connectivity=1, candidates=candidates
    )
    assert type(found.threshold) is np.uint8
    check_curve(found, image, size, method, foreground, 1)


def test_the_wanted_number_comes_first(backend):
    image = blobs((8, 8) if backend == "sim" else (24, 30), seed=5)
    candidates = 4 if backend == "sim" else 40
    for count in (1, 3, 1000):
        found = threshold_by_objects(image, (1, 60), count, candidates=candidates)
        check_curve(found, image, (1, 60), "balanced", count=count)


def test_volume(backend):
    image = blobs((4, 4, 4) if backend == "sim" else (8, 9, 10))
    found = threshold_by_objects(image, (2, 60), connectivity=1, candidates=4)
    check_curve(found, image, (2, 60), "balanced", connectivity=1)


def test_few_levels_are_all_tried_and_the_middle_of_the_plateau_is_taken():
    image = np.zeros((8, 8), np.uint8)
    image[1:3, 1:3], image[5:7, 5:7], image[0, 7] = 40, 20, 9
    found = threshold_by_objects(image, (4, 9))
    assert found.curve["threshold"].tolist() == list(range(40))
    assert (found.threshold, found.fitting, found.score) == (14, 2, 1.0)
    best = found.curve[found.curve["score"] == 1]
    assert best["threshold"].tolist() == list(range(9, 20))
    once = threshold_by_objects(image, (4, 9), count=1)
    assert (once.threshold, once.fitting) == (29, 1)


def test_given_thresholds_are_the_ones_tried():
    image = blobs((20, 20)).astype(np.float32)
    found = threshold_by_objects(image, (2, 50), candidates=[90.5, 60, 120, 60])
    assert found.curve["threshold"].tolist() == [60, 90.5, 120]
    assert type(found.threshold) is np.float64
    mirrored = threshold_by_objects(-image, (2, 50), foreground="dark", candidates=[-60, -120])
    edge = threshold_by_objects(image, (2, 50), candidates=[np.nextafter(60, 0), 120 - 1e-9])
    for field in ("objects", "fitting", "foreground", "fitting_area"):
        assert mirrored.curve[field].tolist() == edge.curve[field].tolist()[::-1]


def test_float_images_get_a_threshold_of_their_own_type():
    image = blobs((24, 30)).astype(np.float32) / 7
    found = threshold_by_objects(image, (3, 40), candidates=16)
    assert type(found.threshold) is np.float32
    assert 16 < found.curve.size <= 20
    check_curve(found, image, (3, 40), "balanced")


def test_mask_and_nan_keep_objects_out():
    image = blobs((24, 24)).astype(np.float64)
    mask = np.zeros(image.shape, bool)
    mask[:, :12] = True
    left = threshold_by_objects(image[:, :12], (3, 30), candidates=20)
    masked = threshold_by_objects(image, (3, 30), candidates=20, mask=mask)
    np.testing.assert_array_equal(masked.curve, left.curve)
    image[~mask] = np.nan
    for foreground in ("bright", "dark"):
        kept = {"size": (3, 30), "candidates": left.curve["threshold"], "foreground": foreground}
        omitted = threshold_by_objects(image, nan="omit", **kept)
        np.testing.assert_array_equal(
            omitted.curve, threshold_by_objects(image[:, :12], **kept).curve
        )
    with pytest.raises(ValueError, match="image holds NaN"):
        threshold_by_objects(image)


def test_twenty_four_coins():
    """scikit-image's picture shows 24 coins; the cells of the course have 200 to 10 000 pixels."""
    image = skimage.data.coins()
    before = image.copy()
    found = threshold_by_objects(image, (200, 10_000), count=24)
    assert found.fitting == 24
    assert found.score > 0.9
    free = threshold_by_objects(image, (200, 10_000))
    assert 24 <= free.fitting <= 26
    np.testing.assert_array_equal(image, before)


def test_by_objects_says_when_nothing_fits():
    image = blobs((16, 16))
    with pytest.raises(UndecidedError, match="gives an object of 1000 to 2000 elements"):
        threshold_by_objects(image, (1000, 2000))
    with pytest.raises(UndecidedError, match="constant: 3"):
        threshold_by_objects(np.full((4, 4), 3))
    with pytest.raises(UndecidedError, match="no finite value"):
        threshold_by_objects(np.full((4, 4), np.nan), nan="omit")


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"size": 200}, ValueError, "size must be a pair"),
        ({"size": (0, 5)}, ValueError, r"size\[0\] must be at least 1"),
        ({"size": (9, 5)}, ValueError, r"size\[1\] must be at least 9"),
        ({"count": 0}, ValueError, "count must be at least 1"),
        ({"count": 1.5}, TypeError, "count must be an integer"),
        ({"method": "best"}, ValueError, "method must be one of"),
        ({"foreground": "white"}, ValueError, "foreground must be one of"),
        ({"connectivity": 3}, ValueError, "connectivity must be at most 2"),
        ({"candidates": 3}, ValueError, "candidates must be at least 4"),
        ({"candidates": [1, np.nan]}, ValueError, "candidates holds NaN"),
        ({"mask": np.ones(3, bool)}, ValueError, "mask must have the shape"),
    ],
)
def test_bad_arguments_by_objects(kwargs, error, message):
    with pytest.raises(error, match=message):
        threshold_by_objects(blobs((8, 8)), **kwargs)


# --- threshold_stability ----------------------------------------------------------------------


def test_no_noise_no_change(backend, rng):
    image = two_humps(rng, (12, 12), np.uint8)
    found = threshold_stability(image, "otsu", noise=0, worst=lambda x, _: x, realizations=3)
    assert found.summary["kind"].tolist() == ["model", "worst case"]
    assert (found.trials["dice"] == 1).all()
    assert (found.trials["threshold"] == filters.threshold_otsu(image)).all()
    assert found.summary["acceptable"].tolist() == [1, 1]


def test_each_sample_at_each_other_threshold(rng):
    images = [two_humps(rng, shape, np.uint8) + shift for shape, shift in
              (((20, 20), 0), ((10, 30), 20), ((5, 6, 7), 50))]  # fmt: skip
    found = threshold_stability(images[0], "otsu", samples=images[1:], foreground="dark")
    assert found.summary["image"].tolist() == [0, 1, 2, "all"]
    own = [filters.threshold_otsu(x) for x in images]
    assert found.summary["threshold"].tolist()[:3] == own
    assert len(found.trials) == 6
    for trial in found.trials.itertuples():
        image = images[trial.image]
        assert trial.threshold == own[trial.source]
        dice = f1_score((image <= own[trial.image]).ravel(), (image <= trial.threshold).ravel())
        assert trial.dice == pytest.approx(dice)


@pytest.mark.parametrize("dtype", ["?", "u1", "i8", "f4"])
def test_noise_is_repeatable_and_stays_in_the_type(rng, dtype):
    image = two_humps(rng, (20, 20)) > 120 if dtype == "?" else two_humps(rng, (20, 20), dtype)
    before = image.copy()
    seen = []

    def midpoint(x):
        seen.append(x)
        return (float(x.min()) + float(x.max())) / 2

    first = threshold_stability(image, midpoint, noise=30, realizations=5, random_state=4)
    again = threshold_stability(image, midpoint, noise=30, realizations=5, random_state=4)
    other = threshold_stability(image, midpoint, noise=30, realizations=5, random_state=5)
    pd.testing.assert_frame_equal(first.trials, again.trials)
    pd.testing.assert_frame_equal(first.summary, again.summary)
    assert first.trials["dice"].tolist() != other.trials["dice"].tolist()
    assert {x.dtype for x in seen} == {image.dtype}
    np.testing.assert_array_equal(image, before)
    if dtype in ("i8", "f4"):
        noise = seen[1].astype(float) - image
        assert abs(noise.mean()) < 6
        assert 26 < noise.std() < 34


def test_the_summary_holds_the_quartiles_of_the_trials(rng):
    image = two_humps(rng, (20, 20), np.float32)
    found = threshold_stability(image, "mean", noise=60, samples=[image + 10], acceptable=0.8)
    assert found.summary["image"].tolist() == [0, 1, "all"] * 2
    for row in found.summary.to_dict("records"):
        trials = found.trials[found.trials["kind"] == row["kind"]]
        if row["image"] != "all":
            trials = trials[trials["image"] == row["image"]]
        assert row["trials"] == len(trials)
        low = np.quantile(trials["dice"], [0, 0.25, 0.5, 0.75])
        names = ["dice_worst", "dice_q25", "dice_median", "dice_q75"]
        assert [row[name] for name in names] == pytest.approx(low.tolist())
        spread = np.quantile(trials["threshold"], [0, 0.25, 0.75, 1])
        names = ["threshold_low", "threshold_q25", "threshold_q75", "threshold_high"]
        assert [row[name] for name in names] == pytest.approx(spread.tolist())
        assert row["acceptable"] == pytest.approx((trials["dice"] >= 0.8).mean())


def test_a_trial_without_a_decision_has_dice_zero(rng):
    image = two_humps(rng, (10, 10), np.uint8)

    def moody(x):
        if x.max() > 250:
            raise UndecidedError("too bright")
        return 120

    image[image > 240] = 240
    image[0, 0] = 240
    found = threshold_stability(image, moody, noise=lambda x, _: x + 15, realizations=2)
    assert found.trials["threshold"].isna().all()
    assert found.summary["dice_worst"].item() == found.summary["acceptable"].item() == 0
    with pytest.raises(UndecidedError):
        threshold_stability(image + 15, moody, noise=1)


def test_a_noise_function_cannot_touch_the_image(rng):
    image = two_humps(rng, (10, 10), np.uint8)
    before = image.copy()

    def vandal(x, rng):
        x //= 2
        return x

    threshold_stability(image, "otsu", noise=vandal, realizations=2)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({}, ValueError, "give noise, worst or samples"),
        ({"noise": -1}, ValueError, "noise must be at least 0"),
        ({"noise": "much"}, TypeError, "noise must be a number"),
        ({"worst": lambda x, _: x[1:]}, ValueError, "worst must keep shape"),
        ({"noise": 1, "realizations": 1}, ValueError, "realizations must be at least 2"),
        ({"noise": 1, "acceptable": 2}, ValueError, "acceptable must be at most 1"),
        ({"noise": 1, "method": "nothing"}, ValueError, "method must be one of"),
        ({"noise": 1, "foreground": "red"}, ValueError, "foreground must be one of"),
        ({"samples": [np.zeros(0)]}, ValueError, r"samples\[0\] is empty"),
    ],
)
def test_bad_arguments_of_stability(rng, kwargs, error, message):
    with pytest.raises(error, match=message):
        threshold_stability(two_humps(rng, (8, 8), np.uint8), **kwargs)
