"""Segmentation."""

from .hysteresis import hysteresis

__all__ = ["hysteresis"]
