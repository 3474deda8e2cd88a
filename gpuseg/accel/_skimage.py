"""Forms for functions of scikit-image where a namesake alone does not give its answers."""

from __future__ import annotations

import numpy as np

from .. import filters, measure
from .._backend import Unserved, choose, is_cupy, skimage


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
