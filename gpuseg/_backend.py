"""Which backends exist, which one runs a call, and what goes in and comes out.

This is the only file that knows backends. It imports neither NumPy nor CuPy when it is loaded, so
that ``import gpuseg`` costs nothing; a library is never imported just to ask a question about it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple

log = logging.getLogger("gpuseg")

# Where a backend's namesake of a public function is looked for, first to last.
_LAYERS = {
    "cpu": ("_cpu",),
    "cuda": ("_cuda", "_cpu"),
    "sim": ("_cuda", "_cpu"),
    "dask": ("_dask",),
}


class BackendError(RuntimeError):
    """A backend was asked for by name and does not work here; says what was probed."""


class DeviceFullError(MemoryError):
    """Raised where `telling_full` asked for it; whoever asked tries a smaller part."""


class Unserved(Exception):
    """Raised by a GPU form, before any work, where only the CPU form can serve the call."""


class Backend(NamedTuple):
    kind: str
    device: int = 0

    def __str__(self) -> str:
        return f"cuda:{self.device}" if self.kind == "cuda" else self.kind


class Step(NamedTuple):
    what: str
    ok: bool
    detail: str


class Probe(NamedTuple):
    ok: bool
    steps: tuple[Step, ...]


_CPU = Backend("cpu")
_forced: ContextVar[Backend | None] = ContextVar("gpuseg_backend", default=None)
_traces: ContextVar[tuple[Trace, ...]] = ContextVar("gpuseg_traces", default=())
_tells_full: ContextVar[bool] = ContextVar("gpuseg_tells_full", default=False)
_process_default: Backend | None = None


# --- what exists ------------------------------------------------------------------------------


def _simulating() -> bool:
    return os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in {"", "0"}


@functools.cache
def probe_cuda() -> Probe:
    """Ask once a process whether CUDA works here, step by step."""
    steps: list[Step] = []

    def step(what: str, ask: Callable[[], str]) -> bool:
        try:
            steps.append(Step(what, ok=True, detail=ask()))
        except Exception as error:  # whatever a broken driver or package raises is an answer here
            text = " ".join(str(error).split()) or "no message"
            steps.append(Step(what, ok=False, detail=f"{type(error).__name__}: {text}"))
        return steps[-1].ok

    def simulator() -> str:
        if _simulating():
            raise RuntimeError("NUMBA_ENABLE_CUDASIM is set: this process simulates CUDA")
        return "off"

    def cupy() -> str:
        if importlib.util.find_spec("cupy") is None:
            raise ModuleNotFoundError("install it with: pip install 'gpuseg[cuda13]'")
        return importlib.import_module("cupy").__version__

    def device() -> str:
        cp = importlib.import_module("cupy")
        count = cp.cuda.runtime.getDeviceCount()
        names = [cp.cuda.runtime.getDeviceProperties(i)["name"].decode() for i in range(count)]
        if not names:
            raise RuntimeError("the driver lists no device")
        return ", ".join(names)

    def kernel() -> str:
        cp = importlib.import_module("cupy")
        if int(cp.arange(4, dtype=cp.int32).sum()) != 6:
            raise RuntimeError("a test kernel gave a wrong sum")
        return "a test kernel ran"

    def numba() -> str:
        cuda = importlib.import_module("numba.cuda")
        if not cuda.is_available():
            raise RuntimeError(f"numba.cuda finds no usable driver ({cuda.cuda_error()})")
        # What it compiles with is imported at the first launch; with a NumPy that it does not know,
        # that fails.
        importlib.import_module("numba.cuda.cudaimpl")
        return importlib.import_module("numba").__version__

    def process() -> str:
        raise RuntimeError(
            "it was forked from one that used CUDA, which CUDA does not allow: start it with "
            "'spawn' or 'forkserver'"
        )

    asked = (("simulator", simulator), ("CuPy", cupy), ("device", device), ("kernel", kernel),
             ("Numba CUDA", numba))  # fmt: skip
    if _forked_from_cuda:
        asked = (("process", process), *asked)
    ok = all(step(what, ask) for what, ask in asked)
    return Probe(ok, tuple(steps))


_forked_from_cuda = False


def _after_fork_in_child(probe=probe_cuda) -> None:
    """What CUDA answered the parent holds for it alone: a child of a fork cannot use CUDA."""
    global _forked_from_cuda
    if probe.cache_info().currsize and probe().ok:
        _forked_from_cuda = True
        probe.cache_clear()
        _found_default.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _parse(device: str) -> Backend | None:
    """A device's name as a backend that works; None stands for the automatic choice."""
    if not isinstance(device, str):
        raise TypeError(f"device must be a string, got {type(device).__name__}")
    kind, colon, index = device.partition(":")
    known = kind in {"auto", "cpu", "cuda", "sim"}
    if not known or (colon and not (kind == "cuda" and index.isdecimal())):
        raise ValueError(f"device must be 'auto', 'cpu', 'cuda', 'cuda:N' or 'sim', got {device!r}")
    if kind == "auto":
        return None
    if kind == "sim" and not _simulating():
        raise BackendError(
            "device 'sim' needs a process started with NUMBA_ENABLE_CUDASIM=1 in its environment: "
            "Numba reads it when it is imported"
        )
    if kind == "cuda":
        probe = probe_cuda()
        if not probe.ok:
            asked = "; ".join(
                f"{s.what}: {'ok, ' if s.ok else 'failed, '}{s.detail}" for s in probe.steps
            )
            raise BackendError(f"device {device!r} does not work here. Probed: {asked}")
        count = importlib.import_module("cupy").cuda.runtime.getDeviceCount()
        if int(index or 0) >= count:
            raise BackendError(f"device {device!r} does not exist: {count} CUDA device(s) here")
    return Backend(kind, int(index or 0))


def device_info() -> dict[str, Any]:
    """Describe the machine: the default backend, what was probed, the versions in use.

    Returns
    -------
    dict
        ``default`` (what runs a call on NumPy arrays now), ``cpu`` (threads), ``cuda``
        (``available`` and the ``probe`` step by step), ``sim`` (whether this process simulates
        CUDA) and ``versions`` of the libraries underneath; a missing one is None.

    Examples
    --------
    >>> import gpuseg
    >>> gpuseg.device_info()["cpu"]["threads"] >= 1
    True
    """
    from importlib import metadata

    from .kernels.launch import thread_count

    def version(name: str) -> str | None:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return None

    probe = probe_cuda()
    names = ("gpuseg", "numpy", "scipy", "scikit-image", "scikit-learn", "numba", "numba-cuda",
             "torch")  # fmt: skip
    either = {"cupy": "cupy-cuda{}x", "cucim": "cucim-cu{}", "cuml": "cuml-cu{}"}
    return {
        "default": str(choose(())[0]),
        "cpu": {"threads": thread_count()},
        "cuda": {"available": probe.ok, "probe": [step._asdict() for step in probe.steps]},
        "sim": _simulating(),
        "versions": {name: version(name) for name in names}
        | {
            name: version(wheel.format(13)) or version(wheel.format(12)) or version(name)
            for name, wheel in either.items()
        },
    }


# --- which one runs ---------------------------------------------------------------------------


@contextlib.contextmanager
def using(device: str) -> Iterator[None]:
    """Run every call of the block on one device.

    The choice belongs to the current context (thread or asyncio task) and can be nested; other
    threads are not touched, and a thread that starts inside the block starts without it.

    Parameters
    ----------
    device : {'auto', 'cpu', 'cuda', 'cuda:N', 'sim'}
        ``'auto'`` gives the choice back to the arrays and the default. ``'sim'`` is Numba's CUDA
        simulator, for tests, in a process started with ``NUMBA_ENABLE_CUDASIM=1``.

    Raises
    ------
    ValueError, TypeError
        `device` is none of these.
    gpuseg.BackendError
        The device does not work here; the message says what was probed.

    Examples
    --------
    >>> import gpuseg, numpy as np
    >>> with gpuseg.using("cpu"):
    ...     gpuseg.filters.threshold_otsu(np.array([[0, 0, 9, 9]], dtype=np.uint8))
    np.int64(0)
    """
    token = _forced.set(_parse(device))
    try:
        yield
    finally:
        _forced.reset(token)


def set_device(device: str) -> None:
    """Set the default device of the process, in the place of ``GPUSEG_DEVICE``.

    Parameters
    ----------
    device : {'auto', 'cpu', 'cuda', 'cuda:N', 'sim'}
        As for `using`. ``'auto'`` goes back to ``GPUSEG_DEVICE`` or what the probe finds.

    Examples
    --------
    >>> import gpuseg
    >>> gpuseg.set_device("cpu")
    >>> gpuseg.device_info()["default"]
    'cpu'
    >>> gpuseg.set_device("auto")
    """
    global _process_default
    _process_default = _parse(device)


@functools.cache
def _found_default(named: str) -> tuple[Backend, str]:
    backend = _parse(named)
    if backend is not None:
        return backend, f"GPUSEG_DEVICE={named}"
    if probe_cuda().ok:
        return Backend("cuda"), _AUTOMATIC
    return _CPU, "no CUDA device works here"


def choose(arrays: tuple) -> tuple[Backend, str]:
    """The backend for a call on these arrays, and why."""
    backend, reason = _chosen(arrays)
    if _forked_from_cuda and backend.kind == "cuda":
        _parse(str(backend))  # says why that does not work here
    return backend, reason


def _chosen(arrays: tuple) -> tuple[Backend, str]:
    forced = _forced.get()
    if forced is not None:
        return forced, "using()"
    for array in arrays:
        if is_cupy(array):
            return Backend("cuda", array.device.id), "a CuPy array came in"
    if _process_default is not None:
        return _process_default, "set_device()"
    return _found_default(os.environ.get("GPUSEG_DEVICE", "auto"))


_AUTOMATIC = "a CUDA device works here"


def crossover_of(function: Callable, backend: Backend, reason: str) -> float:
    """From how many elements on a GPU that nobody asked for pays, by `gpuseg calibrate`."""
    if backend.kind != "cuda" or reason != _AUTOMATIC:
        return 0
    return importlib.import_module("gpuseg._calibration").crossovers().get(name_of(function), 0)


def size_of(values: tuple) -> int:
    """The elements of the largest array among arguments: what a call's time goes by."""
    shapes = (x.shape for x in values if hasattr(x, "dtype") and hasattr(x, "shape"))
    return max(map(math.prod, shapes), default=0)


def name_of(function: Callable) -> str:
    """A public function's topic and name."""
    topic, *_ = function.__module__.removeprefix("gpuseg.").split(".")
    return f"{topic}.{function.__name__}"


@functools.cache
def find(function: Callable, kind: str) -> tuple[Callable, str]:
    """The namesake of a public function for a kind of backend, and the layer that holds it."""
    topic = function.__module__.removeprefix("gpuseg.")
    for layer in _LAYERS[kind]:
        name = f"gpuseg.{layer}.{topic}"
        if _exists(name):
            found = getattr(importlib.import_module(name), function.__name__, None)
            if found is not None:
                return found, layer
    if kind == "dask":
        raise TypeError(no_dask_form(function))
    raise NotImplementedError(f"{topic}.{function.__name__} has no form for {kind!r}")


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # neither is its package
        return False


def no_dask_form(function: Callable) -> str:
    """Why a public function takes no Dask array."""
    from ._dask import REASONS

    name = name_of(function)
    reason = f" ({REASONS[name]})" if name in REASONS else ""
    return f"{name} has no form for Dask arrays{reason}; call .compute() first"


# --- in and out -------------------------------------------------------------------------------


def is_cupy(x: object) -> bool:
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(x, cupy.ndarray)


def is_dask(x: object) -> bool:
    dask = sys.modules.get("dask.array")
    return dask is not None and isinstance(x, dask.Array)


def array_namespace(x):
    """The array module of `x`: CuPy for its arrays, else NumPy."""
    return sys.modules["cupy"] if is_cupy(x) else importlib.import_module("numpy")


def ndimage(x):
    """SciPy's ndimage for NumPy arrays, CuPy's twin for CuPy's."""
    return importlib.import_module("cupyx.scipy.ndimage" if is_cupy(x) else "scipy.ndimage")


def skimage(x, module: str):
    """A module of scikit-image for NumPy arrays, cuCIM's twin for CuPy's."""
    if not is_cupy(x):
        return importlib.import_module(f"skimage.{module}")
    if importlib.util.find_spec("cucim") is None:
        raise Unserved("cuCIM is not installed: pip install 'gpuseg[cuda13]'")
    return importlib.import_module(f"cucim.skimage.{module}")


def cuda_stream(x):
    """CuPy's current stream, for kernels on the array `x`."""
    return sys.modules["cupy"].cuda.get_current_stream() if is_cupy(x) else 0


def asarray(x):
    """Put an array where calls run now: on the current CUDA device, or in host memory.

    Parameters
    ----------
    x : array_like
        A NumPy or CuPy array, or anything that has ``__array__`` or DLPack.

    Returns
    -------
    numpy.ndarray or cupy.ndarray
        A CuPy array where the backend is ``cuda``, else a NumPy array. Not copied if it is there.
        A Dask array stays one: its chunks go where they are computed.

    Examples
    --------
    >>> import gpuseg, numpy as np
    >>> with gpuseg.using("cpu"):
    ...     type(gpuseg.asarray([1, 2]))
    <class 'numpy.ndarray'>
    """
    from ._checks import as_array

    x = as_array(x, "x")
    backend, _ = choose((x,))
    with _current(backend):
        return _put(x, "_cuda" if backend.kind == "cuda" else "_cpu")


def asnumpy(x):
    """Fetch an array into host memory.

    Parameters
    ----------
    x : array_like
        As for `asarray`.

    Returns
    -------
    numpy.ndarray
        `x` itself where it is one already; what a Dask array computes.

    Examples
    --------
    >>> import gpuseg, numpy as np
    >>> gpuseg.asnumpy(np.arange(3))
    array([0, 1, 2])
    """
    from ._checks import as_array

    x = as_array(x, "x")
    return _put(x.compute() if is_dask(x) else x, "_cpu")


def returned(x, given):
    """A result as the kind of array that was given: what is composed of other calls ends so."""
    return x if is_cupy(given) or is_dask(x) else asnumpy(x)


def _put(x, layer: str):
    """An array where a layer wants it; whatever is no array stays as it is."""
    if is_cupy(x):
        return _transfer().download(x) if layer == "_cpu" else x
    numpy = sys.modules["numpy"]
    if layer == "_cuda" and isinstance(x, numpy.ndarray):
        return _transfer().upload(x)
    return x


def _transfer():
    return importlib.import_module("gpuseg._transfer")


def _each(convert: Callable, result):
    """Apply `convert` to every array of a result: an array, a tuple, a list, a dict."""
    if isinstance(result, dict):
        return type(result)((key, _each(convert, value)) for key, value in result.items())
    if isinstance(result, tuple | list):
        parts = [_each(convert, part) for part in result]
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
    return convert(result)


@contextlib.contextmanager
def _current(backend: Backend) -> Iterator[None]:
    if backend.kind == "cuda":
        with importlib.import_module("cupy").cuda.Device(backend.device):
            yield
    else:
        yield


def _out_of_memory(error: Exception) -> bool:
    name = type(error).__name__
    return name == "OutOfMemoryError" or (name == "CudaAPIError" and getattr(error, "code", 0) == 2)


# --- the call ---------------------------------------------------------------------------------


def run(function: Callable, *args, **kwargs):
    """Run the namesake of a public function on the backend that `choose` picks.

    Arrays go where that backend wants them, and a result comes back as what came in: NumPy or CuPy.
    Of a Dask array the result is lazy.
    """
    arrays = args + tuple(kwargs.values()) if kwargs else args
    if "dask.array" in sys.modules and any(map(is_dask, arrays)):
        # The chunks choose their backends, when they are computed.
        return find(function, "dask")[0](*args, **kwargs)
    backend, reason = choose(arrays)
    traces = _traces.get()
    watched = traces or log.isEnabledFor(logging.DEBUG)
    if backend.kind == "cpu" and not watched and not any(map(is_cupy, arrays)):
        return find(function, "cpu")[0](*args, **kwargs)
    return _run(function, args, kwargs, backend, reason, traces)


def _run(function, args, kwargs, backend, reason, traces):
    start = time.perf_counter()
    arrays = args + tuple(kwargs.values())
    least = crossover_of(function, backend, reason)
    if least and (size := size_of(arrays)) < least:
        backend, reason = _CPU, f"{size} elements are under the crossover of {least:g}"
    found, layer = find(function, backend.kind)
    if layer == "_cpu" and backend.kind != "cpu":
        reason += "; there is no GPU form"
    with _current(backend):
        try:
            result = _call(found, layer, backend, args, kwargs)
        except Unserved as refusal:
            reason += f"; {refusal}"
            layer = "_cpu"
            result = _call(find(function, "cpu")[0], layer, backend, args, kwargs)
        except Exception as error:
            if backend.kind == "cpu" or not _out_of_memory(error):
                raise
            _free_pools()
            if _tells_full.get():
                raise DeviceFullError(f"{function.__name__}: out of device memory") from error
            log_once(f"{function.__name__}: out of device memory, ran on the CPU")
            reason += "; out of device memory"
            layer = "_cpu"
            result = _call(find(function, "cpu")[0], layer, backend, args, kwargs)
        home = "_cuda" if any(map(is_cupy, arrays)) else "_cpu"
        result = _each(lambda x: _put(x, home), result)
        if traces and backend.kind == "cuda":
            importlib.import_module("cupy").cuda.get_current_stream().synchronize()
    ran = str(backend) if layer == "_cuda" else "cpu"
    log.debug("%s ran on %s: %s", function.__name__, ran, reason)
    first = next((x for x in arrays if hasattr(x, "shape")), None)
    for trace in traces:
        trace.append(
            Call(
                function.__name__,
                ran,
                reason,
                tuple(getattr(first, "shape", ())),
                str(getattr(first, "dtype", "")),
                time.perf_counter() - start,
            )
        )
    return result


def _call(found, layer, backend, args, kwargs):
    home = layer if backend.kind != "sim" else "_cpu"
    args = [_put(x, home) for x in args]
    return found(*args, **{key: _put(x, home) for key, x in kwargs.items()})


@contextlib.contextmanager
def telling_full() -> Iterator[None]:
    """Hear of a full device, by `DeviceFullError`, in place of an answer from the CPU."""
    token = _tells_full.set(True)
    try:
        yield
    finally:
        _tells_full.reset(token)


def _free_pools() -> None:
    cupy = sys.modules.get("cupy")
    if cupy is None:  # the simulator
        return
    cupy.get_default_memory_pool().free_all_blocks()
    cupy.get_default_pinned_memory_pool().free_all_blocks()


@functools.cache
def log_once(message: str) -> None:
    log.warning(message)


class Call(NamedTuple):
    """One dispatched call, as `trace` collects it."""

    function: str
    backend: str
    reason: str
    shape: tuple[int, ...]
    dtype: str
    seconds: float


class Trace(list):
    """The calls of a `trace` block, in order; prints as a table."""

    def __str__(self) -> str:
        rows = [("function", "backend", "shape", "dtype", "ms", "reason")]
        rows += [
            (c.function, c.backend, "x".join(map(str, c.shape)), c.dtype,
             f"{c.seconds * 1e3:.2f}", c.reason)
            for c in self
        ]  # fmt: skip
        widths = [max(map(len, column)) for column in zip(*rows)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
            for row in rows
        )

    def to_dataframe(self):
        """The calls as a pandas DataFrame."""
        import pandas

        return pandas.DataFrame(list(self), columns=Call._fields)


@contextlib.contextmanager
def trace() -> Iterator[Trace]:
    """Collect what ran where, and why, while the block runs.

    Yields
    ------
    Trace
        A list of calls (function, backend, reason, shape, dtype, seconds), which prints as a
        table and has ``to_dataframe()``. Only calls made in this context (thread or task) count.

    Examples
    --------
    >>> import gpuseg, numpy as np
    >>> with gpuseg.using("cpu"), gpuseg.trace() as calls:
    ...     _ = gpuseg.filters.gaussian(np.eye(8, dtype=np.float32))
    >>> [(call.function, call.backend) for call in calls]
    [('gaussian', 'cpu')]
    """
    calls = Trace()
    token = _traces.set((*_traces.get(), calls))
    try:
        yield calls
    finally:
        _traces.reset(token)
