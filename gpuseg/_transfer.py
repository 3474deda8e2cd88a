"""Arrays on their way to a device and back.

A thread that works on chunks has a stream and copies through pinned memory, so that the copy of one
chunk goes on beside the kernels of another. Chunks go in the type they have, and masks come back as
bits.

A large array that is no chunk goes through pinned memory in pieces, which several threads fill or
empty: a thread copies less in a second than a device takes, and memory that nobody has touched
costs it most.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import threading
from collections.abc import Iterator

import numpy as np

from .kernels import bits, launch

_local = threading.local()

# Arrays of so many bytes go in pieces.
_LARGE = 32 << 20
_PIECE = 4 << 20
# Threads beyond these find no more bandwidth.
_MOVERS = 8


def _after_fork_in_child() -> None:
    """Streams and pinned memory are the parent's: neither used nor freed here."""
    global _local, _of_the_parent
    _of_the_parent, _local = _local, threading.local()


_of_the_parent: threading.local | None = None
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


class _Lane:
    """The stream of a thread on a device, and the buffers whose copies it has not ended."""

    def __init__(self):
        self.stream = sys.modules["cupy"].cuda.Stream(non_blocking=True)
        self.buffers: list = []

    def wait(self) -> None:
        self.stream.synchronize()
        self.buffers.clear()


@contextlib.contextmanager
def lane(device: int) -> Iterator[None]:
    """Let this thread's copies and kernels on a device run beside those of other threads."""
    if current() is not None:
        yield
        return
    cupy = importlib.import_module("cupy")
    with cupy.cuda.Device(device):
        lanes = _local.__dict__.setdefault("lanes", {})
        mine = lanes.setdefault(device, None) or _Lane()
        lanes[device] = _local.current = mine
        try:
            with mine.stream:
                yield
        finally:
            _local.current = None
            mine.wait()


def current() -> _Lane | None:
    return getattr(_local, "current", None)


def upload(x):
    """A NumPy array on the current device."""
    cupy = importlib.import_module("cupy")
    mine = current()
    if mine is None and x.nbytes >= _LARGE and x.dtype.isnative:
        if x.flags.c_contiguous:
            there = cupy.empty(x.shape, x.dtype)
            _in_pieces(cupy, x.reshape(-1).view(np.uint8), there, _fill)
            return there
        if x.flags.f_contiguous:
            return upload(x.T).T
    if mine is None or not x.size:
        return cupy.asarray(x)
    pinned = _pinned(x.shape, x.dtype)
    pinned[...] = x
    there = cupy.empty(x.shape, x.dtype)
    there.set(pinned, stream=mine.stream)
    mine.buffers.append(pinned)  # free only when the copy has ended
    return there


def download(x):
    """A CuPy array in host memory."""
    order = np.argsort([-step for step in x.strides], kind="stable")
    if (order[1:] < order[:-1]).any() and (planes := x.transpose(*order)).flags.c_contiguous:
        # What lies plane by plane does so there, too.
        return download(planes).transpose(*np.argsort(order))
    mine = current()
    if mine is None and x.nbytes >= _LARGE and x.flags.c_contiguous:
        here = np.empty(x.shape, x.dtype)
        _in_pieces(sys.modules["cupy"], here.reshape(-1).view(np.uint8), x, _empty)
        return here
    if mine is None or not x.size:
        return x.get()
    if x.dtype == bool:
        packed = download(sys.modules["cupy"].packbits(x.reshape(-1), bitorder="little"))
        return _unpacked(packed, x.size).reshape(x.shape)
    pinned = _pinned(x.shape, x.dtype)
    x.get(stream=mine.stream, out=pinned)
    mine.wait()
    return pinned


def _pinned(shape, dtype):
    return importlib.import_module("cupyx").empty_pinned(shape, dtype)


def _unpacked(packed, count: int):
    """Bits, the lowest of a byte first, as so many bool."""
    words = np.zeros((1, -(-count // 64)), np.uint64)
    words.view(np.uint8)[0, : packed.size] = packed
    out = np.empty(count, bool)
    bits.paint_rows(0, 1, words, count, out.view(np.uint8))
    return out


# --- large arrays ------------------------------------------------------------------------------


class _Ring:
    """Two pieces of pinned memory that a thread uses in turn, and the stream of their copies."""

    def __init__(self, cupy):
        self.stream = cupy.cuda.Stream(non_blocking=True)
        self.slots = [
            (_pinned(_PIECE, np.uint8), cupy.cuda.Event(disable_timing=True)) for _ in range(2)
        ]


def _in_pieces(cupy, here, there, move) -> None:
    """Let threads `move` pieces of the bytes `here` from or to a device array; wait for them."""
    device, ready = cupy.cuda.runtime.getDevice(), cupy.cuda.Event(disable_timing=True)
    # What the current stream does with the memory there comes first.
    ready.record(cupy.cuda.get_current_stream())

    def some(first, last):
        with cupy.cuda.Device(device):
            rings = _local.__dict__.setdefault("rings", {})
            ring = rings[device] = rings.get(device) or _Ring(cupy)
            ring.stream.wait_event(ready)
            bounds = [(i * _PIECE, min((i + 1) * _PIECE, here.size)) for i in range(first, last)]
            move(cupy.cuda.runtime, ring, here, there.data.ptr, bounds)
            ring.stream.synchronize()

    launch.slabs(some, -(-here.size // _PIECE), pieces=min(_MOVERS, launch.thread_count()))


def _fill(runtime, ring, here, there, bounds) -> None:
    for k, (start, stop) in enumerate(bounds):
        pinned, done = ring.slots[k % 2]
        done.synchronize()
        np.copyto(pinned[: stop - start], here[start:stop])
        how = runtime.memcpyHostToDevice, ring.stream.ptr
        runtime.memcpyAsync(there + start, pinned.ctypes.data, stop - start, *how)
        done.record(ring.stream)


def _empty(runtime, ring, here, there, bounds) -> None:
    for k in range(len(bounds) + 1):
        if k < len(bounds):
            start, stop = bounds[k]
            pinned, done = ring.slots[k % 2]
            how = runtime.memcpyDeviceToHost, ring.stream.ptr
            runtime.memcpyAsync(pinned.ctypes.data, there + start, stop - start, *how)
            done.record(ring.stream)
        if k:
            start, stop = bounds[k - 1]
            pinned, done = ring.slots[(k - 1) % 2]
            done.synchronize()
            np.copyto(here[start:stop], pinned[: stop - start])
