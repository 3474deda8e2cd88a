"""Write images and volumes of any size: whole, or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from .. import _checks
from .._files import (
    RefusedOutput,
    _sync,
    check_is_no_input,
    name_folder,
    put_back,
    remove,
    shown,
    whole_file,
)
from ._open import Volume
from ._sources import Source, blamed
from ._store import Target, coarser, group, label_names, ome_metadata, pyramid_shapes, refuse_axes


def save(path, data, *, labels=None, voxel_size=None, unit=None, chunks=None, shards=None,
         levels=None, nearest=None, force=False) -> None:  # fmt: skip
    """Write an image or a volume, whatever its size, to OME-Zarr, Zarr or BigTIFF.

    The form is told by the name: ``.ome.zarr`` for OME-Zarr 0.5 with a pyramid, ``.zarr`` for one
    array, ``.tif`` or ``.tiff`` for BigTIFF with OME metadata; ``scan.ome.zarr/labels/NAME`` adds
    labels to an OME-Zarr that exists. Data are computed shard by shard, so
    that each file has one writer, which writes it once and whole; every chunk carries a checksum.

    Parameters
    ----------
    path : path-like
        The file or folder. It takes its name when it is complete; an error leaves nothing.
    data : Volume, dask.array.Array or array_like
        A `Volume` brings its voxel size along. bool is written as 0 and 1 in Zarr, as 0 and 255 in
        TIFF. Dask arrays are computed by the scheduler in use (``dask.config``), which must reach
        the files.
    labels : dict, optional
        Label images of the same shape by name: OME-Zarr only, written under ``labels/<name>``.
    voxel_size, unit : optional
        Size of a voxel, a number or one for each axis, and its unit. Default: the `Volume`'s.
    chunks, shards : int or sequence of int, optional
        Shapes of the chunks and of the shards that hold them, in voxels. Default: 64 and 256 along
        each axis of a volume, 512 and 4096 of an image.
    levels : int, optional
        How many levels an OME-Zarr has. Default: until the longest axis has at most 256.
    nearest : bool, optional
        True for a pyramid of every second voxel, as labels need; False for means. Default: means,
        but for bool.
    force : bool, optional
        Replace what exists.

    Raises
    ------
    RefusedOutput
        The output exists, or its folder does not, or the output is a file that `data` or `labels`
        are read from, by any name.
    OSError
        The disk is full; nothing is left.

    Notes
    -----
    Peak memory: a few shards for each thread of the scheduler, and a slab of slices for TIFF.

    References
    ----------
    .. [1] J. Moore et al., "OME-Zarr: a cloud-optimized bioimaging file format with international
       community support", Histochem. Cell Biol. 160, 2023. :DOI:`10.1007/s00418-023-02209-1`

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from pathlib import Path
    >>> from gpuseg import volume
    >>> grey = np.arange(60, dtype=np.uint16).reshape(3, 4, 5)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "scan.ome.zarr")
    ...     volume.save(path, grey, labels={"bright": grey > 30}, voxel_size=(2, 1, 1), unit="um")
    ...     print(volume.open(path).voxel_size, volume.open(path / "labels/bright").shape)
    (2.0, 1.0, 1.0) (3, 4, 5)
    """
    path = Path(path)
    form = output_form(path)
    _checks.flags(force=force)
    labels = _checks.mapping(labels, "labels")
    for given in (data, *labels.values()):
        check_sources(path, sources_of(given))
    data, axes, voxel_size, unit = described(data, voxel_size, unit)
    if labels and form != "OME-Zarr":
        raise RefusedOutput(f"{shown(path)}: only .ome.zarr takes labels beside an image")
    for name, values in labels.items():
        if not name or not set(name) <= set(_LETTERS):
            raise ValueError(
                f"the name of labels must be of letters, digits, - and _, got {name!r}"
            )
        values = labels[name] = described(values, voxel_size, unit)[0]
        if values.shape != data.shape or values.dtype.kind not in "bui":
            raise ValueError(
                f"labels {name!r} must be integers or bool of the shape {data.shape}, got "
                f"{values.dtype} of {values.shape}"
            )
    refuse_existing(path, force=force)
    if form == "TIFF":
        if data.dtype.itemsize == 8 and data.dtype.kind in "iu":
            raise RefusedOutput(
                f"TIFF programs read no data of {data.dtype}: use .zarr or .ome.zarr"
            )
        with whole_file(path, force=force) as file, blamed(path, "cannot be written whole"):
            write_tiff(file, data, axes, voxel_size, unit)
        return
    options = {"chunk": chunks, "shard": shards}
    with whole_store(path, force=force) as there:
        if form == "Zarr":
            _fill(Target(there, data.shape, _stored(data.dtype), axes=axes, **options), data)
            group_attributes = {"axes": axes, "voxel_size": list(voxel_size), "unit": unit}
            _set_attributes(there, group_attributes)
            return
        nearest = data.dtype.kind == "b" if nearest is None else bool(nearest)
        name = path.name.removesuffix(".zarr").removesuffix(".ome")
        about = axes, voxel_size, unit, levels
        if is_label(path):
            _save_image(there, path.name, data, about, label=True, nearest=True, options=options)
            return
        _save_image(there, name, data, about, label=False, nearest=nearest, options=options)
        for name, values in labels.items():
            _save_image(there / "labels" / name, name, values, about, label=True, nearest=True,
                        options=options)  # fmt: skip
        if labels:
            group(there / "labels", {"ome": {"version": "0.5", "labels": list(labels)}})


_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"


def output_form(path: Path) -> str:
    """The form that an output's name asks for."""
    name = path.name.lower()
    if is_label(path):
        return "OME-Zarr"
    if name.endswith(".ome.zarr"):
        return "OME-Zarr"
    for suffix, form in ((".zarr", "Zarr"), (".tif", "TIFF"), (".tiff", "TIFF")):
        if name.endswith(suffix):
            return form
    if path.absolute().parent.name == "labels":
        raise RefusedOutput(f"{shown(path)}: labels/NAME is for labels within an OME-Zarr 0.5")
    raise RefusedOutput(f"{shown(path)}: an output must end in .ome.zarr, .zarr, .tif or .tiff")


def refuse_existing(path: Path, *, force: bool) -> None:
    """Refuse an output that cannot, or must not, be written."""
    folder = path.absolute().parent
    if is_label(path) and not os.path.lexists(folder):
        folder = folder.parent  # the folder of labels is made with the first of them
    if not folder.is_dir():
        raise RefusedOutput(f"{shown(path)}: the folder {shown(folder)} does not exist")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise RefusedOutput(f"{shown(path)}: the folder {shown(folder)} is not writable")
    put_back(_old(path), path)
    if os.path.lexists(path) and not force:
        raise RefusedOutput(f"{shown(path)} exists: pass force=True (--force) to replace it")


def sources_of(data) -> list[Source]:
    """The files that an array is read from, as far as it tells."""
    if isinstance(data, Volume):
        return [data.source]
    layers = getattr(getattr(data, "dask", None), "layers", {})
    found = []
    for layer in layers.values():
        # An array that Dask is given has a task to itself, of which the others are made.
        if len(layer) <= 2:
            found += [
                x
                for task in dict(layer).values()
                for x in (task, getattr(task, "value", None))
                if isinstance(x, Source)
            ]
    return found


def check_sources(path: Path, sources: list[Source]) -> None:
    """Refuse an output that is an input; labels may go into the OME-Zarr that they are of."""
    for source in sources:
        check_is_no_input(path, source.originals(labels=is_label(path)))
        if source.takes_in(path):
            raise RefusedOutput(
                f"{shown(path)} would be a slice of the input: choose another folder"
            )


def described(data, voxel_size, unit):
    """A Dask array, its axes, its voxel size and unit."""
    from dask import array as da

    axes = None
    if isinstance(data, Volume):
        axes = data.axes
        voxel_size = data.voxel_size if voxel_size is None else voxel_size
        unit = data.unit if unit is None else unit
        data = data.data
    if not isinstance(data, da.Array):
        data = da.from_array(_checks.real_array(data, "data"))
    if data.dtype.kind not in "buif" or data.dtype == np.float16:
        raise TypeError(f"data must hold bool, integers, float32 or float64, got {data.dtype}")
    if data.ndim not in (2, 3) or 0 in data.shape:
        raise ValueError(f"data must be an image or a volume with voxels, got shape {data.shape}")
    if unit is not None and not isinstance(unit, str):
        raise TypeError(f"unit must be a str, got {_checks.shown(unit)}")
    sizes = _checks.per_axis(1 if voxel_size is None else voxel_size, "voxel_size", data.ndim,
                             above=0)  # fmt: skip
    return data, refuse_axes(axes, data.ndim), tuple(map(float, sizes)), unit or ""


def _stored(dtype: np.dtype) -> np.dtype:
    """bool becomes uint8, which every program reads."""
    return np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("=")


@contextlib.contextmanager
def whole_store(path: Path, *, force: bool) -> Iterator[Path]:
    """A folder to fill, which takes its name only once it is complete."""
    path = path.absolute()
    temporary = path.with_name(f".{secrets.token_hex(8)}.gpuseg-part")
    with folder_of_labels(path):
        try:
            yield temporary
            publish(temporary, path, force=force, old=_old(path))
        finally:
            remove(temporary)
            if os.path.lexists(path):
                remove(_old(path))


def _old(path: Path) -> Path:
    """Where what is replaced lies while its name is given to another, if that takes two steps."""
    return path.absolute().with_name(f".{path.name}.gpuseg-old")


def publish(made: Path, path: Path, *, force: bool, old: Path) -> None:
    """Give a complete folder its name, in the place of what is there if that is to be replaced."""
    name_folder(made, path, force=force, old=old)
    _sync(path.parent)
    if is_label(path):
        add_label(path.parent, path.name)


def is_label(path: Path) -> bool:
    """Whether a path is that of labels within an OME-Zarr 0.5: SCAN.ome.zarr/labels/NAME."""
    labels = path.absolute().parent
    if labels.name != "labels":
        return False
    try:
        found = json.loads((labels.parent / "zarr.json").read_text("utf-8"))
        return "ome" in found["attributes"]
    except (OSError, ValueError, LookupError, TypeError):
        return False


@contextlib.contextmanager
def folder_of_labels(path: Path) -> Iterator[None]:
    """Make the folder that labels lie in; remove it if it is empty in the end."""
    if not is_label(path):
        yield
        return
    folder = path.absolute().parent
    folder.mkdir(exist_ok=True)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _set_attributes(path: Path, attributes: Mapping) -> None:
    import zarr

    zarr.open_array(path, mode="r+").attrs.update(attributes)


def _fill(target: Target, data) -> None:
    """Compute an array into a new Zarr array, one task a shard."""
    import dask

    target.create()
    aligned = data.rechunk(target.shard).to_delayed().ravel()
    write = dask.delayed(target.write, pure=False, traverse=False)
    dask.compute(*(write(number, block) for number, block in enumerate(aligned)))


def _save_image(path: Path, name: str, data, about, *, label: bool, nearest: bool, options: dict):
    """An OME-Zarr image with its pyramid."""
    import dask

    axes, voxel_size, unit, levels = about
    shapes = pyramid_shapes(data.shape, levels)
    group(path, ome_metadata(name, axes, voxel_size, unit, shapes, label=label))
    finest = finer = Target(path / "0", data.shape, _stored(data.dtype), axes=axes, **options)
    _fill(finest, data)
    for number, shape in enumerate(shapes[1:], 1):
        target = Target(path / str(number), shape, finest.dtype, axes=axes, **options).create()
        shrink = dask.delayed(write_coarser, pure=False, traverse=False)
        dask.compute(*(shrink(finer, target, i, nearest=nearest) for i in range(len(target.boxes))))
        finer = target


def write_coarser(finer: Target, target: Target, number: int, *, nearest: bool) -> int:
    values = coarser(finer, target.boxes[number], target.dtype, nearest=nearest)
    return target.write(number, values)


def add_label(labels: Path, name: str) -> None:
    """List a name in the labels of an OME-Zarr: one process after the other."""
    with _alone_in(labels.parent):
        names = label_names(labels)
        if name not in names:
            group(labels, {"ome": {"version": "0.5", "labels": [*names, name]}})


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other process or thread is in such a block for this folder."""
    if sys.platform == "win32":
        import msvcrt

        # A folder cannot be locked there.
        with open(folder / ".gpuseg-lock", "ab") as file:
            while True:
                with contextlib.suppress(OSError):  # it gives up after ten seconds
                    msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
                    break
            try:
                yield
            finally:
                msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
        return
    import fcntl

    descriptors = [os.open(folder, os.O_RDONLY)]
    try:
        try:
            fcntl.flock(descriptors[0], fcntl.LOCK_EX)
        except OSError:  # such as NFS, where only what can be written to can be locked
            descriptors.append(os.open(folder / ".gpuseg-lock", os.O_RDWR | os.O_CREAT, 0o666))
            fcntl.flock(descriptors[1], fcntl.LOCK_EX)
        yield
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


# --- TIFF -------------------------------------------------------------------------------------


_SHORT = {"micrometer": "µm", "millimeter": "mm", "nanometer": "nm", "meter": "m",
          "centimeter": "cm", "picometer": "pm", "angstrom": "Å", "um": "µm"}  # fmt: skip


def write_tiff(file, data, axes: str, voxel_size, unit: str) -> None:
    """Page after page; 64 slices are computed at a time."""
    import tifffile

    dtype = _stored(data.dtype)
    metadata: dict = {"axes": axes.upper()}
    for axis, value in zip(axes.upper(), voxel_size):
        metadata[f"PhysicalSize{axis}"] = value
        metadata[f"PhysicalSize{axis}Unit"] = _SHORT.get(unit, unit or "pixel")
    tifffile.imwrite(
        file,
        _pages(data, dtype),
        shape=data.shape,
        dtype=dtype,
        bigtiff=True,
        ome=True,
        photometric="minisblack",
        metadata=metadata,
    )


def _pages(data, dtype):
    if data.ndim == 2:
        yield _page(data.compute(), dtype)
        return
    step = max(1, min(64, (128 << 20) // max(data.nbytes // len(data), 1)))
    for start in range(0, len(data), step):
        for page in data[start : start + step].compute():
            yield _page(page, dtype)


def _page(page, dtype):
    return page.astype(dtype) * np.uint8(255) if page.dtype == bool else page.astype(dtype)
