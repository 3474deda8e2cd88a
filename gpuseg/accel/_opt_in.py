"""``GPUSEG_ACCEL=1`` in the environment: a file in site-packages that `gpuseg accel enable` writes.

Python runs the lines of ``.pth`` files there when it starts. Nothing else writes it: to install
gpuseg changes no other program.
"""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

VARIABLE = "GPUSEG_ACCEL"
NAME = "gpuseg_accel.pth"
# One line, and it asks before it imports; an uninstalled gpuseg must not stop Python.
LINE = (
    f'import os; os.environ.get("{VARIABLE}") == "1" and exec("try:\\n import gpuseg.accel\\n'
    'except ImportError:\\n pass\\nelse:\\n gpuseg.accel.install()")\n'
)


def path() -> Path:
    return Path(sysconfig.get_path("purelib")) / NAME


def enable() -> Path:
    """Write the file: from now on the variable counts in this environment."""
    path().write_text(LINE)
    return path()


def disable() -> bool:
    """Take the file away; whether there was one."""
    there = path().exists()
    path().unlink(missing_ok=True)
    return there


def status() -> dict[str, str]:
    value = os.environ.get(VARIABLE)
    return {
        "enabled": "yes" if path().exists() else "no",
        "file": str(path()),
        VARIABLE: "not set" if value is None else value,
    }
