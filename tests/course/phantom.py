"""An image like an electron micrograph, made from numbers: cells, membranes, organelles."""

from __future__ import annotations

import functools

import numpy as np
from scipy import ndimage as ndi


@functools.cache
def micrograph(shape: tuple[int, int] = (128, 256), seed: int = 2018):
    """A grey image from 0 to 1 and the mask of its organelles, both read-only.

    Organelles are ellipses with a dark membrane, inside which stripes of two grey values alternate;
    the membranes of the cells are as dark as that, and blotches between them are as grey as the
    stripes: no grey value belongs to the organelles alone, but their texture does.
    """
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    image = 0.68 + 0.05 * _smooth(random, shape, 12) + 0.03 * _smooth(random, shape, 2)
    _membranes(image, random, y, x)
    image[_smooth(random, shape, 2.5) > 1.3] = 0.44
    mask = np.zeros(shape, bool)
    for row, column in _places(random, shape):
        _organelle(image, mask, random, y - row, x - column)
    image = ndi.gaussian_filter(image, 0.6) + 0.06 * random.normal(size=shape)
    image = np.rint(255 * np.clip(image, 0, 1)) / 255  # grey values as of eight bits
    image.flags.writeable = mask.flags.writeable = False
    return image, mask


def _smooth(random, shape, sigma) -> np.ndarray:
    """Noise of mean 0 and deviation 1, whose neighbours are alike."""
    field = ndi.gaussian_filter(random.normal(size=shape), sigma, mode="wrap")
    return (field - field.mean()) / field.std()


def _membranes(image, random, y, x) -> None:
    """Dark lines halfway between neighbouring centres, bent by noise."""
    shape = image.shape
    count = image.size // 900
    centres = random.uniform((0, 0), shape, (count, 2))
    y = y + 4 * _smooth(random, shape, 8)
    x = x + 4 * _smooth(random, shape, 8)
    distance = np.sqrt((y[..., None] - centres[:, 0]) ** 2 + (x[..., None] - centres[:, 1]) ** 2)
    first, second = np.moveaxis(np.partition(distance, 1, axis=-1)[..., :2], -1, 0)
    image[second - first < 3] = 0.3


def _places(random, shape):
    """Centres of organelles, one in each field of a loose grid, but not in all."""
    for row in range(0, shape[0], 32):
        for column in range(0, shape[1], 32):
            if random.random() < 0.55:
                yield row + random.uniform(10, 22), column + random.uniform(10, 22)


def _organelle(image, mask, random, y, x) -> None:
    angle = random.uniform(0, np.pi)
    long, short = random.uniform(9, 13), random.uniform(6, 8)
    along = np.cos(angle) * y + np.sin(angle) * x
    across = np.cos(angle) * x - np.sin(angle) * y
    radius = np.hypot(along / long, across / short)
    inside = radius < 1
    stripes = np.where(np.sin(2 * np.pi * along / 4 + random.uniform(0, 6)) > 0, 0.36, 0.52)
    image[inside] = stripes[inside]
    image[inside & (radius > 1 - 1.5 / short)] = 0.28
    mask |= inside
