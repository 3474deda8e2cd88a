"""Handwritten digits, 8 x 8: a perfect score on what was learned, and what it is worth."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.pipeline import Pipeline

from gpuseg import metrics, plot
from gpuseg.estimators import KNeighborsClassifier, KNeighborsRegressor, RobustScaler
from gpuseg.features import FlattenImage

pytestmark = pytest.mark.usefixtures("device")

DIGITS = load_digits()
IMAGES, NAMES = DIGITS.images[:50], DIGITS.target[:50]
FRESH, FRESH_NAMES = DIGITS.images[50:500], DIGITS.target[50:500]


def taught(nearest):
    steps = [("flatten", FlattenImage()), ("normalize", RobustScaler()), ("nearest", nearest)]
    return Pipeline(steps).fit(IMAGES, NAMES)


def test_what_was_learned_is_known_by_heart():
    pipe = taught(KNeighborsClassifier(n_neighbors=1))
    found = pipe.predict(IMAGES)
    np.testing.assert_array_equal(found, NAMES)
    counts = [7, 5, 3, 4, 4, 7, 4, 5, 5, 6]  # the course's column of support
    np.testing.assert_array_equal(metrics.confusion_matrix(NAMES, found), np.diag(counts))
    report = metrics.classification_report(NAMES, found, output_dict=True)
    assert report["accuracy"] == 1
    assert [report[str(i)]["support"] for i in range(10)] == counts
    figure = plot.show_pipeline(pipe, IMAGES)
    assert [text.get_text() for ax in figure.axes for text in ax.texts] == [str(n) for n in NAMES]


def test_a_new_9_is_read_as_a_7():
    pipe = taught(KNeighborsClassifier(n_neighbors=1))
    found = pipe.predict(DIGITS.images)
    nine = np.flatnonzero((DIGITS.target == 9) & (found == 7))[0]
    assert nine == 69  # the course's own example, and the first such image
    assert pipe.predict(DIGITS.images[nine : nine + 1]) == [7]
    accuracy = np.mean(found[50:500] == FRESH_NAMES)
    assert accuracy == pytest.approx(0.7, abs=0.1)


@pytest.mark.parametrize(
    ("k", "seen", "unseen"), [(1, (0, 0), (7.7111, 1.4089)), (5, (4.0224, 1.56), (6.4752, 2.0391))]
)
def test_a_digit_as_a_number_on_a_scale(k, seen, unseen):
    """Mean squared and mean absolute error, as scikit-learn's regression has them."""
    pipe = taught(KNeighborsRegressor(n_neighbors=k))
    for images, names, expected in ((IMAGES, NAMES, seen), (FRESH, FRESH_NAMES, unseen)):
        found = pipe.predict(images)
        errors = (
            metrics.mean_squared_error(names.astype(float), found),
            metrics.mean_absolute_error(names.astype(float), found),
        )
        assert errors == pytest.approx(expected, abs=5e-5)
