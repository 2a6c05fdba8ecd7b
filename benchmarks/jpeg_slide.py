"""A large JPEG slide for benchmarks, as OpenSlide reads SVS: written in seconds, with nothing but Pillow."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from tiling.synthetic import SyntheticSlide

__all__ = ["write_jpeg_slide"]

MPP = 0.5


def write_jpeg_slide(path: Path, side: int) -> None:
    """Write painted tissue, ``side`` px square at 0.5 µm, as OpenSlide reads SVS; quick, and without imagecodecs.

    A square of 2048 px is encoded once and its tiles are written again and again: the file is as large as any other.
    """
    square = SyntheticSlide(4096, 4096, mpp=MPP, seed=7).render(600, 600, 2048, 2048)
    with path.open("wb") as file:
        file.write(struct.pack("<2sHI", b"II", 42, 0))
        link = 4  # where the offset of the next level's directory goes
        for factor in (1, 4, 16):
            n = 2048 // factor
            pixels = square.reshape(n, factor, n, factor, 3).mean((1, 3)).astype(np.uint8)
            tiles = encoded(np.tile(pixels, (-(-256 // n),) * 2 + (1,)))
            width = side // factor
            across = -(-width // 256)
            places = [(y % len(tiles), x % len(tiles)) for y in range(across) for x in range(across)]
            lengths = [len(tiles[y][x]) for y, x in places]
            starts = file.tell() + np.cumsum([0, *lengths[:-1]])
            file.writelines(tiles[y][x] for y, x in places)
            file.write(b"\0" * (file.tell() % 2))
            link = write_directory(file, link, width, lengths, starts.tolist(), MPP * factor)


def encoded(pixels: np.ndarray) -> list[list[bytes]]:
    """Return the tiles of a square picture as JPEG, row by row."""

    def jpeg(y: int, x: int) -> bytes:
        file = io.BytesIO()
        part = np.ascontiguousarray(pixels[y : y + 256, x : x + 256])
        Image.fromarray(part).save(file, "jpeg", quality=85, subsampling=2)
        return file.getvalue()

    return [[jpeg(y, x) for x in range(0, len(pixels), 256)] for y in range(0, len(pixels), 256)]


def write_directory(
    file: BinaryIO, link: int, width: int, lengths: list[int], starts: list[int], mpp: float
) -> int:
    """Write the tags of a level and let ``link`` point to them; return where the next level is linked."""
    tags: list[tuple[int, str, list[int]]] = [
        (254, "I", [int(link != 4)]),
        (256, "I", [width]),
        (257, "I", [width]),
        (258, "H", [8, 8, 8]),
        (259, "H", [7]),  # JPEG
        (262, "H", [6]),  # YCbCr
        (270, "s", list(f"Aperio Image Library, painted|MPP = {MPP}\0".encode())),
        (277, "H", [3]),
        (282, "R", [round(1e4 / mpp * 1000), 1000]),
        (283, "R", [round(1e4 / mpp * 1000), 1000]),
        (296, "H", [3]),  # per centimetre
        (322, "I", [256]),
        (323, "I", [256]),
        (324, "I", starts),
        (325, "I", lengths),
        (530, "H", [2, 2]),
    ]
    codes = {"s": 2, "H": 3, "I": 4, "R": 5}
    letters = {"s": "B", "R": "I"}
    entries = []
    for number, code, values in tags:
        raw = struct.pack(f"<{len(values)}{letters.get(code, code)}", *values)
        count = len(values) // 2 if code == "R" else len(values)
        if len(raw) > 4:
            raw, place = struct.pack("<I", file.tell()), file.write(raw)
            file.write(b"\0" * (place % 2))
        entries.append(struct.pack("<HHI4s", number, codes[code], count, raw))
    here = file.tell()
    file.write(struct.pack("<H", len(entries)) + b"".join(entries))
    after = file.tell()
    file.write(struct.pack("<I", 0))
    file.seek(link)
    file.write(struct.pack("<I", here))
    file.seek(0, 2)
    return after
