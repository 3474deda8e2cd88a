"""The connected components of a mask on the CPU: rows of bits, and the component of each run.

They are small, and nothing of the mask's size is written before a result is.
"""

from __future__ import annotations

import math

import numpy as np

from . import faces, flood, launch, runs
from .bits import pack_rows
from .label import numbered_runs, paint_mask


def of_mask(mask, connectivity: int) -> Runs:
    """The components of the True voxels."""
    mask = np.ascontiguousarray(mask)
    length = mask.shape[-1]
    words = np.empty((mask.size // length, runs.words_per_row(length)), np.uint64)
    values = mask.view(np.uint8).reshape(-1)
    launch.slabs(pack_rows, len(words), values, length, np.uint8(0), words)
    return Runs(words, mask.shape, connectivity)


class Runs:
    """Components of rows of bits, numbered from 1 on in raster order; see faces.py."""

    def __init__(self, words, shape, connectivity: int):
        self.words, self.shape = words, shape
        dtype = np.int32 if math.prod(shape) < 2**31 else np.int64
        self.bases, self.numbers, self.count = numbered_runs(
            words, shape[:-1] or (1,), connectivity, dtype
        )

    def face(self, axis: int, index: int, reached=None):
        """The components on a face; and what is reached beside them, see faces.py."""
        shape = (1, *self.shape) if len(self.shape) == 1 else self.shape
        plane = faces.face(
            self.words, self.bases, self.numbers, shape, axis + len(shape) - len(self.shape),
            index, reached,
        )  # fmt: skip
        return plane.reshape(self.shape[:axis] + self.shape[axis + 1 :])

    def sizes(self):
        """The voxels of each component; entry 0 is empty."""
        return faces.sizes(self.words, self.bases, self.numbers, self.count)

    def begun(self):
        """How many components have begun by the end of each row."""
        out = np.empty(len(self.words), self.numbers.dtype)
        faces.begun(self.bases, self.numbers, out)
        return out

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
