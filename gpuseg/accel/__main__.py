"""``python -m gpuseg.accel [-v] [--profile] script.py|-m module|-c code [arguments]``.

``-v`` tells of every call where it ran and why, ``--profile`` prints a table of them at the end,
``--always`` serves what can be served, not only what is faster.
"""

from __future__ import annotations

import logging
import os
import runpy
import sys

USAGE = (
    "usage: python -m gpuseg.accel [-v] [--profile] [--always] "
    "script.py | -m module | -c code [arguments]"
)


def main(argv: list[str]) -> int:
    options = {"-v": False, "--profile": False, "--always": False}
    while argv and argv[0] in options:
        options[argv.pop(0)] = True
    if not argv or argv[0] in {"-h", "--help"}:
        print(USAGE, file=sys.stderr if not argv else sys.stdout)
        return 0 if argv else 2
    kind = argv.pop(0) if argv[0] in {"-m", "-c"} else ""
    if (kind and not argv) or (not kind and argv[0].startswith("-")):
        print(f"{USAGE}\ngpuseg.accel: unknown or incomplete option {kind or argv[0]}",
              file=sys.stderr)  # fmt: skip
        return 2
    from . import _profile, install

    if options["-v"]:
        _tell_on_stderr()
    install(always=options["--always"])
    if not options["--profile"]:
        _run(kind, argv)
        return 0
    with _profile.profiling() as profile:
        try:
            _run(kind, argv)
        finally:
            print(profile, file=sys.stderr)
    return 0


def _tell_on_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    log = logging.getLogger("gpuseg.accel")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


def _run(kind: str, argv: list[str]) -> None:
    """Run what python would run, with its arguments and its first place to import from."""
    if kind == "-c":
        code, sys.argv = argv[0], ["-c", *argv[1:]]
        sys.path[0] = ""
        exec(compile(code, "<string>", "exec"), vars(_main_module()))
    elif kind == "-m":
        sys.argv = list(argv)
        sys.path[0] = os.getcwd()
        runpy.run_module(argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(argv)
        sys.path[0] = os.path.dirname(os.path.abspath(argv[0]))
        with open(argv[0], "rb") as file:
            code = file.read()
        exec(compile(code, argv[0], "exec"), vars(_main_module(argv[0])))


def _main_module(file: str | None = None):
    """A module in the place of this one, which stays there: what is pickled looks it up."""
    module = type(sys)("__main__")
    if file is not None:
        module.__file__ = file
    sys.modules["__main__"] = module
    return module


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
