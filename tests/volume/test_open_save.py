"""Volumes in files: every form opens as what was written by another program, and is saved whole."""

import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuseg._files import RefusedOutput

da = pytest.importorskip("dask.array")
zarr = pytest.importorskip("zarr")
h5py = pytest.importorskip("h5py")
volume = pytest.importorskip("gpuseg.volume")

SHAPE = (7, 33, 41)


@pytest.fixture
def grey():
    return np.random.default_rng(0).integers(0, 60000, SHAPE).astype(np.uint16)


def check(found, expected, voxel_size=(1, 1, 1), unit=""):
    assert isinstance(found.data, da.Array)
    assert found.data.dtype == expected.dtype.newbyteorder("=")
    np.testing.assert_array_equal(found.data.compute(), expected)
    np.testing.assert_array_equal(found.data[2:5, 3:, :-1].compute(), expected[2:5, 3:, :-1])
    for index in (
        3,
        np.s_[:, 4],
        np.s_[::-2, ::3],
        np.s_[..., [5, 1, 7]],
        np.s_[4:2],
        np.s_[-1, -1],
    ):
        np.testing.assert_array_equal(found.data[index].compute(), expected[index])
    assert found.voxel_size == tuple(voxel_size)
    assert found.unit == unit


# --- TIFF -------------------------------------------------------------------------------------


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bigtiff": True},
        {"compression": "zlib"},
        {"compression": "zlib", "tile": (16, 16)},
        {"tile": (16, 32)},
        {"compression": "zlib", "rowsperstrip": 5},
        {"compression": "zlib", "tile": (4, 16, 16), "volumetric": True},
    ],
)
def test_tiff(tmp_path, grey, options, byteorder):
    tifffile.imwrite(tmp_path / "a.tif", grey, byteorder=byteorder, **options)
    check(volume.open(tmp_path / "a.tif"), grey)


def test_strips_with_too_many_bytes_are_read(tmp_path, grey):
    """As some programs write the last strip of a page."""
    tifffile.imwrite(tmp_path / "a.tif", grey[0], compression="zlib", rowsperstrip=20)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page = file.pages[0]
        offset, count = page.dataoffsets[1], page.databytecounts[1]
        tags = page.tags["StripOffsets"], page.tags["StripByteCounts"]
        types = [("<I" if tag.dtype == 4 else "<H") for tag in tags]
        places = [tag.valueoffset + struct.calcsize(t) for tag, t in zip(tags, types)]
    content = bytearray((tmp_path / "a.tif").read_bytes())
    full = zlib.compress(zlib.decompress(bytes(content[offset : offset + count])) + bytes(574))
    struct.pack_into(types[0], content, places[0], len(content))
    struct.pack_into(types[1], content, places[1], len(full))
    (tmp_path / "b.tif").write_bytes(bytes(content) + full)
    np.testing.assert_array_equal(volume.open(tmp_path / "b.tif").data, grey[0])


def test_tiff_whose_voxels_follow_each_other_is_mapped(tmp_path, grey):
    from gpuseg.volume._sources import Mapped

    tifffile.imwrite(tmp_path / "a.tif", grey)
    assert isinstance(volume.open(tmp_path / "a.tif").source, Mapped)


def test_imagej_and_ome_tiff_say_the_size_of_voxels(tmp_path, grey):
    tifffile.imwrite(tmp_path / "a.tif", grey, imagej=True, resolution=(4.0, 2.0),
                     metadata={"spacing": 3.0, "unit": "um", "axes": "ZYX"})  # fmt: skip
    check(volume.open(tmp_path / "a.tif"), grey, (3.0, 0.5, 0.25), "micrometer")
    sizes = {"axes": "ZYX", "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.2, "PhysicalSizeZ": 0.7}
    tifffile.imwrite(tmp_path / "b.ome.tif", grey, ome=True, metadata=sizes)
    check(volume.open(tmp_path / "b.ome.tif"), grey, (0.7, 0.2, 0.1), "micrometer")


def test_channels_are_selected(tmp_path, grey):
    both = np.stack([grey, grey[::-1]], axis=1)
    tifffile.imwrite(tmp_path / "a.ome.tif", both, ome=True, metadata={"axes": "ZCYX"})
    with pytest.raises(volume.VolumeError, match="'zcyx' with 2 along 'c'"):
        volume.open(tmp_path / "a.ome.tif")
    check(volume.open(tmp_path / "a.ome.tif", select={"c": 1}), grey[::-1])
    with pytest.raises(volume.VolumeError, match="no index 2"):
        volume.open(tmp_path / "a.ome.tif", select={"c": 2})


def test_colours_and_channels_compressed(tmp_path, grey):
    pages = np.stack([grey, grey[::-1]], axis=1)
    tifffile.imwrite(tmp_path / "a.ome.tif", pages, ome=True, compression="zlib", tile=(16, 16),
                     metadata={"axes": "ZCYX"})  # fmt: skip
    check(volume.open(tmp_path / "a.ome.tif", select={"c": 1}), grey[::-1])
    colour = np.stack([grey, grey + 1, grey + 2], axis=-1)
    tifffile.imwrite(tmp_path / "b.tif", colour, photometric="rgb", compression="zlib")
    check(volume.open(tmp_path / "b.tif", select={"s": 2}), grey + 2)


def test_an_axis_that_nothing_names_is_depth(tmp_path, grey):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in grey:
            file.write(page, contiguous=False)
    check(volume.open(tmp_path / "a.tif"), grey)


def test_a_tiff_that_is_cut_off_is_refused(tmp_path, grey):
    tifffile.imwrite(tmp_path / "a.tif", grey)
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "b.tif").write_bytes(content[:-500])
    with pytest.raises(volume.VolumeError, match="cut off"):
        volume.open(tmp_path / "b.tif")
    tifffile.imwrite(tmp_path / "c.tif", grey, compression="zlib")
    content = (tmp_path / "c.tif").read_bytes()
    (tmp_path / "c.tif").write_bytes(content[:-500])
    with pytest.raises(volume.VolumeError, match="cut off"):
        volume.open(tmp_path / "c.tif")


# --- folders ----------------------------------------------------------------------------------


def test_slices_are_in_natural_order(tmp_path, grey):
    for number, page in enumerate(grey, 8):
        tifffile.imwrite(tmp_path / f"slice{number}.tif", page)
    (tmp_path / "notes.txt").write_text("no slice")
    check(volume.open(tmp_path), grey)


def test_slices_of_mixed_shapes_are_refused(tmp_path, grey):
    tifffile.imwrite(tmp_path / "1.tif", grey[0])
    tifffile.imwrite(tmp_path / "2.tif", grey[0, 1:])
    with pytest.raises(volume.VolumeError, match=r"2\.tif: has shape \(32, 41\)"):
        volume.open(tmp_path)


def test_a_slice_that_cannot_be_read_is_named(tmp_path, grey):
    tifffile.imwrite(tmp_path / "1.tif", grey[0])
    (tmp_path / "2.tif").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"2\.tif"):
        volume.open(tmp_path)


def test_a_folder_without_slices_is_refused(tmp_path):
    with pytest.raises(volume.VolumeError, match="no slices"):
        volume.open(tmp_path)


# --- Zarr and OME-Zarr ------------------------------------------------------------------------


@pytest.mark.parametrize("version", [2, 3])
def test_zarr(tmp_path, grey, version):
    options = {"chunks": (4, 16, 16), "zarr_format": version}
    array = zarr.create_array(tmp_path / "a.zarr", shape=SHAPE, dtype=grey.dtype, **options)
    array[:] = grey
    check(volume.open(tmp_path / "a.zarr"), grey)
    group = zarr.open_group(tmp_path / "b.zarr", mode="w", zarr_format=version)
    group.create_array("x", shape=SHAPE, dtype=grey.dtype, chunks=(4, 16, 16))[:] = grey
    check(volume.open(tmp_path / "b.zarr"), grey)
    group.create_array("y", shape=SHAPE, dtype=grey.dtype)[:] = grey + 1
    check(volume.open(tmp_path / "b.zarr/y"), grey + 1)
    with pytest.raises(volume.VolumeError, match="x, y"):
        volume.open(tmp_path / "b.zarr")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_as_the_ome_zarr_package_writes_it(tmp_path, grey, version):
    ome_zarr_format = pytest.importorskip("ome_zarr.format")
    writer = pytest.importorskip("ome_zarr.writer")
    form = {"0.4": ome_zarr_format.FormatV04, "0.5": ome_zarr_format.FormatV05}[version]()
    grey = grey[:6, :32, :40]
    data = grey[None, None]
    axes = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}]
    axes += [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
    group = zarr.open_group(tmp_path / "a", mode="w", zarr_format=2 if version == "0.4" else 3)
    scale = {"t": 1, "c": 1, "z": 2.0, "y": 0.5, "x": 0.25}
    writer.write_multiscale([data, data[..., ::2, ::2, ::2]], group, fmt=form, axes=axes,
                            scale=scale)  # fmt: skip
    check(volume.open(tmp_path / "a"), grey, (2, 0.5, 0.25), "micrometer")
    coarse = volume.open(tmp_path / "a", level=1)
    np.testing.assert_array_equal(coarse.data, grey[::2, ::2, ::2])
    assert coarse.voxel_size == (4, 1, 0.5)
    with pytest.raises(volume.VolumeError, match="levels 0 to 1"):
        volume.open(tmp_path / "a", level=2)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "i8", "f4", "f8", "?"])
def test_ome_zarr_comes_back(tmp_path, grey, dtype):
    data = (grey % 2 if dtype == "?" else grey).astype(dtype)
    path = tmp_path / "a.ome.zarr"
    volume.save(path, da.from_array(data, chunks=(3, 10, 50)), voxel_size=(3, 2, 1), unit="um",
                chunks=8, shards=16)  # fmt: skip
    check(volume.open(path), data.astype("u1") if dtype == "?" else data, (3, 2, 1), "micrometer")


def test_ome_zarr_satisfies_the_specification(tmp_path, grey):
    ngff = pytest.importorskip("ome_zarr_models.v05")
    reader = pytest.importorskip("ome_zarr.reader")
    io = pytest.importorskip("ome_zarr.io")
    path = tmp_path / "a.ome.zarr"
    volume.save(path, grey, labels={"cells": grey > 9, "pores": grey // 9}, voxel_size=(2, 1, 1),
                unit="micrometer", levels=3, chunks=8, shards=16)  # fmt: skip
    image = ngff.Image.from_zarr(zarr.open_group(path, mode="r"))
    scales = [
        d.coordinateTransformations[0].scale for d in image.ome_attributes.multiscales[0].datasets
    ]
    assert scales == [[2, 1, 1], [4, 2, 2], [8, 4, 4]]
    labels = ngff.Labels.from_zarr(zarr.open_group(path / "labels", mode="r"))
    assert labels.ome_attributes.labels == ["cells", "pores"]
    ngff.ImageLabel.from_zarr(zarr.open_group(path / "labels/cells", mode="r"))
    nodes = list(reader.Reader(io.parse_url(path))())
    assert [x.shape for x in nodes[0].data] == [SHAPE, (4, 17, 21), (2, 9, 11)]
    np.testing.assert_array_equal(nodes[0].data[0], grey)


def test_levels_of_grey_are_means_and_of_labels_are_voxels(tmp_path, grey):
    path = tmp_path / "a.ome.zarr"
    labels = grey % 5
    volume.save(path, grey, labels={"a": labels}, levels=2, chunks=8, shards=16)
    padded = np.pad(grey.astype(float), [(0, n % 2) for n in SHAPE], constant_values=np.nan)
    blocks = padded.reshape(4, 2, 17, 2, 21, 2)
    expected = np.floor(np.nanmean(blocks, axis=(1, 3, 5)) + 0.5)
    np.testing.assert_array_equal(volume.open(path, level=1).data, expected)
    coarse = volume.open(path / "labels/a", level=1)
    np.testing.assert_array_equal(coarse.data, labels[::2, ::2, ::2])


def test_labels_are_added_to_what_exists(tmp_path, grey):
    path = tmp_path / "a.ome.zarr"
    volume.save(path, grey)
    for name in ("one", "two"):
        volume.save(path / "labels" / name, grey > 5)
    assert zarr.open_group(path / "labels").attrs["ome"]["labels"] == ["one", "two"]
    np.testing.assert_array_equal(volume.open(path / "labels/two").data, grey > 5)
    with pytest.raises(RefusedOutput, match="within an OME-Zarr"):
        volume.save(tmp_path / "labels" / "x", grey)


@settings(max_examples=15, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 20)] * 3),
    chunk=st.integers(4, 12),
    shard=st.integers(6, 30),
    blocks=st.integers(7, 30),
)
def test_any_chunks_come_back(tmp_path_factory, shape, chunk, shard, blocks):
    data = np.random.default_rng(1).integers(0, 3, shape).astype(np.uint8)
    path = tmp_path_factory.mktemp("any") / "a.zarr"
    volume.save(path, da.from_array(data, chunks=blocks), chunks=chunk, shards=shard)
    np.testing.assert_array_equal(volume.open(path).data, data)


def test_zarr_keeps_the_size_of_voxels(tmp_path, grey):
    volume.save(tmp_path / "a.zarr", grey, voxel_size=(3, 2, 1), unit="nanometer")
    check(volume.open(tmp_path / "a.zarr"), grey, (3, 2, 1), "nanometer")


def test_a_changed_byte_is_found(tmp_path, grey):
    path = tmp_path / "a.zarr"
    volume.save(path, grey, chunks=8, shards=16)
    shard = path / "c/0/1/1"
    content = bytearray(shard.read_bytes())
    content[len(content) // 3] ^= 1
    shard.write_bytes(content)
    with pytest.raises(volume.VolumeError, match=r"a\.zarr: cannot read .*checksum"):
        volume.open(path).data.compute()


# --- HDF5, .npy, raw --------------------------------------------------------------------------


def test_hdf5(tmp_path, grey):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("deep/grey", data=grey, chunks=(4, 8, 8), compression="gzip")
    check(volume.open(tmp_path / "a.h5"), grey)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        other = file.create_dataset("other", data=grey + 1)
        other.attrs["element_size_um"] = (3.0, 2.0, 1.0)
    check(volume.open(f"{tmp_path}/a.h5:/deep/grey"), grey)
    check(volume.open(f"{tmp_path}/a.h5:other"), grey + 1, (3, 2, 1), "micrometer")
    with pytest.raises(volume.VolumeError, match="deep/grey, other"):
        volume.open(tmp_path / "a.h5")
    with pytest.raises(volume.VolumeError, match="no dataset 'x'"):
        volume.open(f"{tmp_path}/a.h5:/x")


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<f4", ">f8", "i1"])
def test_npy_and_raw(tmp_path, grey, dtype, order):
    data = np.asarray(grey.astype(dtype), order=order)
    np.save(tmp_path / "a.npy", data)
    check(volume.open(tmp_path / "a.npy"), data)
    (tmp_path / "a.raw").write_bytes(b"header" + data.tobytes(order))
    about = {"shape": SHAPE, "dtype": dtype, "offset": 6, "order": order}
    check(volume.open(tmp_path / "a.raw", voxel_size=2, **about), data, (2, 2, 2))
    with pytest.raises(volume.VolumeError, match="the file holds"):
        volume.open(tmp_path / "a.raw", **about | {"offset": 7})


def test_axes_come_in_one_order(tmp_path, grey):
    np.save(tmp_path / "a.npy", grey.transpose(2, 1, 0))
    check(volume.open(tmp_path / "a.npy", axes="xyz", voxel_size=(3, 2, 1)), grey, (3, 2, 1))
    np.save(tmp_path / "b.npy", grey[None])
    with pytest.raises(volume.VolumeError, match="pass axes"):
        volume.open(tmp_path / "b.npy")
    check(volume.open(tmp_path / "b.npy", axes="czyx"), grey)
    for axes, message in (("zzyx", "once"), ("zyx", "4 axes"), ("abcd", "select one")):
        with pytest.raises(volume.VolumeError, match=message):
            volume.open(tmp_path / "b.npy", axes=axes)
    with pytest.raises(volume.VolumeError, match="image has x and y"):
        volume.open(tmp_path / "b.npy", axes="abcx", select={"b": 0, "c": 0})


def test_pickled_objects_are_never_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[{}]]), allow_pickle=True)
    with pytest.raises(volume.VolumeError, match="pickled"):
        volume.open(tmp_path / "a.npy")


def test_what_is_no_volume_is_refused(tmp_path):
    with pytest.raises(volume.VolumeError, match="no such file"):
        volume.open(tmp_path / "a.tif")
    (tmp_path / "a.dat").write_bytes(b"x" * 100)
    with pytest.raises(volume.VolumeError, match="shape and dtype"):
        volume.open(tmp_path / "a.dat")
    np.save(tmp_path / "c.npy", np.zeros((3, 3), complex))
    with pytest.raises(volume.VolumeError, match="complex128"):
        volume.open(tmp_path / "c.npy")


# --- BigTIFF ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4", "?"])
def test_bigtiff_comes_back(tmp_path, grey, dtype):
    data = (grey % 2 if dtype == "?" else grey).astype(dtype)
    volume.save(tmp_path / "a.tif", da.from_array(data, chunks=(2, 9, 50)), voxel_size=(3, 2, 1),
                unit="um")  # fmt: skip
    expected = data.astype("u1") * 255 if dtype == "?" else data
    check(volume.open(tmp_path / "a.tif"), expected.astype(expected.dtype), (3, 2, 1), "micrometer")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), expected)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.is_bigtiff


# --- whole or not at all ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.ome.zarr", "a.zarr", "a.tif"])
def test_an_error_leaves_nothing(tmp_path, grey, name):
    def fail(block):
        raise RuntimeError("no")

    data = da.from_array(grey, chunks=16).map_blocks(fail, dtype=grey.dtype)
    with pytest.raises((RuntimeError, volume.VolumeError), match="no"):
        volume.save(tmp_path / name, data)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.ome.zarr", "a.zarr", "a.tif"])
def test_what_exists_is_kept_unless_forced(tmp_path, grey, name):
    volume.save(tmp_path / name, grey)
    with pytest.raises(RefusedOutput, match="exists"):
        volume.save(tmp_path / name, grey + 1)
    np.testing.assert_array_equal(volume.open(tmp_path / name).data, grey)
    volume.save(tmp_path / name, grey + 1, force=True)
    np.testing.assert_array_equal(volume.open(tmp_path / name).data, grey + 1)
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.ome.zarr", "a.zarr", "a.tif"])
def test_a_full_disk_leaves_nothing(tmp_path, name):
    program = f"""
import resource, signal, numpy as np, dask.array as da
from gpuseg import volume
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
data = da.random.default_rng(0).integers(0, 60000, (64, 64, 64), chunks=32, dtype="u2")
try:
    volume.save({str(tmp_path / name)!r}, data)
except OSError as error:
    print(error.strerror)
except volume.VolumeError as error:
    assert "cannot be written whole: " in str(error)
    print("File too large")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("File too large\n", "")
    assert list(tmp_path.iterdir()) == []


def test_bad_arguments(tmp_path, grey):
    for name, data, options, error, message in (
        ("a.xyz", grey, {}, RefusedOutput, "must end in"),
        ("a.tif", grey, {"labels": {"x": grey}}, RefusedOutput, "only .ome.zarr"),
        ("a.ome.zarr", grey, {"labels": {"x": grey[1:]}}, ValueError, "of the shape"),
        ("a.ome.zarr", grey, {"labels": {"../x": grey}}, ValueError, "name of labels"),
        ("a.zarr", grey, {"voxel_size": 0}, ValueError, "voxel_size"),
        ("a.zarr", grey, {"chunks": (1, 2)}, ValueError, "3 positive integers"),
        ("no/a.zarr", grey, {}, RefusedOutput, "does not exist"),
        ("a.zarr", grey + 1j, {}, TypeError, "complex"),
        ("a.tif", grey.astype("i8"), {}, RefusedOutput, "int64"),
        ("a.zarr", grey[0, 0], {}, ValueError, "image or a volume"),
    ):
        with pytest.raises(error, match=message):
            volume.save(tmp_path / name, data, **options)
    assert list(tmp_path.iterdir()) == []
