"""Pixels of an image like an electron micrograph: learned on its left half, scored on its right."""

import io

import numpy as np
import pytest
from course.phantom import micrograph
from scipy import ndimage as ndi
from scipy.spatial import cKDTree

from benchmarks.course import AutoContext, best_cut, picture, predict, recipes, table, try_recipe
from gpuseg import metrics, plot
from gpuseg.features import AddNeighborhood

pytestmark = pytest.mark.usefixtures("device")

IMAGE, MASK = micrograph()
HALF = IMAGE.shape[1] // 2


@pytest.fixture(scope="module")
def pipes():
    return recipes(trees=10)


@pytest.fixture(scope="module")
def results(device, pipes):
    return {name: try_recipe(pipe, IMAGE, MASK, HALF) for name, pipe in pipes.items()}


def of_scikit_learn(estimator):
    """The class that ours adds to, to call its methods on the same fitted model."""
    return next(
        c
        for c in type(estimator).__mro__
        if c.__module__.startswith("sklearn.") and c.__name__ == type(estimator).__name__
    )


def test_no_threshold_is_enough(results):
    score = -IMAGE
    found = score > best_cut(MASK[:, :HALF], score[:, :HALF])
    dice = metrics.dice(MASK[:, HALF:], found[:, HALF:])
    assert dice < 0.5
    assert dice + 0.1 < results["filters + forest"].dice
    # Not even the best one of all.
    everything = score > best_cut(MASK, score)
    assert metrics.dice(MASK, everything) < 0.5


@pytest.mark.parametrize("name", list(recipes()))
def test_every_step_is_that_of_scikit_learn(pipes, results, name):
    data = IMAGE[None, ..., None]
    for step in [step for _, step in pipes[name].steps][:-1]:
        ours = step.transform(data)
        if type(step).__module__.startswith("gpuseg.estimators"):
            expected = of_scikit_learn(step).transform(step, data)
            np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)
        data = ours
    last = pipes[name][-1]
    expected = of_scikit_learn(last).predict(last, data).reshape(IMAGE.shape)
    np.testing.assert_allclose(results[name].score, expected, rtol=1e-5, atol=1e-6)


def test_scores_are_those_of_their_definitions(results):
    result = results["filters + forest"]
    truth, found = MASK[:, HALF:], result.score[:, HALF:] > result.cut
    both, either = np.sum(truth & found), np.sum(truth | found)
    assert result.dice == pytest.approx(2 * both / (truth.sum() + found.sum()))
    assert result.jaccard == pytest.approx(both / either)
    assert result.accuracy == pytest.approx(np.mean(truth == found))


def test_a_tree_sees_grey_values_alone(results):
    score = results["tree"].score
    # Every grey value has one answer: its share of object pixels in the half that was learned.
    greys = np.rint(255 * IMAGE).astype(int)
    count = np.bincount(greys[:, :HALF].ravel(), minlength=256)
    inside = np.bincount(greys[:, :HALF][MASK[:, :HALF]], minlength=256)
    known = count[greys] > 0
    share = inside[greys] / np.maximum(count[greys], 1)
    np.testing.assert_allclose(score[known], share[known], atol=1e-6)


def test_position_is_learned_by_heart(results):
    result = results["position + tree"]
    assert result.seen_dice > 0.6
    assert result.dice < result.seen_dice - 0.2


@pytest.mark.parametrize("name", ["position + k-means + forest", "position + polynomial + forest"])
def test_a_forest_does_not_save_the_position(results, name):
    result = results[name]
    assert result.seen_dice > 0.95
    assert result.dice < 0.5
    assert result.auc < results["filters + forest"].auc - 0.1


def test_filters_are_better_than_any_other_recipe(results):
    best = results["filters + forest"]
    others = [result for name, result in results.items() if name != "filters + forest"]
    assert best.auc > max(result.auc for result in others) + 0.05
    assert best.dice > results["tree"].dice + 0.1
    assert best.jaccard > results["tree"].jaccard + 0.1


def test_linear_regression_on_shifts_is_a_correlation(pipes, results):
    linear = pipes["neighbourhood + linear regression"][-1]
    kernel = linear.coef_.reshape(3, 3)
    expected = ndi.correlate(IMAGE, kernel, mode="reflect") + linear.intercept_
    np.testing.assert_allclose(
        results["neighbourhood + linear regression"].score, expected, rtol=1e-5, atol=1e-6
    )
    # No other kernel of this size has a smaller squared error on what was learned.
    shifts = AddNeighborhood().fit_transform(IMAGE[None, :, :HALF, None]).reshape(-1, 9)
    table = np.c_[shifts, np.ones(len(shifts))]
    solution = np.linalg.lstsq(table, MASK[:, :HALF].ravel().astype(float), rcond=None)[0]
    np.testing.assert_allclose([*linear.coef_, linear.intercept_], solution, atol=1e-5)
    figure = plot.show_kernel(linear.coef_, linear.intercept_)
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), kernel)


def test_the_nearest_neighbourhood_decides(pipes, results):
    score = results["neighbourhood + nearest neighbour"].score
    assert set(np.unique(score)) == {0, 1}
    np.testing.assert_array_equal(score[:, : HALF - 1], MASK[:, : HALF - 1])
    scale = pipes["neighbourhood + nearest neighbour"]["normalize"]
    add = AddNeighborhood()
    seen = scale.transform(add.fit_transform(IMAGE[None, :, :HALF, None]).reshape(-1, 9))
    whole = scale.transform(add.fit_transform(IMAGE[None, ..., None]).reshape(-1, 9))
    asked = np.random.default_rng(0).choice(IMAGE.size, 500, replace=False)
    distance, nearest = cKDTree(seen).query(whole[asked], k=2)
    clear = distance[:, 0] < distance[:, 1] * (1 - 1e-6)
    assert clear.mean() > 0.9
    expected = MASK[:, :HALF].ravel()[nearest[clear, 0]]
    np.testing.assert_array_equal(score.ravel()[asked[clear]], expected)


def test_a_taught_pipeline_takes_images_of_other_sizes(pipes):
    pipe = pipes["filters + forest"]
    part = predict(pipe, IMAGE[:, HALF:])
    assert part.shape == (128, 128)
    # Far from the cut, the part has the values of the whole.
    whole = predict(pipe, IMAGE)
    np.testing.assert_allclose(part[:, 60:], whole[:, HALF + 60 :], atol=1e-6)


def test_table_and_picture_of_the_trial(results):
    from rich.console import Console

    shown = io.StringIO()
    Console(width=110, file=shown).print(table(results))
    lines = [
        line for line in shown.getvalue().splitlines() if line.strip().startswith(tuple(results))
    ]
    assert len(lines) == len(results)
    assert lines[4].split()[3:6] == [f"{v:.3f}" for v in results["filters + forest"][2:5]]
    figure = picture(IMAGE, MASK, results, HALF)
    assert len(figure.axes) == 2 + len(results)
    shown = np.asarray(figure.axes[2].images[0].get_array())
    np.testing.assert_array_equal(shown, metrics.hit_map(MASK, results["tree"].mask))


@pytest.mark.parametrize(
    ("truth", "score", "cut"),
    [
        ([0, 0, 1, 1], [1, 2, 3, 4], 2.5),
        ([0, 1, 0, 1], [1, 2, 2, 4], 1.5),  # equal scores fall on one side
        ([1, 1], [5, 5], -np.inf),
        ([1, 0, 0, 0], [0.9, 0.9, 0.1, 0.1], 0.5),
    ],
)
def test_the_cut_has_the_best_dice(truth, score, cut):
    truth, score = np.array(truth, bool), np.array(score, float)
    assert best_cut(truth, score) == cut
    best = metrics.dice(truth, score > cut)
    assert all(metrics.dice(truth, score > other) <= best for other in [-1, *score])


def test_auto_context_beats_every_recipe(results):
    result = try_recipe(AutoContext(trees=8, bands=2), IMAGE, MASK, HALF)
    assert result.dice > max(other.dice for other in results.values()) + 0.05
