"""Markov random fields: the model and the schedule are made here, the kernel sweeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..._backend import array_namespace, asnumpy
from ...kernels import markov as kernel
from .. import regions
from . import clustering


class Steps(NamedTuple):
    """What a backend does with values, labels and a model."""

    # (values, labels, parity, model, beta, temperature, seed, noise, numbers=None) -> changed
    sweep: Callable
    energy: Callable  # (values, labels, model, beta) -> energy
    clusters: Callable  # a kmeans
    class_sums: Callable  # see the function of this name


def markov_random_field(image, **options):
    return run_markov(_CPU, clustering.CPU, image, **options)


def markov_part(work, image, *args):
    return work(_CPU, clustering.CPU, image, *args)


def run_markov(
    steps, table_steps, image, *, n_classes, prior, beta, iterations, temperature, init, start,
    mask, random_state, everything,
):  # fmt: skip
    xp, shape = array_namespace(image), image.shape[:-1]
    if mask is not None:
        # What is masked must not take resolution from the values inside.
        any_inside = image[np.unravel_index(int(mask.argmax()), shape)]
        image = xp.where(mask[..., None], image, any_inside)
    values, offsets = clustering.feature_table(table_steps, image, None, (), None)
    smooth = image if start is None else start
    start = _classes(steps, smooth, init, n_classes, mask, random_state)
    prior, means, stds = _parameters(steps, values, start, n_classes, prior)
    labels = start.reshape((1,) * (3 - len(shape)) + shape)
    model = model_of(xp, prior, means, stds)
    beta = int(np.rint(beta * kernel.UNIT))
    heats = schedule(iterations, temperature)
    noise = noise_for(xp, heats)
    energies = [steps.energy(values, labels, model, beta)] if everything else []
    for sweep, heat in enumerate(heats):
        changed = 0
        for parity in (0, 1):
            seed = seed_of(random_state, sweep, parity)
            changed += steps.sweep(values, labels, parity, model, beta, heat, seed, noise)
        if everything:
            energies.append(steps.energy(values, labels, model, beta))
        if heat == 0 and changed == 0:
            break
    chances = None
    if everything:
        padded = xp.pad(labels, 1, constant_values=kernel.OUTSIDE)
        chances = chances_of(values, padded, prior, means, stds, beta / kernel.UNIT)
        chances = chances.reshape((n_classes, *shape))
    result = classes_of(labels.reshape(shape))
    energies = np.array(energies, np.float64) / kernel.UNIT
    return result, chances, energies, prior, means + offsets, stds


def schedule(iterations: int, temperature) -> list[int]:
    """The temperature of each sweep, in `kernel.UNIT`s; 0 is a descent."""
    if temperature is None:
        return [0] * iterations
    falling = np.geomspace(*temperature, iterations)
    return [int(t) for t in np.rint(falling * kernel.UNIT)] + [0] * 50


def noise_for(xp, heats):
    """The table of the noise; of no length for descents alone, which look nothing up in it."""
    return xp.asarray(kernel.gumbel_table() if any(heats) else np.empty(0, np.int32))


def seed_of(random_state: int, sweep: int, parity: int) -> int:
    return int(np.random.SeedSequence((random_state, sweep, parity)).generate_state(1)[0])


def classes_of(labels):
    """Labels of the kernel as those of a result."""
    result = labels.astype(np.int32)
    result[labels == kernel.OUTSIDE] = -1
    return result


def stride(count: int) -> int:
    """Of so many pixels each so-manieth says where classes start that lie along a line."""
    return max(1, count // 100_000)


def along_a_line(sample, n_classes: int):
    """The centers that k-means starts from, of some values."""
    ranks = (np.arange(n_classes) + 0.5) / n_classes
    return np.quantile(sample.astype(np.float64), ranks)[:, None]


def check_classes(low: int, high: int, n_classes: int) -> None:
    if low < 0 or high >= n_classes:
        raise ValueError(f"init must hold classes from 0 to {n_classes - 1}, got {low} to {high}")


def _classes(steps, image, init, n_classes, mask, random_state):
    """The classes at the start, in uint8."""
    xp = array_namespace(image)
    if isinstance(init, str):
        first = "k-means++"
        if image.shape[-1] == 1:
            # No need of chance where values lie along a line.
            inside = image[..., 0] if mask is None else image[..., 0][mask]
            sample = asnumpy(inside.reshape(-1)[:: stride(inside.size)])
            first = along_a_line(sample, n_classes)
        init, *_ = steps.clusters(
            image, features=None, weights=(), mask=mask, n_clusters=n_classes, init=first,
            random_state=random_state, max_iter=300, tol=1e-4,
        )  # fmt: skip
    inside = init if mask is None else init[mask]
    check_classes(int(inside.min()), int(inside.max()), n_classes)
    labels = init.astype(xp.uint8)
    if mask is not None:
        labels[~mask] = kernel.OUTSIDE
    return labels


def _parameters(steps, values, labels, n_classes, prior):
    """Prior, means and standard deviations of the classes, (classes,) and (classes, channels)."""
    sums, counts = steps.class_sums(values, labels, n_classes)
    means = means_of(sums, counts)
    squares, _ = steps.class_sums(values, labels, n_classes, means)
    return parameters(means, squares, counts, prior)


def class_sums(values, labels, n_classes, means=None, steps=None):
    """Sums over the classes, (channels, classes), and the sizes of these."""
    xp = array_namespace(values)
    flat = labels.reshape(-1).astype(xp.int32)
    flat[flat == kernel.OUTSIDE] = n_classes  # a class of its own, which is dropped
    sums = []
    for c, row in enumerate(values):
        centers = None if means is None else xp.asarray(np.append(means[:, c], 0.0))
        step = None if steps is None else steps[c]
        found, sizes = regions.class_sums(row, flat, n_classes + 1, centers, step=step)
        sums.append(asnumpy(found[:n_classes]))
    return np.stack(sums), asnumpy(sizes[:n_classes])


def means_of(sums, counts):
    """The means of the classes, (classes, channels)."""
    if not counts.all():
        empty = int(np.flatnonzero(counts == 0)[0])
        raise ValueError(f"class {empty} has no pixel at the start: ask for fewer classes")
    return (sums / counts).T


def parameters(means, squares, counts, prior):
    stds = np.zeros(means.shape)
    for c, row in enumerate(squares):
        # A class of equal values would forbid every other value.
        total = row.sum() + (counts * means[:, c] ** 2).sum()
        stds[:, c] = np.sqrt(np.maximum(row / counts, 1e-6 * total / counts.sum() + 1e-30))
    prior = counts / counts.sum() if prior == "start" else np.array(prior)
    return prior, means, stds


def model_of(xp, prior, means, stds):
    """What the kernel adds up, in float32: constants from 0 on."""
    constants = np.log(stds).sum(axis=1) - np.log(prior)
    constants -= constants.min()
    parts = (means, 0.5 / stds**2, constants)
    return tuple(xp.asarray(part.astype(np.float32)) for part in parts)


def chances_of(values, padded, prior, means, stds, beta):
    """The probability of each class given the neighbours, (classes, pixels); of labels with what
    lies around them."""
    xp = array_namespace(values)
    costs = xp.empty((len(prior), values.shape[1]), xp.float32)
    labels = padded[1:-1, 1:-1, 1:-1]
    for k, cost in enumerate(costs):
        cost[...] = float(np.log(stds[k]).sum() - np.log(prior[k]))
        for row, mean, std in zip(values, means[k], stds[k]):
            away = row - np.float32(mean)
            away /= np.float32(std)
            away *= away
            away /= 2
            cost += away
        del away
        same = xp.zeros(labels.shape, xp.uint8)
        for a in range(3):
            for end in (slice(None, -2), slice(2, None)):
                beside = tuple(end if a == b else slice(1, -1) for b in range(3))
                same += padded[beside] == k
        cost -= np.float32(beta) * same.reshape(-1)
    xp.exp(xp.subtract(costs.min(axis=0), costs, out=costs), out=costs)
    costs /= costs.sum(axis=0)
    costs[:, labels.reshape(-1) == kernel.OUTSIDE] = 0
    return costs


_CPU = Steps(kernel.sweep_cpu, kernel.energy_cpu, clustering.kmeans, class_sums)
