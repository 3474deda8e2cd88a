"""Names replaced in packages: at once where a package is loaded, else when it is."""

from __future__ import annotations

import functools
import importlib.abc
import sys
from types import ModuleType

from ._table import PACKAGES, served

# What was in the place of a name: (module, name, what stood in its dictionary or MISSING).
_MISSING = object()
_replaced: list[tuple[ModuleType, str, object]] = []
_installed = False


def install() -> None:
    global _installed
    if _installed:
        return
    _installed = True
    sys.meta_path.insert(0, _Finder())
    for package in PACKAGES:
        if package in sys.modules:
            _patch_package(sys.modules[package])


def uninstall() -> None:
    global _installed
    _installed = False
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]
    while _replaced:
        module, name, before = _replaced.pop()
        if before is _MISSING:
            vars(module).pop(name, None)
        else:
            setattr(module, name, before)


def installed() -> bool:
    return _installed


# --- packages that are imported later ---------------------------------------------------------


class _Finder(importlib.abc.MetaPathFinder):
    """Finds packages as the finders behind it do, and patches them once they are loaded."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname not in PACKAGES and not _defines(fullname):
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader(importlib.abc.Loader):
    def __init__(self, loader):
        self.loader = loader

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        # The module is the loader's own: only the moment after it has run is ours.
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        if _installed:
            (_patch_package if module.__name__ in PACKAGES else _patch_defining)(module)


def _defines(module: str) -> bool:
    """Whether a module is one of scikit-image's that define public functions, with a public name.

    Names are replaced there too, as people import from there. Only before anybody can have the
    original function: that one can no longer be pickled, as its name leads to another.
    """
    package, _, name = module.rpartition(".")
    return package.startswith("skimage.") and package in PACKAGES and not name.startswith("_")


# --- names ------------------------------------------------------------------------------------


def _patch_package(module: ModuleType) -> None:
    package = module.__name__
    if package.startswith("skimage.") and "__getattr__" in vars(module):
        # Its functions are loaded when they are asked for: what is asked is replaced.
        _replace(module, "__getattr__", _lazily(module, vars(module)["__getattr__"]))
    for name in set(_wanted(package)) & set(vars(module)):
        _replace(module, name, stand_in_for(package, name, vars(module)[name]))


def _patch_defining(module: ModuleType) -> None:
    package = module.__name__.rpartition(".")[0]
    for name in _wanted(package):
        thing = vars(module).get(name)
        if getattr(thing, "__module__", None) == module.__name__:
            _replace(module, name, stand_in_for(package, name, thing))


def _lazily(module: ModuleType, getattr_of_package):
    package = module.__name__

    @functools.wraps(getattr_of_package)
    def lazily(name: str):
        thing = getattr_of_package(name)
        if not _installed or name not in _wanted(package):
            return thing
        # The package keeps a function that has the name of its module.
        vars(module).pop(name, None)
        _replace(module, name, stand_in_for(package, name, thing))
        return vars(module)[name]

    return lazily


@functools.cache
def _wanted(package: str) -> dict:
    return served(package)


_stand_ins: dict = {}


def stand_in_for(package: str, name: str, thing):
    """What takes the place of an original function, one for all places where it stands."""
    from ._importlib_bootstrap import stand_in
    from ._serve import Served

    original = getattr(thing, "gpuseg_served", None)
    original = thing if original is None else original.original
    if original not in _stand_ins:
        served_by = Served(f"{package}.{name}", _wanted(package)[name], original)
        _stand_ins[original] = stand_in(served_by, package)
    return _stand_ins[original]


def _replace(module: ModuleType, name: str, thing) -> None:
    _replaced.append((module, name, vars(module).get(name, _MISSING)))
    setattr(module, name, thing)
