"""Addresses on the network in the place of paths: told apart, and put together again after a path took them apart."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["address_of", "is_address"]

_ADDRESS = re.compile(r"^(https?|s3):[\\/]+", re.I)


def is_address(path: str | Path) -> bool:
    """Say whether a path is an address (http, https, s3) rather than a place on this machine."""
    return _ADDRESS.match(str(path)) is not None


def address_of(path: str | Path) -> str:
    """Return the address that a path was made from: paths write ``https:/host/a`` for ``https://host/a``."""
    text = _ADDRESS.sub(lambda found: f"{found[1].lower()}://", str(path))
    return text.replace("\\", "/").rstrip("/")
