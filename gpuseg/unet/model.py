"""The network."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from .._checks import integer, option

CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
POOLS = {2: functional.max_pool2d, 3: functional.max_pool3d}
_NORMS = {
    (2, "batch"): nn.BatchNorm2d,
    (3, "batch"): nn.BatchNorm3d,
    (2, "instance"): nn.InstanceNorm2d,
    (3, "instance"): nn.InstanceNorm3d,
}


class UNet(nn.Module):
    """A network that says of every pixel how likely it is of each class.

    At each level two convolutions of 3 pixels look around, and then the image is halved; on the way
    back up each level joins what came from below with what it saw itself, so that the answer knows
    the wide surroundings and is sharp [1]_. With the defaults it has 470 977 parameters.

    Parameters
    ----------
    in_channels : int, optional
    out_channels : int, optional
        1 for a mask (sigmoid), or the number of classes (softmax).
    base : int, optional
        Channels of the first level; each level below has twice as many.
    depth : int, optional
        How often the image is halved.
    ndim : {2, 3}, optional
        Pictures or volumes.
    norm : {None, 'batch', 'instance'}, optional
        What comes between a convolution and its rectifier. Instance norms depend on the whole of
        what the network is shown: windows of an image then differ from the image.
    upsample : {'nearest', 'transpose'}, optional
        Pixels doubled, or a learnt convolution of stride two.
    seed : int, optional
        For weights that are the same each time; without it they are PyTorch's next random ones.

    Attributes
    ----------
    config : dict
        The arguments that make another one of its kind.
    classes : int
    mean, std : float32 tensors of (in_channels,)
        What `predict` and `export_onnx` subtract from an image and divide it by.
    multiple : int
        Sizes that need no padding are multiples of this.
    radius : int or None
        No output pixel depends on input farther away than this along any axis, if the image begins
        at a multiple of `multiple`; None where it depends on all (instance norms).

    Raises
    ------
    TypeError, ValueError
        For arguments that are none of these.

    References
    ----------
    .. [1] O. Ronneberger, P. Fischer, T. Brox, "U-Net: convolutional networks for biomedical image
           segmentation", MICCAI 2015. :doi:`10.1007/978-3-319-24574-4_28`

    Examples
    --------
    >>> import torch
    >>> from gpuseg.unet import UNet
    >>> model = UNet(seed=0)
    >>> sum(p.numel() for p in model.parameters())
    470977
    >>> model(torch.zeros(1, 1, 50, 37)).shape
    torch.Size([1, 1, 50, 37])
    """

    def __init__(  # noqa: PLR0917
        self,
        in_channels=1,
        out_channels=1,
        base=32,
        depth=2,
        ndim=2,
        norm=None,
        upsample="nearest",
        *,
        seed=None,
    ):
        super().__init__()
        in_channels = integer(in_channels, "in_channels", at_least=1)
        out_channels = integer(out_channels, "out_channels", at_least=1)
        base = integer(base, "base", at_least=1)
        depth = integer(depth, "depth", at_least=1)
        if ndim not in {2, 3}:
            raise ValueError(f"ndim must be 2 or 3, got {ndim!r}")
        if norm is not None:
            option(norm, "norm", ("batch", "instance"))
        option(upsample, "upsample", ("nearest", "transpose"))
        if seed is not None:
            seed = integer(seed, "seed", at_least=0)
        self.config = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "base": base,
            "depth": depth,
            "ndim": int(ndim),
            "norm": norm,
            "upsample": upsample,
        }
        self._make(self.config, seed)
        self.register_buffer("mean", torch.zeros(in_channels))
        self.register_buffer("std", torch.ones(in_channels))

    def _make(self, config: dict, seed: int | None) -> None:
        new = _Convolutions(seed)
        depth, ndim, norm = config["depth"], config["ndim"], config["norm"]
        widths = [config["base"] << level for level in range(depth + 1)]
        befores = [config["in_channels"], *widths]
        self.down = nn.ModuleList(
            _Pair(before, width, ndim, norm, new) for before, width in zip(befores, widths)
        )
        ups, rises = [], []
        for level in reversed(range(depth)):
            ups.append(_Pair(widths[level + 1] + widths[level], widths[level], ndim, norm, new))
            if config["upsample"] == "transpose":
                wide = widths[level + 1]
                rises.append(new(_TRANSPOSED[ndim], wide, wide, kernel_size=2, stride=2))
        self.up, self.rise = nn.ModuleList(ups), nn.ModuleList(rises)
        self.head = new(CONVOLUTIONS[ndim], config["base"], config["out_channels"], kernel_size=1)

    @property
    def ndim(self) -> int:
        return self.config["ndim"]

    @property
    def classes(self) -> int:
        return max(2, self.config["out_channels"])

    @property
    def multiple(self) -> int:
        return 2 ** self.config["depth"]

    @property
    def radius(self) -> int | None:
        if self.config["norm"] == "instance":
            return None
        return reach_of(self.config)

    def set_normalization(self, mean, std) -> None:
        """Say what to subtract from each channel of an image, and what to divide it by.

        Parameters
        ----------
        mean, std : sequence of in_channels finite numbers
            Each of `std` above 0.
        """
        count = self.config["in_channels"]
        mean, std = (torch.as_tensor(x, dtype=torch.float32).reshape(-1) for x in (mean, std))
        if mean.numel() != count or std.numel() != count:
            raise ValueError(f"mean and std must have {count} value(s), one for each channel")
        if not (torch.isfinite(mean).all() and torch.isfinite(std).all() and (std > 0).all()):
            raise ValueError("mean and std must be finite, and std above 0")
        self.mean.copy_(mean)
        self.std.copy_(std)

    def normalized(self, x):
        """Images (N, channels, ...) as the network wants them.

        Parameters
        ----------
        x : floating-point tensor of (N, channels, ...)

        Returns
        -------
        tensor of its shape
        """
        shape = (1, -1, *[1] * self.ndim)
        return (x - self.mean.reshape(shape)) / self.std.reshape(shape)

    def logits(self, x):
        """What `forward` gives, before the sigmoid or the softmax.

        Parameters
        ----------
        x : floating-point tensor of (N, in_channels, ...)
            Of any size: it is continued by its last pixels to a multiple of `multiple`.

        Returns
        -------
        tensor of (N, out_channels, ...)
        """
        sizes = x.shape[2:]
        x = self._padded(x)
        whole = x.shape[2:] == sizes
        x = self._inner(x)
        return x if whole else x[(..., *(slice(size) for size in sizes))]

    def _padded(self, x):
        if x.ndim != self.ndim + 2 or x.shape[1] != self.config["in_channels"]:
            raise ValueError(
                f"x must have the shape (N, {self.config['in_channels']}"
                f"{', size' * self.ndim}), got {tuple(x.shape)}"
            )
        beyond = [-size % self.multiple for size in x.shape[2:]]
        if any(beyond):
            x = functional.pad(x, [n for b in reversed(beyond) for n in (0, b)], mode="replicate")
        return x

    def _inner(self, x):
        kept = []
        for level, pair in enumerate(self.down):
            x = pair(x if level == 0 else POOLS[self.ndim](x, 2))
            kept.append(x)
        kept.pop()
        for level, pair in enumerate(self.up):
            x = self.rise[level](x) if self.rise else functional.interpolate(x, scale_factor=2)
            x = pair(torch.cat([x, kept.pop()], dim=1))
        return self.head(x)

    def forward(self, x):
        """Probabilities, from normalised images.

        Parameters
        ----------
        x : floating-point tensor of (N, in_channels, ...)

        Returns
        -------
        tensor of (N, out_channels, ...)
        """
        return self._likely(self.logits(x))

    def _likely(self, x):
        return torch.sigmoid(x) if self.config["out_channels"] == 1 else torch.softmax(x, dim=1)


class _Convolutions:
    """Makes convolutions whose weights a seed says; without one, PyTorch's next random numbers.

    They are as PyTorch makes them after ``torch.manual_seed``, which belongs to the caller.
    """

    def __init__(self, seed: int | None):
        self.device = torch.get_default_device()
        self.random = None if seed is None else torch.Generator(self.device).manual_seed(seed)

    def __call__(self, kind, *args, rectified: bool = False, **kwargs):
        made = nn.utils.skip_init(kind, *args, device=self.device, **kwargs)
        nn.init.kaiming_uniform_(made.weight, a=math.sqrt(5), generator=self.random)
        bound = 1 / math.sqrt(made.weight[0].numel())
        nn.init.uniform_(made.bias, -bound, bound, generator=self.random)
        if rectified:  # as much variance after a layer as before it
            nn.init.kaiming_normal_(made.weight, nonlinearity="relu", generator=self.random)
            nn.init.zeros_(made.bias)
        return made


class _Pair(nn.Sequential):
    """Two convolutions of 3 pixels, each with its norm, if any, and a rectifier."""

    def __init__(self, before: int, width: int, ndim: int, norm: str | None, new: _Convolutions):
        steps: list[nn.Module] = []
        for channels in (before, width):
            steps.append(
                new(CONVOLUTIONS[ndim], channels, width, kernel_size=3, padding=1, rectified=True)
            )
            if norm is not None:
                steps.append(_NORMS[ndim, norm](width, affine=True))
            steps.append(nn.ReLU(inplace=True))
        super().__init__(*steps)


def reach_of(config: dict) -> int:
    """How far to either side convolutions and halvings look."""
    depth = config["depth"]
    # Two convolutions a level, each a pixel of its level to either side, down and up but at the
    # bottom once; and a place within a pixel of the lowest level is up to 2^depth - 1 off.
    return sum(4 * 2**level for level in range(depth)) + 2 * 2**depth + 2**depth - 1


def size_of(config: dict) -> int:
    """How many parameters the network of such a `config` has."""
    taps, halves = 3 ** config["ndim"], 2 ** config["ndim"]
    widths = [config["base"] << level for level in range(config["depth"] + 1)]
    norm = 0 if config["norm"] is None else 2

    def pair(before, width):
        return (before + width) * width * taps + 2 * width * (1 + norm)

    count = sum(pair(a, b) for a, b in zip([config["in_channels"], *widths], widths))
    count += sum(pair(low + high, high) for high, low in pairwise(widths))
    if config["upsample"] == "transpose":
        count += sum(wide * wide * halves + wide for wide in widths[1:])
    return count + (widths[0] + 1) * config["out_channels"]
