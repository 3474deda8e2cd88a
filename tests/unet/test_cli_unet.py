"""The commands `gpuseg train-unet` and `gpuseg predict` with a network."""

import json
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import tifffile  # noqa: E402
from PIL import Image  # noqa: E402
from test_cli import done, failed  # noqa: E402

from gpuseg import unet  # noqa: E402


@pytest.fixture
def folder(tmp_path, rng):
    for name in ("a", "b"):
        mask = np.kron(rng.integers(0, 2, (4, 6)), np.ones((16, 16), int)).astype(bool)
        image = (100 + 60 * mask + rng.normal(0, 20, mask.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(image).save(tmp_path / f"{name}.png")
        Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / f"{name}-mask.png")
    return tmp_path


def line(folder, *more):
    return ("train-unet", folder / "a.png", folder / "a-mask.png", "-o",
            folder / "m.safetensors", "--base", 4, "--depth", 1, "--epochs", 12, "--steps", 3,
            "--patch", 32, *more)  # fmt: skip


def test_train_then_predict(folder):
    told = done(*line(folder, "--validation", folder / "b.png", folder / "b-mask.png", "--report",
                      folder / "t.html", "--learning-rate", 0.02, "--norm", "batch"))  # fmt: skip
    assert "validation: dice" in told
    page = (folder / "t.html").read_text()
    assert "Loss and Dice after each epoch" in page
    assert "b.png" in page
    out = json.loads(done("predict", folder / "m.safetensors", folder / "b.png",
                          folder / "o.png", "--truth", folder / "b-mask.png", "--probabilities",
                          folder / "p.npy", "--report", folder / "r.html", "--tile", 32,
                          "--json"))  # fmt: skip
    beside = 'alt="b.png by the truth that was given, drawn over the input"'
    assert beside in (folder / "r.html").read_text()
    done("predict", folder / "m.safetensors", folder / "b.png", folder / "n.png", "--report",
         folder / "n.html")  # fmt: skip
    assert "the truth that was given" not in (folder / "n.html").read_text()
    found, likely = np.asarray(Image.open(folder / "o.png")), np.load(folder / "p.npy")
    image = np.asarray(Image.open(folder / "b.png"))
    model = unet.load(folder / "m.safetensors")
    np.testing.assert_array_equal(found != 0, unet.predict(model, image) != 0)
    np.testing.assert_allclose(likely, unet.predict_proba(model, image), atol=1e-5)
    assert out["scores"]["Dice of class 1"] > 0.85
    assert out["ran_on"] == ["cpu"]
    strict = done("predict", folder / "m.safetensors", folder / "b.png", folder / "s.png",
                  "--threshold", 0.7)  # fmt: skip
    assert "class 1" in strict
    assert (np.asarray(Image.open(folder / "s.png")) > 0).sum() < (found > 0).sum()


def test_stacks_and_volumes(folder, rng):
    volume = rng.integers(0, 255, (20, 32, 32), dtype=np.uint8)
    tifffile.imwrite(folder / "v.tif", volume)
    tifffile.imwrite(folder / "v-mask.tif", (volume > 128).astype(np.uint8))
    given = ("train-unet", folder / "v.tif", folder / "v-mask.tif", "--base", 2, "--depth", 1,
             "--epochs", 1, "--steps", 1, "--patch", 16, "--json")  # fmt: skip
    for options, ndim in (((), 3), (("--stack",), 2)):
        told = json.loads(done(*given, *options, "-o", folder / f"{ndim}.safetensors"))
        assert told["config"]["ndim"] == ndim
        assert len(told["history"]) == 1
    told = done("predict", folder / "2.safetensors", folder / "v.tif", folder / "s.tif", "--truth",
                folder / "v-mask.tif", "--probabilities", folder / "p.npy", "--report",
                folder / "r.html")  # fmt: skip
    assert "each of the 20 slices was classified by itself" in " ".join(told.split())
    model = unet.load(folder / "2.safetensors")
    found = tifffile.imread(folder / "s.tif")
    np.testing.assert_array_equal(found != 0, [unet.predict(model, x) != 0 for x in volume])
    np.testing.assert_array_equal(
        np.load(folder / "p.npy"), [unet.predict_proba(model, x) for x in volume]
    )
    assert "slice by slice" in (folder / "r.html").read_text()
    told = done("predict", folder / "3.safetensors", folder / "v.tif", folder / "o.tif")
    assert "slice by slice" not in told
    said = failed("predict", folder / "3.safetensors", folder / "a.png", folder / "no.tif", code=1)
    assert "a.png: is a picture, and the model is of volumes" in said
    assert tifffile.imread(folder / "o.tif").shape == volume.shape
    assert "--stack needs a stack" in failed(*line(folder, "--stack"), code=2)


def test_it_goes_on_from_a_checkpoint(folder):
    more = ("--checkpoint", folder / "c.safetensors", "--recipe", "course", "--json")
    short = [*line(folder, *more)]
    short[short.index("--epochs") + 1] = 4
    assert len(json.loads(done(*short))["history"]) == 4
    told = json.loads(done(*line(folder, *more, "--force")))
    assert len(told["history"]) == 12
    straight = json.loads(done(*line(folder, "--recipe", "course", "--json", "--force")))
    assert told["history"][-1]["loss"] == straight["history"][-1]["loss"]


def test_the_epoch_told_is_the_one_whose_weights_were_kept(folder):
    given = line(folder, "--validation", folder / "b.png", folder / "b-mask.png", "--recipe",
                 "course", "--learning-rate", 30, "--early-stopping", 2, "--json")  # fmt: skip
    told = json.loads(done(*given))
    losses = [row["val_loss"] for row in told["history"]]
    best = losses.index(min(losses))
    assert len(losses) == best + 3
    assert told["epoch"] == best + 1
    assert f"weights of epoch  {best + 1}\n" in done(*given[:-1], "--force")


def test_what_is_refused(folder):
    assert "--recipe must be one of" in failed(*line(folder, "--recipe", "none"), code=2)
    other = ("train-unet", folder / "a.png", folder / "a.png", "-o", folder / "m.safetensors")
    assert "no mask of 2 classes" in failed(*other, code=1)
    assert "is the input" in failed(*other[:4], folder / "a.png", code=2)
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(folder / "small.png")
    assert "has shape (9, 9)" in failed(*other[:2], folder / "small.png", *other[3:], code=1)
    tiny = ("train-unet", folder / "small.png", folder / "small.png", *other[3:])
    assert "at least 47 pixels" in failed(*tiny, code=1)
    (folder / "bad.safetensors").write_bytes(b'12345678{"')
    assert "is no model file" in failed(
        "predict", folder / "bad.safetensors", folder / "a.png", folder / "o.png", code=1
    )
    assert not (folder / "m.safetensors").exists()
    assert not (folder / "o.png").exists()


def test_without_torch_one_line_says_what_to_install(folder):
    code = (
        "import sys, importlib.abc\n"
        "class No(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'safetensors'): raise ImportError(name)\n"
        "import importlib.util as u\n"
        "real = u.find_spec\n"
        "u.find_spec = lambda n, *a: None if n in ('torch', 'safetensors') else real(n, *a)\n"
        "sys.meta_path.insert(0, No())\n"
        "from gpuseg.cli import main\n"
        f"sys.argv = ['gpuseg', 'train-unet', {str(folder / 'a.png')!r}, "
        f"{str(folder / 'a-mask.png')!r}, '-o', {str(folder / 'm.safetensors')!r}]\n"
        "main()\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 1
    assert ran.stderr == "gpuseg: gpuseg.unet needs PyTorch: pip install 'gpuseg[unet]'\n"
