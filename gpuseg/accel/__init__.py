"""Scripts written for scikit-image, SciPy and scikit-learn, served by gpuseg unchanged.

``python -m gpuseg.accel script.py`` runs a script so, ``%load_ext gpuseg.accel`` a notebook, and
`install` a process. Names are replaced in the packages' own dictionaries: calls from inside those
packages stay theirs, and so does every call that gpuseg does not serve with the same answer, or
not faster.
"""

from __future__ import annotations

from ._patch import install, installed, replace_in, uninstall

__all__ = [
    "install",
    "installed",
    "load_ipython_extension",
    "profile",
    "uninstall",
    "unload_ipython_extension",
]


def profile():
    """Collect what is served while a block runs, and what is not and why; prints as a table.

    Examples
    --------
    >>> import gpuseg.accel
    >>> with gpuseg.accel.profile() as calls:
    ...     pass
    >>> print(calls)
    function  gpuseg  where  seconds  original  seconds  why
    """
    from ._profile import profiling

    return profiling()


def load_ipython_extension(shell) -> None:
    """``%load_ext gpuseg.accel``; names that the notebook has imported before count too."""
    install()
    replace_in(shell.user_ns)


def unload_ipython_extension(shell) -> None:
    """``%unload_ext gpuseg.accel``."""
    replace_in(shell.user_ns, back=True)
    uninstall()
