"""Painted regions: what a person corrected, as a palette mask and where it lies."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_wsss.project.core import ProjectCore
from napari_wsss.project.painted import Correction, teaches_next
from tiling.classes import reference_to_store, store_to_reference
from tiling.errors import LabelError, disk_errors_as
from tiling.files import read_json, write_json_atomic
from tiling.geometry import Box
from tiling.patch_files import write_mask

__all__ = ["correction_name", "read_corrections", "remove_correction", "write_correction"]


def write_correction(
    project: ProjectCore, slide_id: str, box: Box, mask: NDArray[np.uint8], reader: str, mpp: float | None
) -> Path:
    """Write ``corrections/<slide_id>/x_y.png`` and its JSON; see :meth:`napari_wsss.project.Project.correct`."""
    project.require_writable()
    entry = project.entry(slide_id)
    labels = np.asarray(mask)
    if labels.ndim != 2 or labels.dtype != np.uint8 or not labels.size:
        raise LabelError(f"A correction is a (height, width) uint8 mask, not {labels.shape} {labels.dtype}.")
    if labels.max() > len(project.schema):
        raise LabelError(
            f"The correction holds label {labels.max()}; the project has 0 to {len(project.schema)}."
        )
    if box.is_empty or box.intersection(entry.bounds) != box:
        raise LabelError(
            f"The region {box.x},{box.y},{box.width},{box.height} does not lie on the slide {slide_id}."
        )
    scale = box.width / labels.shape[1] * entry.mpp if mpp is None else mpp
    expected = box.height / labels.shape[0] * entry.mpp if mpp is None else mpp
    if abs(scale - expected) > 0.02 * expected:
        raise LabelError(
            f"The correction's mask of {labels.shape[1]} × {labels.shape[0]} pixels has another shape than its region "
            f"of {box.width} × {box.height}."
        )
    folder = project.folder / "corrections" / slide_id
    place = [box.x, box.y, box.width, box.height]
    path = folder / f"{correction_name(folder, f'{box.x}_{box.y}', place)}.png"
    about = {
        "box": place,
        "mpp": scale,
        "classes": len(project.schema),
        "reader": reader,
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        "teaches": teaches_next(_roles(project), slide_id, box),
    }
    with disk_errors_as(LabelError, f"{path} cannot be written", "mend it and try again"):
        folder.mkdir(parents=True, exist_ok=True)
        write_mask(path, store_to_reference(labels, len(project.schema)), project.schema)
        # Last: a mask without its JSON was interrupted and does not count.
        write_json_atomic(path.with_suffix(".json"), about)
    return path


def correction_name(folder: Path, stem: str, box: Sequence[float]) -> str:
    """Return the name under which a region is kept: that of the same box, which it replaces, or one that is free."""
    for path in sorted(folder.glob(f"{stem}*.json")):
        if _box_of(path) == list(box):
            return path.stem
    names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    return next(name for name in names if not (folder / f"{name}.json").exists())


def _roles(project: ProjectCore) -> Iterator[tuple[str, Box, bool]]:
    """Yield slide, box and role of the regions; one that is damaged has none."""
    for path in sorted((project.folder / "corrections").glob("*/*.json")):
        try:
            about = read_json(path)
            yield path.parent.name, Box(*(int(v) for v in about["box"])), bool(about.get("teaches", True))
        except (OSError, ValueError, KeyError, TypeError):
            continue


def _box_of(path: Path) -> object:
    """Return the box of a region; None where the file is damaged."""
    try:
        return read_json(path)["box"]
    except (OSError, KeyError, TypeError, ValueError):
        return None


def remove_correction(project: ProjectCore, slide_id: str, box: Box) -> bool:
    """Remove a painted region; see :meth:`napari_wsss.project.Project.take_correction_back`."""
    project.require_writable()
    folder = project.folder / "corrections" / slide_id
    place = [box.x, box.y, box.width, box.height]
    path = folder / f"{correction_name(folder, f'{box.x}_{box.y}', place)}.json"
    with disk_errors_as(LabelError, f"{path} cannot be removed", "mend it"):
        if not path.is_file():
            return False
        path.unlink()  # first: a mask without its JSON does not count
        path.with_suffix(".png").unlink(missing_ok=True)
    return True


def read_corrections(project: ProjectCore, slide_id: str) -> Iterator[Correction]:
    """Yield the painted regions of a slide.

    Raises
    ------
    LabelError
        When one is damaged; the message names the file.
    """
    for path in sorted((project.folder / "corrections" / slide_id).glob("*.json")):
        try:
            about = read_json(path)
            with Image.open(path.with_suffix(".png")) as image:
                mask = np.asarray(image).astype(np.uint8)
            # Beyond the classes of its time, a mask says nothing: today that number may be a class.
            known = int(about.get("classes", len(project.schema)))
            yield Correction(
                slide_id,
                Box(*(int(v) for v in about["box"])),
                float(about["mpp"]),
                str(about["reader"]),
                str(about["time"]),
                reference_to_store(mask, known),
                bool(about.get("teaches", True)),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LabelError(f"{path} is damaged ({error}); paint the region again or remove it.") from error
