"""Tissue classes and class schemas: names, colours and the one conversion between label encodings.

Names are checked here, once: they become folders in a store, columns of tables and texts in windows.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiling.checks import flag
from tiling.errors import DataError

__all__ = ["ClassSchema", "TissueClass", "reference_to_store", "store_to_reference"]

_HEX = re.compile(r"#[0-9a-fA-F]{6}")
_LONGEST = {"name": 100, "abbreviation": 32}
_NO_FILE = re.compile(r'[/\\:*?"<>|]|^\.|\.$|^__|^(zarr\.json|con|prn|aux|nul|(com|lpt)\d)$', re.IGNORECASE)
"""What no folder may be called on some system, or in a zarr group."""


@dataclass(frozen=True)
class TissueClass:
    """One tissue class.

    Attributes
    ----------
    name : str
        Full name, as shown to a pathologist.
    abbreviation : str
        Short upper-case name, as used in file names and table columns.
    color : str
        ``#rrggbb``.

    Raises
    ------
    DataError
        For a name that is empty, too long, starts or ends with a space or holds control characters, an abbreviation
        that no folder can have, or another form of colour.
    """

    name: str
    abbreviation: str
    color: str

    def __post_init__(self) -> None:
        for field, most in _LONGEST.items():
            text: Any = getattr(self, field)
            if not isinstance(text, str):
                raise DataError(f"A tissue class has the {field} {text!r}; give it as text.")
            shown = repr(text if len(text) <= most else text[:most] + "…")
            if not text.strip() or len(text) > most:
                raise DataError(f"A tissue class has the {field} {shown}; give it 1 to {most} characters.")
            if text != text.strip() or any(
                unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in text
            ):
                raise DataError(
                    f"A tissue class has the {field} {shown}; leave out control characters and outer spaces."
                )
        if _NO_FILE.search(self.abbreviation):
            raise DataError(
                f"Class {self.name!r} has the abbreviation {self.abbreviation!r}, which is used as a folder name; "
                "write it with letters and digits."
            )
        if not _HEX.fullmatch(self.color):
            raise DataError(f"Class {self.name!r} has colour {self.color!r}; write it as #rrggbb.")

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Colour as three integers from 0 to 255."""
        return int(self.color[1:3], 16), int(self.color[3:5], 16), int(self.color[5:7], 16)


@dataclass(frozen=True)
class ClassSchema:
    """The ordered classes of a model or data set.

    Attributes
    ----------
    name : str
        Short identifier (``bcss``, ``luad``, …).
    classes : tuple of TissueClass
        Class *i* of the network is ``classes[i]``.
    white_background : bool
        Whether pseudo masks mark bright pixels as background (the LUAD-HistoSeg rule of the reference).
    """

    name: str
    classes: tuple[TissueClass, ...]
    white_background: bool = False

    def __post_init__(self) -> None:
        given: tuple[Any, ...] = tuple(self.classes)
        if not isinstance(self.name, str) or not all(isinstance(tissue, TissueClass) for tissue in given):
            raise DataError(f"Schema {self.name!r} is made of a name and tissue classes; got {given!r:.80}.")
        flag("white_background", self.white_background)
        if not 1 <= len(self.classes) <= 254:
            raise DataError(f"Schema {self.name!r} has {len(self.classes)} classes; 1 to 254 are possible.")
        # Annotations are matched by either; some file systems know neither case nor the form of an accent.
        owner: dict[str, int] = {}
        for number, tissue in enumerate(self.classes):
            for text in (tissue.name, tissue.abbreviation):
                if owner.setdefault(unicodedata.normalize("NFKC", text).casefold(), number) != number:
                    raise DataError(
                        f"Schema {self.name!r} uses {text!r} for two classes (capitals do not count); rename one."
                    )

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names in network order."""
        return tuple(c.name for c in self.classes)

    @property
    def palette(self) -> NDArray[np.uint8]:
        """Colours indexed by *store* label, shape (C + 1, 3) uint8; row 0 (nothing here) is white."""
        return np.array([(255, 255, 255), *(c.rgb for c in self.classes)], np.uint8)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form that :meth:`from_dict` reads."""
        return {
            "name": self.name,
            "white_background": self.white_background,
            "classes": [
                {"name": c.name, "abbreviation": c.abbreviation, "color": c.color} for c in self.classes
            ],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ClassSchema:
        """Build a schema from its JSON form.

        Raises
        ------
        DataError
            When a field is missing or of the wrong kind.
        """
        try:
            rows: Sequence[Mapping[str, Any]] = data["classes"]
            fields = [(c["name"], c["abbreviation"], c["color"]) for c in rows]
            if not all(isinstance(value, str) for row in fields for value in row):
                raise TypeError("a name, abbreviation or color is no text")
            classes = tuple(TissueClass(*row) for row in fields)
            return cls(str(data["name"]), classes, data.get("white_background", False))
        except (KeyError, TypeError) as error:
            raise DataError(
                f"A class schema needs 'name' and 'classes' (each with name, abbreviation, color): {error!r}."
            ) from error


def reference_to_store(labels: NDArray[np.uint8], num_classes: int) -> NDArray[np.uint8]:
    """Convert the reference's PNG indexing to store labels.

    Parameters
    ----------
    labels : (...) uint8
        Class *i* is *i*; ``num_classes`` and above is background/ignore.
    num_classes : int
        Number of tissue classes.

    Returns
    -------
    (...) uint8
        Class *i* is *i* + 1; background is 0.
    """
    return np.where(labels < num_classes, labels + np.uint8(1), np.uint8(0)).astype(np.uint8)


def store_to_reference(labels: NDArray[np.uint8], num_classes: int) -> NDArray[np.uint8]:
    """Convert store labels to the reference's PNG indexing: the inverse of :func:`reference_to_store`.

    Parameters
    ----------
    labels : (...) uint8
        Class *i* is *i* + 1; 0 is background.
    num_classes : int
        Number of tissue classes; background becomes this index.

    Returns
    -------
    (...) uint8
    """
    return np.where(labels > 0, labels - np.uint8(1), np.uint8(num_classes)).astype(np.uint8)
