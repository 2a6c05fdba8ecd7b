"""Where an OME-Zarr lies, a folder or an address on the network: its groups, its small files, its fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import zarr

from tiling.address import address_of, is_address
from tiling.errors import SlideError
from tiling.far import MAX_SMALL_FILE, far_store, fetch, tried

__all__ = ["METADATA", "ZarrPlace", "zarr_place"]

METADATA = ("zarr.json", ".zgroup", ".zattrs")
_ARRAY = ".zarray"
_MOST_SERIES = 1000

T = TypeVar("T")


@dataclass(frozen=True)
class ZarrPlace:
    """A zarr group in a folder or behind an address.

    Attributes
    ----------
    path : Path
        What the user named.
    root : Path or str
        The same as something to open: a folder, or an address.
    store : Any
        What zarr reads from.
    inside : str
        The group's path inside the root; empty for the root.
    """

    path: Path
    root: Path | str
    store: Any
    inside: str = ""

    @property
    def is_far(self) -> bool:
        """Whether it lies behind an address."""
        return isinstance(self.root, str)

    def at(self, name: str) -> ZarrPlace:
        """Return a place inside this one."""
        return replace(self, inside=f"{self.inside}/{name}".strip("/"))

    def group(self) -> zarr.Group:
        """Open the group; its own metadata are read, never a consolidated copy that may say something else."""
        return self.tried(
            lambda: zarr.open_group(self.store, path=self.inside, mode="r", use_consolidated=False)
        )

    def read(self, name: str) -> bytes | None:
        """Return a small file; None when it is missing or too large to be one."""
        if isinstance(self.root, Path):
            file = self.root / self.inside / name
            return file.read_bytes() if file.is_file() and file.stat().st_size <= MAX_SMALL_FILE else None
        return fetch("/".join(part for part in (self.root, self.inside, name) if part))

    def is_group(self) -> bool:
        """Say whether zarr metadata stand here."""
        return any(self.read(name) is not None for name in METADATA)

    def numbered(self) -> list[str]:
        """Return the names of the groups 0, 1, 2 … inside."""
        if isinstance(self.root, Path):
            return sorted(
                (p.name for p in (self.root / self.inside).iterdir() if p.name.isdecimal()), key=int
            )
        found: list[str] = []
        while len(found) < _MOST_SERIES and self.at(str(len(found))).is_group():
            found.append(str(len(found)))
        return found

    def local_files(self, arrays: Sequence[str]) -> tuple[Path, ...]:
        """Return the metadata files of this group and its arrays; none behind an address."""
        if not isinstance(self.root, Path):
            return ()
        here = self.root / self.inside
        names = [
            place / name for place in (here, *(here / a for a in arrays)) for name in (*METADATA, _ARRAY)
        ]
        return tuple(name for name in names if name.is_file())

    def fingerprint(self, arrays: Sequence[str]) -> str:
        """Return a SHA-256 over the address and the metadata behind it; empty for a folder, which has files."""
        if isinstance(self.root, Path):
            return ""
        digest = hashlib.sha256(f"{self.root}/{self.inside}".encode())
        for place in (self, *(self.at(name) for name in arrays)):
            for name in (*METADATA, _ARRAY):
                digest.update(place.read(name) or b"\0")
        return digest.hexdigest()

    def tried(self, request: Callable[[], T]) -> T:
        """Do something that may need the network, several times where it does."""
        return tried(request) if self.is_far else request()


def zarr_place(path: Path) -> ZarrPlace | None:
    """Return the place of a zarr group; None when there is none.

    Raises
    ------
    SlideError
        When an address cannot be reached, or the package that reaches it is missing.
    """
    if not is_address(path):
        place = ZarrPlace(path, path, path)
        return place if path.is_dir() and place.is_group() else None
    address = address_of(path)
    place = ZarrPlace(path, address, far_store(address))
    try:
        found = place.is_group()
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:200] or type(error).__name__
        raise SlideError(
            f"{address} cannot be reached ({reason}); check the address and the network."
        ) from error
    if not found:
        raise SlideError(
            f"{address} is no OME-Zarr image, and only those are read over a network; download the slide first."
        )
    return place
