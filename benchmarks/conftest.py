"""Notes in the saved run what it ran on; and how large the images of bench_all.py are."""

import sys
from pathlib import Path

import gpuseg

sys.path.insert(0, str(Path(__file__).parent))
import common


def pytest_addoption(parser):
    parser.addoption(
        "--levels",
        default="small,medium",
        help="sizes in bench_all.py: some of tiny, small, medium, large",
    )


def pytest_benchmark_update_machine_info(config, machine_info):
    info = gpuseg.device_info()
    machine_info["gpuseg"] = info
    machine_info.pop("node", None)
    bandwidth = {"cpu": common.copy_bandwidth()}
    if info["cuda"]["available"]:
        bandwidth["cuda"] = common.device_bandwidth()
        machine_info["gpu"] = common.device_name()
    machine_info["copy_bytes_per_s"] = bandwidth
