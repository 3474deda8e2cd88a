"""The plugin that runs other test suites with gpuseg serving, and what it found."""

import json
import os
import subprocess
import sys
from importlib import import_module
from inspect import signature
from pathlib import Path

import numpy as np
import pytest

from gpuseg.accel._limits import RULES
from gpuseg.accel._serve import Served
from gpuseg.accel._table import served, table

SUITE = """
import numpy as np
import pytest
import skimage.filters

def test_served():
    assert hasattr(skimage.filters.gaussian, "gpuseg_original")
    skimage.filters.gaussian(np.ones((3, 3)))

@pytest.mark.parametrize("n", [1, 2])
def test_departs(n):
    assert n == 0

@pytest.mark.parametrize("n", [0, 1])
def test_departs_once(n):
    assert n == 0

@pytest.mark.xfail
def test_known_to_its_authors():
    assert 0
"""
KNOWN = '"test_a.py::test_departs[*]" = "why"\n"test_a.py::test_departs_once[1]" = "why"\n'


def run(folder: Path, known: str, *options: str):
    (folder / "test_a.py").write_text(SUITE)
    (folder / "known.toml").write_text(known)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "gpuseg.accel.pytest_plugin", "-c", os.devnull,
         "--rootdir=.", "--accel-departures=known.toml", "--accel-report=report.json", *options,
         "test_a.py"],
        cwd=folder, capture_output=True, text=True, check=False,
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")},
    )  # fmt: skip
    return done, json.loads((folder / "report.json").read_text())


def test_departures_are_expected_and_no_others(tmp_path):
    done, report = run(tmp_path, KNOWN)
    assert done.returncode == 0, done.stdout
    assert (report["passed"], report["failed"], len(report["departures"])) == (2, [], 3)
    assert report["served"] == {"skimage.filters.gaussian": 1}
    assert "1 calls served; 2 tests passed, 3 departed as expected, 0 failed" in done.stdout


def test_what_workers_served_is_told(tmp_path):
    pytest.importorskip("xdist")
    done, report = run(tmp_path, KNOWN, "-n2")
    assert done.returncode == 0, done.stdout
    assert (report["passed"], report["failed"], len(report["departures"])) == (2, [], 3)
    assert report["served"] == {"skimage.filters.gaussian": 1}
    assert "1 calls served; 2 tests passed, 3 departed as expected, 0 failed" in done.stdout


def test_a_departure_that_is_none_is_a_failure(tmp_path):
    done, report = run(tmp_path, KNOWN + '"test_a.py::test_served" = "no"\n')
    assert done.returncode == 1
    assert report["failed"] == ["test_a.py::test_served"]


def test_without_it_nothing_is_served(tmp_path):
    _done, report = run(tmp_path, KNOWN, "--accel-off")
    assert report["failed"] == ["test_a.py::test_served"]
    assert report["served"] == {}


@pytest.mark.parametrize("path", sorted(RULES))
def test_rules_are_of_functions_that_are_served(path):
    assert path in table()


@pytest.mark.parametrize(
    ("path", "args", "kwargs"),
    [
        ("skimage.filters.threshold_otsu", [np.ones((4, 4, 3))], {}),
        ("skimage.filters.median", [np.ones((4, 4))], {"behavior": "rank"}),
        ("skimage.filters.median", [np.full((4, 4), np.nan)], {}),
        ("skimage.filters.threshold_local", [np.full((4, 4), np.nan), 3], {}),
        ("skimage.morphology.opening", [np.full((4, 4), np.nan)], {}),
        ("scipy.ndimage.median_filter", [np.full((4, 4), np.nan), 3], {}),
        ("skimage.filters.threshold_yen", [np.ones((4, 4), bool)], {}),
        ("skimage.morphology.remove_small_objects", [np.eye(4, dtype=int)], {}),
        ("skimage.morphology.remove_small_objects", [np.eye(4) > 0], {"out": np.eye(4)}),
        ("skimage.morphology.remove_small_holes", [np.eye(4, dtype=int)], {}),
        ("skimage.measure.find_contours", [np.eye(4), 0.5], {"mask": np.ones((4, 4))}),
        ("skimage.segmentation.flood_fill", [np.eye(4, dtype=int), (0, 0), 2], {"tolerance": 0.5}),
        ("skimage.segmentation.flood", [np.eye(4) > 0, (0, 0)], {"tolerance": 1}),
        ("skimage.segmentation.clear_border", [np.eye(4, dtype=int)], {"mask": np.eye(4)}),
        ("skimage.measure.label", [np.eye(4) > 0], {"background": -1}),
        ("skimage.filters.threshold_isodata", [np.ones((4, 4))], {"return_all": True}),
        ("skimage.filters.threshold_otsu", [np.eye(4)], {"hist": np.arange(4)}),
        ("sklearn.metrics.mean_squared_error", [np.zeros(4, "f4"), np.ones(4, "f4")], {}),
        ("sklearn.metrics.roc_auc_score", [np.eye(4), np.eye(4)], {}),
        ("sklearn.metrics.confusion_matrix", [np.eye(1, 4), np.eye(1, 4)], {}),
    ],
)
def test_what_the_original_answers_otherwise_goes_there(path, args, kwargs, monkeypatch):
    monkeypatch.setattr("gpuseg.accel._costs.purse.always", True)
    package, _, name = path.rpartition(".")
    original = getattr(import_module(package), name)
    entry = Served(path, served(package)[name], getattr(original, "gpuseg_original", original))
    reason = RULES[path](args[0], dict(zip(signature(entry.original).parameters, args)) | kwargs)
    assert reason
    assert entry.refuses(tuple(args), kwargs) == reason
