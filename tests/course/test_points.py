"""Points and numbers: neighbours, lines, trees, forests, scaling. Oracle: scikit-learn itself."""

import numpy as np
import pytest
import sklearn.base
from scipy import ndimage as ndi
from sklearn.datasets import make_blobs
from sklearn.pipeline import Pipeline

from gpuseg.estimators import (
    DecisionTreeClassifier,
    KNeighborsClassifier,
    LinearRegression,
    PolynomialFeatures,
    QuantileTransformer,
    RandomForestClassifier,
    RobustScaler,
)

pytestmark = pytest.mark.usefixtures("device")


def column(*values):
    return np.reshape(values, (-1, 1))


def grid(points, steps):
    """A lattice over the points' bounding box."""
    axes = np.linspace(points.min(axis=0), points.max(axis=0), steps).T
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)


def theirs(estimator):
    """scikit-learn's class of the same name with the same parameters."""
    parent = next(
        c
        for c in type(estimator).__mro__
        if c.__module__.startswith("sklearn.") and c.__name__ == type(estimator).__name__
    )
    return parent(**estimator.get_params())


def test_words_of_the_nearest_number():
    words = ["I", "am", "a", "dog"]
    model = KNeighborsClassifier(n_neighbors=1).fit(column(0, 1, 2, 3), words)
    assert model.predict(column(0, 1, 2, 3)).tolist() == words
    # Halfway between two numbers the one that was learned first counts.
    assert model.predict(column(1.5, 100, -7)).tolist() == ["am", "dog", "I"]


@pytest.mark.parametrize("k", [1, 4])
def test_nearest_neighbours_among_blobs(k):
    points, groups = make_blobs(n_samples=100, cluster_std=2.0, random_state=2018)
    model = KNeighborsClassifier(n_neighbors=k).fit(points, groups)
    oracle = theirs(model).fit(points, groups)
    everywhere = grid(points, 30)
    np.testing.assert_array_equal(model.predict(everywhere), oracle.predict(everywhere))
    np.testing.assert_allclose(model.predict_proba(points), oracle.predict_proba(points))
    accuracy = model.score(points, groups)
    assert accuracy == 1 if k == 1 else 0.85 < accuracy < 1


def test_more_neighbours_leave_fewer_islands():
    points, groups = make_blobs(n_samples=100, cluster_std=2.0, random_state=2018)

    def islands(k):
        model = KNeighborsClassifier(n_neighbors=k).fit(points, groups)
        classes = model.predict(grid(points, 60)).reshape(60, 60)
        return sum(ndi.label(classes == i)[1] for i in range(3))

    assert 3 <= islands(15) < islands(1)


def test_a_line_through_four_points():
    model = LinearRegression().fit(column(0, 1, 2, 3), np.array([10, 20, 30, 40]))
    assert model.coef_ == pytest.approx([10])
    assert model.intercept_ == pytest.approx(10)
    np.testing.assert_allclose(model.predict(column(0, 1, 2, 3)), [10, 20, 30, 40])
    np.testing.assert_allclose(model.predict(column(-100, 500)), [-990, 5010])


def test_a_plane_through_two_blobs():
    points, groups = make_blobs(centers=2, n_samples=100, random_state=2018)
    model = LinearRegression().fit(points, groups)
    # The figures that the course prints.
    np.testing.assert_allclose(model.coef_, [0.04813137, 0.20391973], atol=5e-9)
    assert model.intercept_ == pytest.approx(1.346929708594462, rel=1e-12)
    right = (model.predict(points) > 0.5) == (groups == 1)
    assert right.mean() > 0.95


def test_a_tree_tells_odd_from_even():
    model = DecisionTreeClassifier(random_state=0).fit(column(0, 1, 2, 3), [0, 1, 0, 1])
    assert model.predict(column(0, 1, 2, 3)).tolist() == [0, 1, 0, 1]
    tree = model.tree_
    leaves = tree.children_left < 0
    assert tree.impurity[0] == 0.5  # of two equal halves
    assert not tree.impurity[leaves].any()
    assert sorted(tree.threshold[~leaves]) == [0.5, 1.5, 2.5]
    # It has not learned what odd is.
    assert model.predict(column(4, 5, -2, -1)).tolist() == [1, 1, 0, 0]


def test_a_tree_divides_the_plane_into_rectangles():
    points, groups = make_blobs(n_samples=100, random_state=2018)
    model = DecisionTreeClassifier(random_state=0).fit(points, groups)
    everywhere = grid(points, 20)
    oracle = theirs(model).fit(points, groups)
    np.testing.assert_array_equal(model.predict(everywhere), oracle.predict(everywhere))
    assert model.score(points, groups) == 1


def test_a_forest_of_five_trees():
    points, groups, centres = make_blobs(
        n_samples=1000, cluster_std=3, random_state=2018, return_centers=True
    )
    model = RandomForestClassifier(n_estimators=5, random_state=2018).fit(points, groups)
    assert len(model.estimators_) == 5
    oracle = theirs(model).fit(points, groups)
    everywhere = grid(points, 20)
    np.testing.assert_array_equal(model.predict(everywhere), oracle.predict(everywhere))
    probability = model.predict_proba(everywhere)
    np.testing.assert_allclose(probability, oracle.predict_proba(everywhere), atol=1e-6)
    trees = [tree.predict_proba(everywhere) for tree in model.estimators_]
    np.testing.assert_allclose(probability, np.mean(trees, axis=0), atol=1e-6)
    # Together they are better than one by one, on points that none has seen.
    fresh, truth = make_blobs(n_samples=3000, centers=centres, cluster_std=3, random_state=1)
    alone = [np.mean(tree.predict(fresh) == truth) for tree in model.estimators_]
    assert model.score(fresh, truth) > max(alone)


def blobs():
    return make_blobs(n_samples=100, random_state=2018)[0]


def compare(pipe, points):
    """Run a pipeline of ours and check every step by scikit-learn's."""
    result = pipe.fit_transform(points)
    oracle = Pipeline([(name, theirs(step)) for name, step in pipe.steps])
    np.testing.assert_allclose(result, oracle.fit_transform(points), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(pipe.transform(points), result)
    assert isinstance(sklearn.base.clone(pipe).fit(points), Pipeline)
    return result


def test_robust_scaling_takes_the_median_to_0_and_the_quartiles_1_apart():
    scaled = compare(Pipeline([("normalize", RobustScaler())]), blobs())
    low, middle, high = np.quantile(scaled, [0.25, 0.5, 0.75], axis=0)
    np.testing.assert_allclose(middle, 0, atol=1e-12)
    np.testing.assert_allclose(high - low, 1)


def test_two_quantiles_stretch_the_values_from_0_to_1():
    points = blobs()
    quantile = ("quantile", QuantileTransformer(n_quantiles=2))
    stretched = compare(Pipeline([quantile]), points)
    expected = (points - points.min(axis=0)) / np.ptp(points, axis=0)
    np.testing.assert_allclose(stretched, expected, atol=1e-9)
    # So the scaling that follows gives what it gives without.
    both = compare(Pipeline([quantile, ("normalize", RobustScaler())]), points)
    np.testing.assert_allclose(both, RobustScaler().fit_transform(points), atol=1e-9)


def test_products_of_scaled_columns():
    points = blobs()
    pipe = Pipeline([("normalize", RobustScaler()), ("polynomial", PolynomialFeatures(2))])
    result = compare(pipe, points)
    x, y = RobustScaler().fit_transform(points).T
    expected = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
    np.testing.assert_allclose(result, expected)
