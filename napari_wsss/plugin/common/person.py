"""Who sits at the machine: the name under which the docks write labels and corrections, and the home folder."""

from __future__ import annotations

import getpass
from pathlib import Path

__all__ = ["home", "person"]


def person() -> str:
    """Return the user's name; empty where there is none, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return ""


def home() -> Path:
    """Return the user's home folder; the current one where there is none, as in some containers."""
    try:
        return Path.home()
    except RuntimeError:
        return Path.cwd()
