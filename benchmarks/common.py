"""What the benchmarks share: test images, and one way to time a call beside its peers.

A case is a pytest-benchmark group; its members are `gpuseg` and the peers, on the same array and
the same number of threads. The first call (compilation or the kernel cache) is timed apart, as
`cold_s`. `table.py` turns the saved JSON into the table of README.md.
"""

from __future__ import annotations

import functools
import time

import numpy as np
from scipy import ndimage as ndi

import gpuseg


def measure(benchmark, who: str, call, *, case: str, voxels: int, rounds: int = 5):
    """Time `call` for one member of a case; slow peers get fewer rounds."""
    start = time.perf_counter()
    result = call()
    _finish(result)
    cold = time.perf_counter() - start
    start = time.perf_counter()
    _finish(call())
    once = time.perf_counter() - start
    benchmark.group = case
    benchmark.extra_info.update(who=who, case=case, voxels=voxels, cold_s=cold,
                                default=gpuseg.device_info()["default"])  # fmt: skip
    rounds = max(3, min(rounds * 4, int(2.0 / max(once, 1e-6)))) if once < 2 else 3
    benchmark.pedantic(lambda: _finish(call()), rounds=rounds, iterations=1, warmup_rounds=1)
    return result


def _finish(result):
    if type(result).__module__.startswith("cupy"):
        import cupy

        cupy.cuda.get_current_stream().synchronize()


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
