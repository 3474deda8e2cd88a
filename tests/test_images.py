"""Image files in and out: what comes back, what is refused, and that nothing is left behind."""

import contextlib
import os
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage.color import rgb2gray

from gpuseg import _files, _images
from gpuseg._files import RefusedOutput, check_output, whole_file, whole_folder
from gpuseg._images import ImageError, check_form, read, read_header, write


@pytest.fixture
def grey(rng):
    return rng.integers(0, 256, (13, 17), np.uint8)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# --- reading ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16])
def test_png_keeps_grey_values(tmp_path, rng, dtype):
    image = rng.integers(0, 2 if dtype is bool else np.iinfo(dtype).max, (9, 20)).astype(dtype)
    Image.fromarray(image).save(tmp_path / "a.png")
    found = read(tmp_path / "a.png")
    assert found.array.dtype == dtype
    np.testing.assert_array_equal(found.array, image)
    assert found.notes == ()
    assert found.header.nbytes == image.nbytes


def test_jpeg_is_what_pillow_decodes(tmp_path, grey):
    Image.fromarray(grey).save(tmp_path / "a.jpg")
    np.testing.assert_array_equal(
        read(tmp_path / "a.jpg").array, np.asarray(Image.open(tmp_path / "a.jpg"))
    )


@pytest.mark.parametrize(
    "dtype",
    [np.uint8, np.int8, np.uint16, np.int32, np.int64, np.float16, np.float32, np.float64, ">u2"],
)
@pytest.mark.parametrize("shape", [(5, 7), (4, 5, 7)])
@pytest.mark.parametrize("name", ["a.tif", "a.npy"])
def test_stacks_keep_values_in_native_order(tmp_path, rng, name, shape, dtype):
    image = (100 * rng.random(shape)).astype(dtype)
    if name == "a.npy":
        np.save(tmp_path / name, image)
    else:
        big = np.dtype(dtype).byteorder == ">"
        tifffile.imwrite(
            tmp_path / name, image, byteorder=">" if big else "<", photometric="minisblack"
        )
    found = read(tmp_path / name)
    assert found.array.dtype == np.dtype(dtype).newbyteorder("=")
    assert found.array.dtype.isnative
    np.testing.assert_array_equal(found.array, image)


@pytest.mark.parametrize("options", [{"bigtiff": True}, {"compression": "zlib"},
                                     {"compression": "lzw"}, {"tile": (16, 16)},
                                     {"imagej": True}])  # fmt: skip
def test_kinds_of_tiff(tmp_path, rng, options):
    image = rng.integers(0, 255, (5, 33, 40), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", image, **options)
    np.testing.assert_array_equal(read(tmp_path / "a.tif").array, image)


def test_a_last_strip_with_rows_too_many_is_read(tmp_path, rng):
    """As some instruments write: every strip is packed at full height, the last one too."""
    image = rng.integers(0, 255, (2, 10, 6), np.uint8)

    def strips(page):
        for rows in (page[:8], np.pad(page[8:], ((0, 6), (0, 0)))):
            yield zlib.compress(rows.tobytes())

    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write((strip for page in image for strip in strips(page)), shape=image.shape,
                   dtype=np.uint8, compression="zlib", rowsperstrip=8,
                   photometric="minisblack")  # fmt: skip
    np.testing.assert_array_equal(read(tmp_path / "a.tif").array, image)


def test_pages_written_one_by_one_are_a_stack(tmp_path, rng):
    image = rng.integers(0, 255, (3, 8, 9), np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in image:
            file.write(page, contiguous=False)
    found = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(found.array, image)
    assert found.notes == ("3 images of one shape read as a stack",)
    frames = [Image.fromarray(page) for page in image]
    frames[0].save(tmp_path / "b.tif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read(tmp_path / "b.tif").array, image)


def test_bytes_decide_what_a_file_is(tmp_path, grey):
    Image.fromarray(grey).save(tmp_path / "a.png", "TIFF")
    found = read(tmp_path / "a.png")
    assert found.header.format == "TIFF"
    np.testing.assert_array_equal(found.array, grey)
    (tmp_path / "a.png").rename(tmp_path / "a.dat")
    np.testing.assert_array_equal(read(tmp_path / "a.dat").array, grey)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK"])
def test_colour_becomes_luminance_as_in_scikit_image(tmp_path, rng, mode):
    image = Image.fromarray(rng.integers(0, 256, (11, 12, 3), np.uint8)).convert(mode)
    name = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    image.save(name)
    found = read(name)
    expected = rgb2gray(np.asarray(Image.open(name).convert("RGB")))
    np.testing.assert_allclose(found.array, expected, rtol=0, atol=1e-12)
    assert "luminance" in found.notes[0]
    assert ("alpha dropped" in found.notes[0]) == (mode == "RGBA")
    assert found.header.ndim == 2


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colour_in_tiff(tmp_path, rng, planar):
    image = rng.integers(0, 256, (11, 12, 3), np.uint8)
    stored = image if planar == "contig" else np.moveaxis(image, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar)
    np.testing.assert_allclose(read(tmp_path / "a.tif").array, rgb2gray(image), atol=1e-12)


def test_grey_stored_as_colour_keeps_its_values(tmp_path, grey):
    Image.fromarray(np.dstack([grey] * 3)).save(tmp_path / "a.png")
    found = read(tmp_path / "a.png")
    np.testing.assert_array_equal(found.array, grey)
    assert found.array.dtype == np.uint8
    assert "greys" in found.notes[0]
    Image.fromarray(grey).convert("LA").save(tmp_path / "b.png")
    np.testing.assert_array_equal(read(tmp_path / "b.png").array, grey)


def test_deep_colour_says_what_is_lost(tmp_path):
    row = b"\0" + struct.pack(">6H", *range(0, 60_000, 10_000))
    (tmp_path / "a.png").write_bytes(png(2, 1, zlib.compress(row), depth=16, colour=2))
    assert "16 bits a channel read as 8" in read(tmp_path / "a.png").notes


# --- what is refused --------------------------------------------------------------------------


def png(width, height, data=b"", depth=8, colour=0):
    """A PNG file by hand, whatever it claims."""

    def chunk(name, body):
        check = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + check

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def tiff(width, height, *, bits=8, count=1):
    """A TIFF file by hand that claims `width` x `height` and holds a few bytes."""
    tags = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, 1),
            (273, 4, 150), (277, 3, count), (278, 4, height), (279, 4, 16)]  # fmt: skip
    entries = b"".join(
        struct.pack("<HHI", tag, kind, 1) + struct.pack("<I" if kind == 4 else "<HH", *value)
        for tag, kind, number in tags
        for value in [(number,) if kind == 4 else (number, 0)]
    )
    body = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0)
    return body.ljust(150, b"\0") + bytes(16)


def npy(text: str, data=b""):
    header = text.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def cut(path: Path, part: float):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])


def _truncated_png(folder, grey):
    Image.fromarray(np.kron(grey, np.ones((9, 9), np.uint8))).save(folder / "bad.png")
    cut(folder / "bad.png", 0.5)


def _truncated_jpeg(folder, grey):
    Image.fromarray(grey).save(folder / "bad.jpg")
    cut(folder / "bad.jpg", 0.8)


def _truncated_tiff(**options):
    def make(folder, grey):
        tifffile.imwrite(folder / "bad.tif", np.stack([grey] * 9), **options)
        cut(folder / "bad.tif", 0.6)

    return make


def _truncated_npy(folder, grey):
    np.save(folder / "bad.npy", grey)
    cut(folder / "bad.npy", 0.9)


def _pickle(folder, grey):
    np.save(folder / "bad.npy", np.array([[{}, []]], dtype=object), allow_pickle=True)


def _pages_of_two_shapes(folder, grey):
    with tifffile.TiffWriter(folder / "bad.tif") as file:
        file.write(grey)
        file.write(grey[:5])


def _written(name, data):
    return lambda folder, grey: (folder / name).write_bytes(data)


BAD = {
    "a text named .png": (_written("bad.png", b"not an image"), "is not a PNG"),
    "an empty file": (_written("bad.tif", b""), "it is empty"),
    "a missing file": (lambda folder, grey: None, "no such file"),
    "a folder": (lambda folder, grey: (folder / "bad.tif").mkdir(), "is a folder"),
    "a short PNG": (_truncated_png, "cannot be read as PNG"),
    "a PNG header alone": (_written("bad.png", png(9, 9)[:30]), "cannot be read as PNG"),
    "a PNG of no pixels": (_written("bad.png", png(9, 9)), "cannot be read as PNG"),
    "a broken PNG": (_written("bad.png", png(9, 9, b"noise")), "cannot be read as PNG"),
    "a huge PNG": (_written("bad.png", png(2**30, 2**30)), "needs 1024.0 PiB, more than half"),
    "a short JPEG": (_truncated_jpeg, "cannot be read as JPEG"),
    "a JPEG of nothing": (_written("bad.jpg", b"\xff\xd8\xff\xe0"), "cannot be read as JPEG"),
    "a short TIFF": (_truncated_tiff(), "cut off"),
    "a short packed TIFF": (_truncated_tiff(compression="zlib"), "damaged or is cut off"),
    "a short LZW TIFF": (_truncated_tiff(compression="lzw"), "damaged or is cut off"),
    "a TIFF of nothing": (_written("bad.tif", b"II*\0\x08\0\0\0"), "TIFF|no image|damaged"),
    "a huge TIFF": (_written("bad.tif", tiff(1_000_000, 1_000_000)), "GiB, more than half"),
    "a TIFF that ends early": (_written("bad.tif", tiff(100, 100)[:155]), "is cut off"),
    "pages of two shapes": (_pages_of_two_shapes, "2 images that make no stack: 13 x 17 uint8"),
    "a short .npy": (_truncated_npy, "is cut off"),
    "a huge .npy": (
        _written("bad.npy", npy("{'descr': '<f8', 'fortran_order': False, "
                                "'shape': (1000000, 1000000)}")),
        "is cut off: shape",
    ),
    "a .npy of overflowing shape": (
        _written("bad.npy", npy("{'descr': '<f8', 'fortran_order': False, "
                                "'shape': (4294967296, 4294967296, 4)}")),
        "is cut off: shape",
    ),
    "a .npy of negative shape": (
        _written("bad.npy", npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-3, -4)}")),
        "claims the shape",
    ),
    "a pickle": (_pickle, "pickled Python objects"),
    "a .npy of nonsense": (_written("bad.npy", npy("hello")), "cannot be read as NumPy"),
    "a line": (lambda f, grey: np.save(f / "bad.npy", grey[0]), "has shape"),
    "four axes": (lambda f, grey: np.save(f / "bad.npy", grey[None, None]), "has shape"),
    "no pixels": (lambda f, grey: np.save(f / "bad.npy", grey[:0]), "is empty"),
    "complex": (lambda f, grey: np.save(f / "bad.npy", grey * 1j), "complex128"),
    "text": (lambda f, grey: np.save(f / "bad.npy", np.array([["a"]])), "no real numbers"),
}  # fmt: skip


def tiff_of_strips(path, image, keep):
    """A file by hand of strips of one row each, of which it lists but `keep`."""
    height, width = image.shape
    first = 8 + 2 + 12 * 9 + 4
    tags = [(256, 1, width), (257, 1, height), (258, 1, 8), (259, 1, 8), (262, 1, 1),
            (273, keep, first), (277, 1, 1), (278, 1, 1),
            (279, keep, first + 4 * keep)]  # fmt: skip
    rows = [zlib.compress(row.tobytes()) for row in image]
    start = first + 8 * keep
    places = [start + sum(map(len, rows[:i])) for i in range(keep)]
    body = b"II*\0" + struct.pack("<IH", 8, len(tags))
    body += b"".join(struct.pack("<HHII", tag, 4, n, value) for tag, n, value in tags)
    body += struct.pack(f"<I{2 * keep}I", 0, *places, *map(len, rows[:keep])) + b"".join(rows)
    path.write_bytes(body)


def test_a_page_that_lacks_strips_is_refused(tmp_path, grey):
    """tifffile returns whatever was in memory there."""
    tiff_of_strips(tmp_path / "a.tif", grey, len(grey))
    np.testing.assert_array_equal(read(tmp_path / "a.tif").array, grey)
    tiff_of_strips(tmp_path / "a.tif", grey, len(grey) - 2)
    with pytest.raises(ImageError, match="page 0 has 11 of its 13 pieces"):
        read(tmp_path / "a.tif")


def test_pages_that_an_ome_file_lacks_are_told(tmp_path, grey):
    stack = np.stack([grey] * 3)
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, ome=True, metadata={"axes": "ZYX"})
    assert read(tmp_path / "a.ome.tif").notes == ()
    data = (tmp_path / "a.ome.tif").read_bytes()
    (tmp_path / "a.ome.tif").write_bytes(data.replace(b'SizeZ="3"', b'SizeZ="5"'))
    found = read(tmp_path / "a.ome.tif")
    assert found.array.shape == (5, *grey.shape)
    assert "2 of its 5 pages are missing, and read as zeros" in found.notes


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"compression": "lzw"},
                                     {"imagej": True}, {"bigtiff": True}, {"byteorder": ">"},
                                     {"truncate": True}, {"metadata": None}, {"ome": True},
                                     {"tile": (16, 16), "compression": "zlib"}])  # fmt: skip
def test_a_tiff_cut_anywhere_is_whole_or_refused(tmp_path, rng, options):
    image = rng.integers(0, 255, (3, 9, 11), np.uint8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, image, photometric="minisblack", **options)
    data = path.read_bytes()
    refused = 0
    for size in [*range(0, len(data), len(data) // 40), *range(len(data) - 5, len(data))]:
        path.write_bytes(data[:size])
        try:
            np.testing.assert_array_equal(read(path).array, image)
        except ImageError:
            refused += 1
    assert refused >= 40
    # Where a byte of the lists of tags is another: pixels, if any, come of the right type only.
    for place in range(0, min(len(data), 400), 3):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :])
        with contextlib.suppress(ImageError):
            assert read(path, max_bytes=1 << 20).array.ndim in (2, 3)


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_in_one_line(tmp_path, grey, case):
    make, said = BAD[case]
    make(tmp_path, grey)
    (path,) = list(tmp_path.iterdir()) or [tmp_path / "bad.tif"]
    with pytest.raises(ImageError, match=said) as refusal:
        read(path)
    assert "\n" not in str(refusal.value)
    assert str(path) in str(refusal.value)


def test_a_small_file_allocates_nothing_of_what_it_claims(tmp_path):
    """The header is refused by itself: reading it takes no memory for the pixels."""
    import tracemalloc

    (tmp_path / "a.tif").write_bytes(tiff(1_000_000, 1_000_000))
    assert (tmp_path / "a.tif").stat().st_size < 267
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match=r"needs 931\.3 GiB"):
            read(tmp_path / "a.tif", max_bytes=2**36)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_max_bytes_is_compared_with_the_array(tmp_path, grey):
    np.save(tmp_path / "a.npy", grey)
    assert read_header(tmp_path / "a.npy", max_bytes=grey.nbytes).shape == grey.shape
    with pytest.raises(ImageError, match="more than --max-bytes"):
        read_header(tmp_path / "a.npy", max_bytes=grey.nbytes - 1)
    assert _images.half_of_memory() > 1 << 20


def test_a_missing_decoder_says_what_to_install(tmp_path, grey):
    tifffile.imwrite(tmp_path / "a.tif", grey, compression="lzw")
    code = (
        "import sys; sys.modules['imagecodecs'] = None\n"
        "from gpuseg import _images\n"
        "try: _images.read(sys.argv[1])\n"
        "except _images.ImageError as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.tif")]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told.rstrip().endswith("pip install imagecodecs")


# --- writing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape"),
    [("a.png", (6, 7))]
    + [(name, s) for name in ("a.tif", "a.npy") for s in ((6, 7), (3, 6, 7), (3, 6, 4))],
)
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.int32, np.int64])
def test_what_is_written_comes_back(tmp_path, rng, name, shape, dtype):
    array = rng.integers(0, 2 if dtype is bool else 200, shape).astype(dtype)
    write(tmp_path / name, array)
    found = read(tmp_path / name)
    assert found.header.channel_axis is None
    if dtype is bool and name != "a.npy":
        assert set(np.unique(found.array)) == {0, 255}
        np.testing.assert_array_equal(found.array == 255, array)
    else:
        np.testing.assert_array_equal(found.array, array)
    if name != "a.npy":
        assert found.array.dtype == (np.uint8 if array.dtype in (bool, np.uint8) else np.uint16)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_wide_labels(tmp_path):
    labels = np.array([[0, 70_000]])
    write(tmp_path / "a.tif", labels)
    assert read(tmp_path / "a.tif").array.dtype == np.int32
    with pytest.raises(ImageError, match="do not fit in a PNG"):
        write(tmp_path / "a.png", labels)
    with pytest.raises(ImageError, match="do not fit in 32 bits"):
        write(tmp_path / "b.tif", labels << 20)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


def test_tiff_is_packed_without_imagecodecs_too(tmp_path):
    code = (
        "import sys; sys.modules['imagecodecs'] = None\n"
        "import numpy as np; from gpuseg import _images\n"
        "_images.write(sys.argv[1], np.ones((20, 300, 300), bool))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.tif")], check=True)
    assert (tmp_path / "a.tif").stat().st_size < 60_000
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.series[0].axes == "ZYX"
        assert file.asarray().min() == 255


@pytest.mark.parametrize(("name", "ndim", "labels", "said"), [
    ("a.bmp", 2, False, "must end in one of"),
    ("a", 2, False, "must end in one of"),
    ("a.png", 3, False, "cannot hold a volume"),
    ("a.jpg", 3, False, "cannot hold a volume"),
    ("a.JPEG", 2, True, "cannot hold labels"),
])  # fmt: skip
def test_forms_that_cannot_hold_the_result(name, ndim, labels, said):
    with pytest.raises(RefusedOutput, match=said):
        check_form(name, ndim=ndim, labels=labels)


# --- whole or not at all ----------------------------------------------------------------------


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_what_was_there(tmp_path, force, error):
    if force:
        (tmp_path / "a.npy").write_bytes(b"old")
    before = contents(tmp_path)

    def fail():
        with whole_file(tmp_path / "a.npy", force=force) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        fail()
    assert contents(tmp_path) == before


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile_is_left_alone(tmp_path, monkeypatch, links):
    def no_links(*args):
        raise OSError("no hard links here")

    if not links:
        monkeypatch.setattr(os, "link", no_links)

    def lose():
        with whole_file(tmp_path / "a.npy", force=False) as file:
            file.write(b"ours")
            (tmp_path / "a.npy").write_bytes(b"theirs")

    with pytest.raises(FileExistsError, match="has appeared"):
        lose()
    assert contents(tmp_path) == {"a.npy": b"theirs"}
    with whole_file(tmp_path / "b.npy", force=False) as file:
        file.write(b"ours")
    assert contents(tmp_path) == {"a.npy": b"theirs", "b.npy": b"ours"}


def test_force_replaces_the_file_behind_a_link_and_keeps_its_mode(tmp_path):
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "a.npy"
    target.write_bytes(b"old")
    target.chmod(0o600)
    (tmp_path / "link.npy").symlink_to(target)
    with whole_file(tmp_path / "link.npy", force=True) as file:
        file.write(b"new")
    assert (tmp_path / "link.npy").is_symlink()
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o600


def test_outputs_are_refused_before_any_work(tmp_path):
    (tmp_path / "in.tif").write_bytes(b"x")
    (tmp_path / "link.tif").symlink_to(tmp_path / "in.tif")
    (tmp_path / "dangling.tif").symlink_to(tmp_path / "nothing")
    (tmp_path / "folder.tif").mkdir()
    source = tmp_path / "in.tif"
    for path, force, said in (
        (tmp_path / "no" / "a.tif", False, "does not exist"),
        (tmp_path / "in.tif", True, "is the input"),
        (tmp_path / "link.tif", True, "is the input"),
        (tmp_path / "folder.tif", True, "is not a file"),
        (tmp_path / "dangling.tif", False, "exists: pass --force"),
    ):
        with pytest.raises(RefusedOutput, match=said):
            check_output(path, force=force, sources=[source])
    check_output(tmp_path / "new.tif", force=False, sources=[source])


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    def make(text, *, force=False, error=None):
        with whole_folder(tmp_path / "out", force=force, ours={"a"}) as folder:
            (folder / "a").write_text(text)
            if error:
                raise error

    with pytest.raises(KeyboardInterrupt):
        make("1", error=KeyboardInterrupt)
    assert list(tmp_path.iterdir()) == []
    make("1")
    with pytest.raises(RefusedOutput, match="--force"):
        make("2")
    with pytest.raises(KeyboardInterrupt):
        make("2", force=True, error=KeyboardInterrupt)
    assert contents(tmp_path) == {"out/a": b"1"}
    make("3", force=True)
    assert contents(tmp_path) == {"out/a": b"3"}
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(RefusedOutput, match=r"thesis\.txt, which gpuseg did not"):
        _files.check_folder(tmp_path / "out", force=True, ours={"a"})


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing_behind(tmp_path, number):
    program = (
        "import signal, sys, time; from pathlib import Path; from gpuseg import _files, cli\n"
        # What is started in the background may inherit that it ignores the signal.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def work():\n"
        "    with _files.whole_file(Path(sys.argv[1]), force=False) as file:\n"
        "        file.write(b'half'); file.flush(); print('writing', flush=True); time.sleep(30)\n"
        "cli.app = work\n"
        "cli.main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "a.npy")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with process:
        assert process.stdout.readline() == b"writing\n"
        assert len(list(tmp_path.iterdir())) == 1
        process.send_signal(number)
        assert process.wait(20) != 0
    assert list(tmp_path.iterdir()) == []
