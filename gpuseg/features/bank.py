"""Filters at several scales."""

from __future__ import annotations

from .._backend import run
from .._checks import MOST_SIGMA, axis, finite_array, integer, number, option, sequence, several
from .._contracts import Close, Exact, contract

KINDS = (
    "gaussian",
    "dog",
    "sobel",
    "laplace",
    "hessian_eigenvalues",
    "structure_tensor_eigenvalues",
)
MODES = ("reflect", "constant", "nearest", "mirror", "wrap")

# How far beyond the Gaussian's radius a kind of filter reads.
_BEYOND = dict(zip(KINDS, (0, 0, 1, 1, 2, 1)))


@contract(Close(rtol=1e-5), nan="refuse")
def filter_bank(image, sigmas=(2, 5, 8), kinds=KINDS, *, channel_axis=None, mode="nearest"):
    """Filters of every voxel's surroundings at several scales, as channels.

    Parameters
    ----------
    image : array of real numbers or bool, 2-D or 3-D beside the channels
    sigmas : number or sequence of numbers, optional
        Standard deviations of the Gaussians in voxels, each once; 0 leaves the image unsmoothed.
    kinds : str or sequence of str, optional
        Any of, for each sigma:

        - ``"gaussian"``: the smoothed image;
        - ``"dog"``: the difference to the smoothed image of the sigma before, so nothing for the
          first; with a single sigma, to the image;
        - ``"sobel"``: the magnitude of the smoothed image's gradient;
        - ``"laplace"``: its Laplacian, with the sign of a peak as `gpuseg.filters.laplace`;
        - ``"hessian_eigenvalues"``: of the matrix of its second derivatives, one an axis, the
          largest first;
        - ``"structure_tensor_eigenvalues"``: of the products of the image's first derivatives,
          smoothed; one an axis, the largest first.
    channel_axis : int, optional
        The axis of the channels, which are filtered one by one.
    mode : {'reflect', 'constant', 'nearest', 'mirror', 'wrap'}, optional
        What lies beyond the border, as in `scipy.ndimage`; with 'constant' it is 0. The
        derivatives of ``"hessian_eigenvalues"`` are one-sided at the border, whatever the mode.

    Returns
    -------
    array of the shape of `image` without its channels, and (features,)
        float64 for a float64 image, else float32. The features of a channel lie together, in
        it those of a sigma, in the order of `kinds`; `feature_names` names them. In memory, each
        feature is a plane of its own: ``moveaxis(features, -1, 0)`` is C-contiguous.

    Raises
    ------
    TypeError, ValueError
        For an image that is no array of real numbers, is empty, has other axes, or holds NaN or
        infinity; for sigmas that are negative or come twice; for an unknown kind or mode.

    Notes
    -----
    The image's values are kept as they are, whatever their type: so a part of an image, cut out
    with what the filters reach around it, has the same features as the whole, bit for bit
    [except with ``mode="wrap"``]. Smoothing and derivatives are in float64 and rounded at the end:
    a small change of large values is not lost. Products of derivatives of values beyond 1e17
    overflow float32.

    The numbers are those of `skimage.feature.multiscale_basic_features` (``"gaussian"``,
    ``"sobel"``, ``"hessian_eigenvalues"``) and `skimage.feature.structure_tensor_eigenvalues` for
    floating-point images. Along an axis of a single voxel, derivatives are 0.

    Beside image and result, the CPU form needs about 4 MB a thread and for each voxel 8 bytes, 16
    with ``"dog"``; for ``"structure_tensor_eigenvalues"`` 4 numbers of the result's type in 2-D
    and 9 in 3-D; and one more for an image of another type, or whose rows do not lie one after the
    other in memory.

    Eigenvalues are those of float64 arithmetic for a float32 image. For a float64 image, two that
    are equal may come out 5e-8 of the largest apart.

    References
    ----------
    .. [1] S. Berg et al., "ilastik: interactive machine learning for (bio)image analysis", Nature
           Methods 16, 2019. :doi:`10.1038/s41592-019-0582-9`
    .. [2] J. Bigün, G.H. Granlund, "Optimal orientation detection of linear symmetry", Proc. 1st
           International Conference on Computer Vision, 1987.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.features import feature_names, filter_bank
    >>> step = np.repeat([[0.0, 0.0, 0.0, 8.0, 8.0, 8.0]], 6, axis=0)
    >>> features = filter_bank(step, sigmas=1, kinds=("gaussian", "sobel"))
    >>> features.shape
    (6, 6, 2)
    >>> feature_names(1, ("gaussian", "sobel"))
    ['gaussian 1', 'sobel 1']
    >>> features[3, :, 1].round(1)
    array([0.3, 1.7, 3.6, 3.6, 1.7, 0.3])
    """
    image, channel_axis = spatial_image(image, channel_axis)
    sigmas, kinds = checked_bank(sigmas, kinds, mode)
    return run(filter_bank, image, sigmas, kinds, channel_axis=channel_axis, mode=mode)


@contract(Exact(), nan=None)
def feature_names(sigmas=(2, 5, 8), kinds=KINDS, *, ndim=2, channels=None) -> list[str]:
    """Name the features that `filter_bank` gives, in their order.

    Parameters
    ----------
    sigmas, kinds
        As in `filter_bank`.
    ndim : {2, 3}, optional
        How many axes the image has, without its channels.
    channels : sequence of str, optional
        The names of the image's channels, put before each feature's.

    Returns
    -------
    list of str

    Examples
    --------
    >>> from gpuseg.features import feature_names
    >>> feature_names((1, 2.5), ("gaussian", "dog"))
    ['gaussian 1', 'gaussian 2.5', 'dog 2.5 - 1']
    >>> feature_names(3, "hessian_eigenvalues")
    ['hessian_eigenvalues 3 (0)', 'hessian_eigenvalues 3 (1)']
    """
    sigmas, kinds = checked_bank(sigmas, kinds, "nearest")
    option(integer(ndim, "ndim"), "ndim", (2, 3))
    channels = None if channels is None else sequence(channels, "channels", "names")
    names = []
    for i, sigma in enumerate(sigmas):
        for kind in kinds:
            if kind == "dog":
                before = f"{sigmas[i - 1]:g}" if i else "image"
                names += [f"dog {sigma:g} - {before}"] * (i > 0 or len(sigmas) == 1)
            elif kind.endswith("eigenvalues"):
                names += [f"{kind} {sigma:g} ({k})" for k in range(ndim)]
            else:
                names.append(f"{kind} {sigma:g}")
    return names if channels is None else [f"{c} {name}" for c in channels for name in names]


def checked_bank(sigmas, kinds, mode) -> tuple[tuple[float, ...], tuple[str, ...]]:
    sigmas = sequence(sigmas, "sigmas", "numbers") if several(sigmas) else (sigmas,)
    limits = {"at_least": 0, "at_most": MOST_SIGMA}
    sigmas = tuple(float(number(sigma, "sigmas", **limits)) for sigma in sigmas)
    kinds = (kinds,) if isinstance(kinds, str) else sequence(kinds, "kinds", "names")
    for kind in kinds:
        option(kind, "kinds", KINDS)
    for name, values in (("sigmas", sigmas), ("kinds", kinds)):
        if not values:
            raise ValueError(f"{name} must hold at least one, got none")
        if len(set(values)) < len(values):
            raise ValueError(f"{name} must differ from each other, got {values}")
    option(mode, "mode", MODES)
    return sigmas, kinds


def reach(sigmas, kinds) -> int:
    """How many voxels away a filter reads."""
    return int(4 * max(sigmas) + 0.5) + max(_BEYOND[kind] for kind in kinds)


def spatial_image(image, channel_axis, ndim=(2, 3)):
    """A finite image with as many axes beside the channels, and the channels' axis from 0 on."""
    if channel_axis is None:
        return finite_array(image, ndim=ndim), None
    image = finite_array(image)
    channel_axis = axis(channel_axis, "channel_axis", image.ndim)
    if ndim is not None and image.ndim - 1 not in ndim:
        raise ValueError(f"image must have {ndim} axes beside its channels, got {image.shape}")
    if image.ndim == 1:
        raise ValueError(f"image must have an axis beside its channels, got {image.shape}")
    return image, channel_axis
