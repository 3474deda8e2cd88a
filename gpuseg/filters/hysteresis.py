"""Hysteresis thresholding."""

from __future__ import annotations

import contextlib
import math

import numpy as np

from .._backend import array_namespace, is_cupy, is_dask, run
from .._checks import (
    as_array,
    bool_array,
    flags,
    in_order,
    integer,
    not_colours,
    number,
    real_array,
)
from .._contracts import Exact, contract


@contract(Exact(), nan="omit", infinity="value")
def apply_hysteresis_threshold(image, low, high, *, connectivity=1, packed=False):
    """Keep what is above `low` and connected to something above `high`.

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis
        NaN is above nothing.
    low, high : number or array that broadcasts to the shape of `image`
        Thresholds, compared with a strict ``>`` as NumPy compares the image with them. Of numbers,
        `low` must not be above `high`; an array is lowered to `high` where it is above it.
    connectivity : int, optional
        Voxels are neighbours that differ by at most one along each axis, and along at most this
        many axes: 1 (the default, and scikit-image's) up to the number of axes.
    packed : bool, optional
        Return one bit a voxel, for results that travel: what
        ``numpy.packbits(result, axis=-1, bitorder="little")`` would give.

    Returns
    -------
    bool array of the shape of `image`, or uint8 array if `packed`

    Raises
    ------
    TypeError, ValueError
        If `image` is not an array of real numbers or is empty; if `low` or `high` is not a number
        or an array that fits, or is NaN; if `low` is above `high`; if `connectivity` is out of
        range.

    Warns
    -----
    UserWarning
        If the image has three axes and the last has length 3 or 4, as that of colours has.

    See Also
    --------
    gpuseg.segmentation.hysteresis : with an opening between the two, also for a dark foreground.

    Notes
    -----
    Equal to scikit-image's function bit for bit, but where rounding to a common type lifts `low`
    above `high`: what is above `high` is kept then, where scikit-image returns all the background.
    It lowers a number that is above `high`, too, where here thresholds that are swapped are an
    error.

    On the CPU it needs at most 1.4 bytes a voxel beside image and result, 0.3 where the sweeps end
    soon (2.3 and 0.2 where the result is packed). Besides, rows are padded to 64 voxels,
    thresholds that are arrays or below the range of an integer image take two bool masks, and a
    float16 image or one with gaps or negative strides is copied once.

    Of a Dask array the result is lazy, and the same for any chunks. Each chunk is computed once and
    flooded by itself; 1/4 byte a voxel, and 4 bytes a run of what it leaves open, wait in a
    temporary file (in Dask's ``temporary-directory``) until it is known what connects elsewhere.

    References
    ----------
    .. [1] J. Canny, "A computational approach to edge detection", IEEE Transactions on Pattern
           Analysis and Machine Intelligence 8(6), 1986. :doi:`10.1109/TPAMI.1986.4767851`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import apply_hysteresis_threshold
    >>> image = np.array([1, 3, 2, 1, 2, 1, 2, 4, 2])
    >>> apply_hysteresis_threshold(image, 1.5, 3.5).astype(int)
    array([0, 0, 0, 0, 0, 0, 1, 1, 1])
    """
    flags(packed=packed)
    image = real_array(image)
    not_colours(apply_hysteresis_threshold, image)
    connectivity = integer(connectivity, "connectivity", at_least=1, at_most=image.ndim)
    given = low, high
    low, high = _threshold(low, "low", image), _threshold(high, "high", image)
    # As they came, for integers past every type are on the way to infinity.
    in_order(*(a if isinstance(a, int) else b for a, b in zip(given, (low, high))))
    low = _lower(low, high)
    native = [_native(t, image.dtype) for t in (low, high)]
    if any(t is None for t in native):
        with np.errstate(over="ignore"):
            seeds, mask = image > high, image > low
        return flood_masks(seeds, mask, connectivity=connectivity, packed=packed)
    native[0] = min(native)  # rounding to a common type may have lifted low above high
    if image.dtype == np.float16:
        image, native = image.astype(np.float32), [np.float32(t) for t in native]
    return run(
        apply_hysteresis_threshold, image, *native, connectivity=connectivity, packed=bool(packed)
    )


@contract(Exact(), nan="refuse", infinity="value")
def flood_masks(seeds, mask, *, connectivity=1, packed=False):
    """Keep what is in `mask` and connected to a voxel that is in `seeds` as well.

    The second half of hysteresis thresholding, for masks made otherwise; also known as binary
    reconstruction by dilation.

    Parameters
    ----------
    seeds, mask : bool arrays of one shape
        Other numbers count as True where they are not zero. Seeds outside the mask are ignored.
    connectivity, packed
        As in `apply_hysteresis_threshold`.

    Returns
    -------
    bool array of that shape, or uint8 array if `packed`

    Raises
    ------
    TypeError, ValueError
        If `seeds` or `mask` is no array of numbers or empty, if their shapes differ, if
        `connectivity` is out of range.

    Notes
    -----
    NaN is neither foreground nor background, and is refused; infinity is foreground.

    Of Dask arrays the result is lazy; see `apply_hysteresis_threshold`.

    References
    ----------
    .. [1] L. Vincent, "Morphological grayscale reconstruction in image analysis", IEEE
           Transactions on Image Processing 2(2), 1993. :doi:`10.1109/83.217222`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import flood_masks
    >>> flood_masks([0, 1, 0, 0, 0], [1, 1, 0, 1, 1]).astype(int)
    array([1, 1, 0, 0, 0])
    """
    flags(packed=packed)
    seeds, mask = bool_array(seeds, "seeds"), bool_array(mask, "mask")
    if seeds.shape != mask.shape:
        raise ValueError(f"seeds and mask must have one shape, got {seeds.shape} and {mask.shape}")
    connectivity = integer(connectivity, "connectivity", at_least=1, at_most=mask.ndim)
    return run(flood_masks, seeds, mask, connectivity=connectivity, packed=bool(packed))


def _threshold(t, name: str, image):
    """A number as it came (its type decides how NumPy compares), or an array that fits."""
    if isinstance(t, np.ndarray | list | tuple) or is_cupy(t) or getattr(t, "ndim", 0):
        t = as_array(t, name)
        if t.dtype.kind not in "buif":
            raise TypeError(f"{name} must be a number or an array of real numbers, got {t.dtype}")
        if t.ndim > image.ndim or any(
            a not in {1, b} for a, b in zip(t.shape[::-1], image.shape[::-1])
        ):
            raise ValueError(
                f"{name} must be a number or broadcast to the image's shape {image.shape}, "
                f"got shape {t.shape}"
            )
        if is_dask(t):
            return t if t.ndim else _threshold(t.compute(), name, image)
        if t.ndim == 0:
            return _threshold(t[()] if isinstance(t, np.ndarray) else t.item(), name, image)
        xp = array_namespace(image)
        return xp.asarray(t) if is_cupy(image) else t
    if isinstance(t, int) and not -(2**63) <= t < (2**63 if image.dtype == bool else 2**64):
        return _beyond(t, image.dtype)
    number(t, name, finite=False)
    return t


def _beyond(t: int, dtype) -> float:
    """An integer that no NumPy type holds, as a number that is on the same side of every value."""
    with contextlib.suppress(OverflowError):
        if dtype.kind == "f":
            return float(t)
    return math.inf if t > 0 else -math.inf


def _lower(low, high):
    """`low`, nowhere above `high`; of the type that scikit-image compares the image with."""
    if is_dask(low) or is_dask(high):
        return np.minimum(low, high)
    xp = array_namespace(low if is_cupy(low) else high)
    try:
        with np.errstate(over="ignore"):
            return xp.clip(xp.asarray(low), None, high)[()]
    except OverflowError:  # a Python integer that no value of the other's type reaches
        return low if np.ndim(low) or (not np.ndim(high) and low < high) else high


def _native(t, dtype):
    """The greatest value of the image's dtype that NumPy does not find above the threshold.

    Comparing with it gives what NumPy gives for ``image > t``, with all its rules of promotion.
    None where every value is above, and for arrays.
    """

    def above(value) -> bool:
        return bool((np.array([value], dtype) > t)[0])

    if np.ndim(t) or dtype.itemsize > 8:
        return None
    with np.errstate(over="ignore"):
        if dtype.kind == "f":
            near = dtype.type(t)
            around = (np.nextafter(near, dtype.type(np.inf)), near)
            below = np.nextafter(near, dtype.type(-np.inf))
            return next((value for value in around if not above(value)), below)
        least, most = (0, 1) if dtype.kind == "b" else _span(dtype)
        if above(least):
            return None
        while least < most:
            middle = (least + most + 1) // 2
            least, most = (least, middle - 1) if above(middle) else (middle, most)
    return (np.uint8 if dtype.kind == "b" else dtype.type)(least)


def _span(dtype) -> tuple[int, int]:
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
