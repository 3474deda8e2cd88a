"""Edges: scikit-image's filters, cuCIM's on the GPU."""

from __future__ import annotations

from .._backend import run
from .._checks import integer, mask_array, number, option, real_array, sequence, several
from .._contracts import Close, contract
from .smoothing import MODES


def _checked(image, mask, axis, mode):
    image = real_array(image)
    option(mode, "mode", MODES)
    if axis is not None:
        axis = sequence(axis, "axis", "integers") if several(axis) else (axis,)
        limits = {"at_least": -image.ndim, "at_most": image.ndim - 1}
        axis = tuple(integer(a, "axis", **limits) % image.ndim for a in axis)
    return image, mask_array(mask, image), axis


@contract(Close(rtol=1e-5), nan="local")
def sobel(image, mask=None, *, axis=None, mode="reflect", cval=0.0):
    """Magnitude of the gradient by Sobel's kernel.

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis
        Integers are scaled by their dtype's range to 0..1 or -1..1.
    mask : bool array of the shape of `image`, optional
        Outside, and one voxel inside its border, the result is 0.
    axis : int or sequence of int, optional
        Along which axes to differentiate; by default along all, for the magnitude. A negative one
        counts from the last (scikit-image takes it and smooths along it too).
    mode : {'reflect', 'constant', 'nearest', 'mirror', 'wrap'}, optional
        What lies beyond the border.
    cval : number, optional
        The value beyond the border for ``mode="constant"``.

    Returns
    -------
    array of the shape of `image`
        float32 for float16 and float32 images, else float64.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers or is empty, a mask of another shape
        or an axis or mode that does not exist.

    Notes
    -----
    NaN and infinities spread over the kernel, and no farther.

    References
    ----------
    .. [1] I. Sobel, "Camera models and machine perception", PhD thesis, Stanford University, 1970.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import sobel
    >>> step = np.repeat([[0.0, 0.0, 1.0, 1.0]], 3, axis=0)
    >>> sobel(step)[1].round(2)
    array([0.  , 0.71, 0.71, 0.  ])
    """
    image, mask, axes = _checked(image, mask, axis, mode)
    cval = number(cval, "cval", finite=False)
    return run(sobel, image, mask=mask, axis=axes, mode=mode, cval=cval)


@contract(Close(rtol=1e-5), via=sobel, nan="local")
def sobel_h(image, mask=None):
    """Horizontal edges by Sobel's kernel.

    Parameters
    ----------
    image : array of real numbers or bool, of two axes
        Integers are scaled by their dtype's range to 0..1 or -1..1.
    mask : bool array of the shape of `image`, optional
        Outside, and one voxel inside its border, the result is 0.

    Returns
    -------
    array of the shape of `image`
        float32 for float16 and float32 images, else float64.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers or is empty, a mask of another shape
        or an image without two axes.

    Notes
    -----
    NaN and infinities spread over the kernel, and no farther.

    References
    ----------
    .. [1] I. Sobel, "Camera models and machine perception", PhD thesis, Stanford University, 1970.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import sobel_h
    >>> step = np.repeat([[0.0, 0.0, 1.0, 1.0]], 3, axis=0)
    >>> sobel_h(step)[1].round(2)
    array([0., 0., 0., 0.])
    """
    return sobel(real_array(image, ndim=2), mask, axis=0)


@contract(Close(rtol=1e-5), via=sobel, nan="local")
def sobel_v(image, mask=None):
    """Vertical edges by Sobel's kernel.

    Parameters
    ----------
    image : array of real numbers or bool, of two axes
        Integers are scaled by their dtype's range to 0..1 or -1..1.
    mask : bool array of the shape of `image`, optional
        Outside, and one voxel inside its border, the result is 0.

    Returns
    -------
    array of the shape of `image`
        float32 for float16 and float32 images, else float64.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers or is empty, a mask of another shape
        or an image without two axes.

    Notes
    -----
    NaN and infinities spread over the kernel, and no farther.

    References
    ----------
    .. [1] I. Sobel, "Camera models and machine perception", PhD thesis, Stanford University, 1970.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import sobel_v
    >>> step = np.repeat([[0.0, 0.0, 1.0, 1.0]], 3, axis=0)
    >>> sobel_v(step)[1].round(2)
    array([0., 1., 1., 0.])
    """
    return sobel(real_array(image, ndim=2), mask, axis=1)


@contract(Close(rtol=1e-5), nan="local")
def scharr(image, mask=None, *, axis=None, mode="reflect", cval=0.0):
    """Magnitude of the gradient by Scharr's kernel, the most rotation-invariant of the three.

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis
        Integers are scaled by their dtype's range to 0..1 or -1..1.
    mask : bool array of the shape of `image`, optional
        Outside, and one voxel inside its border, the result is 0.
    axis : int or sequence of int, optional
        Along which axes to differentiate; by default along all, for the magnitude. A negative one
        counts from the last (scikit-image takes it and smooths along it too).
    mode : {'reflect', 'constant', 'nearest', 'mirror', 'wrap'}, optional
        What lies beyond the border.
    cval : number, optional
        The value beyond the border for ``mode="constant"``.

    Returns
    -------
    array of the shape of `image`
        float32 for float16 and float32 images, else float64.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers or is empty, a mask of another shape
        or an axis or mode that does not exist.

    Notes
    -----
    NaN and infinities spread over the kernel, and no farther.

    References
    ----------
    .. [1] D. Kroon, "Numerical optimization of kernel based image derivatives", University of
           Twente, 2009.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import scharr
    >>> step = np.repeat([[0.0, 0.0, 1.0, 1.0]], 3, axis=0)
    >>> scharr(step)[1].round(2)
    array([0.  , 0.71, 0.71, 0.  ])
    """
    image, mask, axes = _checked(image, mask, axis, mode)
    cval = number(cval, "cval", finite=False)
    return run(scharr, image, mask=mask, axis=axes, mode=mode, cval=cval)


@contract(Close(rtol=1e-5), via=scharr, nan="local")
def scharr_h(image, mask=None):
    """Horizontal edges by Scharr's kernel.

    Parameters
    ----------
    image : array of real numbers or bool, of two axes
        Integers are scaled by their dtype's range to 0..1 or -1..1.
    mask : bool array of the shape of `image`, optional
        Outside, and one voxel inside its border, the result is 0.

    Returns
    -------
    array of the shape of `image`
        float32 for float16 and float32 images, else float64.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers or is empty, a mask of another shape
        or an image without two axes.

    Notes
    -----
    NaN and infinities spread over the kernel, and no farther.

    References
    ----------
    .. [1] D. Kroon, "Numerical optimization of kernel based image derivatives", University of
           Twente, 2009.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import scharr_h
    >>> step = np.repeat([[0.0, 0.0, 1.0, 1.0]], 3, axis=0)
    >>> scharr_h(step)[1].round(2)
    array([0., 0., 0., 0.])
    """
    return scharr(real_array(image, ndim=2), mask, axis=0)


@contract(Close(rtol=1e-5), via=scharr, nan="local")
def scharr_v(image, mask=None):
    """Vertical edges by Scharr's kernel.

    Parameters
    ----------
    image : array of real numbers or bool, of two axes
        Integers are scaled by their dtype's range to 0..1 or -1..1.
    mask : bool array of the shape of `image`, optional
        Outside, and one voxel inside its border, the result is 0.

    Returns
    -------
    array of the shape of `image`
        float32 for float16 and float32 images, else float64.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers or is empty, a mask of another shape
        or an image without two axes.

    Notes
    -----
    NaN and infinities spread over the kernel, and no farther.

    References
    ----------
    .. [1] D. Kroon, "Numerical optimization of kernel based image derivatives", University of
           Twente, 2009.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import scharr_v
    >>> step = np.repeat([[0.0, 0.0, 1.0, 1.0]], 3, axis=0)
    >>> scharr_v(step)[1].round(2)
    array([0., 1., 1., 0.])
    """
    return scharr(real_array(image, ndim=2), mask, axis=1)


@contract(Close(rtol=1e-5), nan="local")
def prewitt(image, mask=None, *, axis=None, mode="reflect", cval=0.0):
    """Magnitude of the gradient by Prewitt's kernel.

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis
        Integers are scaled by their dtype's range to 0..1 or -1..1.
    mask : bool array of the shape of `image`, optional
        Outside, and one voxel inside its border, the result is 0.
    axis : int or sequence of int, optional
        Along which axes to differentiate; by default along all, for the magnitude. A negative one
        counts from the last (scikit-image takes it and smooths along it too).
    mode : {'reflect', 'constant', 'nearest', 'mirror', 'wrap'}, optional
        What lies beyond the border.
    cval : number, optional
        The value beyond the border for ``mode="constant"``.

    Returns
    -------
    array of the shape of `image`
        float32 for float16 and float32 images, else float64.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers or is empty, a mask of another shape
        or an axis or mode that does not exist.

    Notes
    -----
    NaN and infinities spread over the kernel, and no farther.

    References
    ----------
    .. [1] J.M.S. Prewitt, "Object enhancement and extraction", in "Picture processing and
           psychopictorics", Academic Press, 1970.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import prewitt
    >>> step = np.repeat([[0.0, 0.0, 1.0, 1.0]], 3, axis=0)
    >>> prewitt(step)[1].round(2)
    array([0.  , 0.71, 0.71, 0.  ])
    """
    image, mask, axes = _checked(image, mask, axis, mode)
    cval = number(cval, "cval", finite=False)
    return run(prewitt, image, mask=mask, axis=axes, mode=mode, cval=cval)


@contract(Close(rtol=1e-5), via=prewitt, nan="local")
def prewitt_h(image, mask=None):
    """Horizontal edges by Prewitt's kernel.

    Parameters
    ----------
    image : array of real numbers or bool, of two axes
        Integers are scaled by their dtype's range to 0..1 or -1..1.
    mask : bool array of the shape of `image`, optional
        Outside, and one voxel inside its border, the result is 0.

    Returns
    -------
    array of the shape of `image`
        float32 for float16 and float32 images, else float64.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers or is empty, a mask of another shape
        or an image without two axes.

    Notes
    -----
    NaN and infinities spread over the kernel, and no farther.

    References
    ----------
    .. [1] J.M.S. Prewitt, "Object enhancement and extraction", in "Picture processing and
           psychopictorics", Academic Press, 1970.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import prewitt_h
    >>> step = np.repeat([[0.0, 0.0, 1.0, 1.0]], 3, axis=0)
    >>> prewitt_h(step)[1].round(2)
    array([ 0.,  0.,  0., -0.])
    """
    return prewitt(real_array(image, ndim=2), mask, axis=0)


@contract(Close(rtol=1e-5), via=prewitt, nan="local")
def prewitt_v(image, mask=None):
    """Vertical edges by Prewitt's kernel.

    Parameters
    ----------
    image : array of real numbers or bool, of two axes
        Integers are scaled by their dtype's range to 0..1 or -1..1.
    mask : bool array of the shape of `image`, optional
        Outside, and one voxel inside its border, the result is 0.

    Returns
    -------
    array of the shape of `image`
        float32 for float16 and float32 images, else float64.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers or is empty, a mask of another shape
        or an image without two axes.

    Notes
    -----
    NaN and infinities spread over the kernel, and no farther.

    References
    ----------
    .. [1] J.M.S. Prewitt, "Object enhancement and extraction", in "Picture processing and
           psychopictorics", Academic Press, 1970.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import prewitt_v
    >>> step = np.repeat([[0.0, 0.0, 1.0, 1.0]], 3, axis=0)
    >>> prewitt_v(step)[1].round(2)
    array([0., 1., 1., 0.])
    """
    return prewitt(real_array(image, ndim=2), mask, axis=1)


@contract(Close(rtol=1e-5), nan="local")
def laplace(image, ksize=3, mask=None):
    """Second derivatives added up, with the sign of a peak.

    Parameters
    ----------
    image : array of real numbers or bool, any shape of at least one axis
        Integers are scaled by their dtype's range to 0..1 or -1..1.
    ksize : int, optional
        Size of the kernel along each axis.
    mask : bool array of the shape of `image`, optional
        Outside, and one voxel inside its border, the result is 0.

    Returns
    -------
    array of the shape of `image`
        float32 for float16 and float32 images, else float64.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers or is empty, a mask of another shape, or a
        kernel size below 3.

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
    >>> from gpuseg.filters import laplace
    >>> laplace(np.array([0.0, 0.0, 1.0, 0.0, 0.0]))
    array([ 0., -1.,  2., -1.,  0.])
    """
    image = real_array(image)
    ksize = integer(ksize, "ksize", at_least=3)
    return run(laplace, image, ksize, mask=mask_array(mask, image))
