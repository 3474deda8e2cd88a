"""Markov random fields of chunked images are those of the whole, bit for bit."""

import numpy as np
import pytest

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from gpuseg._dask import _rounds  # noqa: E402
from gpuseg._dask.segmentation import markov  # noqa: E402
from gpuseg.segmentation import markov_random_field  # noqa: E402


def same(image, chunks, n_classes, **options):
    """That everything is as of the whole; arrays among the options are cut."""
    cut = {name: da.from_array(x, chunks=c) for name, (x, c) in options.pop("cut", {}).items()}
    options["return_result"] = True
    whole = {name: x.compute() for name, x in cut.items()}
    with dask.config.set(scheduler="sync"):
        expected = markov_random_field(image, n_classes, **whole, **options)
        lazy = da.from_array(image, chunks=chunks)
        found = markov_random_field(lazy, n_classes, **cut, **options)
        for name in ("labels", "probabilities"):
            part, array = getattr(found, name), getattr(expected, name)
            assert isinstance(part, da.Array)
            assert (part.shape, part.dtype) == (array.shape, array.dtype)
            assert part.compute().shape == array.shape
        for name in ("labels", "energies", "prior", "means", "stds"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-5)
    return found


def steps(rng, shape, dtype="float64"):
    """Values of three classes in noise."""
    place = sum(np.ogrid[tuple(map(slice, shape))])
    return (
        (place * 120 // place.max() // 45 * 60 + rng.normal(40, 25, shape))
        .clip(0, 255)
        .astype(dtype)
    )


def chunkings(shape):
    return st.tuples(*(st.integers(-(-n // 4), n) for n in shape))


@settings(max_examples=25)
@given(st.data(), st.sampled_from(["uint8", "int16", ">u2", "float16", "float32", "float64"]))
def test_fields(data, dtype):
    shape = data.draw(st.lists(st.integers(4, 11), min_size=2, max_size=3).map(tuple))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    image, cut = steps(rng, shape, dtype), {}
    options = {"beta": data.draw(st.sampled_from([0, 0.7, 3.0])), "random_state": 5}
    if data.draw(st.booleans()):
        mask = rng.random(shape) < 0.7
        mask.flat[:6] = True
        image.flat[:6] = (0, 40, 80, 120, 160, 200)
        cut["mask"] = mask, data.draw(chunkings(shape))
    if data.draw(st.booleans()):
        init = rng.integers(0, 3, shape)
        init.flat[:3] = 0, 1, 2
        cut["init"] = init, data.draw(chunkings(shape))
    if data.draw(st.booleans()):
        options |= {"method": "annealing", "iterations": data.draw(st.integers(1, 7))}
    else:
        options["iterations"] = data.draw(st.sampled_from([1, 2, 3, 50]))
    if data.draw(st.booleans()):
        options["prior"] = "start"
    same(image, data.draw(chunkings(shape)), 3, cut=cut, **options)


@pytest.mark.parametrize("method", ["icm", "annealing"])
def test_several_sweeps_at_once(rng, method, monkeypatch):
    """Chunks that are large enough see farther, and look at their neighbours less often."""
    windows = []
    go = _rounds.Rounds.go

    def counted(self, work, active=None):
        windows.append((max(self.depth), self.count if active is None else len(active)))
        return go(self, work, active)

    monkeypatch.setattr(_rounds.Rounds, "go", counted)
    image = steps(rng, (130, 70))
    options = {"beta": 2.5, "method": method, "iterations": 30}
    found = same(image, (65, 70), 3, **options)
    assert windows[0][0] == 2 * markov._SWEEPS + 1
    # Two rounds for the sums, one for the first energy.
    sweeps = found.energies.size - 1
    assert len(windows) == 3 + -(-sweeps // markov._SWEEPS)


def test_only_chunks_where_something_changes_are_worked_on(rng, monkeypatch):
    """Noise in one corner, which settles slowly; everywhere else each pixel has its class."""
    windows = []
    go = _rounds.Rounds.go

    def counted(self, work, active=None):
        windows.append(self.count if active is None else len(active))
        return go(self, work, active)

    monkeypatch.setattr(_rounds.Rounds, "go", counted)
    image = np.zeros((96, 96))
    image[:, 48:] = 100
    image[:20, :20] = rng.normal(50, 30, (20, 20))
    same(image, (16, 16), 2, beta=2.0)
    assert windows[:4] == [36] * 4
    assert len(windows) > 4
    assert max(windows[4:]) <= 9


def test_channels_and_smoothing(rng):
    image = np.stack([steps(rng, (15, 18)) for _ in range(2)])
    same(image, (1, 5, 4), 3, channel_axis=0, random_state=3)
    mask = rng.random(image.shape[1:]) < 0.8
    same(image[0], (7, 6), 3, init_sigma=1.5)
    same(image[0], (7, 6), 3, init_sigma=1.5, cut={"mask": (mask, (5, 18))})


def test_only_another_array_is_lazy(rng):
    image, mask = steps(rng, (12, 13)), rng.random((12, 13)) < 0.8
    expected = markov_random_field(image, 2, mask=mask)
    found = markov_random_field(image, 2, mask=da.from_array(mask, chunks=5))
    np.testing.assert_array_equal(found.compute(), expected)


def test_chunks_in_threads(rng):
    image = steps(rng, (9, 20, 21))
    expected = markov_random_field(image, 3)
    with dask.config.set(scheduler="threads", num_workers=2):
        found = markov_random_field(da.from_array(image, chunks=(9, 7, 8)), 3)
        np.testing.assert_array_equal(found.compute(), expected)


def test_bad_input_is_told_as_for_the_whole():
    image = np.arange(42.0).reshape(6, 7)
    lazy = da.from_array(image, chunks=3)
    with pytest.raises(ValueError, match="there are only 1 different pixels, for 2 clusters"):
        markov_random_field(da.ones((6, 7), chunks=3), 2)
    with pytest.raises(ValueError, match="from 0 to 1, got 0 to 2"):
        markov_random_field(lazy, 2, init=da.from_array(np.arange(42).reshape(6, 7) % 3, chunks=2))
    with pytest.raises(ValueError, match="class 1 has no pixel at the start"):
        markov_random_field(lazy, 2, init=np.zeros((6, 7), int))
    with pytest.raises(ValueError, match="mask selects no element"):
        markov_random_field(lazy, 2, mask=da.zeros((6, 7), dtype=bool))
    with pytest.raises(ValueError, match="2 or 3 axes"):
        markov_random_field(lazy[0], 2)
    image[4, 4] = np.nan
    with pytest.raises(ValueError, match="image holds NaN or infinity"):
        markov_random_field(da.from_array(image, chunks=3), 2)
