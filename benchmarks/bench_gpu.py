"""What one GPU reaches: large arrays that lie there, by CUDA events, beside CuPy, cuCIM and cuML.

`benchmarks/gpu.sh` runs it. Without a GPU it is skipped; `--rehearse` runs every line of it on the
CPU, on tiny arrays, beside the libraries' twins. Images are made on the GPU: a volume of 4 GiB
takes too long elsewhere.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import math
from concurrent.futures import ThreadPoolExecutor

import cases
import numpy as np
import pytest
import skimage.filters
from common import device_seconds, measure, nbytes

import gpuseg
from gpuseg import _transfer, estimators, filters
from gpuseg.measure import label


class Machine:
    """The GPU, or in a rehearsal the CPU with small arrays."""

    def __init__(self, *, rehearsal: bool, seconds: float):
        self.rehearsal, self.budget = rehearsal, 0.01 if rehearsal else seconds
        self.device = cases.REHEARSAL if rehearsal else cases.GPU
        self.xp = np if rehearsal else importlib.import_module("cupy")
        self.ndi = importlib.import_module(self.device.ndimage)

    def shape(self, side: int, ndim: int) -> tuple[int, ...]:
        return (max(8, side // 64) if self.rehearsal else side,) * ndim

    def skimage(self, module: str):
        return pytest.importorskip(f"{self.device.skimage}.{module}")

    def noise(self, shape, sigma: float = 0.0, seed: int = 0):
        """Of unit variance, in float32, in slabs so that no more than the volume is taken."""
        xp = self.xp
        xp.random.seed(seed)
        out = xp.empty(shape, xp.float32)
        for k in range(0, shape[0], 64):
            out[k : k + 64] = xp.random.standard_normal(out[k : k + 64].shape)
        if sigma:
            with gpuseg.using(self.device.backend):
                out = filters.gaussian(out, sigma, mode="wrap")
            out /= float(out.std())
        return out

    def quantile(self, a, q: float) -> float:
        step = max(1, a.size // 1_000_000)
        return float(self.xp.quantile(a.reshape(-1)[::step], q))


@pytest.fixture(scope="module")
def machine(request):
    rehearsal = request.config.getoption("rehearse")
    if not rehearsal and not gpuseg.device_info()["cuda"]["available"]:
        pytest.skip("no CUDA device works here")
    return Machine(rehearsal=rehearsal, seconds=request.config.getoption("seconds"))


def compare(benchmark, machine, who, call, case, image, **more):
    """Time a member whose arrays lie on the GPU; a size that it has no memory for is skipped."""
    backend = "cuda" if who == "gpuseg" else ""
    with gpuseg.using(machine.device.backend):
        try:
            result = measure(benchmark, who, call, case=case, voxels=image.size, backend=backend,
                             budget=machine.budget, resident=True, **more)  # fmt: skip
            benchmark.extra_info.update(device_seconds(call, budget=machine.budget).info())
        except MemoryError as error:  # CuPy's is one
            pytest.skip(f"{who}: {error}")
    benchmark.extra_info["bytes"] = nbytes(image, result)
    return result


# --- hysteresis --------------------------------------------------------------------------------

DENSITIES = (0.05, 0.2, 0.31, 0.5, 0.8)
KINDS = (
    *(f"blobs {sigma}" for sigma in (1, 3, 8)),
    *(f"noise {density}" for density in DENSITIES),
    "serpentine", "all true", "all false", "single seed",
)  # fmt: skip


@functools.lru_cache(maxsize=1)
def hysteresis_case(machine, kind, side):
    """An image, and its thresholds."""
    xp, shape = machine.xp, machine.shape(side, 3)
    name, _, value = kind.partition(" ")
    if name in {"blobs", "noise"}:
        image = machine.noise(shape, float(value) if name == "blobs" else 0)
        density = 0.2 if name == "blobs" else float(value)
        low = machine.quantile(image, 1 - density)
        return image, low, machine.quantile(image, 1 - density / 10)
    image = xp.zeros(shape, xp.float32)
    if kind == "serpentine":  # one voxel wide, to and fro through every second plane
        image[::2, ::2] = 1
        image[::2, 1::4, -1] = image[::2, 3::4, 0] = 1
        image[1::4, -1, -1] = image[3::4, 0, 0] = 1
    elif kind == "all true":
        image[...] = 1
    elif kind == "single seed":
        image[...] = machine.noise(shape) > 0
    if kind != "all false":
        image[0, 0, 0] = 3
    return image, 0.5, 2.0


@pytest.mark.parametrize("who", ["gpuseg", "cuCIM"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [512, 1024])
def bench_hysteresis(benchmark, machine, side, kind, who):
    image, low, high = hysteresis_case(machine, kind, side)
    if who == "gpuseg":
        function = filters.apply_hysteresis_threshold
    else:
        function = machine.skimage("filters").apply_hysteresis_threshold
    compare(benchmark, machine, who, lambda: function(image, low, high),
            f"GPU hysteresis {side}^3 {kind}", image,
            function="filters.apply_hysteresis_threshold")  # fmt: skip
    if who == "gpuseg" and side == 512:
        part = image[:256, :256, :256].copy()
        with gpuseg.using(machine.device.backend):
            ours = filters.apply_hysteresis_threshold(part, low, high)
        theirs = skimage.filters.apply_hysteresis_threshold(gpuseg.asnumpy(part), low, high)
        assert np.array_equal(gpuseg.asnumpy(ours), theirs)


# --- histograms, Gaussians, labels -------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def histogram_case(machine, dtype, kind):
    xp, shape = machine.xp, machine.shape(1024, 3)
    if kind == "constant":
        return xp.full(shape, 7, dtype)
    image = machine.noise(shape, 3 if kind == "smooth" else 0)
    if dtype == "float32":
        return image
    image *= np.iinfo(dtype).max / 10
    image += np.iinfo(dtype).max / 2
    return image.clip(0, np.iinfo(dtype).max).astype(dtype)


@pytest.mark.parametrize("who", ["gpuseg", "CuPy"])
@pytest.mark.parametrize("kind", ["noise", "constant", "smooth"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def bench_histogram(benchmark, machine, dtype, kind, who):
    image = histogram_case(machine, dtype, kind)
    if who == "gpuseg":
        call = functools.partial(filters.histogram, image)
    else:
        call = functools.partial(machine.xp.histogram, image, 256)
    compare(benchmark, machine, who, call, f"GPU histogram 1024^3 {dtype} {kind}", image,
            function="filters.histogram")  # fmt: skip


def convolved(image, sigma):
    """A Gaussian as PyTorch's convolutions, one axis after the other."""
    torch = pytest.importorskip("torch")
    radius = int(4 * sigma + 0.5)
    at = torch.arange(-radius, radius + 1, dtype=torch.float32)
    weights = torch.exp(-0.5 * (at / sigma) ** 2)
    x = torch.from_dlpack(image)[None, None]
    weights = (weights / weights.sum()).to(x.device)
    function = {2: torch.nn.functional.conv2d, 3: torch.nn.functional.conv3d}[image.ndim]
    for axis in range(image.ndim):
        size = [1] * image.ndim
        size[axis] = -1
        pad = [0] * (2 * image.ndim)
        pad[2 * (image.ndim - 1 - axis)] = pad[2 * (image.ndim - 1 - axis) + 1] = radius
        x = function(torch.nn.functional.pad(x, pad, "replicate"), weights.view(1, 1, *size))
    return x[0, 0]


@pytest.mark.parametrize("who", ["gpuseg", "CuPy", "cuCIM", "PyTorch"])
@pytest.mark.parametrize("sigma", [0.5, 1, 2, 4, 8])
@pytest.mark.parametrize(("side", "ndim"), [(8192, 2), (512, 3)])
def bench_gaussian(benchmark, machine, side, ndim, sigma, who):
    image = blobs(machine, side, ndim, 0)
    calls = {
        "gpuseg": lambda: filters.gaussian(image, sigma),
        "CuPy": lambda: machine.ndi.gaussian_filter(image, sigma, mode="nearest"),
        "cuCIM": lambda: machine.skimage("filters").gaussian(image, sigma),
        "PyTorch": lambda: machine.xp.asarray(convolved(image, sigma)),
    }
    case = f"GPU gaussian {side}^{ndim} sigma {sigma}"
    result = compare(benchmark, machine, who, calls[who], case, image, function="filters.gaussian")
    with gpuseg.using(machine.device.backend):
        assert float(abs(result - calls["gpuseg"]()).max()) < 1e-5


@functools.lru_cache(maxsize=1)
def blobs(machine, side, ndim, sigma):
    return machine.noise(machine.shape(side, ndim), sigma)


@pytest.mark.parametrize("who", ["gpuseg", "CuPy", "bkeccl"])
@pytest.mark.parametrize("connectivity", [1, 3])
@pytest.mark.parametrize("sigma", [0, 3])
def bench_label(benchmark, machine, sigma, connectivity, who):
    image = blobs(machine, 512, 3, sigma)
    mask = image > machine.quantile(image, 0.8)
    near = machine.ndi.generate_binary_structure(3, connectivity)
    calls = {
        "gpuseg": lambda: label(mask, connectivity=connectivity),
        "CuPy": lambda: machine.ndi.label(mask, near)[0],
    }
    if who == "bkeccl":
        if connectivity == 1:
            pytest.skip("bkeccl knows 26 neighbours only")
        calls[who] = functools.partial(pytest.importorskip("bkeccl").label, mask)
    case = f"GPU label 512^3 {'blobs' if sigma else 'noise'}, connectivity {connectivity}"
    result = compare(benchmark, machine, who, calls[who], case, mask, function="measure.label")
    if who == "CuPy":
        with gpuseg.using(machine.device.backend):
            assert bool((calls["gpuseg"]() == result).all())


# --- tables ------------------------------------------------------------------------------------


def table(machine, rows, columns=5, seed=0):
    machine.xp.random.seed(seed)
    rows = rows // 1000 if machine.rehearsal else rows
    return machine.xp.random.standard_normal((rows, columns)).astype(machine.xp.float32)


def learner(machine, module: str, name: str):
    """cuML's estimator, or in a rehearsal scikit-learn's."""
    library = "sklearn" if machine.rehearsal else "cuml"
    return getattr(pytest.importorskip(f"{library}.{module}"), name)


@pytest.mark.parametrize("who", ["gpuseg", "cuML"])
@pytest.mark.parametrize("clusters", [5, 16, 64])
def bench_lloyd(benchmark, machine, clusters, who):
    X = table(machine, 10_000_000)
    start = X[:clusters].copy()
    if who == "gpuseg":
        call = functools.partial(estimators.lloyd, X, start[None], 20, 0)
    else:
        model = learner(machine, "cluster", "KMeans")
        call = model(n_clusters=clusters, init=start, n_init=1, max_iter=20, tol=0).fit_predict
        call = functools.partial(call, X)
    case = f"GPU k-means 1e7 x 5, k = {clusters}, 20 steps"
    compare(benchmark, machine, who, call, case, X[:, 0], function="estimators.lloyd")


@pytest.mark.parametrize("who", ["gpuseg", "cuML"])
@pytest.mark.parametrize("references", [1000, 5000])
def bench_neighbors(benchmark, machine, references, who):
    X, known = table(machine, 1_000_000), table(machine, references * 1000, seed=1)[:references]
    if who == "gpuseg":
        call = functools.partial(estimators.nearest_neighbors, X, known, 5)
    else:
        model = learner(machine, "neighbors", "NearestNeighbors")(n_neighbors=5).fit(known)
        call = functools.partial(model.kneighbors, X)
    case = f"GPU neighbours 1e6 x 5, {references} references, k = 5"
    compare(benchmark, machine, who, call, case, X[:, 0], function="estimators.nearest_neighbors")


@pytest.mark.parametrize("who", ["gpuseg", "cuML"])
@pytest.mark.parametrize("depth", [10, None])
def bench_forest(benchmark, machine, depth, who):
    from sklearn.ensemble import RandomForestClassifier

    learnt = np.random.default_rng(0).standard_normal((10_000, 8), dtype=np.float32)
    trees = 10 if machine.rehearsal else 100
    forest = RandomForestClassifier(trees, max_depth=depth, random_state=0, n_jobs=-1)
    forest.fit(learnt, learnt[:, 0] * learnt[:, 1] > 0)
    X = table(machine, 10_000_000, 8)
    if who == "gpuseg":
        plain = estimators.Forest.from_sklearn(forest)
        call = functools.partial(estimators.forest_predict, X, plain)
    elif machine.rehearsal:
        call = functools.partial(forest.predict_proba, X)
    else:
        call = (
            pytest.importorskip("cuml.fil").ForestInference.load_from_sklearn(forest).predict_proba
        )
        call = functools.partial(call, X)
    case = f"GPU forest of 100 trees, depth {depth or 'unlimited'}, 1e7 x 8"
    compare(benchmark, machine, who, call, case, X[:, 0], function="estimators.forest_predict")


# --- to the GPU and back -----------------------------------------------------------------------


@pytest.mark.parametrize("who", ["gpuseg", "pageable", "pinned"])
@pytest.mark.parametrize("way", ["there", "back"])
def bench_transfer(benchmark, machine, way, who):
    """A GiB: as gpuseg moves the chunks of a volume, as CuPy does, and from pinned memory."""
    xp, count = machine.xp, 2**20 if machine.rehearsal else 2**30
    host, there = np.ones(count, np.uint8), xp.ones(count, xp.uint8)
    if who == "pinned" and not machine.rehearsal:
        host = np.frombuffer(xp.cuda.alloc_pinned_memory(count), np.uint8, count)

    def move():
        if machine.rehearsal:
            host.copy()
        elif who == "gpuseg":
            with _transfer.lane(0):
                _transfer.upload(host) if way == "there" else _transfer.download(there)
        else:
            there.set(host) if way == "there" else there.get(out=host)
            xp.cuda.get_current_stream().synchronize()

    measure(benchmark, who, move, case=f"GPU transfer of 1 GiB, {way}", voxels=count, rounds=3,
            budget=machine.budget, bytes=count,
            backend="cuda" if who == "gpuseg" else "")  # fmt: skip


@pytest.mark.parametrize("who", ["gpuseg", "one slab after the other", "transfers alone"])
def bench_pipeline(benchmark, machine, who):
    """16 GiB of uint16 in slabs of 1 GiB: to the GPU, Gaussian, threshold, masks back."""
    side = 8 if machine.rehearsal else 1024
    slab = np.random.default_rng(0).integers(0, 2**16, (side // 2, side, side), np.uint16)
    slabs = 4 if machine.rehearsal else 16
    threads = 3 if who == "gpuseg" else 1

    def one(_):
        with lane(machine), gpuseg.using(machine.device.backend):
            x = gpuseg.asarray(slab)
            if who == "transfers alone":
                return gpuseg.asnumpy(x > 0)
            return gpuseg.asnumpy(filters.gaussian(x, 1, preserve_range=True) > 30_000)

    def call():
        with ThreadPoolExecutor(threads) as pool:
            return sum(int(mask[0, 0, 0]) for mask in pool.map(one, range(slabs)))

    measure(benchmark, who, call, case="GPU pipeline, 16 GiB of uint16 to masks",
            voxels=slabs * slab.size, rounds=1, budget=0, bytes=slabs * 3 * slab.size,
            backend="cuda" if who == "gpuseg" else "")  # fmt: skip


def lane(machine):
    return contextlib.nullcontext() if machine.rehearsal else _transfer.lane(0)


# --- networks ----------------------------------------------------------------------------------

LAYOUTS = ("contiguous", "channels last")


@pytest.mark.filterwarnings("ignore")  # PyTorch's own, where it compiles
@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mode", ["eager", "compiled"])
def bench_unet(benchmark, machine, mode, layout, ndim, norm):
    """Forward of a batch in bfloat16; each cell of the table by itself."""
    torch = pytest.importorskip("torch")
    if machine.rehearsal:
        if mode == "compiled":
            pytest.skip("compiling for a rehearsal takes too long")
    elif not torch.cuda.is_available():
        pytest.skip("PyTorch has no CUDA here")
    from gpuseg import unet

    kind = "cpu" if machine.rehearsal else "cuda"
    if kind == "cuda":
        machine.xp.get_default_memory_pool().free_all_blocks()  # PyTorch has its own
    batch, side = ((16, 512), (4, 128))[ndim - 2]
    side = 16 if machine.rehearsal else side
    model = unet.UNet(ndim=ndim, norm=norm, seed=0).eval().to(kind)
    x = torch.randn(1 if machine.rehearsal else batch, 1, *[side] * ndim, device=kind)
    if layout == "channels last":
        memory = (torch.channels_last, torch.channels_last_3d)[ndim - 2]
        model, x = model.to(memory_format=memory), x.to(memory_format=memory)
    forward = torch.compile(model) if mode == "compiled" else model

    def call():
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16):
            result = forward(x)
        if kind == "cuda":
            torch.cuda.synchronize()
        return result

    # `who` is gpuseg for what it takes by default, so that the others stand beside it.
    who = "gpuseg" if (layout, mode) == ("contiguous", "eager") else f"{layout}, {mode}"
    measure(benchmark, who, call, case=f"GPU U-Net {ndim}-D, {norm} norm, batch {tuple(x.shape)}",
            voxels=math.prod(x.shape), budget=machine.budget, function="unet.predict",
            backend="cuda" if who == "gpuseg" else "")  # fmt: skip
