"""Whether a call is served, by what, and what comes back."""

from __future__ import annotations

import functools
import inspect
import logging
import sys
import time
from collections.abc import Callable

import numpy as np

from .._backend import Backend, Unserved, choose, crossover_of, find
from . import _cache
from ._costs import WORK, purse
from ._limits import RULES

log = logging.getLogger("gpuseg.accel")

# What an attempt returns where the original function must be called.
MISSED = object()


def as_table(x):
    """A list or a pandas object of numbers as the array that scikit-learn makes of it.

    What has no such array, and whatever else comes, is returned as it is.
    """
    pandas = sys.modules.get("pandas")
    if not isinstance(x, list | tuple) and not (
        pandas is not None and isinstance(x, pandas.DataFrame | pandas.Series)
    ):
        return x
    try:
        array = np.asarray(x)
    except (TypeError, ValueError):
        return x
    return array if array.dtype.kind in "buif" else x


class Ledger:
    """What is told of the calls of one name."""

    # What collects the calls for a profile; None while there is none.
    watch = None

    def __init__(self, path: str):
        self.path = path

    def place(self, size: int) -> tuple[Backend, str]:
        """Where ours would run for so many values, and why."""
        return choose(())

    def served(self, array, seconds: float) -> None:
        if not log.isEnabledFor(logging.INFO) and self.watch is None:
            return
        where, why = self.place(array.size)
        if log.isEnabledFor(logging.INFO):
            shape = "x".join(map(str, array.shape))
            log.info("%s: %s, %s %s, %.2f ms (%s)", self.path, where, shape, array.dtype,
                     seconds * 1e3, why)  # fmt: skip
        if self.watch is not None:
            self.watch.served(self.path, str(where), seconds)

    def missed(self, reason: str) -> None:
        if log.isEnabledFor(logging.INFO):
            log.info("%s: original (%s)", self.path, reason)
        if self.watch is not None:
            self.watch.missed(self.path, reason)

    def spent(self, seconds: float) -> None:
        """What an original call took."""
        if self.watch is not None:
            self.watch.original(self.path, seconds)


class Served(Ledger):
    """A function of another package, the form of ours that can serve it, and for which calls."""

    def __init__(self, path: str, form: Callable, original: Callable):
        super().__init__(path)
        self._form, self.original = form, original
        self.rule, self.work = RULES.get(path), WORK.get(path)
        self.first = next(iter(inspect.signature(original).parameters))
        # scikit-learn takes columns in any container, scikit-image its images as arrays.
        self.takes_columns = path.startswith("sklearn.")

    @functools.cached_property
    def form(self) -> Callable:
        return self._form()

    @functools.cached_property
    def names(self) -> frozenset[str]:
        """The arguments that mean the same to both."""
        return _shared(self.form, self.original)

    @functools.cached_property
    def positional(self) -> int:
        """How many of them can be given by position."""
        return _positional(self.form, self.original, self.names)

    def _given(self, args: tuple, kwargs: dict) -> dict:
        """The arguments of a call by their names."""
        return dict(zip(_parameters(self.original), args)) | kwargs

    def _writes(self, args: tuple, kwargs: dict) -> bool:
        """Whether an array of the script's is written to, for which a copy must not stand."""
        given = self._given(args, kwargs)
        return given.get("out") is not None or bool(given.get("in_place"))

    def attempt(self, args: tuple, kwargs: dict):
        """The result of our form, or MISSED with the reason told."""
        if self.takes_columns:
            args = tuple(map(as_table, args))
            kwargs = {name: as_table(value) for name, value in kwargs.items()}
        reason = self.refuses(args, kwargs)
        if not reason:
            start = time.perf_counter()
            try:
                array = args[0] if args else kwargs[self.first]
                backend = self.place(array.size)[0]
                if backend.kind == "cuda" and not self._writes(args, kwargs):
                    result = _cache.run(backend, self.form, args, kwargs)
                else:
                    result = self.form(*args, **kwargs)
            except Unserved as refusal:
                reason = str(refusal)
            except Exception as error:
                # The original's answer, or the error that it raises, is what was asked for.
                reason = f"{type(error).__name__}: {error}"
            else:
                self.served(array, time.perf_counter() - start)
                return result
        self.missed(reason)
        return MISSED

    def refuses(self, args: tuple, kwargs: dict) -> str:
        """Why a call is not served; empty where it may be."""
        if len(args) > self.positional:
            return f"more than {self.positional} arguments by position"
        if kwargs and not kwargs.keys() <= self.names:
            return f"argument {min(kwargs.keys() - self.names)!r} is not served"
        image = args[0] if args else kwargs.get(self.first)
        if type(image) is not np.ndarray:
            return f"{self.first} is no NumPy array, but {type(image).__name__}"
        if image.dtype.kind not in "buif" or image.dtype.itemsize > 8:
            return f"{self.first} holds {image.dtype}"
        if not image.size or not image.ndim:
            return f"{self.first} has shape {image.shape}"
        for value in (*args, *kwargs.values()):
            if not isinstance(value, np.ndarray):
                continue
            if type(value) is not np.ndarray:
                return f"an argument is a {type(value).__name__}"
            # The originals refuse some of these and return others in the type that they came in.
            if value.dtype == np.float16 or not value.dtype.isnative:
                return f"an array of {value.dtype}"
        try:
            reason = self.rule(image, self._given(args, kwargs)) if self.rule else ""
            more = self.work(self._given(args, kwargs)) if self.work else 1
        except Exception as error:
            return f"{type(error).__name__}: {error}"  # the original tells what is wrong
        if reason or purse.always or self.place(image.size)[0].kind != "cpu":
            return reason
        return purse.why_not(self.path, image.size * more)

    def place(self, size: int) -> tuple[Backend, str]:
        backend, why = choose(())
        if backend.kind != "cuda":
            return backend, why
        function = getattr(self.form, "stands_for", self.form)
        function = getattr(function, "via", function)
        if not _has_gpu_form(function):
            return Backend("cpu"), "there is no GPU form"
        least = crossover_of(function, backend, why)
        if size < least:
            return Backend("cpu"), f"under the crossover of {least:g}"
        return backend, why


@functools.cache
def _has_gpu_form(function: Callable) -> bool:
    try:
        return find(function, "cuda")[1] == "_cuda"
    except NotImplementedError:
        return True  # it is made of others


@functools.cache
def _parameters(function: Callable) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(function).parameters)


def _shared(form: Callable, original: Callable) -> frozenset[str]:
    """The arguments that mean the same to both: of one name, with one default."""
    ours, theirs = _parameters(form), _parameters(original)
    return frozenset(
        name for name, one in theirs.items() if name in ours and _same(ours[name].default, one)
    )


def _same(default, parameter: inspect.Parameter) -> bool:
    theirs = parameter.default
    if parameter.default is inspect.Parameter.empty or default is inspect.Parameter.empty:
        return True  # whoever calls gives it, or the other one takes it for not given
    return type(default) is type(theirs) and default == theirs


def _positional(form: Callable, original: Callable, names: frozenset[str]) -> int:
    """How many arguments by position mean the same to both."""
    count = 0
    for ours, theirs in zip(_parameters(form).values(), _parameters(original).values()):
        by_position = {ours.kind, theirs.kind} <= {
            inspect.Parameter.POSITIONAL_ONLY,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
        }
        if ours.name != theirs.name or theirs.name not in names or not by_position:
            break
        count += 1
    return count
