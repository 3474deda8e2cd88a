"""Training."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import math
import time
from numbers import Integral
from pathlib import Path

import torch

from .._checks import integer, number, option
from .._files import check_output, shown
from . import files
from ._augment import augmentation
from ._data import Draw, examples, normalization
from ._device import torch_device
from ._losses import LOSSES, Sums, loss_of, targets
from .model import UNet, reach_of

RECIPES = {
    "course": {
        "epochs": 20,
        "loss": "mse",
        "optimizer": "sgd",
        "learning_rate": 0.05,
        "batch_size": 5,
        "copies": 5,
    },
    "augmented": {
        "epochs": 50,
        "steps_per_epoch": 12,
        "loss": "dice_bce",
        "optimizer": "adamw",
        "learning_rate": 2e-3,
        "schedule": "cosine",
        "batch_size": 8,
        "patch_size": 128,
        "augment": True,
        "weight_decay": 1.0,
        "average": 0.99,
    },
}
# Without what keeps it from learning a few pictures by heart.
RECIPES["plain"] = RECIPES["augmented"] | {"augment": False, "weight_decay": 0.01, "average": None}

_MEASURED = ("loss", "accuracy", "mae", "dice")
# The share of the steps in which the learning rate of the schedule rises.
_RISE = 0.15


def train(
    model,
    images,
    masks,
    *,
    epochs,
    validation=None,
    loss="dice_bce",
    optimizer="adamw",
    learning_rate=2e-3,
    schedule=None,
    weight_decay=0.01,
    average=None,
    batch_size=8,
    patch_size=None,
    steps_per_epoch=None,
    copies=1,
    augment=None,
    balanced="auto",
    precision="float32",
    channels_last=True,
    compile=False,
    seed=0,
    checkpoint=None,
    early_stopping=None,
    callback=None,
    channel_axis=None,
    device=None,
    progress=None,
):
    """Train a network on images and their masks.

    Parameters
    ----------
    model : UNet
        Is changed. A normalisation that it has is kept; else it is given that of the images.
    images : array of real numbers, or list of them
        One image, a stack (one more axis, the first), or a list of images. Memory maps and Zarr
        arrays are read patch by patch, after one pass over all of them.
    masks : array of bool or integers, or list of them
        Of the images' shapes without channels. For a model of one output 0 is background and any
        one other value is foreground; else the classes are 0 to ``model.classes - 1``.
    epochs : int
    validation : (images, masks), optional
        What is measured after each epoch and not learnt from.
    loss : {'dice_bce', 'bce', 'dice', 'mse'}, optional
        One less the soft Dice [1]_, (binary) cross-entropy, their sum, or the mean squared error.
    optimizer : {'adamw', 'sgd'}, optional
    learning_rate : float, optional
    schedule : {None, 'cosine'}, optional
        Constant, or rising for the first 15 % of the steps and then falling to 0 as a cosine.
    weight_decay : float, optional
        Of AdamW: for each unit of learning rate, the share of every weight that a step takes away.
    average : float, optional
        Validate, keep and return not the weights of the last step but their exponential moving
        average [2]_, of which each step leaves this share, for example 0.99, and less in the first
        steps: scores then do not jump from epoch to epoch.
    batch_size : int, optional
    patch_size : int or sequence of int, optional
        Of the patches that are drawn; without it, whole images are learnt from.
    steps_per_epoch : int, optional
        Of patches. Without it, so many that they have as many pixels as the images.
    copies : int, optional
        How often each whole image is shown in an epoch.
    augment : bool, dict or Augmentation, optional
        Turn, scale, bend and relight what is shown; a dict says what differs from the default.
    balanced : bool or 'auto', optional
        Draw every second patch around a pixel of a class that is drawn first, so that a class of
        1 % is learnt too; the network then expects more of it than there is. 'auto' does so where
        a class has less than 5 % of the pixels.
    precision : {'float32', 'bf16'}, optional
        'bf16' computes the convolutions with 8 bits of mantissa; the weights stay float32.
    channels_last : bool, optional
        How tensors lie in memory for 2-D: which is faster on CPUs and GPUs of today.
    compile : bool, optional
        By `torch.compile`: minutes at first, then faster steps.
    seed : int, optional
        Of what is drawn. The same seed gives the same weights, on a CPU with as many threads.
    checkpoint : str or path, optional
        Written after each epoch. If it is there already, training goes on from it, to the same
        weights as if it had not been interrupted.
    early_stopping : int, optional
        Stop when the validation loss has had no new least value for so many epochs, and take the
        weights of the epoch that had it.
    callback : callable, optional
        Called after each epoch with its row of the history, as a dict; True stops.
    channel_axis : int, optional
        Of the images; without it they have one channel.
    device : str, optional
        'cpu', 'cuda' or 'cuda:N'; without it as for the other functions of gpuseg. The model is
        there afterwards.
    progress : callable, optional
        Called with the steps done and all steps, after each.

    Returns
    -------
    model : UNet
        The same, ready to predict.
    history : pandas.DataFrame
        A row an epoch: ``epoch``, ``loss``, ``accuracy`` (pixels right), ``mae``, ``dice``, the
        same with ``val_`` before, ``learning_rate``, ``seconds``. Scores of training are those of
        the patches as they were shown.

    Raises
    ------
    TypeError, ValueError
        For masks that hold more values than classes, shapes that differ, images smaller than the
        network's reach, a checkpoint of another training, and arguments that are none of these.
    FloatingPointError
        The loss is not finite: the model has the weights of the last good epoch, and the
        checkpoint is of it.

    Notes
    -----
    ``gpuseg.unet.RECIPES`` holds arguments that go together: 'augmented' is the one to begin with,
    'plain' the same without augmentation, strong decay and average, which overfits on few pictures,
    and 'course' gradient descent, a step an epoch on five copies of an image, which hardly leaves
    the answer that all is background.

    References
    ----------
    .. [1] F. Milletari, N. Navab, S.-A. Ahmadi, "V-Net", 3DV 2016. :doi:`10.1109/3DV.2016.79`
    .. [2] B. T. Polyak, A. B. Juditsky, "Acceleration of stochastic approximation by averaging",
           SIAM Journal on Control and Optimization 30, 1992. :doi:`10.1137/0330046`

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg import unet
    >>> rng = np.random.default_rng(0)
    >>> mask = np.kron(rng.integers(0, 2, (4, 4)), np.ones((16, 16), int))
    >>> image = mask + rng.normal(0, 0.3, mask.shape)
    >>> model, history = unet.train(unet.UNet(base=4, seed=0), image, mask, epochs=20)
    >>> bool(history["dice"].iloc[-1] > 0.9)
    True
    """
    import pandas

    if not isinstance(model, UNet):
        raise TypeError(f"model must be a UNet, got {type(model).__name__}")
    settings = _settings(locals())
    where = torch_device(device)
    pairs = examples(images, masks, model, channel_axis)
    checks = []
    if validation is not None:
        if not (isinstance(validation, list | tuple) and len(validation) == 2):
            raise TypeError("validation must be a pair of images and masks")
        checks = examples(*validation, model, channel_axis, "validation images")
    elif early_stopping is not None:
        raise ValueError("early_stopping needs validation: without it there is no loss to watch")
    _check_sizes(pairs + checks, model)
    if settings["patch_size"] is None and len({pair.shape for pair in pairs}) > 1:
        raise ValueError("images of several shapes need a patch_size")
    if bool((model.mean == 0).all()) and bool((model.std == 1).all()):
        model.set_normalization(*normalization(pairs, model.config["in_channels"]))
    run = _Training(model, pairs * settings["copies"], checks, settings, where)
    rows = run.resumed(checkpoint)
    with run.prepared():
        for epoch in range(len(rows), epochs):
            if rows and run.finished(rows):
                break
            row = run.epoch(epoch, progress)
            rows.append(row)
            run.remember(rows)
            if checkpoint is not None:
                run.write(checkpoint, rows)
            if callback is not None and callback(dict(row)) is True:
                break
        run.end(rows)
    return model.eval(), pandas.DataFrame(rows)


def _settings(given: dict) -> dict:
    """The arguments that decide what is learnt, checked."""
    ndim, patch = given["model"].ndim, given["patch_size"]
    if patch is not None:
        patch = [patch] * ndim if isinstance(patch, Integral) else list(patch)
        if len(patch) != ndim:
            raise ValueError(f"patch_size must be a number or {ndim} numbers, got {patch}")
        patch = [integer(n, "patch_size", at_least=1) for n in patch]
    augment = augmentation(given["augment"])
    if given["balanced"] != "auto" and not isinstance(given["balanced"], bool):
        raise TypeError(f"balanced must be True, False or 'auto', got {given['balanced']!r}")
    for name in ("compile", "channels_last"):
        if not isinstance(given[name], bool):
            raise TypeError(f"{name} must be True or False, got {given[name]!r}")
    for name in ("early_stopping", "steps_per_epoch"):
        if given[name] is not None:
            integer(given[name], name, at_least=1)
    if given["schedule"] is not None:
        option(given["schedule"], "schedule", ("cosine",))
    number(given["weight_decay"], "weight_decay", at_least=0)
    if given["average"] is not None:
        number(given["average"], "average", above=0)
        if given["average"] >= 1:
            raise ValueError(f"average must be less than 1, got {given['average']!r}")
    for name in ("callback", "progress"):
        if given[name] is not None and not callable(given[name]):
            raise TypeError(f"{name} must be callable, got {type(given[name]).__name__}")
    if given["checkpoint"] is not None:
        check_output(Path(given["checkpoint"]), force=True)
    return {
        "epochs": integer(given["epochs"], "epochs", at_least=1),
        "loss": option(given["loss"], "loss", LOSSES),
        "optimizer": option(given["optimizer"], "optimizer", ("adamw", "sgd")),
        "learning_rate": float(
            number(given["learning_rate"], "learning_rate", above=0, at_most=1e30)
        ),
        "schedule": given["schedule"],
        "weight_decay": float(given["weight_decay"]),
        "average": None if given["average"] is None else float(given["average"]),
        "batch_size": integer(given["batch_size"], "batch_size", at_least=1),
        "patch_size": patch,
        "steps_per_epoch": given["steps_per_epoch"],
        "copies": integer(given["copies"], "copies", at_least=1),
        "augment": None if augment is None else vars(augment),
        "balanced": given["balanced"],
        "precision": option(given["precision"], "precision", ("float32", "bf16")),
        "channels_last": given["channels_last"],
        "compile": given["compile"],
        "seed": integer(given["seed"], "seed", at_least=0),
        "early_stopping": given["early_stopping"],
    }


def _check_sizes(pairs, model) -> None:
    field = 2 * reach_of(model.config) + 1
    for pair in pairs:
        if min(pair.shape) < field:
            raise ValueError(
                f"images must have at least {field} pixels along each axis, as many as the network "
                f"sees around one, got shape {pair.shape}: take a model of less depth"
            )


class _Training:
    """A model, its optimizer, and how far they are."""

    def __init__(self, model, pairs, checks, settings, device):
        self.model, self.checks, self.settings, self.device = model, checks, settings, device
        self.draw = Draw(
            pairs,
            model,
            patch=settings["patch_size"],
            batch=settings["batch_size"],
            augment=settings["augment"],
            balanced=settings["balanced"],
            seed=settings["seed"],
        )
        self.steps = settings["steps_per_epoch"] or self._steps(pairs)
        model.to(device)
        # What is validated, kept and returned.
        self.shown = model if settings["average"] is None else copy.deepcopy(model)
        rate = settings["learning_rate"]
        if settings["optimizer"] == "sgd":
            self.optimizer = torch.optim.SGD(model.parameters(), lr=rate)
        else:
            self.optimizer = torch.optim.AdamW(
                model.parameters(), lr=rate, weight_decay=settings["weight_decay"]
            )
        self.last = self._weights()
        self.best, self.least = self.last, math.inf

    def _steps(self, pairs) -> int:
        patch, batch = self.settings["patch_size"], self.settings["batch_size"]
        if patch is None:
            return math.ceil(len(pairs) / batch)
        return math.ceil(sum(math.prod(pair.shape) for pair in pairs) / (math.prod(patch) * batch))

    @contextlib.contextmanager
    def prepared(self):
        """The model as it trains fast, and then as it was."""
        last = self.settings["channels_last"] and self.model.ndim == 2
        if last:
            self.model.to(memory_format=torch.channels_last)
            self.shown.to(memory_format=torch.channels_last)
        self.forward = self.model.logits
        if self.settings["compile"]:
            self.forward = torch.compile(self.model.logits)
        self.last_channels = last
        try:
            yield
        finally:
            if last:
                self.model.to(memory_format=torch.contiguous_format)
            self.model.eval()

    def epoch(self, epoch: int, progress) -> dict:
        start = time.perf_counter()
        self.model.train()
        outputs, name = self.model.config["out_channels"], self.settings["loss"]
        sums, total, count = Sums(outputs), 0.0, 0
        for step in range(self.steps):
            images, truth = self.draw(epoch, step)
            images, truth = images.to(self.device), truth.to(self.device)
            if self.last_channels:
                images = images.contiguous(memory_format=torch.channels_last)
            wanted = targets(truth, self.model.classes, outputs)
            rate = self._rate(epoch * self.steps + step)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            with self._cast():
                logits = self.forward(images)
            value = loss_of(name, logits, wanted)
            self.optimizer.zero_grad(set_to_none=True)
            value.backward()
            number = float(value.detach())
            if not math.isfinite(number):
                self._diverged(epoch, step, number)
            self.optimizer.step()
            self._follow(epoch * self.steps + step)
            sums.add(logits, wanted)
            total, count = total + number * len(images), count + len(images)
            if progress is not None:
                progress(epoch * self.steps + step + 1, self.settings["epochs"] * self.steps)
        row = {"epoch": epoch + 1, **sums.scores(name), "loss": total / count}
        if self.checks:
            scores = self._validated()
            if not math.isfinite(scores["loss"]):
                self._diverged(epoch, self.steps - 1, scores["loss"])
            row |= {f"val_{key}": scores[key] for key in _MEASURED}
        else:
            # The last step is told good or bad by no later loss before its weights are kept.
            self._diverged_unless_finite(epoch, images)
        seconds = time.perf_counter() - start
        return row | {"learning_rate": rate, "seconds": seconds}

    def _cast(self):
        if self.settings["precision"] == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def _rate(self, step: int) -> float:
        peak = self.settings["learning_rate"]
        if self.settings["schedule"] is None:
            return peak
        steps = self.settings["epochs"] * self.steps
        rise = max(1, round(_RISE * steps))
        if step < rise:
            return peak * (step + 1) / rise
        return peak * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise))) / 2

    def _follow(self, step: int) -> None:
        """The average goes towards the weights: far at first, where it knows but a few."""
        if self.shown is self.model:
            return
        away = 1 - min(self.settings["average"], (1 + step) / (10 + step))
        for mean, now in zip(self.shown.state_dict().values(), self.model.state_dict().values()):
            if mean.is_floating_point():
                mean.lerp_(now, away)
            else:  # how many batches a norm has seen
                mean.copy_(now)

    def _validated(self) -> dict:
        from .predict import logits_in_pieces

        sums = Sums(self.model.config["out_channels"])
        self.shown.eval()
        for pair in self.checks:
            for cut, logits in logits_in_pieces(self.shown, pair, self._cast):
                truth = torch.from_numpy(pair.classes(cut))[None].to(self.device)
                sums.add(logits, targets(truth, self.model.classes, sums.outputs))
        return sums.scores(self.settings["loss"])

    def _diverged_unless_finite(self, epoch: int, images) -> None:
        self.model.eval()
        with torch.inference_mode(), self._cast():
            value = float(self.model.logits(images).float().abs().max())
        if not math.isfinite(value):
            self._diverged(epoch, self.steps - 1, math.nan)

    def _diverged(self, epoch: int, step: int, value: float):
        self.model.load_state_dict(self.last)
        raise FloatingPointError(
            f"the loss became {value} in step {step + 1} of epoch {epoch + 1}: the model has the "
            f"weights of {f'epoch {epoch}' if epoch else 'the start'}; try a learning_rate below "
            f"{self.settings['learning_rate']:g}"
        )

    # --- what is kept ---------------------------------------------------------------------------

    def _weights(self) -> dict:
        return {key: x.detach().clone() for key, x in self.shown.state_dict().items()}

    def remember(self, rows: list[dict]) -> None:
        """The weights after an epoch, and whether they are the best."""
        self.last = self._weights()
        if self.settings["early_stopping"] is not None and rows[-1]["val_loss"] < self.least:
            self.best, self.least = self.last, rows[-1]["val_loss"]

    def finished(self, rows: list[dict]) -> bool:
        patience = self.settings["early_stopping"]
        if patience is None:
            return False
        values = [row["val_loss"] for row in rows]
        return len(values) - 1 - values.index(min(values)) >= patience

    def end(self, rows: list[dict]) -> None:
        if self.settings["early_stopping"] is not None and rows:
            self.model.load_state_dict(self.best)
        else:
            self.model.load_state_dict(self.last)

    def _fingerprint(self) -> str:
        """What must be the same for a training to go on."""
        fixed = dict(self.settings)
        if fixed["schedule"] is None:
            del fixed["epochs"]  # more of them go on where fewer ended
        fixed["images"] = [[list(p.shape), _mark(p)] for p in self.draw.pairs]
        fixed["config"] = self.model.config
        fixed["normalization"] = [self.model.mean.tolist(), self.model.std.tolist()]
        return json.dumps(fixed, sort_keys=True)

    def write(self, path, rows: list[dict]) -> None:
        tensors = {f"model.{key}": x for key, x in self.model.state_dict().items()}
        if self.shown is not self.model:
            tensors |= {f"average.{key}": x for key, x in self.shown.state_dict().items()}
        if self.settings["early_stopping"] is not None:
            tensors |= {f"best.{key}": x.clone() for key, x in self.best.items()}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {
                f"optimizer.{i}.{key}": x for key, x in state.items() if isinstance(x, torch.Tensor)
            }
        header = {"kind": "checkpoint", "training": self._fingerprint(), "history": rows}
        files.write_tensors(path, tensors, header, force=True)

    def resumed(self, path) -> list[dict]:
        """The history so far, with model and optimizer as they were: none at the start."""
        if path is None or not Path(path).exists():
            return []
        header, tensors = files.read_tensors(path)
        if header.get("kind") != "checkpoint":
            raise ValueError(f"checkpoint {shown(path)} is there and is no checkpoint")
        if header["training"] != self._fingerprint():
            ours, theirs = json.loads(self._fingerprint()), json.loads(header["training"])
            names = sorted(key for key in ours | theirs if ours.get(key) != theirs.get(key))
            raise ValueError(
                f"checkpoint {shown(path)} is of another training ({', '.join(names)} differ): "
                "give another name, or remove it"
            )

        def part(name):
            return {
                key.removeprefix(f"{name}."): x
                for key, x in tensors.items()
                if key.startswith(f"{name}.")
            }

        rows = header["history"]
        self.model.load_state_dict(part("model"))
        if self.shown is not self.model:
            self.shown.load_state_dict(part("average"))
        states: dict[int, dict] = {}
        for key, x in part("optimizer").items():
            i, _, what = key.partition(".")
            states.setdefault(int(i), {})[what] = x
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": states, "param_groups": groups})
        self.last = self._weights()
        if self.settings["early_stopping"] is not None:
            self.best = {key: x.to(self.device) for key, x in part("best").items()}
            self.least = min(row["val_loss"] for row in rows)
        return rows


def _mark(pair) -> str:
    """A digest of some pixels of an image and of its mask: enough to notice other ones."""
    digest = hashlib.sha256()
    for label, places in sorted(pair.places.items()):
        digest.update(f"{label}".encode())
        digest.update(places.tobytes())
    middle = tuple(slice(n // 2, n // 2 + 64) for n in pair.shape)
    for part in pair.read(middle):
        digest.update(part.tobytes())
    return digest.hexdigest()
