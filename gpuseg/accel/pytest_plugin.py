"""Runs a test suite with gpuseg serving: ``python -m pytest -p gpuseg.accel.pytest_plugin``.

Whatever can be served is, not only what pays. ``--accel-departures FILE`` names a TOML file of the
tests that are expected to fail, ``"path::test" = "reason"``, where ``*`` stands for anything in
what a test is parametrized with: such a test is an expected failure, and one that passes after all
is a failure. At the end stands what was served, how often, and how many tests passed.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from . import _profile, install

_departures: dict[str, str] = {}
_used: set[str] = set()
_watch = _profile.profiling()
_profile_of_run = None


def pytest_addoption(parser) -> None:
    group = parser.getgroup("gpuseg.accel")
    group.addoption("--accel-departures", type=Path, metavar="FILE", help="expected failures")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config) -> None:
    """Before anything of the suite is imported."""
    global _profile_of_run
    install(always=True)
    _profile_of_run = _watch.__enter__()
    if (file := early_config.known_args_namespace.accel_departures) is not None:
        _departures.update(tomllib.loads(file.read_text(encoding="utf-8")))


def pytest_collection_modifyitems(items) -> None:
    for item in items:
        for name in (item.nodeid, f"{item.nodeid.partition('[')[0]}[*]"):
            if name in _departures:
                _used.add(name)
                item.add_marker(pytest.mark.xfail(reason=_departures[name], strict=True))


def pytest_terminal_summary(terminalreporter) -> None:
    count = {kind: len(terminalreporter.stats.get(kind, ())) for kind in
             ("passed", "failed", "error", "xfailed")}  # fmt: skip
    ran = sum(count.values())
    terminalreporter.section("gpuseg.accel")
    terminalreporter.write_line(str(_profile_of_run))
    terminalreporter.write_line(
        f"{count['passed']} of {ran} tests passed with gpuseg serving "
        f"({100 * count['passed'] / max(ran, 1):.2f} %), {count['xfailed']} are known departures"
    )
