"""The README says what is, and its code blocks run."""

import os
from pathlib import Path

import numpy as np
import readme


def test_the_table_of_functions_is_current():
    assert readme.updated() == readme.README.read_text(), "run: python tests/readme.py"


def test_every_code_block_says_what_it_is_and_needs():
    found = readme.blocks()
    assert len(found) + 2 == readme.README.read_text().count("\n```") // 2
    assert {block.language for block in found} == {"python", "bash"}
    assert {extra for block in found for extra in block.needs} <= set(readme.EXTRAS)
    bare = [block for block in found if not block.needs]
    assert len(bare) >= 6


def test_the_code_blocks_run(tmp_path, monkeypatch, capsys):
    """The Python blocks that can run here; the commands, too, where every extra is installed.

    What measures the machine takes a minute: .ci/run runs it once, on the base installation.
    """
    monkeypatch.chdir(tmp_path)
    root = str(readme.README.parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
    has = readme.installed()
    whole = has == set(readme.EXTRAS)

    def wanted(block):
        if block.language == "python":
            return whole or "volume" not in block.needs  # which reads what a command has written
        return whole and "gpuseg calibrate" not in block.code

    told: list[str] = []
    names = readme.run(has, wanted, told.append)
    assert "apply_hysteresis_threshold" in capsys.readouterr().out
    print(*told, sep="\n")
    assert 0.2 < names["pores"].mean() < 0.6
    assert names["no_skin"].shape == names["image"].shape
    assert 0.1 < names["coins_found"].mean() < 0.6
    if "unet" in has:
        assert names["mask"].shape == names["image"].shape
    if whole:
        made = {path.name for path in Path("samples").iterdir()}
        assert {"pores.tif", "classes.html", "membranes.tif", "pores.ome.zarr"} <= made
        assert int(np.asarray(names["count"])) > 20
