"""Filters and thresholds."""

from .hysteresis import apply_hysteresis_threshold, flood_masks

__all__ = [
    "apply_hysteresis_threshold",
    "flood_masks",
]
