"""Image files: the header first, then the whole image or one line that says why not.

PNG and JPEG through Pillow, TIFF (stacks and BigTIFF too) through tifffile, and ``.npy``.
What a file holds is told by its first bytes; its name only chooses the form of an output.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import _tiff
from ._files import RefusedOutput, shown, whole_file

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\x93NUMPY", "NumPy"),
)
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF",
           ".npy": "NumPy"}  # fmt: skip


class ImageError(ValueError):
    """A file that holds no image that can be read here; the message says why."""


class Header(NamedTuple):
    """What a file says of its image, before anything is allocated."""

    path: Path
    format: str
    shape: tuple[int, ...]
    dtype: np.dtype
    channel_axis: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def ndim(self) -> int:
        """Axes of the grey image."""
        return len(self.shape) - (self.channel_axis is not None)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class Image(NamedTuple):
    """A grey image, and what was done to get it."""

    array: np.ndarray
    header: Header
    notes: tuple[str, ...]


# --- reading ----------------------------------------------------------------------------------


def read(path, *, max_bytes: int | None = None) -> Image:
    """Read a 2-D or 3-D grey image; one in colour becomes its luminance."""
    header = read_header(path, max_bytes=max_bytes)
    with _told(header.path, header.format):
        array = _READERS[header.format](header)
    if array.shape != header.shape:
        raise ImageError(
            f"{shown(header.path)}: holds shape {array.shape} where its header says {header.shape}"
        )
    if header.channel_axis is None:
        return Image(array, header, header.notes)
    grey, note = _grey(np.moveaxis(array, header.channel_axis, -1))
    return Image(grey, header, (*header.notes, note))


def read_header(path, *, max_bytes: int | None = None) -> Header:
    """Find out what a file holds, and refuse what is no image or does not fit in memory."""
    path = Path(path)
    form = _format(path)
    with _told(path, form):
        header = _HEADERS[form](path)
    if header.dtype.kind not in "buif":
        raise ImageError(f"{shown(path)}: holds {header.dtype}, which are no real numbers")
    if header.ndim not in (2, 3):
        raise ImageError(
            f"{shown(path)}: has shape {header.shape}; an image has 2 axes, or 3 for a volume"
        )
    if 0 in header.shape:
        raise ImageError(f"{shown(path)}: is empty, shape {header.shape}")
    allowed = half_of_memory() if max_bytes is None else max_bytes
    if header.nbytes > allowed:
        limit = "half of the memory available" if max_bytes is None else "--max-bytes"
        raise ImageError(
            f"{shown(path)}: shape {header.shape} of {header.dtype} needs {size(header.nbytes)}, "
            f"more than {limit}, {size(allowed)}"
        )
    return header


def size(count: float) -> str:
    """A number of bytes for people."""
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if count < 1024 or unit == "PiB":
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError


def half_of_memory() -> int:
    """Half of what this process can still allocate, by the system and its control group."""
    free = 8 << 30  # where nothing says how much there is
    with contextlib.suppress(OSError, ValueError, AttributeError):
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(x.split()[1]) << 10 for x in lines if x.startswith("MemAvailable:"))
    with contextlib.suppress(OSError, ValueError):  # "max" where there is no limit
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        free = min(free, max(limit - int((group / "memory.current").read_text()), 0))
    return free // 2


def _format(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            start = file.read(8)
    except FileNotFoundError:
        raise ImageError(f"{shown(path)}: there is no such file") from None
    except IsADirectoryError:
        raise ImageError(f"{shown(path)}: is a folder, not an image") from None
    except OSError as error:
        raise ImageError(f"{shown(path)}: cannot be opened: {error.strerror}") from None
    for magic, form in _MAGIC:
        if start.startswith(magic):
            return form
    begins = f"begins with {start!r}" if start else "is empty"
    raise ImageError(f"{shown(path)}: is not a PNG, JPEG, TIFF or .npy file: it {begins}")


@contextlib.contextmanager
def _told(path: Path, form: str) -> Iterator[None]:
    """Turn whatever a decoder raises into one line; a broken file may raise anything."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        if "imagecodecs" in text and "requires" in text:
            text = f"{text.strip(chr(34))}: pip install imagecodecs"
        raise ImageError(f"{shown(path)}: cannot be read as {form}: {text}") from error


def _grey(image: np.ndarray) -> tuple[np.ndarray, str]:
    """Luminance of colours in the last axis; the alpha channel is dropped."""
    from skimage.color import rgb2gray

    alpha = ", alpha dropped" if image.shape[-1] in (2, 4) else ""
    colours = image[..., :3] if image.shape[-1] > 2 else image[..., :1]
    first = colours[..., 0]
    if all(np.array_equal(first, colours[..., i]) for i in range(1, colours.shape[-1])):
        return np.ascontiguousarray(first), f"the colours are all greys: read as grey{alpha}"
    return rgb2gray(colours), f"colour converted to luminance from 0 to 1{alpha}"


# --- PNG and JPEG -----------------------------------------------------------------------------


def _open_picture(path: Path, form: str):
    """Open without Pillow's own limit on sizes: ours is checked before the pixels are read."""
    if form == "PNG":
        from PIL.PngImagePlugin import PngImageFile as File
    else:
        from PIL.JpegImagePlugin import JpegImageFile as File
    return File(path)


def _picture_header(path: Path, form: str) -> Header:
    notes = []
    with _open_picture(path, form) as picture:
        width, height = picture.size
        mode, frames = picture.mode, getattr(picture, "n_frames", 1)
    if form == "PNG" and mode != "I;16" and _png_depth(path) == 16:
        notes.append("16 bits a channel read as 8")
    if frames > 1:
        notes.append(f"the first of {frames} frames")
    dtype = {"1": bool, "I;16": np.uint16, "I;16B": np.uint16, "I": np.int32, "F": np.float32}
    channels = {"LA": 2, "RGB": 3, "P": 3, "PA": 3, "CMYK": 3, "YCbCr": 3, "RGBA": 4}.get(mode)
    shape = (height, width) + ((channels,) if channels else ())
    return Header(path, form, shape, np.dtype(dtype.get(mode, np.uint8)),
                  2 if channels else None, tuple(notes))  # fmt: skip


def _png_depth(path: Path) -> int:
    with open(path, "rb") as file:
        return file.read(25)[24]


def _read_picture(header: Header) -> np.ndarray:
    with _open_picture(header.path, header.format) as picture:
        picture.load()
        picture.info.pop("transparency", None)  # Pillow warns where it cannot keep that
        if len(header.shape) == 3 and picture.mode not in ("LA", "RGB", "RGBA"):
            return np.array(picture.convert("RGB"))
        return np.array(picture)


# --- TIFF -------------------------------------------------------------------------------------


@contextlib.contextmanager
def _open_tiff(path: Path):
    """A TIFF file whose damage raises: tifffile logs it and returns what it could read."""
    import tifffile

    # tifffile reads these, of Hamamatsu's, with 64 bits where TIFF has 32.
    if path.suffix.lower() != ".ndpi":
        _undamaged(path, _tiff.damage(path))
    with tifffile.TiffFile(path) as tiff:
        if tiff.series:
            _undamaged(path, _tiff.lost(tiff, path.stat().st_size))
        yield tiff


def _undamaged(path: Path, damage: str) -> None:
    if damage:
        raise ImageError(f"{shown(path)}: is damaged or is cut off: {damage}")


def _tiff_header(path: Path) -> Header:
    with _open_tiff(path) as tiff:
        series = tiff.series
        if not series:
            raise ImageError(f"{shown(path)}: holds no image")
        first = series[0]
        shape, axes = tuple(map(int, first.shape)), first.axes
        shapes = {(s.shape, s.dtype) for s in series}
        if len(shapes) > 1:
            listed = ", ".join(" x ".join(map(str, s.shape)) + f" {s.dtype}" for s in series[:4])
            more = ", ..." if len(series) > 4 else ""
            raise ImageError(
                f"{shown(path)}: holds {len(series)} images that make no stack: {listed}{more}"
            )
        notes = []
        if len(series) > 1:
            shape, axes = (len(series), *shape), "I" + axes
            notes.append(f"{len(series)} images of one shape read as a stack")
        channel_axis = axes.index("S") if "S" in axes else None
        if channel_axis is not None and shape[channel_axis] not in (2, 3, 4):
            raise ImageError(f"{shown(path)}: has {shape[channel_axis]} samples a pixel")
        named = {"C": "channels", "T": "times"}
        notes += [f"the axis of {n} {named[axis]} is taken as depth"
                  for axis, n in zip(axes, shape) if axis in named]  # fmt: skip
        lacking, pages = _tiff.missing(tiff)
        if lacking:
            notes.append(f"{lacking} of its {pages} pages are missing, and read as zeros")
        return Header(path, "TIFF", shape, np.dtype(first.dtype).newbyteorder("="),
                      channel_axis, tuple(notes))  # fmt: skip


def _read_tiff(header: Header) -> np.ndarray:
    import tifffile

    with tifffile.TiffFile(header.path) as tiff:
        try:
            parts = [series.asarray() for series in tiff.series]
        except Exception as error:
            # Some software fills the last strip of a page, which tifffile's decoder refuses.
            if "INSUFFICIENT_SPACE" not in str(error):
                raise
            parts = [_read_tiff_pages(header)]
    array = parts[0] if len(parts) == 1 else np.stack(parts)
    return array.astype(header.dtype, copy=False)


def _read_tiff_pages(header: Header) -> np.ndarray:
    """By Pillow, which drops the bytes that a strip has too many."""
    from PIL.TiffImagePlugin import TiffImageFile

    with TiffImageFile(header.path) as file:
        pages = []
        for number in range(file.n_frames):
            file.seek(number)
            pages.append(np.array(file))
    return np.stack(pages) if len(header.shape) > pages[0].ndim else pages[0]


# --- NumPy ------------------------------------------------------------------------------------


def _npy_header(path: Path) -> Header:
    with open(path, "rb") as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, _, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise ImageError(f"{shown(path)}: version {version} of .npy holds no plain array")
        start = file.tell()
    if dtype.hasobject:
        raise ImageError(f"{shown(path)}: holds pickled Python objects, which are never loaded")
    if any(n < 0 for n in shape):
        raise ImageError(f"{shown(path)}: claims the shape {shape}")
    header = Header(path, "NumPy", tuple(shape), dtype.newbyteorder("="))
    held = path.stat().st_size - start
    if header.nbytes > held:
        raise ImageError(
            f"{shown(path)}: is cut off: shape {header.shape} of {dtype} needs "
            f"{size(header.nbytes)}, the file holds {size(held)}"
        )
    return header


def _read_npy(header: Header) -> np.ndarray:
    return np.load(header.path, allow_pickle=False).astype(header.dtype, copy=False)


_HEADERS = {
    "PNG": lambda path: _picture_header(path, "PNG"),
    "JPEG": lambda path: _picture_header(path, "JPEG"),
    "TIFF": _tiff_header,
    "NumPy": _npy_header,
}
_READERS = {"PNG": _read_picture, "JPEG": _read_picture, "TIFF": _read_tiff, "NumPy": _read_npy}


# --- writing ----------------------------------------------------------------------------------


def output_format(path) -> str:
    """The form that an output's name asks for."""
    form = FORMATS.get(Path(path).suffix.lower())
    if form is None:
        raise RefusedOutput(
            f"{shown(path)}: an output must end in one of {', '.join(sorted(FORMATS))}"
        )
    return form


def check_form(path, *, ndim: int, labels: bool) -> str:
    """Refuse what the form of an output cannot hold; return the form."""
    form = output_format(path)
    if form in ("PNG", "JPEG") and ndim != 2:
        raise RefusedOutput(f"{shown(path)}: {form} cannot hold a volume: use .tif or .npy")
    if form == "JPEG" and labels:
        raise RefusedOutput(
            f"{shown(path)}: JPEG changes values, so it cannot hold labels: use .png, .tif or .npy"
        )
    return form


def write(path, array: np.ndarray, *, force: bool = False) -> None:
    """Write a mask (bool) or labels (integers), whole or not at all.

    Masks become 0 and 255 except in ``.npy``. Labels keep uint8 and uint16; wider integers become
    uint16 where they fit, else int32 in TIFF, and are refused in PNG.
    """
    path = Path(path)
    form = check_form(path, ndim=array.ndim, labels=array.dtype != bool)
    if form != "NumPy":
        array = _narrow(array, path, form)
    with whole_file(path, force=force) as file:
        if form == "NumPy":
            np.save(file, array, allow_pickle=False)
        elif form == "TIFF":
            _write_tiff(file, array)
        else:
            from PIL import Image as Pillow

            Pillow.fromarray(array).save(file, form, **({"quality": 95} if form == "JPEG" else {}))


def _narrow(array: np.ndarray, path: Path, form: str) -> np.ndarray:
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype in (np.uint8, np.uint16):
        return array
    low, high = int(array.min()), int(array.max())
    if low >= 0 and high <= 65535:
        return array.astype(np.uint16)
    if form == "PNG":
        raise ImageError(
            f"{shown(path)}: labels from {low} to {high} do not fit in a PNG: use .tif or .npy"
        )
    if not -(2**31) <= low <= high < 2**31:
        raise ImageError(f"{shown(path)}: labels from {low} to {high} do not fit in 32 bits")
    return array.astype(np.int32)


def _write_tiff(file, array: np.ndarray) -> None:
    """One page a slice, losslessly packed; BigTIFF where four gigabytes are not enough."""
    import tifffile

    tifffile.imwrite(
        file,
        array,
        bigtiff=array.nbytes > 4_000_000_000,
        photometric="minisblack",
        compression="zlib",  # Python's own zlib serves where imagecodecs is missing
        compressionargs={"level": 1},
        metadata={"axes": "ZYX"[-array.ndim :]},
    )
