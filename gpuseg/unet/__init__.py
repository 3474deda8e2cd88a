"""The U-Net, in PyTorch: train on a few pictures, predict images of any size."""

from importlib.util import find_spec

if find_spec("torch") is None or find_spec("safetensors") is None:
    raise ImportError("gpuseg.unet needs PyTorch: pip install 'gpuseg[unet]'")

from ._augment import Augmentation
from .files import export_onnx, load, save
from .model import UNet
from .predict import predict, predict_proba
from .train import RECIPES, train

__all__ = [
    "RECIPES",
    "Augmentation",
    "UNet",
    "export_onnx",
    "load",
    "predict",
    "predict_proba",
    "save",
    "train",
]
