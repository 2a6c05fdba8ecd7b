"""OME-Zarr images, versions 0.4 (zarr v2) and 0.5 (zarr v3), as slides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from tiling.errors import SlideError
from tiling.folders import is_store
from tiling.geometry import Box
from tiling.slides.level import Level, LevelReader
from tiling.slides.readers.brightfield import (
    GREY_WARNING,
    grey_to_rgb,
    refuse_bits,
    refuse_channels,
    refuse_planes,
)
from tiling.slides.readers.segments import MAX_SEGMENT_BYTES, SegmentReader
from tiling.slides.resolution import ResolutionMetadata, exact_downsample

__all__ = ["OmeZarrReader", "open_reader"]

_METADATA = ("zarr.json", ".zgroup", ".zattrs")
_MICROMETRES = {
    "micrometer": 1.0, "micron": 1.0, "um": 1.0, "µm": 1.0,
    "nanometer": 1e-3, "nm": 1e-3, "millimeter": 1e3, "mm": 1e3,
    "centimeter": 1e4, "meter": 1e6, "angstrom": 1e-4, "picometer": 1e-6,
}  # fmt: skip


def open_reader(path: Path) -> LevelReader | None:
    """Open an OME-Zarr image; None when the path is no zarr group.

    Raises
    ------
    SlideError
        When the group is one of our result stores or label images, no OME image, damaged, or holds pixels that the
        models do not understand.
    """
    if not path.is_dir() or not any((path / name).is_file() for name in _METADATA):
        return None
    if is_store(path) or (path / "receipt.json").is_file():
        raise SlideError(
            f"{path} is a result, not a slide; open it in napari as a store, or name the slide it was made from."
        )
    try:
        ome, folder = _ome(zarr.open_group(path, mode="r")), path
        if "bioformats2raw.layout" in ome and "multiscales" not in ome:
            # That converter puts the first picture, the scan, into a group of its own.
            folder = path / "0"
            ome = _ome(zarr.open_group(folder, mode="r"))
        if "image-label" in ome:
            raise SlideError(f"{path} is a label image, not a slide; name the slide's own image.")
        if "multiscales" not in ome:
            raise SlideError(f"{path} is a zarr group without an OME-Zarr image; name the image inside it.")
        return OmeZarrReader(path, folder, ome)
    except SlideError:
        raise
    # Hand-written metadata goes wrong in every way a dictionary can.
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OSError) as error:
        raise SlideError(f"{path} is a damaged OME-Zarr image ({error!r}); export it again.") from error


class OmeZarrReader(SegmentReader):
    """A :class:`tiling.slides.level.LevelReader` over the first multiscale image of an OME-Zarr group.

    Axes may come in any order; time and depth must be single, channels three (RGB) or one (grey), all uint8.
    """

    format = "ome-zarr"

    def __init__(self, path: Path, folder: Path, ome: Mapping[str, Any]) -> None:
        super().__init__(path)
        group = zarr.open_group(folder, mode="r")
        image: Mapping[str, Any] = ome["multiscales"][0]
        self.vendor = "ome"
        _check_rgb(path, ome)
        self._axes = _axis_names(image)
        self._arrays: list[zarr.Array[Any]] = []
        scales = [_scale(image, dataset, self._axes) for dataset in image["datasets"]]
        levels: list[Level] = []
        for dataset in image["datasets"]:
            array = group[dataset["path"]]
            if not isinstance(array, zarr.Array):
                raise TypeError(f"{dataset['path']} is no array")
            self._check(array)
            size = (self._extent(array, "x"), self._extent(array, "y"))
            downsample = exact_downsample((levels[0].width, levels[0].height), size) if levels else 1.0
            if downsample is None:
                continue
            tile = (self._chunk(array, "x"), self._chunk(array, "y"))
            if tile[0] * tile[1] * 3 > MAX_SEGMENT_BYTES:
                raise SlideError(
                    f"{path} has chunks of {tile[0]} × {tile[1]} px, more than the {MAX_SEGMENT_BYTES >> 20} MB "
                    "that are decoded at once; export it again in smaller chunks."
                )
            levels.append(Level(*size, downsample, tile))
            self._arrays.append(array)
        self.levels = tuple(levels)
        self.bounds = Box(0, 0, levels[0].width, levels[0].height)
        if self._extent(self._arrays[0], "c") == 1:
            self.warnings = (GREY_WARNING,)
        self.metadata = _resolution(image, scales[0], self._axes)
        inside = [folder, *(folder / str(dataset["path"]) for dataset in image["datasets"])]
        names = [place / name for place in inside for name in (*_METADATA, ".zarray")]
        self.files = tuple(name for name in names if name.is_file())

    def decode(self, level: int, column: int, row: int) -> NDArray[np.uint8]:
        """Return one chunk as (h, w, 3) uint8; see :class:`SegmentReader`."""
        info = self.levels[level]
        assert info.tile is not None
        x, y = column * info.tile[0], row * info.tile[1]
        spans = {
            "x": slice(x, min(x + info.tile[0], info.width)),
            "y": slice(y, min(y + info.tile[1], info.height)),
            "c": slice(None),
        }
        part = np.asarray(self._arrays[level][tuple(spans.get(axis, 0) for axis in self._axes)])
        order = [axis for axis in self._axes if axis in spans]
        if "c" not in order:
            order.append("c")
            part = part[..., None]
        pixels = part.transpose([order.index(axis) for axis in "yxc"])
        return grey_to_rgb(pixels) if pixels.shape[2] == 1 else np.ascontiguousarray(pixels)

    def _extent(self, array: zarr.Array[Any], axis: str) -> int:
        return int(array.shape[self._axes.index(axis)]) if axis in self._axes else 1

    def _chunk(self, array: zarr.Array[Any], axis: str) -> int:
        # Shards hold chunks that can be read alone: the chunk is the piece.
        return int(array.chunks[self._axes.index(axis)])

    def _check(self, array: zarr.Array[Any]) -> None:
        """Refuse what the models do not understand."""
        if array.ndim != len(self._axes):
            raise ValueError(f"{len(self._axes)} axes but {array.ndim} dimensions")
        if 0 in array.shape:
            raise ValueError("an empty array")
        if array.dtype != np.uint8:
            raise refuse_bits(self.path, array.dtype)
        planes = [self._extent(array, axis) for axis in self._axes if axis not in "xyc"]
        if any(n > 1 for n in planes):
            raise refuse_planes(self.path, int(np.prod(planes)))
        if self._extent(array, "c") not in (1, 3):
            raise refuse_channels(self.path, self._extent(array, "c"))


def _ome(group: zarr.Group) -> Mapping[str, Any]:
    """Return the OME description of a group: under ``ome`` since version 0.5, else among the attributes."""
    attributes: dict[str, Any] = dict(group.attrs)
    ome = attributes.get("ome", attributes)
    if not isinstance(ome, Mapping):
        raise TypeError("its OME description is no mapping")
    return ome


def _check_rgb(path: Path, ome: Mapping[str, Any]) -> None:
    """Refuse three channels that are displayed in other colours than red, green and blue: stains, not RGB."""
    channels = (ome.get("omero") or {}).get("channels") or []
    colours = [str(channel.get("color", "")).upper().lstrip("#")[:6] for channel in channels]
    if len(colours) == 3 and all(colours) and colours != ["FF0000", "00FF00", "0000FF"]:
        raise refuse_channels(path, 3)


def _axis_names(image: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the axes in storage order; those of version 0.3 and older are fixed."""
    axes = image.get("axes", ["t", "c", "z", "y", "x"])
    names = tuple(str(axis["name"] if isinstance(axis, Mapping) else axis).lower() for axis in axes)
    if len(set(names)) != len(names) or not {"x", "y"} <= set(names):
        raise ValueError(f"axes {names}")
    return names


def _scale(image: Mapping[str, Any], dataset: Mapping[str, Any], axes: Sequence[str]) -> list[float]:
    """Return the scale of a level along every axis: its own times the image's."""
    scale = np.ones(len(axes))
    for owner in (dataset, image):
        for transform in owner.get("coordinateTransformations", ()):
            if transform.get("type") == "scale":
                scale = scale * np.asarray(transform["scale"], float)
    return [float(s) for s in scale]


def _resolution(image: Mapping[str, Any], scale: Sequence[float], axes: Sequence[str]) -> ResolutionMetadata:
    """Return µm per pixel; nothing when the axes have no unit of length."""
    values: dict[str, float | None] = {}
    for axis in image.get("axes", ()):
        name = axis.get("name") if isinstance(axis, Mapping) else None
        if name in ("x", "y"):
            unit = _MICROMETRES.get(str(axis.get("unit", "")).lower())
            values[name] = None if unit is None else scale[list(axes).index(name)] * unit
    return ResolutionMetadata(values.get("x"), values.get("y"), "OME-Zarr scale")
