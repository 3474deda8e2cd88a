"""Hysteresis thresholding beside scikit-image, on easy, ordinary and adversarial volumes."""

import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.filters
from common import measure, noise, quantile

from gpuseg.filters import apply_hysteresis_threshold

sys.path.append(str(Path(__file__).parents[1] / "tests"))

PEERS = {
    "gpuseg": apply_hysteresis_threshold,
    "scikit-image": skimage.filters.apply_hysteresis_threshold,
}
_expected: dict[str, np.ndarray] = {}


def compare(benchmark, who, case, image, low, high):
    result = measure(
        benchmark, who, lambda: PEERS[who](image, low, high), case=case, voxels=image.size
    )
    if who == "gpuseg":
        _expected.clear()
        _expected[case] = result
    else:
        assert np.array_equal(_expected[case], result)


@pytest.mark.parametrize("who", PEERS)
@pytest.mark.parametrize("density", [0.05, 0.2, 0.5, 0.8])
@pytest.mark.parametrize("kind", ["blobs", "noise"])
@pytest.mark.parametrize("shape", [(256,) * 3, (512,) * 3, (4096, 4096)], ids=["256", "512", "2d"])
def bench_density(benchmark, who, shape, kind, density):
    image = noise(shape, 3.0 if kind == "blobs" else 0.0)
    low, high = quantile(image, 1 - density), quantile(image, 1 - density / 10)
    size = "4096^2" if len(shape) == 2 else f"{shape[0]}^3"
    compare(benchmark, who, f"{size} {kind}, low mask {density}", image, low, high)


@pytest.mark.parametrize("who", PEERS)
@pytest.mark.parametrize(
    "name",
    ["serpentine", "serpentine across", "all true", "all false", "single seed", "checkerboard",
     "percolation 0.31", "percolation 0.34"],
)  # fmt: skip
def bench_adversary(benchmark, who, name):
    from test_hysteresis import adversaries

    image = np.ascontiguousarray(dict(adversaries((256, 256, 256)))[name])
    compare(benchmark, who, f"256^3 {name}", image, 0.5, 2)
