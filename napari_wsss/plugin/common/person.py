"""Who sits at the machine: the name under which the docks write labels and corrections."""

from __future__ import annotations

import getpass

__all__ = ["person"]


def person() -> str:
    """Return the user's name; empty where there is none, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return ""
