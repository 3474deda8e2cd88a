"""Device copies: used again for the same values only. The device is a fake; CUDA's where there is
one."""

import gc

import numpy as np
import pytest

import gpuseg
from gpuseg.accel import _cache
from gpuseg.accel._cache import Copies, digest, through


class There:
    """An array on a device that does not exist."""

    def __init__(self, values):
        self.values = np.array(values)
        self.nbytes = self.values.nbytes


@pytest.fixture
def kept():
    return Copies(There, lambda x: x.values.copy(), lambda x: isinstance(x, There), limit=10**6)


def twice(x, *, times=2, mask=None):
    """A form: of arrays on the device, it makes one there."""
    assert isinstance(x, There)
    return There(x.values * times)


IMAGE = np.random.default_rng(0).random((50, 40))


def test_a_chain_pays_one_upload(kept):
    image = IMAGE.copy()
    a = through(kept, twice, (image,), {})
    b = through(kept, twice, (a,), {"times": 3})
    c = through(kept, twice, (b,), {})
    np.testing.assert_array_equal(c, image * 12)
    assert type(c) is np.ndarray
    assert (kept.uploads, kept.downloads, kept.reused) == (1, 3, 2)
    through(kept, twice, (image,), {})
    assert kept.uploads == 1


CHANGES = {
    "one element": lambda x: x.__setitem__((3, 4), -1.0),
    "through a view": lambda x: x[::2, 1:].__iadd__(1e-9),
    "through its memory": lambda x: memoryview(x).cast("B").__setitem__(7, 1),
    "two elements swapped": lambda x: x.__setitem__((slice(None), [0, 1]), x[:, [1, 0]].copy()),
    "the last byte": lambda x: x.reshape(-1).view(np.uint8).__setitem__(-1, 3),
    "minus zero for zero": lambda x: x.__setitem__((0, 0), -0.0),
    "its shape": lambda x: setattr(x, "shape", (40, 50)),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.filterwarnings("ignore:Setting the shape:DeprecationWarning")
@pytest.mark.parametrize("which", ["that was sent", "that was fetched"])
def test_an_array_that_changed_is_sent_again(kept, change, which):
    image = IMAGE.copy()
    image[0, 0] = 0.0
    array = image if which == "that was sent" else through(kept, twice, (image,), {})
    through(kept, twice, (array,), {})
    before = kept.uploads
    CHANGES[change](array)
    found = through(kept, twice, (array,), {})
    assert kept.uploads == before + 1
    np.testing.assert_array_equal(found, array * 2)


def test_an_array_that_changed_and_changed_back_is_not_sent(kept):
    image = IMAGE.copy()
    through(kept, twice, (image,), {})
    image += 1
    image[...] = IMAGE
    through(kept, twice, (image,), {})
    assert (kept.uploads, kept.reused) == (1, 1)


def test_the_number_of_an_array_that_is_gone_stands_for_no_other(kept):
    for i in range(20):
        array = np.full((50, 40), float(i))
        np.testing.assert_array_equal(through(kept, twice, (array,), {}), array * 2)
        del array
        gc.collect()
    assert kept.nbytes == 0


def test_copies_are_forgotten_at_the_limit(kept):
    arrays = [np.full((100, 100), float(i)) for i in range(20)]
    for array in arrays:
        kept.put(array)
        assert kept.nbytes <= kept.limit
    assert kept.nbytes > kept.limit // 2
    kept.put(arrays[0])
    assert kept.reused == 0
    kept.put(arrays[0])
    kept.put(arrays[-1])
    assert kept.reused == 2
    huge = np.zeros(10**6)
    kept.put(huge)
    assert kept.nbytes <= kept.limit


def test_what_does_not_lie_in_one_block_is_sent_each_time(kept):
    view = IMAGE[::2, ::2]
    for _ in range(2):
        np.testing.assert_array_equal(through(kept, twice, (view,), {}), view * 2)
    assert kept.uploads == 2


def test_fortran_order_and_a_mask_by_keyword(kept):
    image = np.asfortranarray(IMAGE)
    mask = IMAGE > 0.5
    for _ in range(2):
        through(kept, twice, (image,), {"mask": mask})
    assert (kept.uploads, kept.reused) == (2, 2)


def test_where_memory_ends_the_copies_go_and_the_call_is_made_with_the_arrays(kept):
    asked = []

    def form(x):
        asked.append(type(x))
        if isinstance(x, There):
            raise MemoryError
        return x + 1

    kept.put(IMAGE)
    np.testing.assert_array_equal(through(kept, form, (IMAGE,), {}), IMAGE + 1)
    assert asked == [There, np.ndarray]
    assert kept.nbytes == 0


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 7, 8, 9, 4096, 300_001])
def test_digests_tell_arrays_apart(dtype, size):
    x = (np.random.default_rng(size).random(size) * 100).astype(dtype)
    same = digest(x)
    assert digest(x.copy()) == same
    for i in {0, size // 2, size - 1}:
        other = x.copy()
        other.view(np.uint8)[i * x.itemsize] ^= 1
        assert digest(other) != same
    assert digest(x.reshape(1, -1)) != same


@pytest.mark.gpu
def test_a_chain_of_scikit_image_pays_one_upload():
    import skimage.filters
    import skimage.measure

    image = np.random.default_rng(0).random((512, 512)).astype(np.float32)
    with gpuseg.using("cuda"):
        gpuseg.accel.install()
        try:
            before = _cache.moved()
            smooth = skimage.filters.gaussian(image, 2)
            threshold = skimage.filters.threshold_otsu(smooth)
            labels = skimage.measure.label(smooth > threshold)
            moved = _cache.moved().since(before)
            smooth[0, 0] = 7
            assert skimage.filters.threshold_mean(smooth) == pytest.approx(smooth.mean(), rel=1e-6)
        finally:
            gpuseg.accel.uninstall()
    assert type(labels) is np.ndarray
    assert (moved.uploads, moved.reused) == (2, 1)
    assert labels.dtype == skimage.measure.label(smooth > threshold).dtype
