"""Connectivity across the faces of chunks: one look at each chunk, one merge, one more pass.

`look` finds the components of a chunk by itself. What it needs again is parked in a file; what lies
on its faces goes to `touch`, a task a chunk, which lists the components of neighbouring chunks that
touch. The merge joins them, and tells each chunk about those of its components that reach a face:
nothing else of a component can depend on other chunks. Six tasks a chunk; the input is evaluated
once. Between the passes memory holds, for each chunk, the components on its faces, and for labels a
number for each row.

Labels are numbered as one raster scan over the whole would: a component's number is that of the
components that begin before it. Each chunk says how many begin in each of its rows (lines along
the last axis), those that turn out to have begun in another chunk are taken off, and a running sum
over all rows in raster order tells each row which number comes first.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import operator
import threading
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from dask import array as da
from dask.base import tokenize
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph

from .._backend import choose
from .._transfer import lane
from ..kernels import faces
from ..kernels.launch import one_thread
from ._parked import Parked


class Found(NamedTuple):
    """The components of a chunk; a weight for each, if any, with the background's first; arrays
    that the last pass needs; the values of the chunk, where only equal ones are connected; or names
    of the components, where those of one name are one, wherever they lie."""

    components: Any
    weights: np.ndarray | None = None
    carried: tuple = ()
    values: Any = None
    names: np.ndarray | None = None


class Report(NamedTuple):
    """What the merge knows of a chunk: its components that may go on elsewhere, in order."""

    count: int
    touching: np.ndarray
    weights: np.ndarray | None
    begun: np.ndarray | None
    names: np.ndarray | None


# --- the tasks --------------------------------------------------------------------------------


def look(find, in_order, sides, *blocks):
    """A chunk's components, parked; and what is seen of it, see `seen`."""
    with threads():
        found = find(sides, *blocks)
        view = seen(found, sides, in_order)
    return Parked((found._replace(values=None), view[0].touching)), view


@contextlib.contextmanager
def threads():
    """Where Dask has threads of its own, a task is to have one; on a device, a stream."""
    backend, _ = choose(())
    alone = threading.current_thread() is not threading.main_thread()
    with contextlib.ExitStack() as stack:
        if alone:
            stack.enter_context(one_thread())
        if backend.kind == "cuda":
            stack.enter_context(lane(backend.device))
        yield


def seen(found: Found, sides, in_order):
    """The report on a chunk, and its faces, with components as 1, 2, ... of those that the report
    lists."""
    parts = found.components
    is_there = np.full(parts.count + 1, found.names is not None)
    touching, planes = faces.listed([parts.face(*side) for side in sides], is_there)
    values = found.values
    planes = {
        side: (plane, None if values is None else _plane(values, *side))
        for side, plane in zip(sides, planes)
    }
    weights = None if found.weights is None else found.weights[np.append(0, touching)]
    begun = parts.begun() if in_order else None
    return Report(parts.count, touching, weights, begun, found.names), planes


def touch(connectivity: int, steps, view, *others):
    """The report, and for each direction the pairs of components that touch there, some twice."""
    report, planes = view
    return report, [
        _pairs(report.touching.size, planes, far, step, connectivity)
        for step, (_, far) in zip(steps, others)
    ]


def _pairs(count: int, planes, others, step, connectivity: int):
    """Which components of a chunk touch which of the chunk a step away, as rows of an array."""
    axis = next(i for i, d in enumerate(step) if d)
    own, own_values = (_edge(x, step, axis, 1) for x in planes[axis, _end(step[axis])])
    far, far_values = (_edge(x, step, axis, -1) for x in others[axis, _end(-step[axis])])
    budget = connectivity - sum(map(abs, step))
    last = np.zeros(count + 1, np.int32)
    found = []
    for shift in itertools.product((-1, 0, 1), repeat=own.ndim):
        if sum(map(abs, shift)) > budget:
            continue
        here = tuple(slice(max(0, -d), n - max(0, d)) for d, n in zip(shift, own.shape))
        there = tuple(slice(max(0, d), n - max(0, -d)) for d, n in zip(shift, own.shape))
        a, b = own[here], far[there]
        if own_values is not None:
            b = b * (own_values[here] == far_values[there])
        elif any(shift):
            # A voxel straight across would have joined the two already.
            b = b * (far[here] == 0)
        found.append(faces.pairs(a, b, last))
    return found[0] if len(found) == 1 else np.concatenate(found)


def _end(d: int) -> int:
    return 0 if d < 0 else -1


def _edge(plane, step, axis: int, sign: int):
    """The part of a face that a step to or from a neighbour crosses."""
    if plane is None:
        return None
    rest = step[:axis] + step[axis + 1 :]
    return plane[tuple(_end(sign * d) if d else slice(None) for d in rest)]


def _plane(values, axis: int, index: int):
    from .._backend import asnumpy

    return asnumpy(values[(slice(None),) * axis + (index,)])


def decide(limit: int, grid: Grid, parts):
    """None, and for each chunk which of its touching components weigh more than `limit` altogether,
    after the answer for the background."""
    weights = [report.weights for report, _ in parts]
    heavy = sum(int(w[0]) for w in weights) > limit
    sets, total = totals(grid, parts)
    ends = np.cumsum([w.size - 1 for w in weights])[:-1]
    return None, [np.append(heavy, part) for part in np.split((total > limit)[sets], ends)]


def totals(grid: Grid, parts):
    """The set of each touching component, and what each set weighs."""
    sets, count = joined(grid, parts)
    total = np.zeros(count, np.int64)
    np.add.at(total, sets, np.concatenate([report.weights[1:] for report, _ in parts]))
    return sets, total


def settle(finish, limit: int, parked: Parked, decision):
    """The last pass for a decision about each component."""
    found, touching = parked.take()
    keep = found.weights > limit
    keep[np.append(0, touching)] = decision
    with threads():
        return finish(found.components.kept(keep), *found.carried)


def joined(grid: Grid, parts):
    """The set of each touching component, those of all chunks one after the other; and how many."""
    if parts[0][0].names is not None:
        names, sets = np.unique(np.concatenate([r.names for r, _ in parts]), return_inverse=True)
        return sets, names.size
    bases = np.cumsum([0] + [report.touching.size for report, _ in parts])
    sets = np.arange(bases[-1])
    for number, (_, found) in enumerate(parts):
        for other, pairs in zip(grid.neighbours(number), found):
            faces.join(pairs, bases[number] - 1, bases[other] - 1, sets)
    return sets, faces.number_sets(sets)


def order(grid: Grid, parts):
    """The number of labels, and for each chunk the labels that its rows begin with, those of its
    components that go by another number, and these numbers."""
    reports = [report for report, _ in parts]
    sets, count = joined(grid, parts)
    ends = np.cumsum([0] + [r.touching.size for r in reports])
    # Where in a scan over everything each touching component begins: its row, then its chunk.
    places = [grid.places(n, np.searchsorted(r.begun, r.touching)) for n, r in enumerate(reports)]
    begins = faces.begin(sets, np.concatenate(places), count)
    each = [(r, slice(*at)) for r, at in zip(reports, itertools.pairwise(ends))]
    news = (faces.begin_here(r.begun, r.touching, begins[at]) for r, at in each)
    starts, total = grid.ranks(news)
    numbers = np.empty(count, np.int64)
    for (r, at), first in zip(each, starts):
        faces.number_those_here(r.begun, r.touching, begins[at], sets[at], first, numbers)
    answers = [
        (first, r.touching[~begins[at]], numbers[sets[at][~begins[at]]])
        for (r, at), first in zip(each, starts)
    ]
    return total, answers


def number(dtype, parked: Parked, answer):
    """The last pass for labels."""
    found, _ = parked.take()
    parts = found.components
    with threads():
        return parts.painted(final_numbers(parts.count, parts.begun(), *answer, dtype))


def final_numbers(count: int, begun, row_starts, elsewhere, their_numbers, dtype):
    """The label of each component of a chunk, by its number there; those elsewhere in order."""
    numbers = np.empty(count + 1, dtype)
    faces.final_numbers(
        begun, row_starts, np.asarray(elsewhere), np.asarray(their_numbers), numbers
    )
    return numbers


# --- the graph --------------------------------------------------------------------------------


class Grid:
    """Where the chunks of an array lie; they have numbers in raster order."""

    def __init__(self, chunks, connectivity: int):
        self.chunks = chunks
        self.shape = tuple(map(len, chunks))
        self.steps = [
            step
            for step in itertools.product((-1, 0, 1), repeat=len(chunks))
            if step < (0,) * len(chunks) and sum(map(abs, step)) <= connectivity
        ]
        self.bounds = [np.append(0, np.cumsum(c)) for c in chunks]

    def _around(self, number: int):
        at = np.unravel_index(number, self.shape)
        for step in self.steps:
            other = tuple(int(i) + d for i, d in zip(at, step))
            if all(0 <= i < n for i, n in zip(other, self.shape)):
                yield step, int(np.ravel_multi_index(other, self.shape))

    def neighbours(self, number: int) -> list[int]:
        """The chunks before a chunk that it may touch."""
        return [other for _, other in self._around(number)]

    def steps_from(self, number: int) -> list[tuple[int, ...]]:
        """The steps that lead there."""
        return [step for step, _ in self._around(number)]

    def sides(self, number: int) -> list[tuple[int, int]]:
        """The faces of a chunk that another one touches, as (axis, first or last plane)."""
        if not self.steps:
            return []
        at = np.unravel_index(number, self.shape)
        return [
            (axis, end)
            for axis, (i, n) in enumerate(zip(at, self.shape))
            for end, inside in ((0, i > 0), (-1, i < n - 1))
            if inside
        ]

    def places(self, number: int, rows):
        """The places of some rows of a chunk in a scan over everything: rows in raster order, then
        chunks along them."""
        *at, last = np.unravel_index(number, self.shape)
        sizes = [axis[i] for axis, i in zip(self.chunks, at)]
        index = np.unravel_index(rows, sizes) if at else ()
        index = [i + b[n] for i, b, n in zip(index, self.bounds, at)]
        return np.ravel_multi_index((*index, np.broadcast_to(last, rows.shape)), self._rows_shape)

    def ranks(self, counts):
        """Of what each row of each chunk has so many: what comes before it, in a scan over
        everything, as an array for each chunk; and how many there are in all."""
        ranks = np.zeros(1 + math.prod(self._rows_shape), np.int64)
        by_row = ranks[1:].reshape(self._rows_shape)
        for number, part in enumerate(counts):
            rows = by_row[self._rows(number)]
            rows[...] = part.reshape(rows.shape)
        np.cumsum(ranks, out=ranks)
        by_row = ranks[:-1].reshape(self._rows_shape)
        chunks = range(math.prod(self.shape))
        return [by_row[self._rows(n)].flatten() for n in chunks], int(ranks[-1])

    @property
    def _rows_shape(self) -> tuple[int, ...]:
        return (*(int(b[-1]) for b in self.bounds[:-1]), self.shape[-1])

    def _rows(self, number: int):
        *at, last = np.unravel_index(number, self.shape)
        cuts = (slice(int(b[i]), int(b[i + 1])) for b, i in zip(self.bounds, at))
        return (..., *cuts, int(last))


class Passes(NamedTuple):
    """A graph up to the merge: the keys of what is parked, by chunk, and that of the merge."""

    graph: HighLevelGraph
    name: str
    parked: list
    merged: tuple
    like: da.Array


def first_pass(name: str, find, arrays, connectivity: int, merge, *, in_order=False) -> Passes:
    """Look at all chunks, and merge; arrays of one shape, the first of which has the chunks."""
    return passes_of(name, (look, find, in_order), touch, merge, arrays, connectivity)


def passes_of(name: str, look, touch, merge, arrays, connectivity: int) -> Passes:
    """The graph of a look at each chunk, of a task a chunk for what touches, and of a merge.

    What Dask would search for keys in vain is bound to the functions.
    """
    arrays = aligned(arrays)
    like = arrays[0]
    grid = Grid(like.chunks, connectivity)
    token = f"{name}-{tokenize(name, look, touch, merge, connectivity, *arrays)}"
    layer: dict = {}
    places = list(np.ndindex(grid.shape))
    for n, at in enumerate(places):
        blocks = [(array.name, *at) for array in arrays]
        layer["look-" + token, *at] = (partial(*look, grid.sides(n)), *blocks)
        for i, part in enumerate(("parked", "seen")):
            layer[f"{part}-{token}", *at] = (operator.itemgetter(i), ("look-" + token, *at))
    for n, at in enumerate(places):
        steps, others = grid.steps_from(n), grid.neighbours(n)
        layer["touch-" + token, *at] = (
            partial(touch, connectivity, steps),
            *(("seen-" + token, *places[i]) for i in (n, *others)),
        )
    merged = ("merge-" + token,)
    layer[merged] = (merge, grid, [("touch-" + token, *at) for at in places])
    graph = HighLevelGraph.from_collections(token, layer, dependencies=arrays)
    return Passes(graph, token, [("parked-" + token, *at) for at in places], merged, like)


def last_pass(passes: Passes, finish, dtype) -> da.Array:
    """Give every chunk its part of the merge's answer, and finish it."""
    dtype = np.dtype(dtype)
    token = "connected-" + tokenize(passes.merged, passes.parked, finish, dtype)
    layer: dict = {}
    for n, (at, parked) in enumerate(zip(np.ndindex(passes.like.numblocks), passes.parked)):
        layer["part-" + token, *at] = (_answer, n, passes.merged)
        layer[token, *at] = (finish, parked, ("part-" + token, *at))
    graph = HighLevelGraph(
        {**passes.graph.layers, token: layer},
        {**passes.graph.dependencies, token: set(passes.graph.layers)},
    )
    like = passes.like
    return da.Array(graph, token, like.chunks, dtype=dtype, meta=like._meta.astype(dtype))


def computed(passes: Passes):
    """The merge's answer, now."""
    return Delayed(passes.merged, passes.graph, layer=passes.name).compute()


def summary(passes: Passes, dtype) -> da.Array:
    """The merge's summary, a number, as a lazy 0-d array."""
    token = "summary-" + tokenize(passes.merged)
    graph = HighLevelGraph(
        {**passes.graph.layers, token: {(token,): (_summary, dtype, passes.merged)}},
        {**passes.graph.dependencies, token: set(passes.graph.layers)},
    )
    return da.Array(graph, token, (), dtype=dtype, meta=np.empty((), dtype))


def _answer(number: int, merged):
    return merged[1][number]


def _summary(dtype, merged):
    return np.asarray(merged[0], dtype)


def aligned(arrays):
    """Arrays in the chunks of the first that has some, none of which is empty."""
    first = next(array for array in arrays if isinstance(array, da.Array))
    if any(np.isnan(c) for axis in first.chunks for c in axis):
        raise ValueError(
            "the chunks of the array have unknown sizes: call its compute_chunk_sizes() first"
        )
    chunks = tuple(tuple(c for c in axis if c) for axis in first.chunks)
    return [da.asarray(array).rechunk(chunks) for array in arrays]
