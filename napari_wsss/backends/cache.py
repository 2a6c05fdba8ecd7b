"""Where converted networks and measured agreements are kept, by what they follow from: the user's own cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Cache", "key_of", "user_cache"]

_DIGESTS = "digests.json"
_OUTSIDE = ("*\n", "Signature: 8a477f597d28d172789f06886806bc55\n# Made by napari-wsss; may be deleted.\n")


def key_of(facts: Mapping[str, Any]) -> str:
    """Return the name under which something that follows from JSON-ready ``facts`` is kept, 24 hex digits."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


def user_cache() -> Cache:
    """Return the cache of the person who runs the program.

    Never a folder of the bundle: what lies beside weights travels with them, and would be believed in their place.
    """
    try:
        root = _user_folder() / "napari-wsss"
        root.mkdir(parents=True, exist_ok=True)
        # Neither version control nor backups want it.
        for name, text in zip((".gitignore", "CACHEDIR.TAG"), _OUTSIDE, strict=True):
            if not (root / name).exists():
                (root / name).write_text(text, encoding="utf-8")
    except (OSError, RuntimeError):  # the latter: a user without a home, as in a container
        return Cache(None)
    return Cache(root if os.access(root, os.W_OK) else None)


@dataclass(frozen=True)
class Cache:
    """Folders and small facts by key. Everything in it can be made again, so nothing here ever raises OSError.

    Attributes
    ----------
    root : Path or None
        None: nowhere is writable and nothing is kept.
    """

    root: Path | None

    def folder(self, key: str) -> Path | None:
        """Return the folder kept under ``key``; None when there is none or a file of it is damaged (it is removed)."""
        if self.root is None or not (found := self.root / key).is_dir():
            return None
        try:
            digests = json.loads((found / _DIGESTS).read_text(encoding="utf-8"))
            if {name: _digest(found / name) for name in digests} == digests and digests:
                return found
        except (OSError, ValueError, TypeError):
            pass  # Damaged in another way; the answer is the same.
        self.remove(key)
        return None

    def add_folder(self, key: str, fill: Callable[[Path], None]) -> Path | None:
        """Make a folder and keep it under ``key``.

        Parameters
        ----------
        key : str
        fill : callable
            Writes files into an empty folder.

        Returns
        -------
        Path or None
            None when it could not be written (read-only, disk full).
        """
        if self.root is None:
            return None
        partial = self.root / f"{key}.{uuid.uuid4().hex[:8]}.partial"
        try:
            partial.mkdir()
            fill(partial)
            digests = {path.name: _digest(path) for path in sorted(partial.iterdir())}
            (partial / _DIGESTS).write_text(json.dumps(digests), encoding="utf-8")
            # Atomic. Another process may have been faster: its folder is as good as ours.
            with contextlib.suppress(OSError):
                partial.rename(self.root / key)
        except OSError:
            return None
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return self.folder(key)

    def remove(self, key: str) -> None:
        """Forget a folder."""
        if self.root is not None:
            shutil.rmtree(self.root / key, ignore_errors=True)

    def fact(self, key: str) -> dict[str, Any] | None:
        """Return the small facts kept under ``key``, None when there are none or they are damaged."""
        if self.root is None:
            return None
        try:
            found = json.loads((self.root / f"{key}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def add_fact(self, key: str, fact: Mapping[str, Any]) -> None:
        """Keep small JSON-ready facts under ``key``."""
        if self.root is None:
            return
        partial = self.root / f"{key}.{uuid.uuid4().hex[:8]}.partial"
        with contextlib.suppress(OSError):
            partial.write_text(json.dumps(fact), encoding="utf-8")
            partial.replace(self.root / f"{key}.json")


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _user_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
