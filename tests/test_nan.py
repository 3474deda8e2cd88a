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


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_says_what_it_does_with_nan(name):
    function = FUNCTIONS[name]
    assert function.nan in NAN
    takes_arrays = bool(arrays(call_of(name)))
    assert (function.nan is not None) == takes_arrays
    has_option = "nan" in inspect.signature(function).parameters
    assert has_option == (function.nan == "omit" and name not in ALWAYS_OMIT)


@pytest.mark.parametrize("name", sorted(set(named("refuse", "local", "omit")) - ALWAYS_OMIT))
def test_what_is_refused(backend, name):
    for given, key, value in refusals(name):
        changed = given | {key: with_one(given[key], value)}
        refused(lambda changed=changed: FUNCTIONS[name](**changed), key)


@pytest.mark.parametrize("name", sorted(set(named("refuse", "local", "omit")) - ALWAYS_OMIT))
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
