"""Clusters: the kernel compares and adds, and the few numbers of a step are reckoned here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from ..._backend import array_namespace, asnumpy
from ...kernels import clustering as kernel
from ...kernels import launch

# Pixels that the first centers are drawn from.
_SAMPLE = 100_000
# Pixels of a piece of a mixture's step.
_PIECE = 1 << 15


class Steps(NamedTuple):
    """What a backend does with the table of features, (features, pixels) in float32."""

    rounded: Callable  # (column, offset, factor, step, row of the table)
    sums: Callable  # (table, centers) -> sums and counts, float64, in host memory
    nearest: Callable  # (table, centers) -> labels and squared distances
    # Of a mixture, see the functions of these names.
    moments: Callable  # (table, mixture)
    moments_of_labels: Callable  # (table, labels, count, diagonal)
    classified: Callable  # (table, mixture, probabilities)


def kmeans(image, *, features, weights, mask, n_clusters, init, random_state, max_iter, tol):
    return run_kmeans(
        CPU, image, features, weights, mask, n_clusters, init, random_state, max_iter, tol
    )


def run_kmeans(
    steps, image, features, weights, mask, n_clusters, init, random_state, max_iter, tol
):
    table, offsets = feature_table(steps, image, features, weights, mask)
    centers, named = _start(table, offsets, n_clusters, init, random_state)
    tol = tol * _mean_variance(table) if tol else 0.0
    centers, n_iter = _lloyd(steps, table, centers, max_iter, tol)
    if named:
        centers = centers[np.argsort(centers[:, 0], kind="stable")]
    labels, distances = steps.nearest(table, centers.astype(np.float32))
    inertia = float(distances.sum(dtype=np.float64))
    labels = spread(labels, image.shape[:-1], mask, -1)
    return labels, centers + offsets, inertia, n_iter


def feature_table(steps, image, features, weights, mask):
    """Every feature of every pixel, less its offset, rounded to so few bits that sums are exact."""
    xp, shape = array_namespace(image), image.shape[:-1]
    count = int(np.prod(shape)) if mask is None else int(xp.count_nonzero(mask))
    width = image.shape[-1] + len(weights) + (0 if features is None else features.shape[-1])
    table, offsets = xp.empty((width, count), xp.float32), np.zeros(width)
    for q, (column, weight) in enumerate(columns(image, features, weights, mask)):
        offset, step = scale(float(column.min()), float(column.max()), weight, count)
        steps.rounded(column, offset, weight / step, np.float32(step), table[q])
        offsets[q] = offset * weight
    return table, offsets


def columns(image, features, weights, mask, origin=None):
    """Each feature of the pixels, and what it weighs; of an image that begins at `origin`."""
    xp, shape = array_namespace(image), image.shape[:-1]

    def flat(column):
        column = xp.ravel(column) if mask is None else column[mask]
        return column.astype(xp.float32) if column.dtype in (bool, np.float16) else column

    for stack in (image, features):
        if stack is not None:
            yield from ((flat(stack[..., c]), 1.0) for c in range(stack.shape[-1]))
    for a, weight in enumerate(weights):
        first = 0 if origin is None else origin[a]
        line = xp.arange(first, first + shape[a], dtype=xp.int32)
        line = line.reshape([-1 if a == b else 1 for b in range(len(shape))])
        yield flat(xp.broadcast_to(line, shape)), weight


def scale(low: float, high: float, weight: float, count: int) -> tuple[float, float]:
    """What is taken off a feature, and the power of two that it is rounded to a multiple of."""
    offset = low / 2 + high / 2
    reach = (high - offset) * weight
    bits = min(23, 52 - count.bit_length())
    return offset, (2.0 ** (np.frexp(reach)[1] - bits) if reach else 1.0)


def _start(table, offsets, n_clusters, init, random_state):
    """The first centers, less the offsets, and whether they were asked for by name."""
    count = table.shape[1]
    _check_distinct(table, n_clusters)
    if not isinstance(init, str):
        return asnumpy(init) - offsets, False
    random_state, chosen = drawn(count, random_state)
    sample = _rows(table, array_namespace(table).asarray(chosen))
    return first_centers(sample, n_clusters, init, random_state), True


def drawn(count: int, random_state):
    """The source of drawing, and the numbers of the pixels that the first centers are from."""
    from sklearn.utils import check_random_state

    random_state = check_random_state(random_state)
    if count <= _SAMPLE:
        return random_state, np.arange(count)
    return random_state, np.unique(random_state.randint(0, count, _SAMPLE, dtype=np.int64))


def first_centers(sample, n_clusters, init, random_state):
    from sklearn.cluster import kmeans_plusplus

    if init == "random":
        sample = np.unique(sample, axis=0)
        return random_state.permutation(sample)[:n_clusters].astype(np.float64)
    centers, _ = kmeans_plusplus(sample, n_clusters, random_state=random_state)
    return centers.astype(np.float64)


def _check_distinct(table, n_clusters) -> None:
    check_enough(len(some_distinct(table, n_clusters)), n_clusters)


def check_enough(distinct: int, n_clusters: int) -> None:
    if distinct < n_clusters:
        raise ValueError(
            f"image: there are only {distinct} different pixels, for {n_clusters} clusters"
        )


def some_distinct(table, n_clusters):
    """Different pixels, as many as clusters if there are: in ever more pixels until there are."""
    count = table.shape[1]
    for size in (16 * n_clusters, 4096 * n_clusters, count):
        size = min(size, count)
        distinct = np.unique(_rows(table, slice(None, None, count // size)), axis=0)
        if len(distinct) >= n_clusters:
            break
    return distinct[:n_clusters]


def _rows(table, chosen):
    """Some pixels in host memory, a row each."""
    return np.ascontiguousarray(asnumpy(table[:, chosen]).T)


def _mean_variance(table) -> float:
    """Summed in pieces, in float64, and rounded, so that it is the same everywhere."""
    count = table.shape[1]
    # Each piece of a device array costs launches and a wait.
    size = _PIECE if array_namespace(table) is np else _PIECE << 9
    squares = total = 0.0
    for row in table:
        mean = float(row.sum(dtype=np.float64)) / count
        for at in range(0, count, size):
            piece = row[at : at + size].astype(np.float64) - mean
            # Not by BLAS, whose threads wait for each other where other work has the cores.
            squares += float(np.square(piece, out=piece).sum())
        total += squares / count
        squares = 0.0
    return float(np.float32(total / table.shape[0]))


def _lloyd(steps, table, centers, max_iter, tol):
    return lloyd(
        partial(steps.sums, table), partial(farthest, steps, table), centers, max_iter, tol
    )


def lloyd(sums_of, farthest_of, centers, max_iter, tol):
    """Move centers until they stay, and how often they moved.

    ``sums_of(centers)`` gives the sums and counts of the clusters, and ``farthest_of(centers,
    count)`` so many pixels, see `farthest`.
    """
    n_iter, shift = 0, np.inf
    while n_iter < max_iter and shift > tol:
        n_iter += 1
        sums = sums_of(centers.astype(np.float32))
        empty = np.flatnonzero(sums[:, -1] == 0)
        if empty.size:
            _fill_empty(sums, empty, farthest_of(centers.astype(np.float32), empty.size))
        there = sums[:, -1] > 0
        moved = centers.copy()
        moved[there] = sums[there, :-1] / sums[there, -1:]
        shift = float(((moved - centers) ** 2).sum())
        centers = moved
    return centers, n_iter


def _fill_empty(sums, empty, pixels) -> None:
    """Give each cluster without a pixel one that is far from its center."""
    for cluster, pixel in zip(empty, pixels):
        row = np.append(pixel.features, 1.0)
        sums[pixel.cluster] -= row
        sums[cluster] = row


class Far(NamedTuple):
    """A pixel far from its center."""

    distance: float
    index: int
    cluster: int
    features: np.ndarray


def farthest(steps, table, centers, count: int) -> list[Far]:
    """The pixels that are farthest from their centers, the first of equals first."""
    labels, distances = steps.nearest(table, centers)
    found = []
    for _ in range(min(count, table.shape[1])):
        at = int(distances.argmax())
        features = asnumpy(table[:, at]).astype(np.float64)
        found.append(Far(float(distances[at]), at, int(labels[at]), features))
        distances[at] = -1
    return found


# --- a part of an image -------------------------------------------------------------------------


def kmeans_part(work, image, *args, **pixels):
    return run_part(CPU, work, image, *args, **pixels)


def run_part(steps, work, image, *args, features, mask, weights, origin, scales):
    """``work(steps, table, *args)`` on the pixels of a part, rounded as those of the whole image.
    None where it has no pixel."""
    xp, shape = array_namespace(image), image.shape[:-1]
    count = int(np.prod(shape)) if mask is None else int(xp.count_nonzero(mask))
    if not count:
        return None
    given = columns(image, features, weights, mask, origin)
    return work(steps, part_table(steps, xp, given, count, scales), *args)


def part_table(steps, xp, given, count: int, scales):
    """The features of so many pixels of a part, rounded as those of the whole image."""
    table = xp.empty((len(scales), count), xp.float32)
    for row, (column, weight), (offset, step) in zip(table, given, scales):
        steps.rounded(column, offset, weight / step, np.float32(step), row)
    return table


def part_sums(steps, table, centers):
    return steps.sums(table, centers)


def part_labels(steps, table, centers):
    return steps.nearest(table, centers)[0]


def part_inertia(steps, table, centers):
    return float(steps.nearest(table, centers)[1].sum(dtype=np.float64))


def part_start(steps, table, n_clusters, units, chosen):
    """Different pixels, those that were drawn, and exact sums of the features and of their squares,
    in `units`."""
    sums = []
    for row, unit in zip(table, units):
        total = squares = 0
        for at in range(0, row.size, _PIECE):
            piece = (row[at : at + _PIECE] / np.float32(unit)).astype(np.int64)
            total, squares = total + int(piece.sum()), squares + int(piece @ piece)
        sums.append((total, squares))
    chosen = array_namespace(table).asarray(chosen)
    return some_distinct(table, n_clusters), _rows(table, chosen), sums


def part_moments(steps, table, mixture):
    return steps.moments(table, mixture)


def part_moments_of_nearest(steps, table, centers, diagonal):
    labels, _ = steps.nearest(table, centers)
    return steps.moments_of_labels(table, labels, len(centers), diagonal)


def part_classified(steps, table, mixture, probabilities):
    return steps.classified(table, mixture, probabilities)


def spread(values, shape, mask, outside):
    """Values of the pixels of the mask as an image."""
    if mask is None:
        return values.reshape(shape)
    image = array_namespace(values).full(shape, outside, values.dtype)
    image[mask] = values
    return image


# --- on the CPU -------------------------------------------------------------------------------


def _rounded(column, offset, factor, step, row) -> None:
    launch.slabs(kernel.round_range, row.size, column, offset, factor, step, row)


def _nearest(table, centers):
    labels = np.empty(table.shape[1], np.int32)
    distances = np.empty(table.shape[1], np.float32)
    kernel.nearest_cpu(table, centers, labels, distances)
    return labels, distances


# --- mixtures ---------------------------------------------------------------------------------


class Mixture(NamedTuple):
    """The weight, the mean and the covariances of each class."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray


def gaussian_mixture(image, **options):
    return run_mixture(CPU, image, **options)


def run_mixture(
    steps, image, *, features, weights, mask, n_components, covariance_type, init, random_state,
    max_iter, tol, reg_covar, probabilities,
):  # fmt: skip
    xp = array_namespace(image)
    table, offsets = feature_table(steps, image, features, weights, mask)
    centers, named = _start(
        table, offsets, n_components, "k-means++" if isinstance(init, str) else init, random_state
    )
    if named:
        centers, _ = _lloyd(steps, table, centers, 300, 1e-4 * _mean_variance(table))
        centers = centers[np.argsort(centers[:, 0], kind="stable")]
    labels, _ = steps.nearest(table, centers.astype(np.float32))
    diagonal = covariance_type == "diag"
    start = steps.moments_of_labels(table, labels, n_components, diagonal)
    del labels
    mixture, n_iter = fitted(
        partial(steps.moments, table),
        table.shape[1],
        start,
        max_iter,
        tol,
        reg_covar,
        in_order=named,
    )
    labels, chances, likelihood = steps.classified(table, mixture, probabilities)
    shape = image.shape[:-1]
    labels = spread(labels, shape, mask, -1)
    if chances is not None:
        chances = xp.stack([spread(row, shape, mask, 0) for row in chances])
    return (
        labels, chances, mixture.weights, mixture.means + offsets, mixture.covariances,
        likelihood / table.shape[1], n_iter,
    )  # fmt: skip


def fitted(moments_of, count: int, start, max_iter, tol, reg_covar, *, in_order: bool):
    """The mixture that so many pixels are likely for, from the moments at the start, and the steps
    to it; its classes in order of their means, if asked for."""
    mixture = _maximized(start, reg_covar)
    n_iter, likelihood, change = 0, -np.inf, np.inf
    while n_iter < max_iter and change >= tol:
        n_iter += 1
        *found, total = moments_of(mixture)
        mixture = _maximized(found, reg_covar)
        change = abs(total / count - likelihood)
        likelihood = total / count
    if in_order:
        order = np.argsort(mixture.means[:, 0], kind="stable")
        mixture = Mixture(*(part[order] for part in mixture))
    return mixture, n_iter


def _in_pieces(function, table, *args) -> list:
    """Call ``function(piece of the table, *args)`` for all pieces, on all cores of the CPU.

    The pieces are the same for any number of threads, so that sums over them are, too.
    """
    if array_namespace(table) is not np:
        size = _PIECE * 32
        starts = range(0, table.shape[1], size)
        return [function(table[:, at : at + size], at, *args) for at in starts]
    pieces = -(-table.shape[1] // _PIECE)
    return launch.slabs(
        lambda start, stop: function(table[:, start:stop], start, *args),
        table.shape[1],
        pieces=pieces,
    )


def _log_densities(piece, mixture):
    """log(weight times density), (classes, pixels), and the piece in float64."""
    xp = array_namespace(piece)
    piece = piece.astype(xp.float64)
    rows = []
    for weight, mean, covariance in zip(*mixture):
        away = piece - xp.asarray(mean)[:, None]
        if covariance.ndim == 1:
            scaled = away / xp.asarray(np.sqrt(covariance))[:, None]
            log_determinant = np.log(covariance).sum()
        else:
            factor = np.linalg.cholesky(covariance)
            scaled = xp.einsum("fg,gp->fp", xp.asarray(np.linalg.inv(factor)), away)
            log_determinant = 2 * np.log(np.diag(factor)).sum()
        constant = np.log(weight) - 0.5 * (mean.size * np.log(2 * np.pi) + log_determinant)
        rows.append(constant - 0.5 * (scaled**2).sum(axis=0))
    return xp.stack(rows), piece


def _chances(piece, mixture):
    """The probability of each class for each pixel, its log likelihood, and the piece."""
    xp = array_namespace(piece)
    rows, piece = _log_densities(piece, mixture)
    top = rows.max(axis=0)
    rows = xp.exp(rows - top)
    total = rows.sum(axis=0)
    return rows / total, top + xp.log(total), piece


def _moments_of(chances, piece, diagonal):
    """Sums of the classes: of the chances, of the features, of products of features."""
    # Not by BLAS, here and above: pieces run side by side, and its threads would wait for others.
    xp = array_namespace(piece)
    add_up = partial(xp.einsum, "cp,fp->cf")
    if diagonal:
        products = add_up(chances, piece**2)
    else:
        products = xp.stack([add_up(row * piece, piece) for row in chances])
    return chances.sum(axis=1), add_up(chances, piece), products


def _total(parts):
    """Sums over the pieces, in host memory."""
    return [sum(asnumpy(part) for part in column) for column in zip(*parts)]


def moments(table, mixture, counts=None):
    """Sums of the classes, see `_moments_of`, and the log likelihood; of pixels that stand for so
    many each, if given."""

    def one(piece, start):
        chances, likelihood, piece = _chances(piece, mixture)
        if counts is not None:
            many = counts[start : start + piece.shape[1]]
            chances, likelihood = chances * many, likelihood * many
        return *_moments_of(chances, piece, mixture.covariances.ndim == 2), likelihood.sum()

    *sums, likelihood = _total(_in_pieces(one, table))
    return *sums, float(likelihood)


def moments_of_labels(table, labels, count, diagonal, counts=None):
    """Sums of the classes that pixels are in, as for `moments`."""
    xp = array_namespace(table)

    def one(piece, start):
        own = labels[start : start + piece.shape[1]]
        chances = (xp.arange(count)[:, None] == own).astype(xp.float64)
        if counts is not None:
            chances *= counts[start : start + piece.shape[1]]
        return _moments_of(chances, piece.astype(xp.float64), diagonal)

    return _total(_in_pieces(one, table))


def _maximized(moments, reg_covar) -> Mixture:
    counts, sums, products = moments
    # As in scikit-learn: a class that lost all its pixels keeps a finite mean.
    counts = counts + 10 * np.finfo(np.float64).eps
    means = sums / counts[:, None]
    if products.ndim == 2:
        covariances = products / counts[:, None] - means**2 + reg_covar
        smallest = covariances.min()
    else:
        covariances = products / counts[:, None, None] - means[:, :, None] * means[:, None, :]
        covariances += reg_covar * np.eye(means.shape[1])
        smallest = np.linalg.eigvalsh(covariances).min()
    # What is left of a variance of zero is rounding.
    if not smallest > 1e-14 * np.abs(products).max() / counts.max():
        raise ValueError(f"a class has no width left: reg_covar must be above {reg_covar:g}")
    return Mixture(counts / counts.sum(), means, covariances)


def classified(table, mixture, probabilities):
    """The most probable class of each pixel, the probabilities, if asked for, and the log
    likelihood."""
    xp = array_namespace(table)
    labels = xp.empty(table.shape[1], xp.int32)
    chances = None
    if probabilities:
        chances = xp.empty((len(mixture.weights), table.shape[1]), xp.float32)

    def one(piece, start):
        rows, likelihood, _ = _chances(piece, mixture)
        here = slice(start, start + piece.shape[1])
        labels[here] = rows.argmax(axis=0)
        if chances is not None:
            chances[:, here] = rows
        return (likelihood.sum(),)

    return labels, chances, float(_total(_in_pieces(one, table))[0])


CPU = Steps(_rounded, kernel.sums_cpu, _nearest, moments, moments_of_labels, classified)
