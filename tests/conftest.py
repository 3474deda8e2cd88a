"""One body for all backends: a test that takes the `backend` fixture runs once on each.

An ordinary process has `cpu` and, where a device works, `cuda` (marker gpu). A process started
with NUMBA_ENABLE_CUDASIM=1 has `sim` alone, and runs only what is marked sim: those bodies, and
the kernel tests in tests/kernels.
"""

import os

import hypothesis
import numpy as np
import pytest

import gpuseg
from gpuseg._backend import probe_cuda

SIMULATING = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in {"", "0"}

_quiet = [hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow]
for _name, _examples in (("cpu", 40), ("sim", 6)):
    hypothesis.settings.register_profile(
        _name,
        max_examples=_examples,
        deadline=None,
        derandomize=True,
        suppress_health_check=_quiet,
    )
hypothesis.settings.load_profile("sim" if SIMULATING else "cpu")


def pytest_report_header():
    probe = probe_cuda()
    last = probe.steps[-1]
    gpu = "CUDA works here" if probe.ok else f"no CUDA device here ({last.what}: {last.detail})"
    return f"gpuseg: {'simulator; ' * SIMULATING}{gpu}"


def pytest_generate_tests(metafunc):
    if "backend" in metafunc.fixturenames:
        here = [pytest.param("sim", marks=pytest.mark.sim)]
        if not SIMULATING:
            here = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
        metafunc.parametrize("backend", here, indirect=True, scope="function")


def pytest_collection_modifyitems(config, items):
    def belongs_here(item):
        if (item.get_closest_marker("sim") is not None) != SIMULATING:
            return False
        return item.get_closest_marker("gpu") is None or probe_cuda().ok

    left_out = [item for item in items if not belongs_here(item)]
    items[:] = [item for item in items if belongs_here(item)]
    config.hook.pytest_deselected(items=left_out)


@pytest.fixture
def backend(request):
    """The name of the backend that every gpuseg call of the test runs on."""
    with gpuseg.using(request.param):
        yield request.param


@pytest.fixture
def rng():
    return np.random.default_rng(20261123)
