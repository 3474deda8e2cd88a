"""Every public function of the dispatch says what equality between backends means."""

import importlib
import inspect
import pkgutil
import re

import numpy as np
import pytest

import gpuseg
from gpuseg._backend import find
from gpuseg._contracts import Close, Contract, Exact, SamePartition
from gpuseg._public import TOPICS, dispatched, functions

PUBLIC = [pytest.param(function, id=name) for name, function in functions().items()]


@pytest.mark.parametrize("function", PUBLIC)
def test_every_public_function_has_a_contract(function):
    assert isinstance(function.contract, Contract)


@pytest.mark.parametrize("function", PUBLIC)
def test_every_public_function_is_documented(function):
    text = inspect.getdoc(function)
    for part in ("Parameters\n---", "Returns\n---", "Examples\n---"):
        assert part in text, part
    for name in inspect.signature(function).parameters:
        assert name in text, name


@pytest.mark.parametrize("function", PUBLIC)
@pytest.mark.parametrize("kind", ["cpu", "sim"])
def test_every_dispatched_function_has_a_form(function, kind):
    runs = re.search(r"(?<!\w)run\(", inspect.getsource(function.via))
    if not dispatched(function):  # for Dask arrays only, if at all
        if runs:
            pytest.importorskip("dask.array")
            assert find(function.via, "dask")
    else:
        assert runs
        form, _ = find(function.via, kind)
        public, form = inspect.signature(function.via), inspect.signature(form)
        assert next(iter(form.parameters)) == next(iter(public.parameters))


def test_every_topic_file_is_exported():
    """A public function in a topic file that no module exports cannot be reached."""
    for module in TOPICS:
        namespace = importlib.import_module(f"gpuseg.{module}")
        topics = [namespace]
        if hasattr(namespace, "__path__"):
            topics = [
                importlib.import_module(f"gpuseg.{module}.{info.name}")
                for info in pkgutil.iter_modules(namespace.__path__)
            ]
        for topic in topics:
            for name, thing in vars(topic).items():
                ours = inspect.isfunction(thing) and thing.__module__ == topic.__name__
                if ours and hasattr(thing, "contract"):
                    assert name in namespace.__all__, f"{topic.__name__}.{name}"


def test_exact():
    assert Exact().compare([1.0, np.nan], [1.0, np.nan]) == (True, 0)
    assert Exact().compare([1, 2, 3], [1, 5, 6]) == (False, 2)
    assert not Exact().compare(np.zeros(2, np.uint8), np.zeros(2, np.int32)).passed
    assert not Exact().compare(np.zeros(2), np.zeros(3)).passed


def test_close():
    rule = Close(rtol=1e-3, atol=0.5)
    assert rule.compare([10.0, 0.0], [10.5, 0.0]).passed
    assert not rule.compare([10.0, 0.0], [10.6, 0.0]).passed
    assert not rule.compare([np.nan, 0.0], [1.0, 0.0]).passed
    assert rule.compare([np.nan, np.inf], [np.nan, np.inf]) == (True, 0.0)
    assert not rule.compare([np.inf], [-np.inf]).passed
    assert Close(bins=1).compare([1.0], [1.4], bin_width=0.5).passed
    assert str(Close(rtol=1e-5, bins=1)) == "close (rtol 1e-05, 1 histogram bin)"


def test_same_partition():
    rule = SamePartition(ari=0.9)
    labels = np.repeat(np.arange(4), 50)
    assert rule.compare(labels, 3 - labels) == (True, 1.0)
    assert not rule.compare(labels, labels // 2).passed
    assert not rule.compare(labels, labels.astype(np.int16)).passed
    assert not rule.compare(labels - 1, labels).passed
    assert str(rule) == "same partition (ARI 0.9)"


def test_public_names_are_reachable():
    for module in TOPICS:
        assert getattr(gpuseg, module).__name__ == f"gpuseg.{module}"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        gpuseg.nothing  # noqa: B018
    assert "filters" in dir(gpuseg)
