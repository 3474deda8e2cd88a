"""The whole job from file to file: stages over shards, each of which is marked when it is done.

The image is read box by box with as much around as the filters need, so that a block needs no
other block, and what is filtered is never stored: a second pass filters again. The mask, and what
follows from it, lie in Zarr arrays in the work folder until the last stage; there the output is
moved to its name, complete.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from dask.callbacks import Callback

from .. import _checks, _jobs
from .._files import RefusedOutput, _sync, check_is_no_input, name_file, remove, shown
from .._images import half_of_memory, size
from ..kernels.launch import thread_count
from ._open import Volume, open
from ._save import (
    _set_attributes,
    add_label,
    check_sources,
    folder_of_labels,
    is_label,
    output_form,
    publish,
    refuse_existing,
    write_tiff,
)
from ._sources import Source, VolumeError, _line, blamed
from ._store import Target, coarser, group, layout, ome_metadata, pyramid_shapes
from ._watch import Watch, duration
from ._work import SUFFIX, Work, fingerprint_of

# What a process takes before it reads a voxel: the libraries.
BASE = 350 << 20


class Unfinished(VolumeError):
    """A job that ended early, and goes on with what is left when it is asked for again."""


class Estimate(NamedTuple):
    """What a job will take."""

    shape: tuple[int, ...]
    dtype: str
    block: tuple[int, ...]
    chunks: int
    passes: int
    stages: tuple[str, ...]
    workers: int
    memory: int
    peak: int
    disk: int
    free: int
    seconds: float
    notes: tuple[str, ...] = ()

    def readable(self) -> list[tuple[str, str]]:
        """For people."""
        return [
            ("volume", f"{' x '.join(map(str, self.shape))} {self.dtype}"),
            ("blocks", f"{self.chunks} of {' x '.join(map(str, self.block))}"),
            ("passes over the image", str(self.passes)),
            ("stages", ", ".join(self.stages)),
            ("blocks at a time", str(self.workers)),
            ("peak of memory", f"{size(self.peak)} of {size(self.memory)}"),
            ("room on the disk", f"at most {size(self.disk)}; {size(self.free)} are free"),
            ("time", f"about {duration(self.seconds)}"),
            *(("note", note) for note in self.notes),
        ]


class Done(NamedTuple):
    """What a job gave."""

    output: str
    thresholds: dict[str, float]
    shape: tuple[int, ...]
    seconds: float
    voxels_per_second: float
    peak: int
    resumed: bool
    notes: tuple[str, ...] = ()

    def readable(self) -> list[tuple[str, str]]:
        """For people."""
        return [
            ("volume", " x ".join(map(str, self.shape))),
            *((name, f"{value:g}") for name, value in self.thresholds.items()),
            ("time", duration(self.seconds) + " (resumed)" * self.resumed),
            ("throughput", f"{self.voxels_per_second / 1e6:.1f} Mvoxel/s"),
            ("peak of memory", size(self.peak)),
            *(("note", note) for note in self.notes),
            ("output", shown(self.output)),
        ]


def segment(
    input,
    output,
    *,
    options: _jobs.Options | None = None,
    memory: int | None = None,
    scheduler: str = "threads",
    workers: int | None = None,
    levels: int | None = None,
    force: bool = False,
    restart: bool = False,
    watch: Watch | None = None,
    **given,
) -> Done:
    """Segment a volume of any size from file to file, and go on where a killed job was.

    Parameters
    ----------
    input : path-like or Volume
        What `open` reads.
    output : path-like
        What `save` writes, by its name; ``SCAN.ome.zarr/labels/NAME`` adds to an OME-Zarr.
    options : optional
        What to do, as ``gpuseg segment`` has it; or give its parts by name, such as
        ``method="otsu", sigma=2, label=True``.
    memory : int, optional
        Bytes that all processes together may take. Default: half of what is available. Blocks are
        as large as it allows.
    scheduler : str, optional
        ``"threads"``, ``"processes"``, or the address of a Dask scheduler, ``"tcp://HOST:PORT"``,
        whose workers must see the files under the same names.
    workers : int, optional
        How many blocks are worked on at a time. Default: the cores, where memory allows.
    levels : int, optional
        Levels of the pyramid of an OME-Zarr.
    force : bool, optional
        Replace an output that exists, once the new one is complete.
    restart : bool, optional
        Throw away what a former job has left.

    Returns
    -------
    Done
        With the thresholds that were found, the time and the peak of the memory; and ``notes``,
        which tell of chunks that are not in a Zarr input. They count as its fill value: Zarr leaves
        out chunks that hold nothing else, so one that was lost looks the same.

    Raises
    ------
    RefusedOutput
        The output exists, or it is the input by another name, holds it or lies within it (only
        labels may go into the OME-Zarr that they are of); no job has made what is in the folder
        that this one would work in.
    VolumeError
        The input or the parameters are not those the job was begun with, the input changed while
        the job was at work, a block does not fit into the memory, a part of the input cannot be
        read, no Dask scheduler answers.

    Notes
    -----
    The job works in a folder ``OUTPUT.gpuseg-work`` beside its output: delete it to give up. It is
    bound to a fingerprint of the input (names within it, sizes, times of change), the parameters
    and the versions of the libraries; a job that was killed, or found the disk full, goes on there,
    and one that the image's voxels do not allow leaves nothing. What was written before is held to
    its checksums. An output that is replaced is there until the new one has its name. The result
    equals that of the whole image in memory, in every voxel.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from pathlib import Path
    >>> from gpuseg import volume
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(Path(folder, "a.npy"), np.eye(16, dtype=np.uint8)[None].repeat(4, 0))
    ...     done = volume.segment(Path(folder, "a.npy"), Path(folder, "b.zarr"), threshold=0.5,
    ...                           method="manual")
    ...     print(volume.open(Path(folder, "b.zarr")).data.sum().compute())
    64
    """
    start = time.perf_counter()
    volume = input if isinstance(input, Volume) else open(input)
    options = _options(options, given)
    given_name, output = str(output), _place(Path(output))
    form = output_form(output)
    work = Work(output.with_name(output.name + SUFFIX))
    _check(volume, options, output)
    _check_scheduler(scheduler)
    notes = tuple(volume.source.notes())
    watch = watch or Watch()
    if not work.exists():
        refuse_existing(output, force=force)
    about = _about(volume, options, form, levels)
    with _answering(scheduler, watch), folder_of_labels(output), work.owned():
        work.put_back(output)
        if restart:
            work.clear()
        elif work.published(output):
            # It was killed when nothing was left to do but to tidy up.
            if work.is_of(about):
                thresholds = work.numbers("thresholds") or {}
                if is_label(output):
                    add_label(output.parent, output.name)
                work.remove()
                return _done(given_name, thresholds, volume, start, watch, notes, resumed=True)
            work.clear()
        resumed = work.begun()
        try:
            refuse_existing(output, force=force)
            if resumed:
                block = tuple(work.resume(about)["block"])
                workers = _workers(volume, options, block, memory, workers, scheduler)
            else:
                block, workers = _plan(volume, options, memory, workers, scheduler)
                work.clear()
                work.begin(about, {"block": list(block)})
        except BaseException:
            if not resumed:
                work.remove()
            raise
        job = _Job(volume, options, output, form=form, work=work, block=block, levels=levels)
        try:
            with watch, _scheduled(scheduler, workers, work):
                thresholds = job.whole(watch)
            if fingerprint_of(volume.source) != about["input"]["files"]:
                raise VolumeError(
                    f"{shown(volume.source.path)}: has changed while the job was at work: nothing "
                    "is written"
                )
            job.publish(force=force)
        except Unfinished:
            raise
        except (ValueError, TypeError):  # the same would come of it again
            work.remove()
            raise
        work.remove()
    return _done(given_name, thresholds, volume, start, watch, notes, resumed=resumed)


def _done(output: str, thresholds, volume, start: float, watch, notes, *, resumed: bool) -> Done:
    took = time.perf_counter() - start
    rate = math.prod(volume.shape) / took
    return Done(output, thresholds, volume.shape, took, rate, watch.peak, resumed, notes)


def _place(output: Path) -> Path:
    """Where an output lies, by whatever name it is asked for."""
    if output.suffix.lower() in (".tif", ".tiff"):
        return Path(os.path.realpath(output))  # as `whole_file` replaces what a link leads to
    return Path(os.path.realpath(output.parent), output.name)


def estimate(
    input,
    output=None,
    *,
    options: _jobs.Options | None = None,
    memory: int | None = None,
    scheduler: str = "threads",
    workers: int | None = None,
    **given,
) -> Estimate:
    """Say what `segment` will take, from one block of the middle that is tried.

    Parameters
    ----------
    input, output, options, memory, scheduler, workers, **given
        As for `segment`; nothing is written.

    Returns
    -------
    Estimate
        Blocks, passes over the image, peak of memory, room on the disk (of voxels that do not
        compress) and seconds, from the rate of a block of at most 128 voxels along each axis.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from pathlib import Path
    >>> from gpuseg import volume
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(Path(folder, "a.npy"), np.zeros((300, 300, 300), np.uint8))
    ...     told = volume.estimate(Path(folder, "a.npy"), method="manual", threshold=1)
    >>> told.chunks, told.passes
    (8, 1)
    """
    volume = input if isinstance(input, Volume) else open(input)
    options = _options(options, given)
    if output is not None:
        output_form(_place(Path(output)))
        _check(volume, options, _place(Path(output)))
    block, workers = _plan(volume, options, memory, workers, scheduler)
    folder = Path.cwd() if output is None else Path(output).absolute().parent
    stages = _stage_names(options)
    voxels = math.prod(volume.shape)
    passes = 1 + (options.method in (*_jobs.AUTOMATIC, "multiotsu", "objects"))
    if options.method == "kmeans":
        # It counts small whole numbers once; it looks at other values in each of its steps.
        counted = volume.dtype.kind in "bui" and volume.dtype.itemsize <= 2
        counted = counted and not (options.sigma or options.background or options.spatial_weight)
        passes = 3 if counted else 3 + _STEPS
    return Estimate(
        volume.shape,
        str(volume.dtype),
        block,
        math.prod(-(-n // b) for n, b in zip(volume.shape, block)),
        passes,
        tuple(stages),
        workers,
        half_of_memory() if memory is None else memory,
        _peak(volume, options, block, workers, scheduler),
        int(voxels * (5 if options.label else 1.2) + voxels * (len(stages) - 1)),
        shutil.disk_usage(folder).free,
        voxels / _rate(volume, options) * passes,
        tuple(volume.source.notes()),
    )


# --- what is asked ----------------------------------------------------------------------------


def _options(options: _jobs.Options | None, given: dict) -> _jobs.Options:
    if options is None:
        names = {f.name for f in dataclasses.fields(_jobs.Options)}
        for name in given:
            if name not in names:
                raise TypeError(
                    f"there is no option {name!r}; there are {', '.join(sorted(names))}"
                )
        options = _jobs.Options(**given)
    elif given:
        raise TypeError(f"options and {', '.join(given)} cannot both be given")
    _jobs.check_chunked(options)
    return options


def _check(volume: Volume, options: _jobs.Options, output: Path) -> None:
    if options.connectivity > volume.ndim:
        raise _jobs.UsageError(
            f"--connectivity must be at most {volume.ndim}, the axes of the image, "
            f"got {options.connectivity}"
        )
    if volume.dtype == np.float16:
        raise VolumeError(f"{shown(volume.source.path)}: holds float16: save it as float32 first")
    wide = options.label and math.prod(volume.shape) >= 2**31
    if wide and output_form(output) == "TIFF":
        raise RefusedOutput("TIFF programs read no int64 labels: use .zarr or .ome.zarr")
    check_sources(output, [volume.source])
    if any(folder.name.endswith(SUFFIX) for folder in output.parents):
        raise RefusedOutput(f"{shown(output)} lies in the folder that a job works in")
    check_is_no_input(output.with_name(output.name + SUFFIX), volume.source.originals(labels=True))


def _about(volume: Volume, options: _jobs.Options, form: str, levels) -> dict:
    """All that decides what the result is."""
    names = ("gpuseg", "numpy", "scipy", "numba", "scikit-image", "zarr")
    return {
        "input": {
            "path": os.path.realpath(volume.source.path),
            "files": fingerprint_of(volume.source),
            "shape": list(volume.shape),
            "dtype": str(volume.dtype),
            "voxel_size": list(volume.voxel_size),
            "view": volume.source.identity(),
        },
        "parameters": {"options": _plain(dataclasses.asdict(options)), "form": form,
                       "levels": levels},
        "versions": {name: metadata.version(name) for name in names},
    }  # fmt: skip


def _plain(options: dict) -> dict:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in options.items()}


# --- how it goes about it ---------------------------------------------------------------------


def _depth(options: _jobs.Options) -> int:
    """How many voxels around decide about one."""
    depth = sum(math.ceil(4 * s + 0.5) for s in (options.background, options.sigma) if s)
    return depth + (options.window or 25) * (options.method == "local")


def _bytes_a_voxel(volume: Volume, options: _jobs.Options) -> float:
    """Peak of a block, its surroundings included, for each of its voxels; measured, rounded up."""
    filtered = 4 if volume.dtype.kind == "f" and volume.dtype.itemsize <= 4 else 8
    steps = 2 + (options.background is not None) * 2 if _depth(options) else 0
    places = 8 * volume.ndim if options.spatial_weight else 0
    return 2 * volume.dtype.itemsize + steps * filtered + 20 + places


def _peak(volume, options, block, workers: int, scheduler: str) -> int:
    depth = _depth(options)
    grown = math.prod(min(b + 2 * depth, n) for b, n in zip(block, volume.shape))
    processes = 1 if scheduler == "threads" else 1 + workers
    stored = math.prod(volume.source.pieces) * volume.dtype.itemsize * 2
    once = processes * BASE + workers * stored + _PARKED
    return int(once + workers * grown * _bytes_a_voxel(volume, options))


_PARKED = 128 << 20  # what waits between two passes in memory before it goes to a file

_SIDES = {2: (4096, 2048, 1024, 512), 3: (256, 128, 64)}
# Steps that clusters take: often 10, seldom more than this.
_STEPS = 30


def _plan(volume: Volume, options, memory, workers, scheduler: str):
    """The largest block, and the most workers, that memory allows."""
    _check_scheduler(scheduler)
    memory = half_of_memory() if memory is None else _checks.integer(memory, "memory", at_least=1)
    asked = thread_count() if workers is None else _checks.integer(workers, "workers", at_least=1)
    for count in sorted({asked, 1}, reverse=True):
        for side in _SIDES[volume.ndim]:
            block = layout(volume.shape, shard=side)[1]
            if _peak(volume, options, block, count, scheduler) <= memory:
                return block, count
    least = _peak(volume, options, layout(volume.shape, shard=1)[1], 1, scheduler)
    raise VolumeError(
        f"{shown(volume.source.path)}: a block of {_SIDES[volume.ndim][-1]} voxels along each axis "
        f"needs {size(least)} of memory, more than the limit, {size(memory)}"
    )


def _workers(volume, options, block, memory, workers, scheduler: str) -> int:
    """How many workers memory allows for the blocks of a job that was begun."""
    _check_scheduler(scheduler)
    memory = half_of_memory() if memory is None else memory
    asked = thread_count() if workers is None else _checks.integer(workers, "workers", at_least=1)
    for count in range(asked, 0, -1):
        peak = _peak(volume, options, block, count, scheduler)
        if peak <= memory:
            return count
    raise VolumeError(
        f"the job was begun with blocks of {' x '.join(map(str, block))}, which need {size(peak)} "
        f"of memory, more than the limit, {size(memory)}: pass --restart to begin again"
    )


def _rate(volume: Volume, options: _jobs.Options) -> float:
    """Voxels a second of one pass, from a block of the middle; the second try counts."""
    box = tuple(slice(max(0, n // 2 - 64), min(n, n // 2 + 64)) for n in volume.shape)
    best = math.inf
    for _ in range(2):
        start = time.perf_counter()
        block = volume.source[box]
        with contextlib.suppress(ValueError):  # a block may have nothing to decide by
            _jobs.segment(block, options)
        best = min(best, time.perf_counter() - start)
    return block.size / best


def _check_scheduler(scheduler: str) -> None:
    if scheduler not in ("threads", "processes") and "://" not in scheduler:
        raise _jobs.UsageError(
            f"--scheduler must be threads, processes or an address such as tcp://HOST:8786, "
            f"got {scheduler!r}"
        )


# Seconds that a Dask scheduler has to answer, and to have a worker.
_PATIENCE = 5, 30


@contextlib.contextmanager
def _answering(scheduler: str, watch: Watch) -> Iterator[None]:
    """Let Dask's work go to a scheduler elsewhere, if one is named and answers."""
    if scheduler in ("threads", "processes"):
        yield
        return
    from distributed import Client

    try:
        _greet(scheduler)
        client = Client(scheduler, timeout=_PATIENCE[0])
    except Exception as error:  # whatever the address or the other side makes of it
        raise VolumeError(f"no Dask scheduler answers at {scheduler}: {_line(error)}") from None
    with client, client.as_current():
        try:
            client.wait_for_workers(1, timeout=_PATIENCE[1])
        except Exception as error:
            raise VolumeError(
                f"the Dask scheduler at {scheduler} has no workers: {_line(error)}"
            ) from None
        if client.dashboard_link:
            watch.say(f"Dask dashboard: {client.dashboard_link}")
        yield


def _greet(scheduler: str) -> None:
    """Say hello to a scheduler: a `Client` waits for ever where something else listens."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    from distributed.comm import connect

    async def greet():
        comm = await asyncio.wait_for(connect(scheduler, _PATIENCE[0]), _PATIENCE[0] + 1)
        comm.abort()

    with ThreadPoolExecutor(1) as thread:  # this one may have a loop of its own
        thread.submit(asyncio.run, greet()).result()


@contextlib.contextmanager
def _scheduled(scheduler: str, workers: int, work: Work) -> Iterator[None]:
    import dask

    temporary = work / "temporary"
    remove(temporary)  # of a process that was killed
    temporary.mkdir()
    settings: dict[str, Any] = {"temporary-directory": str(temporary)}
    if scheduler in ("threads", "processes"):
        settings |= {"scheduler": scheduler, "num_workers": workers}
    with contextlib.ExitStack() as stack:
        if scheduler == "threads":
            # Dask goes on at the first error, while other threads still write into the work folder:
            # this pool waits for them, so that nothing is written once the folder is gone.
            settings["pool"] = stack.enter_context(ThreadPoolExecutor(workers))
        stack.enter_context(dask.config.set(settings))
        yield


# --- the image, filtered ----------------------------------------------------------------------


class Prepared(Source):
    """An image after its background is subtracted and it is smoothed: any box, by itself."""

    def __init__(self, source: Source, options: _jobs.Options):
        tried = _filtered(np.zeros((1,) * source.ndim, source.dtype), options)
        super().__init__(source.path, source.shape, tried.dtype, source.pieces)
        self.source, self.options, self.depth = source, options, _depth(options)

    def _read(self, box):
        around = tuple(
            slice(max(0, s.start - self.depth), min(n, s.stop + self.depth))
            for s, n in zip(box, self.shape)
        )
        values = self.source[around]
        if values.dtype.kind == "f" and np.isnan(values).any():
            raise VolumeError(f"{shown(self.path)}: the image holds NaN")
        found = _filtered(values, self.options)
        inner = tuple(slice(s.start - a.start, s.stop - a.start) for s, a in zip(box, around))
        return np.ascontiguousarray(found[inner])

    def files(self) -> list[Path]:
        return self.source.files()


def _filtered(values, options: _jobs.Options):
    from .. import filters

    given = values
    if options.background:
        values = filters.subtract_background(values, options.background)
    if options.sigma:
        values = filters.gaussian(values, options.sigma, preserve_range=True)
    if options.method == "local":
        values = _jobs.METHODS["local"].run(values, options, given).result
    return values


# --- the stages -------------------------------------------------------------------------------


def _stage_names(options: _jobs.Options) -> list[str]:
    return [f"segment ({options.method})", *["remove small objects"] * bool(options.min_size),
            *["number the objects"] * options.label]  # fmt: skip


_ATTEMPTS = 3


class _Counted(Callback):
    """Counts the tasks of the schedulers that run here; asks `otherwise` for one elsewhere."""

    def __init__(self, otherwise: Callable[[], float] = lambda: 0.0):
        super().__init__()
        self.total = self.ended = 0
        self.otherwise = otherwise

    def _start(self, dsk):
        self.total += len(dsk)

    def _posttask(self, key, result, dsk, state, worker_id):
        self.ended += 1

    def fraction(self) -> float:
        return self.ended / self.total if self.total else self.otherwise()


def _divided(image, options: _jobs.Options, found: dict[str, float] | None):
    """The lazy result of a method, and its thresholds, which may be known."""
    from .. import filters

    if options.method == "local":
        return image, {}
    if found and options.method in (*_jobs.AUTOMATIC, "objects"):
        (value,) = found.values()
        return _jobs._side(image, value, options), found
    if found and options.method == "multiotsu":
        return filters.apply_thresholds(image, list(found.values())), found
    return _jobs.METHODS[options.method].run(image, options, image)[:2]


def _blocks(array, target: Target):
    return array.rechunk(target.shard).to_delayed().ravel()


class _Job:
    def __init__(self, volume, options, output: Path, *, form: str, work: Work, block, levels):
        self.volume, self.options, self.output, self.form = volume, options, output, form
        self.work, self.block, self.levels = work, block, levels
        self.names = _stage_names(options)
        self.is_label = options.label or _jobs.METHODS[options.method].classes
        self.about = volume.axes, volume.voxel_size, volume.unit

    def whole(self, watch: Watch) -> dict[str, float]:
        """Go through the stages until every shard holds what was written there."""
        for _ in range(_ATTEMPTS):
            self.result: list[tuple[str, Target]] = []
            found = self.run(watch)
            if all(len(self.work.done(*part)) == len(part[1].boxes) for part in self.result):
                return found
        raise Unfinished(f"{shown(self.work.folder)}: what is written there does not stay")

    def run(self, watch: Watch) -> dict[str, float]:
        """Go through the stages; what is done of them is not done again."""
        from dask import array as da

        from .. import measure, morphology

        options = self.options
        prepared = Prepared(self.volume.source, options)
        image = da.from_array(prepared, chunks=self.block, name=False,
                              meta=np.empty((0,) * prepared.ndim, prepared.dtype))  # fmt: skip
        last = len(self.names) - 1
        with _Counted() as counted, watch.stage("find thresholds", image.size, counted.fraction):
            known = self.work.numbers("thresholds")
            mask, found = _divided(image, options, known)
        self.work.keep_numbers("thresholds", found)
        target = self.store(watch, 0, lambda: mask, mask.dtype, last)
        if options.min_size:
            number = self.names.index("remove small objects")
            before = target.dask().astype(bool)
            small = options.min_size - 1
            target = self.store(
                watch,
                number,
                lambda: morphology.remove_small_objects(
                    before, max_size=small, connectivity=options.connectivity
                ),
                np.dtype(bool),
                last,
            )
        if options.label:
            earlier = target.dask()
            if not _jobs.METHODS[options.method].classes:
                earlier = earlier.astype(bool)
            dtype = np.dtype(np.int32 if image.size < 2**31 else np.int64)
            target = self.store(
                watch,
                last,
                lambda: measure.label(earlier, connectivity=options.connectivity),
                dtype,
                last,
            )
        self.target = target
        if self.form == "OME-Zarr":
            self.pyramid(watch, target)
        return found

    def _path(self, number: int, last: int) -> Path:
        if number < last:
            return self.work / f"stage{number}"
        return self.work / "result" / "0" if self.form == "OME-Zarr" else self.work / "result"

    def store(self, watch: Watch, number: int, make: Callable, dtype, last: int) -> Target:
        """Compute what is left of a stage into its Zarr array."""
        dtype = np.dtype(np.uint8) if dtype.kind == "b" else dtype
        path = self._path(number, last)
        axes = self.volume.axes
        target = Target(path, self.volume.shape, dtype, shard=self.block, axes=axes)
        stage = str(number)
        return self.fill(watch, self.names[number], stage, target, lambda: _blocks(make(), target))

    def fill(self, watch: Watch, name: str, stage: str, target: Target, make: Callable) -> Target:
        import dask

        if self.work / "result" in (target.path, target.path.parent):
            self.result.append((stage, target))
        write = dask.delayed(self.work.write, pure=False, traverse=False)
        for attempt in range(_ATTEMPTS):
            done = self.work.done(stage, target)
            if not done:
                remove(target.path)
                target.path.parent.mkdir(parents=True, exist_ok=True)
                target.create()
            left = [n for n in range(len(target.boxes)) if n not in done]
            if not left:
                return target
            blocks = make()
            tasks = [write(stage, target, n, blocks[n]) for n in left]
            counted = _Counted(lambda: self.work.count(stage) / len(target.boxes))
            with counted, watch.stage(name, len(left) * math.prod(target.shard), counted.fraction):
                try:
                    dask.compute(*tasks)
                except BrokenProcessPool:
                    if attempt == _ATTEMPTS - 1:
                        raise Unfinished(
                            f"{name}: worker processes are killed again and again, perhaps for "
                            "want of memory; the same command goes on with what is left"
                        ) from None
        raise Unfinished(f"{shown(target.path)}: {len(left)} shards do not stay as written")

    def pyramid(self, watch: Watch, finest: Target) -> None:
        """The coarser levels of an OME-Zarr, and what says that it is one."""
        import dask

        shapes = pyramid_shapes(self.volume.shape, self.levels)
        finer = finest
        for number, shape in enumerate(shapes[1:], 1):
            path = self.work / "result" / str(number)
            target = Target(path, shape, finest.dtype, axes=self.volume.axes)
            shrink = dask.delayed(coarser, pure=False, traverse=False)
            blocks = [shrink(finer, box, target.dtype, nearest=True) for box in target.boxes]
            self.fill(watch, f"level {number}", f"level{number}", target, lambda b=blocks: b)
            finer = target
        name = self.output.name.removesuffix(".zarr").removesuffix(".ome")
        attributes = ome_metadata(name, *self.about, shapes, label=True)
        if not is_label(self.output):
            del attributes["ome"]["image-label"]
        group(self.work / "result", attributes)

    def publish(self, *, force: bool) -> None:
        """Give the output its name."""
        axes, voxel_size, unit = self.about
        if self.form == "TIFF":
            made = self.work / "tiff"
            data = self.target.dask()
            data = data if self.is_label else data.astype(bool)
            with blamed(self.output, "cannot be written whole"), made.open("wb+") as file:
                write_tiff(file, data, axes, voxel_size, unit)
                file.flush()
                os.fsync(file.fileno())
            self.work.note_published(made)
            name_file(made, self.output, force=force)
            _sync(self.output.parent)
            return
        made = self.work / "result"
        if self.form == "Zarr":
            _set_attributes(made, {"axes": axes, "voxel_size": list(voxel_size), "unit": unit})
        self.work.note_published(made)
        publish(made, self.output, force=force, old=self.work / "old")
