"""Names that are no names of ours: in figures, in pages, and on a standard output of any kind."""

import io
import json
import os
import subprocess
import sys
import warnings
from html.parser import HTMLParser
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import Image
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier

from gpuseg import cli, plot, report

# As TeX, as markup, as no text at all; and what a legend leaves out.
NAMES = [r"$\frac{$", r"$\frac{", "$", "$$", r"a $x_1$ b", r"\$5", "<b>&\"'", "\udcff.tif",
         "\x00\x1b[31m", "_hidden", "a_b^c", r"\input{x}", "%s {0}", "{{ x }}", "[bold]red[/]", "",
         " ", "line\nbreak", "\ufffe"]  # fmt: skip
HARD = [r"$\frac{$", "\udcff_\x00", r"\$ $x_1$"]


@pytest.fixture(autouse=True)
def glyphs():
    """That a font lacks a glyph is no fault of a figure."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")
        yield


def texts_of(figure) -> list[str]:
    found = []
    for ax in figure.axes:
        found += [ax.get_title(), ax.get_xlabel(), ax.get_ylabel()]
        found += [text.get_text() for text in ax.texts]
        if ax.get_legend() is not None:
            found += [text.get_text() for text in ax.get_legend().get_texts()]
        found += [text.get_text() for text in (*ax.get_xticklabels(), *ax.get_yticklabels())]
    return found


def assert_drawn(figure, names) -> None:
    """As SVG, which must be well formed; and the texts that it shows are the names."""
    file = io.BytesIO()
    figure.savefig(file, format="svg")
    ElementTree.fromstring(file.getvalue())
    shown = texts_of(figure)
    for name in names:
        assert name.isprintable() <= any(name.strip() in text for text in shown), (name, shown)
    assert not any("\udcff" in text or "\x00" in text for text in shown)


@pytest.mark.parametrize("settings", [{}, {"text.parse_math": False}], ids=str)
def test_a_legend_and_its_title(settings):
    with matplotlib.rc_context(settings):
        values = {name: float(i) for i, name in enumerate(NAMES)}
        undecided = {f"{name}x": np.nan for name in NAMES}
        lines = values | undecided
        figure = plot.histogram_figure([4, 1], [0, 19], lines, title=NAMES[0], figsize=(9, 12))
        assert_drawn(figure, [*values, *undecided])
        curves = {name: [1, 2, 3, 4] for name in NAMES}
        assert_drawn(plot.plot_roc([0, 0, 1, 1], curves, title=NAMES[-2]), NAMES)


@pytest.mark.parametrize("name", HARD, ids=ascii)
def test_titles_and_ticks(name):
    image = np.arange(20.0).reshape(4, 5)
    for figure in (
        plot.curve_figure([1, 2], {name: [4, 5]}, chosen=2, xlabel=name, title=name),
        plot.grid_figure({name: image, "mask": image > 5}),
        plot.plot_confusion_matrix([0, 1, 1], [0, 1, 0], class_names=[name, "other"]),
        plot.show_kernel(np.arange(8.0), channel_names=[name, "other"]),
    ):
        assert_drawn(figure, [name])


@pytest.mark.parametrize("name", HARD, ids=ascii)
def test_figures_of_what_was_learnt(name):
    table, classes = np.array([[0, 1], [2, 5], [4, 3]]), ["a", name + "1", name + "2"]
    tree = DecisionTreeClassifier().fit(table, classes)
    assert_drawn(plot.plot_tree(tree, [name, "other"], classes), [name])
    pipe = Pipeline([(name, FunctionTransformer()), ("tree", tree)]).fit(table, classes)
    assert_drawn(plot.show_pipeline(pipe, table), [])


def test_a_legend_names_every_threshold():
    figure = plot.histogram_figure([4, 1], [0, 1], {"_a": 0.5, "b": 0.7})
    shown = [text.get_text().strip() for text in figure.axes[0].get_legend().get_texts()]
    assert shown == ["_a  0.5", "b  0.7"]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_pages(tmp_path, name):
    image = np.arange(20.0).reshape(4, 5)
    part = report.section(
        name, image, image > 5, thresholds={name: 3.0}, others={name: image > 7},
        pictures={name: image}, text=name, numbers={name: name}, notes=[name],
    )  # fmt: skip
    path = tmp_path / "page.html"
    report.write(path, name, [part, part], subtitle=name)
    page = path.read_bytes().decode("utf-8")
    tags = set()
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.add(tag)
    parser.feed(page)
    assert not tags & {"b", "script", "x"}
    if "<" in name:
        assert "&lt;b&gt;&amp;" in page
    assert report.file_title(f"/x/{name}y").isprintable()


# --- the command's output -----------------------------------------------------------------------


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.tif"
    image = np.zeros((20, 20), np.uint8)
    image[5:9, 5:9] = 200
    Image.fromarray(image).save(path)
    return path


CODE = "import sys; from gpuseg.cli import main; sys.argv[0] = 'gpuseg'; main()"


@pytest.mark.parametrize("options", [(), ("--json",)], ids=str)
def test_an_output_of_ascii(tmp_path, picture, options):
    name, out = "µ-é-мир-\udcff.tif", tmp_path / "mask-é.tif"
    picture.rename(tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-c", CODE, "segment", name, out, *options],
        cwd=tmp_path, capture_output=True, timeout=120, check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert out.exists()
    assert done.stdout.isascii()
    if options:
        assert json.loads(done.stdout)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a file of Linux")
@pytest.mark.parametrize(
    ("command", "told"),
    [
        ('"$@" >&-; echo $? >status', b""),
        ('"$@" >&- 2>&- <&-; echo $? >status', b""),
        ('("$@"; echo $? >status) | true', b""),
        ('"$@" >/dev/full; echo $? >status', b"standard output cannot be written: No space left"),
    ],
)
def test_an_output_that_takes_nothing(tmp_path, picture, command, told):
    """The job is done, and ends as one that is."""
    out = tmp_path / "mask.tif"
    done = subprocess.run(
        ["sh", "-c", command, "sh", sys.executable, "-c", CODE, "segment", picture, out],
        cwd=tmp_path, capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert (tmp_path / "status").read_text().strip() == "0", done.stderr
    assert np.asarray(Image.open(out)).any()
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == bool(told)


class Stubborn(io.TextIOBase):
    """A terminal that knows ASCII alone, and may go away."""

    encoding = "ascii"

    def __init__(self, left=None):
        self.left, self.text = left, ""

    def isatty(self):
        return False

    def write(self, text):
        text.encode("ascii")
        if self.left is not None:
            self.left -= len(text)
            if self.left < 0:
                raise BrokenPipeError(32, "Broken pipe")
        self.text += text
        return len(text)


@pytest.mark.parametrize("left", [None, 0, 10])
@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"], ["--version"], ["info"], ["info", "--json"], ["thresholds", "IN"],
        ["thresholds", "IN", "--json"], ["segment", "IN", "OUT"],
        ["segment", "IN", "OUT", "--json"], ["segment", "missing-é.tif", "OUT"],
        ["verify", "filters.sobel"], ["nonsense-é"],
    ],
    ids=str,
)  # fmt: skip
def test_every_command(tmp_path, picture, monkeypatch, arguments, left):
    """Its status is that of the same command with an output that takes all."""
    name = picture.rename(tmp_path / "µ-$\\frac{$-[bold].tif")

    def status(output) -> int:
        monkeypatch.setattr(sys, "stdout", output)
        monkeypatch.setattr(sys, "stderr", Stubborn(left))
        (tmp_path / "out.tif").unlink(missing_ok=True)
        places = {"IN": str(name), "OUT": str(tmp_path / "out.tif")}
        with pytest.raises(SystemExit) as end:
            cli.app([places.get(word, word) for word in arguments])
        return end.value.code

    expected = status(io.StringIO())
    output = Stubborn(left)
    assert status(output) == expected
    if left is None and "--json" in arguments:
        assert json.loads(output.text)
