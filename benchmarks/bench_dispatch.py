"""What the dispatch and the checks cost: a call on a tiny image beside its bare CPU form."""

import numpy as np
import pytest
from common import measure

import gpuseg
from gpuseg._backend import find, run
from gpuseg.filters import sobel

IMAGE = np.random.default_rng(0).random((8, 8))


@pytest.mark.parametrize("who", ["gpuseg", "bare function", "run only"])
def bench_call(benchmark, who):
    bare, _ = find(sobel, "cpu")
    # The public call fills in the defaults; the bare forms get them from here.
    defaults = dict(mask=None, axis=None, mode="reflect", cval=0.0)
    calls = {
        "gpuseg": lambda: sobel(IMAGE),
        "bare function": lambda: bare(IMAGE, **defaults),
        "run only": lambda: run(sobel, IMAGE, **defaults),
    }

    def many():
        call = calls[who]
        for _ in range(1000):
            call()

    with gpuseg.using("cpu"):
        measure(benchmark, who, many, case="1000 calls of sobel on 8x8", voxels=64_000, rounds=10)
