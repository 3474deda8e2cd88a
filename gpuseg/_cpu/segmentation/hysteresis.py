"""The steps of hysteresis segmentation, written over ndimage for both backends."""

from ..._backend import array_namespace, ndimage


def _opened(mask, footprint):
    nd = ndimage(mask)
    # A voxel beyond the border counts as set while eroding, and as unset while dilating.
    eroded = nd.binary_erosion(mask, footprint, border_value=1)
    return nd.binary_dilation(eroded, footprint)


def _reached(seeds, mask, distance, *, connectivity):
    nd = ndimage(mask)
    seeds = seeds & mask
    if distance == 0:
        return seeds
    cross = array_namespace(mask).asarray(_cross(mask.ndim, connectivity))
    return nd.binary_dilation(seeds, cross, iterations=distance, mask=mask)


def _cross(ndim: int, connectivity: int):
    from scipy.ndimage import generate_binary_structure

    return generate_binary_structure(ndim, connectivity)
