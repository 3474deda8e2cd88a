"""How time and memory grow with a volume that is never in memory: ``python dask_scaling.py [PNG]``.

Each size runs in a process of its own, one after the other and eight times over, of which the
fastest counts. A run goes through about as many voxels for each size, a small volume many times, so
that what else the machine does weighs as much. The volume repeats one smooth periodic block of
noise, so that structures go on across all faces, in chunks of 128^3; each chunk of a result is
summed up and let go. Prints a table, draws it, and fails where the time for a voxel differs by more
than 20 %.
"""

import json
import resource
import subprocess
import sys
import time

import numpy as np

SIDES = 256, 384, 512, 768, 1024
CHUNK = 128
PERIOD = 256
ROUNDS = 8


def run(task: str, side: int) -> dict:
    from dask import array as da
    from scipy import ndimage as ndi

    from gpuseg.filters import apply_hysteresis_threshold
    from gpuseg.measure import label

    rng = np.random.default_rng(0)
    block = ndi.gaussian_filter(
        rng.standard_normal((PERIOD,) * 3, dtype=np.float32), 3, mode="wrap"
    )
    block = np.clip(block / block.std() * 40 + 128, 0, 255).astype(np.uint8)

    def chunk(block_info=None):
        place = tuple(
            slice(start % PERIOD, start % PERIOD + stop - start)
            for start, stop in block_info[None]["array-location"]
        )
        return np.ascontiguousarray(block[place])

    sizes = tuple((CHUNK,) * (side // CHUNK) for _ in range(3))
    volume = da.map_blocks(chunk, chunks=sizes, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8))
    if task == "hysteresis":
        result = apply_hysteresis_threshold(volume, 150, 190)
    else:
        result = label(volume > 160, connectivity=1)
    summed = result.map_blocks(
        lambda part: part.sum(keepdims=True, dtype=np.int64), chunks=(1, 1, 1), dtype=np.int64
    )
    total = int(summed.compute().sum())
    times = round((SIDES[-1] / side) ** 3)
    start, worked = time.perf_counter(), time.process_time()
    for _ in range(times):
        summed.compute()
    seconds, cpu = time.perf_counter() - start, time.process_time() - worked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": seconds / times, "cpu": cpu / times, "peak": peak, "sum": total}


def main(figure: str | None) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    uneven = []
    for task in ("hysteresis", "label"):
        found = {side: [] for side in SIDES}
        for side in SIDES * ROUNDS:
            out = subprocess.run(
                [sys.executable, __file__, "--one", task, str(side)],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            found[side].append(json.loads(out.stdout))
        rows = [min(found[side], key=lambda row: row["seconds"]) for side in SIDES]
        for side, row in zip(SIDES, rows):
            each = row["seconds"] / side**3 * 1e9
            cpu = min(r["cpu"] for r in found[side]) / side**3 * 1e9
            print(f"{task:12}{side:5}^3 {each:7.2f} ns/voxel, {cpu:6.2f} of all cores "
                  f"{row['peak'] / 1e6:7.0f} MB")  # fmt: skip
        rates = np.array([side**3 / row["seconds"] / 1e6 for side, row in zip(SIDES, rows)])
        left.plot(SIDES, rates, "o-", label=task)
        right.plot(SIDES, [row["peak"] / 1e9 for row in rows], "o-", label=task)
        spread = rates.max() / rates.min()
        print(f"{task:12}the fastest is {spread:.2f} times as fast as the slowest")
        if rates.min() < 0.8 * rates.max():
            uneven.append(task)
    left.set(xlabel="side of the volume", ylabel="million voxels a second", ylim=(0, None))
    right.set(xlabel="side of the volume", ylabel="peak resident memory in GB", ylim=(0, None))
    left.legend()
    if figure:
        fig.savefig(figure, dpi=150)
    if uneven:
        sys.exit(f"not even within 20 %: {', '.join(uneven)}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(run(sys.argv[2], int(sys.argv[3]))))
    else:
        main(sys.argv[1] if len(sys.argv) > 1 else None)
