"""Rounds over chunks, as many as it takes: a chunk is worked on with what lies around it, and again
where that has changed.

Every chunk has a state, an array of its shape, which is parked between two rounds. A round takes
the states that the round before left, so it does not matter in which order chunks come, and gives
the new ones; beside them it says where they have changed, near which neighbours. What else the work
needs is lazy, and computed again in each round, for those chunks that are worked on and for their
neighbours. In memory are the chunks of about two layers, those that wait for the next to be seen.
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
        steps = itertools.product((-1, 0, 1), repeat=state.ndim)
        self.steps = [step for step in steps if any(step)]

    def go(self, work, active=None) -> list:
        """``work(place, *windows)`` for the chunks of these numbers, or all: a new state, where it
        counts as changed (or None, where it differs), and a report. Gives the reports, each after
        the steps to the neighbours near which the state has changed; a step of nothing says that
        it has at all."""
        active = range(self.count) if active is None else active
        name = f"round-{uuid.uuid4().hex}"
        layer: dict = {}
        seen_by: dict = {}
        for n in active:
            steps = self._steps(n)
            beside = [self._neighbour(n, step) for step in steps]
            for m, step in zip(beside, steps):
                seen_by.setdefault(m, []).append(step)
            once = partial(_worked, work, self.depth, *self._window(n), steps, not self.parked)
            layer[name, n] = (once, *self._keys(n, name), *(("slabs-" + name, m) for m in beside))
        for m, steps in seen_by.items():
            cut = partial(_slabs, self.depth, steps)
            layer["slabs-" + name, m] = (cut, *self._keys(m, name))
        if self.parked:
            for n in {*active, *seen_by}:
                layer["state-" + name, n] = (partial(_taken, self.parked[n]),)
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

    def _keys(self, number: int, name: str) -> list:
        """Where a round finds the arrays and the state of a chunk."""
        at = tuple(map(int, np.unravel_index(number, self.shape)))
        keys = [(x.name, *at, *(0,) * (x.ndim - len(at))) for x in self.arrays]
        return [*keys[:-1], ("state-" + name, number)] if self.parked else keys

    def _steps(self, number: int) -> list:
        """The steps to what is seen around a chunk."""
        return [
            step
            for step in self.steps
            if self._neighbour(number, step) is not None
            and all(depth or not d for d, depth in zip(step, self.depth))
        ]

    def _window(self, number: int):
        """The place and the shape of a chunk's window."""
        start, core, shape = [], [], []
        for i, sizes, d in zip(np.unravel_index(number, self.shape), self.chunks, self.depth):
            before, after = d * (i > 0), d * (i < len(sizes) - 1)
            start.append(int(sum(sizes[:i]) - before))
            core.append(slice(int(before), int(before + sizes[i])))
            shape.append(int(before + sizes[i] + after))
        return Place(tuple(start), tuple(core)), tuple(shape)


def _fit(chunks, depth):
    """Chunks that are nowhere thinner than what their neighbours want of them."""
    return tuple(
        tuple(da.overlap.ensure_minimum_chunksize(min(d, sum(sizes)), sizes)) if d else sizes
        for sizes, d in zip(chunks, depth)
    )


def _taken(parked: Parked):
    return parked.take()


def _slabs(depth, steps, *blocks):
    """What chunks see of a chunk, by the step that leads from them to it."""
    return {
        step: [block[_band(depth, [-d for d in step])].copy() for block in blocks] for step in steps
    }


def _band(depth, step):
    """The part of a chunk that is near the neighbour a step away."""
    return tuple(
        slice(None) if not d else slice(deep) if d < 0 else slice(-deep, None)
        for d, deep in zip(step, depth)
    )


def _finished(finish, parked: Parked):
    with threads():
        return finish(parked.take())


def _worked(work, depth, place: Place, shape, steps, first, *given):
    """A chunk's new state, parked, if it is another; near which others it is; the report."""
    blocks, slabs = given[: len(given) - len(steps)], given[len(given) - len(steps) :]
    windows = []
    for i, block in enumerate(blocks):
        full = (*shape, *block.shape[len(shape) :])
        window = array_namespace(block).empty(full, block.dtype)
        window[place.core] = block
        for step, slab in zip(steps, slabs):
            window[_beside(place, shape, step)] = slab[step][i]
        windows.append(window)
    before = blocks[-1]
    with threads():
        state, there, report = work(place, *windows)
        near = list(_near(before != state if there is None else there, depth))
    return Parked(state) if first or near else None, near, report


def _beside(place: Place, shape, step):
    """Where in a window that lies which a step leads to."""
    ends = [
        ((0, core.start), (core.start, core.stop), (core.stop, size))[d + 1]
        for core, size, d in zip(place.core, shape, step)
    ]
    return tuple(slice(*end) for end in ends)


def _near(there, depth):
    """The steps to what sees places of a chunk, itself included."""
    if not there.any():
        return
    for step in itertools.product((-1, 0, 1), repeat=there.ndim):
        if all(deep or not d for d, deep in zip(step, depth)) and there[_band(depth, step)].any():
            yield step
