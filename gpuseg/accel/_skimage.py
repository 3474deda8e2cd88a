"""Forms for functions of scikit-image where a namesake alone does not give its answers."""

from __future__ import annotations

FORMS: dict[str, dict] = {}
