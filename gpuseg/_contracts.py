"""What "the same answer" means: one small object beside each public function.

``@contract(Exact())`` above a function sets its attribute ``contract`` and changes nothing else.
The tests, ``gpuseg verify`` and the table in the README read it from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


class Comparison(NamedTuple):
    passed: bool
    worst: float


@dataclass(frozen=True)
class Exact:
    """Equal in every element, NaN equal to NaN, with the same shape and dtype."""

    def compare(self, a, b) -> Comparison:
        import numpy as np

        a, b = np.asarray(a), np.asarray(b)
        if a.shape != b.shape or a.dtype != b.dtype:
            return Comparison(passed=False, worst=float("inf"))
        same = (a == b) | ((a != a) & (b != b))
        return Comparison(bool(same.all()), float(np.count_nonzero(~same)))

    def __str__(self) -> str:
        return "exact"


@dataclass(frozen=True)
class Close:
    """``|a - b| <= atol + rtol * max|b|``, NaN and infinities at the same places.

    `atol` may be written in histogram bins (``bins=1``): the comparison is then given the width.
    """

    rtol: float = 0.0
    atol: float = 0.0
    bins: float = 0.0

    def compare(self, a, b, bin_width: float = 0.0) -> Comparison:
        import numpy as np

        a, b = np.asarray(a), np.asarray(b)
        if a.shape != b.shape or a.dtype != b.dtype:
            return Comparison(passed=False, worst=float("inf"))
        a, b = a.astype(np.float64), b.astype(np.float64)
        finite = np.isfinite(b)
        if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
            return Comparison(passed=False, worst=float("inf"))
        a, b = a[finite], b[finite]
        if not b.size:
            return Comparison(passed=True, worst=0.0)
        worst = float(np.abs(a - b).max())
        allowed = self.atol + self.rtol * float(np.abs(b).max()) + self.bins * bin_width
        return Comparison(worst <= allowed, worst)

    def __str__(self) -> str:
        parts = [f"{name} {value:g}" for name, value in
                 (("rtol", self.rtol), ("atol", self.atol)) if value]  # fmt: skip
        if self.bins:
            parts.append(f"{self.bins:g} histogram bin" + "s" * (self.bins != 1))
        return "close (" + ", ".join(parts) + ")"


@dataclass(frozen=True)
class SamePartition:
    """Label images that divide the elements alike: an adjusted Rand index of at least `ari`.

    The numbers of the labels do not matter; negative labels (outside a mask) must be the same.
    """

    ari: float

    def compare(self, a, b) -> Comparison:
        import numpy as np
        from sklearn.metrics import adjusted_rand_score

        a, b = np.asarray(a), np.asarray(b)
        if a.shape != b.shape or a.dtype != b.dtype or not np.array_equal(a < 0, b < 0):
            return Comparison(passed=False, worst=float("-inf"))
        index = float(adjusted_rand_score(a[a >= 0], b[b >= 0]))
        return Comparison(index >= self.ari, index)

    def __str__(self) -> str:
        return f"same partition (ARI {self.ari:g})"


Contract = Exact | Close | SamePartition


# What a voxel that is NaN does to a result.
NAN = ("refuse", "local", "omit", None)
# What one that is infinite does, where nothing else is said.
_INFINITY = {"refuse": "refuse", "local": "local", "omit": "refuse", None: None}


def contract(rule: Contract, *, nan, infinity=None, via: Callable | None = None, note: str = ""):
    """Set what equality between backends means for a public function.

    `nan` is what it does with NaN in an image: ``"refuse"`` it (ValueError), let it make nothing
    but the voxels NaN whose window it lies in (``"local"``), or leave the voxel out (``"omit"``;
    where the function has an argument `nan`, if that is ``"omit"``, and refuse it by default).
    None is for what takes no array of floating-point numbers. `infinity` is the same for infinite
    values, or ``"value"``: they are numbers like others, the least and the greatest.

    `via` names the dispatched function that does the work on the arrays, where that is another
    one (every automatic threshold is arithmetic on one histogram). `note` says when it is looser.
    """
    if nan not in NAN:
        raise ValueError(f"nan must be one of {NAN}, got {nan!r}")

    def mark(function):
        function.contract = rule
        function.nan, function.infinity = nan, infinity or _INFINITY[nan]
        function.via = via or function
        function.contract_note = note
        return function

    return mark
