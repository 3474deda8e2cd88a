"""Morphology of chunked arrays."""

from __future__ import annotations

import operator
from functools import partial

import numpy as np

from .. import morphology as public
from .._backend import array_namespace, asnumpy, run
from .._cpu.regions import compact
from ._blocks import local
from ._components import Labels, of_mask
from ._connected import Found, aligned, decide, first_pass, last_pass, settle
from ._rounds import Rounds


def _grey(name: str, times: int):
    """A filter that looks so many times as far as its footprint reaches."""

    def form(image, footprint, *, mode, cval):
        return local(
            getattr(public, name),
            image,
            depth=[times * reach for reach in _reach(footprint, image.ndim)],
            wrap=mode == "wrap",
            footprint=footprint,
            mode=mode,
            cval=cval,
        )

    form.__name__ = name
    return form


def _reach(footprint, ndim: int) -> list[int]:
    if footprint is None:
        return [1] * ndim
    parts = footprint if isinstance(footprint, tuple | list) else [(footprint, 1)]
    return [sum(np.shape(part)[axis] // 2 * times for part, times in parts) for axis in range(ndim)]


erosion = _grey("erosion", 1)
dilation = _grey("dilation", 1)
opening = _grey("opening", 2)
closing = _grey("closing", 2)
white_tophat = _grey("white_tophat", 2)


def reconstruction(seed, mask, method, footprint, offset):
    seed, mask = aligned([seed, mask])
    # What is wrong with the other arguments is wrong for one voxel, too.
    voxel = [np.ones((1,) * x.ndim, x.dtype) for x in (seed, mask)]
    dtype = public.reconstruction(*voxel, method, footprint, offset).dtype
    sides = (3,) * seed.ndim if footprint is None else footprint.shape
    centre = [n // 2 for n in sides] if offset is None else [int(i) for i in offset]
    depth = [max(i, n - 1 - i) for i, n in zip(centre, sides)]
    rounds = Rounds([mask], seed, depth)
    grow = partial(_grown, dtype, (method, footprint, offset))
    # The first round takes every seed as far as it gets in one chunk; the others pass on what has
    # reached a neighbour. What is left when none has is the one result that cannot grow.
    active, found = list(range(rounds.count)), rounds.go(partial(grow, first=True))
    while active:
        reached = [{step for step in steps if any(step)} for steps, _ in found]
        active = sorted(set().union(*map(rounds.near, active, reached)))
        found = rounds.go(grow, active)
    return rounds.result(operator.methodcaller("copy"), dtype)


def _grown(dtype, options, place, mask, seed, *, first=False):
    if not first:
        mask = mask.astype(dtype, copy=False)
    return place.inner(run(public.reconstruction, seed, mask, *options)), None, None


def remove_small_objects(ar, *, most, connectivity):
    if ar.dtype == bool:
        find, finish = partial(_of_mask, connectivity), _mask
    else:
        # The parts of a label are one object, wherever they lie.
        find, finish, connectivity = _of_labels, _those_kept, 0
    passes = first_pass("objects", find, [ar], connectivity, partial(decide, most))
    return last_pass(passes, partial(settle, finish, most), ar.dtype)


def _of_mask(connectivity, _, mask):
    found = of_mask(mask, connectivity)
    return Found(found, found.sizes())


def _mask(kept):
    return kept


def _of_labels(_, labels):
    if labels.min() < 0:
        raise ValueError(f"ar must hold no negative labels, got {int(labels.min())}")
    flat, names = compact(labels)
    names = asnumpy(names)
    if names[0]:  # component 0 is the background, here or not
        flat, names = flat + 1, np.append(names.dtype.type(0), names)
    found = Labels(flat.reshape(labels.shape), names.size - 1)
    return Found(found, found.sizes(), (labels,), names=names[1:])


def _those_kept(kept, labels):
    return array_namespace(labels).where(kept, labels, labels.dtype.type(0))
