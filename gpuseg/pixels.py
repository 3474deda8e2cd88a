"""Segmentation by example: classes of pixels, learnt from those that someone has labelled."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.utils.validation import check_is_fitted

from . import _backend, _models
from ._checks import axis, finite_array, integer, integer_array, not_for_lazy, of_one_type, output
from .estimators import DecisionTreeClassifier, RandomForestClassifier, forest_predict
from .features import AddFilters
from .features.transformers import channel_names

# Bytes of features that a tile has by default.
_TILE = 1 << 28


class PixelClassifier(BaseEstimator):
    """Find the class of every pixel or voxel from its features, as learnt from labelled ones.

    Parameters
    ----------
    features : transformer or sequence of them, optional
        `gpuseg.features.AddFilters`, `AddPosition`, `AddNeighborhood`, `AddPolynomial`, applied one
        after the other to the channels of the image. By default ``AddFilters()``: the image and
        its bank of filters.
    estimator : classifier, optional
        One of `gpuseg.estimators`, or any of scikit-learn's. By default
        ``RandomForestClassifier(n_estimators=100, max_depth=12, n_jobs=-1, random_state=0)``.
    channel_axis : int, optional
        The axis of the images along which their channels lie. By default they are grey.
    max_per_class : int, optional
        Learn from at most so many labelled pixels of each class, drawn by `random_state`. By
        default from all: then a forest takes its time on a densely labelled image.
    random_state : None, int or numpy.random.RandomState, optional
        The source of that drawing.
    tile : int, optional
        The edge of the tiles whose features are in memory at a time, in pixels. By default they
        take about 256 MiB. The result does not depend on it.

    Attributes
    ----------
    estimator_ : classifier
        The fitted one.
    classes_ : array of shape (classes,)
        The labels, in the type in which they came.
    feature_names_ : list of str
    n_channels_, ndim_ : int
        Of the images that the model is for.

    Raises
    ------
    TypeError, ValueError
        By the methods: images that are not of real numbers, hold NaN or infinity, or have not the
        axes and channels of the model; labels of another shape, none, or of a single class.

    Notes
    -----
    Features are computed on tiles with as much around them as the filters reach, so those of a
    large volume are never all in memory, and equal those of the whole image bit for bit. Each
    pixel is then predicted by itself: for the estimators of gpuseg, tiles equal the whole exactly
    (for nearest neighbours up to 15 features; beyond, they are found by matrix products of
    scikit-learn, whose rounding can depend on the number of rows).

    `predict` needs the image, its result, twice the bytes of a tile's features, and about ten
    numbers for each pixel of a tile with what the filters reach around it; `fit`
    needs 4 bytes for each feature of each labelled pixel, and what the estimator needs.

    Of a Dask array `predict` and `predict_proba` give a lazy one in its chunks, equal to that of
    the whole. A chunk is computed with what the filters reach around it in its neighbours (chunks
    thinner than that are joined), and within it tile by tile. `fit` computes those parts of it that
    hold labels.

    References
    ----------
    .. [1] S. Berg et al., "ilastik: interactive machine learning for (bio)image analysis", Nature
           Methods 16, 2019. :doi:`10.1038/s41592-019-0582-9`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.features import AddFilters
    >>> from gpuseg.pixels import PixelClassifier
    >>> rng = np.random.default_rng(0)
    >>> image = rng.normal(size=(60, 60))
    >>> image[:, 30:] *= 3  # the right half is rough, and no brighter
    >>> scribbles = np.zeros((60, 60), int)
    >>> scribbles[10:50, 5:8], scribbles[10:50, 50:53] = 1, 2
    >>> model = PixelClassifier(AddFilters(sigmas=(2, 4))).fit(image, scribbles)
    >>> classes = model.predict(image)
    >>> float((classes[:, :24] == 1).mean()) > 0.9, float((classes[:, 36:] == 2).mean()) > 0.9
    (True, True)
    """

    def __init__(
        self,
        features=None,
        estimator=None,
        *,
        channel_axis=None,
        max_per_class=None,
        random_state=None,
        tile=None,
    ):
        self.features = features
        self.estimator = estimator
        self.channel_axis = channel_axis
        self.max_per_class = max_per_class
        self.random_state = random_state
        self.tile = tile

    def fit(self, image, labels, *, unlabelled="auto", progress=None):
        """Learn from labelled pixels.

        Parameters
        ----------
        image : array of real numbers, 2-D or 3-D and channels, or list of such arrays
            A list is of several images.
        labels : bool or integer array of the image's shape without its channels, or list of them
            Scribbles, or a mask or classes for every pixel.
        unlabelled : int, None or 'auto', optional
            The label that says nothing of its pixel; None where every pixel is labelled. 'auto' is
            0 for integers and None for bool, where False is a class.
        progress : callable, optional
            Called with the number of tiles done and of all tiles, after each.

        Returns
        -------
        PixelClassifier
            Itself.
        """
        chain, estimator = self._parts()
        pairs = self._examples(image, labels, unlabelled)
        channels, ndim = pairs[0].image.shape[-1], pairs[0].image.ndim - 1
        count = len(_names(chain, channels, ndim))
        chosen = _chosen(pairs, self.max_per_class, self.random_state)
        dtype = np.result_type(*(label.dtype for _, label, _ in pairs))
        table, classes = None, np.empty(sum(len(at) for at in chosen), dtype)
        tiles = [self._cuts(pair.image.shape[:-1], chain, count) for pair in pairs]
        told = _Told(progress, sum(len(cuts) for cuts in tiles))
        start = 0
        for pair, at, cuts in zip(pairs, chosen, tiles):
            shape = pair.image.shape[:-1]
            classes[start : start + len(at)] = pair.labels.reshape(-1)[at]
            for cut in cuts:
                rows, coordinates = _inside(at, shape, cut)
                if len(rows):
                    core = tuple(slice(int(c.min()), int(c.max()) + 1) for c in coordinates)
                    cut = _with_halo(core, shape, _halo(chain))
                    local = tuple(c - s.start for c, s in zip(coordinates, cut.core))
                    found = _backend.asnumpy(_features(chain, pair.image, cut))[local]
                    if table is None:
                        table = np.empty((len(classes), found.shape[-1]), found.dtype)
                    table[start + rows] = found
                told.one()
            start += len(at)
        return self._fitted(chain, estimator.fit(table, classes), channels, ndim)

    def predict(self, image, *, stack=False, out=None, probabilities=None, progress=None):
        """The class of every pixel.

        Parameters
        ----------
        image : array of real numbers
            With as many axes and channels as those that were learnt from.
        stack : bool, optional
            `image` is a stack of such images along its first axis, and each of them is predicted by
            itself: slice by slice, where a model of pictures is shown a volume.
        out : array of the image's shape without its channels, optional
            Where to put the classes, for example a `numpy.memmap`; of a type that can hold them.
        probabilities : floating-point array, optional
            Where to put what `predict_proba` gives, in the same pass.
        progress : callable, optional
            Called with the number of tiles done and of all tiles, after each.

        Returns
        -------
        array of the image's shape without its channels
            Of the type of the labels that were learnt from.
        """
        image, given = self._checked(image, stack), image
        if _backend.is_dask(image):
            not_for_lazy(out=out, probabilities=probabilities, progress=progress)
            return answers_of(image, self, "predict")
        out = self._output(out, "out", image, given)
        wanted = {"predict": out}
        if probabilities is not None:
            wanted["predict_proba"] = self._likelihoods(
                probabilities, "probabilities", image, given
            )
        self._fill(wanted, image, progress)
        return out

    def predict_proba(self, image, *, stack=False, out=None, progress=None):
        """How likely each class is, for every pixel.

        Parameters
        ----------
        image : array of real numbers
            With as many axes and channels as those that were learnt from.
        stack : bool, optional
            `image` is a stack of such images, as for `predict`.
        out : floating-point array, optional
            Where to put the result, for example a `numpy.memmap`.
        progress : callable, optional
            Called with the number of tiles done and of all tiles, after each.

        Returns
        -------
        float32 array of the image's shape without its channels, and (classes,)
            In the order of `classes_`.
        """
        image, given = self._checked(image, stack), image
        if _backend.is_dask(image):
            self._check_likelihoods()
            not_for_lazy(out=out, progress=progress)
            return answers_of(image, self, "predict_proba")
        out = self._likelihoods(out, "out", image, given)
        self._fill({"predict_proba": out}, image, progress)
        return out

    def feature_importances(self) -> dict[str, float]:
        """How much each feature counts for the estimator, the most important first.

        Returns
        -------
        dict of str to float
            Of trees and forests: the share of the impurity that the feature removes [1]_; they add
            up to 1.

        Raises
        ------
        TypeError
            For an estimator that has no such attribute.

        References
        ----------
        .. [1] L. Breiman, "Random forests", Machine Learning 45, 2001.
               :doi:`10.1023/A:1010933404324`
        """
        check_is_fitted(self, "estimator_")
        last = self.estimator_
        last = last.steps[-1][1] if hasattr(last, "steps") else last
        values = getattr(last, "feature_importances_", None)
        if values is None:
            raise TypeError(f"estimator {type(last).__name__} has no feature importances")
        if len(values) != len(self.feature_names_):
            raise TypeError("the estimator is a pipeline whose steps change the features")
        order = np.argsort(-values, kind="stable")
        return {self.feature_names_[i]: float(values[i]) for i in order}

    def save(self, path, *, force=False) -> None:
        """Write the model to one file, whole or not at all; without pickle.

        Parameters
        ----------
        path : str or path
        force : bool, optional
            Replace a file that exists.

        Raises
        ------
        TypeError
            For an estimator that is not of `gpuseg.estimators`.
        gpuseg._files.RefusedOutput
            For a file that exists, or a folder that does not.
        """
        check_is_fitted(self, "estimator_")
        _models.write(path, self, force=force)

    @classmethod
    def load(cls, path) -> PixelClassifier:
        """Read a model that `save` wrote. Nothing in the file is executed.

        Parameters
        ----------
        path : str or path

        Returns
        -------
        PixelClassifier
            Which predicts the same bits as the one that was saved, and can be fitted again.

        Raises
        ------
        ValueError
            For a file that is no model, is damaged, or is of a later form than this version reads.
        """
        return _models.read(path)

    # --- parts --------------------------------------------------------------------------------

    def _fitted(self, chain, estimator, channels: int, ndim: int):
        self.chain_, self.estimator_ = chain, estimator
        self.classes_ = estimator.classes_
        self.feature_names_ = _names(chain, channels, ndim)
        self.n_channels_, self.ndim_ = channels, ndim
        return self

    def _parts(self):
        """Checked copies of the features and the estimator."""
        chain = _chain(self.features)
        estimator = self.estimator
        if estimator is None:
            estimator = RandomForestClassifier(max_depth=12, n_jobs=-1, random_state=0)
        if not is_classifier(estimator):
            raise TypeError(f"estimator must be a classifier, got {type(estimator).__name__}")
        if self.max_per_class is not None:
            integer(self.max_per_class, "max_per_class", at_least=1)
        if self.tile is not None:
            integer(self.tile, "tile", at_least=1)
        return chain, clone(estimator)

    def _examples(self, image, labels, unlabelled) -> list[_Pair]:
        if unlabelled is not None and unlabelled != "auto":
            unlabelled = integer(unlabelled, "unlabelled")
        several = isinstance(image, list | tuple) and image and hasattr(image[0], "shape")
        images, masks = (image, labels) if several else ([image], [labels])
        if several and (not isinstance(labels, list | tuple) or len(labels) != len(image)):
            raise ValueError(f"labels must be a list of {len(image)}, one for each image")
        pairs = []
        for x, mask in zip(images, masks):
            x = self._image(x)
            mask = _backend.asnumpy(integer_array(mask, "labels"))
            if mask.shape != x.shape[:-1]:
                raise ValueError(
                    f"labels must have the shape of the image, {x.shape[:-1]}, got {mask.shape}"
                )
            if pairs and x.shape[-1] != pairs[0].image.shape[-1]:
                raise ValueError("image: all must have as many channels as the first")
            if pairs and x.ndim != pairs[0].image.ndim:
                raise ValueError("image: all must have as many axes as the first")
            empty = unlabelled
            if unlabelled == "auto":
                empty = None if mask.dtype == bool else 0
            pairs.append(_Pair(x, mask, empty))
        _check_classes(pairs)
        masks = of_one_type([pair.labels for pair in pairs])
        return [pair._replace(labels=mask) for pair, mask in zip(pairs, masks)]

    def _image(self, image, *, stack=False):
        """An image, or a stack of them, with its channels last."""
        if self.channel_axis is None:
            return finite_array(image, ndim=3 if stack else (2, 3))[..., None]
        image = finite_array(image, ndim=4 if stack else (3, 4))
        at = axis(self.channel_axis, "channel_axis", image.ndim - stack) + stack
        return _backend.array_namespace(image).moveaxis(image, at, -1)

    def _checked(self, image, stack):
        check_is_fitted(self, "estimator_")
        if not isinstance(stack, bool):
            raise TypeError(f"stack must be a bool, got {stack!r}")
        if stack and self.ndim_ != 2:
            raise ValueError("stack must be False for a model that was made from volumes")
        image = self._image(image, stack=stack)
        if image.ndim - 1 - stack != self.ndim_:
            hint = "; pass stack=True for a stack of pictures" if self.ndim_ == 2 else ""
            raise ValueError(
                f"image must have {self.ndim_} axes beside its channels, as those that the model "
                f"was made from, got {image.ndim - 1}{hint}"
            )
        if image.shape[-1] != self.n_channels_:
            raise ValueError(
                f"image must have {self.n_channels_} channel(s), as those that the model was made "
                f"from, got {image.shape[-1]}"
            )
        return image

    def _cuts(self, shape, chain, count, region=None) -> list[_Cut]:
        """Tiles of an image, or of a region of it."""
        region = tuple(slice(0, n) for n in shape) if region is None else region
        sizes = [cut.stop - cut.start for cut in region]
        edge = self.tile
        if edge is None:
            edges = _edges(sizes, max(1, _TILE // (4 * count)))
        else:
            edges = [min(edge, n) for n in sizes]
        return list(_cuts(shape, region, edges, _halo(chain)))

    def _output(self, out, name, image, given):
        return _output(out, name, image.shape[:-1], self.classes_.dtype, given)

    def _check_likelihoods(self) -> None:
        if not hasattr(self.estimator_, "predict_proba"):
            raise TypeError(f"estimator {type(self.estimator_).__name__} gives no probabilities")

    def _likelihoods(self, out, name, image, given):
        self._check_likelihoods()
        shape = (*image.shape[:-1], len(self.classes_))
        return _output(out, name, shape, np.dtype(np.float32), given)

    def _fill(self, wanted: dict, image, progress=None, region=None) -> None:
        """What the estimator's methods say of every pixel, or of a region, tile by tile: of each
        image of a stack by itself."""
        shape, ndim = image.shape[:-1], self.ndim_
        whole = [slice(0, n) for n in shape]
        region = whole if region is None else region
        corner = [cut.start for cut in region]
        cuts = self._cuts(shape[-ndim:], self.chain_, len(self.feature_names_), region[-ndim:])
        pages = range(region[0].start, region[0].stop) if len(shape) > ndim else [None]
        told = _Told(progress, len(pages) * len(cuts))
        for page, cut in itertools.product(pages, cuts):
            shown = image if page is None else _page(image, page)
            rows = _as_rows(_features(self.chain_, shown, cut))
            for method, found in _answers(self.estimator_, rows, wanted):
                out = wanted[method]
                core = cut.core if page is None else (slice(page, page + 1), *cut.core)
                here = tuple(slice(s.start - c, s.stop - c) for s, c in zip(core, corner))
                if _backend.is_cupy(out):
                    found = _backend.array_namespace(out).asarray(found)
                else:
                    found = _backend.asnumpy(found)
                out[here] = found.reshape(out[here].shape)
            told.one()


def _page(image, number: int):
    """One image of a stack, which may be a part of a chunked one."""
    return image.page(number) if hasattr(image, "page") else image[number]


def answers_of(image, model: PixelClassifier, method: str):
    """What a method of the model says of every pixel of a Dask array, lazily."""
    return _backend.run(answers_of, image, model, method)


# --- features of a tile -----------------------------------------------------------------------


class _Pair(NamedTuple):
    """An image with channels last, its labels, and the label that says nothing."""

    image: np.ndarray
    labels: np.ndarray
    unlabelled: int | None

    def labelled(self) -> np.ndarray:
        if self.unlabelled is None:
            return np.ones(self.labels.shape, bool)
        return self.labels != self.unlabelled


class _Cut(NamedTuple):
    """A tile: its own pixels, and these with all that their features need around them."""

    core: tuple[slice, ...]
    outer: tuple[slice, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(s.stop - s.start for s in self.core)


def _chain(features) -> list:
    if features is None:
        features = [AddFilters()]
    steps = list(features) if isinstance(features, list | tuple) else [features]
    if not steps:
        raise ValueError("features must hold a transformer, got none")
    for step in steps:
        if isinstance(step, type) or not hasattr(step, "_compute"):
            name = step.__name__ if isinstance(step, type) else type(step).__name__
            raise TypeError(
                "features must be of gpuseg.features (AddFilters, AddPosition, AddNeighborhood, "
                f"AddPolynomial), got {name}"
            )
    return [clone(step) for step in steps]


def _halo(chain) -> int:
    return sum(step.halo for step in chain)


def _names(chain, channels: int, ndim: int) -> list[str]:
    names = channel_names(channels)
    for step in chain:
        names = step._names(names, ndim)
    return names


def _features(chain, image, cut: _Cut):
    """Features of a tile's own pixels, channels last."""
    shape, here = image.shape[:-1], cut.outer
    values = image[here]
    values = _backend.asarray(values.compute() if _backend.is_dask(values) else values)
    left = _halo(chain)
    for step in chain:
        left -= step.halo
        then = _with_halo(cut.core, shape, left).outer
        inside = tuple(slice(t.start - h.start, t.stop - h.start) for t, h in zip(then, here))
        origin = tuple(h.start for h in here)
        values = step._compute_inside(values, origin=origin, shape=shape, inside=inside)
        here = then
    return values


def _as_rows(values):
    """A row a pixel, in the order in which the features lie in memory."""
    xp = _backend.array_namespace(values)
    planes = xp.moveaxis(values, -1, 0)
    if planes.strides[-1] < planes.strides[0]:
        return planes.reshape(len(planes), -1).T
    return values.reshape(-1, values.shape[-1])


def _edges(shape, voxels: int) -> list[int]:
    """The edges of tiles of about so many voxels, as near to cubes as the shape allows."""
    edges = {}
    for left, (size, a) in enumerate(sorted((n, a) for a, n in enumerate(shape))):
        edge = min(size, max(1, int(voxels ** (1 / (len(shape) - left)))))
        edges[a] = edge
        voxels = max(1, voxels // edge)
    # Tiles of one size cost less than a last one that is nearly empty.
    return [math.ceil(n / math.ceil(n / edges[a])) for a, n in enumerate(shape)]


def _cuts(shape, region, edges, halo: int) -> Iterator[_Cut]:
    starts = [range(cut.start, cut.stop, edge) for cut, edge in zip(region, edges)]
    for corner in itertools.product(*starts):
        ends = (min(c + edge, cut.stop) for c, edge, cut in zip(corner, edges, region))
        yield _with_halo(tuple(map(slice, corner, ends)), shape, halo)


def _with_halo(core, shape, halo: int) -> _Cut:
    outer = tuple(slice(max(0, s.start - halo), min(n, s.stop + halo)) for s, n in zip(core, shape))
    return _Cut(core, outer)


# --- labelled pixels --------------------------------------------------------------------------


def _check_classes(pairs: list[_Pair]) -> None:
    found, empty = set(), pairs[0].unlabelled
    for pair in pairs:
        values = np.unique(pair.labels)
        found |= {v.item() for v in values if pair.unlabelled is None or v != pair.unlabelled}
    if not found:
        raise ValueError(f"labels hold no labelled pixel: all are {empty}, which means unlabelled")
    if len(found) == 1:
        aside = "" if empty is None else (
            f" beside {empty}, which means unlabelled (where it is a class, as in a mask, pass "
            "bool labels or unlabelled=None)"
        )  # fmt: skip
        raise ValueError(f"labels hold a single class, {found.pop()},{aside} where two are needed")


def _chosen(pairs: list[_Pair], most: int | None, random_state) -> list[np.ndarray]:
    """The flat indices of the pixels to learn from, in order, for each image."""
    places = [np.flatnonzero(pair.labelled()) for pair in pairs]
    if most is None:
        return places
    from sklearn.utils import check_random_state

    rng = check_random_state(random_state)
    classes = np.concatenate([p.labels.reshape(-1)[at] for p, at in zip(pairs, places)])
    kept = np.zeros(len(classes), bool)
    for value in np.unique(classes):
        members = np.flatnonzero(classes == value)
        if len(members) > most:
            members = rng.choice(members, most, replace=False)
        kept[members] = True
    ends = np.cumsum([len(at) for at in places])[:-1]
    return [at[keep] for at, keep in zip(places, np.split(kept, ends))]


def _inside(at: np.ndarray, shape, cut: _Cut) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Which of the flat indices lie in a tile, and their coordinates."""
    first = np.ravel_multi_index([s.start for s in cut.core], shape)
    last = np.ravel_multi_index([s.stop - 1 for s in cut.core], shape)
    low, high = np.searchsorted(at, [first, last + 1])
    coordinates = np.unravel_index(at[low:high], shape)
    inside = np.ones(high - low, bool)
    for c, s in zip(coordinates, cut.core):
        inside &= (c >= s.start) & (c < s.stop)
    return low + np.flatnonzero(inside), tuple(c[inside] for c in coordinates)


# --- results ----------------------------------------------------------------------------------


def _answers(estimator, rows, methods):
    """What the methods of an estimator say of rows, which may lie on a device."""
    if not isinstance(estimator, DecisionTreeClassifier | RandomForestClassifier):
        rows = _backend.asnumpy(rows)
        for method in methods:
            yield method, getattr(estimator, method)(rows)
        return
    # Trees are asked once, where the rows are.
    shares = forest_predict(rows, estimator._forest())
    for method in methods:
        if method == "predict_proba":
            yield method, shares
        else:
            classes = _backend.array_namespace(shares).asarray(estimator.classes_)
            yield method, classes[shares.argmax(axis=1)]


class _Told:
    """Tells a caller of the tiles that are done."""

    def __init__(self, progress: Callable[[int, int], None] | None, count: int):
        self.progress, self.count, self.done = progress, count, 0

    def one(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.count)


def _output(out, name: str, shape, dtype, like):
    if out is None:
        return _backend.array_namespace(like).empty(shape, dtype)
    return output(out, shape, dtype, name)
