"""What a TIFF says about itself: its pictures, and for each its resolution and channels."""

from __future__ import annotations

import re
from itertools import zip_longest
from typing import Any

from tiling.slides.channels import Channel
from tiling.slides.ome_xml import OmePicture, ome_pictures
from tiling.slides.pictures import Picture, kind_of_picture
from tiling.slides.readers.tiff_layout import sources
from tiling.slides.resolution import is_plausible, weigh
from tiling.slides.statements import (
    Statement,
    aperio_statements,
    imagej_statement,
    tag_statement,
    vips_statements,
)

__all__ = ["channels_of", "picture_of", "statements_of"]

_X, _Y, _UNIT, _PAGE_NAME, _DESCRIPTION = 282, 283, 296, 285, 270


def statements_of(tiff: Any, series: Any) -> tuple[Statement, ...]:
    """Return every statement about a picture's resolution, the most trustworthy place first."""
    page = series.keyframe
    found: list[Statement | None] = []
    ome = _ome_picture(tiff, series)
    description = _text(page, _DESCRIPTION)
    if ome is not None:
        found.append(ome.statement)
    elif "<OME" in description[:4096]:
        found.append(Statement(None, None, "OME-XML", problem="it is damaged"))
    found += aperio_statements(description)
    found += vips_statements(description)
    resolution = (_value(page, _X), _value(page, _Y))
    if tiff.is_imagej:
        units = (dict.fromkeys(re.findall(rf"(?m)^{name}=(.*)$", description)) for name in ("unit", "yunit"))
        found += [imagej_statement(*resolution, x, y) for x, y in zip_longest(*units)]
    found.append(tag_statement(*resolution, _value(page, _UNIT)))
    return tuple(s for s in found if s is not None and (s.numbers or s.problem))


def channels_of(tiff: Any, series: Any) -> tuple[Channel, ...]:
    """Return what OME-XML says about the channels of a picture; nothing when it does not describe it."""
    ome = _ome_picture(tiff, series)
    return () if ome is None else (ome.channels or (Channel(),))


def picture_of(tiff: Any, series: Any) -> Picture:
    """Return what choosing among a file's pictures needs to know of one."""
    page = series.keyframe
    size = (page.imagewidth, page.imagelength)
    believed = [
        w.statement for w in weigh(statements_of(tiff, series), size) if w.verdict in ("taken", "in conflict")
    ]
    return Picture(
        _name(series),
        *size,
        levels=len(sources(tiff, series)),
        has_mpp=any(is_plausible(statement) for statement in believed),
        reduced=bool(page.is_reduced),
    )


def _ome_picture(tiff: Any, series: Any) -> OmePicture | None:
    """Return the OME description of a picture: the one of its size and place, else of its place."""
    described = ome_pictures(tiff.ome_metadata or "") if tiff.is_ome else ()
    if not described:
        return None
    pictures = [s for s in tiff.series if s.kind == "ome"]
    place = next((i for i, s in enumerate(pictures) if s is series), 0)
    size = (series.keyframe.imagewidth, series.keyframe.imagelength)
    if len(described) == len(pictures):
        return described[place]
    named = [p for p in described if p.name == series.name]
    fitting = [p for p in (named or described) if (p.width, p.height) == size]
    return (fitting or named or list(described))[0]


def _name(series: Any) -> str:
    """Return what the file calls a picture in its vendor's way, else a word of its page name or description."""
    page = series.keyframe
    if series.kind in ("ome", "svs", "scn", "qpi", "philips", "bif", "ndpi", "avs", "indica") and series.name:
        return str(series.name)
    description = _text(page, _DESCRIPTION).strip()
    return kind_of_picture(_text(page, _PAGE_NAME)) or kind_of_picture(
        description if len(description) < 100 else ""
    )


def _value(page: Any, code: int) -> object:
    """Return a tag's value; None when it is missing or cannot be read: no tag of these may block the pixels."""
    try:
        tag = page.tags.get(code)
        return None if tag is None else tag.value
    except Exception:  # noqa: BLE001  tifffile raises whatever unpacking a damaged tag does
        return None


def _text(page: Any, code: int) -> str:
    value = _value(page, code)
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return value if isinstance(value, str) else ""
