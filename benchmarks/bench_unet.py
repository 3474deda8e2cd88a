"""Prediction of a U-Net in windows beside MONAI and a plain loop, and a step of its training.

The course's network, 470 977 parameters. The peers get windows that overlap by a quarter and are
blended by Gaussian weights, as MONAI's examples have them; gpuseg is run as it is by default, where
windows equal the whole image, and blended as the peers are.
"""

import functools
import resource

import numpy as np
import pytest
import torch
from common import measure, noise

from gpuseg import unet
from gpuseg.unet._losses import loss_of, targets

SHAPES = {"2048^2": (2048, 2048), "96^3": (96, 96, 96)}
WINDOWS = {2: 256, 3: 48}
OVERLAP = 0.25
WHO = ("gpuseg", "gpuseg, blended", "gpuseg, bf16", "MONAI", "a loop over windows")


@functools.cache
def _model(ndim: int):
    model = unet.UNet(ndim=ndim, seed=0).eval()
    model.set_normalization([0.1], [1.1])
    return model


def _starts(n: int, window: int) -> list[int]:
    step = int(window * (1 - OVERLAP))
    return [*range(0, n - window, step), n - window]


def _loop(model, image, window: int):
    """What one writes first: windows through the model one by one, added up with weights."""
    axes = [_starts(n, window) for n in image.shape]
    at = (np.arange(window) - (window - 1) / 2) / (0.125 * window)
    weights = functools.reduce(np.multiply.outer, [np.exp(-0.5 * at * at)] * image.ndim)
    weights = torch.from_numpy(np.maximum(weights, 1e-3).astype(np.float32))
    x = model.normalized(torch.from_numpy(image)[None, None])
    total, norm = torch.zeros(x.shape), torch.zeros(x.shape)
    with torch.inference_mode():
        for place in np.ndindex(*map(len, axes)):
            cut = (..., *(slice(a[i], a[i] + window) for a, i in zip(axes, place)))
            total[cut] += model(x[cut]) * weights
            norm[cut] += weights
    return (total / norm > 0.5)[0, 0].numpy()


def _monai(model, image, window: int):
    inferers = pytest.importorskip("monai.inferers")
    x = model.normalized(torch.from_numpy(image)[None, None])
    with torch.inference_mode():
        likely = inferers.sliding_window_inference(
            x, (window,) * image.ndim, 1, model, overlap=OVERLAP, mode="gaussian"
        )
    return (likely > 0.5)[0, 0].numpy()


@pytest.mark.filterwarnings("ignore")  # MONAI's own
@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("shape", SHAPES)
def bench_predict(benchmark, who, shape):
    image = np.array(noise(SHAPES[shape], 2.0))
    model, window = _model(image.ndim), WINDOWS[image.ndim]
    calls = {
        "gpuseg": lambda: unet.predict(model, image),
        "gpuseg, blended": lambda: unet.predict(
            model, image, blend="gaussian", window=window, overlap=OVERLAP
        ),
        "gpuseg, bf16": lambda: unet.predict(model, image, precision="bf16"),
        "MONAI": lambda: _monai(model, image, window),
        "a loop over windows": lambda: _loop(model, image, window),
    }
    case = f"unet.predict {shape} float32, overlap {OVERLAP}, windows {window}"
    found = measure(benchmark, who, calls[who], case=case, voxels=image.size)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    benchmark.extra_info["peak_mib_of_the_process_so_far"] = round(peak)
    middle = tuple(slice(0, 16) for _ in image.shape)  # where all have the same border
    with torch.inference_mode():
        x = torch.from_numpy(image[tuple(slice(0, 64) for _ in image.shape)])[None, None]
        whole = (model(model.normalized(x)) > 0.5)[0, 0].numpy()
    assert (found[middle] == whole[middle]).mean() > 0.97


@pytest.mark.parametrize("who", ["gpuseg", "channels first", "gpuseg, bf16"])
@pytest.mark.parametrize(("ndim", "patch", "batch"), [(2, 128, 8), (3, 48, 2)])
def bench_training_step(benchmark, who, ndim, patch, batch):
    """Forward, loss, backward and AdamW, of patches that are there."""
    model = unet.UNet(ndim=ndim, seed=0).train()
    x = torch.randn(batch, 1, *[patch] * ndim)
    if ndim == 2 and who != "channels first":
        model.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
    wanted = targets((x[:, 0] > 0.5).long(), 2, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=who == "gpuseg, bf16"):
            logits = model.logits(x)
        optimizer.zero_grad(set_to_none=True)
        loss_of("dice_bce", logits, wanted).backward()
        optimizer.step()

    case = f"training step, {batch} patches of {patch}^{ndim}"
    measure(benchmark, who, step, case=case, voxels=x.numel())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    benchmark.extra_info["peak_mib_of_the_process_so_far"] = round(peak)
