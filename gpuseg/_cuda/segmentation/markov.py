"""Markov random fields on the device: how many pixels a sweep changed stays there, until asked."""

from __future__ import annotations

import numpy as np

from ..._backend import array_namespace, asnumpy, cuda_stream
from ..._cpu.regions import sum_step
from ..._cpu.segmentation.markov import Steps, run_markov
from ...kernels import classes
from ...kernels import markov as kernel
from . import clustering


def markov_random_field(image, **options):
    return run_markov(_CUDA, clustering.CUDA, image, **options)


def markov_part(work, image, *args):
    return work(_CUDA, clustering.CUDA, image, *args)


def _sweep(values, labels, parity, model, beta, temperature, seed, noise, numbers=None):
    changed = array_namespace(values).zeros(1, "u8")
    kernel.sweep_cuda(
        values, labels, parity, model, beta, temperature, seed, noise, changed,
        cuda_stream(values), numbers,
    )  # fmt: skip
    return changed[0]


def _energy(values, labels, model, beta):
    total = array_namespace(values).zeros(1, "u8")
    kernel.energy_cuda(values, labels, model, beta, total, cuda_stream(values))
    return int(total[0])


def _class_sums(values, labels, n_classes, means=None, steps=None):
    xp = array_namespace(values)
    flat, sums, sizes = labels.reshape(-1), [], None
    for c, row in enumerate(values):
        if steps is None:
            most = max(abs(float(row.min())), abs(float(row.max())))
            step = sum_step(most, row.size, squares=means is not None)
        else:
            step = steps[c]
        centers = xp.asarray(np.empty(0) if means is None else np.ascontiguousarray(means[:, c]))
        found = xp.zeros((n_classes, 2))
        classes.add_up_cuda(row, flat, centers, step, found, cuda_stream(values))
        total, sizes = asnumpy(found).T
        sums.append(total * step)
    return np.stack(sums), sizes.astype(np.int64)


_CUDA = Steps(_sweep, _energy, clustering.kmeans, _class_sums)
