"""Jobs from file to file: as the whole image in memory, after any interruption."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from scipy import ndimage as ndi

import gpuseg
from gpuseg import _jobs
from gpuseg._files import RefusedOutput

pytest.importorskip("dask.array")
zarr = pytest.importorskip("zarr")
psutil = pytest.importorskip("psutil")
volume = pytest.importorskip("gpuseg.volume")

SHAPE = (70, 100, 130)
SMALL = 64  # the least block


@pytest.fixture(scope="module")
def grey():
    noise = np.random.default_rng(0).standard_normal(SHAPE)
    blobs = ndi.gaussian_filter(noise, 2)
    return (blobs / blobs.std() * 1000 + 8000).astype(np.uint16)


@pytest.fixture
def scan(tmp_path, grey):
    np.save(tmp_path / "scan.npy", grey)
    return tmp_path / "scan.npy"


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr("gpuseg.volume._job._SIDES", {2: (512,), 3: (SMALL,)})


def whole(grey, **options):
    return _jobs.segment(grey, _jobs.Options(**options))


@pytest.mark.parametrize(
    "options",
    [
        {"method": "manual", "threshold": 8500.0},
        {"method": "manual", "threshold": 8500.0, "foreground": "dark", "sigma": 1.5},
        {"method": "otsu"},
        {"method": "minimum"},
        {"method": "otsu", "sigma": 1.0, "label": True},
        {"method": "triangle", "background": 5.0, "label": True, "min_size": 20},
        {"method": "multiotsu", "sigma": 1.0},
        {"method": "hysteresis", "low": 8600.0, "high": 9500.0, "label": True, "connectivity": 3},
        {"method": "hysteresis", "low": 7000.0, "high": 7500.0, "foreground": "dark"},
        {"method": "local", "window": 11},
        {"method": "objects", "object_size": (20, 5000)},
        {"method": "kmeans", "classes": 3},
        {"method": "kmeans", "classes": 2, "sigma": 1.0, "spatial_weight": 5.0},
    ],
    ids=lambda o: "-".join(map(str, o.values())),
)
def test_a_job_equals_the_whole(tmp_path, scan, grey, options):
    done = volume.segment(scan, tmp_path / "out.zarr", **options)
    expected = whole(grey, **options)
    np.testing.assert_array_equal(volume.open(tmp_path / "out.zarr").data, expected.result)
    assert done.thresholds == expected.thresholds
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.zarr", "scan.npy"]


@pytest.mark.parametrize("method", _jobs.CHUNKED)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_every_method_after_every_filter_of_every_type(tmp_path, grey, dtype, method):
    """What a job computes, without its files."""
    from dask import array as da

    from gpuseg.volume._job import Prepared, _divided

    image = grey[:10, :40, :50]
    image = image // 64 if dtype == "uint8" else image
    one = image.std() / 1000
    more = {"manual": {"threshold": 500 * one}, "hysteresis": {"low": 500 * one, "high": 900 * one},
            "objects": {"object_size": (20, 5000)}, "kmeans": {"classes": 2}}  # fmt: skip
    image = image.astype(dtype)
    np.save(tmp_path / "part.npy", image)
    part = volume.open(tmp_path / "part.npy")
    for chain in ({"sigma": 0.6}, {"background": 2.0}, {"background": 2.0, "sigma": 0.6}):
        options = _jobs.Options(method=method, **more.get(method, {}), **chain)
        source = Prepared(part.source, options)
        chunks = da.from_array(source, chunks=(10, 16, 25), name=False)
        found, thresholds = _divided(chunks, options, None)
        expected = _jobs.segment(image, options)
        if method == "mean":  # a sum of floats hangs on its order
            assert thresholds == pytest.approx(expected.thresholds, rel=1e-6)
            assert (found.compute() == expected.result).mean() > 0.999
            continue
        assert thresholds == expected.thresholds
        np.testing.assert_array_equal(found.compute(), expected.result)


@pytest.mark.gpu
def test_a_gpu_writes_what_the_cpu_writes(tmp_path, scan):
    options = {"method": "hysteresis", "low": 8600.0, "high": 9500.0, "label": True}
    for device in ("cpu", "cuda"):
        gpuseg.set_device(device)
        try:
            volume.segment(scan, tmp_path / f"{device}.zarr", **options)
        finally:
            gpuseg.set_device("auto")
    cpu, cuda = (volume.open(tmp_path / f"{device}.zarr").data for device in ("cpu", "cuda"))
    np.testing.assert_array_equal(cuda, cpu)


@pytest.mark.parametrize("name", ["out.ome.zarr", "out.tif", "scan.ome.zarr/labels/bright"])
def test_every_form_of_output(tmp_path, grey, name):
    volume.save(tmp_path / "scan.ome.zarr", grey, voxel_size=(3, 2, 1), unit="micrometer")
    options = {"method": "manual", "threshold": 8500.0, "label": True}
    volume.segment(tmp_path / "scan.ome.zarr", tmp_path / name, **options)
    found = volume.open(tmp_path / name)
    expected = whole(grey, **options).result
    np.testing.assert_array_equal(found.data, expected)
    assert (found.voxel_size, found.unit) == ((3, 2, 1), "micrometer")
    if not name.endswith("tif"):
        volume.save(tmp_path / "b.ome.zarr", grey, labels={"x": expected}, levels=3)
    if name.endswith("bright"):
        listed = zarr.open_group(tmp_path / "scan.ome.zarr/labels").attrs["ome"]["labels"]
        assert listed == ["bright"]


def test_the_pyramid_of_a_mask_is_of_its_voxels(tmp_path, scan, grey):
    volume.segment(scan, tmp_path / "o.ome.zarr", method="manual", threshold=8500, levels=3)
    mask = (grey > 8500).astype(np.uint8)
    for level, step in enumerate((1, 2, 4)):
        found = volume.open(tmp_path / "o.ome.zarr", level=level).data
        np.testing.assert_array_equal(found, mask[::step, ::step, ::step])


def test_an_image_and_colours_of_empty_chunks(tmp_path):
    flat = np.zeros((700, 900), np.uint8)
    flat[600:, 700:] = 9
    np.save(tmp_path / "a.npy", flat)
    volume.segment(tmp_path / "a.npy", tmp_path / "b.zarr", method="manual", threshold=5)
    np.testing.assert_array_equal(volume.open(tmp_path / "b.zarr").data, flat > 5)


# --- interrupted ------------------------------------------------------------------------------

PROGRAM = """
import sys
from gpuseg import volume
import gpuseg.volume._job as job
job._SIDES = {2: (512,), 3: (64,)}
volume.segment(sys.argv[1], sys.argv[2], method="manual", threshold=8500.0, sigma=1.0, label=True,
               min_size=10, workers=2)
"""


def markers(work) -> int:
    """How many shards are done; the folder goes while one looks when the job ends."""
    try:
        return sum(1 for _ in work.glob("done/*/*"))
    except FileNotFoundError:
        return 0


def content(path):
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_a_killed_job_goes_on_and_ends_in_the_same_bytes(tmp_path, scan):
    options = {"method": "manual", "threshold": 8500.0, "sigma": 1.0, "label": True, "min_size": 10}
    volume.segment(scan, tmp_path / "whole.zarr", **options)
    work = tmp_path / "out.zarr.gpuseg-work"
    chance = random.Random(0)
    kills = 0
    for _ in range(3):
        before = markers(work)
        child = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(scan), str(tmp_path / "out.zarr")]
        )
        # After another marker or two, and then a random moment.
        wanted, end = before + chance.randint(1, 3), time.monotonic() + 60
        while child.poll() is None and time.monotonic() < end:
            if markers(work) >= wanted:
                time.sleep(chance.random() * 0.05)
                break
            time.sleep(0.002)
        if child.poll() is None:
            child.send_signal(signal.SIGKILL)
            kills += 1
        child.wait()
        assert not ((tmp_path / "out.zarr").exists() and work.exists())
    assert kills >= 1
    if not (tmp_path / "out.zarr").exists():
        assert volume.segment(scan, tmp_path / "out.zarr", **options).resumed
    assert content(tmp_path / "out.zarr") == content(tmp_path / "whole.zarr")
    assert not work.exists()


class Stop(Exception):
    pass


@pytest.fixture
def interrupted(tmp_path, scan, monkeypatch):
    """A job that could write two shards only."""
    from gpuseg.volume._store import Target

    write, written = Target.write, []

    def fail(self, number, values):
        if len(written) == 2:
            raise Stop
        written.append(number)
        return write(self, number, values)

    with monkeypatch.context() as patch:
        patch.setattr(Target, "write", fail)
        with pytest.raises(Stop):
            volume.segment(scan, tmp_path / "o.zarr", method="manual", threshold=8500, workers=1)
    assert not (tmp_path / "o.zarr").exists()
    return tmp_path / "o.zarr.gpuseg-work"


def resume(tmp_path, **more):
    options = {"method": "manual", "threshold": 8500} | more
    return volume.segment(tmp_path / "scan.npy", tmp_path / "o.zarr", **options)


def test_what_is_done_is_not_done_again(tmp_path, interrupted, grey, monkeypatch):
    from gpuseg.volume._store import Target

    written = []
    write = Target.write

    def record(self, number, values):
        written.append(number)
        return write(self, number, values)

    monkeypatch.setattr(Target, "write", record)
    done = [int(p.name) for p in interrupted.glob("done/0/*")]
    assert done
    assert resume(tmp_path).resumed
    assert sorted(done + written) == list(range(12))
    np.testing.assert_array_equal(volume.open(tmp_path / "o.zarr").data, grey > 8500)


def test_a_shard_without_marker_counts_for_nothing(tmp_path, interrupted, grey):
    marker = next(interrupted.glob("done/0/*"))
    marker.unlink()
    resume(tmp_path)
    np.testing.assert_array_equal(volume.open(tmp_path / "o.zarr").data, grey > 8500)


def test_a_marker_without_its_shard_counts_for_nothing(tmp_path, interrupted, grey):
    for shard in interrupted.glob("result/c/0/*/*"):
        shard.unlink()
    resume(tmp_path)
    np.testing.assert_array_equal(volume.open(tmp_path / "o.zarr").data, grey > 8500)


def test_a_changed_parameter_is_refused(tmp_path, interrupted, grey):
    with pytest.raises(volume.VolumeError, match="begun with another parameters: pass --restart"):
        resume(tmp_path, threshold=8501)
    resume(tmp_path, threshold=8501, restart=True)
    np.testing.assert_array_equal(volume.open(tmp_path / "o.zarr").data, grey > 8501)


def test_a_changed_input_is_refused(tmp_path, interrupted, grey):
    np.save(tmp_path / "scan.npy", grey[::-1])
    with pytest.raises(volume.VolumeError, match="begun with another input"):
        resume(tmp_path)


def test_other_versions_are_refused(tmp_path, interrupted):
    note = interrupted / "job.json"
    text = json.loads(note.read_text())
    text["about"]["versions"]["numpy"] = "1.0"
    note.write_text(json.dumps(text))
    with pytest.raises(volume.VolumeError, match="begun with another versions"):
        resume(tmp_path)
    note.write_text("{")
    with pytest.raises(volume.VolumeError, match="is damaged"):
        resume(tmp_path)


def test_two_jobs_do_not_work_in_one_folder(tmp_path, interrupted):
    from gpuseg.volume._work import Work

    with Work(interrupted).owned(), pytest.raises(volume.VolumeError, match="another process"):
        resume(tmp_path)
    resume(tmp_path)


def test_a_full_disk_ends_the_job_and_more_room_lets_it_go_on(tmp_path, scan, grey):
    program = f"""
import resource, signal, sys
from gpuseg import volume
import gpuseg.volume._job as job
job._SIDES = {{2: (512,), 3: (64,)}}
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))
try:
    volume.segment({str(scan)!r}, {str(tmp_path / "o.zarr")!r}, method="manual", threshold=8500)
except OSError as error:
    print(error.strerror)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("File too large\n", "")
    assert not (tmp_path / "o.zarr").exists()
    assert resume(tmp_path).resumed
    np.testing.assert_array_equal(volume.open(tmp_path / "o.zarr").data, grey > 8500)


def test_a_corrupt_chunk_of_the_input_ends_the_job(tmp_path, grey):
    volume.save(tmp_path / "scan.zarr", grey, chunks=32, shards=64)
    shard = tmp_path / "scan.zarr/c/1/0/1"
    was = shard.read_bytes()
    changed = bytearray(was)
    changed[len(was) // 2] ^= 4
    shard.write_bytes(changed)
    options = {"method": "manual", "threshold": 8500}
    with pytest.raises(volume.VolumeError, match=r"scan\.zarr: cannot read .*checksum"):
        volume.segment(tmp_path / "scan.zarr", tmp_path / "o.zarr", **options)
    assert not (tmp_path / "o.zarr").exists()


# --- schedulers -------------------------------------------------------------------------------


def test_processes_give_the_same_bytes(tmp_path, scan):
    options = {"method": "manual", "threshold": 8500.0, "sigma": 1.0, "label": True}
    volume.segment(scan, tmp_path / "a.zarr", workers=1, **options)
    volume.segment(scan, tmp_path / "b.zarr", workers=2, scheduler="processes", **options)
    assert content(tmp_path / "a.zarr") == content(tmp_path / "b.zarr")


def test_distributed_workers_give_the_same_bytes(tmp_path, scan):
    distributed = pytest.importorskip("distributed")
    options = {"method": "manual", "threshold": 8500.0, "sigma": 1.0, "label": True}
    volume.segment(scan, tmp_path / "a.zarr", workers=1, **options)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as c:
        volume.segment(scan, tmp_path / "b.zarr", scheduler=c.scheduler_address, **options)
    assert content(tmp_path / "a.zarr") == content(tmp_path / "b.zarr")


@contextlib.contextmanager
def one_worker_dies(work, workers):
    """Kill the first of some processes once a shard is done."""
    killed, over = [], threading.Event()

    def kill():
        while not over.wait(0.002):
            if markers(work) and (pids := workers()):
                os.kill(pids[0], signal.SIGKILL)
                killed.append(pids[0])
                return

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def test_a_worker_process_that_dies_is_replaced(tmp_path, scan):
    options = {"method": "manual", "threshold": 8500.0, "sigma": 1.0, "label": True}
    volume.segment(scan, tmp_path / "a.zarr", workers=1, **options)
    us = psutil.Process()
    before = {child.pid for child in us.children()}

    def workers():
        return [c.pid for c in us.children() if c.pid not in before and "spawn_main" in
                " ".join(c.cmdline())]  # fmt: skip

    with one_worker_dies(tmp_path / "b.zarr.gpuseg-work", workers) as killed:
        volume.segment(scan, tmp_path / "b.zarr", workers=2, scheduler="processes", **options)
    assert killed
    assert content(tmp_path / "a.zarr") == content(tmp_path / "b.zarr")


def test_a_distributed_worker_that_dies_is_replaced(tmp_path, scan):
    distributed = pytest.importorskip("distributed")
    options = {"method": "manual", "threshold": 8500.0, "sigma": 1.0, "label": True}
    volume.segment(scan, tmp_path / "a.zarr", workers=1, **options)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as c,
        one_worker_dies(
            tmp_path / "b.zarr.gpuseg-work", lambda: [n.pid for n in c.workers.values()]
        ) as killed,
    ):
        volume.segment(scan, tmp_path / "b.zarr", scheduler=c.scheduler_address, **options)
    assert killed
    assert content(tmp_path / "a.zarr") == content(tmp_path / "b.zarr")


# --- bad input and estimates ------------------------------------------------------------------


def test_bad_input_is_one_clear_line(tmp_path, scan):
    manual = {"method": "manual", "threshold": 8500}
    (tmp_path / "there.zarr").mkdir()
    for output, options, error, message in (
        ("o.zarr", {"method": "watershed"}, _jobs.UsageError, "whole image in memory"),
        ("o.zarr", {"method": "hysteresis"}, _jobs.UsageError, "needs --low"),
        ("o.zarr", manual | {"connectivity": 4}, _jobs.UsageError, "at most 3"),
        (
            "o.zarr",
            manual | {"memory": 1 << 20},
            volume.VolumeError,
            "more than the limit, 1.0 MiB",
        ),
        ("o.zarr", manual | {"scheduler": "fast"}, _jobs.UsageError, "--scheduler must be"),
        ("o.zarr", manual | {"scheduler": "tcp://127.0.0.1:1"}, volume.VolumeError, "no Dask"),
        ("there.zarr", manual, RefusedOutput, "exists"),
        ("o.png", manual, RefusedOutput, "must end in"),
        ("no/o.zarr", manual, RefusedOutput, "does not exist"),
        ("o.zarr", {"methods": "otsu"}, TypeError, "no option 'methods'"),
    ):
        with pytest.raises(error, match=message):
            volume.segment(scan, tmp_path / output, **options)
        assert not (tmp_path / "o.zarr").exists()


def test_not_a_number_is_found_in_any_block(tmp_path, grey):
    values = grey.astype(np.float32)
    values[-1, -1, -1] = np.nan
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(volume.VolumeError, match="NaN"):
        volume.segment(tmp_path / "a.npy", tmp_path / "o.zarr", method="manual", threshold=8500)


def test_an_estimate_writes_nothing(tmp_path, scan):
    found = volume.estimate(scan, tmp_path / "o.zarr", method="otsu", sigma=1, label=True)
    assert found.chunks == 2 * 2 * 3
    assert found.passes == 2
    assert found.peak < found.memory
    assert found.seconds > 0
    assert [p.name for p in tmp_path.iterdir()] == ["scan.npy"]


def test_blocks_shrink_with_the_memory(tmp_path, monkeypatch):
    monkeypatch.undo()
    header = np.memmap(tmp_path / "a.raw", np.uint16, "w+", shape=(1024, 1024, 1024))  # sparse
    del header
    scan = volume.open(tmp_path / "a.raw", shape=(1024,) * 3, dtype="u2")
    blocks = []
    for memory in (8 << 30, 2 << 30, 1 << 30):
        found = volume.estimate(scan, method="manual", threshold=1, memory=memory, workers=2)
        assert found.peak <= memory
        blocks.append(found.block[0])
    assert blocks == sorted(blocks, reverse=True)
    assert blocks[0] > blocks[-1]
    assert os.stat(tmp_path / "a.raw").st_blocks * 512 < 1 << 20
