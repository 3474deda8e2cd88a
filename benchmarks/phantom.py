"""A volume of any size, written block by block: blobs on a background that drifts, and noise.

    python benchmarks/phantom.py scan.zarr 1024

Random numbers on a coarse lattice are interpolated, so that blobs go on across blocks; the noise of
a block comes from its place. The same size and seed give the same voxels, whatever the blocks.
"""

from __future__ import annotations

import argparse

import numpy as np

SPACING = 16
BLOCK = 128


class Phantom:
    """Any box of the phantom, as an array would give it."""

    ndim = 3
    dtype = np.dtype(np.uint16)

    def __init__(self, side: int, seed: int = 0):
        self.shape, self.seed = (side,) * 3, seed
        points = -(-side // SPACING) + 2
        self.lattice = np.random.default_rng(seed).standard_normal((points,) * 3, np.float32)

    def __getitem__(self, box):
        out = np.empty([s.stop - s.start for s in box], self.dtype)
        for start in np.ndindex(*(-(-s.stop // BLOCK) - s.start // BLOCK for s in box)):
            first = [(s.start // BLOCK + i) * BLOCK for s, i in zip(box, start)]
            block = self._block(first)
            low = [max(f, s.start) for f, s in zip(first, box)]
            high = [min(f + BLOCK, s.stop) for f, s in zip(first, box)]
            here = tuple(slice(a - s.start, b - s.start) for a, b, s in zip(low, high, box))
            there = tuple(slice(a - f, b - f) for a, b, f in zip(low, high, first))
            out[here] = block[there]
        return out

    def _block(self, first):
        steps = [_weights(BLOCK) for _ in first]
        near = BLOCK // SPACING + 1
        at = [f // SPACING for f in first]
        corner = self.lattice[tuple(slice(a, a + near) for a in at)]
        corner = np.pad(corner, [(0, near - n) for n in corner.shape], mode="edge")
        field = corner
        for axis, w in enumerate(steps):
            field = np.moveaxis(np.tensordot(w, field, (1, axis)), 0, axis)
        field *= 1500
        seed = [self.seed, *(f // BLOCK for f in first)]
        field += np.random.default_rng(seed).standard_normal(field.shape, np.float32) * 300
        drift = np.linspace(0, 500, BLOCK, dtype=np.float32) * (BLOCK / self.shape[0])
        field += 10_000 + drift[:, None, None] + 500 * first[0] / self.shape[0]
        return np.clip(field, 0, 65535).astype(self.dtype)


def _weights(count: int):
    at = np.arange(count) / SPACING
    below = at.astype(int)
    weights = np.zeros((count, count // SPACING + 1), np.float32)
    weights[np.arange(count), below] = 1 - (at - below)
    weights[np.arange(count), below + 1] = at - below
    return weights


def write(path, side: int, seed: int = 0) -> None:
    """Write a phantom, one shard after another for each thread."""
    from dask import array as da

    from gpuseg import volume

    phantom = Phantom(side, seed)
    chunk = min(256, side)
    meta = np.empty((0, 0, 0), np.uint16)
    volume.save(path, da.from_array(phantom, chunks=chunk, name=False, meta=meta))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path")
    parser.add_argument("side", type=int)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    write(given.path, given.side, given.seed)
