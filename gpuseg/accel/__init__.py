"""Scripts written for scikit-image, SciPy and scikit-learn, served by gpuseg unchanged.

``python -m gpuseg.accel script.py`` runs a script so, ``%load_ext gpuseg.accel`` a notebook, and
`install` a process. Names are replaced in the packages' own dictionaries: calls from inside those
packages stay theirs, and so does every call that gpuseg does not serve with the same answer, or
not faster.
"""

from __future__ import annotations

from ._patch import install, installed, uninstall

__all__ = [
    "install",
    "installed",
    "load_ipython_extension",
    "uninstall",
    "unload_ipython_extension",
]


def load_ipython_extension(shell) -> None:
    """``%load_ext gpuseg.accel``."""
    install()


def unload_ipython_extension(shell) -> None:
    """``%unload_ext gpuseg.accel``."""
    uninstall()
