"""TIFF files as other programs leave them: tags of wrong types, loops, cut ends."""

from __future__ import annotations

import struct
from pathlib import Path

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}


def set_tag(path: Path, code: int, kind: int, raw: bytes, *, new_code: int | None = None) -> Path:
    """Overwrite a tag of the first page of a little-endian classic TIFF with values of another type."""
    data = bytearray(path.read_bytes())
    entry = _entry(data, code)
    count = len(raw) // _SIZES[kind]
    if len(raw) <= 4:
        value = raw.ljust(4, b"\0")
    else:
        data += b"\0" * (len(data) % 2)
        value = struct.pack("<I", len(data))
        data += raw
    struct.pack_into("<HHI", data, entry, new_code or code, kind, count)
    data[entry + 8 : entry + 12] = value
    path.write_bytes(data)
    return path


def make_loop(path: Path) -> Path:
    """Let the last page of a little-endian classic TIFF be followed by its first."""
    data = bytearray(path.read_bytes())
    first = offset = struct.unpack_from("<I", data, 4)[0]
    while offset:
        tags = struct.unpack_from("<H", data, offset)[0]
        place = offset + 2 + 12 * tags
        offset = struct.unpack_from("<I", data, place)[0]
    struct.pack_into("<I", data, place, first)
    path.write_bytes(data)
    return path


def _entry(data: bytearray, code: int) -> int:
    offset = struct.unpack_from("<I", data, 4)[0]
    for i in range(struct.unpack_from("<H", data, offset)[0]):
        entry = int(offset) + 2 + 12 * i
        if struct.unpack_from("<H", data, entry)[0] == code:
            return entry
    raise KeyError(code)
