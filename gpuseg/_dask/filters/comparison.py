"""What is counted of chunked arrays: values above thresholds, and objects at thresholds."""

from __future__ import annotations

from functools import partial

import dask
import numpy as np

from ..._backend import array_namespace, asnumpy
from ...filters import comparison as public
from .._components import of_mask
from .._connected import Found, Grid, aligned, computed, passes_of, seen, threads, totals, touch


def count_above(image, thresholds, mask):
    arrays = aligned([image] if mask is None else [image, mask])
    blocks = zip(*(array.to_delayed().reshape(-1) for array in arrays))
    counts, sizes = zip(*dask.compute(*(dask.delayed(_above)(thresholds, *b) for b in blocks)))
    return sum(counts), sum(sizes)


def _above(thresholds, image, mask=None):
    with threads():
        return public.count_above(image, thresholds, mask)


def count_objects(image, mask, thresholds, sought):
    """The counts of `sought` at each threshold; a chunk is looked at once for all."""
    arrays = [image] if mask is None else [image, mask]
    steps = sought.connectivity
    parts = (_look, thresholds, sought), _touch, partial(_merge, sought)
    passes = passes_of("objects", *parts, arrays, steps)
    return computed(passes)


def _look(thresholds, sought, sides, image, mask=None):
    sought.check(image)
    mask = None if mask is None else array_namespace(image).asarray(mask)
    views = []
    with threads():
        for threshold in thresholds:
            found = of_mask(sought.foreground(image, mask, threshold), sought.connectivity)
            sizes = found.sizes()
            report, planes = seen(Found(found, sizes), sides, in_order=False)
            alone = np.delete(sizes, np.append(0, report.touching))
            views.append(((report, planes), sought.counts(alone)))
    return None, views


def _touch(connectivity, steps, views, *others):
    found = []
    for i, (view, alone) in enumerate(views):
        beside = (far[i][0] for far in others)
        found.append((touch(connectivity, steps, view, *beside), alone))
    return found


def _merge(sought, grid: Grid, chunks):
    rows = []
    for parts in zip(*chunks):
        across = sought.counts(totals(grid, [part for part, _ in parts])[1])
        rows.append(tuple(map(sum, zip(across, *(alone for _, alone in parts)))))
    return rows


# --- values -----------------------------------------------------------------------------------


def spread(image, mask, sought):
    """The least and the greatest finite value that the mask selects, None where there is none; and
    a function that takes about so many of them, evenly in raster order, as float64."""
    arrays = aligned([image] if mask is None else [image, mask])
    grid = Grid(arrays[0].chunks, 0)
    blocks = list(zip(*(array.to_delayed().reshape(-1) for array in arrays)))
    ask = dask.delayed(_row_counts)
    answers = dask.compute(*(ask(sought, *b) for b in blocks))
    starts, total = grid.ranks(counts for _, _, counts in answers)

    def sample(most: int):
        step = total // most | 1  # odd, so that it does not keep to a few columns
        take = dask.delayed(_every)
        parts = dask.compute(*(take(step, s, *b) for s, b in zip(starts, blocks)))
        return np.concatenate(parts)

    if not total:
        return None, None, sample
    low = min(low for low, _, n in answers if n.any())
    return low, max(high for _, high, n in answers if n.any()), sample


def _selected(image, mask):
    xp = array_namespace(image)
    there = xp.isfinite(image) if image.dtype.kind == "f" else xp.ones(image.shape, bool)
    return there if mask is None else there & xp.asarray(mask)


def _row_counts(sought, image, mask=None):
    sought.check(image)
    there = _selected(image, mask)
    values = image[there]
    ends = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    return *ends, asnumpy(there.sum(axis=-1)).reshape(-1)


def _every(step, starts, image, mask=None):
    xp = array_namespace(image)
    there = _selected(image, mask).reshape(-1, image.shape[-1])
    place = xp.cumsum(there, axis=1) - 1 + xp.asarray(starts)[:, None]
    return asnumpy(image.reshape(there.shape)[there & (place % step == 0)]).astype(np.float64)
