"""Edges: the same code, which calls cuCIM for CuPy's arrays."""

from ..._cpu.filters.edges import laplace, prewitt, scharr, sobel

__all__ = ["laplace", "prewitt", "scharr", "sobel"]
