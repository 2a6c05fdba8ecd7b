"""Projects that are damaged or lie: what was labelled comes out of one, or a sentence."""

from __future__ import annotations

import functools
import itertools
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from wsss_mutations import TREE, Build, files_of

from napari_wsss.project import new_project, open_project
from tiling.errors import WsssError
from tiling.synthetic import SYNTHETIC_SCHEMA, SyntheticSlide, write_slide

__all__ = ["mutants", "outcome", "prepare"]

SLIDE = SyntheticSlide(width=512, height=448, mpp=0.5, seed=8, region_um=80)


def prepare(intact: Path) -> None:
    """Begin a project with one slide, prepare it and label a few tiles."""
    write_slide(intact / "small.tif", SLIDE, compression="zlib")
    with new_project(
        intact / "a.wsss", SYNTHETIC_SCHEMA, tile=64, mpp=0.5, encoder="synthetic-demo"
    ) as project:
        project.add(intact / "small.tif", case="P1")
        for _ in project.prepare(backend="torch", device="cpu"):
            pass
        names = project.schema.names
        for i in range(8):
            project.label("small", 32 + 64 * (i % 7), 32 + 64 * (i % 5), [names[i % len(names)]], reader="KL")


def mutants(seed: int, intact: Path) -> Iterator[tuple[str, Build]]:
    """Yield mutants without end; two runs with the same seed yield the same ones."""
    chance = random.Random(seed)
    for number in itertools.count():
        how = chance.choice([*TREE, *["leaf"] * 4])
        where = chance.choice(["labels", "features", "", ""])
        yield (
            f"{number:05} {where or 'any'} {how}",
            functools.partial(_build, f"{seed} {number}", intact, where, how),
        )


def _build(seed: str, intact: Path, where: str, how: str, folder: Path) -> Path:
    project = Path(shutil.copytree(intact / "a.wsss", folder / "a.wsss"))
    own = random.Random(seed)
    files = files_of(project)
    some = [p for p in files if where in p.relative_to(project).parts[0]]
    TREE[how](own, own.choice(some or files), files)
    return project


def outcome(folder: Path, intact: Path) -> str:
    """Open a project, read its labels and fit its head; an error that is not ours escapes."""
    same = _same(folder / "labels", intact / "a.wsss" / "labels")
    try:
        with open_project(folder) as project:
            labels = [label for slide in project.slides for label in project.labels(slide)]
            if same and project.slides == ("small",) and len(labels) != 8:
                return f"wrong: {len(labels)} of 8 labels"
            _ = project.models(), [project.prepared(slide) for slide in project.slides]
            head = project.fit()
            for slide in project.slides:
                if head.map(slide).labels.max() > len(project.schema.names):
                    return "wrong: a label without a class"
                if np.isinf(head.uncertainty(slide).values).any():
                    return "wrong: a map that holds no numbers"
    except WsssError as error:
        return "refused" if "\n" not in str(error) else f"said {error}"
    return "read"


def _same(one: Path, two: Path) -> bool:
    """Whether two folders hold the same files."""
    found = [{p.relative_to(f): p.read_bytes() for p in files_of(f)} for f in (one, two)]
    return found[0] == found[1]
