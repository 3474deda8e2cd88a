"""Where chunks wait between two passes: a temporary file, so that a lazy input is read once.

A pass over the whole volume must end before the next begins. What the next one needs of each chunk
is written to one nameless file a process, which the system deletes with the process however that
ends, and read again when its turn comes. Up to `ROOM` bytes stay in memory. The file lies in Dask's
``temporary-directory`` where that is set, else in Python's.
"""

from __future__ import annotations

import io
import pickle
import tempfile
import threading
import weakref

ROOM = 64 << 20

_lock = threading.Lock()
_spool: _Spool | None = None


class _Spool:
    """A file to which records are added at the end; it shrinks to nothing when none is left."""

    def __init__(self, folder: str | None):
        self.file = tempfile.SpooledTemporaryFile(ROOM, dir=folder)  # noqa: SIM115
        self.records = 0
        self.lock = threading.RLock()

    def add(self, value) -> tuple[int, int]:
        with self.lock:
            start = self.file.seek(0, io.SEEK_END)
            try:
                pickle.dump(value, self.file, protocol=5)
            except BaseException:
                self.file.truncate(start)
                raise
            self.records += 1
            return start, self.file.tell() - start

    def read(self, start: int, size: int) -> bytes:
        with self.lock:
            self.file.seek(start)
            return self.file.read(size)

    def forget(self) -> None:
        with self.lock:
            self.records -= 1
            if not self.records:
                self.file.seek(0)
                self.file.truncate()


def _this_process() -> _Spool:
    global _spool
    with _lock:
        if _spool is None:
            import dask

            _spool = _Spool(dask.config.get("temporary-directory", None))
        return _spool


class Parked:
    """A value in the file of this process; sent to another process, it takes its content along."""

    def __init__(self, value):
        spool = _this_process()
        self._read = spool.read, *spool.add(value)
        # Its own function of the file, which may outlive the module at the end of the process.
        weakref.finalize(self, spool.forget).atexit = False

    def take(self):
        read, start, size = self._read
        return pickle.loads(read(start, size))

    def __reduce__(self):
        return Parked, (self.take(),)
