"""What memory gives: bytes a second that a copy, a read and a write move, on the CPU and a GPU.

`python benchmarks/roofline.py` prints them for the GPU; `--name` prints the GPU's name for a file.
Both end with one line and code 1 where no GPU works.
"""

from __future__ import annotations

import itertools
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from common import device_seconds

import gpuseg
from gpuseg._backend import probe_cuda


def cpu(count: int = 2**28, repeats: int = 5) -> float:
    """A copy by all threads together."""
    source, target = np.zeros(count, np.uint8), np.zeros(count, np.uint8)
    threads = gpuseg.device_info()["cpu"]["threads"]
    edges = np.linspace(0, count, threads + 1).astype(int)
    cuts = [slice(a, b) for a, b in itertools.pairwise(edges)]
    best = np.inf
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(repeats):
            start = time.perf_counter()
            list(pool.map(lambda cut: np.copyto(target[cut], source[cut]), cuts))
            best = min(best, time.perf_counter() - start)
    return 2 * count / best


def device(xp, count: int) -> dict[str, float]:
    """A copy, a read and a write of arrays of so many bytes."""
    source, target = xp.zeros(count // 4, np.float32), xp.empty(count // 4, np.float32)
    calls = {
        "copy": (2 * count, lambda: xp.copyto(target, source)),
        "read": (count, lambda: source.max()),
        "write": (count, lambda: target.fill(1)),
    }
    return {name: moved / device_seconds(call).least for name, (moved, call) in calls.items()}


def gpu_name() -> str:
    import cupy

    return cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()


def main() -> None:
    probe = probe_cuda()
    if not probe.ok:
        last = probe.steps[-1]
        sys.exit(f"no CUDA device works here ({last.what}: {last.detail})")
    if "--name" in sys.argv:
        print(re.sub(r"[^a-z0-9]+", "-", gpu_name().lower()).strip("-"))
        return
    import cupy

    print(gpu_name())
    for gibibytes in (1, 4):
        for name, speed in device(cupy, gibibytes * 2**30).items():
            print(f"{name} {gibibytes} GiB: {speed / 1e9:.0f} GB/s")


if __name__ == "__main__":
    main()
