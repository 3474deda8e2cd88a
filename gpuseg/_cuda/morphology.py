"""Morphology: the same code, which calls cuCIM for CuPy's arrays."""

from .._cpu.morphology import closing, dilation, erosion, opening, reconstruction, white_tophat

__all__ = ["closing", "dilation", "erosion", "opening", "reconstruction", "white_tophat"]
