"""Every public function has a benchmark, and its peers answer as it does."""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gpuseg
from gpuseg._public import functions

ROOT = Path(__file__).parents[1]
# A pytest below one of several workers would take itself for a worker, too.
ALONE = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_XDIST")}
sys.path.append(str(ROOT / "benchmarks"))
cases, common = map(importlib.import_module, ("cases", "common"))


def test_every_public_function_has_a_benchmark():
    without = sorted(set(functions()) - set(cases.CASES))
    assert not without, f"write a case in benchmarks/cases.py for {', '.join(without)}"
    assert set(cases.CASES) <= set(functions())


def test_every_namesake_is_a_peer():
    """Unless the case says that there is none."""
    for name, case in cases.CASES.items():
        module, _, short = name.rpartition(".")
        try:
            theirs = hasattr(importlib.import_module(f"skimage.{module}"), short)
        except ImportError:
            continue
        assert case.namesake is not None
        assert ("scikit-image" in cases.peers(name, case.dims[0])) >= theirs, name


@pytest.fixture(scope="module")
def inputs():
    return {ndim: cases.Inputs(shape) for ndim, shape in cases.LEVELS["tiny"].items()}


@pytest.mark.filterwarnings("ignore")  # the peers' own
@pytest.mark.parametrize("name", cases.CASES)
def test_peers_answer_alike(name, inputs):
    case = cases.CASES[name]
    for ndim in case.dims:
        given = inputs[ndim]
        with gpuseg.using("cpu"):
            ours = cases.function(name)(*case.args(given), **case.options)
        peers = cases.peers(name, ndim)
        assert set(case.differs) <= {*peers, *cases.PACKAGES}
        for who, peer in peers.items():
            theirs = peer(given)
            if who not in case.differs:
                assert not cases.differences(ours, theirs, case.tolerance), who


def test_differences_are_seen():
    a = np.arange(6.0).reshape(2, 3)
    assert cases.differences(a, a.copy(), 0) == ""
    assert "shapes" in cases.differences(a, a[:1], 0)
    assert "parts" in cases.differences((a, a), (a,), 0)
    assert "elements" in cases.differences(a.astype(int), a.astype(int) + (a == 2), 1)
    assert "0.01" in cases.differences(a, a + 0.01, 1e-3)
    assert cases.differences(a, a + 0.01, 1e-2) == ""
    assert cases.differences(a, np.where(a == 1, np.nan, a), 1) != ""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells peaks")
def test_peaks_are_seen():
    with common.peak_memory() as peak:
        a = np.ones(2**23)
        b = a + 1
        del a, b
    assert abs(peak.bytes - 2**27) < 2**23


def test_bytes_are_counted():
    assert common.nbytes((np.zeros(4), "x"), {"a": np.zeros(2, np.uint8)}) == 34


def test_a_run_says_what_it_measured(tmp_path):
    """One function from end to end, in a process of its own, as the README runs them."""
    saved = tmp_path / "run.json"
    command = [sys.executable, "-m", "pytest", "benchmarks/bench_all.py", "--levels", "tiny", "-q",
               "-k", "filters.threshold_otsu or measure.label", "-p", "no:cacheprovider",
               f"--benchmark-json={saved}"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, env=ALONE, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    run = json.loads(saved.read_text())
    assert run["machine_info"]["copy_bytes_per_s"]["cpu"] > 1e8
    assert run["machine_info"]["gpuseg"]["cpu"]["threads"] >= 1
    infos = [bench["extra_info"] for bench in run["benchmarks"]]
    assert {info["function"] for info in infos} == {"filters.threshold_otsu", "measure.label"}
    ours = [info for info in infos if info["who"] == "gpuseg"]
    assert {info["size"] for info in ours} == {"48x56", "14x16x18"}
    for info in ours:
        assert info["cold_s"] > 0
        assert info["voxels"] in {48 * 56, 14 * 16 * 18}
        wanted = 1 + (4 if info["function"] == "measure.label" else 0)
        assert info["bytes"] // info["voxels"] == wanted
    peers = {(info["function"], info["who"]) for info in infos}
    assert {("measure.label", "scikit-image"), ("measure.label", "SciPy")} <= peers


# --- on a GPU ------------------------------------------------------------------------------------


@pytest.mark.skipif(gpuseg.device_info()["cuda"]["available"], reason="a GPU works here")
def test_the_protocol_refuses_in_one_line_without_a_gpu(tmp_path):
    environment = {**ALONE, "PYTHON": sys.executable}
    before = sorted((ROOT / "benchmarks" / "results").iterdir())
    done = subprocess.run(
        ["bash", str(ROOT / "benchmarks" / "gpu.sh")], cwd=tmp_path, env=environment,
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("gpu.sh: no CUDA device works here (")
    assert done.stderr.count("\n") == 1
    assert sorted((ROOT / "benchmarks" / "results").iterdir()) == before


def test_the_protocol_can_be_rehearsed(tmp_path):
    """Every kind of its lines, on the CPU."""
    file = tmp_path / "rehearsal.json"
    done = subprocess.run(
        ["bash", "benchmarks/gpu.sh", "--rehearse", str(file),
         "serpentine or uint16-smooth or (gaussian and 0.5) or label or (lloyd and 16) or forest"
         " or (neighbors and 1000) or transfer or pipeline or (unet and eager-contiguous)"],
        cwd=ROOT, env={**ALONE, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    benches = json.loads(file.read_text())["benchmarks"]
    infos = [bench["extra_info"] for bench in benches]
    wanted = {"gpuseg", "CuPy", "cuCIM", "cuML", "pageable"}
    if importlib.util.find_spec("torch") is not None:
        wanted.add("PyTorch")
    assert wanted <= {i["who"] for i in infos}
    for info in infos:
        if info.get("resident"):
            assert 0 < info["kernel_s"] <= info["kernel_median_s"]
            assert info["bytes"] > 0


@pytest.mark.filterwarnings("ignore")  # the peers' own
@pytest.mark.parametrize("name", cases.CASES)
def test_peers_on_a_gpu_answer_alike(name, inputs):
    """Their calls, by the libraries' twins on the CPU: what is for a GPU is written once."""
    case, device = cases.CASES[name], cases.REHEARSAL
    for ndim in case.dims:
        there = cases.OnDevice(inputs[ndim], device)
        ours = cases.function(name)(*case.args(there), **case.options)
        for who, peer in cases.peers_there(name, device).items():
            if cases.TWINS[who] not in case.differs:
                assert not cases.differences(ours, peer(there), case.tolerance), who


def test_time_that_is_up_skips_the_rest():
    command = [sys.executable, "-m", "pytest", "benchmarks/bench_all.py", "--levels", "tiny", "-q",
               "--minutes", "0", "-k", "threshold_otsu", "-p", "no:cacheprovider"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, env=ALONE, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0
    assert "not reached in 0 minutes" in done.stdout
