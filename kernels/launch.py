"""How kernels are run: slabs on all CPU cores, grids on a GPU.

The CPU kernels are ``njit(nogil=True)`` functions that work on a range, and run in a pool of
threads of our own. Numba's ``prange`` is not used: its portable threading layer aborts the process
when two Python threads meet in it, GNU OpenMP's does after a fork, and it compiles several times
slower.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

_local = threading.local()
_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None


def thread_count() -> int:
    """Threads for CPU kernels: GPUSEG_NUM_THREADS, else the cores this process may use."""
    named = os.environ.get("GPUSEG_NUM_THREADS", "")
    if named:
        if not named.isdecimal() or int(named) < 1:
            raise ValueError(f"GPUSEG_NUM_THREADS must be a positive integer, got {named!r}")
        return int(named)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def slabs(function, count: int, *args, pieces: int | None = None) -> list:
    """Call ``function(start, stop, *args)`` for the pieces of ``range(count)``, on all cores.

    `function` must release the GIL. Results come back in the order of the pieces. A call from
    within a piece runs at once in the same thread.
    """
    threads = 1 if getattr(_local, "inside", False) else thread_count()
    pieces = max(1, min(count, threads if pieces is None else pieces))
    bounds = [count * i // pieces for i in range(pieces + 1)]
    jobs = list(itertools.pairwise(bounds))
    if threads == 1 or pieces == 1:
        return [function(start, stop, *args) for start, stop in jobs]
    pool = _shared_pool(threads)
    futures = [pool.submit(_inside, function, start, stop, args) for start, stop in jobs[1:]]
    try:
        results = [_inside(function, *jobs[0], args)]
    finally:
        # Every piece must have ended before the caller may free or reuse the arrays.
        for future in futures:
            future.exception()
    return results + [future.result() for future in futures]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run the `slabs` of this thread in it alone: where there is one for each core."""
    was = getattr(_local, "inside", False)
    _local.inside = True
    try:
        yield
    finally:
        _local.inside = was


def _inside(function, start, stop, args):
    with one_thread():
        return function(start, stop, *args)


def _shared_pool(threads: int) -> ThreadPoolExecutor:
    global _pool
    with _lock:
        if _pool is None or _pool._max_workers != threads:
            _pool = ThreadPoolExecutor(threads, thread_name_prefix="gpuseg")
        return _pool


_compiling: list = []


def _before_fork() -> None:
    """Let what another thread compiles come to its end: its lock would never open in the child."""
    module = sys.modules.get("numba.core.compiler_lock")
    lock = getattr(module, "global_compiler_lock", None)
    if lock is not None:
        lock.acquire()
        _compiling.append(lock)
    _lock.acquire()


def _after_fork() -> None:
    _lock.release()
    if _compiling:
        _compiling.pop().release()


def _after_fork_in_child() -> None:
    global _pool
    _pool = None
    _functions.clear()
    _after_fork()


if hasattr(os, "register_at_fork"):
    # Threads do not survive a fork; the child makes a pool of its own when it needs one.
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child
    )


@functools.cache
def simulating() -> bool:
    """Whether this process runs CUDA kernels in Numba's simulator."""
    from numba import config

    if config.ENABLE_CUDASIM:
        _mend_simulator()
    return bool(config.ENABLE_CUDASIM)


def _mend_simulator() -> None:
    """Let all threads of a block get the same shared array.

    The simulator looks for an array of the kernel's line, and makes one where there is none, in two
    steps. Where Python switches threads in between, a thread is left with an array of its own.
    """
    import numpy as np

    api = importlib.import_module("numba.cuda.simulator.kernelapi")
    plain, lock = api.FakeCUDAShared.array, threading.Lock()

    def array(self, shape, dtype, *args, **kwargs):
        if shape == 0 or args or kwargs:
            return plain(self, shape, dtype, *args, **kwargs)
        if isinstance(dtype, api.types.Type):
            dtype = api.numpy_support.as_dtype(dtype)
        frame = sys._getframe(1)
        with lock:
            return self._allocations.setdefault(
                (frame.f_code.co_filename, frame.f_lineno), np.empty(shape, dtype)
            )

    api.FakeCUDAShared.array = array


def blocks(count: int, block: int, most: int = 1 << 30) -> int:
    """Blocks that cover `count` threads, at least one and at most `most` (grid-stride beyond)."""
    return max(1, min(most, -(-count // block)))


_functions: dict[tuple, object] = {}


def start(kernel, grid: int, block, stream, *args, shared: int = 0) -> None:
    """Start a CUDA kernel of Numba on a stream of CuPy, with so many bytes of `shared` memory.

    Arguments are arrays on the device (in the simulator NumPy's), numbers, and tuples of numbers.
    CuPy launches: Numba would take hold of each array's memory and find out its type every time.
    """
    if simulating():
        kernel[grid, block, stream, shared](*map(_for_simulator, args))
        return
    cupy = sys.modules["cupy"]
    kinds: list = [kernel, cupy.cuda.runtime.getDevice()]
    values: list = []
    for x in args:
        if isinstance(x, cupy.ndarray):
            kinds += x.dtype, x.ndim, _order(x)
            # As Numba's arrays come to a kernel: owner, parent, sizes, place, shape and strides.
            values += 0, 0, x.size, x.itemsize, x.data.ptr, *x.shape, *x.strides
        elif isinstance(x, tuple):
            kinds += type(x[0]), len(x)
            values += x
        else:
            kinds.append(type(x))
            values.append(x)
    key = tuple(kinds)
    function = _functions.get(key)
    if function is None:
        function = _functions[key] = _loaded(cupy, kernel, args)
    function((grid,), block if isinstance(block, tuple) else (block,), values, shared, stream)


def _order(x) -> str:
    return "C" if x.flags.c_contiguous else "F" if x.flags.f_contiguous else "A"


def _loaded(cupy, kernel, args):
    """A kernel compiled for such arguments, or read from the disk's cache, on this device."""
    from numba import typeof, types
    from numba.np.numpy_support import from_dtype

    from .kept import keep_cuda

    def type_of(x):
        if isinstance(x, cupy.ndarray):
            return types.Array(from_dtype(x.dtype), x.ndim, _order(x))
        return typeof(x)

    keep_cuda(kernel)
    compiled = kernel.compile(tuple(map(type_of, args)))
    code = compiled._codelibrary.get_cubin()
    module = cupy.cuda.function.Module()
    module.load(bytes(getattr(code, "code", code)))
    return module.get_function(compiled.entry_name)


def _for_simulator(x):
    """The simulator writes every array back after a launch, so it cannot take read-only ones."""
    from numba import cuda

    readonly = hasattr(x, "ndim") and x.ndim and not x.flags.writeable
    return cuda.to_device(x) if readonly else x
