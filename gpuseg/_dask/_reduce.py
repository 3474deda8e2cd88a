"""What adds up over chunks: a task a chunk, and the answers joined a few at a time."""

from __future__ import annotations

import itertools

import dask
from dask.delayed import Delayed

from ._connected import threads

# Answers that one task joins.
_AT_ONCE = 8


def each(function, arrays, *given, along=(), places=False) -> list[Delayed]:
    """A function of every chunk of arrays that are in the same chunks.

    It takes what is given, which may be lazy; of each list in `along` what is for the chunk; where
    the chunk begins, if `places`; and the chunks.
    """
    blocks = (x.to_delayed(optimize_graph=False).reshape(-1) for x in arrays)
    task = dask.delayed(_alone, pure=True)
    lists = (*along, origins(arrays[0])) if places else along
    return [task(function, *given, *block) for block in zip(*lists, *blocks)]


def origins(x) -> list[tuple[int, ...]]:
    """Where each chunk begins, in the order of `each`."""
    return list(itertools.product(*((0, *itertools.accumulate(c))[:-1] for c in x.chunks)))


def _alone(function, *args):
    with threads():
        return function(*args)


def joined(join, parts: list[Delayed]) -> Delayed:
    """`join` takes a list of answers and gives one of their kind; it does not matter which came
    together first."""
    task = dask.delayed(join, pure=True)
    while True:
        parts = [task(parts[at : at + _AT_ONCE]) for at in range(0, len(parts), _AT_ONCE)]
        if len(parts) == 1:
            return parts[0]


def added(parts: list[Delayed]) -> Delayed:
    """The sum of tuples of numbers or arrays."""
    return joined(_sums, parts)


def _sums(parts):
    return tuple(map(sum, zip(*parts)))
