"""Markov random fields of chunked images.

A sweep sees one voxel around each of the two colours, so a chunk with two voxels around it for each
sweep gives what the whole does. Costs and noise are whole numbers, made from what a voxel is and
where it is in the whole; sums are exact. So chunks take the decisions of the whole.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from dask import array as da

from ..._backend import array_namespace
from ..._cpu.regions import sum_step
from ..._cpu.segmentation import clustering
from ..._cpu.segmentation import markov as whole
from ...kernels import markov as kernel
from ...segmentation.markov import markov_part
from .._connected import aligned
from .._reduce import each
from .._rounds import Rounds
from .clustering import Pixels, found_centers

# Sweeps that are done at once in chunks that are large enough.
_SWEEPS = 4


def markov_random_field(
    image, *, n_classes, prior, beta, iterations, temperature, init, start, mask, random_state,
    everything,
):  # fmt: skip
    shape = image.shape[:-1]
    image, mask, start, given = _cut(
        image, mask, start, None if isinstance(init, str) else init, len(shape)
    )
    scales, most = _scales(image, mask)
    if given is None:
        smooth = image if start is None else start
        labels = _clusters(smooth, mask, n_classes, random_state)
    else:
        labels = _checked(given, mask, n_classes)

    sweeps = _sweeps_at_once(labels.chunks)
    deep = 2 * sweeps + bool(everything)  # energies are known beyond what a last sweep saw
    rounds = Rounds([image], labels, [deep] * len(shape))
    table = partial(_table, scales)
    prior, means, stds = _parameters(rounds, table, n_classes, most, int(np.prod(shape)), prior)
    field = _Field(
        table, whole.model_of(np, prior, means, stds), int(np.rint(beta * kernel.UNIT)),
        random_state, shape,
    )  # fmt: skip
    heats = whole.schedule(iterations, temperature)
    energies = _settle(rounds, field, heats, sweeps, everything)

    chances = None
    if everything:
        model = prior, means, stds, field.beta / kernel.UNIT
        chances = _chances(rounds, table, model)
    labels = rounds.result(whole.classes_of, np.dtype(np.int32))
    energies = np.array(energies, np.float64) / kernel.UNIT
    return labels, chances, energies, prior, means + [offset for offset, _ in scales], stds


def _cut(image, mask, start, init, ndim: int):
    """All arrays in the chunks of the first that has some; channels are never cut."""
    arrays = [image, mask, start, init]
    lazy = next(x for x in arrays if isinstance(x, da.Array))
    chunks = aligned([lazy])[0].chunks[:ndim]
    return [
        None if x is None else da.asarray(x).rechunk((*chunks, *(-1,) * (x.ndim - ndim)))
        for x in arrays
    ]


def _sweeps_at_once(chunks) -> int:
    """So many that what lies around a chunk does not cost more than the chunk."""
    least = min((min(sizes) for sizes in chunks if len(sizes) > 1), default=1 << 30)
    return max(1, min(_SWEEPS, least // 16))


# --- what there is at the start ---------------------------------------------------------------


def _scales(image, mask):
    """How each channel is rounded, and its largest number then."""
    arrays = [image] if mask is None else [image, mask]
    parts = [ends for ends in each(_ends, arrays).compute() if ends is not None]
    if not parts:
        raise ValueError("mask selects no element")
    ends = np.array(parts)
    count, scales, most = int(np.prod(image.shape[:-1])), [], []
    for low, high in zip(ends[:, 0].min(axis=0), ends[:, 1].max(axis=0)):
        offset, step = clustering.scale(float(low), float(high), 1.0, count)
        rounded = np.empty(2, np.float32)
        both = np.array([low, high])
        clustering.CPU.rounded(both, offset, 1.0 / step, np.float32(step), rounded)
        scales.append((offset, step))
        most.append(float(np.abs(rounded).max()))
    return scales, most


def _ends(image, mask=None):
    """The extremes of the channels, inside."""
    if mask is not None and not bool(mask.any()):
        return None
    columns = clustering.columns(image, None, (), mask)
    return np.array([(float(x.min()), float(x.max())) for x, _ in columns]).T


def _clusters(image, mask, n_classes: int, random_state: int):
    given = {"image": image} if mask is None else {"image": image, "mask": mask}
    pixels, init = Pixels(given, ()), "k-means++"
    if image.shape[-1] == 1:
        chosen = np.arange(0, pixels.count, whole.stride(pixels.count))
        init = whole.along_a_line(pixels.values(chosen), n_classes)
    centers, *_ = found_centers(pixels, n_classes, init, random_state, 300, 1e-4)
    return _coded(pixels.labelled(centers.astype(np.float32))[0], mask)


def _checked(init, mask, n_classes: int):
    arrays = [init[..., np.newaxis]] if mask is None else [init[..., np.newaxis], mask]
    ends = [ends for ends in each(_whole_ends, arrays).compute() if ends is not None]
    whole.check_classes(min(low for low, _ in ends), max(high for _, high in ends), n_classes)
    return _coded(init, mask)


def _whole_ends(init, mask=None):
    inside = init[..., 0] if mask is None else init[..., 0][mask]
    return (int(inside.min()), int(inside.max())) if inside.size else None


def _coded(labels, mask):
    """Labels as the kernel has them."""
    arrays = [labels] if mask is None else [labels, mask]
    return da.map_blocks(_kernel_labels, *arrays, dtype=np.uint8)


def _kernel_labels(labels, mask=None):
    labels = labels.astype(np.uint8)
    if mask is not None:
        labels[~mask] = kernel.OUTSIDE
    return labels


def _parameters(rounds, table, n_classes: int, most, count: int, prior):
    """As for the whole: the same sums, in two rounds that change nothing."""

    def total(means, *, squares):
        steps = [sum_step(m, count, squares=squares) for m in most]
        options = {"n_classes": n_classes, "means": means, "steps": steps}
        parts = [report for _, report in rounds.go(partial(_class_sums, table, options))]
        return tuple(sum(column) for column in zip(*parts))

    sums, counts = total(None, squares=False)
    means = whole.means_of(sums, counts)
    squares, _ = total(means, squares=True)
    return whole.parameters(means, squares, counts, prior)


def _class_sums(table, options, place, image, labels):
    core = place.inner(labels)
    return core, None, markov_part(_summed, place.inner(image), core, table, options)


def _summed(steps, table_steps, image, labels, table, options):
    return steps.class_sums(table(table_steps, image, labels), labels, **options)


def _table(scales, steps, image, labels):
    """The values of a part, rounded as those of the whole; 0 where there is no class."""
    xp = array_namespace(image)
    columns = clustering.columns(image, None, (), None)
    table = clustering.part_table(steps, xp, columns, labels.size, scales)
    table[:, labels.reshape(-1) == kernel.OUTSIDE] = 0
    return table


# --- sweeps -----------------------------------------------------------------------------------


class _Field(NamedTuple):
    """What sweeps need beside values and labels."""

    table: Any
    model: tuple
    beta: int
    random_state: int
    shape: tuple[int, ...]


class _Batch(NamedTuple):
    """Sweeps that are done at once: their temperatures, the number of the first, and whether
    energies are wanted."""

    field: _Field
    heats: list
    first: int
    everything: bool


def _settle(rounds, field: _Field, heats, at_once: int, everything) -> list[int]:
    """Sweep until nothing changes; the energies, if asked for."""
    energies, own = [], None
    if everything:
        found = rounds.go(partial(_swept, _Batch(field, [], 0, everything)))
        own = [report[0][1] for _, report in found]
        energies.append(sum(own))
    active = list(range(rounds.count))
    for first in range(0, len(heats), at_once):
        batch = heats[first : first + at_once]
        if any(batch):
            active = list(range(rounds.count))
        found = rounds.go(partial(_swept, _Batch(field, batch, first, everything)), active)
        reports = dict(zip(active, (report for _, report in found)))
        for i, heat in enumerate(batch):
            if everything:
                for n, report in reports.items():
                    own[n] = report[i + 1][1]
                energies.append(sum(own))
            if heat == 0 and not any(report[i + 1][0] for report in reports.values()):
                return energies
        if not any(batch):
            active = sorted(set().union(*map(rounds.near, active, (steps for steps, _ in found))))
    return energies


def _swept(batch: _Batch, place, image, labels):
    """The labels of a chunk after some sweeps; where they have changed, even if they changed back;
    and for the start and each sweep, how many did, and the energy, or 0."""
    return markov_part(_sweeps, image, labels, place, batch)


def _sweeps(steps, table_steps, image, labels, place, batch):
    xp, field = array_namespace(image), batch.field
    values = field.table(table_steps, image, labels)
    model = tuple(map(xp.asarray, field.model))
    noise = whole.noise_for(xp, batch.heats)
    energy = None
    if batch.everything:
        energy = _Energy(steps, values, place, model, field.beta, labels.shape)
    box, core = labels.reshape((1,) * (3 - labels.ndim) + labels.shape), place.inner(labels)
    there = xp.zeros(core.shape, bool)
    reports = [(0, energy.of(labels) if energy else 0)]
    rows = (1, *field.shape)[-3:]
    number = int(np.ravel_multi_index(place.start, field.shape))
    numbers = number, rows[1] * rows[2], rows[2]
    for sweep, heat in enumerate(batch.heats, batch.first):
        before, changed = core.copy(), 0
        for parity in (0, 1):
            seed = whole.seed_of(field.random_state, sweep, parity)
            changed += steps.sweep(
                values, box, (parity + sum(place.start)) & 1, model, field.beta, heat, seed, noise,
                numbers,
            )  # fmt: skip
        if not changed:
            reports.append((0, reports[-1][1]))
            continue
        new = core != before
        there |= new
        reports.append((int(new.sum()), energy.of(labels) if energy else 0))
    return core.copy(), there, reports


class _Energy:
    """The energies of the voxels of a chunk, and of their pairs with those after them."""

    def __init__(self, steps, values, place, model, beta, shape):
        self.steps, self.place, self.model, self.beta = steps, place, model, beta
        inside = (slice(None), *place.core)
        part = values.reshape(-1, *shape)[inside]
        self.values = array_namespace(values).ascontiguousarray(part).reshape(len(values), -1)

    def of(self, labels) -> int:
        core = array_namespace(labels).ascontiguousarray(self.place.inner(labels))
        box = core.reshape((1,) * (3 - core.ndim) + core.shape)
        total = self.steps.energy(self.values, box, self.model, self.beta)
        for axis, here in enumerate(self.place.core):
            if here.stop < labels.shape[axis]:
                pair = [list(self.place.core), list(self.place.core)]
                pair[0][axis] = slice(here.stop - 1, here.stop)
                pair[1][axis] = slice(here.stop, here.stop + 1)
                a, b = (labels[tuple(part)] for part in pair)
                apart = (a != b) & (a != kernel.OUTSIDE) & (b != kernel.OUTSIDE)
                total += self.beta * int(apart.sum())
        return total


# --- probabilities ----------------------------------------------------------------------------


def _chances(rounds, table, model):
    """The probability of each class at each voxel, lazily, classes first."""
    labels = rounds.result(np.copy, np.dtype(np.uint8))
    ndim, image = labels.ndim, rounds.arrays[0]
    axes = tuple(range(ndim))
    padded = da.overlap.overlap(labels, dict.fromkeys(axes, 1), kernel.OUTSIDE)
    return da.blockwise(
        _chances_of_chunk,
        (ndim + 1, *axes),
        padded,
        axes,
        image,
        (*axes, ndim),
        table=table,
        model=model,
        new_axes={ndim + 1: len(model[0])},
        adjust_chunks=dict(zip(axes, rounds.chunks)),
        align_arrays=False,
        concatenate=True,
        dtype=np.float32,
        meta=image._meta.astype(np.float32).sum(axis=-1)[np.newaxis],
    )


def _chances_of_chunk(padded, image, table, model):
    return markov_part(_likely, image, padded, table, model)


def _likely(steps, table_steps, image, padded, table, model):
    labels = padded[(slice(1, -1),) * padded.ndim]
    values = table(table_steps, image, labels)
    if padded.ndim == 2:
        xp = array_namespace(padded)
        beside = ((1, 1), (0, 0), (0, 0))
        padded = xp.pad(padded[np.newaxis], beside, constant_values=kernel.OUTSIDE)
    return whole.chances_of(values, padded, *model).reshape(-1, *labels.shape)
