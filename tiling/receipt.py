"""The receipt of a store: how it was made, that it is complete, and a digest that proves it is unchanged."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator
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


def _content_files(store: Path) -> Iterator[Path]:
    """Yield every file that counts as content, in a fixed order."""
    for path in sorted(store.rglob("*"), key=lambda p: p.relative_to(store).as_posix()):
        if path.is_file() and path.relative_to(store).parts[0] not in _NOT_CONTENT:
            yield path


def content_digest(store: Path) -> str:
    """Return a SHA-256 over the names and bytes of all files of a store but its receipt and journal."""
    digest = hashlib.sha256()
    for path in _content_files(store):
        name = path.relative_to(store).as_posix().encode()
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").digest()
        digest.update(len(name).to_bytes(4, "little") + name + content)
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Return the versions that shaped a result: Python and the packages that touch pixels."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in ("napari-wsss", "numpy", "torch", "zarr", "openslide-python", "tifffile", "pillow"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
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
