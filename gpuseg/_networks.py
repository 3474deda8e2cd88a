"""What the commands `gpuseg train-unet` and `gpuseg predict` do with networks."""

from __future__ import annotations

import io

import numpy as np

from . import _images
from ._files import shown
from ._jobs import UsageError


def is_network(path) -> bool:
    """Whether a file begins as safetensors files do; needs no PyTorch."""
    with open(path, "rb") as file:
        start = file.read(10)
    return len(start) == 10 and start[8:] == b'{"'


def pictures(path, *, stack: bool, max_bytes=None):
    """The images of a file as a list, and what was done to get them."""
    image = _images.read(path, max_bytes=max_bytes)
    if not stack:
        return [image.array], image.notes
    if image.array.ndim != 3:
        raise UsageError(
            f"{shown(path)}: --stack needs a stack of pictures, got {image.array.shape}"
        )
    return list(image.array), image.notes


def masks(path, images, *, stack: bool, max_bytes=None):
    """The masks of a file, which must be integers."""
    found, notes = pictures(path, stack=stack, max_bytes=max_bytes)
    if found[0].dtype.kind not in "bui":
        raise ValueError(f"{shown(path)}: a mask must hold integers, got {found[0].dtype}")
    if [x.shape for x in found] != [x.shape for x in images]:
        raise ValueError(
            f"{shown(path)}: has shape {found[0].shape} ({len(found)}), the images "
            f"{images[0].shape} ({len(images)})"
        )
    return found, notes


def recipe(name: str, given: dict) -> dict:
    """The arguments of a recipe, with those that were given in their place."""
    from .unet import RECIPES

    if name not in RECIPES:
        raise UsageError(f"--recipe must be one of {', '.join(RECIPES)}, got {name!r}")
    return RECIPES[name] | {key: value for key, value in given.items() if value is not None}


def kept_epoch(history, *, best: bool) -> dict:
    """The row of a history whose weights the network has."""
    return history.loc[history["val_loss"].idxmin() if best else history.index[-1]].to_dict()


def training_page(model, history, kept, examples, *, title: str, subtitle: str, notes) -> bytes:
    """A page with the curves of training, and what the network makes of each example."""
    from . import plot, report, unet

    sections = [
        report.Section(
            "Training",
            text="Where validation no longer follows training, the network learns its pictures by "
            "heart: more pictures, or more augmentation, help then.",
            groups=[("", [_figure(plot.show_history(history), "Loss and Dice after each epoch")])],
            numbers={
                name.replace("val_", "validation: ").replace("_", " "): f"{value:.4g}"
                for name, value in kept.items()
            },
            notes=list(notes),
        )
    ]
    for name, image, truth in examples:
        found = unet.predict(model, image)
        sections.append(
            report.section(
                name,
                image,
                found,
                others={"the mask that was given": (truth != 0).astype(np.uint8)
                        if model.classes == 2 else truth.astype(np.uint8)},
            )
        )  # fmt: skip
    page = report.render(title, sections, subtitle=subtitle)
    return page.encode("utf-8", "backslashreplace")


def _figure(figure, alt: str):
    from .report import Picture, _uri

    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return Picture("", alt, _uri("image/png", file.getvalue()))
