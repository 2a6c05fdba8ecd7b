"""Which channels make a colour picture: decided by what the file says of them, never by looking at the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["UNNAMED_RGB", "UNNAMED_RGBA", "Channel", "Colours", "colours_of"]

Colours = Literal["grey", "rgb", "rgba", "stains"]

UNNAMED_RGB = (
    "The file does not name its three channels; they are taken for red, green and blue. "
    "If they are stains, do not use this result."
)
UNNAMED_RGBA = (
    "The file does not name its four channels; they are taken for red, green, blue and opacity. "
    "If they are stains, do not use this result."
)

_RED, _GREEN, _BLUE = 0xFF0000, 0x00FF00, 0x0000FF
_RGB_WORDS = ({"red", "r"}, {"green", "g"}, {"blue", "b"})
_ALPHA_NAMES = frozenset({"alpha", "a", "opacity", "transparency"})
_BRIGHTFIELD = frozenset(
    {"brightfield", "bright field", "tl brightfield", "bf", "rgb", "he", "h&e", "camera"}
)


@dataclass(frozen=True)
class Channel:
    """What a file says about one channel.

    Attributes
    ----------
    name : str
        Empty when it has none.
    colour : int or None
        In which it is to be shown, 0xRRGGBB; None when the file does not say.
    stained : bool
        Whether the file describes fluorescence (a fluorophore, an emission wavelength …).
    """

    name: str = ""
    colour: int | None = None
    stained: bool = False


def colours_of(channels: Sequence[Channel], count: int) -> tuple[Colours, str]:
    """Decide what single-sample channels are.

    Parameters
    ----------
    channels : sequence of Channel
        As described; fewer than ``count``, or none, where the file says little.
    count : int
        How many channels there are pixels of.

    Returns
    -------
    (str, str)
        ``grey`` (one channel), ``rgb``, ``rgba`` or ``stains``, and a warning where nothing in the file speaks against
        a colour picture but nothing says so either.
    """
    if count == 1:
        return "grey", ""
    if count not in (3, 4) or any(channel.stained for channel in channels):
        return "stains", ""
    kind: Colours = "rgb" if count == 3 else "rgba"
    first, fourth = channels[:3], channels[3:4]
    if fourth and not _may_be_alpha(fourth[0]):
        return "stains", ""
    names = tuple(_plain(channel.name) for channel in first)
    if len(names) == 3 and all(w & set(name.split()) for w, name in zip(_RGB_WORDS, names, strict=True)):
        return kind, ""
    if [channel.colour for channel in first] == [_RED, _GREEN, _BLUE] and not _distinct_names(names):
        return kind, ""
    if _distinct_names(names) or not _same_colour(first):
        return "stains", ""
    return kind, UNNAMED_RGB if count == 3 else UNNAMED_RGBA


def _plain(name: str) -> str:
    return name.strip().casefold()


def _distinct_names(names: Sequence[str]) -> bool:
    """Say whether the channels are named, and as different things: ``DAPI``, ``FITC``, ``Cy5``."""
    meaningful = {name for name in names if name and not _is_number(name) and name not in _BRIGHTFIELD}
    return len(meaningful) > 1 or (len(meaningful) == 1 and len(set(names)) > 1)


def _is_number(name: str) -> bool:
    """Say whether a name only counts: ``1``, ``Channel 2``, ``C:0``, ``ch-3``."""
    words = name.replace(":", " ").replace("_", " ").replace("-", " ").replace("#", " ").split()
    stem = "".join(words).rstrip("0123456789")
    return stem in ("", "channel", "ch", "c", "band")


def _same_colour(channels: Sequence[Channel]) -> bool:
    return len({channel.colour for channel in channels}) <= 1


def _may_be_alpha(channel: Channel) -> bool:
    name = _plain(channel.name)
    return name in _ALPHA_NAMES or not name or _is_number(name)
