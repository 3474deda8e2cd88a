"""How long calls take here, on each backend: measured once, and kept for `auto` and `explain`.

A call's time is taken as a fixed part and a part for each element. Where the GPU has the larger
fixed part, transfers included, it pays from some number of elements on: the crossover.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import time
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ._backend import (
    BackendError,
    choose,
    crossover_of,
    device_info,
    find,
    is_dask,
    name_of,
    probe_cuda,
    using,
)

# Sides of the images that are timed, by axes; and rows of tables.
SIDES = {2: (96, 768), 3: (20, 80), 1: (1_000, 50_000)}
_BUDGET = 0.06  # seconds for one size of one call, at most five rounds


class Line(NamedTuple):
    """Seconds of a call: `fixed` and `per_element`."""

    fixed: float
    per_element: float

    def at(self, size: int) -> float:
        return self.fixed + self.per_element * size


class Explanation(NamedTuple):
    """Where a call would run, why, how long that takes and how much memory; None: not known."""

    function: str
    backend: str
    reason: str
    seconds: float | None
    peak_bytes: int | None

    def __str__(self) -> str:
        took = "not known: run `gpuseg calibrate`"
        if self.seconds is not None:
            took = f"about {_readable(self.seconds)}"
        peak = "not known: run `gpuseg calibrate`"
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
        ``backend``, ``reason``, ``seconds`` and ``peak_bytes``: the last two from
        ``gpuseg calibrate``, by the number of elements of the first array; None where this machine
        has not been calibrated. Prints as text. A prediction is for the arguments that were
        measured (`gpuseg calibrate` lists them); other parameters may take longer.

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
    if not hasattr(function, "contract"):
        raise TypeError(f"function must be a public function of gpuseg, got {function!r}")
    name, work = name_of(function), function.via
    values = (*args, *kwargs.values())
    size = next((x.size for x in values if hasattr(x, "size") and hasattr(x, "dtype")), None)
    if size is None:
        raise TypeError("there is no array among the arguments, by whose size to go")
    if any(map(is_dask, values)):
        return Explanation(name, "dask", "a Dask array came in: chunk by chunk", None, None)
    backend, reason = choose(values)
    if backend.kind != "cpu":
        least = crossover_of(work, backend, reason)
        if size < least:
            backend = backend._replace(kind="cpu")
            reason = f"{size} elements are under the crossover of {least:g}"
    if backend.kind != "cpu":
        with contextlib.suppress(NotImplementedError):
            if find(work, backend.kind)[1] == "_cpu":
                backend = backend._replace(kind="cpu")
                reason += "; there is no GPU form"
    known = measured().get("functions", {}).get(name, {})
    line = known.get(backend.kind)
    seconds = None if line is None else Line(*line).at(size)
    peak = known.get("bytes_per_element") if backend.kind == "cpu" else None
    return Explanation(
        name, str(backend), reason, seconds, None if peak is None else math.ceil(peak * size)
    )


# --- what is kept -----------------------------------------------------------------------------


def path() -> Path:
    """Where the figures of this machine are kept; ``GPUSEG_CALIBRATION`` names another file."""
    named = os.environ.get("GPUSEG_CALIBRATION")
    if named:
        return Path(named)
    import typer

    return Path(typer.get_app_dir("gpuseg")) / "calibration.json"


def machine() -> dict[str, Any]:
    """What the figures hold for; any other machine, or version, has none."""
    info = device_info()
    device = next((s["detail"] for s in info["cuda"]["probe"] if s["what"] == "device"), "")
    return {
        "gpuseg": info["versions"]["gpuseg"],
        "threads": info["cpu"]["threads"],
        "gpu": device if info["cuda"]["available"] else "",
    }


@functools.cache
def measured() -> dict[str, Any]:
    """The figures of this machine, or nothing."""
    try:
        found = json.loads(path().read_text("utf-8"))
        return found if found["machine"] == machine() else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


@functools.cache
def crossovers() -> dict[str, float]:
    """By function, the elements from which the GPU pays; infinite where it never does."""
    return {
        name: _crossover(Line(*known["cpu"]), Line(*known["cuda"]))
        for name, known in measured().get("functions", {}).items()
        if "cuda" in known
    }


def _crossover(cpu: Line, cuda: Line) -> float:
    saved = cpu.per_element - cuda.per_element
    ahead = cuda.fixed - cpu.fixed
    if ahead <= 0:
        return 0.0 if saved >= 0 else math.inf
    return ahead / saved if saved > 0 else math.inf


# --- measuring --------------------------------------------------------------------------------


def calibrate(step: Callable = contextlib.nullcontext) -> dict[str, Any]:
    """Time a call of every public function, keep the figures, and return them."""
    from . import _cases, _public
    from ._files import whole_file

    backends = ["cpu", *["cuda"] * probe_cuda().ok]
    found: dict[str, dict] = {}
    made: dict[tuple, _cases.Inputs] = {}
    for name, function in _public.functions().items():
        case = _cases.CASES[name]
        ndim = case.dims[0]
        with step(name), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sides = (64, 96) if case.largest == "small" and ndim == 2 else SIDES[ndim]
            calls = []
            for side in sides:
                shape = (side,) * ndim
                inputs = made.setdefault(shape, _cases.Inputs(shape))
                calls.append((inputs.size, functools.partial(
                    function, *case.args(inputs), **case.options)))  # fmt: skip
            known: dict[str, Any] = {}
            for backend in backends:
                with using(backend):
                    known[backend] = _line([(size, _seconds(call)) for size, call in calls])
            with using("cpu"):
                known["bytes_per_element"] = _peak(calls[-1][1]) / calls[-1][0]
            found[name] = known
    figures = {"machine": machine(), "functions": found}
    target = path()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(target, force=True) as file:
            file.write(json.dumps(figures, indent=1).encode())
    except OSError as error:
        raise BackendError(f"{target} cannot be written: {error.strerror or error}") from None
    measured.cache_clear()
    crossovers.cache_clear()
    return figures


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
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
