"""Model files: safetensors with a JSON header. Nothing in a file is executed."""

from __future__ import annotations

import hashlib
import json
import math
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save as packed

from .. import __version__
from .._files import check_output, shown, whole_file
from .._models import ModelError
from .model import UNet, size_of

FORM = 1
# More than this of parameters is no network that one means to load.
_LARGEST = 1 << 31


def save(path, model, *, force=False) -> None:
    """Write a network to one file, whole or not at all.

    Parameters
    ----------
    path : str or path
        By habit it ends in ``.safetensors``.
    model : UNet
    force : bool, optional
        Replace a file that exists.

    Raises
    ------
    TypeError
        `model` is no UNet.
    gpuseg._files.RefusedOutput
        For a file that exists, or a folder that does not.

    Examples
    --------
    >>> import tempfile
    >>> from gpuseg import unet
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     unet.save(f"{folder}/small.safetensors", unet.UNet(base=4, seed=0))
    ...     unet.load(f"{folder}/small.safetensors").config["base"]
    4
    """
    _check_model(model)
    write_tensors(path, _tensors(model), header_of(model), force=force)


def load(path, *, device=None):
    """Read a network that `save` wrote. Nothing in the file is executed.

    Parameters
    ----------
    path : str or path
    device : str, optional
        Where to put it; the CPU without one.

    Returns
    -------
    UNet
        Ready to predict: it gives the same as the one that was saved.

    Raises
    ------
    ValueError
        For a file that is no such model, is damaged, or is of a later form than this version reads.
    """
    header, tensors = read_tensors(path)
    model = _restored(path, header, tensors)
    return model.eval() if device is None else model.eval().to(device)


def export_onnx(path, model, *, force=False) -> None:
    """Write a network as ONNX, for other programs.

    Its input ``image``, (N, channels, ...) in float32, is an image as it is: the file normalises
    it. Sizes are free, but must be multiples of ``model.multiple``. Its output is ``probability``,
    (N, outputs, ...).

    Parameters
    ----------
    path : str or path
    model : UNet
    force : bool, optional
        Replace a file that exists.

    Raises
    ------
    ImportError
        onnx or onnxscript is not installed.
    TypeError
        `model` is no UNet.
    gpuseg._files.RefusedOutput
        For a file that exists, or a folder that does not.
    """
    _check_model(model)
    path = Path(path)
    check_output(path, force=force)
    if find_spec("onnx") is None or find_spec("onnxscript") is None:
        raise ImportError("export_onnx needs ONNX: pip install 'gpuseg[onnx]'")
    twin = UNet(**model.config, seed=0).eval()
    twin.load_state_dict({key: x.detach().cpu() for key, x in model.state_dict().items()})
    spatial = (4 * model.multiple,) * model.ndim
    image = torch.zeros((2, model.config["in_channels"], *spatial))
    axes = {0: torch.export.Dim("n", min=1)}
    for axis in range(model.ndim):
        axes[2 + axis] = model.multiple * torch.export.Dim(f"size{axis}", min=1)
    program = torch.onnx.export(
        _FromRaw(twin),
        (image,),
        dynamo=True,
        input_names=["image"],
        output_names=["probability"],
        dynamic_shapes=(axes,),
        verbose=False,
    )
    with whole_file(path, force=force) as file:
        file.write(program.model_proto.SerializeToString())


class _FromRaw(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, image):
        return self.model(self.model.normalized(image))


# --- tensors and a header -------------------------------------------------------------------------


def header_of(model) -> dict:
    return {
        "kind": "unet",
        "config": model.config,
        "normalization": {"mean": model.mean.tolist(), "std": model.std.tolist()},
        "classes": model.classes,
    }


def write_tensors(path, tensors: dict, header: dict, *, force: bool) -> None:
    """Tensors and what JSON can say, with a checksum of both."""
    path = Path(path)
    check_output(path, force=force)
    tensors = {key: x.detach().cpu().contiguous() for key, x in tensors.items()}
    text = json.dumps(header | {"form": FORM, "gpuseg": __version__}, sort_keys=True)
    metadata = {"gpuseg": text, "sha256": _digest(text, tensors)}
    content = packed(tensors, metadata)
    with whole_file(path, force=force) as file:
        file.write(content)


def read_tensors(path) -> tuple[dict, dict]:
    """The header and the tensors of a file whose checksum is right."""
    with open(path, "rb"):
        pass  # a file that is not there says so in its own words
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if "gpuseg" not in metadata:
                raise ModelError(f"{shown(path)}: is no model of gpuseg: it has no header of ours")
            header = json.loads(metadata["gpuseg"])
            form = header["form"]
            if type(form) is not int or form != FORM:
                raise ModelError(
                    f"{shown(path)}: is of form {form!r:.20}, and this version reads form {FORM}: "
                    "train it again, or use the version of gpuseg that wrote it"
                )
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        digest = _digest(metadata["gpuseg"], tensors)
    except ModelError:
        raise
    except Exception as error:  # a damaged file may raise anything
        text = " ".join(str(error).split())[:300]
        raise ModelError(f"{shown(path)}: is no model file, or is damaged: {text}") from None
    if metadata.get("sha256") != digest:
        raise ModelError(f"{shown(path)}: is damaged: its checksum is wrong")
    return header, tensors


def _digest(text: str, tensors: dict) -> str:
    digest = hashlib.sha256(text.encode())
    for key in sorted(tensors):
        x = tensors[key]
        digest.update(f"\n{key} {x.dtype} {tuple(x.shape)}\n".encode())
        digest.update(x.reshape(-1).view(torch.uint8).numpy().data if x.numel() else b"")
    return digest.hexdigest()


def _tensors(model) -> dict:
    return {key: x for key, x in model.state_dict().items() if key not in ("mean", "std")}


def _restored(path, header: dict, tensors: dict):
    def refuse(why):
        raise ModelError(f"{shown(path)}: is no model that this version can read: {why}")

    try:
        if header["kind"] != "unet":
            refuse(f"it holds a {header['kind']!r:.100}")
        config, normal = header["config"], header["normalization"]
        counts = ("in_channels", "out_channels", "base", "depth", "ndim")
        if not all(type(config[key]) is int and config[key] > 0 for key in counts):
            refuse("its configuration is not of integers above 0")
        if config["ndim"] > 3:
            refuse("ndim must be 2 or 3")
        if config["depth"] > 15 or 4 * size_of(config) > _LARGEST:
            refuse("it claims more parameters than a network has")
        held = sum(x.numel() for x in tensors.values())
        if held < size_of(config):
            refuse(f"it holds {held} numbers where its configuration needs {size_of(config)}")
        with torch.device("meta"):  # which has no memory
            plan = _tensors(UNet(**config))
        if {key: (x.shape, x.dtype) for key, x in tensors.items()} != {
            key: (x.shape, x.dtype) for key, x in plan.items()
        }:
            refuse("its tensors are not those of its configuration")
        for key, x in tensors.items():
            if x.is_floating_point() and not torch.isfinite(x).all():
                refuse(f"{key} holds NaN or infinity")
            if key.endswith("running_var") and (x < 0).any():
                refuse(f"{key} holds variances below 0")
        for name in ("mean", "std"):
            if not all(type(x) in (int, float) for x in normal[name]):
                refuse(f"{name} is not of numbers")
        model = UNet(**config, seed=0)  # not of the caller's random numbers
        if header["classes"] != model.classes:
            refuse(f"it claims {header['classes']!r:.20} classes, and has {model.classes}")
        model.set_normalization(normal["mean"], normal["std"])
        model.load_state_dict(tensors, strict=False)
    except ModelError:
        raise
    except Exception as error:  # a header can be wrong in any way
        refuse(" ".join(str(error).split())[:300])
    return model


def _check_model(model) -> None:
    if not isinstance(model, UNet):
        raise TypeError(f"model must be a UNet, got {type(model).__name__}")
    if any(not np.isfinite(x) for x in (*model.mean.tolist(), *model.std.tolist())):
        raise ValueError("model has a normalisation that is not finite")
    if not all(math.isfinite(float(p.detach().sum())) for p in model.parameters()):
        raise ValueError("model has parameters that are NaN or infinite")
