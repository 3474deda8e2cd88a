"""What `gpuseg samples` writes: small images to try the commands on, made here from random numbers.

They are the files that the README's command lines name. The same seeds give the same images; NumPy
draws them and SciPy smooths them, so the last digit of a pixel may differ from version to version.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage, spatial

from ._files import check_folder, whole_folder

SCAN = "scan.ome.zarr"


class Sample(NamedTuple):
    """A file, what it shows, and what makes it."""

    name: str
    text: str
    make: Callable[[], np.ndarray]


def run(folder: Path, *, force: bool, step: Callable) -> list[tuple[str, str, str]]:
    """Write the folder, and return a row a file: its name, what it holds, what it shows."""
    from . import _images

    check_folder(folder, force=force, ours=FILES)
    rows = []
    with whole_folder(folder, force=force, ours=FILES) as temporary:
        for sample in SAMPLES:
            with step(sample.name):
                if sample.name == SCAN and not volumes_can_be_written():
                    continue
                image = sample.make()
                if sample.name == SCAN:
                    from . import volume

                    volume.save(
                        temporary / sample.name, image, voxel_size=(2, 1, 1), unit="micrometer"
                    )
                elif sample.name.endswith(".tif"):
                    _write_tiff(temporary / sample.name, image)
                else:
                    _images.write(temporary / sample.name, image)
            shape = " × ".join(map(str, image.shape))
            rows.append((sample.name, f"{shape} {image.dtype}", sample.text))
    return rows


def volumes_can_be_written() -> bool:
    """Whether the extra `volume` is installed."""
    return all(importlib.util.find_spec(name) for name in ("dask", "zarr"))


def _write_tiff(path: Path, image: np.ndarray) -> None:
    import tifffile

    axes = "ZYX"[-image.ndim :]
    tifffile.imwrite(path, image, photometric="minisblack", metadata={"axes": axes})


# --- images -----------------------------------------------------------------------------------


def _noisy(value: np.ndarray, rng, *, blur: float, noise: float) -> np.ndarray:
    """As a detector has it: blurred, with noise, in whole grey values of 8 bits."""
    value = ndimage.gaussian_filter(value.astype(np.float64), blur)
    return (value + rng.normal(0, noise, value.shape)).round().clip(0, 255).astype(np.uint8)


def _smooth(shape, sigma, rng) -> np.ndarray:
    """Smooth noise of mean 0 and standard deviation 1."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), sigma, mode="wrap")
    return (field - field.mean()) / field.std()


def bone() -> np.ndarray:
    """Bright bone with dark lacunae, from which thin and fainter canaliculi run."""
    rng = np.random.default_rng(1)
    truth, faint = bone_pores()
    value = np.full(truth.shape, 150.0) + 4 * _smooth(truth.shape, 8, rng)
    value[faint] = 70
    value[truth & ~faint] = 35
    return _noisy(value, rng, blur=0.5, noise=7)


def bone_pores() -> tuple[np.ndarray, np.ndarray]:
    """Where `bone` has pores, and which of them are canaliculi."""
    rng = np.random.default_rng(20261201)
    shape = (40, 112, 128)
    where = np.stack(np.indices(shape, np.float32), axis=-1)
    lacunae, lines = np.zeros(shape, bool), np.ones(shape, bool)
    for y in (18, 56, 94):
        for x in (20, 64, 108):
            center = np.array([20, y, x]) + rng.uniform(-5, 5, 3)
            axes = rng.permutation([3.0, 4.5, 8.0])
            lacunae |= np.sum(((where - center) / axes) ** 2, axis=-1) <= 1
            for _ in range(9):
                way = rng.standard_normal(3) * (0.5, 1, 1)
                way /= np.linalg.norm(way)
                along = np.arange(0, rng.uniform(16, 32), 0.25)[:, None]
                # Canaliculi are not straight: they swing to one side and back.
                aside = 1.5 * np.cross(way, [0.6, 0, 0.8]) * np.sin(along / 5)
                points = (center + along * way + aside).round().astype(int)
                points = points[((points >= 0) & (points < shape)).all(axis=1)]
                lines[tuple(points.T)] = False
    thick = ndimage.distance_transform_edt(lines) <= 1
    return lacunae | thick, thick & ~lacunae


def shale() -> np.ndarray:
    """Three phases: dark organic matter in layers, grey minerals, grains of bright pyrite."""
    rng = np.random.default_rng(2)
    shape = (240, 320)
    organic = _smooth(shape, (3, 12), rng) > 0.9
    pyrite = _smooth(shape, 3, rng) > 2
    minerals = 115 + 9 * np.sign(_smooth(shape, (5, 10), rng))
    value = np.where(organic, 45, minerals)
    return _noisy(np.where(pyrite, 215, value), rng, blur=0.8, noise=8)


CELLS = 36


def cells() -> np.ndarray:
    """Bright round cells that touch in clumps of one to five, on a dark ground."""
    rng = np.random.default_rng(3)
    y, x = np.ogrid[:256, :256]
    value = np.full((256, 256), 30.0)
    placed: list[tuple[float, float, float]] = []
    while len(placed) < CELLS:
        radius = rng.uniform(10.5, 13.5)
        beside = len(placed) % 4 > 0  # of every four, three go to others
        if beside:
            a, b, other = placed[rng.integers(max(0, len(placed) - 3), len(placed))]
            angle = rng.uniform(0, 2 * np.pi)
            away = 0.9 * (radius + other)
            a, b = a + away * np.sin(angle), b + away * np.cos(angle)
        else:
            a, b = rng.uniform(16, 240, 2)
        if not (radius + 2 < a < 254 - radius and radius + 2 < b < 254 - radius):
            continue
        if any(np.hypot(a - c, b - d) < (0.88 if beside else 1.5) * (radius + e)
               for c, d, e in placed):  # fmt: skip
            continue
        placed.append((a, b, radius))
        inside = np.hypot(y - a, x - b) <= radius
        value[inside] = np.maximum(value[inside], rng.uniform(130, 190))
    return _noisy(value, rng, blur=1, noise=8)


def membranes(count: int, seed: int, size: int = 192) -> np.ndarray:
    """Slices through cells that fill the space: where their membranes are."""
    rng = np.random.default_rng(seed)
    step = 24
    middles = np.stack(np.mgrid[-step : size + 2 * step : step, -step : size + 2 * step : step], -1)
    middles = middles.reshape(-1, 2) + rng.uniform(
        -0.4 * step, 0.4 * step, (middles[..., 0].size, 2)
    )
    ways = rng.normal(0, 1, middles.shape)
    where = np.stack(np.indices((size, size)), axis=-1) + 0.5
    where = where + 2 * np.stack([_smooth((size, size), 8, rng) for _ in range(2)], axis=-1)
    found = []
    for number in range(count):
        moved = middles + number * ways
        near, which = spatial.cKDTree(moved).query(where, 2)
        # How far it is to the plane between the two nearest cells.
        apart = np.linalg.norm(moved[which[..., 0]] - moved[which[..., 1]], axis=-1)
        found.append((near[..., 1] ** 2 - near[..., 0] ** 2) / (2 * apart) < 1.6)
    return np.array(found)


def em(count: int, seed: int) -> np.ndarray:
    """Slices as an electron microscope shows them: dark membranes, and dark bodies within cells."""
    walls = membranes(count, seed)
    rng = np.random.default_rng(seed + 100)
    bodies = _smooth(walls.shape[1:], 4, rng) > 1.7
    value = 165 + 10 * _smooth(walls.shape[1:], 20, rng)
    value = np.where(bodies, 95, np.broadcast_to(value, walls.shape))
    value = np.where(walls, 70, value)
    return np.stack([_noisy(page, rng, blur=0.9, noise=14) for page in value])


def scribbles() -> np.ndarray:
    """Strokes on em.png: 1 on membranes, 2 within cells, 0 where nothing is said."""
    (walls,) = membranes(1, 10)
    rng = np.random.default_rng(4)
    inner = ndimage.distance_transform_edt(~walls) > 3
    labels = np.zeros(walls.shape, np.uint8)
    for _ in range(24):
        row, column = rng.integers(10, 180, 2)
        stroke = np.zeros(walls.shape, bool)
        stroke[row : row + 3, max(0, column - 30) : column + 30] = True
        stroke = stroke.T if rng.random() < 0.5 else stroke
        labels[stroke & walls] = 1
        labels[stroke & inner] = 2
    return labels


def scan() -> np.ndarray:
    """A volume of 16 bits: dark pores of all sizes in a bright solid."""
    rng = np.random.default_rng(5)
    shape = (48, 96, 96)
    pores = _smooth(shape, (2, 4, 4), rng) + 0.4 * _smooth(shape, (1, 2, 2), rng) > 1
    value = np.where(pores, 9000.0, 30000.0) + rng.normal(0, 3000, shape)
    return ndimage.gaussian_filter(value, (0.3, 0.6, 0.6)).round().astype(np.uint16)


SAMPLES = (
    Sample("bone.tif", "bone: dark lacunae, thin canaliculi", bone),
    Sample("shale.tif", "shale: organic matter, minerals, pyrite", shale),
    Sample("cells.png", f"{CELLS} cells in clumps", cells),
    Sample("em.png", "like an electron microscope: cells, membranes", lambda: em(1, 10)[0]),
    Sample("scribbles.png", "on em.png: 1 membrane, 2 inside, 0 nothing", scribbles),
    Sample("masks.png", "membranes of em.png", lambda: membranes(1, 10)[0]),
    Sample("em2.png", "another one", lambda: em(1, 11)[0]),
    Sample("masks2.png", "membranes of em2.png", lambda: membranes(1, 11)[0]),
    Sample("stack.tif", "8 slices of another one", lambda: em(8, 12)),
    Sample("stack-masks.tif", "membranes of stack.tif",
           lambda: membranes(8, 12).astype(np.uint8)),
    Sample(SCAN, "a scan with its voxel size: dark pores", scan),
)  # fmt: skip
FILES = tuple(sample.name for sample in SAMPLES)
