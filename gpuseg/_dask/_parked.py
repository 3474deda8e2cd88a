"""Where chunks wait between two passes: a temporary file, so that a lazy input is read once.

A pass over the whole volume must end before the next begins. What the next one needs of each chunk
is written to one nameless file a process, which the system deletes with the process however that
ends, and read again when its turn comes. Up to `ROOM` bytes stay in memory. The file lies in Dask's
``temporary-directory`` where that is set, else in Python's.
"""

from __future__ import annotations

import pickle
import tempfile
import threading
import weakref

import numpy as np

ROOM = 64 << 20

_lock = threading.Lock()
_shelf: _Shelf | None = None


class _Shelf:
    """Values of this process: the first in memory, the others in a file that is emptied when none
    of them is left."""

    def __init__(self, folder: str | None):
        self.folder = folder
        self.lock = threading.RLock()  # collecting garbage may come back here from within
        self.file = None
        self.in_memory = self.in_file = self.end = 0
        self.free: dict[int, list[int]] = {}  # by size: what is written again and again is of one

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
                self.file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115
            self.in_file += 1  # from here on nothing that is forgotten meanwhile empties the file
            start = self._place(size)
            try:
                self.file.seek(start)
                for part in parts:
                    self.file.write(part)
            except BaseException:
                self._forget_file(start, size)
                raise
        return (self._read, start, sizes), (self._forget_file, start, size)

    def _place(self, size: int) -> int:
        """Where in the file so much goes: where as much has been forgotten, or at the end."""
        if self.free.get(size):
            return self.free[size].pop()
        self.end += size
        return self.end - size

    def _read(self, start: int, sizes):
        parts = [np.empty(size, np.uint8) for size in sizes]  # bytes would be zeroed first
        with self.lock:
            self.file.seek(start)
            for part in parts:
                self.file.readinto(part)
        return pickle.loads(parts[0], buffers=parts[1:])

    def _forget_memory(self, size: int) -> None:
        with self.lock:
            self.in_memory -= size

    def _forget_file(self, start: int, size: int) -> None:
        with self.lock:
            self.in_file -= 1
            self.free.setdefault(size, []).append(start)
            if not self.in_file:
                self.end = 0
                self.free.clear()
                self.file.truncate(0)


def _same(value):
    return value


def _this_process() -> _Shelf:
    global _shelf
    with _lock:
        if _shelf is None:
            import dask

            _shelf = _Shelf(dask.config.get("temporary-directory", None))
        return _shelf


class Parked:
    """A value on the shelf of this process; sent to another one, it takes its content along."""

    def __init__(self, value):
        self._get, (forget, *args) = _this_process().add(value)
        # The file goes with the process, so there is nothing to do at its end.
        weakref.finalize(self, forget, *args).atexit = False

    def take(self):
        get, *args = self._get
        return get(*args)

    def __reduce__(self):
        return Parked, (self.take(),)
