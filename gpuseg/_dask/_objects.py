"""What `threshold_by_objects` asks of an image, of a chunked one: its values, and its objects."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import dask
import numpy as np
from dask.delayed import Delayed

from .._backend import array_namespace, asnumpy
from ._components import of_mask
from ._connected import Found, Grid, aligned, passes_of, seen, threads, totals, touch

_NAN = "image holds NaN: pass nan='omit' to keep it out of every object"


class Question(NamedTuple):
    """What foreground is, how it connects, and which sizes fit."""

    bright: bool
    connectivity: int
    smallest: float
    largest: float
    refuse_nan: bool


def objects(image, mask, thresholds, question: Question):
    """For each threshold: objects, fitting ones, elements of the foreground, and of fitting ones.

    All thresholds are looked at while a chunk is there.
    """
    arrays = [image] if mask is None else [image, mask]
    steps = question.connectivity
    parts = (_look, thresholds, question), partial(_touch, steps), partial(_merge, question)
    passes = passes_of("objects", *parts, arrays, steps)
    return Delayed(passes.merged, passes.graph).compute()


def _look(thresholds, question, sides, image, mask=None):
    xp = array_namespace(image)
    if question.refuse_nan and image.dtype.kind == "f" and bool(xp.isnan(image).any()):
        raise ValueError(_NAN)
    views = []
    with threads():
        for threshold in thresholds:
            there = image > threshold if question.bright else image <= threshold
            if mask is not None:
                there &= xp.asarray(mask)
            found = of_mask(there, question.connectivity)
            sizes = found.sizes()
            report, planes = seen(Found(found, sizes), sides, in_order=False)
            alone = np.delete(sizes, np.append(0, report.touching))
            views.append(((report, planes), _summed(alone, question)))
    return None, views


def _touch(connectivity, views, others):
    found = []
    for i, (view, alone) in enumerate(views):
        beside = [[step, far[i][0]] for step, far in others]
        found.append((touch(connectivity, view, beside), alone))
    return found


def _merge(question, grid: Grid, chunks):
    rows = []
    for parts in zip(*chunks):
        across = _summed(totals(grid, [part for part, _ in parts])[1], question)
        rows.append(tuple(map(sum, zip(across, *(alone for _, alone in parts)))))
    return rows


def _summed(sizes, question: Question) -> tuple[int, int, int, int]:
    """Objects, fitting objects, elements of all, elements of fitting objects."""
    fitting = sizes[(sizes >= question.smallest) & (sizes <= question.largest)]
    return sizes.size, fitting.size, int(sizes.sum()), int(fitting.sum())


# --- values -----------------------------------------------------------------------------------


def extremes(image, mask, *, refuse_nan):
    """The least and the greatest finite value that the mask selects, None where there is none; and
    a function that takes about so many of these values, evenly in raster order, as float64."""
    arrays = aligned([image] if mask is None else [image, mask])
    grid = Grid(arrays[0].chunks, 0)
    blocks = list(zip(*(array.to_delayed().reshape(-1) for array in arrays)))
    ask = dask.delayed(_row_counts)
    answers = dask.compute(*(ask(refuse_nan, *b) for b in blocks))
    counts = np.zeros(grid.rows_shape, np.int64)
    for n, (_, _, part) in enumerate(answers):
        counts[grid.rows(n)] = part.reshape(counts[grid.rows(n)].shape)
    ends = np.cumsum(counts.reshape(-1))
    starts = (ends - counts.reshape(-1)).reshape(counts.shape)
    total = int(ends[-1])

    def sample(most: int):
        step = total // most | 1  # odd, so that it does not keep to a few columns
        take = dask.delayed(_every)
        parts = dask.compute(
            *(take(step, starts[grid.rows(n)].reshape(-1), *b) for n, b in enumerate(blocks)),
        )
        return np.concatenate(parts)

    if not total:
        return None, None, sample
    low = min(low for low, _, n in answers if n.any())
    return low, max(high for _, high, n in answers if n.any()), sample


def _selected(image, mask):
    xp = array_namespace(image)
    there = xp.isfinite(image) if image.dtype.kind == "f" else xp.ones(image.shape, bool)
    return there if mask is None else there & xp.asarray(mask)


def _row_counts(refuse_nan, image, mask=None):
    if refuse_nan and image.dtype.kind == "f" and bool((image != image).any()):
        raise ValueError(_NAN)
    there = _selected(image, mask)
    values = image[there]
    ends = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    return *ends, asnumpy(there.sum(axis=-1)).reshape(-1)


def _every(step, starts, image, mask=None):
    xp = array_namespace(image)
    there = _selected(image, mask).reshape(-1, image.shape[-1])
    place = xp.cumsum(there, axis=1) - 1 + xp.asarray(starts)[:, None]
    return asnumpy(image.reshape(there.shape)[there & (place % step == 0)]).astype(np.float64)
