"""Zarr arrays written shard by shard: one writer each, whole, with checksums; and pyramids."""

from __future__ import annotations

import contextlib
import itertools
import json
import zlib
from pathlib import Path

import numpy as np

from .. import _checks
from .._files import _sync, shown, whole_text
from ._sources import VolumeError, blamed

Box = tuple[slice, ...]

# A chunk is what a viewer reads, a shard is a file and what one task writes.
CHUNK = {2: 512, 3: 64}
SHARD = {2: 4096, 3: 256}


def layout(shape, chunk=None, shard=None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shapes of chunks and of shards, the latter a multiple of the former."""
    ndim = len(shape)
    chunk = CHUNK.get(ndim, 64) if chunk is None else chunk
    shard = SHARD.get(ndim, 256) if shard is None else shard
    chunk, shard = _sides(chunk, "chunks", ndim), _sides(shard, "shards", ndim)
    if len(chunk) != ndim or len(shard) != ndim:
        raise ValueError(
            f"chunks and shards must be {ndim} positive integers, got {chunk}, {shard}"
        )
    chunk = tuple(min(c, n) for c, n in zip(chunk, shape))
    # No larger than what covers the array; a multiple of the chunk.
    shard = tuple(min(-(-s // c), -(-n // c)) * c for s, c, n in zip(shard, chunk, shape))
    return chunk, shard


def _sides(sides, name: str, ndim: int) -> tuple[int, ...]:
    """A whole number for each axis, of one for all or one for each."""
    sides = _checks.sequence(sides, name, "integers") if _checks.several(sides) else (sides,) * ndim
    return tuple(_checks.integer(side, name, at_least=1) for side in sides)


def boxes(shape, piece) -> list[Box]:
    """The boxes of a grid, in raster order."""
    ranges = [range(0, n, p) for n, p in zip(shape, piece)]
    return [
        tuple(slice(i, min(i + p, n)) for i, p, n in zip(start, piece, shape))
        for start in itertools.product(*ranges)
    ]


class Target:
    """A new Zarr array on the disk, to be filled by shards. It can be pickled."""

    def __init__(self, path: Path, shape, dtype, *, chunk=None, shard=None, axes="", level=1):
        self.path, self.shape = Path(path), tuple(map(int, shape))
        self.dtype, self.axes, self.level = np.dtype(dtype), axes, level
        self.chunk, self.shard = layout(self.shape, chunk, shard)
        self.boxes = boxes(self.shape, self.shard)

    def create(self) -> Target:
        import zarr
        from zarr.codecs import Crc32cCodec, ZstdCodec

        with blamed(self.path, "cannot be made"):
            zarr.create_array(
                zarr.storage.LocalStore(self.path),
                shape=self.shape,
                dtype=self.dtype,
                chunks=self.chunk,
                shards=self.shard,
                compressors=[ZstdCodec(level=self.level), Crc32cCodec()],
                fill_value=0,
                dimension_names=list(self.axes) or None,
            )
        return self

    def __getitem__(self, box: Box) -> np.ndarray:
        import zarr

        with blamed(self.path, f"cannot read {told(box)}"):
            return np.asarray(zarr.open_array(self.path, mode="r")[box])

    def exists(self) -> bool:
        """Whether the array is there, as it was made."""
        import zarr

        try:
            found = zarr.open_array(self.path, mode="r")
        except Exception:  # whatever Zarr says of one that is damaged
            return False
        made = found.shape, found.dtype, found.chunks, found.shards
        return made == (self.shape, self.dtype, self.chunk, self.shard)

    def write(self, number: int, values: np.ndarray) -> list[int]:
        """Write a shard, put it on the disk, and return what its file holds, as `content` does."""
        import zarr

        box = self.boxes[number]
        if values.shape != tuple(s.stop - s.start for s in box):
            raise AssertionError(f"shard {told(box)} given an array of shape {values.shape}")
        values = np.asarray(values).astype(self.dtype, copy=False)
        with blamed(self.path, "cannot write " + told(box)):
            zarr.open_array(self.path, mode="r+")[box] = values
        file = self.file(number)
        if file.exists():
            _sync(file)
            _sync(file.parent)
        return self.content(number)

    def file(self, number: int) -> Path:
        at = (str(s.start // n) for s, n in zip(self.boxes[number], self.shard))
        return self.path.joinpath("c", *at)

    def content(self, number: int) -> list[int]:
        """The size and the checksum of a shard's file; zeros if there is none, as it is empty."""
        size = checksum = 0
        with contextlib.suppress(FileNotFoundError), open(self.file(number), "rb") as file:
            while part := file.read(1 << 20):
                size, checksum = size + len(part), zlib.crc32(part, checksum)
        return [size, checksum]

    def dask(self):
        """The array as it is on the disk, a Dask chunk for each shard."""
        from dask import array as da

        return da.from_array(
            self, chunks=self.shard, meta=np.empty((0,) * len(self.shape), self.dtype)
        )

    @property
    def ndim(self) -> int:
        return len(self.shape)


def told(box: Box) -> str:
    parts = (f"{i.start}:{i.stop}" if isinstance(i, slice) else str(i) for i in box)
    return "[" + ", ".join(parts) + "]"


# --- pyramids ---------------------------------------------------------------------------------


def pyramid_shapes(shape, levels: int | None = None) -> list[tuple[int, ...]]:
    """The shapes of the levels; by default until the longest axis has at most 256."""
    shapes = [tuple(shape)]
    while levels is None or len(shapes) < levels:
        if max(shapes[-1]) <= (256 if levels is None else 1):
            break
        shapes.append(tuple(-(-n // 2) for n in shapes[-1]))
    return shapes


def coarser(finer: Target, box: Box, dtype, *, nearest: bool) -> np.ndarray:
    """A box of the next level: means of 2 x 2 x 2, or every second voxel of labels."""
    out = np.empty([s.stop - s.start for s in box], dtype)
    thickness = max(1, finer.chunk[0] // 2)
    for start in range(box[0].start, box[0].stop, thickness):
        stop = min(start + thickness, box[0].stop)
        part = (slice(start, stop), *box[1:])
        source = tuple(slice(2 * s.start, min(2 * s.stop, n)) for s, n in zip(part, finer.shape))
        found = finer[source]
        at = slice(start - box[0].start, stop - box[0].start)
        out[at] = found[(slice(None, None, 2),) * found.ndim] if nearest else means(found)
    return out


def means(x: np.ndarray) -> np.ndarray:
    """Means of neighbours in twos along every axis, of what there is at an odd end."""
    exact = x.astype(np.float64 if x.dtype.kind == "f" else np.int64)
    count = 1
    for axis in range(x.ndim):
        exact = np.add.reduceat(exact, np.arange(0, x.shape[axis], 2), axis=axis)
        weights = np.full(exact.shape[axis], 2)
        if x.shape[axis] % 2:
            weights[-1] = 1
        count = count * weights.reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    if x.dtype.kind == "f":
        return (exact / count).astype(x.dtype)
    return ((2 * exact + count) // (2 * count)).astype(x.dtype)


# --- metadata ---------------------------------------------------------------------------------


def ome_metadata(name: str, axes: str, voxel_size, unit: str, shapes, *, label: bool) -> dict:
    """Attributes of an OME-Zarr 0.5 image with these levels."""
    if len(axes) != len(shapes[0]):
        raise VolumeError(f"axes {axes!r} do not fit the shape {shapes[0]}")
    described = [{"name": a, "type": "space"} | ({"unit": unit} if unit else {}) for a in axes]
    levels = []
    for number in range(len(shapes)):
        factors = [2**number if full > 1 else 1 for full in shapes[0]]
        steps = [{"type": "scale", "scale": [v * f for v, f in zip(voxel_size, factors)]}]
        if number and not label:  # a mean lies between the voxels that it is of
            shift = [v * (f - 1) / 2 for v, f in zip(voxel_size, factors)]
            steps.append({"type": "translation", "translation": shift})
        levels.append({"path": str(number), "coordinateTransformations": steps})
    image = {"name": name, "axes": described, "datasets": levels}
    image["type"] = "nearest" if label else "mean"
    ome: dict = {"version": "0.5", "multiscales": [image]}
    if label:
        ome["image-label"] = {"source": {"image": "../../"}}
    return {"ome": ome}


def group(path: Path, attributes: dict) -> None:
    """Make a Zarr group, or set attributes of the one there is, in one step."""
    file = path / "zarr.json"
    with blamed(path, "cannot be made a Zarr group"):
        found = {"zarr_format": 3, "node_type": "group", "attributes": {}}
        with contextlib.suppress(FileNotFoundError):
            found |= json.loads(file.read_text("utf-8"))
        if found["node_type"] != "group":
            raise VolumeError(f"{shown(path)}: is an array, and no Zarr group")
        found["attributes"] = found["attributes"] | attributes
        path.mkdir(parents=True, exist_ok=True)
        whole_text(file, json.dumps(found, indent=2))


def label_names(path: Path) -> list[str]:
    """The names that a labels group lists."""
    import zarr

    if not (path / "zarr.json").is_file():
        return []
    return list(zarr.open_group(path, mode="r").attrs.get("ome", {}).get("labels", ()))


def refuse_axes(axes, ndim: int) -> str:
    axes = "zyx"[-ndim:] if axes is None else axes
    if not isinstance(axes, str) or len(axes) != ndim or not set(axes) <= set("zyx"):
        raise VolumeError(f"axes must be {'zyx'[-ndim:]!r} for {ndim} axes, got {axes!r}")
    return axes
