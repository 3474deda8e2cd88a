"""What stands in the place of a function of another package.

A warning of the original function must point at the line that called it, as it does without us.
Python leaves frames out of the count of ``stacklevel`` whose file name holds both "importlib" and
"_bootstrap"; so this file has its name.
"""

from __future__ import annotations

import functools
import inspect
import sys
import time
from collections.abc import Callable

from ._inside import inside
from ._serve import MISSED, Served


def stand_in(package: str, name: str, form: Callable, original: Callable):
    """A function for the place of an original one, pickled by its public name as that one is.

    `form` gives the form of ours, when the first call asks for it.
    """
    served = Served(f"{package}.{name}", form, original)
    attempt, frame = served.attempt, sys._getframe

    @functools.wraps(original)
    def call(*args, **kwargs):
        if inside(frame(1).f_globals.get("__name__")):
            return original(*args, **kwargs)
        result = attempt(args, kwargs)
        if result is not MISSED:
            return result
        if served.watch is None:
            return original(*args, **kwargs)
        start = time.perf_counter()
        try:
            return original(*args, **kwargs)
        finally:
            served.spent(time.perf_counter() - start)

    call.__module__, call.__name__, call.__qualname__ = package, name, name
    # The originals that warn count what is wrapped around them; they need not know of us.
    call.__signature__ = inspect.signature(original)
    del call.__wrapped__
    if hasattr(original, "__wrapped__"):
        call.__wrapped__ = original.__wrapped__
    call.gpuseg_original = original
    return call
