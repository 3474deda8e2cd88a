"""Classes of pixels of chunked images, by a learnt model."""

from __future__ import annotations

from functools import partial

import numpy as np

from .._backend import array_namespace
from ..pixels import _halo
from ._around import around


def answers_of(image, model, method):
    proba = method == "predict_proba"
    return around(
        partial(_answers, model, method),
        image,
        # Of a stack, the images do not see one another.
        depth=[0] * (image.ndim - 1 - model.ndim_) + [_halo(model.chain_)] * model.ndim_,
        dtype=np.dtype(np.float32) if proba else model.classes_.dtype,
        channels=len(model.classes_) if proba else None,
    )


def _answers(model, method, window, core):
    shape, dtype = [cut.stop - cut.start for cut in core], model.classes_.dtype
    if method == "predict_proba":
        shape, dtype = (*shape, len(model.classes_)), np.float32
    out = array_namespace(window.values).empty(shape, dtype)
    model._fill({method: out}, window, region=core)
    return out
