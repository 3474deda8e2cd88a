"""Classes that are likely for the values of the pixels and for those of their neighbours."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .. import filters
from .._backend import array_namespace, asnumpy, run
from .._checks import (
    MOST_SIGMA,
    as_array,
    axis,
    finite_inside,
    flags,
    integer,
    mask_array,
    moderate,
    not_colours,
    number,
    option,
    real_array,
    shown,
    times_power,
)
from .._contracts import Exact, contract


class MarkovResult(NamedTuple):
    """What `markov_random_field` found."""

    labels: np.ndarray
    probabilities: np.ndarray
    energies: np.ndarray
    prior: np.ndarray
    means: np.ndarray
    stds: np.ndarray


@contract(Exact(), note="probabilities to 1e-5", nan="refuse")
def markov_random_field(
    image,
    n_classes,
    prior=None,
    beta=1.0,
    model="gaussian",
    iterations=None,
    method="icm",
    *,
    channel_axis=None,
    init="kmeans",
    init_sigma=0,
    mask=None,
    temperature=(2.0, 0.05),
    random_state=0,
    return_result=False,
):
    """Divide an image into classes that are likely for its values and that neighbours share.

    The labels found have little energy: the sum over the pixels of ``-log(prior of the class)``
    and ``-log(likelihood of the value in the class)``, and `beta` for each pair of neighbours (that
    share a face) with different classes.

    Parameters
    ----------
    image : array of real numbers of 2 or 3 axes
        A grey image or volume, or with `channel_axis` one of several channels.
    n_classes : int
        How many classes, from 2 to 255.
    prior : sequence of `n_classes` numbers above 0, or 'start', optional
        How common each class is expected to be (divided by their sum), or that it is as common as
        at the start. By default all are alike: in strong noise a rare class needs this, for its
        pixels say less each than a prior does.
    beta : number, optional
        What a pair of unequal neighbours costs, from 0 (each pixel alone) to 1000.
    model : {'gaussian'}, optional
        The distribution of the values of a class: a mean and a standard deviation for each channel.
    iterations : int, optional
        Most sweeps over the image: by default 50 for 'icm', which ends where nothing changes any
        more, and 100 for 'annealing', before a last descent by 'icm'.
    method : {'icm', 'annealing'}, optional
        Iterated conditional modes (each pixel takes its best class, again and again: fast, to the
        nearest minimum), or simulated annealing (classes are drawn at falling temperatures, by
        Gibbs sampling: slow, and closer to the least energy, if it cools slowly. In strong noise
        a good start can be lost in 100 sweeps: give it 400).
    channel_axis : int, optional
        The axis of `image` along which its channels lie.
    init : {'kmeans'} or integer array of the shape of the image without its channels, optional
        The classes at the start, from 0 on. They say what means and standard deviations are; these
        stay.
    init_sigma : number, optional
        k-means takes the image smoothed by a Gaussian of this standard deviation, in pixels (means
        of what is inside, within a `mask`). Where the noise is as wide as the classes are apart,
        it would cut through the noise otherwise.
    mask : bool array of the shape of the image without its channels, optional
        Divide these pixels alone; the others are labelled -1 and nobody's neighbours.
    temperature : (number, number), optional
        Where annealing starts and ends, in the units of the energy.
    random_state : int, optional
        Seed of annealing (and of k-means on several channels), from 0 to 2**31 - 1.
    return_result : bool, optional
        Return everything that was found.

    Returns
    -------
    int32 array of the shape of the image without its channels, or MarkovResult
        Classes from 0 on, the darkest first (in the first channel), or as in `init`, if it is an
        array. The result has the fields ``labels``, ``probabilities`` (float32, classes first, of
        each class at each pixel given its neighbours), ``energies`` (at the start and after each
        sweep, less a constant; never rising under 'icm'), ``prior``, ``means`` and ``stds`` (a row
        for each class).

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers, holds NaN or infinity within the mask,
        more classes than different pixels, a class without pixels at the start, and any argument
        out of its range.

    Warns
    -----
    UserWarning
        If the image has three axes and the last has length 3 or 4, as that of colours has, and
        `channel_axis` is None.

    Notes
    -----
    Pixels are visited as the fields of a checkerboard, all of one colour at once. Costs are
    rounded to 2**-16, so that every backend takes the same decisions, annealing included.

    Beside image and labels it needs 4 bytes a pixel and channel, 1 byte a pixel, and 16 MB; with
    `mask`, a copy of the image; while k-means starts it, 4 bytes a pixel and channel and 8 bytes a
    pixel; for probabilities, 4 bytes a pixel and class and 8 bytes a pixel.

    Of a Dask array the classes are found at once, and are the same for any chunks. Up to four
    sweeps are done in a chunk, with what lies around it, before it looks at its neighbours again;
    under 'icm' only where something changes still. Every chunk is computed up to six times, and
    once in each step of k-means and in each of these rounds: persist what takes long to compute.
    Between the rounds the classes, 1 byte a pixel, wait in a temporary file, which the lazy result
    is read from; in memory are about two layers of chunks at a time.

    References
    ----------
    .. [1] J. Besag, "On the statistical analysis of dirty pictures", Journal of the Royal
           Statistical Society B 48(3), 1986. :doi:`10.1111/j.2517-6161.1986.tb01412.x`
    .. [2] S. Geman, D. Geman, "Stochastic relaxation, Gibbs distributions, and the Bayesian
           restoration of images", IEEE Transactions on Pattern Analysis and Machine Intelligence
           6(6), 1984. :doi:`10.1109/TPAMI.1984.4767596`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.segmentation import markov_random_field
    >>> image = np.array([[2, 0, 3, 9, 8], [0, 6, 1, 7, 9], [3, 1, 0, 9, 4]])
    >>> markov_random_field(image, 2, beta=3)
    array([[0, 0, 0, 1, 1],
           [0, 0, 0, 1, 1],
           [0, 0, 0, 1, 1]], dtype=int32)
    """
    flags(return_result=return_result)
    image = real_array(image)
    if channel_axis is None:
        not_colours(markov_random_field, image, instead="pass channel_axis=-1")
        image = image[..., None]
    else:
        there = axis(channel_axis, "channel_axis", image.ndim)
        image = array_namespace(image).moveaxis(image, there, -1)
    if image.ndim not in (3, 4):
        raise ValueError(f"image must have 2 or 3 axes beside its channels, got {image.ndim - 1}")
    n_classes = integer(n_classes, "n_classes", at_least=2, at_most=255)
    option(model, "model", ("gaussian",))
    option(method, "method", ("icm", "annealing"))
    mask = mask_array(mask, image[..., 0])
    image, exponent = moderate(finite_inside(image, mask), mask)
    start = None
    if number(init_sigma, "init_sigma", at_least=0, at_most=MOST_SIGMA):
        start = _smoothed(image, init_sigma, mask)
    if iterations is not None:
        iterations = integer(iterations, "iterations", at_least=1)
    found = run(
        markov_random_field,
        image,
        n_classes=n_classes,
        prior=_prior(prior, n_classes),
        beta=float(number(beta, "beta", at_least=0, at_most=1000)),
        iterations=iterations or (50 if method == "icm" else 100),
        temperature=_temperatures(temperature) if method == "annealing" else None,
        init=_start(init, image.shape[:-1]),
        start=start,
        mask=mask,
        random_state=integer(random_state, "random_state", at_least=0, at_most=2**31 - 1),
        everything=return_result,
    )
    if not return_result:
        return found[0]
    found = MarkovResult(*found)
    return found._replace(
        means=times_power(found.means, exponent), stds=times_power(found.stds, exponent)
    )


def markov_part(work, image, *args):
    """A step of `markov_random_field` for a part of an image, where calls run now."""
    return run(markov_part, work, image, *args)


def _smoothed(image, sigma, mask):
    """The channels smoothed; within a mask, means of what is inside."""
    if mask is None:
        return filters.gaussian(image, sigma, preserve_range=True, channel_axis=-1)
    xp = array_namespace(image)
    inside = xp.where(mask[..., None], image, xp.zeros((), image.dtype))
    inside = filters.gaussian(inside, sigma, preserve_range=True, channel_axis=-1)
    share = filters.gaussian(mask.astype(xp.float32), sigma)
    return inside / xp.where(mask, share, xp.float32(1))[..., None]


def _prior(prior, n_classes):
    if prior is None:
        return (1 / n_classes,) * n_classes
    if isinstance(prior, str):
        return option(prior, "prior", ("start",))
    prior = asnumpy(as_array(prior, "prior"))
    if prior.shape != (n_classes,) or prior.dtype.kind not in "uif":
        raise ValueError(f"prior must be {n_classes} numbers, one a class, got {shown(prior)}")
    if not (np.isfinite(prior) & (prior > 0)).all():
        raise ValueError(f"prior must be above 0 and finite, got {prior.tolist()}")
    return tuple((prior / prior.sum()).tolist())


def _temperatures(temperature) -> tuple[float, float]:
    if np.shape(temperature) != (2,):
        raise ValueError(f"temperature must be two numbers, got {shown(temperature)}")
    hot, cold = (float(number(t, "temperature", above=0, at_most=1000)) for t in temperature)
    if hot < cold:
        raise ValueError(f"temperature must not rise, got {shown(temperature)}")
    return hot, cold


def _start(init, shape):
    if isinstance(init, str):
        return option(init, "init", ("kmeans",))
    init = real_array(init, "init")
    if init.dtype.kind not in "iu":
        raise TypeError(f"init must be 'kmeans' or hold integers, got {init.dtype}")
    if init.shape != shape:
        raise ValueError(f"init must have the shape of the image, {shape}, got {init.shape}")
    return init
