"""Features of chunks, from what lies around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from dask import array as da

from ..._backend import array_namespace, run
from .._blocks import overlapped
from .._connected import threads


class Features(NamedTuple):
    """A public function that gives channels, and what it takes after the image."""

    function: Callable
    args: tuple
    options: dict

    def __call__(self, *channels):
        stack = array_namespace(channels[0]).stack(channels, axis=-1)
        with threads():
            return run(
                self.function, stack, *self.args, channel_axis=stack.ndim - 1, **self.options
            )

    def of(self, channels, *, reach: int, dtype, count: int, wrap: bool):
        """The features of an image, lazily, whose filters see `reach` voxels far."""
        depth = [reach] * channels[0].ndim
        return overlapped(self, channels, depth, dtype, wrap=wrap, channels=count)


def channels_of(image, channel_axis) -> list:
    """The channels of an image, an array each."""
    if channel_axis is None:
        return [image]
    image = da.moveaxis(image, channel_axis, -1)
    return [image[..., c] for c in range(image.shape[-1])]
