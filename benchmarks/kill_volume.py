"""Kill a job at random moments, twenty times, and compare its result with one that ran through.

python benchmarks/kill_volume.py --kills 20
"""

from __future__ import annotations

import argparse
import contextlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import phantom

JOB = """
import sys
from gpuseg import volume
import gpuseg.volume._job as job
job._SIDES = {3: (64,)}
volume.segment(sys.argv[1], sys.argv[2], method="hysteresis", low=10800., high=11500., sigma=1.0,
               min_size=10, label=True, levels=3)
"""


def start(scan, output):
    return subprocess.Popen([sys.executable, "-c", JOB, str(scan), str(output)])


def content(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        scan = Path(folder, "scan.zarr")
        phantom.write(scan, given.side)
        through, output = Path(folder, "through.ome.zarr"), Path(folder, "killed.ome.zarr")
        began = time.perf_counter()
        if start(scan, through).wait():
            raise SystemExit("the job failed")
        whole = time.perf_counter() - began
        kills = ended = 0
        left: list[int] = []
        while kills < given.kills:
            child = start(scan, output)
            began = time.perf_counter()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(chance.uniform(0.2, 1.0) * whole)
            if child.poll() is None:
                child.send_signal(signal.SIGKILL)
                kills += 1
                child.wait()
                left.append(len(list(Path(folder).glob("*.gpuseg-work/done/*/*"))))
            elif child.returncode:
                raise SystemExit(f"the job failed after {kills} kills")
            else:
                whole = min(whole, time.perf_counter() - began)
            if output.exists():
                ended += 1
                _same(through, output)
                subprocess.run(["rm", "-r", output], check=True)
        if start(scan, output).wait():
            raise SystemExit("the job failed after the last kill")
        _same(through, output)
        print(f"{kills} kills, {ended + 1} jobs ended, each in the same bytes; "
              f"parts done at each kill: {left}")  # fmt: skip


def _same(one: Path, other: Path) -> None:
    a, b = content(one), content(other)
    strange = [name for name in sorted(a.keys() | b.keys()) if a.get(name) != b.get(name)]
    # The name of the image is in its metadata.
    if strange != ["zarr.json"]:
        raise SystemExit(f"different: {strange}")


if __name__ == "__main__":
    main()
