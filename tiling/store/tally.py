"""A count of files that notices any that is lost, changed or added, in a few bytes and whatever their order.

The tally of an array is the sum of a hash per chunk, so it grows with each chunk that is written and needs no list of
them: the journal of a slide of any height keeps one number per array. It tells accidents; it is no signature.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from tiling.store.contents import chunk_of

__all__ = ["Tally", "array_of"]

_BYTES = 16


@dataclass
class Tally:
    """The sum over some files.

    Attributes
    ----------
    total : int
        Sum of the hashes modulo 2**128; 0 for no file.
    """

    total: int = 0

    def add(self, name: str, sha256: bytes) -> None:
        """Count a file by its name in the store and the SHA-256 of its bytes."""
        digest = hashlib.blake2b(sha256, key=hashlib.sha256(name.encode()).digest(), digest_size=_BYTES)
        self.total = (self.total + int.from_bytes(digest.digest(), "little")) % (1 << 8 * _BYTES)

    def __str__(self) -> str:
        """Return the sum in the hexadecimal form that the journal keeps."""
        return f"{self.total:0{2 * _BYTES}x}"

    @staticmethod
    def read(kept: Mapping[str, str]) -> dict[str, Tally]:
        """Return the tallies that a journal keeps, by array."""
        return {array: Tally(int(total, 16)) for array, total in kept.items()}


def array_of(name: str) -> str:
    """Return the array that a content file of a store counts for; empty for metadata."""
    chunk = chunk_of(name)
    return "" if chunk is None else chunk[0]
