"""A corrected result: a store of its own beside the original, made from it and the painted regions, at any time anew.

Everything that reads a store (legend, exports, comparison, reports) works on it as on any other, and the original
stays what its receipt says. It is built aside and put in place whole, so a kill leaves the former one or the new one.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from napari_wsss.plugin.correct.regions import Region
from tiling.errors import StoreError, disk_errors_as
from tiling.files import read_json, write_json_atomic
from tiling.geometry import Box
from tiling.store import Store, areas_mm2, content_digest, halve_labels, open_store, write_receipt

__all__ = ["build_corrected", "corrected_path", "original_path", "remove_corrected", "repaint"]

SUFFIX = "-corrected"
KEY = "corrected"
"""Key in ``run.json`` and in the receipt of a corrected store."""


def corrected_path(store: Path) -> Path:
    """Return where the corrected store of an original lies; a corrected one is its own."""
    stem = store.name.removesuffix(".zarr")
    return store if stem.endswith(SUFFIX) else store.with_name(f"{stem}{SUFFIX}.zarr")


def original_path(store: Path) -> Path:
    """Return the original of a corrected store; an original is its own."""
    stem = store.name.removesuffix(".zarr")
    return store.with_name(f"{stem.removesuffix(SUFFIX)}.zarr")


def build_corrected(original: Store, regions: Sequence[Region]) -> Store:
    """Make the corrected store of an original, in place of a former one.

    Parameters
    ----------
    original : Store
        Complete.
    regions : sequence of Region
        In the order in which they were painted: where they overlap, the last counts.

    Raises
    ------
    StoreError
        When the original is not complete, or the store cannot be written.
    """
    receipt = original.receipt
    if receipt is None:
        raise StoreError(f"{original.path} is not complete: let the run finish, then correct it.")
    path = corrected_path(original.path)
    aside, former = path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.old")
    try:
        for leftover in (aside, former):
            shutil.rmtree(leftover, ignore_errors=True)
        shutil.copytree(original.path, aside, copy_function=_link)
        levels = _own_levels(aside)
        counts = np.array(receipt["counters"]["pixels_per_label"], np.int64)
        for region in regions:
            box = region.box
            before = np.asarray(levels[0][box.y : box.bottom, box.x : box.right])
            counts += _counted(region.labels, len(counts)) - _counted(before, len(counts))
            repaint(levels, box, region.labels)
        _describe(aside, original, receipt, counts, len(regions))
        if path.exists():
            path.rename(former)
        aside.rename(path)
        shutil.rmtree(former, ignore_errors=True)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise StoreError(
            f"{path} cannot be written: {error.strerror or error}; mend it and save again."
        ) from error
    return open_store(path)


def remove_corrected(original: Path) -> None:
    """Remove the corrected store of an original, when there is one.

    Raises
    ------
    StoreError
        When it cannot be removed.
    """
    path = corrected_path(original)
    with disk_errors_as(StoreError, f"{path} cannot be removed", "mend it"):
        if path != original and path.exists():
            shutil.rmtree(path)


def repaint(levels: Sequence[Any], box: Box, labels: NDArray[np.uint8]) -> None:
    """Write labels into the finest level of a pyramid and make what depends on them in all others anew.

    Parameters
    ----------
    levels : sequence of (h, w) uint8 arrays
        Finest first, each half of the one before; changed in place.
    box : Box
        Pixels of the finest level.
    labels : (h, w) uint8
    """
    levels[0][box.y : box.bottom, box.x : box.right] = labels
    top, bottom, left, right = box.y, box.bottom, box.x, box.right
    for finer, coarser in itertools.pairwise(levels):
        top, left = top // 2, left // 2
        bottom, right = -(-bottom // 2), -(-right // 2)
        coarser[top:bottom, left:right] = halve_labels(
            np.asarray(finer[2 * top : 2 * bottom, 2 * left : 2 * right])
        )


def _own_levels(store: Path) -> list[Any]:
    """Return the label levels for writing, after giving the store files of its own in place of links."""
    folder = store / "labels" / "tissue"
    for path in folder.rglob("*"):
        if path.is_file():
            _unlink(path)
    group = zarr.open_group(folder, mode="r+")
    levels: list[Any] = []
    while str(len(levels)) in group:
        levels.append(group[str(len(levels))])
    return levels


def _describe(
    store: Path, original: Store, receipt: dict[str, Any], counts: NDArray[np.int64], regions: int
) -> None:
    """Write what the corrected store says about itself; the receipt last."""
    areas = areas_mm2(original.schema, counts.tolist(), original.mpp)
    label_file = store / "labels" / "tissue" / "zarr.json"
    metadata = read_json(label_file)
    for entry in metadata["attributes"]["ome"]["image-label"]["properties"]:
        if entry["class"] in areas:
            entry["area_mm2"] = areas[entry["class"]]
    write_json_atomic(label_file, metadata)
    about = {"original": original.path.name, "regions": regions}
    run_file = store / "run.json"
    run = read_json(run_file)
    write_json_atomic(run_file, {**run, KEY: about})
    (store / "receipt.json").unlink()
    kept = {key: value for key, value in receipt.items() if key != "format_version"}
    write_receipt(
        store,
        {
            **kept,
            "counters": {**receipt["counters"], "pixels_per_label": counts.tolist()},
            "areas_mm2": areas,
            KEY: about,
            "content_digest": content_digest(store),
        },
    )


def _counted(labels: NDArray[np.uint8], length: int) -> NDArray[np.int64]:
    return np.bincount(labels.ravel(), minlength=length)[:length].astype(np.int64)


def _link(source: str, target: str) -> str:
    """Share a file's bytes where the disk can do that: most of a store does not change."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def _unlink(path: Path) -> None:
    copy = path.with_name(f"{path.name}.own")
    shutil.copyfile(path, copy)
    copy.replace(path)
