"""Which of a file's pictures is the slide, and what to say of the others: pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Picture", "kind_of_picture", "left_out", "main_picture"]

_BESIDE_THE_SLIDE = re.compile(
    r"(?<![a-z])(label|macro|overview|thumbnail|thumb|preview|barcode|localizer|slide ?map|navigation)(?![a-z])",
    re.I,
)


def kind_of_picture(text: str) -> str:
    """Return the word of a description that says what else than a slide is shown; empty when there is none.

    Descriptions of pages may hold what is written on a label, a patient's name: only this word is passed on.
    """
    found = _BESIDE_THE_SLIDE.search(text)
    return "" if found is None else found[1].lower()


@dataclass(frozen=True)
class Picture:
    """One picture in a file, as far as choosing needs it.

    Attributes
    ----------
    name : str
        As the file calls it; may be empty.
    width, height : int
        Pixels of its finest level.
    levels : int
        Number of resolutions in which it is stored.
    has_mpp : bool
        Whether the file gives it a plausible µm per pixel.
    reduced : bool
        Whether the file calls it a smaller version of another picture.
    """

    name: str
    width: int
    height: int
    levels: int = 1
    has_mpp: bool = False
    reduced: bool = False

    @property
    def is_beside_the_slide(self) -> bool:
        """Whether its name says that it shows something else: the label, the whole glass, a thumbnail."""
        return bool(kind_of_picture(self.name))

    def __str__(self) -> str:
        name = "".join(c for c in self.name if c.isprintable()).strip()[:60]
        size = f"{self.width} × {self.height} px"
        return f"{name!r} ({size})" if name else f"a picture of {size}"


def main_picture(pictures: Sequence[Picture]) -> int:
    """Return the index of the picture that is the slide.

    What its own name calls a label, macro or overview comes last, whatever its size; then a picture with a resolution
    or a pyramid goes before one without, one that is not called reduced before one that is, the larger before the
    smaller, and of equal ones the first.
    """
    if not pictures:
        raise ValueError("no pictures")

    def rank(index: int) -> tuple[bool, bool, bool, int, int]:
        picture = pictures[index]
        return (
            not picture.is_beside_the_slide,
            picture.has_mpp or picture.levels > 1,
            not picture.reduced,
            picture.width * picture.height,
            -index,
        )

    return max(range(len(pictures)), key=rank)


def left_out(pictures: Sequence[Picture], chosen: int) -> str:
    """Return one sentence that names the pictures that are not read; empty when there is none."""
    others = [str(picture) for index, picture in enumerate(pictures) if index != chosen]
    if not others:
        return ""
    named = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
    return f"Only {pictures[chosen]} is read; the file also holds {named}."
