"""Filtering first: it makes floats of integers and narrows their range, and no method minds."""

import itertools
import json

import numpy as np
import pytest
import skimage.data
from scipy import ndimage
from test_cli import done

from gpuseg import _jobs, filters, segmentation
from gpuseg._jobs import METHODS, Options


@pytest.fixture(scope="module")
def picture():
    """Two sharp peaks of values, as 1 grey value of 255: neither a light filter nor the level
    of an even background changes what belongs where."""
    rng = np.random.default_rng(5)
    y, x = np.ogrid[:72, :90]
    discs = (np.sin(x / 7) * np.sin(y / 6) > 0.5) & (x > 3) & (x < 86) & (y > 3) & (y < 68)
    blurred = ndimage.gaussian_filter(70.0 + 110 * discs, 0.7)
    return blurred + ndimage.gaussian_filter(rng.normal(0, 6, blurred.shape), 0.7)


# How an image of grey values from 0 to 255 is held, and what one grey value is there.
HELD = {
    "uint8": (np.uint8, 1),
    "uint16": (np.uint16, 200),
    "float32 from 0 to 1": (np.float32, 1 / 255),
    "float32 of grey values": (np.float32, 1),
    "float64, large": (np.float64, 1e5),
    "float64, small": (np.float64, 1e-4),
}
CHAINS = ({"sigma": 0.4}, {"background": 100.0}, {"background": 100.0, "sigma": 0.4})
GREY = {  # options in grey values of the image
    "manual": {"threshold": 125},
    "hysteresis": {"low": 110, "high": 150},
    "quadtree": {"threshold": 40},
}
OTHER = {"objects": {"object_size": (40, 900), "count": 8}, "slic": {"classes": 2, "segments": 150},
         "watershed": {"distance": 5}} | {
    name: {"classes": 2} for name in ("multiotsu", "guarded", "kmeans", "mixture", "markov")
}  # fmt: skip


def held(picture, name):
    dtype, grey = HELD[name]
    image = picture * grey
    return (image.round() if np.dtype(dtype).kind in "iu" else image).astype(dtype), grey


def asked(method, grey, chain):
    given = {name: value * grey for name, value in GREY.get(method, {}).items()}
    return Options(method=method, **given, **OTHER.get(method, {}), **chain)


def summed_up(result) -> list[float]:
    """The shares of the classes; of regions how many there are."""
    if result.max() > 2:
        return [np.log(result.max()) / 2]
    return (np.bincount(result.ravel().astype(int), minlength=2) / result.size).tolist()


@pytest.mark.parametrize("method", METHODS)
def test_a_filter_before_a_method_changes_what_it_filters_and_no_more(picture, method):
    for name, chain in itertools.product(HELD, CHAINS):
        image, grey = held(picture, name)
        if "background" in chain and method in ("manual", "hysteresis"):
            continue  # they are given in grey values, from which a background was taken off
        plain = _jobs.segment(image, asked(method, grey, {})).result
        found = _jobs.segment(image, asked(method, grey, chain)).result
        assert (plain > plain.min()).mean() > 0.05
        # Half of the image by definition: as near as the share of one grey value allows.
        within = 0.1 if method == "percentile" else 0.05
        np.testing.assert_allclose(
            summed_up(found), summed_up(plain), atol=within, err_msg=f"{name}, {chain}"
        )


@pytest.mark.parametrize("held_as", [np.uint8, np.uint16, np.float32, np.float64])
def test_sauvola_of_a_smoothed_page(held_as):
    page = skimage.data.page().astype(held_as) * held_as(200 if held_as == np.uint16 else 1)
    dark = {"method": "sauvola", "foreground": "dark"}
    plain = _jobs.segment(page, Options(**dark)).result
    assert 0.1 < plain.mean() < 0.14
    for chain in ({"sigma": 1}, {"background": 60}, {"background": 60, "sigma": 1}):
        found = _jobs.segment(page, Options(**dark, **chain)).result
        assert 0.1 < found.mean() < 0.15
        assert 2 * (found & plain).sum() / (found.sum() + plain.sum()) > 0.75


def test_sauvolas_largest_spread():
    page = skimage.data.page()
    smooth = filters.gaussian(page, 1, preserve_range=True)
    smoothed = {"method": "sauvola", "sigma": 1}
    for options, r in (({}, 127.5), ({"r": 40.0}, 40.0)):
        found = _jobs.segment(page, Options(**smoothed, **options))
        expected = smooth > filters.threshold_sauvola(smooth, 25, r=r)
        np.testing.assert_array_equal(found.result, expected)
        assert found.notes == ()
    found = _jobs.segment(page.astype(float), Options(**smoothed))
    r = np.ptp(page) / 2
    assert found.notes[0].startswith(f"r of sauvola is {r:g}, half the range of the image")
    np.testing.assert_array_equal(found.result, smooth > filters.threshold_sauvola(smooth, 25, r=r))
    mask = page > 128
    found = _jobs.segment(mask, Options(**smoothed)).result
    smooth = filters.gaussian(mask, 1, preserve_range=True)
    np.testing.assert_array_equal(found, smooth > filters.threshold_sauvola(smooth, 25, r=0.5))


def test_compactness_is_of_the_range_of_the_image_that_was_given():
    """One bright pixel sets the range of the image; smoothing takes it away."""
    image = skimage.data.coins()[:80, :120].astype(np.uint16)
    image[3, 3] = 60_000
    found = _jobs.segment(image, Options(method="slic", sigma=1, segments=60)).result
    smooth = filters.gaussian(image, 1, preserve_range=True)
    times = np.ptp(image) / np.ptp(smooth)
    assert times > 5
    expected = segmentation.slic(smooth, 60, 0.1 * times, channel_axis=None)
    np.testing.assert_array_equal(found, expected)


def test_the_table_of_thresholds_is_what_segment_uses(picture, tmp_path):
    image, _ = held(picture, "uint16")
    np.save(tmp_path / "in.npy", image)
    told = json.loads(done("thresholds", tmp_path / "in.npy", "--json"))["thresholds"]
    assert [row["method"] for row in told] == list(_jobs.AUTOMATIC)
    for row in told:
        found = _jobs.segment(image, Options(method=row["method"])).thresholds
        bins = np.ptp(image) / 256 if row["method"] == "li" else 0
        assert abs(found[row["method"]] - row["value"]) <= bins
