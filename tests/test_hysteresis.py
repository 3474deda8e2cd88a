"""Hysteresis: equal to scikit-image bit for bit, on every backend, on mazes too."""

import itertools
import os
import subprocess
import sys
import tracemalloc

import hypothesis.extra.numpy as hnp
import naive
import numpy as np
import pytest
import skimage.filters
import skimage.morphology
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage as ndi

import gpuseg
from gpuseg.filters import apply_hysteresis_threshold, flood_masks
from gpuseg.kernels import flood
from gpuseg.segmentation import hysteresis

DTYPES = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", ">f4", ">u2"]


def peer(image, low, high):
    return skimage.filters.apply_hysteresis_threshold(image, low, high)


def small(backend, shape, sim_shape=(3, 4, 37)):
    return sim_shape if backend == "sim" else shape


def serpentine(depth, height, length):
    """A one-voxel corridor that visits every second row of every second plane."""
    maze = np.zeros((depth, height, length), np.float32)
    for z in range(0, depth, 2):
        for y in range(0, height, 2):
            maze[z, y] = 1
            if y + 2 < height:
                maze[z, y + 1, -1 if (y // 2 + z // 2) % 2 == 0 else 0] = 1
        if z + 2 < depth:
            last = height - 1 if (height - 1) % 2 == 0 else height - 2
            end = -1 if (last // 2 + z // 2) % 2 == 0 else 0
            maze[z + 1, last if (z // 2) % 2 == 0 else 0, end] = 1
    maze[0, 0, 0] = 3
    return maze


def adversaries(shape):
    rng = np.random.default_rng(7)
    single = np.ones(shape, np.float32)
    single[tuple(n // 2 for n in shape)] = 3
    noise = rng.random(shape, dtype=np.float32)
    yield "serpentine", serpentine(*shape)
    yield "serpentine across", serpentine(*shape[::-1]).T
    yield "all true", np.full(shape, 3, np.float32)
    yield "all false", np.zeros(shape, np.float32)
    yield "no seed", np.ones(shape, np.float32)
    yield "single seed", single
    yield "checkerboard", (3.0 * (np.indices(shape).sum(0) % 2)).astype(np.float32)
    yield "one voxel thick", 3 * (noise[:1] > 0.4).astype(np.float32)
    yield "one voxel wide", 3 * (noise[..., :1] > 0.4).astype(np.float32)
    for density in (0.31, 0.34, 0.4):
        percolating = (noise > 1 - density).astype(np.float32)
        labels, _ = ndi.label(percolating)
        largest = np.bincount(labels.ravel())[1:].argmax() + 1
        percolating.flat[np.flatnonzero(labels == largest)[0]] = 3
        yield f"percolation {density}", percolating


@pytest.mark.parametrize("rounds", [1, flood.ROUNDS])
@pytest.mark.parametrize("sweeps", [0, 2, flood.SWEEPS])
@pytest.mark.parametrize("length", [63, 64, 65, 130])
def test_adversaries_on_the_cpu(monkeypatch, sweeps, rounds, length):
    monkeypatch.setattr(flood, "SWEEPS", sweeps)
    monkeypatch.setattr(flood, "ROUNDS", rounds)
    monkeypatch.setattr(flood, "PIECE", 1)
    monkeypatch.setenv("GPUSEG_NUM_THREADS", "5")
    with gpuseg.using("cpu"):
        for name, image in adversaries((17, 23, length)):
            ours = apply_hysteresis_threshold(image, 0.5, 2)
            assert ours.dtype == bool
            np.testing.assert_array_equal(ours, peer(image, 0.5, 2), err_msg=name)


def test_adversaries(backend):
    for name, image in adversaries(small(backend, (20, 30, 100), (3, 4, 35))):
        np.testing.assert_array_equal(
            apply_hysteresis_threshold(image, 0.5, 2), peer(image, 0.5, 2), err_msg=name
        )


def test_what_needs_the_union(monkeypatch):
    """Else it would go untested: one is over the border of threads more often than they meet, the
    other in the same words again and again."""
    united = []
    unite = flood._unite
    monkeypatch.setattr(flood, "_unite", lambda *args: united.append(1) or unite(*args))
    monkeypatch.setattr(flood, "PIECE", 1)
    for threads, maze in (
        ("2", serpentine(1, 61, 70).swapaxes(1, 2)),
        ("1", serpentine(9, 64, 61).T),
    ):
        monkeypatch.setenv("GPUSEG_NUM_THREADS", threads)
        image = np.ascontiguousarray(maze)
        with gpuseg.using("cpu"):
            got = apply_hysteresis_threshold(image, 0.5, 2)
        np.testing.assert_array_equal(got, image > 0.5)
        assert united.pop()


@given(data=st.data(), dtype=st.sampled_from(DTYPES))
def test_equals_scikit_image_for_every_dtype(data, dtype):
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=9))
    shape = (*shape[:-1], data.draw(st.integers(1, 200)))
    seed = data.draw(st.integers(0, 2**32 - 1))
    image = np.random.default_rng(seed).integers(0, 9, shape).astype(dtype)
    low = data.draw(st.sampled_from([-1, 0, 2, 3.5, 0.1, np.float64(2.1), np.float32(4), 300]))
    high = data.draw(st.sampled_from([0, 5, 6.5, np.float64(7.9), np.int64(4), 2, -3]))
    low, high = sorted((low, high))
    image = data.draw(st.sampled_from([image, image[..., ::-1], image[..., ::2], image.T]))
    with gpuseg.using("cpu"):
        ours = apply_hysteresis_threshold(image, low, high)
    np.testing.assert_array_equal(ours, peer(image, low, high))


@given(data=st.data())
def test_equals_the_slow_version_for_every_connectivity(data):
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5))
    shape = (*shape[:-1], data.draw(st.integers(1, 140)))
    connectivity = data.draw(st.integers(1, len(shape)))
    density = data.draw(st.sampled_from([0.1, 0.25, 0.4, 0.6]))
    sweeps = data.draw(st.sampled_from([0, 2, 3, flood.SWEEPS]))
    rounds = data.draw(st.sampled_from([0, 1, flood.ROUNDS]))
    image = np.random.default_rng(data.draw(st.integers(0, 99))).random(shape)
    low, high = 1 - density, 1 - density / 10
    with gpuseg.using("cpu"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(flood, "SWEEPS", sweeps)
        patch.setattr(flood, "ROUNDS", rounds)
        patch.setattr(flood, "PIECE", 1)
        patch.setenv("GPUSEG_NUM_THREADS", data.draw(st.sampled_from("123")))
        ours = apply_hysteresis_threshold(image, low, high, connectivity=connectivity)
        packed = apply_hysteresis_threshold(
            image, low, high, connectivity=connectivity, packed=True
        )
    expected = naive.hysteresis(image, low, high, connectivity)
    np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(packed, np.packbits(expected, axis=-1, bitorder="little"))


@pytest.mark.parametrize("ndim", [1, 2, 3, 4])
def test_connectivity_and_packing(backend, rng, ndim):
    shape = {1: (90,), 2: (7, 70), 3: (3, 4, 33), 4: (2, 3, 2, 40)}[ndim]
    image = rng.random(shape)
    for connectivity in range(1, ndim + 1):
        expected = naive.hysteresis(image, 0.6, 0.93, connectivity)
        args = dict(low=0.6, high=0.93, connectivity=connectivity)
        np.testing.assert_array_equal(apply_hysteresis_threshold(image, **args), expected)
        packed = apply_hysteresis_threshold(image, packed=True, **args)
        assert packed.dtype == np.uint8
        np.testing.assert_array_equal(packed, np.packbits(expected, axis=-1, bitorder="little"))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_memory_order_makes_no_difference(backend, rng, order):
    image = rng.random(small(backend, (3, 4, 33), (2, 3, 5))).transpose(order)
    views = (image, image[::-1], image[..., ::2], np.broadcast_to(image[:1], image.shape))
    for view in views[: small(backend, 4, 2)]:
        expected = peer(view, 0.6, 0.93)
        np.testing.assert_array_equal(apply_hysteresis_threshold(view, 0.6, 0.93), expected)
        packed = apply_hysteresis_threshold(view, 0.6, 0.93, packed=True)
        np.testing.assert_array_equal(packed, np.packbits(expected, axis=-1, bitorder="little"))
        seeds = np.asfortranarray(view > 0.93)
        np.testing.assert_array_equal(flood_masks(seeds, view > 0.6), expected)


@pytest.mark.parametrize(
    "shape", [(6, 70, 1), (1, 6, 70), (6, 1, 70), (70, 3), (6, 70, 2), (1, 1), (5, 1, 1), (40,)]
)
def test_short_and_single_axes(rng, shape):
    image = rng.random(shape)
    for connectivity in range(1, len(shape) + 1):
        expected = naive.hysteresis(image, 0.5, 0.9, connectivity)
        with gpuseg.using("cpu"):
            for packed in (False, True):
                ours = apply_hysteresis_threshold(
                    image, 0.5, 0.9, connectivity=connectivity, packed=packed
                )
                bits = np.packbits(expected, axis=-1, bitorder="little")
                np.testing.assert_array_equal(ours, bits if packed else expected)


def test_another_memory_order_takes_no_copy_of_the_image():
    image = np.random.default_rng(0).random((96, 128, 64)).T
    with gpuseg.using("cpu"):
        apply_hysteresis_threshold(image[:9], 0.5, 0.9)
        tracemalloc.start()
        result = apply_hysteresis_threshold(image, 0.5, 0.9)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (peak - result.nbytes) / image.size < 1.5


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(backend, rng, dtype):
    image = rng.integers(0, 7, small(backend, (9, 11, 70), (2, 3, 34))).astype(dtype)
    for low, high in ((2, 4), (1.5, 4.5), (-1, 300), (0, 0.5)):
        np.testing.assert_array_equal(
            apply_hysteresis_threshold(image, low, high), peer(image, low, high)
        )


def test_large_integers_compare_as_numpy_does(backend):
    image = np.array([[2**53, 2**53 + 1, 2**63 - 1, -(2**63)]], np.int64)
    for t in (2**53, float(2**53), float(2**53 + 2), float(2**63), -float(2**63), 2**53 + 1):
        np.testing.assert_array_equal(apply_hysteresis_threshold(image, t, t), peer(image, t, t))


def test_float32_thresholds_compare_as_numpy_does(backend):
    image = np.array([0.1, 0.2, 0.3], np.float32)
    for t in (0.1, np.float64(0.1), np.float32(0.1), np.float64(image[1]), np.float64(1e300)):
        np.testing.assert_array_equal(apply_hysteresis_threshold(image, t, t), peer(image, t, t))


def test_nan_and_infinity(backend):
    image = np.array([[np.nan, 2, 1, np.nan, 1, 2, np.inf, -np.inf, 1]])
    np.testing.assert_array_equal(
        apply_hysteresis_threshold(image, 0.5, 1.5), peer(image, 0.5, 1.5)
    )
    assert not apply_hysteresis_threshold(np.full((3, 3), np.nan), 0, 1).any()
    assert apply_hysteresis_threshold(np.ones(4), -np.inf, 0).all()


THRESHOLDS = [
    -1, 3, 300, 2**53 + 1, 2**63 - 1, 2**64 - 1, -(2**63), 0.3, 3.0, 2.0**53, 1e300, -np.inf,
    np.inf, np.float16(0.3), np.float32(0.3), np.float64(0.3), np.float32(2**24 + 2), np.int64(3),
    np.uint8(200), np.array([0.3], np.float32), np.array([[3]], np.int16),
]  # fmt: skip


def _plain(t):
    return t.item() if isinstance(t, np.generic) else t


@pytest.mark.filterwarnings("ignore:overflow encountered")  # scikit-image's
@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "u4", "i4", "u8", "i8", "f2", "f4", "f8"])
def test_every_pair_of_number_types_compares_as_in_scikit_image(dtype):
    around = [0, 1, 3, 0.3, 200, 2**24, 2**53, 2**63]
    with np.errstate(all="ignore"):
        values = np.array(around).astype(dtype)
        image = np.concatenate([values, values + 1, values - values.dtype.type(1)] if dtype != "?"
                               else [values])  # fmt: skip
    if dtype[0] == "f":
        image = np.concatenate([image, np.nextafter(image, -np.inf), np.nextafter(image, np.inf)])
    image = image.astype(dtype)[np.newaxis]
    compared = swapped = 0
    for low, high in itertools.product(THRESHOLDS, THRESHOLDS):
        if not np.ndim(low) and not np.ndim(high) and _plain(low) > _plain(high):
            with gpuseg.using("cpu"), pytest.raises(ValueError, match="low must not be above high"):
                apply_hysteresis_threshold(image, low, high)
            swapped += 1
            continue
        try:
            above_low, above_high = image > np.clip(low, None, high), image > high
        except OverflowError:  # scikit-image's, for integers that do not fit one another
            continue
        # Where rounding lifts low above high, scikit-image returns all of the background.
        if not (above_high & ~above_low).any():
            expected = peer(image, low, high)
            with gpuseg.using("cpu"):
                ours = apply_hysteresis_threshold(image, low, high)
            np.testing.assert_array_equal(ours, expected, err_msg=f"{low!r} {high!r}")
            compared += 1
    assert compared > 250
    assert swapped > 100


def test_what_is_above_high_is_kept_where_rounding_lifts_low_above_it(backend):
    image = np.array([2**53 + 1, 2**53, 0], np.int64)
    ours = apply_hysteresis_threshold(image, 2.0**53, 2**53)
    assert ours.tolist() == [True, False, False]


def test_integers_beyond_every_type(backend):
    for dtype in ("?", "u1", "i8", "u8", "f2", "f4", "f8"):
        image = np.array([0, 1, 1], dtype)
        assert not apply_hysteresis_threshold(image, 0, 10**400).any()
        assert not apply_hysteresis_threshold(image, 2**64, 2**65).any()
        assert apply_hysteresis_threshold(image, -(10**400), 0).all()
        assert apply_hysteresis_threshold(image, -(2**63) - 1, 0).all()


def test_thresholds_that_are_arrays(backend, rng):
    image = rng.random((6, 40))
    low, high = rng.random((6, 40)), rng.random((6, 40)) + 0.3
    for lo, hi in ((low, high), (low[:1], 0.9), (0.2, high[:, :1]), (np.array(0.2), [[0.7]])):
        np.testing.assert_array_equal(
            apply_hysteresis_threshold(image, lo, hi), peer(image, np.asarray(lo), np.asarray(hi))
        )


def test_the_image_stays_as_it_is(backend, rng):
    image = rng.random((5, 40))
    before = image.copy()
    image.setflags(write=False)
    apply_hysteresis_threshold(image, 0.5, 0.9)
    np.testing.assert_array_equal(image, before)


def test_flood_masks(backend, rng):
    mask, seeds = rng.random((4, 5, 40)) > 0.5, rng.random((4, 5, 40)) > 0.95
    expected = skimage.morphology.reconstruction(
        (seeds & mask).astype(float), mask.astype(float), footprint=naive.cross(3)
    )
    np.testing.assert_array_equal(flood_masks(seeds, mask), expected.astype(bool))
    with pytest.raises(ValueError, match="seeds and mask must have one shape"):
        flood_masks(seeds, mask[1:])


@pytest.mark.parametrize(
    ("image", "low", "high", "more", "error", "text"),
    [
        (np.zeros((0, 3)), 0, 1, {}, ValueError, "image is empty"),
        (np.array(3.0), 0, 1, {}, ValueError, "image must have at least one axis"),
        (np.zeros(3, complex), 0, 1, {}, TypeError, "image must hold real numbers"),
        (np.array(["a"]), 0, 1, {}, TypeError, "image must hold real numbers"),
        (np.zeros(3), "0", 1, {}, TypeError, "low must be a number, got str '0'"),
        (np.zeros(3), 0, None, {}, TypeError, "high must be a number, got NoneType None"),
        (np.zeros(3), np.nan, 1, {}, ValueError, "low must be finite, got nan"),
        (np.zeros(3), 0, 1j, {}, TypeError, "high must be a number"),
        (np.zeros(3), np.zeros(2), 1, {}, ValueError, r"low must be .* shape \(3,\), got shape"),
        (np.zeros(3), np.array(["x"] * 3), 1, {}, TypeError, "low must be a number or an array"),
        (np.zeros(3), 2, 1, {}, ValueError, "low must not be above high, got low=2 and high=1"),
        (np.zeros(3), np.array(2), 1.5, {}, ValueError, "low must not be above high"),
        (np.zeros(3, "u1"), 2**70, 2**69, {}, ValueError, "low must not be above high"),
        (np.zeros(3), np.inf, -np.inf, {}, ValueError, "low must not be above high"),
        (np.zeros(3), 0, 1, {"connectivity": 2}, ValueError, "connectivity must be at most 1"),
        (np.zeros(3), 0, 1, {"connectivity": 0}, ValueError, "connectivity must be at least 1"),
        (np.zeros(3), 0, 1, {"connectivity": 1.0}, TypeError, "connectivity must be an integer"),
    ],
)
def test_bad_input(image, low, high, more, error, text):
    with pytest.raises(error, match=text):
        apply_hysteresis_threshold(image, low, high, **more)


@pytest.mark.parametrize("name", ["blobs", "noise", "checkerboard", "columns"])
def test_memory_is_under_one_and_a_half_bytes_a_voxel(name):
    shape = (64, 256, 256)
    rng = np.random.default_rng(0)
    image = {
        "blobs": lambda: skimage.filters.gaussian(rng.random(shape, dtype=np.float32), 2) - 0.5,
        "noise": lambda: rng.random(shape, dtype=np.float32) - 0.5,
        "checkerboard": lambda: (np.indices(shape).sum(0) % 2 - 0.5).astype(np.float32),
        # Half a run a voxel, joined only across rows, in a maze: the most that the union meets.
        "columns": lambda: np.repeat(
            serpentine(64, 256, 1) - 0.5, 256, axis=2
        ) * (np.arange(256) % 2 * 2 - 1).astype(np.float32),
    }[name]()  # fmt: skip
    high = np.quantile(image, 0.99)
    with gpuseg.using("cpu"):
        apply_hysteresis_threshold(image[:2], 0, high)
        tracemalloc.start()
        result = apply_hysteresis_threshold(image, 0, high)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (peak - result.nbytes) / image.size < 1.5


def test_a_second_process_compiles_nothing(tmp_path):
    code = (
        "import numpy as np, gpuseg\n"
        "from gpuseg.kernels import flood, runs, bits\n"
        "a = np.random.default_rng(0).random((9, 9, 70)).astype(np.float32)\n"
        "gpuseg.filters.apply_hysteresis_threshold(a, 0.6, 0.99)\n"
        "stats = [d.stats for m in (flood, runs, bits) for d in vars(m).values()\n"
        "         if hasattr(d, 'stats')]\n"
        "print(sum(sum(s.cache_misses.values()) for s in stats),\n"
        "      sum(sum(s.cache_hits.values()) for s in stats))\n"
    )
    env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "GPUSEG_DEVICE": "cpu"}
    counts = [
        subprocess.run(
            [sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True
        ).stdout.split()
        for _ in range(2)
    ]
    assert int(counts[0][0]) > 0
    assert counts[1][0] == "0"
    assert int(counts[1][1]) > 0


# --- the five steps ---------------------------------------------------------------------------


def test_the_five_steps_by_hand(backend):
    #                  strict, small  | strict, large, then loose | loose alone
    image = np.array([[9, 1, 1, 9, 9, 9, 5, 5, 5, 5, 1, 5, 5]])
    steps = hysteresis(image, 4, 8, opening=np.ones((1, 3)), return_steps=True)
    assert [step.astype(int).tolist()[0] for step in steps] == [
        [1, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0],
        [1, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1],
        [1, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1],
        [0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    ]
    reached = hysteresis(image, 4, 8, opening=np.ones((1, 3)), max_distance=2)
    assert reached.astype(int).tolist()[0] == [0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0]


def test_without_opening_it_is_the_hysteresis_threshold(backend, rng):
    image = rng.random((4, 5, 40))
    np.testing.assert_array_equal(hysteresis(image, 0.6, 0.9), peer(image, 0.6, 0.9))
    np.testing.assert_array_equal(
        hysteresis(-image, -0.9, -0.6, foreground="dark"), peer(image, 0.6, 0.9)
    )


@pytest.mark.parametrize("radius", [1, 2])
def test_opening_is_that_of_scikit_image(backend, rng, radius):
    image = rng.random((20, 50)) ** 0.3
    opened = hysteresis(image, 0.5, 0.6, opening=radius, return_steps=True).opened
    expected = skimage.morphology.opening(
        image > 0.6, skimage.morphology.disk(radius), mode="ignore"
    )
    np.testing.assert_array_equal(opened, expected)


def test_distance_is_so_many_dilations_held_inside(backend, rng):
    image = rng.random(small(backend, (30, 60), (6, 20)))
    for connectivity, footprint in ((1, naive.cross(2)), (2, np.ones((3, 3)))):
        expected = image < 0.1
        for _ in range(3):
            expected = skimage.morphology.dilation(expected, footprint) & (image < 0.6)
        reached = hysteresis(
            image, 0.1, 0.6, connectivity=connectivity, max_distance=3, foreground="dark"
        )
        np.testing.assert_array_equal(reached, expected)


def test_distance_zero_and_far(backend, rng):
    image = rng.random((5, 6, 30))
    steps = hysteresis(image, 0.6, 0.9, max_distance=0, return_steps=True)
    np.testing.assert_array_equal(steps.connected, steps.opened)
    np.testing.assert_array_equal(
        hysteresis(image, 0.6, 0.9, max_distance=500), hysteresis(image, 0.6, 0.9)
    )


@pytest.mark.parametrize(
    ("more", "error", "text"),
    [
        ({"low": 9}, ValueError, "low must not be above high, got low=9 and high=2"),
        ({"low": 9, "foreground": "dark"}, ValueError, "low must not be above high, got low=9"),
        ({"foreground": "grey"}, ValueError, "foreground must be one of 'bright', 'dark'"),
        ({"opening": -1}, ValueError, "opening must be at least 0"),
        (
            {"opening": np.ones(3)},
            ValueError,
            "opening must be None, a radius, or a footprint of 2",
        ),
        ({"opening": np.zeros((3, 3))}, ValueError, "opening, as a footprint, has no element set"),
        ({"max_distance": -1}, ValueError, "max_distance must be at least 0"),
        ({"connectivity": 3}, ValueError, "connectivity must be at most 2"),
        ({"high": "x"}, TypeError, "high must be a number"),
    ],
)
def test_bad_input_of_the_five_steps(more, error, text):
    with pytest.raises(error, match=text):
        hysteresis(np.zeros((4, 4)), **({"high": 2, "low": 1} | more))
