"""Runs a test suite with gpuseg serving: ``python -m pytest -p gpuseg.accel.pytest_plugin``.

Whatever can be served is, not only what pays. ``--accel-departures FILE`` names a TOML file of the
tests that are expected to fail, ``"path::test" = "reason"``, where ``[*]`` stands for whatever a
test is parametrized with: such a test is an expected failure, and one that passes after all is a
failure. What was served is told at the end; ``--accel-report FILE`` writes the outcome as JSON.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from . import _profile, install

_DEPARTURES = pytest.StashKey[dict]()
_EXPECTED = pytest.StashKey[set]()
_PROFILE = pytest.StashKey[_profile.Profile]()


def pytest_addoption(parser) -> None:
    group = parser.getgroup("gpuseg.accel")
    group.addoption("--accel-departures", type=Path, metavar="FILE", help="expected failures")
    group.addoption("--accel-off", action="store_true", help="serve nothing")
    group.addoption("--accel-report", type=Path, metavar="FILE", help="the outcome, as JSON")


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config):
    """Before anything of the suite is imported."""
    given = early_config.known_args_namespace
    if not given.accel_off:
        install(always=True)
        _make_known_to_scipy()
    file = given.accel_departures
    text = file.read_text(encoding="utf-8") if file else ""
    early_config.stash[_DEPARTURES] = tomllib.loads(text)
    early_config.stash[_EXPECTED] = set()
    watching = _profile.profiling()
    early_config.stash[_PROFILE] = watching.__enter__()
    early_config.add_cleanup(lambda: watching.__exit__(None, None, None))
    return (yield)


def _make_known_to_scipy() -> None:
    """SciPy's tests look up the functions that they test, to mark themselves."""
    import scipy.ndimage
    from scipy._lib._array_api import xp_capabilities_table as table

    for thing in list(vars(scipy.ndimage).values()):
        original = getattr(thing, "gpuseg_original", None)
        if original in table:
            table[thing] = table[original]


def pytest_collection_modifyitems(config, items) -> None:
    departures = config.stash[_DEPARTURES]
    for item in items:
        for name in (item.nodeid, f"{item.nodeid.partition('[')[0]}[*]"):
            if name in departures:
                item.add_marker(pytest.mark.xfail(reason=departures[name], strict=True))
                config.stash[_EXPECTED].add(item.nodeid)


def pytest_sessionfinish(session) -> None:
    """A worker of pytest-xdist tells what it served."""
    config = session.config
    if hasattr(config, "workeroutput"):
        config.workeroutput["gpuseg.accel"] = {
            "rows": config.stash[_PROFILE].plain(),
            "expected": sorted(config.stash[_EXPECTED]),
        }


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error) -> None:
    """Add what a worker served to what is told at the end."""
    told = getattr(node, "workeroutput", {}).get("gpuseg.accel")
    if told is not None:  # a worker that crashed tells nothing
        node.config.stash[_PROFILE].add(told["rows"])
        node.config.stash[_EXPECTED].update(told["expected"])


def pytest_terminal_summary(terminalreporter, config) -> None:
    ids = {
        kind: [report.nodeid for report in terminalreporter.stats.get(kind, ())]
        for kind in ("passed", "failed", "error", "xfailed")
    }
    expected = config.stash[_EXPECTED]
    outcome = {
        "passed": len(ids["passed"]),
        "failed": ids["failed"] + ids["error"],
        "departures": [name for name in ids["xfailed"] if name in expected],
        "served": {path: row.served for path, row in config.stash[_PROFILE].rows.items()},
    }
    terminalreporter.section("gpuseg.accel")
    terminalreporter.write_line(str(config.stash[_PROFILE]))
    terminalreporter.write_line(
        f"{sum(outcome['served'].values())} calls served; {outcome['passed']} tests passed, "
        f"{len(outcome['departures'])} departed as expected, {len(outcome['failed'])} failed"
    )
    if config.option.accel_report:
        config.option.accel_report.write_text(json.dumps(outcome), encoding="utf-8")
