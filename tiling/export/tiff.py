"""The label image as a pyramidal OME-TIFF: lossless, coloured, streamed tile by tile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from tiling.export.writing import export_file
from tiling.folders import LABELS_MARK
from tiling.store import Store

__all__ = ["write_tiff"]

_TILE = 512
_BIG = 2**31  # an uncompressed size from which offsets of 32 bits might not do


def write_tiff(store: Store, path: Path) -> None:
    """Write the label pyramid of a store.

    The file is an OME-TIFF with the coarser levels as SubIFDs: 8-bit palette images of store labels (0 = nothing
    here), deflate, tiles of 512 pixels, physical size in µm, class names as a map annotation.

    Parameters
    ----------
    store : Store
    path : Path
        Best named ``….ome.tif``.

    Raises
    ------
    ExportError
        When the file cannot be written.
    """
    levels: list[Any] = list(store.labels())
    height, width = levels[0].shape
    with (
        export_file(path) as raw,
        tifffile.TiffWriter(raw, bigtiff=height * width > _BIG, ome=True) as tiff,
    ):
        for number, level in enumerate(levels):
            first: dict[str, Any] = {"subifds": len(levels) - 1, "metadata": _ome(store)}
            tiff.write(
                _tiles(level),
                shape=level.shape,
                dtype=np.uint8,
                tile=(_TILE, _TILE),
                photometric="palette",
                colormap=_colormap(store),
                compression="adobe_deflate",
                resolutionunit="CENTIMETER",
                resolution=(1e4 / (store.mpp * 2**number),) * 2,
                software="napari-wsss",
                **(first if number == 0 else {"subfiletype": 1, "metadata": None}),
            )


def _tiles(level: Any) -> Iterator[NDArray[np.uint8]]:
    """Yield (≤ 512, ≤ 512) blocks in reading order; tifffile fills up those at the edges."""
    height, width = level.shape
    for y in range(0, height, _TILE):
        for x in range(0, width, _TILE):
            yield np.asarray(level[y : y + _TILE, x : x + _TILE], np.uint8)


def _colormap(store: Store) -> NDArray[np.uint16]:
    """Return the class colours as TIFF wants them, (3, 256) uint16."""
    colors = np.zeros((3, 256), np.uint16)
    palette = store.schema.palette.astype(np.uint16) * 257
    colors[:, : len(palette)] = palette.T
    return colors


def _ome(store: Store) -> dict[str, Any]:
    classes = {str(i): tissue.name for i, tissue in enumerate(store.schema.classes, start=1)}
    return {
        "axes": "YX",
        "Name": f"{store.name} tissue",
        "PhysicalSizeX": store.mpp,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": store.mpp,
        "PhysicalSizeYUnit": "µm",
        "Description": f"{LABELS_MARK}. Research use only, not for diagnosis.",
        "MapAnnotation": {"Namespace": "napari-wsss/classes", "0": "nothing here", **classes},
    }
