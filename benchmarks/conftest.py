"""Notes in the saved run what it ran on."""

import sys
from pathlib import Path

import gpuseg

sys.path.insert(0, str(Path(__file__).parent))


def pytest_benchmark_update_machine_info(config, machine_info):
    machine_info["gpuseg"] = gpuseg.device_info()
    machine_info.pop("node", None)
