"""The bank of filters on the CPU."""

import numpy as np

from ..._backend import array_namespace
from ...kernels.features import derive_cpu, eigenvalues_cpu, products_cpu
from ...kernels.gaussian import convolve_cpu
from ..filters.smoothing import kernels
from .channels import last, planes

_DERIVED = ("sobel", "laplace", "hessian_eigenvalues")
_TENSOR = "structure_tensor_eigenvalues"


def filter_bank(image, sigmas, kinds, *, channel_axis, mode, keep=False, inside=None):
    return bank(_Steps, image, sigmas, kinds, channel_axis, mode, keep=keep, inside=inside)


class _Steps:
    """What the bank is made of, in CPU kernels."""

    derive = staticmethod(derive_cpu)
    products = staticmethod(products_cpu)
    eigenvalues = staticmethod(eigenvalues_cpu)

    @staticmethod
    def rows(values, dtype):
        """Rows that lie in memory one after the other, and that may be written to."""
        return np.require(values, dtype, ("C", "W"))

    @staticmethod
    def blur(values, sigma, mode, out):
        convolve_cpu(values, kernels((sigma,) * values.ndim, 4.0), mode, 0, out)


def bank(steps, image, sigmas, kinds, channel_axis, mode, *, keep, inside):
    """Fill the planes of every channel by the steps of a backend: all, or the part `inside`."""
    channels = 1 if channel_axis is None else image.shape[channel_axis]
    layout, count = _layout(len(sigmas), kinds, image.ndim - (channel_axis is not None))
    shape = [n for a, n in enumerate(image.shape) if a != channel_axis]
    region, crop = (None, ...) if inside is None else _grown(inside, shape)
    image, out, new = planes(image, channel_axis, channels * count, keep=keep, region=region)
    # What holds the image's values as they are.
    wide = image.dtype.itemsize > (4 if image.dtype.kind == "f" else 2)
    dtype = np.dtype(np.float64 if wide else np.float32)
    kept = keep and region is None and dtype == out.dtype
    for i, values in enumerate(out[:channels] if kept else image):
        values = steps.rows(values, dtype)
        _fill(steps, values, sigmas, layout, mode, new[i * count : (i + 1) * count], region)
    return last(out)[crop]


def _grown(inside, shape):
    """The part of an image that derivatives of `inside` need, and `inside` in that part."""
    region = tuple(slice(max(0, s.start - 2), min(n, s.stop + 2)) for s, n in zip(inside, shape))
    return region, tuple(slice(s.start - r.start, s.stop - r.start) for s, r in zip(inside, region))


def _layout(sigmas: int, kinds, ndim: int) -> tuple[list[dict[str, int]], int]:
    """The first plane of each kind for each sigma, and how many there are in all."""
    layout, at = [], 0
    for i in range(sigmas):
        places = {}
        for kind in kinds:
            if kind != "dog" or i > 0 or sigmas == 1:
                places[kind] = at
                at += ndim if kind.endswith("eigenvalues") else 1
        layout.append(places)
    return layout, at


def empty(values, count=(), region=None, dtype=np.float64):
    shape = values.shape if region is None else [r.stop - r.start for r in region]
    return array_namespace(values).empty((*count, *shape), dtype)


def _fill(steps, values, sigmas, layout, mode, out, region):
    if any(places.keys() - {_TENSOR} for places in layout):
        _fill_derived(steps, values, sigmas, layout, mode, out, region)
    if _TENSOR in layout[0]:
        _fill_tensor(steps, values, sigmas, layout, mode, out, region)


def _blur(steps, values, sigma, mode, out, region):
    """Blur an image; keep the region."""
    if region is None:
        steps.blur(values, sigma, mode, out)
    else:
        whole = empty(values, dtype=out.dtype)
        steps.blur(values, sigma, mode, whole)
        out[...] = whole[region]


def _fill_derived(steps, values, sigmas, layout, mode, out, region):
    """Blur once for each sigma, in float64: derivatives of a rounded image are those of what was
    rounded, where values are large beside what changes."""
    own = "gaussian" in layout[0]
    in_place = own and out.dtype == np.float64
    room = values[:0] if in_place else empty(values, region=region)
    two = not in_place and len(layout) > 1 and "dog" in layout[-1]
    spare = [room, empty(values, region=region) if two else room]
    before = values if region is None else steps.rows(values[region], values.dtype)
    for i, (sigma, places) in enumerate(zip(sigmas, layout)):
        blurred = out[places["gaussian"]] if in_place else spare[i % 2]
        _blur(steps, values, sigma, mode, blurred, region)
        if own and not in_place:
            out[places["gaussian"]] = blurred
        steps.derive(blurred, mode, tuple(places.get(kind, -1) for kind in _DERIVED), out)
        if "dog" in places:
            array_namespace(out).subtract(blurred, before, out=out[places["dog"]])
        before = blurred


def _fill_tensor(steps, values, sigmas, layout, mode, out, region):
    """Smooth the products into the planes of the eigenvalues, as far as they reach."""
    ndim = values.ndim
    count = ndim * (ndim + 1) // 2
    products = empty(values, (count,), dtype=out.dtype)
    others = empty(values, (count - ndim,), region, out.dtype)
    steps.products(values, mode, products)
    for sigma, places in zip(sigmas, layout):
        diagonal = out[places[_TENSOR] : places[_TENSOR] + ndim]
        for product, blurred in zip(products, (*diagonal, *others)):
            _blur(steps, product, sigma, mode, blurred, region)
        steps.eigenvalues(diagonal, others)
