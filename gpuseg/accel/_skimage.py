"""Forms for functions of scikit-image where a namesake alone does not give its answers."""

from __future__ import annotations

import numpy as np

from .. import filters, measure
from .._backend import Unserved, choose, is_cupy, skimage
from ..filters._from_histogram import of_skimage, tail, valley


def label(label_image, background=None, return_num=False, connectivity=None):
    if label_image.dtype.kind == "f":
        raise Unserved("scikit-image rounds floating-point images to integers")
    if label_image.shape[-1] == 1:
        raise Unserved("scikit-image numbers images of one column in another order")
    if label_image.dtype == bool:
        return measure.label(label_image, background, return_num, connectivity)
    if not is_cupy(label_image) and choose((label_image,))[0].kind == "cpu":
        raise Unserved("not faster on the CPU for integers")
    labels, count = measure.label(label_image, background, True, connectivity)
    labels = labels.astype(np.int64)
    return (labels, count) if return_num else labels


def threshold_local(
    image, block_size=3, method="gaussian", offset=0, mode="reflect", param=None, cval=0
):
    if method != "gaussian" and not is_cupy(image) and choose((image,))[0].kind == "cpu":
        raise Unserved(f"not faster on the CPU for method {method!r}")
    return filters.threshold_local(image, block_size, method, offset, mode, param, cval)


def threshold_isodata(image=None, nbins=256, return_all=False, *, hist=None):
    method = of_skimage("isodata")
    return _of_our_histogram(method, image, nbins, return_all=return_all)


def threshold_minimum(image=None, nbins=256, max_num_iter=10_000, *, hist=None):
    def method(hist, **options):
        return valley(*hist, **options)

    return _of_our_histogram(method, image, nbins, max_num_iter=max_num_iter)


def threshold_otsu(image=None, nbins=256, *, hist=None):
    return _of_our_histogram(of_skimage("otsu"), image, nbins)


def threshold_triangle(image, nbins=256):
    return _of_our_histogram(lambda hist: tail(*hist), image, nbins)


def threshold_yen(image=None, nbins=256, *, hist=None):
    return _of_our_histogram(of_skimage("yen"), image, nbins)


def _of_our_histogram(method, image, nbins, **options):
    """scikit-image's arithmetic on our counts, which are its own and come sooner.

    The public function answers alike whatever the unit of the values, and so otherwise at times.
    """
    counts, centers = filters.histogram(image, nbins)
    if counts.size == 1:
        raise Unserved("scikit-image has rules of its own for constant images")
    if centers.dtype.kind == "f" and (centers.dtype != image.dtype or counts.size != nbins):
        raise Unserved("scikit-image lays other bins, or cannot")
    return method(hist=(counts, centers), **options)


def multiscale_basic_features(
    image,
    intensity=True,
    edges=True,
    texture=True,
    sigma_min=0.5,
    sigma_max=16,
    num_sigma=None,
    workers=None,
    *,
    channel_axis=None,
):
    from ..features import filter_bank  # imports scikit-learn

    kinds = {"gaussian": intensity, "sobel": edges, "hessian_eigenvalues": texture}
    lowest, highest = np.log2(sigma_min), np.log2(sigma_max)
    if num_sigma is None:
        num_sigma = int(highest - lowest + 1)
    return filter_bank(
        skimage(image, "util").img_as_float32(image),
        np.logspace(lowest, highest, num=num_sigma, base=2),
        [kind for kind, wanted in kinds.items() if wanted],
        channel_axis=channel_axis,
    )


# The public function whose measured crossover counts.
label.stands_for = measure.label
threshold_local.stands_for = filters.threshold_local
for form in (
    threshold_isodata,
    threshold_minimum,
    threshold_otsu,
    threshold_triangle,
    threshold_yen,
):
    form.stands_for = getattr(filters, form.__name__)
