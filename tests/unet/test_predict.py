"""Prediction: windows equal the whole, and no more of a volume is in memory than need be."""

import logging
import sys
import tracemalloc

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

import gpuseg  # noqa: E402
from gpuseg import metrics, unet  # noqa: E402

TOLERANCE = 3e-6  # of probabilities: what another order of sums in float32 makes


def network(ndim=2, outputs=1, channels=1, depth=2, **more):
    model = unet.UNet(channels, outputs, base=4, depth=depth, ndim=ndim, seed=1, **more)
    model.set_normalization([10] * channels, [5] * channels)
    return model.eval()


def whole(model, image):
    """As anyone would: the image through the network, at once. `image` has its channels first."""
    x = torch.from_numpy(np.asarray(image, np.float32))[None]
    with torch.inference_mode():
        return model(model.normalized(x))[0].numpy()


@settings(max_examples=25)
@given(
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    window=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    batch=st.integers(1, 3),
    depth=st.integers(1, 3),
    dtype=st.sampled_from(["uint8", ">i2", "float16", "float64", "bool"]),
)
def test_windows_are_the_whole_image(shape, window, batch, depth, dtype):
    image = (np.random.default_rng(0).normal(10, 5, shape)).clip(0, 30).astype(dtype)
    model = network(depth=depth)
    found = unet.predict_proba(model, image, window=window, batch_size=batch, channels_last=False)
    np.testing.assert_allclose(found, whole(model, image[None])[0], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("channels_last", [False, True])
def test_classes_channels_and_axes(ndim, outputs, channels_last, rng):
    shape = (50, 37, 30)[:ndim]
    image = rng.normal(10, 5, (*shape, 2))
    model = network(ndim, outputs, channels=2)
    expected = whole(model, np.moveaxis(image, -1, 0))
    options = {"channel_axis": -1, "window": 20, "channels_last": channels_last}
    likely = unet.predict_proba(model, image, **options)
    wanted = expected[0] if outputs == 1 else np.moveaxis(expected, 0, -1)
    np.testing.assert_allclose(likely, wanted, rtol=0, atol=TOLERANCE)
    beside = np.empty(likely.shape, np.float32)
    found = unet.predict(model, image, probabilities=beside, **options)
    np.testing.assert_array_equal(beside, likely)
    assert found.dtype == np.uint8
    labels = likely > 0.5 if outputs == 1 else likely.argmax(axis=-1)
    np.testing.assert_array_equal(found, labels)
    np.testing.assert_array_equal(
        unet.predict(model, np.moveaxis(image, -1, 0), **options | {"channel_axis": 0}), found
    )


def test_a_threshold(rng):
    image, model = rng.normal(10, 5, (40, 40)), network()
    likely = unet.predict_proba(model, image)
    cut = float(np.median(likely))
    np.testing.assert_array_equal(unet.predict(model, image, threshold=cut), likely > cut)


@pytest.mark.parametrize("ndim", [2, 3])
def test_blended_windows(ndim, rng):
    """Equal to sums written out; and to the whole image where one window sees all that counts."""
    shape, window = ((150, 110), 80) if ndim == 2 else ((70, 45, 44), 40)
    image, model = rng.normal(10, 5, shape), network(ndim, 2, depth=1)
    found = unet.predict_proba(model, image, blend="gaussian", window=window, overlap=0.25)
    total, weights = np.zeros((2, *shape)), np.zeros(shape)
    step, certain = window * 3 // 4 // 2 * 2, np.zeros(shape, int)
    for begin in np.ndindex(*[max(0, -(-(n - window) // step)) + 1 for n in shape]):
        starts = [min(b * step, max(0, n - window) // 2 * 2) for b, n in zip(begin, shape)]
        last = [max(0, n - window) // 2 * 2 for n in shape]
        stops = [n if a == z else a + window for a, z, n in zip(starts, last, shape)]
        cut = tuple(map(slice, starts, stops))
        weight = np.ones([b - a for a, b in zip(starts, stops)])
        inside = np.ones(weight.shape, bool)
        for axis, (a, b, n) in enumerate(zip(starts, stops, shape)):
            at = np.arange(b - a)
            form = [-1 if i == axis else 1 for i in range(ndim)]
            away = (at - (b - a - 1) / 2) / (0.125 * (b - a))
            weight = weight * np.maximum(np.exp(-0.5 * away**2), 1e-3).reshape(form)
            enough = ((at >= model.radius) | (a == 0)) & ((at < b - a - model.radius) | (b == n))
            inside &= enough.reshape(form)
        total[(slice(None), *cut)] += weight * whole(model, image[None][(slice(None), *cut)])
        weights[cut] += weight
        certain[cut] += np.where(inside, 1, 1000)
    expected = np.moveaxis(total / weights, 0, -1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    alone = certain < 1000
    assert alone.mean() > 0.05
    one = np.moveaxis(whole(model, image[None]), 0, -1)
    np.testing.assert_allclose(found[alone], one[alone], rtol=0, atol=1e-5)
    assert np.abs(found - one).max() > 1e-3  # elsewhere it is not the whole image's


def test_instance_norms_are_blended(rng):
    image, model = rng.normal(10, 5, (90, 60)), network(norm="instance")
    blended = unet.predict_proba(model, image, window=48)
    np.testing.assert_array_equal(
        blended, unet.predict_proba(model, image, window=48, blend="gaussian")
    )


@pytest.mark.parametrize("blend", ["crop", "gaussian"])
def test_zarr_in_and_out_by_whole_chunks(blend, tmp_path, rng):
    zarr = pytest.importorskip("zarr")
    volume = rng.integers(0, 30, (60, 41, 33)).astype(np.uint16)
    source = zarr.create_array(tmp_path / "v.zarr", shape=volume.shape, chunks=(16, 32, 32),
                               dtype="uint16")  # fmt: skip
    source[...] = volume
    made = zarr.create_array(tmp_path / "m.zarr", shape=volume.shape, chunks=(14, 41, 33),
                             dtype="uint8")  # fmt: skip
    writes = []

    class Watched:
        shape, dtype, chunks = made.shape, made.dtype, made.chunks

        def __setitem__(self, cut, value):
            writes.append((cut.start, cut.stop))
            made[cut] = value

    model = network(3, depth=1)
    options = {"window": 20, "blend": blend}
    likely = np.lib.format.open_memmap(tmp_path / "p.npy", "w+", np.float32, volume.shape)
    unet.predict(model, source, out=Watched(), probabilities=likely, **options)
    np.testing.assert_array_equal(made[...], unet.predict(model, volume, **options))
    np.testing.assert_array_equal(likely, unet.predict_proba(model, volume, **options))
    assert [start % 14 for start, _ in writes] == [0] * len(writes)
    assert all(stop % 14 == 0 or stop == 60 for _, stop in writes)
    assert [b for _, b in writes[:-1]] == [a for a, _ in writes[1:]]


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("blend", ["crop", "gaussian"])
def test_a_stack_is_predicted_image_by_image(outputs, blend, rng, tmp_path):
    stack = rng.normal(10, 5, (7, 41, 33)).astype(np.float32)
    model = network(outputs=outputs, depth=1)
    options = {"window": 20, "blend": blend}
    expected = np.stack([unet.predict(model, x, **options) for x in stack])
    likely = np.stack([unet.predict_proba(model, x, **options) for x in stack])
    told = []
    found = unet.predict(
        model, stack, stack=True, progress=lambda *done: told.append(done), **options
    )
    np.testing.assert_array_equal(found, expected)
    assert told[-1][0] == told[-1][1] == len(told) * told[0][0]
    np.testing.assert_array_equal(unet.predict_proba(model, stack, stack=True, **options), likely)
    zarr = pytest.importorskip("zarr")
    source, made = (
        zarr.create_array(tmp_path / name, shape=stack.shape, chunks=(3, 32, 32), dtype=dtype)
        for name, dtype in (("v.zarr", "float32"), ("m.zarr", "uint8"))
    )
    source[...] = stack
    both = np.lib.format.open_memmap(tmp_path / "p.npy", "w+", np.float32, likely.shape)
    unet.predict(model, source, stack=True, out=made, probabilities=both, **options)
    np.testing.assert_array_equal(made[...], expected)
    np.testing.assert_array_equal(both, likely)


def test_channels_of_a_stack_are_those_of_its_images(rng):
    stack = rng.normal(10, 5, (3, 2, 30, 24))
    model = network(channels=2)
    found = unet.predict_proba(model, stack, stack=True, channel_axis=0)
    expected = [unet.predict_proba(model, x, channel_axis=0) for x in stack]
    np.testing.assert_array_equal(found, np.stack(expected))


def test_a_volume_is_never_whole_in_memory(tmp_path):
    """Beside the network's own, what NumPy holds is slabs: here a twelfth of the volume high."""
    shape = (480, 64, 64)
    source = np.lib.format.open_memmap(tmp_path / "v.npy", "w+", np.uint8, shape)
    made = np.lib.format.open_memmap(tmp_path / "m.npy", "w+", np.uint8, shape)
    model = network(3, depth=1)
    tracemalloc.start()
    unet.predict(model, source, out=made, window=(16, 64, 64), channels_last=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    slab = (16 + 2 * 10) * 64 * 64
    assert peak < 12 * slab + (1 << 20) < 4 * np.prod(shape)


def test_the_model_and_the_image_are_left_as_they_were(rng):
    model = network(norm="batch").train()
    before = {key: x.clone() for key, x in model.state_dict().items()}
    strides = model.head.weight.stride()
    image = rng.normal(10, 5, (40, 40))
    image.flags.writeable = False
    unet.predict(model, image, channels_last=True)
    assert model.training
    assert model.head.weight.stride() == strides
    for key, x in model.state_dict().items():
        assert torch.equal(x, before[key])


def test_the_layout_is_chosen_by_measurement_and_told(caplog, rng):
    image = rng.normal(size=(90, 70))
    for window, text in ((8, ("first", "last")), (32, "windows are too few to measure")):
        caplog.clear()
        sys.modules["gpuseg.unet.predict"]._faster.cache_clear()
        with caplog.at_level(logging.INFO, logger="gpuseg"):
            unet.predict(network(), image, window=window, device="cpu")
            unet.predict(network(), image, window=window, device="cpu")
        told = [r.getMessage() for r in caplog.records if "channels last" in r.getMessage()]
        if window == 8:
            assert len(told) == 1  # once in a process
            assert told[0].endswith(text)
        else:
            assert all(text in line for line in told)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("norm", [None, "batch", "instance"])
@pytest.mark.parametrize("upsample", ["nearest", "transpose"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_in_fewer_multiplications(ndim, norm, upsample, depth, rng):
    """The network for prediction is the one that was trained, with whatever it is made of."""
    model = unet.UNet(2, 3, 4, depth, ndim, norm, upsample, seed=1)
    shape = (53, 30, 22)[:ndim]
    image = rng.normal(size=(2, *shape)).astype(np.float32)
    torch.manual_seed(0)
    for module in model.modules():
        if getattr(module, "affine", False):  # a norm
            torch.nn.init.normal_(module.weight, 1, 0.2)
            torch.nn.init.normal_(module.bias, 0, 0.2)
            module.momentum = 1
    if norm == "batch":  # learns means and deviations
        model.train()(torch.from_numpy(image)[None])
    expected = whole(model.eval(), image)
    tolerance = 2 * TOLERANCE  # to divide by deviations makes more of another order of sums
    for window in (None, (24, 16, 16)[:ndim]) if norm != "instance" else (None,):
        found = unet.predict_proba(model, image, channel_axis=0, window=window, device="cpu")
        np.testing.assert_allclose(np.moveaxis(found, -1, 0), expected, rtol=0, atol=tolerance)


def test_no_window_is_much_larger_than_another(rng):
    module = sys.modules["gpuseg.unet.predict"]
    for ndim, shape in ((2, (2048, 2048)), (3, (130, 512, 300))):
        model = network(ndim)
        window = module._window(module._equal(shape, model), model)
        counts = [-(-n // w) for n, w in zip(shape, window)]
        reads = [tile.read for row in module._crops(shape, window, model) for tile in row.tiles]
        largest = max(np.prod([cut.stop - cut.start for cut in read]) for read in reads)
        assert largest <= 1.3 * (module._WINDOW[ndim] + 2 * 24) ** ndim
        assert all(n - (c - 1) * w > w / 2 for n, w, c in zip(shape, window, counts))


def test_bf16_is_near(rng):
    image, model = rng.normal(10, 5, (64, 64)), network()
    exact, near = (
        unet.predict_proba(model, image, precision=precision) for precision in ("float32", "bf16")
    )
    assert 0 < np.abs(exact - near).max() < 0.05


def test_progress_counts_windows(rng):
    told = []
    unet.predict(
        network(), rng.normal(size=(70, 50)), window=24, progress=lambda *x: told.append(x)
    )
    assert told[-1] == (9, 9)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_out_of_device_memory_goes_on_on_the_cpu(monkeypatch, caplog, rng):
    module = sys.modules["gpuseg.unet.predict"]
    ran, image, model = [], rng.normal(size=(30, 30)), network()
    expected = unet.predict(model, image)
    real = module._run

    def run(plan, sinks, progress):
        ran.append(plan.device.type)
        if plan.device.type == "cuda":
            raise torch.OutOfMemoryError("none left")
        real(plan, sinks, progress)

    monkeypatch.setattr(module, "_run", run)
    monkeypatch.setattr(module, "torch_device", lambda device: torch.device("cuda"))
    np.testing.assert_array_equal(unet.predict(model, image), expected)
    assert ran == ["cuda", "cpu"]
    assert "out of device memory" in caplog.text


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"image": np.zeros((3, 4, 5))}, ValueError, "must have 2 axes .*; pass stack=True for a"),
        ({"stack": True}, ValueError, r"each of the stack: image must have 2 axes .* shape \(30,"),
        ({"stack": 1}, TypeError, "stack must be a bool, got 1"),
        ({"stack": True, "model": network(3)}, ValueError, "stack must be False for a model of"),
        ({"image": np.full((30, 30), np.nan)}, ValueError, "NaN or infinity"),
        ({"image": np.zeros((30, 30), complex)}, TypeError, "real numbers"),
        ({"image": np.zeros((0, 30))}, ValueError, "empty"),
        ({"image": "x.png"}, TypeError, "must be an array"),
        ({"channel_axis": 0, "image": np.zeros((2, 30, 30))}, ValueError, "1 channel"),
        ({"channel_axis": 5, "image": np.zeros((1, 30, 30))}, ValueError, "channel_axis"),
        ({"window": 0}, ValueError, "window"),
        ({"window": (8, 8, 8)}, ValueError, "window must be a number or 2 numbers"),
        ({"overlap": 1}, ValueError, "overlap"),
        ({"blend": "mean"}, ValueError, "blend must be one of"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"threshold": 2}, ValueError, "threshold"),
        ({"precision": "fp8"}, ValueError, "precision must be one of"),
        ({"channels_last": 1}, TypeError, "channels_last"),
        ({"device": "tpu"}, ValueError, "device must be"),
        ({"out": np.zeros((3, 3), np.uint8)}, ValueError, "out must be an array of shape"),
        ({"probabilities": np.zeros((30, 30), int)}, TypeError, "probabilities must take float32"),
        ({"model": "m.safetensors"}, TypeError, "model must be a UNet"),
    ],
)
def test_bad_arguments(change, error, text):
    given = {"model": network(), "image": np.zeros((30, 30))} | change
    with pytest.raises(error, match=text):
        unet.predict(given.pop("model"), given.pop("image"), **given)


def test_nan_in_a_file_is_found_as_it_is_read(tmp_path):
    image = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (64, 64))
    image[60, 3] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity"):
        unet.predict(network(), image, window=16)


@pytest.mark.gpu
def test_a_gpu_gives_the_mask_of_the_cpu(rng):
    model = unet.UNet(seed=0)
    image = rng.normal(size=(300, 420))
    masks = []
    cut = float(np.median(unet.predict_proba(model, image, device="cpu")))
    for device in ("cpu", "cuda"):
        masks.append(unet.predict(model, image, threshold=cut, device=device))
    assert metrics.jaccard(*masks) >= 0.999


def test_using_the_cpu_is_obeyed(rng):
    with gpuseg.using("cpu"):
        assert unet.predict(network(), rng.normal(size=(30, 30))).shape == (30, 30)
