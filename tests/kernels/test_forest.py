"""Forest kernels in the simulator: the CUDA form beside the CPU's, and heaps beside their nodes."""

import numpy as np
import pytest

from gpuseg.kernels import forest


def random_forest(rng, trees, deepest, columns, outputs):
    """Nodes, roots and leaf values of trees that end early here and there."""
    numbers, features, children, roots, leaves = [], [], [], [], 0

    def grow(depth):
        nonlocal leaves
        if depth == deepest or (depth and rng.random() < 0.2):
            leaves += 1
            return -leaves
        node = len(numbers)
        numbers.append(rng.integers(-3, 4))
        features.append(rng.integers(columns))
        children.append(None)
        children[node] = [grow(depth + 1), grow(depth + 1)]
        return node

    roots = np.array([grow(0) for _ in range(trees)], np.int32)
    children = np.array(children, np.int32).reshape(-1, 2)
    missing = rng.random(len(numbers)) < 0.5
    words = forest.node_words(
        np.array(numbers, np.float32), np.array(features, np.int32), children, missing
    )
    return words, roots, rng.standard_normal((leaves, outputs))


def both(rows, words, roots, values):
    """The means by the CPU's kernel and by the GPU's."""
    cpu, gpu = (np.full((len(rows), values.shape[1]), np.nan) for _ in range(2))
    forest.forest_cpu(rows, words, roots, values, forest.heaps(words, roots), cpu)
    forest.forest_cuda(rows, words.view(np.int64), roots, values, gpu)
    return cpu, gpu


@pytest.mark.parametrize("trees", [1, 3, 4, 5])
@pytest.mark.parametrize("outputs", [1, 3, 9])
def test_both_forms_give_the_same_bits(rng, trees, outputs):
    tables = random_forest(rng, trees, 5, 3, outputs)
    rows = rng.integers(-4, 5, (9, 3)).astype(np.float32)
    cpu, gpu = both(rows, *tables)
    np.testing.assert_array_equal(gpu, cpu)
    rows[rng.random(rows.shape) < 0.3] = np.nan
    cpu, gpu = both(np.asfortranarray(rows), *tables)
    np.testing.assert_array_equal(gpu, cpu)


def test_trees_of_any_depth(rng):
    """Of one leaf, as deep as is looked at together, and deeper than a heap."""
    rows = rng.integers(-4, 5, (6, 2)).astype(np.float32)
    for deepest in (0, 1, 2, 3, 4, forest.HEAP_LEVELS):
        cpu, gpu = both(rows, *random_forest(rng, 2, deepest, 2, 1))
        np.testing.assert_array_equal(gpu, cpu)
    depth = forest.HEAP_LEVELS + 5
    steps = np.arange(depth, dtype=np.int32)
    ways = np.stack([-1 - steps, steps + 1], axis=1)
    ways[-1, 1] = -1 - depth
    words = forest.node_words(steps.astype(np.float32), 0 * steps, ways, steps < 0)
    values = np.arange(depth + 1.0)[:, None]
    rows = np.arange(-1, depth + 2, dtype=np.float32)[:, None]
    for found in both(rows, words, np.zeros(1, np.int32), values):
        np.testing.assert_array_equal(found[:, 0], np.clip(rows[:, 0], 0, depth))


def test_rows_too_long_for_shared_memory(rng):
    columns = forest._SHARED // 4 // forest._BLOCK + 1
    rows = rng.integers(-4, 5, (5, columns)).astype(np.float32)
    for width in (columns - 1, columns):
        cpu, gpu = both(rows[:, :width].copy(), *random_forest(rng, 3, 4, width, 2))
        np.testing.assert_array_equal(gpu, cpu)


def test_a_heap_is_the_top_of_its_tree(rng):
    words, roots, _ = random_forest(rng, 4, forest.HEAP_LEVELS + 1, 3, 1)
    tops = forest.heaps(words, roots)
    for t, root in enumerate(roots):
        inner = (1 << tops.levels[t]) - 1
        places = {0: root}
        for i in range(inner):
            n, at = places[i], tops.starts[t] + i
            left, right = (n, n) if n < 0 else words[n, 2:]
            if n >= 0:
                assert tops.keys[at] == forest._key(words[n, 0])
                assert tops.features[at] == words[n, 1] & 0x7FFFFFFF
            places[2 * i + 1], places[2 * i + 2] = left, right
        exits = tops.exits[tops.starts[t] + t :][: inner + 1]
        assert exits.tolist() == [places[inner + i] for i in range(inner + 1)]


def test_keys_compare_as_numbers_do():
    special = [0.0, -0.0, 1e-45, -1e-45, np.inf, -np.inf, 3.4e38, -3.4e38, 1.0, np.nextafter(1, 2)]
    numbers = np.float32([*special, *np.random.default_rng(0).normal(size=50)])
    keys = np.array([forest._key(bits) for bits in numbers.view(np.int32)])
    np.testing.assert_array_equal(keys[:, None] > keys, numbers[:, None] > numbers)
    nans = np.array([0x7FC00000, 0x7F800001, 0xFFC00000, 0xFFFFFFFF], np.uint32).view(np.int32)
    assert {int(forest._key(bits)) for bits in nans} == {int(forest._MISSING)}
    assert keys.max() < forest._MISSING
