"""Model files: what was saved comes back, and a file that is anything else is refused."""

import json
import pickle
import struct

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from gpuseg import unet  # noqa: E402
from gpuseg._files import RefusedOutput  # noqa: E402
from gpuseg._models import ModelError  # noqa: E402
from gpuseg._networks import is_network  # noqa: E402
from gpuseg.unet import files  # noqa: E402


@pytest.fixture
def model():
    model = unet.UNet(2, 3, base=2, norm="batch", upsample="transpose", seed=0)
    model.set_normalization([1.5, 100], [2, 33])
    model(torch.randn(4, 2, 8, 8))  # gives the norms something to remember
    return model.eval()


@pytest.fixture
def saved(model, tmp_path):
    path = tmp_path / "model.safetensors"
    unet.save(path, model)
    return path


def test_what_was_saved_comes_back(model, saved, rng):
    image = rng.normal(50, 40, (2, 30, 21))
    back = unet.load(saved)
    assert back.config == model.config
    assert not back.training
    assert sorted(back.state_dict()) == sorted(model.state_dict())
    for key, value in model.state_dict().items():
        assert torch.equal(back.state_dict()[key], value), key
    np.testing.assert_array_equal(
        unet.predict_proba(back, image, channel_axis=0, channels_last=False),
        unet.predict_proba(model, image, channel_axis=0, channels_last=False),
    )
    assert is_network(saved)


def test_it_is_safetensors_with_a_header_in_json(saved):
    from safetensors import safe_open

    with safe_open(saved, framework="np") as file:
        header = json.loads(file.metadata()["gpuseg"])
    assert header["config"]["out_channels"] == header["classes"] == 3
    assert header["normalization"] == {"mean": [1.5, 100.0], "std": [2.0, 33.0]}
    assert header["form"] == files.FORM
    assert header["gpuseg"]


def test_a_file_that_exists_is_left_alone(model, saved):
    before = saved.read_bytes()
    with pytest.raises(RefusedOutput, match="exists"):
        unet.save(saved, unet.UNet(base=2))
    assert saved.read_bytes() == before
    unet.save(saved, unet.UNet(base=4), force=True)
    assert unet.load(saved).config["base"] == 4
    with pytest.raises(RefusedOutput, match="does not exist"):
        unet.save(saved.parent / "none" / "m.safetensors", model)


def test_every_cut_and_every_changed_byte_is_noticed(saved, rng):
    content = saved.read_bytes()
    for size in (0, 1, 8, 9, 100, len(content) // 2, len(content) - 1):
        saved.write_bytes(content[:size])
        with pytest.raises(ModelError):
            unet.load(saved)
    for at in rng.integers(0, len(content), 60):
        changed = bytearray(content)
        changed[at] ^= 0x10
        saved.write_bytes(bytes(changed))
        with pytest.raises(ModelError):
            unet.load(saved)
    saved.write_bytes(content + b"x")
    with pytest.raises(ModelError):
        unet.load(saved)


class _Harm:
    def __reduce__(self):
        import os

        return os.mkdir, ("harm",)


def test_nothing_in_a_foreign_file_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps(_Harm()))
    with pytest.raises(ModelError, match=r"model\.safetensors: is no model file"):
        unet.load(path)
    torch.save({"x": _Harm()}, path)
    with pytest.raises(ModelError, match="is no model file"):
        unet.load(path)
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_safetensors_of_others_are_refused(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    save_file({"x": torch.zeros(3)}, path)
    with pytest.raises(ModelError, match="no header of ours"):
        unet.load(path)
    path.write_bytes(struct.pack("<Q", 1 << 60) + b'{"')
    with pytest.raises(ModelError, match="is no model file"):
        unet.load(path)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"form": 99}, "is of form 99, and this version reads form 1"),
        ({"kind": "checkpoint"}, "it holds a 'checkpoint'"),
        ({"config": {"base": 2}}, "is no model that this version can read"),
        ({"config.base": 1 << 20}, "claims more parameters"),
        ({"config.depth": 40}, "claims more parameters"),
        ({"config.base": 200}, "holds 2423 numbers where its configuration needs"),
        ({"config.norm": "weird"}, "norm must be one of"),
        ({"config.upsample": "nearest"}, "tensors are not those"),
        ({"normalization": {"mean": [0.0, 0.0], "std": [0.0, 1.0]}}, "std above 0"),
        ({"normalization": {"mean": [float("nan"), 0.0], "std": [1.0, 1.0]}}, "must be finite"),
    ],
)
def test_headers_that_say_what_cannot_be(model, tmp_path, change, text):
    header = files.header_of(model)
    header["config"] = dict(header["config"])
    for key, value in change.items():
        outer, _, inner = key.partition(".")
        if inner:
            header[outer][inner] = value
        elif key != "form":
            header[key] = value
    path = tmp_path / "m.safetensors"
    if "form" in change:
        before, files.FORM = files.FORM, change["form"]
        try:
            files.write_tensors(path, files._tensors(model), header, force=False)
        finally:
            files.FORM = before
    else:
        files.write_tensors(path, files._tensors(model), header, force=False)
    with pytest.raises(ModelError, match=text):
        unet.load(path)


def test_what_is_not_finite_is_neither_saved_nor_loaded(model, tmp_path):
    path = tmp_path / "m.safetensors"
    tensors = files._tensors(model)
    tensors["head.bias"] = tensors["head.bias"].clone().fill_(float("nan"))
    files.write_tensors(path, tensors, files.header_of(model), force=False)
    with pytest.raises(ModelError, match=r"head\.bias holds NaN"):
        unet.load(path)
    with torch.no_grad():
        model.head.bias.fill_(float("inf"))
    with pytest.raises(ValueError, match="parameters that are NaN"):
        unet.save(path, model, force=True)


def test_a_file_that_is_not_there_says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        unet.load(tmp_path / "none.safetensors")
    with pytest.raises(TypeError, match="model must be a UNet"):
        unet.save(tmp_path / "x", torch.nn.Linear(1, 1))


@pytest.mark.filterwarnings("ignore")  # of the exporter's own
@pytest.mark.parametrize(("ndim", "outputs"), [(2, 1), (3, 2)])
def test_onnx_gives_the_same(ndim, outputs, tmp_path, rng):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = unet.UNet(1, outputs, base=2, depth=2, ndim=ndim, seed=0)
    model.set_normalization([100], [50])
    path = tmp_path / "m.onnx"
    unet.export_onnx(path, model)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for count, shape in ((1, (16, 24, 8)), (3, (40, 12, 4))):
        image = rng.normal(100, 50, (count, 1, *shape[:ndim])).astype(np.float32)
        (found,) = session.run(["probability"], {"image": image})
        for one, given in zip(found, image):
            expected = unet.predict_proba(model, given[0])
            expected = expected[None] if outputs == 1 else np.moveaxis(expected, -1, 0)
            np.testing.assert_allclose(one, expected, atol=1e-5)
    with pytest.raises(RefusedOutput, match="exists"):
        unet.export_onnx(path, model)
