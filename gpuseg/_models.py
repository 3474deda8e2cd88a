"""Model files: a pixel classifier as plain arrays and JSON, with a checksum; nothing is executed.

The first line names the form, its version and the SHA-256 of all that follows: an uncompressed
archive of NumPy arrays (as `numpy.savez` writes), one of which holds the JSON.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from pathlib import Path

import numpy as np

from ._files import check_output, shown, whole_file

FORM = 1
_FIRST = re.compile(rb"gpuseg pixel classifier (\d{1,9}) sha256 ([0-9a-f]{64})\n")
_LONGEST = 128  # bytes of the first line


class ModelError(ValueError):
    """A file that holds no model that can be read here; the message says why."""


# --- writing ----------------------------------------------------------------------------------


def write(path, model, *, force: bool) -> None:
    path = Path(path)
    check_output(path, force=force)
    arrays: dict[str, np.ndarray] = {}
    header = {
        "features": [_step(step) for step in model.chain_],
        "estimator": _described(model.estimator_, "estimator", arrays),
        "channel_axis": model.channel_axis,
        "n_channels": model.n_channels_,
        "ndim": model.ndim_,
        "versions": _versions(),
    }
    text = json.dumps(header, indent=1, allow_nan=True)
    payload = io.BytesIO()
    np.savez(payload, allow_pickle=False, header=np.frombuffer(text.encode(), np.uint8), **arrays)
    content = payload.getvalue()
    with whole_file(path, force=force) as file:
        digest = hashlib.sha256(content).hexdigest()
        file.write(f"gpuseg pixel classifier {FORM} sha256 {digest}\n".encode())
        file.write(content)


def _described(estimator, name: str, arrays: dict) -> dict:
    """An estimator as JSON; its arrays go to `arrays` under its name."""
    from sklearn.pipeline import Pipeline

    if type(estimator) is Pipeline:
        steps = [
            [key, _described(step, f"{name}.{i}", arrays)]
            for i, (key, step) in enumerate(estimator.steps)
        ]
        return {"class": "Pipeline", "steps": steps}
    if type(estimator) not in _estimators().values():
        raise TypeError(
            f"estimator {type(estimator).__name__} cannot be saved: it is not of gpuseg.estimators "
            f"({', '.join(sorted(_estimators()))})"
        )
    own = estimator._arrays()
    arrays |= {f"{name}.{key}": np.asarray(value) for key, value in own.items()}
    return _step(estimator) | {"arrays": sorted(own), "name": name}


def _step(step) -> dict:
    parameters = {key: _plain(value) for key, value in step.get_params(deep=False).items()}
    return {"class": type(step).__name__, "parameters": parameters}


def _plain(value):
    """A parameter as JSON has it."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, dict):  # class_weight: JSON has no keys but texts
        return {"dict": [[_plain(key), _plain(v)] for key, v in value.items()]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.random.RandomState | np.random.Generator):
        return None  # of no use to a fitted model
    raise TypeError(f"a parameter of type {type(value).__name__} cannot be saved")


def _versions() -> dict[str, str]:
    from . import device_info

    return {name: version for name, version in device_info()["versions"].items() if version}


# --- reading ----------------------------------------------------------------------------------


def read(path):
    """The model of a file."""
    header, arrays = contents(path)
    try:
        return _model(header, arrays)
    except Exception as error:  # a header can be wrong in any way
        text = f"{shown(path)}: is no model that this version can read: {error}"
        raise ModelError(text) from None


def contents(path) -> tuple[dict, dict[str, np.ndarray]]:
    """The header and the arrays of a file whose checksum is right."""
    with open(path, "rb") as file:
        line = file.readline(_LONGEST)
        first = _FIRST.fullmatch(line)
        if first is None:
            raise ModelError(f"{shown(path)}: is no model of a gpuseg pixel classifier")
        if int(first[1]) != FORM:
            raise ModelError(
                f"{shown(path)}: is of form {int(first[1])}, and this version reads form {FORM}: "
                "train it again, or use the version of gpuseg that wrote it"
            )
        content = file.read()
        if hashlib.sha256(content).hexdigest().encode() != first[2]:
            raise ModelError(f"{shown(path)}: is damaged or truncated: its checksum is wrong")
        try:
            arrays = _archive(io.BytesIO(content), len(content))
            header = json.loads(arrays.pop("header").tobytes())
        except Exception as error:
            raise ModelError(f"{shown(path)}: cannot be read: {error}") from None
    return header, arrays


def _archive(file, size: int) -> dict[str, np.ndarray]:
    arrays = {}
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            # What is not compressed cannot claim more than the file holds.
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > size:
                raise ValueError(f"{entry.filename!r} is compressed")
            with archive.open(entry) as member:
                name = entry.filename.removesuffix(".npy")
                arrays[name] = np.lib.format.read_array(member, allow_pickle=False)
    return arrays


def _model(header: dict, arrays: dict):
    from . import features
    from .pixels import PixelClassifier

    allowed = {name: getattr(features, name) for name in features.__all__ if name.startswith("Add")}
    chain = [
        _class(step, allowed)(**_parameters(step["parameters"])) for step in header["features"]
    ]
    estimator = _restored(header["estimator"], arrays)
    model = PixelClassifier(chain, estimator, channel_axis=header["channel_axis"])
    return model._fitted(chain, estimator, header["n_channels"], header["ndim"])


def _restored(described: dict, arrays: dict):
    from sklearn.pipeline import Pipeline

    if described["class"] == "Pipeline":
        return Pipeline([(key, _restored(step, arrays)) for key, step in described["steps"]])
    name = described["name"]
    own = {key: arrays[f"{name}.{key}"] for key in described["arrays"]}
    return _class(described, _estimators())._from_arrays(_parameters(described["parameters"]), own)


def _class(described: dict, allowed: dict):
    name = described["class"]
    if name not in allowed:
        raise ValueError(f"{name!r} is not one of {', '.join(sorted(allowed))}")
    return allowed[name]


def _parameters(plain: dict) -> dict:
    return {key: _unpacked(value) for key, value in plain.items()}


def _unpacked(value):
    if isinstance(value, dict):
        return {key: _unpacked(v) for key, v in value["dict"]}
    return tuple(map(_unpacked, value)) if isinstance(value, list) else value


def _estimators() -> dict[str, type]:
    from . import estimators

    return {
        name: getattr(estimators, name)
        for name in estimators.__all__
        if hasattr(getattr(estimators, name), "_from_arrays")
    }
