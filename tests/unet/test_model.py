"""The network: the course's, layer by layer, and its relatives."""

import itertools
import os

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import naive  # noqa: E402

from gpuseg import set_device, using  # noqa: E402
from gpuseg._backend import Backend, BackendError, choose  # noqa: E402
from gpuseg.unet import UNet, _device  # noqa: E402
from gpuseg.unet.model import reach_of, size_of  # noqa: E402


def test_the_default_is_the_courses_network():
    model = UNet()
    counts = [
        sum(p.numel() for p in layer.parameters())
        for layer in model.modules()
        if isinstance(layer, torch.nn.Conv2d)
    ]
    assert counts == [
        320, 9248, 18496, 36928, 73856, 147584, 110656, 36928, 27680, 9248, 33
    ]  # fmt: skip
    assert sum(counts) == sum(p.numel() for p in model.parameters()) == 470977
    kinds = [type(layer).__name__ for layer in model.modules()]
    assert kinds.count("ReLU") == 10
    assert not any("Norm" in kind or "Transpose" in kind for kind in kinds)


def test_shapes_of_its_levels():
    model, seen = UNet(), []
    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(lambda _, x, y: seen.append((x[0].shape[1:], y.shape[1:])))
    model(torch.zeros(1, 1, 32, 48))
    assert [(tuple(x), tuple(y)) for x, y in seen] == [
        ((1, 32, 48), (32, 32, 48)), ((32, 32, 48), (32, 32, 48)),
        ((32, 16, 24), (64, 16, 24)), ((64, 16, 24), (64, 16, 24)),
        ((64, 8, 12), (128, 8, 12)), ((128, 8, 12), (128, 8, 12)),
        ((192, 16, 24), (64, 16, 24)), ((64, 16, 24), (64, 16, 24)),
        ((96, 32, 48), (32, 32, 48)), ((32, 32, 48), (32, 32, 48)),
        ((32, 32, 48), (1, 32, 48)),
    ]  # fmt: skip


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("upsample", ["nearest", "transpose"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_a_forward_pass_is_what_scipy_computes(ndim, upsample, outputs, rng):
    model = UNet(2, outputs, base=3, depth=2, ndim=ndim, upsample=upsample, seed=1).double()
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 1:
                p.uniform_(-0.2, 0.2)
    x = rng.normal(size=(2, *(8, 12, 4)[:ndim]))
    weights = {key: value.detach().numpy() for key, value in model.state_dict().items()}
    expected = naive.unet_logits(weights, x, depth=2)
    found = model.logits(torch.from_numpy(x)[None])[0].detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    likely = model(torch.from_numpy(x)[None])[0].detach().numpy()
    if outputs == 1:
        np.testing.assert_allclose(likely, 1 / (1 + np.exp(-expected)), rtol=1e-9)
    else:
        shares = np.exp(expected) / np.exp(expected).sum(axis=0)
        np.testing.assert_allclose(likely, shares, rtol=1e-9)


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (16, 13), (40, 4)])
def test_any_size_is_continued_by_its_last_pixels(size):
    model = UNet(base=2, seed=0)
    x = torch.randn(2, 1, *size)
    beyond = [-n % 4 for n in size]
    wide = np.pad(x.numpy(), [(0, 0), (0, 0), *((0, b) for b in beyond)], mode="edge")
    with torch.inference_mode():
        found, whole = model(x), model(torch.from_numpy(wide))
    assert found.shape == x.shape
    torch.testing.assert_close(found, whole[..., : size[0], : size[1]])


@pytest.mark.parametrize(
    ("ndim", "norm", "upsample", "depth"),
    [*itertools.product((2, 3), (None, "batch", "instance"), ("nearest", "transpose"), (1, 2, 3))],
)
def test_every_kind_runs_and_its_size_is_told(ndim, norm, upsample, depth):
    model = UNet(2, 3, base=2, depth=depth, ndim=ndim, norm=norm, upsample=upsample, seed=0)
    assert sum(p.numel() for p in model.parameters()) == size_of(model.config)
    likely = model(torch.zeros(2, 2, *(17, 16, 9)[:ndim]))
    assert likely.shape == (2, 3, *(17, 16, 9)[:ndim])
    torch.testing.assert_close(likely.sum(dim=1), torch.ones_like(likely[:, 0]))
    assert model.radius == (None if norm == "instance" else reach_of(model.config))
    assert model.multiple == 2**depth
    assert model.classes == 3


@pytest.mark.parametrize(("depth", "upsample"), [(1, "nearest"), (2, "nearest"), (2, "transpose")])
def test_no_pixel_beyond_the_radius_counts_and_one_at_it_does(depth, upsample):
    model = UNet(base=8, depth=depth, upsample=upsample, seed=0).double()
    middle, m = 48, model.multiple
    farthest = 0
    for seed in range(3):  # a maximum passes one of four: others let other pixels through
        torch.manual_seed(seed)
        x = torch.randn(1, 1, 96, 96, dtype=torch.float64, requires_grad=True)
        logits = model.logits(x)
        for place in itertools.product(range(middle, middle + m), repeat=2):
            (slope,) = torch.autograd.grad(logits[0, 0, *place], x, retain_graph=True)
            away = (slope[0, 0].nonzero() - torch.tensor(place)).abs()
            farthest = max(farthest, int(away.max()))
    assert model.radius - 2 * m < farthest <= model.radius


def test_the_same_seed_gives_the_same_weights_and_leaves_pytorchs_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = UNet(base=2, seed=3)
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)
    for a, b in zip(first.parameters(), UNet(base=2, seed=3).parameters()):
        assert torch.equal(a, b)
    assert not torch.equal(first.head.weight, UNet(base=2, seed=4).head.weight)


def test_normalisation_is_kept_and_applied():
    model = UNet(in_channels=2, base=2)
    model.set_normalization([1, 2], [10, 20])
    x = torch.tensor([11.0, 42.0]).reshape(1, 2, 1, 1)
    assert model.normalized(x).flatten().tolist() == [1.0, 2.0]
    for mean, std in (([1], [1]), ([1, 2], [1, 0]), ([1, np.nan], [1, 1])):
        with pytest.raises(ValueError, match="mean and std"):
            model.set_normalization(mean, std)


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"in_channels": 0}, ValueError, "in_channels"),
        ({"out_channels": 1.5}, TypeError, "out_channels"),
        ({"base": -1}, ValueError, "base"),
        ({"depth": 0}, ValueError, "depth"),
        ({"ndim": 4}, ValueError, "ndim must be 2 or 3"),
        ({"norm": "layer"}, ValueError, "norm must be one of"),
        ({"upsample": "bilinear"}, ValueError, "upsample must be one of"),
        ({"seed": -1}, ValueError, "seed"),
    ],
)
def test_bad_arguments(given, error, text):
    with pytest.raises(error, match=text):
        UNet(**given)


def test_wrong_channels_and_axes_are_told():
    with pytest.raises(ValueError, match=r"x must have the shape \(N, 1, size, size\)"):
        UNet(base=2)(torch.zeros(1, 2, 8, 8))
    with pytest.raises(ValueError, match="x must have the shape"):
        UNet(base=2)(torch.zeros(1, 8, 8))


@pytest.mark.parametrize(
    ("chosen", "reason", "has", "expected"),
    [
        (Backend("cuda"), "a CUDA device works here", False, "cpu"),
        (Backend("cuda"), "a CUDA device works here", True, "cuda"),
        (Backend("cpu"), "no CUDA device works here", True, "cuda"),
        (Backend("cpu"), "GPUSEG_DEVICE=cpu", True, "cpu"),
        (Backend("sim"), "using()", True, "cpu"),
        (Backend("cuda", 1), "using()", True, "cuda:1"),
    ],
)
def test_networks_run_where_gpuseg_was_told(chosen, reason, has, expected, monkeypatch):
    monkeypatch.setattr(_device, "choose", lambda arrays: (chosen, reason))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has)
    assert _device.torch_device() == torch.device(expected)
    assert _device.torch_device("cpu") == torch.device("cpu")


def test_a_device_that_pytorch_has_not_is_told(monkeypatch):
    monkeypatch.setattr(_device, "choose", lambda arrays: (Backend("cuda"), "using()"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendError, match=r"using\(\) says cuda:0, and PyTorch finds no CUDA"):
        _device.torch_device()
    for device in ("cuda", "nowhere", 1.5):
        with pytest.raises(ValueError, match="device"):
            _device.torch_device(device)


def test_the_same_devices_are_found_by_name():
    with using("cpu"):
        assert _device.torch_device() == torch.device("cpu")
    set_device("auto")
    assert choose(())[1] in _device._FOUND | {f"GPUSEG_DEVICE={os.environ.get('GPUSEG_DEVICE')}"}
