"""What training reads: patches cut from the labels, masks from corrections and test tiles, and what they came from."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_wsss.models import white_background
from napari_wsss.project.core import ProjectCore
from napari_wsss.project.corrections import read_corrections
from napari_wsss.project.fitting import agreed_labels
from napari_wsss.project.painted import JUDGED, Correction, painted_by, said_of, windows_of
from napari_wsss.project.tiles import TileLabel
from tiling.classes import store_to_reference
from tiling.errors import FewLabelsError, TrainingError, disk_errors_as
from tiling.files import read_json, write_json_atomic
from tiling.patch_files import PatchName, write_mask
from tiling.slides import Slide

__all__ = ["LEAST_LABELS", "PAINTED", "write_data_set"]

LEAST_LABELS = 8
"""Labelled tiles below which nothing is trained."""

PAINTED = "painted"
"""Folder of the masks that a person has painted, of some of the patches in ``train/``."""

MANIFEST = "manifest.json"


def write_data_set(project: ProjectCore) -> tuple[Path, dict[str, Any]]:
    """Cut ``data/`` anew where labels or corrections have changed.

    Returns
    -------
    Path
        ``data/`` with ``train/``, of which :data:`PAINTED` holds the exact masks where regions teach, ``val/`` from
        regions that judge, and ``test/`` from test tiles with one class.
    dict
        The manifest: equal manifests mean equal data.

    Raises
    ------
    FewLabelsError, SlideError, TrainingError
    """
    folder = project.folder / "data"
    agreed, contradictory = agreed_labels(project.labels())
    training = [label for label in agreed if not label.test]
    if len(training) < LEAST_LABELS:
        doubt = (
            f" ({len(contradictory)} more where labels contradict each other do not count)"
            if contradictory
            else ""
        )
        raise FewLabelsError(
            f"{len(training)} tiles of {project.folder} are labelled{doubt}, and training needs {LEAST_LABELS}; "
            "label more."
        )
    corrections = [c for slide_id in project.slides for c in read_corrections(project, slide_id)]
    manifest = _manifest(project, agreed, corrections)
    if _read(folder / MANIFEST) == manifest:
        return folder, manifest
    fresh = folder.with_name("data.new")
    with disk_errors_as(TrainingError, f"{folder} cannot be written", "mend it"):
        shutil.rmtree(fresh, ignore_errors=True)
        (fresh / "train").mkdir(parents=True)
        write_json_atomic(fresh / "schema.json", project.schema.to_dict())
        for slide_id in project.slides:
            here = [label for label in agreed if label.tile.slide_id == slide_id]
            painted = [c for c in corrections if c.slide_id == slide_id]
            if here or painted:
                with project.open_slide(slide_id) as slide:
                    _cut(project, slide, here, fresh)
                    _cut_painted(project, slide_id, slide, painted, fresh)
        write_json_atomic(fresh / MANIFEST, manifest)
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    return folder, manifest


def _cut(project: ProjectCore, slide: Slide, labels: Sequence[TileLabel], out: Path) -> None:
    side, mpp = project.tile, project.mpp
    classes = len(project.schema)
    for label in labels:
        tile = label.tile
        name = f"{PatchName.at(tile.slide_id, tile.x, tile.y, label.present)}.png"
        if not label.test:
            Image.fromarray(slide.read(tile.x, tile.y, side, side, mpp)).save(out / "train" / name)
        elif label.single is not None:
            pixels = slide.read(tile.x, tile.y, side, side, mpp)
            mask = np.where(white_background(pixels), classes, label.single).astype(np.uint8)
            _pair(out / "test", name, pixels, mask, project)


def _cut_painted(
    project: ProjectCore, slide_id: str, slide: Slide, painted: Sequence[Correction], out: Path
) -> None:
    """Cut the regions of a slide: patches with exact masks of what teaches, whole images of what judges."""
    side, mpp, classes = project.tile, project.mpp, len(project.schema)
    step = mpp / project.entry(slide_id).mpp
    for correction in painted:
        box = correction.box
        if correction.teaches:
            for x, y in windows_of(box, side * step):
                said = said_of(painted, x, y, (side, side), step)
                said[said == JUDGED] = 0
                if said.any():
                    name = _name(slide_id, x, y, said, classes)
                    Image.fromarray(slide.read(x, y, side, side, mpp)).save(out / "train" / name)
                    (out / PAINTED).mkdir(exist_ok=True)
                    write_mask(out / PAINTED / name, store_to_reference(said, classes), project.schema)
            continue
        height, width = (max(side, round(length / step)) for length in (box.height, box.width))
        said, _ = painted_by(correction, box.x, box.y, (height, width), step)
        for later in painted:
            if not later.teaches and later.time > correction.time:
                said[painted_by(later, box.x, box.y, (height, width), step)[1]] = 0  # no pixel judges twice
        if said.any():
            pixels = slide.read(box.x, box.y, width, height, mpp)
            name = _name(slide_id, box.x, box.y, said, classes)
            _pair(out / "val", name, pixels, store_to_reference(said, classes), project)


def _name(slide_id: str, x: float, y: float, said: NDArray[np.uint8], classes: int) -> str:
    held = tuple(bool((said == i).any()) for i in range(1, classes + 1))
    return f"{PatchName.at(slide_id, x, y, held)}.png"


def _pair(
    folder: Path, name: str, pixels: NDArray[np.uint8], mask: NDArray[np.uint8], project: ProjectCore
) -> None:
    for part in ("img", "mask"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / "img" / name)
    write_mask(folder / "mask" / name, mask, project.schema)


def _manifest(
    project: ProjectCore, labels: Sequence[TileLabel], corrections: Sequence[Correction]
) -> dict[str, Any]:
    return {
        "classes": list(project.schema.names),
        "tile": project.tile,
        "mpp": project.mpp,
        "slides": {s.slide_id: s.identity["quick_hash"] for s in project.description.slides},
        "labels": sorted(
            [label.tile.slide_id, *label.tile.place, [int(p) for p in label.present], label.test]
            for label in labels
        ),
        "corrections": [
            [c.slide_id, c.box.x, c.box.y, c.box.width, c.box.height, c.time, c.teaches] for c in corrections
        ],
    }


def _read(path: Path) -> Any:
    try:
        return read_json(path)
    except (OSError, ValueError):
        return None
