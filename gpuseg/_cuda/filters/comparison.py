"""Classes and counts by the kernel, in one launch."""

from __future__ import annotations

from ..._backend import array_namespace, cuda_stream
from ...kernels import digitize


def apply_thresholds(image, thresholds, *, first, dtype):
    xp = array_namespace(image)
    out, nan = xp.empty(image.shape, dtype), xp.zeros(1, xp.uint8)
    flat = xp.ascontiguousarray(image).reshape(-1)
    digitize.classify_cuda(flat, thresholds, first, out.reshape(-1), nan, cuda_stream(image))
    return out, image.dtype.kind == "f" and bool(nan[0])


def count_above(image, thresholds):
    xp = array_namespace(image)
    runs = digitize.passes(thresholds.size)
    counts = xp.zeros((len(runs), digitize.bins()), xp.int64)
    flat = xp.ascontiguousarray(image).reshape(-1)
    digitize.histogram_cuda(flat, thresholds, counts, cuda_stream(image))
    nan = int(counts[0, -1])
    above = [image.size - nan - xp.cumsum(row[: stop - start])
             for row, (start, stop) in zip(counts, runs)]  # fmt: skip
    return xp.concatenate(above), nan
