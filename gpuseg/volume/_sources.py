"""Files as things that give any box of a volume. They can be pickled, and hold nothing open."""

from __future__ import annotations

import contextlib
import itertools
import math
import zlib
from pathlib import Path

import numpy as np

from .._files import RefusedOutput, identity, shown
from .._images import ImageError


class VolumeError(ImageError):
    """A volume that cannot be read or written as asked; the message says why."""


@contextlib.contextmanager
def blamed(path, what: str):
    """Errors of a library, as one line that names the file."""
    try:
        yield
    except (VolumeError, RefusedOutput):
        raise
    except ImageError as error:
        raise VolumeError(str(error)) from error
    except (OSError, MemoryError) as error:
        if isinstance(error, OSError) and error.errno is None:
            raise VolumeError(f"{shown(path)}: {what}: {_line(error)}") from error
        raise
    except Exception as error:
        raise VolumeError(f"{shown(path)}: {what}: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


class Source:
    """What all have: a shape, a type, the shape of the pieces it is stored in, and boxes."""

    def __init__(self, path: Path, shape, dtype, pieces):
        self.path = Path(path).absolute()  # workers may be in another folder
        self.shape = tuple(map(int, shape))
        self.dtype = np.dtype(dtype).newbyteorder("=")
        self.pieces = tuple(min(int(p), n) for p, n in zip(pieces, self.shape))
        self.ndim = len(self.shape)

    def __getitem__(self, index):
        """A part of the volume, in native byte order; each axis is indexed by itself."""
        index = index if isinstance(index, tuple) else (index,)
        index += (slice(None),) * (self.ndim - len(index))
        box, rest = zip(*map(_bounds, index, self.shape))
        found = self._whole(box)
        for axis, part in reversed(list(enumerate(rest))):
            if part is not None:
                found = found[(slice(None),) * axis + (part,)]
        return found

    def _whole(self, box):
        where = ", ".join(f"{s.start}:{s.stop}" for s in box)
        with blamed(self.path, f"cannot read [{where}]"):
            found = self._read(box)
            if found.shape != tuple(s.stop - s.start for s in box):
                raise VolumeError(f"{shown(self.path)}: ends before its voxels at [{where}] do")
        return found.astype(self.dtype, copy=False)

    def _read(self, box):
        raise NotImplementedError

    def identity(self) -> str:
        """What of its files it is, wherever these are."""
        parts = {
            k: v.identity() if isinstance(v, Source) else v
            for k, v in vars(self).items()
            if not isinstance(v, Path)
        }
        return f"{type(self).__name__} {parts}"

    def notes(self) -> list[str]:
        """What whoever reads it should know."""
        return []

    def originals(self, *, labels: bool = False) -> list[Path]:
        """What no output may be, hold or lie within; `labels` for one that is labels of it."""
        return [self.path]

    def takes_in(self, path: Path) -> bool:
        """Whether such an output would be a part of it."""
        return False

    def files(self) -> list[Path]:
        """The files that hold it."""
        if self.path.is_dir():
            return sorted(p for p in self.path.rglob("*") if p.is_file())
        return [self.path]


def _bounds(index, length: int):
    """The range that an index needs, and what to take of that; None for all."""
    if isinstance(index, slice):
        taken = range(length)[index]
        if not taken:
            return slice(0, 0), None
        low, high = min(taken[0], taken[-1]), max(taken[0], taken[-1]) + 1
        return slice(low, high), None if taken.step == 1 else slice(None, None, taken.step)
    index = np.asarray(index)
    if index.dtype == bool:
        index = np.flatnonzero(index)
    index = np.where(index < 0, index + length, index)
    low = int(index.min(initial=length - 1))
    part = index - low
    return slice(low, int(index.max(initial=low)) + 1), int(part) if part.ndim == 0 else part


def _rows(shape, dtype, size: int):
    """As much of the first axis as is about `size` bytes."""
    rest = math.prod(shape[1:]) * np.dtype(dtype).itemsize
    return (max(1, size // max(rest, 1)), *shape[1:])


class Mapped(Source):
    """Voxels one after the other in a file: mapped for each read, so that memory is given back."""

    def __init__(self, path, shape, dtype, offset: int):
        super().__init__(path, shape, dtype, _rows(shape, dtype, 64 << 20))
        self.offset, self.stored = int(offset), np.dtype(dtype)

    def _read(self, box):
        mapped = np.memmap(self.path, self.stored, "r", self.offset, self.shape)
        return np.array(mapped[box])


class Tiff(Source):
    """A TIFF file of compressed or scattered pages: only what the box needs is decoded."""

    def __init__(self, path, series, shape, dtype, pieces):
        super().__init__(path, shape, dtype, pieces)
        self.series = series  # how many, one page each; None for one of many pages

    def _read(self, box):
        import tifffile

        out = np.zeros([s.stop - s.start for s in box], self.dtype)
        with tifffile.TiffFile(self.path) as tiff:
            first = tiff.series[0]
            lead = self.ndim - first.keyframe.ndim
            starts = [s.start for s in box[:lead]]
            for at in np.ndindex(out.shape[:lead]):
                where = [i + start for i, start in zip(at, starts)]
                if self.series is None:
                    page = first.pages[int(np.ravel_multi_index(where, self.shape[:lead]))]
                else:
                    page = tiff.series[where[0]].pages[0]
                if page is not None:  # one that is missing is of zeros
                    _read_page(tiff.filehandle, page, box[lead:], out[at])
        return out


def _read_page(file, page, box, out) -> None:
    key = page.keyframe
    chunks = key.chunks
    ranges = [range(s.start // c, -(-s.stop // c)) for s, c in zip(box, chunks)]
    for at in itertools.product(*ranges):
        index = int(np.ravel_multi_index(at, key.chunked))
        if not page.databytecounts[index]:
            continue
        file.seek(page.dataoffsets[index])
        data = file.read(page.databytecounts[index])
        start = [i * c for i, c in zip(at, chunks)]
        stop = [min(i + c, n) for i, c, n in zip(start, chunks, key.shape)]
        found = _decoded(page, data, index, [b - a for a, b in zip(start, stop)])
        low = [max(a, s.start) for a, s in zip(start, box)]
        high = [min(b, s.stop) for b, s in zip(stop, box)]
        here = tuple(slice(a - s.start, b - s.start) for a, b, s in zip(low, high, box))
        there = tuple(slice(a - o, b - o) for a, b, o in zip(low, high, start))
        out[here] = found[there]


def _decoded(page, data: bytes, index: int, shape):
    key = page.keyframe
    tables = {name: getattr(page, name) for name in ("jpegtables", "jpegheader")
              if getattr(page, name, None) is not None}  # fmt: skip
    try:
        found = key.decode(data, index, **tables)[0]
    except Exception as error:
        # Some software fills the last strip of a page, which tifffile's decoder refuses.
        if "INSUFFICIENT_SPACE" not in str(error):
            raise
        wanted = math.prod(key.chunks if key.is_tiled else shape) * key.dtype.itemsize
        data = zlib.compress(zlib.decompress(data)[:wanted], 1)
        found = key.decode(data, index)[0]
    # Depth, rows, columns and samples, of which the page may lack the first and the last.
    found = found if "S" in key.axes else found[..., 0]
    found = found if len(shape) == found.ndim else found[0]
    return found[tuple(slice(0, n) for n in shape)]


class Slices(Source):
    """A folder of images, one a slice."""

    suffixes = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".npy")

    def __init__(self, path, names, shape, dtype, *, is_folder=True):
        super().__init__(path, shape, dtype, (16, *shape[1:]))
        self.names, self.is_folder = names, is_folder  # or a picture by itself

    def _read(self, box):
        from .. import _images

        out = np.empty([s.stop - s.start for s in box], self.dtype)
        for i, name in enumerate(self.names[box[0]]):
            image = _images.read(self.path / name).array
            if image.shape != self.shape[1:] or image.dtype != self.dtype:
                raise VolumeError(
                    f"{shown(self.path / name)}: has changed to shape {image.shape} of "
                    f"{image.dtype}"
                )
            out[i] = image[box[1:]]
        return out

    def files(self) -> list[Path]:
        return [self.path / name for name in self.names]

    def originals(self, *, labels: bool = False) -> list[Path]:
        return self.files()

    def takes_in(self, path: Path) -> bool:
        fits = self.is_folder and path.suffix.lower() in self.suffixes
        return fits and identity(path.absolute().parent) == identity(self.path)


class Zarr(Source):
    """An array of a Zarr store of version 2 or 3."""

    def __init__(self, path, array, root=None):
        super().__init__(path, array.shape, array.dtype, array.shards or array.chunks)
        self.root = self.path if root is None else Path(root).absolute()  # of its OME-Zarr

    def _read(self, box):
        import zarr

        return np.asarray(zarr.open_array(self.path, mode="r")[box])

    def notes(self) -> list[str]:
        """Whether parts are missing.

        Zarr leaves out what holds nothing but the fill value, and reads it where a part is missing.
        So nobody can tell a part that was lost from one that was never written.
        """
        import zarr

        array = zarr.open_array(self.path, mode="r")
        piece = array.shards or array.chunks
        each = math.prod(s // c for s, c in zip(piece, array.chunks))
        total = math.prod(-(-n // p) for n, p in zip(array.shape, piece))
        missing = total - array.nchunks_initialized // each
        if not missing:
            return []
        return [
            f"{missing} of {total} {'shards' if array.shards else 'chunks'} of "
            f"{shown(self.path)} are not there and count as {array.fill_value}: they were never "
            "written, or are lost"
        ]

    def originals(self, *, labels: bool = False) -> list[Path]:
        return [self.path if labels else self.root]


class Hdf5(Source):
    """A dataset of an HDF5 file."""

    def __init__(self, path, name: str, dataset):
        pieces = dataset.chunks or _rows(dataset.shape, dataset.dtype, 16 << 20)
        super().__init__(path, dataset.shape, dataset.dtype, pieces)
        self.name = name

    def _read(self, box):
        import h5py

        with h5py.File(self.path, "r") as file:
            return file[self.name][box]


class View(Source):
    """Another source with some axes fixed, and the others in another order."""

    def __init__(self, base: Source, fixed: dict[int, int], order: tuple[int, ...]):
        super().__init__(base.path, [base.shape[i] for i in order], base.dtype,
                         [base.pieces[i] for i in order])  # fmt: skip
        self.base, self.fixed, self.order = base, fixed, order

    def _read(self, box):
        full = [
            slice(self.fixed.get(i, 0), self.fixed.get(i, 0) + 1) for i in range(self.base.ndim)
        ]
        for axis, part in zip(self.order, box):
            full[axis] = part
        found = self.base[tuple(full)]
        left = [i for i in range(self.base.ndim) if i not in self.fixed]
        found = found.squeeze(tuple(self.fixed))
        return found.transpose([left.index(i) for i in self.order])

    def files(self) -> list[Path]:
        return self.base.files()

    def notes(self) -> list[str]:
        return self.base.notes()

    def originals(self, *, labels: bool = False) -> list[Path]:
        return self.base.originals(labels=labels)

    def takes_in(self, path: Path) -> bool:
        return self.base.takes_in(path)
