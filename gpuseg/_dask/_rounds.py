"""Rounds over chunks, as many as it takes: a chunk is worked on with what lies around it, and again
where that has changed.

Every chunk has a state, an array of its shape, which is parked between two rounds. A round takes
the states that the round before left, so it does not matter in which order chunks come, and gives
the new ones; beside them it says where they have changed, near which neighbours. What else the work
needs is lazy, and computed again in each round, for those chunks that are worked on.
"""

from __future__ import annotations

import itertools
import uuid
from functools import partial
from typing import NamedTuple

import numpy as np
from dask import array as da
from dask.highlevelgraph import HighLevelGraph

from .._backend import array_namespace
from ._connected import aligned, threads
from ._parked import Parked
from ._reduce import Tasks


class Place(NamedTuple):
    """Where in the whole a window begins, and where in the window its chunk is."""

    start: tuple[int, ...]
    core: tuple[slice, ...]

    def inner(self, x):
        return x[self.core]


class Rounds:
    """The states of chunks, and the arrays that they are worked on with.

    The arrays may have one axis more than the states, the last; windows reach `depth` voxels beyond
    a chunk along each axis.
    """

    def __init__(self, arrays, state, depth):
        (state,) = aligned([state])
        self.chunks = _fit(state.chunks, depth)
        self.depth = [d if len(sizes) > 1 else 0 for d, sizes in zip(depth, self.chunks)]
        self.arrays = [
            x.rechunk((*self.chunks, *(-1,) * (x.ndim - state.ndim))) for x in (*arrays, state)
        ]
        self.meta = self.arrays[-1]._meta
        self.shape = tuple(map(len, self.chunks))
        self.count = int(np.prod(self.shape))
        self.parked: list[Parked] = []
        self.steps = list(itertools.product((-1, 0, 1), repeat=state.ndim))

    def go(self, work, active=None) -> list:
        """``work(place, *windows)`` for the chunks of these numbers, or all: a new state, where it
        counts as changed (or None, where it differs), and a report. Gives the reports, each after
        the steps to the neighbours near which the state has changed; a step of nothing says that
        it has at all."""
        active = range(self.count) if active is None else active
        sources = [
            [(x.name, *at, *(0,) * (x.ndim - len(at))) for at in np.ndindex(self.shape)]
            for x in self.arrays
        ]
        name = f"round-{uuid.uuid4().hex}"
        layer: dict = {}
        if self.parked:
            sources[-1] = [(f"state-{name}", n) for n in range(self.count)]
        for n in active:
            pieces = [self._piece(n, step) for step in self._steps(n)]
            keys = []
            for i, source in enumerate(sources):
                for m, cut, _ in pieces:
                    if self.parked and i == len(sources) - 1:
                        layer[source[m]] = (partial(_taken, self.parked[m]),)
                    if m != n:
                        layer[f"piece-{name}", i, n, m] = (partial(_cut, cut), source[m])
                    keys.append(source[m] if m == n else (f"piece-{name}", i, n, m))
            place, size = self._window(n)
            ends = [end for _, _, end in pieces]
            step = partial(_worked, work, self.depth, place, size, ends, not self.parked)
            layer[name, n] = (step, *keys)
        graph = HighLevelGraph.from_collections(name, layer, dependencies=self.arrays)
        found = Tasks(graph, name, [(name, n) for n in active]).compute()
        states = self.parked or [None] * self.count
        self.parked = states.copy()
        for n, (state, _, _) in zip(active, found):
            self.parked[n] = state or states[n]
        return [(steps, report) for _, steps, report in found]

    def near(self, number: int, steps) -> set[int]:
        """The chunks that lie such steps from one."""
        return {self._neighbour(number, step) for step in steps} - {None}

    def result(self, finish, dtype) -> da.Array:
        """What is made of the states, lazily."""
        name = f"rounds-{uuid.uuid4().hex}"
        layer = {
            (name, *at): (partial(_finished, finish, parked),)
            for at, parked in zip(np.ndindex(self.shape), self.parked)
        }
        graph = HighLevelGraph.from_collections(name, layer)
        return da.Array(graph, name, self.chunks, dtype=dtype, meta=self.meta.astype(dtype))

    def _neighbour(self, number: int, step):
        at = [int(i) + d for i, d in zip(np.unravel_index(number, self.shape), step)]
        if all(0 <= i < n for i, n in zip(at, self.shape)):
            return int(np.ravel_multi_index(at, self.shape))
        return None

    def _steps(self, number: int):
        """The steps to what is seen from a chunk, itself included."""
        for step in self.steps:
            if self._neighbour(number, step) is None:
                continue
            if all(depth or not d for d, depth in zip(step, self.depth)):
                yield step

    def _window(self, number: int):
        """The place and the shape of a chunk's window."""
        start, core, shape = [], [], []
        for i, sizes, d in zip(np.unravel_index(number, self.shape), self.chunks, self.depth):
            before, after = d * (i > 0), d * (i < len(sizes) - 1)
            start.append(int(sum(sizes[:i]) - before))
            core.append(slice(int(before), int(before + sizes[i])))
            shape.append(int(before + sizes[i] + after))
        return Place(tuple(start), tuple(core)), tuple(shape)

    def _piece(self, number: int, step):
        """What a window has of a neighbour: its number, which part of it, and where that goes."""
        cut, end = [], []
        place, shape = self._window(number)
        for d, depth, core, size in zip(step, self.depth, place.core, shape):
            cut.append(slice(None) if not d else slice(-depth, None) if d < 0 else slice(depth))
            low, high = ((0, core.start), (core.start, core.stop), (core.stop, size))[d + 1]
            end.append(slice(low, high))
        return self._neighbour(number, step), tuple(cut), tuple(end)


def _fit(chunks, depth):
    """Chunks that are nowhere thinner than what their neighbours want of them."""
    return tuple(
        tuple(da.overlap.ensure_minimum_chunksize(min(d, sum(sizes)), sizes)) if d else sizes
        for sizes, d in zip(chunks, depth)
    )


def _taken(parked: Parked):
    return parked.take()


def _cut(part, block):
    return block[part].copy()


def _finished(finish, parked: Parked):
    with threads():
        return finish(parked.take())


def _worked(work, depth, place: Place, shape, ends, first, *blocks):
    """A chunk's new state, parked, if it is another; near which others it is; the report."""
    windows = []
    for at in range(0, len(blocks), len(ends)):
        some = blocks[at : at + len(ends)]
        full = (*shape, *some[0].shape[len(shape) :])
        window = array_namespace(some[0]).empty(full, some[0].dtype)
        for end, block in zip(ends, some):
            window[end] = block
        windows.append(window)
    before = place.inner(windows[-1]).copy()
    with threads():
        state, there, report = work(place, *windows)
        steps = list(_near(before != state if there is None else there, depth))
    return Parked(state) if first or steps else None, steps, report


def _near(there, depth):
    """The steps to what sees places of a chunk."""
    if not there.any():
        return
    for step in itertools.product((-1, 0, 1), repeat=there.ndim):
        band = tuple(
            slice(None) if not d else slice(deep) if d < 0 else slice(-deep, None)
            for d, deep in zip(step, depth)
        )
        if all(deep or not d for d, deep in zip(step, depth)) and there[band].any():
            yield step
