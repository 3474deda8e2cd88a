"""What was served, how often, where and for how long: the table of ``--profile``."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from . import _cache


@dataclass
class Row:
    served: int = 0
    seconds: float = 0.0
    places: Counter = field(default_factory=Counter)
    original: int = 0
    original_seconds: float = 0.0
    reasons: Counter = field(default_factory=Counter)


_COUNTERS = ("places", "reasons")


class Profile:
    """Calls by function."""

    def __init__(self):
        self.rows: dict[str, Row] = {}
        self._moved_before = _cache.moved()

    def _row(self, path: str) -> Row:
        return self.rows.setdefault(path, Row())

    def served(self, path: str, where: str, seconds: float) -> None:
        row = self._row(path)
        row.served += 1
        row.seconds += seconds
        row.places[where] += 1

    def missed(self, path: str, reason: str) -> None:
        self._row(path).reasons[reason] += 1

    def original(self, path: str, seconds: float) -> None:
        row = self._row(path)
        row.original += 1
        row.original_seconds += seconds

    def plain(self) -> dict[str, dict]:
        """The rows in dicts, which another process can read."""
        return {
            path: vars(row) | {name: dict(getattr(row, name)) for name in _COUNTERS}
            for path, row in self.rows.items()
        }

    def add(self, rows: dict[str, dict]) -> None:
        """Count what another process has counted."""
        for path, told in rows.items():
            row = self._row(path)
            for name, value in told.items():
                counted = getattr(row, name)
                setattr(row, name, counted + (Counter(value) if name in _COUNTERS else value))

    def __str__(self) -> str:
        table = [("function", "gpuseg", "where", "seconds", "original", "seconds", "why")]
        for path, row in sorted(self.rows.items()):
            table.append((
                path, str(row.served), ", ".join(row.places), f"{row.seconds:.3f}",
                str(row.original), f"{row.original_seconds:.3f}",
                "; ".join(f"{reason} ({n})" for reason, n in row.reasons.most_common(2)),
            ))  # fmt: skip
        widths = [max(map(len, column)) for column in zip(*table)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
            for row in table
        ]
        moved = _cache.moved().since(self._moved_before)
        if any(moved):
            lines.append(
                f"to the device: {moved.uploads} arrays, {moved.bytes_sent / 1e6:.1f} MB; back: "
                f"{moved.downloads}, {moved.bytes_fetched / 1e6:.1f} MB; were there: {moved.reused}"
            )
        return "\n".join(lines)


@contextlib.contextmanager
def profiling() -> Iterator[Profile]:
    """Collect calls while the block runs."""
    from ._serve import Ledger

    before, Ledger.watch = Ledger.watch, Profile()
    try:
        yield Ledger.watch
    finally:
        Ledger.watch = before
