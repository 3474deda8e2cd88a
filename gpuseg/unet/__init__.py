"""The U-Net, in PyTorch: train on a few pictures, predict images of any size."""

from importlib.util import find_spec

if find_spec("torch") is None:
    raise ImportError("gpuseg.unet needs PyTorch: pip install 'gpuseg[unet]'")

from .model import UNet

__all__ = [
    "UNet",
]
