"""One body for all backends: a test that takes the `backend` fixture runs once on each.

An ordinary process has `cpu` and, where a device works, `cuda` (marker gpu). A process started
with NUMBA_ENABLE_CUDASIM=1 has `sim` alone, and runs only what is marked sim: those bodies, and
the kernel tests in tests/kernels.
"""

import os
import random

import hypothesis
import numpy as np
import pytest

import gpuseg
from gpuseg._backend import probe_cuda

SIMULATING = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in {"", "0"}


def forget_literals():
    """Keep what hypothesis draws independent of the source that is tested.

    Since 6.170 it collects the literals of every local module that is imported, and draws them:
    a constant in one file could turn the test of another red, and an example depended on which
    modules were imported before it. Versions without that have nothing to be changed.
    """
    try:
        from hypothesis.internal.conjecture import providers
    except ImportError:
        return
    if hasattr(providers, "is_local_module_file"):
        providers.is_local_module_file = lambda path: False


forget_literals()
_quiet = [hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow]
# "cpu" and "sim" draw the same examples in each run. "random" draws new ones, of the seed that
# --hypothesis-seed gives; it keeps none, so that a seed is all that it takes to draw them again.
for _name, _examples in (("cpu", 40), ("sim", 6), ("random", 40)):
    hypothesis.settings.register_profile(
        _name,
        max_examples=_examples,
        deadline=None,
        derandomize=_name != "random",
        database=None,
        print_blob=True,
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
    if config.getoption("hypothesis_profile", None) == "random":
        # Its time is bounded: in one order it would never come to the last tests.
        random.Random(config.getoption("hypothesis_seed")).shuffle(items)


@pytest.fixture
def backend(request):
    """The name of the backend that every gpuseg call of the test runs on."""
    with gpuseg.using(request.param):
        yield request.param


@pytest.fixture
def rng():
    return np.random.default_rng(20261123)
