"""The overlap of chunked masks."""

from __future__ import annotations

import numpy as np
from dask import array as da

from ...metrics import overlap as public
from .._connected import aligned
from .._reduce import added, each


def counts(y_true, y_pred):
    return added(each(_counts, aligned([y_true, y_pred]))).compute()


def _counts(y_true, y_pred):
    return public.counts(y_true, public.beside(y_pred, y_true))


def hit_map(y_true, y_pred):
    y_true, y_pred = aligned([y_true, y_pred])
    return da.map_blocks(
        public.hit_map,
        y_true,
        y_pred,
        chunks=(*y_true.chunks, (3,)),
        new_axis=y_true.ndim,
        dtype=np.uint8,
        meta=y_true._meta.astype(np.uint8)[..., np.newaxis],
    )
