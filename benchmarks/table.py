"""Turns a saved run into the tables of benchmarks/README.md.

python -m pytest benchmarks --benchmark-json=benchmarks/results/NAME.json
python benchmarks/table.py benchmarks/results/NAME.json
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).parent
START, END = "<!-- results: made by table.py -->\n", "<!-- end of results -->"


def table(run: dict) -> str:
    """One line a case: gpuseg's time, the peers' times, and how many times faster it is."""
    cases: dict[tuple[str, str], dict] = defaultdict(dict)
    for bench in run["benchmarks"]:
        topic = bench["fullname"].split("::")[0].rpartition("bench_")[2].removesuffix(".py")
        info = bench["extra_info"]
        cases[topic, info["case"]][info["who"]] = (bench["stats"], info)
    lines = []
    last = None
    for (topic, case), members in cases.items():
        if topic != last:
            lines += ["", f"### {topic}", ""]
            lines += ["| case | gpuseg ms | first call ms | Mvoxel/s | peers: ms (times faster) |"]
            lines += ["|---|---:|---:|---:|---|"]
            last = topic
        stats, info = members.pop("gpuseg")
        ours = stats["min"]
        peers = "; ".join(
            f"{who} {theirs['min'] * 1e3:.1f} (**{theirs['min'] / ours:.1f}x**)"
            for who, (theirs, _) in members.items()
        )
        lines.append(
            f"| {case} | {ours * 1e3:.2f} | {info['cold_s'] * 1e3:.0f} "
            f"| {info['voxels'] / ours / 1e6:.0f} | {peers} |"
        )
    return "\n".join(lines[1:]) + "\n"


def machine(run: dict) -> str:
    info, commit = run["machine_info"], run["commit_info"]
    cpu = info["cpu"]
    more = info.get("gpuseg", {})
    versions = ", ".join(f"{k} {v}" for k, v in more.get("versions", {}).items() if v)
    return (
        f"Run of {run['datetime'][:10]} at commit {(commit['id'] or '?')[:10]}: "
        f"{cpu.get('brand_raw', info['machine'])}, "
        f"{more.get('cpu', {}).get('threads', '?')} threads, "
        f"{info['system']}, Python {info['python_version']}; {versions}; "
        f"calls ran on: {more.get('default', '?')}. Times are the minimum of the rounds in steady "
        "state; the first call in the process (kernels cached on disk or compiled) stands apart.\n"
    )


def main(path: str) -> None:
    run = json.loads(Path(path).read_text())
    page = HERE / "README.md"
    before, rest = page.read_text().split(START)
    _, after = rest.split(END)
    page.write_text(before + START + machine(run) + "\n" + table(run) + END + after)


if __name__ == "__main__":
    main(sys.argv[1])
