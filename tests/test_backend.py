"""The dispatch: which backend runs a call, what goes in, what comes out, what is refused."""

import contextlib
import ctypes
import logging
import os
import subprocess
import sys
import threading
import types

import numpy as np
import pytest

import gpuseg
from gpuseg import _backend, _transfer
from gpuseg._backend import Backend, Probe, Step, Unserved, run

NO_CUDA = not _backend.probe_cuda().ok


class FakeCupyArray(np.ndarray):
    """Stands in for a CuPy array: the dispatch only asks its type, device and get()."""

    device = types.SimpleNamespace(id=0)

    def get(self):
        return np.array(self.view(np.ndarray))


class FakeDevice:
    current = 0

    def __init__(self, index):
        self.index = index

    def __enter__(self):
        self.before, FakeDevice.current = FakeDevice.current, self.index

    def __exit__(self, *_):
        FakeDevice.current = self.before


class OutOfMemoryError(MemoryError):
    """Named like CuPy's."""


@pytest.fixture
def fake_cuda(monkeypatch):
    """A process in which the probe finds two devices and CuPy is a thin coat over NumPy."""
    cupy = types.ModuleType("cupy")
    cupy.ndarray = FakeCupyArray
    cupy.freed = []
    cupy.asarray = lambda x: np.array(x).view(FakeCupyArray)
    cupy.get_default_memory_pool = lambda: types.SimpleNamespace(
        free_all_blocks=lambda: cupy.freed.append("device")
    )
    cupy.get_default_pinned_memory_pool = lambda: types.SimpleNamespace(
        free_all_blocks=lambda: cupy.freed.append("pinned")
    )
    stream = types.SimpleNamespace(synchronize=lambda: None)
    cupy.cuda = types.SimpleNamespace(
        Device=FakeDevice,
        get_current_stream=lambda: stream,
        runtime=types.SimpleNamespace(getDeviceCount=lambda: 2),
    )
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(_backend, "probe_cuda", lambda: Probe(True, (Step("all", True, "fake"),)))
    _backend._found_default.cache_clear()
    yield cupy
    _backend._found_default.cache_clear()


@pytest.fixture
def layers(monkeypatch):
    """A public function `double` whose forms in the layers can be set one by one."""
    forms = {}

    def double(x, *, scale=2):
        return run(double, x, scale=scale)

    def find(function, kind):
        for layer in _backend._LAYERS[kind]:
            if layer in forms:
                return forms[layer], layer
        raise NotImplementedError(kind)

    monkeypatch.setattr(_backend, "find", find)
    return double, forms


def on_cpu(x, *, scale=2):
    assert type(x) is np.ndarray
    return x * scale


def on_cuda(x, *, scale=2):
    assert isinstance(x, FakeCupyArray)
    return x * scale


def test_numpy_in_gives_numpy_out_on_cuda(fake_cuda, layers):
    double, forms = layers
    forms.update(_cpu=on_cpu, _cuda=on_cuda)
    with gpuseg.trace() as calls:
        result = double(np.arange(3))
    assert type(result) is np.ndarray
    assert result.tolist() == [0, 2, 4]
    assert [(c.function, c.backend) for c in calls] == [("double", "cuda:0")]


def test_cupy_in_gives_cupy_out_wherever_it_ran(fake_cuda, layers):
    double, forms = layers
    forms["_cpu"] = on_cpu
    x = fake_cuda.asarray(np.arange(3))
    with gpuseg.trace() as calls:
        assert isinstance(double(x), FakeCupyArray)
    assert calls[0].backend == "cpu"
    assert "no GPU form" in calls[0].reason
    with gpuseg.using("cpu"):
        assert isinstance(double(x), FakeCupyArray)


def test_results_of_every_shape_come_home(fake_cuda, layers):
    double, forms = layers
    forms["_cuda"] = lambda x, scale: (x, {"a": [x, 3]}, None, _backend.Step("s", x, ""))
    array, table, nothing, step = double(np.arange(2))
    assert type(array) is type(table["a"][0]) is type(step.ok) is np.ndarray
    assert table["a"][1] == 3
    assert nothing is None
    assert isinstance(step, _backend.Step)


def test_a_gpu_form_that_cannot_serve_hands_over_to_the_cpu(fake_cuda, layers):
    double, forms = layers

    def refuses(x, *, scale):
        raise Unserved("scale is odd")

    forms.update(_cpu=on_cpu, _cuda=refuses)
    with gpuseg.trace() as calls:
        assert double(np.arange(3), scale=3).tolist() == [0, 3, 6]
    assert calls[0].backend == "cpu"
    assert calls[0].reason.endswith("scale is odd")


def test_out_of_device_memory_frees_the_pools_and_runs_on_the_cpu(fake_cuda, layers, caplog):
    double, forms = layers

    def exhausted(x, *, scale):
        raise OutOfMemoryError("2 TiB")

    forms.update(_cpu=on_cpu, _cuda=exhausted)
    _backend.log_once.cache_clear()
    with caplog.at_level(logging.WARNING, "gpuseg"):
        for _ in range(2):
            assert double(np.arange(2)).tolist() == [0, 2]
    assert fake_cuda.freed == ["device", "pinned"] * 2
    assert [r.message for r in caplog.records] == ["double: out of device memory, ran on the CPU"]


def test_other_errors_of_a_gpu_form_are_the_callers(fake_cuda, layers):
    double, forms = layers

    def broken(x, *, scale):
        raise RuntimeError("a bug")

    forms.update(_cpu=on_cpu, _cuda=broken)
    with pytest.raises(RuntimeError, match="a bug"):
        double(np.arange(2))


def test_the_chosen_device_is_current_while_the_call_runs(fake_cuda, layers):
    double, forms = layers
    seen = []
    forms["_cuda"] = lambda x, scale: seen.append(FakeDevice.current)
    with gpuseg.using("cuda:1"):
        double(np.arange(2))
    double(np.arange(2))
    assert seen == [1, 0]
    with pytest.raises(gpuseg.BackendError, match=r"'cuda:2' does not exist: 2 CUDA device"):
        gpuseg.using("cuda:2").__enter__()


def test_the_order_of_what_decides(fake_cuda, monkeypatch):
    on_device, on_host = fake_cuda.asarray(np.arange(2)), np.arange(2)
    assert _backend.choose((on_host,))[0] == Backend("cuda")
    monkeypatch.setenv("GPUSEG_DEVICE", "cpu")
    assert _backend.choose((on_host,)) == (Backend("cpu"), "GPUSEG_DEVICE=cpu")
    monkeypatch.setattr(_backend, "_process_default", None)
    gpuseg.set_device("cuda:1")
    assert _backend.choose((on_host,)) == (Backend("cuda", 1), "set_device()")
    assert _backend.choose((on_host, on_device)) == (Backend("cuda"), "a CuPy array came in")
    with gpuseg.using("cpu"):
        assert _backend.choose((on_device,)) == (Backend("cpu"), "using()")
        with gpuseg.using("auto"):
            assert _backend.choose((on_device,))[0] == Backend("cuda")
        assert _backend.choose((on_device,))[0] == Backend("cpu")
    gpuseg.set_device("auto")
    assert _backend.choose((on_host,)) == (Backend("cpu"), "GPUSEG_DEVICE=cpu")


def test_asarray_and_asnumpy_move_and_leave(fake_cuda):
    x = np.arange(3)
    there = gpuseg.asarray(x)
    assert isinstance(there, FakeCupyArray)
    assert gpuseg.asarray(there) is there
    assert type(gpuseg.asnumpy(there)) is np.ndarray
    assert gpuseg.asnumpy(x) is x
    with gpuseg.using("cpu"):
        assert gpuseg.asarray(x) is x
        assert type(gpuseg.asarray(there)) is np.ndarray


def test_using_belongs_to_the_context(monkeypatch):
    monkeypatch.setattr(_backend, "_process_default", None)
    inside, leave = threading.Event(), threading.Event()
    seen = {}

    def worker():
        seen["start"] = _backend._forced.get()
        with gpuseg.using("cpu"):
            inside.set()
            leave.wait(10)
            seen["worker"] = _backend._forced.get()

    thread = threading.Thread(target=worker)
    with gpuseg.using("cpu"):
        thread.start()
        assert inside.wait(10)
    assert _backend._forced.get() is None
    leave.set()
    thread.join()
    assert seen == {"start": None, "worker": Backend("cpu")}


def test_using_is_left_on_an_error():
    with pytest.raises(ZeroDivisionError), gpuseg.using("cpu"):
        1 / 0  # noqa: B018
    assert _backend._forced.get() is None


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cpu:0", "sim:1", "", "CUDA"])
def test_unknown_devices_are_named(device):
    with pytest.raises(ValueError, match=r"device must be 'auto', 'cpu', .* or 'sim'"):
        gpuseg.set_device(device)


def test_a_device_must_be_a_string():
    with pytest.raises(TypeError, match="device must be a string, got int"):
        gpuseg.set_device(0)


@pytest.mark.skipif(not NO_CUDA, reason="a CUDA device works here")
def test_cuda_asked_for_in_vain_says_what_was_probed():
    with pytest.raises(gpuseg.BackendError, match=r"'cuda' does not work here. Probed: .*failed"):
        gpuseg.set_device("cuda")


@pytest.mark.skipif(not NO_CUDA, reason="a CUDA device works here")
def test_gpuseg_device_cuda_in_vain_fails_at_the_call():
    code = "import gpuseg, numpy; gpuseg.filters.gaussian(numpy.eye(9))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=_environment(GPUSEG_DEVICE="cuda"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "BackendError: device 'cuda' does not work here. Probed: " in done.stderr


def test_sim_needs_its_own_process():
    with pytest.raises(gpuseg.BackendError, match="NUMBA_ENABLE_CUDASIM=1"):
        gpuseg.set_device("sim")


def test_a_simulating_process_has_no_cuda_but_sim():
    code = (
        "import gpuseg\n"
        "info = gpuseg.device_info()\n"
        "assert info['default'] == 'cpu' and info['sim'] and not info['cuda']['available'], info\n"
        "gpuseg.set_device('sim')\n"
        "assert gpuseg.device_info()['default'] == 'sim'\n"
    )
    subprocess.run(
        [sys.executable, "-c", code], env=_environment(NUMBA_ENABLE_CUDASIM="1"), check=True
    )


def _environment(**more):
    import os

    return {k: v for k, v in os.environ.items() if not k.startswith("GPUSEG")} | more


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.skipif(_backend._simulating(), reason="no CUDA is probed")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_of_a_fork_leaves_cuda_to_its_parent():
    """By itself it works on the CPU; where CUDA is asked for it says why that cannot be."""
    program = """
import importlib.machinery, os, sys, types, warnings
import numpy as np
from numba import cuda
warnings.simplefilter("ignore")
cupy = types.ModuleType("cupy")
cupy.__spec__, cupy.__version__ = importlib.machinery.ModuleSpec("cupy", None), "14"
cupy.ndarray, cupy.arange, cupy.int32 = type("ndarray", (), {}), np.arange, np.int32
runtime = types.SimpleNamespace(getDeviceCount=lambda: 1,
                                getDeviceProperties=lambda i: {"name": b"fake"})
cupy.cuda = types.SimpleNamespace(runtime=runtime)
sys.modules["cupy"] = cupy
cuda.is_available = lambda: True
sys.modules["numba.cuda.cudaimpl"] = types.ModuleType("cudaimpl")
import gpuseg
assert gpuseg.device_info()["default"] == "cuda:0", gpuseg.device_info()
if len(sys.argv) > 1:
    gpuseg.set_device("cuda")
child = os.fork()
if child == 0:
    try:
        print(gpuseg.filters.threshold_otsu(np.arange(4, dtype=np.uint8)))
        print(gpuseg.device_info()["default"])
        gpuseg.set_device("cuda")
    except gpuseg.BackendError as error:
        print(error)
    sys.stdout.flush()
    os._exit(0)
os.waitpid(child, 0)
assert gpuseg.device_info()["default"] == "cuda:0"
"""
    for asked in ([], ["cuda"]):
        told = subprocess.run(
            [sys.executable, "-c", program, *asked], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        assert told[:-1] == ([] if asked else ["1", "cpu"])
        assert "start it with 'spawn' or 'forkserver'" in told[-1]


def test_device_info_is_complete():
    info = gpuseg.device_info()
    assert set(info) == {"default", "cpu", "cuda", "sim", "versions"}
    assert info["versions"]["numpy"] == np.__version__
    assert info["cuda"]["probe"][0]["what"] == "simulator"


def test_traces_nest_and_print(fake_cuda, layers):
    double, forms = layers
    forms.update(_cpu=on_cpu, _cuda=on_cuda)
    with gpuseg.trace() as outer:
        double(np.arange(6).reshape(2, 3))
        with gpuseg.trace() as inner, gpuseg.using("cpu"):
            double(np.arange(2.0))
    assert [c.backend for c in outer] == ["cuda:0", "cpu"]
    assert [c.backend for c in inner] == ["cpu"]
    head, first, second = str(outer).splitlines()
    assert head.split() == ["function", "backend", "shape", "dtype", "ms", "reason"]
    assert first.split()[:4] == ["double", "cuda:0", "2x3", "int64"]
    assert second.split()[-1] == "using()"
    assert list(outer.to_dataframe()["function"]) == ["double", "double"]


def test_every_call_logs_one_debug_line(layers, caplog):
    double, forms = layers
    forms["_cpu"] = on_cpu
    with caplog.at_level(logging.DEBUG, "gpuseg"), gpuseg.using("cpu"):
        double(np.arange(2))
    assert [r.message for r in caplog.records] == ["double ran on cpu: using()"]


def test_find_mirrors_the_layers():
    from gpuseg.filters import gaussian

    form, layer = _backend.find(gaussian, "cpu")
    assert (form.__module__, form.__name__) == ("gpuseg._cpu.filters.smoothing", "gaussian")
    assert layer == "_cpu"
    form, layer = _backend.find(gaussian, "sim")
    assert (form.__module__, layer) == ("gpuseg._cuda.filters.smoothing", "_cuda")


class Wrapped:
    """An array of another library: it has only ``__array__``."""

    def __init__(self, data):
        self.data = data

    def __array__(self, dtype=None, copy=None):
        return np.array(self.data, dtype=dtype, copy=copy)


class Capsule:
    """An array of another library: it has only DLPack."""

    def __init__(self, data):
        self.data = data

    def __dlpack__(self, **options):
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.data.__dlpack_device__()


def in_torch(x):
    return pytest.importorskip("torch").from_numpy(x)


def in_pandas(x):
    return pytest.importorskip("pandas").DataFrame(x, columns=list("abcdefghi"))


def in_xarray(x):
    return pytest.importorskip("xarray").DataArray(x, dims=("y", "x"), coords={"y": range(9)})


def in_zarr(x):
    return pytest.importorskip("zarr").array(x, chunks=(4, 4))


def in_hdf5(x):
    file = pytest.importorskip("h5py").File("x.h5", "w", driver="core", backing_store=False)
    return file.create_dataset("x", data=x)


FOREIGN = [Wrapped, Capsule, np.ndarray.tolist, in_torch, in_pandas, in_xarray, in_zarr, in_hdf5]


@pytest.mark.parametrize("foreign", FOREIGN)
def test_foreign_arrays_are_taken_and_numpy_comes_back(foreign):
    x = np.random.default_rng(0).random((9, 9))
    with gpuseg.using("cpu"):
        for function in (
            gpuseg.filters.gaussian,
            lambda x: gpuseg.filters.subtract_background(x, 2, return_background=True)[1],
            lambda x: gpuseg.filters.apply_hysteresis_threshold(x, 0.4, 0.6),
            lambda x: gpuseg.segmentation.kmeans(x, 2, random_state=0),
            lambda x: gpuseg.morphology.opening(x, np.ones((3, 3), bool)),
        ):
            result, expected = function(foreign(x)), function(x)
            assert type(result) is np.ndarray
            assert result.dtype == expected.dtype
            np.testing.assert_array_equal(result, expected)


def test_dask_arrays_come_back_lazy():
    da = pytest.importorskip("dask.array")
    x = da.from_array(np.random.default_rng(0).random((9, 9)), chunks=5)
    assert isinstance(gpuseg.filters.gaussian(x), da.Array)


def test_import_gpuseg_imports_next_to_nothing():
    code = (
        "import sys; before = set(sys.modules); import gpuseg\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    came = set(done.stdout.split())
    assert {name for name in came if name.startswith("gpuseg")} == {"gpuseg", "gpuseg._backend"}
    others = {name.partition(".")[0] for name in came} - {"gpuseg"}
    assert others <= sys.stdlib_module_names
    slow = {
        "ast",
        "asyncio",
        "ctypes",
        "email",
        "inspect",
        "multiprocessing",
        "subprocess",
        "urllib",
    }
    assert not others & slow


def test_chunks_are_copied_on_a_stream_of_their_thread(fake_cuda, monkeypatch):
    """What is on its way is kept until its stream has ended; masks come back as bits."""
    events = []

    class Stream:
        def __init__(self, *, non_blocking):
            assert non_blocking

        def __enter__(self):
            events.append("stream")

        def __exit__(self, *_):
            pass

        def synchronize(self):
            events.append(f"wait for {len(_transfer.current().buffers) if lanes else 0}")

    class Array(FakeCupyArray):
        def set(self, source, stream):
            self.view(np.ndarray)[...] = source

        def get(self, stream=None, out=None):
            events.append(f"{self.nbytes} bytes back")
            out[...] = self.view(np.ndarray)
            return out

    lanes = []
    fake_cuda.cuda.Stream = Stream
    fake_cuda.empty = lambda shape, dtype: np.empty(shape, dtype).view(Array)
    fake_cuda.packbits = lambda x, bitorder: np.packbits(
        x.view(np.ndarray), bitorder=bitorder
    ).view(Array)
    cupyx = types.ModuleType("cupyx")
    cupyx.empty_pinned = np.empty
    monkeypatch.setitem(sys.modules, "cupyx", cupyx)
    values = np.arange(20, dtype=np.uint16).reshape(4, 5)
    with _transfer.lane(1):
        lanes.append(1)
        assert FakeDevice.current == 1
        there = _transfer.upload(values)
        assert isinstance(there, FakeCupyArray)
        assert len(_transfer.current().buffers) == 1
        back = _transfer.download(there > 3)
        np.testing.assert_array_equal(back, values > 3)
        assert back.dtype == bool
        assert not _transfer.current().buffers
        with _transfer.lane(1):  # a call within a call
            np.testing.assert_array_equal(_transfer.download(there), values)
        lanes.clear()
    assert _transfer.current() is None
    assert events == [
        "stream", "3 bytes back", "wait for 1", "40 bytes back", "wait for 0", "wait for 0",
    ]  # fmt: skip


class Copier:
    """What copying in pieces asks of CuPy, done by the host at once."""

    def __init__(self):
        self.moved, self.copies = [], 0
        copier = self

        class Event:
            def __init__(self, *, disable_timing):
                assert disable_timing
                self.recorded = False

            def record(self, stream=None):
                self.recorded = True

            def synchronize(self):
                pass

        class Stream:
            ptr = 7

            def __init__(self, *, non_blocking):
                assert non_blocking

            def wait_event(self, event):
                assert event.recorded

            def synchronize(self):
                copier.moved.append(threading.get_ident())

        def copy(target, source, count, kind, stream):
            assert stream == Stream.ptr
            copier.copies += 1
            ctypes.memmove(target, source, count)

        runtime = types.SimpleNamespace(
            memcpyAsync=copy, memcpyHostToDevice=1, memcpyDeviceToHost=2, getDevice=lambda: 0
        )
        self.cuda = types.SimpleNamespace(
            Device=lambda n: contextlib.nullcontext(), Event=Event, Stream=Stream, runtime=runtime,
            get_current_stream=lambda: "current",
        )  # fmt: skip
        self.empty, self.asarray = DeviceMemory, None


class DeviceMemory:
    def __init__(self, shape, dtype):
        self.array = np.zeros(shape, dtype)
        self.data = types.SimpleNamespace(ptr=self.array.ctypes.data)
        self.flags, self.strides, self.size = self.array.flags, self.array.strides, self.array.size
        self.shape, self.dtype, self.nbytes = shape, self.array.dtype, self.array.nbytes

    @property
    def T(self):
        return self.array.T


@pytest.mark.parametrize("dtype", ["u1", "?", "u2", "f4", "f8"])
@pytest.mark.parametrize("count", [64, 65, 127, 128, 1000])
def test_large_arrays_go_in_pieces(monkeypatch, rng, dtype, count):
    copier = Copier()
    cupyx = types.ModuleType("cupyx")
    cupyx.empty_pinned = np.empty
    monkeypatch.setitem(sys.modules, "cupy", copier)
    monkeypatch.setitem(sys.modules, "cupyx", cupyx)
    monkeypatch.setattr(_transfer, "_LARGE", 64)
    monkeypatch.setattr(_transfer, "_PIECE", 24)
    monkeypatch.setattr(_transfer, "_local", threading.local())
    monkeypatch.setenv("GPUSEG_NUM_THREADS", "3")
    values = rng.integers(0, 2 if dtype == "?" else 200, (1, count)).astype(dtype)
    there = _transfer.upload(values)
    np.testing.assert_array_equal(there.array, values)
    pieces = -(-values.nbytes // 24)
    assert copier.copies == pieces
    np.testing.assert_array_equal(_transfer.download(there), values, strict=True)
    assert copier.copies == 2 * pieces
    assert len(copier.moved) == 2 * min(3, pieces)
    columns = np.asfortranarray(np.stack([values[0]] * 2))
    np.testing.assert_array_equal(_transfer.upload(columns), columns)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["u1", "?", "u2", "f4"])
def test_large_arrays_arrive(rng, dtype):
    import cupy

    values = rng.integers(0, 2 if dtype == "?" else 200, (70, 1001, 503)).astype(dtype)
    with gpuseg.using("cuda"):
        for given in (values, np.asfortranarray(values), values[:, ::2]):
            there = gpuseg.asarray(given)
            np.testing.assert_array_equal(cupy.asnumpy(there), given)
            there *= there.dtype.type(1)  # goes on as the copy back begins
            np.testing.assert_array_equal(gpuseg.asnumpy(there), given, strict=True)
