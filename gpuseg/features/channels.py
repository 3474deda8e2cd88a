"""Places, neighbours, products: what of an image becomes channels without a filter."""

from __future__ import annotations

import itertools
import math

import numpy as np

from .._backend import asnumpy, run
from .._checks import (
    MOST_TERMS,
    finite_array,
    flags,
    in_memory,
    integer,
    number,
    option,
    per_axis,
    sequence,
    several,
)
from .._contracts import Close, Exact, contract
from .bank import MODES, spatial_image


@contract(Close(rtol=1e-6), nan="refuse")
def position(image, polar=False, scale=1.0, *, channel_axis=None):  # noqa: FBT002
    """Where every voxel lies, as channels.

    Parameters
    ----------
    image : array of real numbers or bool
        Of which only shape and type count.
    polar : bool, optional
        Give the distance from the centre of the image and the angle in radians: from the second
        axis to the first in 2-D; from the first axis (0 to pi), then from the third to the second,
        in 3-D.
    scale : number or sequence of numbers, optional
        What to multiply the coordinates by, all or each axis: the size of a voxel, or how much its
        place counts beside its value.
    channel_axis : int, optional
        The axis of the channels, which has no coordinate.

    Returns
    -------
    array of the shape of `image` without its channels, and (axes,)
        float64 for a float64 image, else float32. Coordinates in the order of the axes: y, x.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of finite real numbers or is empty, for `polar` in other than
        two or three axes, for a scale that is no finite number.

    Notes
    -----
    NaN and infinity are refused.

    Beside the result, polar coordinates need 32 bytes a voxel in 2-D and 56 in 3-D, others none.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.features import position
    >>> position(np.zeros((2, 3)), scale=(10, 1))[1]
    array([[10.,  0.],
           [10.,  1.],
           [10.,  2.]])
    >>> position(np.zeros((3, 3)), polar=True)[0, 1]
    array([ 1.        , -1.57079633])
    """
    image, channel_axis = spatial_image(image, channel_axis, ndim=None)
    ndim = image.ndim - (channel_axis is not None)
    scale = checked_position(polar, scale, ndim)
    return run(position, image, bool(polar), scale, channel_axis=channel_axis)


def checked_position(polar, scale, ndim: int) -> tuple[float, ...]:
    flags(polar=polar)
    if polar and ndim not in (2, 3):
        raise ValueError(f"polar coordinates need an image of 2 or 3 axes, got {ndim}")
    return per_axis(scale, "scale", ndim)


@contract(Exact(), nan="refuse")
def neighborhood(image, radius=1, mode="reflect", *, cval=0.0, channel_axis=None):
    """The values around every voxel, as channels.

    Parameters
    ----------
    image : array of real numbers or bool
    radius : int, optional
        How far away the neighbours are, along each axis: 1 gives 9 in 2-D and 27 in 3-D.
    mode : {'reflect', 'constant', 'nearest', 'mirror', 'wrap'}, optional
        What lies beyond the border, as in `scipy.ndimage`.
    cval : number, optional
        The value beyond the border for ``mode="constant"``.
    channel_axis : int, optional
        The axis of the image's channels.

    Returns
    -------
    array of the shape of `image` without its channels, and (neighbours * channels,)
        float64 for a float64 image, else float32. The first axis' shifts are the slowest, the
        channels the fastest: so the coefficients of a linear regression on the 9 neighbours in 2-D
        are a kernel to correlate with, by ``coef.reshape(3, 3)``. In memory, each feature is a
        plane of its own.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of finite real numbers or is empty, a negative radius, or an
        unknown mode.

    Notes
    -----
    NaN and infinity are refused.

    Beside image and result, one copy of the image with a border of `radius`.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.features import neighborhood
    >>> image = np.arange(9.0).reshape(3, 3)
    >>> neighborhood(image)[1, 1]
    array([0., 1., 2., 3., 4., 5., 6., 7., 8.])
    >>> neighborhood(image, mode="constant", cval=-1)[0, 0].reshape(3, 3)
    array([[-1., -1., -1.],
           [-1.,  0.,  1.],
           [-1.,  3.,  4.]])
    """
    image, channel_axis = spatial_image(image, channel_axis, ndim=None)
    radius, cval = checked_neighborhood(radius, mode, cval)
    return run(neighborhood, image, radius, mode, cval=cval, channel_axis=channel_axis)


def checked_neighborhood(radius, mode, cval) -> tuple[int, float]:
    option(mode, "mode", MODES)
    return integer(radius, "radius", at_least=0), float(number(cval, "cval"))


@contract(Exact(), nan="refuse")
def polynomial(features, degree=2, *, interaction_only=False, include_bias=True):
    """Products of features, of all degrees up to one.

    Parameters
    ----------
    features : array of real numbers of shape (..., features)
    degree : int or (int, int), optional
        The highest degree, or the lowest and the highest.
    interaction_only : bool, optional
        Leave out products in which a feature comes twice.
    include_bias : bool, optional
        Give the product of no feature too, which is 1.

    Returns
    -------
    array of shape (..., products)
        In the order of `sklearn.preprocessing.PolynomialFeatures`; float64 for float64 features,
        else float32. In memory, each product is a plane of its own.

    Raises
    ------
    TypeError, ValueError
        For features that are no array of finite real numbers or are empty, a degree that is
        negative or leaves no product.

    Notes
    -----
    NaN and infinity are refused.

    Beside features and result, nothing; one number a row for features of another type.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.features import polynomial
    >>> polynomial(np.array([[2.0, 3.0]]))
    array([[1., 2., 3., 4., 6., 9.]])
    """
    flags(interaction_only=interaction_only, include_bias=include_bias)
    features = finite_array(features, "features")
    terms = products(features.shape[-1], degree, interaction_only, include_bias)
    return run(polynomial, features, terms)


def products(count: int, degree, interaction_only, include_bias) -> list[tuple[int, ...]]:
    """The features of each product, in scikit-learn's order."""
    pair = sequence(degree, "degree", "integers") if several(degree) else (0, degree)
    if len(pair) != 2:
        raise ValueError(f"degree must be an integer, or the least and the greatest, got {pair}")
    low, high = (integer(d, "degree", at_least=0) for d in pair)
    if high and math.comb(count + high, high) > MOST_TERMS:
        raise ValueError(
            f"degree must leave at most {MOST_TERMS} products of {count} features, got {high}"
        )
    combine = itertools.combinations if interaction_only else (
        itertools.combinations_with_replacement
    )  # fmt: skip
    terms = [term for d in range(max(1, low), high + 1) for term in combine(range(count), d)]
    terms = [()] * bool(include_bias) + terms
    if low > high or not terms:
        raise ValueError(f"degree leaves no product: {degree} with include_bias={include_bias}")
    return terms


def count_products(count: int, degree, interaction_only, include_bias, *, most: int) -> int:
    """How many products `products` would list; refuses to list too many, or too long ones."""
    low, high = (0, degree) if np.ndim(degree) == 0 else degree
    low, high = (integer(d, "degree", at_least=0, at_most=1024) for d in (low, high))
    total, of_degree = int(bool(include_bias)), 1
    for d in range(1, high + 1):
        of_degree = of_degree * (count - d + 1 if interaction_only else count + d - 1) // d
        total += of_degree * (d >= low)
        if total * high > 16 * most:
            raise ValueError(f"degree {degree} of {count} features gives too many products")
    return total


@contract(Exact(), nan="refuse")
def feature_table(image, features=None, *, channel_axis=None, names=None):
    """A table of the voxels of an image, to look at: place, value, features.

    Parameters
    ----------
    image : array of real numbers or bool, 2-D or 3-D beside the channels
    features : array of the shape of `image` without its channels, and (features,), optional
        As `filter_bank`, `position`, `neighborhood` and `polynomial` give them.
    channel_axis : int, optional
        The axis of the image's channels.
    names : sequence of str, optional
        The names of the features, as `feature_names` gives them; ``feature 0`` and so on by
        default.

    Returns
    -------
    pandas.DataFrame
        A row a voxel, in C order: ``x``, ``y`` (and ``z``, the first axis), ``intensity`` (or
        ``intensity 0`` and so on, one a channel), and a column a feature.

    Raises
    ------
    TypeError, ValueError
        For an image or features that are no arrays of finite real numbers, features of another
        shape, names of another number.

    Notes
    -----
    NaN and infinity are refused.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.features import feature_table
    >>> feature_table(np.array([[5, 6], [7, 8]]))
       x  y  intensity
    0  0  0          5
    1  1  0          6
    2  0  1          7
    3  1  1          8
    """
    import pandas as pd

    in_memory(feature_table, image)
    image, channel_axis = spatial_image(image, channel_axis)
    image = asnumpy(image)
    single = channel_axis is None
    image = image[..., None] if single else np.moveaxis(image, channel_axis, -1)
    shape = image.shape[:-1]
    places = np.indices(shape).reshape(len(shape), -1)
    columns = dict(zip("xyz", places[::-1]))
    for i in range(image.shape[-1]):
        columns["intensity" if single else f"intensity {i}"] = image[..., i].reshape(-1)
    if features is not None:
        features = asnumpy(finite_array(features, "features"))
        if features.ndim != len(shape) + 1 or features.shape[:-1] != shape:
            raise ValueError(
                f"features must have the image's shape {shape} and one axis more, "
                f"got {features.shape}"
            )
        columns |= zip(
            _column_names(names, features.shape[-1], columns),
            np.moveaxis(features, -1, 0).reshape(features.shape[-1], -1),
        )
    elif names is not None:
        raise ValueError("names are of features, and features is None")
    return pd.DataFrame(columns)


def _column_names(names, count: int, taken) -> list[str]:
    names = [f"feature {i}" for i in range(count)] if names is None else list(names)
    if len(names) != count:
        raise ValueError(f"names must be {count}, one a feature, got {len(names)}")
    if len({*names, *taken}) < count + len(taken):
        raise ValueError(f"names must differ from each other and from {', '.join(taken)}")
    return names
