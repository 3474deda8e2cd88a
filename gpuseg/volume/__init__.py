"""Volumes larger than memory: files as lazy arrays, and whole jobs from file to file."""

from importlib.util import find_spec as _find_spec

if any(_find_spec(_name) is None for _name in ("dask", "zarr")):
    raise ImportError("gpuseg.volume needs Dask and Zarr: pip install 'gpuseg[volume]'")

from ._chunks import by_chunks
from ._job import Done, Estimate, estimate, segment
from ._open import Volume, VolumeError, open
from ._save import save

__all__ = [
    "Done",
    "Estimate",
    "Volume",
    "VolumeError",
    "by_chunks",
    "estimate",
    "open",
    "save",
    "segment",
]
