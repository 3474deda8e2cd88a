"""Classes between thresholds against NumPy's digitize, and counts against masks one by one."""

import common
import numpy as np
import pytest

from gpuseg.filters import apply_thresholds
from gpuseg.filters.comparison import count_above

IMAGES = {
    "f32 256^3": (256, 256, 256),
    "f32 4096^2": (4096, 4096),
}


@pytest.mark.parametrize("who", ["gpuseg", "numpy.digitize"])
@pytest.mark.parametrize("count", [1, 3, 14])
@pytest.mark.parametrize("name", IMAGES)
def test_apply_thresholds(benchmark, name, count, who):
    image = common.noise(IMAGES[name])
    thresholds = np.linspace(-2, 2, count).astype(image.dtype)
    calls = {
        "gpuseg": lambda: apply_thresholds(image, thresholds),
        "numpy.digitize": lambda: np.digitize(image, thresholds, right=True),
    }
    classes = common.measure(
        benchmark,
        who,
        calls[who],
        case=f"apply_thresholds, {count} thresholds, {name}",
        voxels=image.size,
    )
    if who == "gpuseg":
        np.testing.assert_array_equal(classes, calls["numpy.digitize"]())


@pytest.mark.parametrize("who", ["gpuseg", "numpy.count_nonzero"])
@pytest.mark.parametrize("name", IMAGES)
def test_counts_above_14_thresholds(benchmark, name, who):
    image = common.noise(IMAGES[name])
    thresholds = np.linspace(-2, 2, 14).astype(image.dtype)
    calls = {
        "gpuseg": lambda: count_above(image, thresholds)[0].tolist(),
        "numpy.count_nonzero": lambda: [int(np.count_nonzero(image > t)) for t in thresholds],
    }
    counts = common.measure(
        benchmark, who, calls[who], case=f"counts above 14 thresholds, {name}", voxels=image.size
    )
    if who == "gpuseg":
        assert counts == calls["numpy.count_nonzero"]()
