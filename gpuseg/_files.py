"""Output files and folders that appear whole or not at all, and never over another by chance."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO


class RefusedOutput(ValueError):
    """An output that cannot be written as asked; raised before any work."""


def shown(path) -> str:
    """A file name for a message: one line, whatever bytes it holds."""
    text = os.fspath(path).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def check_output(path: Path, *, force: bool, sources: Collection[Path] = ()) -> None:
    """Refuse a file that cannot or must not be written: before any work."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise RefusedOutput(f"{shown(path)}: the folder {shown(folder)} does not exist")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise RefusedOutput(f"{shown(path)}: the folder {shown(folder)} is not writable")
    for source in sources:
        there = path.exists() and source.exists()
        if path.absolute() == source.absolute() or (there and path.samefile(source)):
            raise RefusedOutput(f"{shown(path)} is the input: give another name to the output")
    if path.is_dir() or (path.exists() and not stat.S_ISREG(path.stat().st_mode)):
        raise RefusedOutput(f"{shown(path)} exists and is not a file")
    if os.path.lexists(path) and not force:
        raise RefusedOutput(f"{shown(path)} exists: pass --force to replace it")


@contextlib.contextmanager
def whole_file(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """A file to write, which takes its name only once it is complete and on the disk."""
    path = Path(os.path.realpath(path)) if force else path.absolute()
    temporary = path.with_name(f".{secrets.token_hex(8)}.gpuseg-part")
    try:
        with open(temporary, "xb+") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if force:
            with contextlib.suppress(FileNotFoundError):
                shutil.copymode(path, temporary)
            os.replace(temporary, path)
        else:
            _publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)


def _publish(temporary: Path, path: Path) -> None:
    """Give a file its name, unless another has it by now."""
    try:
        _name(temporary, path)
    except FileExistsError:
        raise FileExistsError(
            f"{shown(path)} has appeared in the meantime: pass --force to replace it"
        ) from None


def _name(temporary: Path, path: Path) -> None:
    if os.name == "nt":
        os.rename(temporary, path)  # on Windows it never replaces
        return
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        os.replace(temporary, path)


def check_folder(path: Path, *, force: bool, ours: Collection[str]) -> None:
    """Refuse a folder that cannot be made, or that holds anything that is not ours to replace."""
    parent = path.absolute().parent
    if not parent.is_dir():
        raise RefusedOutput(f"{shown(path)}: the folder {shown(parent)} does not exist")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise RefusedOutput(f"{shown(path)}: the folder {shown(parent)} is not writable")
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_dir():
        raise RefusedOutput(f"{shown(path)} exists and is not a folder")
    if not force:
        raise RefusedOutput(f"{shown(path)} exists: pass --force to replace it")
    for name in sorted(os.listdir(path)):
        if name not in ours:
            raise RefusedOutput(
                f"{shown(path)} holds {shown(name)}, which the demo did not write: "
                f"choose another folder"
            )


@contextlib.contextmanager
def whole_folder(path: Path, *, force: bool, ours: Collection[str]) -> Iterator[Path]:
    """A folder to fill, which takes its name only once it is complete."""
    path = path.absolute()
    token = secrets.token_hex(8)
    temporary = path.with_name(f".{token}.gpuseg-part")
    old = path.with_name(f".{token}.gpuseg-old")
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.iterdir():
            _sync(file)
        if os.path.lexists(path):
            check_folder(path, force=force, ours=ours)
            os.rename(path, old)
        try:
            os.rename(temporary, path)
        except BaseException:
            if old.exists():
                os.rename(old, path)
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Put a file, or a folder's list of names, on the disk, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
