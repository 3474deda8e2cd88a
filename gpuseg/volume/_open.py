"""Open files of volumes lazily, with what they say of axes and the size of voxels."""

from __future__ import annotations

import contextlib
import json
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import _checks
from .._files import shown
from ._sources import Hdf5, Mapped, Slices, Source, Tiff, View, VolumeError, Zarr, blamed

SPATIAL = "zyx"
_HDF5 = (".h5", ".hdf5", ".hdf", ".nxs", ".he5")


class Volume(NamedTuple):
    """A lazy image or volume, and what its file says of it.

    Attributes
    ----------
    data : dask.array.Array
        The voxels, axes in the order z, y, x.
    axes : str
        The names of the axes, ``"zyx"`` or ``"yx"``.
    voxel_size : tuple of float
        The size of a voxel along each axis; 1 where the file does not say.
    unit : str
        Of the voxel size, such as ``"micrometer"``; empty where the file does not say.
    source : object
        What reads boxes of the volume from its file.
    """

    data: Any
    axes: str
    voxel_size: tuple[float, ...]
    unit: str
    source: Source

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.shape

    @property
    def dtype(self) -> np.dtype:
        return self.source.dtype

    @property
    def ndim(self) -> int:
        return self.source.ndim

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.data, dtype=dtype)

    def __repr__(self) -> str:
        sizes = " x ".join(f"{v:g}" for v in self.voxel_size)
        return (f"Volume({self.axes}, shape={self.shape}, dtype={self.dtype}, "
                f"voxel_size=({sizes}){' ' + self.unit if self.unit else ''}, "
                f"path={shown(self.source.path)!r})")  # fmt: skip


class _Found(NamedTuple):
    """What a file says: a source, and for each of its axes a name and a size, None if unsaid."""

    source: Source
    axes: str | None = None
    voxel_size: tuple | None = None
    unit: str = ""


def open(path, *, shape=None, dtype=None, offset=0, order="C", axes=None, voxel_size=None,
         unit=None, level=0, select=None, chunks=None) -> Volume:  # fmt: skip
    """Open an image or a volume lazily, whatever its size.

    Read are TIFF and BigTIFF (mapped where the file holds the voxels one after the other, else by
    pages or tiles), a folder with one image a slice (in natural order: 2 before 10), Zarr of
    version 2 and 3, OME-Zarr 0.4 and 0.5 at any level, HDF5, ``.npy``, and raw voxels.

    Parameters
    ----------
    path : path-like
        The file or the folder; ``file.h5:/name/of/dataset`` for HDF5, ``store.zarr/name`` for an
        array in a Zarr group. What it holds is told by its content.
    shape, dtype, offset, order
        For a file of raw voxels, and only there: shape and type (``">u2"`` where the byte order is
        foreign), how many bytes come first, and ``"F"`` where the first axis runs fastest.
    axes : str, optional
        The names of the axes of the file, such as ``"zyx"``, ``"xyz"`` or ``"tczyx"``: instead of
        what the file says, or of z, y, x.
    voxel_size : float or sequence of float, optional
        Size of a voxel, or one along each axis of the result, instead of what the file says.
    unit : str, optional
        Unit of `voxel_size`.
    level : int, optional
        Level of the pyramid of an OME-Zarr; 0 is the finest.
    select : dict, optional
        Which index to take along axes other than z, y and x, such as ``{"c": 0}``. Axes with one
        element need none.
    chunks : optional
        Chunks of the Dask array; a form that `dask.array.from_array` takes. Default: like the
        pieces of the file, joined to about 32 MiB.

    Returns
    -------
    Volume
        With a Dask array ``data`` whose axes are z, y, x (or y, x), ``voxel_size`` and ``unit``.

    Raises
    ------
    VolumeError
        The file is missing, damaged or of no known form, its slices have different shapes, its
        axes are not z, y and x and nothing is selected. Damaged voxels raise it when they are read.

    Notes
    -----
    Opening reads headers only. A read takes the memory of its box, and of the compressed pieces
    that it touches.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from pathlib import Path
    >>> from gpuseg import volume
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.arange(24, dtype=np.uint16).reshape(2, 3, 4).tofile(Path(folder, "a.raw"))
    ...     scan = volume.open(Path(folder, "a.raw"), shape=(2, 3, 4), dtype="u2", voxel_size=0.5)
    ...     print(scan.axes, scan.voxel_size, int(scan.data.sum()))
    zyx (0.5, 0.5, 0.5) 276
    """
    path = str(path)
    found = _find(path, shape, dtype, offset, order, level)
    if axes is not None:
        found = found._replace(axes=_axis_names(axes, found.source.ndim))
    return _volume(found, voxel_size, unit, select, chunks)


def _find(path: str, shape, dtype, offset, order, level) -> _Found:
    if shape is not None or dtype is not None:
        return _raw(Path(path), shape, dtype, offset, order)
    dataset = re.fullmatch(r"(.+?):/*([^:]*)", path)
    if dataset and not Path(path).exists() and Path(dataset[1]).is_file():
        return _hdf5(Path(dataset[1]), dataset[2])
    file = Path(path)
    if not file.exists():
        raise VolumeError(f"{shown(path)}: there is no such file or folder")
    if file.is_dir():
        return _zarr(file, level) if _is_zarr(file) else _slices(file)
    with _builtin_open(file) as opened:
        start = opened.read(8)
    if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _tiff(file)
    if start[:6] == b"\x93NUMPY":
        return _npy(file)
    if start == b"\x89HDF\r\n\x1a\n":
        return _hdf5(file, "")
    if file.suffix.lower() in (".png", ".jpg", ".jpeg"):
        return _slices(file.parent, [file.name])
    raise VolumeError(
        f"{shown(path)}: is neither TIFF, .npy, HDF5, Zarr nor a folder of slices; "
        "raw voxels need shape and dtype"
    )


def _builtin_open(file: Path):
    return file.open("rb")


# --- one form each ----------------------------------------------------------------------------


def _raw(path: Path, shape, dtype, offset, order) -> _Found:
    if shape is None or dtype is None:
        raise VolumeError(f"{shown(path)}: raw voxels need both shape and dtype")
    shape = _checks.sequence(shape, "shape", "integers")
    shape = tuple(_checks.integer(n, "shape", at_least=1) for n in shape)
    offset = _checks.integer(offset, "offset", at_least=0)
    _checks.option(order, "order", ("C", "F"))
    dtype = _checks.number_type(dtype, "dtype")
    if not path.is_file():
        raise VolumeError(f"{shown(path)}: there is no such file")
    _long_enough(path, offset + math.prod(shape) * dtype.itemsize, shape, dtype)
    return _Found(_mapped(path, shape, dtype, offset, order))


def _long_enough(path: Path, wanted: int, shape, dtype) -> None:
    held = path.stat().st_size
    if held < wanted:
        raise VolumeError(
            f"{shown(path)}: shape {tuple(shape)} of {dtype} needs {wanted} bytes, "
            f"the file holds {held}"
        )


def _mapped(path: Path, shape, dtype, offset: int, order: str = "C") -> Source:
    """What runs along the first axis fastest is the transpose of an array in C order."""
    if order == "C":
        return Mapped(path, shape, dtype, offset)
    ndim = len(shape)
    return View(Mapped(path, shape[::-1], dtype, offset), {}, tuple(range(ndim))[::-1])


def _npy(path: Path) -> _Found:
    with blamed(path, "is no .npy file that can be read"), _builtin_open(path) as file:
        version = np.lib.format.read_magic(file)
        reader = {(1, 0): np.lib.format.read_array_header_1_0,
                  (2, 0): np.lib.format.read_array_header_2_0}.get(version)  # fmt: skip
        if reader is None:
            raise VolumeError(f"{shown(path)}: version {version} of .npy holds no plain array")
        shape, fortran, dtype = reader(file)
        offset = file.tell()
    if dtype.hasobject:
        raise VolumeError(f"{shown(path)}: holds pickled Python objects, which are never loaded")
    _long_enough(path, offset + math.prod(shape) * dtype.itemsize, shape, dtype)
    return _Found(_mapped(path, shape, dtype, offset, "F" if fortran else "C"))


def _slices(folder: Path, names: list[str] | None = None) -> _Found:
    from .. import _images

    is_folder = names is None
    if names is None:
        names = [p.name for p in folder.iterdir()
                 if p.suffix.lower() in Slices.suffixes and not p.name.startswith(".")]  # fmt: skip
        names.sort(key=_natural)
    if not names:
        raise VolumeError(
            f"{shown(folder)}: holds no slices ({', '.join(Slices.suffixes)}) and no Zarr"
        )
    first = None
    for name in names:
        with blamed(folder / name, "cannot be read"):
            header = _images.read_header(folder / name)
        shape = tuple(n for i, n in enumerate(header.shape) if i != header.channel_axis)
        if len(shape) != 2:
            raise VolumeError(f"{shown(folder / name)}: is no slice: it has shape {shape}")
        dtype = header.dtype
        if header.channel_axis is not None:
            dtype = _images.read(folder / name).array.dtype  # the type of a luminance
        if first is None:
            first = shape, dtype
        elif first != (shape, dtype):
            raise VolumeError(
                f"{shown(folder / name)}: has shape {shape} of {dtype}, where the slices before "
                f"have {first[0]} of {first[1]}"
            )
    shape = (len(names), *first[0])
    return _Found(Slices(folder, names, shape, first[1], is_folder=is_folder))


def _natural(name: str):
    """Numbers in names count as numbers: 2 before 10."""
    parts = re.split(r"(\d+)", name.lower())
    return [(1, int(p), "") if p.isdecimal() else (0, 0, p) for p in parts], name


def _tiff(path: Path) -> _Found:
    from .. import _images

    with blamed(path, "is no TIFF that can be read"), _images._open_tiff(path) as tiff:
        if not tiff.series:
            raise VolumeError(f"{shown(path)}: holds no image")
        if len({(s.shape, s.dtype) for s in tiff.series}) > 1:
            listed = ", ".join(" x ".join(map(str, s.shape)) for s in tiff.series[:4])
            raise VolumeError(f"{shown(path)}: holds images that make no stack: {listed}")
        series = tiff.series[0]
        if len(tiff.series) > 1:
            shape = (len(tiff.series), *series.shape)
            source = Tiff(path, len(tiff.series), shape, series.dtype, (1, *series.shape))
            return _Found(source)
        sizes, unit = _tiff_sizes(tiff)
        names = "".join(_tiff_axis(name) for name in series.axes)
        if "z" not in names and len([n for n in names if n in "ips"]) >= 1:
            # An axis that nothing names is depth, unless it holds samples of a colour.
            names = re.sub("[ip]", "z", names, count=1)
        voxel_size = tuple(sizes.get(name) for name in names)
        page = series.keyframe
        offset = series.dataoffset
        if offset is not None and series.shape:
            dtype = series.dtype.newbyteorder(tiff.byteorder)
            _long_enough(path, offset + series.nbytes, series.shape, dtype)
            return _Found(Mapped(path, series.shape, dtype, offset), names, voxel_size, unit)
        lead = len(series.shape) - page.ndim
        if lead < 0 or series.shape[lead:] != page.shape:
            raise VolumeError(
                f"{shown(path)}: pages of shape {page.shape} make no series of {series.shape}"
            )
        # Strips are short: take pages whole; take tiles as they are.
        pieces = (1,) * lead + (page.chunks if page.is_tiled else page.shape)
        source = Tiff(path, None, series.shape, series.dtype, pieces)
        return _Found(source, names, voxel_size, unit)


def _tiff_axis(name: str) -> str:
    return {"Q": "i", "I": "i"}.get(name, name.lower())


_METERS = {"m": "meter", "mm": "millimeter", "cm": "centimeter", "um": "micrometer",
           "µm": "micrometer", "μm": "micrometer", "micron": "micrometer", "microns": "micrometer",
           "nm": "nanometer", "pm": "picometer", "å": "angstrom", "a": "angstrom",
           "pixel": "", "pixels": ""}  # fmt: skip


def _unit(text) -> str:
    text = str(text or "").replace("\\u00B5", "µ").strip()
    return _METERS.get(text.lower(), text)


def _tiff_sizes(tiff) -> tuple[dict[str, float], str]:
    """Size of a voxel by axis and its unit, as OME-TIFF and ImageJ write it."""
    if tiff.ome_metadata:
        found = dict(re.findall(r'\bPhysicalSize(\w+)="([^"]*)"', tiff.ome_metadata))
        sizes = {a.lower(): _positive(found[a]) for a in "XYZ" if a in found}
        return sizes, _unit(found.get("XUnit", "µm")) if sizes else ""
    told = tiff.imagej_metadata
    if not told:
        return {}, ""
    sizes = {"z": _positive(told.get("spacing"))}
    for axis, tag in (("x", "XResolution"), ("y", "YResolution")):
        if tag in tiff.pages[0].tags and told.get("unit"):
            pixels, length = tiff.pages[0].tags[tag].value
            sizes[axis] = length / pixels if pixels and length else None
    return sizes, _unit(told.get("unit"))


def _positive(value) -> float | None:
    try:
        value = float(value)
    except (TypeError, ValueError):
        return None
    return value if 0 < value < math.inf else None


def _hdf5(path: Path, name: str) -> _Found:
    try:
        import h5py
    except ImportError:
        raise ImportError("HDF5 needs h5py: pip install 'gpuseg[volume]'") from None

    with blamed(path, "is no HDF5 file that can be read"), h5py.File(path, "r") as file:
        names: list[str] = []
        file.visititems(
            lambda key, x: names.append(key) if isinstance(x, h5py.Dataset) and x.ndim > 1 else None
        )
        listed = ", ".join(names[:5]) + ", ..." * (len(names) > 5)
        if not name and len(names) != 1:
            raise VolumeError(
                f"{shown(path)}: name one of its datasets, as in {path.name}:/{(names or ['x'])[0]}"
                f" (it holds {listed or 'none'})"
            )
        name = name or names[0]
        if name not in file or not isinstance(file[name], h5py.Dataset):
            raise VolumeError(f"{shown(path)}: has no dataset {name!r} (it holds {listed})")
        dataset = file[name]
        axes = dataset.attrs.get("axes")
        if axes is None and all(len(d.label) == 1 for d in dataset.dims):
            axes = "".join(d.label for d in dataset.dims)
        size = dataset.attrs.get("voxel_size", dataset.attrs.get("element_size_um"))
        unit = dataset.attrs.get("unit", "micrometer" if "element_size_um" in dataset.attrs else "")
        return _Found(Hdf5(path, name, dataset), axes,
                      None if size is None else tuple(map(float, size)), _unit(unit))  # fmt: skip


_MARKS = ("zarr.json", ".zarray", ".zgroup")


def _is_zarr(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _MARKS)


def _zarr(path: Path, level) -> _Found:
    import zarr

    level = _checks.integer(level, "level", at_least=0)
    with blamed(path, "is no Zarr that can be read"):
        node = zarr.open(path, mode="r")
        if isinstance(node, zarr.Array):
            group = _ome_of(path.parent)
            for number, part in enumerate(group[0]["datasets"] if group else ()):
                if part["path"] == path.name:
                    return _ome(path.parent, group, number)
            return _plain_zarr(path, node)
        group = _ome_of(path)
        if group:
            return _ome(path, group, level)
        names = sorted(name for name, _ in node.arrays())
        if len(names) == 1:
            return _plain_zarr(path / names[0], node[names[0]])
        listed = ", ".join(names) or "none"
        raise VolumeError(
            f"{shown(path)}: name one of its arrays, as in {path.name}/NAME (it holds {listed})"
        )


def _plain_zarr(path: Path, array) -> _Found:
    attributes = dict(array.attrs)
    axes = attributes.get("axes")
    names = getattr(array.metadata, "dimension_names", None)
    if axes is None and names and all(names) and all(len(n) == 1 for n in names):
        axes = "".join(names)
    size = attributes.get("voxel_size")
    return _Found(Zarr(path, array), axes, None if size is None else tuple(map(float, size)),
                  _unit(attributes.get("unit")))  # fmt: skip


def _ome_of(folder: Path) -> tuple[dict, str] | None:
    """The first multiscale image of a group's metadata, and its version."""
    for name in ("zarr.json", ".zattrs"):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found = json.loads((folder / name).read_text("utf-8"))
            if name == "zarr.json":
                found = found.get("attributes", {}).get("ome", {})
            images = found.get("multiscales")
            if images:
                version = str(found.get("version", images[0].get("version", "0.4")))
                return images[0], version
    return None


def _ome(path: Path, group: tuple[dict, str], level: int) -> _Found:
    import zarr

    image, version = group
    if version not in ("0.4", "0.5"):
        raise VolumeError(f"{shown(path)}: is OME-Zarr {version}; 0.4 and 0.5 are read")
    parts = image["datasets"]
    if level >= len(parts):
        raise VolumeError(f"{shown(path)}: has levels 0 to {len(parts) - 1}, not {level}")
    array = zarr.open_array(path / parts[level]["path"], mode="r")
    scale = np.ones(array.ndim)
    for step in (*parts[level].get("coordinateTransformations", ()),
                 *image.get("coordinateTransformations", ())):  # fmt: skip
        if step["type"] == "scale":
            scale *= step["scale"]
    names = [axis["name"] for axis in image["axes"]]
    units = [a.get("unit", "") for a in image["axes"] if a["name"] in ("x", "y", "z")]
    axes = "".join(name[0].lower() for name in names)
    return _Found(Zarr(path / parts[level]["path"], array, path), axes,
                  tuple(map(float, scale)), _unit(units[-1] if units else ""))  # fmt: skip


# --- what is common ---------------------------------------------------------------------------


def _axis_names(axes, ndim: int) -> str:
    if not isinstance(axes, str):
        raise TypeError(f"axes must be a string such as 'zyx', got {type(axes).__name__}")
    if len(axes) != ndim or len(set(axes.lower())) != ndim:
        raise VolumeError(f"axes must name each of the {ndim} axes once, got {axes!r}")
    return axes.lower()


def _volume(found: _Found, voxel_size, unit, select, chunks) -> Volume:
    from dask import array as da

    source, name = found.source, shown(found.source.path)
    axes = found.axes
    if axes is None:
        if source.ndim not in (2, 3):
            raise VolumeError(
                f"{name}: has {source.ndim} axes, of shape {source.shape}, and does not name them: "
                "pass axes, such as 'tczyx'"
            )
        axes = SPATIAL[-source.ndim :]
    axes = axes.lower()
    if source.dtype.kind not in "buif":
        raise VolumeError(f"{name}: holds {source.dtype}, which are no real numbers")
    if 0 in source.shape:
        raise VolumeError(f"{name}: is empty, shape {source.shape}")
    fixed = _fixed(name, axes, source.shape, _checks.mapping(select, "select"))
    kept = [a for i, a in enumerate(axes) if i not in fixed]
    wanted = "".join(a for a in SPATIAL if a in kept)
    if len(wanted) < 2:
        raise VolumeError(f"{name}: has the axes {axes!r}; an image has x and y, a volume z too")
    order = tuple(axes.index(a) for a in wanted)
    sizes = found.voxel_size or (None,) * len(axes)
    sizes = tuple(float(sizes[i] or 1) for i in order)
    if fixed or order != tuple(range(source.ndim)):
        source = View(source, fixed, order)
    if voxel_size is not None:
        sizes = _checks.per_axis(voxel_size, "voxel_size", source.ndim, above=0)
    if chunks is not None:
        try:
            chunks = da.core.normalize_chunks(chunks, source.shape, dtype=source.dtype)
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"chunks must be what dask.array.from_array takes for {source.shape}, "
                f"got {_checks.shown(chunks)}: {' '.join(str(error).split())}"
            ) from None
    data = da.from_array(
        source,
        chunks=_chunks(source) if chunks is None else chunks,
        name=False,
        meta=np.empty((0,) * source.ndim, source.dtype),
    )
    return Volume(data, wanted, tuple(map(float, sizes)),
                  found.unit if unit is None else str(unit), source)  # fmt: skip


def _fixed(name: str, axes: str, shape, select: dict) -> dict[int, int]:
    """The index along each axis that is neither z, y nor x."""
    fixed = {}
    for key, index in select.items():
        if key not in axes or key in SPATIAL:
            raise VolumeError(f"{name}: cannot select along {key!r}: its axes are {axes!r}")
        index = _checks.integer(index, f"select[{key!r}]", at_least=0)
        if index >= shape[axes.index(key)]:
            raise VolumeError(
                f"{name}: has {shape[axes.index(key)]} along {key!r}, no index {index}"
            )
        fixed[axes.index(key)] = index
    for i, axis in enumerate(axes):
        if axis in SPATIAL or i in fixed:
            continue
        if shape[i] > 1:
            raise VolumeError(
                f"{name}: has the axes {axes!r} with {shape[i]} along {axis!r}: select one, "
                f"such as {axis}=0, or name the axes"
            )
        fixed[i] = 0
    return fixed


def _chunks(source: Source, size: int = 32 << 20) -> tuple[int, ...]:
    """Whole pieces, joined along the axis where the chunk is shortest until it is large enough."""
    chunk = list(source.pieces)
    while math.prod(chunk) * source.dtype.itemsize * 2 <= size:
        growing = [i for i, n in enumerate(source.shape) if chunk[i] < n]
        if not growing:
            break
        i = min(growing, key=lambda i: chunk[i])
        chunk[i] = min(chunk[i] * 2, source.shape[i])
    return tuple(chunk)
