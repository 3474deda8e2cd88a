"""Figures as matplotlib objects without pyplot's global state, overlays as plain RGB arrays."""

from .figures import curve_figure, grid_figure, histogram_figure, outlines, overlay
from .figures import draw_image as draw_image  # for the package's own use
from .figures import extra as extra
from .figures import new_figure as new_figure
from .learning import (
    plot_confusion_matrix,
    plot_roc,
    plot_tree,
    show_kernel,
    show_pipeline,
    show_prediction,
)
from .networks import show_history

__all__ = [
    "curve_figure",
    "grid_figure",
    "histogram_figure",
    "outlines",
    "overlay",
    "plot_confusion_matrix",
    "plot_roc",
    "plot_tree",
    "show_history",
    "show_kernel",
    "show_pipeline",
    "show_prediction",
]
