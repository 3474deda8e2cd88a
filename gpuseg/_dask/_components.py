"""The connected components of one chunk, as the passes over a volume need them.

Two forms with the same methods. `Runs` holds rows of bits and the component of each run: masks on
the CPU, small, and quick as nothing of the chunk's size is written before the end. `Labels` holds
an array of labels, which any backend makes: images of several values, and chunks on a GPU.
"""

from __future__ import annotations

import numpy as np

from .._backend import array_namespace, asnumpy, choose
from ..filters.hysteresis import flood_masks
from ..kernels import components, faces, flood
from ..kernels.components import Runs
from ..measure import label


def of_mask(mask, connectivity: int):
    """The components of the True voxels of a chunk."""
    if not on_cpu(mask):
        return of_values(mask, 0, connectivity)
    return components.of_mask(mask, connectivity)


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
    words = flood.exposed(words, kept, low_values.shape, connectivity, sides)
    return Flooded(kept, Runs(words, low_values.shape, connectivity), low_values.shape)


def on_cpu(x) -> bool:
    return choose((x,))[0].kind == "cpu"


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
        if self._packed:
            return self.rest.face(axis, index, self.reached)
        labels = self.rest.face(axis, index)
        return labels + ((labels > 0) | asnumpy(self.reached[(slice(None),) * axis + (index,)]))

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
