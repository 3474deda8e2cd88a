"""The pages in a real browser: nothing outside is asked for, nothing fails, all can be read.

GPUSEG_SCREENSHOTS=FOLDER keeps pictures of them, to be looked at.
"""

import copy
import importlib
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from gpuseg import _demo
from gpuseg._terminal import progress

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests" / "browser"))
chromium, report = (importlib.import_module(n) for n in ("chromium", "benchmarks.report"))
PROGRAM = next(filter(None, map(shutil.which, chromium.NAMES)), None)
pytestmark = pytest.mark.skipif(not PROGRAM, reason="Chromium is not installed")
PAGES = ("report.html", "gallery.html", "benchmarks.html")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    pytest.importorskip("websockets", reason="websockets is not installed")
    with chromium.browser(PROGRAM, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The demo's report and gallery, and the page of saved benchmarks."""
    folder = tmp_path_factory.mktemp("pages") / "demo"
    with progress(_demo.STEPS) as step:
        _demo.run(folder, force=False, step=step)
    (folder / "benchmarks.html").write_text(report.render(runs()), encoding="utf-8")
    return folder


def runs() -> list[dict]:
    """The saved runs, and one as a GPU would give it: the page of a machine that has one."""
    saved = [
        json.loads(p.read_text()) for p in sorted((ROOT / "benchmarks/results").glob("*.json"))
    ]
    made = {key: saved[0][key] for key in ("commit_info", "datetime", "machine_info")}
    made["machine_info"] = copy.deepcopy(made["machine_info"]) | {
        "gpu": "Imagined GPU", "copy_bytes_per_s": {"cpu": 2e10, "cuda": 2e12}
    }  # fmt: skip
    made["benchmarks"] = []
    for size, voxels in (("256^2", 2**16), ("1024^2", 2**20), ("4096^2", 2**24)):
        base = {"function": "filters.imagined", "case": f"filters.imagined {size}",
                "series": "filters.imagined 2-D", "voxels": voxels, "cold_s": 0.1,
                "peak_bytes": 8 * voxels, "bytes": 8 * voxels}  # fmt: skip
        members = {
            "gpuseg cpu": {"who": "gpuseg", "backend": "cpu"},
            "gpuseg cuda": {"who": "gpuseg", "backend": "cuda", "kernel_s": voxels * 1e-11},
            "scikit-image": {"who": "scikit-image"},
            "cuCIM": {"who": "cuCIM", "resident": True},
        }
        for number, (name, info) in enumerate(members.items()):
            seconds = voxels * (1e-9, 2e-10, 3e-8, 5e-11)[number] + 1e-5
            made["benchmarks"].append(
                {"fullname": f"benchmarks/bench_all.py::{size}-{name}",
                 "extra_info": base | info, "stats": {"min": seconds, "median": seconds}}
            )  # fmt: skip
    return [*saved, made]


@pytest.mark.parametrize("width", [400, 1600])
@pytest.mark.parametrize("name", PAGES)
def test_pages_are_whole(page, pages, name, width):
    page.complaints.clear()
    page.requests.clear()
    for dark in (False, True):
        page.look(width=width, dark=dark)
        page.go(pages / name)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(SMALL) == []
        text, ground = page.evaluate(COLORS)
        assert contrast(text, ground) > 7
        assert (luminance(ground) < 0.2) == dark
        if folder := os.environ.get("GPUSEG_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            look = f"{name.removesuffix('.html')}-{width}-{'dark' if dark else 'light'}.png"
            page.screenshot(Path(folder) / look)
    assert page.complaints == []
    assert {url for url in page.requests if not url.startswith("data:")} == {
        (pages / name).resolve().as_uri()
    }


# Text that is set smaller than can be read, as SVG scaled down is.
SMALL = """[...document.querySelectorAll("body *")].filter((e) => {
  const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  if (!own || !e.checkVisibility() || e.closest("script, option, title")) return false;
  const scale = e.ownerSVGElement ? e.getScreenCTM().a : 1;
  return parseFloat(getComputedStyle(e).fontSize) * scale < 9;
}).map((e) => e.textContent)"""
COLORS = """["color", "backgroundColor"].map((name) =>
  getComputedStyle(document.body)[name].match(/[\\d.]+/g).map(Number))"""


def luminance(color) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
              for c in (value / 255 for value in color)]  # fmt: skip
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear))


def contrast(a, b) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


ROWS = """[...document.querySelectorAll(".cases tr[data-function]")].filter((e) => !e.hidden)
  .map((e) => [e.dataset.function, e.dataset.backend, e.dataset.peer.split("|")])"""


def choose(page, **wanted) -> None:
    page.evaluate("document.getElementById('reset').click()")
    for name, value in wanted.items():
        page.evaluate(
            f"""(() => {{ const e = document.querySelector('select[name="{name}"]');
            e.value = {json.dumps(value)}; e.dispatchEvent(new Event("change")); }})()"""
        )


def test_the_filter_works(page, pages):
    page.complaints.clear()
    page.look(width=1200)
    page.go(pages / "benchmarks.html")
    everything = page.evaluate(ROWS)
    assert len(everything) > 100
    shown = "Number(document.getElementById('shown').textContent)"
    assert page.evaluate(shown) == len(everything)
    choices = page.evaluate("""Object.fromEntries([...document.querySelectorAll("select")].map(
        (e) => [e.name, [...e.options].map((o) => o.value).filter(Boolean)]))""")
    assert set(choices) == {"backend", "function", "peer"}
    assert choices["backend"] == ["cpu", "cuda"]
    for key, place in (("backend", 1), ("function", 0)):
        for value in choices[key]:
            choose(page, **{key: value})
            rows = page.evaluate(ROWS)
            assert rows == [row for row in everything if row[place] == value]
            assert page.evaluate(shown) == len(rows) > 0
    choose(page, backend="cpu", peer="scikit-image")
    rows = page.evaluate(ROWS)
    assert rows == [row for row in everything if row[1] == "cpu" and "scikit-image" in row[2]]
    others = """[...document.querySelectorAll(".cases tr:not([hidden]) .peer")].filter(
        (e) => e.checkVisibility()).filter((e) => !e.textContent.startsWith("scikit-image"))"""
    assert page.evaluate(f"{others}.length") == 0
    ratios = """[...document.querySelectorAll(".ratio:not([hidden])")].map((e) => e.dataset.peer)"""
    assert set(page.evaluate(ratios)) == {"scikit-image"}
    choose(page)
    assert page.evaluate(ROWS) == everything
    assert page.complaints == []


def test_the_browser_would_notice(page, tmp_path):
    """What the other tests look for is found where it is."""
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<div style='width:3000px'>wide</div><p style='font-size:4px'>small</p>"
        "<img src='http://127.0.0.1:9/x.png'><script>nothing.here()</script>"
    )
    page.complaints.clear()
    page.requests.clear()
    page.look(width=400)
    page.go(bad)
    assert page.evaluate("document.documentElement.scrollWidth") > 400
    assert page.evaluate(SMALL) == ["small"]
    assert any("nothing is not defined" in text for text in page.complaints)
    assert "http://127.0.0.1:9/x.png" in page.requests
