"""Figures of pipelines and models show the numbers that scikit-learn and the metrics give."""

import numpy as np
import pytest
import sklearn.metrics
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, make_blobs
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, PolynomialFeatures, RobustScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from gpuseg import plot

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.random((12, 17))


def flatten_pixels(stack):
    return stack.reshape(-1, stack.shape[-1])


def flatten_images(stack):
    return stack.reshape(len(stack), -1)


def add_square(stack):
    return np.concatenate([stack, stack**2], axis=-1)


PIXELS = ("flatten", FunctionTransformer(flatten_pixels))
IMAGES = ("flatten", FunctionTransformer(flatten_images))
SQUARE = ("square", FunctionTransformer(add_square))


def titles(figure):
    return [ax.get_title().splitlines() for ax in figure.axes if ax.get_title()]


def histograms(figure):
    """The axes in every second row of the grid."""
    grid = [(ax, ax.get_subplotspec()) for ax in figure.axes]
    return [ax for ax, place in grid if place is not None and place.rowspan.start % 2]


def drawn(ax):
    return np.asarray(ax.images[0].get_array())


def texts(ax):
    return [text.get_text() for text in ax.texts]


def nothing_overlaps(figure):
    """No panel, with its titles and labels, reaches into another one."""
    figure.canvas.draw()
    boxes = [ax.get_tightbbox().padded(-1) for ax in figure.axes]
    return not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_each_step_of_a_pipeline_on_an_image_is_a_picture():
    truth = IMAGE > 0.6
    pipe = Pipeline(
        [SQUARE, PIXELS, ("scale", RobustScaler()), ("tree", DecisionTreeRegressor(max_depth=2))]
    )
    pipe.fit(IMAGE[None, ..., None], truth.ravel())
    figure = plot.show_pipeline(pipe, IMAGE, columns=3)
    assert titles(figure) == [
        ["input", "1 x 12 x 17 x 1"],
        ["square:", "FunctionTransformer(func=add_square)", "1 x 12 x 17 x 2"],
        ["flatten:", "FunctionTransformer(func=flatten_pixels)", "204 x 2"],
        ["scale: RobustScaler()", "204 x 2"],
        ["tree: DecisionTreeRegressor(max_depth=2)", "204"],
    ]
    panels = [ax for ax in figure.axes if ax.get_title()]
    # A monotone scaling does not change what is drawn, and a table is the image it came from.
    for ax in panels[2:4]:
        np.testing.assert_allclose(drawn(ax).astype(int), drawn(panels[1]), atol=1)
    wide = drawn(panels[1])
    assert wide.shape in {(12, 2 * 17 + 1), (2 * 12 + 1, 17)}
    one = drawn(panels[0])
    np.testing.assert_array_equal(wide[:12, :17], one)
    low, high = np.quantile(IMAGE, [0.005, 0.995])
    expected = np.rint(255 * (np.clip(IMAGE, low, high) - low) / (high - low))
    np.testing.assert_array_equal(one, expected)
    np.testing.assert_array_equal(
        drawn(panels[4]), pipe.predict(IMAGE[None, ..., None]).reshape(IMAGE.shape)
    )
    assert nothing_overlaps(figure)


def test_histograms_count_the_values_of_each_channel():
    pipe = Pipeline([SQUARE, PIXELS, ("clusters", KMeans(3, n_init=1, random_state=0))])
    pipe.fit(IMAGE[None, ..., None])
    figure = plot.show_pipeline(pipe, IMAGE)
    given, square, _, clusters = histograms(figure)
    assert sum(given.patches[0].get_data().values) == IMAGE.size
    steps = [patch.get_data() for patch in square.patches]
    assert len(steps) == 2
    np.testing.assert_array_equal(steps[1].values, np.histogram(IMAGE**2, steps[1].edges)[0])
    # Clusters are classes: a bar for each.
    counts = np.bincount(pipe.predict(IMAGE[None, ..., None]))
    np.testing.assert_array_equal([bar.get_height() for bar in clusters.patches], counts)
    assert [tick.get_text() for tick in clusters.get_xticklabels()] == ["0", "1", "2"]


def test_a_pipeline_without_histograms():
    figure = plot.show_pipeline(
        Pipeline([SQUARE, ("same", "passthrough")]), IMAGE, histograms=False
    )
    assert len(figure.axes) == 3
    assert titles(figure)[2][0] == "same: nothing is done"
    np.testing.assert_array_equal(drawn(figure.axes[1]), drawn(figure.axes[2]))


@pytest.mark.parametrize("channel_axis", [0, -1])
def test_an_rgb_image_is_in_colour_and_its_features_side_by_side(channel_axis):
    rgb = RANDOM.integers(0, 256, (9, 9, 3), np.uint8)
    before = rgb.copy()
    pipe = Pipeline([PIXELS, ("scale", RobustScaler())]).fit(rgb[None])
    given = np.moveaxis(rgb, -1, channel_axis)
    figure = plot.show_pipeline(pipe, given, channel_axis=channel_axis, histograms=False)
    assert drawn(figure.axes[0]).shape == (9, 9, 3)
    # Three tiles of 9 x 9 on a 2 x 2 grid, a pixel between them.
    assert drawn(figure.axes[1]).shape == (19, 19)
    np.testing.assert_array_equal(rgb, before)


def test_digits_are_a_mosaic_with_their_predictions_below():
    digits = load_digits()
    images, names = digits.images[:12], np.array(list("abcdefghij"))[digits.target[:12]]
    pipe = Pipeline(
        [IMAGES, ("scale", RobustScaler()), ("nearest", KNeighborsClassifier(n_neighbors=1))]
    ).fit(images, names)
    figure = plot.show_pipeline(pipe, images, histograms=False)
    assert [lines[-1] for lines in titles(figure)] == ["12 x 8 x 8", "12 x 64", "12 x 64", "12"]
    grey = as_grey(images)
    np.testing.assert_array_equal(drawn(figure.axes[1]), flatten_images(grey))
    mosaic = drawn(figure.axes[0])
    assert mosaic.shape == (4 * 9 - 1, 3 * 9 - 1)
    np.testing.assert_array_equal(mosaic[9:17, 18:26], grey[5])
    assert texts(figure.axes[3]) == list(names)
    assert nothing_overlaps(figure)


def as_grey(images):
    low, high = np.quantile(images, [0.005, 0.995])
    return np.rint(255 * (np.clip(images, low, high) - low) / (high - low))


def test_points_of_a_table_are_coloured_by_what_is_predicted():
    points, groups = make_blobs(40, random_state=2018)
    names = np.array(["spruce", "birch", "mixed"])[groups]
    pipe = Pipeline([("scale", RobustScaler()), ("nearest", KNeighborsClassifier(1))])
    figure = plot.show_pipeline(pipe.fit(points, names), points)
    first, last = figure.axes[0], [ax for ax in figure.axes if ax.get_title()][-1]
    np.testing.assert_array_equal(first.collections[0].get_offsets(), points)
    np.testing.assert_array_equal(last.collections[0].get_offsets(), points)
    np.testing.assert_array_equal(
        last.collections[0].get_array(), np.unique(names, return_inverse=True)[1]
    )
    bars = histograms(figure)[-1]
    assert [tick.get_text() for tick in bars.get_xticklabels()] == sorted(set(names))
    assert [bar.get_height() for bar in bars.patches] == [13, 13, 14]
    pipe = Pipeline([("scale", RobustScaler()), ("polynomial", PolynomialFeatures(2))])
    figure = plot.show_pipeline(pipe.fit(points), points, histograms=False)
    assert drawn(figure.axes[2]).shape == (40, 6)


def test_volumes_show_their_middle_slice():
    volumes = RANDOM.random((2, 5, 8, 9, 1))
    pipe = Pipeline([("square", FunctionTransformer(np.square)), PIXELS])
    figure = plot.show_pipeline(pipe, volumes, histograms=False)
    assert [lines[-1] for lines in titles(figure)][1:] == ["2 x 5 x 8 x 9 x 1", "720 x 1"]
    shown = drawn(figure.axes[2])
    np.testing.assert_array_equal(shown, drawn(figure.axes[1]))
    order = np.argsort(volumes[0, 2].ravel())
    assert np.all(np.diff(shown[:8, :9].ravel()[order].astype(int)) >= 0)


def test_features_of_ours_are_named():
    features = pytest.importorskip("gpuseg.features")
    pipe = Pipeline([("position", features.AddPosition()), ("flatten", features.FlattenPixels())])
    pipe.fit(IMAGE[None, ..., None])
    assert titles(plot.show_pipeline(pipe, IMAGE))[1] == [
        "position: AddPosition()",
        "1 x 12 x 17 x 3",
    ]


def test_a_tree_asks_by_name():
    tree = DecisionTreeClassifier().fit([[0], [1], [2], [3]], ["even", "odd", "even", "odd"])
    figure = plot.plot_tree(tree, ["number"])
    boxes = [text for text in texts(figure.axes[0]) if "samples" in text]
    assert len(boxes) == tree.tree_.node_count
    assert boxes[0].startswith(f"number <= {tree.tree_.threshold[0]:.3g}")
    assert any(box.endswith("class = odd") for box in boxes)
    named = plot.plot_tree(tree, class_names=["a", "b"])
    assert all(
        box.splitlines()[-1] in {"class = a", "class = b"}
        for box in texts(named.axes[0])
        if "class" in box
    )


def test_a_deep_tree_is_cut():
    x = RANDOM.random((200, 3))
    tree = DecisionTreeRegressor(random_state=0).fit(x, RANDOM.random(200))
    shallow, whole = plot.plot_tree(tree, max_depth=1), plot.plot_tree(tree, max_depth=None)
    boxes = [text for text in texts(shallow.axes[0]) if "samples" in text]
    assert len(boxes) == 3
    assert texts(shallow.axes[0]).count("\n  (...)  \n") == 4
    assert sum("samples" in text for text in texts(whole.axes[0])) == tree.tree_.node_count
    assert whole.get_figwidth() > 10 * shallow.get_figwidth()


def test_roc_curves_are_those_of_scikit_learn():
    truth = RANDOM.random((20, 30)) > 0.7
    scores = {"weak": RANDOM.random(truth.shape), "good": truth + RANDOM.random(truth.shape)}
    figure = plot.plot_roc(truth, scores)
    ax = figure.axes[0]
    area = {
        name: sklearn.metrics.roc_auc_score(truth.ravel(), s.ravel()) for name, s in scores.items()
    }
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == [f"{name}  AUC {area[name]:.3f}" for name in ("good", "weak")]
    fpr, tpr, _ = sklearn.metrics.roc_curve(truth.ravel(), scores["good"].ravel())
    np.testing.assert_allclose(ax.lines[1].get_xdata(), fpr)
    np.testing.assert_allclose(ax.lines[1].get_ydata(), tpr)
    single = plot.plot_roc(truth, scores["good"]).axes[0].get_legend().get_texts()
    assert [text.get_text() for text in single] == [f"AUC {area['good']:.3f}"]


@pytest.mark.parametrize("normalize", [None, "true", "pred", "all"])
def test_confusion_matrix_is_that_of_scikit_learn(normalize):
    true, pred = RANDOM.integers(0, 4, (2, 300)) * 3
    figure = plot.plot_confusion_matrix(true, pred, normalize=normalize)
    expected = sklearn.metrics.confusion_matrix(true, pred, normalize=normalize)
    ax = figure.axes[0]
    np.testing.assert_allclose(drawn(ax), expected)
    form = "{:.2f}" if normalize else "{:d}"
    assert texts(ax) == [form.format(value) for value in expected.ravel()]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["0", "3", "6", "9"]
    assert nothing_overlaps(figure)


def test_confusion_matrix_of_named_classes_in_an_order():
    figure = plot.plot_confusion_matrix(
        [0, 1, 1, 2], [0, 1, 0, 2], labels=[1, 0], class_names=["object", "background"]
    )
    assert texts(figure.axes[0]) == ["1", "1", "0", "1"]
    names = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert names == ["object", "background"]


def test_numbers_can_be_read_on_their_cells():
    ax = plot.plot_confusion_matrix([0] * 9 + [1], [0] * 9 + [1]).axes[0]
    assert [text.get_color() for text in ax.texts] == ["white", "black", "black", "black"]


@pytest.mark.parametrize("shape", [(12, 17), (40, 17), (8, 40)])
def test_prediction_beside_truth(shape):
    truth = np.zeros(shape, bool)
    truth[2:6, 3:9] = True
    score = truth * 0.4 + 0.3 * RANDOM.random(shape)
    figure = plot.show_prediction(RANDOM.random(shape), truth, score, threshold=0.45)
    mask = score > 0.45
    hits = (truth & mask).sum()
    dice = 2 * hits / (truth.sum() + mask.sum())
    iou = hits / (truth | mask).sum()
    auc = sklearn.metrics.roc_auc_score(truth.ravel(), score.ravel())
    assert titles(figure)[2][1] == "above 0.45"
    assert [title[0] for title in titles(figure)] == [
        "image",
        "truth",
        f"prediction  AUC {auc:.3f}",
        f"hits  Dice {dice:.3f}, IoU {iou:.3f}",
    ]
    np.testing.assert_array_equal(drawn(figure.axes[2]), score)
    red, green, blue = np.moveaxis(drawn(figure.axes[3]).astype(int), -1, 0)
    np.testing.assert_array_equal((red == green) & (green == blue), truth == mask)
    np.testing.assert_array_equal(green == 0, ~truth & ~mask)
    np.testing.assert_array_equal(red > blue, mask & ~truth)
    assert nothing_overlaps(figure)


def test_a_predicted_mask_is_black_and_white():
    rgb = RANDOM.integers(0, 256, (*IMAGE.shape, 3), np.uint8)
    figure = plot.show_prediction(rgb, IMAGE > 0.5, IMAGE > 0.7)
    assert len(figure.axes) == 4
    assert titles(figure)[2] == ["prediction"]
    np.testing.assert_array_equal(drawn(figure.axes[2]) == 255, IMAGE > 0.7)


def test_prediction_where_nothing_is_true():
    figure = plot.show_prediction(IMAGE, np.zeros(IMAGE.shape), IMAGE)
    assert titles(figure)[2][0] == "prediction"
    assert titles(figure)[3] == ["hits  Dice 1.000, IoU 1.000"]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.uint8, np.int16])
def test_a_score_is_cut_where_the_dice_is_greatest(dtype):
    truth = RANDOM.random(IMAGE.shape) < 0.3
    score = (
        (truth + RANDOM.normal(size=IMAGE.shape) + 6) / (0.1 if dtype(0.5) == 0 else 100)
    ).astype(dtype)
    best = max(
        sklearn.metrics.f1_score(truth.ravel(), (score >= t).ravel()) for t in set(score.flat)
    )
    figure = plot.show_prediction(IMAGE, truth, score)
    assert titles(figure)[3][0].startswith(f"hits  Dice {best:.3f},")
    assert titles(figure)[2][1].endswith(" (the greatest Dice)")
    assert len(figure.axes[4].lines) == 1  # in the colour bar
    assert nothing_overlaps(figure)


@pytest.mark.parametrize("truth", [0, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_a_score_of_one_value_has_a_cut(truth, dtype):
    whole = np.full(IMAGE.shape, truth)
    figure = plot.show_prediction(
        IMAGE, whole, np.arange(IMAGE.size, dtype=dtype).reshape(IMAGE.shape)
    )
    assert titles(figure)[3] == ["hits  Dice 1.000, IoU 1.000"]


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
@pytest.mark.parametrize("values", [[0, 1, 2], [1, 2], [0, 5, 9, 300]])
def test_classes_are_scored_each(values, dtype):
    if max(values) > 255 and dtype is np.uint8:
        dtype = np.uint16
    truth = RANDOM.choice(values, IMAGE.shape).astype(dtype)
    found = np.where(RANDOM.random(IMAGE.shape) < 0.7, truth, RANDOM.permutation(truth)).astype(
        dtype
    )
    figure = plot.show_prediction(IMAGE, truth, found)
    dice = [sklearn.metrics.f1_score((truth == v).ravel(), (found == v).ravel()) for v in values]
    told = [text.get_text() for text in figure.axes[3].get_legend().get_texts()]
    assert told == [f"{v}  Dice {d:.3f}" for v, d in zip(values, dice)]
    assert titles(figure)[3] == [
        f"hits  {(truth == found).mean():.3f} of all",
        f"mean Dice {np.mean(dice):.3f}",
    ]
    hits = drawn(figure.axes[3])
    np.testing.assert_array_equal(hits[..., 0] == hits[..., 2], truth == found)
    colors = drawn(figure.axes[1])
    assert len(np.unique(colors.reshape(-1, 3), axis=0)) == len(values)
    np.testing.assert_array_equal((colors == drawn(figure.axes[2])).all(-1), truth == found)
    assert nothing_overlaps(figure)


def test_a_mask_beside_classes_says_what_it_is_scored_as():
    classes = RANDOM.integers(0, 4, IMAGE.shape)
    assert titles(plot.show_prediction(IMAGE, classes, classes > 0))[1] == ["truth (what is not 0)"]
    many = np.arange(IMAGE.size).reshape(IMAGE.shape)
    legend = plot.show_prediction(IMAGE, many, many).axes[3].get_legend().get_texts()
    assert len(legend) == 21
    assert legend[-1].get_text() == f"and {IMAGE.size - 20} more"


def test_kernel_of_a_regression_on_shifts():
    weights = RANDOM.normal(size=9)
    shifts = RANDOM.normal(size=(50, 9))
    model = LinearRegression().fit(shifts, shifts @ weights + 3)
    figure = plot.show_kernel(model.coef_, model.intercept_)
    np.testing.assert_allclose(drawn(figure.axes[0]), weights.reshape(3, 3), atol=1e-9)
    assert texts(figure.axes[0])[4] == f"{weights[4]:.2g}"
    assert figure.get_suptitle() == "intercept 3"
    low, high = figure.axes[0].images[0].get_clim()
    assert low == -high == pytest.approx(-np.abs(weights).max())
    assert nothing_overlaps(figure)


def test_kernel_in_3d_has_a_panel_a_slice_of_each_channel():
    coef = np.arange(54.0)
    figure = plot.show_kernel(coef, ndim=3, channel_names=["raw", "blurred"])
    assert [ax.get_title() for ax in figure.axes[:6]] == [
        *(f"raw  slice {i}" for i in ("-1", "+0", "+1")),
        *(f"blurred  slice {i}" for i in ("-1", "+0", "+1")),
    ]
    kernel = coef.reshape(3, 3, 3, 2)
    np.testing.assert_array_equal(drawn(figure.axes[4]), kernel[1, ..., 1])
    assert nothing_overlaps(figure)
    again = plot.show_kernel(kernel[..., 0], columns=2)
    np.testing.assert_array_equal(drawn(again.axes[2]), kernel[2, ..., 0])
    assert again.axes[0].get_title() == "slice -1"


def test_a_kernel_of_zeros_and_one_that_is_not_square():
    assert texts(plot.show_kernel(np.zeros((3, 5))).axes[0]) == ["0"] * 15


def test_pyplot_is_not_touched():
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    plot.plot_roc([0, 1], [0, 1])
    plot.plot_tree(DecisionTreeClassifier().fit([[0], [1]], [0, 1]))
    plot.show_prediction(IMAGE, IMAGE > 0.5, IMAGE)
    assert pyplot.get_fignums() == before


FITTED = DecisionTreeClassifier().fit([[0], [1]], [0, 1])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: plot.show_pipeline(RobustScaler(), IMAGE), TypeError, "Pipeline, got RobustSc"),
        (lambda: plot.show_pipeline(Pipeline([SQUARE]), [1, 2]), ValueError, "image must have"),
        (lambda: plot.show_pipeline(Pipeline([SQUARE]), ["a"]), TypeError, "real numbers"),
        (
            lambda: plot.show_pipeline(Pipeline([SQUARE]), IMAGE, channel_axis=-1),
            ValueError,
            "image must have",
        ),
        (
            lambda: plot.show_pipeline(Pipeline([SQUARE]), IMAGE[None], channel_axis=3),
            ValueError,
            "channel_axis",
        ),
        (
            lambda: plot.show_pipeline(Pipeline([SQUARE]), IMAGE, columns=0),
            ValueError,
            "columns must be at least 1",
        ),
        (
            lambda: plot.show_pipeline(Pipeline([PIXELS, ("scale", RobustScaler())]), IMAGE),
            ValueError,
            "RobustScaler instance is not fitted",
        ),
        (lambda: plot.plot_tree(RobustScaler()), TypeError, "tree must be a DecisionTreeC"),
        (lambda: plot.plot_tree(DecisionTreeClassifier()), ValueError, "not fitted"),
        (lambda: plot.plot_tree(FITTED, ["a", "b"]), ValueError, "feature_names must be 1 names"),
        (lambda: plot.plot_tree(FITTED, None, ["a"]), ValueError, "class_names must be 2 names"),
        (lambda: plot.plot_tree(FITTED, max_depth=-1), ValueError, "max_depth must be at least 0"),
        (lambda: plot.plot_roc([0, 1], {}), ValueError, "y_score is empty"),
        (lambda: plot.plot_roc([0, 1], [1, 2, 3]), ValueError, "shape"),
        (lambda: plot.plot_roc([0, 1], {"a": [0, np.nan]}), ValueError, "NaN"),
        (lambda: plot.plot_roc([1, 1], [0, 1]), ValueError, "class"),
        (lambda: plot.plot_confusion_matrix([0, 1], [0]), ValueError, "shape"),
        (lambda: plot.plot_confusion_matrix([0.5, 1], [0, 1]), TypeError, "integer"),
        (
            lambda: plot.plot_confusion_matrix([0, 1], [0, 1], class_names=["a"]),
            ValueError,
            "class_names must be 2 names, got 1",
        ),
        (lambda: plot.show_prediction(IMAGE, IMAGE, IMAGE[1:]), ValueError, "truth and prediction"),
        (lambda: plot.show_prediction(IMAGE[1:], IMAGE, IMAGE), ValueError, "shape of image"),
        (
            lambda: plot.show_prediction(np.ones((4, 4, 2)), np.eye(4), np.eye(4)),
            ValueError,
            "image must have shape",
        ),
        (lambda: plot.show_kernel(np.ones(8)), ValueError, "coef of 8 values is no 2-D kernel"),
        (lambda: plot.show_kernel(np.ones(9), ndim=4), ValueError, "ndim must be one of 2, 3"),
        (lambda: plot.show_kernel(np.ones(18), channel_names=["a", "a"]), ValueError, "different"),
        (lambda: plot.show_kernel(np.ones((1, 1, 1, 1))), ValueError, "coef must have"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
