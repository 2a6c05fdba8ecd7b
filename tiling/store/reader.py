"""The result store of one slide: an OME-Zarr 0.5 image whose label pyramid is the segmentation. Reading side.

Layout (``docs/formats.md``)::

    <slide_id>.zarr/
      0, 1, …                     carrier image: RGB overview of the scanned area, (c, y, x) uint8
      labels/tissue/0, 1, …       store labels, (y, x) uint8, as many levels as the carrier
      probabilities/<ABBR>/0, 1…  blended class probability × 255, when asked for
      cams/<ABBR>/0, 1…           stage-1 CAM × 255 at a coarser scale, when asked for
      tiles/                      one entry per tile: x, y, flags, presence, shares, confidence
      run.json                    what the run was asked to do
      journal/                    only while the run is not finished
      receipt.json                written last
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from tiling.address import is_address
from tiling.classes import ClassSchema
from tiling.errors import DataError, StoreDamagedError, StoreError
from tiling.far import far_store, tried
from tiling.folders import RUN
from tiling.grid import TileGrid
from tiling.store import ngff
from tiling.store.contents import RECEIPT, Kind, entries, telling_damage
from tiling.store.layout import TILE_COLUMNS, read_run
from tiling.store.receipt import read_receipt
from tiling.untrusted import printable

__all__ = ["Store", "open_store"]


class Store:
    """A result store, open for reading: a folder, or the address of one.

    Attributes
    ----------
    path : Path
    run : dict
        What the run was asked to do (``run.json``).
    name : str
        The slide id.
    schema : ClassSchema
    grid : TileGrid
    mpp : float
        µm per label pixel.
    slide_mpp : float
        µm per level-0 pixel of the slide.
    cam_factor : float
        Label pixels per CAM pixel; 1 when no CAMs were kept.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        run = read_run(self.path)
        if run is None:
            raise StoreError(
                f"{self.path} is not a result store of napari-wsss; give a <slide_id>.zarr folder."
            )
        try:
            self.run: dict[str, Any] = run
            self.name = str(run["name"])
            self.schema = ClassSchema.from_dict(run["schema"])
            grid = run["grid"]
            self.grid = TileGrid(**{**grid, "origin": tuple(grid["origin"])})
            self.mpp = float(run["mpp"])
            self.slide_mpp = float(run["resolution"]["mpp"])
            self.cam_factor = self.grid.tile / int(run.get("cam_tile") or self.grid.tile)
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, DataError) as error:
            raise StoreDamagedError(
                f"{self.path / RUN} is damaged ({error!r}); run again with --restart."
            ) from error
        self._root: zarr.Group | None = None

    @property
    def root(self) -> zarr.Group:
        """The zarr group.

        Raises
        ------
        StoreError
            When the store was deleted or never finished being created.
        """
        if self._root is None and is_address(self.path):
            with telling_damage(self.path):
                store = far_store(self.path)
                self._root = tried(lambda: zarr.open_group(store, mode="r", use_consolidated=False))
        elif self._root is None:
            with telling_damage(self.path):
                for name, kind in entries(self.path, chunks=False):
                    if kind is Kind.SPECIAL:  # zarr would read it
                        raise StoreDamagedError(
                            f"{self.path} holds {printable(name)}, which is no ordinary file; take it out."
                        )
                self._root = zarr.open_group(self.path, mode="r")
        return self._root

    @property
    def origin(self) -> tuple[int, int]:
        """Level-0 x, y of the corner of label pixel (0, 0)."""
        return self.grid.origin

    @property
    def scale(self) -> float:
        """Level-0 pixels per label pixel."""
        return self.grid.scale

    @property
    def translation(self) -> tuple[float, float]:
        """µm (y, x) of the centre of label pixel (0, 0), where the centre of level-0 pixel (0, 0) is at 0, 0."""
        return ngff.label_translation(self.origin, self.slide_mpp, self.mpp)

    def labels(self, name: str = "tissue") -> list[zarr.Array[Any]]:
        """Return the label pyramid, finest first, (y, x) uint8."""
        return self._pyramid(f"labels/{name}")

    @property
    def overview(self) -> list[zarr.Array[Any]]:
        """The carrier image, finest first, (3, y, x) uint8."""
        return self._pyramid("")

    def class_images(self, kind: str) -> dict[str, list[zarr.Array[Any]]]:
        """Return pyramids per class name; ``kind`` is ``"probabilities"`` or ``"cams"``; empty when not kept."""
        with telling_damage(self.path):
            if kind not in self.root:
                return {}
        return {c.name: self._pyramid(f"{kind}/{c.abbreviation}") for c in self.schema.classes}

    def tiles(self) -> dict[str, NDArray[Any]]:
        """Return the tile table: x, y, flags, confidence (N,), presence and shares (N, C)."""
        count, classes = self.grid.rows * self.grid.columns, len(self.schema)
        shapes = dict.fromkeys(("x", "y", *TILE_COLUMNS), (count,))
        tables: dict[str, NDArray[Any]] = {}
        with telling_damage(self.path):
            for name, shape in {**shapes, "presence": (count, classes), "shares": (count, classes)}.items():
                array = self.root[f"tiles/{name}"]
                if not isinstance(array, zarr.Array) or array.shape != shape:
                    where = self.path / "tiles" / name
                    raise StoreDamagedError(
                        f"{where} is no table of {count} tiles; run the slide again with --restart."
                    )
                tables[name] = np.asarray(array[...])
        return tables

    @property
    def receipt(self) -> dict[str, Any] | None:
        """The receipt, or None while the store is incomplete."""
        return read_receipt(self.path)

    @property
    def is_complete(self) -> bool:
        """Whether a receipt is there; ``tiling.store.receipt.verify`` checks that it is true."""
        return self.receipt is not None if is_address(self.path) else (self.path / RECEIPT).exists()

    @property
    def areas(self) -> dict[str, float]:
        """Class name → mm²; empty while the store is incomplete."""
        receipt = self.receipt
        return {} if receipt is None else dict(receipt["areas_mm2"])

    def _pyramid(self, name: str) -> list[zarr.Array[Any]]:
        prefix = f"{name}/" if name else ""
        levels: list[zarr.Array[Any]] = []
        with telling_damage(self.path):
            while f"{prefix}{len(levels)}" in self.root:
                array = self.root[f"{prefix}{len(levels)}"]
                assert isinstance(array, zarr.Array)
                levels.append(array)
        if not levels:
            raise StoreError(
                f"{self.path} holds no {name or 'overview'}; run the slide again with --restart."
            )
        return levels


def open_store(path: str | Path) -> Store:
    """Open a result store for reading.

    Raises
    ------
    StoreError
        When the folder is not a store of ours or is damaged.
    """
    return Store(path)
