"""What goes wrong with files: bytes that flip, ends that are missing, JSON that lies, links and pipes in their place.

A change of bytes takes a random generator and the content; a change of a tree takes a random generator, one of its
files, and all of them. Both are the same for the same generator.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["BYTES", "LEAVES", "TREE", "Build", "Mutate", "change_leaf", "files_of"]

Build = Callable[[Path], Path]
Mutate = Callable[[random.Random, bytearray], bytearray]

LEAVES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    99.0,
    1e99,
    float("nan"),
    float("-inf"),
    10**400,
    -(10**30),
    "",
    "../..",
    "x" * 5000,
    "a\nb\x1b[31m",
    [],
    {},
    [[[[]]]],
)
"""What JSON may say in place of anything else."""


# --- bytes ---


def _flip(own: random.Random, data: bytearray) -> bytearray:
    for _ in range(own.randint(1, 8)):
        data[own.randrange(len(data))] ^= 1 << own.randrange(8)
    return data


def _flip_head(own: random.Random, data: bytearray) -> bytearray:
    for _ in range(own.randint(1, 4)):
        data[own.randrange(min(600, len(data)))] = own.randrange(256)
    return data


def _cut(own: random.Random, data: bytearray) -> bytearray:
    return data[: own.randrange(len(data))]


def _blank(own: random.Random, data: bytearray) -> bytearray:
    start = own.randrange(len(data))
    length = min(own.randrange(1, 4096), len(data) - start)
    data[start : start + length] = bytes([own.choice((0, 255))]) * length
    return data


def _repeat(own: random.Random, data: bytearray) -> bytearray:
    start = own.randrange(len(data))
    return data[:start] + data[start : start + 512] * own.randrange(2, 9) + data[start:]


def _grow(own: random.Random, data: bytearray) -> bytearray:
    return data + own.randbytes(own.randrange(1, 5000))


BYTES: dict[str, Mutate] = {
    "bits flipped": _flip,
    "head overwritten": _flip_head,
    "cut off": _cut,
    "blanked": _blank,
    "repeated": _repeat,
    "longer": _grow,
}


# --- trees ---


def files_of(folder: Path) -> list[Path]:
    """Return the files below a folder in order."""
    return sorted(p for p in folder.rglob("*") if p.is_file())


def change_leaf(own: random.Random, content: bytes) -> bytes:
    """Let one place of a JSON document say something else, or nothing."""
    data = json.loads(content)
    places: list[tuple[Any, Any]] = []
    waiting = [data]
    while waiting:
        node = waiting.pop()
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                waiting.append(node[key])
    if not places:
        return b"{}"
    node, key = own.choice(places)
    if own.random() < 0.2:
        del node[key]
    else:
        node[key] = own.choice(LEAVES)
    return json.dumps(data).encode()


def _bytes_of(mutate: Mutate) -> Callable[[random.Random, Path, list[Path]], None]:
    def change(own: random.Random, path: Path, _: list[Path]) -> None:
        path.write_bytes(bytes(mutate(own, bytearray(path.read_bytes() or b"\0"))))

    return change


def _lose(own: random.Random, path: Path, _: list[Path]) -> None:
    path.unlink()


def _swap(own: random.Random, path: Path, files: list[Path]) -> None:
    other = own.choice([f for f in files if f.suffix == path.suffix])
    one, two = path.read_bytes(), other.read_bytes()
    path.write_bytes(two)
    other.write_bytes(one)


def _noise(own: random.Random, path: Path, _: list[Path]) -> None:
    path.write_bytes(own.randbytes(own.randint(0, 300)))


def _deep(own: random.Random, path: Path, _: list[Path]) -> None:
    path.write_text(own.choice(['{"a":', "["]) * 60_000)


def _leaf(own: random.Random, path: Path, files: list[Path]) -> None:
    """Change a JSON file, whichever was drawn."""
    if path.suffix != ".json":
        path = own.choice([p for p in files if p.suffix == ".json"])
    path.write_bytes(change_leaf(own, path.read_bytes()))


def _link(own: random.Random, path: Path, files: list[Path]) -> None:
    path.unlink()
    path.symlink_to(own.choice(["/dev/zero", "/nowhere", str(path), str(own.choice(files)), "/etc/hostname"]))


def _pipe(own: random.Random, path: Path, _: list[Path]) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(own: random.Random, path: Path, _: list[Path]) -> None:
    path.unlink()
    path.mkdir()


def _add(own: random.Random, path: Path, _: list[Path]) -> None:
    name = own.choice(["0", "99", "notes.txt", "zarr.json", ".zarray", "c", os.fsdecode(b"\xe4"), "a\nb"])
    target = path.parent / name
    if not target.exists():
        target.write_bytes(path.read_bytes())


TREE: dict[str, Callable[[random.Random, Path, list[Path]], None]] = {
    "flip": _bytes_of(_flip),
    "cut": _bytes_of(_cut),
    "grow": _bytes_of(_grow),
    "lose": _lose,
    "swap": _swap,
    "noise": _noise,
    "deep": _deep,
    "leaf": _leaf,
    "link": _link,
    "pipe": _pipe,
    "folder": _folder,
    "add": _add,
}
