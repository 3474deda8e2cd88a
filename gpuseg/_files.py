"""Output files and folders that appear whole or not at all, and never over another by chance."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import secrets
import shutil
import stat
import sys
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
    check_is_no_input(path, sources)
    if path.is_dir() or (path.exists() and not stat.S_ISREG(path.stat().st_mode)):
        raise RefusedOutput(f"{shown(path)} exists and is not a file")
    if os.path.lexists(path) and not force:
        raise RefusedOutput(f"{shown(path)} exists: pass --force to replace it")


def check_is_no_input(path: Path, sources: Collection[Path]) -> None:
    """Refuse an output that is one of the inputs, holds one or lies within one, by any name."""
    own, real = identity(path), Path(os.path.realpath(path))
    around = {identity(folder) for folder in real.parents}
    seen = set()
    for source in sources:
        found = Path(os.path.realpath(source))
        if found == real or (own is not None and identity(source) == own):
            raise RefusedOutput(f"{shown(path)} is the input: give another name to the output")
        if found.is_dir() and identity(found) in around:
            raise RefusedOutput(f"{shown(path)} lies within the input: choose another folder")
        if own is not None and found.parent not in seen:
            seen.add(found.parent)
            if own in map(identity, found.parents):
                raise RefusedOutput(
                    f"{shown(path)} holds the input: give another name to the output"
                )


def identity(path) -> tuple[int, int] | None:
    """What a file or folder is, whatever name leads to it; None if there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


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
        name_file(temporary, path, force=force)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)


def whole_text(path: Path, text: str) -> None:
    """Write a small file, in the place of what is there, in one step."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(temporary, "x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def name_file(temporary: Path, path: Path, *, force: bool) -> None:
    """Give a complete file its name; without `force` unless another has it by now."""
    if force:
        with contextlib.suppress(FileNotFoundError):
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
        return
    try:
        if not _renamed(temporary, path, _NO_REPLACE):
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


# --- names in one step ------------------------------------------------------------------------


_NO_REPLACE, _EXCHANGE = 1, 2


@functools.cache
def _renameat2():
    """Linux' call for renaming without replacing, and for exchanging two names."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    return getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


def _renamed(old: Path, new: Path, how: int) -> bool:
    """Rename in one step; False where the system, or the file system, has no such call."""
    call = _renameat2()
    if call is None:
        return False
    import ctypes

    here = -100  # AT_FDCWD: names count from the working directory
    if call(here, os.fsencode(old), here, os.fsencode(new), how) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM):
        return False
    raise OSError(number, os.strerror(number), os.fspath(new))


def name_folder(made: Path, path: Path, *, force: bool, old: Path) -> None:
    """Give a complete folder its name.

    What had the name before lies at `made` or at `old` afterwards, for the caller to remove. Where
    names cannot be exchanged in one step, a process that is killed between the two steps leaves it
    at `old`: `put_back` does what its name says.
    """
    if force and os.path.lexists(path):
        if _renamed(made, path, _EXCHANGE):
            return
        os.rename(path, old)
        try:
            os.rename(made, path)
        except BaseException:
            os.rename(old, path)
            raise
        return
    try:
        if _renamed(made, path, _NO_REPLACE):
            return
        if os.path.lexists(path):
            raise FileExistsError
        os.rename(made, path)
    except FileExistsError:
        raise FileExistsError(
            f"{shown(path)} has appeared in the meantime: pass --force to replace it"
        ) from None


def put_back(old: Path, path: Path) -> None:
    """Give what was to be replaced its name again, if nothing has taken its place."""
    if os.path.lexists(old) and not os.path.lexists(path):
        os.rename(old, path)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with all that is in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


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
                f"{shown(path)} holds {shown(name)}, which gpuseg did not write: "
                f"choose another folder"
            )


@contextlib.contextmanager
def whole_folder(path: Path, *, force: bool, ours: Collection[str]) -> Iterator[Path]:
    """A folder to fill, which takes its name only once it is complete."""
    path = path.absolute()
    token = secrets.token_hex(8)
    temporary = path.with_name(f".{token}.gpuseg-part")
    old = path.with_name(f".{token}.gpuseg-old")
    try:
        temporary.mkdir()
        yield temporary
        for file in temporary.iterdir():
            _sync(file)
        if os.path.lexists(path):
            check_folder(path, force=force, ours=ours)
        name_folder(temporary, path, force=force, old=old)
    finally:
        remove(temporary)
        if os.path.lexists(path):
            remove(old)
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Put a file, or a folder's list of names, on the disk, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
