"""Which calls are served, and what becomes of the others."""

import logging
import sys
import threading
import warnings

import numpy as np
import pytest
import skimage.filters
import skimage.measure
import skimage.morphology

import gpuseg
import gpuseg.accel
from gpuseg.accel import _costs, _skimage_backend
from gpuseg.accel._costs import (
    BESIDE,
    COSTS,
    LOAD_FORM,
    LOAD_NUMBA,
    MARGIN,
    PATIENCE,
    WORK,
    Cost,
    Purse,
)  # fmt: skip
from gpuseg.accel._serve import MISSED, Served
from gpuseg.accel._table import PACKAGES, table

IMAGE = np.random.default_rng(0).random((60, 50))


@pytest.fixture
def accelerated():
    gpuseg.accel.install(always=True)
    with gpuseg.using("cpu"), gpuseg.accel.profile() as calls:
        yield calls
    gpuseg.accel.uninstall()


def reasons(calls, path):
    return " ".join(calls.rows[path].reasons)


def test_a_call_is_served_and_told(accelerated, caplog):
    with caplog.at_level(logging.INFO, "gpuseg.accel"):
        found = skimage.filters.gaussian(IMAGE, sigma=2)
    np.testing.assert_allclose(found, skimage.filters.gaussian.gpuseg_original(IMAGE, sigma=2))
    row = accelerated.rows["skimage.filters.gaussian"]
    assert (row.served, row.original, dict(row.places)) == (1, 0, {"cpu": 1})
    assert "skimage.filters.gaussian: cpu, 60x50 float64" in caplog.text


NOT_SERVED = {
    "a list": ([[1.0, 2.0], [3.0, 4.0]], "is no NumPy array, but list"),
    "a masked array": (np.ma.masked_array(IMAGE, IMAGE > 0.5), "is no NumPy array"),
    "longdouble": (IMAGE.astype(np.longdouble), "holds float128"),
}


@pytest.mark.parametrize("case", NOT_SERVED)
def test_what_is_no_array_of_ours_goes_to_the_original(accelerated, case, caplog):
    image, reason = NOT_SERVED[case]
    with caplog.at_level(logging.INFO, "gpuseg.accel"):
        found = skimage.filters.threshold_mean(image)
    wanted = skimage.filters.threshold_mean.gpuseg_original(image)
    assert found == wanted
    assert type(found) is type(wanted)
    assert reason in caplog.text
    assert reason in reasons(accelerated, "skimage.filters.threshold_mean")


def test_an_argument_that_ours_has_not_goes_to_the_original(accelerated):
    image = np.zeros((8, 8), bool)
    image[2, 2] = True
    with pytest.warns(FutureWarning, match="min_size"):
        skimage.morphology.remove_small_objects(image, min_size=1)
    with pytest.warns(FutureWarning, match="min_size"):
        skimage.morphology.remove_small_objects(image, 1)
    path = "skimage.morphology.remove_small_objects"
    assert accelerated.rows[path].served == 0
    assert "'min_size' is not served" in reasons(accelerated, path)
    assert "by position" in reasons(accelerated, path)


def test_an_argument_of_ours_that_the_original_has_not_is_its_error(accelerated):
    with pytest.raises(TypeError, match="connectivity"):
        skimage.filters.apply_hysteresis_threshold(IMAGE, 0.2, 0.8, connectivity=2)
    with pytest.raises(TypeError, match="hist"):
        skimage.filters.threshold_mean(IMAGE, hist=None)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: skimage.filters.threshold_otsu(np.empty((0, 3))), Exception),
        (lambda: skimage.filters.gaussian(IMAGE, sigma=-1), ValueError),
        (lambda: skimage.filters.sobel(IMAGE, mode="nonsense"), RuntimeError),
        (lambda: skimage.measure.label(IMAGE > 0.5, connectivity=7), ValueError),
        (lambda: skimage.filters.gaussian(), TypeError),
    ],
)
def test_errors_are_the_originals(accelerated, call, error):
    def original(*args, **kwargs):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Served, "attempt", lambda *args: MISSED)
            return call()

    with pytest.raises(error) as found:
        call()
    with pytest.raises(error) as wanted:
        original()
    assert type(found.value) is type(wanted.value)
    assert str(found.value) == str(wanted.value)


def test_a_warning_of_the_original_points_at_the_line_of_the_call(accelerated):
    image = np.zeros((8, 8), bool)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        skimage.morphology.remove_small_objects(image, min_size=1)
    assert [w.filename for w in caught] == [__file__]


def test_what_fails_in_ours_is_done_by_the_original(accelerated, monkeypatch):
    def broken(image):
        raise RuntimeError("out of luck")

    entry = Served("x.f", lambda: broken, lambda image: "original")
    assert entry.attempt((IMAGE,), {}) is MISSED
    assert "RuntimeError: out of luck" in reasons(accelerated, "x.f")


def test_out_is_written_by_both(accelerated):
    for image in (IMAGE, IMAGE.astype(np.float32)):
        out = np.empty_like(image)
        assert skimage.filters.gaussian(image, out=out) is out
        np.testing.assert_allclose(out, skimage.filters.gaussian(image), rtol=1e-5)


# --- what pays --------------------------------------------------------------------------------


@pytest.fixture
def purse(monkeypatch):
    monkeypatch.setitem(COSTS, "x", Cost(original=10, ours=1, more=0))
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    monkeypatch.setattr(_costs, "thread_count", lambda: 1)
    with gpuseg.using("cpu"):
        yield Purse(load=lambda: None)


def test_numba_is_loaded_when_half_of_what_it_takes_was_forgone(purse):
    price = PATIENCE * (LOAD_NUMBA + LOAD_FORM)
    gain = COSTS["x"].gain(10**7)
    originals = 0
    while purse.why_not("x", 10**7):
        originals += 1
    assert originals == -(-price // gain) - 1
    assert purse.why_not("x", 10**4) == ""  # loaded: any gain counts


def test_one_call_that_gains_more_than_loading_costs_is_served_at_once(purse):
    assert purse.why_not("x", 10**9) == ""


def test_numba_is_loaded_beside_an_original_that_costs_much(purse, monkeypatch):
    loaded = threading.Event()
    purse = Purse(load=loaded.wait)
    few = int(1.1e9 * BESIDE * (LOAD_NUMBA + LOAD_FORM) / (10 * MARGIN - 1))
    assert "would spare" in purse.why_not("x", few)
    assert purse._loading is None  # there is no core to spare
    monkeypatch.setattr(_costs, "thread_count", lambda: 2)
    assert f"take {(LOAD_NUMBA + LOAD_FORM) * 1e3:.0f}" in purse.why_not("x", 10**5)
    assert f"take {(LOAD_NUMBA + LOAD_FORM) * 1e3:.0f}" in purse.why_not("x", 10**5)
    loaded.set()
    purse._loading.join()
    assert purse.why_not("x", 10**6) == ""  # enough was forgone for a form, which is all now


def test_what_a_blur_costs_depends_on_how_wide_it_is():
    assert WORK["skimage.filters.gaussian"]({}) == 1
    assert WORK["scipy.ndimage.gaussian_filter"]({"sigma": (2, 2)}) == 1
    assert WORK["scipy.ndimage.gaussian_filter"]({"sigma": 32}) > 10
    assert WORK["skimage.filters.threshold_local"]({"block_size": 15}) == pytest.approx(1)
    difference = WORK["skimage.filters.difference_of_gaussians"]
    assert difference({"low_sigma": 1, "high_sigma": 3}) == 1
    assert difference({"low_sigma": 1}) < 1


def test_a_call_that_cannot_be_understood_goes_to_the_original(accelerated, monkeypatch):
    monkeypatch.setattr(_costs.purse, "always", False)
    with pytest.raises(TypeError):
        skimage.filters.difference_of_gaussians(IMAGE)
    with pytest.raises((TypeError, ValueError)):
        skimage.filters.gaussian(IMAGE, sigma="wide")
    for find in (skimage.measure.find_contours, skimage.measure.find_contours.gpuseg_original):
        with pytest.raises(AttributeError, match="'list' object has no attribute"):
            find(IMAGE, 0.5, mask=[[True]])
    assert accelerated.rows["skimage.measure.find_contours"].served == 0


def test_what_a_rule_sends_to_the_original_is_not_forgone(accelerated, monkeypatch):
    purse = Purse(load=lambda: None)
    monkeypatch.setattr("gpuseg.accel._serve.purse", purse)
    image = np.tile(IMAGE, (20, 20))
    with warnings.catch_warnings(action="ignore"):
        skimage.filters.threshold_otsu(image > 0.5)
    assert purse.forgone == 0
    skimage.filters.threshold_otsu(image)
    assert purse.forgone > 0 or purse.loaded


def test_what_never_pays_is_never_served_on_the_cpu(purse, monkeypatch):
    monkeypatch.setitem(COSTS, "y", Cost(original=10, ours=9, more=0))
    assert "no faster" in purse.why_not("unknown", 10**9)
    assert "no faster" in purse.why_not("y", 10**9)
    assert "no faster" in purse.why_not("x", 0)
    assert purse.forgone == 0


def test_every_cost_is_of_something_that_is_served():
    functions = {path for path in COSTS if path in table()}
    methods = {path for path in COSTS if path.rpartition(".")[0].split(".")[-1][0].isupper()}
    assert functions | methods == set(COSTS)
    assert all(path.rsplit(".", 2)[0] in PACKAGES for path in methods)


# --- scikit-image's dispatching ---------------------------------------------------------------


def test_the_backend_of_scikit_image_has_nothing_until_installed():
    info = _skimage_backend.information()
    name = "skimage.filters:gaussian"
    assert name not in info.supported_functions
    assert len(info.supported_functions) == 0
    assert not _skimage_backend.can_has(name, IMAGE)


def test_the_backend_of_scikit_image_has_the_table(accelerated):
    info = _skimage_backend.information()
    name = "skimage.filters:gaussian"
    assert name in info.supported_functions
    assert "skimage.filters:threshold_li" not in info.supported_functions
    assert _skimage_backend.can_has(name, IMAGE, sigma=2)
    assert not _skimage_backend.can_has(name, IMAGE.tolist())
    found = _skimage_backend.get_implementation(name)(IMAGE, sigma=2)
    np.testing.assert_allclose(found, skimage.filters.gaussian.gpuseg_original(IMAGE, sigma=2))
    with pytest.raises(ValueError, match="igma"):
        _skimage_backend.get_implementation(name)(IMAGE, sigma=-1)


# --- SciPy's arguments ------------------------------------------------------------------------


def test_what_scipy_has_more_goes_to_it(accelerated):
    from scipy import ndimage as ndi

    mask = IMAGE > 0.6
    out = np.empty(mask.shape, np.int16)
    assert ndi.label(mask, output=out) == ndi.label.gpuseg_original(mask)[1]
    odd = np.array([[0, 1, 0], [0, 1, 0], [0, 1, 0]])
    for function, args, kwargs in (
        (ndi.label, (mask, odd), {}),
        (ndi.gaussian_filter, (IMAGE, 1, 1), {}),
        (ndi.gaussian_filter, (IMAGE, 1), {"mode": "grid-wrap"}),
        (ndi.gaussian_filter, (IMAGE, 1), {"mode": ("wrap", "nearest")}),
        (ndi.gaussian_filter, ((IMAGE * 200).astype(np.uint8), 1), {}),
        (ndi.gaussian_filter, (IMAGE, 1), {"axes": (0,)}),
        (ndi.binary_fill_holes, (mask, odd), {}),
        (ndi.binary_propagation, (mask,), {}),
        (ndi.median_filter, (IMAGE, 3), {"origin": 1}),
    ):
        found, wanted = function(*args, **kwargs), function.gpuseg_original(*args, **kwargs)
        if isinstance(wanted, tuple):
            found, wanted = found[0], wanted[0]
        np.testing.assert_array_equal(found, wanted)
    assert sum(row.served for row in accelerated.rows.values()) == 0


@pytest.mark.parametrize("connectivity", [None, 1, 2, 3])
def test_structures_are_connectivities(accelerated, connectivity):
    from scipy import ndimage as ndi

    volume = np.random.default_rng(1).random((9, 10, 11)) > 0.7
    structure = None if connectivity is None else ndi.generate_binary_structure(3, connectivity)
    seeds = np.random.default_rng(2).random(volume.shape) > 0.95
    for name, args in (
        ("label", (volume, structure)),
        ("binary_fill_holes", (~volume, structure)),
        ("binary_propagation", (seeds, structure, volume)),
    ):
        function = getattr(ndi, name)
        found, wanted = function(*args), function.gpuseg_original(*args)
        for a, b in zip(found, wanted):
            np.testing.assert_array_equal(a, b)
        assert accelerated.rows[f"scipy.ndimage.{name}"].served == 1
