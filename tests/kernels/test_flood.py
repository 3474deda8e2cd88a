"""The CUDA flood, against scikit-image and SciPy, in the simulator."""

import random
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.ndimage as ndi
import scipy.sparse.csgraph
import skimage.filters

import gpuseg
from gpuseg.filters import apply_hysteresis_threshold, flood_masks
from gpuseg.kernels import flood


@pytest.fixture(autouse=True)
def on_simulator():
    with gpuseg.using("sim"):
        yield


def flooded(seeds, mask, connectivity):
    labels, count = ndi.label(mask, ndi.generate_binary_structure(mask.ndim, connectivity))
    kept = np.zeros(count + 1, bool)
    kept[labels[seeds & mask]] = True
    return kept[labels]


def smooth(rng, shape):
    return ndi.gaussian_filter(rng.random(shape), 1.5).astype(np.float32)


SHAPES = [
    (1,),
    (70,),
    (1, 1),
    (5, 3),
    (33, 1),
    (4, 5, 37),
    (3, 4, 70),
    (2, 3, 2, 9),
    (2, 2, 2, 2, 3),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_noise_of_any_rank_and_connectivity(rng, shape):
    for connectivity in range(1, len(shape) + 1):
        image = rng.random(shape)
        got = apply_hysteresis_threshold(image, 0.45, 0.97, connectivity=connectivity)
        np.testing.assert_array_equal(got, flooded(image > 0.97, image > 0.45, connectivity))


@pytest.mark.parametrize("length", [31, 32, 33, 63, 64, 65])
@pytest.mark.parametrize("connectivity", [1, 2])
def test_rows_around_whole_words(rng, length, connectivity):
    mask = rng.random((4, length)) < 0.6
    mask[:, [0, 30, -1]] = True
    seeds = np.zeros_like(mask)
    seeds[0, -1] = True
    got = flood_masks(seeds, mask, connectivity=connectivity)
    np.testing.assert_array_equal(got, flooded(seeds, mask, connectivity))


def test_corners_across_the_border_of_words():
    for column in (31, 32):
        for other in (column - 1, column + 1):
            mask = np.zeros((2, 70), bool)
            mask[0, other] = mask[1, column] = True
            seeds = np.zeros_like(mask)
            seeds[1, column] = True
            assert flood_masks(seeds, mask, connectivity=2).sum() == 2
            assert flood_masks(seeds, mask, connectivity=1).sum() == 1


@pytest.mark.parametrize("seed", [0, 1023, 1024, 1099])
def test_a_run_over_several_pieces(seed):
    seeds = np.zeros((2, 1100), bool)
    seeds[1, seed] = True
    mask = np.ones((2, 1100), bool)
    mask[0, ::2] = mask[0, 1023] = False
    got = flood_masks(seeds, mask)
    np.testing.assert_array_equal(got, flooded(seeds, mask, 1))
    assert got[1].all()


@pytest.mark.parametrize("shape", [(2, 20, 96), (4, 24, 32)], ids=str)
@pytest.mark.parametrize("connectivity", [1, 2, 3])
def test_whole_pieces_in_several_tiles(rng, shape, connectivity):
    for image, share in ((rng.random(shape), 0.45), (smooth(rng, shape), 0.6)):
        low, high = np.quantile(image, [share, 0.985])
        got = apply_hysteresis_threshold(image, low, high, connectivity=connectivity)
        np.testing.assert_array_equal(got, flooded(image > high, image > low, connectivity))


def serpentine(height, length):
    maze = np.zeros((height, length), bool)
    maze[::2] = True
    maze[1::4, -1] = maze[3::4, 0] = True
    return maze


def test_a_maze_is_followed_to_its_end():
    mask = serpentine(13, 35)
    seeds = np.zeros_like(mask)
    seeds[-1, 0] = True
    np.testing.assert_array_equal(flood_masks(seeds, mask), mask)
    turned = np.ascontiguousarray(mask.T)
    np.testing.assert_array_equal(flood_masks(seeds.T, turned), turned)


@pytest.mark.parametrize("kind", ["all", "none", "no seed", "checkerboard", "single voxel"])
def test_extremes(kind):
    shape = (3, 4, 33)
    mask = np.full(shape, kind != "none")
    seeds = np.zeros(shape, bool)
    seeds[1, 2, 3] = kind != "no seed"
    if kind == "checkerboard":
        mask = np.indices(shape).sum(0) % 2 == 0
    if kind == "single voxel":
        mask = seeds.copy()
    for connectivity in (1, 2):
        got = flood_masks(seeds, mask, connectivity=connectivity)
        np.testing.assert_array_equal(got, flooded(seeds, mask, connectivity))


@pytest.mark.parametrize("shape", [(5, 6, 40), (3, 3, 4, 20)], ids=str)
def test_smooth_volumes_where_unions_are_left_out(rng, monkeypatch, shape):
    image = smooth(rng, shape)
    low, high = np.quantile(image, [0.4, 0.9])
    done = []
    monkeypatch.setattr(flood, "unite", lambda *args, of=flood.unite: (
        done.append(args[1:]), of(*args)))  # fmt: skip
    for connectivity in range(1, image.ndim + 1):
        got = apply_hysteresis_threshold(image, low, high, connectivity=connectivity)
        np.testing.assert_array_equal(got, flooded(image > high, image > low, connectivity))
    faces = len(done)
    monkeypatch.setattr(flood, "_detour", lambda *args: 0)
    for connectivity in range(1, image.ndim + 1):
        apply_hysteresis_threshold(image, low, high, connectivity=connectivity)
    assert faces < 0.8 * (len(done) - faces)


@pytest.mark.parametrize(
    "dtype", ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", ">u2", ">f8"]
)
def test_dtypes_as_scikit_image(rng, dtype):
    image = (rng.random((3, 2, 40)) * 100).astype(dtype)
    low, high = (0, 0.5) if dtype == "?" else (40, 88.5)
    if image.dtype.kind == "f":
        image[0, 0, ::7] = np.nan
        image[0, 1, ::9] = np.inf
    if image.dtype.kind == "i":
        image[1] *= -1
        low = -30
    np.testing.assert_array_equal(
        apply_hysteresis_threshold(image, low, high),
        skimage.filters.apply_hysteresis_threshold(image, low, high),
    )


def test_arrays_of_any_layout_and_unchanged(rng):
    image = rng.random((6, 5, 40)).astype(np.float32)
    kept = image.copy()
    for view in (image[::2, ::-1, 1::2], image.T, np.asfortranarray(image)[:3]):
        view.flags.writeable = False
        np.testing.assert_array_equal(
            apply_hysteresis_threshold(view, 0.5, 0.95),
            skimage.filters.apply_hysteresis_threshold(view, 0.5, 0.95),
        )
    np.testing.assert_array_equal(image, kept)


@pytest.mark.parametrize("length", [1, 8, 9, 31, 33])
def test_packed(rng, length):
    image = rng.random((3, length))
    image[1, -1] = 2
    plain = apply_hysteresis_threshold(image, 0.3, 0.9)
    packed = apply_hysteresis_threshold(image, 0.3, 0.9, packed=True)
    np.testing.assert_array_equal(packed, np.packbits(plain, axis=-1, bitorder="little"))
    assert plain[1, -1]


def test_thresholds_that_are_arrays(rng):
    image = rng.random((3, 3, 20))
    low, high = np.full((3, 1), 0.4), rng.uniform(0.8, 1, image.shape)
    np.testing.assert_array_equal(
        apply_hysteresis_threshold(image, low, high), flooded(image > high, image > low, 1)
    )


def test_wide_run_numbers(rng, monkeypatch):
    def tables(plan, *, of=flood.tables):
        found = of(plan)
        return found | {"parents": (found["parents"][0], np.int64)}

    monkeypatch.setattr(flood, "tables", tables)
    image = rng.random((3, 4, 40))
    np.testing.assert_array_equal(
        apply_hysteresis_threshold(image, 0.4, 0.95), flooded(image > 0.95, image > 0.4, 1)
    )


def test_run_numbers_get_a_wider_type_where_they_need_one():
    def parents(*shape):
        return flood.tables(flood.layout(shape))["parents"]

    assert parents(1024, 1024, 1024) == (2**29 + 1, np.uint32)
    assert parents(4096, 1024, 1024)[1] is np.uint32
    assert parents(8192, 1024, 1024)[1] is np.int64


class Memory(list):
    """Parents as a GPU shows them at worst: a read may give any value that was ever there."""

    def __init__(self, size, chance):
        super().__init__(range(size))
        self.past = [[i] for i in range(size)]
        self.chance = chance
        self.lock = threading.Lock()

    def __getitem__(self, i):
        self.chance.random() < 0.3 and threading.Event().wait(0)
        return self.chance.choice(self.past[int(i)])

    def __setitem__(self, i, value):
        with self.lock:
            self._set(int(i), int(value))

    def _set(self, i, value):
        list.__setitem__(self, i, value)
        self.past[i].append(value)

    def min(self, i, value):
        """Atomic, so on the truth."""
        with self.lock:
            old = list.__getitem__(self, int(i))
            self._set(int(i), min(old, int(value)))
            return old

    def truth(self):
        roots = list(self)
        for i, parent in enumerate(roots):
            assert parent <= i
            roots[i] = roots[parent]
        return roots


@pytest.mark.parametrize("seed", range(40))
def test_unions_survive_stale_reads_and_lost_writes(seed, monkeypatch):
    chance = random.Random(seed)
    atomic = SimpleNamespace(min=lambda memory, i, value: memory.min(i, value))
    monkeypatch.setattr(flood, "cuda", SimpleNamespace(atomic=atomic))
    size = 24
    pairs = [(chance.randrange(size), chance.randrange(size)) for _ in range(30)]
    memory = Memory(size, chance)
    failed = []

    def work(mine):
        try:
            for a, b in mine:
                flood.unite.py_func(memory, a, b)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(pairs[i::4],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert not failed
    graph = scipy.sparse.coo_array((np.ones(len(pairs)), tuple(zip(*pairs))), (size, size))
    _, components = scipy.sparse.csgraph.connected_components(graph, directed=False)
    first = {c: list(components).index(c) for c in components}
    assert memory.truth() == [first[c] for c in components]
