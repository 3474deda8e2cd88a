"""Quad-trees and octrees: an image in square blocks that are as large as they are even."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._backend import array_namespace, asnumpy, is_dask, run
from .._checks import (
    integer,
    moderate,
    not_colours,
    number,
    option,
    real_array,
    times_power,
)
from .._contracts import Exact, contract

_CRITERIA = ("range", "std", "variance")


@dataclass(frozen=True, eq=False, repr=False)
class QuadTree:
    """The leaves of a quad-tree or octree, in Morton order; `quadtree` makes them.

    Morton order is that of the recursion: the children of a block come one after the other, the
    first axis changing last. Arrays are on the device that the image was on.

    Attributes
    ----------
    shape : tuple of int
        The shape of the image.
    threshold, criterion
        What the image was split by.
    corner : int32 array, (leaves, axes)
        The first pixel of each leaf.
    level : uint8 array
        The binary logarithm of `size`.
    size : int32 array
        The side of each leaf, a power of two. At the far borders of an image a leaf may reach over
        them; `extent` tells how much of it is image.
    extent : int32 array, (leaves, axes)
        The pixels of each leaf along each axis, inside the image.
    mean : float array
        float32 where that holds every value of the image's type (8 and 16 bits, float32) and
        `criterion` is ``'range'``, else float64.
    min, max : arrays of the type of the image
    variance : float64 array or None
        None where `criterion` is ``'range'``, which does not need it. Where float64 does not hold
        the square, it is infinite or 0, though the image was divided by the true one.
    chunks : tuple of tuples of int, or None
        Of the tree of a Dask array: those of ``labels()``, ``mean_image()`` and ``merge()``, which
        are then lazy.
    """

    shape: tuple[int, ...]
    threshold: float
    criterion: str
    corner: Any
    level: Any
    mean: Any
    min: Any
    max: Any
    variance: Any = None
    chunks: tuple[tuple[int, ...], ...] | None = None

    @property
    def size(self):
        xp = array_namespace(self.level)
        return xp.left_shift(xp.int32(1), self.level.astype(xp.int32))

    @property
    def extent(self):
        xp = array_namespace(self.corner)
        room = xp.asarray(self.shape, dtype=xp.int32) - self.corner
        return xp.minimum(room, self.size[:, None])

    def __len__(self) -> int:
        return len(self.level)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.shape))
        rule = f"{self.criterion} over {self.threshold:g} is split"
        return f"QuadTree({shape}, {len(self)} leaves, {rule})"

    def to_dataframe(self):
        """The leaves as a pandas DataFrame, one a row, in Morton order.

        Columns are ``corner-0``, ``corner-1`` (and ``corner-2``), ``size``, ``level``, ``mean``,
        ``min``, ``max``, and ``variance`` where there is one.
        """
        import pandas

        columns = {f"corner-{k}": self.corner[:, k] for k in range(len(self.shape))}
        columns |= {name: getattr(self, name) for name in ("size", "level", "mean", "min", "max")}
        if self.variance is not None:
            columns["variance"] = self.variance
        return pandas.DataFrame({name: asnumpy(column) for name, column in columns.items()})

    def labels(self):
        """Number every pixel by its leaf: an int32 image, from 1 on in Morton order."""
        xp = array_namespace(self.level)
        return self._painted(xp.arange(1, len(self) + 1, dtype=xp.int32))

    def mean_image(self):
        """Give every pixel the mean of its leaf: a float image, of the type of `mean`."""
        return self._painted(self.mean)

    def _painted(self, values):
        if self.chunks is not None:
            from .._dask.segmentation.quadtree import painted

            return painted(self.corner, self.level, values, self.chunks)
        return paint_leaves(self.corner, level=self.level, values=values, shape=self.shape)

    def merge(self, threshold=None):
        """Merge leaves that touch into regions: the second half of split-and-merge.

        Two regions that touch (by a side, not by a corner alone) become one where that one would
        not have been split: its range, standard deviation or variance is `threshold` at most.
        Pairs of leaves are tried in the order of the difference of their means, the most similar
        ones first and equal ones in Morton order, until no two regions that touch can be merged.

        Parameters
        ----------
        threshold : number, optional
            In the units of the criterion that the image was split by; by default its threshold.

        Returns
        -------
        int32 array of the shape of the image
            The regions from 1 on, in the order of their first leaves.

        Notes
        -----
        Merging runs on the CPU, where it needs 4 bytes a pixel beside the result, and up to 24
        bytes for each pair of leaves that touch.

        References
        ----------
        .. [1] S. L. Horowitz, T. Pavlidis, "Picture segmentation by a tree traversal algorithm",
               Journal of the ACM 23(2), 1976. :doi:`10.1145/321941.321956`

        Examples
        --------
        >>> import numpy as np
        >>> from gpuseg.segmentation import quadtree
        >>> image = np.array([[0, 0, 0, 9], [0, 0, 0, 9], [5, 5, 5, 9], [5, 5, 5, 9]])
        >>> quadtree(image, threshold=1).merge()
        array([[1, 1, 1, 2],
               [1, 1, 1, 2],
               [3, 3, 3, 2],
               [3, 3, 3, 2]], dtype=int32)
        """
        if threshold is None:
            threshold = self.threshold
        regions = merge_leaves(
            self.corner,
            level=self.level,
            mean=self.mean,
            low=self.min,
            high=self.max,
            variance=self.variance,
            shape=self.shape,
            threshold=number(threshold, "threshold", at_least=0),
            criterion=self.criterion,
        )
        return self._painted(regions)

    def draw(self, ax, index=None, **options):
        """Draw the borders of the leaves into Matplotlib axes, all as one collection of lines.

        Parameters
        ----------
        ax : matplotlib.axes.Axes
            Where pixel (row, column) lies at x = column and y = row, as `imshow` has it.
        index : int, optional
            The slice of a volume, along its first axis, whose leaves are drawn. Needed in 3-D, and
            not allowed in 2-D.
        **options
            For `matplotlib.collections.LineCollection`: ``colors``, ``linewidths``, ...

        Returns
        -------
        matplotlib.collections.LineCollection
        """
        from matplotlib.collections import LineCollection

        corner, extent = asnumpy(self.corner), asnumpy(self.extent)
        if (index is None) != (len(self.shape) == 2):
            raise ValueError(
                f"index must be {'None in 2-D' if len(self.shape) == 2 else 'a slice in 3-D'}, "
                f"got {index!r}"
            )
        if index is not None:
            index = integer(index, "index", at_least=0, at_most=self.shape[0] - 1)
            cut = (corner[:, 0] <= index) & (index < corner[:, 0] + extent[:, 0])
            corner, extent = corner[cut], extent[cut]
        # The left and the upper side of each leaf; the others are those of its neighbours.
        height, width = self.shape[-2:]
        top, left = corner[:, -2], corner[:, -1]
        bottom, right = top + extent[:, -2], left + extent[:, -1]
        sides = [np.stack([left, bottom, left, top, right, top], -1).reshape(-1, 3, 2) - 0.5]
        frame = np.array([[[0, height], [width, height], [width, 0]]]) - 0.5
        options = {"colors": "tab:red", "linewidths": 0.5} | options
        lines = LineCollection(np.concatenate([*sides, frame]), **options)
        ax.add_collection(lines, autolim=False)
        if not ax.images:
            ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), aspect="equal")
        return lines


@contract(Exact(), nan="refuse")
def quadtree(image, threshold, criterion="range", min_size=1, max_size=None):
    """Split an image into square blocks (a volume into cubes) until each is even enough.

    The root is the square with a side of a power of two that holds the image; a block is split into
    its four quadrants (eight octants) while `criterion` of its pixels is more than `threshold`.
    Images of any shape will do: what a block has outside the image is not there, and blocks that
    are wholly outside do not exist.

    Parameters
    ----------
    image : array of real numbers, 2-D or 3-D
        No NaN and no infinity.
    threshold : number
        Split while the criterion is greater: 0 or more, in the units of `image` (squared, for a
        variance).
    criterion : {'range', 'std', 'variance'}, optional
        The greatest less the least value of a block, exact in any type; or its standard deviation
        or variance (over all pixels, not n - 1).
    min_size : int, optional
        Blocks of this side are not split. A power of two.
    max_size : int, optional
        Blocks of a larger side are always split. A power of two, `min_size` at least; None stands
        for no limit.

    Returns
    -------
    QuadTree
        The leaves (corner, size, level, mean, min, max), with ``labels()``, ``mean_image()``,
        ``merge()``, ``draw()`` and ``to_dataframe()``.

    Raises
    ------
    TypeError, ValueError
        For an image that holds NaN or infinity, or is not 2-D or 3-D; a threshold that is negative,
        NaN or no number; sizes that are not powers of two.

    Warns
    -----
    UserWarning
        If the image has three axes and the last has length 3 or 4, as that of colours has.

    Notes
    -----
    `criterion` ``'range'`` splits as MATLAB's ``qtdecomp`` does, whose threshold for images of
    integers is a share of the type's range, not in the units of the image.

    Bottom-up in one pass over the image, and a second one over the tiles that hold more than one
    leaf, with no recursion. Sums are taken in float64 in one order, so that the leaves of every
    backend are the same to the last bit. Beside the image and the leaves (21 bytes each in 2-D
    float32, 8 more with a variance) it needs 0.1 bytes a pixel and 1.5 MB a thread at most; an
    image that is not C-contiguous, or of a type without a kernel (bool, 8-bit signed, 16-bit
    signed or float, 32-bit unsigned), is copied.

    Of a Dask array the same leaves are found at once, by the CPU: each chunk is computed once, and
    those that hold a split tile (32 pixels along each axis, or 8 voxels) twice; the tiles' table
    and the leaves are in memory. The images of the tree are lazy.

    References
    ----------
    .. [1] H. Samet, "The quadtree and related hierarchical data structures", ACM Computing Surveys
           16(2), 1984. :doi:`10.1145/356924.356930`
    .. [2] G. Ziegler, A. Tevs, C. Theobalt, H.-P. Seidel, "On-the-fly point clouds through
           histogram pyramids", Vision, Modeling and Visualization, 2006.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.segmentation import quadtree
    >>> image = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [5, 5, 1, 2], [5, 5, 3, 9]])
    >>> tree = quadtree(image, threshold=1)
    >>> tree
    QuadTree(4x4, 7 leaves, range over 1 is split)
    >>> tree.labels()
    array([[1, 1, 2, 2],
           [1, 1, 2, 2],
           [3, 3, 4, 5],
           [3, 3, 6, 7]], dtype=int32)
    >>> tree.mean
    array([0., 1., 5., 1., 2., 3., 9.])
    """
    image = real_array(image, ndim=(2, 3))
    not_colours(quadtree, image)
    if max(image.shape) >= 2**31:
        raise ValueError(f"image must be under 2**31 pixels along each axis, got {image.shape}")
    threshold = number(threshold, "threshold", at_least=0)
    option(criterion, "criterion", _CRITERIA)
    min_size = _power_of_two(min_size, "min_size")
    if max_size is not None:
        max_size = _power_of_two(max_size, "max_size")
        if max_size < min_size:
            raise ValueError(f"max_size must be at least min_size, {min_size}, got {max_size}")
    there, exponent, limit = image, 0, threshold
    if criterion != "range" and image.dtype == np.float64:
        there, exponent = moderate(image, squares_in=np.float64)
        power = 2 if criterion == "variance" else 1
        limit = min(float(times_power(threshold, -power * exponent)), np.finfo(np.float64).max)
    corner, level, low, high, mean, variance = run(
        quadtree,
        there,
        threshold=limit,
        criterion=criterion,
        min_size=min_size,
        max_size=max_size,
    )
    if exponent:
        low, high, mean = (times_power(x, exponent) for x in (low, high, mean))
        variance = times_power(variance, 2 * exponent)
    chunks = None
    if is_dask(image):
        from .._dask.segmentation.quadtree import in_tiles

        chunks = in_tiles(image).chunks
    return QuadTree(
        image.shape, threshold, criterion, corner, level, mean, low, high, variance, chunks
    )  # fmt: skip


def paint_leaves(corner, *, level, values, shape):
    """An image of `shape` in which each leaf has its value."""
    return run(paint_leaves, corner, level=level, values=values, shape=shape)


def merge_leaves(corner, *, level, mean, low, high, variance, shape, threshold, criterion):
    """The number of each leaf's region."""
    return run(
        merge_leaves,
        corner,
        level=level,
        mean=mean,
        low=low,
        high=high,
        variance=variance,
        shape=shape,
        threshold=threshold,
        criterion=criterion,
    )


def _power_of_two(x, name: str) -> int:
    x = integer(x, name, at_least=1)
    if x & (x - 1):
        raise ValueError(f"{name} must be a power of two, got {x}")
    return x
