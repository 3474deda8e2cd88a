"""Ten scripts in the style of scikit-image's gallery, as they are and under `gpuseg.accel`.

    python benchmarks/accel_scripts.py [--rounds 3] [--json FILE] [NAME ...]

Each run is a process of its own, start and imports included; both ways take turns, and the least
time of each counts. What both ways save must be the same, floating point to 1e-4 of the largest
value, but for one pixel of 10 000 that a last digit tips to another side; how many, is told.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

# The share of a result that may differ.
TIPPED = 1e-4
SCRIPTS = Path(__file__).parent / "scripts"


def run(name: str, output: Path, *, accelerated: bool) -> float:
    """Seconds that a script takes."""
    command = [sys.executable, *["-m", "gpuseg.accel"] * accelerated]
    start = time.perf_counter()
    subprocess.run([*command, SCRIPTS / f"{name}.py", output], check=True, env=os.environ)
    return time.perf_counter() - start


def differences(ours: Path, theirs: Path) -> dict[str, float]:
    """The share of each result that differs, where any does."""
    with np.load(ours) as a, np.load(theirs) as b:
        if a.files != b.files:
            raise ValueError(f"{ours} holds {a.files}, {theirs} {b.files}")
        shares = {key: _share(a[key], b[key]) for key in a.files}
    return {key: share for key, share in shares.items() if share}


def _share(x, y) -> float:
    if x.shape != y.shape or x.dtype != y.dtype:
        return 1.0
    if x.dtype.kind == "f":
        return float(
            1 - np.isclose(x, y, rtol=0, atol=1e-4 * np.abs(y).max(), equal_nan=True).mean()
        )
    return float((x != y).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = sorted(path.stem for path in SCRIPTS.glob("*.py"))
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="Where the figures go.")
    given = parser.parse_args()
    rows = []
    print(f"{'script':12} {'plain':>8} {'accel':>8} {'times':>6}")
    with tempfile.TemporaryDirectory() as folder:
        plain, ours = Path(folder, "plain.npz"), Path(folder, "ours.npz")
        for name in given.names or names:
            taken = {False: math.inf, True: math.inf}
            for _ in range(given.rounds):
                for accelerated, output in ((False, plain), (True, ours)):
                    seconds = run(name, output, accelerated=accelerated)
                    taken[accelerated] = min(taken[accelerated], seconds)
            found = differences(ours, plain)
            rows.append({"script": name, "plain_s": taken[False], "accel_s": taken[True],
                         "differs": found})  # fmt: skip
            print(f"{name:12} {taken[False]:7.2f}s {taken[True]:7.2f}s "
                  f"{taken[False] / taken[True]:6.2f}",
                  *(f"{key}: {share:.4%} differs" for key, share in found.items()),
                  flush=True)  # fmt: skip
    before, after = (sum(row[key] for row in rows) for key in ("plain_s", "accel_s"))
    print(f"{'together':12} {before:7.2f}s {after:7.2f}s {before / after:6.2f}")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")
    if any(share > TIPPED for row in rows for share in row["differs"].values()):
        raise SystemExit("answers differ")


if __name__ == "__main__":
    main()
