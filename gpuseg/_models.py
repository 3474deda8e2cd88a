"""Model files: a pixel classifier as plain arrays and JSON, with a checksum; nothing is executed.

The first line names the form, its version and the SHA-256 of all that follows: an uncompressed
archive of NumPy arrays (as `numpy.savez` writes), one of which holds the JSON.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import zipfile
from pathlib import Path

import numpy as np

from ._checks import axis, integer, option
from ._files import check_output, shown, whole_file

FORM = 1
_FIRST = re.compile(rb"gpuseg pixel classifier (\d{1,9}) sha256 ([0-9a-f]{64})\n")
_LONGEST = 128  # bytes of the first line
_LOCAL, _END = 30, 22  # bytes of an archive before the name of each entry, and of its end
_MOST, _LISTED = 256, 256  # steps or arrays of a model, and bytes for each in an archive's list


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
        text = f"{shown(path)}: is no model that this version can read: {_line(error)}"
        raise ModelError(text) from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


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
            raise ModelError(f"{shown(path)}: cannot be read: {_line(error)}") from None
    return header, arrays


def _archive(file, size: int) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    file.seek(-_END, io.SEEK_END)
    end = file.read()
    if end[:4] != b"PK\5\6" or int.from_bytes(end[12:16], "little") > _MOST * _LISTED:
        raise ValueError("its archive has no end, or too many entries")
    with zipfile.ZipFile(file) as archive:
        end = 0
        for entry in sorted(archive.infolist(), key=lambda entry: entry.header_offset):
            name = entry.filename.removesuffix(".npy")
            # What is not compressed, and lies apart, cannot claim more than the file holds.
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > size:
                raise ValueError(f"{entry.filename!r} is compressed")
            if entry.header_offset < end:
                raise ValueError(f"{entry.filename!r} lies over the entry before it")
            if name in arrays or name == entry.filename:
                raise ValueError(f"{entry.filename!r} is there twice, or is no array")
            end = entry.header_offset + _LOCAL + len(entry.filename) + entry.file_size
            arrays[name] = _array(archive.read(entry), entry.filename)
    return arrays


def _array(content: bytes, name: str) -> np.ndarray:
    """The array of a ``.npy`` file, made only once it is known to be all there."""
    file = io.BytesIO(content)
    reader = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(np.lib.format.read_magic(file))
    if reader is None:
        raise ValueError(f"{name!r} is of a version of .npy that holds no plain array")
    shape, fortran, dtype = reader(file)
    if dtype.kind not in "biufU" or dtype.subdtype is not None:
        raise ValueError(f"{name!r} holds {dtype}, and not numbers or texts")
    if any(type(n) is not int or n < 0 for n in shape) or len(shape) > 8:
        raise ValueError(f"{name!r} claims the shape {shape}")
    held = len(content) - file.tell()
    if not dtype.itemsize or math.prod(shape) * dtype.itemsize != held:
        raise ValueError(f"{name!r} has {held} bytes for shape {shape} of {dtype}")
    flat = np.frombuffer(content, dtype, offset=file.tell()).astype(dtype.newbyteorder("="))
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


# --- a header and what it describes -----------------------------------------------------------


def _model(header: dict, arrays: dict):
    from sklearn.base import is_classifier

    from . import features
    from .features.transformers import MOST_CHANNELS
    from .pixels import PixelClassifier

    _check_keys(header, ("features", "estimator", "channel_axis", "n_channels", "ndim", "versions"))
    ndim = option(integer(header["ndim"], "ndim"), "ndim", (2, 3))
    channels = integer(header["n_channels"], "n_channels", at_least=1)
    channel_axis = header["channel_axis"]
    if channel_axis is not None:
        axis(channel_axis, "channel_axis", ndim + 1)
    elif channels != 1:
        raise ValueError(f"n_channels must be 1 where there is no channel_axis, got {channels}")
    allowed = {name: getattr(features, name) for name in features.__all__ if name.startswith("Add")}
    if not 0 < len(header["features"]) <= _MOST:
        raise ValueError(f"features must be from 1 to {_MOST}, got {len(header['features'])}")
    chain, count = [], channels
    for described in header["features"]:
        step = _class(described, allowed)(**_parameters(described, allowed))
        count = step._count(count, ndim)
        if count > MOST_CHANNELS or step.halo > MOST_CHANNELS:
            raise ValueError(f"{type(step).__name__} gives too many channels, or looks too far")
        chain.append(step)
    unused = dict(arrays)
    estimator = _restored(header["estimator"], "estimator", unused, count)
    if unused:
        raise ValueError(f"arrays that nothing describes: {', '.join(sorted(unused))[:100]}")
    classes = getattr(estimator, "classes_", None) if is_classifier(estimator) else None
    if getattr(classes, "ndim", 0) != 1 or classes.dtype.kind not in "biu":
        raise ValueError("its estimator does not tell classes of pixels, which are integers")
    model = PixelClassifier(chain, estimator, channel_axis=channel_axis)
    return model._fitted(chain, estimator, channels, ndim)


def _restored(described: dict, name: str, arrays: dict, width: int):
    """The estimator that is described, for rows of `width` features; takes its arrays away."""
    from sklearn.pipeline import Pipeline

    if described["class"] == "Pipeline":
        _check_keys(described, ("class", "steps"))
        steps: list[tuple] = []
        for i, (key, step) in enumerate(described["steps"]):
            if not isinstance(key, str) or key in dict(steps):
                raise ValueError(f"steps of a pipeline must have names of their own, got {key!r}")
            if steps and not hasattr(steps[-1][1], "transform"):
                raise ValueError(f"step {steps[-1][0]!r} of a pipeline transforms nothing")
            made = _restored(step, f"{name}.{i}", arrays, width)
            width = _width(made, width)
            steps.append((key, made))
        pipeline = Pipeline(steps)
        pipeline._validate_names([key for key, _ in steps])
        return pipeline
    _check_keys(described, ("class", "parameters", "arrays", "name"))
    if described["name"] != name:
        raise ValueError(f"an estimator must be named {name!r}, got {described['name']!r}")
    kinds = _estimators()
    kind, parameters = _class(described, kinds), _parameters(described, kinds)
    kind(**parameters)._validate_params()
    own = {key: arrays.pop(f"{name}.{key}") for key in described["arrays"]}
    made = kind._from_arrays(parameters, own)
    if made.n_features_in_ != width:
        raise ValueError(f"{kind.__name__} is for {made.n_features_in_} features, not for {width}")
    return made


def _width(estimator, width: int) -> int:
    """How many columns an estimator makes of so many."""
    if hasattr(estimator, "steps"):
        for _, step in estimator.steps:
            width = _width(step, width)
        return width
    for name in ("n_output_features_", "_n_features_out"):
        if hasattr(estimator, name):
            return int(getattr(estimator, name))
    return width


def _check_keys(described: dict, names) -> None:
    if not isinstance(described, dict) or set(described) != set(names):
        found = list(described) if isinstance(described, dict) else type(described).__name__
        raise ValueError(f"it needs {', '.join(names)}, got {str(found)[:200]}")


def _class(described: dict, allowed: dict):
    name = described["class"]
    if name not in allowed:
        raise ValueError(f"{name!r} is not one of {', '.join(sorted(allowed))}")
    return allowed[name]


def _parameters(described: dict, allowed: dict) -> dict:
    """The parameters of a class, by the names that it has; flags are bool."""
    kind = _class(described, allowed)
    found = {key: _unpacked(value) for key, value in described["parameters"].items()}
    default = kind().get_params(deep=False)
    for key, value in found.items():
        if key not in default:
            raise ValueError(f"{kind.__name__} has no parameter {key!r}")
        if isinstance(default[key], bool) and not isinstance(value, bool):
            raise ValueError(f"{key} of {kind.__name__} must be true or false, got {value!r}")
    return found


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
