"""Clustering of pixels by their values, features and position: k-means and Gaussian mixtures."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._backend import array_namespace, asnumpy, run
from .._checks import (
    axis,
    finite_array,
    finite_inside,
    flags,
    integer,
    mask_array,
    moderate,
    not_colours,
    number,
    option,
    per_axis,
    real_array,
    times_power,
)
from .._contracts import Exact, SamePartition, contract


class KMeansResult(NamedTuple):
    """What `kmeans` found; rows of `centers` hold channels, then features, then position."""

    labels: np.ndarray
    centers: np.ndarray
    inertia: float
    n_iter: int


class GaussianMixtureResult(NamedTuple):
    """What `gaussian_mixture` found; the columns of `means` are those of `kmeans`."""

    labels: np.ndarray
    probabilities: np.ndarray
    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    log_likelihood: float
    n_iter: int


@contract(Exact(), note="inertia to 1e-6", nan="refuse")
def kmeans(
    image,
    n_clusters,
    spatial_weight=None,
    features=None,
    channel_axis=None,
    *,
    init="k-means++",
    random_state=None,
    max_iter=300,
    tol=1e-4,
    mask=None,
    return_result=False,
):
    """Divide an image into clusters of similar pixels, by value and, if wanted, position.

    Parameters
    ----------
    image : array of real numbers, any shape of at least one axis
        A grey image or volume, or with `channel_axis` one of several channels: colours, a spectrum,
        or several modalities of one object.
    n_clusters : int
        How many; no more than there are different pixels.
    spatial_weight : number, or one for each axis, optional
        The position counts too: the coordinate along each axis, in pixels, times this. 0.1 means
        that ten pixels apart is as far as one grey value apart. By default it does not count.
    features : array, or sequence of arrays, optional
        More features of each pixel, as they are: each of the shape of the image without its
        channels, or with one more axis, the last, for several.
    channel_axis : int, optional
        The axis of `image` along which its channels lie.
    init : {'k-means++', 'random'} or array of shape (n_clusters, number of features), optional
        The first centers: drawn, far from each other or not, from up to 100 000 pixels, or given.
        The columns are the channels, then `features`, then the position times `spatial_weight`.
    random_state : None, int or numpy.random.RandomState, optional
        The source of the drawing.
    max_iter : int, optional
        Most steps.
    tol : number, optional
        The steps end where the centers move by less: the sum of squares of their moves is at most
        `tol` times the mean variance of the features. With 0, where they do not move at all.
    mask : bool array of the shape of the image without its channels, optional
        Cluster these pixels alone; the others are labelled -1.
    return_result : bool, optional
        Return everything that was found.

    Returns
    -------
    int32 array of the shape of the image without its channels, or KMeansResult
        The clusters from 0 on. They are numbered by their mean in the first column, the darkest
        first, or as in `init`, if it is an array. The result has the fields ``labels``,
        ``centers`` (float64), ``inertia`` (the sum of squared distances; of a Dask array a lazy
        one of no axes) and ``n_iter``.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers, is empty or holds NaN or infinity within
        the mask, more clusters than different pixels, and any other argument out of its range.

    Warns
    -----
    UserWarning
        If the image has three axes and the last has length 3 or 4, as that of colours has, and
        `channel_axis` is None.

    Notes
    -----
    Lloyd's algorithm, as in scikit-learn, with the same rules: a cluster that loses all its pixels
    goes to the pixel farthest from its center. Features are rounded to 2**-24 of their range
    (less where there are over 2**29 pixels); whole numbers up to 2**23 apart stay as they are. Sums
    of such numbers are exact, so every backend and any number of threads find the same clusters.

    Beside image and labels it needs 4 bytes a pixel and feature, and 4 bytes a pixel at the end.

    Of a Dask array the centers are found at once; labels and inertia are lazy. Every chunk is
    computed twice before the first step and once in each (but not of values of 8 or 16 bits alone,
    which are counted): persist what takes long to compute. In memory is what one chunk at a time
    needs; with a mask, 24 bytes for each row of each chunk.

    References
    ----------
    .. [1] S.P. Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory
           28(2), 1982. :doi:`10.1109/TIT.1982.1056489`
    .. [2] D. Arthur, S. Vassilvitskii, "k-means++: the advantages of careful seeding", Proceedings
           of the 18th ACM-SIAM Symposium on Discrete Algorithms, 2007.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.segmentation import kmeans
    >>> kmeans(np.array([[9, 1, 8], [0, 2, 5]]), 2, init=np.array([[1], [6]]))
    array([[1, 0, 1],
           [0, 0, 1]], dtype=int32)
    """
    flags(return_result=return_result)
    if channel_axis is None:
        not_colours(kmeans, image, instead="pass channel_axis=-1")
    pixels = _pixels(image, n_clusters, "n_clusters", spatial_weight, features, channel_axis, mask)
    init = _centers(init, n_clusters, pixels, ("k-means++", "random"))
    max_iter = integer(max_iter, "max_iter", at_least=1)
    tol = number(tol, "tol", at_least=0)
    pixels, init, exponent = _moderate(pixels, init)
    found = run(
        kmeans,
        **pixels,
        n_clusters=n_clusters,
        init=init,
        random_state=random_state,
        max_iter=max_iter,
        tol=tol,
    )
    if not return_result:
        return found[0]
    found = KMeansResult(*found)
    if not exponent:
        return found
    return found._replace(
        centers=times_power(found.centers, _powers(pixels, exponent)),
        inertia=times_power(found.inertia, 2 * exponent),
    )


def kmeans_part(work, image, *args, **pixels):
    """A step of `kmeans` for a part of an image, where calls run now."""
    return run(kmeans_part, work, image, *args, **pixels)


@contract(SamePartition(ari=0.99), nan="refuse")
def gaussian_mixture(
    image,
    n_components,
    spatial_weight=None,
    features=None,
    channel_axis=None,
    *,
    covariance_type="full",
    init="kmeans",
    random_state=None,
    max_iter=100,
    tol=1e-3,
    reg_covar=1e-6,
    mask=None,
    return_result=False,
):
    """Divide an image into classes, each with a normal distribution of values of its own.

    Unlike those of `kmeans`, the classes may differ in width, in shape and in how many pixels they
    hold; and each pixel has a probability for each class.

    Parameters
    ----------
    image, spatial_weight, features, channel_axis, mask
        As for `kmeans`.
    n_components : int
        How many classes.
    covariance_type : {'full', 'diag'}, optional
        Whether the features of a class vary together, or each on its own.
    init : {'kmeans'} or array of shape (n_components, number of features), optional
        The classes at the start: those of `kmeans`, or the nearest of the given means.
    random_state : None, int or numpy.random.RandomState, optional
        For `kmeans`.
    max_iter : int, optional
        Most steps.
    tol : number, optional
        The steps end where the mean log likelihood of a pixel changes by less.
    reg_covar : number, optional
        Added to the variances, so that none vanishes, in squared units of the features.
    return_result : bool, optional
        Return everything that was found.

    Returns
    -------
    int32 array of the shape of the image without its channels, or GaussianMixtureResult
        The most probable class of each pixel, from 0 on, in the order of the means of the first
        feature (or of `init`, if it is an array); -1 outside the mask. The result has the fields
        ``labels``, ``probabilities`` (float32, classes first, 0 outside the mask), ``weights``,
        ``means``, ``covariances`` (a matrix for each class, or a row of variances for 'diag'),
        ``log_likelihood`` (the mean over the pixels) and ``n_iter``.

    Raises
    ------
    TypeError, ValueError
        As for `kmeans`.

    Warns
    -----
    UserWarning
        If the image has three axes and the last has length 3 or 4, as that of colours has, and
        `channel_axis` is None.

    Notes
    -----
    NaN and infinity are refused, but where a mask leaves them out.

    Expectation and maximization in float64, on pieces of the image. Beside image and labels it
    needs 4 bytes a pixel and feature, 4 bytes a pixel for the start, and 8 bytes a pixel and class
    of one piece. scikit-learn's `GaussianMixture` keeps 8 bytes for each pixel and class, and for
    each pixel and feature.

    Of a Dask array the classes are found at once, as for `kmeans` (every chunk is computed once in
    each step, but not of values of 8 or 16 bits alone); labels, probabilities and log likelihood
    are lazy. Sums are added up chunk by chunk, so they differ in their last digits.

    References
    ----------
    .. [1] A.P. Dempster, N.M. Laird, D.B. Rubin, "Maximum likelihood from incomplete data via the
           EM algorithm", Journal of the Royal Statistical Society B 39(1), 1977.
           :doi:`10.1111/j.2517-6161.1977.tb01600.x`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.segmentation import gaussian_mixture
    >>> rng = np.random.default_rng(0)
    >>> image = np.concatenate([rng.normal(0, 1, 900), rng.normal(9, 3, 100)])
    >>> result = gaussian_mixture(image, 2, random_state=0, return_result=True)
    >>> result.weights.round(2)
    array([0.9, 0.1])
    """
    flags(return_result=return_result)
    if channel_axis is None:
        not_colours(gaussian_mixture, image, instead="pass channel_axis=-1")
    pixels = _pixels(
        image, n_components, "n_components", spatial_weight, features, channel_axis, mask
    )
    option(covariance_type, "covariance_type", ("full", "diag"))
    init = _centers(init, n_components, pixels, ("kmeans",))
    pixels, init, exponent = _moderate(pixels, init)
    found = run(
        gaussian_mixture,
        **pixels,
        n_components=n_components,
        covariance_type=covariance_type,
        init=init,
        random_state=random_state,
        max_iter=integer(max_iter, "max_iter", at_least=1),
        tol=number(tol, "tol", at_least=0),
        reg_covar=number(reg_covar, "reg_covar", at_least=0),
        probabilities=return_result,
    )
    if not return_result:
        return found[0]
    found = GaussianMixtureResult(*found)
    if not exponent:
        return found
    powers = _powers(pixels, exponent)
    both = powers[:, None] + powers if covariance_type == "full" else 2 * powers
    return found._replace(
        means=times_power(found.means, powers), covariances=times_power(found.covariances, both)
    )


def _pixels(image, count, name, spatial_weight, features, channel_axis, mask) -> dict:
    """What is clustered: channels and features along a last axis, the weights of the position."""
    image = real_array(image)
    xp = array_namespace(image)
    if channel_axis is not None:
        if image.ndim < 2:
            raise ValueError("channel_axis needs an image of two axes or more, got one axis")
        image = xp.moveaxis(image, axis(channel_axis, "channel_axis", image.ndim), -1)
    shape = image.shape if channel_axis is None else image.shape[:-1]
    mask = mask_array(mask, image[..., 0] if channel_axis is not None else image)
    image = finite_inside(image, mask)
    if features is not None:
        features = _features(features, shape, mask)
    weights = ()
    if spatial_weight is not None:
        weights = per_axis(spatial_weight, "spatial_weight", len(shape), at_least=0)
    integer(count, name, at_least=1, at_most=int(np.prod(shape)))
    return {
        "image": image if channel_axis is not None else image[..., None],
        "features": features,
        "weights": weights,
        "mask": mask,
    }


def _moderate(pixels: dict, init):
    """The same pixels and first centers where float32 can hold their squares, and the exponent of
    the power of two that was divided by."""
    image, exponent = moderate(pixels["image"], pixels["mask"])
    if not exponent:
        return pixels, init, 0
    weights = tuple(float(times_power(w, -exponent)) for w in pixels["weights"])
    pixels = pixels | {"image": image, "weights": weights}
    if not isinstance(init, str):
        init = times_power(init, -_powers(pixels, exponent))
    return pixels, init, exponent


def _powers(pixels: dict, exponent: int):
    """The exponent for each column: channels and position are in grey values, features are not."""
    features = pixels["features"]
    count = 0 if features is None else features.shape[-1]
    channels, axes = pixels["image"].shape[-1], len(pixels["weights"])
    return np.array([exponent] * channels + [0] * count + [exponent] * axes)


def _features(features, shape, mask):
    if not isinstance(features, list | tuple):
        features = [features]
    stacks = []
    for feature in features:
        feature = real_array(feature, "features")
        if feature.shape not in (shape, (*shape, *feature.shape[-1:])):
            raise ValueError(
                f"features must have the shape of the image, {shape}, or one axis more at the end, "
                f"got {feature.shape}"
            )
        feature = finite_inside(feature, mask, "features")
        stacks.append(feature if feature.shape != shape else feature[..., None])
    return stacks[0] if len(stacks) == 1 else array_namespace(stacks[0]).concatenate(stacks, -1)


def _centers(init, count, pixels, names):
    """The name of a way to start, or the first centers as a float64 array."""
    if isinstance(init, str):
        return option(init, "init", names)
    init = asnumpy(finite_array(init, "init")).astype(np.float64)
    features = pixels["features"]
    width = pixels["image"].shape[-1] + len(pixels["weights"])
    width += 0 if features is None else features.shape[-1]
    if init.shape != (count, width):
        raise ValueError(
            f"init must be one of {', '.join(map(repr, names))} or an array of shape "
            f"{(count, width)} (clusters, features), got shape {init.shape}"
        )
    return init
