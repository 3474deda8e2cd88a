"""scikit-image's own dispatching: gpuseg as one of its backends, of the same table.

scikit-image asks every installed backend for the functions that it dispatches (a few so far). This
one has none of them while `gpuseg.accel.install` has not been called.
"""

from __future__ import annotations

import functools
from collections.abc import Set

from ._patch import installed
from ._table import PACKAGES, served


def information():
    """What scikit-image asks of a backend before any call."""
    from skimage.util._backends import BackendInformation

    return BackendInformation(_WhileInstalled())


class _WhileInstalled(Set):
    """The names of the functions that are served, as "skimage.filters:gaussian"."""

    def __contains__(self, name) -> bool:
        package, _, function = name.partition(":")
        return installed() and package in PACKAGES and function in served(package)

    def __iter__(self):
        packages = [name for name in PACKAGES if name.startswith("skimage.") and installed()]
        return iter([f"{package}:{name}" for package in packages for name in served(package)])

    def __len__(self) -> int:
        return sum(1 for _ in self)


def can_has(name: str, *args, **kwargs) -> bool:
    """Whether a call is to be served."""
    return installed() and not _served(name).refuses(args, kwargs)


def get_implementation(name: str):
    """The function that serves it; what it cannot serve after all goes to the original."""
    from ._serve import MISSED

    entry = _served(name)

    def call(*args, **kwargs):
        result = entry.attempt(args, kwargs)
        return entry.original(*args, **kwargs) if result is MISSED else result

    return call


@functools.cache
def _served(name: str):
    from importlib import import_module

    from ._serve import Served

    package, _, function = name.partition(":")
    thing = getattr(import_module(package), function)
    # What it wraps is the function itself: to go to the wrapper would be to dispatch again.
    return Served(f"{package}.{function}", served(package)[function], _unwrapped(thing))


def _unwrapped(thing):
    thing = getattr(thing, "gpuseg_original", thing)
    while _dispatches(thing):
        thing = thing.__wrapped__
    return thing


def _dispatches(thing) -> bool:
    """Whether a function is the wrapper that scikit-image's dispatching makes."""
    code = getattr(thing, "__code__", None)
    return code is not None and code.co_filename.endswith("_backends.py")
