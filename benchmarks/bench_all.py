"""Every public function beside its peers, at sizes that show how it scales (`--levels`).

The cases stand in cases.py; bench_<topic>.py files look closer at what matters most.
"""

import cases
import pytest
from common import device_seconds, measure, nbytes

import gpuseg


def _members(name: str, ndim: int, device: cases.Device | None):
    """gpuseg on each backend, then its peers: (who, backend, whether its arrays lie on a GPU)."""
    yield "gpuseg", "cpu", False
    for who in cases.peers(name, ndim):
        yield who, "", False
    if device is not None:
        yield "gpuseg", "cuda", False
        for who in cases.peers_there(name, device):
            yield who, "", True


def _device(config) -> cases.Device | None:
    if config.getoption("rehearse"):
        return cases.REHEARSAL
    return cases.GPU if gpuseg.device_info()["cuda"]["available"] else None


def _wanted(levels: str):
    """Every function at the sizes asked for, as far as its case goes: (name, shape)."""
    order = list(cases.LEVELS)
    for level in levels.split(","):
        for name, case in cases.CASES.items():
            if order.index(level) <= order.index(case.largest):
                for ndim in case.dims:
                    yield name, cases.LEVELS[level][ndim]


def pytest_generate_tests(metafunc):
    config = metafunc.config
    device, only = _device(config), config.getoption("members")
    levels = "tiny" if config.getoption("rehearse") else config.getoption("levels")
    found = []
    for name, shape in _wanted(levels):
        for who, backend, there in _members(name, len(shape), device):
            member = f"{who} {backend}".strip()
            if not only or member in only.split(","):
                label = f"{name}-{cases.size_name(shape)}-{member}"
                found.append(pytest.param(name, shape, who, backend, there, id=label))
    metafunc.parametrize(("name", "shape", "who", "backend", "there"), found)


_inputs: dict[tuple, cases.Inputs] = {}


def inputs(shape):
    """Those of one shape at a time are kept."""
    if shape not in _inputs:
        _inputs.clear()
        _inputs[shape] = cases.Inputs(shape)
    return _inputs[shape]


@pytest.mark.filterwarnings("ignore")  # the peers' own
def bench_function(benchmark, pytestconfig, name, shape, who, backend, there):
    case, function, given = cases.CASES[name], cases.function(name), inputs(shape)
    device, seconds = _device(pytestconfig), pytestconfig.getoption("seconds")
    resident = cases.OnDevice(given, device) if there or backend == "cuda" else None
    if who == "gpuseg":
        args = case.args(given)

        def call():
            return function(*args, **case.options)
    else:
        found = cases.peers_there(name, device) if there else cases.peers(name, len(shape))
        peer, on = found[who], resident or given

        def call():
            return peer(on)

    size = cases.size_name(shape)
    kind = "table" if len(shape) == 1 else f"{len(shape)}-D"
    more = {"function": name, "size": size, "backend": backend, "resident": there,
            "series": f"{name} {kind}"}  # fmt: skip
    with gpuseg.using(device.backend if backend == "cuda" else "cpu"):
        result = measure(benchmark, who, call, case=f"{name} {size}",
                         voxels=given.size, least=1, budget=seconds, **more)  # fmt: skip
    if who == "gpuseg":
        benchmark.extra_info["bytes"] = nbytes(args, result)
    if resident:
        kept = case.args(resident)
        inside = call if there else lambda: function(*kept, **case.options)
        with gpuseg.using(device.backend):
            benchmark.extra_info.update(device_seconds(inside, budget=seconds).info())
    if who != "gpuseg" and cases.TWINS.get(who, who) not in case.differs:
        with gpuseg.using(device.backend if there else "cpu"):
            ours = function(*case.args(on), **case.options)
        assert not cases.differences(ours, result, case.tolerance)
