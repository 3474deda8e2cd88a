"""Grey and binary morphology: scikit-image's functions, cuCIM's on the GPU."""

from __future__ import annotations

import warnings

import numpy as np

from ._backend import run
from ._checks import (
    flags,
    footprint_array,
    integer,
    into,
    number,
    number_type,
    option,
    place,
    real_array,
    shown,
    without_nan,
)
from ._contracts import Exact, contract

__all__ = [
    "ball",
    "closing",
    "dilation",
    "disk",
    "erosion",
    "opening",
    "reconstruction",
    "remove_small_holes",
    "remove_small_objects",
    "white_tophat",
]

_MODES = ("reflect", "constant", "nearest", "mirror", "wrap", "max", "min", "ignore")


def _checked(image, footprint, mode):
    image = real_array(image)
    option(mode, "mode", _MODES)
    if isinstance(footprint, tuple | list):
        footprint = tuple(_part(part, image) for part in footprint)
        if not footprint:
            raise ValueError("footprint must hold at least one (array, times) pair, got none")
    elif footprint is not None:
        footprint = footprint_array(footprint, image)
    return image, footprint


def _part(part, image):
    """One of a sequence of footprints, and how many times it is applied."""
    if not isinstance(part, tuple | list) or len(part) != 2:
        raise TypeError(f"footprint must be a sequence of (array, times) pairs, got {shown(part)}")
    return footprint_array(part[0], image), integer(part[1], "footprint", at_least=0)


def _held(cval, dtype):
    """The number of a type that is nearest to one; beyond its ends an extreme would wrap round."""
    if dtype.kind == "b":
        return bool(cval)
    if dtype.kind == "f":
        return cval
    limits = np.iinfo(dtype)
    return int(min(max(cval, limits.min), limits.max))


@contract(Exact(), nan="local", infinity="value")
def erosion(image, footprint=None, out=None, *, mode="reflect", cval=0.0):
    """The least value in each neighbourhood.

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis
    footprint : array of `image`'s number of axes, or sequence of (array, times) pairs, optional
        The neighbourhood, not zero where it counts; a sequence is applied one after the other. By
        default a voxel and its face neighbours. See `disk` and `ball`.
    out : array of the shape of `image`, optional
        Where to put the result.
    mode : {'reflect', 'constant', 'nearest', 'mirror', 'wrap', 'max', 'min', 'ignore'}, optional
        What lies beyond the border; ``'max'`` and ``'min'`` are the extremes of the dtype.
    cval : number, optional
        The value beyond the border for ``mode="constant"``; of integers, held within their type.

    Returns
    -------
    array of the shape and dtype of `image`

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers or is empty, a footprint of another number of
        axes, an unknown mode, an `out` of another shape.

    Notes
    -----
    NaN makes those voxels NaN in whose neighbourhood it lies, and no others. Infinities are the
    least and the greatest of values.

    References
    ----------
    .. [1] J. Serra, "Image analysis and mathematical morphology", Academic Press, 1982.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.morphology import erosion
    >>> erosion(np.array([0, 1, 1, 1, 0, 0, 1, 0], dtype=np.uint8))
    array([0, 0, 1, 0, 0, 0, 0, 0], dtype=uint8)
    """
    image, footprint = _checked(image, footprint, mode)
    cval = _held(number(cval, "cval", finite=False), image.dtype)
    return into(out, run(erosion, image, footprint, mode=mode, cval=cval))


@contract(Exact(), nan="local", infinity="value")
def dilation(image, footprint=None, out=None, *, mode="reflect", cval=0.0):
    """The greatest value in each neighbourhood.

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis
    footprint : array of `image`'s number of axes, or sequence of (array, times) pairs, optional
        The neighbourhood, not zero where it counts; a sequence is applied one after the other. By
        default a voxel and its face neighbours. See `disk` and `ball`.
    out : array of the shape of `image`, optional
        Where to put the result.
    mode : {'reflect', 'constant', 'nearest', 'mirror', 'wrap', 'max', 'min', 'ignore'}, optional
        What lies beyond the border; ``'max'`` and ``'min'`` are the extremes of the dtype.
    cval : number, optional
        The value beyond the border for ``mode="constant"``; of integers, held within their type.

    Returns
    -------
    array of the shape and dtype of `image`

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers or is empty, a footprint of another number of
        axes, an unknown mode, an `out` of another shape.

    Notes
    -----
    NaN makes those voxels NaN in whose neighbourhood it lies, and no others. Infinities are the
    least and the greatest of values.

    References
    ----------
    .. [1] J. Serra, "Image analysis and mathematical morphology", Academic Press, 1982.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.morphology import dilation
    >>> dilation(np.array([0, 1, 1, 1, 0, 0, 1, 0], dtype=np.uint8))
    array([1, 1, 1, 1, 1, 1, 1, 1], dtype=uint8)
    """
    image, footprint = _checked(image, footprint, mode)
    cval = _held(number(cval, "cval", finite=False), image.dtype)
    return into(out, run(dilation, image, footprint, mode=mode, cval=cval))


@contract(Exact(), nan="local", infinity="value")
def opening(image, footprint=None, out=None, *, mode="reflect", cval=0.0):
    """Erosion, then dilation: takes away what is smaller than the footprint.

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis
    footprint : array of `image`'s number of axes, or sequence of (array, times) pairs, optional
        The neighbourhood, not zero where it counts; a sequence is applied one after the other. By
        default a voxel and its face neighbours. See `disk` and `ball`.
    out : array of the shape of `image`, optional
        Where to put the result.
    mode : {'reflect', 'constant', 'nearest', 'mirror', 'wrap', 'max', 'min', 'ignore'}, optional
        What lies beyond the border; ``'max'`` and ``'min'`` are the extremes of the dtype.
    cval : number, optional
        The value beyond the border for ``mode="constant"``; of integers, held within their type.

    Returns
    -------
    array of the shape and dtype of `image`

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers or is empty, a footprint of another number of
        axes, an unknown mode, an `out` of another shape.

    Notes
    -----
    Of any footprint, nothing of the result is above the image: the image goes on beyond its border
    as `mode` says (for ``'ignore'`` it ends there), and is opened as a whole. scikit-image (and
    `scipy.ndimage`) lets the eroded image go on instead, which exceeds the image at the border
    where a footprint is not symmetric along each axis, is of an even size, or what lies beyond is
    a constant.

    NaN makes those voxels NaN that have it in their neighbourhood, or in that of a neighbour, and
    no others. Infinities are the least and the greatest of values.

    References
    ----------
    .. [1] J. Serra, "Image analysis and mathematical morphology", Academic Press, 1982.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.morphology import opening
    >>> opening(np.array([0, 1, 1, 1, 0, 0, 1, 0], dtype=np.uint8))
    array([0, 1, 1, 1, 0, 0, 0, 0], dtype=uint8)
    """
    image, footprint = _checked(image, footprint, mode)
    cval = _held(number(cval, "cval", finite=False), image.dtype)
    return into(out, run(opening, image, footprint, mode=mode, cval=cval))


@contract(Exact(), nan="local", infinity="value")
def closing(image, footprint=None, out=None, *, mode="reflect", cval=0.0):
    """Dilation, then erosion: fills what is smaller than the footprint.

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis
    footprint : array of `image`'s number of axes, or sequence of (array, times) pairs, optional
        The neighbourhood, not zero where it counts; a sequence is applied one after the other. By
        default a voxel and its face neighbours. See `disk` and `ball`.
    out : array of the shape of `image`, optional
        Where to put the result.
    mode : {'reflect', 'constant', 'nearest', 'mirror', 'wrap', 'max', 'min', 'ignore'}, optional
        What lies beyond the border; ``'max'`` and ``'min'`` are the extremes of the dtype.
    cval : number, optional
        The value beyond the border for ``mode="constant"``; of integers, held within their type.

    Returns
    -------
    array of the shape and dtype of `image`

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers or is empty, a footprint of another number of
        axes, an unknown mode, an `out` of another shape.

    Notes
    -----
    Of any footprint, nothing of the result is below the image: see `opening`.

    NaN makes those voxels NaN that have it in their neighbourhood, or in that of a neighbour, and
    no others. Infinities are the least and the greatest of values.

    References
    ----------
    .. [1] J. Serra, "Image analysis and mathematical morphology", Academic Press, 1982.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.morphology import closing
    >>> closing(np.array([0, 1, 1, 1, 0, 0, 1, 0], dtype=np.uint8))
    array([1, 1, 1, 1, 1, 1, 1, 1], dtype=uint8)
    """
    image, footprint = _checked(image, footprint, mode)
    cval = _held(number(cval, "cval", finite=False), image.dtype)
    return into(out, run(closing, image, footprint, mode=mode, cval=cval))


@contract(Exact(), nan="local")
def white_tophat(image, footprint=None, out=None, *, mode="reflect", cval=0.0):
    """The image less its opening: what is bright and smaller than the footprint.

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis
    footprint : array of `image`'s number of axes, or sequence of (array, times) pairs, optional
        The neighbourhood, not zero where it counts; a sequence is applied one after the other. By
        default a voxel and its face neighbours. See `disk` and `ball`.
    out : array of the shape of `image`, optional
        Where to put the result.
    mode : {'reflect', 'constant', 'nearest', 'mirror', 'wrap', 'max', 'min', 'ignore'}, optional
        What lies beyond the border; ``'max'`` and ``'min'`` are the extremes of the dtype.
    cval : number, optional
        The value beyond the border for ``mode="constant"``; of integers, held within their type.

    Returns
    -------
    array of the shape and dtype of `image`

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers or is empty, a footprint of another number of
        axes, an unknown mode, an `out` of another shape.

    Notes
    -----
    Nowhere below 0, for any footprint: see `opening`.

    NaN makes those voxels NaN that have it in their neighbourhood, or in that of a neighbour, and
    no others. Infinities are the least and the greatest of values.

    References
    ----------
    .. [1] J. Serra, "Image analysis and mathematical morphology", Academic Press, 1982.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.morphology import white_tophat
    >>> white_tophat(np.array([0, 1, 1, 1, 0, 0, 1, 0], dtype=np.uint8))
    array([0, 0, 0, 0, 0, 0, 1, 0], dtype=uint8)
    """
    image, footprint = _checked(image, footprint, mode)
    cval = _held(number(cval, "cval", finite=False), image.dtype)
    return into(out, run(white_tophat, image, footprint, mode=mode, cval=cval))


@contract(Exact(), nan=None)
def disk(radius, dtype=np.uint8, *, strict_radius=True, decomposition=None):
    """A footprint: the pixels within a circle of a radius.

    Parameters
    ----------
    radius : number
        In voxels.
    dtype : dtype, optional
        Of the footprint.
    strict_radius : bool, optional
        If False, half a voxel is added to the radius.
    decomposition : {None, 'sequence'}, optional
        Return a sequence of smaller footprints with nearly the same effect, which is faster for
        large radii.

    Returns
    -------
    NumPy array of 2 axes, or sequence of (array, times) pairs

    Raises
    ------
    TypeError, ValueError
        For a radius that is no number or below zero.

    References
    ----------
    .. [1] J. Serra, "Image analysis and mathematical morphology", Academic Press, 1982.

    Examples
    --------
    >>> from gpuseg.morphology import disk
    >>> int(disk(1).sum())
    5
    """
    from skimage import morphology

    flags(strict_radius=strict_radius)

    radius = _radius(radius, 2)
    dtype = number_type(dtype, "dtype")
    option(decomposition, "decomposition", (None, "sequence", "crosses"))
    return morphology.disk(radius, dtype, strict_radius=strict_radius, decomposition=decomposition)


@contract(Exact(), nan=None)
def ball(radius, dtype=np.uint8, *, strict_radius=True, decomposition=None):
    """A footprint: the voxels within a sphere of a radius.

    Parameters
    ----------
    radius : number
        In voxels.
    dtype : dtype, optional
        Of the footprint.
    strict_radius : bool, optional
        If False, half a voxel is added to the radius.
    decomposition : {None, 'sequence'}, optional
        Return a sequence of smaller footprints with nearly the same effect, which is faster for
        large radii.

    Returns
    -------
    NumPy array of 3 axes, or sequence of (array, times) pairs

    Raises
    ------
    TypeError, ValueError
        For a radius that is no number or below zero.

    References
    ----------
    .. [1] J. Serra, "Image analysis and mathematical morphology", Academic Press, 1982.

    Examples
    --------
    >>> from gpuseg.morphology import ball
    >>> int(ball(1).sum())
    7
    """
    from skimage import morphology

    flags(strict_radius=strict_radius)

    radius = _radius(radius, 3)
    dtype = number_type(dtype, "dtype")
    option(decomposition, "decomposition", (None, "sequence"))
    return morphology.ball(radius, dtype, strict_radius=strict_radius, decomposition=decomposition)


def _radius(radius, ndim: int):
    """Of a footprint that memory can hold."""
    return number(radius, "radius", at_least=0, at_most={2: 10_000, 3: 400}[ndim])


@contract(Exact(), nan="refuse", infinity="value")
def reconstruction(seed, mask, method="dilation", footprint=None, offset=None):
    """Grow (or shrink) one image inside the limits of another until nothing changes.

    Parameters
    ----------
    seed, mask : arrays of real numbers of one shape
        Where to start, and how far to go: nowhere may `seed` be above `mask` for a dilation, or
        below it for an erosion.
    method : {'dilation', 'erosion'}, optional
        Whether to grow or to shrink.
    footprint : array, optional
        The neighbourhood; by default a voxel and all that touch it, corners included.
    offset : array of integers, optional
        Where the centre of the footprint is.

    Returns
    -------
    array of the shape of `seed`
        float64 unless both images are of another one floating-point type.

    Raises
    ------
    TypeError, ValueError
        For images that are no arrays of real numbers, are empty, hold NaN or are of different
        shapes, or a seed beyond the mask.

    See Also
    --------
    gpuseg.filters.flood_masks : the same for two masks, much faster.

    Notes
    -----
    Of Dask arrays the result is found at once, and is the same for any chunks: a chunk is computed
    once, and with its neighbours again whenever more reaches it, so a seed that winds through many
    chunks takes as many rounds: persist what takes long to compute. Between the rounds the result,
    up to 8 bytes a voxel, waits in a temporary file, which the lazy one is read from; in
    memory are about two layers of chunks at a time.

    References
    ----------
    .. [1] L. Vincent, "Morphological grayscale reconstruction in image analysis", IEEE
           Transactions on Image Processing 2(2), 1993. :doi:`10.1109/83.217222`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.morphology import reconstruction
    >>> reconstruction(np.array([0, 2, 0, 0, 0]), np.array([3, 3, 1, 0, 3])).tolist()
    [2.0, 2.0, 1.0, 0.0, 0.0]
    """
    seed, mask = without_nan(seed, "seed"), without_nan(mask, "mask")
    if seed.shape != mask.shape:
        raise ValueError(f"seed and mask must have one shape, got {seed.shape} and {mask.shape}")
    option(method, "method", ("dilation", "erosion"))
    if footprint is not None:
        footprint = footprint_array(footprint, seed)
    if offset is not None:
        shape = (3,) * seed.ndim if footprint is None else footprint.shape
        offset = np.array(place(offset, "offset", shape))
    return run(reconstruction, seed, mask, method, footprint, offset)


@contract(Exact(), nan=None)
def remove_small_objects(ar, min_size=None, connectivity=1, *, max_size=64, out=None):
    """Take away the objects of up to some number of voxels.

    Parameters
    ----------
    ar : bool or integer array, any shape of at least one axis
        A mask, whose connected components are the objects, or a label image.
    min_size : int, optional
        Deprecated, as in scikit-image: objects *smaller* than this go.
    connectivity : int, optional
        Along how many axes at most two neighbours of a mask differ, from 1 on.
    max_size : int, optional
        Objects of up to so many voxels go.
    out : array of the shape and dtype of `ar`, optional
        Where to put the result.

    Returns
    -------
    array of the shape and dtype of `ar`

    Raises
    ------
    TypeError, ValueError
        For an array that is neither bool nor integer, is empty, or holds negative labels; for
        sizes below zero or a connectivity out of range.

    Notes
    -----
    Labels may be any numbers, far apart as well: memory goes by how many there are.

    On the CPU the objects of a mask are weighed and dropped run by run, without a label image:
    beside the result, in memory are two bits a voxel (rows filled up to 64), 16 bytes a row, 4
    bytes a run of voxels along the last axis (8 from 2^31 voxels on), and 8 bytes an object for
    each thread and one more.

    Of a Dask array the result is lazy, and the same for any chunks; `out` must be None. Each chunk
    is computed once; what its last pass needs (as for `gpuseg.measure.label`; of a label image, the
    labels and 4 bytes a voxel) waits in a temporary file.

    References
    ----------
    .. [1] L. He et al., "The connected-component labeling problem: a review of state-of-the-art
           algorithms", Pattern Recognition 70, 2017. :doi:`10.1016/j.patcog.2017.04.018`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.morphology import remove_small_objects
    >>> mask = np.array([True, False, True, True, True])
    >>> remove_small_objects(mask, max_size=1).astype(int)
    array([0, 0, 1, 1, 1])
    """
    ar = _objects(ar)
    most = _most(min_size, "min_size", max_size)
    connectivity = integer(connectivity, "connectivity", at_least=1, at_most=ar.ndim)
    if most == 0:
        return into(out, ar.copy())
    return into(out, run(remove_small_objects, ar, most=most, connectivity=connectivity))


@contract(Exact(), nan=None)
def remove_small_holes(ar, area_threshold=None, connectivity=1, *, max_size=64, out=None):
    """Fill the holes of up to some number of voxels.

    Parameters
    ----------
    ar : bool or integer array, any shape of at least one axis
        Not zero is foreground.
    area_threshold : int, optional
        Deprecated, as in scikit-image: holes *smaller* than this are filled.
    connectivity : int, optional
        Along how many axes at most two neighbouring voxels of a hole differ, from 1 on.
    max_size : int, optional
        Holes of up to so many voxels are filled.
    out : bool array of the shape of `ar`, optional
        Where to put the result.

    Returns
    -------
    bool array of the shape of `ar`

    Raises
    ------
    TypeError, ValueError
        As `remove_small_objects`.

    References
    ----------
    .. [1] L. He et al., "The connected-component labeling problem: a review of state-of-the-art
           algorithms", Pattern Recognition 70, 2017. :doi:`10.1016/j.patcog.2017.04.018`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.morphology import remove_small_holes
    >>> mask = np.array([True, False, True, False, False])
    >>> remove_small_holes(mask, max_size=1).astype(int)
    array([1, 1, 1, 0, 0])
    """
    ar = _objects(ar)
    most = _most(area_threshold, "area_threshold", max_size)
    holes = remove_small_objects(ar == 0, connectivity=connectivity, max_size=most)
    return into(out, ~holes)


def _objects(ar):
    ar = real_array(ar, "ar")
    if ar.dtype.kind == "f":
        raise TypeError(f"ar must be bool or integer, got {ar.dtype}")
    return ar


def _most(deprecated, name: str, max_size) -> int:
    if deprecated is None:
        return integer(max_size, "max_size", at_least=0)
    warnings.warn(
        f"{name} is deprecated: it takes away what is smaller, max_size what is smaller or equal",
        FutureWarning,
        stacklevel=3,
    )
    return max(0, integer(deprecated, name, at_least=0) - 1)
