"""Whether the answers are the same on this machine: every contract, run and tabled."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from . import _cases, _public
from ._backend import _simulating, asnumpy, probe_cuda, using
from ._checks import real_array
from ._contracts import Comparison, SamePartition

DTYPES = ("uint8", "uint16", "float32", "float64")
# Neither even nor square, so that what depends on either shows.
SHAPES = {2: (97, 74), 3: (23, 31, 18), 1: (300,)}
# In the simulator a thread costs milliseconds.
_SIMULATED = {2: (13, 10), 3: (5, 7, 6), 1: (40,)}, ("uint8", "float32")


class Check(NamedTuple):
    """One call, by one backend, beside what it must equal."""

    function: str
    backend: str
    against: str
    dtype: str
    shape: tuple[int, ...]
    contract: str
    worst: float
    passed: bool
    seconds: float
    note: str


class Verification(list):
    """Checks in the order of the functions; prints as a table."""

    @property
    def passed(self) -> bool:
        """Whether every check did."""
        return all(check.passed for check in self)

    def to_dataframe(self):
        """The checks as a pandas DataFrame, one a row."""
        import pandas

        return pandas.DataFrame(list(self), columns=Check._fields)

    def rows(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Names of columns, and cells as text; of a function that passes for all types and shapes,
        one row."""
        names = ("function", "backend", "against", "checks", "contract", "worst", "")
        groups: dict[tuple, list[Check]] = {}
        for check in self:
            what = f"{check.dtype} {'x'.join(map(str, check.shape))}: " if not check.passed else ""
            key = check.function, check.backend, check.against, check.contract, what
            groups.setdefault(key, []).append(check)
        rows = []
        for (function, backend, against, contract, what), checks in groups.items():
            told = "passed" if checks[0].passed else f"FAILED {what}{checks[0].note}".strip(": ")
            worst = _worst(checks)
            rows.append((function, backend, against, str(len(checks)), contract, worst, told))
        return names, rows

    def __str__(self) -> str:
        names, rows = self.rows()
        rows = [names, *rows]
        widths = [max(map(len, column)) for column in zip(*rows)]
        return "\n".join(
            "  ".join(cell.ljust(n) for cell, n in zip(row, widths)).rstrip() for row in rows
        )


def verify(
    functions: Iterable[str] | None = None,
    *,
    image=None,
    backends: Iterable[str] | None = None,
    step: Callable = contextlib.nullcontext,
) -> Verification:
    """Run every contract on the machine at hand.

    The CPU is held against scikit-image, SciPy, NumPy or scikit-learn, where one of them has the
    function; a GPU, or the simulator of one, against the CPU.

    Parameters
    ----------
    functions : iterable of str, optional
        Names such as ``'filters.gaussian'``. All public functions by default.
    image : array of real numbers, 2-D or 3-D, optional
        Verify on this instead of data made here, of 97 x 74 pixels and 23 x 31 x 18 voxels, in
        uint8, uint16, float32 and float64.
    backends : iterable of {'cpu', 'cuda', 'sim'}, optional
        What to verify. By default all that work here.
    step : callable, optional
        What it returns for the name of a function is entered while that has its turn.

    Returns
    -------
    Verification
        A list of checks (function, backend, against, dtype, shape, contract, worst, passed,
        seconds, note) that prints as a table, with ``passed`` and ``to_dataframe()``. ``worst`` is
        the largest deviation; for ``exact`` the number of elements that differ, and for partitions
        the least adjusted Rand index. A call that fails is a check that did not pass.

    Raises
    ------
    ValueError, TypeError
        An unknown function or backend, or an image that is neither 2-D nor 3-D.
    BackendError
        A backend does not work here.

    Notes
    -----
    Where scikit-image's namesake gives something else on purpose, nothing is compared with it: the
    docstring of the function says what differs.

    References
    ----------
    .. [1] S. van der Walt et al., "scikit-image: image processing in Python", PeerJ 2, 2014.
           :doi:`10.7717/peerj.453`

    Examples
    --------
    >>> import gpuseg
    >>> found = gpuseg.verify(["filters.threshold_otsu"], backends=["cpu"])
    >>> found.passed, len(found)
    (True, 8)
    """
    public = _public.functions()
    names = list(functions or public)
    for name in names:
        if name not in public:
            raise ValueError(f"functions must name public functions, got {name!r}")
    if image is not None:
        image = asnumpy(real_array(image, ndim=(2, 3)))
    backends = _working() if backends is None else list(backends)
    for backend in backends:
        if backend == "auto":
            raise ValueError("backends must name 'cpu', 'cuda', 'cuda:N' or 'sim', got 'auto'")
    found = Verification()
    for backend in backends:
        with using(backend):
            sources = _Sources(image, *(_SIMULATED if backend == "sim" else (SHAPES, DTYPES)))
            for name in names:
                with step(f"{name} ({backend})"):
                    found += _of_function(name, public[name], backend, sources)
    return found


def turns(functions=None, backends=None) -> int:
    """How many functions `verify` enters a step for."""
    return len(backends or _working()) * len(functions or _cases.CASES)


def _working() -> list[str]:
    return ["cpu", *["cuda"] * probe_cuda().ok, *["sim"] * _simulating()]


class _Sources:
    """The data of all cases, each made once."""

    def __init__(self, image, shapes, dtypes):
        self.image, self.shapes, self.dtypes = image, shapes, dtypes
        self._made: dict = {}

    def __call__(self, case, ndim: int):
        """The inputs of a case, for each type that the case looks at."""
        if self.image is not None and ndim > 1:
            dtypes = [self.image.dtype] if self.image.ndim == ndim else []
        else:
            dtypes = self.dtypes
        for dtype in dtypes:
            key = ndim, str(dtype)
            if key not in self._made:
                given = self.image if ndim > 1 else None
                shape = self.shapes[ndim] if given is None else given.shape
                self._made[key] = _cases.Inputs(shape, dtype, image=given)
            inputs = self._made[key]
            inputs.__dict__.pop("image", None)  # it shows whether the case asks for it
            args = case.args(inputs)
            yield inputs, args
            if "image" not in inputs.__dict__:
                return


def _of_function(name: str, function, backend: str, sources) -> list[Check]:
    case, contract = _cases.CASES[name], function.contract
    against, same = "cpu", None
    if backend == "cpu":
        if case.differs or _cases.namesake(name) is None:
            return []
        contract = case.peer or contract
    checks = []
    for ndim in case.dims:
        for inputs, args in sources(case, ndim):
            if backend == "cpu":
                against, same = _cases.namesake(name, inputs)
            start = time.perf_counter()
            compared, note = _compared(function, args, case.options, same, contract)
            dtype = str(next((x.dtype for x in args if hasattr(x, "dtype")), ""))
            checks.append(
                Check(
                    name, backend, against, dtype, inputs.shape, str(contract),
                    compared.worst, compared.passed, time.perf_counter() - start, note,
                )
            )  # fmt: skip
    return checks


def _compared(function, args, options, same, contract) -> tuple[Comparison, str]:
    failed = Comparison(passed=False, worst=float("nan"))
    try:
        expected = _answer(same or function, args, options, "cpu")
    except Exception as error:  # what a peer raises, this function must refuse, too
        expected = error
    try:
        found = _answer(function, args, options, None)
    except Exception as error:
        if isinstance(expected, Exception):
            return Comparison(passed=True, worst=0.0), "both refuse"
        return failed, f"{type(error).__name__}: {error}"
    if isinstance(expected, Exception):
        return failed, f"only the other side raises {type(expected).__name__}: {expected}"
    found, expected = list(_parts(found)), list(_parts(expected))
    if len(found) != len(expected):
        return failed, f"{len(found)} parts of a result, not {len(expected)}"
    results = [_compare(contract, a, b) for a, b in zip(found, expected)]
    least = isinstance(contract, SamePartition)
    worst = (min if least else max)((r.worst for r in results), default=0.0)
    return Comparison(all(r.passed for r in results), worst), ""


def _answer(function, args, options, backend):
    if backend is None:
        return function(*args, **options)
    with using(backend):
        return function(*args, **options)


def _compare(contract, a, b) -> Comparison:
    if isinstance(a, str) or isinstance(b, str):
        return Comparison(a == b, float(a != b))
    if isinstance(contract, SamePartition) and np.asarray(a).dtype.kind not in "iu":
        return Comparison(passed=True, worst=1.0)  # what is said about the classes
    return contract.compare(a, b)


def _parts(result):
    """Arrays, numbers and names of a result, however they are packed."""
    if type(result).__module__.partition(".")[0] == "matplotlib":
        return
    if hasattr(result, "to_dataframe"):
        result = result.to_dataframe()
    if hasattr(result, "to_dict") and not isinstance(result, dict):
        result = result.to_dict("list")
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, list) and all(isinstance(x, int | float) for x in result):
        result = np.array(result)
    if isinstance(result, list | tuple):
        for part in result:
            yield from _parts(part)
    elif isinstance(result, np.ndarray) and result.dtype == object:
        yield from _parts(result.tolist())
    elif isinstance(result, str | np.ndarray | np.generic | int | float):
        yield result
    elif result is not None:
        yield asnumpy(result)


def _worst(checks) -> str:
    values = [check.worst for check in checks]
    least = checks[0].contract.startswith("same partition")
    return f"{(min if least else max)(values):.3g}"
