"""What hypothesis draws depends on the tests alone, and not on the source that they test."""

import copy
import hashlib
import importlib
import importlib.util
import itertools
import sys

import hypothesis
import pytest
from hypothesis import strategies as st

_names = (f"gpuseg_literals_{n}" for n in itertools.count())


def drawn():
    """A digest of the examples of a test that has no other input."""
    digest = hashlib.sha256()

    @hypothesis.settings(max_examples=200, derandomize=True, database=None)
    @hypothesis.given(st.tuples(st.integers(), st.floats(), st.text(), st.integers(0, 10**9)))
    def example(values):
        digest.update(repr(values).encode())

    example()
    return digest.hexdigest()


@pytest.fixture
def import_literals(tmp_path, monkeypatch):
    """A call that imports a module with constants that no other has."""

    def load():
        name = next(_names)
        path = tmp_path / f"{name}.py"
        lines = (f"N{n} = ({n * n + 7 * 10**7}, {n / 7!r}, 'word {n}')" for n in range(99))
        path.write_text("\n".join(lines))
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setitem(sys.modules, name, module)

    return load


def test_examples_do_not_come_from_the_source(import_literals):
    before = drawn()
    import_literals()
    assert drawn() == before


def test_they_would_where_hypothesis_is_left_as_it_is(import_literals, monkeypatch):
    """So the test above can fail."""
    providers = pytest.importorskip("hypothesis.internal.conjecture.providers")
    if not hasattr(providers, "is_local_module_file"):
        pytest.skip("this hypothesis collects no literals")
    original = importlib.import_module("hypothesis.internal.constants_ast").is_local_module_file
    before = drawn()
    monkeypatch.setattr(providers, "is_local_module_file", original)
    monkeypatch.setattr(providers, "_local_constants", copy.deepcopy(providers._local_constants))
    import_literals()
    try:
        assert drawn() != before
    finally:
        providers.CONSTANTS_CACHE.cache.clear()
