"""What calls and their kernels take on a GPU: ``python benchmarks/gpu_kernels.py [TOPIC ...]``

A line a call: the least time by CUDA events, what of it the host was busy for, and the voxels a
second; below it the kernels, the longest first: name, how often, milliseconds. Kernels are timed
while the GPU is kept busy before the first one, so that no waiting for the host counts as theirs.
CuPy and cuCIM stand beside some calls. Takes half a minute; `gpu.sh` is the whole protocol.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import gpuseg
from gpuseg import _transfer, estimators, features, filters, measure, metrics, morphology
from gpuseg import segmentation as seg
from gpuseg.kernels import launch

SIDE = 512


class Clock:
    """Times calls, and the kernels that they start."""

    def __init__(self, xp):
        self.xp, self.kernels, self.plain = xp, None, launch.start
        launch.start = self.start

    def start(self, kernel, grid, block, stream, *args, **options):
        if self.kernels is None:
            return self.plain(kernel, grid, block, stream, *args, **options)
        before, after = self.xp.cuda.Event(), self.xp.cuda.Event()
        before.record()
        self.plain(kernel, grid, block, stream, *args, **options)
        after.record()
        self.kernels.append((kernel.py_func.__name__, before, after))

    def __call__(self, name: str, call, size: float, rounds: int = 7) -> None:
        xp = self.xp
        for _ in range(2):
            call()
        times, hosts = [], []
        for _ in range(rounds):
            before, after = xp.cuda.Event(), xp.cuda.Event()
            xp.cuda.Device().synchronize()
            start = time.perf_counter()
            before.record()
            call()
            hosts.append(1e3 * (time.perf_counter() - start))
            after.record()
            after.synchronize()
            times.append(xp.cuda.get_elapsed_time(before, after))
        speed = size / min(times) / 1e6
        print(f"{name:48}{min(times):9.3f} ms, host {min(hosts):8.3f} ms {speed:8.2f} G/s")
        parts = self.parts(call)
        if parts:
            print("      " + "; ".join(f"{n} x{len(ms)} {sum(ms):.3f}" for n, ms in parts))

    def parts(self, call) -> list[tuple[str, list[float]]]:
        """Kernels of a call with their times, the longest first."""
        self.kernels, busy = [], self.busy()
        try:
            for _ in range(10):
                self.xp.copyto(*busy)
            call()
            self.xp.cuda.Device().synchronize()
            found: dict[str, list[float]] = {}
            for name, before, after in self.kernels:
                took = self.xp.cuda.get_elapsed_time(before, after)
                found.setdefault(name, []).append(took)
        finally:
            self.kernels = None
        return sorted(found.items(), key=lambda part: -sum(part[1]))

    @functools.cache  # noqa: B019
    def busy(self):
        return tuple(self.xp.zeros(1 << 28, self.xp.float32) for _ in range(2))


class Images:
    """Noise in float32, of unit variance; smooth where a sigma is given."""

    def __init__(self, xp, ndi):
        self.xp, self.ndi = xp, ndi

    @functools.cache  # noqa: B019
    def __call__(self, *shape, sigma=0, seed=0):
        self.xp.random.seed(seed)
        image = self.xp.random.standard_normal(shape, dtype=self.xp.float32)
        if sigma:
            image = self.ndi.gaussian_filter(image, sigma, mode="wrap")
            image /= float(image.std())
        return image

    def quantile(self, image, share: float) -> float:
        step = max(1, image.size // 1_000_000)
        return float(self.xp.quantile(image.reshape(-1)[::step], share))


def hysteresis(clock, images):
    import cucim.skimage.filters as peer

    for kind, sigma in (("blobs", 3), ("noise", 0)):
        volume = images(SIDE, SIDE, SIDE, sigma=sigma)
        for density in (0.2, 0.5):
            at = [images.quantile(volume, 1 - d) for d in (density, density / 10)]
            name = f"hysteresis {SIDE}^3 {kind}, low mask {density}"
            calls = [
                functools.partial(m.apply_hysteresis_threshold, volume, *at)
                for m in (filters, peer)
            ]
            clock(name, calls[0], volume.size)
            clock("   cuCIM", calls[1], volume.size)
            assert bool((calls[0]() == calls[1]()).all())
    grey = (images(SIDE, SIDE, SIDE, sigma=3) * 40 + 128).clip(0, 255).astype("u1")
    call = functools.partial(filters.apply_hysteresis_threshold, grey, 150, 190)
    clock(f"hysteresis {SIDE}^3 uint8", call, grey.size)


def label(clock, images):
    for kind, sigma in (("blobs", 3), ("noise", 0)):
        volume = images(SIDE, SIDE, SIDE, sigma=sigma)
        mask = volume > images.quantile(volume, 0.8)
        for connectivity in (1, 3):
            near = images.ndi.generate_binary_structure(3, connectivity)
            ours = functools.partial(measure.label, mask, connectivity=connectivity)
            theirs = functools.partial(images.ndi.label, mask, near)
            clock(f"label {SIDE}^3 {kind}, connectivity {connectivity}", ours, mask.size)
            clock("   CuPy", theirs, mask.size)
            assert bool((ours() == theirs()[0]).all())


def histogram(clock, images):
    smooth = images(SIDE, SIDE, SIDE, sigma=3)
    kinds = {"float32": (1, 0), "uint8": (40, 128), "uint16": (4000, 32768)}
    for kind, (factor, offset) in kinds.items():
        values = smooth
        if kind != "float32":
            values = (smooth * factor + offset).clip(0, np.iinfo(kind).max).astype(kind)
        clock(f"histogram {SIDE}^3 {kind}", lambda v=values: filters.histogram(v), values.size)
        clock("   Otsu's threshold", lambda v=values: filters.threshold_otsu(v), values.size)
    clock("three thresholds", lambda: filters.apply_thresholds(smooth, [-1, 0, 1]), smooth.size)


def gaussian(clock, images):
    for shape in ((SIDE,) * 3, (16 * SIDE,) * 2):
        image = images(*shape)
        for sigma in (1, 2, 4):
            ours = functools.partial(filters.gaussian, image, sigma)
            theirs = functools.partial(images.ndi.gaussian_filter, image, sigma, mode="nearest")
            clock(f"gaussian {shape[0]}^{len(shape)} sigma {sigma}", ours, image.size)
            clock("   CuPy", theirs, image.size)
            assert float(abs(ours() - theirs()).max()) < 1e-5


def quadtree(clock, images):
    picture, volume = images(32 * SIDE, 32 * SIDE, sigma=3), images(SIDE, SIDE, SIDE, sigma=3)
    grey = (picture * 40 + 128).clip(0, 255).astype("u1")
    for image, threshold in ((picture, 1), (grey, 40), (volume, 1)):
        name = f"quadtree {image.shape[0]}^{image.ndim} {image.dtype}"
        call = functools.partial(seg.quadtree, image, threshold=threshold)
        clock(name, call, image.size)
    clock("   labels", seg.quadtree(volume, threshold=1).labels, volume.size)


def regions(clock, images):
    picture, volume = images(2048, 2048, sigma=3), images(SIDE, SIDE, SIDE, sigma=3)
    large = images(4096, 4096, sigma=3)
    options = {"n_segments": 4000, "compactness": 0.1, "channel_axis": None}
    clock("slic 2048^2", lambda: seg.slic(picture, **options), picture.size)
    clock("slic 256^3", lambda: seg.slic(volume[:256, :256, :256], **options), 256**3)
    clock("watershed 2048^2", lambda: seg.watershed(picture, 1000), picture.size)
    clock("kmeans 4096^2", lambda: seg.kmeans(large, 4, spatial_weight=0.1), large.size)
    clock("gaussian_mixture 4096^2", lambda: seg.gaussian_mixture(large, 3), large.size)
    clock("markov_random_field 2048^2", lambda: seg.markov_random_field(picture, 3), picture.size)
    mask = volume > 1
    clock("small objects", lambda: morphology.remove_small_objects(mask), mask.size)
    clock("hysteresis in five steps", lambda: seg.hysteresis(volume, 0.5, 1, opening=1), mask.size)
    other = volume > 0.9
    clock("Dice coefficient", lambda: metrics.dice(mask, other), mask.size)
    clock("confusion matrix", lambda: metrics.confusion_matrix(mask, other), mask.size)


def learning(clock, images):
    from sklearn.ensemble import RandomForestClassifier

    table, picture = images(10_000_000, 5), images(4096, 4096, sigma=3)
    start, known = table[:16].copy(), images(5000, 5, seed=1)
    queries, rows = table[:1_000_000], images(4_000_000, 8)
    clock("filter bank 4096^2", lambda: features.filter_bank(picture), picture.size)
    clock("k-means 1e7 x 5", lambda: estimators.lloyd(table, start[None], 20, 0), len(table))
    neighbours = functools.partial(estimators.nearest_neighbors, queries, known, 5)
    clock("neighbours 1e6 x 5, 5000", neighbours, len(queries))
    learnt = np.random.default_rng(0).standard_normal((10_000, 8), dtype=np.float32)
    for depth in (10, None):
        forest = RandomForestClassifier(100, max_depth=depth, random_state=0, n_jobs=-1)
        plain = estimators.Forest.from_sklearn(forest.fit(learnt, learnt[:, 0] * learnt[:, 1] > 0))
        call = functools.partial(estimators.forest_predict, rows, plain)
        clock(f"forest of 100 trees, depth {depth or 'unlimited'}, 4e6 x 8", call, len(rows))


def transfers(clock, images):
    """From NumPy to NumPy, and slabs of a volume that stream through."""
    volume = images.xp.asnumpy(images(SIDE, SIDE, SIDE, sigma=3))
    with gpuseg.using("cuda"):
        otsu = functools.partial(filters.threshold_otsu, volume)
        above = functools.partial(filters.apply_hysteresis_threshold, volume, 0.8, 1.6)
        clock("NumPy to NumPy: Otsu", otsu, volume.size, 3)
        clock("NumPy to NumPy: hysteresis", above, volume.size, 3)
    slab = np.random.default_rng(0).integers(0, 2**16, (SIDE // 2, SIDE * 2, SIDE), np.uint16)

    def one(lanes, _):
        with _transfer.lane(0) if lanes else contextlib.nullcontext(), gpuseg.using("cuda"):
            smooth = filters.gaussian(gpuseg.asarray(slab), 1, preserve_range=True)
            return gpuseg.asnumpy(smooth > 30_000)

    def stream(threads):
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(functools.partial(one, threads > 1), range(12)))

    for threads in (1, 3, 4):
        name = f"12 slabs of uint16, Gaussian, mask; threads: {threads}"
        clock(name, functools.partial(stream, threads), 12 * slab.size, 2)


TOPICS = (
    hysteresis, label, histogram, gaussian, quadtree, regions, learning, transfers,
)  # fmt: skip


def main(names: list[str]) -> None:
    info = gpuseg.device_info()
    if not info["cuda"]["available"]:
        last = info["cuda"]["probe"][-1]
        sys.exit(f"no CUDA device works here ({last['what']}: {last['detail']})")
    import cupy
    from cupyx.scipy import ndimage

    print(cupy.cuda.runtime.getDeviceProperties(0)["name"].decode(), info["versions"])
    clock, images = Clock(cupy), Images(cupy, ndimage)
    with gpuseg.using("cuda"):
        for topic in TOPICS:
            if not names or topic.__name__ in names:
                topic(clock, images)
                cupy.get_default_memory_pool().free_all_blocks()


if __name__ == "__main__":
    main(sys.argv[1:])
