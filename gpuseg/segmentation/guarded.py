"""Thresholds that do not look at edges: classes grow there from what lies on both sides."""

from __future__ import annotations

import numpy as np

from .. import filters, morphology
from .._backend import array_namespace, asarray, returned
from .._checks import (
    finite_array,
    in_memory,
    integer,
    moderate,
    not_colours,
    number,
    option,
    times_power,
)
from .._contracts import SamePartition, contract
from ..filters.comparison import ascending_thresholds
from ..measure import label
from .regions import expand_labels, watershed


@contract(SamePartition(ari=0.97), nan="refuse")
def guarded_threshold(
    image,
    thresholds,
    guard="gradient",
    sigma=2.0,
    guard_threshold=None,
    min_seed_size=10,
    grow="watershed",
):
    """Divide an image by thresholds away from edges, and let the classes grow into the edges.

    Where an image passes from a low to a high class, unsharpness takes it through the values of
    those between: plain thresholds draw a skin of a class that is not there. Here the smoothed
    image is divided by the thresholds, pixels near edges are taken back, as are pieces that are
    too small, and what is left grows until it fills the image.

    Parameters
    ----------
    image : array of real numbers of 2 or 3 axes
    thresholds : number or ascending sequence of numbers
        As for `gpuseg.filters.apply_thresholds`: a class is what is above one and not above the
        next.
    guard : {'gradient', 'laplacian'}, optional
        What tells an edge: the magnitude of the gradient (by `gpuseg.filters.sobel`), or of the
        Laplacian, of the image smoothed by a Gaussian. Between the two sides of an edge, where the
        Laplacian is 0, the guard is closed.
    sigma : number, optional
        The standard deviation of that Gaussian, in pixels: of the size of the unsharpness.
    guard_threshold : number, optional
        What is above it is near an edge, in units of the guard. By default four times its median,
        since the gradient of noise alone does not come so far. Where most of the image is flat,
        and that is less than a tenth of what a step between two neighbouring classes shows at its
        steepest: four times the median of the rest, but from a tenth to a half of the steepest,
        to which a step falls within about 2 `sigma`.
    min_seed_size : int, optional
        Pieces of a class with fewer pixels (connected by faces) are taken back.
    grow : {'watershed', 'nearest'}, optional
        Grow from the least gradient to the largest, so that classes meet on the crest of the edge;
        or give each pixel the nearest class.

    Returns
    -------
    int32 array of the shape of `image`
        The classes from 0 (not above any threshold) on.

    Raises
    ------
    TypeError, ValueError
        For an image that holds NaN or infinity, thresholds that are none or do not ascend, any
        other argument out of range, and where no pixel is left to grow from.

    Warns
    -----
    UserWarning
        If the image has three axes and the last has length 3 or 4, as that of colours has.

    Notes
    -----
    Beside image and result it needs up to 60 bytes a pixel on the CPU (the watershed's queue and
    its copies in float64).

    References
    ----------
    .. [1] R. Adams, L. Bischof, "Seeded region growing", IEEE Transactions on Pattern Analysis and
           Machine Intelligence 16(6), 1994. :doi:`10.1109/34.295913`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.filters import apply_thresholds
    >>> from gpuseg.segmentation import guarded_threshold
    >>> image = np.repeat([[0, 0, 0, 0, 1, 2, 3, 3, 3, 3]], 4, axis=0)
    >>> apply_thresholds(image, [0.6, 2.2])[0].tolist()
    [0, 0, 0, 0, 1, 1, 2, 2, 2, 2]
    >>> guarded_threshold(image, [0.6, 2.2], sigma=0.5, guard_threshold=0.5, min_seed_size=4)[0]
    array([0, 0, 0, 0, 0, 2, 2, 2, 2, 2], dtype=int32)
    """
    in_memory(guarded_threshold, image)
    image = finite_array(image, ndim=(2, 3))
    not_colours(guarded_threshold, image)
    thresholds = ascending_thresholds(thresholds)
    option(guard, "guard", ("gradient", "laplacian"))
    option(grow, "grow", ("watershed", "nearest"))
    if guard_threshold is not None:
        guard_threshold = float(number(guard_threshold, "guard_threshold", at_least=0))
    sigma = float(number(sigma, "sigma", above=0))
    min_seed_size = integer(min_seed_size, "min_seed_size", at_least=1)

    there, exponent = moderate(asarray(image))
    thresholds = times_power(thresholds, -exponent)
    if guard_threshold is not None:
        guard_threshold = float(times_power(guard_threshold, -exponent))
    smooth = filters.gaussian(there, sigma, preserve_range=True)
    edges = filters.sobel(smooth)
    seeds = filters.apply_thresholds(smooth, thresholds).astype(np.int32) + 1
    near = _near_edges(smooth, edges, seeds, guard, guard_threshold, sigma)
    seeds[near] = 0
    seeds = _without_small(seeds, min_seed_size)
    if not seeds.any():
        raise ValueError(
            "no pixel is left to grow from: guard_threshold is too low, or min_seed_size too high"
        )
    grown = watershed(edges, seeds) if grow == "watershed" else expand_labels(seeds, np.inf)
    grown -= 1
    return returned(grown, image)


def _near_edges(smooth, edges, classes, guard, threshold, sigma):
    if guard == "laplacian":
        edges = abs(filters.laplace(smooth))
    if threshold is None:
        threshold = _automatic(edges, _smallest_step(smooth, classes) * _STEEPEST[guard](sigma))
    near = edges > threshold
    if guard == "laplacian":
        box = np.ones((2 * int(np.ceil(sigma)) + 1,) * smooth.ndim, bool)
        near = morphology.closing(near, box)
    return near


def _automatic(edges, steepest: float) -> float:
    xp = array_namespace(edges)
    typical = 4 * float(xp.median(edges))
    if typical >= 0.1 * steepest:
        return typical
    rest = edges[edges > 0.001 * steepest]
    typical = 4 * float(xp.median(rest)) if rest.size else 0.0
    return min(max(typical, 0.1 * steepest), 0.5 * steepest)


# The most that each guard shows of a step of height 1 that a Gaussian has smoothed.
_STEEPEST = {
    "gradient": lambda sigma: 1 / (sigma * np.sqrt(2 * np.pi)),
    "laplacian": lambda sigma: 1 / (sigma**2 * np.sqrt(2 * np.pi * np.e)),
}


def _smallest_step(smooth, classes) -> float:
    """The least difference between the medians of neighbouring classes; 0 where there is one."""
    xp = array_namespace(smooth)
    present = [int(k) for k in xp.unique(classes)]
    middles = [float(xp.median(smooth[classes == k])) for k in present]
    return min(np.diff(middles), default=0.0)


def _without_small(seeds, size):
    """The classes without connected pieces of less than `size` pixels."""
    xp = array_namespace(seeds)
    pieces = label(seeds, connectivity=1)
    small = xp.bincount(pieces.reshape(-1)) < size
    small[0] = False
    seeds[small[pieces]] = 0
    return seeds
