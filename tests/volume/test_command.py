"""`gpuseg volume`: what it prints and writes, and that a failure is one line."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from gpuseg import cli

pytest.importorskip("dask.array")
pytest.importorskip("zarr")
volume = pytest.importorskip("gpuseg.volume")


@pytest.fixture
def scan(tmp_path):
    grey = np.random.default_rng(0).integers(0, 200, (20, 30, 40)).astype(np.uint8)
    np.save(tmp_path / "scan.npy", grey)
    return tmp_path / "scan.npy", grey


def command(*args):
    return CliRunner().invoke(cli.app, ["volume", *map(str, args)])


def test_a_mask_with_the_size_of_voxels(tmp_path, scan):
    path, grey = scan
    told = command(path, tmp_path / "o.ome.zarr", "--threshold", 150, "--voxel-size", "2,1,0.5",
                   "--unit", "um", "--json")  # fmt: skip
    assert told.exit_code == 0, told.stderr
    summary = json.loads(told.stdout)
    assert summary["thresholds"] == {"manual": 150}
    assert summary["peak"] > 0
    found = volume.open(tmp_path / "o.ome.zarr")
    np.testing.assert_array_equal(found.data, grey > 150)
    assert (found.voxel_size, found.unit) == ((2, 1, 0.5), "micrometer")


def test_raw_voxels_and_a_summary_for_people(tmp_path, scan):
    grey = scan[1]
    grey.astype(">u2").tofile(tmp_path / "a.raw")
    told = command(tmp_path / "a.raw", tmp_path / "o.tif", "--shape", "20,30,40", "--dtype", ">u2",
                   "--threshold", 90, "--label")  # fmt: skip
    assert told.exit_code == 0, told.stderr
    assert "20 x 30 x 40" in told.stdout
    assert "peak of memory" in told.stdout
    from gpuseg.measure import label

    np.testing.assert_array_equal(
        volume.open(tmp_path / "o.tif").data, label(grey > 90, connectivity=1)
    )


def test_a_dry_run_writes_nothing(tmp_path, scan):
    told = command(scan[0], tmp_path / "o.zarr", "--threshold", 9, "--dry-run", "--memory", "4GB")
    assert told.exit_code == 0, told.stderr
    assert "of 4.0 GiB" in told.stdout
    told = command(scan[0], tmp_path / "o.zarr", "--threshold", 9, "--dry-run", "--json")
    assert json.loads(told.stdout)["chunks"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["scan.npy"]


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["o.zarr", "--method", "slic"], 2, "needs the whole image in memory"),
        (["o.png", "--threshold", 1], 2, "must end in .ome.zarr"),
        (["scan.npy", "--threshold", 1], 2, "must end in .ome.zarr"),
        (["o.zarr", "--threshold", 1, "--memory", "1MB"], 1, "more than the limit"),
        (["o.zarr", "--threshold", 1, "--axes", "zzx"], 1, "axes must name"),
        (["o.zarr", "--threshold", 1, "--select", "c"], 2, "--select must be like c=0"),
        (["o.zarr", "--threshold", 1, "--voxel-size", "-1"], 2, "--voxel-size must be positive"),
        (["o.zarr", "--threshold", 1, "--scheduler", "x"], 2, "--scheduler must be"),
        (["o.zarr", "--threshold", 1, "--device", "x"], 2, "--device must be"),
        (["o.zarr", "--threshold", 1, "--device", "cuda:99"], 1, "cuda:99"),
    ],
)
def test_a_failure_is_one_line(tmp_path, scan, args, code, message):
    told = command(scan[0], tmp_path / args[0], *args[1:])
    assert told.exit_code == code
    assert told.stderr.count("\n") == 1
    assert told.stderr.startswith("gpuseg: ")
    assert message in told.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["scan.npy"]
