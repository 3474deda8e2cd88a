"""What a wheel holds: above all the kernels, which come in through a symbolic link."""

import importlib.metadata
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import gpuseg

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel_files(tmp_path_factory):
    tmp = tmp_path_factory.mktemp("wheel")
    source = tmp / "source"
    source.mkdir()
    for name in ("gpuseg", "kernels"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]
    subprocess.run([*build, "-w", str(tmp), str(source)], check=True)
    (wheel,) = tmp.glob("*.whl")
    return zipfile.ZipFile(wheel).namelist()


def test_the_wheel_holds_every_module_and_kernel(wheel_files):
    packaged = {name for name in wheel_files if name.startswith("gpuseg/")}
    ours = {f"gpuseg/{path.relative_to(ROOT / 'gpuseg')}" for path in _sources(ROOT / "gpuseg")}
    kernels = {f"gpuseg/kernels/{path.name}" for path in _sources(ROOT / "kernels")}
    assert len(kernels) > 3
    assert packaged == ours | kernels
    assert "gpuseg/templates/report.html" in packaged


def test_the_wheel_holds_no_top_level_package_but_gpuseg(wheel_files):
    tops = {name.split("/")[0] for name in wheel_files}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"gpuseg"}


def _sources(folder):
    return [
        path
        for path in folder.rglob("*")
        if path.is_file()
        and path.suffix in {".py", ".html", ".typed"}
        and "kernels" not in path.relative_to(folder).parts
    ] + [folder / "py.typed"] * (folder / "py.typed").exists()


def test_there_is_one_version():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert gpuseg.__version__ == declared == importlib.metadata.version("gpuseg")
    assert f"## {declared}" in (ROOT / "CHANGELOG.md").read_text()
