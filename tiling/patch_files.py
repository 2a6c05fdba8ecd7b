"""What a training patch is called and how its mask is stored: the one place that knows both conventions.

They are those of BCSS-WSSS and LUAD-HistoSeg: the label stands in the file name, ``slide-x-y[1101].png``; masks are
palette PNGs whose index is the class, and the index after the last class is background or ignore.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tiling.classes import ClassSchema
from tiling.errors import DataError
from tiling.files import replacing

__all__ = ["PatchName", "reference_palette", "write_mask"]

_BRACKETS = re.compile(r"\[([^\[\]]*)\]")


@dataclass(frozen=True)
class PatchName:
    """The name of a patch, without suffix.

    Attributes
    ----------
    place : str
        What comes before the label; with the label left out, two patches of one place are the same patch.
    label : tuple of bool
        Which classes are somewhere in the patch; at least one.
    """

    place: str
    label: tuple[bool, ...]

    @classmethod
    def at(cls, slide: str, x: float, y: float, label: tuple[bool, ...]) -> PatchName:
        """Name a patch cut from a slide at level-0 (x, y)."""
        return cls(f"{slide}-{round(x)}-{round(y)}", label)

    @classmethod
    def parse(cls, name: str, num_classes: int) -> PatchName:
        """Read a file name.

        Parameters
        ----------
        name : str
            With or without suffix. The last ``[…]`` counts: ``[1101]``, ``[1 1 0 1]`` or ``[1, 1, 0, 1]``.
        num_classes : int

        Raises
        ------
        DataError
            No brackets, a digit other than 0 and 1, a wrong number of digits, or no class at all. The message does not
            name the file; the caller knows it.
        """
        found = list(_BRACKETS.finditer(name))
        if not found:
            raise DataError("no label such as [1 0 0 1] in the file name")
        text = found[-1][1].strip()
        digits = [d for d in re.split(r"[\s,]+", text) if d] if re.search(r"[\s,]", text) else list(text)
        if any(d not in {"0", "1"} for d in digits):
            raise DataError(f"label [{text}] has a digit other than 0 and 1")
        if len(digits) != num_classes:
            raise DataError(f"label [{text}] has {len(digits)} digits, the schema has {num_classes} classes")
        if "1" not in digits:
            raise DataError(f"label [{text}] names no class; leave such patches out")
        return cls(name[: found[-1].start()], tuple(d == "1" for d in digits))

    def __str__(self) -> str:
        return f"{self.place}[{''.join(str(int(here)) for here in self.label)}]"


def reference_palette(schema: ClassSchema) -> list[int]:
    """Return the palette of masks: the colours of the classes, then white for background."""
    return [*schema.palette[1:].ravel().tolist(), 255, 255, 255]


def write_mask(path: Path, mask: NDArray[np.uint8], schema: ClassSchema) -> None:
    """Write a palette PNG that is whole or absent; (H, W) uint8, class *i* = *i*, background after the last class."""
    image = Image.fromarray(mask, mode="P")
    image.putpalette(reference_palette(schema))
    with replacing(path) as file:
        image.save(file, format="PNG")
