"""OME-XML as far as a slide needs it: its pictures, their pixel size, their channels, and whether they lie elsewhere.

Pure: text in, frozen facts out. Programs damage this text on its way (encodings, bytes after the end), so it is mended
first where that is clear.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.etree import ElementTree

from tiling.slides.channels import Channel
from tiling.slides.statements import Statement, length_statement

__all__ = ["OmePicture", "is_ome_xml", "mended", "ome_pictures", "other_files"]

_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")


@dataclass(frozen=True)
class OmePicture:
    """One ``Image`` of an OME-XML.

    Attributes
    ----------
    name : str
    width, height : int
        SizeX and SizeY; 0 where they are missing.
    statement : Statement
        What PhysicalSizeX and PhysicalSizeY say.
    channels : tuple of Channel
        One per ``Channel`` element.
    """

    name: str
    width: int
    height: int
    statement: Statement
    channels: tuple[Channel, ...]


def is_ome_xml(text: str) -> bool:
    """Say whether a description is OME-XML, also when something follows its end."""
    head = text[:4096]
    return ("<OME" in head or ":OME" in head) and "OME>" in text


def mended(text: str) -> str:
    """Return OME-XML without what a parser stumbles over: bytes after the end, control characters, wrong encodings."""
    text = text.lstrip("\ufeff \t\r\n\0")
    end = text.rfind("OME>")
    text = text[: end + 4] if end >= 0 else text
    # The text is decoded already: a declaration of another encoding would have it decoded once more.
    return _NOT_XML.sub(" ", _DECLARATION.sub("", text))


def ome_pictures(text: str) -> tuple[OmePicture, ...]:
    """Return the pictures that an OME-XML describes, in its order; none when it cannot be understood."""
    root = _parsed(text)
    if root is None:
        return ()
    found = []
    for image in (e for e in root.iter() if _tag(e) == "Image"):
        pixels = next((e for e in image if _tag(e) == "Pixels"), None)
        if pixels is not None:
            found.append(_picture(image, pixels))
    return tuple(found)


def other_files(text: str) -> tuple[str, ...]:
    """Return the names of the files over which an OME-TIFF is spread, when there are several."""
    root = _parsed(text)
    if root is None:
        return ()
    named = dict[str, str]()
    for element in root.iter():
        if _tag(element) == "UUID":
            named.setdefault((element.text or "").strip(), element.get("FileName", ""))
    return tuple(named.values()) if len(named) > 1 else ()


def _picture(image: ElementTree.Element, pixels: ElementTree.Element) -> OmePicture:
    width, height = (_whole(pixels.get(f"Size{axis}")) for axis in "XY")
    statement = length_statement(
        pixels.get("PhysicalSizeX"),
        pixels.get("PhysicalSizeY"),
        pixels.get("PhysicalSizeXUnit", "µm"),
        pixels.get("PhysicalSizeYUnit", "µm"),
        "OME PhysicalSizeX",
        (width, height) if width and height else None,
    )
    channels = tuple(_channel(e) for e in pixels if _tag(e) == "Channel")
    return OmePicture(image.get("Name", ""), width, height, statement, channels)


def _channel(element: ElementTree.Element) -> Channel:
    colour = element.get("Color")
    try:
        rgb = None if colour is None else (int(colour) & 0xFFFFFFFF) >> 8
    except ValueError:
        rgb = None
    stained = bool(element.get("Fluor") or element.get("EmissionWavelength")) or (
        element.get("ContrastMethod", "") == "Fluorescence"
        or element.get("IlluminationType", "") == "Epifluorescence"
    )
    return Channel(element.get("Name", "").strip(), rgb, stained)


def _parsed(text: str) -> ElementTree.Element | None:
    """Return the root element; None when the text is no XML, or defines entities (which OME never does)."""
    text = mended(text)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        return None
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError):
        return None


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _whole(text: str | None) -> int:
    try:
        return max(0, int(text or 0))
    except ValueError:
        return 0
