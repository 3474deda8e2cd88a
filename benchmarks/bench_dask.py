"""Connectivity over chunks: beside the same volume in memory, and beside dask-image where it ends.

Results of hysteresis stay in chunks, as they would on their way to a file: to make one array of
them copies as many bytes as hysteresis writes.

dask-image's label takes tasks that grow much faster than the chunks (150 000 for 64 chunks), so it
is asked for 8 chunks here. How time grows with the volume: `dask_scaling.py`.
"""

import numpy as np
import pytest
from cases import size_name
from common import measure, noise, quantile
from dask import array as da
from scipy import ndimage as ndi

from gpuseg.filters import apply_hysteresis_threshold
from gpuseg.measure import label


def in_chunks(array, chunks):
    """Chunks that lie in memory by themselves, as they come from a file."""
    return da.from_array(array, chunks=chunks).map_blocks(np.copy).persist()


@pytest.mark.parametrize("who", ["gpuseg", "in memory"])
@pytest.mark.parametrize("chunks", [(256, 256, 512), (256,) * 3, (128,) * 3], ids=str)
@pytest.mark.parametrize("density", [0.2, 0.5])
@pytest.mark.parametrize("kind", ["blobs", "noise"])
def bench_hysteresis(benchmark, who, kind, density, chunks):
    image = noise((512, 512, 512), 3.0 if kind == "blobs" else 0.0)
    low, high = quantile(image, 1 - density), quantile(image, 1 - density / 10)
    if who == "gpuseg":
        call = apply_hysteresis_threshold(in_chunks(image, chunks), low, high).persist
    else:
        call = lambda: apply_hysteresis_threshold(image, low, high)  # noqa: E731
    case = f"hysteresis 512^3 {kind}, low mask {density}, chunks of {size_name(chunks)}"
    result = measure(benchmark, who, call, case=case, voxels=image.size)
    if who == "gpuseg":
        assert np.array_equal(result.compute(), apply_hysteresis_threshold(image, low, high))


@pytest.mark.parametrize("who", ["gpuseg", "in memory"])
@pytest.mark.parametrize("side", [128, 64])
@pytest.mark.parametrize("connectivity", [1, 3])
@pytest.mark.parametrize("kind", ["blobs", "noise"])
def bench_label(benchmark, who, kind, connectivity, side):
    image = noise((512, 512, 512), 3.0 if kind == "blobs" else 0.0)
    mask = image > quantile(image, 0.8)
    if who == "gpuseg":
        call = label(in_chunks(mask, side), connectivity=connectivity).compute
    else:
        call = lambda: label(mask, connectivity=connectivity)  # noqa: E731
    case = f"label 512^3 {kind}, connectivity {connectivity}, chunks of {side}^3"
    result = measure(benchmark, who, call, case=case, voxels=mask.size)
    if who == "gpuseg":
        assert np.array_equal(result, label(mask, connectivity=connectivity))


@pytest.mark.parametrize("who", ["gpuseg", "dask-image"])
def bench_label_beside_dask_image(benchmark, who):
    mask = noise((64, 64, 64), 1.0) > 0.5
    lazy = in_chunks(mask, 32)
    if who == "gpuseg":
        call = label(lazy, connectivity=1).compute
    else:
        peer = pytest.importorskip("dask_image.ndmeasure").label
        call = peer(lazy)[0].compute
    result = measure(
        benchmark, who, call, case="label 64^3, chunks of 32^3", voxels=mask.size, rounds=1
    )
    if who == "gpuseg":
        assert np.array_equal(result, ndi.label(mask)[0])
