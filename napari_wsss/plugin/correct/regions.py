"""Painted regions on disk: a palette mask and a line of JSON each, beside the result that they correct.

The same files as in a project's ``corrections/<slide_id>/``: ``<x>_<y>.png`` holds the classes in the reference's
indexing, ``<x>_<y>.json`` says where it lies, at what scale, who painted it and when.
"""

from __future__ import annotations

import datetime
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_wsss.project import correction_name
from tiling.classes import ClassSchema, reference_to_store, store_to_reference
from tiling.errors import DataError, disk_errors_as
from tiling.files import read_json, write_json_atomic
from tiling.geometry import Box
from tiling.patch_files import write_mask
from tiling.store import Store

__all__ = ["Region", "corrections_folder", "read_regions", "remove_regions", "write_region"]


@dataclass(frozen=True)
class Region:
    """A painted region of a result.

    Attributes
    ----------
    box : Box
        In pixels of the result's finest level.
    labels : (h, w) uint8
        Store labels.
    reader, time : str
        Who painted it, and when (ISO 8601).
    project : str
        Folder of the project in which it was kept, too; empty: none.
    """

    box: Box
    labels: NDArray[np.uint8]
    reader: str = ""
    time: str = ""
    project: str = ""


def corrections_folder(store: Path) -> Path:
    """Return the folder beside a store in which its corrections lie."""
    return store.with_name(f"{store.name.removesuffix('.zarr')}.corrections")


def write_region(folder: Path, store: Store, region: Region) -> Path:
    """Write a region; the JSON comes last, so that a region without it is not there.

    Raises
    ------
    DataError
        When it cannot be written.
    """
    x, y = store.grid.level0(region.box.x, region.box.y)
    place = [x, y, region.box.width * store.scale, region.box.height * store.scale]
    name = correction_name(folder, f"{round(x)}_{round(y)}", place)
    time = region.time or datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
    indices = store_to_reference(region.labels, len(store.schema))
    box = region.box
    description = {
        "slide_id": store.name,
        "box": place,
        "pixels": [box.x, box.y, box.width, box.height],
        "mpp": store.mpp,
        "classes": list(store.schema.names),
        "reader": region.reader,
        "time": time,
        "project": region.project,
    }
    with disk_errors_as(DataError, f"{folder / name}.png cannot be written", "mend it"):
        folder.mkdir(parents=True, exist_ok=True)
        write_mask(folder / f"{name}.png", indices, store.schema)
        write_json_atomic(folder / f"{name}.json", description)
    return folder / f"{name}.png"


def read_regions(folder: Path, schema: ClassSchema) -> list[Region]:
    """Return the regions in a folder in the order in which they were painted; none when there is no folder.

    Raises
    ------
    DataError
        When one is damaged or has other classes.
    """
    found = []
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        try:
            about = read_json(path)
            box = Box(*(int(v) for v in about["pixels"]))
            with Image.open(path.with_suffix(".png")) as image:
                indices = np.asarray(image)
            if about["classes"] != list(schema.names):
                raise ValueError("it has other classes")
            if indices.shape != (box.height, box.width):
                raise ValueError("its picture has another size")
        except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{path} is no correction of this result ({error}); move it away.") from error
        labels = reference_to_store(indices.astype(np.uint8), len(schema))
        said = (str(about.get(key, "")) for key in ("reader", "time", "project"))
        found.append(Region(box, labels, *said))
    return sorted(found, key=lambda region: region.time)


def remove_regions(folder: Path) -> None:
    """Remove all regions.

    Raises
    ------
    DataError
        When they cannot be removed.
    """
    with disk_errors_as(DataError, f"{folder} cannot be removed", "mend it"):
        if folder.is_dir():
            shutil.rmtree(folder)
