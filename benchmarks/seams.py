"""What it costs that superpixels end where chunks do: SLIC by chunks beside SLIC of the whole.

    python benchmarks/seams.py [--side 128] [--chunk 64] [--overlap 0 8 16]

A volume of cells of known borders with noise. Boundary recall and under-segmentation error are
against the cells, and explained variation is that of the clean image: for all voxels, and for those
no farther than eight from a cut.
"""

from __future__ import annotations

import argparse
from functools import partial

import dask.array as da
import numpy as np
from scipy.spatial import cKDTree

from gpuseg import metrics
from gpuseg.filters import gaussian
from gpuseg.segmentation import slic
from gpuseg.volume import by_chunks


def cells(side: int, seed: int = 0):
    """Cells around random points, each with its own grey, as it is and with noise."""
    rng = np.random.default_rng(seed)
    places = rng.random(((side // 16) ** 3, 3)) * side
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1)
    truth = cKDTree(places).query(grid.reshape(-1, 3))[1].reshape((side,) * 3)
    clean = gaussian(rng.random(len(places))[truth].astype(np.float32), 0.7)
    return truth, clean, clean + rng.normal(0, 0.1, truth.shape).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--chunk", type=int, default=64)
    parser.add_argument("--overlap", type=int, nargs="+", default=[0, 8, 16])
    given = parser.parse_args()
    truth, clean, scan = cells(given.side)
    lazy = da.from_array(scan, chunks=given.chunk)

    def superpixels(chunk):
        return slic(chunk, chunk.size // 8**3, 0.1, sigma=1, channel_axis=None)

    results = {"whole": superpixels(scan)} | {
        f"overlap {overlap}": by_chunks(superpixels, lazy, overlap=overlap).compute()
        for overlap in given.overlap
    }
    near = np.abs((np.arange(given.side) + 0.5) % given.chunk - given.chunk / 2)
    near = near > given.chunk / 2 - 8
    near[:8] = near[-8:] = False
    zone = near[:, None, None] | near[:, None] | near
    print(f"{'':12} {'superpixels':>11} {'recall':>14} {'undersegm.':>15} {'explained':>15}")
    score = partial(_both, truth=truth, clean=clean, zone=zone)
    for name, labels in results.items():
        print(f"{name:12} {len(np.unique(labels)):11d} " + " ".join(score(labels)))


def _both(labels, *, truth, clean, zone):
    there = np.nonzero(zone)
    values = (
        (metrics.boundary_recall(truth, labels),
         metrics.boundary_recall(np.where(zone, truth, 0), np.where(zone, labels, 0))),
        (metrics.undersegmentation_error(truth, labels),
         metrics.undersegmentation_error(truth[there], labels[there])),
        (metrics.explained_variation(clean, labels),
         metrics.explained_variation(clean[there], labels[there])),
    )  # fmt: skip
    return [f"{everywhere:7.4f} {there:7.4f}" for everywhere, there in values]


if __name__ == "__main__":
    main()
