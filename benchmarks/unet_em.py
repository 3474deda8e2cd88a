"""Trains a U-Net on a part of an image and scores it on another part.

python benchmarks/unet_em.py IMAGE MASK [--recipe augmented] [--epochs N] [--depth 2]
    [--seed 0] [--step 2] [--train ROWS:COLUMNS] [--validate ROWS:COLUMNS] [--figure out.png]

ROWS and COLUMNS are written as in `:256,50:250`. With --figure it draws how training went, and the
prediction beside the truth: on a few learnt pictures the curves of training and validation part.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from course import read

from gpuseg import metrics, plot, unet
from gpuseg._files import whole_file


def part(text: str) -> tuple[slice, ...]:
    """The part of an image that `:256,50:250` names."""
    ends = [[int(n) if n else None for n in piece.split(":")] for piece in text.split(",")]
    return tuple(slice(*pair) for pair in ends)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image")
    parser.add_argument("mask")
    parser.add_argument("--recipe", choices=sorted(unet.RECIPES), default="augmented")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--depth", type=int, default=2)
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--step", type=int, default=2)
    parser.add_argument("--train", type=part, default=part(":256,50:250"))
    parser.add_argument("--validate", type=part, default=part(":,256:"))
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--save", type=Path)
    given = parser.parse_args()
    image, mask = read(given.image, given.mask, given.step)
    recipe = unet.RECIPES[given.recipe] | {"precision": given.precision, "seed": given.seed}
    if given.epochs:
        recipe |= {"epochs": given.epochs}
    model = unet.UNet(depth=given.depth, seed=given.seed)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{parameters:,} parameters, {given.recipe} recipe: {recipe}")

    def told(row):
        if row["epoch"] % max(1, recipe["epochs"] // 10) == 0:
            shown = (f"{key} {row[key]:.4f}" for key in ("loss", "dice", "val_loss", "val_dice"))
            print(f"epoch {row['epoch']}: {', '.join(shown)}, {row['seconds']:.1f} s", flush=True)

    start = time.perf_counter()
    unseen, truth = image[given.validate], mask[given.validate]
    model, history = unet.train(
        model, image[given.train], mask[given.train], validation=(unseen, truth), callback=told,
        **recipe,
    )  # fmt: skip
    trained = time.perf_counter()
    likely = unet.predict_proba(model, unseen)
    print(
        f"on what it has not seen: Dice {metrics.dice(truth, likely > 0.5):.4f}, "
        f"IoU {metrics.jaccard(truth, likely > 0.5):.4f}, "
        f"accuracy {metrics.binary_accuracy(truth, likely > 0.5):.4f}, "
        f"AUC {metrics.roc_auc_score(truth, likely):.4f}; "
        f"{(likely > 0.5).mean():.4f} of it foreground (truth: {truth.mean():.4f}); "
        f"trained in {trained - start:.0f} s, predicted in {time.perf_counter() - trained:.2f} s"
    )
    dice = history["val_dice"]
    print(f"epochs: best {dice.max():.4f} at {dice.idxmax() + 1}, "
          f"last ten {dice[-10:].min():.4f} to {dice[-10:].max():.4f}")  # fmt: skip
    if given.save:
        unet.save(given.save, model, force=True)
    if given.figure:
        curves = plot.show_history(history)
        seen = plot.show_prediction(unseen, truth, likely > 0.5)
        for figure, suffix in ((curves, ""), (seen, "-prediction")):
            path = given.figure.with_stem(given.figure.stem + suffix)
            with whole_file(path, force=True) as file:
                figure.savefig(file, format="png", dpi=150)


if __name__ == "__main__":
    main()
