"""The overlap of two masks, counted piece by piece."""

from __future__ import annotations

import numpy as np

from ..._backend import array_namespace
from ..._checks import bool_array
from ...metrics.overlap import pieces


def counts(y_true, y_pred):
    xp = array_namespace(y_true)
    found = np.zeros(3, np.int64)
    for here in pieces(y_true.shape):
        true, pred = bool_array(y_true[here], "y_true"), bool_array(y_pred[here], "y_pred")
        found += [int(xp.count_nonzero(part)) for part in (true & pred, true, pred)]
    return (*map(int, found), y_true.size)
