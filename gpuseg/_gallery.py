"""The gallery of `gpuseg demo`: every way to divide an image into regions, each on a real one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from . import filters, measure, metrics, morphology, report, segmentation
from ._backend import asarray, asnumpy
from .plot import extra, outlines, overlay


def _colored(labels) -> np.ndarray:
    labels = asnumpy(labels)
    return overlay(np.zeros(labels.shape, np.uint8), labels + 1, alpha=1)


def quadtree() -> report.Section:
    from skimage import data

    image = data.camera()
    tree = segmentation.quadtree(asarray(image), 40)
    merged = asnumpy(tree.merge(60))
    labels = asnumpy(tree.labels())
    return report.section(
        "Quad-tree",
        image,
        labels,
        pictures={
            "means of the squares": asnumpy(tree.mean_image()),
            "merged neighbours": outlines(image, merged),
        },
        text="Squares are divided while their grey values range over more than 40: large ones "
        "where nothing happens, pixels along edges. Then those that touch merge, the most "
        "similar first, while what they make ranges over no more than 60.",
        numbers={
            "squares": f"{labels.max():,} for {image.size:,} pixels",
            "after merging": f"{merged.max():,}",
        },
        notes=["The camera man, which scikit-image carries."],
    )


def superpixels() -> report.Section:
    from skimage import data

    image = data.coins()
    there = asarray(image)
    labels = segmentation.slic(there, 400, 0.05, sigma=1, channel_axis=None)
    means = segmentation.superpixel_means(there, labels)
    merged = segmentation.merge_superpixels(labels, there, 18)
    threshold = float(filters.threshold_otsu(means))
    return report.section(
        "Superpixels",
        image,
        asnumpy(labels),
        thresholds={"otsu of the means": threshold},
        others={"means above Otsu's threshold": asnumpy(means > threshold)},
        pictures={
            "means": asnumpy(means),
            "merged while means differ by less than 18": outlines(image, asnumpy(merged)),
        },
        text="SLIC gathers pixels that are alike and near each other. Each superpixel then has a "
        "mean, thresholds divide the means instead of the noisy pixels, and neighbours with "
        "like means merge.",
        numbers={
            "superpixels": f"{int(labels.max()):,}",
            "variance that their means keep": f"{metrics.explained_variation(there, labels):.3f}",
            "regions after merging": f"{int(merged.max()):,}",
        },
    )


def clusters() -> report.Section:
    from skimage import data

    image = data.immunohistochemistry()
    there = asarray(image)
    options = {"channel_axis": -1, "random_state": 0}
    colors = segmentation.kmeans(there, 3, **options)
    placed = segmentation.kmeans(there, 3, 0.2, **options)
    mixture = segmentation.gaussian_mixture(there, 3, **options)
    grey = np.asarray(image.mean(axis=-1), np.float32)
    return report.section(
        "Clusters",
        grey,
        asnumpy(colors),
        pictures={
            "in colours": image,
            "k-means with position": _colored(placed),
            "Gaussian mixture": _colored(mixture),
        },
        text="Stained tissue. k-means finds three colours; with the position as two more features, "
        "five pixels apart counting as one grey value, clusters keep together; a Gaussian "
        "mixture lets the classes differ in width.",
        notes=["Class 0, the darkest in red, is shown without colour over the image."],
    )


def guarded() -> report.Section:
    from skimage import data

    image = data.camera()
    there = asarray(image)
    values = filters.threshold_multiotsu(there, classes=3)
    plain = asnumpy(filters.apply_thresholds(there, values))
    labels = asnumpy(segmentation.guarded_threshold(there, values))
    return report.section(
        "Guarded thresholds",
        image,
        labels,
        thresholds={f"multiotsu {i}": float(value) for i, value in enumerate(values, 1)},
        pictures={"thresholds alone": _colored(plain), "guarded": _colored(labels)},
        text="Between the dark coat and the bright sky, blurred pixels are as grey as the meadow: "
        "thresholds alone draw a skin of the middle class around the coat. Guarded, classes "
        "are taken away from edges first and grow from there.",
        numbers={"pixels that changed": f"{100 * (plain != labels).mean():.1f} %"},
    )


def markov() -> report.Section:
    from skimage import data

    image = data.microaneurysms()
    there = asarray(image)
    alone = asnumpy(segmentation.markov_random_field(there, 2, beta=0))
    labels = asnumpy(segmentation.markov_random_field(there, 2, beta=2))
    return report.section(
        "Markov random field",
        image,
        labels,
        pictures={"each pixel alone": _colored(alone), "with its neighbours": _colored(labels)},
        text="Each pixel takes the class that is likely for its value and for its neighbours'. "
        "Alone, noise speckles the classes; with neighbours it does not.",
        numbers={
            "regions, each pixel alone": f"{int(measure.label(alone + 1).max()):,}",
            "regions with neighbours": f"{int(measure.label(labels + 1).max()):,}",
        },
    )


def watershed() -> report.Section:
    from skimage import data

    image = data.coins()
    there = asarray(image)
    markers = np.zeros(image.shape, np.int32)
    markers[image < 30] = 1
    markers[image > 150] = 2
    flooded = segmentation.watershed(filters.sobel(there), markers)
    coins = asnumpy(flooded == 2)
    coins = morphology.remove_small_objects(coins, max_size=99, connectivity=1)
    labels = asnumpy(measure.label(coins, connectivity=1))
    lines = measure.find_contours(asnumpy(coins).astype(np.float32), 0.5)
    return report.section(
        "Watershed and contours",
        image,
        labels,
        pictures={"contours": _drawn(image, lines)},
        text="What is surely ground and what is surely coin are markers; the gradient is flooded "
        "from both until they meet on its crests. Contours then run between the pixels.",
        numbers={
            "coins": f"{int(labels.max())} (24, counted by eye)",
            "contours": f"{len(lines)}",
        },
    )


def examples() -> report.Section:
    from skimage import data

    from .features import AddFilters
    from .pixels import PixelClassifier

    # Three textures of one mean and one spread: no threshold tells them apart.
    truth = np.ones((384, 384), np.uint8)
    y, x = np.ogrid[:384, :384]
    truth[(y - 190) ** 2 + (x - 150) ** 2 < 120**2] = 2
    truth[(x > 230) & (y + x > 420)] = 3
    image = np.zeros(truth.shape)
    for k, texture in enumerate((data.grass(), data.brick(), data.gravel()), 1):
        part = texture[:384, :384].astype(float)
        image = np.where(truth == k, (part - part.mean()) / part.std(), image)
    image = (128 + 40 * image).clip(0, 255).astype(np.uint8)
    scribbles = np.zeros_like(truth)
    strokes = [(20, 20, 360), (187, 60, 200), (270, 260, 380), (345, 200, 370)]
    for row, start, stop in strokes:
        stroke = slice(row - 7, row + 8), slice(start, stop)
        scribbles[stroke] = truth[stroke]
    model = PixelClassifier(AddFilters(sigmas=(1, 2, 4, 8)), max_per_class=3000, random_state=0)
    model.fit(asarray(image), scribbles)
    labels = asnumpy(model.predict(asarray(image)))
    likely = model.predict_proba(asarray(image))
    smooth = asnumpy(filters.gaussian(likely, 8, channel_axis=-1)).argmax(axis=-1) + 1
    clusters = asnumpy(segmentation.kmeans(asarray(image), 3, random_state=0))
    best = next(iter(model.feature_importances()))
    return report.section(
        "Classes learnt from examples",
        image,
        labels,
        pictures={
            "what was labelled by hand": overlay(image, scribbles, alpha=0.8),
            "classes of the smoothed probabilities": overlay(image, smooth),
            "three clusters of grey values": _colored(clusters),
        },
        text="Grass, bricks and gravel with one mean and one spread: no threshold tells them "
        "apart. A forest of 100 trees learns from four strokes what filters at four scales make "
        "of each texture, and says how likely each is for every pixel; neighbours then vote.",
        numbers={
            "labelled": f"{100 * np.mean(scribbles > 0):.1f} % of the pixels",
            "right": f"{100 * np.mean(labels == truth):.1f} %",
            "right after the vote": f"{100 * np.mean(smooth == truth):.1f} %",
            "the feature that counts most": best,
        },
    )


def _drawn(image: np.ndarray, lines) -> np.ndarray:
    """Lines over an image, at twice its size, as RGB."""
    from .plot import draw_image, new_figure

    extra("matplotlib")
    height, width = image.shape
    figure = new_figure((width / 50, height / 50))
    figure.set_layout_engine("none")
    ax = figure.add_axes((0, 0, 1, 1))
    draw_image(ax, image)
    for line in lines:
        ax.plot(line[:, 1], line[:, 0], color="#ffd800", linewidth=1.2)
    figure.set_dpi(100)
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()


RECIPES: tuple[Callable[[], report.Section], ...] = (
    quadtree, superpixels, clusters, guarded, markov, watershed, examples,
)  # fmt: skip
