"""The same function of an image as a network that is done learning, in fewer multiplications."""

from __future__ import annotations

import itertools
from functools import partial

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .model import CONVOLUTIONS, POOLS, UNet

# What a pixel of the doubled image takes of three taps that fall on two pixels of the small one:
# [is it the second of its two][small pixel][tap].
_DOUBLED = torch.tensor([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], dtype=torch.float64)


class Folded(UNet):
    """A network for prediction alone, with the weights that `model` has now.

    Batch norms go into the convolutions before them. On the way up, what is doubled and joined is
    convolved without being doubled or joined: the convolution of a doubled image is, for each of
    the 4 or 8 places within a doubled pixel, one of 2 pixels' edge, with 4/9 or 8/27 of the taps.
    """

    def __init__(self, model: UNet, *, form=torch.contiguous_format):
        super().__init__(**model.config, seed=0)  # not of the caller's random numbers
        self.load_state_dict(model.state_dict())
        self.eval().requires_grad_(False)
        for pair in (*self.down, *self.up):
            _without_batch_norms(pair)
        self.low, self.high = nn.ModuleList(), nn.ModuleList()
        for pair in self.up:
            low, high = _apart(pair[0], doubled=not self.rise)
            pair[0] = nn.Identity()
            self.low.append(low)
            self.high.append(high)
        self.form = form
        self.to(model.mean.device, memory_format=form)

    def forward(self, x, core=None):
        """Probabilities; of a part of the image, if `core` is its slices.

        The part begins at multiples of `multiple`, and ends at such or where the image does.
        """
        if core is None:
            return super().forward(x)
        margins = [
            (cut.start, 0 if cut.stop == n else n + -n % self.multiple - cut.stop)
            for cut, n in zip(core, x.shape[2:])
        ]
        likely = self._likely(self._inner(self._padded(x), margins))
        return likely[(..., *(slice(cut.stop - cut.start) for cut in core))]

    def _inner(self, x, margins=None):
        """Logits of the image without its margins: no more of them is computed than counts."""
        margins = margins or [(0, 0)] * self.ndim
        # On the way up, a level needs so much around what it gives, which is so much of its own
        # pixels around what is meant. An instance norm needs all.
        need, given = [], [0]
        for _ in self.up:
            need.append(given[-1] + 2 + given[-1] % 2)
            given.append(need[-1] // 2)
        everything = self.config["norm"] == "instance"
        kept = []
        for level, pair in enumerate(self.down):
            have = [(a >> level, b >> level) for a, b in margins]
            x = self._first(pair, x) if level == 0 else pair(self._halved(x))
            width = (*need, given[-1])[level]
            kept.append(x if everything else _trimmed(x, have, width))
        x = kept.pop()
        for step, pair in enumerate(self.up):
            level = len(self.up) - 1 - step
            y = self.high[step](kept.pop())
            if self.rise:
                y += self.low[step](self.rise[step](x))
            else:
                _add_doubled(y, self.low[step](x))
            x = pair(y)
            if not everything:
                have = [(min(a >> level, need[level]), min(b >> level, need[level]))
                        for a, b in margins]  # fmt: skip
                x = _trimmed(x, have, given[level])
        x = self.head(x)
        return _trimmed(x, margins, 0) if everything else x

    def _first(self, pair, x):
        if self.ndim == 2 or x.device.type != "cpu":
            return pair(x)
        # PyTorch's 3-D convolution of one channel is slow on a CPU: as pictures of three slices.
        count, _, slices, rows, columns = x.shape
        near = functional.pad(x, (0, 0, 0, 0, 1, 1)).unfold(2, 3, 1).permute(0, 2, 1, 5, 3, 4)
        near = near.reshape(count * slices, -1, rows, columns)
        y = functional.conv2d(
            near.contiguous(memory_format=torch.channels_last),
            pair[0].weight.flatten(1, 2),
            pair[0].bias,
            padding=1,
        )
        y = y.unflatten(0, (count, slices)).transpose(1, 2).contiguous(memory_format=self.form)
        for step in list(pair)[1:]:
            y = step(y)
        return y

    def _halved(self, x):
        if self.ndim == 2 or x.device.type != "cpu":
            return POOLS[self.ndim](x, 2)
        for axis in range(2, x.ndim):
            before = (slice(None),) * axis
            x = torch.maximum(x[(*before, slice(0, None, 2))], x[(*before, slice(1, None, 2))])
        return x


def _trimmed(x, have, width: int):
    """`x` with at most so wide margins of those that it has on each side."""
    cuts = [(max(0, a - width), max(0, b - width)) for a, b in have]
    if not any(map(any, cuts)):
        return x
    return x[(..., *(slice(a, n - b) for (a, b), n in zip(cuts, x.shape[2:])))].clone()


def _without_batch_norms(pair) -> None:
    for i, step in enumerate(pair):
        if isinstance(step, nn.BatchNorm2d | nn.BatchNorm3d):
            pair[i - 1], pair[i] = fuse_conv_bn_eval(pair[i - 1], step), nn.Identity()


def _apart(convolution, *, doubled: bool):
    """A convolution of joined channels as two, of what comes from below and of the rest."""
    outputs, joined = convolution.weight.shape[:2]
    wide, ndim = joined - outputs, convolution.weight.ndim - 2
    new = partial(nn.utils.skip_init, CONVOLUTIONS[ndim], device=convolution.weight.device)
    high = new(outputs, outputs, kernel_size=3, padding=1)
    high.weight.data = convolution.weight[:, wide:].clone()
    high.bias.data = convolution.bias.clone()
    weight = convolution.weight[:, :wide].clone()
    if doubled:
        low = new(wide, outputs << ndim, kernel_size=2, padding=1, bias=False)
        weight = _of_small_pixels(weight)
    else:
        low = new(wide, outputs, kernel_size=3, padding=1, bias=False)
    low.weight.data = weight
    for made in (low, high):
        made.requires_grad_(False)
    return low, high


def _of_small_pixels(weight):
    """(outputs, inputs, 3 ...) as (places within a doubled pixel * outputs, inputs, 2 ...)."""
    ndim, made = weight.ndim - 2, weight.double()
    doubled = _DOUBLED.to(weight.device)
    for _ in range(ndim):
        made = torch.tensordot(made, doubled, dims=([2], [2]))
    places, taps = range(2, made.ndim, 2), range(3, made.ndim, 2)
    made = made.permute(*places, 0, 1, *taps)
    return made.flatten(0, ndim).float().contiguous()


def _add_doubled(y, z) -> None:
    """Add to each pixel of `y` what `z` has for its place within a doubled pixel."""
    ndim, outputs = y.ndim - 2, y.shape[1]
    for i, place in enumerate(itertools.product((0, 1), repeat=ndim)):
        into = tuple(slice(a, None, 2) for a in place)
        # `z` begins half a doubled pixel before the image and ends as much after it.
        of = tuple(slice(a, n - 1 + a) for a, n in zip(place, z.shape[2:]))
        channels = slice(i * outputs, (i + 1) * outputs)
        y[(slice(None), slice(None), *into)] += z[(slice(None), channels, *of)]
