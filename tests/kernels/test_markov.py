"""The CUDA sweeps and energies, in the simulator: the same whole numbers as on the CPU."""

import numpy as np
import pytest

from gpuseg.kernels import markov


def _case(rng, shape, channels, classes):
    labels = rng.integers(0, classes, shape).astype(np.uint8)
    labels[rng.random(shape) < 0.1] = markov.OUTSIDE
    values = (3 * rng.standard_normal((channels, labels.size))).astype(np.float32)
    # Some so far away that costs are cut off.
    values[:, ::7] *= 1e4
    model = tuple(
        part.astype(np.float32)
        for part in (
            rng.standard_normal((classes, channels)),
            rng.random((classes, channels)) + 0.1,
            rng.random(classes),
        )
    )
    return values, labels, model


@pytest.mark.parametrize(
    ("shape", "channels", "classes"),
    [((1, 1, 1), 1, 2), ((1, 7, 10), 1, 2), ((3, 4, 5), 2, 3), ((1, 1, 40), 1, 5),
     ((4, 3, 1), 3, 2)],
)  # fmt: skip
@pytest.mark.parametrize("temperature", [0, markov.UNIT // 2])
def test_sweeps_and_energies(rng, shape, channels, classes, temperature):
    values, labels, model = _case(rng, shape, channels, classes)
    noise, beta = markov.gumbel_table(), markov.UNIT
    expected = labels.copy()
    for parity in (0, 1):
        args = (values, expected, parity, model, beta, temperature, 0xFEDCBA98 + parity, noise)
        moved = markov.sweep_cpu(*args)
        changed = np.zeros(1, np.uint64)
        markov.sweep_cuda(values, labels, *args[2:], changed)
        np.testing.assert_array_equal(labels, expected)
        assert changed[0] == moved
    total = np.zeros(1, np.uint64)
    markov.energy_cuda(values, labels, model, beta, total)
    assert total[0] == markov.energy_cpu(values, expected, model, beta)


def test_fewer_threads_than_pixels(rng):
    values, labels, model = _case(rng, (2, 9, 11), 1, 3)
    noise, expected = markov.gumbel_table(), labels.copy()
    moved = markov.sweep_cpu(values, expected, 1, model, 70_000, 0, 0, noise)
    changed, total = np.zeros((2, 1), np.uint64)
    numbers = 0, 9 * 11, 11
    markov.sweep[1, 32](values, labels, 1, *model, 70_000, 0, 0, *numbers, noise, changed)
    markov.energy[1, 32](values, labels, *model, 70_000, total)
    np.testing.assert_array_equal(labels, expected)
    assert changed[0] == moved
    assert total[0] == markov.energy_cpu(values, expected, model, 70_000)


@pytest.mark.parametrize("form", ["cpu", "cuda"])
def test_a_part_draws_as_the_whole_does(rng, form):
    """Pixels alone: a part, cut anywhere, takes the classes that the whole takes there."""
    shape, start = (3, 6, 9), (1, 2, 3)
    values = rng.standard_normal((2, *shape)).astype(np.float32)
    labels = rng.integers(0, 3, shape).astype(np.uint8)
    _, _, model = _case(rng, shape, 2, 3)
    inside = tuple(slice(s, None) for s in start)
    part, part_values = labels[inside].copy(), values[(slice(None), *inside)].copy()
    noise, number = markov.gumbel_table(), int(np.ravel_multi_index(start, shape))
    args = (model, 0, markov.UNIT, 0xFEDCBA98, noise)
    for parity in (0, 1):
        markov.sweep_cpu(values.reshape(2, -1), labels, parity, *args)
        numbers, own = (number, 6 * 9, 9), (parity + sum(start)) & 1
        if form == "cpu":
            markov.sweep_cpu(part_values.reshape(2, -1), part, own, *args, numbers)
        else:
            changed = np.zeros(1, np.uint64)
            markov.sweep_cuda(
                part_values.reshape(2, -1), part, own, *args, changed, numbers=numbers
            )
    np.testing.assert_array_equal(part, labels[inside])


def test_hashes_are_those_of_the_cpu(rng):
    """Beyond 2**32 pixels too, which no image here has."""
    mixed = markov._mixed_cuda
    for at, seed, k in ((5, 7, 1), (2**32 + 5, 7, 1), (2**33 - 2, 2**32 - 1, 254)):
        hashes = np.empty(2, np.uint32)
        markov._hash_pixels(at, seed, hashes)
        for pixel, found in zip((at, at + 2), hashes):
            here = mixed(mixed(pixel & 0xFFFFFFFF) ^ seed ^ (pixel >> 32))
            assert here == found
            assert mixed(here ^ k) == markov._mixed(np.uint32(found ^ np.uint32(k)))
