"""What `gpuseg bench` times: a few calls of everyday beside scikit-image's, in under a minute."""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from . import features, filters, measure, segmentation
from ._backend import asarray, asnumpy, probe_cuda, using
from ._contracts import SamePartition

BASIC = ("gaussian", "sobel", "hessian_eigenvalues")


class Case(NamedTuple):
    """A call on an image, by gpuseg and by scikit-image."""

    name: str
    ndim: int
    image: str  # an attribute of Images
    ours: Callable
    theirs: Callable
    partition: bool = False  # labels whose numbers and edges may differ


class Row(NamedTuple):
    """Seconds of each backend, "scikit-image" among them, and how the answers compare."""

    call: str
    image: str
    seconds: dict[str, float]
    answer: str


class Images:
    """Noisy blobs, from 0 to 1, with what is made of them."""

    def __init__(self, shape: tuple[int, ...]):
        from scipy import ndimage as ndi

        noise = np.random.default_rng(0).standard_normal((2, *shape), dtype=np.float32)
        blobs = ndi.gaussian_filter(noise[0], 3)
        image = blobs / blobs.std() + np.float32(0.3) * noise[1]
        self.gray = (image - image.min()) / np.ptp(image)
        self.uint8 = (self.gray * 255).astype(np.uint8)
        self.mask = self.gray > np.quantile(self.gray, 0.6)
        self.labels = ndi.label(self.mask)[0].astype(np.int32)


def _cases() -> list[Case]:
    from skimage import feature, morphology

    served = {"filters": filters, "measure": measure, "segmentation": segmentation}

    def pair(module: str, name: str, *args, **options) -> tuple[Callable, Callable]:
        own = getattr(served[module], name)
        upstream = getattr(importlib.import_module(f"skimage.{module}"), name)
        return (lambda a: own(a, *args, **options)), (lambda a: upstream(a, *args, **options))

    def bank(a):
        return features.filter_bank(a, (2, 4, 8), BASIC)

    def basic(a):
        return feature.multiscale_basic_features(a, sigma_min=2, sigma_max=8)

    superpixels = {"n_segments": 500, "compactness": 0.1, "channel_axis": None}
    seeds = {ndim: (0,) * ndim for ndim in (2, 3)}
    return [
        Case("gaussian, sigma 2", 2, "gray", *pair("filters", "gaussian", 2)),
        Case("gaussian, sigma 2", 3, "gray", *pair("filters", "gaussian", 2)),
        Case("sobel", 2, "gray", *pair("filters", "sobel")),
        Case("median, disk of 2", 2, "uint8", *pair("filters", "median", morphology.disk(2))),
        Case("threshold_otsu", 2, "gray", *pair("filters", "threshold_otsu")),
        Case("threshold_multiotsu", 3, "uint8", *pair("filters", "threshold_multiotsu")),
        Case("hysteresis", 2, "gray", *pair("filters", "apply_hysteresis_threshold", 0.5, 0.7)),
        Case("hysteresis", 3, "gray", *pair("filters", "apply_hysteresis_threshold", 0.5, 0.7)),
        Case("label", 2, "mask", *pair("measure", "label")),
        Case("label", 3, "mask", *pair("measure", "label")),
        Case("flood", 3, "gray", *pair("segmentation", "flood", seeds[3], tolerance=0.3)),
        Case("clear_border", 3, "labels", *pair("segmentation", "clear_border")),
        Case("expand_labels, by 5", 2, "labels", *pair("segmentation", "expand_labels", 5)),
        Case("slic, 500", 2, "gray", *pair("segmentation", "slic", **superpixels), partition=True),
        Case("9 features, 3 scales", 2, "gray", bank, basic),
    ]


def names() -> list[str]:
    """The steps, for a bar of progress."""
    return [f"{case.name}, {case.ndim}-D" for case in _cases()]


def backends() -> list[str]:
    """Those that work here; "cuda, arrays there" leaves out the way to the GPU and back."""
    return ["cpu", *(["cuda", "cuda, arrays there"] if probe_cuda().ok else [])]


def run(step: Callable, *, seconds: float = 45, side: int = 1024, depth: int = 112) -> list[Row]:
    """A row a case; what is not reached in time is left out."""
    images = {2: Images((side, side)), 3: Images((depth,) * 3)}
    start, rows, cases = time.perf_counter(), [], _cases()
    for number, case in enumerate(cases):
        with step(f"{case.name}, {case.ndim}-D"):
            left = seconds - (time.perf_counter() - start)
            if left <= 0:
                break
            rows.append(
                _row(
                    case,
                    getattr(images[case.ndim], case.image),
                    min(left / (len(cases) - number), seconds / 30),
                )
            )
    return rows


def _row(case: Case, image: np.ndarray, budget: float) -> Row:
    calls = {name: _on(name, case.ours, image) for name in backends()}
    calls["scikit-image"] = lambda: case.theirs(image)
    results = {name: call() for name, call in calls.items()}  # what is compiled is compiled here
    times = dict.fromkeys(calls, math.inf)
    stop = time.perf_counter() + budget
    rounds = 0
    while rounds < 1 or (rounds < 20 and time.perf_counter() < stop):
        for name, call in calls.items():
            before = time.perf_counter()
            call()
            times[name] = min(times[name], time.perf_counter() - before)
        rounds += 1
    theirs = results.pop("scikit-image")
    answers = [
        _answer(asnumpy(result), theirs, partition=case.partition) for result in results.values()
    ]
    worst = next((answer for answer in answers if answer != "equal"), "equal")
    shape = " x ".join(map(str, image.shape))
    return Row(case.name, f"{shape} {image.dtype}", times, worst)


def _on(backend: str, function: Callable, image: np.ndarray) -> Callable:
    device, _, there = backend.partition(", ")

    def call():
        with using(device):
            result = function(image)
        if there:
            import cupy

            cupy.cuda.get_current_stream().synchronize()
        return result

    if there:
        with using(device):
            image = asarray(image)
    return call


def _answer(ours, theirs, *, partition: bool) -> str:
    """How two results compare, in words."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    if np.array_equal(ours, theirs):
        return "equal"
    if partition:
        same = SamePartition(0).compare(ours.astype(np.int64), theirs.astype(np.int64))
        return f"{ours.max()} and {theirs.max()} regions, ARI {same.worst:.2f}"
    if ours.shape != theirs.shape or theirs.dtype.kind not in "fc":
        return "differs"
    apart = float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-30))
    return f"within {apart:.0e} of the greatest" if apart < 1e-3 else "differs"


def shown(rows: list[Row]) -> tuple[list[str], list[list[str]]]:
    """The table for people: names of the columns, and the rows."""
    there = [name for name in rows[0].seconds if name != "scikit-image"]
    head = ["call", "image", *(f"{name} ms" for name in there), "scikit-image ms", "times faster",
            "answer"]  # fmt: skip
    table = [
        [row.call, row.image, *(f"{1e3 * row.seconds[name]:.2f}" for name in there),
         f"{1e3 * row.seconds['scikit-image']:.2f}", f"{times_faster(row):.1f}", row.answer]
        for row in rows
    ]  # fmt: skip
    return head, table


def times_faster(row: Row) -> float:
    """From NumPy to NumPy on what gpuseg takes by itself: the GPU where there is one."""
    return row.seconds["scikit-image"] / row.seconds.get("cuda", row.seconds["cpu"])


def middle(rows: list[Row]) -> float:
    """The geometric mean of the ratios."""
    return math.exp(sum(math.log(times_faster(row)) for row in rows) / len(rows))
