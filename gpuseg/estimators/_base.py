"""What the estimators share: calls that scikit-learn serves, and fitted state as arrays."""

from __future__ import annotations

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

    `_STATE` names the arrays, `_NUMBERS` the attributes that are numbers.
    """

    _STATE: tuple[str, ...] = ()
    _NUMBERS: tuple[str, ...] = ("n_features_in_",)

    def _arrays(self) -> dict[str, np.ndarray]:
        names = [name for name in (*self._STATE, *self._NUMBERS) if hasattr(self, name)]
        arrays = {name: np.array(getattr(self, name)) for name in names
                  if getattr(self, name) is not None}  # fmt: skip
        return arrays | names_in(self)

    @classmethod
    def _from_arrays(cls, params: dict, arrays: dict[str, np.ndarray]):
        self = cls(**params)
        for name in self._STATE:
            # What was None, as the centre of a scaler that does not centre, is in no file.
            setattr(self, name, np.array(arrays[name]) if name in arrays else None)
        for name in self._NUMBERS:
            setattr(self, name, arrays[name].item())
        take_names_in(self, arrays)
        return self


def names_in(estimator) -> dict[str, np.ndarray]:
    if not hasattr(estimator, "feature_names_in_"):
        return {}
    return {"feature_names_in": plain(estimator.feature_names_in_)}


def take_names_in(estimator, arrays) -> None:
    if "feature_names_in" in arrays:
        estimator.feature_names_in_ = np.asarray(arrays["feature_names_in"]).astype(object)
