"""What lies at an address on the network: small files and zarr groups, asked for again when the network stumbles."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tiling.address import address_of
from tiling.errors import SlideError

__all__ = ["MAX_SMALL_FILE", "far_store", "fetch", "tried"]

MAX_SMALL_FILE = 64 << 20
"""Bytes of a file that is read whole at most."""

_PAUSES = (0.2, 1.0, 3.0)
"""Seconds between the tries of one request: a server that is busy or restarts is waited for, one that is gone not."""
_TIMEOUT = 60.0

T = TypeVar("T")


def far_store(path: str | Path) -> Any:
    """Return what zarr reads from at an address.

    Raises
    ------
    SlideError
        When the package that reaches it is missing, or the address cannot be that of a folder.
    """
    return _opened(path)[1]


def fetch(path: str | Path) -> bytes | None:
    """Return a small file at an address; None when there is none.

    Raises
    ------
    SlideError
        As for :func:`far_store`.
    Exception
        Whatever the library that reaches it raises when it cannot be reached.
    """
    files, _ = _opened(path)

    def ask() -> bytes | None:
        try:
            found: bytes = files.cat_file(address_of(path), start=0, end=MAX_SMALL_FILE)
        except FileNotFoundError:
            return None
        return found

    return tried(ask)


def tried(request: Callable[[], T]) -> T:
    """Do something that needs the network, several times where it must be."""
    for pause in _PAUSES:
        try:
            return request()
        # Timeouts, lost connections, 5xx: every library below has classes of its own for them.
        except Exception:  # noqa: BLE001
            time.sleep(pause)
    return request()


def _opened(path: str | Path) -> tuple[Any, Any]:
    """Return the fsspec file system of an address, which fsspec keeps, and zarr's store over it."""
    address = address_of(path)
    if "?" in address or "#" in address:
        raise SlideError(
            f"{address.split('?')[0]} is followed by '?' or '#', which the address of a folder cannot be."
        )
    try:
        import fsspec
        from zarr.storage import FsspecStore

        options: dict[str, Any] = {}
        if address.startswith("http"):
            from aiohttp import ClientTimeout

            options["client_kwargs"] = {"timeout": ClientTimeout(total=_TIMEOUT)}
        files, _ = fsspec.url_to_fs(address, **options)
        return files, FsspecStore.from_url(address, storage_options=options, read_only=True)
    except ImportError as error:
        raise SlideError(
            f"{address} needs the package {error.name or 's3fs'}; install it with: pip install "
            "'napari-wsss[remote]', and s3fs for s3://."
        ) from error
