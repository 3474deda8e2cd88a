"""Training, for real: small networks learn in seconds."""

from dataclasses import fields

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from scipy import ndimage  # noqa: E402

from gpuseg import metrics, unet  # noqa: E402
from gpuseg.unet._augment import Augmentation, moved, relit  # noqa: E402
from gpuseg.unet._data import Draw, examples, normalization  # noqa: E402
from gpuseg.unet._losses import Sums, loss_of, targets  # noqa: E402


def blobs(shape, seed=0, share=0.3, noise=0.5):
    """An image of blurred noise, its brightest part as the mask, and noise over it."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), 3)
    mask = smooth > np.quantile(smooth, 1 - share)
    return (100 + 20 * mask + 20 * noise * rng.normal(size=shape)).astype(np.float32), mask


def weights(model):
    return {key: x.numpy().copy() for key, x in model.state_dict().items()}


def small(**more):
    return unet.UNet(base=4, depth=1, seed=0, **more)


QUICK = {"epochs": 4, "patch_size": 32, "steps_per_epoch": 2, "batch_size": 2, "augment": True}


# --- it learns ------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["mse", "bce", "dice", "dice_bce"])
def test_every_loss_teaches(loss):
    image, mask = blobs((96, 96))
    other, truth = blobs((96, 96), seed=1)
    model, history = unet.train(
        small(norm="batch"), image, mask, epochs=15, patch_size=48, loss=loss, learning_rate=0.02,
        steps_per_epoch=4, batch_size=4, validation=(other, truth),
    )  # fmt: skip
    found = unet.predict(model, other)
    assert metrics.dice(truth, found > 0) > 0.85
    assert list(history.columns) == [
        "epoch", "loss", "accuracy", "mae", "dice", "val_loss", "val_accuracy", "val_mae",
        "val_dice", "learning_rate", "seconds",
    ]  # fmt: skip
    assert history["epoch"].tolist() == [*range(1, 16)]
    last = history.iloc[-1]
    likely = unet.predict_proba(model, other)
    assert last["val_dice"] == pytest.approx(metrics.dice(truth, found > 0), abs=1e-4)
    assert last["val_accuracy"] == pytest.approx((truth == found).mean(), abs=1e-4)
    assert last["val_mae"] == pytest.approx(np.abs(likely - truth).mean(), abs=1e-4)
    assert (history["seconds"] > 0).all()


def test_a_volume_is_learnt_to_a_dice_of_95():
    """Noisy tubes and balls: the brightest part of blurred noise in 3-D."""
    image, mask = blobs((48, 48, 48))
    other, truth = blobs((48, 48, 48), seed=1)
    model, _ = unet.train(
        unet.UNet(base=8, depth=1, ndim=3, norm="batch", seed=0), image, mask, epochs=12,
        patch_size=24, steps_per_epoch=6, batch_size=4, learning_rate=0.01, schedule="cosine",
    )  # fmt: skip
    assert metrics.dice(truth, unet.predict(model, other) > 0) >= 0.95


def test_a_class_of_one_per_cent_is_learnt():
    image, mask = blobs((192, 192), share=0.01)
    scores = {}
    for balanced in ("auto", False):
        model, _ = unet.train(
            small(norm="batch"), image, mask, epochs=15, patch_size=32, steps_per_epoch=10,
            batch_size=8, learning_rate=0.02, schedule="cosine", loss="bce", balanced=balanced,
        )  # fmt: skip
        scores[balanced] = metrics.dice(mask, unet.predict(model, image) > 0)
    assert scores["auto"] > 0.8 > scores[False]
    draw = Draw(examples(image, mask, model, None), model, patch=[32, 32], batch=200,
                augment=None, balanced="auto", seed=0)  # fmt: skip
    share = draw(0, 0)[1].float().mean()
    assert 0.02 < share < 0.3  # of the patches, where 0.01 are of the image


def test_several_classes_and_channels():
    first, one = blobs((96, 96))
    second, two = blobs((96, 96), seed=5)
    image, classes = np.stack([first, second]), np.where(two, 2, np.where(one, 1, 0))
    model, history = unet.train(
        unet.UNet(2, 3, base=8, depth=1, seed=0), image, classes, epochs=15, patch_size=48,
        steps_per_epoch=5, batch_size=4, learning_rate=0.01, channel_axis=0,
    )  # fmt: skip
    found = unet.predict(model, image, channel_axis=0)
    assert (found == classes).mean() > 0.9
    assert history["dice"].iloc[-1] > 0.8


def test_the_courses_recipe_says_that_all_is_background():
    """As it does there: few objects, whole images, twenty epochs of plain descent."""
    image, mask = blobs((64, 64), share=0.1)
    _, history = unet.train(unet.UNet(seed=0), image, mask, **unet.RECIPES["course"])
    assert len(history) == 20
    assert history["accuracy"].iloc[-1] == pytest.approx(0.9, abs=0.05)
    assert history["dice"].iloc[-1] < 0.5


# --- it goes on -----------------------------------------------------------------------------------


class Stopped(Exception):
    pass


@pytest.mark.parametrize(
    "more",
    [
        {"optimizer": "adamw", "schedule": "cosine"},
        {"optimizer": "sgd", "learning_rate": 0.1, "early_stopping": 2},
        {"average": 0.8},
        {"average": 0.8, "early_stopping": 2},
    ],
)
@pytest.mark.parametrize("norm", [None, "batch"])
def test_interrupted_training_ends_in_the_same_weights(more, norm, tmp_path):
    image, mask = blobs((64, 64))
    other = blobs((64, 64), seed=1)
    options = QUICK | more | {"validation": other}
    straight, table = unet.train(small(norm=norm), image, mask, **options)
    path = tmp_path / "checkpoint.safetensors"

    def stop(row):
        if row["epoch"] in (1, 3):
            raise Stopped

    for _ in range(2):  # after the first epoch, and after the third
        with pytest.raises(Stopped):
            unet.train(small(norm=norm), image, mask, callback=stop, checkpoint=path, **options)
    again, history = unet.train(small(norm=norm), image, mask, checkpoint=path, **options)
    for key, value in weights(straight).items():
        np.testing.assert_array_equal(weights(again)[key], value, err_msg=key)
    columns = [c for c in table.columns if c != "seconds"]
    assert history[columns].equals(table[columns])


def test_more_epochs_go_on_from_the_end(tmp_path):
    image, mask = blobs((64, 64))
    path = tmp_path / "c.safetensors"
    straight, _ = unet.train(small(), image, mask, **QUICK)
    unet.train(small(), image, mask, checkpoint=path, **QUICK | {"epochs": 2})
    again, history = unet.train(small(), image, mask, checkpoint=path, **QUICK)
    assert len(history) == 4
    np.testing.assert_array_equal(
        again.head.weight.detach().numpy(), straight.head.weight.detach().numpy()
    )


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    image, mask = blobs((64, 64))
    path = tmp_path / "c.safetensors"
    unet.train(small(), image, mask, checkpoint=path, **QUICK)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"another training \(learning_rate differ\)"):
        unet.train(small(), image, mask, checkpoint=path, learning_rate=0.5, **QUICK)
    with pytest.raises(ValueError, match=r"another training \(images"):
        unet.train(small(), 1 + image, ~mask, checkpoint=path, **QUICK)
    assert path.read_bytes() == before
    unet.save(path, small(), force=True)
    with pytest.raises(ValueError, match="is no checkpoint"):
        unet.train(small(), image, mask, checkpoint=path, **QUICK)


def test_early_stopping_takes_the_best_weights():
    image, mask = blobs((48, 48), noise=3)
    other = blobs((48, 48), seed=1, noise=3)
    seen = []
    model, history = unet.train(
        small(), image, mask, epochs=200, learning_rate=0.05, validation=other, early_stopping=5,
        callback=seen.append,
    )  # fmt: skip
    best = history["val_loss"].idxmin()
    assert len(history) == best + 6 < 200
    assert [row["epoch"] for row in seen] == history["epoch"].tolist()
    likely = torch.from_numpy(unet.predict_proba(model, other[0]))
    error = (likely - torch.from_numpy(other[1]).float()).abs().mean()
    assert float(error) == pytest.approx(history["val_mae"][best], abs=1e-4)


def test_a_loss_that_is_nan_keeps_the_last_good_weights(tmp_path, monkeypatch):
    import sys

    image, mask = blobs((64, 64))
    path, model = tmp_path / "c.safetensors", small()
    kept, real = {}, loss_of

    def keep(row):
        kept.update(weights(model))
        if row["epoch"] == 2:
            monkeypatch.setattr(
                sys.modules["gpuseg.unet.train"],
                "loss_of",
                lambda *given: real(*given) * float("nan"),
            )

    with pytest.raises(FloatingPointError, match=r"the loss became nan in step 1 of epoch 3"):
        unet.train(model, image, mask, callback=keep, checkpoint=path, **QUICK)
    for key, value in weights(model).items():
        np.testing.assert_array_equal(value, kept[key])
    monkeypatch.undo()
    straight, _ = unet.train(small(), image, mask, **QUICK)
    again, _ = unet.train(small(), image, mask, checkpoint=path, **QUICK)
    np.testing.assert_array_equal(
        again.head.weight.detach().numpy(), straight.head.weight.detach().numpy()
    )


def test_descent_that_is_too_fast_is_told_before_it_is_kept(tmp_path):
    """One step an epoch: its loss is finite, and the weights after it are of no use."""
    image, mask = blobs((64, 64))
    model, path = small(), tmp_path / "c.safetensors"
    with pytest.raises(FloatingPointError, match="try a learning_rate below"):
        unet.train(
            model, image, mask, epochs=50, learning_rate=1e30, optimizer="sgd", checkpoint=path
        )
    assert not path.exists()
    for key, value in weights(small()).items():
        if key not in ("mean", "std"):
            np.testing.assert_array_equal(weights(model)[key], value)


@pytest.mark.parametrize("share", [0.3, 0.999])
def test_an_average_is_of_the_weights_after_each_step(share):
    image, mask = blobs((64, 64))
    options = QUICK | {"epochs": 6, "steps_per_epoch": 1}
    steps = []
    follow = small(norm="batch")
    unet.train(follow, image, mask, callback=lambda row: steps.append(weights(follow)), **options)
    expected = weights(small(norm="batch"))
    for i, after in enumerate(steps):
        stays = min(share, (1 + i) / (10 + i))
        for key, value in after.items():
            if value.dtype.kind == "f" and key not in {"mean", "std"}:
                expected[key] = stays * expected[key] + (1 - stays) * value
            else:
                expected[key] = value
    model, history = unet.train(
        small(norm="batch"), image, mask, validation=(image, mask), average=share, **options
    )
    for key, value in weights(model).items():
        np.testing.assert_allclose(value, expected[key], atol=1e-6, err_msg=key)
    found = unet.predict(model, image)
    assert history["val_accuracy"].iloc[-1] == pytest.approx((mask == found).mean(), abs=1e-4)


def test_weights_decay():
    image, mask = blobs((64, 64))
    sizes = []
    for decay in (0, 5):
        model, _ = unet.train(small(), image, mask, weight_decay=decay, **QUICK)
        sizes.append(sum(float(w.detach().square().sum()) for w in model.parameters()))
    # Eight steps at a rate of 0.002, each of which leaves 99 %.
    assert sizes[1] == pytest.approx(0.99**16 * sizes[0], rel=0.03)


def test_light_and_shadow_are_smooth_and_as_strong_as_asked(rng):
    still = {field.name: 0 for field in fields(Augmentation)}
    shade = Augmentation(**still | {"flip": False, "rotate": False, "spacing": 16, "shade": 0.5})
    for shape in ((1, 64, 48), (2, 32, 32, 32)):
        made = torch.stack([relit(torch.zeros(shape), shade, rng) for _ in range(50)])
        assert 0.25 < float(made.std()) < 0.5  # between the points of the lattice it is less
        assert float(made[..., 1:].sub(made[..., :-1]).abs().max()) < 0.3
        assert torch.equal(made[:, 0], made[:, -1])  # all channels are lit alike


def test_a_callback_can_stop():
    image, mask = blobs((48, 48))
    _, history = unet.train(small(), image, mask, epochs=9, callback=lambda row: row["epoch"] == 2)
    assert len(history) == 2


# --- what it is shown -----------------------------------------------------------------------------


def test_files_larger_than_memory_are_read_by_patches(tmp_path):
    zarr = pytest.importorskip("zarr")
    image, mask = blobs((96, 64, 64))
    stored = []
    for name, x in (("image", image), ("mask", mask)):
        array = zarr.create_array(tmp_path / f"{name}.zarr", shape=x.shape, chunks=(16, 64, 64),
                                  dtype=x.dtype)  # fmt: skip
        array[...] = x
        stored.append(array)
    reads = []

    class Watched:
        def __init__(self, array):
            self.array = array
            self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

        def __getitem__(self, cut):
            found = self.array[cut]
            reads.append(found.size)
            return found

    options = {"epochs": 1, "patch_size": 24, "steps_per_epoch": 2, "batch_size": 2}

    def net():
        return unet.UNet(base=2, depth=1, ndim=3, seed=0)

    near, _ = unet.train(net(), image, mask, **options)
    mapped = [np.load(_saved(tmp_path, x), mmap_mode="r") for x in (image, mask)]
    far, _ = unet.train(net(), *mapped, **options)
    farther, _ = unet.train(net(), *map(Watched, stored), **options)
    for other in (far, farther):
        np.testing.assert_array_equal(
            other.head.weight.detach().numpy(), near.head.weight.detach().numpy()
        )
    assert sorted(reads)[-1] == image.size  # the one pass, here of one piece
    assert sorted(set(reads))[-2] <= 24**3


def _saved(folder, x):
    path = folder / f"{x.dtype}.npy"
    np.save(path, x)
    return path


def test_a_stack_is_as_many_images(rng):
    images, masks = zip(*(blobs((48, 48), seed=i) for i in range(3)))
    options = {"epochs": 1, "batch_size": 2}
    listed, _ = unet.train(small(), list(images), list(masks), **options)
    stacked, _ = unet.train(small(), np.stack(images), np.stack(masks), **options)
    np.testing.assert_array_equal(
        listed.head.weight.detach().numpy(), stacked.head.weight.detach().numpy()
    )


def test_the_normalisation_is_the_images(rng):
    images = [rng.normal(50, 7, (40, 50)), rng.normal(90, 3, (70, 45))]
    model = small()
    pairs = examples(images, [x > 60 for x in images], model, None)
    mean, std = normalization(pairs, 1)
    flat = np.concatenate([x.astype(np.float32).ravel() for x in images])
    np.testing.assert_allclose([mean[0], std[0]], [flat.mean(), flat.std()], rtol=1e-5)
    unet.train(model, images, [x > 60 for x in images], epochs=1, patch_size=32)
    assert model.mean.item() == pytest.approx(mean[0])
    unet.train(model, images[0], images[0] > 60, epochs=1)
    assert model.mean.item() == pytest.approx(mean[0])  # what it has, it keeps


@pytest.mark.parametrize("ndim", [2, 3])
def test_augmented_masks_stay_with_their_images(ndim, rng):
    """Where the image is the mask, it is so after turning, scaling and bending."""
    shape = (64, 64, 48)[:ndim]
    mask = ndimage.gaussian_filter(rng.normal(size=shape), 4) > 0
    image = torch.from_numpy(mask.astype(np.float32))[None]
    seen = []
    for seed in range(6):
        new, labels = moved(image, torch.from_numpy(mask.astype(np.int64)), (32,) * ndim,
                            Augmentation(), np.random.default_rng(seed))  # fmt: skip
        assert new.shape == (1, *[32] * ndim)
        assert ((new[0] > 0.5) == (labels > 0)).float().mean() > 0.97
        seen.append(labels)
    assert len({x.numpy().tobytes() for x in seen}) == 6


def test_each_pixel_is_shown_as_often_as_any_other():
    at = np.arange(30.0 * 40).reshape(30, 40)
    model = small()
    flips = {field.name: 0 for field in fields(Augmentation)}
    flips |= {"flip": True, "rotate": False, "spacing": 1}
    draw = Draw(examples(at, at > 600, model, None), model, patch=[16, 24], batch=8000,
                augment=flips, balanced=False, seed=0)  # fmt: skip
    images, truth = draw(0, 0)
    assert torch.equal(images[:, 0].round() > 600, truth > 0)
    shown = np.bincount(images.numpy().round().astype(int).ravel(), minlength=at.size)
    assert shown.sum() == 8000 * 16 * 24
    assert shown.min() > 0.85 * shown.mean()
    assert shown.max() < 1.15 * shown.mean()


def test_without_changes_a_patch_is_what_lies_there(rng):
    still = Augmentation(flip=False, rotate=False, scale=0, elastic=0, contrast=0, brightness=0,
                         shade=0, gamma=0, blur=0, noise=0)  # fmt: skip
    assert still.margin((8, 8)) == (0, 0)
    image = torch.from_numpy(rng.normal(size=(1, 40, 40)).astype(np.float32))
    truth = (image[0] > 0).long()
    new, labels = moved(image, truth, (40, 40), still, rng)
    torch.testing.assert_close(new, image, atol=1e-5, rtol=0)
    assert torch.equal(labels, truth)
    assert torch.equal(relit(image, still, rng), image)


def test_losses_are_their_definitions(rng):
    for outputs in (1, 3):
        logits = torch.from_numpy(rng.normal(size=(2, outputs, 5, 4)))
        truth = torch.from_numpy(rng.integers(0, max(2, outputs), (2, 5, 4)))
        wanted = targets(truth, max(2, outputs), outputs)
        sums = Sums(outputs)
        for i in range(2):
            sums.add(logits[i : i + 1], wanted[i : i + 1])
        z, y = logits.numpy(), wanted.numpy()
        if outputs == 1:
            p = 1 / (1 + np.exp(-z))
            bce = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
            parts = [(p, y)]
        else:
            p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
            bce = -np.log((p * y).sum(axis=1)).mean()
            parts = [(p[:, i], y[:, i]) for i in (1, 2)]
        dice = np.mean([1 - (2 * (a * b).sum() + 1) / (a.sum() + b.sum() + 1) for a, b in parts])
        expected = {"bce": bce, "dice": dice, "dice_bce": bce + dice, "mse": ((p - y) ** 2).mean()}
        for name, value in expected.items():
            assert float(loss_of(name, logits, wanted)) == pytest.approx(value, rel=1e-5)
            assert sums.scores(name)["loss"] == pytest.approx(value, rel=1e-5)


def test_bf16_trains_and_progress_is_told():
    image, mask = blobs((64, 64))
    told = []
    model, history = unet.train(
        small(), image, mask, precision="bf16", progress=lambda *x: told.append(x), **QUICK
    )
    assert told == [(i, 8) for i in range(1, 9)]
    assert model.head.weight.dtype == torch.float32
    assert np.isfinite(history["loss"]).all()


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"masks": np.arange(64 * 64).reshape(64, 64)}, ValueError, "no mask of 2 classes"),
        ({"masks": np.full((64, 64), 3) * np.eye(64, dtype=int) + 1}, ValueError, "no mask of 2"),
        ({"masks": np.zeros((64, 64))}, TypeError, "must hold bool or integers"),
        ({"masks": np.zeros((64, 60), bool)}, ValueError, "shape of its image"),
        ({"masks": []}, ValueError, "masks is empty"),
        ({"masks": [np.zeros((64, 64), bool)] * 2}, ValueError, "must be as many, got 1 and 2"),
        ({"images": np.full((64, 64), np.inf)}, ValueError, "NaN or infinity"),
        ({"images": np.zeros((9, 64)), "masks": np.zeros((9, 64), bool)}, ValueError,
         "at least 19 pixels along each axis"),
        ({"images": np.zeros(64)}, ValueError, "images must have 2 axes"),
        ({"images": "x.tif"}, TypeError, "must be an array or a list"),
        ({"epochs": 0}, ValueError, "epochs"),
        ({"loss": "hinge"}, ValueError, "loss must be one of"),
        ({"optimizer": "adam"}, ValueError, "optimizer must be one of"),
        ({"learning_rate": 0}, ValueError, "learning_rate"),
        ({"average": 0}, ValueError, "average must be greater than 0"),
        ({"average": 1.0}, ValueError, "average must be less than 1"),
        ({"schedule": "steps"}, ValueError, "schedule must be one of"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"patch_size": (8, 8, 8)}, ValueError, "patch_size must be a number or 2"),
        ({"augment": {"shear": 1}}, ValueError, "shear"),
        ({"augment": {"noise": -1}}, ValueError, "augment: noise"),
        ({"augment": {"shade": -1}}, ValueError, "augment: shade"),
        ({"weight_decay": -1}, ValueError, "weight_decay must be at least 0"),
        ({"augment": 3}, TypeError, "augment must be"),
        ({"early_stopping": 3}, ValueError, "early_stopping needs validation"),
        ({"validation": np.zeros((64, 64))}, TypeError, "validation must be a pair"),
        ({"precision": "fp8"}, ValueError, "precision must be one of"),
        ({"compile": "yes"}, TypeError, "compile must be True or False"),
        ({"model": None}, TypeError, "model must be a UNet"),
        ({"checkpoint": "none/c.safetensors"}, ValueError, "does not exist"),
    ],
)  # fmt: skip
def test_bad_arguments(change, error, text):
    image, mask = blobs((64, 64))
    given = {"model": small(), "images": image, "masks": mask, "epochs": 1} | change
    with pytest.raises(error, match=text):
        unet.train(given.pop("model"), given.pop("images"), given.pop("masks"), **given)


def test_nan_is_told_apart_from_descent_that_is_too_fast():
    image, mask = blobs((64, 64))
    known, _ = unet.train(small(), image, mask, **QUICK)
    with pytest.raises(ValueError, match="images hold NaN"):
        unet.train(known, np.full_like(image, np.nan), mask, **QUICK)
    with pytest.raises(ValueError, match="validation images hold NaN"):
        unet.train(small(), image, mask, validation=(image * np.nan, mask), **QUICK)


def test_masks_of_two_values_count_as_such():
    image, mask = blobs((64, 64))
    one, _ = unet.train(small(), image, mask, **QUICK)
    other, _ = unet.train(small(), image, mask * np.uint8(255), **QUICK)
    np.testing.assert_array_equal(
        one.head.weight.detach().numpy(), other.head.weight.detach().numpy()
    )
