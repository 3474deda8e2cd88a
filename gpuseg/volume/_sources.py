"""Files as things that give any box of a volume. They can be pickled, and hold nothing open."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import numpy as np

from .._files import RefusedOutput, shown
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
        self.path = Path(path)
        self.shape = tuple(map(int, shape))
        self.dtype = np.dtype(dtype).newbyteorder("=")
        self.pieces = tuple(min(int(p), n) for p, n in zip(pieces, self.shape))
        self.ndim = len(self.shape)

    def __getitem__(self, box):
        """The box of a tuple of slices with step 1, in native byte order."""
        where = ", ".join(f"{s.start}:{s.stop}" for s in box)
        with blamed(self.path, f"cannot read [{where}]"):
            found = self._read(box)
            expected = tuple(s.stop - s.start for s in box)
            if found.shape != expected:
                raise VolumeError(f"{shown(self.path)}: ends before its voxels at [{where}] do")
        return found.astype(self.dtype, copy=False)

    def _read(self, box):
        raise NotImplementedError

    def identity(self) -> str:
        """What of its files it is."""
        parts = {k: v.identity() if isinstance(v, Source) else v for k, v in vars(self).items()}
        return f"{type(self).__name__} {parts}"

    def files(self) -> list[Path]:
        """The files that hold it."""
        if self.path.is_dir():
            return sorted(p for p in self.path.rglob("*") if p.is_file())
        return [self.path]


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
    """A TIFF file of compressed or scattered pages or tiles: only those of the box are decoded."""

    def __init__(self, path, shape, dtype, pieces, series: int | None, *, tiled: bool):
        super().__init__(path, shape, dtype, pieces)
        self.series, self.tiled = series, tiled

    def _read(self, box):
        import tifffile
        import zarr

        mode = tifffile.CHUNKMODE.STRILE if self.tiled else tifffile.CHUNKMODE.PAGE
        with tifffile.TiffFile(self.path) as tiff:
            if self.series is not None:
                store = tiff.aszarr(series=self.series, level=0, chunkmode=mode)
                with store:
                    return zarr.open_array(store, mode="r")[box]
            # Many images of one shape that are no series: a stack.
            pages = [tiff.series[i].asarray()[box[1:]] for i in range(box[0].start, box[0].stop)]
            return np.stack(pages)


class Slices(Source):
    """A folder of images, one a slice."""

    def __init__(self, path, names, shape, dtype):
        super().__init__(path, shape, dtype, (16, *shape[1:]))
        self.names = names

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


class Zarr(Source):
    """An array of a Zarr store of version 2 or 3."""

    def __init__(self, path, array):
        super().__init__(path, array.shape, array.dtype, array.shards or array.chunks)

    def _read(self, box):
        import zarr

        return np.asarray(zarr.open_array(self.path, mode="r")[box])


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
