"""A mask as a noisy grey TIFF, through `gpuseg volume` to OME-Zarr, scored against the mask.

    python benchmarks/bone_volume.py MASK.tif [--noise 0.25] [--figure out.png]

What is 0 in the mask is a pore, the truth. The mask is blurred and gets noise, as a scan has it;
then the command smooths it, takes what is dark by hysteresis and numbers the pores.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

from gpuseg import filters, metrics, volume
from gpuseg._files import whole_file


def grey(truth, noise: float, seed: int = 0):
    """The mask as a scanner would see it, in 8 bits."""
    values = filters.gaussian(truth.astype(np.float32), 1.0)
    values += np.random.default_rng(seed).normal(0, noise, truth.shape)
    return np.clip(60 + values * 130, 0, 255).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mask", help="TIFF of a volume")
    parser.add_argument("--noise", type=float, default=0.25, help="of the contrast")
    parser.add_argument("--memory", default="1GB")
    parser.add_argument("--figure", type=Path)
    given = parser.parse_args()
    truth = volume.open(given.mask).data.compute() == 0
    scan = grey(~truth, given.noise)
    with tempfile.TemporaryDirectory() as folder:
        path, result = Path(folder, "scan.tif"), Path(folder, "bone.ome.zarr")
        tifffile.imwrite(path, scan, metadata={"axes": "ZYX"})
        command = [
            sys.executable, "-c", "from gpuseg.cli import main; main()", "volume", path, result,
            "--method", "hysteresis", "--foreground", "dark", "--low", "125", "--high", "155",
            "--sigma", "1", "--label", "--min-size", "10", "--memory", given.memory,
        ]  # fmt: skip
        start = time.perf_counter()
        subprocess.run(list(map(str, command)), check=True)
        seconds = time.perf_counter() - start
        found = volume.open(result)
        labels = found.data.compute()
    plain = scan <= filters.threshold_otsu(scan)
    print(
        f"{'x'.join(map(str, scan.shape))} in {seconds:.1f} s; {labels.max()} pores; Dice "
        f"{metrics.dice(truth, labels > 0):.4f} (of Otsu's threshold alone "
        f"{metrics.dice(truth, plain):.4f}); "
        f"pores {truth.mean():.4f} of it, found {(labels > 0).mean():.4f}"
    )
    if given.figure:
        draw(given.figure, scan, truth, labels)


def draw(path: Path, scan, truth, labels) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
    at = scan.shape[0] // 2
    axes[0].imshow(scan[at], cmap="gray")
    axes[1].imshow(metrics.hit_map(truth[at], labels[at] > 0))
    axes[2].imshow(np.where(labels[at], labels[at] % 19 + 1, 0), cmap="nipy_spectral",
                   interpolation="nearest")  # fmt: skip
    for panel, title in zip(axes, ("scan", "hits and misses", "pores")):
        panel.set(title=f"{title}, slice {at}", xticks=[], yticks=[])
    with whole_file(path, force=True) as file:
        figure.savefig(file, format="png", dpi=110)


if __name__ == "__main__":
    main()
