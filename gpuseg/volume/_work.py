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
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from .._files import RefusedOutput, identity, put_back, remove, shown, whole_text
from ._sources import Source, VolumeError
from ._store import Target

SUFFIX = ".gpuseg-work"
# All that a job makes in its folder.
_OURS = re.compile(r"lock|(job|thresholds)\.json(\.[0-9a-f]+\.part)?|stage\d+|"
                   r"done|temporary|result|tiff|old")  # fmt: skip


class Work:
    """The folder of a job. It can be pickled."""

    def __init__(self, folder: Path, fingerprint: str = ""):
        self.folder, self.fingerprint = Path(folder), fingerprint

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    # --- what it is for -----------------------------------------------------------------------

    def exists(self) -> bool:
        """Whether the folder is there; refuse one that no job has made."""
        if not os.path.lexists(self.folder):
            return False
        if self.folder.is_symlink() or not self.folder.is_dir():
            raise RefusedOutput(f"{shown(self.folder)} is in the way: it is no folder of a job")
        try:
            found = sorted(self.folder.iterdir())
        except FileNotFoundError:  # whoever had it has removed it
            return False
        if found and not any(path.name == "lock" for path in found):
            raise RefusedOutput(f"{shown(self.folder)} is in the way: no job has made it")
        for path in found:
            # What was replaced, and lies here until it is removed, may have been a link.
            link = path.is_symlink() and path.name not in ("old", "result")
            if link or not _OURS.fullmatch(path.name):
                raise RefusedOutput(
                    f"{shown(self.folder)} holds {shown(path.name)}, which no job has made there: "
                    "move it away"
                )
        return True

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
            path, block = was["input"]["path"], plan["block"]
            if not isinstance(block, list) or not isinstance(path, str):
                raise TypeError
        except (ValueError, LookupError, TypeError):
            raise VolumeError(
                f"{shown(self / 'job.json')}: is damaged: pass --restart to begin again"
            ) from None
        now = about["input"]
        if path != now["path"] and identity(path) == identity(now["path"]):
            about = about | {"input": now | {"path": path}}  # two names of one file
        changed = [key for key in about if was.get(key) != about[key]]
        if changed:
            raise VolumeError(
                f"{shown(self.folder)}: holds a job that was begun with another "
                f"{' and another '.join(changed)}: pass --restart to throw it away"
            )
        self.fingerprint = _hash(was)
        return plan

    def is_of(self, about: dict) -> bool:
        """Whether the job that was begun is this one."""
        try:
            self.resume(about)
        except VolumeError:
            return False
        return True

    def note_published(self, made: Path) -> None:
        """Note what is about to get the output's name, by what it is."""
        noted = json.loads((self / "job.json").read_text("utf-8"))
        self._note("job.json", noted | {"published": identity(made)})

    def published(self, output: Path) -> bool:
        """Whether what a killed job had made has got the output's name."""
        try:
            noted = json.loads((self / "job.json").read_text("utf-8"))
            made = noted.get("published")
        except (OSError, ValueError, AttributeError):
            return False
        return made is not None and tuple(made) == identity(output)

    @contextlib.contextmanager
    def owned(self) -> Iterator[None]:
        """Let no other process work here; a process that dies lets go."""
        self.folder.mkdir(exist_ok=True)
        with contextlib.ExitStack() as stack:
            while True:
                flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
                file = stack.enter_context(os.fdopen(os.open(self / "lock", flags, 0o666), "ab"))
                if not _lock(file):
                    raise VolumeError(f"{shown(self.folder)}: another process is at work there")
                found = os.fstat(file.fileno())
                if identity(self / "lock") == (found.st_dev, found.st_ino):
                    break  # else whoever had it has removed it
                self.folder.mkdir(exist_ok=True)
            yield

    def put_back(self, output: Path) -> None:
        """Give an output its name that a killed process was about to replace."""
        put_back(self / "old", output)
        if (self / "result").is_symlink():
            remove(self / "result")

    def clear(self) -> None:
        """Throw away all but the lock, the note of the job first."""
        (self / "job.json").unlink(missing_ok=True)
        self._remove_but("lock")

    def remove(self) -> None:
        """Throw away the folder, the note of the job last."""
        self._remove_but("lock", "job.json")
        for name in ("job.json", "lock"):
            remove(self / name)
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def _remove_but(self, *names: str) -> None:
        for path in self.folder.iterdir():
            if path.name not in names and _OURS.fullmatch(path.name):
                remove(path)

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
        content = target.write(number, values)
        text = json.dumps({"fingerprint": self.fingerprint, "content": content})
        whole_text(self / "done" / stage / str(number), text)
        return number

    def done(self, stage: str, target: Target) -> set[int]:
        """The shards that are done, and whose files hold what was written, by their checksums."""
        folder = self / "done" / stage
        folder.mkdir(parents=True, exist_ok=True)
        found: set[int] = set()
        names = os.listdir(folder)
        if not names or not target.exists():
            remove(folder)
            folder.mkdir()
            return found
        for name in names:
            if not name.isdecimal():
                (folder / name).unlink()
                continue
            with contextlib.suppress(ValueError, LookupError, TypeError):
                noted = json.loads((folder / name).read_text("utf-8"))
                same = noted["fingerprint"] == self.fingerprint
                if same and noted["content"] == target.content(int(name)):
                    found.add(int(name))
        return found

    def count(self, stage: str) -> int:
        try:
            return len(os.listdir(self / "done" / stage))
        except FileNotFoundError:
            return 0

    def _note(self, name: str, value: dict) -> None:
        whole_text(self / name, json.dumps(value, indent=1))


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


def fingerprint_of(source: Source) -> str:
    """A hash of the names, sizes and times of change of an input's files."""
    digest = hashlib.sha256()
    for file in source.files():
        stat = file.stat()
        digest.update(os.fsencode(os.path.relpath(file, source.path)))
        digest.update(f"\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
