"""Tries ways to learn a mask from one part of an image, on the rest of it.

python benchmarks/course.py IMAGE MASK [--step 2] [--train 256] [--figure out.png]

Every recipe is a pipeline that learns from the left columns and predicts the whole image; it is
scored on the columns that it has not seen. A regression gives a score for each pixel: what is
above a cut is object, where the cut is the one that has the best Dice on the columns seen; that of
auto-context is found on them by models that have not seen the rows in question.
"""

from __future__ import annotations

import argparse
import time
from typing import NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from gpuseg import _images, metrics
from gpuseg.estimators import (
    DecisionTreeRegressor,
    KMeans,
    KNeighborsRegressor,
    LinearRegression,
    PolynomialFeatures,
    RandomForestClassifier,
    RandomForestRegressor,
    RobustScaler,
)
from gpuseg.features import AddFilters, AddNeighborhood, AddPosition, FlattenPixels
from gpuseg.pixels import PixelClassifier


class Result(NamedTuple):
    """What a recipe predicts for the whole image, and how good that is where it was not taught."""

    score: np.ndarray
    cut: float
    dice: float
    jaccard: float
    auc: float
    accuracy: float
    seen_dice: float
    seen_auc: float
    fit_s: float
    predict_s: float

    @property
    def mask(self) -> np.ndarray:
        return self.score > self.cut


def recipes(trees: int = 25, random_state: int = 2018) -> dict[str, Pipeline]:
    """Pipelines from a stack of images to a score for each pixel, by name."""
    seed = {"random_state": random_state}
    pixels = ("flatten", FlattenPixels())
    scaled = pixels, ("normalize", RobustScaler())
    placed = ("position", AddPosition()), *scaled
    forest = "forest", RandomForestRegressor(n_estimators=trees, **seed)
    filters = AddFilters(sigmas=(2, 5, 8), kinds=("gaussian", "dog"))
    around = "neighborhood", AddNeighborhood(radius=1)
    tree = DecisionTreeRegressor(**seed)
    stiff_tree = DecisionTreeRegressor(min_samples_split=1000, **seed)
    clusters = KMeans(n_clusters=4, n_init="auto", **seed)
    steps = {
        "tree": [*scaled, ("tree", tree)],
        "position + tree": [*placed, ("tree", stiff_tree)],
        "position + k-means + forest": [*placed, ("k-means", clusters), forest],
        "position + polynomial + forest": [*placed, ("polynomial", PolynomialFeatures(2)), forest],
        "filters + forest": [("filters", filters), *scaled, forest],
        "neighbourhood + linear regression": [around, pixels, ("linear", LinearRegression())],
        "neighbourhood + nearest neighbour": [
            around, *scaled, ("nearest", KNeighborsRegressor(n_neighbors=1))
        ],
    }  # fmt: skip
    return {name: clone(Pipeline(parts)) for name, parts in steps.items()}


class AutoContext:
    """Two pixel classifiers: the second sees the image, and what the first says around each pixel.

    What the first says where it was taught is too good to learn from: so that is asked of others,
    each of which has not seen the band of rows that it is asked about.

    Z. Tu, X. Bai, "Auto-context and its application to high-level vision tasks and 3D brain image
    segmentation", IEEE Transactions on Pattern Analysis and Machine Intelligence 32(10), 2010.
    """

    def __init__(self, trees: int = 100, bands: int = 4, random_state: int = 2018):
        self.trees, self.bands, self.random_state = trees, bands, random_state

    def fit(self, stack, labels):
        image = stack[0, ..., 0]
        labels = np.where(labels.reshape(image.shape) > 0, 2, 1)
        self.first = self._first().fit(image, labels)
        likely = self._unseen(self._first, image, labels)
        seen = np.stack([image, likely], axis=-1)
        self.second = self._second().fit(seen, labels)
        self.cut = best_cut(labels == 2, self._unseen(self._second, seen, labels))
        return self

    def predict(self, stack):
        image = stack[0, ..., 0]
        likely = self.first.predict_proba(image)[..., 1]
        return self.second.predict_proba(np.stack([image, likely], axis=-1))[..., 1].ravel()

    def _first(self):
        return PixelClassifier(AddFilters(), self._forest())

    def _second(self):
        filters = AddFilters(sigmas=(2, 5, 8, 16))
        return PixelClassifier(filters, self._forest(), channel_axis=-1)

    def _forest(self):
        return RandomForestClassifier(
            self.trees, min_samples_leaf=20, n_jobs=-1, random_state=self.random_state
        )

    def _unseen(self, model, image, labels):
        """How likely each pixel is object, as said by models that have not seen its band."""
        likely = np.empty(labels.shape, np.float32)
        for rows in np.array_split(np.arange(len(labels)), self.bands):
            band = slice(rows[0], rows[-1] + 1)
            others = labels.copy()
            others[band] = 0
            likely[band] = model().fit(image, others).predict_proba(image)[band, ..., 1]
        return likely


def teach(pipe: Pipeline, image: np.ndarray, mask: np.ndarray) -> Pipeline:
    """Fit a pipeline to a grey image and its mask."""
    return pipe.fit(image[None, ..., None], mask.ravel().astype(float))


def predict(pipe: Pipeline, image: np.ndarray) -> np.ndarray:
    """The score of each pixel of a grey image."""
    return np.asarray(pipe.predict(image[None, ..., None])).reshape(image.shape)


def best_cut(truth: np.ndarray, score: np.ndarray) -> float:
    """The score above which a pixel is object, so that the Dice coefficient is the largest."""
    order = np.argsort(score, axis=None)[::-1]
    score = score.ravel()[order].astype(np.float64)
    hits = np.cumsum(truth.ravel()[order])
    chosen = np.arange(1, score.size + 1)
    dice = 2 * hits / (chosen + hits[-1])
    lower = np.append(score[1:], -np.inf)
    dice[lower == score] = -1  # equal scores fall on one side
    best = int(np.argmax(dice))
    return (score[best] + lower[best]) / 2 if best + 1 < score.size else -np.inf


def try_recipe(pipe: Pipeline, image: np.ndarray, mask: np.ndarray, train: int) -> Result:
    """Teach a pipeline the first `train` columns and score it on the others."""
    start = time.perf_counter()
    teach(pipe, image[:, :train], mask[:, :train])
    taught = time.perf_counter()
    score = predict(pipe, image)
    done = time.perf_counter()
    seen = slice(None), slice(train)
    cut = pipe.cut if hasattr(pipe, "cut") else best_cut(mask[seen], score[seen])
    truth, unseen = mask[:, train:], score[:, train:]
    found = unseen > cut
    return Result(
        score=score,
        cut=cut,
        dice=metrics.dice(truth, found),
        jaccard=metrics.jaccard(truth, found),
        auc=metrics.roc_auc_score(truth, unseen),
        accuracy=metrics.binary_accuracy(truth, found),
        seen_dice=metrics.dice(mask[:, :train], score[:, :train] > cut),
        seen_auc=metrics.roc_auc_score(mask[:, :train], score[:, :train]),
        fit_s=taught - start,
        predict_s=done - taught,
    )


def read(image, mask, step: int) -> tuple[np.ndarray, np.ndarray]:
    """An image from 0 to 1 and its mask, every `step`-th pixel of each along both axes."""
    image, mask = (np.ascontiguousarray(_images.read(path).array[::step, ::step])
                   for path in (image, mask))  # fmt: skip
    if image.ndim != 2 or image.shape != mask.shape:
        raise SystemExit(f"an image and its mask are 2-D: got {image.shape} and {mask.shape}")
    if image.dtype.kind in "ui":
        image = image / np.iinfo(image.dtype).max
    return image.astype(float), mask > 0


def table(results: dict[str, Result]):
    """Scores and times, a recipe a row."""
    from rich.table import Table

    shown = Table(box=None, title="scores on the columns that were not learned from")
    shown.add_column("recipe", no_wrap=True)
    for name in ("Dice", "IoU", "AUC", "accuracy", "fit s", "predict s", "Dice learned"):
        shown.add_column(name, justify="right", no_wrap=True)
    best = max(result.dice for result in results.values())
    for name, r in results.items():
        values = [f"{v:.3f}" for v in (r.dice, r.jaccard, r.auc, r.accuracy)]
        values += [f"{v:.2f}" for v in (r.fit_s, r.predict_s)] + [f"{r.seen_dice:.3f}"]
        shown.add_row(name, *values, style="bold" if r.dice == best else None)
    return shown


def picture(image, mask, results: dict[str, Result], train: int):
    """The image, its mask, and what each recipe makes of it."""
    from gpuseg.plot import grid_figure

    panels = {"image": image, "truth": mask}
    for name, result in results.items():
        panels[f"{name}: Dice {result.dice:.3f}"] = metrics.hit_map(mask, result.mask)
    columns = min(len(panels), 5 if image.shape[0] > image.shape[1] else 3)
    size = 3.4, 3.4 * image.shape[0] / image.shape[1] + 0.5
    rows = -(-len(panels) // columns)
    figure = grid_figure(panels, columns=columns, figsize=(size[0] * columns, size[1] * rows))
    for ax in figure.axes:
        ax.axvline(train - 0.5, color="#ffd800", linewidth=1)
    figure.suptitle(
        "left of the line: learned from; white: found, orange: wrongly found, blue: missed"
    )
    return figure


def main() -> None:
    from rich.console import Console

    names = [*recipes(), "auto-context"]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("image")
    parser.add_argument("mask")
    parser.add_argument("--step", type=int, default=2, help="take every so-manieth row and column")
    parser.add_argument("--train", type=int, default=256, help="columns to learn from")
    parser.add_argument("--trees", type=int, default=25, help="trees of a forest")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="RECIPE")
    parser.add_argument("--figure", help="where to write the picture")
    options = parser.parse_args()
    if min(options.step, options.train, options.trees) < 1:
        parser.error("--step, --train and --trees must be at least 1")
    image, mask = read(options.image, options.mask, options.step)
    for name, part in (("seen", mask[:, : options.train]), ("unseen", mask[:, options.train :])):
        if part.all() or not part.any():
            parser.error(f"the {name} columns hold objects only, or none: choose another --train")
    console = Console()
    if not console.is_terminal:  # a log file has room for the table
        console.width = 110
    results = {}
    for name, pipe in (recipes(options.trees) | {"auto-context": AutoContext()}).items():
        if name in options.only:
            with console.status(name):
                results[name] = try_recipe(pipe, image, mask, options.train)
    console.print(table(results))
    if options.figure:
        picture(image, mask, results, options.train).savefig(options.figure, dpi=110)
        console.print(f"wrote {options.figure}")


if __name__ == "__main__":
    main()
