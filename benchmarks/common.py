"""What the benchmarks share: test images, and one way to time a call beside its peers.

A case is a pytest-benchmark group; its members are `gpuseg` and the peers, on the same array and
the same number of threads. Beside the times of pytest-benchmark each member notes in `extra_info`:

`cold_s`
    The first call in the process: kernels are compiled or read from the disk's cache.
`peak_bytes`
    How much the process's memory grows in a call, result included (Linux only).
`kernel_s`, `device_peak_bytes`
    On a GPU: the call with arrays that are there, by CUDA events, and the memory it takes there.
    pytest-benchmark's own times are then those of the call from NumPy to NumPy.
`bytes`
    What the call must read and write at the least: its arrays and its result.

`report.py` turns saved runs into a page and into the tables of the READMEs.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import re
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage as ndi

import gpuseg


def measure(
    benchmark, who: str, call, *, case: str, voxels: int, rounds: int = 5, least: int = 3,
    budget: float = 2.0, **more,
):  # fmt: skip
    """Time `call` for one member of a case; slow peers get fewer rounds."""
    start = time.perf_counter()
    result = call()
    finish(result)
    cold = time.perf_counter() - start
    with peak_memory() as peak:
        start = time.perf_counter()
        finish(call())
        once = time.perf_counter() - start
    benchmark.group = case
    more.setdefault("backend", gpuseg.device_info()["default"] if who == "gpuseg" else "")
    benchmark.extra_info.update(who=who, case=case, voxels=voxels, cold_s=cold,
                                peak_bytes=peak.bytes, **more)  # fmt: skip
    rounds = max(least, min(rounds * 4, int(budget / max(once, 1e-6))))
    benchmark.pedantic(
        lambda: finish(call()), rounds=rounds, iterations=1, warmup_rounds=int(once < 1)
    )
    return result


def finish(result) -> None:
    """Wait for the device, where the result lies on one."""
    if any(type(part).__module__.startswith("cupy") for part in parts(result)):
        import cupy

        cupy.cuda.get_current_stream().synchronize()


def parts(result) -> list:
    """A result or a list of arguments, flat."""
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, tuple | list):
        return [leaf for part in result for leaf in parts(part)]
    return [result]


def nbytes(*values) -> int:
    """Bytes of the arrays among some values."""
    return sum(int(getattr(part, "nbytes", 0)) for part in parts(list(values)))


class Peak:
    bytes: int | None = None


@contextlib.contextmanager
def peak_memory():
    """How much the resident memory of the process grows inside, whoever allocates it."""
    peak = Peak()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
    except (OSError, AttributeError):
        yield peak
        return
    yield peak
    peak.bytes = max(0, _status("VmHWM") - before)


def _status(name: str) -> int:
    return 1024 * int(re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())[1])


class OnDevice(NamedTuple):
    """Seconds of a call by CUDA events, and the bytes that it takes on the GPU."""

    least: float
    median: float
    peak: int | None

    def info(self) -> dict:
        return {"kernel_s": self.least, "kernel_median_s": self.median,
                "device_peak_bytes": self.peak}  # fmt: skip


def device_seconds(call, *, budget: float = 0.5, least: int = 20) -> OnDevice:
    """Time a call whose arrays lie on the GPU; a slow one fewer times.

    Without CuPy, in rehearsals and tests, it is the clock's time on the CPU.
    """
    try:
        cupy = importlib.import_module("cupy")
    except ImportError:
        return OnDevice(*_repeated(lambda: _clocked(call), budget, least), None)
    pool = cupy.get_default_memory_pool()
    finish(call())
    pool.free_all_blocks()
    before = pool.total_bytes()
    finish(call())
    taken = pool.total_bytes() - before

    def once() -> float:
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        call()
        end.record()
        end.synchronize()
        return cupy.cuda.get_elapsed_time(start, end) / 1e3

    return OnDevice(*_repeated(once, budget, least), taken)


def _clocked(call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _repeated(once, budget: float, least: int) -> tuple[float, float]:
    times = []
    while sum(times) < budget and len(times) < 5 * least:
        times.append(once())
    while len(times) < least and sum(times) < 4 * budget:
        times.append(once())
    return min(times), statistics.median(times)


@functools.lru_cache(maxsize=4)
def noise(shape: tuple[int, ...], sigma: float = 0.0, seed: int = 0) -> np.ndarray:
    """Gaussian noise of unit variance in float32, smoothed by `sigma` ("blobs")."""
    a = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    if sigma:
        ndi.gaussian_filter(a, sigma, output=a, mode="wrap")
        a /= a.std()
    a.setflags(write=False)
    return a


def quantile(a: np.ndarray, q: float) -> float:
    return float(np.quantile(a.ravel()[:: max(1, a.size // 1_000_000)], q))
