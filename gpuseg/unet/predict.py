"""Prediction: a whole image at once, or in windows, slab by slab."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import math
import os
import threading
import time
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from .._backend import array_namespace, asnumpy, is_cupy, is_dask, run
from .._checks import finite_array, integer, not_for_lazy, number, option, output
from ._data import Page, lazy_array, pixels, spatial_shape
from ._device import torch_device
from ._folded import Folded
from .model import UNet, reach_of

log = logging.getLogger("gpuseg")

# Edge of a window where none is asked for: in 2-D what stays near a core, in 3-D about a gigabyte
# of the channels between layers. And up to which number of pixels blended windows are one.
_WINDOW = {2: 384, 3: 112}
_WHOLE = {2: 432**2, 3: 160**3}
# So many windows are as long as it takes on a CPU to try which layout is faster, twenty times.
_MANY = 80
_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}
# Of a window's edge: the standard deviation of its weights; and their least.
_SIGMA, _LEAST = 0.125, 1e-3


def predict(
    model,
    image,
    *,
    stack=False,
    window=None,
    overlap=0.25,
    blend=None,
    batch_size=None,
    threshold=0.5,
    out=None,
    probabilities=None,
    channel_axis=None,
    precision="float32",
    channels_last=None,
    compile=False,
    device=None,
    progress=None,
):
    """The mask or the classes that a network sees in an image.

    Parameters
    ----------
    model : UNet
        Is not changed.
    image : array of real numbers, 2-D or 3-D and channels
        NumPy, CuPy, a memory map, or what is read like one: of a Zarr array one slab at a time is
        in memory. It is normalised as the training images were. Of a Dask array the result is a
        lazy one in its chunks, unless `out` says where it is to go now.
    stack : bool, optional
        `image` is a stack of pictures along its first axis, and each of them is predicted by
        itself: slice by slice, where a model of pictures is shown a volume. Axes of other arguments
        count within a picture.
    window : int or sequence of int, optional
        Edge of the windows, rounded up to a multiple of ``model.multiple``. Without it, they
        are of equal sizes near 384^2 or 112^3, and one for an image of at most 432^2 or 160^3.
    overlap : float, optional
        Of windows that are blended: the share of a window's edge, 0 to 0.9.
    blend : {'crop', 'gaussian'}, optional
        'crop' shows the network as much around each window as it can see: the result is that of
        the whole image. 'gaussian' weights windows that overlap. 'crop' where not given, but for
        instance norms, which have no such reach.
    batch_size : int, optional
        Windows at a time: 1 on a CPU and 8 on a GPU where not given.
    threshold : float, optional
        Of the probability, for a model of one output.
    out : array of the image's shape without its channels, optional
        Where to put the result, for example a `numpy.memmap` or a Zarr array, which is written by
        whole chunks.
    probabilities : floating-point array, optional
        Where to put what `predict_proba` gives, in the same pass.
    channel_axis : int, optional
    precision : {'float32', 'bf16'}, optional
    channels_last : bool, optional
        How tensors lie in memory; without it, what is faster here for such a network and size:
        measured once in a process, and told in the log. On a CPU only where there are 80 windows
        or more; fewer run with channels last, which is nearly always it.
    compile : bool, optional
        By `torch.compile`.
    device : str, optional
        'cpu', 'cuda' or 'cuda:N'; without it as for the other functions of gpuseg.
    progress : callable, optional
        Called with the number of windows done and of all, after each batch.

    Returns
    -------
    uint8 array of the image's shape without its channels
        0 and 1 for a model of one output, else the classes (uint16 above 256 of them).

    Raises
    ------
    TypeError, ValueError
        For images that are not of real numbers, hold NaN or infinity, or have not the axes and
        channels of the model, and arguments that are none of these.

    Notes
    -----
    In memory are the result, a slab of the image and of the probabilities (a window and what is
    around it high), and what the network keeps of a batch: about ``24 * base`` bytes for each pixel
    of its windows in 2-D and ``10 * base`` in 3-D, with what the network sees around them. On a
    GPU, TF32 is off for 'float32': a mask then agrees with the CPU's to an IoU of 0.999.

    The network runs in fewer multiplications than it is trained with: what is doubled and joined
    on its way up is convolved without being so, and of what is around a window each level computes
    only what counts. `compile` was measured not to add to that on a CPU, so it is not tried.

    A chunk of a Dask array is computed with what is around it in its neighbours (thinner chunks are
    joined), up to ``model.radius + model.multiple`` with 'crop' and a window with 'gaussian', and
    is that of the whole to the last digits of float32. The network runs on all cores by itself:
    let Dask work on a chunk or two at a time.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg import unet
    >>> image = np.random.default_rng(0).normal(size=(70, 50))
    >>> unet.predict(unet.UNet(base=4, seed=0), image).shape
    (70, 50)
    """
    given = dict(locals())
    _check_model(model)
    number(threshold, "threshold", at_least=0, at_most=1)
    plan = _plan(given)
    dtype = np.dtype(np.uint8 if model.classes <= 256 else np.uint16)
    if is_dask(image) and out is None:
        not_for_lazy(probabilities=probabilities, progress=progress)
        convert = partial(_labels, threshold=threshold, dtype=dtype)
        return likely_chunks(image, plan, given, convert)
    shape = plan.whole
    made = np.empty(shape, dtype) if out is None else output(out, shape, dtype)
    sinks = [_Sink(made, lambda likely: _labels(likely, threshold, dtype))]
    if probabilities is not None:
        sinks.append(_likely_sink(model, plan, probabilities, "probabilities"))
    _fill(plan, sinks, progress)
    return _given(made, out, image)


def predict_proba(
    model,
    image,
    *,
    stack=False,
    window=None,
    overlap=0.25,
    blend=None,
    batch_size=None,
    out=None,
    channel_axis=None,
    precision="float32",
    channels_last=None,
    compile=False,
    device=None,
    progress=None,
):
    """How likely a network says each class is, for every pixel.

    Parameters
    ----------
    model, image, stack, window, overlap, blend, batch_size
        As for `predict`, as is all that follows `out`.
    out : floating-point array, optional
        Where to put the result, for example a `numpy.memmap`.
    channel_axis, precision, channels_last, compile, device, progress

    Returns
    -------
    float32 array
        Of the image's shape without its channels for a model of one output: how likely the
        foreground is; else with one more axis, the last, of the classes.

    Raises
    ------
    TypeError, ValueError
        As for `predict`.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg import unet
    >>> image = np.random.default_rng(0).normal(size=(40, 40))
    >>> unet.predict_proba(unet.UNet(out_channels=3, base=4, seed=0), image).shape
    (40, 40, 3)
    """
    given = dict(locals())
    _check_model(model)
    plan = _plan(given)
    if is_dask(image) and out is None:
        not_for_lazy(progress=progress)
        return likely_chunks(image, plan, given, _channels_last)
    made = out
    if made is None:
        made = np.empty(_likely_shape(model, plan.whole), np.float32)
    _fill(plan, [_likely_sink(model, plan, made, "out")], progress)
    return _given(made, out, image)


def logits_in_pieces(model, pair, cast):
    """(cut, logits of it) of a whole image, piece by piece, for what adds up over pixels."""
    size = _WINDOW[model.ndim]
    device = next(model.parameters()).device
    with torch.inference_mode():
        for row in _crops(pair.shape, (size,) * model.ndim, model):
            for tile in row.tiles:
                x = pixels(pair.image, tile.read, pair.channel_axis)
                if not np.isfinite(x.sum(dtype=np.float64)):
                    raise ValueError("validation images hold NaN or infinity")
                x = torch.from_numpy(x)
                with cast():
                    z = model.logits(model.normalized(x[None].to(device)))
                yield tile.core, z[(slice(None), slice(None), *tile.local)]


# --- the plan -------------------------------------------------------------------------------------


class _Tile(NamedTuple):
    """What is read of an image, and which part of it is meant."""

    read: tuple[slice, ...]
    core: tuple[slice, ...]
    local: tuple[slice, ...]


class _Row(NamedTuple):
    """Tiles with the same place along the first axis."""

    tiles: list[_Tile]
    read: slice


class _Plan(NamedTuple):
    """What is to be done, with the axes and the windows of one image; and how many there are, where
    they come as a stack."""

    model: torch.nn.Module
    image: object
    pages: int | None
    shape: tuple[int, ...]
    channel_axis: int | None
    rows: list[_Row]
    blend: str
    batch: int
    precision: str
    channels_last: bool | None
    compile: bool
    device: torch.device

    @property
    def whole(self) -> tuple[int, ...]:
        return self.shape if self.pages is None else (self.pages, *self.shape)


def _check_model(model) -> None:
    if not isinstance(model, UNet):
        raise TypeError(f"model must be a UNet, got {type(model).__name__}")


def _plan(given: dict) -> _Plan:
    model, image, stack = given["model"], given["image"], given["stack"]
    if not isinstance(stack, bool):
        raise TypeError(f"stack must be a bool, got {stack!r}")
    if stack and model.ndim != 2:
        raise ValueError("stack must be False for a model of volumes")
    in_memory = isinstance(image, np.ndarray | list | tuple) or is_cupy(image)
    if in_memory and not isinstance(image, np.memmap):
        image = asnumpy(finite_array(image))
    image = lazy_array(image, "image")
    channels = model.config["in_channels"]
    if stack and image.ndim < 2:
        raise ValueError(f"image must be a stack of pictures, got shape {tuple(image.shape)}")
    one = Page(image, 0) if stack else image
    try:
        shape, at = spatial_shape(one, model.ndim, given["channel_axis"], channels)
    except ValueError as error:
        if stack:
            raise ValueError(f"each of the stack: {error}") from None
        hint = model.ndim == 2 and image.ndim == 3 + (given["channel_axis"] is not None)
        text = f"{error}; pass stack=True for a stack of pictures" if hint else str(error)
        raise ValueError(text) from None
    overlap = number(given["overlap"], "overlap", at_least=0, at_most=0.9)
    blend = given["blend"]
    if blend is None:
        blend = "gaussian" if model.radius is None else "crop"
    option(blend, "blend", ("crop", "gaussian"))
    option(given["precision"], "precision", ("float32", "bf16"))
    if given["channels_last"] is not None and not isinstance(given["channels_last"], bool):
        raise TypeError(f"channels_last must be None or a bool, got {given['channels_last']!r}")
    device = torch_device(given["device"])
    batch = given["batch_size"]
    batch = (8 if device.type == "cuda" else 1) if batch is None else batch
    rows = tiles(model, shape, blend, given["window"], overlap)
    return _Plan(
        model,
        image,
        image.shape[0] if stack else None,
        shape,
        at,
        rows,
        blend,
        integer(batch, "batch_size", at_least=1),
        given["precision"],
        given["channels_last"],
        bool(given["compile"]),
        device,
    )


def tiles(model, shape, blend: str, window, overlap: float) -> list[_Row]:
    """The windows of an image."""
    if blend == "crop":
        window = _equal(shape, model) if window is None else window
        return _crops(shape, _window(window, model), model)
    window = _window(_usual(shape, model) if window is None else window, model)
    return _windows(shape, window, overlap, model.multiple)


def _equal(shape, model) -> tuple[int, ...]:
    """Windows that touch: as few as may be, with what is around those at the ends left out."""
    wanted, around = _WINDOW[model.ndim], 2 * reach_of(model.config)
    return tuple(-(-n // max(1, -(-(n - around) // wanted))) for n in shape)


def _usual(shape, model) -> tuple[int, ...]:
    whole = math.prod(shape) <= _WHOLE[model.ndim]
    return shape if whole else (_WINDOW[model.ndim],) * model.ndim


def _window(window, model) -> tuple[int, ...]:
    if np.ndim(window) == 0:
        window = (window,) * model.ndim
    if len(window) != model.ndim:
        raise ValueError(f"window must be a number or {model.ndim} numbers, got {window!r}")
    multiple = model.multiple
    return tuple(-(-integer(n, "window", at_least=1) // multiple) * multiple for n in window)


def _crops(shape, window, model, region=None) -> list[_Row]:
    """Tiles that touch, each read with all that the network sees around it: of an image, or those
    that fill a region."""
    multiple, halo = model.multiple, halo_of(model)
    region = [slice(0, n) for n in shape] if region is None else region
    axes = []
    for n, w, cut in zip(shape, window, region):
        first, last = cut.start // multiple * multiple, min(n, _up(cut.stop, multiple))
        cores = [(a, min(a + w, last)) for a in range(first, last, w)]
        axes.append([(a, b, max(0, a - halo), min(n, b + halo)) for a, b in cores])
    return _rows(axes)


def halo_of(model) -> int:
    return _up(reach_of(model.config), model.multiple)


def _up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple


def _windows(shape, window, overlap, multiple) -> list[_Row]:
    """Windows that overlap, each meant as a whole."""
    axes = []
    for n, w in zip(shape, window):
        step = max(multiple, int(w * (1 - overlap)) // multiple * multiple)
        last = max(0, n - w) // multiple * multiple
        starts = [*range(0, last, step), last]
        axes.append([(a, b, a, b) for a, b in ((a, n if a == last else a + w) for a in starts)])
    return _rows(axes)


def _rows(axes) -> list[_Row]:
    rows = []
    for first in axes[0]:
        tiles = []
        for place in itertools.product([first], *axes[1:]):
            tiles.append(
                _Tile(
                    tuple(slice(c, d) for _, _, c, d in place),
                    tuple(slice(a, b) for a, b, _, _ in place),
                    tuple(slice(a - c, b - c) for a, b, c, _ in place),
                )
            )
        rows.append(_Row(tiles, slice(first[2], first[3])))
    return rows


# --- the work -------------------------------------------------------------------------------------


def likely_chunks(image, plan: _Plan, given: dict, convert):
    """What `convert` makes of the probabilities in a Dask array, lazily."""
    return run(likely_chunks, image, plan, given, convert)


def where_there_is_room(work, plan: _Plan):
    """``work(plan)``, on the CPU where the device has no room for it."""
    try:
        return work(plan)
    except torch.OutOfMemoryError:
        if plan.device.type != "cuda":
            raise
        torch.cuda.empty_cache()
        log.warning("unet.predict: out of device memory, ran on the CPU")
        return work(plan._replace(device=torch.device("cpu"), batch=1))


def _fill(plan: _Plan, sinks, progress) -> None:
    where_there_is_room(partial(_run, sinks=sinks, progress=progress), plan)
    for sink in sinks:
        sink.end()


def _run(plan: _Plan, sinks, progress) -> None:
    for sink in sinks:
        sink.begin()
    network = _Network(plan)
    slabs = _slabs(plan, network) if plan.pages is None else _pages(plan, network)
    total, done = sum(len(row.tiles) for row in plan.rows) * (plan.pages or 1), 0
    for start, likely, count in slabs:
        if likely is not None:
            for sink in sinks:
                sink.put(start, likely)
        done += count
        if progress is not None:
            progress(done, total)


def _slabs(plan: _Plan, network):
    return _cropped(plan, network) if plan.blend == "crop" else _blended(plan, network)


def _pages(plan: _Plan, network):
    """As `_cropped`, of a stack: a slab is an image of it."""
    outputs = plan.model.config["out_channels"]
    for place in range(plan.pages):
        network.plan = plan._replace(image=Page(plan.image, place), pages=None)
        page, count = np.empty((outputs, 1, *plan.shape), np.float32), 0
        for start, likely, windows in _slabs(network.plan, network):
            if likely is not None:
                page[:, 0, start : start + likely.shape[1]] = likely
            count += windows
        yield place, page, count


class _Network:
    """A copy of the model where and as it runs; probabilities of pieces of the image."""

    def __init__(self, plan: _Plan):
        self.plan = plan
        last = plan.channels_last
        if last is None:
            last = _best_layout(plan)
        self.format = _LAST[plan.model.ndim] if last else torch.contiguous_format
        self.model = Folded(plan.model, form=self.format).to(plan.device)
        self.forward = torch.compile(self.model) if plan.compile else self.model

    def __call__(self, row: _Row):
        """Each tile of a row with its probabilities (outputs, ...)."""
        plan = self.plan
        rest = (slice(None),) * (len(plan.shape) - 1)
        slab = pixels(plan.image, (row.read, *rest), plan.channel_axis)
        if not np.isfinite(slab.sum(dtype=np.float64)):
            raise ValueError("image holds NaN or infinity")
        slab = torch.from_numpy(slab)
        alike: dict[tuple, list[_Tile]] = {}
        for tile in row.tiles:
            ends = [(cut.start, cut.stop) for cut in tile.local]
            alike.setdefault((*_size(tile.read), *ends), []).append(tile)
        with torch.inference_mode(), _exact(plan.device, plan.precision):
            for tiles in alike.values():
                core = tiles[0].local if _size(tiles[0].read) != _size(tiles[0].core) else None
                for begin in range(0, len(tiles), plan.batch):
                    some = tiles[begin : begin + plan.batch]
                    x = torch.stack([slab[(slice(None), slice(None), *t.read[1:])] for t in some])
                    x = self.model.normalized(x.to(plan.device))
                    likely = self.forward(x.contiguous(memory_format=self.format), core).float()
                    yield from zip(some, likely)


def _size(cut) -> tuple[int, ...]:
    return tuple(s.stop - s.start for s in cut)


@contextlib.contextmanager
def _exact(device: torch.device, precision: str):
    """The precision that was asked for: float32 without TF32, or bf16."""
    with contextlib.ExitStack() as stack:
        if precision == "bf16":
            stack.enter_context(torch.autocast(device.type, torch.bfloat16))
        if device.type == "cuda":
            stack.enter_context(_cudnn)
        yield


class _Cudnn:
    """What cuDNN may do while predictions run.

    PyTorch has but one set of these flags for all threads. So the first prediction sets them, and
    the last that ends puts back what the caller had: threads that did both by themselves, one
    within the other, would leave ours.
    """

    def __init__(self):
        self._lock, self._running, self._flags = threading.Lock(), 0, None

    def __enter__(self):
        with self._lock:
            if not self._running:
                same = torch.backends.cudnn.deterministic
                self._flags = torch.backends.cudnn.flags(
                    enabled=True, benchmark=not same, deterministic=same, allow_tf32=False
                )
                self._flags.__enter__()
            self._running += 1

    def __exit__(self, *error):
        with self._lock:
            self._running -= 1
            if not self._running:
                self._flags.__exit__(None, None, None)


_cudnn = _Cudnn()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: setattr(_cudnn, "_lock", threading.Lock()))


def _best_layout(plan: _Plan) -> bool:
    tiles = [tile for row in plan.rows for tile in row.tiles]
    count = len(tiles) * (plan.pages or 1)
    if plan.device.type == "cpu" and count < _MANY:
        log.info("unet.predict: %d windows are too few to measure: channels last", count)
        return True
    size = max((_size(tile.read) for tile in tiles), key=math.prod)
    return _faster(tuple(plan.model.config.items()), plan.device, plan.precision, size)


@functools.cache
def _faster(config: tuple, device: torch.device, precision: str, size: tuple) -> bool:
    """Whether channels last is faster for such a network: the better of two goes at a window."""
    plain = UNet(**dict(config), seed=0)
    seconds = {False: math.inf, True: math.inf}
    for last in (False, True, False, True):
        form = _LAST[plain.ndim] if last else torch.contiguous_format
        model = Folded(plain, form=form).to(device)
        x = torch.zeros((1, plain.config["in_channels"], *size), device=device)
        with torch.inference_mode(), _exact(device, precision):
            start = time.perf_counter()
            float(model(x.contiguous(memory_format=form)).sum())
            seconds[last] = min(seconds[last], time.perf_counter() - start)
    chosen = seconds[True] < seconds[False]
    log.info(
        "unet.predict: %s on %s, windows of %s: %.1f ms with channels first, %.1f ms with channels "
        "last: %s",
        precision,
        device,
        "x".join(map(str, size)),
        1e3 * seconds[False],
        1e3 * seconds[True],
        "last" if chosen else "first",
    )
    return chosen


def _cropped(plan: _Plan, network):
    """(first row, probabilities (outputs, rows, ...), tiles) of each slab."""
    outputs = plan.model.config["out_channels"]
    for row in plan.rows:
        core = row.tiles[0].core[0]
        slab = np.empty((outputs, core.stop - core.start, *plan.shape[1:]), np.float32)
        for tile, likely in network(row):
            slab[(slice(None), slice(None), *tile.core[1:])] = likely.cpu()
        yield core.start, slab, len(row.tiles)


def _blended(plan: _Plan, network):
    """As `_cropped`: weighted windows add up in a ring of rows, each given when it is done."""
    outputs, rows = plan.model.config["out_channels"], plan.rows
    high = max(row.read.stop - row.read.start for row in rows)
    ring = torch.zeros((outputs, high, *plan.shape[1:]), device=plan.device)
    norms = _norms(rows, plan.shape)
    begin = 0
    for i, row in enumerate(rows):
        for tile, likely in network(row):
            likely = _weighted(tile, likely)
            here = (slice(None), slice(row.read.start - begin, row.read.stop - begin))
            ring[(*here, *tile.core[1:])] += likely
        stop = rows[i + 1].read.start if i + 1 < len(rows) else plan.shape[0]
        done = ring[:, : stop - begin].cpu().numpy().copy()
        _divide(done, [norms[0][begin:stop], *norms[1:]])
        left = ring[:, stop - begin :].clone()
        ring.zero_()
        ring[:, : left.shape[1]] = left
        yield begin, done, len(row.tiles)
        begin = stop


def _divide(likely, norms) -> None:
    for axis, norm in enumerate(norms):
        likely /= norm.reshape([-1 if a == axis else 1 for a in range(len(norms))])


def _norms(rows, shape) -> list[np.ndarray]:
    """The sums of the weights of all windows, which are products of one for each axis."""
    tiles = [tile for row in rows for tile in row.tiles]
    return [
        _sum_of_weights({(t.core[axis].start, t.core[axis].stop) for t in tiles}, n)
        for axis, n in enumerate(shape)
    ]


def _weighted(tile: _Tile, likely):
    for axis, cut in enumerate(tile.core):
        weights = _weights(cut.stop - cut.start)
        form = [-1 if a == axis else 1 for a in range(len(tile.core))]
        likely = likely * torch.from_numpy(weights).to(likely).reshape(form)
    return likely


@functools.cache
def _weights(size: int) -> np.ndarray:
    at = (np.arange(size) - (size - 1) / 2) / (_SIGMA * size)
    return np.maximum(np.exp(-0.5 * at * at), _LEAST).astype(np.float32)


def _sum_of_weights(windows, n: int) -> np.ndarray:
    total = np.zeros(n, np.float32)
    for start, stop in windows:
        total[start:stop] += _weights(stop - start)
    return total


# --- what becomes of it ---------------------------------------------------------------------------


class _Sink:
    """Where slabs go: by whole chunks, where the array has them."""

    def __init__(self, out, convert):
        self.out, self.convert = out, convert
        chunks = getattr(out, "shards", None) or getattr(out, "chunks", None)
        self.high = int(chunks[0]) if chunks else 1

    def begin(self) -> None:
        self.start, self.held = 0, None

    def put(self, start: int, likely) -> None:
        slab = self.convert(likely)
        if self.held is None:
            self.start, self.held = start, slab
        else:
            self.held = np.concatenate([self.held, slab])
        self._write(len(self.held) // self.high * self.high)

    def end(self) -> None:
        if self.held is not None:
            self._write(len(self.held))

    def _write(self, count: int) -> None:
        if count:
            self.out[self.start : self.start + count] = self.held[:count]
            self.start += count
            self.held = self.held[count:] if count < len(self.held) else None


def _likely_shape(model, shape) -> tuple[int, ...]:
    outputs = model.config["out_channels"]
    return shape if outputs == 1 else (*shape, outputs)


def _likely_sink(model, plan, out, name: str) -> _Sink:
    output(out, _likely_shape(model, plan.whole), np.dtype(np.float32), name)
    return _Sink(out, _channels_last)


def _channels_last(likely):
    return likely[0] if len(likely) == 1 else np.moveaxis(likely, 0, -1)


def _labels(likely, threshold, dtype):
    if len(likely) == 1:
        return (likely[0] > threshold).astype(dtype)
    return likely.argmax(axis=0).astype(dtype)


def _given(made, out, image):
    """As the kind of array that came in."""
    return made if out is not None or not is_cupy(image) else array_namespace(image).asarray(made)
