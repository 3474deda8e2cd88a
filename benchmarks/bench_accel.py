"""What `gpuseg.accel` costs a call that goes to the original function after all."""

import numpy as np
import pytest
import skimage.filters
from common import measure

import gpuseg.accel

IMAGE = np.random.default_rng(0).random((8, 8))
CALLS = 1000


@pytest.fixture
def accelerated():
    gpuseg.accel.install()
    yield
    gpuseg.accel.uninstall()


@pytest.mark.usefixtures("accelerated")
@pytest.mark.parametrize("why", ["not worth it", "a type that is not served"])
@pytest.mark.parametrize("who", ["gpuseg.accel", "original"])
def bench_call_that_falls_back(benchmark, who, why):
    function = skimage.filters.threshold_mean
    if who == "original":
        function = function.gpuseg_original
    image = IMAGE.astype(np.complex64) if why.startswith("a type") else IMAGE

    def many():
        for _ in range(CALLS):
            function(image)

    case = f"{CALLS} calls of threshold_mean on 8x8, {why}"
    measure(benchmark, who, many, case=case, voxels=CALLS * IMAGE.size, rounds=20)
