"""Runs the test suites of scikit-image, SciPy and scikit-learn with gpuseg serving.

python tests/accel/suites.py [scikit-image] [scipy] [scikit-learn] [--sources FOLDER]

SciPy and scikit-learn have their tests in what is installed. Those of scikit-image are in its
source distribution, which is fetched from PyPI unless FOLDER holds it unpacked. A test that fails
is run again without gpuseg, and left out where it fails there too (it may want files from a server,
say). The exit status is 1 if another one fails that departures.toml does not explain.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
SCIKIT_LEARN = (
    "cluster/tests/test_k_means.py",
    "ensemble/tests/test_bagging.py",
    "ensemble/tests/test_forest.py",
    "linear_model/tests/test_base.py",
    "metrics/tests/test_classification.py",
    "metrics/tests/test_common.py",
    "metrics/tests/test_ranking.py",
    "metrics/tests/test_regression.py",
    "neighbors/tests/test_neighbors.py",
    "preprocessing/tests/test_data.py",
    "preprocessing/tests/test_polynomial.py",
    "tree/tests/test_tree.py",
)
SCIKIT_IMAGE = ("feature", "filters", "future", "measure", "metrics", "morphology", "segmentation")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suites", nargs="*", metavar="suite", help=", ".join(SUITES))
    parser.add_argument("--sources", type=Path, help="scikit-image's, unpacked")
    given = parser.parse_args()
    if unknown := set(given.suites) - SUITES.keys():
        parser.error(f"suite must be one of {', '.join(SUITES)}, got {', '.join(unknown)}")
    with tempfile.TemporaryDirectory() as folder:
        runs = [
            _run(name, *SUITES[name](given.sources or Path(folder)))
            for name in given.suites or SUITES
        ]
    return 0 if all(runs) else 1


def _installed(package: str, paths) -> tuple[Path, list[str]]:
    """Where the package lies, and its tests from there."""
    root = Path(__import__(package).__file__).parent.parent
    return root, [f"{package}/{path}" for path in paths]


def _scipy(_) -> tuple[Path, list[str]]:
    return _installed("scipy", ["ndimage/tests"])


def _scikit_learn(_) -> tuple[Path, list[str]]:
    return _installed("sklearn", SCIKIT_LEARN)


def _scikit_image(folder: Path) -> tuple[Path, list[str]]:
    release = version("scikit-image")
    if not (folder / "tests").exists():
        asked = urllib.request.Request(
            "https://pypi.org/simple/scikit-image/",
            headers={"Accept": "application/vnd.pypi.simple.v1+json"},
        )
        with urllib.request.urlopen(asked, timeout=60) as answer:
            files = {file["filename"]: file for file in json.load(answer)["files"]}
        source = files[f"scikit_image-{release}.tar.gz"]
        with urllib.request.urlopen(source["url"], timeout=300) as answer:
            content = answer.read()
        if hashlib.sha256(content).hexdigest() != source["hashes"]["sha256"]:
            raise ValueError(f"{source['url']} is not what the index says it is")
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            archive.extractall(folder, filter="data")
        folder /= f"scikit_image-{release}"
    return folder / "tests" / "skimage", list(SCIKIT_IMAGE)


SUITES = {"scikit-image": _scikit_image, "scipy": _scipy, "scikit-learn": _scikit_learn}


def _run(name: str, root: Path, tests: list[str]) -> bool:
    """Run one suite and tell how it went; whether all that fails is explained."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        known = f"--accel-departures={HERE / 'departures.toml'}"
        _pytest(root, tests, known, f"--accel-report={report}")
        outcome = json.loads(report.read_text())
        failed = set(outcome["failed"])
        if failed:
            _pytest(root, sorted(failed), "--accel-off", f"--accel-report={report}")
            without = set(json.loads(report.read_text())["failed"])
        else:
            without = set()
    passed, departed = outcome["passed"], len(outcome["departures"])
    ran = passed + departed + len(failed - without)
    print(
        f"{name} {version(name)}: {passed} of {ran} tests pass with gpuseg serving "
        f"({100 * passed / ran:.2f} %), {departed} depart as departures.toml says, "
        f"{len(failed - without)} fail, {len(without)} fail without it too; "
        f"{sum(outcome['served'].values())} calls served",
        flush=True,
    )
    for test in sorted(failed - without):
        print(f"  {test}")
    return not failed - without


def _pytest(root: Path, tests: list[str], *options: str) -> None:
    """Run tests from a folder by the settings of nobody."""
    plugins = ("-p", "gpuseg.accel.pytest_plugin", "-p", "no:cacheprovider", "-p", "no:benchmark")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "SKLEARN_"))}
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--tb=no", "-c", os.devnull, f"--rootdir={root}",
         f"--confcutdir={root}",
         "--continue-on-collection-errors", *plugins, "-W", "ignore", *options, *tests],
        cwd=root, env=environment, check=False, stdout=sys.stderr,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
