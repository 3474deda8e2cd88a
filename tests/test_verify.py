"""Verification: it covers everything, and finds what is wrong."""

import json

import numpy as np
import pytest

import gpuseg
from gpuseg import _backend, _cases, _public, cli, filters, verification


def test_every_function_is_verified():
    """Those that have two forms among them, and whatever is composed of these."""
    assert set(_cases.CASES) == set(_public.functions())


def test_the_cpu_gives_what_the_libraries_give():
    found = gpuseg.verify(backends=["cpu"])
    assert found.passed, str(found)
    compared = {check.function for check in found}
    # What has a namesake is held against it, but for what a case says is different on purpose.
    named = {name for name in _cases.CASES if _cases.namesake(name) is not None}
    assert compared == {name for name in named if not _cases.CASES[name].differs}
    assert len(compared) > 60
    assert {check.against for check in found} == {"NumPy", "SciPy", "scikit-image", "scikit-learn"}
    assert {check.dtype for check in found} >= set(verification.DTYPES)
    assert {len(check.shape) for check in found} >= {2, 3}


@pytest.mark.sim
def test_the_simulated_gpu_gives_what_the_cpu_gives():
    names = [
        "filters.gaussian", "measure.label", "segmentation.quadtree", "metrics.confusion_matrix",
        "estimators.nearest_centers",
    ]  # fmt: skip
    found = gpuseg.verify(names, backends=["sim"])
    assert found.passed, str(found)
    assert {check.function for check in found} == set(names)
    assert {check.against for check in found} == {"cpu"}


@pytest.mark.gpu
def test_the_gpu_gives_what_the_cpu_gives():
    found = gpuseg.verify(backends=["cuda"])
    assert found.passed, str(found)


@pytest.fixture
def wrong(monkeypatch):
    """A Sobel filter that is off by a little."""
    from gpuseg._cpu.filters import edges

    right = edges.sobel

    def sobel(image, **options):
        result = right(image, **options)
        result[0, 0] += 0.01
        return result

    monkeypatch.setattr(edges, "sobel", sobel)
    _backend.find.cache_clear()
    yield
    _backend.find.cache_clear()


def test_a_wrong_answer_fails(wrong):
    found = gpuseg.verify(["filters.sobel", "filters.scharr"], backends=["cpu"])
    assert not found.passed
    assert {check.function for check in found if not check.passed} == {"filters.sobel"}
    worst = next(check.worst for check in found if check.dtype == "float64")
    assert worst == pytest.approx(0.01)
    assert "FAILED" in str(found)
    assert len(found.to_dataframe()) == len(found)


def test_a_wrong_answer_fails_beside_a_function_of_another_name(monkeypatch):
    from gpuseg._cpu.estimators import neighbors

    right = neighbors.nearest_neighbors

    def nearest_neighbors(*args, **options):
        distances, indices = right(*args, **options)
        return distances, indices[:, ::-1]

    monkeypatch.setattr(neighbors, "nearest_neighbors", nearest_neighbors)
    _backend.find.cache_clear()
    found = gpuseg.verify(["estimators.nearest_neighbors"], backends=["cpu"])
    _backend.find.cache_clear()
    assert [(check.against, check.passed) for check in found] == [("scikit-learn", False)]


def test_an_error_fails(monkeypatch):
    def broken(image):
        raise RuntimeError("a bug")

    broken.contract = filters.threshold_otsu.contract
    monkeypatch.setattr(filters, "threshold_otsu", broken)
    broken.__name__ = "threshold_otsu"
    monkeypatch.setattr("inspect.isfunction", callable)
    found = gpuseg.verify(["filters.threshold_otsu"], backends=["cpu"])
    assert [check.note for check in found] == ["RuntimeError: a bug"] * len(found)


def test_an_image_of_the_users(rng):
    image = (rng.random((40, 30)) * 99).astype(np.int16)
    found = gpuseg.verify(["filters.gaussian", "measure.label"], image=image, backends=["cpu"])
    assert found.passed
    assert {check.shape for check in found} == {(40, 30)}
    assert {check.dtype for check in found} == {"int16", "bool"}


def test_bad_input():
    with pytest.raises(ValueError, match="functions must name public functions, got 'sobel'"):
        gpuseg.verify(["sobel"])
    with pytest.raises(ValueError, match="image must have"):
        gpuseg.verify(image=np.ones(5))
    with pytest.raises(gpuseg.BackendError):
        gpuseg.verify(backends=["sim"])
    for unknown in ("gpu", "auto"):
        with pytest.raises(ValueError, match=f"got '{unknown}'"):
            gpuseg.verify(backends=[unknown])


def run(capsys, *arguments) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        cli.app(["verify", *map(str, arguments)], standalone_mode=True)
    return ended.value.code, capsys.readouterr().out


def test_the_command_saves_the_table(tmp_path, capsys):
    table = tmp_path / "checks.csv"
    code, told = run(capsys, "filters.threshold_otsu", "-o", table)
    assert code == 0
    assert "8 checks passed" in told
    assert table.read_text().count("\n") == 9
    code, told = run(capsys, "filters.threshold_otsu", "--json", "--backend", "cpu")
    assert len(json.loads(told)) == 8
    table = tmp_path / "checks.json"
    code, told = run(capsys, "filters.threshold_otsu", "filters.flood_masks", "-o", table)
    assert len(json.loads(table.read_text())) == 8
    assert "1 have nothing here to be held against" in told


@pytest.mark.parametrize(
    "arguments",
    [
        ["sobel"],
        ["--backend", "gpu"],
        ["--backend", "auto"],
        ["--input", "missing.tif"],
        ["-o", "table.txt"],
    ],
)
def test_the_command_says_what_is_wrong(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.app(["verify", *arguments])
    told = capsys.readouterr()
    assert ended.value.code
    assert told.err.startswith("gpuseg: ")
    assert told.err.count("\n") == 1


def test_the_command_fails_where_a_check_does(wrong, capsys):
    code, told = run(capsys, "filters.sobel")
    assert code == 1
    assert "FAILED float64 97x74" in told
