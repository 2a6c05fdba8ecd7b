"""Result stores that are damaged or lie, finished and unfinished, and what a program may make of them.

A mutant is a name and a function that writes it into a folder and returns what to open; `outcome` opens it.
"""

from __future__ import annotations

import functools
import itertools
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import zarr
from wsss_mutations import TREE, Build, files_of
from wsss_toys import ColourPredictor, colourful

from tiling.engine import BlockWritten, run
from tiling.errors import WsssError
from tiling.export.table import write_areas, write_tiles
from tiling.plan import RunOptions
from tiling.slides import ArrayReader, Slide
from tiling.store import open_store, verify

__all__ = ["mutants", "outcome", "prepare"]

PICTURE = colourful(330, 100)
OPTIONS = RunOptions(mpp=0.5, tissue=None, batch_size=8, probabilities=True)


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


def prepare(intact: Path) -> None:
    """Make the intact stores."""
    for name, rows in (("finished", None), ("unfinished", 9)):
        go(intact / name / "a.zarr", rows)


def mutants(seed: int, intact: Path) -> Iterator[tuple[str, Build]]:
    """Yield mutants without end; two runs with the same seed yield the same ones."""
    chance = random.Random(seed)
    for number in itertools.count():
        state = chance.choice(["finished", "unfinished"])
        how = chance.choice(list(TREE))
        store = intact / state / "a.zarr"
        yield f"{number:05} {state} {how}", functools.partial(_build, f"{seed} {number}", store, how)


def _build(seed: str, intact: Path, how: str, folder: Path) -> Path:
    store = Path(shutil.copytree(intact, folder / "a.zarr"))
    own = random.Random(seed)
    files = files_of(store)
    TREE[how](own, own.choice(files), files)
    return store


def outcome(store: Path, intact: Path) -> str:
    """Open, verify, export and resume a mutant.

    Returns
    -------
    str
        ``read``, ``refused``, or what is wrong; an error that is not ours escapes.
    """
    untouched = _tree(store) == _tree(intact / "finished" / "a.zarr")
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
