"""The steps of hysteresis segmentation: the same code, on CuPy's arrays."""

from ..._cpu.segmentation.hysteresis import _opened, _reached

__all__ = ["_opened", "_reached"]
