"""Connectivity across the faces of chunks equals that of the whole, for any chunks.

Labels and floods are held to SciPy and scikit-image; where the whole-array form has tests of its
own that do so, chunks are held to it.
"""

import math
import multiprocessing
import os
import re
import sys
import tracemalloc
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi

pytest.importorskip("dask.array")
import dask
import skimage.filters
import skimage.morphology
import skimage.segmentation
from dask import array as da

import gpuseg
from gpuseg import filters, measure, morphology, segmentation

one_thread = partial(dask.config.set, scheduler="synchronous")


@st.composite
def volumes(draw, most=3):
    """A random volume of floats, the way it is cut, a connectivity, and a generator."""
    shape = tuple(draw(st.lists(st.integers(1, 7), min_size=1, max_size=most)))
    if draw(st.booleans()):
        shape = (*shape[:-1], 70)  # rows of more than a word
    chunks = tuple(tuple(draw(st.sampled_from(_cuts(n)))) for n in shape)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    image = rng.standard_normal(shape)
    if draw(st.booleans()):
        image = ndi.gaussian_filter(image, 1, mode="nearest") * 2
    return image, chunks, draw(st.integers(1, len(shape))), rng


def _cuts(n: int) -> list[list[int]]:
    """Ways to cut an axis: whole, in equal parts, each voxel by itself, in unequal parts."""
    ways = [[n], [1] * n if n <= 4 else [n // 2, n - n // 2]]
    for size in (2, 3, 33):
        ways.append([min(size, n - start) for start in range(0, n, size)])
    if n > 3:
        ways.append([n - 3, 1, 2])
    return ways


def chunked(x, chunks):
    return da.from_array(x, chunks=chunks)


def assert_same(lazy, whole):
    assert isinstance(lazy, da.Array)
    with one_thread():
        found = lazy.compute()
    assert (found.shape, found.dtype) == (lazy.shape, lazy.dtype) == (whole.shape, whole.dtype)
    np.testing.assert_array_equal(found, whole)


# --- labels -----------------------------------------------------------------------------------


@given(volumes(), st.floats(-1, 1))
def test_labels_are_those_of_scipy(case, threshold):
    image, chunks, connectivity, _ = case
    mask = image > threshold
    want, count = ndi.label(mask, ndi.generate_binary_structure(mask.ndim, connectivity))
    labels, num = measure.label(chunked(mask, chunks), None, True, connectivity)
    assert_same(labels, want.astype(np.int32))
    assert int(num) == count


@given(volumes(), st.sampled_from([np.uint8, np.int64, np.float32, ">i2"]), st.integers(0, 2))
def test_labels_of_values_are_those_of_the_whole(case, dtype, background):
    image, chunks, connectivity, rng = case
    image = rng.integers(0, 3, image.shape).astype(dtype)
    labels = measure.label(chunked(image, chunks), background, connectivity=connectivity)
    assert_same(labels, measure.label(image, background, connectivity=connectivity))


@pytest.mark.parametrize("cut", [(1,), (2,), (9,)])
def test_a_thread_through_all_chunks_is_one_object(cut):
    """A path that winds through a volume, and goes back and forth over every face."""
    mask = np.zeros((9, 9, 9), bool)
    mask[::2, ::2] = True
    for z in range(0, 9, 2):
        mask[z, 1::4, -1] = mask[z, 3::4, 0] = True
    mask[1::4, -1, -1] = mask[3::4, 0, 0] = True
    labels, num = measure.label(chunked(mask, cut * 3), None, True, 1)
    assert int(num) == 1
    assert_same(labels, mask.astype(np.int32))


@pytest.mark.parametrize("connectivity", [1, 2, 3])
def test_corners_and_edges_connect_as_the_connectivity_says(connectivity):
    for step in np.ndindex(3, 3, 3):
        mask = np.zeros((4, 4, 4), bool)
        start = np.array([1, 1, 1]) + (np.array(step) == 0)  # a step back crosses a face as well
        mask[tuple(start)] = mask[tuple(start + np.array(step) - 1)] = True
        num = measure.label(chunked(mask, (2, 2, 2)), None, True, connectivity)[1]
        apart = sum(d != 1 for d in step) > connectivity
        assert int(num) == 1 + apart


def test_numbers_go_on_past_two_to_the_31():
    """The arithmetic of the merge, with chunks that say they hold billions of components."""
    connected = pytest.importorskip("gpuseg._dask._connected")
    many = 3 * 2**30
    grid = connected.Grid(((1, 1), (many + 5, many + 5)), 1)

    def report(begun, touching):
        touching = np.array(touching, np.int64)
        return connected.Report(begun, touching, None, np.array([begun], np.int64), None)

    # The last component of each chunk of the first row of chunks reaches the chunk below.
    pair = np.array([[1, 1]], np.int32)
    none = np.zeros((0, 2), np.int32)
    parts = [
        (report(many, [many]), []),
        (report(many, [many]), [none]),
        (report(many, [1]), [pair]),
        (report(many, [7]), [pair, none]),
    ]
    assert [grid.neighbours(n) for n in range(4)] == [[], [0], [0], [1, 2]]
    total, answers = connected.order(grid, parts)
    assert total == 4 * many - 2
    starts = [int(row_starts[0]) for row_starts, _, _ in answers]
    assert starts == [0, many, 2 * many, 3 * many - 1]
    assert [(a.tolist(), b.tolist()) for _, a, b in answers] == [
        ([], []),
        ([], []),
        ([1], [many]),
        ([7], [2 * many]),
    ]


def test_final_numbers_go_on_past_two_to_the_31():
    connected = pytest.importorskip("gpuseg._dask._connected")
    start = 2**31 + 10
    numbers = connected.final_numbers(
        5, np.array([2, 2, 5]), np.array([start, 0, 2 * start]), [2, 4], [7, 8], np.int64
    )
    assert numbers.tolist() == [0, start + 1, 7, 2 * start + 1, 8, 2 * start + 2]


def test_labels_are_int64_where_voxels_are_more_than_int32_counts():
    small, large = (da.zeros((n, 2**16), dtype=bool, chunks=2**14) for n in (2**15 - 1, 2**15))
    assert measure.label(small).dtype == np.int32
    assert measure.label(large).dtype == np.int64


# --- floods -----------------------------------------------------------------------------------


@given(volumes(), st.booleans())
def test_hysteresis_is_that_of_scikit_image(case, packed):
    image, chunks, _, _ = case
    image = image.astype(np.float32)
    found = filters.apply_hysteresis_threshold(chunked(image, chunks), 0.1, 1.0, packed=packed)
    want = skimage.filters.apply_hysteresis_threshold(image, 0.1, 1.0)
    assert_same(found, np.packbits(want, axis=-1, bitorder="little") if packed else want)


@given(volumes())
@settings(max_examples=25)
def test_hysteresis_connects_as_the_whole(case):
    image, chunks, connectivity, rng = case
    for dtype in (np.float16, np.uint8, np.int16):
        scaled = (image * 20 + 100).astype(dtype)
        whole = filters.apply_hysteresis_threshold(scaled, 101, 120, connectivity=connectivity)
        lazy = chunked(scaled, chunks)
        found = filters.apply_hysteresis_threshold(lazy, 101, 120, connectivity=connectivity)
        assert_same(found, whole)
    low = rng.standard_normal(image.shape[-1]) / 2
    whole = filters.apply_hysteresis_threshold(image, low, 1, connectivity=connectivity)
    lazy = chunked(image, chunks)
    assert_same(filters.apply_hysteresis_threshold(lazy, low, 1, connectivity=connectivity), whole)
    seeds, mask = image > 1, image > -0.2
    found = filters.flood_masks(
        chunked(seeds, chunks), chunked(mask, image.shape), connectivity=connectivity
    )
    assert_same(found, filters.flood_masks(seeds, mask, connectivity=connectivity))


@given(volumes(), st.sampled_from([None, 1, 2]), st.sampled_from([None, 0, 2, 40]))
@settings(max_examples=25)
def test_steps_of_hysteresis_are_those_of_the_whole(case, opening, max_distance):
    image, chunks, connectivity, _ = case
    options = {
        "opening": opening,
        "connectivity": connectivity,
        "max_distance": max_distance,
        "foreground": "dark",
        "return_steps": True,
    }
    whole = segmentation.hysteresis(image, -0.5, 0.5, **options)
    lazy = segmentation.hysteresis(chunked(image, chunks), -0.5, 0.5, **options)
    assert type(lazy) is type(whole)
    for found, want in zip(lazy, whole):
        assert_same(found, want)


@given(volumes(), st.data())
def test_floods_from_a_point_are_those_of_scikit_image(case, data):
    image, chunks, connectivity, _ = case
    point = tuple(data.draw(st.integers(-n, n - 1)) for n in image.shape)
    for values, tolerance in (((image * 2).astype(np.int8), 1), (image > 0, None)):
        lazy = chunked(values, chunks)
        options = {"connectivity": connectivity, "tolerance": tolerance}
        want = skimage.segmentation.flood(
            values, tuple(np.array(point) % values.shape), connectivity=connectivity,
            tolerance=tolerance,
        )  # fmt: skip
        assert_same(segmentation.flood(lazy, point, **options), want)
        filled = np.where(want, np.array(1, values.dtype), values)
        assert_same(segmentation.flood_fill(lazy, point, 1, **options), filled)
    options = {"connectivity": connectivity, "tolerance": 0.7}
    found = segmentation.flood(chunked(image, chunks), point, **options)
    assert_same(found, segmentation.flood(image, point, **options))


# --- objects ----------------------------------------------------------------------------------


@given(volumes(), st.integers(1, 12))
def test_small_objects_and_holes_go_as_in_scikit_image(case, size):
    image, chunks, connectivity, rng = case
    mask = image > 0
    options = {"connectivity": connectivity, "max_size": size}
    for name in ("remove_small_objects", "remove_small_holes"):
        want = getattr(skimage.morphology, name)(mask, **options)
        assert_same(getattr(morphology, name)(chunked(mask, chunks), **options), want)
    labels = rng.integers(0, 4, image.shape) * 1000
    found = morphology.remove_small_objects(chunked(labels, chunks), **options)
    assert_same(found, skimage.morphology.remove_small_objects(labels, **options))


@given(volumes(), st.integers(0, 3), st.integers(0, 1))
def test_objects_at_the_border_go_as_in_the_whole(case, buffer_size, bgval):
    image, chunks, _, rng = case
    buffer_size = min(buffer_size, min(image.shape) - 1)
    inside = rng.random(image.shape) < 0.9
    inside.flat[0] = True
    for labels in (rng.integers(0, 3, image.shape), image > 0):
        lazy = chunked(labels, chunks)
        found = segmentation.clear_border(lazy, buffer_size, bgval)
        assert_same(found, segmentation.clear_border(labels, buffer_size, bgval))
        found = segmentation.clear_border(lazy, bgval=bgval, mask=chunked(inside, chunks))
        assert_same(found, segmentation.clear_border(labels, bgval=bgval, mask=inside))


@given(volumes(), st.booleans(), st.sampled_from(["bright", "dark"]))
@settings(max_examples=15)
def test_the_threshold_by_objects_is_that_of_the_whole(case, masked, foreground):
    image, chunks, connectivity, rng = case
    options = {
        "size": (2, 6),
        "foreground": foreground,
        "connectivity": connectivity,
        "candidates": 12,
        "nan": "omit",
    }
    mask = rng.random(image.shape) < 0.9
    mask.flat[0] = True
    image = image.astype(np.float32)
    image[rng.random(image.shape) < 0.05] = np.nan
    for values in (image, np.nan_to_num(image * 20).astype(np.int16)):
        lazy, whole = (dict(options), dict(options))
        if masked:
            lazy["mask"], whole["mask"] = chunked(mask, chunks), mask
        try:
            want = filters.threshold_by_objects(values, **whole)
        except filters.UndecidedError as error:
            with one_thread(), pytest.raises(filters.UndecidedError, match=re.escape(str(error))):
                filters.threshold_by_objects(chunked(values, chunks), **lazy)
            continue
        with one_thread():
            found = filters.threshold_by_objects(chunked(values, chunks), **lazy)
        assert found[:3] == want[:3]
        assert type(found.threshold) is type(want.threshold)
        np.testing.assert_array_equal(found.curve, want.curve)


# --- how it is done ---------------------------------------------------------------------------


def test_work_grows_with_the_number_of_chunks():
    tasks = {}
    for side in (2, 4, 8):
        volume = da.zeros((side * 4,) * 3, dtype=bool, chunks=4)
        for name, result in (
            ("label", measure.label(volume)),
            ("flood", filters.flood_masks(volume, volume)),
            ("objects", morphology.remove_small_objects(volume)),
        ):
            tasks.setdefault(name, []).append(len(result.__dask_graph__()) / side**3)
    for name, each in tasks.items():
        assert max(each) <= 9, name
        assert each[2] <= each[0], name


@pytest.mark.parametrize(
    "call",
    [
        lambda x: measure.label(x > 0),
        lambda x: measure.label((x > 0).astype(np.uint8)),
        lambda x: filters.apply_hysteresis_threshold(x, 0, 1),
        lambda x: segmentation.hysteresis(x, 0, 1),
        lambda x: segmentation.flood_fill(x, (0, 0, 0), 5, tolerance=1),
        lambda x: segmentation.clear_border((x > 0).astype(np.uint8)),
        lambda x: morphology.remove_small_objects(x > 0),
        lambda x: morphology.remove_small_objects((x > 0).astype(np.uint8), max_size=9),
    ],
)
def test_each_chunk_of_the_input_is_computed_once(call, rng):
    computed = []

    def count(chunk, block_info=None):
        if block_info is not None:
            computed.append(block_info[0]["chunk-location"])
        return chunk

    image = chunked(rng.standard_normal((8, 8, 8)), (4, 4, 4))
    image = image.map_blocks(count, dtype=image.dtype, meta=image._meta)
    with one_thread():
        call(image).compute()
    assert sorted(computed) == sorted(np.ndindex(2, 2, 2))


def test_nothing_is_computed_before_it_is_asked_for():
    def never(chunk):
        raise AssertionError("computed")

    image = da.zeros((8, 8), chunks=4).map_blocks(never, dtype=float, meta=np.empty((0, 0)))
    for lazy in (
        measure.label(image > 0),
        filters.apply_hysteresis_threshold(image, 0, 1),
        morphology.remove_small_holes(image > 0),
        segmentation.flood(image, (0, 0)),
        segmentation.clear_border(image > 0),
    ):
        assert isinstance(lazy, da.Array)


@pytest.fixture
def shelf(monkeypatch):
    """A place of their own for what waits between passes, a file from the first byte."""
    parked = pytest.importorskip("gpuseg._dask._parked")
    shelf = parked._Shelf()
    monkeypatch.setattr(parked, "ROOM", 0)
    monkeypatch.setattr(parked, "_shelf", shelf)
    return shelf


@pytest.mark.parametrize("room", [0, 5000])
def test_what_waits_between_passes_lies_in_a_file_that_goes(rng, monkeypatch, shelf, room):
    parked = pytest.importorskip("gpuseg._dask._parked")
    monkeypatch.setattr(parked, "ROOM", room)
    image = rng.standard_normal((24, 24, 24))
    ends, files = [], []
    read = parked._File.read

    def noted(file, *args):
        ends.append(file.end)
        files.append(file)
        return read(file, *args)

    monkeypatch.setattr(parked._File, "read", noted)
    labels = measure.label(chunked(image > 0, (7, 8, 9)), connectivity=2)
    assert_same(labels, measure.label(image > 0, connectivity=2))
    assert len(ends) > 10
    assert max(ends) > 5000
    assert (shelf.in_memory, shelf.file) == (0, None)
    assert all(file.opened.closed for file in files)


def test_a_parked_value_takes_its_content_to_another_process():
    import pickle

    parked = pytest.importorskip("gpuseg._dask._parked")
    value = parked.Parked((np.arange(5), "name"))
    array, name = pickle.loads(pickle.dumps(value)).take()
    assert array.tolist() == [0, 1, 2, 3, 4]
    assert name == "name"
    array[0] = 7  # and can be written to


@pytest.mark.parametrize("room", [0, 1 << 20])
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_processes_of_a_fork_park_in_files_of_their_own(shelf, monkeypatch, room):
    """Parents and children, before and after forks, each read what they parked themselves."""
    parked = pytest.importorskip("gpuseg._dask._parked")
    monkeypatch.setattr(parked, "ROOM", room)

    def park(key):
        return [parked.Parked(np.full(100_000, 1000 * key + i)) for i in range(20)]

    def right(key, values):
        return all((v.take() == 1000 * key + i).all() for i, v in enumerate(values))

    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(4), context.Queue()
    early = park(0)

    def grandchild():
        late = park(9)
        barrier.wait(60)
        answers.put(right(9, late) and right(0, early))

    def child(key):
        mine = park(key)
        below = context.Process(target=grandchild) if key == 1 else None
        if below:
            below.start()
        del mine[::2]  # places that are free again
        more = park(key + 3)
        barrier.wait(60)
        kept = all((v.take() == 1000 * key + 2 * i + 1).all() for i, v in enumerate(mine))
        answers.put(kept and right(key + 3, more) and right(0, early))
        if below:
            below.join(60)

    processes = [context.Process(target=child, args=(key,)) for key in (1, 2)]
    for process in processes:
        process.start()
    late = park(7)
    expected = right(0, early) and right(7, late)
    barrier.wait(60)
    assert expected
    assert [answers.get(timeout=60) for _ in range(3)] == [True] * 3
    for process in processes:
        process.join(60)
    assert right(0, early)
    assert right(7, late)


@pytest.mark.parametrize(
    ("call", "most"),
    [
        (lambda x: measure.label(x > 0), 0.4),
        (lambda x: filters.apply_hysteresis_threshold(x, 0, 0.5), 0.4),
    ],
)
def test_memory_does_not_hold_the_volume(shelf, call, most):
    def blocks(block_info=None):
        z, y, x = np.ogrid[tuple(slice(*ends) for ends in block_info[None]["array-location"])]
        return (np.sin(z / 3) + np.sin(y / 4) + np.sin(x / 5) > 1).astype(np.float32)

    volume = da.map_blocks(blocks, chunks=((48,) * 4,) * 3, dtype=np.float32)
    total = call(volume).map_blocks(lambda x: x.sum(keepdims=True), chunks=(1, 1, 1), dtype=int)
    with one_thread():
        total.compute()  # compile
        tracemalloc.start()
        total.compute()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < most * volume.nbytes


def test_chunks_run_on_the_backend(backend, rng):
    image = rng.standard_normal((4, 5, 34) if backend == "sim" else (12, 13, 70))
    image = image.astype(np.float32)
    lazy = chunked(image, (3, 5, 33))
    labels = rng.integers(0, 3, image.shape).astype(np.uint8)
    for call, x, y in (
        (partial(measure.label, connectivity=2), image > 0.3, lazy > 0.3),
        (measure.label, labels, chunked(labels, (2, 5, 20))),
        (lambda x: filters.apply_hysteresis_threshold(x, 0.2, 1.5), image, lazy),
        (partial(morphology.remove_small_objects, max_size=4), image > 0, lazy > 0),
        (partial(morphology.remove_small_objects, max_size=99), labels, chunked(labels, (2, 5, 9))),
        (partial(segmentation.clear_border, bgval=1), labels, chunked(labels, (4, 3, 34))),
    ):
        with gpuseg.using("cpu"):
            want = call(x)
        assert_same(call(y), want)


def test_chunks_of_unknown_sizes_are_refused(rng):
    image = chunked(rng.standard_normal(20), (5,))
    with pytest.raises(ValueError, match="compute_chunk_sizes"):
        measure.label(image[image > 0])


def test_footprints_are_connectivities_or_refused(rng):
    image = rng.integers(0, 2, (8, 8))
    lazy = chunked(image, (3, 5))
    cross = ndi.generate_binary_structure(2, 1)
    want = segmentation.flood(image, (1, 1), footprint=cross)
    assert_same(segmentation.flood(lazy, (1, 1), footprint=cross), want)
    with pytest.raises(ValueError, match="footprint"):
        segmentation.flood(lazy, (1, 1), footprint=np.ones((1, 3)))


def test_negative_labels_are_refused_when_they_are_met():
    lazy = chunked(np.array([1, 1, -2, 0]), (2,))
    with pytest.raises(ValueError, match="no negative labels, got -2"):
        morphology.remove_small_objects(lazy).compute()


def test_chunks_without_voxels_do_not_matter(rng):
    mask = rng.random((6, 6)) < 0.5
    lazy = chunked(mask, ((2, 0, 4), (0, 6)))
    assert lazy.chunks == ((2, 0, 4), (0, 6))
    assert_same(measure.label(lazy), measure.label(mask))


@pytest.mark.skipif(sys.platform == "win32", reason="starts processes by the hundred")
def test_two_processes_give_the_bytes_of_one_thread(rng):
    distributed = pytest.importorskip("distributed")
    image = ndi.gaussian_filter(rng.standard_normal((20, 24, 28)), 1).astype(np.float32) * 5
    lazy = chunked(image, (6, 12, 9))
    results = [
        measure.label(lazy > 0.1),
        filters.apply_hysteresis_threshold(lazy, 0.1, 1.0, connectivity=3),
        morphology.remove_small_objects(lazy > 0.3, max_size=9),
        segmentation.clear_border((lazy > 0).astype(np.uint8)),
    ]
    with one_thread():
        want = dask.compute(*results)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster),
    ):
        found = dask.compute(*results)
    assert math.prod(lazy.numblocks) > 30
    for a, b in zip(found, want):
        assert a.tobytes() == b.tobytes()
        assert a.dtype == b.dtype
