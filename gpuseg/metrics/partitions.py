"""How well the regions of one image match those of another: superpixels, objects, partitions."""

from __future__ import annotations

import numpy as np

from .._backend import array_namespace, is_cupy, is_dask, ndimage, run
from .._checks import (
    beside,
    finite_array,
    integer,
    integer_array,
    not_negative,
    number,
    same_shape,
)
from .._contracts import Close, Exact, contract
from .overlap import pieces
from .pairs import Pairs, pair_counts


@contract(Exact(), nan=None)
def boundary_recall(y_true, y_pred, *, tolerance=2):
    """The share of the true boundary that lies near a boundary of a segmentation.

    Parameters
    ----------
    y_true, y_pred : integer or bool arrays of one shape
        The true regions, and those of the segmentation, for example superpixels.
    tolerance : int, optional
        How far apart they may be along each axis, in pixels.

    Returns
    -------
    float
        From 0 to 1; 1 where there is no true boundary.

    Raises
    ------
    TypeError, ValueError
        For arrays that are not of integers, are empty, or differ in shape, and a negative
        tolerance.

    References
    ----------
    .. [1] D. Stutz, A. Hermans, B. Leibe, "Superpixels: an evaluation of the state-of-the-art",
           Computer Vision and Image Understanding 166, 2018. :doi:`10.1016/j.cviu.2017.03.007`

    Examples
    --------
    >>> from gpuseg.metrics import boundary_recall
    >>> boundary_recall([0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1], tolerance=1)
    1.0
    """
    y_true, y_pred = _label_pair(y_true, y_pred)
    tolerance = integer(tolerance, "tolerance", at_least=0)
    hits, total = boundary_hits(y_true, y_pred, tolerance)
    return hits / total if total else 1.0


def boundary_hits(y_true, y_pred, tolerance: int) -> tuple[int, int]:
    """The pixels of the true boundary that are near one of the segmentation, and all of them."""
    if is_dask(y_true) or is_dask(y_pred):
        return run(boundary_hits, y_true, y_pred, tolerance)
    hits = total = 0
    # Each piece of a device array costs launches and a wait.
    most = 1 << 23 if is_cupy(y_true) else None
    for here in pieces(y_true.shape, tolerance + 1, most=most):
        # A boundary is seen from the pixels on both sides of it.
        first = max(0, here.start - tolerance - 1)
        around = slice(first, here.stop + tolerance + 1)
        inside = slice(here.start - first, here.stop - first)
        true, near = boundaries(y_true[around], y_pred[around], tolerance)
        hits += int((true & near)[inside].sum())
        total += int(true[inside].sum())
    return hits, total


def boundaries(y_true, y_pred, tolerance: int):
    """The true boundary, and what is near one of the segmentation."""
    true, near = _boundary(y_true), _boundary(y_pred)
    if tolerance:
        near = ndimage(near).maximum_filter(near, 2 * tolerance + 1, mode="constant")
    return true, near


@contract(Exact(), nan=None)
def undersegmentation_error(y_true, y_pred):
    """How far the regions of a segmentation leak across true boundaries.

    Each region counts, for each true region that it meets, the smaller of its part inside and its
    part outside; the sum is divided by the number of pixels.

    Parameters
    ----------
    y_true, y_pred : integer or bool arrays of one shape
        The true regions, and those of the segmentation, for example superpixels.

    Returns
    -------
    float
        0 where every region lies in one true region.

    Raises
    ------
    TypeError, ValueError
        For arrays that are not of integers, are empty, or differ in shape.

    References
    ----------
    .. [1] P. Neubert, P. Protzel, "Superpixel benchmark and comparison", Forum Bildverarbeitung,
           2012.

    Examples
    --------
    >>> from gpuseg.metrics import undersegmentation_error
    >>> undersegmentation_error([0, 0, 0, 1], [5, 5, 5, 5])
    0.5
    """
    y_true, y_pred = _label_pair(y_true, y_pred)
    return leaks(pair_counts(y_true, y_pred)) / y_true.size


@contract(Close(rtol=1e-12), nan=None)
def variation_of_information(image0=None, image1=None, *, table=None, ignore_labels=()):
    """How much information two divisions of an image do not share: false splits, false merges.

    Parameters
    ----------
    image0, image1 : integer or bool arrays of one shape
        The true regions, and those of the segmentation.
    table : sparse array, optional
        In place of the images: how many pixels have label i in the first and j in the second.
    ignore_labels : sequence of int, optional
        Pixels with these labels in `image0` do not count.

    Returns
    -------
    float64 array of 2
        The conditional entropies, in bits: of `image1` given `image0` (true regions that were
        split) and of `image0` given `image1` (that were merged).

    Raises
    ------
    TypeError, ValueError
        For arrays that are not of integers, are empty, or differ in shape.

    References
    ----------
    .. [1] M. Meila, "Comparing clusterings - an information based distance", Journal of
           Multivariate Analysis 98(5), 2007. :doi:`10.1016/j.jmva.2006.11.013`

    Examples
    --------
    >>> from gpuseg.metrics import variation_of_information
    >>> variation_of_information([0, 0, 1, 1], [0, 1, 2, 2])
    array([0.5, 0. ])
    """
    if table is None:
        table = _table(image0, image1, ignore_labels, "image0", "image1")
    table = _given_table(table).tocoo()
    there = table.data > 0
    shares = table.data[there] / table.data[there].sum()
    entropies = []
    for index in (table.coords[0][there], table.coords[1][there]):
        known = np.bincount(index, shares)[index]
        entropies.append(-(shares * np.log2(shares / known)).sum() + 0.0)
    return np.array(entropies)


@contract(Close(rtol=1e-12), nan=None)
def adapted_rand_error(
    image_true=None, image_test=None, *, table=None, ignore_labels=(0,), alpha=0.5
):
    """One minus the weighted mean of precision and recall of pairs of pixels.

    Parameters
    ----------
    image_true, image_test : integer or bool arrays of one shape
        The true regions, and those of the segmentation.
    table : sparse array, optional
        In place of the images: how many pixels have label i in the first and j in the second.
    ignore_labels : sequence of int, optional
        Pixels with these labels in `image_true` do not count.
    alpha : float, optional
        The weight of precision against recall, from 0 to 1.

    Returns
    -------
    are, precision, recall : float
        The error; of the pairs of pixels that are together in truth, the share that is in the
        test; and of those together in the test, the share that is in truth. (scikit-image gives
        them these names, which others give the other way round.)

    Raises
    ------
    TypeError, ValueError
        For arrays that are not of integers, are empty, or differ in shape, and `alpha` out of
        range.

    References
    ----------
    .. [1] I. Arganda-Carreras et al., "Crowdsourcing the creation of image segmentation algorithms
           for connectomics", Frontiers in Neuroanatomy 9, 2015. :doi:`10.3389/fnana.2015.00142`

    Examples
    --------
    >>> from gpuseg.metrics import adapted_rand_error
    >>> are, precision, recall = adapted_rand_error([1, 1, 2, 2], [1, 1, 1, 1])
    >>> round(float(precision), 3), round(float(recall), 3)
    (1.0, 0.333)
    """
    from skimage.metrics import adapted_rand_error as peer

    alpha = number(alpha, "alpha", at_least=0, at_most=1)
    if table is None:
        table = _table(image_true, image_test, ignore_labels, "image_true", "image_test")
    return peer(table=_given_table(table), alpha=alpha)


def _given_table(table):
    """A table that counts pairs of labels, as scikit-image makes and takes it."""
    from scipy import sparse

    if not sparse.issparse(table):
        raise TypeError(f"table must be a sparse array of SciPy, got {type(table).__name__}")
    return table


def _table(first, second, ignore_labels, name, other):
    if first is None or second is None:
        raise TypeError(f"{name} and {other} are needed, unless there is a table")
    return table_of(pair_counts(*_label_pair(first, second, name, other)), ignore_labels)


def leaks(pairs: Pairs) -> int:
    """Pixels on the smaller side of the regions of `pairs.second`, in each of `pairs.first`."""
    outside = pairs.second_sizes[pairs.second] - pairs.counts
    return int(np.minimum(pairs.counts, outside).sum())


def table_of(pairs: Pairs, ignore_labels):
    """A sparse table of the pixels in each pair of labels; ignored ones are left at 0."""
    from scipy.sparse import csr_array

    counts = np.where(np.isin(pairs.first_values[pairs.first], ignore_labels), 0, pairs.counts)
    shape = (len(pairs.first_values), len(pairs.second_values))
    return csr_array((counts.astype(np.float64), (pairs.first, pairs.second)), shape=shape)


@contract(Exact(), nan="refuse")
def explained_variation(image, labels):
    """The share of an image's variance that the means of its regions keep.

    Parameters
    ----------
    image : array of real numbers
        One channel.
    labels : integer array of the shape of `image`
        The regions; not negative. 0 is a region like others.

    Returns
    -------
    float
        From 0 (all means are equal) to 1 (no region varies); 1 for an image that does not vary.

    Raises
    ------
    TypeError, ValueError
        For an image that holds NaN or infinity, and labels that do not fit.

    References
    ----------
    .. [1] A.P. Moore, S.J.D. Prince, J. Warrell, U. Mohammed, G. Jones, "Superpixel lattices",
           IEEE Conference on Computer Vision and Pattern Recognition, 2008.
           :doi:`10.1109/CVPR.2008.4587471`

    Examples
    --------
    >>> from gpuseg.metrics import explained_variation
    >>> explained_variation([0, 0, 4, 4], [1, 1, 2, 2])
    1.0
    """
    from .._cpu.regions import compact, region_variances

    image = finite_array(image)
    labels = not_negative(integer_array(labels, "labels"), "labels")
    same_shape(labels, image, "labels", "image")
    if is_dask(image) or is_dask(labels):
        return run(explained_variation, image, labels)
    flat, numbers = compact(beside(labels, image))
    values = image.reshape(-1)
    values = values.view(np.uint8) if values.dtype == bool else values
    return region_variances(values, flat, numbers.size).kept()


def _label_pair(first, second, name="y_true", other="y_pred"):
    first, second = check_regions(first, second, name, other)
    same_shape(first, second, name, other)
    return first, beside(second, first)


def check_regions(first, second, name="y_true", other="y_found"):
    """Labels of regions: integers or bool, none negative."""
    first, second = integer_array(first, name), integer_array(second, other)
    return not_negative(first, name), not_negative(second, other)


def _boundary(labels):
    """The pixels next to another region, on both sides of its faces."""
    xp = array_namespace(labels)
    found = xp.zeros(labels.shape, bool)
    for a in range(labels.ndim):
        near = tuple(slice(None, -1) if b == a else slice(None) for b in range(labels.ndim))
        far = tuple(slice(1, None) if b == a else slice(None) for b in range(labels.ndim))
        edge = labels[near] != labels[far]
        found[near] |= edge
        found[far] |= edge
    return found
