"""Slow, obvious versions of what the library does, as oracles for the tests."""

import itertools

import numpy as np
from scipy import ndimage


def classes(image, thresholds):
    """The number of thresholds below each element, one comparison at a time."""
    out = np.zeros(image.shape, np.int64)
    for index in np.ndindex(image.shape):
        out[index] = sum(bool(image[index] > t) for t in thresholds)
    return out


def object_sizes(mask, connectivity):
    """The sizes of the connected objects, by flooding each from its first element."""
    steps = [
        step
        for step in itertools.product((-1, 0, 1), repeat=mask.ndim)
        if 0 < np.abs(step).sum() <= connectivity
    ]
    left = {index for index in np.ndindex(mask.shape) if mask[index]}
    sizes = []
    while left:
        front, size = [left.pop()], 0
        while front:
            index = front.pop()
            size += 1
            for step in steps:
                beside = tuple(int(i) + s for i, s in zip(index, step))
                if beside in left:
                    left.remove(beside)
                    front.append(beside)
        sizes.append(size)
    return np.array(sorted(sizes), np.int64)


def hysteresis(image, low, high, connectivity=1):
    """Grow the voxels above high inside those above low, step by step, to the end."""
    mask = image > np.minimum(low, high)
    grown = image > high
    steps = [
        step
        for step in itertools.product((-1, 0, 1), repeat=image.ndim)
        if sum(map(abs, step)) <= connectivity
    ]
    while True:
        padded = np.pad(grown, 1)
        near = [
            padded[tuple(slice(1 + s, 1 + s + n) for s, n in zip(step, image.shape))]
            for step in steps
        ]
        new = np.any(near, axis=0) & mask
        if np.array_equal(new, grown):
            return grown
        grown = new


def cross(ndim):
    """The footprint of a voxel and its face neighbours."""
    return np.abs(np.indices((3,) * ndim) - 1).sum(0) <= 1


def huang_fuzziness(counts, t):
    """Entropy of how alike the values are to the mean of their side of t, from the definition."""
    grey = np.arange(len(counts))
    used = np.flatnonzero(counts)
    span = used[-1] - used[0]
    total = 0.0
    for side in (grey[: t + 1], grey[t + 1 :]):
        mean = np.average(side, weights=counts[side])
        for value in side:
            member = 1 / (1 + abs(value - mean) / span)
            if 0 < member < 1 and counts[value]:
                entropy = -member * np.log(member) - (1 - member) * np.log(1 - member)
                total += counts[value] * entropy
    return total


def minimum_error(counts, t):
    """The criterion of Kittler and Illingworth, equation (15), from the definition."""
    grey = np.arange(len(counts))
    total = 1.0
    for side in (grey[: t + 1], grey[t + 1 :]):
        if not counts[side].sum():
            return np.inf
        prior = counts[side].sum() / counts.sum()
        mean = np.average(side, weights=counts[side])
        variance = np.average((side - mean) ** 2, weights=counts[side])
        if variance <= 0:
            return np.inf
        total += 2 * prior * (np.log(np.sqrt(variance)) - np.log(prior))
    return total


def entropy_of_sides(counts, t, order):
    """Renyi's entropy (Shannon's for order 1) of the values up to t plus that of the others."""
    total = 0.0
    for side in (counts[: t + 1], counts[t + 1 :]):
        p = side[side > 0] / side.sum()
        total += -(p * np.log(p)).sum() if order == 1 else np.log((p**order).sum()) / (1 - order)
    return total


def kmeans(rows, centers):
    """Lloyd's steps in float64 until no pixel changes its cluster; clusters may stay empty."""
    labels = None
    while True:
        new = ((rows[:, None] - centers) ** 2).sum(-1).argmin(1)
        if labels is not None and np.array_equal(new, labels):
            return labels
        labels = new
        centers = np.array([
            rows[labels == k].mean(0) if (labels == k).any() else center
            for k, center in enumerate(centers)
        ])  # fmt: skip


def region_statistic(image, labels, statistic):
    """Each region's statistic, found with a mask of its own."""
    out = np.zeros(image.shape, np.float64)
    for value in np.unique(labels[labels > 0]):
        out[labels == value] = statistic(image[labels == value].astype(np.float64))
    return out


def merge_regions(labels, image, criterion, connectivity, threshold, least):
    """Join the two most similar neighbours again and again, looking at every pixel each time.

    `image` has its channels last; 0 is background. The regions keep their smallest label.
    """
    labels = labels.copy()
    steps = [
        step
        for step in itertools.product((-1, 0, 1), repeat=labels.ndim)
        if 0 < np.abs(step).sum() <= connectivity
    ]
    while len(set(labels[labels > 0])) > least:
        faces = {}
        for index in np.ndindex(labels.shape):
            for step in steps:
                beside = tuple(i + s for i, s in zip(index, step))
                if all(0 <= i < n for i, n in zip(beside, labels.shape)):
                    a, b = int(labels[index]), int(labels[beside])
                    if 0 < a < b:
                        away = np.linalg.norm(image[index].astype(float) - image[beside])
                        faces.setdefault((a, b), []).append(away)
        weights = {}
        for (a, b), values in faces.items():
            means = [image[labels == k].astype(float).mean(axis=0) for k in (a, b)]
            apart = np.linalg.norm(means[0] - means[1])
            weights[a, b] = np.mean(values) if criterion == "boundary" else apart
        if not weights or min(weights.values()) >= threshold:
            break
        a, b = min(weights, key=weights.get)
        labels[labels == b] = a
    return labels


def _faces(index, shape):
    for a, n in enumerate(shape):
        for step in (-1, 1):
            if 0 <= index[a] + step < n:
                yield (*index[:a], index[a] + step, *index[a + 1 :])


def boundary_recall(true, found, tolerance):
    """Each true boundary pixel looks for another boundary in the box around it."""
    edges = []
    for labels in (true, found):
        pixels = np.ndindex(labels.shape)
        edges.append(
            {i for i in pixels if any(labels[i] != labels[j] for j in _faces(i, labels.shape))}
        )
    near = [
        any(max(abs(p - q) for p, q in zip(i, j)) <= tolerance for j in edges[1]) for i in edges[0]
    ]
    return np.mean(near) if near else 1.0


def undersegmentation_error(true, found):
    total = 0
    for region in np.unique(found):
        inside = found == region
        for other in np.unique(true[inside]):
            overlap = np.count_nonzero(inside & (true == other))
            total += min(overlap, np.count_nonzero(inside) - overlap)
    return total / true.size


def watershed(image, markers, connectivity, mask):
    """Whole arrays at a time: each pixel joins the neighbour that a flood reaches first.

    First is: by the lowest pass; then markers; then those for which the flood had to rise, from the
    lowest on; then by the fewest steps since; then by the lowest label. Until nothing changes.
    """
    far = np.iinfo(np.int64).max
    _, ranks = np.unique(image, return_inverse=True)
    ranks = ranks.reshape(image.shape).astype(np.int64)
    markers = markers * mask
    keys = np.where(markers != 0, ranks << 32, far)
    labels = markers.astype(np.int64)
    steps = [
        step
        for step in itertools.product((-1, 0, 1), repeat=image.ndim)
        if 0 < np.abs(step).sum() <= connectivity
    ]
    free = mask & (markers == 0)
    while True:
        padded_keys = np.pad(keys, 1, constant_values=far)
        padded_labels = np.pad(labels, 1)
        best, label = np.full(image.shape, far), np.zeros(image.shape, np.int64)
        for step in steps:
            side = tuple(slice(1 + s, 1 + s + n) for s, n in zip(step, image.shape))
            key, name = padded_keys[side], padded_labels[side]
            nearer = (key < best) | ((key == best) & (name < label))
            best, label = np.where(nearer, key, best), np.where(nearer, name, label)
        reached = best != far
        level, low = best >> 32, best & (2**32 - 1)
        since = np.where(low < 2**31, 2**31, low + 1)
        best = np.where(ranks > level, ranks << 32 | level + 1, level << 32 | since)
        new_keys = np.where(free & reached, best, keys)
        new_labels = np.where(free & reached, label, labels)
        if np.array_equal(new_keys, keys) and np.array_equal(new_labels, labels):
            return labels
        keys, labels = new_keys, new_labels


def quadtree(image, threshold, criterion="range", min_size=1, max_size=None):
    """The leaves (corner, size, mean, min, max) by recursion, each block measured by NumPy."""
    measure = {"range": np.ptp, "std": np.std, "variance": np.var}[criterion]
    side = 1
    while side < max(image.shape):
        side *= 2
    leaves = []

    def visit(corner, size):
        block = image[tuple(slice(c, c + size) for c in corner)]
        if block.size == 0:
            return
        whole = size == 1 or size <= min_size or measure(block) <= threshold
        if whole and (max_size is None or size <= max_size):
            leaves.append((corner, size, block.mean(dtype=np.float64), block.min(), block.max()))
            return
        half = size // 2
        for step in np.ndindex((2,) * image.ndim):
            visit(tuple(c + half * s for c, s in zip(corner, step)), half)

    visit((0,) * image.ndim, side)
    return leaves


def merge_leaves(image, leaves, threshold, criterion):
    """Merge regions of leaves that touch, the most similar leaves first, until none can be."""
    measure = {"range": np.ptp, "std": np.std, "variance": np.var}[criterion]
    numbers = np.zeros(image.shape, np.int64)
    for i, (corner, size, *_) in enumerate(leaves):
        numbers[tuple(slice(c, c + size) for c in corner)] = i
    pairs = set()
    for axis in range(image.ndim):
        a, b = (np.moveaxis(numbers, axis, 0)[part].ravel() for part in (slice(-1), slice(1, None)))
        pairs |= {(min(p), max(p)) for p in zip(a.tolist(), b.tolist()) if p[0] != p[1]}

    def rank(pair):
        return abs(leaves[pair[0]][2] - leaves[pair[1]][2]), pair

    regions = numbers + 1
    merged = True
    while merged:
        merged = False
        for i, j in sorted(pairs, key=rank):
            a, b = (regions[leaves[k][0]] for k in (i, j))
            if a != b and measure(image[(regions == a) | (regions == b)]) <= threshold:
                regions[(regions == a) | (regions == b)] = min(a, b)
                merged = True
    return np.unique(regions, return_inverse=True)[1].reshape(image.shape) + 1


def neighborhood(image, radius, mode, cval):
    """The values around each element, by a correlation with a kernel of a single one each."""
    size = (2 * radius + 1,) * image.ndim
    features = []
    for index in np.ndindex(size):
        kernel = np.zeros(size)
        kernel[index] = 1
        features.append(ndimage.correlate(image, kernel, mode=mode, cval=cval))
    return np.stack(features, axis=-1)


def forest_means(rows, trees):
    """The mean of the values of the leaves that each row reaches, from node to node."""
    out = []
    for row in rows:
        total = 0.0
        for tree in trees:
            node = 0
            while tree.children_left[node] >= 0:
                value = float(row[tree.feature[node]])
                left = value <= tree.threshold[node]
                if np.isnan(value):
                    left = tree.__getstate__()["nodes"]["missing_go_to_left"][node]
                node = (tree.children_left if left else tree.children_right)[node]
            total += tree.value[node, 0, 0]
        out.append(total / len(trees))
    return np.array(out)


def unet_logits(weights, x, depth):
    """A U-Net without norms, convolution by convolution: `x` is (C, ...), sizes even enough."""
    ndim = x.ndim - 1

    def convolved(x, name):
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return np.stack(
            [
                sum(ndimage.correlate(plane, k, mode="constant") for plane, k in zip(x, kernels))
                for kernels in weight
            ]
        ) + bias.reshape(-1, *[1] * ndim)

    def pair(x, name):
        return np.maximum(convolved(np.maximum(convolved(x, f"{name}.0"), 0), f"{name}.2"), 0)

    def halved(x):
        for axis in range(1, ndim + 1):
            even = np.take(x, range(0, x.shape[axis], 2), axis)
            x = np.maximum(even, np.take(x, range(1, x.shape[axis], 2), axis))
        return x

    def doubled(x, name):
        if f"{name}.weight" in weights:
            weight = weights[f"{name}.weight"]  # (in, out, 2, ...)
            out = np.zeros((weight.shape[1], *[2 * n for n in x.shape[1:]]))
            for place in np.ndindex(weight.shape[2:]):
                cut = tuple(slice(at, None, 2) for at in place)
                out[(slice(None), *cut)] = np.tensordot(weight[(..., *place)].T, x, axes=1)
            return out + weights[f"{name}.bias"].reshape(-1, *[1] * ndim)
        for axis in range(1, ndim + 1):
            x = np.repeat(x, 2, axis)
        return x

    kept = []
    for level in range(depth + 1):
        x = pair(x if level == 0 else halved(x), f"down.{level}")
        kept.append(x)
    kept.pop()
    for level in range(depth):
        x = pair(np.concatenate([doubled(x, f"rise.{level}"), kept.pop()]), f"up.{level}")
    return convolved(x, "head")
