"""Damage in a TIFF file, found in the file itself.

tifffile logs what is wrong, and returns what it could read. Its log is shared by all threads, and
belongs to the user: to listen there, one file would be blamed for another. So the lists of tags are
looked at here, before tifffile reads them, and what it made of them afterwards.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

# Bytes of a value, by the number of its type; 0 for numbers that name none.
_SIZES = np.array([0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8], np.uint64)
_CLASSIC, _BIG = 42, 43


def damage(path: Path) -> str:
    """What is wrong with the lists of tags of a file that begins as a TIFF does; '' for nothing."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(16)
        order = "<" if start[:2] == b"II" else ">"
        big = np.frombuffer(start, order + "u2", 2)[1] == _BIG
        number, offset = np.dtype(order + ("u8" if big else "u2")), order + ("u8" if big else "u4")
        width = 8 if big else 4
        if len(start) < 2 * width:
            return "it ends within its first bytes"
        entry = np.dtype(
            [("tag", order + "u2"), ("type", order + "u2"), ("count", offset), ("place", offset)]
        )
        where = int(np.frombuffer(start, offset, 1, width)[0])
        seen: dict[int, int] = {}
        while where:
            page = len(seen)
            if where in seen:
                return f"page {page} is page {seen[where]} again"
            if not 8 <= where < size:
                return f"page {page} would begin at byte {where} of {size}"
            seen[where] = page
            file.seek(where)
            count = file.read(number.itemsize)
            count = int(np.frombuffer(count, number)[0]) if len(count) == number.itemsize else size
            length = count * entry.itemsize + width
            if length > size - where - number.itemsize:
                return f"it ends within the tags of page {page}"
            listed = file.read(length)
            if wrong := _wrong_tag(np.frombuffer(listed, entry, count), width, size):
                return f"page {page} has {wrong}"
            where = int(np.frombuffer(listed, offset, 1, length - width)[0])
    return "" if seen else "it has no page"


def _wrong_tag(tags, width: int, size: int) -> str:
    kinds = tags["type"]
    known = kinds < len(_SIZES)
    sizes = _SIZES[np.where(known, kinds, 0)]
    wrong = sizes == 0
    if not wrong.any():
        # As floats: counts may be as large as 64 bits.
        ends = sizes * tags["count"].astype(float)
        far = ends > width
        place = tags["place"].astype(float)
        wrong = far & ((place < 8) | (place + ends > size))
        if not wrong.any():
            return ""
        which = int(tags["tag"][wrong][0])
        return f"a tag {which} whose value lies outside the file"
    return f"a tag {int(tags['tag'][wrong][0])} of the unknown type {int(kinds[wrong][0])}"


def lost(tiff, size: int) -> str:
    """What tifffile could not make out of a file of `size` bytes; '' where it has all pixels."""
    for number, page in enumerate(tiff.pages):
        reach = max(map(sum, zip(page.dataoffsets, page.databytecounts)), default=0)
        if reach > size:
            return f"page {number} goes to byte {reach} of {size}"
        key = page.keyframe
        pieces = min(len(page.dataoffsets), len(page.databytecounts))
        # All pixels of some pages lie in one piece, whatever their list says.
        if not (key.is_contiguous or key.is_lsm or key.compression == 6 or key.is_ndpi):
            needed = math.prod(key.chunked)
            if pieces < needed:
                return f"page {number} has {pieces} of its {needed} pieces"
    told = _told(tiff)
    read = sum(math.prod(series.shape) for series in tiff.series)
    if told > read:
        return f"its description tells of {told} values, its pages hold {read}"
    return ""


def _told(tiff) -> int:
    """How many values a file says it holds, where tifffile could not take it at its word."""
    page, kind = tiff.pages.first, tiff.series[0].kind
    if tiff.is_shaped and kind != "shaped":
        found = re.search(r"shape\D{0,4}[\[(]([\d, ]+)[\])]", page.shaped_description or "")
        return math.prod(map(int, re.findall(r"\d+", found[1]))) if found else 0
    if tiff.is_imagej and kind != "imagej":
        text = page.imagej_description or ""
        counts = {k: int(n) for k, n in re.findall(r"^(\w+)=(\d+)\s*$", text, re.MULTILINE)}
        axes = ("frames", "slices", *["channels"] * (page.samplesperpixel == 1))
        pages = max(counts.get("images", 1), math.prod(counts.get(axis, 1) for axis in axes))
        return pages * math.prod(page.shape)
    return 0


def missing(tiff) -> tuple[int, int]:
    """How many pages a file lacks of those that its OME or Micro-Manager text lists, and of all."""
    series = [s for s in tiff.series if s.kind in ("ome", "mmstack", "ndtiff")]
    pages = [page for s in series for page in s.pages]
    return sum(page is None for page in pages), len(pages)
