"""Turns a saved run into the tables of benchmarks/README.md.

python -m pytest benchmarks --benchmark-json=benchmarks/results/NAME.json
python benchmarks/table.py benchmarks/results/NAME.json
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).parent
START, END = "<!-- results: made by table.py -->\n", "<!-- end of results -->"
# What the project's README shows: how the cases begin, and a name for them all.
HEADLINES = {
    r"256\^3 blobs": "hysteresis 256^3 blobs (low mask 0.05 to 0.8)",
    r"256\^3 noise": "hysteresis 256^3 noise (low mask 0.05 to 0.8)",
    r"512\^3 blobs": "hysteresis 512^3 blobs (low mask 0.05 to 0.8)",
    r"512\^3 noise": "hysteresis 512^3 noise (low mask 0.05 to 0.8)",
    r"256\^3 ": "hysteresis 256^3 adversarial volumes (mazes, checkerboard, percolation ...)",
    r"label 256\^3": "label 256^3, 6 and 26 neighbours",
    r"gaussian sigma": "gaussian sigma 1 to 4, float32, 4096^2 and 256^3",
    r"otsu float32": "otsu float32, 4096^2 and 256^3",
    r"otsu uint8": "otsu uint8, 4096^2 and 256^3",
    r"quadtree": "quad-trees and octrees, 2048^2 to 4096^2 and 128^3, coarse and fine",
    r"slic": "SLIC, 10 steps, RGB 1024^2, grey 2048^2 and 128^3",
    r"merge_superpixels": "merging of 10 000 superpixels, 2048^2",
    r"kmeans": "k-means 1e6 x 5, k = 5, 16 and 64, 20 steps",
    r"gaussian_mixture": "Gaussian mixtures of 1e6 pixels, 10 steps",
    r"markov icm": "Markov random field, 2048^2, 4 classes, start and 5 sweeps",
    r"flood": "flood, 4096^2 and 256^3",
    r"filter_bank as": "filter bank, the set of multiscale_basic_features, 1024^2 and 128^3",
    r"filter_bank, default": "filter bank, default set, 1024^2 and 128^3",
    r"forest .*depth \d+, 200000 x": "forest, 100 trees, depth 6 to 12, 200 000 x 8",
    r"forest .*unlimited, 200000 x": "forest, 100 trees, no limit of depth, 200 000 x 8",
    r"KNeighbors.* x 5, (1|5)000 ": "nearest neighbours, k = 5, 1000 and 5000 references x 5",
    r"PixelClassifier.predict 1024": "pixel classification, 1024^2, 24 features, 100 trees",
    r"dice": "Dice coefficient, 512^3",
    r"confusion_matrix": "confusion matrix, 2 classes 256^3 and 8 classes 512^3",
}


def table(run: dict) -> str:
    """One line a case: gpuseg's time, the peers' times, and how many times faster it is."""
    cases: dict[tuple[str, str], dict] = defaultdict(dict)
    for bench in run["benchmarks"]:
        topic = _topic(bench)
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


def _topic(bench: dict) -> str:
    return bench["fullname"].split("::")[0].rpartition("bench_")[2].removesuffix(".py")


def _topics(run: dict) -> str:
    return ", ".join(dict.fromkeys(_topic(bench) for bench in run["benchmarks"])).capitalize()


def machine(run: dict) -> str:
    info, commit = run["machine_info"], run["commit_info"]
    cpu = info["cpu"]
    more = info.get("gpuseg", {})
    versions = ", ".join(f"{k} {v}" for k, v in more.get("versions", {}).items() if v)
    return (
        f"{_topics(run)}: run of {run['datetime'][:10]} at commit {(commit['id'] or '?')[:10]}: "
        f"{cpu.get('brand_raw', info['machine'])}, "
        f"{more.get('cpu', {}).get('threads', '?')} threads, "
        f"{info['system']}, Python {info['python_version']}; {versions}; "
        f"calls ran on: {more.get('default', '?')}. Times are the minimum of the rounds in steady "
        "state; the first call in the process (kernels cached on disk or compiled) stands apart.\n"
    )


def summary(run: dict) -> str:
    """The least and the greatest ratio of groups of cases, for the project's README."""
    times: dict[str, dict[str, float]] = defaultdict(dict)
    for bench in run["benchmarks"]:
        info = bench["extra_info"]
        times[info["case"]][info["who"]] = bench["stats"]["min"]
    groups: dict[tuple[str, str], list[float]] = defaultdict(list)
    for case, members in times.items():
        headline = next((h for h in HEADLINES if re.match(h, case)), None)
        for who, theirs in members.items():
            if headline and who != "gpuseg":
                groups[headline, who].append(theirs / members["gpuseg"])
    lines = ["| | beside | times faster |", "|---|---|---:|"]
    for (headline, who), ratios in groups.items():
        lines.append(f"| {HEADLINES[headline]} | {who} | {min(ratios):.1f} to {max(ratios):.1f} |")
    return "\n".join(lines) + "\n"


def put(page: Path, start: str, end: str, text: str) -> None:
    before, rest = page.read_text().split(start)
    _, after = rest.split(end)
    page.write_text(before + start + text + end + after)


def main(*paths: str) -> None:
    """The pages from one run, or from several, of which the later ones replace single cases."""
    runs = [json.loads(Path(path).read_text()) for path in paths]
    last = {bench["fullname"]: bench for run in runs for bench in run["benchmarks"]}
    benches = {"benchmarks": list(last.values())}
    head = "\n".join(machine(run) for run in runs) + "\n"
    put(HERE / "README.md", START, END, head + table(benches))
    short = "<!-- benchmarks: made by benchmarks/table.py -->\n", "<!-- end of benchmarks -->"
    put(HERE.parent / "README.md", *short, head + summary(benches))


if __name__ == "__main__":
    main(*sys.argv[1:])
