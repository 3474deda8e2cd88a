"""Automatic thresholds beside scikit-image's."""

import numpy as np
import pytest
import skimage.filters
from common import measure, noise

from gpuseg import filters

SHAPES = {"4096^2": (4096, 4096), "256^3": (256, 256, 256)}


def image(dtype, shape):
    a = noise(shape, 2.0)
    if dtype == "float32":
        return a
    scale, most = (40, 255) if dtype == "uint8" else (8000, 65535)
    return np.clip(a * scale + most / 2, 0, most).astype(dtype)


def both(name):
    return {
        "gpuseg": getattr(filters, f"threshold_{name}"),
        "scikit-image": getattr(skimage.filters, f"threshold_{name}"),
    }


@pytest.mark.parametrize("who", ["gpuseg", "scikit-image"])
@pytest.mark.parametrize("dtype", ["float32", "uint8", "uint16"])
@pytest.mark.parametrize("shape", SHAPES)
def bench_otsu(benchmark, who, shape, dtype):
    a = image(dtype, SHAPES[shape])
    function = both("otsu")[who]
    t = measure(benchmark, who, lambda: function(a), case=f"otsu {dtype} {shape}", voxels=a.size)
    assert t == filters.threshold_otsu(a)


@pytest.mark.parametrize("who", ["gpuseg", "scikit-image"])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("name", ["isodata", "li", "mean", "minimum", "triangle", "yen"])
def bench_others(benchmark, who, name, dtype):
    a = image(dtype, SHAPES["4096^2"])
    function = both(name)[who]

    def call():
        try:
            return function(a)
        except RuntimeError:
            return None

    measure(benchmark, who, call, case=f"{name} {dtype} 4096^2", voxels=a.size)
