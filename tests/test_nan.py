"""What NaN and infinity do: every public function says it beside its contract, and does it.

The calls are those of gpuseg._cases, which is where a new function must be listed.
"""

import functools
import inspect

import numpy as np
import pytest

from gpuseg import _cases, morphology, segmentation
from gpuseg._backend import find
from gpuseg._contracts import NAN
from gpuseg._public import functions

FUNCTIONS = functions()
SHAPES = {1: (64,), 2: (24, 20), 3: (12, 10, 9)}


@functools.cache
def inputs(ndim):
    found = _cases.Inputs(SHAPES[ndim])
    if ndim == 1:
        from sklearn.ensemble import RandomForestClassifier

        forest = RandomForestClassifier(3, random_state=0)
        found.forest = forest.fit(found.rows, found.rows[:, 0] > 0)
        found.references = found.doubles[:20] + 0.1
    return found


def call_of(name):
    """The arguments of a call, by their names."""
    case = _cases.CASES[name]
    args = case.args(inputs(case.dims[0]))
    signature = inspect.signature(FUNCTIONS[name])
    return dict(signature.bind(*args, **case.options).arguments)


def named(*policies):
    return [name for name, function in FUNCTIONS.items() if function.nan in policies]


def arrays(given):
    return [key for key, value in given.items() if isinstance(value, np.ndarray)]


def with_one(array, value):
    """An array with a value in its midst; of floating-point numbers if it was not."""
    array = array.astype(array.dtype if array.dtype.kind == "f" else np.float32)
    array[tuple(n // 2 for n in array.shape)] = value
    return array


def lazily(given, chunks=7):
    """The arrays that lie on the grid of the first one as Dask arrays."""
    da = pytest.importorskip("dask.array")
    shape = given[arrays(given)[0]].shape
    return {
        key: da.from_array(value, chunks=chunks)
        if isinstance(value, np.ndarray) and value.shape == shape
        else value
        for key, value in given.items()
    }


def computed(result):
    dask = pytest.importorskip("dask")
    return dask.compute(result, scheduler="sync")[0]


def has_dask_form(name):
    try:
        return bool(find(FUNCTIONS[name].via, "dask"))
    except TypeError:
        return False


def refused(call, key):
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    text = str(caught.value)
    assert key in text
    assert "\n" not in text
    assert "nan" not in text.replace('nan="omit"', "").replace("nan='omit'", "").split()


def refusals(name):
    """The arguments of a call that must not hold NaN, and infinity."""
    function, given = FUNCTIONS[name], call_of(name)
    keys = arrays(given)
    main = keys[:1] if function.nan == "local" else []
    if name == "measure.regionprops_table":
        main = ["intensity_image"]
    for key in keys:
        if key not in main:
            yield given, key, np.nan
        if key not in main and function.infinity == "refuse":
            yield given, key, np.inf
            yield given, key, -np.inf


ALWAYS_OMIT = {
    "filters.apply_hysteresis_threshold",
    "segmentation.flood",
    "segmentation.flood_fill",
    "segmentation.hysteresis",
}


REFUSING = [name for name in FUNCTIONS if name not in ALWAYS_OMIT]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_says_what_it_does_with_nan(name):
    function, given = FUNCTIONS[name], call_of(name)
    assert function.nan in NAN
    if function.nan is None:
        for key in arrays(given):
            with pytest.raises(TypeError, match=key):
                function(**given | {key: with_one(given[key], 1)})
    else:
        assert arrays(given)
        assert "NaN" in function.__doc__
    has_option = "nan" in inspect.signature(function).parameters
    assert has_option == (function.nan == "omit" and name not in ALWAYS_OMIT)


@pytest.mark.parametrize("name", REFUSING)
def test_what_is_refused(backend, name):
    for given, key, value in refusals(name):
        changed = given | {key: with_one(given[key], value)}
        refused(lambda changed=changed: FUNCTIONS[name](**changed), key)


@pytest.mark.parametrize("name", REFUSING)
def test_what_is_refused_of_dask_arrays(name):
    if not has_dask_form(name):
        pytest.skip("no form for Dask arrays")
    for given, key, value in refusals(name):
        changed = lazily(given | {key: with_one(given[key], value)})
        refused(lambda changed=changed: computed(FUNCTIONS[name](**changed)), key)


# --- what a mask leaves out -------------------------------------------------------------------


@pytest.mark.parametrize("lazy", ["neither", "image", "mask", "both"])
@pytest.mark.parametrize("name", ["kmeans", "gaussian_mixture", "markov_random_field"])
def test_what_a_mask_leaves_out_may_be_nan(backend, name, lazy):
    if backend == "sim" and lazy != "neither":
        pytest.skip("chunks run as the whole does")
    image = np.random.default_rng(0).random((16, 12)).astype(np.float32)
    mask = np.ones(image.shape, bool)
    mask[3:5, 2:] = False
    holes = image.copy()
    holes[3, 4], holes[4, 4], holes[4, 5] = np.nan, np.inf, -np.inf
    function = getattr(segmentation, name)
    expected = function(image, 2, mask=mask, random_state=0)

    def call(image):
        da = pytest.importorskip("dask.array") if lazy != "neither" else None
        first = da.from_array(image, chunks=5) if lazy in {"image", "both"} else image
        second = da.from_array(mask, chunks=6) if lazy in {"mask", "both"} else mask
        return np.asarray(function(first, 2, mask=second, random_state=0))

    np.testing.assert_array_equal(call(holes), expected)
    holes[9, 9] = np.nan
    with pytest.raises(ValueError, match="image holds NaN or infinity"):
        call(holes)


def test_features_of_what_a_mask_leaves_out_may_be_nan():
    image = np.random.default_rng(0).random((9, 8))
    mask = image < 0.7
    feature = np.where(mask, image**2, np.nan)
    found = segmentation.kmeans(image, 2, features=feature, mask=mask, random_state=0)
    expected = segmentation.kmeans(image, 2, features=image**2, mask=mask, random_state=0)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shape", [(7,), (6, 5), (4, 5, 3), (2, 3, 4, 3)])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4"])
def test_a_reconstruction_refuses_nan_before_any_work(backend, shape, dtype):
    """In scikit-image it writes beyond its arrays."""
    image = np.ones(shape, dtype)
    for method in ("dilation", "erosion"):
        for key in ("seed", "mask"):
            given = {"seed": image, "mask": image} | {key: with_one(image, np.nan)}
            with pytest.raises(ValueError, match=f"{key} holds NaN"):
                morphology.reconstruction(**given, method=method)


# --- what stays within its window -------------------------------------------------------------

# How far a result sees, and what is given beside the image where the case's own arguments see too
# far.
GREY = {"footprint": morphology.disk(2)}
SMALL = {"window_size": 5}
WINDOWS = {
    "filters.difference_of_gaussians": [({"low_sigma": 0.5, "high_sigma": 1}, 4)],
    "filters.gaussian": [({"sigma": 1, "mode": mode}, 4) for mode in ("nearest", "wrap")],
    "filters.laplace": [({}, 1)],
    "filters.median": [(GREY, 2), ({}, 1)],
    "filters.subtract_background": [
        ({"sigma": 1, "method": "gaussian"}, 4),
        ({"sigma": 2, "method": "median"}, 2),
        ({"sigma": 2, "method": "closing"}, 4),
        ({"sigma": 2, "method": "closing", "foreground": "dark"}, 4),
        ({"sigma": 2, "method": "rolling_ball"}, 2),
        ({"sigma": 1, "method": "median", "smooth": 2}, 2),
    ],
    "filters.threshold_local": [
        ({"block_size": 5, "method": method, "mode": mode}, reach)
        for method, reach in (("gaussian", 3), ("mean", 2), ("median", 2))
        for mode in ("reflect", "wrap")
    ],
    "filters.threshold_niblack": [(SMALL, 2), ({"window_size": (5, 3)}, 2)],
    "filters.threshold_sauvola": [(SMALL, 2)],
    "morphology.closing": [(GREY, 4), ({"mode": "max"}, 2)],
    "morphology.dilation": [(GREY, 2), ({"mode": "wrap"}, 1)],
    "morphology.erosion": [(GREY, 2), ({"mode": "constant"}, 1)],
    "morphology.opening": [(GREY, 4), ({"mode": "min"}, 2)],
    "morphology.white_tophat": [(GREY, 4)],
    "segmentation.mark_boundaries": [({"label_img": np.eye(24, 20, dtype=int)}, 0)],
} | {
    f"filters.{name}{along}": [({}, 1)]
    for name in ("prewitt", "scharr", "sobel")
    for along in ("", "_h", "_v")
}
IN_TABLES = {"estimators.forest_predict", "estimators.quantile_places", "estimators.robust_scale"}
OTHERS = {"measure.find_contours", "measure.regionprops_table"}
LOCAL = [
    pytest.param(name, options, reach, id=f"{name}-{i}")
    for name, calls in WINDOWS.items()
    for i, (options, reach) in enumerate(calls)
]


def test_every_local_function_has_a_window():
    assert WINDOWS.keys() | IN_TABLES | OTHERS == set(named("local"))


def window(shape, place, reach, *, wrap):
    """The box around a voxel."""
    far = [abs(np.arange(n) - p) for n, p in zip(shape, place)]
    far = [np.minimum(d, len(d) - d) if wrap else d for d in far]
    return np.all(np.meshgrid(*[d <= reach for d in far], indexing="ij"), axis=0)


@pytest.mark.filterwarnings("ignore:.*invalid value:RuntimeWarning")  # of infinities
@pytest.mark.parametrize("place", [(12, 10), (0, 19)], ids=str)
@pytest.mark.parametrize(("name", "options", "reach"), LOCAL)
def test_nan_stays_in_its_window(backend, name, options, reach, place):
    function = FUNCTIONS[name]

    def call(image):
        return function(image, **options)

    image = inputs(2).image
    clean = call(image)
    inside = window(image.shape, place, reach, wrap=options.get("mode") == "wrap")
    for value in (np.nan, np.inf, -np.inf):
        if not np.isnan(value) and function.infinity == "value":
            continue
        changed = image.copy()
        changed[place] = value
        found = call(changed)
        spoilt = np.isnan(found) if np.isnan(value) else ~np.isfinite(found)
        assert spoilt[place].all() or np.isinf(value) or reach == 1
        assert not spoilt[~inside].any()
        np.testing.assert_array_equal(found[~inside], clean[~inside])
        if np.isnan(value):
            np.testing.assert_array_equal(found[~spoilt], clean[~spoilt])
        if backend == "cpu" and np.isnan(value):
            # Nothing is hidden: what a number in this place would change is NaN.
            for number in (-100, 100):
                other = image.copy()
                other[place] = number
                assert np.isnan(found[call(other) != clean]).all()
        if backend == "cpu" and has_dask_form(name):
            for chunks in (5, (7, 20), 40):
                lazy = computed(call(lazily({"image": changed}, chunks)["image"]))
                np.testing.assert_array_equal(np.isnan(lazy), np.isnan(found))
                assert function.contract.compare(lazy, found).passed


@pytest.mark.parametrize("name", sorted(IN_TABLES))
def test_nan_stays_in_its_row(backend, name):
    given = call_of(name)
    clean = FUNCTIONS[name](**given)
    changed = FUNCTIONS[name](**given | {"X": with_one(given["X"], np.nan)})
    row = len(clean) // 2
    np.testing.assert_array_equal(np.delete(changed, row, 0), np.delete(clean, row, 0))
    if name == "estimators.forest_predict":  # it goes where values that are missing go
        assert np.isfinite(changed).all()
    else:
        expected = with_one(np.zeros_like(clean), np.nan)
        np.testing.assert_array_equal(np.isnan(changed), np.isnan(expected))


def test_nan_is_in_the_region_that_has_it(backend):
    labels = np.repeat([[1, 1, 2, 2, 0]], 3, axis=0)
    image = np.arange(15.0).reshape(3, 5)
    properties = ("label", "area", "intensity_mean", "intensity_max", "intensity_min")
    clean = FUNCTIONS["measure.regionprops_table"](labels, image, properties)
    for place in ((1, 0), (1, 4)):
        changed = image.copy()
        changed[place] = np.nan
        found = FUNCTIONS["measure.regionprops_table"](labels, changed, properties)
        for key in properties:
            spoilt = [place == (1, 0) and key.startswith("intensity"), False]
            np.testing.assert_array_equal(np.isnan(found[key]), spoilt)
            np.testing.assert_array_equal(found[key][1], clean[key][1])


def test_splines_of_an_outline_refuse_nan(backend):
    image = with_one(np.ones((5, 6)), np.nan)
    labels = np.eye(5, 6, dtype=int)
    with pytest.raises(ValueError, match="image holds NaN or infinity"):
        segmentation.mark_boundaries(image, labels, mode="subpixel")


def test_nan_parts_a_contour(backend):
    image = np.zeros((9, 20))
    image[4:] = 1
    (line,) = FUNCTIONS["measure.find_contours"](image, 0.5)
    image[4, 10] = np.nan
    parts = FUNCTIONS["measure.find_contours"](image, 0.5)
    found = np.concatenate(parts)
    assert len(parts) == 2
    assert np.isfinite(found).all()
    far = line[abs(line[:, 1] - 10) > 1]
    assert {tuple(p) for p in far} == {tuple(p) for p in found if abs(p[1] - 10) > 1}


# --- infinities that are values ---------------------------------------------------------------

VALUES = [name for name, function in FUNCTIONS.items() if function.infinity == "value"]


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("sign", [1, -1])
def test_infinity_is_a_value_beyond_all_others(backend, name, sign):
    given = call_of(name)
    key = arrays(given)[0]
    if name == "morphology.reconstruction":
        key = "mask" if sign > 0 else "seed"

    def results(value):
        found = FUNCTIONS[name](**given | {key: with_one(given[key], sign * value)})
        parts = found if isinstance(found, tuple) else (found,)
        if name == "filters.threshold_by_objects":
            parts = found.threshold, found.fitting
        return [np.asarray(part, float) for part in parts]

    far = np.float32(3e37)
    if name == "filters.threshold_by_objects":  # thresholds are tried between finite values
        far = sign * float(given[key].max() if sign > 0 else given[key].min())
        if backend == "sim":
            return  # a minute each
    for found, huge in zip(results(np.inf), results(far), strict=True):
        with np.errstate(invalid="ignore"):
            expected = np.where(abs(huge) > 1e36, np.sign(huge) * np.inf, huge)
        np.testing.assert_array_equal(found, expected)


# --- what is left out -------------------------------------------------------------------------


def with_holes(image):
    changed = image.astype(np.float32)
    changed[3, 4:7] = changed[20, 1] = np.nan
    return changed


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("name", [n for n in named("omit") if "threshold_" in n or "hist" in n])
def test_what_is_omitted_takes_no_part(backend, name, lazy):
    """The answer for an image is that for its other values in a row."""
    function, given = FUNCTIONS[name], call_of(name)
    image = with_holes(given.pop("image"))
    if name in {"filters.apply_hysteresis_threshold", "filters.threshold_by_objects"}:
        return  # below
    expected = function(image[~np.isnan(image)], **given)
    if lazy:
        image = lazily({"image": image})["image"]
    found = computed(function(image, **given, nan="omit"))
    for one, other in zip(np.atleast_1d(found), np.atleast_1d(expected), strict=True):
        # Of a mean the sums of chunks are in another order.
        rtol = 1e-6 if name == "filters.threshold_mean" else 0
        np.testing.assert_allclose(one, other, rtol=rtol)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "filters.apply_thresholds",
        "filters.compare_thresholds",
        "filters.threshold_by_objects",
        *sorted(ALWAYS_OMIT),
    ],
)
def test_what_is_omitted_is_in_no_mask(backend, name, lazy):
    """As if it were below all values, or as far as can be from the seed of a flood."""
    function, given = FUNCTIONS[name], call_of(name)
    image = with_holes(given.pop("image"))
    low = -np.float32(3e38)
    if backend == "sim" and (lazy or name == "filters.threshold_by_objects"):
        return  # a minute each
    if name == "filters.threshold_by_objects":  # thresholds are tried from the least value on
        low = np.nanmin(image)
    options = {} if name in ALWAYS_OMIT else {"nan": "omit"}
    if name == "filters.compare_thresholds":
        expected = function(image[~np.isnan(image)], **given)
    else:
        expected = function(np.where(np.isnan(image), low, image), **given)
    if lazy and not has_dask_form(name):
        return
    image = lazily({"image": image})["image"] if lazy else image
    found = computed(function(image, **given, **options))
    if name == "filters.compare_thresholds":
        columns = ["method", "value"]
        np.testing.assert_array_equal(found[columns], expected[columns])
    elif name == "filters.threshold_by_objects":
        assert found.threshold == expected.threshold
    elif name == "segmentation.flood_fill":
        np.testing.assert_array_equal(np.nan_to_num(found, nan=low), expected)
    else:
        np.testing.assert_array_equal(found, expected)
