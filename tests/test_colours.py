"""What makes one volume of a picture's colours says so, to the caller and nobody else.

The condition of the thresholds is scikit-image's: three axes or more, and a last one of length 3 or
4. The others, which make objects and classes, warn of pictures alone: three axes.
"""

import contextlib
import subprocess
import sys
import warnings

import numpy as np
import pytest

import gpuseg.accel
from gpuseg import filters, measure, segmentation

PICTURE = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
WARNING = "takes an image of shape .* for a volume, but it looks like a picture of . colours"

THRESHOLDS = {
    name: getattr(filters, name)
    for name in filters.__all__
    # Local thresholds are images, and take the colours for slices as any filter does.
    if name.startswith("threshold_") and name[10:] not in ("local", "niblack", "sauvola")
}
METHODS = {
    name: (function, {})
    for name, function in THRESHOLDS.items()
    if name not in ("threshold_by_objects", "threshold_stability")
}
OF_SEVERAL_AXES = METHODS | {
    "threshold_by_objects": (filters.threshold_by_objects, {"size": (1, 500)}),
    "threshold_stability": (filters.threshold_stability, {"noise": 3.0, "realizations": 2}),
    "compare_thresholds": (filters.compare_thresholds, {}),
}
OF_THREE_AXES = {
    "apply_hysteresis_threshold": (filters.apply_hysteresis_threshold, {"low": 80, "high": 160}),
    "gaussian_mixture": (segmentation.gaussian_mixture, {"n_components": 2, "random_state": 0}),
    "guarded_threshold": (segmentation.guarded_threshold, {"thresholds": [128]}),
    "hysteresis": (segmentation.hysteresis, {"low": 80, "high": 160}),
    "kmeans": (segmentation.kmeans, {"n_clusters": 2, "random_state": 0}),
    "label": (measure.label, {}),
    "markov_random_field": (segmentation.markov_random_field, {"n_classes": 2}),
    "quadtree": (segmentation.quadtree, {"threshold": 40}),
    "slic": (segmentation.slic, {"n_segments": 4, "channel_axis": None}),
    "superpixel_classes": (segmentation.superpixel_classes, {"n_segments": 4, "n_classes": 2}),
    "try_all_threshold": (filters.try_all_threshold, {"verbose": False}),
}
ALL = OF_SEVERAL_AXES | OF_THREE_AXES
IN_MEMORY = {"guarded_threshold", "slic", "superpixel_classes", "threshold_stability"}


@pytest.fixture(autouse=True)
def no_figure_stays():
    yield
    from matplotlib import pyplot

    pyplot.close("all")


def told(function, image, **options):
    """What the call warns of; whether it has an answer is another matter."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        # Noise has no two peaks, and what is smooth leaves too little to decide.
        with contextlib.suppress(filters.UndecidedError, ValueError):
            function(image, **options)
    return [w for w in found if "colours" in str(w.message)]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("colours", [3, 4])
def test_who_gives_a_picture_of_colours_is_told_once(name, colours):
    function, options = ALL[name]
    image = np.resize(PICTURE, (*PICTURE.shape[:2], colours))
    (warning,) = told(function, image, **options)
    assert str(warning.message).startswith(f"{name} takes an image of shape (8, 9, {colours})")
    assert warning.category is UserWarning
    assert warning.filename == __file__


@pytest.mark.parametrize("name", ALL)
def test_a_volume_and_an_image_are_not_told_of(name):
    function, options = ALL[name]
    for shape in ((9, 8), (9, 3), (3, 9, 8), (9, 8, 2), (9, 8, 5)):
        assert not told(function, np.resize(PICTURE, shape), **options)


@pytest.mark.parametrize("name", ALL)
def test_more_axes_are_pictures_for_thresholds_alone(name):
    function, options = ALL[name]
    if name in ("apply_hysteresis_threshold", "hysteresis", "kmeans", "label", "gaussian_mixture"):
        assert not told(function, np.resize(PICTURE, (3, 5, 4, 3)), **options)
    elif name in OF_SEVERAL_AXES:
        assert len(told(function, np.resize(PICTURE, (3, 5, 4, 3)), **options)) >= 1


@pytest.mark.parametrize("name", sorted(ALL.keys() - IN_MEMORY))
def test_dask_arrays_are_told_of_once_and_not_at_every_chunk(name):
    da = pytest.importorskip("dask.array")
    function, options = ALL[name]
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        try:
            result = function(da.from_array(PICTURE, chunks=(4, 5, 3)), **options)
            if hasattr(result, "compute"):
                result.compute()
        except (filters.UndecidedError, NotImplementedError):
            pass
    assert sum("colours" in str(w.message) for w in found) == 1


@pytest.mark.parametrize("name", METHODS)
def test_a_histogram_has_no_colours_and_a_list_has(name):
    assert not told(METHODS[name][0], PICTURE, hist=np.arange(1.0, 20) % 7 + 1)
    assert len(told(METHODS[name][0], PICTURE.tolist())) == 1


@pytest.mark.parametrize("name", ["kmeans", "gaussian_mixture", "markov_random_field", "slic"])
def test_the_axis_of_the_channels_says_what_it_is(name):
    function, options = ALL[name]
    assert not told(function, PICTURE, **options | {"channel_axis": -1})
    (warning,) = told(function, PICTURE, **options)
    assert "pass channel_axis=-1" in str(warning.message)


@pytest.mark.parametrize("dtype", [bool, np.int8, ">u2", np.float16, np.float64])
def test_the_type_of_the_values_does_not_matter(dtype):
    image = (PICTURE / 128).astype(dtype)
    for function in (filters.threshold_otsu, measure.label):
        assert len(told(function, image)) == 1


def test_a_picture_that_scikit_image_warns_of_is_left_to_it():
    import skimage.filters
    import skimage.measure

    gpuseg.accel.install(always=True)
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            skimage.filters.threshold_otsu(PICTURE)
        assert len(found) == 1
        assert "looks like that of an RGB image" in str(found[0].message)
        with gpuseg.accel.profile() as calls:
            skimage.filters.threshold_yen(PICTURE)
            skimage.measure.label(PICTURE > 128)
            skimage.filters.apply_hysteresis_threshold(PICTURE, 80, 160)
        assert [row.served for row in calls.rows.values()] == [1, 1, 1]
    finally:
        gpuseg.accel.uninstall()


def test_the_command_line_makes_grey_values_of_colours_in_silence(tmp_path):
    skimage_io = pytest.importorskip("skimage.io")
    skimage_io.imsave(tmp_path / "a.png", np.resize(PICTURE, (40, 40, 3)), check_contrast=False)
    command = [sys.executable, "-W", "error", "-c", "from gpuseg.cli import main; main()"]
    command += ["segment", str(tmp_path / "a.png"), str(tmp_path / "b.tif")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "colours" not in run.stderr
