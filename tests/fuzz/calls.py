"""Random calls of every public function: what they are made of, and what must hold of each.

A call is made of its seed and number alone, so that it can be made again. Half of them change
the arrays of a call that is right (rank, type, layout, extreme values), and ask for one answer
whatever the layout, the number of threads and the chunks of Dask. The others put something wrong
into one or two arguments. Of both: inputs stay as they are, and what is raised is a ValueError or
a TypeError of one line that names an argument.
"""

from __future__ import annotations

import inspect
import os
import re
import warnings
from fractions import Fraction

import numpy as np
from fuzz import others

from gpuseg import _cases
from gpuseg._backend import find, is_dask
from gpuseg._public import functions

SHAPES = {1: (150,), 2: (17, 13), 3: (9, 8, 7), 4: (6, 5, 4, 7), 5: (3, 5, 4, 3, 4)}
DTYPES = [
    "?",
    "u1",
    "u2",
    "u4",
    "u8",
    "i1",
    "i2",
    "i4",
    "i8",
    "f2",
    "f4",
    "f8",
    ">u2",
    ">i8",
    ">f4",
]
THREADS = (1, 2, 3, 7)
# What draws, or answers for tables that take long; and what has no order that could be kept.
SLOW = {"filters.try_all_threshold"}


class Fault(Exception):
    """What must not be: told with the call."""


def cases() -> dict:
    """Functions by name, each with its arguments for a rank of the image."""
    found = {}
    for name, function in functions().items():
        case = _cases.CASES[name]
        dims = (1,) if case.dims == (1,) else (1, 2, 3, 4, 5)
        found[name] = (function, lambda i, case=case: (case.args(i), dict(case.options)), dims)
    found |= others.CASES
    return found


CASES = cases()
NAMES = sorted(CASES)


# --- layouts ----------------------------------------------------------------------------------


def negative(x):
    return np.ascontiguousarray(x[(slice(None, None, -1),) * x.ndim])[
        (slice(None, None, -1),) * x.ndim
    ]


def fortran(x):
    return np.asfortranarray(x)


def gaps(x):
    wide = np.zeros(tuple(2 * n for n in x.shape), x.dtype)
    part = wide[(slice(None, None, 2),) * x.ndim]
    part[...] = x
    return part


def unaligned(x):
    raw = np.zeros(x.nbytes + 1, np.uint8)
    part = raw[1:].view(x.dtype).reshape(x.shape)
    part[...] = x
    return part


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def swapped(x):
    return x.astype(x.dtype.newbyteorder("S"))


def repeated(x):
    """One slice at every place of the first axis, which has no stride."""
    return np.broadcast_to(x[:1], x.shape)


LAYOUTS = (negative, fortran, gaps, unaligned, read_only, swapped, repeated)


# --- values -----------------------------------------------------------------------------------


def extreme(rng, x):
    """Some of the elements at the ends of the type, or all of one value."""
    x = x.copy()
    if x.dtype.kind == "f":
        info = np.finfo(x.dtype)
        ends = [
            0,
            -0.0,
            np.nan,
            np.inf,
            -np.inf,
            info.max,
            info.min,
            info.tiny,
            info.smallest_subnormal,
        ]
    elif x.dtype.kind in "iu":
        info = np.iinfo(x.dtype)
        ends = [0, 1, info.min, info.max, info.max - 1]
    else:
        ends = [False, True]
    value = np.array(ends[rng.integers(len(ends))]).astype(x.dtype)
    with np.errstate(all="ignore"):
        part = rng.choice(["all", "one", "some", "scale"])
        if part == "scale" and x.dtype.kind == "f":
            return (x * x.dtype.type(rng.choice([1e-300, 1e-40, 1e-6, 1e4, 1e37, 1e300]))).astype(
                x.dtype
            )
    if part == "all":
        x[...] = value
    elif part == "one":
        x.flat[int(rng.integers(x.size))] = value
    else:
        x[rng.random(x.shape) < 0.3] = value
    return x


class Strange:
    def __repr__(self):
        return "Strange()"


def bad_values(rng, given):
    """What comes in by mistake: of another type, out of range, without measure."""
    shape = given.shape if isinstance(given, np.ndarray) else (17, 13)
    small = rng.random((4, 5))
    n = np.prod(shape)
    return [
        None, True, np.True_, "x", "", "3", b"x", {}, {"a": 1}, [], (), [[]], set(), Strange(),
        object, len, (i for i in range(3)), range(3), slice(3), Ellipsis, NotImplemented, 0, 1, 2,
        -1, -5, 3.5, 10**10, -(10**10), 2**31, 2**63, 2**64, 10**30, 10**400, -(10**400), 0.0,
        -0.0, 1e-320, 1e-300, 1e308, -1e308, 1e300, np.nan, np.inf, -np.inf, 1j, Fraction(1, 3),
        Fraction(10**400, 3), np.float16(2), np.longdouble(2), np.longdouble("1e400"), np.int8(3),
        np.uint64(2**64 - 1), np.datetime64("2020-01-01"), np.timedelta64(3, "s"), np.str_("x"),
        np.array(3), np.array(3.5), np.array("x"), np.array(None), np.array([1, 2]),
        np.array([np.nan, 1]), [1, 2], (1, 2, 3), [1.5, "x"], ["a", "b"], [None, None],
        [10**400, 1], (1e308, 1e308), [np.nan, 1], (10**10, 10**10), (-1, -1, -1), [[1, 2], [3]],
        [(1, 2), (3, 4)], [True, False], np.matrix([[0, 1], [2, 3]]),
        np.ma.masked_array([1, 2], [True, False]), np.zeros(0), np.zeros((0, 4)), np.zeros((3, 0)),
        np.array(["a"]), np.array([b"a"]), np.array([None, 1]), np.zeros(3, "M8[s]"),
        np.zeros(3, "m8[s]"), np.zeros(3, [("a", "i4")]), np.zeros(3, "V4"), np.zeros(3, complex),
        np.zeros(shape, complex), np.zeros(shape, object), np.zeros(shape, "U2"),
        np.zeros(shape, np.longdouble), np.full(shape, np.nan), np.full(shape, np.inf),
        np.full(shape, 2**64 - 1, "u8"), np.full(shape, -(2**63), "i8"), np.zeros(shape, bool),
        np.zeros(shape, [("a", "f4")]), rng.random(shape), rng.integers(0, 5, shape),
        np.zeros((1,) * 6), np.zeros((2,) * 6, "u1"), np.zeros((1,) * 33), np.zeros((1,) * 64),
        np.zeros((1,) * 40, "i4"), small, small > 0.5, small.astype("f4"),
        np.asfortranarray(small), np.zeros((1, 1)), np.ones((1, 1, 1)), np.zeros((n + 1,)),
        np.ones((3, 3, 3), bool), np.ones((101, 101), bool),
        np.recarray((3,), dtype=[("a", "i4")]), lambda *a: None, int, float, "float64", np.float32,
        np.dtype("f4"), "reflect", "constant", "wrap", "nearest",
    ]  # fmt: skip


# --- a call -----------------------------------------------------------------------------------


class Call:
    """A public function with arguments; `good` where nothing is known to be wrong with them."""

    def __init__(self, seed: int, number: int, names=NAMES, *, good: bool | None = None):
        rng = self.rng = np.random.default_rng([seed, number])
        self.seed, self.number = seed, number
        self.name = names[int(rng.integers(len(names)))]
        self.function, make, dims = CASES[self.name]
        ndim = int(rng.choice(dims))
        preferred = _cases.CASES[self.name].dims if self.name in _cases.CASES else (2,)
        if rng.random() < 0.5 and preferred != (1,):
            ndim = int(rng.choice(preferred))
        dtype = np.dtype(str(rng.choice(DTYPES)))
        if good is False:  # what is refused needs no kernels of every type and rank
            ndim, dtype = preferred[0], np.dtype(np.float32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            inputs = inputs_of(ndim, dtype.newbyteorder("="))
            args, options = make(inputs)
        signature = inspect.signature(self.function)
        self.given = dict(signature.bind(*args, **options).arguments)
        self.parameters = signature.parameters
        self.layout = None
        self.good = rng.random() < 0.5 if good is None else good
        if self.good:
            self._vary()
        else:
            self._spoil()

    def _arrays(self):
        return [key for key, value in self.given.items() if isinstance(value, np.ndarray)]

    def _vary(self):
        rng = self.rng
        for key in self._arrays():
            if rng.random() < 0.25:
                self.given[key] = extreme(rng, self.given[key])
        self.layout = LAYOUTS[int(rng.integers(len(LAYOUTS)))]
        if self.layout is repeated:
            for key in self._arrays():
                self.given[key] = np.ascontiguousarray(repeated(self.given[key]))

    def _spoil(self):
        rng = self.rng
        keys = [
            k for k, p in self.parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]
        if not keys:
            return
        for key in rng.choice(
            keys, size=min(len(keys), int(rng.choice([1, 1, 1, 2]))), replace=False
        ):
            if key == "verbose":
                continue
            values = bad_values(rng, self.given.get(key))
            self.given[str(key)] = values[int(rng.integers(len(values)))]

    def __str__(self):
        def shown(value):
            if isinstance(value, np.ndarray):
                ends = ""
                if value.size and value.dtype.kind in "buif":
                    ends = f" {value.min()}..{value.max()}"
                shape = value.shape if value.ndim < 7 else f"{value.ndim} axes"
                return f"<{type(value).__name__} {value.dtype.str} {shape}{ends}>"
            text = repr(value)
            return text if len(text) < 70 else text[:67] + "..."

        arguments = ", ".join(f"{k}={shown(v)}" for k, v in self.given.items())
        layout = f" as {self.layout.__name__}" if self.layout else ""
        return f"[{self.seed}:{self.number}] {self.name}({arguments}){layout}"

    def run(self) -> str:
        """What happened, in a word; a `Fault` is raised for what must not happen."""
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            before = {
                k: self.given[k].tobytes() for k in self._arrays() if not written(k, self.given)
            }
            os.environ["GPUSEG_NUM_THREADS"] = "2"
            result = self._answer(self.given)
            for key, was in before.items():
                if self.given[key].tobytes() != was:
                    raise Fault(f"{key} is changed")
            if isinstance(result, Exception):
                return type(result).__name__
            if self.good:
                self._same(result, self._laid_out(), f"laid out as {self.layout.__name__}")
                os.environ["GPUSEG_NUM_THREADS"] = threads = str(self.rng.choice(THREADS))
                self._same(result, self.given, f"in {threads} threads")
                os.environ["GPUSEG_NUM_THREADS"] = "2"
                if self._has_dask_form():
                    self._same(result, self._lazy(), "in chunks")
            return "answered"

    def _answer(self, given):
        try:
            return computed(self.function(**given))
        except Exception as error:
            self._proper(error)
            return error

    def _proper(self, error):
        if not isinstance(error, ValueError | TypeError):
            raise Fault(f"{type(error).__name__}: {str(error)[:200]}") from error
        if self.name in others.THEIRS or type(error).__name__ == "UndecidedError":
            return  # scikit-learn says it in its own words; an image that has no answer
        text = str(error)
        if len(text.splitlines()) != 1:
            raise Fault(
                f"{type(error).__name__} of {len(text.splitlines())} lines: {text[:200]!r}"
            ) from error
        if not any(re.search(rf"(?<![\w]){re.escape(k)}(?![\w])", text) for k in self.parameters):
            raise Fault(f"{type(error).__name__} names no argument: {text[:200]!r}") from error

    def _laid_out(self):
        given = dict(self.given)
        for key in self._arrays():
            given[key] = self.layout(given[key])
        return given

    def _has_dask_form(self):
        if self.name not in functions() or self.name in SLOW or not self._arrays():
            return False
        try:
            return bool(find(self.function.via, "dask"))
        except (TypeError, NotImplementedError):
            return False

    def _lazy(self):
        import dask.array as da

        first = self.given[self._arrays()[0]]
        chunks = tuple(int(self.rng.integers(1, n + 1)) for n in first.shape)
        chunks = tuple(max(c, n // 3) for c, n in zip(chunks, first.shape, strict=True))
        return {
            key: da.from_array(value, chunks=chunks)
            if isinstance(value, np.ndarray) and value.shape == first.shape
            else value
            for key, value in self.given.items()
        }

    def _same(self, result, given, how):
        lazy = any(is_dask(v) for v in given.values())
        try:
            other = computed(self.function(**given))
        except (ValueError, TypeError) as error:
            if lazy and "Dask" in str(error):
                return
            raise Fault(f"{how}: {type(error).__name__}: {str(error)[:200]}") from error
        except Exception as error:
            raise Fault(f"{how}: {type(error).__name__}: {str(error)[:200]}") from error
        rule = getattr(self.function, "contract", None)
        difference = compare(rule, other, result)
        if difference:
            raise Fault(f"{how}: {difference}")


def written(key, given) -> bool:
    return key == "out" or (key == "image" and given.get("in_place", False) is not False)


_INPUTS = {}


def inputs_of(ndim, dtype):
    if (ndim, dtype) not in _INPUTS:
        _INPUTS[ndim, dtype] = _cases.Inputs(SHAPES[ndim], dtype)
    return _INPUTS[ndim, dtype]


def computed(result):
    import dask

    return dask.compute(result, scheduler="sync")[0]


def leaves(value):
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        value = {c: value[c].to_numpy() for c in value.columns}
    if isinstance(value, dict):
        return [leaf for k in value for leaf in leaves(value[k])]
    if isinstance(value, tuple | list):
        return [leaf for v in value for leaf in leaves(v)]
    if hasattr(value, "__dataclass_fields__"):
        return [
            leaf
            for k in value.__dataclass_fields__
            if k != "chunks"
            for leaf in leaves(getattr(value, k))
        ]
    return [np.asarray(value)]


def compare(rule, other, result) -> str:
    if not isinstance(result, np.ndarray | np.generic | int | float | tuple | dict | list) and not (
        hasattr(result, "__dataclass_fields__") or hasattr(result, "columns")
    ):
        return ""
    mine, theirs = leaves(result), leaves(other)
    if len(mine) != len(theirs):
        return f"{len(theirs)} parts for {len(mine)}"
    for a, b in zip(theirs, mine, strict=True):
        if a.dtype.kind not in "buif" or b.dtype.kind not in "buif":
            continue
        if a.shape != b.shape:
            return f"shape {a.shape} for {b.shape}"
        if rule is None:
            same = np.allclose(a, b, rtol=1e-5, equal_nan=True)
        elif a.dtype.kind == "f" or type(rule).__name__ != "SamePartition":
            same = near(rule, a, b)
        else:
            same = rule.compare(a, b).passed
        if not same:
            return f"{a.ravel()[:8]} ({a.dtype}) for {b.ravel()[:8]} ({b.dtype})"
    return ""


def near(rule, a, b) -> bool:
    if type(rule).__name__ == "Exact":
        return rule.compare(a, b).passed
    if a.dtype != b.dtype:
        return False
    bins = getattr(rule, "bins", 0)
    if bins:
        return True
    return rule.compare(a, b).passed if hasattr(rule, "rtol") else True
