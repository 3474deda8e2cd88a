"""Markov random fields on the device: a sweep reads back how many pixels changed."""

from __future__ import annotations

from ..._backend import array_namespace, cuda_stream
from ..._cpu.segmentation.markov import Steps, run_markov
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
    return int(changed[0])


def _energy(values, labels, model, beta):
    total = array_namespace(values).zeros(1, "u8")
    kernel.energy_cuda(values, labels, model, beta, total, cuda_stream(values))
    return int(total[0])


_CUDA = Steps(_sweep, _energy, clustering.kmeans)
