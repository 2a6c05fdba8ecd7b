"""OME-Zarr images, versions 0.1 to 0.4 (zarr v2) and 0.5 (zarr v3), as slides."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from tiling.codecs import refuse_unknown_codecs
from tiling.errors import SlideError
from tiling.files import unreadable
from tiling.folders import RUN
from tiling.geometry import Box
from tiling.slides.channels import colours_of
from tiling.slides.level import MAX_SIDE, Level, LevelReader
from tiling.slides.ngff_image import axis_names, channels_of, dataset_paths, scale_statements
from tiling.slides.ome_xml import OmePicture, ome_pictures
from tiling.slides.pictures import Picture, left_out, main_picture
from tiling.slides.readers.brightfield import (
    GREY_WARNING,
    grey_to_rgb,
    on_white,
    refuse_bits,
    refuse_channels,
    refuse_planes,
)
from tiling.slides.readers.segments import MAX_SEGMENT_BYTES, SegmentReader
from tiling.slides.readers.zarr_place import ZarrPlace, zarr_place
from tiling.slides.resolution import exact_downsample, is_plausible
from tiling.slides.statements import Statement

__all__ = ["OmeZarrReader", "open_reader"]


def open_reader(path: Path) -> LevelReader | None:
    """Open an OME-Zarr image in a folder or behind an address; None when the path is no zarr group.

    Raises
    ------
    SlideError
        When the group is one of our result stores or label images, no OME image, damaged, or holds pixels that the
        models do not understand.
    """
    place = zarr_place(path)
    if place is None:
        return None
    if place.read(RUN) is not None or place.read("receipt.json") is not None:
        raise SlideError(
            f"{path} is a result, not a slide; open it in napari as a store, or name the slide it was made from."
        )
    try:
        return _opened(place)
    except (SlideError, PermissionError):
        raise
    # Hand-written metadata goes wrong in every way a dictionary can, and zarr raises what its parsing does.
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:200] or type(error).__name__
        damaged = f"{path} is a damaged OME-Zarr image ({reason}); export it again."
        raise unreadable(path, error, damaged) from error


@dataclass(frozen=True)
class _Image:
    """One multiscale image inside the path that the user named."""

    place: ZarrPlace
    ome: Mapping[str, Any]
    described: OmePicture | None = None

    @property
    def multiscale(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.ome["multiscales"][0]
        return found

    def statements(self, downsamples: Sequence[float] = ()) -> tuple[Statement, ...]:
        """Return what the scales say, and the OME-XML beside them."""
        said = scale_statements(self.multiscale, downsamples)
        if self.described is not None and (
            self.described.statement.numbers or self.described.statement.problem
        ):
            return (*said, self.described.statement)
        return said


class OmeZarrReader(SegmentReader):
    """A :class:`tiling.slides.LevelReader` over one multiscale image of an OME-Zarr group.

    Axes may come in any order; time and depth must be single, channels three (RGB), four (RGB and opacity) or one
    (grey), all uint8.
    """

    format = "ome-zarr"

    def __init__(self, image: _Image, note: str = "") -> None:
        path = self.path = image.place.path
        self._place = image.place
        group = image.place.group()
        self.vendor = "ome"
        self._axes = axis_names(image.multiscale)
        self._arrays: list[zarr.Array[Any]] = []
        levels: list[Level] = []
        downsamples: list[float] = []
        paths = dataset_paths(image.multiscale)
        for name in paths:
            array = _array(image.place, group, name)
            self._check(array)
            size = (self._extent(array, "x"), self._extent(array, "y"))
            if levels and (size[0] > levels[-1].width or size[1] > levels[-1].height):
                raise ValueError("its levels do not go from large to small")
            downsample = exact_downsample((levels[0].width, levels[0].height), size) if levels else 1.0
            downsamples.append(downsample or 1.0)
            if downsample is None:
                continue
            levels.append(Level(*size, downsample, (self._chunk(array, "x"), self._chunk(array, "y"))))
            self._arrays.append(array)
        super().__init__(path, tuple(levels))
        self.bounds = Box(0, 0, levels[0].width, levels[0].height)
        count = self._extent(self._arrays[0], "c")
        self._colours, doubt = colours_of(channels_of(image.ome), count)
        if self._colours == "stains":
            raise refuse_channels(path, count)
        notes = (GREY_WARNING if self._colours == "grey" else "", doubt, note)
        self.warnings = tuple(text for text in notes if text)
        self.statements = image.statements(downsamples)
        self.files = image.place.local_files(paths)
        self.fingerprint = image.place.fingerprint(paths)
        if image.place.is_far:
            self.read_from_afar()

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
        place = tuple(spans.get(axis, 0) for axis in self._axes)
        part = self._place.tried(lambda: np.asarray(self._arrays[level][place]))
        order = [axis for axis in self._axes if axis in spans]
        if "c" not in order:
            order.append("c")
            part = part[..., None]
        pixels = part.transpose([order.index(axis) for axis in "yxc"])
        if self._colours == "grey":
            return grey_to_rgb(pixels)
        if self._colours == "rgba":
            pixels = on_white(pixels[..., :3], pixels[..., 3])
        return np.ascontiguousarray(pixels)

    def _extent(self, array: zarr.Array[Any], axis: str) -> int:
        return int(array.shape[self._axes.index(axis)]) if axis in self._axes else 1

    def _chunk(self, array: zarr.Array[Any], axis: str) -> int:
        # Shards hold chunks that can be read alone: the chunk is the piece.
        return int(array.chunks[self._axes.index(axis)])

    def _check(self, array: zarr.Array[Any]) -> None:
        """Refuse what the models do not understand, and what would run code or fill the memory."""
        refuse_unknown_codecs(self.path, array, SlideError, "export it again with blosc, gzip or zstd")
        if array.ndim != len(self._axes):
            raise ValueError(f"{len(self._axes)} axes but {array.ndim} dimensions")
        if 0 in array.shape or 0 in array.chunks:
            raise ValueError("an empty array")
        if array.dtype != np.uint8:
            raise refuse_bits(self.path, array.dtype)
        planes = [self._extent(array, axis) for axis in self._axes if axis not in "xyc"]
        if any(n > 1 for n in planes):
            raise refuse_planes(self.path, math.prod(planes))
        if max(array.shape) > MAX_SIDE:
            raise ValueError(f"a side of {max(array.shape)} px, more than the {MAX_SIDE} that are read")
        if math.prod(array.chunks) * 3 > MAX_SEGMENT_BYTES:
            raise SlideError(
                f"{self.path} has chunks of {' × '.join(map(str, array.chunks))}, more than the "
                f"{MAX_SEGMENT_BYTES >> 20} MB that are decoded at once; export it again in smaller chunks."
            )


def _opened(place: ZarrPlace) -> OmeZarrReader:
    """Open the image that is the slide."""
    ome, path = _ome(place), place.path
    if "image-label" in ome:
        raise SlideError(f"{path} is a label image, not a slide; name the slide's own image.")
    if "plate" in ome or "well" in ome:
        raise SlideError(f"{path} is a plate of many images, not a slide; name the image inside it.")
    if "multiscales" in ome:
        several = len(ome["multiscales"]) - 1
        note = f"Only the first image is read; the group also holds {several} more." if several else ""
        return OmeZarrReader(_Image(place, ome), note)
    images = _series(place)
    if not images:
        raise SlideError(f"{path} is a zarr group without an OME-Zarr image; name the image inside it.")
    pictures = [_picture(image) for image in images]
    chosen = main_picture(pictures)
    return OmeZarrReader(images[chosen], left_out(pictures, chosen))


def _series(place: ZarrPlace) -> list[_Image]:
    """Return the images of a bioformats2raw group: one folder each, named in ``OME``, else numbered."""
    beside = _ome(place.at("OME")) if place.at("OME").is_group() else {}
    names = [str(name) for name in beside.get("series") or place.numbered()]
    if any(".." in name.replace("\\", "/").split("/") or name.startswith(("/", "\\")) for name in names):
        raise ValueError("a series leads out of the group")
    xml = place.at("OME").read("METADATA.ome.xml")
    described = () if xml is None else ome_pictures(xml.decode("utf-8", "replace"))
    images = []
    for index, name in enumerate(names):
        ome = _ome(place.at(name))
        if "multiscales" in ome:
            known = described[index] if len(described) == len(names) else None
            images.append(_Image(place.at(name), ome, known))
    return images


def _picture(image: _Image) -> Picture:
    """Return what choosing needs to know of one image."""
    axes, paths = axis_names(image.multiscale), dataset_paths(image.multiscale)
    array = _array(image.place, image.place.group(), paths[0])
    name = str(image.multiscale.get("name") or "")
    if image.described is not None and image.described.name:
        name = image.described.name
    width, height = int(array.shape[axes.index("x")]), int(array.shape[axes.index("y")])
    has_mpp = any(is_plausible(statement) for statement in image.statements())
    return Picture(name, width, height, levels=len(paths), has_mpp=has_mpp)


def _array(place: ZarrPlace, group: zarr.Group, name: str) -> zarr.Array[Any]:
    found = place.tried(lambda: group[name])
    if not isinstance(found, zarr.Array):
        raise TypeError(f"{name} is no array")
    return found


def _ome(place: ZarrPlace) -> Mapping[str, Any]:
    """Return the OME description of a group: under ``ome`` since version 0.5, else among the attributes."""
    attributes: dict[str, Any] = dict(place.group().attrs)
    ome = attributes.get("ome", attributes)
    if not isinstance(ome, Mapping):
        raise TypeError(f"its OME description is {json.dumps(ome)[:40]}")
    return ome
