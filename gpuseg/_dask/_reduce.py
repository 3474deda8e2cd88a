"""What adds up over chunks: a task a chunk, and the answers joined a few at a time.

The tasks are written down by themselves: `dask.delayed` would look through the whole graph again
for every call.
"""

from __future__ import annotations

import itertools
from functools import partial
from typing import NamedTuple

from dask.base import tokenize
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph

from ._connected import threads

# Answers that one task joins.
_AT_ONCE = 8


class Tasks(NamedTuple):
    """Answers that a graph gives, by their keys."""

    graph: HighLevelGraph
    name: str
    keys: list

    def compute(self) -> list:
        return _added(self.graph, self.name, "all-" + self.name, self.keys).compute()


def each(function, arrays, *given, along=(), places=False) -> Tasks:
    """A function of every chunk of arrays that are in the same chunks.

    It takes what is given; of each list in `along` what is for the chunk; where the chunk begins,
    if `places`; and the chunks.
    """
    along = (*along, origins(arrays[0])) if places else tuple(along)
    name = f"{_name(function)}-{tokenize(function, given, along, *arrays)}"
    blocks = zip(*(itertools.product((x.name,), *map(range, x.numblocks)) for x in arrays))
    layer = {
        (name, i): (partial(_alone, function, *given, *(values[i] for values in along)), *keys)
        for i, keys in enumerate(blocks)
    }
    graph = HighLevelGraph.from_collections(name, layer, dependencies=arrays)
    return Tasks(graph, name, list(layer))


def origins(x) -> list[tuple[int, ...]]:
    """Where each chunk begins, in the order of `each`."""
    return list(itertools.product(*((0, *itertools.accumulate(c))[:-1] for c in x.chunks)))


def _alone(function, *args):
    with threads():
        return function(*args)


def joined(join, tasks: Tasks) -> Delayed:
    """`join` takes a list of answers and gives one of their kind; it does not matter which came
    together first."""
    name, level, keys = f"{_name(join)}-{tokenize(join, tasks.name)}", 0, tasks.keys
    layer = {}
    while level == 0 or len(keys) > 1:
        groups = [keys[at : at + _AT_ONCE] for at in range(0, len(keys), _AT_ONCE)]
        keys = [(name, level, i) for i in range(len(groups))]
        layer |= {key: (join, group) for key, group in zip(keys, groups)}
        level += 1
    layer[name] = keys[0]
    return _layered(tasks.graph, tasks.name, name, layer)


def added(tasks: Tasks) -> Delayed:
    """The sum of tuples of numbers or arrays."""
    return joined(_sums, tasks)


def _added(graph, before: str, name: str, task) -> Delayed:
    return _layered(graph, before, name, {name: task})


def _layered(graph, before: str, name: str, layer) -> Delayed:
    graph = HighLevelGraph({**graph.layers, name: layer}, {**graph.dependencies, name: {before}})
    return Delayed(name, graph, layer=name)


def _sums(parts):
    return tuple(map(sum, zip(*parts)))


def _name(function) -> str:
    return getattr(function, "func", function).__name__.strip("_")
