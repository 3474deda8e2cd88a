"""The command: what it prints, what it writes, and that a failure is one line and no file."""

import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import skimage.feature
import skimage.segmentation
import tifffile
from PIL import Image
from scipy import ndimage as ndi
from typer.testing import CliRunner

import gpuseg
from gpuseg import _jobs, cli, filters, measure, morphology, segmentation
from gpuseg._images import read
from gpuseg.pixels import PixelClassifier

HEAVY = ("numpy", "scipy", "skimage", "sklearn", "numba", "PIL", "matplotlib", "tifffile",
         "pandas", "jinja2", "cupy", "torch")  # fmt: skip


def gpuseg_command(*args):
    """Run a command in this process; stdout, stderr and the exit code."""
    result = CliRunner().invoke(cli.app, [str(arg) for arg in args])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def done(*args) -> str:
    result = gpuseg_command(*args, "--debug")
    assert result.exit_code == 0, result.stderr
    return result.stdout


def failed(*args, code: int) -> str:
    """The one line that a failure prints."""
    result = gpuseg_command(*args)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("gpuseg: ")
    assert result.stderr.endswith("\n")
    assert result.stderr.count("\n") == 1
    return result.stderr


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(autouse=True)
def plain_output(monkeypatch):
    """Whatever the terminal that runs the tests is."""
    for name in ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def image(rng):
    """Bright blobs on a dark ground, with noise."""
    y, x = np.ogrid[:60, :80]
    shape = np.maximum(np.sin(x / 6) * np.sin(y / 7), 0) * 150
    return (shape + rng.normal(40, 8, shape.shape)).clip(0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path, image):
    np.save(tmp_path / "in.npy", image)
    return tmp_path


# --- the entry --------------------------------------------------------------------------------


def test_the_command_line_imports_nothing_heavy():
    code = "import sys, gpuseg.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert "typer" in loaded.split()
    assert not set(HEAVY) & set(loaded.split())


def test_the_entry_point():
    command = Path(sys.executable).with_name("gpuseg")
    told = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert told.stdout == f"gpuseg {gpuseg.__version__}\n"
    wrong = subprocess.run([command, "segment", "nothing"], capture_output=True, text=True)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.lower().startswith("gpuseg: missing argument 'output'")
    assert wrong.stderr.endswith("(see gpuseg segment --help)\n")


@pytest.mark.parametrize("args", [(), ("--help",), ("-h",)])
def test_help_names_every_command(args):
    text = done(*args)
    for name in ("info", "demo", "segment", "thresholds"):
        assert name in text


def test_help_names_every_method_and_default():
    text = " ".join(done("segment", "--help").replace("│", " ").split())
    for name in _jobs.METHODS:
        assert name in text
    assert "(default: otsu)" in text


def test_every_automatic_threshold_is_a_method():
    from gpuseg.filters.comparison import METHODS

    assert set(_jobs.AUTOMATIC) == set(METHODS)
    assert all(hasattr(filters, f"threshold_{name}") for name in _jobs.AUTOMATIC)


def test_info():
    found = json.loads(done("info", "--json"))
    assert found["cuda"]["available"] == gpuseg.device_info()["cuda"]["available"]
    assert found["versions"]["numpy"] == np.__version__
    text = done("info")
    assert f"numpy {np.__version__}" in " ".join(text.split())


# --- segment: the result ----------------------------------------------------------------------


def expected(image, method):
    """Mask or classes by the library's own function."""
    if method in _jobs.AUTOMATIC:
        return image > getattr(filters, f"threshold_{method}")(image)
    if method == "manual":
        return image > 77.5
    if method == "multiotsu":
        return np.digitize(image, filters.threshold_multiotsu(image), right=True)
    if method == "hysteresis":
        return filters.apply_hysteresis_threshold(image, 60, 120)
    if method == "objects":
        return image > filters.threshold_by_objects(image, (20, 400), connectivity=1).threshold
    if method in REGIONS:
        return REGIONS[method](image)
    return image > getattr(filters, f"threshold_{method}")(image, 25)


def _split(image):
    """Touching objects, cut by scikit-image."""
    mask = image > filters.threshold_otsu(image)
    depth = ndi.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    peaks = skimage.feature.peak_local_max(
        depth, min_distance=4, exclude_border=False, labels=mask.astype(int)
    )
    markers = np.zeros(mask.shape, int)
    markers[tuple(peaks.T)] = range(1, len(peaks) + 1)
    return skimage.segmentation.watershed(-depth.astype(np.float32), markers, mask=mask)


REGIONS = {
    "guarded": lambda a: segmentation.guarded_threshold(a, filters.threshold_multiotsu(a)),
    "kmeans": lambda a: segmentation.kmeans(a, 2, 0.5, random_state=0),
    "mixture": lambda a: segmentation.gaussian_mixture(a, 3, random_state=0),
    "markov": lambda a: segmentation.markov_random_field(a, 3, beta=2.0),
    "quadtree": lambda a: segmentation.quadtree(a, 60).labels(),
    "slic": lambda a: segmentation.slic(a, 30, 0.2, channel_axis=None),
    "watershed": _split,
}

OPTIONS = {
    "manual": ["--threshold", "77.5"],
    "hysteresis": ["--low", 60, "--high", 120],
    "objects": ["--object-size", 20, 400],
    "kmeans": ["--classes", 2, "--spatial-weight", 0.5],
    "markov": ["--beta", 2],
    "quadtree": ["--threshold", 60],
    "slic": ["--segments", 30, "--compactness", 0.2],
    "watershed": ["--distance", 4],
}


@pytest.mark.parametrize("method", _jobs.METHODS)
def test_every_method_writes_what_the_library_gives(folder, image, method):
    options = OPTIONS.get(method, [])
    done("segment", folder / "in.npy", folder / "out.npy", "--method", method, *options)
    found = np.load(folder / "out.npy")
    np.testing.assert_array_equal(found, expected(image, method))
    assert found.min() < found.max()
    assert sorted(p.name for p in folder.iterdir()) == ["in.npy", "out.npy"]


def test_superpixels_become_regions_and_classes(folder, image):
    labels = segmentation.slic(image, 40, 0.1, channel_axis=None)
    command = ("segment", folder / "in.npy", folder / "out.npy", "--method", "slic", "--force",
               "--segments", 40)  # fmt: skip
    done(*command, "--merge", 30)
    merged = segmentation.merge_superpixels(labels, image, 30)
    np.testing.assert_array_equal(np.load(folder / "out.npy"), merged)
    done(*command, "--classes", 2)
    means = segmentation.superpixel_means(image, labels)
    bright = means > filters.threshold_otsu(means)
    assert (np.load(folder / "out.npy") == bright).mean() > 0.99


def test_squares_become_regions(folder, image):
    command = ("segment", folder / "in.npy", folder / "out.npy", "--method", "quadtree")
    done(*command, "--threshold", 60, "--merge", 25)
    np.testing.assert_array_equal(
        np.load(folder / "out.npy"), segmentation.quadtree(image, 60).merge(25)
    )


def test_guards_take_thresholds_by_hand(folder, image):
    command = ("segment", folder / "in.npy", folder / "out.npy", "--method", "guarded", "--force")
    done(*command, "--threshold", 80)
    np.testing.assert_array_equal(
        np.load(folder / "out.npy"), segmentation.guarded_threshold(image, [80])
    )
    done(*command, "--low", 60, "--high", 120)
    np.testing.assert_array_equal(
        np.load(folder / "out.npy"), segmentation.guarded_threshold(image, [60, 120])
    )


def test_dark_structures(folder, image):
    done("segment", folder / "in.npy", folder / "a.npy", "--foreground", "dark")
    np.testing.assert_array_equal(np.load(folder / "a.npy"), image <= filters.threshold_otsu(image))
    done("segment", folder / "in.npy", folder / "b.npy", "--method", "hysteresis",
         "--foreground", "dark", "--low", 45, "--high", 60, "--opening", 1)  # fmt: skip
    wanted = gpuseg.segmentation.hysteresis(image, 45, 60, opening=1, foreground="dark")
    np.testing.assert_array_equal(np.load(folder / "b.npy"), wanted)
    assert 0 < wanted.mean() < 1


def test_preparation_labels_and_small_objects(folder, image):
    told = done("segment", folder / "in.npy", folder / "out.tif", "--background", 20,
                "--sigma", 1, "--label", "--min-size", 40, "--json")  # fmt: skip
    flat = filters.gaussian(filters.subtract_background(image, 20), 1, preserve_range=True)
    mask = flat > filters.threshold_otsu(flat)
    mask = morphology.remove_small_objects(mask, max_size=39)
    labels = measure.label(mask, connectivity=1)
    np.testing.assert_array_equal(read(folder / "out.tif").array, labels)
    assert read(folder / "out.tif").array.dtype == np.uint16
    summary = json.loads(told)
    assert summary["objects"] == labels.max() > 1
    assert summary["sizes"]["minimum"] == np.bincount(labels.ravel())[1:].min() >= 40


def test_a_volume_through_tiff(tmp_path, rng):
    volume = rng.normal(100, 20, (5, 16, 17)).astype(np.float32)
    volume[1:4, 4:12, 5:12] += 150
    tifffile.imwrite(tmp_path / "in.tif", volume, photometric="minisblack")
    done("segment", tmp_path / "in.tif", tmp_path / "out.tif", "--method", "li")
    mask = read(tmp_path / "out.tif").array
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, 255 * (volume > filters.threshold_li(volume)))


def test_nan_is_refused_or_left_out(tmp_path, image):
    array = image.astype(np.float32)
    array[10:20, 10:20] = np.nan
    np.save(tmp_path / "in.npy", array)
    said = failed("segment", tmp_path / "in.npy", tmp_path / "out.npy", code=1)
    assert "pass --nan omit" in said
    done("segment", tmp_path / "in.npy", tmp_path / "out.npy", "--nan", "omit")
    mask = np.load(tmp_path / "out.npy")
    assert not mask[10:20, 10:20].any()
    np.testing.assert_array_equal(mask, array > filters.threshold_otsu(array, nan="omit"))
    for options in (["--sigma", 1], ["--background", 9], ["--method", "sauvola"]):
        said = failed("segment", tmp_path / "in.npy", tmp_path / "no.npy", "--nan", "omit",
                      *options, code=1)  # fmt: skip
        assert "would spread" in said


def test_colour_is_told(tmp_path, rng):
    Image.fromarray(rng.integers(0, 255, (30, 40, 3), np.uint8)).save(tmp_path / "in.png")
    note = "colour converted to luminance from 0 to 1"
    text = done("segment", tmp_path / "in.png", tmp_path / "out.png")
    assert f"note {note}" in " ".join(text.split())
    told = done("segment", tmp_path / "in.png", tmp_path / "out2.png", "--json")
    assert json.loads(told)["notes"] == [note]


def test_json_is_all_that_is_printed(folder, image):
    result = gpuseg_command("segment", folder / "in.npy", folder / "out.png", "--json")
    assert result.stderr == ""
    told = json.loads(result.stdout)
    threshold = float(filters.threshold_otsu(image))
    assert told["thresholds"] == {"otsu": threshold}
    assert told["foreground_fraction"] == pytest.approx((image > threshold).mean())
    assert told["shape"] == list(image.shape)
    assert told["dtype"] == "uint8"
    assert (told["minimum"], told["maximum"]) == (image.min(), image.max())
    assert told["objects"] is None
    assert {call["function"] for call in told["calls"]} >= {"histogram"}
    assert told["seconds"]["total"] >= told["seconds"]["segment"] > 0


def test_a_summary_for_people(folder):
    text = " ".join(done("segment", folder / "in.npy", folder / "out.png", "--label").split())
    for part in ("shape 60 × 80", "dtype uint8", "threshold (otsu)", "foreground", "objects",
                 f"output {folder / 'out.png'}"):  # fmt: skip
        assert part in text, part


def test_the_same_line_twice_needs_force(folder):
    line = ("segment", folder / "in.npy", folder / "out.png", "--report", folder / "r.html")
    done(*line)
    before = contents(folder)
    assert "out.png exists: pass --force" in failed(*line, code=2)
    (folder / "out.png").unlink()
    assert "r.html exists: pass --force" in failed(*line, code=2)
    assert set(contents(folder)) == {"in.npy", "r.html"}
    done(*line, "--force")
    assert contents(folder)["out.png"] == before["out.png"]


# --- segment: the report ----------------------------------------------------------------------


def test_a_report_shows_the_job_and_escapes_names(folder, image):
    name = "<script>alert(1)<" + chr(92) + "script>.npy"
    (folder / "in.npy").rename(folder / name)
    done("segment", folder / name, folder / "o.png", "--report", folder / "r.html", "--sigma", 1)
    text = (folder / "r.html").read_text("utf-8")
    assert "<script" not in text
    assert "Segmentation of &lt;script&gt;alert(1)" in text
    assert "objects" in text
    assert "gaussian" in text
    assert text.count("<img") == 4


# --- segment: what is refused -----------------------------------------------------------------


@pytest.mark.parametrize(("options", "said"), [
    (["--method", "otto"], "--method must be one of huang"),
    (["--classes", 4], "--classes is not for --method otsu, but for multiotsu"),
    (["--method", "li", "--low", 4], "--low is not for --method li, but for hysteresis"),
    (["--method", "otsu", "--threshold", 4], "--threshold is not for --method otsu"),
    (["--method", "multiotsu", "--foreground", "dark"], "--foreground is not for"),
    (["--method", "multiotsu", "--min-size", 4], "--min-size is for objects"),
    (["--method", "manual"], "needs --threshold"),
    (["--method", "quadtree"], "--method quadtree needs --threshold"),
    (["--segments", 9], "--segments is not for --method otsu, but for slic"),
    (["--method", "hysteresis", "--low", 3], "needs --low and --high"),
    (["--method", "hysteresis", "--low", 9, "--high", 3], "must not be above --high 3"),
    (["--method", "local", "--window", 8], "--window must be odd"),
    (["--foreground", "both"], "--foreground must be bright or dark"),
    (["--nan", "keep"], "--nan must be raise or omit"),
    (["--device", "tpu"], "--device must be auto"),
    (["--sigma", "-1"], "--sigma"),
    (["--sigma", "much"], "--sigma"),
    (["--connectivity", 3], "--connectivity must be at most 2"),
    (["--max-bytes", "lots"], "is no number of bytes"),
    (["--report", "r.pdf"], "a report must end in .html"),
    (["--report", "no/r.html"], "does not exist"),
    (["--nonsense"], "--nonsense"),
])  # fmt: skip
def test_options_that_make_no_sense(folder, monkeypatch, options, said):
    monkeypatch.chdir(folder)
    before = contents(folder)
    assert said in failed("segment", "in.npy", "out.npy", *options, code=2)
    assert contents(folder) == before


@pytest.mark.parametrize(("output", "options", "said"), [
    ("out.bmp", [], "must end in one of"),
    ("out", [], "must end in one of"),
    ("no/out.png", [], "does not exist"),
    ("in.npy", ["--force"], "is the input"),
    ("./in.npy", ["--force"], "is the input"),
    ("there.png", [], "exists: pass --force"),
    ("dir.png", ["--force"], "is not a file"),
    ("out.jpg", ["--label"], "cannot hold labels"),
    ("out.jpg", ["--method", "multiotsu"], "cannot hold labels"),
    ("out.png", ["--report", "in.npy"], "must end in .html"),
])  # fmt: skip
def test_outputs_are_refused_before_any_work(folder, monkeypatch, output, options, said):
    monkeypatch.chdir(folder)
    (folder / "there.png").write_bytes(b"mine")
    (folder / "dir.png").mkdir()
    monkeypatch.setattr("gpuseg._images.read", None)
    before = contents(folder)
    assert said in failed("segment", "in.npy", output, *options, code=2)
    assert contents(folder) == before


def test_a_volume_does_not_go_into_a_png(tmp_path, monkeypatch):
    np.save(tmp_path / "in.npy", np.zeros((3, 4, 5)))
    monkeypatch.setattr("gpuseg._images.read", None)
    said = failed("segment", tmp_path / "in.npy", tmp_path / "out.png", code=2)
    assert "cannot hold a volume" in said


@pytest.mark.parametrize(("name", "data", "said"), [
    ("a.png", b"plain text", "is not a PNG"),
    ("a.npy", b"\x93NUMPY\x01\x00\x10\x00nonsense", "cannot be read as NumPy"),
    ("missing.tif", None, "no such file"),
    ("a.tif", b"II*\x00\x08\x00\x00\x00", "a.tif"),
])  # fmt: skip
@pytest.mark.parametrize("command", ["segment", "thresholds"])
def test_bad_files_fail_in_one_line(tmp_path, name, data, said, command):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    output = {"segment": [tmp_path / "out.npy"], "thresholds": ["--figure", tmp_path / "f.png"]}
    before = contents(tmp_path)
    assert said in failed(command, tmp_path / name, *output[command], code=1)
    assert contents(tmp_path) == before


def test_a_limit_on_size(folder):
    said = failed("segment", folder / "in.npy", folder / "o.npy", "--max-bytes", "1k", code=1)
    assert "more than --max-bytes, 1.0 KiB" in said
    done("segment", folder / "in.npy", folder / "o.npy", "--max-bytes", "4800")
    for text, value in (("1.5G", 1.5 * 2**30), ("16GiB", 2**34), ("7 MB", 7 * 2**20), ("3", 3)):
        assert cli._bytes(text) == value


@pytest.mark.parametrize("method", ["minimum", "intermodes"])
def test_an_undecidable_threshold_fails_and_writes_nothing(tmp_path, method):
    np.save(tmp_path / "in.npy", np.full((9, 9), 7, np.uint8))
    before = contents(tmp_path)
    failed("segment", tmp_path / "in.npy", tmp_path / "out.npy", "--method", method, code=1)
    assert contents(tmp_path) == before


def test_an_absent_device_fails_in_one_line(folder):
    device = "cuda:99" if gpuseg.device_info()["cuda"]["available"] else "cuda"
    said = failed("segment", folder / "in.npy", folder / "o.npy", "--device", device, code=1)
    assert f"device '{device}' does" in said
    assert set(contents(folder)) == {"in.npy"}


def test_a_failure_in_the_middle_leaves_nothing(folder, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("broken\nin two lines")

    before = contents(folder)
    line = ("segment", folder / "in.npy", folder / "out.png", "--report", folder / "r.html")
    for broken in ("numpy.save", "PIL.Image.Image.save", "gpuseg.report.render"):
        with monkeypatch.context() as patched:
            patched.setattr(broken, fail)
            if broken == "numpy.save":
                said = failed("segment", folder / "in.npy", folder / "out.npy", code=1)
            else:
                said = failed(*line, code=1)
        assert said == "gpuseg: broken in two lines\n"
        assert contents(folder) == before


def test_an_interruption_leaves_nothing(folder, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("numpy.save", interrupt)
    before = contents(folder)
    result = gpuseg_command("segment", folder / "in.npy", folder / "out.npy")
    assert (result.exit_code, result.stderr) == (130, "gpuseg: interrupted\n")
    assert contents(folder) == before


def test_debug_shows_the_traceback_anywhere_in_the_line(tmp_path):
    line = ["segment", tmp_path / "no.tif", tmp_path / "out.tif"]
    for args in (["--debug", *line], [*line, "--debug"]):
        result = gpuseg_command(*args)
        assert result.exit_code == 1
        assert "Traceback" in result.stderr
        assert result.stderr.rstrip().endswith("there is no such file")


def test_a_missing_package_is_told_before_any_work(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.setattr("gpuseg._images.read", None)
    said = failed(
        "segment", folder / "in.npy", folder / "o.npy", "--report", folder / "r.html", code=1
    )
    assert said == "gpuseg: jinja2 is not installed: pip install 'gpuseg[plot]'\n"


def test_a_job_needs_the_base_dependencies_alone(folder):
    code = (
        "import sys\n"
        "for name in ('matplotlib', 'jinja2', 'pandas', 'imagecodecs', 'dask', 'torch'):\n"
        "    sys.modules[name] = None\n"
        "from gpuseg.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "segment", folder / "in.npy", folder / "out.tif"]
    subprocess.run([*command, "--label", "--json"], check=True, capture_output=True)
    assert read(folder / "out.tif").array.max() > 1


def test_names_with_controls_and_lines_are_shown_in_one_line(tmp_path):
    name = tmp_path / "a\nb\x1b[31m.png"
    name.write_bytes(b"nothing")
    said = failed("segment", name, tmp_path / "out.png", code=1)
    assert r"a\nb\x1b[31m.png" in said


# --- thresholds -------------------------------------------------------------------------------


def test_thresholds_are_those_of_the_library(folder, image):
    told = json.loads(done("thresholds", folder / "in.npy", "--json"))
    rows = {row["method"]: row for row in told["thresholds"]}
    assert set(rows) == set(_jobs.AUTOMATIC)
    for name in ("otsu", "li", "mean", "yen"):
        value = float(getattr(filters, f"threshold_{name}")(image))
        assert rows[name]["value"] == pytest.approx(value, abs=1)
        assert rows[name]["foreground_fraction"] == (image > rows[name]["value"]).mean()
    text = done("thresholds", folder / "in.npy")
    assert "agrees with otsu" in text
    for name in rows:
        assert f"\n{name} " in text


def test_an_undecided_method_is_a_row(tmp_path):
    np.save(tmp_path / "in.npy", np.array([[1, 1], [1, 2]], np.uint8))
    told = json.loads(done("thresholds", tmp_path / "in.npy", "--json"))
    undecided = [row for row in told["thresholds"] if row["note"]]
    assert undecided
    assert all(row["value"] is None for row in undecided)
    assert "undecided" in done("thresholds", tmp_path / "in.npy")


def test_a_figure_of_the_thresholds(folder):
    line = ("thresholds", folder / "in.npy", "--figure", folder / "f.png")
    done(*line)
    picture = np.asarray(Image.open(folder / "f.png"))
    assert picture.shape[1] == 1200
    assert picture.std() > 20
    assert "exists: pass --force" in failed(*line, code=2)
    assert "must end in .png" in failed(*line[:2], "--figure", folder / "f.pdf", code=2)
    assert set(contents(folder)) == {"in.npy", "f.png"}


# --- progress and colours ---------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="no pseudo-terminals")
@pytest.mark.parametrize(("seconds", "shown"), [(1.5, True), (0.1, False)])
def test_a_bar_shows_long_work_on_a_terminal_only(seconds, shown):
    code = (
        "import time; from gpuseg import _terminal\n"
        "with _terminal.progress(['counting']) as step:\n"
        f"    with step('counting'): time.sleep({seconds})\n"
    )
    child, here = os.openpty()
    environment = os.environ | {"TERM": "xterm", "NO_COLOR": "1"}
    with subprocess.Popen([sys.executable, "-c", code], stderr=here, env=environment) as process:
        os.close(here)
        told = b""
        while True:
            try:
                told += os.read(child, 4096)
            except OSError:  # the other end is closed
                break
    os.close(child)
    assert process.returncode == 0
    assert (b"counting" in told) == shown
    assert b"[31m" not in told.replace(b"\x1b", b"")
    if shown:
        quiet = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        assert quiet.stderr == quiet.stdout == b""


# --- the demo ---------------------------------------------------------------------------------


def test_the_demo_writes_a_folder_that_holds_together(tmp_path):
    from gpuseg import _demo, _gallery

    out = tmp_path / "demo"
    text = done("demo", "--output", out)
    assert sorted(contents(out)) == sorted(_demo.FILES)
    assert f"Look at {out / 'report.html'}" in text
    for name in ("page", "coins", "retina", "network"):
        assert f"\n{name} " in text
    assert read(out / "coins-labels.png").array.max() == 24
    truth, volume = _demo.phantom()
    np.testing.assert_array_equal(read(out / "network.tif").array, volume)
    mask = read(out / "network-mask.tif").array > 0
    dice = 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
    assert f"Dice {dice:.3f} (Otsu" in text
    page = (out / "report.html").read_text("utf-8")
    assert page.count('<section class="card"') == 5
    assert f"<td>{dice:.3f}</td>" in page
    gallery = (out / "gallery.html").read_text("utf-8")
    assert gallery.count('<section class="card"') == len(_gallery.RECIPES) + 1
    assert "24 (24, counted by eye)" in gallery

    before = contents(tmp_path)
    assert "exists: pass --force" in failed("demo", "--output", out, code=2)
    (out / "mine.txt").write_text("mine")
    assert "mine.txt, which gpuseg did not write" in failed(
        "demo", "--output", out, "--force", code=2
    )
    (out / "mine.txt").unlink()
    assert contents(tmp_path) == before


def test_the_demo_fails_whole(tmp_path, monkeypatch):
    from gpuseg import _demo

    def fail():
        raise RuntimeError("broken")

    monkeypatch.setattr(_demo, "RECIPES", [fail])
    for options in ([], ["--force"]):
        if options:
            (tmp_path / "demo").mkdir()
            (tmp_path / "demo" / "report.html").write_text("old")
        before = contents(tmp_path)
        assert failed("demo", "--output", tmp_path / "demo", *options, code=1).endswith("broken\n")
        assert contents(tmp_path) == before
    assert "does not exist" in failed("demo", "--output", tmp_path / "a" / "b", code=2)


def test_the_phantom_needs_hysteresis():
    """No single threshold of the smoothed volume is as good: found by trying them all."""
    from skimage.filters import apply_hysteresis_threshold, gaussian, threshold_otsu

    from gpuseg._demo import phantom

    truth, volume = phantom()
    smooth = gaussian(volume, 1)

    def dice(mask):
        return 2 * (mask & truth).sum() / (mask.sum() + truth.sum())

    middle = np.median(smooth)
    low = middle + 2 * 1.4826 * np.median(np.abs(smooth - middle))
    kept = dice(apply_hysteresis_threshold(smooth, low, threshold_otsu(smooth)))
    assert kept > max(dice(smooth > t) for t in np.linspace(0.1, 0.6, 51)) > 0.8


# --- the samples ------------------------------------------------------------------------------


def test_samples_are_the_same_each_time_and_never_over_others(tmp_path):
    from gpuseg import _samples

    told = done("samples", tmp_path / "a")
    done("samples", tmp_path / "b")
    files = contents(tmp_path / "a")
    names = [name for name in _samples.FILES if name != _samples.SCAN]
    assert {name.split("/")[0] for name in files} >= set(names)
    assert all(name in told for name in names)
    for name in names:
        assert files[name] == (tmp_path / "b" / name).read_bytes()
        assert read(tmp_path / "a" / name).array.ndim == (3 if name in VOLUMES else 2)
    assert sum(map(len, files.values())) < 4 << 20
    assert "exists: pass --force" in failed("samples", tmp_path / "a", code=2)
    (tmp_path / "a" / "mine.txt").write_text("mine")
    said = failed("samples", tmp_path / "a", "--force", code=2)
    assert "mine.txt, which gpuseg did not write" in said
    (tmp_path / "a" / "mine.txt").unlink()
    done("samples", tmp_path / "a", "--force")
    assert {n: contents(tmp_path / "a")[n] for n in names} == {n: files[n] for n in names}


VOLUMES = ("bone.tif", "stack.tif", "stack-masks.tif")


def test_without_zarr_the_scan_is_left_out_and_that_is_told(tmp_path, monkeypatch):
    from gpuseg import _samples

    monkeypatch.setattr(_samples, "volumes_can_be_written", lambda: False)
    told = done("samples", tmp_path / "a")
    said = "scan.ome.zarr is left out: it needs Zarr, pip install 'gpuseg[volume]'"
    assert said in " ".join(told.split())
    assert not (tmp_path / "a" / "scan.ome.zarr").exists()


def test_the_samples_are_what_the_readmes_lines_find_in_them():
    from gpuseg import _samples
    from gpuseg.metrics import dice

    truth, _ = _samples.bone_pores()
    options = _jobs.Options(method="hysteresis", low=70, high=110, opening=1, foreground="dark")
    image = _samples.bone()
    found = _jobs.segment(image, options).result
    assert dice(truth, found) > 0.8
    assert dice(truth, found) > dice(truth, image <= 70)
    options = _jobs.Options(method="watershed", distance=8)
    cells = _jobs.segment(_samples.cells(), options).result.max()
    assert abs(cells - _samples.CELLS) <= 2
    options = _jobs.Options(method="slic", segments=400, compactness=0.05, classes=3)
    shares = np.bincount(_jobs.segment(_samples.shale(), options).result.ravel())
    assert len(shares) == 3
    assert shares.min() > 200


# --- learning ---------------------------------------------------------------------------------


@pytest.fixture
def scribbles(folder, rng):
    """An image of two textures, labels of some of its pixels, and of all of them."""
    truth = np.zeros((48, 64), np.uint8)
    truth[:, 32:] = 255
    image = (rng.normal(size=truth.shape) * np.where(truth, 30, 10) + 128).clip(0, 255)
    Image.fromarray(image.astype(np.uint8)).save(folder / "texture.png")
    Image.fromarray(truth).save(folder / "truth.png")
    some = np.where(rng.random(truth.shape) < 0.1, np.where(truth, 2, 1), 0)
    Image.fromarray(some.astype(np.uint8)).save(folder / "some.png")
    return folder


def test_train_and_predict(scribbles):
    model, image = scribbles / "m.gpuseg", scribbles / "texture.png"
    told = done("train", image, scribbles / "some.png", "-o", model, "--sigmas", "2,4",
                "--trees", 5, "--position")  # fmt: skip
    assert "class 1: " in told
    assert "most important" in told
    out = done("predict", model, image, scribbles / "found.tif", "--probabilities",
               scribbles / "p.npy", "--report", scribbles / "r.html")  # fmt: skip
    assert "class 2" in out
    found, likely = tifffile.imread(scribbles / "found.tif"), np.load(scribbles / "p.npy")
    assert found.shape == (48, 64)
    assert set(np.unique(found)) == {1, 2}
    assert likely.shape == (48, 64, 2)
    assert (likely.argmax(-1) + 1 == found).all()
    assert (found[:, 36:] == 2).mean() > 0.9
    assert "texture.png" in (scribbles / "r.html").read_text()


def test_a_stack_is_classified_slice_by_slice(scribbles):
    model, image, truth = (scribbles / name for name in ("m.gpuseg", "texture.png", "truth.png"))
    done("train", image, truth, "-o", model, "--dense", "--trees", 5, "--sigmas", "2,4")
    slices = [np.roll(np.asarray(Image.open(image)), n, axis=0) for n in range(6)]
    truths = [np.asarray(Image.open(truth))] * 6
    tifffile.imwrite(scribbles / "stack.tif", np.stack(slices))
    tifffile.imwrite(scribbles / "truth.tif", np.stack(truths))
    line = ("predict", model, scribbles / "stack.tif", scribbles / "out.tif", "--truth",
            scribbles / "truth.tif", "--probabilities", scribbles / "p.npy", "--report",
            scribbles / "r.html")  # fmt: skip
    text = " ".join(done(*line).split())
    said = "slice by slice: the model is of pictures, and each of the 6 slices was classified by"
    assert text.count("slice by slice") == 1
    assert f"note {said} itself" in text
    page = (scribbles / "r.html").read_text()
    assert said in page
    assert "Slice z = 3 of 6" in page
    found, likely = tifffile.imread(scribbles / "out.tif"), np.load(scribbles / "p.npy")
    classifier = PixelClassifier.load(model)
    np.testing.assert_array_equal(found, np.stack([classifier.predict(x) for x in slices]))
    np.testing.assert_array_equal(likely, np.stack([classifier.predict_proba(x) for x in slices]))
    told = json.loads(done(*line, "--force", "--json"))
    assert told["scores"]["accuracy"] == pytest.approx((found == np.stack(truths)).mean())
    assert told["shape"] == [6, 48, 64]
    tifffile.imwrite(scribbles / "one.tif", np.stack(slices[:1])[0])
    assert "slice by slice" not in done("predict", model, scribbles / "one.tif",
                                        scribbles / "one-out.tif")  # fmt: skip
    done("train", scribbles / "stack.tif", scribbles / "truth.tif", "-o", scribbles / "v.gpuseg",
         "--dense", "--trees", 2, "--max-per-class", 50, "--sigmas", "1")  # fmt: skip
    said = failed("predict", scribbles / "v.gpuseg", image, scribbles / "no.tif", code=1)
    assert "texture.png: is a picture, and the model is of volumes" in said
    volume = " ".join(done("predict", scribbles / "v.gpuseg", scribbles / "stack.tif",
                           scribbles / "v.tif").split())  # fmt: skip
    assert "slice by slice" not in volume


def test_probabilities_need_not_fit_in_memory(scribbles):
    model = scribbles / "m.gpuseg"
    done("train", scribbles / "texture.png", scribbles / "some.png", "-o", model, "--trees", 2,
         "--sigmas", "1", "--kinds", "gaussian")  # fmt: skip
    np.save(scribbles / "stack.npy", np.zeros((200, 64, 64), np.uint8))
    line = ("predict", model, scribbles / "stack.npy", scribbles / "o.npy", "--force")
    done(*line)
    peaks = []
    for more in ([], ["--probabilities", scribbles / "p.npy"]):
        tracemalloc.start()
        done(*line, *more)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    size = (scribbles / "p.npy").stat().st_size
    assert size > 8 * 200 * 64 * 64
    assert peaks[1] - peaks[0] < size / 4


def test_train_on_a_mask_and_compare_with_it(scribbles):
    model, image, truth = (scribbles / name for name in ("m.gpuseg", "texture.png", "truth.png"))
    line = ("train", image, truth, "-o", model, "--trees", 5, "--max-per-class", 200)
    assert "holds a single class, 255" in failed(*line, code=2)
    told = json.loads(done(*line, "--dense", "--kinds", "gaussian,sobel", "--json"))
    assert told["labelled"] == {"0": 48 * 32, "255": 48 * 32}
    assert len(told["features"]) == 7
    line = ("predict", model, image, scribbles / "out.png", "--truth", truth, "--json")
    told = json.loads(done(*line, "--tile", 20))
    found = np.asarray(Image.open(scribbles / "out.png"))
    right = np.asarray(Image.open(truth))
    assert set(np.unique(found)) == {0, 255}
    assert told["scores"]["accuracy"] == pytest.approx((found == right).mean())
    assert told["scores"]["Dice of class 255"] > 0.8
    assert told["shares"]["class 0"] == pytest.approx((found == 0).mean())


def test_what_train_and_predict_refuse(scribbles):
    model, image, some = (scribbles / name for name in ("m.gpuseg", "texture.png", "some.png"))
    train = ("train", image, some, "-o", model, "--trees", 2)
    before = contents(scribbles)
    assert "--neighborhood is in place of" in failed(
        *train, "--neighborhood", 1, "--sigmas", 2, code=2
    )
    assert "--sigmas must be numbers" in failed(*train, "--sigmas", "x", code=2)
    assert "kinds must" in failed(*train, "--kinds", "nonsense", code=1)
    assert "is the input" in failed("train", image, some, "-o", image, code=2)
    assert "labels must have the shape" in failed(
        "train", scribbles / "in.npy", some, "-o", model, code=1
    )
    assert contents(scribbles) == before
    done(*train)
    assert "exists: pass --force" in failed(*train, code=2)
    predict = ("predict", model, image, scribbles / "o.png")
    before = contents(scribbles)
    assert "is no model" in failed("predict", some, *predict[2:], code=1)
    assert "must end in .npy" in failed(*predict, "--probabilities", scribbles / "p.tif", code=2)
    assert "has shape" in failed(*predict, "--truth", scribbles / "in.npy", code=1)
    volume = scribbles / "volume.npy"
    np.save(volume, np.zeros((4, 5, 6)))
    before["volume.npy"] = volume.read_bytes()
    assert "PNG cannot hold a volume" in failed(
        "predict", model, volume, scribbles / "o.png", code=2
    )
    np.save(volume, np.full((4, 5, 6), np.nan))
    before["volume.npy"] = volume.read_bytes()
    line = ("predict", model, volume, scribbles / "o.tif", "--probabilities", scribbles / "p.npy")
    assert "holds NaN" in failed(*line, code=1)
    assert contents(scribbles) == before
