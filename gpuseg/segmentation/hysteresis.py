"""Hysteresis segmentation: strict threshold, opening, loose threshold, keep what connects."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._backend import run
from .._checks import (
    as_array,
    bool_array,
    flags,
    in_order,
    integer,
    not_colours,
    number,
    option,
    real_array,
)
from .._contracts import Exact, contract


class HysteresisSteps(NamedTuple):
    """The five steps of `hysteresis`, as bool arrays."""

    strict: np.ndarray
    opened: np.ndarray
    loose: np.ndarray
    combined: np.ndarray
    connected: np.ndarray


@contract(Exact(), nan="omit", infinity="value")
def hysteresis(
    image,
    low,
    high,
    *,
    opening=None,
    connectivity=1,
    max_distance=None,
    foreground="bright",
    return_steps=False,
):
    """Segment large clear structures, and the faint ones that hang on to them.

    1. *strict*: the voxels beyond the strict threshold: ``> high``, or ``< low`` if dark;
    2. *opened*: of these, without the objects that an opening removes as too small;
    3. *loose*: the voxels beyond the loose threshold: ``> low``, or ``< high`` if dark;
    4. *combined*: opened or loose;
    5. *connected*: of the combined voxels, those connected to an opened one.

    Parameters
    ----------
    image : array of real numbers, any shape of at least one axis
        NaN belongs to nothing.
    low, high : number
        The thresholds, the smaller number first, whatever the foreground: `low` must not be above
        `high`. `high` is the strict one for a bright foreground, `low` for a dark one.
    opening : None, int or array, optional
        None keeps every strict voxel. A radius in voxels opens with a disk or ball of that
        radius, an array with that footprint.
    connectivity : int, optional
        Along how many axes at most two neighbours differ: 1 up to the number of axes.
    max_distance : int, optional
        Keep only what can be reached from the opened voxels in so many steps inside the combined
        ones. None, the default, goes to the end.
    foreground : {'bright', 'dark'}, optional
        On which side of the thresholds the structures lie.
    return_steps : bool, optional
        Return all five steps.

    Returns
    -------
    bool array of the shape of `image`, or HysteresisSteps
        The last step, or a named tuple of the five: ``strict``, ``opened``, ``loose``,
        ``combined``, ``connected``.

    Raises
    ------
    TypeError, ValueError
        For an `image` that is no array of real numbers or is empty, thresholds that are no numbers
        or of which `low` is above `high`, and any other argument out of its range.

    Warns
    -----
    UserWarning
        If the image has three axes and the last has length 3 or 4, as that of colours has.

    See Also
    --------
    gpuseg.filters.apply_hysteresis_threshold : steps 1, 3 and 5 alone, in one pass.

    Notes
    -----
    Of a Dask array the steps are lazy, and the same for any chunks. The last is as
    `gpuseg.filters.apply_hysteresis_threshold`; the opening and `max_distance` look as far into
    the chunks beside as they reach.

    References
    ----------
    .. [1] J. Canny, "A computational approach to edge detection", IEEE Transactions on Pattern
           Analysis and Machine Intelligence 8(6), 1986. :doi:`10.1109/TPAMI.1986.4767851`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.segmentation import hysteresis
    >>> bone = np.array([90, 20, 20, 80, 120, 80, 120, 20])
    >>> hysteresis(bone, 70, 110, opening=np.ones(2), foreground="dark").astype(int)
    array([1, 1, 1, 1, 0, 0, 0, 0])
    """
    flags(return_steps=return_steps)
    image = real_array(image)
    not_colours(hysteresis, image)
    option(foreground, "foreground", ("bright", "dark"))
    low, high = (number(t, name, finite=False) for t, name in ((low, "low"), (high, "high")))
    in_order(low, high)
    connectivity = integer(connectivity, "connectivity", at_least=1, at_most=image.ndim)
    if max_distance is not None:
        max_distance = integer(max_distance, "max_distance", at_least=0)
    return run(
        hysteresis,
        image,
        low,
        high,
        opening=_footprint(opening, image.ndim),
        connectivity=connectivity,
        max_distance=max_distance,
        foreground=foreground,
        return_steps=return_steps,
    )


def _footprint(opening, ndim: int):
    if opening is None:
        return None
    if np.ndim(opening) == 0:
        radius = integer(opening, "opening", at_least=0)
        if radius == 0:
            return None
        axes = np.ogrid[(slice(-radius, radius + 1),) * ndim]
        return sum(axis**2 for axis in axes) <= radius**2
    footprint = as_array(opening, "opening")
    if footprint.dtype.kind not in "buif" or footprint.ndim != ndim:
        raise ValueError(
            f"opening must be None, a radius, or a footprint of {ndim} axes, "
            f"got {footprint.dtype} of shape {footprint.shape}"
        )
    footprint = bool_array(footprint, "opening")
    if not footprint.any():
        raise ValueError("opening, as a footprint, has no element set")
    return footprint
