"""What goes over chunks again and again ends where the whole does."""

import numpy as np
import pytest

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

import skimage.morphology  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from gpuseg._dask import _parked, _rounds  # noqa: E402
from gpuseg.morphology import reconstruction  # noqa: E402


@pytest.fixture
def rounds(monkeypatch):
    """How many chunks each round works on."""
    counts = []
    go = _rounds.Rounds.go

    def counted(self, work, active=None):
        counts.append(self.count if active is None else len(active))
        return go(self, work, active)

    monkeypatch.setattr(_rounds.Rounds, "go", counted)
    return counts


def lazily(array, chunks):
    return da.from_array(array, chunks=chunks)


def same(seed, mask, chunks, *args, **options):
    expected = skimage.morphology.reconstruction(seed, mask, *args, **options)
    with dask.config.set(scheduler="sync"):
        found = reconstruction(lazily(seed, chunks), lazily(mask, chunks), *args, **options)
        assert isinstance(found, da.Array)
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_array_equal(found.compute(), expected)
    return found


DTYPES = ("uint8", "int16", "uint64", "int64", "float16", "float32", "float64", "bool", ">u2")


@settings(max_examples=60)
@given(st.data(), st.sampled_from(DTYPES), st.sampled_from(["dilation", "erosion"]))
def test_reconstruction(data, dtype, method):
    shape = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=3).map(tuple))
    chunks = data.draw(st.tuples(*(st.integers(1, n) for n in shape)))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    mask = (rng.random(shape) * (2 if dtype == "bool" else 200)).astype(dtype)
    seeds = rng.random(shape) < data.draw(st.sampled_from([0.02, 0.3]))
    seed = np.where(seeds, mask, mask.min() if method == "dilation" else mask.max()).astype(dtype)
    footprint = offset = None
    if data.draw(st.booleans()):
        sides = data.draw(st.tuples(*(st.sampled_from([1, 3, 5]) for _ in shape)))
        if len(shape) == 1:  # scikit-image takes an offset along one axis only
            sides = (data.draw(st.integers(1, 5)),)
            offset = np.array([data.draw(st.integers(0, sides[0] - 1))])
        footprint = rng.random(sides) < 0.6
    same(seed, mask, chunks, method, footprint, offset)


def snake(shape, pitch):
    """A path that winds through a volume, row by row and plane by plane, and its end."""
    there = np.zeros(shape, bool)
    rows = range(0, shape[-2], pitch)
    for y in rows:
        there[..., y, :] = True
    for turn, y in enumerate(rows[1:]):
        there[..., y - pitch : y, -(turn % 2 == 0)] = True
    if len(shape) == 3:
        there[1::2] = False
        last = rows[-1], -((len(rows) - 1) % 2 == 0)
        for turn, z in enumerate(range(1, shape[0] - 1, 2)):
            there[(z, *last) if turn % 2 == 0 else (z, 0, 0)] = True
    return there


@pytest.mark.parametrize("method", ["dilation", "erosion"])
@pytest.mark.parametrize("shape", [(21, 16), (5, 9, 10)])
def test_a_seed_winds_through_many_chunks(shape, method, rounds):
    path = snake(shape, 2)
    mask, seed = np.where(path, 90, 0), np.zeros(shape, int)
    mask[path] += np.arange(path.sum()) % 7
    seed[(0,) * len(shape)] = mask[(0,) * len(shape)]
    if method == "erosion":
        mask, seed = -mask, -seed
    found = same(seed, mask, 4, method, np.ones((3,) * len(shape)))
    # It reaches the end of the path, a chunk a round.
    assert (np.abs(found.compute())[path] >= 90).all()
    assert len(rounds) > 20
    # No chunk is worked on where nothing new has come.
    assert sum(rounds[1:]) < rounds[0] * len(rounds) / 3


def test_the_file_does_not_grow_with_the_rounds(monkeypatch, rounds):
    """What an old state leaves free takes a new one."""
    shelf = _parked._Shelf()
    monkeypatch.setattr(_parked, "ROOM", 0)
    monkeypatch.setattr(_parked, "_shelf", shelf)
    path = snake((64, 48), 4)
    seed = np.zeros(path.shape)
    seed[0, 0] = 1
    found = same(seed, path * 1.0, 16)
    assert len(rounds) > 20
    assert shelf.file.count == 12
    assert seed.nbytes < shelf.file.end < 2 * seed.nbytes + 24 * 500
    del found
    assert shelf.file is None


def test_a_round_holds_few_layers_of_chunks(monkeypatch):
    """Chunks are let go of when their neighbours have seen them, not at the end of a round."""
    ahead, most = 0, 0
    worked = _rounds._worked

    def made(block):
        nonlocal ahead, most
        ahead += 1
        most = max(most, ahead)
        return block

    def done(*args):
        nonlocal ahead
        ahead -= 1
        return worked(*args)

    monkeypatch.setattr(_rounds, "_worked", done)
    lazy = da.ones((24, 10, 10), chunks=2, dtype=np.uint8)
    rounds = _rounds.Rounds([lazy.map_blocks(made, dtype=np.uint8, meta=lazy._meta)], lazy, [1] * 3)
    with dask.config.set(scheduler="sync"):
        for _ in range(2):
            rounds.go(lambda place, values, state: (place.inner(state), None, None))
            assert ahead == 0
    assert most < 3 * 25


def test_nothing_to_pass_on_is_one_round(rounds):
    mask = np.full((12, 12), 5.0)
    same(mask, mask, 4)
    assert rounds[0] == 9
    assert sum(rounds[1:]) == 0


def test_what_is_stored_is_not_the_result(rng):
    """A result that is written to is right again when it is computed again."""
    mask = rng.random((6, 6))
    found = reconstruction(lazily(mask * 0, 6), lazily(mask, 6))
    found.compute(scheduler="sync")[:] = 7
    assert found.max().compute() < 1


def test_chunks_in_threads(rng):
    mask = rng.random((40, 40))
    seed = np.where(rng.random(mask.shape) < 0.01, mask, 0)
    expected = skimage.morphology.reconstruction(seed, mask)
    found = reconstruction(lazily(seed, 9), mask)
    np.testing.assert_array_equal(found.compute(scheduler="threads", num_workers=2), expected)


def test_bad_input_of_a_reconstruction_is_told():
    image = np.ones((6, 7))
    lazy = lazily(image, 3)
    with pytest.raises(ValueError, match="seed and mask must have one shape"):
        reconstruction(lazy, lazy[:5])
    with pytest.raises(ValueError, match="method must be"):
        reconstruction(lazy, lazy, "opening")
    with pytest.raises(ValueError, match="must be less than"):
        reconstruction(lazy + 1, lazy).compute()
    with pytest.raises(ValueError, match="must be greater than"):
        reconstruction(lazy, lazy + 1, "erosion").compute()
    with pytest.raises(ValueError, match="odd"):
        reconstruction(lazy, lazy, footprint=np.ones((2, 3)))
    with pytest.raises(ValueError, match="Offset"):
        reconstruction(lazy, lazy, footprint=np.ones((3, 3)), offset=np.array([1, 0]))
    image[4, 4] = np.nan
    with pytest.raises(ValueError, match="seed holds NaN"):
        reconstruction(lazily(image, 3), lazy)
