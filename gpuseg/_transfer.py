"""Chunks on their way to a device and back, while other threads compute theirs.

A thread that works on chunks has a stream and copies through pinned memory, so that the copy of one
chunk goes on beside the kernels of another. Chunks go in the type they have, and masks come back as
bits.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
from collections.abc import Iterator

import numpy as np

_local = threading.local()


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
    if mine is None or not x.size:
        return x.get()
    if x.dtype == bool:
        bits = download(sys.modules["cupy"].packbits(x.reshape(-1), bitorder="little"))
        flat = np.unpackbits(bits, count=x.size, bitorder="little").view(bool)
        return flat.reshape(x.shape)
    pinned = _pinned(x.shape, x.dtype)
    x.get(stream=mine.stream, out=pinned)
    mine.wait()
    return pinned


def _pinned(shape, dtype):
    return importlib.import_module("cupyx").empty_pinned(shape, dtype)
