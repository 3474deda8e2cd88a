"""The folder of a job: what it is for, what of it is done, and who works on it.

A shard is done when its marker is there, written after the shard itself is on the disk, with the
job's fingerprint and the size of the shard's file. That a shard's file exists says nothing: one
that is empty has none, and one may be there half a second before the process is killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from .._files import _sync, shown
from ._sources import VolumeError
from ._store import Target


class Work:
    """The folder of a job. It can be pickled."""

    def __init__(self, folder: Path, fingerprint: str = ""):
        self.folder, self.fingerprint = Path(folder), fingerprint

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    # --- what it is for -----------------------------------------------------------------------

    def begun(self) -> bool:
        return (self / "job.json").is_file()

    def begin(self, about: dict, plan: dict) -> None:
        """Note what the job is, once it has its folder."""
        self.fingerprint = _hash(about)
        self._note("job.json", {"about": about, "plan": plan})

    def resume(self, about: dict) -> dict:
        """The plan of a job that was begun; refuse one that was another."""
        try:
            noted = json.loads((self / "job.json").read_text("utf-8"))
            was, plan = noted["about"], noted["plan"]
        except (ValueError, KeyError):
            raise VolumeError(
                f"{shown(self / 'job.json')}: is damaged: pass --restart to begin again"
            ) from None
        changed = [key for key in about if was.get(key) != about[key]]
        if changed:
            raise VolumeError(
                f"{shown(self.folder)}: holds a job that was begun with another "
                f"{' and another '.join(changed)}: pass --restart to throw it away"
            )
        self.fingerprint = _hash(about)
        return plan

    @contextlib.contextmanager
    def owned(self) -> Iterator[None]:
        """Let no other process work here; a process that dies lets go."""
        self.folder.mkdir(exist_ok=True)
        with open(self / "lock", "ab") as file:
            if not _lock(file):
                raise VolumeError(f"{shown(self.folder)}: another process is at work there")
            yield

    def clear(self) -> None:
        """Throw away all but the lock, the note of the job first."""
        (self / "job.json").unlink(missing_ok=True)
        for path in self.folder.iterdir():
            if path.name != "lock":
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    # --- what is done -------------------------------------------------------------------------

    def numbers(self, name: str) -> dict | None:
        """Small results of a stage."""
        try:
            found = json.loads((self / f"{name}.json").read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return found["numbers"] if found.get("fingerprint") == self.fingerprint else None

    def keep_numbers(self, name: str, numbers: dict) -> None:
        self._note(f"{name}.json", {"fingerprint": self.fingerprint, "numbers": numbers})

    def write(self, stage: str, target: Target, number: int, values) -> int:
        """Write a shard, then that it is done."""
        size = target.write(number, values)
        text = json.dumps({"fingerprint": self.fingerprint, "bytes": size})
        _whole_text(self / "done" / stage / str(number), text)
        return number

    def done(self, stage: str, target: Target) -> set[int]:
        """The shards that are done, and whose files are as they were written."""
        folder = self / "done" / stage
        folder.mkdir(parents=True, exist_ok=True)
        found = set()
        for name in os.listdir(folder):
            if not name.isdecimal():
                (folder / name).unlink()
                continue
            with contextlib.suppress(ValueError, KeyError):
                noted = json.loads((folder / name).read_text("utf-8"))
                same = noted["fingerprint"] == self.fingerprint
                if same and noted["bytes"] == target.size(int(name)):
                    found.add(int(name))
        return found

    def count(self, stage: str) -> int:
        try:
            return len(os.listdir(self / "done" / stage))
        except FileNotFoundError:
            return 0

    def _note(self, name: str, value: dict) -> None:
        _whole_text(self / name, json.dumps(value, indent=1))


def _whole_text(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    _sync(path.parent)


def _hash(about: dict) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def _lock(file) -> bool:
    if sys.platform == "win32":
        import msvcrt

        call, kind = msvcrt.locking, (msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        call, kind = fcntl.flock, (fcntl.LOCK_EX | fcntl.LOCK_NB,)
    try:
        call(file.fileno(), *kind)
    except OSError:
        return False
    return True


def fingerprint_of(files: list[Path]) -> str:
    """A hash of the names, sizes and times of change of an input's files."""
    digest = hashlib.sha256()
    for file in files:
        stat = file.stat()
        digest.update(f"{file.name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
