"""The fuzz for a short time; by hand it runs for as long as one likes (see run.py)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz import calls, others

from gpuseg._public import functions

RUN = Path(__file__).with_name("run.py")
SECONDS = float(os.environ.get("GPUSEG_FUZZ_SECONDS", "12"))
# The same calls in every run, so that only a commit can turn it red; run.py makes new ones.
CALLS = {"good": 60, "bad": 1000}


def faults(*options):
    """What a run of calls says; each is made in a process of its own, which may die of it."""
    command = [sys.executable, str(RUN), *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "DONE" not in done.stdout:
        last = [line for line in done.stdout.splitlines() if line.startswith("CALL")][-1:]
        pytest.fail(f"the process ended with {done.returncode} in {last}: {done.stderr[-3000:]}")
    return "\n".join(line for line in done.stdout.splitlines() if not line.startswith("CALL"))


def test_every_public_function_is_called():
    assert set(functions()) | set(others.CASES) == set(calls.NAMES)


@pytest.mark.parametrize("kind", ["good", "bad"])
def test_no_call_crashes_hangs_or_writes_to_its_inputs(kind):
    found = faults(f"--{kind}", "--seed", 0, "--seconds", SECONDS, "--calls", CALLS[kind])
    assert "FAULT" not in found, found


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_a_call_can_be_made_again():
    first, second = (str(calls.Call(3, 5)) for _ in range(2))
    assert first == second
