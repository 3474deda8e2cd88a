"""Regions that grow: watershed, flood fill, expansion; and those at the border."""

from __future__ import annotations

import math

import numpy as np

from .._backend import is_cupy, is_dask, run
from .._checks import (
    as_array,
    finite_array,
    flags,
    footprint_array,
    integer,
    integer_array,
    into,
    mask_array,
    number,
    per_axis,
    place,
    real_array,
    several,
    shown,
)
from .._contracts import Exact, SamePartition, contract


@contract(SamePartition(ari=0.97), nan="refuse")
def watershed(
    image,
    markers=None,
    connectivity=1,
    offset=None,
    mask=None,
    compactness=0,
    watershed_line=False,
):
    """Flood an image from markers; the regions meet on its crests.

    Parameters
    ----------
    image : array of real numbers of 2 or 3 axes
        The surface: low where regions are, high between them, such as a gradient.
    markers : integer array of the shape of `image`, or int, optional
        Where the floods start: regions numbered from 1 on, 0 elsewhere. A number asks for about so
        many on a regular grid. By default every local minimum is one.
    connectivity : int or array, optional
        Which pixels are neighbours: along how many axes at most they differ, or a footprint.
    offset : sequence of int, optional
        The centre of the footprint.
    mask : bool array of the shape of `image`, optional
        Where water may go.
    compactness : number, optional
        Above 0, regions are the more even in size, the higher it is.
    watershed_line : bool, optional
        Leave a line of 0 between the regions.

    Returns
    -------
    integer array of the shape of `image`
        The region of each pixel: int32, or the type of `markers`. 0 where no flood came.

    Raises
    ------
    TypeError, ValueError
        For an image that holds NaN, markers or a mask of another shape, a mask with nothing inside,
        markers that are no integers, and arguments out of range.

    Notes
    -----
    On the CPU this is scikit-image's function: one queue, ordered by value and age. On CUDA all
    pixels flood at once, to a fixed point that does not depend on their order: a pixel joins the
    neighbour that a flood reaches first, by pass, steps and label. Both give every pixel a marker
    with the lowest pass; they differ where several have the same one, on plateaus and along the
    crests of images with few values: nowhere on the gradient of a photograph from a few
    markers, but in one voxel of forty where balls touch in a volume of exact distances (where the
    queue itself, in a mirror, gives one of sixty to another ball). Footprints, `compactness` and
    lines run on the CPU.

    The CPU needs up to 30 bytes a pixel beside image and markers, CUDA 24 bytes beside the result,
    and 24 more to sort values that are float64, below 0 in float32, or integers 2**31 apart.

    References
    ----------
    .. [1] S. Beucher, F. Meyer, "The morphological approach to segmentation: the watershed
           transformation", in: Mathematical Morphology in Image Processing, Dekker, 1993.
    .. [2] P. Soille, C. Ansoult, "Automated basin delineation from digital elevation models using
           mathematical morphology", Signal Processing 20(2), 1990.
           :doi:`10.1016/0165-1684(90)90127-K`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.segmentation import watershed
    >>> surface = np.array([[1, 0, 3, 9, 2, 1, 5]])
    >>> watershed(surface, np.array([[0, 1, 0, 0, 0, 2, 0]]))
    array([[1, 1, 1, 2, 2, 2, 2]])
    """
    flags(watershed_line=watershed_line)
    image = finite_array(image, ndim=(1, 2, 3, 4))
    if isinstance(markers, list | tuple):
        markers = as_array(markers, "markers")
    if markers is not None and np.ndim(markers) == 0:
        markers = integer(markers, "markers", at_least=1, at_most=image.size)
    elif markers is not None:
        markers = integer_array(markers, "markers")
        _same_shape(markers, image, "markers")
    if not several(connectivity):
        connectivity = integer(connectivity, "connectivity", at_least=1, at_most=image.ndim)
    else:
        connectivity = footprint_array(connectivity, image, "connectivity")
    if offset is not None:
        shape = (3,) * image.ndim if isinstance(connectivity, int) else connectivity.shape
        offset = place(offset, "offset", shape)
    return run(
        watershed,
        image,
        markers=markers,
        connectivity=connectivity,
        offset=offset,
        mask=mask_array(mask, image),
        compactness=number(compactness, "compactness", at_least=0),
        watershed_line=bool(watershed_line),
    )


@contract(Exact(), nan="omit", infinity="value")
def flood(image, seed_point, *, footprint=None, connectivity=None, tolerance=None):
    """Find the pixels of a point's value that are connected to it.

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis
    seed_point : int or sequence of int
        The point, an index along each axis; negative ones count from the end.
    footprint : array, optional
        The neighbourhood, not zero where it counts.
    connectivity : int, optional
        Which pixels are neighbours, unless there is a footprint: along how many axes at most they
        differ. By default as many as there are.
    tolerance : number, optional
        Values that differ from the point's by at most this belong to it, too. From 0 on.

    Returns
    -------
    bool array of the shape of `image`

    Raises
    ------
    TypeError, ValueError, IndexError
        For an image that is no array of real numbers, a point outside of it, and arguments out of
        range.

    Notes
    -----
    NaN belongs to no region. Infinities are values like others.

    By the kernel of hysteresis; footprints run on the CPU, by scikit-image. float16 works too.
    Beside the image it needs 5 bytes a pixel, result included.

    Integers and bool are compared as whole numbers, exactly, up to 64 bits: a mask floods over both
    of its values from a tolerance of 1 on. scikit-image departs from that where the tolerance is a
    float: its limits are floats then, which past 2**53 are not the integers that they should be,
    and which it cuts towards zero, so that values which differ by more are taken in. It takes a
    tolerance below 0 for its size; here that is an error.

    Of a Dask array the result is lazy, see `gpuseg.filters.apply_hysteresis_threshold`; a footprint
    must be that of a connectivity then.

    References
    ----------
    .. [1] T. Pavlidis, "Algorithms for graphics and image processing", Springer, 1982.
           :doi:`10.1007/978-3-642-93208-3`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.segmentation import flood
    >>> flood(np.array([3, 4, 4, 9, 4]), 1, tolerance=1).astype(int)
    array([1, 1, 1, 0, 0])
    """
    image = real_array(image)
    seed_point = _point(seed_point, image.shape)
    options = _flood_options(image, footprint, connectivity, tolerance)
    return run(flood, image, seed_point, **options)


@contract(Exact(), via=flood, nan="omit", infinity="value")
def flood_fill(
    image,
    seed_point,
    new_value,
    *,
    footprint=None,
    connectivity=None,
    tolerance=None,
    in_place=False,
):
    """Give the pixels of a point's value that are connected to it another one.

    Parameters
    ----------
    image, seed_point, footprint, connectivity, tolerance
        As for `flood`.
    new_value : number
        What they get; it must fit the type of the image.
    in_place : bool, optional
        Change `image` itself.

    Returns
    -------
    array of the shape and type of `image`

    Raises
    ------
    TypeError, ValueError, IndexError
        As for `flood`, and where `new_value` does not fit, or the image cannot be changed.

    Notes
    -----
    NaN belongs to no region. Infinities are values like others.

    References
    ----------
    .. [1] T. Pavlidis, "Algorithms for graphics and image processing", Springer, 1982.
           :doi:`10.1007/978-3-642-93208-3`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.segmentation import flood_fill
    >>> flood_fill(np.array([3, 4, 4, 9, 4]), 1, 7)
    array([3, 7, 7, 9, 4])
    """
    flags(in_place=in_place)
    given, image = image, real_array(image)
    if in_place and (given is not image or is_dask(image) or not _writeable(image)):
        raise ValueError("in_place needs an array in native byte order that can be written")
    value = np.asarray(new_value.item() if is_cupy(new_value) else new_value)
    if value.ndim or value.dtype.kind not in "buif" or not _holds(image.dtype, value.item()):
        raise ValueError(
            f"new_value must be a number that {image.dtype} holds, got {shown(new_value)}"
        )
    if is_dask(image):
        return run(
            flood_fill,
            image,
            _point(seed_point, image.shape),
            value.astype(image.dtype)[()],
            **_flood_options(image, footprint, connectivity, tolerance),
        )
    there = flood(
        image, seed_point, footprint=footprint, connectivity=connectivity, tolerance=tolerance
    )
    out = image if in_place else image.copy()
    out[there] = value.astype(image.dtype)[()]
    return out


@contract(Exact(), nan=None)
def expand_labels(label_image, distance=1, spacing=1):
    """Let labels grow into the background, but not into each other.

    Parameters
    ----------
    label_image : integer array, any shape of at least one axis
        0 is background.
    distance : number, optional
        How far they grow, in the units of `spacing`.
    spacing : number, or one for each axis, optional
        The size of a pixel.

    Returns
    -------
    array of the shape and type of `label_image`

    Raises
    ------
    TypeError, ValueError
        For labels that are no integers, and sizes that are not above 0.

    Notes
    -----
    Where two labels are equally near, the one with the smaller position along the last axis has
    it; then along the one before. A `spacing` whose squares are rounded (0.1, say) can make
    distances that are equal differ in the last digit, and decide for the other.

    On the CPU by scikit-image's distance transform, with up to 40 bytes a pixel in 2-D beside the
    image, 48 in 3-D; on CUDA by a look along each axis, with 24 bytes a pixel and twice the image.
    It looks no farther than `distance`, and is as fast as that is short.

    References
    ----------
    .. [1] CellProfiler: D.R. Stirling et al., "CellProfiler 4: improvements in speed, utility and
           usability", BMC Bioinformatics 22, 2021. :doi:`10.1186/s12859-021-04344-9`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.segmentation import expand_labels
    >>> expand_labels(np.array([0, 0, 1, 0, 0, 0, 2]))
    array([0, 1, 1, 1, 0, 2, 2])
    """
    label_image = integer_array(label_image, "label_image")
    distance = number(distance, "distance", at_least=0, finite=False)
    spacing = per_axis(spacing, "spacing", label_image.ndim, above=0)
    return run(expand_labels, label_image, distance=distance, spacing=spacing)


@contract(Exact(), nan=None)
def clear_border(labels, buffer_size=0, bgval=0, mask=None, *, out=None):
    """Remove the objects that touch the border of the image.

    Parameters
    ----------
    labels : integer or bool array, any shape of at least one axis
        Objects: connected regions of one label, along corners too. 0 is background.
    buffer_size : int, optional
        How wide the border is beyond the outermost pixels.
    bgval : number, optional
        What removed objects become.
    mask : bool array of the shape of `labels`, optional
        Objects that touch what is False here are removed, instead of those at the border.
    out : array of the shape and type of `labels`, optional
        Where to put the result.

    Returns
    -------
    array of the shape and type of `labels`

    Raises
    ------
    TypeError, ValueError
        For labels that are no integers, a border wider than the image, a mask of another shape.

    Notes
    -----
    Beside the labels it needs up to 16 bytes a pixel, result included.

    Of a Dask array the result is lazy, and the same for any chunks; `out` must be None. Each chunk
    is computed once; the labels and 4 bytes a pixel wait in a temporary file until it is known
    which objects reach the border elsewhere.

    References
    ----------
    .. [1] P. Soille, "Morphological image analysis: principles and applications", Springer, 2004.
           :doi:`10.1007/978-3-662-05088-0`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.segmentation import clear_border
    >>> clear_border(np.array([1, 1, 0, 2, 0, 3]))
    array([0, 0, 0, 2, 0, 0])
    """
    labels = integer_array(labels, "labels")
    buffer_size = integer(buffer_size, "buffer_size", at_least=0)
    if mask is None and buffer_size >= min(labels.shape):
        raise ValueError(
            f"buffer_size must be below the shortest axis, {min(labels.shape)}, got {buffer_size}"
        )
    bgval = number(bgval, "bgval")
    mask = mask_array(mask, labels)
    result = run(clear_border, labels, buffer_size=buffer_size, bgval=bgval, mask=mask)
    return into(out, result)


def _writeable(x) -> bool:
    return getattr(x.flags, "writeable", True)


def _holds(dtype, value) -> bool:
    """Whether a type has a number: a whole one if it is of integers, and none that overflows."""
    if dtype.kind == "f":
        return not math.isfinite(value) or abs(np.longdouble(value)) <= np.finfo(dtype).max
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return low <= value <= high and value == int(value)


def _flood_options(image, footprint, connectivity, tolerance) -> dict:
    if footprint is not None:
        footprint = footprint_array(footprint, image)
    if connectivity is None:
        connectivity = image.ndim
    connectivity = integer(connectivity, "connectivity", at_least=1, at_most=image.ndim)
    if tolerance is not None:
        tolerance = number(tolerance, "tolerance", at_least=0)
    return {"footprint": footprint, "connectivity": connectivity, "tolerance": tolerance}


def _same_shape(x, image, name: str) -> None:
    if x.shape != image.shape:
        raise ValueError(f"{name} must have the shape of the image, {image.shape}, got {x.shape}")


def _point(point, shape) -> tuple[int, ...]:
    point = as_array(point, "seed_point").reshape(-1)
    if point.dtype.kind not in "ui" or point.size != len(shape):
        raise ValueError(f"seed_point must be {len(shape)} integers, got {point.tolist()}")
    for index, n in zip(point.tolist(), shape):
        if not -n <= index < n:
            raise IndexError(f"seed_point {tuple(point.tolist())} is outside of shape {shape}")
    return tuple(index % n for index, n in zip(point.tolist(), shape))
