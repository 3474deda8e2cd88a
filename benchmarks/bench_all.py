"""Every public function beside its peers, at sizes that show how it scales (`--levels`).

The cases stand in cases.py; bench_<topic>.py files look closer at what matters most.
"""

import cases
import pytest
from common import device_seconds, finish, measure, nbytes

import gpuseg


def _members(name: str, ndim: int):
    """gpuseg on each backend, then its peers: (who, backend, whether its arrays lie on a GPU)."""
    yield "gpuseg", "cpu", False
    for who in cases.peers(name, ndim):
        yield who, "", False
    if gpuseg.device_info()["cuda"]["available"]:
        yield "gpuseg", "cuda", False
        for who in cases.peers(name, ndim, device=True):
            if cases.here(cases.ON_DEVICE[who]):
                yield who, "", True


def pytest_generate_tests(metafunc):
    levels = metafunc.config.getoption("levels").split(",")
    found = []
    for name, case in cases.CASES.items():
        for level, shapes in cases.LEVELS.items():
            if level not in levels or list(cases.LEVELS).index(level) > list(cases.LEVELS).index(
                case.largest
            ):
                continue
            for ndim in case.dims:
                shape = shapes[ndim]
                size = cases.size_name(shape)
                for who, backend, there in _members(name, ndim):
                    member = f"{who} {backend}".strip()
                    label = f"{name}-{size}-{member}"
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
def bench_function(benchmark, name, shape, who, backend, there):
    case, function, given = cases.CASES[name], cases.function(name), inputs(shape)
    resident = cases.OnDevice(given) if there or backend == "cuda" else None
    if who == "gpuseg":
        args = case.args(given)

        def call():
            return function(*args, **case.options)
    else:
        peer, on = cases.peers(name, len(shape), device=there)[who], resident or given

        def call():
            return peer(on)

    size = cases.size_name(shape)
    more = {"function": name, "size": size, "ndim": len(shape), "backend": backend,
            "resident": there,
            "series": f"{name} {'table' if len(shape) == 1 else f'{len(shape)}-D'}"}  # fmt: skip
    with gpuseg.using(backend or "cpu"):
        result = measure(benchmark, who, call, case=f"{name} {size}",
                         voxels=given.size, budget=0.3, **more)  # fmt: skip
    if who == "gpuseg":
        benchmark.extra_info["bytes"] = nbytes(args, result)
        if backend == "cuda":
            there = case.args(resident)
            with gpuseg.using("cuda"):
                seconds, taken = device_seconds(lambda: function(*there, **case.options))
            benchmark.extra_info.update(kernel_s=seconds, device_peak_bytes=taken)
    elif who not in case.differs:
        with gpuseg.using("cuda" if there else "cpu"):
            ours = function(*case.args(on), **case.options)
        finish(ours)
        assert not cases.differences(ours, result, case.tolerance)
