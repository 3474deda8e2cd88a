"""Segmentations do not depend on the unit of the grey values, to the ends of float64.

A power of two changes no digit, so the answers must be the same.
"""

import numpy as np
import pytest

from gpuseg import filters, segmentation

TILES = np.kron(np.arange(1, 10).reshape(3, 3), np.ones((4, 4), int))
# The smallest number, small ones without room for their squares, and great ones.
EXPONENTS = (-1074, -1000, -700, 300, 1000)


def image():
    """Whole numbers, two regions, some noise."""
    rng = np.random.default_rng(3)
    there = np.indices((12, 12)).sum(0) > 12
    return np.round(np.where(there, 200.0, 40.0) + rng.normal(0, 12, there.shape))


def mask():
    there = np.ones((12, 12), bool)
    there[0] = False
    return there


def times(x, exponent):
    return np.ldexp(np.asarray(x, float), exponent)


def clusters(x, exponent, method=segmentation.kmeans, **options):
    found = method(x, 2, return_result=True, **options)
    return found.labels


SEGMENT = {
    "kmeans": clusters,
    "kmeans with position": lambda x, e: clusters(x, e, spatial_weight=float(times(2.0, e))),
    "kmeans in a mask": lambda x, e: clusters(x, e, mask=mask()),
    "kmeans from given centers": lambda x, e: clusters(x, e, init=times([[40.0], [200.0]], e)),
    "gaussian_mixture": lambda x, e: clusters(x, e, segmentation.gaussian_mixture),
    "markov_random_field": lambda x, e: clusters(x, e, segmentation.markov_random_field),
    "slic": lambda x, e: segmentation.slic(
        x, 9, compactness=0.1, max_num_iter=2, channel_axis=None
    ),
    "merge_superpixels": lambda x, e: segmentation.merge_superpixels(TILES, x, n_segments=3),
    "quadtree": lambda x, e: segmentation.quadtree(x, times(60, e)).labels(),
    "quadtree by std": lambda x, e: segmentation.quadtree(
        x, float(times(30, e)), criterion="std"
    ).labels(),
    "guarded_threshold": lambda x, e: segmentation.guarded_threshold(x, [float(times(120, e))]),
    "apply_thresholds": lambda x, e: filters.apply_thresholds(x, times([60, 120], e)),
    "threshold_by_objects": lambda x, e: filters.threshold_by_objects(
        x, (3, 90), candidates=times([60, 120, 180], e)
    ).curve["objects"],
}


@pytest.mark.parametrize("method", SEGMENT)
def test_labels_do_not_depend_on_the_unit(backend, method):
    values = image()
    wanted = np.asarray(SEGMENT[method](values, 0))
    assert np.unique(wanted).size > 1
    for exponent in EXPONENTS[:1] if backend == "sim" else EXPONENTS:
        found = SEGMENT[method](times(values, exponent), exponent)
        np.testing.assert_array_equal(np.asarray(found), wanted, err_msg=str(exponent))


@pytest.mark.parametrize("low", [-1.7e308, 0.0, 1e300])
def test_objects_are_found_among_the_greatest_numbers(low):
    unit = image() / image().max()
    values = low + unit * (1.7e308 - low) if low >= 0 else (2 * unit - 1) * 1.7e308
    found = filters.threshold_by_objects(values, (3, 140), count=1)
    wanted = filters.threshold_by_objects(unit, (3, 140), count=1)
    assert found.fitting == wanted.fitting
    assert np.isfinite(found.curve["threshold"]).all()


@pytest.mark.parametrize("exponent", [-1074, -700, 400])
def test_what_comes_with_the_labels_has_the_images_unit(exponent):
    x = times(image(), exponent)
    one = segmentation.kmeans(image(), 2, spatial_weight=2.0, return_result=True)
    found = segmentation.kmeans(
        x, 2, spatial_weight=float(times(2.0, exponent)), return_result=True
    )
    np.testing.assert_allclose(found.centers, times(one.centers, exponent), rtol=1e-6)
    one, found = (segmentation.markov_random_field(v, 2, return_result=True) for v in (image(), x))
    np.testing.assert_allclose(found.means, times(one.means, exponent), rtol=1e-6)
    one = segmentation.quadtree(image(), 30, criterion="std")
    found = segmentation.quadtree(x, float(times(30, exponent)), criterion="std")
    np.testing.assert_array_equal(found.min, times(one.min, exponent))
    np.testing.assert_allclose(found.mean, times(one.mean, exponent), rtol=1e-6)
