"""Thresholds that follow the image from place to place."""

from __future__ import annotations

from .._backend import run
from .._checks import MOST_SIGMA, MOST_WINDOW, integer, number, option, per_axis, real_array, shown
from .._contracts import Close, contract
from .smoothing import MODES, gaussian


@contract(Close(rtol=1e-5), nan="local")
def threshold_local(
    image, block_size=3, method="gaussian", offset=0, mode="reflect", param=None, cval=0
):
    """A threshold for every voxel: the mean or median of its neighbourhood, less an offset.

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis
    block_size : odd int or sequence of odd ints, optional
        Size of the neighbourhood, along all axes or each.
    method : {'gaussian', 'mean', 'median', 'generic'}, optional
        Weighted mean, mean, median, or the function in `param`.
    offset : number, optional
        Subtracted from the result.
    mode : {'reflect', 'constant', 'nearest', 'mirror', 'wrap'}, optional
        What lies beyond the border.
    param : number or function, optional
        The standard deviation for ``'gaussian'``, by default a sixth of the block less one; for
        ``'generic'`` a function of the flat neighbourhood, which runs on the CPU.
    cval : number, optional
        The value beyond the border for ``mode="constant"``.

    Returns
    -------
    array of the shape of `image`
        float32 for float16 and float32 images, else float64. Foreground is ``image > result``.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers or is empty, an even block size or one below
        1, an unknown method or mode, ``'generic'`` without a function.

    Notes
    -----
    NaN makes the result NaN where it lies in the neighbourhood, and nowhere else (but for
    ``'generic'``, where your function decides). So do infinities in a mean, while a median takes
    them as values; a Gaussian spreads them as they are.

    References
    ----------
    .. [1] R.C. Gonzalez, R.E. Woods, "Digital image processing", chapter 10, Pearson, 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import threshold_local
    >>> threshold_local(np.array([0.0, 3.0, 0.0, 6.0]), 3, method="mean")
    array([1., 1., 3., 4.])
    """
    image = real_array(image)
    block = _odd(block_size, "block_size", image.ndim)
    option(method, "method", ("gaussian", "mean", "median", "generic"))
    option(mode, "mode", MODES)
    number(offset, "offset")
    if (method == "generic") != callable(param):
        raise ValueError(f"param must be a function for method='generic', got {shown(param)}")
    if method == "gaussian":
        if param is None:
            sigma = tuple((b - 1) / 6 for b in block)
        else:
            sigma = per_axis(param, "param", image.ndim, at_least=0, at_most=MOST_SIGMA)
        return gaussian(image, sigma, mode=mode, cval=cval, preserve_range=True) - offset
    return run(threshold_local, image, block, method, mode=mode, param=param, cval=cval) - offset


@contract(Close(rtol=1e-5), nan="local")
def threshold_niblack(image, window_size=15, k=0.2):
    """A threshold for every voxel: the mean of its window less `k` standard deviations.

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis
    window_size : odd int or sequence of odd ints, optional
        Size of the window, along all axes or each.
    k : number, optional

    Returns
    -------
    array of the shape of `image`
        float32 for float16 and float32 images, else float64. Foreground is ``image > result``.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers or is empty, or an even window.

    Notes
    -----
    Sums are in float64, of differences to a mean nearby: a small spread of large values is not
    lost, as it is in scikit-image's for float32. What is NaN or infinite makes the result NaN
    where it lies in the window, and nowhere else.

    Of a Dask array the result is lazy; for any chunks it is the same to 1e-6 of the values.

    References
    ----------
    .. [1] W. Niblack, "An introduction to digital image processing", Prentice-Hall, 1986.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import threshold_niblack
    >>> threshold_niblack(np.array([0.0, 3.0, 0.0, 6.0]), 3).round(2)
    array([1.72, 0.72, 2.51, 1.43])
    """
    image = real_array(image)
    window = _odd(window_size, "window_size", image.ndim)
    return run(threshold_niblack, image, window, number(k, "k"))


@contract(Close(rtol=1e-5), nan="local")
def threshold_sauvola(image, window_size=15, k=0.2, r=None):
    """A threshold for every voxel, from mean and standard deviation, made for text.

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis
    window_size : odd int or sequence of odd ints, optional
        Size of the window, along all axes or each.
    k : number, optional
        How much the standard deviation counts.
    r : number, optional
        The largest standard deviation that there can be; by default half the range of the dtype.

    Returns
    -------
    array of the shape of `image`
        float32 for float16 and float32 images, else float64. Foreground is ``image > result``.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers or is empty, an even window, or an `r` that
        is not above zero.

    Notes
    -----
    Sums are in float64, of differences to a mean nearby: a small spread of large values is not
    lost, as it is in scikit-image's for float32. What is NaN or infinite makes the result NaN
    where it lies in the window, and nowhere else.

    Of a Dask array the result is lazy; for any chunks it is the same to 1e-6 of the values.

    References
    ----------
    .. [1] J. Sauvola, M. Pietikainen, "Adaptive document image binarization", Pattern Recognition
           33(2), 2000. :doi:`10.1016/S0031-3203(99)00055-2`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import threshold_sauvola
    >>> threshold_sauvola(np.array([0.0, 3.0, 0.0, 6.0]), 3, r=3).round(2)
    array([1.79, 0.89, 2.89, 1.98])
    """
    image = real_array(image)
    window = _odd(window_size, "window_size", image.ndim)
    if r is not None:
        number(r, "r", above=0)
    return run(threshold_sauvola, image, window, number(k, "k"), r)


def _odd(size, name: str, ndim: int) -> tuple[int, ...]:
    sizes = per_axis(size, name, ndim, at_least=1)
    sizes = tuple(integer(s, name, at_most=MOST_WINDOW) for s in sizes)
    for size in sizes:
        if size % 2 == 0:
            raise ValueError(f"{name} must be odd, got {size}")
    return sizes
