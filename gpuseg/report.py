"""One self-contained HTML page that shows a segmentation: pictures, numbers, what ran where."""

from __future__ import annotations

import base64
import io
import math
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ._backend import asnumpy, device_info
from ._checks import mapping, option, real_array
from ._files import check_output, shown, whole_file
from .plot import extra, histogram_figure, outlines, overlay

__all__ = ["Section", "describe", "render", "section", "write"]

_LARGEST = 900  # pixels on the longer side of a picture in the page


class Picture(NamedTuple):
    """A picture as a data URI, with what it shows in words."""

    caption: str
    alt: str
    source: str
    pixelated: bool = False


@dataclass
class Section:
    """A part of the page: a heading, a text, pictures in groups, numbers, notes.

    Attributes
    ----------
    title, text : str
        Heading, and a paragraph below it.
    groups : list of (str, list of Picture)
        Pictures side by side, each group with a heading.
    histogram : Picture, optional
        Stands beside the numbers.
    numbers : dict of str to object
        A table of names and values.
    table : list of dict
        Rows with the same keys: a table with a column a key.
    notes : list of str
        Remarks.
    """

    title: str
    text: str = ""
    groups: list[tuple[str, list[Picture]]] = field(default_factory=list)
    histogram: Picture | None = None
    numbers: dict[str, object] = field(default_factory=dict)
    table: list[dict[str, object]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def describe(
    image, result, thresholds: Mapping[str, float] | None = None, *, labels=None
) -> dict[str, object]:
    """Sum up a segmentation in numbers.

    Parameters
    ----------
    image : (M, N) or (P, M, N) array_like
        The image.
    result : array_like of bool or int
        A mask, classes or labels of the same shape.
    thresholds : mapping of str to float, optional
        Name and value of each threshold.
    labels : array_like of int, optional
        The objects to count, where they are not `result`.

    Returns
    -------
    dict
        ``shape``, ``dtype``, ``minimum``, ``maximum``, ``nan`` (elements that are NaN),
        ``thresholds``, ``foreground_fraction``, ``objects`` (None where there are no labels) and
        ``sizes``: the least, the quartiles and the greatest number of elements of an object.

    Raises
    ------
    ValueError
        The shapes differ, or a label is negative.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.report import describe
    >>> labels = np.array([[0, 1, 1], [0, 0, 2]])
    >>> numbers = describe(np.arange(6).reshape(2, 3), labels)
    >>> numbers["objects"], numbers["foreground_fraction"], numbers["sizes"]["maximum"]
    (2, 0.5, 2.0)
    """
    image, result = _pair(image, result)
    if labels is None and result.dtype != bool:
        labels = result
    nan = int(np.isnan(image).sum()) if image.dtype.kind == "f" else 0
    some = nan < image.size
    sizes = None if labels is None else _sizes(_pair(image, labels)[1])
    names = ("minimum", "lower quartile", "median", "upper quartile", "maximum")
    return {
        "shape": image.shape,
        "dtype": str(image.dtype),
        "minimum": np.nanmin(image).item() if some else None,
        "maximum": np.nanmax(image).item() if some else None,
        "nan": nan,
        "thresholds": mapping(thresholds, "thresholds"),
        "foreground_fraction": int(np.count_nonzero(result)) / result.size,
        "objects": None if sizes is None else len(sizes),
        "sizes": dict(zip(names, np.quantile(sizes, [0, 0.25, 0.5, 0.75, 1]).tolist()))
        if sizes is not None and len(sizes)
        else None,
    }


def _sizes(labels: np.ndarray) -> np.ndarray:
    """Elements of each label but 0."""
    if labels.min() < 0:
        raise ValueError(f"a label must not be negative, got {labels.min()}")
    from ._cpu.regions import compact, region_sizes

    flat, numbers = compact(labels)
    return region_sizes(flat, numbers.size)[numbers != 0]


def section(
    title: str,
    image,
    result,
    *,
    thresholds: Mapping[str, float] | None = None,
    prepared=None,
    labels=None,
    others: Mapping[str, object] | None = None,
    pictures: Mapping[str, object] | None = None,
    text: str = "",
    numbers: Mapping[str, object] | None = None,
    notes: Iterable[str] = (),
) -> Section:
    """Show one segmentation: input, histogram with thresholds, mask, overlay, numbers.

    Parameters
    ----------
    title : str
        Heading.
    image : (M, N) or (P, M, N) array_like
        The image. Of a volume, the three central slices are shown.
    result : array_like of bool or int
        A mask, classes or labels of the same shape.
    thresholds : mapping of str to float, optional
        Name and value of each threshold, drawn in the histogram.
    prepared : array_like, optional
        What the thresholds apply to, if the image was filtered before: its histogram is drawn.
    labels : array_like of int, optional
        The objects to count, where they are not `result`.
    others : mapping of str to array_like, optional
        Results of other ways, drawn over the input for comparison.
    pictures : mapping of str to (M, N) or (M, N, 3) array_like, optional
        More pictures, grey or in colours of uint8, shown as they are.
    text : str, optional
        A paragraph below the heading.
    numbers : mapping of str to object, optional
        More rows for the table of numbers.
    notes : iterable of str, optional
        Remarks.

    Returns
    -------
    Section

    Raises
    ------
    ValueError
        The shapes differ, or are neither 2-D nor 3-D.
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg.report import section
    >>> image = np.arange(12.0).reshape(3, 4)
    >>> part = section("Ramp", image, image > 5, thresholds={"mean": 5.5})
    >>> [picture.alt for heading, pictures in part.groups for picture in pictures]
    ['Input image of Ramp', 'Segmentation of Ramp', 'Segmentation drawn over the input of Ramp']
    """
    image, result = _pair(image, result)
    found = describe(image, result, thresholds, labels=labels)
    kind = "mask" if result.dtype == bool else "labels"
    groups = []
    cuts = _cuts(image.shape)
    for place, cut in cuts:
        plane, marked = image[cut], result[cut]
        of = f" of {title}{f', {place}' if place else ''}"
        panels = [
            _picture("image", f"Input image{of}", overlay(plane, np.zeros(plane.shape, bool))),
            _picture(kind, f"Segmentation{of}", _shown_result(marked)),
            _picture("overlay", f"Segmentation drawn over the input{of}", overlay(plane, marked)),
        ]
        if kind == "labels":
            alt = f"Boundaries of the segmentation drawn on the input{of}"
            panels.append(_picture("boundaries", alt, outlines(plane, marked)))
        groups.append((place or f"Image, {kind} and overlay", panels))
    if others:
        place, cut = cuts[0]
        panels = []
        for name, other in others.items():
            marked = _pair(image, other)[1][cut]
            alt = f"{title} by {name}, drawn over the input"
            panels.append(_picture(name, alt, overlay(image[cut], marked)))
        if place:
            groups.append((f"Other ways: {place[0].lower()}{place[1:]}", panels))
        else:
            groups[0][1].extend(panels)
    for name, picture in (pictures or {}).items():
        pixels = _pixels(picture, name)
        groups[0][1].append(_picture(name, f"{title}: {name}", pixels))
    filtered = image if prepared is None else asnumpy(real_array(prepared, "prepared"))
    return Section(
        title=title,
        text=text,
        groups=groups,
        histogram=_histogram(filtered, found["thresholds"], title),
        numbers=readable(found) | dict(numbers or {}),
        notes=list(notes),
    )


def render(title: str, sections: Iterable[Section], *, calls=(), subtitle: str = "") -> str:
    """Make the page.

    Parameters
    ----------
    title, subtitle : str
        Heading of the page, and a line below it.
    sections : iterable of Section
        Its parts.
    calls : list of calls, optional
        What `gpuseg.trace` collected: the table of what ran where.

    Returns
    -------
    str
        HTML that needs no other file. Every text in it is escaped.

    Raises
    ------
    ImportError
        jinja2 is not installed.

    Examples
    --------
    >>> from gpuseg.report import Section, render
    >>> "&lt;b&gt;.png" in render("<b>.png", [Section("Empty")])
    True
    """
    jinja2 = extra("jinja2")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    info = device_info()
    return environment.get_template("report.html").render(
        title=title,
        subtitle=subtitle,
        sections=list(sections),
        calls=_grouped(calls),
        info=info,
        versions={name: version for name, version in info["versions"].items() if version},
        date=time.strftime("%Y-%m-%d %H:%M:%S %z"),
    )


def write(
    path,
    title: str,
    sections: Iterable[Section],
    *,
    calls=(),
    subtitle: str = "",
    force: bool = False,
) -> None:
    """Write the page to a file, whole or not at all.

    Parameters
    ----------
    path : str or path
        The file. One that exists is left alone unless `force` is True.
    title, sections, calls, subtitle
        As for `render`.
    force : bool, optional
        Replace a file that exists.

    Raises
    ------
    ValueError, OSError
        The file exists, or cannot be written.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from gpuseg.report import Section, write
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(f"{folder}/report.html", "Nothing", [Section("Empty")])
    ...     [file.name for file in pathlib.Path(folder).iterdir()]
    ['report.html']
    """
    path = Path(os.fspath(path))
    check_output(path, force=force)
    page = render(title, sections, calls=calls, subtitle=subtitle)
    with whole_file(path, force=force) as file:
        file.write(page.encode("utf-8", "backslashreplace"))


def _grouped(calls) -> list[dict[str, object]]:
    """One row for calls that differ in nothing but time, in the order of the first of each."""
    rows: dict[tuple, dict[str, object]] = {}
    for call in calls:
        fixed = call._asdict()
        seconds = fixed.pop("seconds")
        row = rows.setdefault(tuple(fixed.values()), fixed | {"times": 0, "seconds": 0.0})
        row["times"] += 1
        row["seconds"] += seconds
    return list(rows.values())


# --- pictures ---------------------------------------------------------------------------------


def _pair(image, result) -> tuple[np.ndarray, np.ndarray]:
    image = asnumpy(real_array(image, ndim=(2, 3)))
    result = asnumpy(real_array(result, "result"))
    if result.shape != image.shape:
        raise ValueError(
            f"result must have the shape of the image, {image.shape}, got {result.shape}"
        )
    option(result.dtype.kind, "the kind of result", ("b", "i", "u"))
    return image, result


def _cuts(shape: tuple[int, ...]) -> list[tuple[str, tuple]]:
    """The whole image, or the three central slices of a volume; every few pixels of a huge one."""
    step = max(1, max(shape) // (2 * _LARGEST))
    every = slice(None, None, step)
    if len(shape) == 2:
        return [("", (every, every))]
    middle = [n // 2 for n in shape]
    cuts = []
    for axis, name in enumerate("zyx"):
        cut = tuple(middle[axis] if i == axis else every for i in range(3))
        cuts.append((f"Slice {name} = {middle[axis]} of {shape[axis]}", cut))
    return cuts


def _shown_result(marked: np.ndarray) -> np.ndarray:
    """Black and white for a mask, a colour a label on black for labels."""
    if marked.dtype == bool:
        return marked.astype(np.uint8) * np.uint8(255)
    return overlay(np.zeros(marked.shape, np.uint8), marked, alpha=1)


def _pixels(picture, name: str) -> np.ndarray:
    """RGB as it is, grey between its extremes."""
    picture = asnumpy(real_array(picture, name, ndim=(2, 3)))
    if picture.ndim == 2:
        return overlay(picture, np.zeros(picture.shape, bool))
    if picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise ValueError(
            f"{name!r} must have shape (M, N), or (M, N, 3) in uint8, "
            f"got {picture.dtype} of shape {picture.shape}"
        )
    return picture


def _picture(caption: str, alt: str, pixels: np.ndarray) -> Picture:
    from PIL import Image

    picture = Image.fromarray(pixels)
    scale = _LARGEST / max(picture.size)
    if scale < 1:
        width, height = (max(1, round(n * scale)) for n in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BOX)
    file = io.BytesIO()
    picture.save(file, "PNG")
    data = _uri("image/png", file.getvalue())
    return Picture(caption, alt, data, pixelated=max(picture.size) < 300)


def _histogram(image: np.ndarray, thresholds: Mapping[str, float], title: str) -> Picture:
    from . import filters

    counts, centers = filters.histogram(image, 256, nan="omit")
    figure = histogram_figure(counts, centers, thresholds, title="", figsize=(5.8, 2.8))
    file = io.BytesIO()
    figure.savefig(file, format="svg")
    named = ", ".join(f"{name} at {value:.6g}" for name, value in thresholds.items())
    alt = f"Histogram of {title}" + (f" with the thresholds {named}" if named else "")
    return Picture("", alt, _uri("image/svg+xml", file.getvalue()))


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


# --- numbers ----------------------------------------------------------------------------------


def readable(found: Mapping[str, object]) -> dict[str, str]:
    """The numbers of `describe` as rows for people."""
    rows = {
        "shape": " × ".join(map(str, found["shape"])),
        "dtype": found["dtype"],
        "minimum … maximum": f"{number(found['minimum'])} … {number(found['maximum'])}",
    }
    if found["nan"]:
        rows["NaN"] = f"{found['nan']:,}"
    rows |= {f"threshold ({name})": number(value) for name, value in found["thresholds"].items()}
    rows["foreground"] = f"{100 * found['foreground_fraction']:.2f} %"
    if found["objects"] is not None:
        rows["objects or classes"] = f"{found['objects']:,}"
    if found["sizes"]:
        sizes = [f"{value:,.0f}" for value in found["sizes"].values()]
        rows["sizes: least, quartiles, greatest"] = " · ".join(sizes)
    return rows


def number(value) -> str:
    """A number for people: integers as they are, others with six digits."""
    if value is None:
        return "none"
    if isinstance(value, int) or (math.isfinite(value) and value == int(value)):
        return f"{int(value)}"
    return f"{value:.6g}"


def file_title(path) -> str:
    """A file's name for a heading."""
    return shown(Path(path).name)
