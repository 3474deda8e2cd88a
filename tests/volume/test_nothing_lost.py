"""No file is lost: inputs by other names, folders of others, kills at any step, changed inputs."""

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from gpuseg import _files
from gpuseg._files import RefusedOutput

pytest.importorskip("dask.array")
zarr = pytest.importorskip("zarr")
volume = pytest.importorskip("gpuseg.volume")

from gpuseg.volume import _job, _work  # noqa: E402

MANUAL = {"method": "manual", "threshold": 100}
needs_links = pytest.mark.skipif(os.name == "nt", reason="links need rights there")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(_job, "_SIDES", {2: (512,), 3: (16,)})
    monkeypatch.setattr("gpuseg.volume._store.CHUNK", {2: 512, 3: 8})


@pytest.fixture
def grey():
    return np.random.default_rng(0).integers(0, 200, (20, 30, 40)).astype(np.uint8)


@pytest.fixture
def scan(tmp_path, grey):
    np.save(tmp_path / "scan.npy", grey)
    return tmp_path / "scan.npy"


def content(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


# --- folders of others ------------------------------------------------------------------------


def a_link(work):
    (work.parent / "mine").mkdir()
    (work.parent / "mine/thesis.txt").write_text("precious")
    work.symlink_to(work.parent / "mine")


def a_file(work):
    work.write_text("precious")


def a_folder_of_mine(work, name="thesis.txt"):
    work.mkdir()
    (work / name).write_text("precious")


def names_like_ours(work):
    a_folder_of_mine(work, "job.json")


def mine_beside_ours(work):
    a_folder_of_mine(work)
    (work / "lock").touch()
    (work / "job.json").write_text("{}")


def a_link_among_ours(work):
    a_folder_of_mine(work.with_name("mine"))
    work.mkdir()
    (work / "lock").symlink_to(work.with_name("mine") / "thesis.txt")


@needs_links
@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("make", [a_link, a_file, a_folder_of_mine, names_like_ours,
                                  mine_beside_ours, a_link_among_ours])  # fmt: skip
def test_a_folder_that_no_job_made_is_left_alone(tmp_path, scan, make, restart):
    make(tmp_path / "o.zarr.gpuseg-work")
    before = content(tmp_path)
    with pytest.raises(RefusedOutput, match=r"no job has made|no folder of a job"):
        volume.segment(scan, tmp_path / "o.zarr", restart=restart, **MANUAL)
    assert content(tmp_path) == before


# --- the input by another name ----------------------------------------------------------------


def names_of_the_input(folder):
    """Inputs and outputs that are one thing, hold one another, or would change one another."""
    (folder / "sub").mkdir()
    grey = np.random.default_rng(1).integers(0, 200, (6, 20, 20)).astype(np.uint8)
    tifffile.imwrite(folder / "t.tif", grey)
    (folder / "link.tif").symlink_to("t.tif")
    os.link(folder / "t.tif", folder / "hard.tif")
    (folder / "there").symlink_to(folder)
    volume.save(folder / "z.zarr", grey)
    (folder / "link.zarr").symlink_to("z.zarr")
    volume.save(folder / "s.ome.zarr", grey, labels={"a": grey > 9})
    (folder / "slices").mkdir()
    tifffile.imwrite(folder / "far.tif", grey[0])
    (folder / "slices/0.tif").symlink_to("../far.tif")
    tifffile.imwrite(folder / "slices/1.tif", grey[1])
    volume.save(folder / "q.zarr", grey)
    (folder / "work.zarr.gpuseg-work").mkdir()
    volume.save(folder / "work.zarr.gpuseg-work/result.zarr", grey)
    for given, output in (
        ("t.tif", "t.tif"), ("t.tif", "sub/../t.tif"), ("t.tif", "there/t.tif"),
        ("t.tif", "link.tif"), ("link.tif", "t.tif"), ("t.tif", "hard.tif"),
        ("hard.tif", "link.tif"), ("z.zarr", "z.zarr"), ("z.zarr", "sub/../z.zarr"),
        ("z.zarr", "link.zarr"), ("link.zarr", "z.zarr"), ("z.zarr", "there/z.zarr"),
        ("z.zarr", "z.zarr/o.zarr"), ("z.zarr", "z.zarr/c/o.zarr"), ("z.zarr", "z.zarr/o.tif"),
        ("s.ome.zarr", "s.ome.zarr"), ("s.ome.zarr", "there/s.ome.zarr"),
        ("s.ome.zarr/0", "s.ome.zarr"), ("s.ome.zarr", "s.ome.zarr/o.ome.zarr"),
        ("s.ome.zarr/labels/a", "s.ome.zarr/labels/a"),
        ("s.ome.zarr/labels/a", "there/s.ome.zarr/labels/a"),
        ("s.ome.zarr/labels/a", "s.ome.zarr"),
        ("slices", "slices/1.tif"), ("slices", "slices/0.tif"), ("slices", "far.tif"),
        ("slices", "slices/2.tif"), ("slices", "there/slices/3.tif"),
        ("work.zarr.gpuseg-work/result.zarr", "work.zarr"),
        ("t.tif", "work.zarr.gpuseg-work/o.zarr"),
    ):  # fmt: skip
        yield folder / given, folder / output


@needs_links
def test_an_output_that_is_an_input_is_refused(tmp_path):
    for given, output in names_of_the_input(tmp_path):
        before = content(tmp_path)
        for spelled in (given, Path(os.path.relpath(given))):
            with pytest.raises(RefusedOutput, match=r"the input|lies in|of the input|no job"):
                volume.segment(spelled, output, force=True, **MANUAL)
        if "gpuseg-work" not in f"{given}{output}":
            opened = volume.open(given)
            for data in (opened, opened.data, opened.data[:4, 2:] + 1):
                with pytest.raises(RefusedOutput, match="the input"):
                    volume.save(output, data, force=True)
        assert content(tmp_path) == before


def test_labels_may_go_into_their_own_image(tmp_path, grey):
    volume.save(tmp_path / "s.ome.zarr", grey)
    for given, name in (("", "a"), ("/0", "b"), ("/labels/a", "c")):
        volume.segment(f"{tmp_path}/s.ome.zarr{given}", tmp_path / "s.ome.zarr/labels" / name,
                       method="manual", threshold=0.5)  # fmt: skip
    volume.save(tmp_path / "s.ome.zarr/labels/d", volume.open(tmp_path / "s.ome.zarr").data)
    listed = zarr.open_group(tmp_path / "s.ome.zarr/labels", mode="r").attrs["ome"]["labels"]
    assert listed == list("abcd")


def test_names_that_differ_in_nothing_that_the_system_minds(tmp_path, monkeypatch):
    """A system where o.npy and O.npy are one file tells so by what they are."""
    (tmp_path / "a").touch()
    whole = os.stat
    monkeypatch.setattr(os, "stat", lambda p, **k: whole(str(p).lower(), **k))
    with pytest.raises(RefusedOutput, match="is the input"):
        _files.check_is_no_input(Path(str(tmp_path / "A")), [tmp_path / "a"])


# --- one name for another ---------------------------------------------------------------------


@pytest.mark.parametrize("in_one_step", [True, False])
@pytest.mark.parametrize("name", ["o.zarr", "o.ome.zarr", "o.tif"])
def test_what_is_replaced_is_replaced_whole(tmp_path, scan, grey, monkeypatch, name, in_one_step):
    if not in_one_step:
        monkeypatch.setattr(_files, "_renamed", lambda *args: False)
    volume.save(tmp_path / name, grey)
    with pytest.raises(RefusedOutput, match="exists"):
        volume.segment(scan, tmp_path / name, **MANUAL)
    volume.segment(scan, tmp_path / name, force=True, **MANUAL)
    np.testing.assert_array_equal(np.asarray(volume.open(tmp_path / name)) > 0, grey > 100)
    volume.save(tmp_path / name, grey, force=True)
    np.testing.assert_array_equal(volume.open(tmp_path / name), grey)
    assert sorted(os.listdir(tmp_path)) == [name, "scan.npy"]


@pytest.mark.skipif(not _files._renameat2(), reason="names are exchanged in one step on Linux")
def test_the_old_output_is_there_until_the_new_one_is(tmp_path):
    path, over, missing = tmp_path / "o.zarr", threading.Event(), []
    path.mkdir()

    def look():
        while not over.is_set():
            if not path.exists():
                missing.append(1)

    thread = threading.Thread(target=look)
    thread.start()
    for _ in range(300):
        (tmp_path / "made").mkdir()
        _files.name_folder(tmp_path / "made", path, force=True, old=tmp_path / "old")
        (tmp_path / "made").rmdir()
    over.set()
    thread.join()
    assert not missing


def test_a_name_that_has_appeared_is_not_taken(tmp_path, monkeypatch):
    for in_one_step in (True, False):
        if not in_one_step:
            monkeypatch.setattr(_files, "_renamed", lambda *args: False)
        for name in ("made", "o"):
            (tmp_path / name).mkdir(exist_ok=True)
        with pytest.raises(FileExistsError, match="has appeared in the meantime"):
            _files.name_folder(tmp_path / "made", tmp_path / "o", force=False, old=tmp_path / "x")
        assert sorted(os.listdir(tmp_path)) == ["made", "o"]


class Killed(BaseException):
    pass


def kill(*args, **kwargs):
    raise Killed


@pytest.mark.parametrize("name", ["o.zarr", "o.tif", "s.ome.zarr/labels/o"])
@pytest.mark.parametrize("force", [False, True])
def test_a_job_killed_after_it_published_has_ended(tmp_path, scan, grey, monkeypatch, name, force):
    volume.save(tmp_path / "s.ome.zarr", grey)
    output = tmp_path / name
    if force:
        volume.save(output, grey)
    with monkeypatch.context() as patch:
        patch.setattr(_work.Work, "remove", kill)
        with pytest.raises(Killed):
            volume.segment(scan, output, force=force, **MANUAL)
    work = output.with_name("o" + output.suffix + ".gpuseg-work")
    assert work.exists()
    monkeypatch.setattr(_job._Job, "run", kill)  # nothing is done again
    done = volume.segment(scan, output, **MANUAL)
    assert done.resumed
    assert done.thresholds == {"manual": 100}
    np.testing.assert_array_equal(np.asarray(volume.open(output)) > 0, grey > 100)
    assert not work.exists()
    with pytest.raises(RefusedOutput, match="exists"):
        volume.segment(scan, output, **MANUAL)
    assert not work.exists()


def test_what_was_published_for_other_parameters_is_no_answer(tmp_path, scan, grey, monkeypatch):
    output = tmp_path / "o.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(_work.Work, "remove", kill)
        with pytest.raises(Killed):
            volume.segment(scan, output, **MANUAL)
    with pytest.raises(RefusedOutput, match="exists"):
        volume.segment(scan, output, method="manual", threshold=50)
    volume.segment(scan, output, method="manual", threshold=50, force=True)
    np.testing.assert_array_equal(volume.open(output), grey > 50)
    assert sorted(os.listdir(tmp_path)) == ["o.zarr", "scan.npy"]


@pytest.mark.parametrize("by", ["segment", "save"])
def test_a_kill_between_two_renames_loses_nothing(tmp_path, scan, grey, monkeypatch, by):
    output, rename = tmp_path / "o.zarr", os.rename
    volume.save(output, grey)

    def call(**more):
        if by == "segment":
            volume.segment(scan, output, **MANUAL, **more)
        else:
            volume.save(output, grey > 100, **more)

    def first_only(old, new):
        rename(old, new) if old == output else kill()

    monkeypatch.setattr(_files, "_renamed", lambda *args: False)
    with monkeypatch.context() as patch:
        # As a kill would leave it: the first rename is done, and nothing is put back.
        patch.setattr(os, "rename", first_only)
        with pytest.raises(Killed):
            call(force=True)
    assert not output.exists()
    with pytest.raises(RefusedOutput, match="exists"):
        call()
    np.testing.assert_array_equal(volume.open(output), grey)
    call(force=True)
    np.testing.assert_array_equal(volume.open(output), grey > 100)
    assert sorted(os.listdir(tmp_path)) == ["o.zarr", "scan.npy"]


# --- labels at once ---------------------------------------------------------------------------


def test_labels_added_at_once_are_all_listed(tmp_path, grey):
    volume.save(tmp_path / "s.ome.zarr", grey[:4, :8, :8])
    names = [f"n{i}" for i in range(12)]
    threads = [
        threading.Thread(
            target=volume.save, args=(tmp_path / "s.ome.zarr/labels" / name, grey[:4, :8, :8])
        )
        for name in names[:8]
    ]
    program = """
import sys
from pathlib import Path
from gpuseg.volume._save import add_label
for name in sys.argv[2:]:
    add_label(Path(sys.argv[1]), name)
"""
    (tmp_path / "s.ome.zarr/labels").mkdir()
    children = [
        subprocess.Popen([sys.executable, "-c", program, tmp_path / "s.ome.zarr/labels", *two])
        for two in (names[8:10], names[10:])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [child.wait() for child in children] == [0, 0]
    listed = zarr.open_group(tmp_path / "s.ome.zarr/labels", mode="r").attrs["ome"]["labels"]
    assert sorted(listed) == sorted(names)
    assert not [p for p in os.listdir(tmp_path / "s.ome.zarr/labels") if "gpuseg" in p]


@pytest.mark.parametrize("above", ["nothing", "a group", "an array"])
def test_a_folder_that_is_named_labels(tmp_path, grey, scan, above):
    """Only within an OME-Zarr are labels of it."""
    if above != "nothing":
        made = zarr.open_group if above == "a group" else zarr.create_array
        made(str(tmp_path / "a"), **({"mode": "w"} if above == "a group" else
                                     {"shape": (2, 2), "dtype": "u1"}))  # fmt: skip
    folder = tmp_path / "a/labels"
    folder.mkdir(parents=True)
    volume.save(folder / "s.ome.zarr", grey)
    volume.segment(scan, folder / "m.zarr", **MANUAL)
    assert sorted(os.listdir(folder)) == ["m.zarr", "s.ome.zarr"]
    assert "image-label" not in volume.open(folder / "s.ome.zarr").source.root.joinpath(
        "zarr.json"
    ).read_text("utf-8")
    with pytest.raises(RefusedOutput, match="within an OME-Zarr"):
        volume.save(folder / "name", grey)


# --- jobs that are begun ----------------------------------------------------------------------


@pytest.fixture
def begun(tmp_path, scan, monkeypatch):
    """A job that could write three shards only."""
    from gpuseg.volume._store import Target

    write, written = Target.write, []

    def fail(self, number, values):
        if len(written) == 3:
            raise Killed
        written.append(number)
        return write(self, number, values)

    with monkeypatch.context() as patch:
        patch.setattr(Target, "write", fail)
        with pytest.raises(Killed):
            volume.segment(scan, tmp_path / "o.zarr", workers=1, **MANUAL)
    return tmp_path / "o.zarr.gpuseg-work"


@needs_links
@pytest.mark.parametrize("spelled", ["relative", "folder", "file", "up"])
def test_a_job_goes_on_under_another_spelling(tmp_path, scan, begun, grey, monkeypatch, spelled):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/there").symlink_to(tmp_path)
    (tmp_path / "link.npy").symlink_to(scan)
    given, output = scan, tmp_path / "o.zarr"
    if spelled == "relative":
        monkeypatch.chdir(tmp_path)
        given, output = "scan.npy", "o.zarr"
    elif spelled == "folder":
        given, output = tmp_path / "sub/there/scan.npy", tmp_path / "sub/there/o.zarr"
    elif spelled == "file":
        given = tmp_path / "link.npy"
    else:
        output = tmp_path / "sub/../o.zarr"
    done = volume.segment(given, output, **MANUAL)
    assert done.resumed
    assert done.output == str(output)
    np.testing.assert_array_equal(volume.open(output), grey > 100)
    assert not begun.exists()


def test_a_shard_that_was_damaged_is_written_again(tmp_path, scan, begun, grey):
    shards = [p for p in (begun / "result/c").rglob("*") if p.is_file()]
    assert shards
    for shard in shards:
        data = bytearray(shard.read_bytes())
        data[len(data) // 2] ^= 1
        shard.write_bytes(data)
    assert volume.segment(scan, tmp_path / "o.zarr", **MANUAL).resumed
    np.testing.assert_array_equal(volume.open(tmp_path / "o.zarr"), grey > 100)


@pytest.mark.parametrize("name", ["o.zarr", "o.ome.zarr", "o.tif"])
def test_a_shard_damaged_before_the_end_is_written_again(tmp_path, scan, grey, monkeypatch, name):
    run, damaged = _job._Job.run, []

    def damage(self, watch):
        found = run(self, watch)
        if not damaged:
            damaged.append(self.target.file(3))
            data = bytearray(damaged[0].read_bytes())
            data[5] ^= 64
            damaged[0].write_bytes(data)
        return found

    monkeypatch.setattr(_job._Job, "run", damage)
    volume.segment(scan, tmp_path / name, **MANUAL)
    assert damaged
    np.testing.assert_array_equal(np.asarray(volume.open(tmp_path / name)) > 0, grey > 100)


def test_metadata_that_was_lost_is_made_again(tmp_path, scan, begun, grey):
    (begun / "result/zarr.json").unlink()
    volume.segment(scan, tmp_path / "o.zarr", **MANUAL)
    np.testing.assert_array_equal(volume.open(tmp_path / "o.zarr"), grey > 100)


@pytest.mark.parametrize("name", ["o.zarr", "o.tif"])
def test_an_input_that_changes_at_work_gives_no_output(tmp_path, scan, grey, monkeypatch, name):
    run = _job._Job.run

    def change(self, watch):
        found = run(self, watch)
        time.sleep(0.01)
        np.save(scan, grey[::-1])
        return found

    with monkeypatch.context() as patch:
        patch.setattr(_job._Job, "run", change)
        with pytest.raises(volume.VolumeError, match="has changed while the job was at work"):
            volume.segment(scan, tmp_path / name, **MANUAL)
    assert os.listdir(tmp_path) == ["scan.npy"]
    volume.segment(scan, tmp_path / name, **MANUAL)


@pytest.mark.parametrize("chunks", [{"chunks": 10, "shards": 10}, {"chunks": 5, "shards": 10}])
def test_a_chunk_that_is_missing_is_told(tmp_path, grey, chunks):
    volume.save(tmp_path / "in.zarr", grey, **chunks)
    assert volume.segment(tmp_path / "in.zarr", tmp_path / "a.zarr", **MANUAL).notes == ()
    (tmp_path / "in.zarr/c/0/1/2").unlink()
    done = volume.segment(tmp_path / "in.zarr", tmp_path / "b.zarr", **MANUAL)
    assert len(done.notes) == 1
    assert "1 of 24 shards" in done.notes[0]
    assert "count as 0" in done.notes[0]
    assert ("note", done.notes[0]) in done.readable()
    assert volume.estimate(tmp_path / "in.zarr", **MANUAL).notes == done.notes


# --- refusals ---------------------------------------------------------------------------------


def test_a_refusal_leaves_nothing(tmp_path, grey):
    values = grey.astype(np.float32)
    values[-1, -1, -1] = np.nan
    np.save(tmp_path / "nan.npy", values)
    np.save(tmp_path / "constant.npy", np.ones_like(values))
    volume.save(tmp_path / "s.ome.zarr", grey)
    before = content(tmp_path), sorted(tmp_path.rglob("*"))
    listening = socket.create_server(("127.0.0.1", 0))
    silent = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
    for given, output, options in (
        ("nan.npy", "o.tif", MANUAL),
        ("nan.npy", "s.ome.zarr/labels/x", {"method": "otsu"}),
        ("constant.npy", "o.zarr", {"method": "minimum"}),
        ("s.ome.zarr", "s.ome.zarr/labels/x", MANUAL | {"memory": 1000}),
        ("s.ome.zarr", "o.zarr", MANUAL | {"memory": 0}),
        ("s.ome.zarr", "o.zarr", MANUAL | {"scheduler": "tcp://127.0.0.1:1"}),
        ("s.ome.zarr", "o.zarr", MANUAL | {"scheduler": silent}),
        ("s.ome.zarr", "s.ome.zarr/labels/x", MANUAL | {"scheduler": "what://ever"}),
    ):
        start = time.monotonic()
        with pytest.raises((ValueError, TypeError)) as told:
            volume.segment(tmp_path / given, tmp_path / output, **options)
        assert "\n" not in str(told.value)
        assert time.monotonic() - start < 30
        assert (content(tmp_path), sorted(tmp_path.rglob("*"))) == before
    listening.close()


def test_a_refusal_keeps_what_a_job_has_done(tmp_path, scan, begun):
    before = content(begun)
    for options in ({"threshold": 3}, {"memory": 1000}, {"scheduler": "tcp://127.0.0.1:1"}):
        with pytest.raises(volume.VolumeError):
            volume.segment(scan, tmp_path / "o.zarr", **(MANUAL | options))
        assert content(begun) == before


def test_workers_in_another_folder_find_relative_paths(tmp_path, scan, grey, monkeypatch):
    distributed = pytest.importorskip("distributed")
    (tmp_path / "far").mkdir()
    monkeypatch.chdir(tmp_path)
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as c:
        with distributed.Client(c) as client:
            client.run(os.chdir, str(tmp_path / "far"))
        volume.segment("scan.npy", "o.zarr", scheduler=c.scheduler_address, **MANUAL)
    np.testing.assert_array_equal(volume.open("o.zarr"), grey > 100)
    assert os.listdir(tmp_path / "far") == []


def test_a_scheduler_without_workers_is_not_waited_for(tmp_path, scan, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(_job, "_PATIENCE", (5, 0.2))
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0") as c,
        pytest.raises(volume.VolumeError, match="has no workers"),
    ):
        volume.segment(scan, tmp_path / "o.zarr", scheduler=c.scheduler_address, **MANUAL)
    assert os.listdir(tmp_path) == ["scan.npy"]


def test_a_temporary_folder_that_is_gone_is_not_asked_for_again(tmp_path, scan, monkeypatch):
    """What one job parks lies in its folder, which is removed with it."""
    monkeypatch.setattr("gpuseg._dask._parked.ROOM", 0)
    for name in ("a.zarr", "b.zarr"):
        volume.segment(scan, tmp_path / name, label=True, **MANUAL)
    assert content(tmp_path / "a.zarr") == content(tmp_path / "b.zarr")
