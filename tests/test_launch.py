"""Slabs on threads: order, errors, nesting, threads of the caller, forks."""

import os
import re
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from gpuseg.kernels import launch


@pytest.fixture(autouse=True)
def three_threads(monkeypatch):
    monkeypatch.setenv("GPUSEG_NUM_THREADS", "3")


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("pieces", [None, 1, 5])
def test_pieces_cover_the_range_in_order(count, pieces):
    bounds = launch.slabs(lambda start, stop: (start, stop), count, pieces=pieces)
    assert [i for start, stop in bounds for i in range(start, stop)] == list(range(count))
    assert len(bounds) == min(count, pieces or 3)


def test_nothing_to_do():
    assert launch.slabs(lambda start, stop, x: (start, stop, x), 0, "x") == [(0, 0, "x")]


def test_pieces_run_at_the_same_time():
    barrier = threading.Barrier(3)
    launch.slabs(lambda start, stop: barrier.wait(10), 3)


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_an_error_comes_out_after_all_pieces_ended(bad):
    ended = []

    def piece(start, stop):
        if start == bad:
            raise ArithmeticError(start)
        ended.append(start)

    with pytest.raises(ArithmeticError):
        launch.slabs(piece, 3)
    assert sorted(ended) == sorted({0, 1, 2} - {bad})


def test_a_nested_call_runs_in_its_own_thread():
    def outer(start, stop):
        me = threading.get_ident()
        return all(launch.slabs(lambda a, b: threading.get_ident() == me, 4, pieces=4))

    assert launch.slabs(outer, 30, pieces=30) == [True] * 30


def test_many_callers_share_the_pool():
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(launch.slabs(lambda a, b: b - a, 50)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [sum(r) for r in results] == [50] * 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_a_pool_of_its_own():
    launch.slabs(lambda a, b: None, 9)
    child = os.fork()
    if child == 0:
        ok = launch.slabs(lambda a, b: b - a, 9) == [3, 3, 3]
        os._exit(0 if ok else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_can_compile_and_load_whatever_other_threads_did_at_the_fork():
    """A lock that a thread of the parent holds is never let go of in the child."""
    program = """
import os, signal, threading, time, warnings
import numpy as np
warnings.simplefilter("ignore")
import numba
from gpuseg.accel import _costs
from gpuseg.kernels import launch

busy = threading.Event()
lock = __import__("numba.core.compiler_lock", fromlist=["x"]).global_compiler_lock

def hold():
    with lock, launch._lock:
        busy.set()
        time.sleep(0.3)

def load():
    busy.set()
    time.sleep(0.3)

for way in (hold, load):
    busy.clear()
    thread = threading.Thread(target=way)
    if way is load:
        _costs.purse._loading = thread
    thread.start()
    busy.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        assert numba.njit(lambda x: x + 1)(1) == 2
        assert sum(launch.slabs(lambda a, b: b - a, 50)) == 50
        assert way is hold or not thread.is_alive()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, way
    thread.join()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_thread_count(monkeypatch):
    assert launch.thread_count() == 3
    for bad in ("0", "x", "-1", "1.5"):
        monkeypatch.setenv("GPUSEG_NUM_THREADS", bad)
        with pytest.raises(ValueError, match="GPUSEG_NUM_THREADS must be a positive integer"):
            launch.thread_count()
    monkeypatch.delenv("GPUSEG_NUM_THREADS")
    assert 1 <= launch.thread_count() <= os.cpu_count()


def test_blocks():
    assert [launch.blocks(n, 8) for n in (0, 1, 8, 9)] == [1, 1, 1, 2]
    assert launch.blocks(1000, 8, most=4) == 4


class DeviceArray:
    """What a launch asks of a CuPy array."""

    def __init__(self, array):
        self.dtype, self.ndim, self.flags = array.dtype, array.ndim, array.flags
        self.shape, self.strides = array.shape, array.strides
        self.size, self.itemsize = array.size, array.itemsize
        self.data = SimpleNamespace(ptr=array.ctypes.data)


@pytest.mark.skipif(launch.simulating(), reason="compiles for a device")
def test_a_kernel_gets_what_it_was_compiled_for(monkeypatch):
    pytest.importorskip("cuda.core")
    from numba.cuda import codegen, dispatcher

    from gpuseg.kernels.nearest import look_along

    launched, loaded = [], []

    class Module:
        def load(self, code):
            loaded.append(code)

        def get_function(self, name):
            assert name.encode() in loaded[-1]
            return lambda *how: launched.append(how)

    cuda = SimpleNamespace(
        runtime=SimpleNamespace(getDevice=lambda: 0), function=SimpleNamespace(Module=Module)
    )
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(ndarray=DeviceArray, cuda=cuda))
    here = SimpleNamespace(compute_capability=(9, 0))
    monkeypatch.setattr(dispatcher, "get_current_device", lambda: here)
    monkeypatch.setattr(dispatcher._Kernel, "bind", lambda self: None)
    devices = SimpleNamespace(get_context=lambda: SimpleNamespace(device=here))
    monkeypatch.setattr(codegen, "devices", devices)
    compiled = []
    compile_for = dispatcher.CUDADispatcher.compile

    def keeping(self, signature):
        compiled.append(compile_for(self, signature))
        return compiled[-1]

    monkeypatch.setattr(dispatcher.CUDADispatcher, "compile", keeping)
    squares, squared, labels = np.zeros(7), np.zeros(70), np.zeros(70, np.int32)
    arrays = [DeviceArray(x) for x in (squares, squared, labels, squared, labels)]
    args = (arrays[0], 10, 2.5, *arrays[1:])
    for _ in range(2):
        launch.start(look_along, 3, 64, "a stream", *args)
    assert len(compiled) == len(loaded) == 1
    assert launched[0] == launched[1]
    grid, block, values, shared, stream = launched[0]
    assert (grid, block, shared, stream) == ((3,), (64,), 0, "a stream")
    assert values[:7] == [0, 0, 7, 8, squares.ctypes.data, 7, 8]
    assert values[7:9] == [10, 2.5]
    asm = compiled[0].inspect_asm((9, 0))
    wanted = re.findall(r"^\s*\.param \.(\w+)", asm, re.MULTILINE)
    assert len(wanted) == len(values)
