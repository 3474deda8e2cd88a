"""Arrays that stay on the device between calls.

A script hands NumPy arrays from call to call. A copy of each array that was sent to the device or
fetched from it is kept there, and used again for the same array as long as that holds the same
values. NumPy tells nobody when an array is written to, so the values themselves are asked: a digest
of all of them is taken when the copy is made, and again before it is used. That reads the array
once in host memory, at several times the speed of sending it. An element that changed changes the
digest with certainty; several that did go unseen once in 2**64.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .._backend import Backend, _current, _each, is_cupy


class Copy(NamedTuple):
    host: weakref.ref
    digest: tuple
    device: Any


class Copies:
    """Device copies of host arrays, the least recently used ones forgotten first."""

    def __init__(self, upload: Callable, download: Callable, is_there: Callable, limit: int):
        self._upload, self._download, self.is_there = upload, download, is_there
        self.limit = limit  # bytes
        self.uploads = self.downloads = self.reused = self.bytes_sent = self.bytes_fetched = 0
        self._copies: OrderedDict[int, Copy] = OrderedDict()
        self._lock = threading.RLock()

    def put(self, host: np.ndarray):
        """The array on the device, by the copy that is there if it is of the same values."""
        with self._lock:
            copy = self._copies.get(id(host))
            if copy is not None and copy.host() is host and copy.digest == digest(host):
                self._copies.move_to_end(id(host))
                self.reused += 1
                return copy.device
            device = self._upload(host)
            self.uploads += 1
            self.bytes_sent += host.nbytes
            self._keep(host, device)
            return device

    def get(self, device) -> np.ndarray:
        """The array in host memory; that on the device is kept for when it comes back."""
        with self._lock:
            host = self._download(device)
            self.downloads += 1
            self.bytes_fetched += host.nbytes
            if host.ndim:
                self._keep(host, device)
            return host

    def clear(self) -> None:
        with self._lock:
            self._copies.clear()

    @property
    def nbytes(self) -> int:
        return sum(copy.device.nbytes for copy in self._copies.values())

    def _keep(self, host, device) -> None:
        value = digest(host)
        if value is None or device.nbytes > self.limit:
            return
        key = id(host)
        self._copies[key] = Copy(weakref.ref(host, lambda _: self._forget(key)), value, device)
        self._copies.move_to_end(key)
        while self.nbytes > self.limit:
            self._copies.popitem(last=False)

    def _forget(self, key: int) -> None:
        with self._lock:
            copy = self._copies.get(key)
            # The number may be another array's by now.
            if copy is not None and copy.host() is None:
                del self._copies[key]


def digest(x: np.ndarray) -> tuple | None:
    """What tells an array from any other by layout and values.

    None for an array whose values do not lie in one block.
    """
    if not (x.flags.c_contiguous or x.flags.f_contiguous):
        return None
    from ..kernels.digest import digest_cpu

    return x.shape, x.strides, x.dtype.str, digest_cpu(x.ravel(order="K").view(np.uint8))


_device_copies: dict[int, Copies] = {}
_of_the_parent: list[Copies] = []


def _after_fork_in_child() -> None:
    """Device memory is the parent's: neither used nor freed here."""
    for kept in _device_copies.values():
        kept._lock = threading.RLock()  # that of the parent may be held for ever
        _of_the_parent.append(kept)
    _device_copies.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def copies(device: int) -> Copies:
    """The copies on a CUDA device: at most a quarter of its memory."""
    if device not in _device_copies:
        import cupy

        limit = cupy.cuda.Device(device).mem_info[1] // 4
        _device_copies[device] = Copies(cupy.asarray, cupy.asnumpy, is_cupy, limit)
    return _device_copies[device]


def run(backend: Backend, form: Callable, args: tuple, kwargs: dict):
    """Call a form on a CUDA device, with the arrays that are there already."""
    with _current(backend):
        return through(copies(backend.device), form, args, kwargs)


def through(kept: Copies, form: Callable, args: tuple, kwargs: dict):
    """Call a form with the device's copies, and fetch what it returns."""

    def put(x):
        return kept.put(x) if isinstance(x, np.ndarray) and x.ndim else x

    try:
        there = [put(x) for x in args], {name: put(x) for name, x in kwargs.items()}
        result = form(*there[0], **there[1])
    except MemoryError:
        there = None
        kept.clear()
        result = form(*args, **kwargs)
    return _each(lambda x: kept.get(x) if kept.is_there(x) else x, result)


class Moved(NamedTuple):
    """What went between host and device."""

    uploads: int
    bytes_sent: int
    downloads: int
    bytes_fetched: int
    reused: int

    def since(self, before: Moved) -> Moved:
        return Moved(*(now - then for now, then in zip(self, before)))


def moved() -> Moved:
    return Moved(*(
        sum(getattr(kept, name) for kept in _device_copies.values()) for name in Moved._fields
    ))  # fmt: skip
