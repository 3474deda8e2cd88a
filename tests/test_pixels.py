"""Pixel classification: tiles, labels, model files, and what is refused."""

import json
import re
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

import gpuseg
from gpuseg import _models
from gpuseg.estimators import (
    DecisionTreeClassifier,
    KNeighborsClassifier,
    Pipeline,
    RandomForestClassifier,
    RobustScaler,
)
from gpuseg.features import AddFilters, AddNeighborhood, AddPolynomial, AddPosition
from gpuseg.metrics import dice
from gpuseg.pixels import PixelClassifier


def forest(**options):
    return RandomForestClassifier(
        **{"n_estimators": 8, "max_depth": 6, "random_state": 0} | options
    )


def textures(rng, shape):
    """An image whose right half is rougher than its left half, and the mask of the former."""
    mask = np.zeros(shape, bool)
    mask[..., shape[-1] // 2 :] = True
    image = rng.normal(size=shape).astype(np.float32)
    image[mask] *= 3
    return image, mask


def scribbled(mask, rng, share=0.05):
    return np.where(rng.random(mask.shape) < share, mask + 1, 0).astype(np.uint8)


CHAINS = {
    "filters": [AddFilters(sigmas=(1, 2))],
    "all": [AddFilters(sigmas=(1,), kinds=("gaussian",)), AddNeighborhood(1), AddPosition()],
    "polynomial": [AddPosition(polar=True), AddPolynomial(2)],
}


# --- learning ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(64, 80), (16, 20, 32)])
def test_it_learns_a_texture(rng, shape):
    image, mask = textures(rng, shape)
    model = PixelClassifier(AddFilters(sigmas=(2, 4)), forest()).fit(image, scribbled(mask, rng))
    other, truth = textures(rng, shape)
    assert dice(truth, model.predict(other) == 2) > 0.9
    assert model.classes_.tolist() == [1, 2]
    importances = model.feature_importances()
    assert sum(importances.values()) == pytest.approx(1)
    assert list(importances.values()) == sorted(importances.values(), reverse=True)
    assert set(importances) == set(model.feature_names_)


def test_rows_are_the_labelled_pixels_in_order(rng):
    image, mask = textures(rng, (20, 30))
    labels = scribbled(mask, rng, 0.2)
    chain = CHAINS["all"]
    whole = image[..., None]
    for step in chain:
        whole = step._compute(whole, origin=(0, 0), shape=(20, 30))
    at = labels != 0
    expected = forest().fit(np.asarray(whole)[at], labels[at])
    for tile in (None, 7):
        model = PixelClassifier(chain, forest(), tile=tile).fit(image, labels)
        np.testing.assert_array_equal(
            model.predict(image).ravel(), expected.predict(np.asarray(whole).reshape(600, -1))
        )


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("shape", [(41, 53), (13, 17, 19)])
def test_tiles_equal_the_whole_exactly(rng, chain, shape):
    image, mask = textures(rng, shape)
    labels = scribbled(mask, rng)
    whole = PixelClassifier(CHAINS[chain], forest(), tile=100).fit(image, labels)
    classes, likely = whole.predict(image), whole.predict_proba(image)
    for tile in (1000, 16, 9):
        tiled = PixelClassifier(CHAINS[chain], forest(), tile=tile).fit(image, labels)
        np.testing.assert_array_equal(tiled.predict(image), classes)
        np.testing.assert_array_equal(tiled.predict_proba(image), likely)


@settings(max_examples=15)
@given(st.data())
def test_any_array_and_any_tile(data):
    ndim = data.draw(st.sampled_from([2, 3]))
    shape = tuple(data.draw(st.lists(st.integers(4, 12), min_size=ndim, max_size=ndim)))
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    dtype = data.draw(st.sampled_from(["u1", ">u2", "i4", "f2", "<f4", ">f8"]))
    image = rng.integers(0, 100, shape).astype(dtype)
    labels = rng.integers(0, 3, shape).astype(data.draw(st.sampled_from(["u1", "i8"])))
    if len(np.unique(labels[labels > 0])) < 2:
        return
    chain = [AddFilters(sigmas=(1,), kinds=("gaussian", "sobel")), AddPosition()]
    layout = data.draw(st.sampled_from(["C", "F", "reversed", "read-only"]))
    given_image = {
        "C": image,
        "F": np.asfortranarray(image),
        "reversed": image[::-1].copy()[::-1],
        "read-only": image.copy(),
    }[layout]
    given_image.setflags(write=False)
    before = given_image.copy()
    tile = data.draw(st.integers(1, 12))
    model = PixelClassifier(chain, forest(n_estimators=2), tile=tile).fit(given_image, labels)
    found = model.predict(given_image)
    assert found.dtype == labels.dtype
    assert found.shape == shape
    np.testing.assert_array_equal(given_image, before)
    native = image.astype(image.dtype.newbyteorder("="))
    again = PixelClassifier(chain, forest(n_estimators=2)).fit(native, labels)
    np.testing.assert_array_equal(found, again.predict(native))


def test_channels(rng):
    image, mask = textures(rng, (40, 60))
    color = np.stack([image, rng.normal(size=image.shape), image + 1], axis=0)
    labels = scribbled(mask, rng)
    first = PixelClassifier(CHAINS["filters"], forest(), channel_axis=0).fit(color, labels)
    last = PixelClassifier(CHAINS["filters"], forest(), channel_axis=-1)
    last.fit(np.moveaxis(color, 0, -1), labels)
    classes = first.predict(color)
    np.testing.assert_array_equal(classes, last.predict(np.moveaxis(color, 0, -1)))
    assert classes.shape == mask.shape
    assert dice(mask, classes == 2) > 0.8
    assert first.feature_names_[:3] == ["channel 0", "channel 1", "channel 2"]


def test_several_images(rng):
    pairs = [textures(rng, shape) for shape in ((30, 40), (20, 50))]
    images, masks = zip(*pairs)
    labels = [scribbled(mask, rng) for mask in masks]
    together = PixelClassifier(AddFilters(sigmas=(2,)), forest()).fit(list(images), labels)
    assert dice(masks[0], together.predict(images[0]) == 2) > 0.8
    # One of them may have a single class, or none.
    labels[1][labels[1] == 2] = 0
    PixelClassifier(AddFilters(sigmas=(2,)), forest()).fit(images, labels)
    labels[1][:] = 0
    alone = PixelClassifier(AddFilters(sigmas=(2,)), forest()).fit(images, labels)
    single = PixelClassifier(AddFilters(sigmas=(2,)), forest()).fit(images[0], labels[0])
    np.testing.assert_array_equal(alone.predict(images[1]), single.predict(images[1]))


def test_what_is_unlabelled(rng):
    image, mask = textures(rng, (30, 40))
    classifier = PixelClassifier(AddFilters(sigmas=(2,)), forest())
    dense = classifier.fit(image, mask).predict(image)
    assert dense.dtype == bool
    same = classifier.fit(image, mask.astype(int), unlabelled=None).predict(image)
    np.testing.assert_array_equal(dense, same)
    np.testing.assert_array_equal(
        dense, classifier.fit(image, mask.astype(np.int16) - 5, unlabelled=9).predict(image) == -4
    )
    half = mask.astype(int)
    half[10:] = -1
    kept = classifier.fit(image, half, unlabelled=-1)
    assert kept.classes_.tolist() == [0, 1]


def test_at_most_so_many_of_each_class(rng):
    class Seen(DecisionTreeClassifier):
        def fit(self, x, y):
            Seen.counts = np.unique(y, return_counts=True)[1].tolist()
            return super().fit(x, y)

    image, mask = textures(rng, (30, 40))
    mask[:] = False
    mask[3, :20] = True
    PixelClassifier(AddPosition(), Seen(), max_per_class=50, random_state=1).fit(image, mask)
    assert Seen.counts == [50, 20]
    PixelClassifier(AddPosition(), Seen()).fit(image, mask)
    assert Seen.counts == [1180, 20]
    models = [
        PixelClassifier(AddPosition(), forest(), max_per_class=50, random_state=1, tile=tile)
        for tile in (None, 11)
    ]
    first, second = (model.fit(image, mask).predict(image) for model in models)
    np.testing.assert_array_equal(first, second)


def test_scikit_learns_classifiers_serve_too(rng, tmp_path):
    image, mask = textures(rng, (40, 60))
    labels = scribbled(mask, rng)
    pipe = Pipeline([("scale", RobustScaler()), ("model", LogisticRegression())])
    model = PixelClassifier(AddFilters(sigmas=(2,)), pipe).fit(image, labels)
    assert dice(mask, model.predict(image) == 2) > 0.8
    with pytest.raises(TypeError, match="LogisticRegression cannot be saved: it is not of gpuseg"):
        model.save(tmp_path / "m.gpuseg")
    assert not any(tmp_path.iterdir())
    with pytest.raises(TypeError, match="LogisticRegression has no feature importances"):
        model.feature_importances()


# --- prediction -------------------------------------------------------------------------------


def test_results_go_where_they_are_wanted(rng, tmp_path):
    image, mask = textures(rng, (30, 40))
    model = PixelClassifier(AddFilters(sigmas=(1,)), forest(), tile=13)
    model.fit(image, scribbled(mask, rng))
    classes, likely = model.predict(image), model.predict_proba(image)
    assert likely.shape == (30, 40, 2)
    assert likely.dtype == np.float32
    np.testing.assert_allclose(likely.sum(axis=-1), 1, rtol=1e-6)
    np.testing.assert_array_equal(model.classes_[likely.argmax(axis=-1)], classes)
    out = np.memmap(tmp_path / "classes", np.uint16, "w+", shape=image.shape)
    both = np.zeros((30, 40, 2), np.float64)
    told = []
    given_back = model.predict(
        image, out=out, probabilities=both, progress=lambda *done: told.append(done)
    )
    assert given_back is out
    np.testing.assert_array_equal(out, classes)
    np.testing.assert_array_equal(both, likely)
    assert told == [(i, 12) for i in range(1, 13)]
    with pytest.raises(ValueError, match=r"out must be an array of shape \(30, 40\), got \(3,\)"):
        model.predict(image, out=np.zeros(3, np.uint8))
    with pytest.raises(TypeError, match="out must take float32, got int64"):
        model.predict_proba(image, out=np.zeros((30, 40, 2), int))
    with pytest.raises(TypeError, match="out must take uint8, got bool"):
        model.predict(image, out=np.zeros((30, 40), bool))


@pytest.mark.parametrize("channel_axis", [None, -1, 0])
def test_a_stack_is_predicted_image_by_image(rng, tmp_path, channel_axis):
    image, mask = textures(rng, (20, 30))
    stack = np.stack([np.roll(image, n, axis=0) for n in range(5)])
    if channel_axis is not None:
        image, stack = (np.stack([x, x**2], axis=channel_axis) for x in (image, stack))
        stack = stack if channel_axis == -1 else np.moveaxis(stack, 0, 1)
    model = PixelClassifier(
        AddFilters(sigmas=(1,)), forest(), channel_axis=channel_axis, tile=13
    ).fit(image, scribbled(mask, rng, 0.2))
    expected = np.stack([model.predict(x) for x in stack])
    likely = np.stack([model.predict_proba(x) for x in stack])
    told = []
    np.testing.assert_array_equal(
        model.predict(stack, stack=True, progress=lambda *done: told.append(done)), expected
    )
    assert told == [(i, 30) for i in range(1, 31)]
    np.testing.assert_array_equal(model.predict_proba(stack, stack=True), likely)
    out = np.lib.format.open_memmap(tmp_path / "o.npy", "w+", np.uint8, expected.shape)
    both = np.lib.format.open_memmap(tmp_path / "p.npy", "w+", np.float32, likely.shape)
    assert model.predict(stack, stack=True, out=out, probabilities=both) is out
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(both, likely)
    text = r"image must have 2 axes beside its channels, .* got 3; pass stack=True"
    with pytest.raises(ValueError, match=text):
        model.predict(stack)
    with pytest.raises(ValueError, match="image must have"):
        model.predict(image, stack=True)
    with pytest.raises(TypeError, match="stack must be a bool, got 1"):
        model.predict(stack, stack=1)


def test_a_stack_of_volumes_is_none(rng):
    image, mask = textures(rng, (6, 8, 10))
    model = PixelClassifier(AddPosition(), forest()).fit(image, mask)
    with pytest.raises(ValueError, match="stack must be False"):
        model.predict(image, stack=True)


def test_features_of_a_stack_are_those_of_one_image(rng):
    image, mask = textures(rng, (64, 64))
    model = PixelClassifier(AddFilters(sigmas=(1, 2)), forest()).fit(image, scribbled(mask, rng))
    stack = np.repeat(image[None], 40, axis=0)
    model.predict(stack[:1], stack=True)  # what is compiled does not count
    peaks = []
    for part in (stack[:4], stack):
        tracemalloc.start()
        model.predict(part, stack=True, out=np.empty(part.shape, np.uint8))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 2 * stack.nbytes


def test_features_of_a_volume_are_never_all_in_memory(rng):
    shape = (64, 64, 64)
    image, mask = textures(rng, shape)
    labels = np.zeros(shape, np.uint8)
    labels[10, 10, ::4] = mask[10, 10, ::4] + 1
    model = PixelClassifier(AddFilters(sigmas=(1, 2)), forest(), tile=16).fit(image, labels)
    model.predict(image[:20, :20, :20])  # what is compiled does not count
    everything = 4 * image.size * len(model.feature_names_)
    tracemalloc.start()
    model.predict(image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < everything / 4


def test_a_model_says_the_same_on_every_backend(backend, rng):
    image, mask = textures(rng, (8, 9))
    labels = np.where(rng.random(mask.shape) < 0.6, mask + 1, 0)
    chain = [AddNeighborhood(1), AddPosition()]
    model = PixelClassifier(chain, forest(n_estimators=3), tile=6)
    with gpuseg.using("cpu"):
        classes, likely = model.fit(image, labels).predict(image), model.predict_proba(image)
    with gpuseg.trace() as calls:
        np.testing.assert_array_equal(model.predict(image), classes)
    np.testing.assert_array_equal(model.predict_proba(image), likely)
    ran = {call.backend for call in calls if call.function == "forest_predict"}
    assert {name.partition(":")[0] for name in ran} == {backend}
    # Smoothed values are close, so few pixels can change sides.
    with gpuseg.using("cpu"):
        model = PixelClassifier(AddFilters(sigmas=(1,)), forest(n_estimators=3)).fit(image, labels)
        classes = model.predict(image)
    assert (model.predict(image) == classes).mean() > 0.95


# --- files ------------------------------------------------------------------------------------


ESTIMATORS = {
    "forest": forest(class_weight={1: 2.0, 2: 1.0}),
    "deep": RandomForestClassifier(3, random_state=0),
    "tree": DecisionTreeClassifier(max_depth=4, random_state=0),
    "neighbors": KNeighborsClassifier(3),
    "pipeline": Pipeline([("scale", RobustScaler()), ("forest", forest())]),
}


@pytest.fixture
def trained(rng):
    image, mask = textures(rng, (30, 40))
    labels = scribbled(mask, rng)
    chain = [AddFilters(sigmas=(1, 2.5), kinds=("gaussian", "sobel")), AddPosition(polar=True)]
    return PixelClassifier(chain, forest()).fit(image, labels), image, labels


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_saved_model_predicts_the_same_bits(rng, tmp_path, name):
    image, mask = textures(rng, (30, 40))
    labels = scribbled(mask, rng)
    chain = [AddFilters(sigmas=(1, 2.5), kinds=("gaussian", "sobel")), AddPosition(polar=True)]
    model = PixelClassifier(chain, ESTIMATORS[name]).fit(image, labels)
    path = tmp_path / "model.gpuseg"
    model.save(path)
    loaded = PixelClassifier.load(path)
    np.testing.assert_array_equal(loaded.predict(image), model.predict(image))
    np.testing.assert_array_equal(loaded.predict_proba(image), model.predict_proba(image))
    assert loaded.predict(image).dtype == labels.dtype
    assert loaded.feature_names_ == model.feature_names_
    if name != "neighbors":
        assert loaded.feature_importances() == model.feature_importances()
    # Saved again it is the same file, and it learns as the first one did.
    loaded.save(tmp_path / "again.gpuseg")
    assert (tmp_path / "again.gpuseg").read_bytes() == path.read_bytes()
    np.testing.assert_array_equal(loaded.fit(image, labels).predict(image), model.predict(image))


@pytest.mark.parametrize("dtype", [bool, np.int64])
def test_classes_keep_their_type_in_a_file(rng, tmp_path, dtype):
    image, mask = textures(rng, (20, 20))
    labels = mask if dtype is bool else np.where(mask, -7, 2**40)
    model = PixelClassifier(AddPosition(), forest()).fit(image, labels)
    model.save(tmp_path / "m.gpuseg")
    found = PixelClassifier.load(tmp_path / "m.gpuseg").predict(image)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, labels)


def test_a_file_is_never_replaced_by_chance(trained, tmp_path):
    model, _, _ = trained
    path = tmp_path / "m.gpuseg"
    path.write_bytes(b"precious")
    with pytest.raises(ValueError, match="exists"):
        model.save(path)
    assert path.read_bytes() == b"precious"
    model.save(path, force=True)
    PixelClassifier.load(path)
    with pytest.raises(ValueError, match="does not exist"):
        model.save(tmp_path / "none" / "m.gpuseg")
    assert [p.name for p in tmp_path.iterdir()] == ["m.gpuseg"]


def test_every_changed_byte_is_seen(trained, tmp_path):
    model, _, _ = trained
    path = tmp_path / "m.gpuseg"
    model.save(path)
    content = path.read_bytes()
    head = content.index(b"\n") + 1
    places = [*range(head), *range(head, len(content), max(1, len(content) // 200))]
    for at in places:
        damaged = bytearray(content)
        damaged[at] ^= 0x11
        path.write_bytes(damaged)
        with pytest.raises(_models.ModelError, match=r"m\.gpuseg"):
            PixelClassifier.load(path)
    for length in (0, 1, head - 1, head, head + 1, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(_models.ModelError):
            PixelClassifier.load(path)


def test_foreign_files_are_refused(trained, tmp_path):
    model, image, _ = trained
    path = tmp_path / "m.gpuseg"
    np.save(tmp_path / "image.npy", image)
    with pytest.raises(_models.ModelError, match="is no model of a gpuseg pixel classifier"):
        PixelClassifier.load(tmp_path / "image.npy")
    model.save(path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"classifier 1 ", b"classifier 2 ", 1))
    with pytest.raises(_models.ModelError, match="is of form 2, and this version reads form 1"):
        PixelClassifier.load(path)
    with pytest.raises(FileNotFoundError):
        PixelClassifier.load(tmp_path / "none.gpuseg")


def forged(path, change, arrays=None):
    """A file with another header and the right checksum."""
    import hashlib
    import io

    header, own = _models.contents(path)
    change(header)
    payload = io.BytesIO()
    own = own | (arrays or {})
    np.savez(payload, header=np.frombuffer(json.dumps(header).encode(), np.uint8), **own)
    digest = hashlib.sha256(payload.getvalue()).hexdigest()
    path.write_bytes(f"gpuseg pixel classifier 1 sha256 {digest}\n".encode() + payload.getvalue())


def test_a_forged_file_runs_nothing(trained, tmp_path):
    model, _, _ = trained
    path = tmp_path / "m.gpuseg"

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    forgeries = [
        (lambda h: h["estimator"].update({"class": "os.system"}), None),
        (lambda h: h["features"][0].update({"class": "FlattenImage"}), None),
        (lambda h: h["features"][0]["parameters"].update({"sigmas": "x"}), None),
        (lambda h: h["estimator"].pop("parameters"), None),
        (lambda h: h["estimator"]["arrays"].append("nothing"), None),
        (lambda h: None, {"estimator.classes_": np.array([Evil()], dtype=object)}),
    ]
    for change, arrays in forgeries:
        model.save(path, force=True)
        forged(path, change, arrays)
        with pytest.raises(_models.ModelError, match=r"m\.gpuseg"):
            PixelClassifier.load(path)
    assert not (tmp_path / "ran").exists()


def test_a_file_tells_its_first_line_and_holds_no_pickle(trained, tmp_path):
    model, _, _ = trained
    model.save(tmp_path / "m.gpuseg")
    first, rest = (tmp_path / "m.gpuseg").read_bytes().split(b"\n", 1)
    assert re.fullmatch(rb"gpuseg pixel classifier 1 sha256 [0-9a-f]{64}", first)
    (tmp_path / "m.npz").write_bytes(rest)
    with np.load(tmp_path / "m.npz", allow_pickle=False) as arrays:
        header = json.loads(arrays["header"].tobytes())
        assert all(arrays[name].dtype != object for name in arrays)
    assert header["features"][0]["class"] == "AddFilters"
    assert header["versions"]["gpuseg"] == gpuseg.__version__


# --- refusals ---------------------------------------------------------------------------------


def test_bad_labels(rng):
    image, mask = textures(rng, (20, 30))
    classifier = PixelClassifier(AddPosition(), forest())
    for labels, text in [
        (np.zeros((20, 31), int), r"labels must have the shape of the image, \(20, 30\), got \(20"),
        (np.zeros((20, 30), int), "labels hold no labelled pixel: all are 0"),
        (mask.astype(int), "labels hold a single class, 1, beside 0, which means unlabelled"),
        (np.ones((20, 30), bool), "labels hold a single class, True, where two are needed"),
    ]:
        with pytest.raises(ValueError, match=text):
            classifier.fit(image, labels)
    with pytest.raises(TypeError, match="labels must hold integers or bool, got float64"):
        classifier.fit(image, mask.astype(float))
    with pytest.raises(ValueError, match="labels must be a list of 2, one for each image"):
        classifier.fit([image, image], mask)
    with pytest.raises(ValueError, match="as many axes as the first"):
        classifier.fit([image, image[None]], [mask, mask[None]])


def test_bad_images(rng, trained):
    image, mask = textures(rng, (20, 30))
    model, _, _ = trained
    holed = image.copy()
    holed[3, 3] = np.nan
    for call in (lambda x: PixelClassifier().fit(x, mask), model.predict, model.predict_proba):
        with pytest.raises(ValueError, match="image holds NaN or infinity"):
            call(holed)
    with pytest.raises(ValueError, match=r"image must have 2 axes .* pass stack=True for a stack"):
        model.predict(np.zeros((5, 6, 7)))
    with pytest.raises(ValueError, match="axes, got shape"):
        model.predict(np.zeros(5))
    color = PixelClassifier(AddPosition(), forest(), channel_axis=-1)
    color.fit(np.stack([image, image], -1), mask)
    with pytest.raises(ValueError, match=r"image must have 2 channel\(s\), as those .* got 3"):
        color.predict(np.stack([image] * 3, -1))


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"features": []}, ValueError, "features must hold a transformer"),
        ({"features": RobustScaler()}, TypeError, "must be of gpuseg.features .* got RobustScaler"),
        ({"features": AddFilters}, TypeError, "got AddFilters"),
        ({"estimator": RobustScaler()}, TypeError, "estimator must be a classifier, got Robust"),
        ({"max_per_class": 0}, ValueError, "max_per_class must be at least 1"),
        ({"tile": 0}, ValueError, "tile must be at least 1"),
    ],
)
def test_bad_parameters(rng, options, error, text):
    image, mask = textures(rng, (20, 30))
    with pytest.raises(error, match=text):
        PixelClassifier(**options).fit(image, mask)


def test_a_model_must_be_fitted(tmp_path):
    for call in (
        lambda m: m.predict(np.zeros((5, 5))),
        lambda m: m.feature_importances(),
        lambda m: m.save(tmp_path / "m"),
    ):
        with pytest.raises(ValueError, match="not fitted"):
            call(PixelClassifier())
