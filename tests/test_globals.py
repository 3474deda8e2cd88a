"""What belongs to the caller stays as it is: no call changes the state of another library."""

import ast
import gc
import hashlib
import locale
import logging
import os
import pickle
import random
import signal
import sys
import threading
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib
import numba
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFile

import gpuseg
from gpuseg import _cases, _images, _public, plot

ROOT = Path(gpuseg.__file__).parent


def state() -> dict:
    """What a call might change, in a form that can be compared."""

    def digest(x):
        return hashlib.sha256(pickle.dumps(x)).hexdigest()

    found = {
        "warnings": (list(warnings.filters), warnings.showwarning),
        "logging": (logging.root.manager.disable, logging.lastResort, logging.raiseExceptions),
        "numpy": (np.geterr(), np.geterrcall(), np.get_printoptions()),
        "random": (digest(np.random.get_state()), digest(random.getstate())),  # noqa: NPY002
        "pillow": (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, ImageFile.MAXBLOCK),
        "numba": {k: v for k, v in vars(numba.config).items() if k.isupper()},
        "numba threads": numba.get_num_threads(),
        "environment": dict(os.environ),
        "process": (os.getcwd(), locale.setlocale(locale.LC_ALL), list(sys.path)),
        "hooks": (sys.excepthook, threading.excepthook, sys.unraisablehook, sys.displayhook),
        "signals": {n: signal.getsignal(n) for n in signal.valid_signals()},
        "interpreter": (sys.getswitchinterval(), sys.getrecursionlimit(), gc.isenabled()),
        "tracemalloc": tracemalloc.is_tracing(),
        "streams": (sys.stdout, sys.stderr, sys.stdin),
    }
    for name, log in logging.root.manager.loggerDict.items():
        if isinstance(log, logging.Logger) and not name.startswith("gpuseg"):
            found["logger", name] = _of_logger(log)
    found["logger", "root"] = _of_logger(logging.root)
    for name, look in _OF_LIBRARIES.items():
        if name in sys.modules:
            found[name] = look(sys.modules[name])
    return found


def _of_logger(log):
    # Loggers that a call makes are new, and as new ones are.
    return (log.level, log.propagate, log.disabled, list(log.handlers), list(log.filters))


_OF_LIBRARIES = {
    "matplotlib": lambda m: (dict(m.rcParams.items()), m.is_interactive()),
    "dask": lambda m: pickle.dumps(m.config.config),
    "zarr": lambda m: repr(m.config.to_dict()),
    "torch": lambda m: (
        m.get_rng_state().tolist(),
        m.get_num_threads(),
        m.get_default_dtype(),
        m.are_deterministic_algorithms_enabled(),
        m.is_grad_enabled(),
        m.backends.cudnn.benchmark,
        m.backends.cudnn.deterministic,
        m.backends.cudnn.allow_tf32,
    ),
    "sklearn": lambda m: m.get_config(),
}


def assert_unchanged(before: dict) -> None:
    after = state()
    for name in before:
        assert after[name] == before[name], name


@pytest.fixture
def unusual(monkeypatch):
    """A caller who has set everything otherwise than it is by itself."""
    log = logging.getLogger("tifffile")
    handler = logging.NullHandler()
    log.addHandler(handler)
    monkeypatch.setattr(log, "propagate", False)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    with (
        warnings.catch_warnings(),
        np.errstate(divide="warn", over="warn"),
        np.printoptions(precision=3),
        matplotlib.rc_context({"figure.figsize": (3, 4), "text.usetex": False}),
    ):
        warnings.filterwarnings("error", category=FutureWarning)
        np.random.seed(7)  # noqa: NPY002
        yield
    log.removeHandler(handler)


@pytest.mark.parametrize("name", sorted(_public.functions()))
def test_public_functions(unusual, name):
    function, case = _public.functions()[name], _cases.CASES[name]
    args = case.args(_cases.Inputs((24,) * case.dims[0]))
    with gpuseg.using("cpu"):
        function(*args, **case.options)  # what libraries set when they are imported is theirs
        before = state()
        function(*args, **case.options)
        assert_unchanged(before)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "a.npy"])
def test_files(unusual, tmp_path, name):
    mask = np.eye(9, dtype=bool)
    before = state()
    _images.write(tmp_path / name, mask)
    _images.read(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(_images.ImageError):
        _images.read(tmp_path / name)
    assert_unchanged(before)


def test_figures_and_networks(unusual, tmp_path):
    torch = pytest.importorskip("torch")
    from gpuseg import unet
    from gpuseg.unet.predict import _exact

    image = np.random.default_rng(0).random((20, 20), np.float32)

    def work():
        plot.histogram_figure([3, 1], [0.2, 0.8], {"otsu": 0.5})
        model = unet.UNet(base=2, depth=1, norm="batch", seed=0)
        model, _ = unet.train(model, image, image > 0.5, epochs=1, batch_size=2)
        unet.save(tmp_path / "model.safetensors", model, force=True)
        unet.predict(unet.load(tmp_path / "model.safetensors"), image)
        with _exact(torch.device("cuda"), "float32"):
            assert not torch.backends.cudnn.allow_tf32

    work()  # what libraries set when they are imported is theirs
    before = state()
    work()
    assert_unchanged(before)


def test_predictions_that_overlap_in_time():
    """Whichever ends first, the caller's flags come back after the last."""
    torch = pytest.importorskip("torch")
    from gpuseg.unet.predict import _exact

    before = state()["torch"]
    device = torch.device("cuda")
    one, other = _exact(device, "float32"), _exact(device, "float32")
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert not torch.backends.cudnn.allow_tf32
    other.__exit__(None, None, None)
    assert state()["torch"] == before


def test_verification_and_calibration(unusual, tmp_path, monkeypatch):
    from gpuseg import _calibration

    monkeypatch.setenv("GPUSEG_CALIBRATION", str(tmp_path / "figures.json"))
    names = ("filters.sobel", "metrics.classification_report")
    few = {name: _public.functions()[name] for name in names}
    monkeypatch.setattr(_public, "functions", lambda: few)
    monkeypatch.setattr(_calibration, "SIDES", {2: (16, 24), 3: (8, 12)})
    tracemalloc.start()
    try:
        before = state()
        assert gpuseg.verify(list(names), backends=["cpu"]).passed
        _calibration.calibrate()
        assert_unchanged(before)
    finally:
        tracemalloc.stop()


# --- threads ----------------------------------------------------------------------------------


def test_damaged_files_beside_good_ones(tmp_path):
    """Of each format, in several threads at once: each is told of itself alone."""
    image = np.random.default_rng(0).integers(0, 255, (40, 50), np.uint8)
    good = {}
    for name in ("a.png", "a.tif", "a.npy", "a.jpg", "packed.tif"):
        if name == "packed.tif":
            stack = np.stack([image] * 4)
            tifffile.imwrite(tmp_path / name, stack, compression="zlib", photometric="minisblack")
        elif name == "a.jpg":
            Image.fromarray(image).save(tmp_path / name)
        elif name == "a.npy":
            np.save(tmp_path / name, image)
        else:
            _images.write(tmp_path / name, image)
        good[name] = _images.read(tmp_path / name).array
        data = (tmp_path / name).read_bytes()
        (tmp_path / f"bad-{name}").write_bytes(data[: 2 * len(data) // 3])
        changed = bytearray(data)
        changed[4:8] = b"\xff\xff\xff\x7f"  # of a TIFF: where its first page is
        (tmp_path / f"wrong-{name}").write_bytes(changed)
    before = state()

    def read(name: str) -> None:
        if name in good:
            np.testing.assert_array_equal(_images.read(tmp_path / name).array, good[name])
            return
        with pytest.raises(_images.ImageError, match=name):
            _images.read(tmp_path / name)

    bad = [f"bad-{name}" for name in good] + ["wrong-a.tif", "wrong-packed.tif"]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, [*good, *bad] * 12))
    assert_unchanged(before)


# --- the sources ------------------------------------------------------------------------------

# What changes a state that all threads share, and who may: the command is a program of its own.
_FORBIDDEN = {
    "catch_warnings": "", "filterwarnings": "", "simplefilter": "", "captureWarnings": "",
    "basicConfig": "", "addFilter": "", "addHandler": "accel/__main__.py",
    "setLevel": "accel/__main__.py", "torch.manual_seed": "", "fork_rng": "",
    "use_deterministic_algorithms": "", "set_num_threads": "", "set_default_dtype": "",
    "set_default_device": "", "seterr": "", "set_printoptions": "", "seed": "", "rcParams": "",
    "rc_context": "", "set_config": "", "config_context": "", "set_start_method": "",
    "setrecursionlimit": "", "chdir": "", "umask": "", "setlocale": "", "signal": "cli.py",
    "LOAD_TRUNCATED_IMAGES": "", "MAX_IMAGE_PIXELS": "", "threadpool_limits": "",
    # Where a kernel's threads are Python's: in the simulator.
    "setswitchinterval": "kernels/warp.py",
}  # fmt: skip


def test_the_sources_change_no_shared_state():
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Attribute)
                and name != _FORBIDDEN.get(node.attr, _FORBIDDEN.get(ast.unparse(node), name))
                and not (isinstance(node.value, ast.Name) and node.value.id == "self")
            ):
                found.append(f"{name}:{node.lineno}: {ast.unparse(node)}")
    assert not found, "\n".join(found)
