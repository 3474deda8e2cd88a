"""Compiled code kept on the disk, which never ends a call: `njit` as Numba's, but for its cache.

Numba's own cache raises where its folder cannot be written (a full disk, a read-only package whose
user has no home, as in containers) and where one of its files is damaged. Here such a function is
compiled and not kept, damaged files are thrown away, and one line of the log says where and why.
Nothing is looked for on the disk before a function is compiled.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import logging
import os
import pickle
import re
import secrets
import sys
import tempfile
import threading
from pathlib import Path

import numba
from numba.core import config
from numba.core.caching import FunctionCache, NullCache

log = logging.getLogger("gpuseg")
_told = threading.Event()
# Modules that compiled code takes nothing from: to change them makes no kept code stale.
_HOST = frozenset({"kept", "launch"})
_IMPORT = re.compile(r"^\s*from \.(\w*) import ([\w, ]*)", re.MULTILINE)
_CHECKSUM = hashlib.sha256().digest_size


def njit(*, cache: bool = False, **options):
    """Numba's ``njit``, whose ``cache=True`` keeps compiled code where that can be done."""

    def compiled(function):
        dispatcher = numba.njit(**options)(function)
        if cache and dispatcher is not function:  # as it is with NUMBA_DISABLE_JIT=1
            dispatcher._cache = _Later(function)
        return dispatcher

    return compiled


def keep_cuda(kernel) -> None:
    """Keep what a kernel of ``cuda.jit`` compiles to."""
    from numba.cuda.dispatcher import CUDACache

    package = sys.modules.get("numba_cuda", numba)
    version = f"{numba.__version__} {package.__version__}"
    kernel._cache = _made(CUDACache, kernel.py_func, stamp(kernel.py_func.__module__), version)


class _Later:
    """What a dispatcher asks of its cache, which is made when it is first asked."""

    def __init__(self, function):
        self._function = function
        # Now: the file may change before the function is compiled, and the code is what was loaded.
        self._stamp = stamp(function.__module__)

    @functools.cached_property
    def _cache(self):
        return _made(FunctionCache, self._function, self._stamp, numba.__version__)

    @property
    def cache_path(self):
        return self._cache.cache_path

    def load_overload(self, signature, context):
        return self._cache.load_overload(signature, context)

    def save_overload(self, signature, data) -> None:
        self._cache.save_overload(signature, data)

    def flush(self) -> None:
        self._cache.flush()


def _made(kind, function, stamp: bytes | None, version: str):
    try:
        if stamp is None:
            raise FileNotFoundError(f"the sources of {function.__module__} cannot be read")
        return _forgiving(kind)(function, (stamp, version))
    except Exception as error:
        _tell(_beside(function.__code__.co_filename), error)
        return NullCache()


@functools.cache
def _forgiving(kind):
    """A class of Numba's caches that raises nothing, and keeps each entry in a file of its own."""

    class Place(kind._impl_class):
        _locator_classes = (*kind._impl_class._locator_classes, _Beside)

    class Forgiving(kind):
        _impl_class = Place

        def __init__(self, function, of: tuple[bytes, str]):
            super().__init__(function)
            base, dump = self._impl.filename_base, self._cache_file._dump
            self._cache_file = _Entries(Path(self._cache_path), base, of, dump)

        def load_overload(self, sig, target_context):
            try:
                return super().load_overload(sig, target_context)
            except (OSError, MemoryError) as error:
                _tell(self._cache_path, error)
            except Exception as error:  # a damaged file may raise anything
                _tell(self._cache_path, error, damaged=True)
                with contextlib.suppress(Exception):
                    self._cache_file.throw_away(self._index_key(sig, target_context.codegen()))
            return None

        def save_overload(self, sig, data):
            try:
                super().save_overload(sig, data)
            except Exception as error:
                _tell(self._cache_path, error)

        def flush(self):
            try:
                super().flush()
            except OSError as error:
                _tell(self._cache_path, error)

    return Forgiving


class _Beside:
    """The last place that Numba looks in: beside the sources, where nothing can be written.

    What was kept there when it could, as in the making of a container, is read all the same.
    """

    def __init__(self, function, file: str):
        self._py_file, self._line = file, function.__code__.co_firstlineno

    @classmethod
    def from_function(cls, function, file: str):
        return cls(function, file)

    def get_cache_path(self) -> str:
        return _beside(self._py_file)

    def get_source_stamp(self) -> None:
        """None is needed: `stamp` has it."""

    def get_disambiguator(self) -> str:
        return str(self._line)

    def ensure_cache_path(self) -> None:
        os.makedirs(self.get_cache_path(), exist_ok=True)
        tempfile.TemporaryFile(dir=self.get_cache_path()).close()


def _beside(file: str) -> str:
    return os.path.join(os.path.dirname(file), "__pycache__")


# --- files ------------------------------------------------------------------------------------


class _Entries:
    """What a function compiled to, each signature in a file that says what it is of.

    Numba has an index of numbered files. Two processes that write at once, or one that ends between
    the index and a file, leave an index that points to the code of another signature or source.
    """

    def __init__(self, folder: Path, base: str, of: tuple[bytes, str], dump):
        self._folder, self._base, self._of, self._dump = folder, base, of, dump
        self._age = of[0].hex()[:8]

    def load(self, key):
        try:
            content = self._file(key).read_bytes()
        except FileNotFoundError:
            return None
        if content[:_CHECKSUM] != hashlib.sha256(content[_CHECKSUM:]).digest():
            raise ValueError("its checksum is wrong")
        of, data = pickle.loads(content[_CHECKSUM:])
        return data if of == (self._of, key) else None

    def save(self, key, data) -> None:
        content = self._dump(((self._of, key), data))
        file = self._file(key)
        temporary = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
        try:
            temporary.write_bytes(hashlib.sha256(content).digest() + content)
            os.replace(temporary, file)
        finally:
            temporary.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._throw_away_stale()

    def throw_away(self, key) -> None:
        self._file(key).unlink(missing_ok=True)

    def flush(self) -> None:
        for file in self._files(f"{self._base}."):
            file.unlink(missing_ok=True)

    def _file(self, key) -> Path:
        text = f"{self._of[1]} {key}".encode("utf-8", "surrogateescape")
        name = hashlib.sha256(text).hexdigest()[:16]
        return self._folder / f"{self._base}.{self._age}.{name}.nbc"

    def _files(self, start: str) -> list[Path]:
        ends = (".nbc", ".nbi")  # Numba's own index, too: an older version left it
        with os.scandir(self._folder) as found:
            names = [x.name for x in found if x.name.startswith(start) and x.name.endswith(ends)]
        return [self._folder / name for name in names]

    def _throw_away_stale(self) -> None:
        """Forget what the module compiled to before it changed."""
        for file in self._files(f"{self._base.partition('.')[0]}."):
            if f".{self._age}." not in file.name:
                file.unlink(missing_ok=True)


@functools.cache
def stamp(module: str) -> bytes | None:
    """A digest of the sources that compiled code of a module is made from; None without sources.

    Numba looks at the module alone: where a function that it takes from another module changed, the
    code of the old one would go on.
    """
    package = module.rpartition(".")[0]
    found: dict[str, bytes] = {}
    todo = [module]
    while todo:
        name = todo.pop()
        if name not in found and name.rpartition(".")[2] not in _HOST:
            try:
                found[name] = source = _source(name)
            except (ImportError, AttributeError, OSError):
                return None
            for named, listed in _IMPORT.findall(source.decode("utf-8", "replace")):
                names = [named] if named else re.findall(r"\w+", listed)
                todo += [f"{package}.{name}" for name in names]
    digest = hashlib.sha256()
    for name in sorted(found):
        digest.update(f"{name} {len(found[name])}\n".encode() + found[name])
    return digest.digest()


@functools.cache
def _source(module: str) -> bytes:
    spec = importlib.util.find_spec(module)
    return spec.loader.get_data(spec.origin)


# --- the log ----------------------------------------------------------------------------------


def _tell(folder, error: Exception, *, damaged: bool = False) -> None:
    """One warning a process: what comes after it is most likely of the same cause."""
    level = logging.DEBUG if _told.is_set() else logging.WARNING
    _told.set()
    what = "is damaged: it is thrown away" if damaged else "cannot be kept"
    where = f"NUMBA_CACHE_DIR, now {config.CACHE_DIR!r}," if config.CACHE_DIR else "NUMBA_CACHE_DIR"
    why = getattr(error, "strerror", None) or str(error) or type(error).__name__
    log.log(
        level,
        "compiled code in %r %s, and compiled anew (%s); the variable %s names another folder",
        str(folder), what, " ".join(why.split()), where,
    )  # fmt: skip
