"""The CUDA quad-tree in the simulator: tiles as large as on a GPU, and levels one by one."""

import numpy as np
import pytest

from gpuseg._cpu.segmentation import quadtree as cpu
from gpuseg._cuda.segmentation import quadtree as cuda
from gpuseg.kernels import leaves
from gpuseg.kernels import quadtree as kernel

RULE = {"threshold": 20, "criterion": "range", "min_size": 1, "max_size": None}


def image_of(rng, shape, kind="f4"):
    steps = np.indices(shape).sum(0) // (max(shape) // 3) * 37.0
    return (steps + (rng.random(shape) < 0.03) * rng.integers(1, 90)).astype(kind)


def assert_as_cpu(image, **change):
    """Every array of the leaves is the same, to the last bit."""
    found, expected = (module.quadtree(image, **RULE | change) for module in (cuda, cpu))
    for name in kernel.Leaves._fields:
        if name != "variance" or change.get("criterion", "range") != "range":
            np.testing.assert_array_equal(
                getattr(found, name), getattr(expected, name), strict=True
            )
    return found


@pytest.mark.parametrize(
    ("shape", "criterion"),
    [((30, 40), "range"), ((9, 11, 12), "range"), ((9, 11, 12), "std")],
    ids=str,
)
def test_tiles_of_full_size(rng, monkeypatch, shape, criterion):
    monkeypatch.setattr(kernel, "CUDA_TILE", {2: 5, 3: 3})
    threshold = 20 if criterion == "range" else 8
    leaves = assert_as_cpu(image_of(rng, shape), criterion=criterion, threshold=threshold)
    assert 30 < len(leaves.level) < np.prod(shape)


@pytest.mark.parametrize(
    ("shape", "criterion"),
    [((40, 21), "variance"), ((9, 11, 13), "range"), ((9, 11, 13), "variance")],
    ids=str,
)
def test_levels_one_by_one(rng, monkeypatch, shape, criterion):
    """With no more than one block left to the block of threads that does the top."""
    monkeypatch.setattr(kernel, "_CROWN", 1)
    image = image_of(rng, shape, "f8") * 0.1
    assert_as_cpu(image, threshold=2.1, criterion=criterion)
    assert_as_cpu(image, threshold=2.1, criterion=criterion, max_size=4)
    assert_as_cpu(image, threshold=2.1, criterion=criterion, min_size=4)


@pytest.mark.parametrize("shape", [(9, 66), (3, 5, 18)], ids=str)
def test_painted_in_tiles_of_full_size(rng, monkeypatch, shape):
    monkeypatch.setattr(leaves, "_TILE", {2: 6, 3: 4})
    # There is a thread for each word of a tile's bits.
    monkeypatch.setattr(leaves, "_BLOCK", 128)
    leaves._painters.cache_clear()
    try:
        image = image_of(rng, shape)
        tree = cpu.quadtree(image, **RULE)
        numbers = {"level": tree.level, "values": np.arange(len(tree.level)), "shape": shape}
        found, expected = (module.paint_leaves(tree.corner, **numbers) for module in (cuda, cpu))
        np.testing.assert_array_equal(found, expected, strict=True)
    finally:
        leaves._painters.cache_clear()


def test_spreads_are_rounded_as_on_the_cpu(rng):
    image = rng.random((19, 22)) * 1e3
    leaves = assert_as_cpu(image, criterion="variance", threshold=5e4)
    assert len(set(leaves.variance)) > 20


def test_wide_types(rng):
    for kind in ("i8", "u8"):
        info = np.iinfo(kind)
        image = rng.integers(info.min, info.max, (9, 13), kind, endpoint=True)
        assert_as_cpu(image, threshold=float(info.max) * 1.2)


def test_not_finite():
    image = np.zeros((9, 9), np.float32)
    image[8, 8] = np.nan
    with pytest.raises(ValueError, match="image holds NaN or infinity"):
        cuda.quadtree(image, **RULE)
