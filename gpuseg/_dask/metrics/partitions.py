"""Partitions of chunked arrays."""

from __future__ import annotations

import numpy as np
from dask import array as da

from ...metrics import partitions as public
from .._connected import aligned
from .._reduce import added, each
from .._regions import measured, variances


def boundary_hits(y_true, y_pred, tolerance):
    """As on the CPU: a chunk is seen with what is around it."""
    arrays = aligned([y_true, y_pred])
    reach = {axis: min(tolerance + 1, n) for axis, n in enumerate(y_true.shape)}
    seen = da.map_overlap(
        _seen, *arrays, tolerance=tolerance, depth=reach, boundary="none", dtype=np.uint8,
        meta=arrays[0]._meta.astype(np.uint8),
    )  # fmt: skip
    return added(each(_hits, [seen])).compute()


def _seen(y_true, y_pred, tolerance):
    true, near = public.boundaries(y_true, public.beside(y_pred, y_true), tolerance)
    return true.astype(np.uint8) + (true & near)


def _hits(seen):
    return int((seen == 2).sum()), int((seen > 0).sum())


def explained_variation(image, labels):
    """As on the CPU: sums over regions are exact, whatever the chunks."""
    _, (found,) = variances(measured(image[..., np.newaxis], labels))
    return found.kept()
