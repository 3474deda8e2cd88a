"""Growing regions on the device: our own watershed, flood, expansion and labels."""

from __future__ import annotations

import numpy as np

from ..._backend import Unserved, array_namespace, asnumpy, cuda_stream
from ..._cpu.segmentation.regions import cleared, flooded
from ...kernels import nearest
from ...kernels import watershed as kernel
from ..filters.hysteresis import flood_masks
from ..measure import label

# Visits between two looks at whether there is anything left to do; an even number.
_VISITS = 8


def flood(image, seed_point, *, footprint, connectivity, tolerance):
    if footprint is not None:
        raise Unserved("footprints are for the CPU")
    return flooded(image, seed_point, connectivity, tolerance, flood_masks)


def clear_border(labels, *, buffer_size, bgval, mask):
    return cleared(labels, buffer_size, bgval, mask, label)


def expand_labels(label_image, *, distance, spacing):
    xp, shape = array_namespace(label_image), label_image.shape
    labels = xp.array(label_image, order="C").reshape(-1)
    labels = labels.view(xp.uint8) if labels.dtype == bool else labels
    squared = xp.where(labels != 0, 0.0, np.inf)
    now, then = (squared, labels), (xp.empty_like(squared), xp.empty_like(labels))
    # Wider than asked for by more than rounding: what is too far is taken back at the end.
    limit = 1.001 * distance**2
    stream = cuda_stream(label_image)
    for axis, (n, size) in enumerate(zip(shape, spacing)):
        squares = xp.asarray((np.arange(n) * size) ** 2)
        inner = int(np.prod(shape[axis + 1 :], dtype=np.int64))
        nearest.look_along_cuda(squares, inner, limit, *now, *then, stream)
        now, then = then, now
    squared, labels = now
    labels[xp.sqrt(squared) > distance] = 0
    return labels.view(label_image.dtype).reshape(shape)


def watershed(image, *, markers, connectivity, offset, mask, compactness, watershed_line):
    if np.ndim(connectivity) or offset is not None:
        raise Unserved("footprints and offsets are for the CPU")
    if compactness or watershed_line:
        raise Unserved("compactness and watershed lines are for the CPU")
    if image.ndim > 3:
        raise Unserved("the watershed kernel takes up to 3 axes")
    xp, shape = array_namespace(image), image.shape
    if markers is None or isinstance(markers, int):
        markers = _own_markers(image, markers, connectivity, mask)
    dtype = markers.dtype if markers.dtype != bool else np.dtype(np.int64)
    if int(markers.min()) < -(2**31) or int(markers.max()) >= 2**31:
        raise Unserved("markers past 2**31 are for the CPU")
    box = (1,) * (3 - image.ndim) + shape
    inside = xp.ones(box, xp.uint8) if mask is None else mask.astype(xp.uint8).reshape(box)
    levels = xp.ascontiguousarray(_levels(image)).reshape(box)
    markers = xp.ascontiguousarray(markers.astype(xp.int32)).reshape(box) * inside
    labels = markers.copy()
    keys = xp.empty(box, xp.int64)
    stream = cuda_stream(image)
    flat = (levels, markers, inside, keys)
    kernel.start_cuda(*(part.reshape(-1) for part in flat), stream)
    steps = xp.asarray(kernel.neighbour_steps(box, connectivity))
    active = xp.ones(int(np.prod(kernel.tile_grid(box))), xp.uint8)
    again = xp.zeros_like(active)
    while active.any():
        kernel.settle_cuda(
            levels, markers, inside, steps, keys, labels, active, again, stream, visits=_VISITS
        )
    return labels.reshape(shape).astype(dtype)


def _own_markers(image, count, connectivity, mask):
    """Local minima, numbered (on the host), or a grid: those of scikit-image."""
    from scipy import ndimage
    from skimage.morphology import local_minima
    from skimage.util import regular_grid

    xp = array_namespace(image)
    if count is None:
        minima = local_minima(asnumpy(image), connectivity=connectivity)
        minima = minima if mask is None else minima & asnumpy(mask)
        structure = ndimage.generate_binary_structure(image.ndim, connectivity)
        return xp.asarray(ndimage.label(minima, structure)[0])
    share = 1.0 if mask is None else int(xp.count_nonzero(mask)) / image.size
    markers = xp.zeros(image.shape, int)
    grid = markers[regular_grid(image.shape, int(count / share))]
    grid[...] = xp.arange(1, grid.size + 1).reshape(grid.shape)
    return markers if mask is None else markers * mask


def _levels(image):
    """The order of the values, in int32."""
    xp = array_namespace(image)
    if image.dtype == bool or (image.dtype.kind in "ui" and image.dtype.itemsize <= 2):
        low = 0 if image.dtype == bool else int(np.iinfo(image.dtype).min)
        return image.astype(xp.int32) - np.int32(low)
    least = image.min()
    if image.dtype.kind in "ui" and int(image.max()) - int(least) < 2**31 - 1:
        return (image - least).astype(xp.int32)
    if image.dtype == np.float32 and float(least) >= 0:
        # The bits of such numbers are in their order, but for a zero with a sign.
        return xp.abs(image).view(xp.int32)
    _, ranks = xp.unique(image, return_inverse=True)
    return ranks.astype(xp.int32).reshape(image.shape)
