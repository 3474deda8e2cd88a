"""Kept code: whatever is wrong with its files or folders, a call ends well, and is told of once."""

import hashlib
import importlib
import logging
import os
import pickle
import pkgutil
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numba.core import config
from numba.core.caching import FunctionCache
from numba.core.dispatcher import Dispatcher

import gpuseg.kernels
from gpuseg.kernels import kept
from gpuseg.kernels.digest import digest_cpu

ROOT = Path(gpuseg.__file__).parents[1]
TINY = """
from .factor import FACTOR
from .kept import njit

@njit(cache=True)
def scaled(x):
    return FACTOR * x
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with one kernel; `package()` loads it as a new process would, and counts."""
    folder = tmp_path / "package_with_a_kernel"
    folder.mkdir()
    (folder / "__init__.py").touch()
    shutil.copy(kept.__file__, folder / "kept.py")
    (folder / "tiny.py").write_text(TINY)
    (folder / "factor.py").write_text("FACTOR = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(config, "CACHE_DIR", "")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def load(x=2, expected=None):
        for name in [name for name in sys.modules if name.startswith(folder.name)]:
            del sys.modules[name]
        importlib.invalidate_caches()
        scaled = importlib.import_module(f"{folder.name}.tiny").scaled
        assert scaled(x) == (3 * x if expected is None else expected)
        return sum(scaled.stats.cache_hits.values())

    load.folder, load.kept = folder, folder / "__pycache__"
    load.files = lambda: sorted(load.kept.glob("*.nbc"))
    yield load
    for name in [name for name in sys.modules if name.startswith(folder.name)]:
        del sys.modules[name]


def told(caplog) -> str:
    """The one line that was logged, if any."""
    lines = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    caplog.clear()
    assert len(lines) <= 1
    assert not lines or ("\n" not in lines[0] and "NUMBA_CACHE_DIR" in lines[0])
    return "".join(lines)


def test_code_is_kept_a_signature_a_file(package, caplog):
    assert [package(2), package(2.5), package(2), package(2.5)] == [0, 0, 1, 1]
    assert len(package.files()) == 2
    assert told(caplog) == ""
    assert not [x for x in os.listdir(package.kept) if not x.endswith((".nbc", ".pyc"))]


def test_code_of_a_changed_source_goes(package):
    """Also of the source that a constant comes from, where Numba would not look."""
    package(2)
    (before,) = package.files()
    (package.folder / "factor.py").write_text("FACTOR = 5\n")
    assert package(2, expected=10) == 0
    (after,) = package.files()
    assert after != before
    assert package(2, expected=10) == 1


DAMAGE = {
    "empty": lambda data: b"",
    "short": lambda data: data[:20],
    "cut off": lambda data: data[: len(data) // 2],
    "a bit": lambda data: data[:-100] + bytes([data[-100] ^ 1]) + data[-99:],
    "longer": lambda data: data + b"\0",
    "zeros": lambda data: bytes(len(data)),
    "another file": lambda data: b"\x80\x04N.",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_files_are_thrown_away(package, caplog, damage):
    package(2)
    (file,) = package.files()
    whole = file.read_bytes()
    file.write_bytes(DAMAGE[damage](whole))
    assert package(2) == 0
    assert str(package.kept) in told(caplog)
    assert package(2) == 1
    assert told(caplog) == ""


def test_whole_files_that_hold_something_else(package, caplog):
    """Code of another signature under the name; and what has the right checksum, but no code."""
    package(2)
    (integers,) = package.files()
    package(2.5)
    (floats,) = set(package.files()) - {integers}
    shutil.copy(integers, floats)
    assert [package(2.5), package(2.5)] == [0, 1]
    assert told(caplog) == ""
    key = pickle.loads(integers.read_bytes()[32:])[0]
    for data in (None, (), "no code", (1, 2)):
        content = pickle.dumps((key, data))
        integers.write_bytes(hashlib.sha256(content).digest() + content)
        assert package(2) == 0
        told(caplog)
        assert package(2) == 1


def test_a_folder_in_place_of_a_file(package, caplog):
    package(2)
    (file,) = package.files()
    file.unlink()
    file.mkdir()
    assert package(2) == 0
    assert str(package.kept) in told(caplog)


def test_no_folder_can_be_written(package, caplog, monkeypatch, tmp_path):
    """As in a container: a read-only package, and no home."""
    monkeypatch.setenv("XDG_CACHE_HOME", os.devnull)
    package.kept.write_text("in the way")
    assert package(2) == 0
    assert str(package.kept) in told(caplog)
    monkeypatch.setattr(config, "CACHE_DIR", "/dev/null/no\nfolder")
    assert package(2) == 0
    assert r"/dev/null/no\nfolder" in told(caplog)


def test_what_is_kept_beside_the_sources_is_read_where_nothing_can_be_written(
    package, caplog, monkeypatch
):
    package(2)
    monkeypatch.setenv("XDG_CACHE_HOME", os.devnull)

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    monkeypatch.setattr(Path, "write_bytes", refuse)
    assert package(2) == 1
    assert told(caplog) == ""
    assert package(2.5) == 0
    assert "Permission denied" in told(caplog)


def test_a_folder_that_vanishes(package, caplog):
    package(2)
    shutil.rmtree(package.kept)
    assert package(2) == 0
    tiny = sys.modules[f"{package.folder.name}.tiny"]
    shutil.rmtree(package.kept)
    assert tiny.scaled(2.5) == 7.5  # the folder was there when the first signature was kept
    assert package(2.5) == 1
    assert told(caplog) == ""


def test_sources_that_are_gone(package, caplog, monkeypatch):
    def source(name):
        raise OSError("no source")

    package(2)
    module = sys.modules[f"{package.folder.name}.kept"]
    monkeypatch.setattr(module, "_source", source)
    module.stamp.cache_clear()
    scaled = module.njit(cache=True)(sys.modules[f"{package.folder.name}.tiny"].scaled.py_func)
    assert scaled(4) == 12
    assert scaled.stats.cache_path is None
    assert "cannot be read" in told(caplog)


def test_threads_that_keep_at_once(package, caplog):
    package(2)
    scaled = sys.modules[f"{package.folder.name}.tiny"].scaled
    kinds = [np.float32, np.int8, np.uint16, np.complex64]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda kind: scaled(kind(2)), kinds * 4))
    assert found == [6] * 16
    assert len(package.files()) == 5
    assert told(caplog) == ""


def test_every_kernel_is_kept_so():
    """None by Numba's own cache; and what a kernel's sources take from others is found."""
    for module in pkgutil.iter_modules(gpuseg.kernels.__path__):
        loaded = importlib.import_module(f"gpuseg.kernels.{module.name}")
        for name, value in vars(loaded).items():
            if isinstance(value, Dispatcher):
                assert not isinstance(value._cache, FunctionCache), (module.name, name)
        assert kept.stamp(loaded.__name__) is not None, module.name


ALONE = """
import os, resource, sys
import numpy as np
if "full" in sys.argv:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
from gpuseg.kernels.digest import digest_cpu
print(digest_cpu(np.arange(64, dtype=np.uint8)))
"""


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
def test_processes_of_the_package_itself(tmp_path):
    """With a full disk; then with the package's own folder blocked, too, and no home."""
    expected = digest_cpu(np.arange(64, dtype=np.uint8))
    kernels = tmp_path / "gpuseg" / "kernels"
    kernels.mkdir(parents=True)
    (kernels.parent / "__init__.py").touch()
    for name in ("digest", "kept", "launch"):
        shutil.copy(ROOT / "gpuseg" / "kernels" / f"{name}.py", kernels)

    def run(*args, **variables):
        environment = {k: v for k, v in os.environ.items() if k not in ("HOME", "NUMBA_CACHE_DIR")}
        done = subprocess.run(
            [sys.executable, "-Bc", ALONE, *args],
            cwd=tmp_path, env=environment | {"PYTHONPATH": str(tmp_path)} | variables,
            capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
        assert int(done.stdout) == expected
        return done.stderr.splitlines()

    kept = kernels / "__pycache__"
    (line,) = run("full")
    assert str(kept) in line
    assert "NUMBA_CACHE_DIR" in line
    assert not list(kept.iterdir())
    assert run() == []
    assert len(list(kept.iterdir())) == 1
    shutil.rmtree(kept)
    kept.touch()
    (line,) = run(XDG_CACHE_HOME="/dev/null", NUMBA_CACHE_DIR="/dev/full")
    assert str(kept) in line
    assert "/dev/full" in line
