"""Gaussians beside scikit-image's."""

import numpy as np
import pytest
import skimage.filters
from common import measure, noise

from gpuseg import filters

SHAPES = {"4096^2": (4096, 4096), "256^3": (256, 256, 256)}
WHO = ["gpuseg", "scikit-image"]


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("sigma", [1, 2, 4])
@pytest.mark.parametrize("shape", SHAPES)
def bench_gaussian(benchmark, who, shape, sigma):
    image = noise(SHAPES[shape])
    function = {"gpuseg": filters.gaussian, "scikit-image": skimage.filters.gaussian}[who]
    case = f"gaussian sigma {sigma} float32 {shape}"
    result = measure(benchmark, who, lambda: function(image, sigma), case=case, voxels=image.size)
    assert np.abs(result - filters.gaussian(image, sigma)).max() < 1e-5 * np.abs(result).max()


@pytest.mark.parametrize("who", WHO)
def bench_difference_of_gaussians(benchmark, who):
    image = noise(SHAPES["4096^2"])
    peers = dict(zip(WHO, (filters, skimage.filters)))
    measure(
        benchmark,
        who,
        lambda: peers[who].difference_of_gaussians(image, 1, 2),
        case="difference of Gaussians 1, 2 float32 4096^2",
        voxels=image.size,
    )
