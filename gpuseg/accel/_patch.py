"""Names replaced in packages: at once where a package is loaded, else when it is."""

from __future__ import annotations

import importlib.abc
import sys
from types import ModuleType

from ._inside import inside
from ._table import ALIASES, PACKAGES, estimators, served

_MISSING = object()
# What was in the place of a name: (module, name, what stood in its dictionary or _MISSING).
_replaced: list[tuple[ModuleType, str, object]] = []
_installed = False


def install(*, always: bool = False) -> None:
    """Let gpuseg serve what scripts call of scikit-image, SciPy's images and scikit-learn.

    Names are replaced in those packages, in the ones that are imported later too. A name that a
    script has imported before is not: install first, then import.

    Parameters
    ----------
    always : bool, optional
        Serve what can be served, not only what is faster: to test the answers.

    Examples
    --------
    >>> import gpuseg.accel
    >>> gpuseg.accel.install()
    >>> from skimage.filters import threshold_otsu
    >>> gpuseg.accel.uninstall()
    """
    global _installed
    from ._costs import purse

    purse.always = always
    if _installed:
        return
    _installed = True
    sys.meta_path.insert(0, _Finder())
    for package in PACKAGES:
        if package in sys.modules:
            _patch_package(sys.modules[package])


def uninstall() -> None:
    """Put the original names back. What a script has imported meanwhile goes on being served."""
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
    """Whether names are replaced."""
    return _installed


def replace_in(namespace: dict, *, back: bool = False) -> None:
    """Replace what was imported into a namespace before, or put it back."""
    for name, thing in list(namespace.items()):
        if back and hasattr(thing, "gpuseg_original"):
            namespace[name] = thing.gpuseg_original
        elif not back and (stand_in := _stand_in_of(thing)) is not None:
            namespace[name] = stand_in


def _stand_in_of(thing):
    """What stands in the place of a function or class that some package has."""
    if not (callable(thing) and inside(getattr(thing, "__module__", None))):
        return None
    for package in PACKAGES:
        if package not in sys.modules:
            continue
        names = vars(sys.modules[package])
        try:
            there = names.get(thing.__name__) or names["__getattr__"].find(
                thing.__name__, theirs=False
            )
        except AttributeError:
            continue
        if getattr(there, "gpuseg_original", None) is thing:
            return there
    return None


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
        # The module is its loader's: only the moment after it has run is ours.
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        if _installed:
            (_patch_package if module.__name__ in PACKAGES else _patch_defining)(module)


def _defines(module: str) -> bool:
    """Whether a module of scikit-image defines public functions and has a public name itself.

    Names are replaced there too, as people import from there; but only before anybody can have
    the original function, which can no longer be pickled: its name leads to another.
    """
    package, _, name = module.rpartition(".")
    return package.startswith("skimage.") and package in PACKAGES and not name.startswith("_")


# --- names ------------------------------------------------------------------------------------


def _patch_package(module: ModuleType) -> None:
    """Replace the functions that are there, and see to the names that are asked for later.

    Estimators are taken away until somebody asks for them: ours need the originals of several
    packages, which may be in the midst of being imported.
    """
    package, names = module.__name__, vars(module)
    for name in (served(package).keys() | ALIASES.get(package, {}).keys()) & names.keys():
        _replace(module, name, _function(package, name, names[name]))
    hidden = {name: names[name] for name in estimators(package) if name in names}
    _replace(module, "__getattr__", _asked(module, names.get("__getattr__"), hidden))
    for name in hidden:
        _replaced.append((module, name, names.pop(name)))


def _patch_defining(module: ModuleType) -> None:
    package = module.__name__.rpartition(".")[0]
    for name in served(package):
        thing = vars(module).get(name)
        if getattr(thing, "__module__", None) == module.__name__:
            _replace(module, name, _function(package, name, thing))


def _asked(module: ModuleType, loads, hidden: dict):
    """What is asked for a name that is not in a package's dictionary; `loads` was asked before."""
    package = module.__name__

    def find(name: str, *, theirs: bool):
        if name in hidden:
            # Not kept in the dictionary: libraries that ask later must have theirs.
            return hidden[name] if theirs else _class(package, name, hidden[name])
        if loads is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        thing = loads(name)
        if not theirs and (name in served(package) or name in ALIASES.get(package, ())):
            thing = _function(package, name, thing)
            _replace(module, name, thing)
        return thing

    def __getattr__(name: str):
        return find(name, theirs=inside(sys._getframe(1).f_globals.get("__name__")))

    __getattr__.find = find
    return __getattr__


_stand_ins: dict = {}


def _function(package: str, name: str, thing):
    """What takes the place of an original function, one for all places where it stands."""
    package = ALIASES.get(package, {}).get(name, package)
    from ._importlib_bootstrap import stand_in  # imports NumPy

    original = getattr(thing, "gpuseg_original", thing)
    if original not in _stand_ins:
        _stand_ins[original] = stand_in(package, name, served(package)[name], original)
    return _stand_ins[original]


def _class(package: str, name: str, original: type) -> type:
    from ._estimators import stand_in_class

    if original not in _stand_ins:
        _stand_ins[original] = stand_in_class(package, name, original)
    return _stand_ins[original]


def _replace(module: ModuleType, name: str, thing) -> None:
    before = vars(module).get(name, _MISSING)
    # A package has by import what was replaced where it is defined.
    _replaced.append((module, name, getattr(before, "gpuseg_original", before)))
    setattr(module, name, thing)
