"""The connected components of one chunk, as the passes over a volume need them.

Two forms with the same methods. `Runs` holds rows of bits and the component of each run: masks on
the CPU, small, and quick as nothing of the chunk's size is written before the end. `Labels` holds
an array of labels, which any backend makes: images of several values, and chunks on a GPU.
"""

from __future__ import annotations

import math

import numpy as np

from .._backend import array_namespace, asnumpy, choose
from ..filters.hysteresis import flood_masks
from ..kernels import faces, flood, runs
from ..kernels.bits import pack_rows
from ..kernels.label import numbered_runs, paint_mask
from ..kernels.launch import slabs
from ..measure import label


def of_mask(mask, connectivity: int):
    """The components of the True voxels of a chunk."""
    if not on_cpu(mask):
        return of_values(mask, 0, connectivity)
    mask = np.ascontiguousarray(mask)
    lead, length = _rows(mask.shape)
    words = np.empty((math.prod(lead), runs.words_per_row(length)), np.uint64)
    slabs(pack_rows, len(words), mask.view(np.uint8).reshape(-1), length, np.uint8(0), words)
    return Runs(words, mask.shape, connectivity)


def of_values(values, background, connectivity: int):
    """The components of equal value of a chunk."""
    return Labels(*label(values, background, return_num=True, connectivity=connectivity))


def grown(low_values, low, high_values, high, connectivity: int, sides):
    """What floods inside a chunk, and the components of the rest of what is above low, at least of
    those that reach one of `sides`."""
    if not on_cpu(low_values):
        mask, seeds = low_values > low, high_values > high
        kept = flood_masks(seeds, mask, connectivity=connectivity)
        return Flooded(kept, of_mask(mask & ~kept, connectivity), mask.shape)
    if low_values.dtype == bool:
        low_values, high_values = low_values.view(np.uint8), high_values.view(np.uint8)
    words, kept = flood.grown_bits(
        low_values, low, high_values, high, low_values.shape, connectivity
    )
    words ^= kept  # what floods is above low
    words = flood.exposed(words, low_values.shape, connectivity, sides)
    return Flooded(kept, Runs(words, low_values.shape, connectivity), low_values.shape)


def on_cpu(x) -> bool:
    return choose((x,))[0].kind == "cpu"


def _rows(shape):
    return (shape[:-1] or (1,)), shape[-1]


class Runs:
    """Components of a mask as rows of bits; see `gpuseg.kernels.faces`."""

    def __init__(self, words, shape, connectivity: int):
        self.words, self.shape = words, shape
        lead, _ = _rows(shape)
        dtype = np.int32 if math.prod(shape) < 2**31 else np.int64
        self.bases, self.numbers, self.count = numbered_runs(words, lead, connectivity, dtype)

    def face(self, axis: int, index: int):
        shape = (1, *self.shape) if len(self.shape) == 1 else self.shape
        plane = faces.face(
            self.words, self.bases, self.numbers, shape, axis + len(shape) - len(self.shape), index
        )
        return plane.reshape(self.shape[:axis] + self.shape[axis + 1 :])

    def sizes(self):
        return faces.sizes(self.words, self.bases, self.numbers, self.count)

    def begun(self):
        """How many components have begun by the end of each row."""
        most = np.concatenate([np.zeros(1, self.numbers.dtype), self.numbers])
        return np.maximum.accumulate(most, out=most)[self.bases[1:]]

    def painted(self, values):
        """An array with ``values[component]``, and 0 between the components."""
        out = np.empty(self.shape, values.dtype)
        paint_mask(self.words, self.bases, values[self.numbers], out)
        return out

    def kept(self, keep):
        """The mask of the components that are to be kept."""
        words = np.zeros_like(self.words)
        faces.keep(self.words, self.bases, self.numbers, keep, words)
        return flood.painted(words, self.shape)


class Labels:
    """Components as an array of labels, on the device of the chunk."""

    def __init__(self, labels, count: int):
        self.labels, self.count, self.shape = labels, int(count), labels.shape

    def face(self, axis: int, index: int):
        return asnumpy(self.labels[(slice(None),) * axis + (index,)])

    def sizes(self):
        return _counts(self.labels, self.count + 1)

    def begun(self):
        most = asnumpy(self.labels.max(axis=-1)).reshape(-1)
        return np.maximum.accumulate(most)

    def painted(self, values):
        return array_namespace(self.labels).asarray(values)[self.labels]

    def kept(self, keep):
        return self.painted(keep)


class Flooded:
    """Component 1 is what a flood inside the chunk reached; the rest follow from 2 on."""

    def __init__(self, reached, rest, shape):
        self.reached, self.rest, self.shape = reached, rest, shape
        self.count = rest.count + 1

    def face(self, axis: int, index: int):
        labels = self.rest.face(axis, index)
        if self._packed:
            reached = faces.face_bits(self.reached, self.shape, axis, index)
        else:
            reached = asnumpy(self.reached[(slice(None),) * axis + (index,)])
        return labels + ((labels > 0) | reached)

    def weights(self):
        """1 for what is reached."""
        out = np.zeros(self.count + 1, np.int64)
        out[1] = 1
        return out

    def kept(self, keep):
        keep = keep[1:].copy()
        keep[0] = False
        if not keep.any():
            return flood.painted(self.reached, self.shape) if self._packed else self.reached
        if not self._packed:
            return self.reached | self.rest.kept(keep)
        words = self.reached.copy()
        faces.keep(self.rest.words, self.rest.bases, self.rest.numbers, keep, words)
        return flood.painted(words, self.shape)

    @property
    def _packed(self) -> bool:
        return isinstance(self.rest, Runs)


def _counts(labels, count: int):
    counts = asnumpy(array_namespace(labels).bincount(labels.reshape(-1), minlength=count))
    counts[0] = 0
    return counts
