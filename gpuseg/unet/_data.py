"""Training images, checked and read piece by piece, and the patches that are drawn from them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from .._backend import asnumpy, is_cupy
from .._checks import axis

# Pixels that are read at a time where all must be seen, and places that are kept of a class.
_PIECE, _PLACES = 1 << 24, 4096
# A class with less than this share of the pixels is rare.
_RARE = 0.05


class Example(NamedTuple):
    """An image and its classes, as they lie: in memory, in a file, in a Zarr store."""

    image: object
    truth: object
    channel_axis: int | None
    shape: tuple[int, ...]
    binary: bool
    counts: dict[int, int]  # pixels of each class, but for the background of a mask
    places: dict[int, np.ndarray]  # of some of these

    def read(self, cut):
        """A piece as float32 (C, ...) and int64 (...)."""
        return pixels(self.image, cut, self.channel_axis), self.classes(cut)

    def classes(self, cut):
        found = asnumpy(self.truth[cut]) if is_cupy(self.truth) else np.asarray(self.truth[cut])
        return (found != 0).astype(np.int64) if self.binary else found.astype(np.int64)

    def around(self, start, size):
        """As `read`, where the piece may reach beyond the image: there it is mirrored."""
        stop = [a + n for a, n in zip(start, size)]
        cut = tuple(slice(max(0, a), min(n, b)) for a, b, n in zip(start, stop, self.shape))
        image, truth = self.read(cut)
        beyond = [(max(0, -a), max(0, b - n)) for a, b, n in zip(start, stop, self.shape)]
        if any(map(any, beyond)):
            image = np.pad(image, [(0, 0), *beyond], mode="symmetric")
            truth = np.pad(truth, beyond, mode="symmetric")
        return image, truth


def pixels(image, cut, channel_axis):
    """A piece of an image as float32 with its channels first."""
    if channel_axis is not None:
        cut = (*cut[:channel_axis], slice(None), *cut[channel_axis:])
    found = image[cut]
    found = asnumpy(found) if is_cupy(found) else np.asarray(found)
    if channel_axis is None:
        return found[None].astype(np.float32)
    return np.moveaxis(found, channel_axis, 0).astype(np.float32)


def lazy_array(x, name: str):
    """An array, or what is read like one: of real numbers, and left where it is."""
    if not (hasattr(x, "shape") and hasattr(x, "dtype") and hasattr(x, "__getitem__")):
        if not isinstance(x, list | tuple):
            raise TypeError(f"{name} must be an array or a list of arrays, got {type(x).__name__}")
        x = np.asarray(x)
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{name} is a numpy.ma.MaskedArray, whose mask would be lost")
    if np.dtype(x.dtype).kind not in "buif":
        raise TypeError(f"{name} must hold real numbers, got {x.dtype}")
    if 0 in x.shape:
        raise ValueError(f"{name} is empty: shape {x.shape}")
    return x


def spatial_shape(image, ndim: int, channel_axis, channels: int, name: str = "image"):
    """The shape of an image without its channels, which must be so many; and their axis."""
    expected = ndim + (channel_axis is not None)
    if image.ndim != expected:
        raise ValueError(
            f"{name} must have {expected} axes ({ndim} of space"
            f"{', 1 of channels' * (channel_axis is not None)}), got shape {tuple(image.shape)}"
        )
    if channel_axis is None:
        if channels != 1:
            raise ValueError(
                f"{name} must have {channels} channels for this model: say channel_axis"
            )
        return tuple(image.shape), None
    at = axis(channel_axis, "channel_axis", expected)
    if image.shape[at] != channels:
        raise ValueError(
            f"{name} must have {channels} channel(s) for this model, got {image.shape[at]}"
        )
    return tuple(n for i, n in enumerate(image.shape) if i != at), at


def examples(images, masks, model, channel_axis, name: str = "images") -> list[Example]:
    """Checked pairs of images and masks."""
    ndim, expected = model.ndim, model.ndim + (channel_axis is not None)
    masks_name = name.replace("images", "masks")
    images = _several(images, expected, name)
    masks = _several(masks, ndim, masks_name)
    if len(images) != len(masks):
        raise ValueError(
            f"{name} and {masks_name} must be as many, got {len(images)} and {len(masks)}"
        )
    found = []
    for i, (image, mask) in enumerate(zip(images, masks)):
        image = lazy_array(image, f"{name}[{i}]")
        mask = lazy_array(mask, f"{masks_name}[{i}]")
        channels = model.config["in_channels"]
        shape, at = spatial_shape(image, ndim, channel_axis, channels, f"{name}[{i}]")
        if np.dtype(mask.dtype).kind not in "bui":
            raise TypeError(f"{masks_name}[{i}] must hold bool or integers, got {mask.dtype}")
        if tuple(mask.shape) != shape:
            raise ValueError(
                f"{masks_name}[{i}] must have the shape of its image, {shape}, got {mask.shape}"
            )
        counts, places = _places(mask, shape, model, f"{masks_name}[{i}]")
        binary = model.config["out_channels"] == 1
        found.append(Example(image, mask, at, shape, binary, counts, places))
    return found


def _several(x, ndim: int, name: str) -> list:
    """A list of arrays: of one, of a stack, or of a list."""
    if isinstance(x, list | tuple):
        if not x:
            raise ValueError(f"{name} is empty")
        return list(x)
    x = lazy_array(x, name)
    if x.ndim == ndim:
        return [x]
    if x.ndim == ndim + 1:
        return [Page(x, i) for i in range(x.shape[0])] if not _near(x) else list(x)
    raise ValueError(
        f"{name} must have {ndim} axes, or {ndim + 1} for a stack, got shape {tuple(x.shape)}"
    )


def _near(x) -> bool:
    return isinstance(x, np.ndarray) or is_cupy(x)


class Page:
    """One image of a stack, which is read when a part of it is."""

    def __init__(self, stack, index: int):
        self._stack, self._index = stack, index
        self.shape, self.dtype, self.ndim = stack.shape[1:], stack.dtype, stack.ndim - 1

    def __getitem__(self, cut):
        return self._stack[(self._index, *cut)]


def _pieces(shape):
    """Slabs of the first axis."""
    rows = max(1, _PIECE // max(1, int(np.prod(shape[1:]))))
    rest = (slice(None),) * (len(shape) - 1)
    for start in range(0, shape[0], rows):
        yield (slice(start, min(start + rows, shape[0])), *rest)


def _places(mask, shape, model, name: str):
    """How many pixels each class has, and some of their places, after a look at the whole mask."""
    binary, classes = model.config["out_channels"] == 1, model.classes
    rng, kept, counts = np.random.default_rng(0), {}, {}
    values: set[int] = set()
    for cut in _pieces(shape):
        piece = mask[cut]
        piece = asnumpy(piece) if is_cupy(piece) else np.asarray(piece)
        values |= {int(v) for v in np.unique(piece)}
        if len(values) > classes or (binary and len(values - {0}) > 1):
            raise ValueError(
                f"{name} is no mask of {classes} classes: it holds the values "
                f"{', '.join(map(str, sorted(values)[:8]))}{', ...' * (len(values) > 8)}"
            )
        for label in values if not binary else ({1} if values - {0} else ()):
            at = np.flatnonzero(piece != 0 if binary else piece == label)
            counts[label] = counts.get(label, 0) + len(at)
            if len(at) > _PLACES:
                at = np.sort(rng.choice(at, _PLACES, replace=False))
            found = np.stack(np.unravel_index(at, piece.shape), axis=1)
            found[:, 0] += cut[0].start
            kept.setdefault(label, []).append(found)
    if not binary and values and not 0 <= min(values) <= max(values) < classes:
        raise ValueError(
            f"{name} must hold classes from 0 to {classes - 1}, got values from {min(values)} to "
            f"{max(values)}"
        )
    joined = {}
    for label, parts in kept.items():
        found = np.concatenate(parts)
        if len(found) > _PLACES:
            found = found[np.sort(rng.choice(len(found), _PLACES, replace=False))]
        if len(found):
            joined[label] = found
    return {label: counts[label] for label in joined}, joined


def normalization(pairs: list[Example], channels: int) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, in one pass; what is not finite is refused."""
    count, mean, squares = 0, np.zeros(channels), np.zeros(channels)
    for pair in pairs:
        for cut in _pieces(pair.shape):
            flat = pixels(pair.image, cut, pair.channel_axis).reshape(channels, -1)
            flat = flat.astype(np.float64)
            if not np.isfinite(flat).all():
                raise ValueError("images hold NaN or infinity")
            # Of two parts from the means and sums of squares of each (Chan, Golub, LeVeque 1979).
            n, middle = flat.shape[1], flat.mean(axis=1)
            inner = ((flat - middle[:, None]) ** 2).sum(axis=1)
            apart = middle - mean
            squares += inner + apart**2 * (count * n / (count + n))
            mean += apart * (n / (count + n))
            count += n
    std = np.sqrt(squares / count)
    return mean.tolist(), np.where(std > 0, std, 1.0).tolist()


def _rare(pairs: list[Example]) -> bool:
    """Whether a class has few pixels."""
    counts: dict[int, int] = {}
    for pair in pairs:
        for label, count in pair.counts.items():
            counts[label] = counts.get(label, 0) + count
    whole = sum(int(np.prod(pair.shape)) for pair in pairs)
    return any(count < _RARE * whole for count in counts.values())


def _starts(patch: int, size: int, mirrored: bool) -> tuple[int, int]:
    """The first and the last place where a patch may begin along an axis."""
    # Within the image, pixels near its edges are in few patches. Where images are mirrored beyond
    # their edges, a patch has its middle anywhere: each pixel is shown as often as any other.
    if mirrored:
        return -(patch // 2), size - patch + patch // 2
    return min(0, size - patch), max(0, size - patch)


class Draw:
    """Batches of patches, or of whole images: each by its epoch and step alone."""

    def __init__(self, pairs, model, *, patch, batch, augment, balanced, seed):
        from ._augment import augmentation

        self.pairs, self.patch, self.batch, self.seed = pairs, patch, batch, seed
        self.augment = augmentation(augment)
        self.balanced = _rare(pairs) if balanced == "auto" else balanced
        self._mean = model.mean.cpu().numpy().reshape(-1, *[1] * model.ndim)
        self._std = model.std.cpu().numpy().reshape(-1, *[1] * model.ndim)
        sizes = np.array([np.prod(pair.shape, dtype=float) for pair in pairs])
        self._shares = sizes / sizes.sum()
        held = sorted(set().union(*(pair.places for pair in pairs)))
        self._holders = {
            label: [i for i, pair in enumerate(pairs) if label in pair.places] for label in held
        }

    def __call__(self, epoch: int, step: int):
        """Normalised images (N, C, ...) and classes (N, ...)."""
        rng = np.random.default_rng([self.seed, epoch, step])
        if self.patch is None:
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.pairs))
            chosen = order[step * self.batch : (step + 1) * self.batch]
            found = [self._whole(self.pairs[i], rng) for i in chosen]
        else:
            found = [self._patch(rng) for _ in range(self.batch)]
        images, truths = zip(*found)
        return torch.stack(images), torch.stack(truths)

    def _whole(self, pair, rng):
        image, truth = pair.read(tuple(slice(0, n) for n in pair.shape))
        return self._made(image, truth, pair.shape, rng)

    def _patch(self, rng):
        moves = self.augment is not None and self.augment.moves
        # Every second patch, by chance, has in it a place of a class that is drawn: so a rare one
        # is seen as often as others.
        if self.balanced and self._holders and rng.random() < 0.5:
            label = list(self._holders)[rng.integers(len(self._holders))]
            pair = self.pairs[self._holders[label][rng.integers(len(self._holders[label]))]]
            place = pair.places[label][rng.integers(len(pair.places[label]))]
            start = [
                int(np.clip(at - rng.integers(n), *_starts(n, size, moves)))
                for at, n, size in zip(place, self.patch, pair.shape)
            ]
        else:
            pair = self.pairs[rng.choice(len(self.pairs), p=self._shares)]
            start = [
                int(rng.integers(*_starts(n, size, moves), endpoint=True))
                for n, size in zip(self.patch, pair.shape)
            ]
        margin = (0,) * len(start)
        if moves:
            margin = self.augment.margin(self.patch)
        begin = [a - m for a, m in zip(start, margin)]
        size = [n + 2 * m for n, m in zip(self.patch, margin)]
        image, truth = pair.around(begin, size)
        return self._made(image, truth, self.patch, rng)

    def _made(self, image, truth, size, rng):
        from ._augment import moved, relit

        if not np.isfinite(image.sum(dtype=np.float64)):
            raise ValueError("images hold NaN or infinity")
        image = torch.from_numpy((image - self._mean) / self._std)
        truth = torch.from_numpy(truth)
        if self.augment is not None:
            if self.augment.moves:
                image, truth = moved(image, truth, size, self.augment, rng)
            image = relit(image, self.augment, rng)
        return image, truth
