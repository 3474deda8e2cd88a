"""Patches turned, bent and relit, so that a network learns what does not matter."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from torch.nn import functional

from .._checks import number


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How much patches are changed, at most or as a standard deviation; 0 is not at all.

    Attributes
    ----------
    flip : bool
        Along any axis.
    rotate : bool
        By any angle, in the last two axes.
    scale : float
        Standard deviation of the logarithm of the magnification.
    elastic : float
        Standard deviation, in pixels, of how far points of a lattice are moved, `spacing` pixels
        apart; what lies between moves smoothly.
    spacing : float
    contrast, brightness : float
        Standard deviations of the logarithm of a factor, and of a summand.
    shade : float
        Standard deviation of light and shadow, a summand at points `spacing` pixels apart: how
        bright a place is then tells less of what it is than its texture and its edges.
    gamma : float
        Standard deviation of the share of the squares of intensities that is added.
    blur : float
        Patches are blurred by up to this share of a 3-pixel mean, or sharpened by half of it.
    noise : float
        The standard deviation of the noise that is added is drawn up to this.

    Intensities are those after normalisation: of mean 0 and standard deviation 1.
    """

    flip: bool = True
    rotate: bool = True
    scale: float = 0.25
    elastic: float = 6.0
    spacing: float = 32.0
    contrast: float = 0.2
    brightness: float = 0.2
    shade: float = 0.5
    gamma: float = 0.15
    blur: float = 1.0
    noise: float = 0.3

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in {"flip", "rotate"}:
                if not isinstance(value, bool):
                    raise TypeError(f"augment: {field.name} must be True or False, got {value!r}")
            else:
                least = {"above": 0} if field.name == "spacing" else {"at_least": 0}
                number(value, f"augment: {field.name}", **least)

    @property
    def moves(self) -> bool:
        return self.flip or self.rotate or self.scale > 0 or self.elastic > 0

    def margin(self, patch) -> tuple[int, ...]:
        """How many pixels around a patch it may be made from."""
        wide = [math.exp(min(2 * self.scale, 1.0)) * n / 2 for n in patch]
        if self.rotate:
            wide[-2:] = [math.hypot(*wide[-2:])] * 2
        return tuple(math.ceil(w + 2 * self.elastic - n / 2) for w, n in zip(wide, patch))


def augmentation(augment) -> Augmentation | None:
    """What was asked for: None or False, True, a dict of what differs, or an Augmentation."""
    if augment is None or augment is False:
        return None
    if augment is True:
        return Augmentation()
    if isinstance(augment, Augmentation):
        return augment
    if isinstance(augment, dict):
        known = {field.name for field in dataclasses.fields(Augmentation)}
        if not augment.keys() <= known:
            raise ValueError(
                f"augment: {sorted(augment.keys() - known)} are not among {sorted(known)}"
            )
        return Augmentation(**augment)
    raise TypeError(
        f"augment must be None, a bool, a dict or an Augmentation, got {type(augment).__name__}"
    )


def moved(image, truth, patch, augment: Augmentation, rng):
    """A patch out of the middle of a larger image (C, ...) and its classes (...)."""
    ndim = len(patch)
    grid = torch.meshgrid(*[torch.arange(n) - (n - 1) / 2 for n in patch], indexing="ij")
    places = torch.stack(grid).double()
    matrix = np.eye(ndim) * math.exp(np.clip(rng.normal(0, augment.scale), -1, 1))
    if augment.flip:
        matrix = matrix * rng.choice([-1.0, 1.0], (ndim, 1))
    if augment.rotate:
        angle = rng.uniform(0, 2 * math.pi)
        turn = np.eye(ndim)
        turn[-2:, -2:] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        matrix = matrix @ turn
    places = (torch.from_numpy(matrix) @ places.reshape(ndim, -1)).reshape(places.shape)
    if augment.elastic > 0:
        places = places + _bend(patch, augment, rng)
    sizes = image.shape[1:]
    # As `grid_sample` wants them: the last axis first, -1 to 1 between the outer edges.
    scaled = [2 * places[axis] / sizes[axis] for axis in reversed(range(ndim))]
    where = torch.stack(scaled, dim=-1).float()[None]
    made = functional.grid_sample(
        image[None], where, mode="bilinear", padding_mode="reflection", align_corners=False
    )[0]
    labels = functional.grid_sample(
        truth[None, None].float(), where, mode="nearest", padding_mode="reflection",
        align_corners=False,
    )[0, 0].long()  # fmt: skip
    return made, labels


def _bend(patch, augment, rng):
    return augment.elastic * _smooth(len(patch), patch, augment.spacing, rng)


def _smooth(count: int, patch, spacing: float, rng):
    """Fields (count, ...) that are normal at the points of a lattice, but for their tails."""
    lattice = [max(2, math.ceil(n / spacing) + 1) for n in patch]
    values = np.clip(rng.normal(size=(1, count, *lattice)), -2, 2)
    mode = "bicubic" if len(patch) == 2 else "trilinear"
    return functional.interpolate(
        torch.from_numpy(values), size=tuple(patch), mode=mode, align_corners=True
    )[0]


def relit(image, augment: Augmentation, rng):
    """An image (C, ...) in other light: blurred or sharpened, with other contrast, and noisier."""
    if augment.blur > 0:
        ndim = image.ndim - 1
        mean = {2: functional.avg_pool2d, 3: functional.avg_pool3d}[ndim]
        around = functional.pad(image[None], (1, 1) * ndim, mode="replicate")
        share = rng.uniform(-augment.blur / 2, augment.blur)
        image = image + share * (mean(around, 3, 1)[0] - image)
    if augment.gamma > 0:
        image = image + rng.normal(0, augment.gamma) * (image * image - 1)
    if augment.shade > 0:
        fields = _smooth(1, image.shape[1:], augment.spacing, rng)
        image = image + augment.shade * fields.to(image.dtype)
    if augment.contrast > 0 or augment.brightness > 0:
        factor = math.exp(rng.normal(0, augment.contrast))
        image = image * factor + rng.normal(0, augment.brightness)
    if augment.noise > 0:
        noise = rng.standard_normal(tuple(image.shape), dtype=np.float32)
        image = image + rng.uniform(0, augment.noise) * torch.from_numpy(noise)
    return image
