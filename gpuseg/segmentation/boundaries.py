"""Where the regions of a label image meet."""

from __future__ import annotations

import numpy as np

from .._backend import run
from .._checks import as_array, finite_array, integer, integer_array, option, real_array, shown
from .._contracts import Close, Exact, contract

_MODES = ("thick", "inner", "outer", "subpixel")


@contract(Exact(), nan=None)
def find_boundaries(label_img, connectivity=1, mode="thick", background=0):
    """Find the pixels at which regions of a label image meet.

    Parameters
    ----------
    label_img : integer or bool array, any shape of at least one axis
        The regions.
    connectivity : int, optional
        Which pixels are neighbours: along how many axes at most they differ.
    mode : {'thick', 'inner', 'outer', 'subpixel'}, optional
        All pixels that touch another region, those of them that are not background, those outside
        of the regions (and all between two that touch), or the places between the pixels, in an
        image of ``2 * n - 1`` for each ``n``.
    background : int, optional
        The label of the background, for 'inner' and 'outer'.

    Returns
    -------
    bool array
        Of the shape of `label_img`, unless the mode is 'subpixel'.

    Raises
    ------
    TypeError, ValueError
        For labels that are no integers or empty, a connectivity out of range, an unknown mode.

    Notes
    -----
    The mode 'outer' of scikit-image takes some pixels inside of regions for boundaries where labels
    are of 64 bits: it computes with a label that float64 does not hold; and 'subpixel' takes the
    last number of a type (127 of int8) for no label. Here the type of labels does not matter.

    References
    ----------
    .. [1] S. van der Walt, J.L. Schoenberger, J. Nunez-Iglesias, F. Boulogne, J.D. Warner,
           N. Yager, E. Gouillart, T. Yu, "scikit-image: image processing in Python", PeerJ 2, 2014.
           :doi:`10.7717/peerj.453`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.segmentation import find_boundaries
    >>> find_boundaries(np.array([1, 1, 1, 2, 2, 2])).astype(int)
    array([0, 0, 1, 1, 0, 0])
    """
    label_img = integer_array(label_img, "label_img")
    connectivity = integer(connectivity, "connectivity", at_least=1, at_most=label_img.ndim)
    option(mode, "mode", _MODES)
    background = integer(background, "background")
    return run(
        find_boundaries, label_img, connectivity=connectivity, mode=mode, background=background
    )


@contract(Close(rtol=1e-6), nan="local")
def mark_boundaries(
    image, label_img, color=(1, 1, 0), outline_color=None, mode="outer", background_label=0
):
    """Draw the boundaries of regions onto an image.

    Parameters
    ----------
    image : array of shape (M, N) or (M, N, 3)
        Grey or colours. Integers are scaled by their type's range, floats stay as they are.
    label_img : integer or bool array of shape (M, N)
        The regions.
    color : three numbers, optional
        The colour of the boundaries, from 0 to 1.
    outline_color : three numbers, optional
        The colour of a line around them.
    mode : {'thick', 'inner', 'outer', 'subpixel'}, optional
        As for `find_boundaries`.
    background_label : int, optional
        The label of the background, for 'inner' and 'outer'.

    Returns
    -------
    float array of shape (M, N, 3)
        float32 for float16 and float32 images, else float64. With 'subpixel' the shape is
        (2 M - 1, 2 N - 1, 3).

    Raises
    ------
    TypeError, ValueError
        For images of other shapes, labels that do not fit, colours that are not three numbers.

    Notes
    -----
    NaN and infinities stay in their pixels; with ``mode="subpixel"``, whose splines would spread
    them over the image, they are refused.

    References
    ----------
    .. [1] S. van der Walt, J.L. Schoenberger, J. Nunez-Iglesias, F. Boulogne, J.D. Warner,
           N. Yager, E. Gouillart, T. Yu, "scikit-image: image processing in Python", PeerJ 2, 2014.
           :doi:`10.7717/peerj.453`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.segmentation import mark_boundaries
    >>> marked = mark_boundaries(np.zeros((2, 4)), np.array([[1, 1, 2, 2]] * 2), mode="inner")
    >>> marked[0, :, 0]
    array([0., 1., 1., 0.])
    """
    image = real_array(image, ndim=(2, 3))
    if image.ndim == 3 and image.shape[2] != 3:
        raise ValueError(f"image must have shape (M, N) or (M, N, 3), got {image.shape}")
    label_img = integer_array(label_img, "label_img")
    if label_img.shape != image.shape[:2]:
        raise ValueError(
            f"label_img must have the shape of the image, {image.shape[:2]}, got {label_img.shape}"
        )
    if option(mode, "mode", _MODES) == "subpixel":
        image = finite_array(image)
    return run(
        mark_boundaries,
        image,
        label_img=label_img,
        color=_color(color, "color"),
        outline_color=None if outline_color is None else _color(outline_color, "outline_color"),
        mode=mode,
        background_label=integer(background_label, "background_label"),
    )


def _color(color, name: str) -> tuple[float, ...]:
    color = as_array(color, name)
    if color.shape != (3,) or color.dtype.kind not in "buif" or not np.isfinite(color).all():
        raise ValueError(f"{name} must be three finite numbers, got {shown(color)}")
    return tuple(map(float, color))
