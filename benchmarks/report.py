"""Turns saved runs into one page, and into the tables of the READMEs.

python -m pytest benchmarks --benchmark-json=benchmarks/results/NAME.json
python -m benchmarks.report benchmarks/results/*.json -o page.html
python -m benchmarks.report benchmarks/results/*.json --readme

Of several runs on one machine the later ones replace single cases. The page needs no other file:
its plots are SVG, and the script that filters it is allowed by its hash alone.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import math
import re
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent

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


# --- what was measured -------------------------------------------------------------------------


@dataclass(frozen=True)
class Member:
    """gpuseg on a backend, or a peer: its times in seconds."""

    who: str
    backend: str
    best: float
    median: float
    cold: float | None = None
    kernel: float | None = None
    peak: int | None = None
    device_peak: int | None = None
    resident: bool = False  # its arrays lie on the GPU

    @property
    def name(self) -> str:
        return f"{self.who} {self.backend}".strip()


@dataclass
class Case:
    """One call on one machine, by gpuseg on its backends and by the peers."""

    machine: str
    topic: str
    function: str
    case: str
    series: str
    voxels: int
    bytes: int | None = None
    ours: dict[str, Member] = field(default_factory=dict)
    peers: dict[str, Member] = field(default_factory=dict)

    def times_faster(self, backend: str, who: str) -> float:
        """Arrays on the GPU are compared with arrays on the GPU, NumPy's with NumPy's."""
        ours, peer = self.ours[backend], self.peers[who]
        if peer.resident and ours.kernel:
            return (peer.kernel or peer.best) / ours.kernel
        return peer.best / ours.best

    def comparable(self, backend: str) -> list[str]:
        """The peers of a backend: those on the GPU stand beside gpuseg on the GPU only."""
        return [who for who, peer in self.peers.items() if backend == "cuda" or not peer.resident]

    def bandwidth_share(self, backend: str, copies: dict[str, float]) -> float | None:
        """The least traffic of the call, as a share of what a copy reaches in its time."""
        ours, copy = self.ours[backend], copies.get(backend)
        if not self.bytes or not copy:
            return None
        return self.bytes / (ours.kernel or ours.best) / copy


ALIASES = {"skimage": "scikit-image", "scipy": "SciPy"}


def load(paths: Iterable) -> list[dict]:
    return [json.loads(Path(path).read_text()) for path in paths]


def machine_name(run: dict) -> str:
    info = run["machine_info"]
    threads = info.get("gpuseg", {}).get("cpu", {}).get("threads", "?")
    name = info["cpu"].get("brand_raw", info["machine"])
    return f"{name}, {threads} threads" + (f", {info['gpu']}" if info.get("gpu") else "")


def cases(runs: list[dict]) -> list[Case]:
    """The cases of all runs; on one machine the later result of a member counts."""
    found: dict[tuple[str, str, str], Case] = {}
    for run in runs:
        machine = machine_name(run)
        for bench in run["benchmarks"]:
            info, topic = bench["extra_info"], _topic(bench)
            key = machine, topic, info["case"]
            case = found.setdefault(key, _case(machine, topic, info))
            member = _member(bench)
            if member.who == "gpuseg":
                case.ours[member.backend] = member
                case.bytes = info.get("bytes", case.bytes)
            else:
                case.peers[member.who] = member
    return [case for case in found.values() if case.ours]


def _topic(bench: dict) -> str:
    topic = bench["fullname"].split("::")[0].rpartition("bench_")[2].removesuffix(".py")
    function = bench["extra_info"].get("function")
    return f"all {function.partition('.')[0]}" if topic == "all" and function else topic


def _case(machine: str, topic: str, info: dict) -> Case:
    size = r"\b\d+\^(\d)\b"
    series = info.get("series") or re.sub(size, r"\1-D", info["case"])
    return Case(machine, topic, info.get("function", topic), info["case"], series, info["voxels"])


def _member(bench: dict) -> Member:
    info, stats = bench["extra_info"], bench["stats"]
    backend = info.get("backend", info.get("default", "")) if info["who"] == "gpuseg" else ""
    return Member(
        ALIASES.get(info["who"], info["who"]), backend.partition(":")[0],
        stats["min"], stats["median"], info.get("cold_s"),
        info.get("kernel_s"), info.get("peak_bytes"), info.get("device_peak_bytes"),
        bool(info.get("resident")),
    )  # fmt: skip


# --- the tables of the READMEs -----------------------------------------------------------------


def table(found: list[Case]) -> str:
    """One line a case and backend: gpuseg's time, the peers', and how many times faster it is."""
    lines, last = [], None
    for case in found:
        if case.topic != last:
            lines += ["", f"### {case.topic}", ""]
            lines += [
                "| case | runs on | ms | first call ms | Mvoxel/s | peers: ms (times faster) |"
            ]
            lines += ["|---|---|---:|---:|---:|---|"]
            last = case.topic
        for backend, ours in case.ours.items():
            peers = "; ".join(
                f"{who} {case.peers[who].best * 1e3:.1f} "
                f"(**{factor(case.times_faster(backend, who))}x**)"
                for who in case.comparable(backend)
            )
            time = f"{ours.best * 1e3:.2f}"
            if ours.kernel:
                time += f" (kernels {ours.kernel * 1e3:.2f})"
            lines.append(
                f"| {case.case} | {backend} | {time} | {(ours.cold or 0) * 1e3:.0f} "
                f"| {case.voxels / ours.best / 1e6:.0f} | {peers} |"
            )
    return "\n".join(lines[1:]) + "\n"


def summary(found: list[Case]) -> str:
    """The least and the greatest ratio of groups of cases, for the project's README."""
    groups: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    functions: dict[str, set] = defaultdict(set)
    for case in found:
        if case.topic.startswith("all "):
            headline = f"every function of `{case.topic[4:]}`"
            functions[headline].add(case.function)
        else:
            headline = next((name for h, name in HEADLINES.items() if re.match(h, case.case)), "")
        for backend in case.ours:
            for who in case.comparable(backend) if headline else ():
                groups[headline, backend, who].append(case.times_faster(backend, who))
    lines = ["| | on | beside | times faster | median |", "|---|---|---|---:|---:|"]
    for (headline, backend, who), ratios in groups.items():
        count = f" ({len(functions[headline])} functions)" if functions[headline] else ""
        lines.append(
            f"| {headline}{count} | {backend} | {who} "
            f"| {factor(min(ratios))} to {factor(max(ratios))} "
            f"| {factor(statistics.median(ratios))} |"
        )
    return "\n".join(lines) + "\n"


def machine(run: dict) -> str:
    info, commit = run["machine_info"], run["commit_info"]
    more = info.get("gpuseg", {})
    versions = ", ".join(f"{k} {v}" for k, v in more.get("versions", {}).items() if v)
    topics = ", ".join(dict.fromkeys(_topic(bench) for bench in run["benchmarks"])).capitalize()
    return (
        f"{topics}: run of {run['datetime'][:10]} at commit {(commit['id'] or '?')[:10]}: "
        f"{machine_name(run)}, {info['system']}, Python {info['python_version']}; {versions}. "
        "Times are the minimum of the rounds in "
        "steady state; the first call in the process (kernels cached on disk or compiled) stands "
        "apart.\n"
    )


def put(page: Path, name: str, text: str) -> None:
    """Replace what stands between the marks of a part."""
    pattern = re.compile(rf"(<!-- {name}: )[^\n]*-->\n.*?(<!-- end of {name} -->)", re.DOTALL)
    new, count = pattern.subn(
        lambda found: f"{found[1]}made by benchmarks/report.py -->\n{text}{found[2]}",
        page.read_text(),
    )
    if count != 1:
        raise ValueError(f"{page} must have one part between marks named {name!r}, has {count}")
    page.write_text(new)


def write_readmes(runs: list[dict], root: Path = ROOT) -> None:
    found = cases(runs)
    head = "\n".join(machine(run) for run in runs) + "\n"
    put(root / "benchmarks" / "README.md", "results", head + table(found))
    put(root / "README.md", "benchmarks", head + summary(found))


# --- the page ----------------------------------------------------------------------------------

# The hue of a member, by its name or its library; `colors` in the template.
HUES = {
    "gpuseg cpu": "ours", "gpuseg cuda": "gpu", "gpuseg cuda, kernels": "gpu",
    "scikit-image": "a", "cuCIM": "a", "SciPy": "b", "CuPy": "b",
    "scikit-learn": "c", "cuML": "c", "OpenCV": "d", "SimpleITK": "e", "NumPy": "f",
}  # fmt: skip


def hue(name: str) -> str:
    return HUES.get(name, "f")


def duration(seconds: float | None) -> str:
    """Three digits and a unit."""
    if seconds is None:
        return ""
    for unit, scale in (("s", 1), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale or unit == "µs":
            return f"{seconds / scale:.3g} {unit}" if seconds < 999 * scale else f"{seconds:.0f} s"


def factor(ratio: float) -> str:
    """A ratio as a number: none that is greater than 0 is told as 0."""
    if ratio >= 100:
        return f"{ratio:.0f}"
    return f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2g}" if ratio >= 0.1 else f"{ratio:.1g}"


def times(ratio: float) -> str:
    return f"{factor(ratio)}×"


def mebibytes(count: int | None) -> str:
    return "" if count is None else f"{count / 2**20:.3g}"


def render(runs: list[dict]) -> str:
    """The page as HTML."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([HERE / "templates", ROOT / "gpuseg" / "templates"]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "duration": duration,
        "times": times,
        "mebibytes": mebibytes,
        "hue": hue,
    }
    found = cases(runs)
    copies: dict[str, dict] = defaultdict(dict)
    for run in runs:
        copies[machine_name(run)] |= run["machine_info"].get("copy_bytes_per_s", {})
    script = (HERE / "templates" / "filter.js").read_text()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("benchmarks.html").render(
        script=jinja2.utils.markupsafe.Markup(script),
        digest=digest,
        runs=[_about(run) for run in runs],
        copies=copies,
        topics=_topics(found),
        speedups=list(_speedups(found)),
        ticks=[(times_label, _place(value)) for value, times_label in TICKS],
        scaling=_scaling(found),
        filters=_choices(found),
        count=sum(len(case.ours) for case in found),
        legend=_legend(found),
    )


def _about(run: dict) -> dict:
    info = run["machine_info"]
    versions = info.get("gpuseg", {}).get("versions", {})
    copies = info.get("copy_bytes_per_s", {})
    return {
        "date": run["datetime"][:10],
        "commit": (run["commit_info"].get("id") or "?")[:10],
        "machine": machine_name(run),
        "system": f"{info['system']}, Python {info['python_version']}",
        "versions": " · ".join(
            f"{name} {version}" for name, version in versions.items() if version
        ),
        "copies": ", ".join(f"{name} {value / 1e9:.0f} GB/s" for name, value in copies.items()),
        "count": len(run["benchmarks"]),
    }


def _topics(found: list[Case]) -> dict[str, list[Case]]:
    topics: dict[str, list[Case]] = defaultdict(list)
    for case in found:
        topics[case.topic].append(case)
    return topics


def _choices(found: list[Case]) -> dict[str, list[str]]:
    backends = {backend for case in found for backend in case.ours}
    functions = {case.function for case in found}
    peers: dict[str, int] = defaultdict(int)
    for case in found:
        for who in case.peers:
            peers[who] += 1
    return {
        "backend": sorted(backends),
        "function": sorted(functions),
        "peer": sorted(peers, key=lambda who: (-peers[who], who)),
    }


def _legend(found: list[Case]) -> dict[str, str]:
    """A name for each hue that the page uses."""
    names: dict[str, list[str]] = defaultdict(list)
    members = [m for case in found for m in (*case.ours.values(), *case.peers.values())]
    for name in dict.fromkeys(member.name for member in members):
        names[hue(name)].append(name)
    return {
        key: ", ".join(named) if key != "f" else "NumPy and others"
        for key in dict.fromkeys(HUES.values())
        if (named := names.get(key))
    }


TICKS = [(0.1, "0.1×"), (1, "1×"), (10, "10×"), (100, "100×"), (1000, "1000×")]


def _place(ratio: float) -> float:
    """Per cent of the way from 0.05 to 3000 times, in logarithms."""
    low, high = math.log(0.05), math.log(3000)
    return round(100 * min(1, max(0, (math.log(ratio) - low) / (high - low))), 2)


def _speedups(found: list[Case]):
    """A row a function, backend and peer: the ratios of its cases."""
    rows: dict[tuple[str, str, str], list] = defaultdict(list)
    for case in found:
        for backend in case.ours:
            for who in case.comparable(backend):
                ratio = case.times_faster(backend, who)
                rows[case.function, backend, who].append((ratio, case.case))
    for (function, backend, who), ratios in sorted(rows.items()):
        values = [ratio for ratio, _ in ratios]
        yield {
            "function": function, "backend": backend, "peer": who, "least": min(values),
            "most": max(values), "from": _place(min(values)), "to": _place(max(values)),
            "dots": [(_place(ratio), f"{case}: {times(ratio)}") for ratio, case in ratios],
        }  # fmt: skip


# --- plots of scaling ----------------------------------------------------------------------------

WIDTH, HEIGHT = 320, 190
LEFT, RIGHT, TOP, BOTTOM = 50, 10, 8, 34


def _scaling(found: list[Case]) -> dict[str, list[dict]]:
    """Time over size of each series that was measured at two sizes or more."""
    series: dict[tuple[str, str, str], list[Case]] = defaultdict(list)
    for case in found:
        series[case.topic, case.machine, case.series].append(case)
    charts: dict[str, list[dict]] = defaultdict(list)
    for (topic, _, name), group in series.items():
        if len({case.voxels for case in group}) > 1:
            charts[topic].append(_chart(name, sorted(group, key=lambda case: case.voxels)))
    return charts


def _chart(name: str, group: list[Case]) -> dict:
    lines: dict[tuple[str, str, str, bool], list[tuple[float, float]]] = defaultdict(list)
    for case in group:
        for backend, ours in case.ours.items():
            lines[ours.name, backend, "", False].append((case.voxels, ours.best))
            if ours.kernel:
                lines[f"{ours.name}, kernels", backend, "", True].append((case.voxels, ours.kernel))
        for who, peer in case.peers.items():
            lines[who, "", who, peer.resident].append((case.voxels, peer.kernel or peer.best))
    points = [point for line in lines.values() for point in line]
    x = _axis([p[0] for p in points], LEFT, WIDTH - RIGHT, whole=False)
    y = _axis([p[1] for p in points], HEIGHT - BOTTOM, TOP, whole=True)
    drawn = []
    for (label, backend, peer, resident), line in lines.items():
        places = [(round(x.at(a), 1), round(y.at(b), 1)) for a, b in line]
        drawn.append({
            "label": label, "backend": backend, "peer": peer, "resident": resident,
            "places": places,
            "told": [f"{label}: {_count(a)} elements, {duration(b)}" for a, b in line],
        })  # fmt: skip
    sizes = sorted({p[0] for p in points})
    return {
        "title": name,
        "function": group[0].function,
        "backends": sorted({backend for case in group for backend in case.ours}),
        "peers": sorted({who for case in group for who in case.peers}),
        "lines": drawn,
        "x_ticks": [(round(x.at(value), 1), _count(value)) for value in _apart(sizes, x)],
        "y_ticks": [(round(y.at(value), 1), duration(value)) for value in y.ticks],
    }


@dataclass(frozen=True)
class Axis:
    low: float
    high: float
    start: float
    stop: float

    def at(self, value: float) -> float:
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return self.start + share * (self.stop - self.start)

    @property
    def ticks(self) -> list[float]:
        decades = range(round(self.low), round(self.high) + 1)
        step = -(-len(decades) // 6)
        return [10.0**k for k in decades[::step]]


def _axis(values: list[float], start: float, stop: float, *, whole: bool) -> Axis:
    low, high = math.log10(min(values)), math.log10(max(values))
    if whole:
        low, high = math.floor(low), math.ceil(high)
    else:
        low, high = low - 0.08 * (high - low), high + 0.08 * (high - low)
    return Axis(low, max(high, low + 1) if whole else high, start, stop)


def _apart(sizes: list[float], axis: Axis, least: float = 42) -> list[float]:
    """Of some ticks those whose labels do not touch."""
    kept: list[float] = []
    for size in sizes:
        if not kept or axis.at(size) - axis.at(kept[-1]) >= least:
            kept.append(size)
    return kept


def _count(value: float) -> str:
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g}{unit}"
    return f"{value:.0f}"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("results", nargs="+", type=Path, help="JSON files of pytest-benchmark")
    parser.add_argument("-o", "--output", type=Path, help="the page to write")
    parser.add_argument("--readme", action="store_true", help="renew the tables of the READMEs")
    options = parser.parse_args(argv)
    if not options.output and not options.readme:
        parser.error("say what to make: -o PAGE.html, --readme, or both")
    try:
        runs = load(options.results)
    except (OSError, ValueError) as error:
        sys.exit(f"benchmarks.report: {error}")
    if options.output:
        options.output.write_text(render(runs), encoding="utf-8")
    if options.readme:
        write_readmes(runs)


if __name__ == "__main__":
    main()
