"""Where chunks wait between two passes: a temporary file, so that a lazy input is read once.

A pass over the whole volume must end before the next begins. What the next one needs of each chunk
is written to one nameless file a process, which the system deletes with the process however that
ends, and read again when its turn comes. Up to `ROOM` bytes stay in memory. The file lies in Dask's
``temporary-directory`` where that is set, else in Python's.

A fork leaves the file to both processes, and so both only read it from then on: each begins another
one for what it parks later.
"""

from __future__ import annotations

import os
import pickle
import tempfile
import threading
import weakref

import numpy as np

ROOM = 64 << 20


class _File:
    """Places in a nameless file, which goes when none of them is in use."""

    def __init__(self, folder: str | None):
        self.opened = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        self.lock = threading.Lock()
        self.count = self.end = 0
        self.free: dict[int, list[int]] = {}  # by size: what is written again and again is of one

    def place(self, size: int) -> int:
        """Where so much goes: where as much has been forgotten, or at the end."""
        self.count += 1
        if self.free.get(size):
            return self.free[size].pop()
        self.end += size
        return self.end - size

    def write(self, start: int, parts) -> None:
        with self.lock:
            self.opened.seek(start)
            for part in parts:
                left = memoryview(part).cast("B")
                while left:
                    left = left[self.opened.write(left) :]

    def read(self, start: int, sizes):
        parts = [np.empty(size, np.uint8) for size in sizes]  # bytes would be zeroed first
        for part in parts:
            left = memoryview(part)
            while left:
                count = self._some(left, start)
                if not count:
                    raise OSError("the temporary file of parked chunks has been cut short")
                left, start = left[count:], start + count
        return pickle.loads(parts[0], buffers=parts[1:])

    def _some(self, into, start: int) -> int:
        if hasattr(os, "preadv"):  # touches no offset, which a child of a fork shares
            return os.preadv(self.opened.fileno(), [into], start)
        with self.lock:
            self.opened.seek(start)
            return self.opened.readinto(into)


class _Shelf:
    """Values of this process: the first in memory, the others in a file."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # collecting garbage may come back here from within
        self.file: _File | None = None
        self.in_memory = 0

    def add(self, value):
        """What gives the value back, and what forgets it."""
        buffers: list[pickle.PickleBuffer] = []
        parts = [pickle.dumps(value, protocol=5, buffer_callback=buffers.append)]
        parts += [buffer.raw() for buffer in buffers]
        sizes = [memoryview(part).nbytes for part in parts]
        size = sum(sizes)
        with self.lock:
            if self.in_memory + size <= ROOM:
                self.in_memory += size
                return (_same, value), (self._forget_memory, size)
            if self.file is None:
                import dask

                self.file = _File(dask.config.get("temporary-directory", None))
            file = self.file
            start = file.place(size)  # from here on nothing that is forgotten lets the file go
            try:
                file.write(start, parts)
            except BaseException:
                self._forget_file(file, start, size)
                raise
        return (file.read, start, sizes), (self._forget_file, file, start, size)

    def _forget_memory(self, size: int) -> None:
        with self.lock:
            self.in_memory -= size

    def _forget_file(self, file: _File, start: int, size: int) -> None:
        with self.lock:
            file.count -= 1
            if file.count:
                file.free.setdefault(size, []).append(start)
                return
            file.opened.close()
            if self.file is file:
                self.file = None


def _same(value):
    return value


_shelf = _Shelf()


def _after_fork_in_parent() -> None:
    _shelf.file = None
    _shelf.lock.release()


def _after_fork_in_child() -> None:
    # What is on the shelf belongs to the parent's values too, of which this process has copies.
    _shelf.file = None
    _shelf.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: _shelf.lock.acquire(),
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )


class Parked:
    """A value on the shelf of this process; sent to another one, it takes its content along."""

    def __init__(self, value):
        self._get, (forget, *args) = _shelf.add(value)
        # The file goes with the process, so there is nothing to do at its end.
        weakref.finalize(self, forget, *args).atexit = False

    def take(self):
        get, *args = self._get
        return get(*args)

    def __reduce__(self):
        return Parked, (self.take(),)
