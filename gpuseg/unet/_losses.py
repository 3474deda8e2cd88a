"""Losses of logits, and the sums from which scores follow."""

from __future__ import annotations

import torch
from torch.nn import functional

LOSSES = ("mse", "bce", "dice", "dice_bce")
# Keeps the Dice of an empty mask defined.
_SMOOTH = 1.0


def targets(truth, classes: int, outputs: int):
    """Classes (N, ...) as what the network should say: (N, outputs, ...) of 0 and 1."""
    if outputs == 1:
        return truth[:, None].float()
    return torch.stack([truth == label for label in range(classes)], dim=1).float()


def loss_of(name: str, logits, wanted):
    """The loss, in float32 whatever the network computed in."""
    logits = logits.float()
    parts = []
    if name in {"bce", "dice_bce"}:
        parts.append(_cross_entropy(logits, wanted))
    if name in {"dice", "dice_bce"}:
        parts.append(1 - _soft_dice(probabilities(logits), wanted).mean())
    if name == "mse":
        parts.append(functional.mse_loss(probabilities(logits), wanted))
    return sum(parts)


def probabilities(logits):
    return torch.sigmoid(logits) if logits.shape[1] == 1 else torch.softmax(logits, dim=1)


def _cross_entropy(logits, wanted):
    if logits.shape[1] == 1:
        return functional.binary_cross_entropy_with_logits(logits, wanted)
    return -(wanted * functional.log_softmax(logits, dim=1)).sum(dim=1).mean()


def _soft_dice(likely, wanted):
    """Of each class over the whole batch; of several classes, the first is the background."""
    axes = (0, *range(2, likely.ndim))
    both = (likely * wanted).sum(axes)
    dice = (2 * both + _SMOOTH) / (likely.sum(axes) + wanted.sum(axes) + _SMOOTH)
    return dice if likely.shape[1] == 1 else dice[1:]


class Sums:
    """What a loss and the scores need of pixels that come in pieces."""

    def __init__(self, outputs: int):
        self.outputs = outputs
        self.count = 0
        self.values = torch.zeros(6, max(outputs, 1), dtype=torch.float64)

    def add(self, logits, wanted) -> None:
        """Count pieces (N, outputs, ...)."""
        logits, axes = logits.detach().float(), (0, *range(2, logits.ndim))
        likely = probabilities(logits)
        hit = likely > 0.5
        if self.outputs > 1:
            best = likely.argmax(dim=1, keepdim=True)
            hit = torch.zeros_like(likely, dtype=torch.bool).scatter_(1, best, value=True)
        if self.outputs == 1:
            entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        else:
            entropy = -wanted * functional.log_softmax(logits, dim=1)
        error = likely - wanted
        found = [
            entropy, error * error, error.abs(), likely * wanted, likely + wanted,
            hit == (wanted > 0.5),
        ]  # fmt: skip
        found = [x.double().sum(axes) for x in found]
        self.values += torch.stack(found).cpu()
        self.count += logits.numel() // logits.shape[1]
        truth = wanted > 0.5
        hard = torch.stack([(hit & truth).sum(axes), hit.sum(axes), truth.sum(axes)]).double().cpu()
        self.hard = hard if not hasattr(self, "hard") else self.hard + hard

    def scores(self, loss: str) -> dict[str, float]:
        entropy, squares, absolutes, both, either, right = self.values
        outputs = self.outputs
        foreground = slice(0, 1) if outputs == 1 else slice(1, None)
        soft = (2 * both + _SMOOTH) / (either + _SMOOTH)
        parts = {
            "bce": entropy.sum() / self.count,
            "dice": 1 - soft[foreground].mean(),
            "mse": squares.sum() / (self.count * outputs),
        }
        value = parts["dice"] + parts["bce"] if loss == "dice_bce" else parts[loss]
        hits, found, there = (x[foreground] for x in self.hard)
        # Of a class that is neither there nor found, all is right.
        dice = torch.where(found + there > 0, 2 * hits / (found + there).clamp(min=1), 1.0)
        return {
            "loss": float(value),
            "accuracy": float(right.sum() / (self.count * outputs)),
            "mae": float(absolutes.sum() / (self.count * outputs)),
            "dice": float(dice.mean()),
        }
