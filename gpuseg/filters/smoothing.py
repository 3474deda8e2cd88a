"""Smoothing, differences of it, and the background that it shows."""

from __future__ import annotations

import numpy as np

from .._backend import run
from .._checks import (
    MOST_SIGMA,
    flags,
    footprint_array,
    integer,
    into,
    number,
    option,
    per_axis,
    real_array,
)
from .._contracts import Close, Exact, contract

MODES = ("reflect", "constant", "nearest", "mirror", "wrap")


@contract(Close(rtol=1e-5), nan="local")
def gaussian(
    image,
    sigma=1.0,
    *,
    mode="nearest",
    cval=0,
    preserve_range=False,
    truncate=4.0,
    channel_axis=None,
    out=None,
):
    """Smooth with a Gaussian kernel.

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis
    sigma : number or sequence of numbers, optional
        Standard deviation in voxels, for all axes or each; 0 leaves an axis as it is.
    mode : {'reflect', 'constant', 'nearest', 'mirror', 'wrap'}, optional
        What lies beyond the border, as in `scipy.ndimage`.
    cval : number, optional
        The value beyond the border for ``mode="constant"``.
    preserve_range : bool, optional
        Keep the values of an integer image instead of scaling its dtype's range to 0..1 or -1..1.
    truncate : number, optional
        Where the kernel ends, in standard deviations.
    channel_axis : int, optional
        The axis of the channels, which are smoothed one by one.
    out : array of floating-point numbers of the shape of `image`, optional
        Where to put the result.

    Returns
    -------
    array of the shape of `image`
        float32 for float16 and float32 images, else float64.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers or is empty, a sigma below zero or of a wrong
        length, an unknown mode, an `out` of another shape or of integers.

    Notes
    -----
    Sums are in the precision of the result, with SciPy's weights: for float32 it lies within 1e-6
    of the largest value of SciPy's, which sums in float64. NaN and infinities spread over
    the kernel, as there. Beside image and result the CPU form needs about 3 MB a thread.

    References
    ----------
    .. [1] A.P. Witkin, "Scale-space filtering", Proc. 8th International Joint Conference on
           Artificial Intelligence, 1983.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import gaussian
    >>> gaussian(np.array([0.0, 0.0, 1.0, 0.0, 0.0]), sigma=0.5).round(3)
    array([0.   , 0.106, 0.787, 0.106, 0.   ])
    """
    flags(preserve_range=preserve_range)
    image = real_array(image)
    option(mode, "mode", MODES)
    truncate = number(truncate, "truncate", above=0, at_most=MOST_SIGMA)
    sigma = _sigmas(sigma, "sigma", image.ndim, channel_axis)
    _float_out(out)
    result = run(
        gaussian,
        image,
        sigma,
        mode=mode,
        cval=number(cval, "cval", finite=False),
        preserve_range=bool(preserve_range),
        truncate=truncate,
    )
    return into(out, result)


@contract(Close(rtol=1e-5), nan="local")
def difference_of_gaussians(
    image,
    low_sigma,
    high_sigma=None,
    *,
    mode="nearest",
    cval=0,
    channel_axis=None,
    truncate=4.0,
):
    """Keep the structures between two scales: a narrow Gaussian less a wide one.

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis
        Integers are scaled by their dtype's range to 0..1 or -1..1.
    low_sigma, high_sigma : number or sequence of numbers
        Standard deviations of the two kernels, for all axes or each; the second is 1.6 times the
        first if not given, and must not be below it.
    mode, cval, channel_axis, truncate
        As in `gaussian`.

    Returns
    -------
    array of the shape of `image`
        float32 for float16 and float32 images, else float64.

    Raises
    ------
    TypeError, ValueError
        As `gaussian`, and for a `high_sigma` below `low_sigma`.

    Notes
    -----
    NaN and infinities spread over the kernel, and no farther.

    References
    ----------
    .. [1] D. Marr, E. Hildreth, "Theory of edge detection", Proceedings of the Royal Society B 207,
           1980. :doi:`10.1098/rspb.1980.0020`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import difference_of_gaussians
    >>> difference_of_gaussians(np.array([0.0, 0.0, 1.0, 0.0, 0.0]), 0.5, 1).round(2)
    array([-0.05, -0.14,  0.39, -0.14, -0.05])
    """
    image = real_array(image)
    option(mode, "mode", MODES)
    truncate = number(truncate, "truncate", above=0, at_most=MOST_SIGMA)
    low = _spatial_sigmas(low_sigma, "low_sigma", image.ndim, channel_axis)
    if high_sigma is None:
        high = tuple(1.6 * s for s in low)
    else:
        high = _spatial_sigmas(high_sigma, "high_sigma", image.ndim, channel_axis)
    if any(h < s for h, s in zip(high, low)):
        raise ValueError(
            f"high_sigma must not be below low_sigma, got {high_sigma} and {low_sigma}"
        )
    cval = number(cval, "cval", finite=False)
    return run(difference_of_gaussians, image, low, high, mode=mode, cval=cval, truncate=truncate)


@contract(Exact(), nan="local", infinity="value")
def median(image, footprint=None, out=None, mode="nearest", cval=0.0, behavior="ndimage"):
    """Replace every value by the median of its neighbourhood.

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis
    footprint : array of the image's number of axes, optional
        The neighbourhood, not zero where it counts; by default a voxel and all that touch it.
    out : array of the shape of `image`, optional
        Where to put the result.
    mode : {'reflect', 'constant', 'nearest', 'mirror', 'wrap'}, optional
        What lies beyond the border, as in `scipy.ndimage`.
    cval : number, optional
        The value beyond the border for ``mode="constant"``.
    behavior : {'ndimage', 'rank'}, optional
        ``'rank'`` is scikit-image's other algorithm, for 8- and 16-bit images on the CPU, which
        leaves out what lies beyond the border.

    Returns
    -------
    array of the shape and dtype of `image`

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers or is empty, a footprint of another number of
        axes, an unknown mode or behavior.

    Notes
    -----
    NaN makes those voxels NaN that have it in their neighbourhood, and no others; in SciPy and
    scikit-image it is sorted by chance. Infinities are values like others.

    References
    ----------
    .. [1] T. Huang, G. Yang, G. Tang, "A fast two-dimensional median filtering algorithm", IEEE
           Transactions on Acoustics, Speech, and Signal Processing 27(1), 1979.
           :doi:`10.1109/TASSP.1979.1163188`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import median
    >>> median(np.array([1, 9, 1, 1, 2]))
    array([1, 1, 1, 1, 2])
    """
    image = real_array(image)
    option(mode, "mode", MODES)
    option(behavior, "behavior", ("ndimage", "rank"))
    if footprint is not None:
        footprint = footprint_array(footprint, image)
    cval = number(cval, "cval", finite=False)
    return into(out, run(median, image, footprint, mode=mode, cval=cval, behavior=behavior))


@contract(Close(rtol=1e-5), nan="local")
def subtract_background(
    image,
    sigma=20,
    method="gaussian",
    *,
    smooth=None,
    foreground="bright",
    return_background=False,
):
    """Take away uneven illumination: the image less what it shows at a large scale.

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis
    sigma : number, optional
        Scale of the background in voxels, larger than the structures: the standard deviation of the
        Gaussian, or the radius of the median's, the closing's or the ball's neighbourhood.
    method : {'gaussian', 'median', 'closing', 'rolling_ball'}, optional
        How the background is found. ``'closing'`` is a grey closing for dark structures and an
        opening for bright ones.
    smooth : int, optional
        Radius of a median filter for the image itself, against noise; the background is taken
        from the image as it came. With ``method="gaussian"`` this is the median less the Gaussian.
    foreground : {'bright', 'dark'}, optional
        What the background lies below or above, for ``'closing'`` and ``'rolling_ball'``.
    return_background : bool, optional
        Return the background as well.

    Returns
    -------
    array of the shape of `image`
        In the units of the image, with both signs: float32 for float16 and float32, else float64.
    background : array of the same shape
        If `return_background`.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers or is empty, a sigma that is not above zero,
        an unknown method.

    Notes
    -----
    NaN and infinities spread over what the background of a voxel is found from, and no farther.

    References
    ----------
    .. [1] S.R. Sternberg, "Biomedical image processing", Computer 16(1), 1983.
           :doi:`10.1109/MC.1983.1654163`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import subtract_background
    >>> ramp = np.arange(40.0)
    >>> ramp[20] += 5
    >>> flat = subtract_background(ramp, sigma=4)
    >>> int(flat.argmax()), bool(np.ptp(flat[10:30]) < 6)
    (20, True)
    """
    flags(return_background=return_background)
    image = real_array(image)
    sigma = number(sigma, "sigma", above=0, at_most=MOST_SIGMA)
    option(method, "method", ("gaussian", "median", "closing", "rolling_ball"))
    option(foreground, "foreground", ("bright", "dark"))
    if smooth is not None:
        smooth = int(number(smooth, "smooth", at_least=1, at_most=MOST_SIGMA))
    flat, background = run(
        subtract_background, image, sigma, method=method, smooth=smooth, foreground=foreground
    )
    return (flat, background) if return_background else flat


def _sigmas(sigma, name: str, ndim: int, channel_axis) -> tuple[float, ...]:
    """One sigma for each axis, 0 for the channels where they have none of their own."""
    if isinstance(sigma, list | tuple | np.ndarray) and np.shape(sigma)[:1] == (ndim,):
        return per_axis(sigma, name, ndim, at_least=0, at_most=MOST_SIGMA)
    return _spatial_sigmas(sigma, name, ndim, channel_axis)


def _spatial_sigmas(sigma, name: str, ndim: int, channel_axis) -> tuple[float, ...]:
    """One sigma for each axis, 0 for the channels."""
    if channel_axis is None:
        return per_axis(sigma, name, ndim, at_least=0, at_most=MOST_SIGMA)
    axis = channel_axis_of(channel_axis, ndim)
    spatial = list(per_axis(sigma, name, ndim - 1, at_least=0, at_most=MOST_SIGMA))
    return (*spatial[:axis], 0, *spatial[axis:])


def channel_axis_of(axis, ndim: int) -> int:
    return integer(axis, "channel_axis", at_least=-ndim, at_most=ndim - 1) % ndim


def _float_out(out) -> None:
    if out is not None and np.dtype(getattr(out, "dtype", object)).kind != "f":
        raise ValueError(
            f"out must be an array of floating-point numbers, got {getattr(out, 'dtype', out)}"
        )
