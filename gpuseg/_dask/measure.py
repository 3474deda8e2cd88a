"""Labels and measures of chunked arrays."""

from functools import partial

import numpy as np

from .._cpu import measure as whole
from . import _parts
from ._components import of_mask, of_values
from ._connected import Found, first_pass, last_pass, number, order, summary


def label(label_image, *, background, connectivity):
    masked = label_image.dtype == bool and background in (0, 1)
    find = partial(_of_mask if masked else _of_values, background, connectivity)
    passes = first_pass("label", find, [label_image], connectivity, order, in_order=True)
    # Labels fit where voxels do: there is at most one for each.
    dtype = np.int32 if label_image.size < 2**31 else np.int64
    return last_pass(passes, partial(number, dtype), dtype), summary(passes, np.int64)


def _of_mask(background, connectivity, _, image):
    return Found(of_mask(image != bool(background), connectivity))


def _of_values(background, connectivity, _, image):
    return Found(of_values(image, background, connectivity), values=image)


def regionprops_table(
    label_image, intensity_image, properties, *, cache, separator, extra_properties, spacing
):
    columns = _parts.table(
        label_image, intensity_image, properties, separator=separator, extra=extra_properties,
        spacing=spacing,
    )  # fmt: skip
    if columns is not None:
        return columns
    nothing = np.zeros((1,) * label_image.ndim, np.uint8)
    if intensity_image is not None:
        channels = intensity_image.shape[label_image.ndim :]
        intensity_image = np.zeros((*nothing.shape, *channels), intensity_image.dtype)
    return whole.regionprops_table(
        nothing, intensity_image, properties, cache=cache, separator=separator,
        extra_properties=extra_properties, spacing=spacing,
    )  # fmt: skip
