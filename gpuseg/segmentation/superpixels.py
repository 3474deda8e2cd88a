"""Superpixels: what they measure, and how similar ones become regions."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .. import filters
from .._backend import array_namespace, asarray, returned, run
from .._checks import (
    MOST_FACTOR,
    MOST_SIGMA,
    axis,
    finite_array,
    flags,
    in_memory,
    integer,
    integer_array,
    mask_array,
    moderate,
    not_colours,
    not_negative,
    number,
    option,
    per_axis,
    real_array,
    sequence,
    several,
    times_power,
)
from .._contracts import Exact, contract


class SuperpixelSteps(NamedTuple):
    """The three steps of `superpixel_classes`."""

    superpixels: np.ndarray
    means: np.ndarray
    classes: np.ndarray


_STATISTICS = ("mean", "sum", "std", "var", "min", "max", "median")


@contract(Exact(), nan="refuse")
def slic(
    image,
    n_segments=100,
    compactness=10.0,
    max_num_iter=10,
    sigma=0,
    spacing=None,
    convert2lab=None,
    enforce_connectivity=True,
    min_size_factor=0.5,
    max_size_factor=3,
    slic_zero=False,
    start_label=1,
    mask=None,
    *,
    channel_axis=-1,
):
    """Divide an image into superpixels: k-means of colour and position, each centre near its seed.

    Parameters
    ----------
    image : array of real numbers, 2-D or 3-D, and an axis of channels
        It is scaled to [0, 1] first: its least value within the mask to 0, its largest to 1.
    n_segments : int, optional
        About how many superpixels. Seeds lie on a regular grid.
    compactness : float, optional
        What the distance of two seeds weighs beside a difference of 1 in colour (in L*a*b* for RGB
        images, else in the scaled image): large values give squares or cubes. Try powers of 10.
        With `slic_zero`, the value to begin with.
    max_num_iter : int, optional
        Steps of k-means.
    sigma : float or one for each spatial axis, optional
        A Gaussian of this width in pixels smooths the image first. One number is divided by
        `spacing`.
    spacing : one number for each spatial axis, optional
        The size of a voxel along each axis; all alike by default.
    convert2lab : bool, optional
        Convert RGB to CIE L*a*b* first. By default, where there are three channels.
    enforce_connectivity : bool, optional
        Make every superpixel one connected region; see Notes.
    min_size_factor : float, optional
        Regions of less than this part of the mean size join a neighbour.
    max_size_factor : float, optional
        Connected regions of more than so many times the mean size are cut.
    slic_zero : bool, optional
        Adapt the compactness of each superpixel to its contrast (SLICO) [2]_.
    start_label : {0, 1}, optional
        The first label.
    mask : bool array of the shape of `image` (without its channels), optional
        Superpixels cover only the pixels where it is True; the others get ``start_label - 1``.
        Seeds are spread over it by k-means [3]_. What lies outside may be NaN.
    channel_axis : int or None, optional
        The axis of `image` along which its channels lie; None for a grey image.

    Returns
    -------
    int64 array of the shape of `image` (without its channels)
        The superpixels. With `enforce_connectivity`, numbered in the order of their first pixels.

    Raises
    ------
    TypeError, ValueError
        For an image that is neither 2-D nor 3-D beside its channels, or holds NaN or infinity
        within the mask; a mask of another shape or that selects nothing; and numbers out of range.

    Warns
    -----
    UserWarning
        If the image has three axes and the last has length 3 or 4, as that of colours has, and
        `channel_axis` is None.

    Notes
    -----
    As `skimage.segmentation.slic`, with these differences.

    - A pixel compares the centres of its own cell of the grid of seeds and of the cells up to two
      away (25, or 125 in 3-D), not all that have come within two steps of it; within a mask, all
      that were near its cell at first.
    - Distances are float32, and sums are of whole numbers, so that every backend has the same
      labels. Without `enforce_connectivity` the images tried got scikit-image's labels in 97 to 100
      of 100 pixels.
    - Connected regions that are too small join the neighbour with the least difference of mean
      colours for each pixel of the boundary between them, and too large ones are cut across their
      longest axes into equal parts. scikit-image does both in the order of a flood. At a low
      compactness it keeps far fewer superpixels.
    - Where scikit-image ignores an argument or warns (`convert2lab` without channels, three numbers
      of `spacing` for a 2-D image), this is an error.

    On a GPU the graph of the small regions is merged on the host, and the seeds of a mask are found
    there; all else runs on the device. With the result, and beside the image, it needs at most 4
    bytes a pixel for each channel and 10 more, and while a channel is smoothed 18 more; 80 bytes
    for each pixel of a mask; 24 bytes for each face of a region that is too small, and 70 for each
    pixel of a region that is too large.

    References
    ----------
    .. [1] R. Achanta, A. Shaji, K. Smith, A. Lucchi, P. Fua, S. Suesstrunk, "SLIC superpixels
           compared to state-of-the-art superpixel methods", IEEE Transactions on Pattern Analysis
           and Machine Intelligence 34(11), 2012. :doi:`10.1109/TPAMI.2012.120`
    .. [2] R. Achanta et al., SLICO, https://www.epfl.ch/labs/ivrl/research/slic-superpixels/#SLICO
    .. [3] B. Irving, "maskSLIC: regional superpixel generation with application to local pathology
           characterisation in medical images", 2016. :arxiv:`1606.09518`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.segmentation import slic
    >>> image = np.repeat([[0, 0, 0, 9, 9, 9, 9, 9]], 4, axis=0)
    >>> slic(image, n_segments=2, compactness=0.1, channel_axis=None)
    array([[1, 1, 1, 2, 2, 2, 2, 2],
           [1, 1, 1, 2, 2, 2, 2, 2],
           [1, 1, 1, 2, 2, 2, 2, 2],
           [1, 1, 1, 2, 2, 2, 2, 2]])
    """
    flags(enforce_connectivity=enforce_connectivity, slic_zero=slic_zero)
    image = real_array(image)
    xp = array_namespace(image)
    if channel_axis is None:
        not_colours(slic, image, instead="pass channel_axis=-1")
        image = image[None]
    else:
        image = xp.moveaxis(image, axis(channel_axis, "channel_axis", image.ndim), 0)
    if image.ndim not in (3, 4):
        raise ValueError(
            f"image must have 2 or 3 axes beside its channels, got {image.ndim - 1} with "
            f"channel_axis={channel_axis}; a grey image needs channel_axis=None"
        )
    ndim = image.ndim - 1
    mask = mask_array(mask, image[0])
    low, high = _range(image, mask)
    if convert2lab is not None:
        flags(convert2lab=convert2lab)
    if spacing is not None:
        spacing = sequence(spacing, "spacing", "numbers")
    spacing = per_axis(1.0 if spacing is None else spacing, "spacing", ndim, above=0)
    widths = per_axis(sigma, "sigma", ndim, at_least=0, at_most=MOST_SIGMA)
    if not several(sigma):
        widths = tuple(width / size for width, size in zip(widths, spacing))
    rgb = channel_axis is not None and len(image) == 3
    if convert2lab and not rgb:
        raise ValueError(
            f"convert2lab needs an RGB image, 3 channels along channel_axis; got {len(image)} with "
            f"channel_axis={channel_axis}"
        )
    return run(
        slic,
        image,
        inside=mask,
        low=low,
        high=high,
        n_segments=integer(n_segments, "n_segments", at_least=1),
        compactness=float(number(compactness, "compactness", above=0)),
        max_num_iter=integer(max_num_iter, "max_num_iter", at_least=1),
        sigma=widths,
        spacing=spacing,
        lab=rgb if convert2lab is None else bool(convert2lab),
        connected=bool(enforce_connectivity),
        min_size_factor=number(min_size_factor, "min_size_factor", at_least=0, at_most=MOST_FACTOR),
        max_size_factor=number(max_size_factor, "max_size_factor", above=0, at_most=MOST_FACTOR),
        zero=bool(slic_zero),
        start_label=option(integer(start_label, "start_label"), "start_label", (0, 1)),
    )


def _range(image, mask):
    """The least and the largest value within the mask, as floats."""
    values = image if mask is None else image[:, mask]
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        where = "" if mask is None else " within the mask"
        raise ValueError(f"image holds NaN or infinity{where}")
    return low, high


@contract(Exact(), note="a median, or a function of your own, to 1e-6", nan="refuse")
def superpixel_means(image, labels, *, statistic="mean", channel_axis=None, background=0):
    """Give every pixel the mean of its superpixel, or another statistic of it.

    Parameters
    ----------
    image : array of real numbers
        What is measured.
    labels : integer array of the shape of `image` (without its channels)
        The superpixels, of any region at all; not negative.
    statistic : {'mean', 'sum', 'std', 'var', 'min', 'max', 'median'} or function, optional
        What is measured of the values of a superpixel. A function gets them as a 1-D array of one
        channel and returns a number; it runs on the CPU.
    channel_axis : int, optional
        The axis of `image` along which its channels lie; each is measured alone.
    background : int or None, optional
        The label of what is no superpixel, and gets 0. None where there is none, as in labels that
        start at 0.

    Returns
    -------
    float array of the shape of `image`
        float32 where that holds every value of the image's type (8 and 16 bits, float32), else
        float64.

    Raises
    ------
    TypeError, ValueError
        For an image that holds NaN or infinity, labels of another shape, of another kind than
        integers, or below 0, and an unknown statistic.

    Notes
    -----
    Sums are taken in whole numbers of steps and of parts of steps, so that every backend has the
    same, and none loses more than 2**-50 of the largest value (of 2**27 pixels; of fewer pixels,
    less). Spreads are measured from the middle of each superpixel, in units of its own value
    farthest off: neither a large mean nor the spread of another one costs digits. Beside image and
    result it needs up to 48 bytes a superpixel and channel, and 8 to 32 bytes a pixel for a piece
    of half a million pixels; a median sorts all pixels (24 bytes a pixel).

    Labels may be any numbers, far apart as well: memory goes by how many there are.

    Of a Dask array the statistics are found at once, and the result that shows them is lazy, the
    same for any chunks. Each chunk is computed two or three times for the statistics, with up to 32
    bytes for each superpixel and channel in between. For a median or a function, the values of
    superpixels in several chunks are brought together.

    For the measures of each superpixel in a table, see `gpuseg.measure.regionprops_table`.

    References
    ----------
    .. [1] R. Achanta, A. Shaji, K. Smith, A. Lucchi, P. Fua, S. Suesstrunk, "SLIC superpixels
           compared to state-of-the-art superpixel methods", IEEE Transactions on Pattern Analysis
           and Machine Intelligence 34(11), 2012. :doi:`10.1109/TPAMI.2012.120`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.segmentation import superpixel_means
    >>> superpixel_means(np.array([1, 2, 8, 10]), np.array([1, 1, 2, 2]))
    array([1.5, 1.5, 9. , 9. ])
    """
    image, labels, background = _regions(image, labels, channel_axis, background)
    if not callable(statistic):
        option(statistic, "statistic", _STATISTICS)
    result = run(superpixel_means, image, labels=labels, statistic=statistic, background=background)
    if channel_axis is None:
        return result[..., 0]
    return array_namespace(result).moveaxis(result, -1, channel_axis)


@contract(Exact(), nan="refuse")
def merge_superpixels(
    labels,
    image,
    threshold=None,
    n_segments=None,
    *,
    criterion="mean",
    channel_axis=None,
    connectivity=1,
    background=0,
):
    """Merge neighbouring superpixels, the most similar ones first.

    Parameters
    ----------
    labels : integer array
        The superpixels, or any regions; not negative.
    image : array of real numbers, of the shape of `labels` (and an axis of channels)
        What makes them similar.
    threshold : number, optional
        Merge neighbours that differ by less than this, in the units of `image`.
    n_segments : int, optional
        Stop at so many regions. One of `threshold` and `n_segments` must be given, and both may be.
    criterion : {'mean', 'boundary'}, optional
        What the difference of two neighbours is: the distance of their means, or the mean over
        the boundary between them of the differences of the pixels that face each other there.
    channel_axis : int, optional
        The axis of `image` along which its channels lie; distances are Euclidean.
    connectivity : int, optional
        Which pixels are neighbours: along how many axes at most they differ.
    background : int or None, optional
        The label of what is no superpixel: it stays 0 and merges with nothing. None where there is
        none, as in labels that start at 0.

    Returns
    -------
    int32 array of the shape of `labels`
        The regions from 1 on, in the order of the smallest label in each.

    Raises
    ------
    TypeError, ValueError
        As for `superpixel_means`, and where neither `threshold` nor `n_segments` is given.

    Notes
    -----
    NaN and infinity are refused.

    Greedy hierarchical merging on the region adjacency graph: after each merge the new region's
    differences to its neighbours are taken anew. `skimage.graph.merge_hierarchical` does the same
    with functions of the user's. Equal differences merge in the order of the labels. The graph
    (40 bytes an edge, 16 bytes a region and channel) is merged on the host. Beside labels and
    result it needs up to 36 bytes for each pair of pixels that a boundary separates.

    Of a Dask array the superpixels are merged at once, and the result that shows them is lazy; it
    is the same. The graph of the whole is in memory, and each chunk is computed for it three times,
    four for ``criterion="boundary"``.

    References
    ----------
    .. [1] A. Tremeau, P. Colantoni, "Regions adjacency graph applied to color image segmentation",
           IEEE Transactions on Image Processing 9(4), 2000. :doi:`10.1109/83.841950`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.segmentation import merge_superpixels
    >>> labels = np.array([[1, 1, 2, 2, 3, 3]])
    >>> merge_superpixels(labels, np.array([[0, 0, 1, 1, 9, 9]]), threshold=5)
    array([[1, 1, 1, 1, 2, 2]], dtype=int32)
    """
    image, labels, background = _regions(image, labels, channel_axis, background)
    if threshold is None and n_segments is None:
        raise ValueError("merge_superpixels needs a threshold, or n_segments, or both")
    threshold = np.inf if threshold is None else number(threshold, "threshold", at_least=0)
    least = 1 if n_segments is None else integer(n_segments, "n_segments", at_least=1)
    option(criterion, "criterion", ("mean", "boundary"))
    image, exponent = moderate(image)
    threshold = times_power(float(threshold), -exponent)
    return run(
        merge_superpixels,
        labels,
        image=image,
        threshold=float(threshold),
        least=least,
        by_strength=criterion == "boundary",
        connectivity=integer(connectivity, "connectivity", at_least=1, at_most=labels.ndim),
        background=background,
    )


@contract(Exact(), nan="refuse")
def superpixel_classes(
    image,
    thresholds=None,
    n_classes=None,
    *,
    n_segments=100,
    compactness=0.1,
    sigma=0,
    mask=None,
    return_steps=False,
):
    """Divide an image into superpixels, take their means, and divide these by thresholds.

    Parameters
    ----------
    image : array of real numbers, 2-D or 3-D
        One channel.
    thresholds : number or ascending sequence of numbers, optional
        In the units of the image, as for `gpuseg.filters.apply_thresholds`.
    n_classes : int, optional
        In place of thresholds: so many classes, at those of `gpuseg.filters.threshold_multiotsu` of
        the means, each as often as it has pixels.
    n_segments, compactness, sigma, mask
        As for `slic`.
    return_steps : bool, optional
        Return all three steps.

    Returns
    -------
    uint8 array of the shape of `image`, or SuperpixelSteps
        The class of each pixel, from 0 on; 0 outside the mask. Or a named tuple of
        ``superpixels``, ``means`` and ``classes``. uint16 for more than 255 thresholds.

    Raises
    ------
    TypeError, ValueError
        As for `slic` and `gpuseg.filters.apply_thresholds`, and unless one of `thresholds` and
        `n_classes` is given.

    Warns
    -----
    UserWarning
        If the image has three axes and the last has length 3 or 4, as that of colours has.

    Notes
    -----
    NaN and infinity are refused, but where a mask leaves them out.

    References
    ----------
    .. [1] X. Ren, J. Malik, "Learning a classification model for segmentation", IEEE International
           Conference on Computer Vision, 2003. :doi:`10.1109/ICCV.2003.1238308`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.segmentation import superpixel_classes
    >>> image = np.repeat([[0, 2, 1, 9, 7, 9, 8, 8]], 4, axis=0)
    >>> superpixel_classes(image, 5, n_segments=2)[0]
    array([0, 0, 0, 1, 1, 1, 1, 1], dtype=uint8)
    """
    flags(return_steps=return_steps)
    in_memory(superpixel_classes, image)
    if (thresholds is None) == (n_classes is None):
        raise ValueError("superpixel_classes needs either thresholds or n_classes")
    there = asarray(real_array(image, ndim=(2, 3)))
    not_colours(superpixel_classes, there)
    mask = mask_array(mask, there)
    labels = slic(there, n_segments, compactness, sigma=sigma, mask=mask, channel_axis=None)
    if mask is not None:
        there = array_namespace(there).where(mask, there, there.dtype.type(0))
    means = superpixel_means(there, labels)
    if thresholds is None:
        thresholds = filters.threshold_multiotsu(
            means, integer(n_classes, "n_classes", at_least=2), mask=mask
        )
    classes = filters.apply_thresholds(means, thresholds)
    if mask is not None:
        classes[~mask] = 0
    steps = SuperpixelSteps(*(returned(step, image) for step in (labels, means, classes)))
    return steps if return_steps else steps.classes


def _regions(image, labels, channel_axis, background):
    """The image with channels along a last axis, and labels that suit it."""
    image = finite_array(image)
    xp = array_namespace(image)
    if channel_axis is not None:
        image = xp.moveaxis(image, axis(channel_axis, "channel_axis", image.ndim), -1)
    else:
        image = image[..., None]
    labels = not_negative(integer_array(labels, "labels", or_bool=False), "labels")
    if labels.shape != image.shape[:-1]:
        raise ValueError(
            f"labels must have the shape of the image, {image.shape[:-1]}, got {labels.shape}"
        )
    background = -1 if background is None else integer(background, "background", at_least=0)
    return image, labels, background
