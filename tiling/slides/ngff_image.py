"""What the metadata of an OME-Zarr image says: axes, resolution, channels. Pure: mappings in, frozen facts out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tiling.slides.channels import Channel
from tiling.slides.statements import Statement, length_statement

__all__ = ["axis_names", "channels_of", "dataset_paths", "scale_statements"]


def axis_names(image: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the axes in storage order; those of version 0.3 and older are fixed.

    Raises
    ------
    ValueError
        When x or y is missing or a name comes twice.
    """
    axes = image.get("axes", ["t", "c", "z", "y", "x"])
    names = tuple(str(axis["name"] if isinstance(axis, Mapping) else axis).lower() for axis in axes)
    if len(set(names)) != len(names) or not {"x", "y"} <= set(names):
        raise ValueError(f"axes {names}")
    return names


def dataset_paths(image: Mapping[str, Any]) -> tuple[str, ...]:
    """Return where the levels stand inside the group, finest first.

    Raises
    ------
    ValueError
        When there is none, or one leads out of the group.
    """
    paths = tuple(str(dataset["path"]) for dataset in image["datasets"])
    if not paths:
        raise ValueError("no levels")
    for path in paths:
        if path.startswith(("/", "\\")) or ".." in path.replace("\\", "/").split("/") or ":" in path:
            raise ValueError(f"the level {path!r} leads out of the image")
    return paths


def scale_statements(image: Mapping[str, Any], downsamples: Sequence[float] = ()) -> tuple[Statement, ...]:
    """Return what the scales say of the finest level: its own, and those of other levels that say something else.

    Parameters
    ----------
    image : mapping
    downsamples : sequence of float
        Of each level, as their sizes tell. A level that repeats the scale of the first says nothing of itself: some
        programs write one scale everywhere.
    """
    first = _statement(image, 0)
    if first is None or not first.numbers:
        return () if first is None else (first,)
    found = [first]
    for index, downsample in enumerate(downsamples):
        said = _statement(image, index)
        if said is None or said.numbers in ((), first.numbers):
            continue
        x, y = (None if value is None else value / downsample for value in (said.mpp_x, said.mpp_y))
        if not all(
            abs(a - b) <= 0.03 * abs(b)
            for a, b in zip((x or 0, y or 0), (first.mpp_x or 0, first.mpp_y or 0), strict=True)
        ):
            found.append(Statement(x, y, f"{first.source}, level {index}"))
    return tuple(found)


def _statement(image: Mapping[str, Any], level: int) -> Statement | None:
    """Return what the scale of a level says of its own pixels; None when nothing is said of lengths."""
    names = axis_names(image)
    axes = image.get("axes", ())
    units = {
        str(axis.get("name")).lower(): str(axis.get("unit") or "")
        for axis in axes
        if isinstance(axis, Mapping)
    }
    scale = _scale(image, image["datasets"][level], len(names))
    x, y = scale[names.index("x")], scale[names.index("y")]
    unit_x, unit_y = units.get("x", ""), units.get("y", "")
    if not unit_x and not unit_y:
        if x == y == 1.0:
            return None
        return Statement(None, None, "OME-Zarr scale", problem="its axes have no unit of length")
    return length_statement(x if unit_x else None, y if unit_y else None, unit_x, unit_y, "OME-Zarr scale")


def channels_of(ome: Mapping[str, Any]) -> tuple[Channel, ...]:
    """Return what ``omero`` says about the channels; nothing when it says nothing."""
    channels = (ome.get("omero") or {}).get("channels") or []
    return tuple(Channel(str(c.get("label") or ""), _colour(c.get("color"))) for c in channels)


def _scale(image: Mapping[str, Any], dataset: Mapping[str, Any], axes: int) -> list[float]:
    """Return the scale of a level along every axis: its own times the image's."""
    scale = [1.0] * axes
    for owner in (dataset, image):
        for transform in owner.get("coordinateTransformations") or ():
            if transform.get("type") == "scale":
                factors: Sequence[Any] = transform["scale"]
                scale = [s * float(f) for s, f in zip(scale, factors, strict=True)]
    return scale


def _colour(text: object) -> int | None:
    """Return 0xRRGGBB of ``RRGGBB`` with or without # and alpha; None when it is no colour."""
    try:
        return int(str(text or "").lstrip("#")[:6], 16)
    except ValueError:
        return None
