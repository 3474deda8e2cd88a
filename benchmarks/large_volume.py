"""Volumes from file to file under a limit of memory: throughput and peak, by size, and a plot.

    python benchmarks/large_volume.py --sides 256 512 1024 --memory 4GB --folder /with/room

Each job is a process of its own. Its memory is what the operating system counts as resident for it
and all its children, sampled fifty times a second.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import phantom
import psutil

CASES = {
    "otsu": ["--method", "otsu", "--sigma", "1", "--label"],
    "hysteresis": ["--method", "hysteresis", "--low", "10800", "--high", "11500", "--sigma", "1",
                   "--label"],
}  # fmt: skip


def run(arguments) -> tuple[float, int]:
    """Seconds, and the peak of resident memory of the process and all below it."""
    command = [sys.executable, "-c", "from gpuseg.cli import main; main()", "volume", *arguments]
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    watched, peak = psutil.Process(child.pid), 0
    while child.poll() is None:
        total = 0
        for process in (watched, *_children(watched)):
            try:
                total += process.memory_info().rss
            except psutil.Error:
                continue
        peak = max(peak, total)
        time.sleep(0.02)
    if child.returncode:
        raise SystemExit(f"gpuseg volume failed with {child.returncode}")
    return time.perf_counter() - start, peak


def _children(process):
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def plot(rows, path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5, 3.5), layout="constrained")
    for case in dict.fromkeys(row["case"] for row in rows):
        mine = [row for row in rows if row["case"] == case]
        axes.plot([r["side"] for r in mine], [r["voxels_per_second"] / 1e6 for r in mine], "o-",
                  label=case)  # fmt: skip
    axes.set(xscale="log", xlabel="voxels along each axis", ylabel="million voxels a second",
             ylim=(0, None))  # fmt: skip
    sides = sorted({row["side"] for row in rows})
    axes.set_xticks(sides, map(str, sides))
    axes.minorticks_off()
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--memory", default="4GB")
    parser.add_argument("--folder", default=tempfile.gettempdir())
    parser.add_argument("--json", metavar="FILE", help="Where the figures go.")
    parser.add_argument("--plot", metavar="FILE", help="Where the picture goes.")
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for side in given.sides:
            scan, result = Path(folder, "scan.zarr"), Path(folder, "out.zarr")
            phantom.write(scan, side)
            for case in given.cases:
                seconds, peak = run(
                    [str(scan), str(result), "--memory", given.memory, *CASES[case]]
                )
                shutil.rmtree(result)
                rows.append({"case": case, "side": side, "seconds": seconds, "peak_bytes": peak,
                             "memory": given.memory, "voxels_per_second": side**3 / seconds,
                             "cores": len(os.sched_getaffinity(0))})  # fmt: skip
                print(
                    f"{case:>12} {side:>5}^3 {seconds:8.1f} s {side**3 / seconds / 1e6:7.1f} "
                    f"Mvoxel/s, at most {peak / 2**30:.2f} GiB of {given.memory}",
                    flush=True,
                )
            shutil.rmtree(scan)
    if given.json:
        Path(given.json).write_text(json.dumps(rows, indent=1) + "\n")
    if given.plot:
        plot(rows, given.plot)


if __name__ == "__main__":
    main()
