"""Result stores that are damaged or lie, finished and unfinished, and what a program may make of them.

A mutant is a name and a function that writes it into a folder and returns what to open; `outcome` opens it.
"""

from __future__ import annotations

import functools
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from wsss_toys import ColourPredictor, colourful

from tiling.engine import BlockWritten, run
from tiling.errors import WsssError
from tiling.export.table import write_areas, write_tiles
from tiling.plan import RunOptions
from tiling.slides import ArrayReader, Slide
from tiling.store import open_store, verify

__all__ = ["mutants", "outcome"]

Build = Callable[[Path], Path]

PICTURE = colourful(330, 100)
OPTIONS = RunOptions(mpp=0.5, tissue=None, batch_size=8, probabilities=True)
_LEAVES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    99.0,
    1e99,
    float("nan"),
    10**400,
    -(10**30),
    "",
    "../..",
    "x" * 5000,
    [],
    {},
)


def go(out: Path, rows: int | None = None) -> None:
    """Run on; stop after so many rows."""
    with Slide(ArrayReader(PICTURE, mpp=0.5)) as slide:
        events = run(slide, ColourPredictor(32), out, OPTIONS)
        blocks = 0
        for event in events:
            blocks += isinstance(event, BlockWritten)
            if rows is not None and blocks == rows:
                break
        events.close()


@functools.cache
def originals() -> dict[str, Path]:
    """Make the intact stores, once; they go with the process."""
    folder = tempfile.TemporaryDirectory(prefix="wsss-fuzz-")
    _KEPT.append(folder)
    made = {}
    for name, rows in (("finished", None), ("unfinished", 9)):
        made[name] = Path(folder.name) / name / "a.zarr"
        go(made[name], rows)
    return made


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


def mutants(seed: int) -> Iterator[tuple[str, Build]]:
    """Yield mutants without end; two runs with the same seed yield the same ones."""
    chance = random.Random(seed)
    number = 0
    while True:
        state = chance.choice(["finished", "unfinished"])
        how = chance.choice(list(_WAYS))
        yield f"{number:05} {state} {how}", functools.partial(_build, f"{seed} {number}", state, how)
        number += 1


def _build(seed: str, state: str, how: str, folder: Path) -> Path:
    store = Path(shutil.copytree(originals()[state], folder / "a.zarr"))
    own = random.Random(seed)
    files = sorted(p for p in store.rglob("*") if p.is_file())
    if how == "leaf":
        files = [p for p in files if p.suffix == ".json"]
    _WAYS[how](own, own.choice(files), files)
    return store


def outcome(store: Path) -> str:
    """Open, verify, export and resume a mutant.

    Returns
    -------
    str
        ``read``, ``refused``, or what is wrong; an error that is not ours escapes.
    """
    untouched = _tree(store) == _tree(originals()["finished"])
    checked = verify(store)
    if checked.ok and not untouched:
        return "wrong: verified although it was changed"
    if "\n" in checked.problem:
        return f"said {checked.problem}"
    try:
        opened = open_store(store)
        opened.tiles()
        _ = opened.labels(), opened.overview, opened.areas, opened.class_images("probabilities")
        write_areas(opened, store.with_name("areas.csv"))
        write_tiles(opened, store.with_name("tiles.csv"))
    except WsssError as error:
        if "\n" in str(error):
            return f"said {error}"
    try:
        go(store)
    except WsssError as error:
        return "refused" if "\n" not in str(error) else f"said {error}"
    if not verify(store).ok:
        return "wrong: a run ended, and its store does not verify"
    labels = zarr.open_array(store / "labels" / "tissue" / "0", mode="r")[...]
    return "read" if np.array_equal(labels, PICTURE.argmax(-1) + 1) else "wrong: other labels"


def _tree(store: Path) -> dict[str, object]:
    """Return what is in a store; of JSON files what they say, not how."""
    found: dict[str, object] = {}
    for path in sorted(store.rglob("*")):
        name = path.relative_to(store).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            found[name] = "odd"
        elif path.is_file():
            content = path.read_bytes()
            try:
                found[name] = json.loads(content) if name == "receipt.json" else content
            except (ValueError, RecursionError):
                found[name] = content
    return found


# --- ways ---


def _flip(own: random.Random, path: Path, _: list[Path]) -> None:
    data = bytearray(path.read_bytes())
    for _number in range(own.randint(1, 6)):
        data[own.randrange(len(data))] ^= 1 << own.randrange(8)
    path.write_bytes(data)


def _cut(own: random.Random, path: Path, _: list[Path]) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: own.randrange(len(data))])


def _grow(own: random.Random, path: Path, _: list[Path]) -> None:
    path.write_bytes(path.read_bytes() + own.randbytes(own.randint(1, 40)))


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


def _leaf(own: random.Random, path: Path, _: list[Path]) -> None:
    data = json.loads(path.read_bytes())
    places: list[tuple[Any, Any]] = []
    waiting = [data]
    while waiting:
        node = waiting.pop()
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                waiting.append(node[key])
    node, key = own.choice(places)
    if own.random() < 0.2:
        del node[key]
    else:
        node[key] = own.choice(_LEAVES)
    path.write_text(json.dumps(data))


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


_WAYS: dict[str, Callable[[random.Random, Path, list[Path]], None]] = {
    "flip": _flip,
    "cut": _cut,
    "grow": _grow,
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
