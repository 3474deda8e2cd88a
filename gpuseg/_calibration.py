"""How long calls take here, on each backend: measured once, and kept for `auto` and `explain`.

A call's time is taken as a fixed part and a part for each element. Where the GPU has the larger
fixed part, transfers included, it pays from some number of elements on: the crossover.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import os
import platform
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ._backend import (
    Backend,
    choose,
    crossover_of,
    device_info,
    find,
    is_dask,
    log,
    log_once,
    name_of,
    probe_cuda,
    size_of,
    using,
)

# Sides of the images that are timed, by axes; and rows of tables.
SIDES = {2: (96, 768), 3: (20, 80), 1: (1_000, 50_000)}
SMALL = (64, 96)  # of what takes seconds
_BUDGET = 0.06  # seconds for one size of one call, at most five rounds


class Line(NamedTuple):
    """Seconds of a call: `fixed` and `per_element`."""

    fixed: float
    per_element: float

    def at(self, size: int) -> float:
        return self.fixed + self.per_element * size


class Known(NamedTuple):
    """What was measured of a function: a line for each backend, and its memory on the CPU."""

    lines: dict[str, Line]
    bytes_per_element: float


class Explanation(NamedTuple):
    """Where a call would run, why, how long that takes and how much memory; None: not known."""

    function: str
    backend: str
    reason: str
    seconds: float | None
    peak_bytes: int | None

    def __str__(self) -> str:
        unknown = "not known"
        if self.backend != "dask" and not measured():
            unknown += ": run `gpuseg calibrate`"
        took = unknown if self.seconds is None else f"about {_readable(self.seconds)}"
        peak = unknown
        if self.peak_bytes is not None:
            peak = f"about {self.peak_bytes / 2**20:.3g} MiB beside the arguments, result included"
        return (
            f"{self.function} would run on {self.backend}: {self.reason}\n"
            f"time: {took}\nmemory: {peak}"
        )


def _readable(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.2g} us"


def explain(function, *args, **kwargs) -> Explanation:
    """Say where a call would run, why, and what it would take; nothing is computed.

    Parameters
    ----------
    function : callable
        A public function, such as ``gpuseg.filters.gaussian``.
    *args, **kwargs
        What it would be called with.

    Returns
    -------
    Explanation
        ``backend``, ``reason``, ``seconds`` and ``peak_bytes``; prints as text. The last two are
        what ``gpuseg calibrate`` measured on this machine, with arrays in host memory (transfers to
        a GPU and back included), scaled by the elements of the largest array; None where that was
        not measured, as the memory that a call takes on a GPU. They hold for the arguments that
        were measured (``gpuseg/_cases.py``): a larger footprint or more clusters take longer.

    Raises
    ------
    TypeError
        `function` is not a public function, or there is no array among the arguments.

    Examples
    --------
    >>> import gpuseg, numpy as np
    >>> with gpuseg.using("cpu"):
    ...     gpuseg.explain(gpuseg.filters.gaussian, np.zeros((8, 8))).backend
    'cpu'
    """
    from ._checks import shown  # imports NumPy

    if not hasattr(function, "contract"):
        raise TypeError(f"function must be a public function of gpuseg, got {shown(function)}")
    name, values = name_of(function), (*args, *kwargs.values())
    size = size_of(values)
    if not any(map(_is_array, values)):
        raise TypeError("there is no array among the arguments, by whose size to go")
    if any(map(is_dask, values)):
        return Explanation(name, "dask", "a Dask array came in: chunk by chunk", None, None)
    backend, reason = _place(function.via, values, size)
    known = measured().get(name)
    if known is None:
        return Explanation(name, str(backend), reason, None, None)
    line = known.lines.get(backend.kind)
    return Explanation(
        name,
        str(backend),
        reason,
        None if line is None else line.at(size),
        math.ceil(known.bytes_per_element * size) if backend.kind == "cpu" else None,
    )


def _is_array(x) -> bool:
    return hasattr(x, "dtype") and hasattr(x, "shape")


def _place(function, values, size: int) -> tuple[Backend, str]:
    """What `run` would decide."""
    backend, reason = choose(values)
    if backend.kind == "cpu":
        return backend, reason
    try:
        _, layer = find(function, backend.kind)
    except NotImplementedError:
        return backend, f"{reason}; it is composed of other calls, which may choose otherwise"
    least = crossover_of(function, backend, reason)
    if size < least:
        return Backend("cpu"), f"{size} elements are under the crossover of {least:g}"
    if layer == "_cpu":
        return Backend("cpu"), f"{reason}; there is no GPU form"
    return backend, reason


# --- what is kept -----------------------------------------------------------------------------


def path() -> Path:
    """Where the figures of this machine are kept; ``GPUSEG_CALIBRATION`` names another file."""
    named = os.environ.get("GPUSEG_CALIBRATION")
    if named:
        return Path(named)
    # A home may be shared by several machines.
    key = hashlib.sha256(json.dumps(machine(), sort_keys=True).encode()).hexdigest()[:12]
    return _cache_folder() / "gpuseg" / f"calibration-{key}.json"


def _cache_folder() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    name = "LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME"
    given = Path(os.environ.get(name, ""))
    if given.is_absolute():
        return given
    return Path.home() / ("AppData/Local" if sys.platform == "win32" else ".cache")


@functools.cache
def machine() -> dict[str, Any]:
    """What the figures hold for; any other machine, or version, has none."""
    info = device_info()
    device = next((s["detail"] for s in info["cuda"]["probe"] if s["what"] == "device"), "")
    return {
        "cpu": _processor(),
        "threads": info["cpu"]["threads"],
        "gpu": device if info["cuda"]["available"] else "",
        "versions": info["versions"],
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@functools.cache
def measured() -> dict[str, Known]:
    """The figures of this machine, by function, or nothing."""
    try:
        where = path()
        text = where.read_text("utf-8")
    except (OSError, RuntimeError):  # not calibrated, or no home
        return {}
    try:
        found = json.loads(text)
        functions = {name: _known(entry) for name, entry in found["functions"].items()}
        return functions if found["machine"] == machine() else {}
    except (ValueError, KeyError, TypeError, AttributeError):
        log_once(f"{where} cannot be read and is not used: run `gpuseg calibrate`")
        return {}


def _known(entry: dict) -> Known:
    lines = {kind: Line(*map(float, line)) for kind, line in entry["lines"].items()}
    known = Known(lines, float(entry["bytes_per_element"]))
    figures = [x for line in lines.values() for x in line]
    if not all(0 <= x < math.inf for x in (*figures, known.bytes_per_element)):
        raise ValueError(f"times and memory must not be negative, got {entry}")
    return known


@functools.cache
def crossovers() -> dict[str, float]:
    """By function, the elements from which the GPU pays; infinite where it never does."""
    return {
        name: _crossover(known.lines["cpu"], known.lines["cuda"])
        for name, known in measured().items()
        if known.lines.keys() >= {"cpu", "cuda"}
    }


def _crossover(cpu: Line, cuda: Line) -> float:
    saved = cpu.per_element - cuda.per_element
    ahead = cuda.fixed - cpu.fixed
    if ahead <= 0:
        return 0.0 if saved >= 0 else math.inf
    return ahead / saved if saved > 0 else math.inf


# --- measuring --------------------------------------------------------------------------------


def calibrate(step: Callable = contextlib.nullcontext) -> dict[str, Known]:
    """Time a call of every public function that takes arrays, keep the figures, return them."""
    from . import _public
    from ._files import whole_file

    target = path()
    target.parent.mkdir(parents=True, exist_ok=True)  # says now if that is refused
    made: dict[tuple, Any] = {}
    found = {}
    for name, function in _public.functions().items():
        with step(name):
            calls = _calls(name, function, made)
            if calls[0][0] and (known := _measure(name, function, calls)):
                found[name] = known
    figures = {
        "machine": machine(),
        "functions": {name: known._asdict() for name, known in found.items()},
    }
    with whole_file(target, force=True) as file:
        file.write(json.dumps(figures, indent=1).encode())
    measured.cache_clear()
    crossovers.cache_clear()
    return found


def _calls(name: str, function: Callable, made: dict) -> list[tuple[int, Callable]]:
    """A small and a large call, each with the size that it goes by."""
    from . import _cases

    case = _cases.CASES[name]
    ndim = case.dims[0]
    calls = []
    for side in SMALL if case.largest == "small" and ndim == 2 else SIDES[ndim]:
        shape = (side,) * ndim
        inputs = made.setdefault(shape, _cases.Inputs(shape))
        args = case.args(inputs)
        calls.append((size_of(args), functools.partial(function, *args, **case.options)))
    return calls


def _measure(name: str, function: Callable, calls: list) -> Known | None:
    lines: dict[str, Line] = {}
    for backend in ("cpu", *["cuda"] * _runs_on_gpu(function)):
        with using(backend):
            try:
                lines[backend] = _line([(size, _seconds(call)) for size, call in calls])
            except Exception as error:  # one that fails leaves the others their figures
                log.warning("%s on %s: %s: %s", name, backend, type(error).__name__, error)
    if "cpu" not in lines:
        return None
    size, call = calls[-1]
    with using("cpu"):
        return Known(lines, _peak(call) / size)


def _runs_on_gpu(function: Callable) -> bool:
    if not probe_cuda().ok:
        return False
    try:
        return find(function.via, "cuda")[1] == "_cuda"
    except NotImplementedError:  # composed of calls that may
        return True


def _seconds(call: Callable) -> float:
    """The least time of a few rounds, after one that compiles and warms up."""
    call()
    best, end = math.inf, time.perf_counter() + _BUDGET
    for _ in range(5):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
        if time.perf_counter() > end:
            break
    return best


def _line(points: list[tuple[int, float]]) -> Line:
    (small, low), (large, high) = points
    slope = max(0.0, (high - low) / (large - small))
    return Line(max(0.0, low - slope * small), slope)


def _peak(call: Callable) -> int:
    """Bytes allocated at once by Python and NumPy during a call."""
    traced = tracemalloc.is_tracing()  # by the caller, who goes on with it
    tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        if not traced:
            tracemalloc.stop()
