"""Forms for functions of `scipy.ndimage`, in its terms."""

from __future__ import annotations

import numpy as np

from .. import filters, measure
from .._backend import Unserved, array_namespace
from ..filters.smoothing import MODES


def gaussian_filter(
    input,
    sigma,
    order=0,
    output=None,
    mode="reflect",
    cval=0.0,
    truncate=4.0,
    *,
    radius=None,
    axes=None,
):
    _only(order=(order, 0), output=(output, None), radius=(radius, None), axes=(axes, None))
    _known(mode)
    if input.dtype.kind != "f" or input.dtype.itemsize == 2:
        raise Unserved("SciPy rounds integers to their type after each axis")
    return filters.gaussian(
        input, sigma, mode=mode, cval=cval, truncate=truncate, preserve_range=True
    )


def median_filter(
    input,
    size=None,
    footprint=None,
    output=None,
    mode="reflect",
    cval=0.0,
    origin=0,
    *,
    axes=None,
):
    _only(output=(output, None), origin=(origin, 0), axes=(axes, None))
    _known(mode)
    if input.dtype.itemsize == 2 and input.dtype.kind == "f":
        raise Unserved("SciPy has no median of float16")
    if (size is None) == (footprint is None):
        raise Unserved("either a size or a footprint")
    if footprint is None:
        footprint = np.ones(np.broadcast_to(size, input.ndim), bool)
    return filters.median(input, footprint, mode=mode, cval=cval)


def label(input, structure=None, output=None):
    _only(output=(output, None))
    if input.size >= 2**31 - 2:
        raise Unserved("SciPy numbers the objects of so many values in int64")
    connectivity = _connectivity(structure, input.ndim)
    return measure.label(input != 0, return_num=True, connectivity=connectivity)


def binary_propagation(
    input,
    structure=None,
    mask=None,
    output=None,
    border_value=0,
    origin=0,
    *,
    axes=None,
):
    _only(output=(output, None), border_value=(border_value, 0), origin=(origin, 0),
          axes=(axes, None))  # fmt: skip
    if type(mask) is not type(input) or mask.shape != input.shape:
        raise Unserved("a mask of the shape of the input is needed")
    seeds = input != 0
    connectivity = _connectivity(structure, input.ndim)
    return filters.flood_masks(seeds, (mask != 0) | seeds, connectivity=connectivity)


def binary_fill_holes(input, structure=None, output=None, origin=0, *, axes=None):
    _only(output=(output, None), origin=(origin, 0), axes=(axes, None))
    connectivity = _connectivity(structure, input.ndim)
    outside = input == 0
    seeds = array_namespace(input).zeros(input.shape, bool)
    for axis in range(input.ndim):
        for end in (0, -1):
            face = (slice(None),) * axis + (end,)
            seeds[face] = outside[face]
    return ~filters.flood_masks(seeds, outside, connectivity=connectivity)


# The public function whose measured crossover counts.
gaussian_filter.stands_for = filters.gaussian
median_filter.stands_for = filters.median
label.stands_for = measure.label
binary_propagation.stands_for = filters.flood_masks
binary_fill_holes.stands_for = filters.flood_masks


def _only(**arguments) -> None:
    """Refuse what is not the default."""
    for name, (value, default) in arguments.items():
        if not (value is default or (isinstance(value, int) and value == default)):
            raise Unserved(f"{name} is not served")


def _known(mode) -> None:
    if mode not in MODES:
        raise Unserved(f"mode {mode!r} is not served")


def _connectivity(structure, ndim: int) -> int:
    """The connectivity that a structuring element stands for."""
    if structure is None:
        return 1
    structure = np.asarray(structure) != 0
    steps = sum(abs(axis) for axis in np.ogrid[(slice(-1, 2),) * ndim])
    for connectivity in range(1, ndim + 1):
        if np.array_equal(structure, steps <= connectivity):
            return connectivity
    raise Unserved("this structure is no connectivity")
