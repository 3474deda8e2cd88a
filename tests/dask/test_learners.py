"""What was learnt says of chunks what it says of the whole."""

import numpy as np
import pytest

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from gpuseg.estimators import KNeighborsClassifier, RandomForestClassifier  # noqa: E402
from gpuseg.features import AddFilters, AddNeighborhood, AddPolynomial, AddPosition  # noqa: E402
from gpuseg.pixels import PixelClassifier  # noqa: E402

CHAINS = {
    "filters": AddFilters(sigmas=(1, 2), kinds=("gaussian", "sobel", "hessian_eigenvalues")),
    "neighbours": [AddNeighborhood(radius=2), AddPolynomial()],
    "places": [AddPosition(polar=True), AddFilters(sigmas=1, kinds="gaussian")],
}


def forest():
    return RandomForestClassifier(n_estimators=4, max_depth=5, random_state=0)


def chunkings(shape):
    return st.tuples(*(st.integers(-(-n // 4), n) for n in shape))


def learnt(chain, image, rng, **options):
    labels = rng.integers(0, 4, image.shape if image.ndim < 4 else image.shape[:-1])
    return PixelClassifier(CHAINS[chain], forest(), random_state=0, **options).fit(image, labels)


@settings(max_examples=15)
@given(st.data(), st.sampled_from(sorted(CHAINS)), st.sampled_from([None, 5]))
def test_classes_of_pixels(data, chain, tile):
    ndim = data.draw(st.integers(2, 3))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    shape = data.draw(st.tuples(*[st.integers(4, 40 if ndim == 2 else 14)] * ndim))
    image = rng.normal(100, 20, shape).astype(data.draw(st.sampled_from(["uint8", "float64"])))
    model = learnt(chain, image, rng, tile=tile)
    lazy = da.from_array(image, chunks=data.draw(chunkings(shape)))
    for method in (model.predict, model.predict_proba):
        expected, found = method(image), method(lazy)
        assert isinstance(found, da.Array)
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_array_equal(found.compute(scheduler="sync"), expected)


@pytest.mark.parametrize("chunks", [(7, 20, 17), (3, 9, 17), (1, 20, 6)])
def test_stacks_of_pictures(chunks, rng):
    stack = rng.normal(100, 20, (7, 20, 17)).astype(np.float32)
    lazy = da.from_array(stack, chunks=chunks)
    model = learnt("filters", stack[0], rng, tile=8)
    for method in (model.predict, model.predict_proba):
        expected, found = (method(x, stack=True) for x in (stack, lazy))
        assert isinstance(found, da.Array)
        np.testing.assert_array_equal(found.compute(scheduler="sync"), expected)
    for outputs in (1, 3):
        unet, model = network(depth=1, outputs=outputs)
        expected, found = (unet.predict_proba(model, x, stack=True) for x in (stack, lazy))
        assert isinstance(found, da.Array)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found.compute(scheduler="sync"), expected, atol=TOLERANCE)
        labels = unet.predict(model, lazy, stack=True).compute(scheduler="sync")
        assert (labels == unet.predict(model, stack, stack=True)).mean() > 0.999


@pytest.mark.parametrize("axis", [0, -1])
def test_channels_and_other_estimators(axis, rng):
    image = np.moveaxis(rng.random((3, 20, 17)).astype(np.float32), 0, axis)
    labels = rng.integers(0, 3, (20, 17))
    model = PixelClassifier(
        AddNeighborhood(radius=0), KNeighborsClassifier(3), channel_axis=axis
    ).fit(image, labels)
    lazy = da.from_array(image, chunks=6)
    np.testing.assert_array_equal(model.predict(lazy).compute(), model.predict(image))
    learnt_in_chunks = PixelClassifier(
        AddNeighborhood(radius=0), KNeighborsClassifier(3), channel_axis=axis
    ).fit(lazy, da.from_array(labels, chunks=7))
    np.testing.assert_array_equal(learnt_in_chunks.predict(image), model.predict(image))


def test_nothing_is_computed_before_it_is_asked_for(rng):
    image = rng.random((30, 24))
    model = learnt("neighbours", image, rng)
    computed = []
    lazy = da.from_array(image, chunks=8).map_blocks(
        lambda x: computed.append(1) or x, dtype=float, meta=np.zeros((0, 0))
    )
    classes, shares = model.predict(lazy), model.predict_proba(lazy)
    assert not computed
    np.testing.assert_array_equal(classes[:8, :8].compute(), model.predict(image)[:8, :8])
    assert len(computed) <= 4
    np.testing.assert_array_equal(shares.compute(), model.predict_proba(image))


def test_bad_input_is_told_as_for_the_whole(rng):
    image = rng.random((12, 12))
    model = learnt("neighbours", image, rng)
    lazy = da.from_array(image, chunks=5)
    with pytest.raises(TypeError, match="out must be None for Dask arrays"):
        model.predict(lazy, out=np.empty((12, 12), int))
    with pytest.raises(TypeError, match="progress must be None for Dask arrays"):
        model.predict_proba(lazy, progress=print)
    with pytest.raises(ValueError, match="must have 2 axes"):
        model.predict(da.stack([lazy, lazy]))
    with pytest.raises(ValueError, match="image holds NaN or infinity"):
        model.predict(da.where(lazy > 0.9, np.nan, lazy)).compute()


# --- networks ---------------------------------------------------------------------------------

TOLERANCE = 3e-6  # of probabilities: what another order of sums in float32 makes


def network(ndim=2, outputs=1, channels=1, depth=2, **more):
    pytest.importorskip("torch")
    from gpuseg import unet

    model = unet.UNet(channels, outputs, base=4, depth=depth, ndim=ndim, seed=1, **more)
    model.set_normalization([10] * channels, [5] * channels)
    return unet, model.eval()


@settings(max_examples=12)
@given(
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    depth=st.integers(1, 3),
    outputs=st.integers(1, 3),
    blend=st.sampled_from(["crop", "gaussian"]),
    window=st.sampled_from([None, 24, (16, 40)]),
    data=st.data(),
)
def test_networks(shape, depth, outputs, blend, window, data):
    image = np.random.default_rng(0).normal(10, 5, shape)
    unet, model = network(depth=depth, outputs=outputs)
    lazy = da.from_array(image, chunks=data.draw(chunkings(shape)))
    options = {"blend": blend, "window": window}
    expected, found = (unet.predict_proba(model, x, **options) for x in (image, lazy))
    assert isinstance(found, da.Array)
    assert (found.shape, found.dtype) == (expected.shape, np.float32)
    found = found.compute(scheduler="sync")
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
    labels = unet.predict(model, lazy, **options).compute(scheduler="sync")
    assert labels.dtype == np.uint8
    wanted = found > 0.5 if outputs == 1 else found.argmax(axis=-1)
    np.testing.assert_array_equal(labels, wanted)


@pytest.mark.parametrize("axis", [0, -1])
def test_networks_of_volumes_and_channels(axis, rng):
    image = np.moveaxis(rng.normal(10, 5, (2, 22, 31, 18)), 0, axis)
    unet, model = network(3, outputs=2, channels=2, depth=1)
    lazy = da.from_array(image, chunks=(7, 10, 9, 13))
    expected = unet.predict_proba(model, image, channel_axis=axis)
    found = unet.predict_proba(model, lazy, channel_axis=axis).compute()
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


def test_instance_norms_see_the_windows_of_the_whole(rng):
    image = rng.normal(10, 5, (90, 60))
    unet, model = network(norm="instance")
    lazy = da.from_array(image, chunks=(40, 25))
    expected = unet.predict_proba(model, image, window=48)
    found = unet.predict_proba(model, lazy, window=48).compute()
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


def test_networks_write_into_arrays_at_once(rng):
    image = rng.normal(10, 5, (40, 50))
    unet, model = network()
    lazy, out = da.from_array(image, chunks=20), np.empty((40, 50), np.uint8)
    assert unet.predict(model, lazy, out=out) is out
    np.testing.assert_array_equal(out, unet.predict(model, image))
    with pytest.raises(TypeError, match="progress must be None for Dask arrays"):
        unet.predict(model, lazy, progress=print)
    with pytest.raises(ValueError, match="image holds NaN or infinity"):
        unet.predict(model, da.where(lazy > 20, np.nan, lazy)).compute()
