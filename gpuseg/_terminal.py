"""What the `gpuseg` command shows: a bar while it works, then tables, lines or JSON."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import threading


class Steps:
    """The steps of a job, as it enters them: a bar moves along where there is one."""

    def __init__(self, bar=None, count: int = 0):
        self._bar, self._done = bar, 0
        if bar is not None:
            self._task = bar.add_task("", total=count)

    @contextlib.contextmanager
    def __call__(self, name: str):
        if self._bar is not None:
            self._bar.update(self._task, description=name)
        yield
        self._done += 1
        self.part(0, 1)

    def part(self, done: int, count: int) -> None:
        """Tell how much of the step is done."""
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done + done / count)


class _Unfailing:
    """A stream of text for a command: what it cannot take ends no job that is done."""

    def __init__(self, stream):
        self._stream = stream  # None where the command was started without one
        self.trouble: Exception | None = None

    def write(self, text: str) -> int:
        try:
            self._do("write", text)
        except UnicodeEncodeError:
            encoding = self.encoding or "ascii"
            self._do("write", text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        self._do("flush")

    def _do(self, name: str, *args) -> None:
        if self._stream is None or self.trouble is not None:
            return
        try:
            getattr(self._stream, name)(*args)
        except UnicodeEncodeError:
            raise
        except (OSError, ValueError) as error:  # closed, full, or nobody reads it any more
            self.trouble = error
            # Python flushes its own streams once more at the end, and would end with 120.
            if self._stream in (sys.__stdout__, sys.__stderr__):
                with contextlib.suppress(OSError, ValueError):
                    nowhere = os.open(os.devnull, os.O_WRONLY)
                    os.dup2(nowhere, self._stream.fileno())
                    os.close(nowhere)

    def isatty(self) -> bool:
        return self._stream is not None and self.trouble is None and self._stream.isatty()

    @property
    def encoding(self) -> str | None:
        return getattr(self._stream, "encoding", None)

    def __getattr__(self, name: str):
        return getattr(self._stream, name)


@contextlib.contextmanager
def unfailing_output():
    """Within it, no print fails: the trouble of standard output is told on standard error."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = out, err = _Unfailing(sys.stdout), _Unfailing(sys.stderr)
    try:
        yield
    finally:
        out.flush()
        if isinstance(out.trouble, OSError) and not isinstance(out.trouble, BrokenPipeError):
            err.write(f"gpuseg: standard output cannot be written: {out.trouble.strerror}\n")
        err.flush()
        sys.stdout, sys.stderr = before


@contextlib.contextmanager
def progress(names):
    """A bar on the terminal once the work takes longer than a second; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield Steps()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(),
               TimeElapsedColumn())  # fmt: skip
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    timer = threading.Timer(1.0, bar.start)
    timer.start()
    try:
        yield Steps(bar, len(names))
    finally:
        timer.cancel()
        timer.join()
        bar.stop()


def plain(value):
    """A value as JSON has it: no NumPy, no tuples, null for what is not finite."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_json(value) -> None:
    print(json.dumps(plain(value), indent=2))


def _show(table) -> None:
    from rich.console import Console

    console = Console(markup=False, emoji=False, highlight=False)
    if console.is_terminal:
        console.print(table)
        return
    console.width = 10_000  # a pipe has no width: cut nothing, and pad nothing
    with console.capture() as told:
        console.print(table)
    print("\n".join(line.rstrip() for line in told.get().splitlines()))


def print_rows(rows) -> None:
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(str(name), str(value))
    _show(table)


def print_table(names, rows) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(str, row))
    _show(table)
