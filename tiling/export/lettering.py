"""Lettering for pictures with nothing installed: Pillow's own font, and what it lacks.

That font holds ASCII and a few signs. The two signs that every picture needs, µ and ², are built from its letters.
Other scripts and accents (names of classes and slides) are set in a system font if there is one that has them, else
accents are dropped and what remains unknown becomes a question mark.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from PIL import ImageDraw, ImageFont

from tiling.errors import ExportError

__all__ = ["Lettering"]

_BUILT = re.compile("([µμ²])")
_SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "LiberationSans-Regular.ttf",
    "arial.ttf",
    "Arial.ttf",
)
_MISSING = "\ue123"  # no font has a sign at this place of the private area


class Lettering:
    """Type of one size and colour.

    Parameters
    ----------
    size : int
        Height of the type in pixels.
    color : (int, int, int)

    Raises
    ------
    ExportError
        When Pillow was built without FreeType.
    """

    def __init__(self, size: int, color: tuple[int, int, int]) -> None:
        self._size, self._color = size, color

    def width(self, text: str) -> float:
        """Return the width of a text in pixels."""
        text, font = self._set(text)
        return sum(_part_width(part, font) for part in _BUILT.split(text))

    def draw(self, draw: ImageDraw.ImageDraw, x: float, baseline: float, text: str) -> float:
        """Draw a text from x on; return where it ends."""
        text, font = self._set(text)
        for part in _BUILT.split(text):
            if part == "²":
                small = font.font_variant(size=round(font.size * 0.62))
                draw.text((x, baseline - 0.34 * font.size), "2", self._color, small, anchor="ls")
            elif part in ("µ", "μ"):
                x = round(x)
                draw.text((x, baseline), "u", self._color, font, anchor="ls")
                left, right = _left_stem(font)
                down = baseline + round(0.21 * font.size)
                draw.rectangle((x + left, baseline - 2, x + right, down), self._color)
            else:
                draw.text((x, baseline), part, self._color, font, anchor="ls")
            x += _part_width(part, font)
        return x

    def shortened(self, text: str, width: float) -> str:
        """Leave out the middle of a text until it fits."""
        if self.width(text) <= width:
            return text
        for keep in range(len(text) - 1, 1, -1):
            shorter = f"{text[: (keep + 1) // 2]}…{text[len(text) - keep // 2 :]}"
            if self.width(shorter) <= width:
                return shorter
        return "…"

    def _set(self, text: str) -> tuple[str, ImageFont.FreeTypeFont]:
        """Choose the font for a text, and change what no font has."""
        text = "".join(sign if sign.isprintable() else " " for sign in text)
        own = _own_font(self._size)
        if _has(own, frozenset(_BUILT.sub("", text))):
            return text, own
        for name in _SYSTEM_FONTS:
            font = _system_font(name, self._size)
            if font is not None and _has(font, frozenset(_BUILT.sub("", text))):
                return text, font
        plain = (_without_accent(sign) for sign in text)
        return "".join(
            sign if _BUILT.match(sign) or _has(own, frozenset(sign)) else "?" for sign in plain
        ), own


def _part_width(part: str, font: ImageFont.FreeTypeFont) -> float:
    if part == "²":
        return 0.62 * font.getlength("2")
    return font.getlength("u" if part in ("µ", "μ") else part)


@lru_cache
def _left_stem(font: ImageFont.FreeTypeFont) -> tuple[int, int]:
    """Return the first and last dark column of the left stem of a "u"."""
    mask = font.getmask("u")
    width, height = mask.size
    dark = [mask.getpixel((column, height // 3)) > 127 for column in range(width)]
    first = dark.index(True)
    return first, dark.index(False, first) - 1


def _without_accent(sign: str) -> str:
    return sign if _BUILT.match(sign) else unicodedata.normalize("NFKD", sign)[:1]


@lru_cache
def _own_font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise ExportError("The overview needs a Pillow with FreeType; install Pillow from PyPI.")
    return font


@lru_cache
def _system_font(name: str, size: int) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


@lru_cache(maxsize=1024)
def _has(font: ImageFont.FreeTypeFont, signs: frozenset[str]) -> bool:
    nothing = bytes(font.getmask(_MISSING))
    return all(bytes(font.getmask(sign)) != nothing for sign in signs)
