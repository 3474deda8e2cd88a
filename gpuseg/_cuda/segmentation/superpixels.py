"""Superpixels on the device, measured by the code that measures them on the CPU."""

from __future__ import annotations

import numpy as np

from ..._backend import Unserved, array_namespace, asnumpy, cuda_stream
from ..._cpu.segmentation import superpixels as cpu
from ...kernels import superpixels as kernel
from ...kernels.gaussian import convolve_cuda
from ..measure import label

merge_superpixels = cpu.merge_superpixels


def superpixel_means(image, *, labels, statistic, background):
    if callable(statistic):
        raise Unserved("statistic is a function for the CPU")
    return cpu.superpixel_means(image, labels=labels, statistic=statistic, background=background)


# --- SLIC -------------------------------------------------------------------------------------

# Values that are in float64 at a time.
_PIECE = 1 << 24


def slic(image, **options):
    return cpu.run_slic(_SLIC, image, **options)


def _rescaled(values, factor, low, span, out):
    xp = array_namespace(values)
    for at in range(0, out.size, _PIECE):
        here = (values[at : at + _PIECE].astype(xp.float64) * factor - low) / span
        here = here.astype(xp.float32)
        out[at : at + _PIECE] = xp.minimum(xp.where(here > 0, here, xp.float32(0)), xp.float32(1))


def _to_lab(colors):
    xp = array_namespace(colors)
    tables = xp.asarray(kernel.lab_tables()), xp.asarray(kernel.lab_matrix())
    kernel.lab_cuda(*tables, colors, cuda_stream(colors))


def _rounded(values, unit, out):
    xp = array_namespace(values)
    out[...] = xp.rint(values / values.dtype.type(unit)) * values.dtype.type(unit)


def _smoothed(channel, kernels, unit):
    xp = array_namespace(channel)
    values = channel.astype(xp.float64)
    out = xp.empty_like(values)
    for axis, weight in enumerate(kernels):
        if weight is not None:
            inner = int(np.prod(channel.shape[axis + 1 :], dtype=np.int64))
            span = (None, channel.shape[axis], inner, xp.asarray(weight))
            flat = values.reshape(-1), out.reshape(-1)
            convolve_cuda(flat[0], [span], "reflect", 0.0, flat[1], flat[0], cuda_stream(values))
            _rounded(out, unit, values)
    channel[...] = values


def _assign(colors, inside, grid, centers, weights, *, spatial, labels=None, sum_up=True):
    xp = array_namespace(colors)
    sums = xp.zeros((len(centers), centers.shape[1] + 1) if sum_up else (0, 0))
    kernel.assign_cuda(
        colors,
        xp.empty(0, xp.uint8) if inside is None else inside.view(xp.uint8),
        grid,
        centers,
        weights,
        spatial=spatial,
        labels=xp.empty(0, xp.int32) if labels is None else labels,
        sums=sums,
        stream=cuda_stream(colors),
    )
    return sums


def _farthest(colors, labels, centers, most):
    most = most.copy()
    kernel.farthest_cuda(colors, labels, centers, most, cuda_stream(colors))
    return most


def _label(labels):
    return label(labels, background=-1, connectivity=1)


def _faces(regions, small):
    xp = array_namespace(regions)
    small, pairs = xp.asarray(small), []
    for axis in range(3):
        here = xp.moveaxis(regions, axis, 0)
        face = (here[1:] != here[:-1]) & (here[1:] > 0) & (here[:-1] > 0)
        both = xp.stack([here[1:][face], here[:-1][face]], 1)
        pairs += [both[small[both[:, 0]]], both[small[both[:, 1]]][:, ::-1]]
    return np.ascontiguousarray(asnumpy(xp.concatenate(pairs)), np.int64)


def _region_sums(regions, colors, count):
    xp = array_namespace(regions)
    sums = [asnumpy(xp.bincount(regions, row, count)) for row in colors]
    return np.stack([*sums, asnumpy(xp.bincount(regions, minlength=count))], 1)


def _named(regions, names, out):
    out[...] = names[regions]


_SLIC = cpu.Steps(
    _rescaled, _to_lab, _rounded, _smoothed, _assign, _farthest, _label, _faces, _region_sums,
    _named,
)  # fmt: skip
