"""Runs `bench_*.py` files, and notes in the JSON what they ran on."""

import sys
from pathlib import Path

import gpuseg

sys.path.insert(0, str(Path(__file__).parent))


def pytest_collect_file(file_path, parent):
    if file_path.name.startswith("bench_") and file_path.suffix == ".py":
        import pytest

        return pytest.Module.from_parent(parent, path=file_path)
    return None


def pytest_benchmark_update_machine_info(config, machine_info):
    machine_info["gpuseg"] = gpuseg.device_info()
    machine_info.pop("node", None)
