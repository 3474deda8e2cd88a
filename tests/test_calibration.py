"""What `gpuseg calibrate` measures, and what is made of it."""

import json

import numpy as np
import pytest

import gpuseg
from gpuseg import _backend, _calibration, _public, cli, filters, measure
from gpuseg._backend import Backend


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    """A file of its own, and nothing remembered."""
    monkeypatch.setenv("GPUSEG_CALIBRATION", str(tmp_path / "kept" / "figures.json"))
    forget()
    yield tmp_path / "kept" / "figures.json"
    forget()


def forget():
    _calibration.measured.cache_clear()
    _calibration.crossovers.cache_clear()


def write(path, functions, **machine):
    path.parent.mkdir(exist_ok=True)
    figures = {"machine": _calibration.machine() | machine, "functions": functions}
    path.write_text(json.dumps(figures))
    forget()


GAUSSIAN = {"lines": {"cpu": [1e-5, 1e-8], "cuda": [1e-3, 1e-9]}, "bytes_per_element": 12.5}


def test_the_crossover_is_where_two_lines_meet():
    line = _calibration.Line
    crossover = _calibration._crossover
    assert crossover(line(1e-5, 1e-8), line(1e-3, 1e-9)) == pytest.approx(110_000)
    assert crossover(line(1e-3, 1e-8), line(1e-3, 1e-9)) == 0
    assert crossover(line(1e-5, 1e-9), line(1e-3, 1e-8)) == np.inf
    assert crossover(line(1e-3, 1e-9), line(1e-5, 1e-8)) == np.inf


@pytest.fixture
def found_cuda(monkeypatch):
    """As where a GPU was found, and nobody asked for it."""
    monkeypatch.setattr(_backend, "_found_default", lambda _: (Backend("cuda"), "found"))
    monkeypatch.setattr(_backend, "_AUTOMATIC", "found")
    monkeypatch.delenv("GPUSEG_DEVICE", raising=False)


def test_small_images_stay_on_the_cpu(kept, found_cuda):
    write(kept, {"filters.gaussian": GAUSSIAN})
    image = np.eye(300, dtype=np.float32)
    with gpuseg.trace() as calls:
        found = filters.gaussian(image, 2)
    assert [(c.backend, c.reason) for c in calls] == [
        ("cpu", "90000 elements are under the crossover of 110000")
    ]
    with gpuseg.using("cpu"):
        np.testing.assert_array_equal(found, filters.gaussian(image, 2))


def test_a_gpu_that_was_asked_for_is_taken(kept, found_cuda):
    write(kept, {"filters.gaussian": GAUSSIAN})
    for reason in ("using()", "set_device()", "a CuPy array came in", "GPUSEG_DEVICE=cuda"):
        assert _backend.crossover_of(filters.gaussian, Backend("cuda"), reason) == 0
    assert _backend.crossover_of(filters.gaussian, Backend("sim"), "found") == 0
    assert _backend.crossover_of(filters.gaussian, Backend("cuda"), "found") > 0


def test_explanations(kept, found_cuda):
    write(kept, {"filters.gaussian": GAUSSIAN})
    small = gpuseg.explain(filters.gaussian, np.zeros((300, 300)), 2)
    assert small.backend == "cpu"
    assert small.seconds == pytest.approx(1e-5 + 90_000 * 1e-8)
    assert small.peak_bytes == 90_000 * 12.5
    large = gpuseg.explain(filters.gaussian, np.zeros((400, 300)), sigma=2)
    assert large.backend == "cuda:0"
    assert large.seconds == pytest.approx(1e-3 + 120_000 * 1e-9)
    assert "would run on cuda:0: found" in str(large)
    with gpuseg.using("cpu"):
        asked = gpuseg.explain(filters.gaussian, np.zeros((400, 300)))
    assert (asked.backend, asked.reason) == ("cpu", "using()")
    without = gpuseg.explain(measure.find_contours, np.zeros((400, 300)))
    assert without.backend == "cpu"
    assert without.reason.endswith("there is no GPU form")
    written = {"filters.threshold_by_objects": GAUSSIAN, "filters.histogram": GAUSSIAN}
    write(kept, written)
    # What it is composed of decides, as where it puts the image on the device at once.
    parts = gpuseg.explain(filters.threshold_by_objects, np.zeros((9, 9), np.uint8))
    assert parts.backend == "cuda:0"
    assert "composed of other calls" in parts.reason
    through = gpuseg.explain(filters.threshold_otsu, np.zeros((9, 9), np.uint8))
    assert through.backend == "cpu"


def test_explanations_and_calls_go_by_the_same_size(kept, found_cuda):
    """The largest array's, wherever it stands, and of a table all elements, as measured."""
    write(kept, {
        "filters.apply_hysteresis_threshold": GAUSSIAN, "estimators.robust_scale": GAUSSIAN,
    })  # fmt: skip
    low = np.zeros((400, 300))
    arguments = np.zeros((1, 300)), low, 1
    told = gpuseg.explain(filters.apply_hysteresis_threshold, *arguments)
    assert told.backend == "cuda:0"
    assert told.seconds == pytest.approx(1e-3 + 120_000 * 1e-9)
    function = _public.functions()["estimators.robust_scale"]
    (size, call), _ = _calibration._calls("estimators.robust_scale", function, {})
    told = gpuseg.explain(function, *call.args)
    assert told.seconds == pytest.approx(1e-5 + size * 1e-8)
    with gpuseg.trace() as calls:
        call()
    assert [c.reason for c in calls] == [told.reason]
    assert told.reason.startswith(f"{call.args[0].size} elements are under")


def test_what_is_not_known_is_not_guessed(kept):
    told = gpuseg.explain(filters.gaussian, np.zeros((9, 9)))
    assert told.seconds is None
    assert told.peak_bytes is None
    assert "not known: run `gpuseg calibrate`" in str(told)
    write(kept, {"filters.gaussian": GAUSSIAN}, gpu="another")
    assert gpuseg.explain(filters.gaussian, np.zeros((9, 9))).seconds is None


@pytest.mark.parametrize(
    "functions",
    [
        [],
        {"filters.gaussian": 3},
        {"filters.gaussian": {"lines": {"cpu": [1]}, "bytes_per_element": 1}},
        {"filters.gaussian": {"lines": {"cpu": [1, float("nan")]}, "bytes_per_element": 1}},
        {"filters.gaussian": {"lines": {}}},
    ],
)
def test_a_damaged_file_is_told_of_and_not_used(kept, found_cuda, functions, caplog):
    write(kept, functions)
    _backend.log_once.cache_clear()
    assert _backend.crossover_of(filters.gaussian, Backend("cuda"), "found") == 0
    assert "cannot be read and is not used" in caplog.text
    kept.write_text('{"machine": ')
    forget()
    assert gpuseg.explain(filters.gaussian, np.zeros((9, 9))).seconds is None


def test_the_memory_on_a_gpu_is_not_known(kept, found_cuda):
    write(kept, {"filters.gaussian": GAUSSIAN})
    told = gpuseg.explain(filters.gaussian, np.zeros((400, 300)))
    assert told.peak_bytes is None
    assert str(told).endswith("memory: not known")


def test_figures_lie_in_the_cache_by_machine(tmp_path, monkeypatch):
    monkeypatch.delenv("GPUSEG_CALIBRATION")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    here = _calibration.path()
    assert here.parent == tmp_path / "gpuseg"
    known = _calibration.machine()
    assert {"cpu", "gpu", "threads", "versions"} == set(known)
    other = known | {"versions": known["versions"] | {"numba": "0"}}
    monkeypatch.setattr(_calibration, "machine", lambda: other)
    assert _calibration.path() != here
    assert _calibration.path().parent == here.parent
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which the specification says to ignore
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _calibration.path().parent == tmp_path / ".cache" / "gpuseg"


def test_a_call_that_fails_leaves_the_others_their_figures(caplog):
    def broken(image):
        raise RuntimeError("a bug")

    broken.via = broken
    calls = [(4, lambda: broken(0)), (8, lambda: broken(0))]
    assert _calibration._measure("filters.broken", broken, calls) is None
    assert "filters.broken on cpu: RuntimeError: a bug" in caplog.text


def test_bad_input():
    with pytest.raises(TypeError, match="function must be a public function of gpuseg"):
        gpuseg.explain(np.sum, np.zeros(3))
    with pytest.raises(TypeError, match="there is no array among the arguments"):
        gpuseg.explain(filters.gaussian)


def test_the_command_measures_and_keeps(kept, monkeypatch, capsys):
    few = {name: f for name, f in _public.functions().items() if name.startswith("measure.")}
    monkeypatch.setattr(_public, "functions", lambda: few)
    monkeypatch.setattr(_calibration, "SIDES", {2: (16, 32), 3: (8, 12), 1: (100, 200)})
    with pytest.raises(SystemExit) as ended:
        cli.app(["calibrate"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert "measure.label" in told
    assert str(kept) in told
    figures = json.loads(kept.read_text())
    assert set(figures["functions"]) == set(few)
    assert set(_calibration.measured()) == set(few)
    assert "no crossover" in told
    assert _calibration.crossovers() == {}
    # 4 bytes a label at least.
    assert figures["functions"]["measure.label"]["bytes_per_element"] >= 4
    seconds = gpuseg.explain(measure.label, np.ones((32, 32), bool)).seconds
    assert seconds > 0
