"""Forms for functions of SciPy, in its terms."""

from __future__ import annotations

FORMS: dict[str, dict] = {}
