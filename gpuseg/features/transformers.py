"""Features as steps of a `sklearn.pipeline.Pipeline`: stacks of images with channels last."""

from __future__ import annotations

import itertools

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from .._backend import array_namespace, is_dask, run
from .._checks import finite_array, real_array
from .bank import KINDS, checked_bank, feature_names, filter_bank, reach
from .channels import (
    checked_neighborhood,
    checked_position,
    count_products,
    neighborhood,
    polynomial,
    position,
    products,
)

# No step of a model that a file describes may give more.
MOST_CHANNELS = 1 << 20


class _Step(TransformerMixin, BaseEstimator):
    """What needs no fitting beyond the shape of its input."""

    def fit(self, X, y=None):
        """Look at the shape of the images, for the names of what comes out.

        Parameters
        ----------
        X : array of real numbers
        y : ignored

        Returns
        -------
        self
        """
        self.shape_ = tuple(self._images(X).shape[1:])
        return self

    def _images(self, X):
        if is_dask(X):
            raise TypeError(
                "X must be in memory; for a Dask array there are the functions of gpuseg.features "
                "and gpuseg.pixels.PixelClassifier"
            )
        return real_array(X, "X")

    def __sklearn_is_fitted__(self):
        return True

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags

    def _given(self, input_features, default) -> list[str]:
        """The names of the input's channels, as given or by default."""
        if not hasattr(self, "shape_"):
            if input_features is None:
                raise ValueError("input_features must be given before the first fit")
            return list(input_features)
        names = default(self.shape_[-1]) if input_features is None else list(input_features)
        if len(names) != self.shape_[-1]:
            raise ValueError(f"input_features must be {self.shape_[-1]} names, got {len(names)}")
        return names


def channel_names(count: int) -> list[str]:
    return ["intensity"] if count == 1 else [f"channel {i}" for i in range(count)]


class FlattenImage(_Step):
    """Make each image one row: ``(n, ...)`` becomes ``(n, values)``.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.features import FlattenImage
    >>> FlattenImage().fit_transform(np.zeros((4, 8, 8))).shape
    (4, 64)
    """

    def transform(self, X):
        """Flatten.

        Parameters
        ----------
        X : array of real numbers of shape (n, ...)

        Returns
        -------
        array of shape (n, values)
        """
        X = self._images(X)
        return X.reshape(len(X), -1)

    def get_feature_names_out(self, input_features=None):
        """Name each value by the indices of its place."""
        if not hasattr(self, "shape_"):
            raise ValueError("FlattenImage must be fitted before its features have names")
        places = itertools.product(*map(range, self.shape_))
        return np.array([f"({', '.join(map(str, place))})" for place in places], dtype=object)


class _Stack(_Step):
    """Takes stacks of images with channels last."""

    def _images(self, X):
        X = finite_array(super()._images(X), "X")
        if X.ndim not in (4, 5):
            raise ValueError(
                "X must be a stack of images with channels last, (n, rows, columns, channels) or "
                f"(n, planes, rows, columns, channels), got shape {X.shape}"
            )
        return X


class FlattenPixels(_Stack):
    """Make each pixel one row: ``(n, ..., channels)`` becomes ``(pixels, channels)``.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.features import FlattenPixels
    >>> FlattenPixels().fit_transform(np.zeros((2, 8, 8, 3))).shape
    (128, 3)
    """

    def transform(self, X):
        """Flatten.

        Parameters
        ----------
        X : array of real numbers of shape (n, ..., channels)

        Returns
        -------
        array of shape (pixels, channels)
            Not copied where the pixels of `X` lie evenly in memory.
        """
        X = self._images(X)
        return X.reshape(-1, X.shape[-1])

    def get_feature_names_out(self, input_features=None):
        """The channels' names."""
        return np.array(self._given(input_features, channel_names), dtype=object)


class _Add(_Stack):
    """Adds channels, one image after the other."""

    # How many voxels around a part of an image the values of that part depend on.
    halo = 0

    def __init_subclass__(cls, **options):
        # A stack of images does not fit into a table.
        super().__init_subclass__(auto_wrap_output_keys=None, **options)

    def set_output(self, *, transform=None):
        """Do nothing: a stack of images is an array, whatever the other steps give."""
        return self

    def transform(self, X):
        """Add the channels.

        Parameters
        ----------
        X : array of real numbers of shape (n, ..., channels)
            A stack of images in 2-D or 3-D.

        Returns
        -------
        array of shape (n, ..., more channels)
            float64 for float64 images, else float32.
        """
        X = self._images(X)
        xp = array_namespace(X)
        parts = [
            self._compute(image, origin=(0,) * (X.ndim - 2), shape=X.shape[1:-1]) for image in X
        ]
        return parts[0][None] if len(parts) == 1 else xp.stack(parts)

    def get_feature_names_out(self, input_features=None):
        """Name the channels of the result.

        Parameters
        ----------
        input_features : sequence of str, optional
            The names of the channels that came in.

        Returns
        -------
        array of str
        """
        names = self._given(input_features, channel_names)
        return np.array(self._names(names), dtype=object)

    def _compute_inside(self, image, *, origin, shape, inside):
        """The features of a part of the image, which has the halo around it."""
        return self._compute(image, origin=origin, shape=shape)[inside]

    def _count(self, channels: int, ndim: int) -> int:
        """How many channels come out: the length of `_names`, which may be too long to be made."""
        raise NotImplementedError

    def _axes(self, ndim: int | None) -> int:
        """How many axes the images have, as said or as fitted."""
        if ndim is None and not hasattr(self, "shape_"):
            raise ValueError("how many axes the images have is not known before the first fit")
        return len(self.shape_) - 1 if ndim is None else ndim


class AddPosition(_Add):
    """Add where every voxel lies; see `position`.

    Parameters
    ----------
    polar, scale
        As in `position`.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.features import AddPosition
    >>> step = AddPosition().fit(np.zeros((1, 4, 4, 1)))
    >>> step.get_feature_names_out()
    array(['intensity', 'y', 'x'], dtype=object)
    """

    def __init__(self, polar=False, scale=1.0):  # noqa: FBT002
        self.polar = polar
        self.scale = scale

    def _compute(self, image, *, origin, shape):
        scale = checked_position(self.polar, self.scale, len(shape))
        place = tuple(origin), tuple(shape)
        options = {"channel_axis": image.ndim - 1, "place": place, "keep": True}
        return run(position, image, bool(self.polar), scale, **options)

    def _count(self, channels, ndim):
        checked_position(self.polar, self.scale, ndim)
        return channels + ndim

    def _names(self, names, ndim=None):
        ndim = self._axes(ndim)
        polar = {2: ["radius", "angle"], 3: ["radius", "inclination", "azimuth"]}
        return [*names, *(polar[ndim] if self.polar else "zyx"[-ndim:])]


class AddFilters(_Add):
    """Add filters at several scales; see `filter_bank`.

    Parameters
    ----------
    sigmas, kinds, mode
        As in `filter_bank`.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.features import AddFilters
    >>> step = AddFilters(sigmas=(1, 2), kinds=("gaussian", "sobel"))
    >>> step.fit_transform(np.zeros((1, 4, 4, 1))).shape
    (1, 4, 4, 5)
    >>> step.halo
    9
    """

    def __init__(self, sigmas=(2, 5, 8), kinds=KINDS, mode="nearest"):
        self.sigmas = sigmas
        self.kinds = kinds
        self.mode = mode

    @property
    def halo(self):
        sigmas, kinds = checked_bank(self.sigmas, self.kinds, self.mode)
        return _bounded(self.mode, reach(sigmas, kinds))

    def _compute(self, image, *, origin, shape):
        return self._compute_inside(image, origin=origin, shape=shape, inside=None)

    def _compute_inside(self, image, *, origin, shape, inside):
        sigmas, kinds = checked_bank(self.sigmas, self.kinds, self.mode)
        options = {"channel_axis": image.ndim - 1, "mode": self.mode, "keep": True}
        return run(filter_bank, image, sigmas, kinds, **options, inside=inside)

    def _count(self, channels, ndim):
        return channels * (1 + len(feature_names(self.sigmas, self.kinds, ndim=ndim)))

    def _names(self, names, ndim=None):
        channels = names if len(names) > 1 else None
        return [
            *names,
            *feature_names(self.sigmas, self.kinds, ndim=self._axes(ndim), channels=channels),
        ]


class AddNeighborhood(_Add):
    """Put the values around every voxel in the place of its channels; see `neighborhood`.

    Parameters
    ----------
    radius, mode, cval
        As in `neighborhood`.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.features import AddNeighborhood
    >>> AddNeighborhood(radius=2).fit_transform(np.zeros((1, 4, 4, 1))).shape
    (1, 4, 4, 25)
    """

    def __init__(self, radius=1, mode="reflect", cval=0.0):
        self.radius = radius
        self.mode = mode
        self.cval = cval

    @property
    def halo(self):
        radius, _ = checked_neighborhood(self.radius, self.mode, self.cval)
        return _bounded(self.mode, radius)

    def _compute(self, image, *, origin, shape):
        radius, cval = checked_neighborhood(self.radius, self.mode, self.cval)
        return run(neighborhood, image, radius, self.mode, cval=cval, channel_axis=image.ndim - 1)

    def _count(self, channels, ndim):
        radius, _ = checked_neighborhood(self.radius, self.mode, self.cval)
        return channels * (2 * radius + 1) ** ndim

    def _names(self, names, ndim=None):
        radius, _ = checked_neighborhood(self.radius, self.mode, self.cval)
        shifts = itertools.product(range(-radius, radius + 1), repeat=self._axes(ndim))
        return [f"{name} ({', '.join(map(str, shift))})" for shift in shifts for name in names]


class AddPolynomial(_Add):
    """Add products of the channels; see `polynomial`.

    Parameters
    ----------
    degree, interaction_only, include_bias
        As in `polynomial`, but without the constant by default: so the channels that came in come
        first.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.features import AddPolynomial
    >>> step = AddPolynomial().fit(np.zeros((1, 4, 4, 2)))
    >>> step.get_feature_names_out(["a", "b"])
    array(['a', 'b', 'a^2', 'a b', 'b^2'], dtype=object)
    """

    def __init__(self, degree=2, *, interaction_only=False, include_bias=False):
        self.degree = degree
        self.interaction_only = interaction_only
        self.include_bias = include_bias

    def _terms(self, count):
        return products(count, self.degree, self.interaction_only, self.include_bias)

    def _compute(self, image, *, origin, shape):
        return run(polynomial, image, self._terms(image.shape[-1]))

    def _count(self, channels, ndim):
        given = self.degree, self.interaction_only, self.include_bias
        return count_products(channels, *given, most=MOST_CHANNELS)

    def _names(self, names, ndim=None):
        return [_product(term, names) for term in self._terms(len(names))]


def _product(term, names) -> str:
    powers = [(names[i], term.count(i)) for i in dict.fromkeys(term)]
    return " ".join(name if p == 1 else f"{name}^{p}" for name, p in powers) or "1"


def _bounded(mode: str, reach: int) -> int:
    if mode == "wrap":
        raise ValueError(
            "mode='wrap' reads on the other side of the image: it has no parts that can be "
            "computed alone; use another mode"
        )
    return reach
