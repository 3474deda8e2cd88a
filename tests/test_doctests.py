"""The examples in the docstrings of the public layer."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import gpuseg


def _modules():
    yield "gpuseg._backend"
    for info in pkgutil.walk_packages(gpuseg.__path__, "gpuseg."):
        # Kernels and backend layers have no public docstrings.
        if not any(part in info.name for part in (".kernels", "._cpu", "._cuda", "._dask")):
            yield info.name


# What a package of gpuseg needs beside the base.
NEEDS = {"gpuseg.unet": ("torch",), "gpuseg.volume": ("dask", "zarr")}


@pytest.mark.parametrize("name", list(_modules()))
def test_examples(name):
    for needed in NEEDS.get(".".join(name.split(".")[:2]), ()):
        pytest.importorskip(needed)
    with gpuseg.using("cpu"), np.printoptions(legacy=False):
        failed, _ = doctest.testmod(importlib.import_module(name))
    gpuseg.set_device("auto")
    assert not failed
