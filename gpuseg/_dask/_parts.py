"""Regions put together from their parts in chunks, for the measures that scikit-image takes.

A measure that is made of sums (of places, of intensities) comes from the sums of the parts; the
formulas are scikit-image's own, which finds the sums instead of the pixels. For any other measure a
region's pixels are looked at: in its chunk, or all together where it lies in several.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import NamedTuple

import numpy as np
from dask import array as da
from scipy import ndimage
from scipy.special import comb

from .._backend import asnumpy
from .._cpu.properties import PROPS, Region, table_of
from .._cpu.regions import compact
from ..kernels import parts as kernel
from ._connected import aligned
from ._reduce import each

# Measures that are made of sums, by the order of the moments that they need.
_ORDERS = {
    0: ("label", "bbox", "slice", "num_pixels", "area", "area_bbox", "extent",
        "equivalent_diameter_area", "intensity_max", "intensity_mean", "intensity_min",
        "intensity_std"),
    1: ("centroid", "centroid_local", "centroid_weighted", "centroid_weighted_local"),
    2: ("inertia_tensor", "inertia_tensor_eigvals", "axis_major_length", "axis_minor_length",
        "eccentricity", "orientation"),
    9: ("moments", "moments_central", "moments_hu", "moments_normalized", "moments_weighted",
        "moments_weighted_central", "moments_weighted_hu", "moments_weighted_normalized"),
}  # fmt: skip
_ORDER = {name: order for order, names in _ORDERS.items() for name in names}
_SPREAD = ("intensity_max", "intensity_min", "intensity_std")
# The powers of a coordinate, and how those of a sum are made of those of its terms.
_POWERS = np.arange(kernel.POWERS)
_CHOOSE = comb(_POWERS[:, None], _POWERS)


class Asked(NamedTuple):
    """Which powers of places are summed, whether the spread of intensities is asked for, and what
    is looked up in the pixels; with what."""

    powers: np.ndarray
    spread: bool
    pixels: tuple[str, ...]
    extra: tuple
    spacing: np.ndarray


class Parts(NamedTuple):
    """Regions, or the parts of them in a chunk, a row each.

    Boxes in the volume; sums of powers of the distances from the boxes' middles, in a column for 1
    and one for each channel; of each channel the least value, the largest and the sum of squared
    distances from the mean.
    """

    numbers: np.ndarray
    boxes: np.ndarray
    sums: np.ndarray
    spreads: np.ndarray

    @property
    def middles(self):
        return self.boxes.sum(axis=1) // 2


def table(label_image, intensity_image, properties, *, separator, extra, spacing):
    """Columns of measures of every region; None where there is no region."""
    ndim = label_image.ndim
    names = [PROPS.get(name, name) for name in properties]
    order = max((_ORDER.get(name, 0) for name in names), default=0)
    powers = [p for p in itertools.product(_POWERS, repeat=ndim) if sum(p) <= order]
    pixels = [name for name in names if name not in _ORDER]
    pixels += [function.__name__ for function in extra]
    stub = np.zeros((1,) * ndim, np.uint8)
    spacing = _of_pixels(stub, 1, None, extra, spacing)._spacing
    asked = Asked(
        np.array(powers, np.int64), any(n in _SPREAD for n in names), tuple(pixels), extra, spacing
    )
    arrays = _arrays(label_image, intensity_image)
    found = each(parts_of, arrays, asked, places=True).compute()
    regions, held = joined(found, asked.powers)
    if not regions.numbers.size:
        return None
    single = intensity_image is None or intensity_image.ndim == ndim
    known = _known(regions, asked, single=single)
    if pixels:
        alone = regions.numbers[held == 1]
        looks = each(_look, arrays, asked, alone, single, places=True).compute()
        _look_together(known, regions, asked, looks, intensity_image)
    if intensity_image is not None:
        intensity_image = np.zeros((*stub.shape, *intensity_image.shape[ndim:]))
    made = [
        Known(its, label, box, stub=stub, image=intensity_image, extra=extra, spacing=spacing)
        for label, (its, box) in enumerate(zip(known, regions.boxes))
    ]
    names = [*properties, *(function.__name__ for function in extra)]
    return table_of(made, names, separator, regions.numbers)


def _arrays(labels, image):
    """Labels, and the image with channels along a last axis, in one and the same chunks."""
    if image is None:
        return aligned([labels])
    image = da.asarray(image)
    image = image if image.ndim > labels.ndim else image[..., np.newaxis]
    if not isinstance(labels, da.Array):
        labels = da.from_array(labels, chunks=image.chunks[:-1])
    (labels,) = aligned([labels])
    return [labels, image.rechunk((*labels.chunks, -1))]


# --- parts ------------------------------------------------------------------------------------


def parts_of(asked: Asked, origin, labels, image=None) -> Parts:
    """What a chunk that begins at `origin` holds."""
    labels, numbers = _numbered(labels)
    ndim, count = labels.ndim, numbers.size - 1
    flat = labels.reshape((1,) * (3 - ndim) + labels.shape)
    boxes = kernel.boxes(flat, count)
    middles = boxes.sum(axis=1) // 2
    powers = np.zeros((len(asked.powers), 3), np.int64)
    powers[:, 3 - ndim :] = asked.powers
    channels = [] if image is None else [
        asnumpy(image[..., c]).astype(np.float64).reshape(flat.shape)
        for c in range(image.shape[-1])
    ]  # fmt: skip
    sums = np.zeros((count + 1, len(powers), 1 + len(channels)))
    spreads = np.zeros((count + 1, len(channels) * asked.spread, 5))
    none = np.zeros((0, 0, 0))
    for c, values in enumerate([none, *channels]):
        kernel.moments(flat, middles, powers, values, sums[..., c])
    for c, values in enumerate(channels * asked.spread):
        sizes = sums[1:, 0, 0]
        about = spreads[1:, c, 2] = sums[1:, 0, c + 1] / sizes
        kernel.spreads(flat, values, spreads[:, c])
        off = spreads[1:, c, 3] / sizes
        spreads[1:, c, 2] = np.maximum(spreads[1:, c, 2] - sizes * off**2, 0)
        spreads[1:, c, 3], spreads[1:, c, 4] = about, off
    boxes = boxes[1:, :, 3 - ndim :] + np.array(origin, np.int64)
    return Parts(numbers[1:], boxes, sums[1:], spreads[1:])


def _numbered(labels):
    """Labels as 1, 2, ... in int32 (int64 for many), and what each stands for; 0 is background."""
    labels = asnumpy(labels)
    flat, numbers = compact(np.maximum(labels, 0) if labels.dtype.kind == "i" else labels)
    if numbers[0]:
        flat, numbers = flat + 1, np.append(numbers.dtype.type(0), numbers)
    dtype = np.int32 if labels.size < 2**31 else np.int64
    return flat.astype(dtype, copy=False).reshape(labels.shape), numbers


def joined(parts: list[Parts], powers) -> tuple[Parts, np.ndarray]:
    """The regions of all chunks, and in how many chunks each lies."""
    parts = Parts(*map(np.concatenate, zip(*parts)))
    numbers, at, held = np.unique(parts.numbers, return_inverse=True, return_counts=True)
    boxes = np.empty((numbers.size, *parts.boxes.shape[1:]), np.int64)
    boxes[:, 0], boxes[:, 1] = np.iinfo(np.int64).max, 0
    np.minimum.at(boxes[:, 0], at, parts.boxes[:, 0])
    np.maximum.at(boxes[:, 1], at, parts.boxes[:, 1])
    regions = Parts(numbers, boxes, None, None)
    moved = _about(parts.sums, powers, regions.middles[at] - parts.middles)
    sums = np.zeros((numbers.size, *parts.sums.shape[1:]))
    np.add.at(sums, at, moved[(slice(None), *powers.T)])
    spreads = np.empty((numbers.size, *parts.spreads.shape[1:]))
    if spreads.size:
        spreads[...] = np.inf, -np.inf, 0, np.inf, 0
        for column, extreme in ((0, np.minimum), (1, np.maximum), (3, np.minimum)):
            extreme.at(spreads[..., column], at, parts.spreads[..., column])
        # Means of parts are compared from near them: of large values nothing would be left.
        sizes = parts.sums[:, 0, :1]
        away = parts.spreads[..., 3] - spreads[..., 3][at] + parts.spreads[..., 4]
        np.add.at(spreads[..., 4], at, sizes * away)
        spreads[..., 4] /= sums[:, 0, :1]
        between = sizes * (away - spreads[..., 4][at]) ** 2
        np.add.at(spreads[..., 2], at, parts.spreads[..., 2] + between)
    return regions._replace(sums=sums, spreads=spreads), held


def _about(sums, powers, away):
    """Sums of powers about another place, so far `away`, in a table with an axis for each axis."""
    away, size = np.asarray(away, float), int(powers.max()) + 1
    table = np.zeros((len(sums), *(size,) * powers.shape[1], sums.shape[-1]))
    table[(slice(None), *powers.T)] = sums
    a, i = np.ogrid[:size, :size]
    for axis in range(powers.shape[1]):
        step = _CHOOSE[:size, :size] * (-away[:, axis, None, None]) ** np.maximum(a - i, 0)
        lines = np.moveaxis(table, axis + 1, -1)
        table = np.moveaxis(np.einsum("rai,r...i->r...a", step, lines), -1, axis + 1)
    return table


# --- measures ---------------------------------------------------------------------------------


class Known(Region):
    """A region of which some measures are known, and the others follow from these."""

    def __init__(self, known, label, box, *, stub, image, extra, spacing):
        super().__init__(
            tuple(itertools.starmap(slice, box.T.tolist())),
            label,
            stub,
            image,
            True,  # noqa: FBT003 - to cache
            extra_properties=extra,
            spacing=spacing,
        )
        self._known = {"image": stub} | known

    def __getattribute__(self, name):
        known = super().__getattribute__("__dict__").get("_known", ())
        return known[name] if name in known else super().__getattribute__(name)


def _known(regions: Parts, asked: Asked, *, single: bool) -> list[dict]:
    """What the sums say of each region, by scikit-image's names."""
    powers, spacing = asked.powers, asked.spacing
    counts, corners = regions.sums[:, 0, 0], regions.boxes[:, 0]
    voxel = np.prod(spacing)
    lengths = regions.boxes[:, 1] - corners
    columns = {
        "num_pixels": counts.astype(np.int64),
        "area": counts * voxel,
        "area_bbox": lengths.prod(axis=1) * voxel,
    }
    weighted = {"intensity_mean": regions.sums[:, 0, 1:] / counts[:, None]}
    if asked.spread:
        low, high, squares, *_ = np.moveaxis(regions.spreads, -1, 0)
        weighted["intensity_min"], weighted["intensity_max"] = low, high
        weighted["intensity_std"] = np.sqrt(squares / counts[:, None])
    if powers.any():
        raw = _about(regions.sums, powers, corners - regions.middles)
        units = _scaled(np.ones((1, *raw.shape[1:-1], 1)), spacing)
        columns["moments"] = raw[..., 0] * units[..., 0]
        weighted["moments_weighted"] = raw[..., 1:] * units
        centers = _centers(raw)
        columns["centroid"] = (corners + centers[..., 0]) * spacing
        central = [
            _about(
                regions.sums[..., c : c + 1], powers, corners - regions.middles + centers[..., c]
            )
            for c in range(raw.shape[-1])
        ]
        central = np.concatenate(central, axis=-1) * units
        columns["moments_central"] = central[..., 0]
        weighted["moments_weighted_central"] = central[..., 1:]
    if regions.sums.shape[-1] > 1:
        columns |= {k: v[..., 0] if single else v for k, v in weighted.items()}
    columns["centroid"] = list(map(tuple, columns.get("centroid", ())))
    return [
        {name: column[i] for name, column in columns.items() if len(column)}
        for i in range(counts.size)
    ]


def _centers(raw):
    """The centres of mass, from the corners of the boxes, of 1 and of each channel."""
    ndim = raw.ndim - 2
    firsts = [raw[(slice(None), *np.eye(ndim, dtype=int)[axis])] for axis in range(ndim)]
    with np.errstate(all="ignore"):
        return np.stack(firsts, axis=1) / raw[(slice(None), *(0,) * ndim)][:, None]


def _scaled(table, spacing):
    """A table of powers of places, in units of length."""
    for axis, step in enumerate(spacing):
        lengths = float(step) ** np.arange(table.shape[axis + 1])
        table = table * lengths.reshape([-1 if a == axis + 1 else 1 for a in range(table.ndim)])
    return table


# --- pixels -----------------------------------------------------------------------------------


class Piece(NamedTuple):
    """The pixels of a region in one of several chunks: where they begin, which ones of a box, and
    their intensities."""

    number: int
    start: np.ndarray
    mask: np.ndarray
    values: np.ndarray | None


def _of_pixels(labels, label, image, extra, spacing, place=None):
    if place is None:
        place = tuple(slice(0, n) for n in labels.shape)
    options = {"cache_active": True, "extra_properties": extra, "spacing": spacing}
    return Region(place, label, labels, image, **options)


def _look(asked: Asked, alone, single, origin, labels, image=None):
    """The measures of the regions that lie in this chunk alone, and the pieces of the others."""
    labels, numbers = _numbered(labels)
    if image is not None:
        image = asnumpy(image[..., 0] if single else image)
    is_alone = np.isin(numbers, alone)
    whole, pieces = [], []
    for label, place in enumerate(ndimage.find_objects(labels), 1):
        if is_alone[label]:
            region = _of_pixels(labels, label, image, asked.extra, asked.spacing, place)
            whole.append((numbers[label], _measures(region, asked, np.array(origin))))
        else:
            mask = labels[place] == label
            start = np.array([cut.start for cut in place]) + origin
            values = None if image is None else image[place][mask]
            pieces.append(Piece(numbers[label], start, mask, values))
    return whole, pieces


def _measures(region, asked: Asked, start) -> dict:
    """What is looked up in the pixels of a region, in an array that begins at `start`."""
    found = {name: getattr(region, name) for name in asked.pixels}
    for name, unit in (("coords", 1), ("coords_scaled", asked.spacing)):
        if name in found:
            found[name] = found[name] + start * unit
    return found


def _look_together(known, regions: Parts, asked: Asked, looks, image) -> None:
    """Add to what is known of each region what its pixels say."""
    pieces = defaultdict(list)
    for whole, others in looks:
        for number, found in whole:
            known[np.searchsorted(regions.numbers, number)].update(found)
        for piece in others:
            pieces[piece.number].append(piece)
    for number, these in pieces.items():
        i = np.searchsorted(regions.numbers, number)
        start, stop = regions.boxes[i]
        mask, values = np.zeros(stop - start, np.uint8), None
        if image is not None:
            values = np.zeros((*mask.shape, *image.shape[mask.ndim :]), image.dtype)
        for piece in these:
            place = tuple(map(slice, piece.start - start, piece.start - start + piece.mask.shape))
            mask[place] |= piece.mask
            if values is not None:
                values[place][piece.mask] = piece.values
        region = _of_pixels(mask, 1, values, asked.extra, asked.spacing)
        known[i].update(_measures(region, asked, start))
