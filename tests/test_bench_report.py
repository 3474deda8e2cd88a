"""The page and the tables of benchmarks: ratios are right, later runs count; `gpuseg bench`."""

import base64
import hashlib
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_report import Page
from typer.testing import CliRunner

from gpuseg import _bench, cli

report = importlib.import_module("benchmarks.report")
ROOT = Path(__file__).parents[1]
SAVED = sorted((ROOT / "benchmarks" / "results").glob("*.json"))


def run(*members, copies=None, gpu=None, topic="all") -> dict:
    """A run of one case's members: (who, seconds, more that is known of it)."""
    benchmarks = [
        {
            "fullname": f"benchmarks/bench_{topic}.py::{who}-{more.get('case')}",
            "stats": {"min": seconds, "median": seconds},
            "extra_info": {"who": who, "case": "gaussian 64^2", "voxels": 1000, "cold_s": 0.5}
            | more,
        }
        for who, seconds, more in members
    ]
    machine = {"cpu": {"brand_raw": "A <b>CPU</b>"}, "machine": "x", "system": "Linux",
               "python_version": "3.12", "gpuseg": {"cpu": {"threads": 4}},
               "copy_bytes_per_s": copies or {}}  # fmt: skip
    return {"benchmarks": benchmarks, "machine_info": machine | ({"gpu": gpu} if gpu else {}),
            "commit_info": {"id": "c" * 40}, "datetime": "2026-01-02T03:04:05"}  # fmt: skip


FUNCTION = {"function": "filters.gaussian"}
GPU = run(
    ("gpuseg", 0.010, {**FUNCTION, "backend": "cpu", "bytes": 8000}),
    ("gpuseg", 0.002, {**FUNCTION, "backend": "cuda", "kernel_s": 0.0001, "bytes": 8000}),
    ("scikit-image", 0.080, FUNCTION),
    ("cuCIM", 0.0005, {**FUNCTION, "resident": True}),
    copies={"cpu": 1.6e6, "cuda": 1.6e8},
    gpu="A GPU",
)


def test_like_is_compared_with_like():
    (case,) = report.cases([GPU])
    assert case.times_faster("cpu", "scikit-image") == pytest.approx(8)
    assert case.times_faster("cuda", "scikit-image") == pytest.approx(40)  # with transfers
    assert case.times_faster("cuda", "cuCIM") == pytest.approx(5)  # kernels alone
    assert case.comparable("cpu") == ["scikit-image"]
    assert case.comparable("cuda") == ["scikit-image", "cuCIM"]
    copies = GPU["machine_info"]["copy_bytes_per_s"]
    assert case.bandwidth_share("cpu", copies) == pytest.approx(0.5)
    assert case.bandwidth_share("cuda", copies) == pytest.approx(0.5)
    assert case.bandwidth_share("cuda", {}) is None


def test_later_runs_replace_single_cases():
    later = run(("gpuseg", 0.005, {**FUNCTION, "backend": "cpu"}), gpu="A GPU")
    (case,) = report.cases([GPU, later])
    assert case.times_faster("cpu", "scikit-image") == pytest.approx(16)
    assert len(report.cases([GPU, run(("gpuseg", 1.0, {**FUNCTION, "backend": "cpu"}))])) == 2


def test_the_table_has_the_figures():
    text = report.table(report.cases([GPU]))
    assert "### all filters" in text
    assert "| gaussian 64^2 | cpu | 10.00 | 500 | 0 | scikit-image 80.0 (**8.0x**) |" in text
    assert "2.00 (kernels 0.10)" in text
    short = report.summary(report.cases([GPU]))
    assert "| every function of `filters` (1 functions) | cpu | scikit-image | 8.0 to 8.0" in short
    headline = run(("gpuseg", 1, {"case": "dice 512^3"}), ("peer", 3, {"case": "dice 512^3"}),
                   ("gpuseg", 1, {"case": "no headline"}), topic="metrics")  # fmt: skip
    short = report.summary(report.cases([headline]))
    assert short.count("\n") == 3
    assert "Dice coefficient, 512^3" in short


def test_the_readmes_are_rewritten_between_the_marks(tmp_path):
    (tmp_path / "benchmarks").mkdir()
    for name, part in (("README.md", "benchmarks"), ("benchmarks/README.md", "results")):
        (tmp_path / name).write_text(
            f"a\n<!-- {part}: made by x -->\nold\n<!-- end of {part} -->\nb\n"
        )
    report.write_readmes([GPU], tmp_path)
    for name, what in (("README.md", "every function"), ("benchmarks/README.md", "### all")):
        text = (tmp_path / name).read_text()
        assert text.startswith("a\n<!--")
        assert text.endswith("-->\nb\n")
        assert what in text
        assert "old" not in text
    report.write_readmes([GPU], tmp_path)
    assert (tmp_path / "benchmarks/README.md").read_text() == text
    (tmp_path / "README.md").write_text("no marks")
    with pytest.raises(ValueError, match="'benchmarks', has 0"):
        report.write_readmes([GPU], tmp_path)


def test_the_readmes_have_the_marks():
    for name, part in (("README.md", "benchmarks"), ("benchmarks/README.md", "results")):
        text = (ROOT / name).read_text()
        assert len(re.findall(rf"<!-- {part}: .*-->\n", text)) == 1
        assert text.count(f"<!-- end of {part} -->") == 1


def test_the_page_is_whole_and_escaped():
    html = report.render([GPU])
    page = Page(html.replace("<line ", "<br "))  # which has no end either
    assert "A <b>CPU</b>, 4 threads, A GPU" in page.text
    assert "<b>CPU" not in html
    assert "5.0×" in page.text
    assert "50.0 %" in page.text
    rows = [a for a in page.all("tr") if "data-function" in a]
    assert [(a["data-backend"], a["data-peer"]) for a in rows] == [
        ("cpu", "scikit-image"), ("cuda", "scikit-image|cuCIM")
    ]  # fmt: skip
    script = re.search(r"<script>(.*)</script>", html, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [a["content"] for a in page.all("meta") if "content" in a and "src" in a["content"]]
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"(?:src|href)=\"(?!#)", html)


def test_plots_scale_as_the_times_do():
    sizes = [("64^2", 4096, 1e-5), ("256^2", 65536, 1e-4), ("1024^2", 1048576, 1e-3)]
    members = [
        ("gpuseg", t, {"case": f"f {s}", "voxels": n, "backend": "cpu"}) for s, n, t in sizes
    ]
    (charts,) = report._scaling(report.cases([run(*members, topic="x")])).values()
    (chart,) = charts
    assert chart["title"] == "f 2-D"
    (x0, y0), (x1, y1), (x2, y2) = chart["lines"][0]["places"]
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.2)
    assert y0 > y2
    assert [label for _, label in chart["y_ticks"]] == ["10 µs", "100 µs", "1 ms"]
    assert [label for _, label in chart["x_ticks"]] == ["4.1k", "65.5k", "1.05M"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1e-7, "0.1 µs"), (0.00123, "1.23 ms"), (0.9996, "1 s"), (12.34, "12.3 s"), (3456, "3456 s")],
)
def test_durations_can_be_read(seconds, text):
    assert report.duration(seconds) == text


@pytest.mark.parametrize("saved", SAVED, ids=lambda path: path.stem)
def test_saved_runs_can_be_shown_and_compared(saved, tmp_path):
    page = tmp_path / "page.html"
    report.main([str(saved), "-o", str(page)])
    run = json.loads(saved.read_text())
    for bench in run["benchmarks"]:
        assert bench["extra_info"]["who"]
    assert page.read_text().count("<tr data-function") == len(
        [b for b in run["benchmarks"] if b["extra_info"]["who"] == "gpuseg"]
    )
    command = [sys.executable, "-m", "pytest_benchmark", "compare", str(saved)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


def test_what_is_wrong_is_said(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        report.main([str(tmp_path / "no.json"), "-o", "x.html"])
    assert "no.json" in str(stopped.value.code)
    with pytest.raises(SystemExit):
        report.main([str(SAVED[0])])
    assert "-o PAGE.html" in capsys.readouterr().err


# --- gpuseg bench --------------------------------------------------------------------------------


class Step:
    def __call__(self, name):
        import contextlib

        return contextlib.nullcontext()


def test_the_answers_of_the_short_form_are_scikit_images():
    rows = _bench.run(Step(), seconds=20, side=96, depth=24)
    assert len(rows) == len(_bench.names())
    for row in rows:
        assert set(row.seconds) == {*_bench.backends(), "scikit-image"}
        assert all(0 < t < 60 for t in row.seconds.values())
        assert row.answer == "equal" or row.answer.startswith("within") or "regions" in row.answer
    assert sum(row.answer == "equal" for row in rows) > len(rows) / 2
    assert all(map(len, _bench.shown(rows)))


def test_what_is_not_reached_is_left_out(monkeypatch):
    clock = iter(range(0, 10_000, 8))
    monkeypatch.setattr(_bench.time, "perf_counter", lambda: next(clock))
    assert 0 < len(_bench.run(Step(), seconds=100, side=32, depth=12)) < len(_bench.names())


def test_differences_are_told():
    assert _bench._answer([1, 2], [1, 3], partition=False) == "differs"
    assert _bench._answer([1.0], [1.5], partition=False) == "differs"
    assert _bench._answer([1.0], [1.0 + 1e-6], partition=False).startswith("within")


def test_the_command_prints_a_table_or_json(monkeypatch):
    row = _bench.Row("label", "8 x 8 bool", {"cpu": 0.001, "scikit-image": 0.004}, "equal")
    monkeypatch.setattr(_bench, "run", lambda step, seconds: [row])
    told = CliRunner().invoke(cli.app, ["bench"])
    assert told.exit_code == 0
    assert "4.0 times as fast in the geometric mean of 1 calls; 14 were not" in told.stdout
    assert "label  8 x 8 bool  1.00    4.00" in told.stdout
    found = json.loads(CliRunner().invoke(cli.app, ["bench", "--json"]).stdout)
    assert found[0]["times_faster"] == 4
