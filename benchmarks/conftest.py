"""Notes in the saved run what it ran on; how large and how long the benchmarks are."""

import sys
import time
from pathlib import Path

import pytest

import gpuseg

sys.path.insert(0, str(Path(__file__).parent))
import roofline

_start = time.monotonic()


def pytest_addoption(parser):
    parser.addoption(
        "--levels",
        default="small,medium",
        help="sizes in bench_all.py: some of tiny, small, medium, large",
    )
    parser.addoption(
        "--members", help="in bench_all.py only these, such as 'gpuseg cuda,scikit-image'"
    )
    parser.addoption(
        "--seconds", type=float, default=0.3, help="how long calls are repeated in bench_all.py "
        "and bench_gpu.py, on the host and on the GPU each",
    )  # fmt: skip
    parser.addoption("--minutes", type=float, help="skip what is not reached in so many minutes")
    parser.addoption(
        "--rehearse", action="store_true", help="run what is for a GPU on the CPU, on tiny images"
    )


def pytest_runtest_setup(item):
    minutes = item.config.getoption("minutes")
    if minutes is not None and time.monotonic() - _start > 60 * minutes:
        pytest.skip(f"not reached in {minutes:g} minutes")


def pytest_benchmark_update_machine_info(config, machine_info):
    info = gpuseg.device_info()
    machine_info["gpuseg"] = info
    machine_info.pop("node", None)
    copies = machine_info["copy_bytes_per_s"] = {"cpu": roofline.cpu()}
    if info["cuda"]["available"]:
        import cupy

        machine_info["gpu"] = roofline.gpu_name()
        found = {count: roofline.device(cupy, count * 2**30) for count in (1, 4)}
        machine_info["gpu_bytes_per_s"] = {f"{n} GiB": speeds for n, speeds in found.items()}
        copies["cuda"] = found[4]["copy"]
