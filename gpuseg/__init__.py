"""gpuseg: segmentation of scientific images, on the GPU or the CPU, with the same call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._backend import BackendError, asarray, asnumpy, device_info, set_device, trace, using

if TYPE_CHECKING:
    from . import (
        estimators,
        features,
        filters,
        measure,
        metrics,
        morphology,
        pixels,
        plot,
        report,
        segmentation,
        unet,
        verification,
        volume,
    )
    from ._calibration import explain
    from .verification import verify

__version__ = "0.1.0"

_MODULES = ("estimators", "features", "filters", "measure", "metrics", "morphology", "pixels",
            "plot", "report", "segmentation", "unet", "verification", "volume")  # fmt: skip

__all__ = [
    "BackendError",
    "asarray",
    "asnumpy",
    "device_info",
    "explain",
    "set_device",
    "trace",
    "using",
    "verify",
    *_MODULES,
    "estimators",
    "features",
    "filters",
    "measure",
    "metrics",
    "morphology",
    "pixels",
    "plot",
    "report",
    "segmentation",
    "unet",
    "verification",
    "volume",
]


def __getattr__(name: str):
    if name in _MODULES:
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    if name == "verify":
        from .verification import verify

        return verify
    if name == "explain":
        from ._calibration import explain

        return explain
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES, "explain", "verify"])
