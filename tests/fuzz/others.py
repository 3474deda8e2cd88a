"""What is public beside the functions of the README's table: classes, files, figures."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np

import gpuseg
from gpuseg import estimators, metrics, pixels, plot, report, segmentation, volume

TABLE = np.random.default_rng(0).random((40, 3))
IMAGE = np.random.default_rng(1).random((12, 10))
CLASSES = (IMAGE > 0.3).astype(np.uint8) + (IMAGE > 0.7)
TARGET = (TABLE[:, 0] > 0.5).astype(int)


@functools.cache
def folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="gpuseg-fuzz-"))


def k_means(X, n_clusters=3, init="k-means++", n_init=1, max_iter=5, tol=1e-4, random_state=0):
    options = {"n_clusters": n_clusters, "init": init, "n_init": n_init, "max_iter": max_iter}
    model = estimators.KMeans(**options, tol=tol, random_state=random_state).fit(X)
    return model.predict(X), model.transform(X)


def neighbors(X, y, n_neighbors=3, weights="uniform", metric="minkowski", p=2):
    model = estimators.KNeighborsClassifier(n_neighbors, weights=weights, metric=metric, p=p)
    return model.fit(X, y).predict_proba(X)


def neighbors_regressor(X, y, n_neighbors=3, weights="uniform"):
    return estimators.KNeighborsRegressor(n_neighbors, weights=weights).fit(X, y).predict(X)


def line(X, y, sample_weight=None, fit_intercept=True):
    model = estimators.LinearRegression(fit_intercept=fit_intercept)
    return model.fit(X, y, sample_weight).predict(X)


def forest(X, y, n_estimators=3, max_depth=3, random_state=0):
    model = estimators.RandomForestClassifier(
        n_estimators, max_depth=max_depth, random_state=random_state
    )
    return model.fit(X, y).predict_proba(X)


def tree(X, y, max_depth=3, random_state=0):
    return (
        estimators.DecisionTreeRegressor(max_depth=max_depth, random_state=random_state)
        .fit(X, y)
        .predict(X)
    )


def robust(X, quantile_range=(25.0, 75.0), with_centering=True, with_scaling=True):
    model = estimators.RobustScaler(
        quantile_range=quantile_range, with_centering=with_centering, with_scaling=with_scaling
    )
    return model.fit(X).transform(X)


def quantiles(X, n_quantiles=10, output_distribution="uniform", subsample=1000, random_state=0):
    model = estimators.QuantileTransformer(
        n_quantiles=n_quantiles,
        output_distribution=output_distribution,
        subsample=subsample,
        random_state=random_state,
    )
    return model.fit(X).transform(X)


def powers(X, degree=2, interaction_only=False, include_bias=True):
    model = estimators.PolynomialFeatures(
        degree, interaction_only=interaction_only, include_bias=include_bias
    )
    return model.fit(X).transform(X)


def classifier(image, labels, channel_axis=None, max_per_class=None, random_state=0, tile=None):
    model = pixels.PixelClassifier(
        None,
        estimators.KNeighborsClassifier(1),
        channel_axis=channel_axis,
        max_per_class=max_per_class,
        random_state=random_state,
        tile=tile,
    )
    return model.fit(image, labels).predict(image)


def add_filters(X, sigmas=(1,), kinds=("gaussian",), mode="nearest"):
    return pixels.AddFilters(sigmas, kinds, mode).fit_transform(X)


def add_neighborhood(X, radius=1, mode="reflect", cval=0.0):
    from gpuseg.features import AddNeighborhood

    return AddNeighborhood(radius, mode, cval).fit_transform(X)


def add_position(X, polar=False, scale=1.0):
    from gpuseg.features import AddPosition

    return AddPosition(polar, scale).fit_transform(X)


def tally(y_true, y_found):
    counted = metrics.Tally()
    counted.add(y_true, y_found)
    return counted.dice()


@functools.cache
def quad_tree():
    return segmentation.quadtree(np.round(8 * IMAGE), 3)


def using(device):
    with gpuseg.using(device):
        pass


def set_device(device):
    try:
        gpuseg.set_device(device)
    finally:
        gpuseg.set_device(None)


def asarray(x):
    return gpuseg.asarray(x)


def asnumpy(x):
    return gpuseg.asnumpy(x)


def explain(function, shape=(9, 9), dtype="float32"):
    return str(gpuseg.explain(function, shape, dtype))


def save_tiff(data, voxel_size=None, unit=None, chunks=None, force=True):
    volume.save(
        folder() / "volume.tif", data, voxel_size=voxel_size, unit=unit, chunks=chunks, force=force
    )


def open_npy(
    shape=None, dtype=None, axes=None, voxel_size=None, unit=None, level=0, select=None, chunks=None
):
    path = folder() / "image.npy"
    if not path.exists():
        np.save(path, IMAGE)
    options = {"axes": axes, "voxel_size": voxel_size, "unit": unit, "level": level}
    return volume.open(
        path, shape=shape, dtype=dtype, select=select, chunks=chunks, **options
    ).shape


def open_raw(shape=(12, 10), dtype="f8", offset=0, order="C", axes=None, chunks=None):
    path = folder() / "image.raw"
    if not path.exists():
        IMAGE.tofile(path)
    return volume.open(
        path, shape=shape, dtype=dtype, offset=offset, order=order, axes=axes, chunks=chunks
    ).shape


def labels_of(chunk):
    return (chunk != 0).astype(np.int32)


def by_chunks(image, overlap=0):
    import dask.array as da

    lazy = da.from_array(image, chunks=5) if isinstance(image, np.ndarray) else image
    return np.asarray(volume.by_chunks(labels_of, lazy, overlap=overlap))


def figure(function):
    """Draws, and closes what it drew."""

    @functools.wraps(function)
    def drawn(*args, **kwargs):
        import matplotlib as mpl

        mpl.use("Agg")
        import matplotlib.pyplot as plt

        try:
            function(*args, **kwargs).canvas.draw()
        finally:
            plt.close("all")

    return drawn


def _of(*args, **options):
    return lambda inputs: (args, options)


def _learns(function):
    return function, _of(TABLE, *[TARGET] * (function.__code__.co_varnames[1] == "y")), (1,)


_LEARN = (k_means, neighbors, neighbors_regressor, line, forest, tree, robust, quantiles, powers)
THEIRS = {f"estimators {f.__name__}" for f in _LEARN} | {"PixelClassifier"}
CASES = {
    **{
        f"estimators {f.__name__}": (
            f,
            _of(TABLE, *([TARGET] if "y" in f.__code__.co_varnames[:2] else [])),
            (1,),
        )
        for f in _LEARN
    },
    "PixelClassifier": (classifier, _of(IMAGE, CLASSES), (2,)),
    "AddFilters": (add_filters, _of(IMAGE[None, ..., None]), (2,)),
    "AddNeighborhood": (add_neighborhood, _of(IMAGE[None, ..., None]), (2,)),
    "AddPosition": (add_position, _of(IMAGE[None, ..., None]), (2,)),
    "Tally": (tally, _of(CLASSES > 1, CLASSES > 0), (2,)),
    "using": (using, _of("cpu"), (2,)),
    "set_device": (set_device, _of("cpu"), (2,)),
    "asarray": (asarray, _of(IMAGE), (2,)),
    "asnumpy": (asnumpy, _of(IMAGE), (2,)),
    "explain": (explain, _of("filters.gaussian"), (2,)),
    "save to TIFF": (save_tiff, _of(IMAGE), (2,)),
    "open NumPy": (open_npy, _of(), (2,)),
    "open raw": (open_raw, _of(), (2,)),
    "by_chunks": (by_chunks, _of(IMAGE), (2,)),
    "report.describe": (report.describe, _of(IMAGE, CLASSES), (2,)),
    "plot.outlines": (plot.outlines, _of(IMAGE, CLASSES), (2,)),
    "plot.overlay": (plot.overlay, _of(IMAGE, CLASSES), (2,)),
    "plot.curve_figure": (figure(plot.curve_figure), _of([1, 2, 3], {"a": [1, 2, 3]}), (2,)),
    "plot.grid_figure": (figure(plot.grid_figure), _of({"a": IMAGE}), (2,)),
    "plot.histogram_figure": (figure(plot.histogram_figure), _of([1, 2], [0, 1], {"a": 0.5}), (2,)),
    "plot.show_prediction": (figure(plot.show_prediction), _of(IMAGE, CLASSES > 1, IMAGE), (2,)),
    "plot.plot_roc": (figure(plot.plot_roc), _of(CLASSES > 1, IMAGE), (2,)),
    "plot.plot_confusion_matrix": (figure(plot.plot_confusion_matrix), _of(CLASSES, CLASSES), (2,)),
}
