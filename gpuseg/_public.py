"""The public functions: what stands in the README's table, and is verified and calibrated."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable

from ._backend import find

TOPICS = ("filters", "morphology", "measure", "metrics", "segmentation", "features", "estimators")


def functions() -> dict[str, Callable]:
    """Every public function, by topic and name."""
    found = {}
    for topic in TOPICS:
        namespace = importlib.import_module(f"gpuseg.{topic}")
        for name in namespace.__all__:
            function = getattr(namespace, name)
            if inspect.isfunction(function):
                found[f"{topic}.{name}"] = function
    return found


def dispatched(function: Callable) -> bool:
    """Whether a public function has forms for backends; else it is composed of other calls."""
    return _named(function, "cpu") or _named(function, "sim")


def _named(function: Callable, kind: str) -> bool:
    try:
        find(function.via, kind)
    except NotImplementedError:
        return False
    return True
