"""How far a job is, how fast it goes and how much memory it takes."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .._images import size


def resident() -> int:
    """Bytes of memory that this process and its children hold, as the system counts them."""
    try:
        import psutil
    except ImportError:
        with contextlib.suppress(OSError):
            return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return 0
    total = 0
    own = psutil.Process()
    for process in (own, *own.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            total += process.memory_info().rss
    return total


class Watch:
    """Told of each stage of a job; samples memory, and shows how far it is."""

    def __init__(self, show: Callable[[str], None] | None = None, *, say=None, every: float = 0.2):
        self.peak = resident()
        self._show, self._every = show, every
        self.say = say or (lambda text: None)
        self._line: Callable[[], str] | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *error) -> None:
        self._end.set()
        self._thread.join()
        self.peak = max(self.peak, resident())

    def _run(self) -> None:
        while not self._end.wait(self._every):
            self.peak = max(self.peak, resident())
            line = self._line
            if self._show is not None and line is not None:
                self._show(line())

    @contextlib.contextmanager
    def stage(self, name: str, voxels: int, fraction: Callable[[], float]) -> Iterator[None]:
        """A stage over so many voxels; `fraction` tells how much of it is done."""
        start, before = time.perf_counter(), fraction()

        def line() -> str:
            done, took = fraction(), time.perf_counter() - start
            new = done - before
            if new <= 0:
                return f"{name}: {done:.0%}"
            rate, left = new * voxels / took, took / new * (1 - done)
            return f"{name}: {done:.0%}, {rate / 1e6:.1f} Mvoxel/s, {duration(left)} left"

        self._line = line
        try:
            yield
        finally:
            self._line = None


def duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


@contextlib.contextmanager
def shown_on_terminal() -> Iterator[Callable[[str], None]]:
    """One line on stderr that changes; a line every half minute where that is no terminal."""
    is_terminal, last = sys.stderr.isatty(), time.monotonic()
    width = 0

    def show(text: str) -> None:
        nonlocal last, width
        if is_terminal:
            print("\r" + text.ljust(width), end="", file=sys.stderr, flush=True)
            width = len(text)
        elif time.monotonic() - last > 30:
            last = time.monotonic()
            print(text, file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        if is_terminal and width:
            print("\r" + " " * width + "\r", end="", file=sys.stderr, flush=True)


__all__ = ["Watch", "duration", "resident", "shown_on_terminal", "size"]
