"""Who calls: the libraries whose names are replaced, or their user."""

from __future__ import annotations

import functools

# The libraries' own calls of their functions stay theirs.
_LIBRARIES = ("skimage", "scipy", "sklearn", "gpuseg")


@functools.cache
def inside(module: str | None) -> bool:
    """Whether a module is a part of those libraries, or of gpuseg. Their tests are users."""
    parts = (module or "").split(".")
    return parts[0] in _LIBRARIES and "tests" not in parts
