"""Places, neighbours, products: plain array code, for both backends."""

import numpy as np

from ..._backend import array_namespace


def floating(x):
    """Which floating-point type the channels of an image have."""
    return np.float64 if x.dtype.kind == "f" and x.dtype.itemsize >= 8 else np.float32


def planes(image, channel_axis, count: int, *, keep: bool, region=None):
    """Room for so many channels of a region; first those of the image itself where they are kept.

    Returns the image with its channels first, all planes, and those that are to be filled.
    """
    xp = array_namespace(image)
    image = image[None] if channel_axis is None else xp.moveaxis(image, channel_axis, 0)
    kept = len(image) * keep
    part = image if region is None else image[(slice(None), *region)]
    out = xp.empty((kept + count, *part.shape[1:]), floating(image))
    if keep:
        out[:kept] = part
    return image, out, out[kept:]


def last(out):
    """Planes as channels on the last axis."""
    return array_namespace(out).moveaxis(out, 0, -1)


def position(image, polar, scale, *, channel_axis, place=None, keep=False):
    xp = array_namespace(image)
    ndim = image.ndim - (channel_axis is not None)
    image, out, new = planes(image, channel_axis, ndim, keep=keep)
    origin, shape = place or ((0,) * ndim, image.shape[1:])
    axes = [
        (xp.arange(first, first + n, dtype=xp.float64) - (whole - 1) / 2 * polar) * step
        for first, n, whole, step in zip(origin, image.shape[1:], shape, scale)
    ]
    grid = xp.meshgrid(*axes, indexing="ij", sparse=not polar)
    for plane, values in zip(new, _polar(xp, grid) if polar else grid):
        plane[...] = values
    return last(out)


def _polar(xp, grid):
    flat = xp.hypot(*grid[-2:])
    angle = xp.arctan2(*grid[-2:])
    if len(grid) == 2:
        return flat, angle
    return xp.hypot(flat, grid[0]), xp.arctan2(flat, grid[0]), angle


def neighborhood(image, radius, mode, *, cval, channel_axis):
    count = (2 * radius + 1) ** (image.ndim - (channel_axis is not None))
    channels = 1 if channel_axis is None else image.shape[channel_axis]
    image, out, _ = planes(image, channel_axis, count * channels, keep=False)
    shape = image.shape[1:]
    padded = _padded(image.astype(out.dtype, copy=False), radius, mode, cval)
    for i, shift in enumerate(np.ndindex((2 * radius + 1,) * len(shape))):
        part = tuple(slice(s, s + n) for s, n in zip(shift, shape))
        out[i * channels : (i + 1) * channels] = padded[(slice(None), *part)]
    return last(out)


# NumPy's names of SciPy's modes.
_PAD = {"reflect": "symmetric", "mirror": "reflect", "nearest": "edge", "wrap": "wrap"}


def _padded(image, radius, mode, cval):
    xp = array_namespace(image)
    width = [(0, 0)] + [(radius, radius)] * (image.ndim - 1)
    if mode == "constant":
        return xp.pad(image, width, mode="constant", constant_values=cval)
    return xp.pad(image, width, mode=_PAD[mode])


def polynomial(features, terms):
    xp = array_namespace(features)
    source = xp.moveaxis(features, -1, 0)
    out = xp.empty((len(terms), *features.shape[:-1]), floating(features))
    known = {}
    for plane, term in zip(out, terms):
        if not term:
            plane[...] = 1
        elif len(term) == 1:
            plane[...] = source[term[0]]
        elif term[:-1] in known:
            xp.multiply(known[term[:-1]], source[term[-1]].astype(out.dtype, copy=False), out=plane)
        else:
            plane[...] = source[term[0]]
            for i in term[1:]:
                plane *= source[i].astype(out.dtype, copy=False)
        known[term] = plane
    return last(out)
