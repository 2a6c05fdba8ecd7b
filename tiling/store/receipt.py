"""The receipt of a store: how it was made, that it is complete, and a digest that proves it is unchanged."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from tiling.errors import StoreError
from tiling.files import read_json, write_json_atomic

__all__ = [
    "FORMAT_VERSION",
    "RECEIPT",
    "Verification",
    "content_digest",
    "read_receipt",
    "verify",
    "versions",
    "write_receipt",
]

RECEIPT = "receipt.json"
FORMAT_VERSION = 1

_NOT_CONTENT = {RECEIPT, "journal"}


def _content_names(store: Path) -> list[str]:
    """Return the names of all files that count as content, relative to the store, in a fixed order."""
    names: list[str] = []
    folders = [""]
    while folders:
        prefix = folders.pop()
        with os.scandir(store / prefix) as entries:
            for entry in entries:
                name = prefix + entry.name
                if name in _NOT_CONTENT:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(name + "/")
                elif entry.is_file():
                    names.append(name)
    return sorted(names)


def content_digest(store: Path) -> str:
    """Return a SHA-256 over the names and bytes of all files of a store but its receipt and journal."""
    digest = hashlib.sha256()
    for name in _content_names(store):
        with (store / name).open("rb", buffering=0) as file:
            content = hashlib.file_digest(file, "sha256").digest()
        encoded = name.encode()
        digest.update(len(encoded).to_bytes(4, "little") + encoded + content)
    return digest.hexdigest()


@functools.cache
def _package_version(package: str) -> str | None:
    """Return the version of an installed package; the same for all slides of a batch."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str]:
    """Return the versions that shaped a result: Python and the packages that touch pixels."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in ("napari-wsss", "numpy", "torch", "zarr", "openslide-python", "tifffile", "pillow"):
        if version := _package_version(package):
            found[package] = version
    return found


def read_receipt(store: Path) -> dict[str, Any] | None:
    """Return the receipt of a store, or None when the store is not complete.

    Raises
    ------
    StoreError
        When the receipt is damaged or from a newer version.
    """
    path = store / RECEIPT
    if not path.exists():
        return None
    try:
        receipt = read_json(path)
        version = receipt["format_version"]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise StoreError(f"{path} is damaged ({error}); run the slide again with --restart.") from error
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise StoreError(f"{path} has format version {version}; update napari-wsss to read it.")
    return dict(receipt)


def write_receipt(store: Path, receipt: dict[str, Any]) -> None:
    """Write the receipt: the last act of a run."""
    write_json_atomic(store / RECEIPT, {"format_version": FORMAT_VERSION, **receipt})


@dataclass(frozen=True)
class Verification:
    """The outcome of checking one store.

    Attributes
    ----------
    store : Path
    ok : bool
        Complete and equal to its receipt.
    problem : str
        What is wrong, one sentence; empty when ``ok``.
    """

    store: Path
    ok: bool
    problem: str = ""


def verify(store: Path) -> Verification:
    """Check that a store is complete and equals its receipt; reads every byte of it.

    Parameters
    ----------
    store : Path
        A ``<slide_id>.zarr`` folder.
    """
    if not store.is_dir():
        return Verification(store, ok=False, problem=f"{store} does not exist or is not a folder.")
    try:
        receipt = read_receipt(store)
    except StoreError as error:
        return Verification(store, ok=False, problem=str(error))
    if receipt is None:
        return Verification(
            store,
            ok=False,
            problem=f"{store} has no receipt: the run did not finish; run it again to resume.",
        )
    if content_digest(store) != receipt.get("content_digest"):
        return Verification(
            store,
            ok=False,
            problem=f"{store} differs from its receipt: files were changed, lost or added; "
            "run the slide again with --restart.",
        )
    return Verification(store, ok=True)
