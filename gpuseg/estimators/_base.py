"""What the estimators share: calls that scikit-learn serves, and fitted state as arrays."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from .._backend import asnumpy, is_cupy, run


def scikit_learn(call, reason: str):
    """Run scikit-learn's own method, and log why no form of ours does."""
    return run(scikit_learn, call, reason)


def on_host(X):
    """Rows where scikit-learn's checks can read them."""
    return asnumpy(X) if is_cupy(X) else X


def plain(values):
    """Names or labels without Python objects."""
    values = np.asarray(values)
    if values.dtype != object:
        return values
    if not all(isinstance(value, str) for value in values.flat):
        raise TypeError("labels that are Python objects other than str cannot be saved")
    return values.astype(np.str_)


class Saved:
    """Fitted attributes as plain arrays, for estimators whose state they are.

    `_STATE` has the arrays, each with the kinds of numbers and the shapes that it may have: a
    letter an axis, the same for the same size, and ``n`` for the features. `_NUMBERS` has the
    attributes that are numbers, and their kinds.
    """

    _STATE: ClassVar[dict[str, tuple[str, ...]]] = {}
    _NUMBERS: ClassVar[dict[str, str]] = {"n_features_in_": "iu"}

    def _arrays(self) -> dict[str, np.ndarray]:
        names = [name for name in (*self._STATE, *self._NUMBERS) if hasattr(self, name)]
        arrays = {name: np.array(getattr(self, name)) for name in names
                  if getattr(self, name) is not None}  # fmt: skip
        return arrays | names_in(self)

    @classmethod
    def _from_arrays(cls, params: dict, arrays: dict[str, np.ndarray]):
        self = cls(**params)
        for name, kinds in self._NUMBERS.items():
            setattr(self, name, part(arrays, name, kinds, "").item())
        sizes = {"n": self.n_features_in_}
        for name, (kinds, *shapes) in self._STATE.items():
            # What was None, as the centre of a scaler that does not centre, is in no file.
            array = part(arrays, name, kinds, *shapes, sizes=sizes) if name in arrays else None
            setattr(self, name, array)
        wrong = self._wrong()
        if wrong:
            raise ValueError(f"{wrong} of a fitted {cls.__name__}")
        take_names_in(self, arrays)
        return self

    def _wrong(self) -> str:
        """What cannot be the state of such an estimator, though each part of it could; or ''."""
        return ""


def part(arrays: dict, name: str, kinds: str, *shapes: str, sizes: dict | None = None):
    """A copy of an array of a fitted estimator: its type and shape checked, and that it is finite.

    Letters in `shapes` stand for sizes; those that `sizes` has not yet are put there.
    """
    if name not in arrays:
        raise ValueError(f"arrays of a fitted estimator must have {name}")
    array, sizes = np.array(arrays[name]), {} if sizes is None else sizes
    half = array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8)
    if array.dtype.kind not in kinds or half:
        raise ValueError(f"{name} cannot hold {array.dtype}")
    shape = next((shape for shape in shapes if len(shape) == array.ndim), None)
    if shape is None or any(sizes.setdefault(k, n) != n for k, n in zip(shape, array.shape)):
        known = {key: size for key, size in sizes.items() if any(key in s for s in shapes)}
        wanted = " or ".join(f"({', '.join(str(known.get(k, k)) for k in s)})" for s in shapes)
        raise ValueError(f"{name} must have shape {wanted}, got {array.shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinity")
    return array


def names_in(estimator) -> dict[str, np.ndarray]:
    if not hasattr(estimator, "feature_names_in_"):
        return {}
    return {"feature_names_in": plain(estimator.feature_names_in_)}


def take_names_in(estimator, arrays) -> None:
    if "feature_names_in" in arrays:
        names = part(arrays, "feature_names_in", "U", "n", sizes={"n": estimator.n_features_in_})
        estimator.feature_names_in_ = names.astype(object)
