"""The `gpuseg` command. What is heavy is imported inside the commands: help must be instant."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from . import _jobs
from ._files import RefusedOutput, check_output, shown, whole_file
from ._terminal import print_json, print_rows, print_table, progress, unfailing_output

# typer carries its own copy of click from 0.26 on: find the classes where BadParameter is.
_ClickError = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


class _Group(TyperGroup):
    """Commands whose every error is one line on stderr: exit code 1 for a job, 2 for its usage."""

    def main(self, args=None, *, standalone_mode=True, **extra):
        args = list(sys.argv[1:] if args is None else args)
        debug = "--debug" in args
        args = [arg for arg in args if arg != "--debug"] or ["--help"]
        with unfailing_output():
            try:
                code = super().main(args, standalone_mode=False, **extra)
            except (KeyboardInterrupt, typer.Abort):
                code = 130
            except Exception as error:
                if debug:
                    traceback.print_exc()
                text, code = _explain(error)
                print(f"gpuseg: {' '.join(text.split())}", file=sys.stderr)
            if code == 130:
                print("gpuseg: interrupted", file=sys.stderr)
        sys.exit(code or 0)


def _explain(error: Exception) -> tuple[str, int]:
    if isinstance(error, _ClickError):
        command = f" (see {error.ctx.command_path} --help)" if getattr(error, "ctx", None) else ""
        return error.format_message().rstrip(".") + command, 2
    if isinstance(error, _jobs.UsageError | RefusedOutput):
        return str(error), 2
    if isinstance(error, MemoryError):
        return f"not enough memory: {error}".rstrip(": "), 1
    if isinstance(error, OSError) and error.strerror:
        name = f"{shown(error.filename)}: " if error.filename else ""
        return f"{name}{error.strerror}", 1
    return str(error) or type(error).__name__, 1


app = typer.Typer(
    cls=_Group,
    help="Segment scientific images in 2-D and 3-D, on the GPU when there is one.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """The entry point."""

    def stop(number, frame):
        sys.exit(128 + number)  # unwinds, so that no temporary file stays behind

    signal.signal(signal.SIGTERM, stop)
    # Where a stream is closed, the next file that is opened, such as an output, would be in its
    # place, and get what a library prints.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    app()


# --- options shared by commands ---------------------------------------------------------------


def _bytes(text: str) -> int:
    units = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}
    digits = text.strip().lower().removesuffix("b").removesuffix("i")
    unit = digits[-1:] if digits[-1:].isalpha() else ""
    try:
        value = float(digits.removesuffix(unit)) * 2 ** units[unit]
    except (KeyError, ValueError):
        value = math.nan
    if not 0 < value < math.inf:
        raise typer.BadParameter(f"{text!r} is no number of bytes, such as 500M or 16G")
    return int(value)


Device = Annotated[
    str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:N or sim (a simulator).")
]
Force = Annotated[bool, typer.Option("--force", help="Replace what exists.")]
Json = Annotated[bool, typer.Option("--json", help="Print a summary as JSON, and nothing else.")]
MaxBytes = Annotated[
    int | None,
    typer.Option(
        parser=_bytes,
        metavar="SIZE",
        help="Refuse a larger image, such as 16G. (default: half of the memory available)",
    ),
]
Nan = Annotated[str, typer.Option(metavar="POLICY", help="NaN in the image: raise or omit.")]
Input = Annotated[Path, typer.Argument(help="PNG, JPEG, TIFF (also a stack) or .npy.")]
Background = Annotated[
    float | None, typer.Option(min=0, help="Subtract a background of this sigma first.")
]
Sigma = Annotated[
    float | None, typer.Option(min=0, help="Smooth by a Gaussian of this sigma first.")
]
Foreground = Annotated[
    str | None,
    typer.Option(metavar="SIDE", help="bright or dark structures. (default: bright)"),
]
Connectivity = Annotated[
    int, typer.Option(min=1, max=3, help="Neighbours: 1 share a face, 2 an edge, 3 a corner.")
]
Label = Annotated[
    bool, typer.Option("--label", help="Number the connected objects instead of a mask.")
]
MinSize = Annotated[int | None, typer.Option(min=1, help="Remove objects with fewer elements.")]


def _version(wanted: bool) -> None:
    if wanted:
        from . import __version__

        print(f"gpuseg {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error (anywhere in the line).")
    ] = False,
) -> None:
    pass


# --- commands ---------------------------------------------------------------------------------


@app.command()
def info(as_json: Json = False) -> None:
    """Show what calls run on here: devices, what was probed, versions."""
    from . import device_info

    found = device_info()
    if as_json:
        print_json(found)
        return
    rows = [("default", found["default"]), ("CPU threads", str(found["cpu"]["threads"]))]
    for step in found["cuda"]["probe"]:
        rows.append((f"CUDA: {step['what']}", ("" if step["ok"] else "no: ") + step["detail"]))
    rows += [(name, version or "not installed") for name, version in found["versions"].items()]
    print_rows(rows)


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="The folder to make.")] = Path("gpuseg-demo"),
    force: Force = False,
    device: Device = "auto",
) -> None:
    """Segment four images that need no download, and write a folder with a report."""
    from . import _demo

    with _using(device), progress(_demo.STEPS) as step:
        rows = _demo.run(output, force=force, step=step)
    print_table(("image", "method", "result", "ran on", "seconds in gpuseg"), rows)
    print(
        f"Look at {shown(output / 'report.html')}; the label images lie beside it, "
        "and gallery.html shows ways to divide images into regions."
    )


@app.command()
def samples(
    folder: Annotated[Path, typer.Argument(help="The folder to make.")] = Path("gpuseg-samples"),
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write small images to try the commands on: bone, shale, cells, membranes, a scan."""
    from . import _samples

    with progress(_samples.FILES) as step:
        rows = _samples.run(folder, force=force, step=step)
    left = sorted(set(_samples.FILES) - {name for name, _, _ in rows})
    if as_json:
        print_json({"folder": str(folder), "files": [name for name, _, _ in rows],
                    "left_out": left})  # fmt: skip
        return
    print_table(("file", "holds", "shows"), rows)
    for name in left:
        print(f"{name} is left out: it needs Zarr, pip install 'gpuseg[volume]'")
    print(f"They are in {shown(folder)}.")


@app.command()
def bench(
    seconds: Annotated[float, typer.Option(min=1, max=3600, help="About how long.")] = 45,
    as_json: Json = False,
) -> None:
    """Time everyday calls on this machine beside scikit-image's; under a minute."""
    from . import _bench

    with progress(_bench.names()) as step:
        rows = _bench.run(step, seconds=seconds)
    if as_json:
        print_json([row._asdict() | {"times_faster": _bench.times_faster(row)} for row in rows])
        return
    print_table(*_bench.shown(rows))
    left = len(_bench.names()) - len(rows)
    print(f"{_bench.middle(rows):.1f} times as fast in the geometric mean of {len(rows)} calls"
          + f"; {left} were not reached in {seconds:g} s" * bool(left))  # fmt: skip


@app.command()
def calibrate(as_json: Json = False) -> None:
    """Time every function here, so that the GPU is taken where it pays; under a minute."""
    from . import _calibration, _cases
    from .report import number

    with progress([""] * len(_cases.CASES)) as step:
        found = _calibration.calibrate(step)
    if as_json:
        print_json({name: known._asdict() for name, known in found.items()})
        return
    rows = []
    for name, known in found.items():
        cpu = known.lines["cpu"]
        least = _calibration.crossovers().get(name)
        rows.append((
            name, f"{1e6 * cpu.fixed:.0f}", f"{1e9 * cpu.per_element:.3g}",
            number(known.bytes_per_element),
            "" if least is None else "never" if math.isinf(least) else f"{least:.0f}",
        ))  # fmt: skip
    print_table(
        ("function", "fixed, us", "ns an element", "bytes an element", "GPU pays from"), rows
    )
    if not _calibration.machine()["gpu"]:
        print("There is no GPU here, and so no crossover.")
    print(f"kept in {_calibration.path()}")


@app.command()
def verify(
    functions: Annotated[
        list[str] | None,
        typer.Argument(help="Such as filters.gaussian.", show_default="all functions"),
    ] = None,
    input: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="An image or volume to verify on.", show_default="made"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE.csv", help="Where the table goes; or .json."),
    ] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(metavar="BACKEND", help="cpu, cuda or sim.", show_default="all that work"),
    ] = None,
    as_json: Json = False,
    force: Force = False,
    max_bytes: MaxBytes = None,
) -> None:
    """Verify here that answers are scikit-image's, and those of the GPU the CPU's."""
    from . import _cases, _images, verification

    if output is not None:
        if output.suffix.lower() not in (".csv", ".json"):
            raise RefusedOutput(f"{shown(output)}: a table must end in .csv or .json")
        check_output(output, force=force, sources=[input] if input else [])
    image = None if input is None else _images.read(input, max_bytes=max_bytes).array
    with progress([""] * verification.turns(functions, backend)) as step:
        found = verification.verify(functions, image=image, backends=backend, step=step)
    if output is not None:
        table = found.to_dataframe()
        form = table.to_csv if output.suffix.lower() == ".csv" else table.to_json
        options = {"index": False} if output.suffix.lower() == ".csv" else {"orient": "records"}
        with whole_file(output, force=force) as file:
            file.write(form(**options).encode("utf-8", "backslashreplace"))
    if as_json:
        print_json([check._asdict() for check in found])
    else:
        print_table(*found.rows())
        failed = sum(not check.passed for check in found)
        print(f"{len(found)} checks, {failed} failed" if failed else f"{len(found)} checks passed")
        left = len(set(functions or _cases.CASES) - {check.function for check in found})
        if left:
            print(f"{left} have nothing here to be held against")
    if not found.passed:
        raise typer.Exit(1)


@app.command(epilog=f"Methods: {', '.join(_jobs.METHODS)}.")
def segment(
    input: Input,
    output: Annotated[Path, typer.Argument(help=".png, .jpg, .tif or .npy.")],
    method: Annotated[
        str | None, typer.Option(metavar="METHOD", help="How; see below. (default: otsu)")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="The threshold, by hand; quadtree: of the range.")
    ] = None,
    low: Annotated[
        float | None,
        typer.Option(help="hysteresis, guarded: the lower threshold; the strict one if dark."),
    ] = None,
    high: Annotated[
        float | None,
        typer.Option(
            help="hysteresis, guarded: the upper one, above --low. (guarded: multi-Otsu's)"
        ),
    ] = None,
    opening: Annotated[
        int | None,
        typer.Option(min=0, help="hysteresis: open the strict mask by a ball of this radius."),
    ] = None,
    max_distance: Annotated[
        int | None, typer.Option(min=0, help="hysteresis: grow at most so many steps.")
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(min=2, help="multiotsu, kmeans, markov ...: how many. (default: 3)"),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(min=3, help="local, niblack, sauvola: odd width. (default: 25)"),
    ] = None,
    k: Annotated[float | None, typer.Option("--k", help="niblack, sauvola: weight.")] = None,
    r: Annotated[
        float | None,
        typer.Option(
            "--r",
            help="sauvola: the largest spread there can be. (default: half the range of the type)",
        ),
    ] = None,
    offset: Annotated[float | None, typer.Option(help="local: subtracted.")] = None,
    object_size: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="LEAST GREATEST", help="objects: wanted sizes. (default: 200 10000)"),
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="objects: wanted number of objects.")
    ] = None,
    segments: Annotated[
        int | None, typer.Option(min=1, help="slic: about how many. (default: 100)")
    ] = None,
    compactness: Annotated[
        float | None,
        typer.Option(help="slic: weight of nearness against likeness. (default: 0.1)"),
    ] = None,
    merge: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Join neighbours: slic, whose means differ by less; quadtree, within this range.",
        ),
    ] = None,
    spatial_weight: Annotated[
        float | None,
        typer.Option(min=0, help="kmeans, mixture: grey values that one pixel apart counts as."),
    ] = None,
    beta: Annotated[
        float | None,
        typer.Option(min=0, help="markov: weight of the neighbours. (default: 1)"),
    ] = None,
    distance: Annotated[
        int | None,
        typer.Option(min=1, help="watershed: least between the middles of objects. (default: 10)"),
    ] = None,
    background: Background = None,
    sigma: Sigma = None,
    foreground: Foreground = None,
    connectivity: Connectivity = 1,
    label: Label = False,
    min_size: MinSize = None,
    nan: Nan = "raise",
    device: Device = "auto",
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write a page that shows it.")
    ] = None,
    as_json: Json = False,
    force: Force = False,
    max_bytes: MaxBytes = None,
) -> None:
    """Divide an image into foreground and background, into classes or into regions."""
    if threshold is not None and method is None:
        method = "manual"
    options = _jobs.Options(
        method=method or "otsu",
        threshold=threshold,
        low=low,
        high=high,
        opening=opening,
        max_distance=max_distance,
        classes=classes,
        window=window,
        k=k,
        r=r,
        offset=offset,
        object_size=object_size,
        count=count,
        segments=segments,
        compactness=compactness,
        merge=merge,
        spatial_weight=spatial_weight,
        beta=beta,
        distance=distance,
        background=background or None,
        sigma=sigma or None,
        foreground=foreground,
        connectivity=connectivity,
        label=label,
        min_size=min_size,
        nan=nan,
    )
    _jobs.check(options)
    numbered = label or _jobs.METHODS[options.method].classes
    check_output(output, force=force, sources=[input])
    if report is not None:
        _check_report(report, force=force, sources=[input, output])

    from . import _images, measure, trace
    from .report import describe

    form = _images.output_format(output)
    header = _images.read_header(input, max_bytes=max_bytes)
    _images.check_form(output, ndim=header.ndim, labels=numbered)
    if connectivity > header.ndim:
        raise _jobs.UsageError(
            f"--connectivity must be at most {header.ndim}, the axes of the image, "
            f"got {connectivity}"
        )
    steps = ["read", *_jobs.steps(options), *["make the report"] * bool(report), "write"]
    start = time.perf_counter()
    with _using(device), trace() as calls, progress(steps) as step:
        with step("read"):
            image = _images.read(input, max_bytes=max_bytes)
        result = _jobs.segment(image.array, options, step)
        notes = [*image.notes, *result.notes]
        if form == "JPEG":
            notes.append("JPEG is lossy: the edges of the mask are not exact in the file")
        labels, page = None, None
        if report is not None and result.result.dtype == bool:
            labels = measure.label(result.result, connectivity=connectivity)
        numbers = describe(image.array, result.result, result.thresholds, labels=labels)
        if report is not None:
            with step("make the report"):
                page = _page(input, image, result, labels, options, notes, calls)
        with step("write"):
            _images.write(output, result.result, force=force)
            if page is not None:
                with whole_file(report, force=force) as file:
                    file.write(page)
    summary = {
        "input": str(input),
        "output": str(output),
        "report": None if report is None else str(report),
        "format": header.format,
        "method": options.method,
        "options": options.given(),
        **numbers,
        "ran_on": sorted({call.backend for call in calls}),
        "calls": [call._asdict() for call in calls],
        "seconds": {"segment": result.seconds, "total": time.perf_counter() - start},
        "notes": notes,
        "versions": _versions(),
    }
    if as_json:
        print_json(summary)
    else:
        _print_summary(summary)


@app.command(epilog=f"Methods: {', '.join(_jobs.CHUNKED)}.")
def volume(
    input: Annotated[
        str,
        typer.Argument(
            help="TIFF, a folder of slices, Zarr, OME-Zarr, FILE.h5:/DATASET, .npy or raw voxels."
        ),
    ],
    output: Annotated[
        Path,
        typer.Argument(help=".ome.zarr, .zarr, .tif, or SCAN.ome.zarr/labels/NAME to add to it."),
    ],
    method: Annotated[
        str | None, typer.Option(metavar="METHOD", help="How; see below. (default: otsu)")
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="The threshold, by hand.")] = None,
    low: Annotated[
        float | None,
        typer.Option(help="hysteresis: lower threshold; the strict one if dark."),
    ] = None,
    high: Annotated[
        float | None, typer.Option(help="hysteresis: the upper threshold, above --low.")
    ] = None,
    opening: Annotated[
        int | None,
        typer.Option(min=0, help="hysteresis: open the strict mask by a ball of this radius."),
    ] = None,
    classes: Annotated[
        int | None, typer.Option(min=2, help="multiotsu: how many. (default: 3)")
    ] = None,
    window: Annotated[
        int | None, typer.Option(min=3, help="local: odd width. (default: 25)")
    ] = None,
    offset: Annotated[float | None, typer.Option(help="local: subtracted.")] = None,
    object_size: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="LEAST GREATEST", help="objects: wanted sizes. (default: 200 10000)"),
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="objects: wanted number of objects.")
    ] = None,
    background: Background = None,
    sigma: Sigma = None,
    foreground: Foreground = None,
    connectivity: Connectivity = 1,
    label: Label = False,
    min_size: MinSize = None,
    level: Annotated[
        int, typer.Option(min=0, help="Level of an OME-Zarr to read; 0 is the finest.")
    ] = 0,
    select: Annotated[
        list[str] | None,
        typer.Option(metavar="AXIS=INDEX", help="Which channel or time to read, such as c=0."),
    ] = None,
    axes: Annotated[
        str | None, typer.Option(help="The axes of the input in order, such as tczyx or xyz.")
    ] = None,
    voxel_size: Annotated[
        str | None, typer.Option(metavar="Z,Y,X", help="Size of a voxel, instead of the input's.")
    ] = None,
    unit: Annotated[str | None, typer.Option(help="Of the size, such as micrometer.")] = None,
    shape: Annotated[
        str | None, typer.Option(metavar="Z,Y,X", help="Of raw voxels, with --dtype.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="Of raw voxels: uint8, uint16, >u2, float32 ...")
    ] = None,
    memory: Annotated[
        int | None,
        typer.Option(
            parser=_bytes,
            metavar="SIZE",
            help="Memory that the job may take, such as 4GB. (default: half of what is available)",
        ),
    ] = None,
    scheduler: Annotated[
        str, typer.Option(help="threads, processes, or a Dask scheduler: tcp://HOST:PORT.")
    ] = "threads",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Blocks at a time. (default: the cores)")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it will take, and write nothing.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Throw away what a killed job has left.")
    ] = False,
    device: Device = "auto",
    as_json: Json = False,
    force: Force = False,
) -> None:
    """Segment a volume larger than memory from file to file; a killed job goes on where it was."""
    if threshold is not None and method is None:
        method = "manual"
    options = _jobs.Options(
        method=method or "otsu",
        threshold=threshold,
        low=low,
        high=high,
        opening=opening,
        classes=classes,
        window=window,
        offset=offset,
        object_size=object_size,
        count=count,
        background=background or None,
        sigma=sigma or None,
        foreground=foreground,
        connectivity=connectivity,
        label=label,
        min_size=min_size,
    )
    _jobs.check_chunked(options)

    from . import volume as volumes
    from .volume._watch import Watch, shown_on_terminal

    scan = volumes.open(
        input,
        shape=None if shape is None else tuple(map(int, _numbers(shape, "--shape"))),
        dtype=dtype,
        axes=axes,
        voxel_size=None if voxel_size is None else _numbers(voxel_size, "--voxel-size"),
        unit=unit,
        level=level,
        select=_selected(select or []),
    )
    asked: dict = {"options": options, "memory": memory, "scheduler": scheduler, "workers": workers}
    with _for_all_threads(device):
        if dry_run:
            told = volumes.estimate(scan, output, **asked)
            print_json(told._asdict()) if as_json else print_rows(told.readable())
            return
        with shown_on_terminal() as show:
            watch = Watch(show, say=lambda text: print(text, file=sys.stderr))
            done = volumes.segment(scan, output, force=force, restart=restart, watch=watch, **asked)
    print_json(done._asdict()) if as_json else print_rows(done.readable())


@app.command()
def thresholds(
    input: Input,
    figure: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw the histogram and every mask."),
    ] = None,
    nbins: Annotated[
        int, typer.Option(min=2, help="Bins of the histogram of a floating-point image.")
    ] = 256,
    nan: Nan = "raise",
    device: Device = "auto",
    as_json: Json = False,
    force: Force = False,
    max_bytes: MaxBytes = None,
) -> None:
    """Compare every automatic threshold of an image."""
    _check_policy(nan)
    if figure is not None:
        if figure.suffix.lower() != ".png":
            raise RefusedOutput(f"{shown(figure)}: a figure must end in .png")
        check_output(figure, force=force, sources=[input])
        _need("matplotlib")

    from . import _images, filters

    with _using(device), progress(["read", "compare", "draw"]) as step:
        with step("read"):
            image = _images.read(input, max_bytes=max_bytes)
        with step("compare"):
            methods = [_jobs.automatic(name, image.array.dtype) for name in _jobs.AUTOMATIC]
            table = filters.compare_thresholds(image.array, methods, nan=nan, nbins=nbins)
        if figure is not None:
            with step("draw"):
                picture = _comparison_figure(image.array, table, nbins)
                with whole_file(figure, force=force) as file:
                    file.write(picture)
    if as_json:
        rows = table.to_dict("records")
        print_json({"input": str(input), "shape": image.array.shape,
                     "dtype": str(image.array.dtype), "notes": image.notes,
                     "thresholds": rows})  # fmt: skip
        return
    from .report import number

    rows = [
        (
            row["method"],
            number(row["value"]) if not row["note"] else "undecided",
            "" if row["note"] else f"{100 * row['foreground_fraction']:.2f} %",
            "" if math.isnan(row["otsu"]) else f"{100 * row['otsu']:.2f} %",
            row["note"],
        )
        for row in table.to_dict("records")
    ]
    print_table(("method", "threshold", "foreground", "agrees with otsu", "note"), rows)
    for note in image.notes:
        print(f"note: {note}")


@app.command()
def train(
    input: Input,
    labels: Annotated[
        Path, typer.Argument(help="An image of the labels: 0 is unlabelled, unless --dense.")
    ],
    model: Annotated[
        Path, typer.Option("--output", "-o", metavar="MODEL", help="The model file to write.")
    ],
    dense: Annotated[
        bool, typer.Option("--dense", help="Every pixel is labelled: 0 is a class too.")
    ] = False,
    sigmas: Annotated[
        str | None, typer.Option(metavar="S,S,...", help="Of the filters. (default: 2,5,8)")
    ] = None,
    kinds: Annotated[
        str | None,
        typer.Option(metavar="KIND,...", help="Of filters: gaussian, sobel ... (default: all)"),
    ] = None,
    neighborhood: Annotated[
        int | None,
        typer.Option(min=1, metavar="RADIUS", help="The pixels around, in place of filters."),
    ] = None,
    position: Annotated[
        bool, typer.Option("--position", help="Where a pixel lies is a feature too.")
    ] = False,
    trees: Annotated[int, typer.Option(min=1, help="Trees of the forest.")] = 100,
    depth: Annotated[int, typer.Option(min=0, help="Of the trees at most; 0: no limit.")] = 12,
    max_per_class: Annotated[
        int | None,
        typer.Option(min=1, help="Learn from at most so many pixels of a class. (default: all)"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the forest, and of what is drawn.")] = 0,
    device: Device = "auto",
    as_json: Json = False,
    force: Force = False,
    max_bytes: MaxBytes = None,
) -> None:
    """Learn to classify pixels from an image and the labels of some of its pixels."""
    check_output(model, force=force, sources=[input, labels])
    from . import _images, trace

    chain = _chain(sigmas, kinds, neighborhood, position)
    for path in (input, labels):
        _images.read_header(path, max_bytes=max_bytes)
    start = time.perf_counter()
    with _using(device), trace() as calls, progress(["read", "features", "write"]) as step:
        with step("read"):
            image = _images.read(input, max_bytes=max_bytes)
            truth = _images.read(labels, max_bytes=max_bytes)
            counts = _label_counts(truth.array, labels, dense=dense)
        with step("features"):
            from .estimators import RandomForestClassifier
            from .pixels import PixelClassifier

            forest = RandomForestClassifier(
                trees, max_depth=depth or None, n_jobs=-1, random_state=seed
            )
            classifier = PixelClassifier(
                chain, forest, max_per_class=max_per_class, random_state=seed
            ).fit(
                image.array,
                truth.array,
                unlabelled=None if dense else 0,
                progress=step.part,
            )
        with step("write"):
            classifier.save(model, force=force)
    notes = [*image.notes, *(f"labels: {note}" for note in truth.notes)]
    summary = {
        "input": str(input),
        "labels": str(labels),
        "output": str(model),
        "labelled": counts,
        "features": classifier.feature_names_,
        "importances": classifier.feature_importances(),
        "ran_on": sorted({call.backend for call in calls}),
        "seconds": time.perf_counter() - start,
        "notes": notes,
        "versions": _versions(),
    }
    if as_json:
        print_json(summary)
        return
    best = list(summary["importances"].items())[:5]
    rows = [
        ("input", shown(input)),
        ("labelled", ", ".join(f"class {name}: {count:,}" for name, count in counts.items())),
        ("features", str(len(classifier.feature_names_))),
        ("most important", ", ".join(f"{name} ({100 * share:.0f} %)" for name, share in best)),
        ("ran on", ", ".join(summary["ran_on"])),
        ("seconds", f"{summary['seconds']:.2f}"),
        *[("note", note) for note in notes],
        ("output", shown(model)),
    ]
    print_rows(rows)


@app.command("train-unet")
def train_unet(
    images: Annotated[Path, typer.Argument(help="A picture or a volume: PNG, JPEG, TIFF or .npy.")],
    masks: Annotated[
        Path, typer.Argument(help="Its mask: 0, and one other value; or 0 to CLASSES - 1.")
    ],
    model: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="MODEL.safetensors", help="The file to write."),
    ],
    stack: Annotated[
        bool, typer.Option("--stack", help="The files are stacks of pictures, and no volumes.")
    ] = False,
    validation: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="IMAGES MASKS", help="To measure on, and not to learn from."),
    ] = None,
    classes: Annotated[int, typer.Option(min=2, help="How many the masks tell apart.")] = 2,
    recipe: Annotated[
        str, typer.Option(metavar="RECIPE", help="augmented, plain or course.")
    ] = "augmented",
    epochs: Annotated[int | None, typer.Option(min=1, help="In place of the recipe's.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Batches an epoch.")] = None,
    patch: Annotated[int | None, typer.Option(min=4, help="Edge of the patches shown.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Patches at a time.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="The highest there is.")] = None,
    loss: Annotated[
        str | None, typer.Option(metavar="LOSS", help="dice_bce, bce, dice or mse.")
    ] = None,
    base: Annotated[int, typer.Option(min=1, help="Channels of the first level.")] = 32,
    depth: Annotated[int, typer.Option(min=1, help="How often the image is halved.")] = 2,
    norm: Annotated[str | None, typer.Option(metavar="NORM", help="batch or instance.")] = None,
    precision: Annotated[
        str | None, typer.Option(metavar="PRECISION", help="float32 or bf16.")
    ] = None,
    early_stopping: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many epochs without a better one.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Written each epoch; if it is there, go on from it."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the weights and of what is drawn.")] = 0,
    device: Device = "auto",
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write a page with the curves.")
    ] = None,
    as_json: Json = False,
    force: Force = False,
    max_bytes: MaxBytes = None,
) -> None:
    """Train a U-Net on images and their masks."""
    sources = [images, masks, *(validation or ())]
    check_output(model, force=force, sources=sources)
    if checkpoint is not None:
        check_output(checkpoint, force=True, sources=[*sources, model])
    if report is not None:
        outputs = [model, *[checkpoint] * (checkpoint is not None)]
        _check_report(report, force=force, sources=[*sources, *outputs])
    from . import _images, _networks, unet

    given = {"epochs": epochs, "steps_per_epoch": steps, "patch_size": patch, "batch_size": batch,
             "learning_rate": learning_rate, "loss": loss, "precision": precision}  # fmt: skip
    asked = _networks.recipe(recipe, given)
    for path in sources:
        _images.read_header(path, max_bytes=max_bytes)
    start = time.perf_counter()
    names = ["read", "train", *["make the report"] * bool(report), "write"]
    with _using(device), progress(names) as step:
        with step("read"):
            pairs, notes = [], []
            for image, mask in ((images, masks), *([validation] if validation else [])):
                found, said = _networks.pictures(image, stack=stack, max_bytes=max_bytes)
                truth, more = _networks.masks(mask, found, stack=stack, max_bytes=max_bytes)
                pairs.append((found, truth))
                notes += [*said, *(f"masks: {note}" for note in more)]
        with step("train"):
            network = unet.UNet(
                1, 1 if classes == 2 else classes, base, depth, pairs[0][0][0].ndim, norm, seed=seed
            )
            network, history = unet.train(
                network,
                *pairs[0],
                validation=pairs[1] if validation else None,
                seed=seed,
                early_stopping=early_stopping,
                checkpoint=checkpoint,
                progress=step.part,
                **asked,
            )
        kept = _networks.kept_epoch(history, best=early_stopping is not None)
        if report is not None:
            with step("make the report"):
                shown_ones = [(shown(images.name), pairs[0][0][0], pairs[0][1][0])]
                if validation:
                    shown_ones.append((shown(validation[0].name), pairs[1][0][0], pairs[1][1][0]))
                page = _networks.training_page(
                    network, history, kept, shown_ones, title=f"Training of {shown(model.name)}",
                    subtitle=f"{recipe} recipe", notes=notes,
                )  # fmt: skip
        with step("write"):
            unet.save(model, network, force=force)
            if report is not None:
                with whole_file(report, force=force) as file:
                    file.write(page)
    summary = {
        "images": str(images),
        "masks": str(masks),
        "output": str(model),
        "report": None if report is None else str(report),
        "parameters": sum(p.numel() for p in network.parameters()),
        "config": network.config,
        "recipe": asked,
        "history": history.to_dict("records"),
        "epoch": int(kept["epoch"]),
        "ran_on": [str(next(network.parameters()).device)],
        "seconds": time.perf_counter() - start,
        "notes": notes,
        "versions": _versions(),
    }
    if as_json:
        print_json(summary)
        return
    measured = ("loss", "dice", "val_loss", "val_dice")
    rows = [
        ("images", f"{len(pairs[0][0])} of {' × '.join(map(str, pairs[0][0][0].shape))}"),
        ("parameters", f"{summary['parameters']:,}"),
        ("epochs", str(len(history))),
        *[("weights of epoch", f"{kept['epoch']:.0f}") for _ in range(early_stopping is not None)],
        *[
            (name.replace("val_", "validation: "), f"{kept[name]:.4f}")
            for name in measured
            if name in kept
        ],
        ("ran on", ", ".join(summary["ran_on"])),
        ("seconds", f"{summary['seconds']:.2f}"),
        *[("note", note) for note in notes],
        ("output", shown(model)),
        *[("report", shown(report)) for _ in range(report is not None)],
    ]
    print_rows(rows)


@app.command()
def predict(
    model: Annotated[
        Path, typer.Argument(help="A file that `gpuseg train` or `gpuseg train-unet` wrote.")
    ],
    input: Input,
    output: Annotated[Path, typer.Argument(help=".png, .jpg, .tif or .npy, for the classes.")],
    probabilities: Annotated[
        Path | None,
        typer.Option(metavar="FILE.npy", help="Write how likely each class is, too."),
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(metavar="FILE", help="An image of the true classes, to compare.")
    ] = None,
    tile: Annotated[
        int | None,
        typer.Option(min=1, help="Edge of the tiles. (default: 256 MiB of features; 256 or 112)"),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="U-Nets: of the probability. (default: 0.5)")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(metavar="PRECISION", help="U-Nets: float32 or bf16.")
    ] = None,
    device: Device = "auto",
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write a page that shows it.")
    ] = None,
    as_json: Json = False,
    force: Force = False,
    max_bytes: MaxBytes = None,
) -> None:
    """Classify the pixels of an image by a model; slice by slice, if it knows pictures alone."""
    sources = [path for path in (model, input, truth) if path is not None]
    check_output(output, force=force, sources=sources)
    if probabilities is not None:
        if probabilities.suffix.lower() != ".npy":
            raise RefusedOutput(f"{shown(probabilities)}: probabilities must end in .npy")
        check_output(probabilities, force=force, sources=[*sources, output])
    if report is not None:
        outputs = [output, *[probabilities] * (probabilities is not None)]
        _check_report(report, force=force, sources=[*sources, *outputs])

    from . import _images, trace

    header = _images.read_header(input, max_bytes=max_bytes)
    _images.check_form(output, ndim=header.ndim, labels=True)
    names = ["read", "classify", *["make the report"] * bool(report), "write"]
    start = time.perf_counter()
    with (
        _using(device),
        trace() as calls,
        progress(names) as step,
        contextlib.ExitStack() as files,
    ):
        with step("read"):
            classify, ndim, kinds, ran = _classifier(model, tile, threshold, precision)
            if header.ndim < ndim:
                raise ValueError(f"{shown(input)}: is a picture, and the model is of volumes")
            image = _images.read(input, max_bytes=max_bytes)
            stack = image.array.ndim > ndim
            if stack:
                told = ("slice by slice: the model is of pictures, and each of the "
                        f"{len(image.array)} slices was classified by itself")  # fmt: skip
                image = image._replace(notes=(*image.notes, told))
            right = None if truth is None else _truth(truth, image.array.shape, max_bytes)
        with step("classify"):
            likely = None
            if probabilities is not None:
                shape = (*image.array.shape, *kinds)
                likely = files.enter_context(_array_file(probabilities, shape, force=force))
            classes = classify(image.array, stack=stack, probabilities=likely, progress=step.part)
            del likely
        if right is not None and ran:
            right = _like_the_masks(right, classes)
        scores = {} if right is None else _scores(right, classes)
        shares = _shares(classes)
        page = None
        if report is not None:
            with step("make the report"):
                page = _prediction_page(input, model, image, classes, right, shares | scores, calls)
        with step("write"):
            _images.write(output, classes, force=force)
            if page is not None:
                with whole_file(report, force=force) as file:
                    file.write(page)
    summary = {
        "input": str(input),
        "model": str(model),
        "output": str(output),
        "probabilities": None if probabilities is None else str(probabilities),
        "report": None if report is None else str(report),
        "format": header.format,
        "shape": image.array.shape,
        "shares": shares,
        "scores": scores,
        "ran_on": sorted({call.backend for call in calls} | set(ran)),
        "seconds": time.perf_counter() - start,
        "notes": list(image.notes),
        "versions": _versions(),
    }
    if as_json:
        print_json(summary)
        return
    rows = [
        ("input", f"{shown(input)} ({header.format})"),
        ("shape", " × ".join(map(str, image.array.shape))),
        *[(name, f"{100 * share:.2f} %") for name, share in shares.items()],
        *[(name, f"{value:.4f}") for name, value in scores.items()],
        ("ran on", ", ".join(summary["ran_on"])),
        ("seconds", f"{summary['seconds']:.2f}"),
        *[("note", note) for note in image.notes],
        ("output", shown(output)),
    ]
    rows += [(name, shown(path)) for name, path in (("probabilities", probabilities),
                                                    ("report", report)) if path]  # fmt: skip
    print_rows(rows)


# --- parts of the commands --------------------------------------------------------------------


class _Accel(StrEnum):
    enable = "enable"
    disable = "disable"
    status = "status"


@app.command()
def accel(
    action: Annotated[
        _Accel, typer.Argument(help="enable: GPUSEG_ACCEL=1 counts from now on; disable: never.")
    ] = _Accel.status,
) -> None:
    """Serve scripts for scikit-image, SciPy and scikit-learn where GPUSEG_ACCEL=1 is set."""
    from .accel import _opt_in

    if action is _Accel.enable:
        print(f"wrote {shown(_opt_in.enable())}: GPUSEG_ACCEL=1 counts in this environment")
    elif action is _Accel.disable:
        was = "removed" if _opt_in.disable() else "there is no"
        print(f"{was} {shown(_opt_in.path())}: GPUSEG_ACCEL is not looked at")
    else:
        rows = _opt_in.status()
        print_rows([(name, shown(value)) for name, value in rows.items()])


def _using(device: str):
    """Run on a device; a name that is none is a usage error."""
    from . import using

    kind, _, index = device.partition(":")
    if kind not in ("auto", "cpu", "cuda", "sim") or (index and not index.isdecimal()):
        raise _jobs.UsageError(f"--device must be auto, cpu, cuda, cuda:N or sim, got {device!r}")
    return using(device)


@contextlib.contextmanager
def _for_all_threads(device: str) -> Iterator[None]:
    """Run on a device in every thread and process that starts in the block."""
    with _using(device):
        pass
    before = os.environ.get("GPUSEG_DEVICE")
    if device != "auto":
        os.environ["GPUSEG_DEVICE"] = device
    try:
        yield
    finally:
        os.environ.pop("GPUSEG_DEVICE", None)
        if before is not None:
            os.environ["GPUSEG_DEVICE"] = before


def _numbers(text: str, option: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(0 < n < math.inf for n in found):
        raise _jobs.UsageError(f"{option} must be positive numbers such as 2,1,1, got {text!r}")
    return found if len(found) > 1 else found * 3


def _selected(parts: list[str]) -> dict[str, int]:
    found = {}
    for part in parts:
        axis, _, index = part.partition("=")
        if len(axis) != 1 or not index.isdecimal():
            raise _jobs.UsageError(f"--select must be like c=0, got {part!r}")
        found[axis.lower()] = int(index)
    return found


def _check_policy(nan: str) -> None:
    if nan not in ("raise", "omit"):
        raise _jobs.UsageError(f"--nan must be raise or omit, got {nan!r}")


def _check_report(report: Path, *, force: bool, sources: list[Path]) -> None:
    if report.suffix.lower() not in (".html", ".htm"):
        raise RefusedOutput(f"{shown(report)}: a report must end in .html")
    check_output(report, force=force, sources=sources)
    _need("matplotlib", "jinja2")


def _need(*modules: str) -> None:
    from .plot import extra

    for module in modules:
        extra(module)


def _page(path, image, result, labels, options, notes, calls) -> bytes:
    from . import report

    given = {"method": options.method} | options.given()
    asked = ", ".join(
        name.replace("_", "-") + ("" if value is True else f" {value}")
        for name, value in given.items()
    )
    part = report.section(
        shown(path.name),
        image.array,
        result.result,
        thresholds=result.thresholds,
        prepared=result.prepared if options.sigma or options.background else None,
        labels=labels,
        numbers={"seconds to segment": f"{result.seconds:.3f}"},
        notes=notes,
    )
    title = f"Segmentation of {shown(path.name)}"
    page = report.render(title, [part], calls=calls, subtitle=asked)
    return page.encode("utf-8", "backslashreplace")


def _comparison_figure(image, table, nbins: int) -> bytes:
    """The histogram with every threshold, and below it every mask, as a PNG file."""
    import io

    import numpy as np
    from PIL import Image

    from . import filters, plot

    counts, centers = filters.histogram(image, nbins, nan="omit")
    values = dict(zip(table["method"], table["value"]))
    plane = image if image.ndim == 2 else image[image.shape[0] // 2]
    step = max(1, max(plane.shape) // 1000)
    plane = plane[::step, ::step]
    panels = {"image": plane} | {
        f"{name}  {value:.6g}": plane > value
        for name, value in values.items()
        if not math.isnan(value)
    }
    drawn = [
        plot.histogram_figure(counts, centers, values, figsize=(12, 4)),
        plot.grid_figure(panels, columns=4, figsize=(12, 3.1 * math.ceil(len(panels) / 4))),
    ]
    parts = []
    for figure in drawn:
        figure.canvas.draw()
        parts.append(np.asarray(figure.canvas.buffer_rgba())[..., :3])
    file = io.BytesIO()
    Image.fromarray(np.concatenate(parts)).save(file, "PNG")
    return file.getvalue()


def _chain(sigmas, kinds, neighborhood, position) -> list:
    """The features that were asked for."""
    from .features import AddFilters, AddNeighborhood, AddPosition

    if neighborhood is not None:
        if sigmas is not None or kinds is not None:
            raise _jobs.UsageError("--neighborhood is in place of filters: no --sigmas, --kinds")
        chain = [AddNeighborhood(neighborhood)]
    else:
        given = {}
        if sigmas is not None:
            try:
                given["sigmas"] = tuple(float(sigma) for sigma in sigmas.split(","))
            except ValueError:
                text = f"--sigmas must be numbers such as 1,2.5,8, got {sigmas!r}"
                raise _jobs.UsageError(text) from None
        if kinds is not None:
            given["kinds"] = tuple(kinds.split(","))
        chain = [AddFilters(**given)]
    return [*chain, AddPosition()] if position else chain


def _label_counts(labels, path: Path, *, dense: bool) -> dict[str, int]:
    """How many pixels each class has."""
    import numpy as np

    if labels.dtype.kind not in "bui":
        raise ValueError(f"{shown(path)}: labels must be integers, got {labels.dtype}")
    values, counts = np.unique(labels, return_counts=True)
    found = {str(v): int(n) for v, n in zip(values, counts) if dense or v != 0}
    if len(found) == 1 and not dense:
        raise _jobs.UsageError(
            f"{shown(path)}: holds a single class, {next(iter(found))}, beside 0, which means "
            "unlabelled; pass --dense where 0 is a class"
        )
    return found


@contextlib.contextmanager
def _array_file(path: Path, shape: tuple[int, ...], *, force: bool):
    """A .npy file of float32 to fill, which need not fit in memory."""
    import numpy as np

    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    with whole_file(path, force=force) as file:
        np.lib.format.write_array_header_1_0(file, header)
        start, left = file.tell(), 4 * math.prod(shape)
        # Written, so that a full disk says so now: an array over a hole in a file would crash.
        while left:
            left -= file.write(bytes(min(left, 1 << 18)))
        file.flush()
        array = np.memmap(file, "<f4", "r+", offset=start, shape=shape)
        yield array
        array.flush()


def _classifier(model: Path, tile, threshold, precision):
    """What classifies an image; the axes of the images that it is for; the axes of classes that
    its probabilities have; where it runs, if that is known."""
    from . import _networks

    if not _networks.is_network(model):
        from .pixels import PixelClassifier

        if threshold is not None or precision is not None:
            raise _jobs.UsageError("--threshold and --precision are for U-Nets")
        classifier = PixelClassifier.load(model).set_params(tile=tile)
        return classifier.predict, classifier.ndim_, (len(classifier.classes_),), []
    from . import unet
    from .unet._device import torch_device

    network = unet.load(model)
    given = {"window": tile, "threshold": threshold, "precision": precision}
    given = {key: value for key, value in given.items() if value is not None}
    classify = functools.partial(unet.predict, network, **given)
    outputs = network.config["out_channels"]
    return classify, network.ndim, () if outputs == 1 else (outputs,), [str(torch_device())]


def _like_the_masks(truth, classes):
    """A mask of two values as a U-Net learns it: what is not 0 is foreground."""
    import numpy as np

    if len(np.unique(truth)) <= 2 and classes.max(initial=0) <= 1:
        return (truth != 0).astype(np.uint8)
    return truth


def _truth(path: Path, shape, max_bytes):
    from . import _images

    truth = _images.read(path, max_bytes=max_bytes).array
    if truth.dtype.kind not in "bui":
        raise ValueError(f"{shown(path)}: classes must be integers, got {truth.dtype}")
    if truth.shape != shape:
        raise ValueError(f"{shown(path)}: has shape {truth.shape}, the image {shape}")
    return truth


def _shares(classes) -> dict[str, float]:
    import numpy as np

    values, counts = np.unique(classes, return_counts=True)
    return {f"class {v}": int(n) / classes.size for v, n in zip(values, counts)}


def _scores(truth, classes) -> dict[str, float]:

    from . import metrics

    values = metrics.classification.numbers_in(truth, classes)
    right = float((truth == classes).mean())
    return {"accuracy": right} | {
        f"Dice of class {v}": metrics.dice(truth == v, classes == v) for v in values
    }


def _prediction_page(path, model, image, classes, truth, numbers, calls) -> bytes:
    from . import report

    part = report.section(
        shown(path.name),
        image.array,
        classes,
        others={} if truth is None else {"the truth that was given": truth},
        numbers={name: f"{value:.4f}" for name, value in numbers.items()},
        notes=list(image.notes),
    )
    title = f"Classes of {shown(path.name)}"
    page = report.render(title, [part], calls=calls, subtitle=f"model {shown(model.name)}")
    return page.encode("utf-8", "backslashreplace")


def _versions() -> dict[str, str]:
    from . import device_info

    return {name: version for name, version in device_info()["versions"].items() if version}


def _print_summary(summary: dict) -> None:
    from . import report

    rows = [("input", f"{shown(summary['input'])} ({summary['format']})")]
    rows += report.readable(summary).items()
    rows += [
        ("ran on", ", ".join(summary["ran_on"]) or "nothing was dispatched"),
        ("seconds", f"{summary['seconds']['total']:.2f}"),
        *[("note", note) for note in summary["notes"]],
        ("output", shown(summary["output"])),
    ]
    if summary["report"]:
        rows.append(("report", shown(summary["report"])))
    print_rows(rows)
