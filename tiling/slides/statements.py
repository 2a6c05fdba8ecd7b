"""What a file says about its µm per pixel: every tag, line and attribute read into one kind of statement, unjudged.

Pure: strings and tag values in, statements out. :mod:`tiling.slides.resolution` decides what is believed.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import zip_longest
from xml.etree import ElementTree

__all__ = [
    "Statement",
    "aperio_statements",
    "imagej_statement",
    "length_statement",
    "micrometres",
    "openslide_statements",
    "tag_statement",
    "vips_statements",
]

Size = tuple[int, int]

_INCH, _CENTIMETRE = 25_400.0, 10_000.0

_UNITS = {
    "μm": 1.0, "um": 1.0, "micron": 1.0, "micrometer": 1.0, "micrometre": 1.0,
    "nm": 1e-3, "nanometer": 1e-3, "nanometre": 1e-3,
    "mm": 1e3, "millimeter": 1e3, "millimetre": 1e3,
    "cm": _CENTIMETRE, "centimeter": _CENTIMETRE, "centimetre": _CENTIMETRE,
    "m": 1e6, "meter": 1e6, "metre": 1e6,
    "in": _INCH, "inch": _INCH, '"': _INCH,
    "å": 1e-4, "angstrom": 1e-4, "pm": 1e-6, "picometer": 1e-6, "picometre": 1e-6,
}  # fmt: skip

_NO_LENGTH = frozenset({"pixel", "pixels", "px", "reference frame", "referenceframe", "dot", "dots"})

_LOST_MU = re.compile(r"^(?:[^\x00-\x7f]{1,8}|\?+)m$")
"""A µ of any alphabet, or what wrong encodings make of one (``Âµm``, ``?m``): no other unit looks like this."""


@dataclass(frozen=True)
class Statement:
    """One thing that a file says about its resolution.

    Attributes
    ----------
    mpp_x, mpp_y : float or None
        µm per level-0 pixel of each axis, as stated; None where nothing usable is said.
    source : str
        Where it stands, in words that a user can look up (``openslide.mpp-x``, ``TIFF XResolution`` …).
    speaks_of : (int, int) or None
        Width and height of the picture that the statement itself names; None when it names none.
    printed : bool
        Whether the number may be a resolution for printing: programs fill these places with 72 dpi and the like.
    problem : str
        Why there is no number, where something was said that cannot be used.
    """

    mpp_x: float | None
    mpp_y: float | None
    source: str = "slide metadata"
    speaks_of: Size | None = None
    printed: bool = False
    problem: str = ""

    def turned(self) -> Statement:
        """Return the statement with x and y exchanged, for a picture that is stored lying on its side."""
        size = None if self.speaks_of is None else (self.speaks_of[1], self.speaks_of[0])
        return replace(self, mpp_x=self.mpp_y, mpp_y=self.mpp_x, speaks_of=size)

    @property
    def numbers(self) -> tuple[float, ...]:
        """The values that are there: none, one or two."""
        return tuple(value for value in (self.mpp_x, self.mpp_y) if value is not None)


def micrometres(unit: str) -> float | None:
    """Return how many µm a unit of length is; None when it is not known.

    Spellings of µm that have been through a wrong encoding (``Âµm``, ``?m``) are clear and understood; singular and
    plural, and names in any case, too. Symbols keep their case, because ``mm`` and ``Mm`` differ.
    """
    text = unit.strip().strip("\0").replace("\\u00B5", "µ").replace("\\u00b5", "µ").replace("&micro;", "µ")
    text = _LOST_MU.sub("μm", text)
    text = unicodedata.normalize("NFKC", text)
    if len(text) > 2 or text == "Å":
        text = text.casefold()
    elif text in ("UM", "Um"):
        text = "um"
    return _UNITS.get(text, _UNITS.get(text.removesuffix("es"), _UNITS.get(text.removesuffix("s"))))


def length_statement(
    x: object, y: object, unit_x: str, unit_y: str, source: str, speaks_of: Size | None = None
) -> Statement:
    """Read a length per pixel given with its unit, as OME-XML and OME-Zarr do.

    Parameters
    ----------
    x, y : object
        Length of a pixel; numbers, text or None.
    unit_x, unit_y : str
        Units as they are written.
    source : str
    speaks_of : (int, int), optional

    Returns
    -------
    Statement
        With a ``problem`` when a number or a unit is not understood.
    """
    values: list[float | None] = []
    for value, unit in ((x, unit_x), (y, unit_y)):
        if value is None:
            values.append(None)
            continue
        factor, number = micrometres(unit), _number(value)
        if number is None:
            return Statement(None, None, source, speaks_of, problem=f"{_short(value)} is no number")
        if factor is None:
            kind = "is no length" if unit.strip().casefold() in _NO_LENGTH else "is not known"
            return Statement(None, None, source, speaks_of, problem=f"its unit {_short(unit)} {kind}")
        values.append(number * factor)
    return Statement(values[0], values[1], source, speaks_of)


def tag_statement(x: object, y: object, unit: object, source: str = "TIFF XResolution") -> Statement | None:
    """Read the TIFF tags XResolution, YResolution and ResolutionUnit.

    Parameters
    ----------
    x, y : object
        Pixels per unit: a rational as two integers, any number, or text; None where the tag is missing.
    unit : object
        1 (no unit), 2 (inch), 3 (centimetre), also as text; None means inch, as the TIFF specification says.

    Returns
    -------
    Statement or None
        None when the tags say nothing about lengths.
    """
    if x is None and y is None:
        return None
    factor, problem = _tag_unit(unit)
    if problem:
        return Statement(None, None, source, printed=True, problem=problem)
    if factor is None:
        return None  # without a unit the two numbers only give the shape of a pixel
    return _per_unit(x, y, factor, source)


def imagej_statement(x: object, y: object, unit: str | None, unit_y: str | None = None) -> Statement | None:
    """Read TIFF resolution tags by the unit in an ImageJ description.

    Parameters
    ----------
    x, y : object
        Pixels per unit, as in :func:`tag_statement`.
    unit : str or None
        The value of ``unit=``; None when the description has none.
    unit_y : str, optional
        That of ``yunit=``, which ImageJ writes where it is another one.

    Returns
    -------
    Statement or None
        None when ImageJ names no unit of length.
    """
    if (x is None and y is None) or not unit or not unit.strip():
        return None
    source = "ImageJ unit"
    if unit.strip().casefold() in _NO_LENGTH:
        return None
    factors = micrometres(unit), micrometres(unit_y or unit)
    for factor, text in zip(factors, (unit, unit_y or unit), strict=True):
        if factor is None:
            return Statement(None, None, source, problem=f"its unit {_short(text)} is not known")
    said = _per_unit(x, y, 1.0, source)
    across, down = (
        None if n is None or f is None else n * f
        for n, f in zip((said.mpp_x, said.mpp_y), factors, strict=True)
    )
    return replace(said, mpp_x=across, mpp_y=down, printed=False)


def aperio_statements(description: str) -> list[Statement]:
    """Read ``MPP`` and the size from an Aperio description; nothing when it holds no MPP.

    The first line after the library's name is ``W×H [x,y w×h] (tile) -> w×h …``: the whole scan, the part of it that
    this picture shows, and its size if it was scaled. Descriptions of crops are followed by the older one after ``;``,
    which alone has the MPP: then it stands for the crop.
    """
    if not description.lstrip().startswith("Aperio"):
        return []
    found: list[Statement] = []
    size = _aperio_size(description)
    for part in description.split(";"):
        texts = dict.fromkeys(text.strip() for text in re.findall(r"\|\s*MPP\s*=\s*([^|\r\n\0]*)", part))
        if found:
            size = _aperio_size(part)
        for text in texts:
            number = _number(text)
            problem = "" if number is not None else f"{_short(text)} is no number"
            found.append(Statement(number, number, "Aperio MPP", size, problem=problem))
    return found


def vips_statements(description: str) -> list[Statement]:
    """Read the properties that libvips writes into a description: its own resolution and those of the source slide.

    ``openslide.mpp-x`` and ``aperio.MPP`` are carried along when a picture is made smaller, so they speak of the
    picture that ``openslide.level[0]`` names.
    """
    if "vips.ecs.soton.ac.uk" not in description[:4096]:
        return []
    properties = _vips_properties(description)
    own = _vips_size(properties, "")
    source = _vips_size(properties, "openslide.level[0].")
    found = []
    for x, y in _vips_pairs(properties, "openslide.mpp-x", "openslide.mpp-y"):
        found.append(length_statement(x, y, "um", "um", "libvips openslide.mpp-x", source or own))
    for mpp, _ in _vips_pairs(properties, "aperio.MPP", ""):
        found.append(length_statement(mpp, mpp, "um", "um", "libvips aperio.MPP", source or own))
    for x, y in _vips_pairs(properties, "xres", "yres"):
        found.append(replace(_per_unit(x, y, 1000.0, "libvips xres"), speaks_of=own))
    return found


def openslide_statements(properties: Mapping[str, str]) -> list[Statement]:
    """Read OpenSlide's properties: its own resolution, and what the file says beside it.

    Parameters
    ----------
    properties : mapping of str to str
        As OpenSlide gives them.

    Returns
    -------
    list of Statement
        OpenSlide's ``mpp`` first. Where that is the vendor's value, it names the picture that the vendor's text does.
    """
    vendor = properties.get("openslide.vendor", "")
    description = properties.get("tiff.ImageDescription") or properties.get("openslide.comment") or ""
    found: list[Statement] = []
    x, y = properties.get("openslide.mpp-x"), properties.get("openslide.mpp-y")
    aperio = aperio_statements(description) if vendor == "aperio" else []
    if x is not None or y is not None:
        said = length_statement(x, y, "um", "um", "openslide.mpp-x")
        found.append(replace(said, speaks_of=aperio[0].speaks_of if aperio else None))
        aperio = aperio[1:]
    found += aperio
    found += vips_statements(description)
    if vendor not in _OWN_TAGS:
        x, y, unit = (
            properties.get(f"tiff.{name}") for name in ("XResolution", "YResolution", "ResolutionUnit")
        )
        if (said_by_tags := tag_statement(x, y, unit)) is not None:
            found.append(said_by_tags)
    return found


_OWN_TAGS = frozenset({"trestle"})
"""Vendors that put something else than pixels per unit into the resolution tags."""


def _per_unit(x: object, y: object, factor: float, source: str) -> Statement:
    """Return the statement of pixels per unit, given µm per unit."""
    values: list[float | None] = []
    for value in (x, y):
        pixels = None if value is None else _number(value)
        if value is not None and pixels is None:
            return Statement(
                None, None, source, printed=True, problem=f"{_short(value)} is no number of pixels per unit"
            )
        values.append(factor / pixels if pixels else None)
    return Statement(values[0], values[1], source, printed=True)


def _tag_unit(unit: object) -> tuple[float | None, str]:
    """Return µm per ResolutionUnit, None for no unit; and what is wrong with it."""
    if isinstance(unit, bytes):
        unit = unit.decode("latin-1")
    if isinstance(unit, (tuple, list)):
        unit = unit[0] if unit else None
    if unit is None:
        return _INCH, ""
    if isinstance(unit, str):
        name = unit.strip().strip("\0").casefold()
        if name in ("", "none", "1"):
            return None, ""
        known = {"2": _INCH, "3": _CENTIMETRE}.get(name) or micrometres(name)
        return (known, "") if known else (None, f"its unit {_short(unit)} is not known")
    code = _number(unit)
    if code in (1.0, 2.0, 3.0):
        return {1.0: None, 2.0: _INCH, 3.0: _CENTIMETRE}[code], ""
    return None, f"its unit {_short(unit)} is not known"


def _number(value: object) -> float | None:
    """Return a tag's or an attribute's value as a number; None when it is none, or several that differ.

    A rational is two integers; four and more are rationals one after another, of which equal ones count as one.
    """
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if isinstance(value, str):
        try:
            return _floating(value.strip().strip("\0").strip())
        except ValueError:
            return None
    if isinstance(value, Sequence):
        return _rational(value)
    try:
        return _floating(value)
    except (TypeError, ValueError):
        return None


def _floating(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except OverflowError:
        return math.inf


def _rational(values: Sequence[object]) -> float | None:
    """Return numerator / denominator; 0 / 0 and n / 0 count as 0, "not given"."""
    if len(values) == 1:
        return _number(values[0])
    if len(values) % 2 or not all(isinstance(v, int) or hasattr(v, "__index__") for v in values):
        return None
    pairs = [(int(a), int(b)) for a, b in zip(values[::2], values[1::2], strict=True)]  # type: ignore[call-overload]
    found = {Fraction(a, b) if b else Fraction(0) for a, b in pairs}
    return float(found.pop()) if len(found) == 1 else None


def _aperio_size(description: str) -> Size | None:
    """Return the size of the picture that an Aperio description speaks of at its MPP."""
    head = description.split(";", 1)[0]
    part = re.search(r"\[\s*\d+\s*,\s*\d+\s+(\d+)x(\d+)\s*\]", head)
    whole = re.search(r"(?:^|[\r\n\s])(\d+)x(\d+)", head)
    found = part or whole
    return None if found is None else (int(found[1]), int(found[2]))


def _vips_properties(description: str) -> dict[str, list[str]]:
    """Return name and values of every property in a libvips description; nothing when it is no XML."""
    end = description.rfind(">") + 1
    try:
        root = ElementTree.fromstring(description[:end].encode())  # bytes: a declared encoding is not trusted
    except (ElementTree.ParseError, ValueError, LookupError):
        return {}
    properties: dict[str, list[str]] = {}
    for element in root.iter():
        if element.tag.rpartition("}")[2] == "property":
            texts = {child.tag.rpartition("}")[2]: child.text or "" for child in element}
            properties.setdefault(texts.get("name", ""), []).append(texts.get("value", "").strip())
    return properties


def _vips_pairs(properties: Mapping[str, list[str]], x: str, y: str) -> list[tuple[str | None, str | None]]:
    """Return the values of two axes, as often as they are stated; what is said of one axis only holds for both."""
    across, down = properties.get(x) or properties.get(y) or [], properties.get(y) or properties.get(x) or []
    return list(dict.fromkeys(zip_longest(across, down)))


def _vips_size(properties: Mapping[str, list[str]], of: str) -> Size | None:
    width, height = (properties.get(f"{of}{side}", [None])[0] for side in ("width", "height"))
    return _size(width, height)


def _size(width: str | None, height: str | None) -> Size | None:
    """Return a size when both numbers are there and positive."""
    w, h = _number(width), _number(height)
    if not w or not h or not (math.isfinite(w) and math.isfinite(h)) or min(w, h) < 1:
        return None
    return int(w), int(h)


def _short(value: object) -> str:
    """Return a value for a message: quoted, on one line, not longer than a line can bear."""
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    text = "".join(c if c.isprintable() else "�" for c in text)
    return repr(text if len(text) <= 40 else text[:37] + "…")
