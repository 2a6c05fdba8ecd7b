"""The numbers of a legend: areas, shares of the tissue and of what is shown, and the ratio of two classes. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from napari_wsss.plugin.results.state import RunState
from tiling.classes import ClassSchema

__all__ = [
    "LegendRow",
    "area_text",
    "class_areas",
    "legend",
    "legend_table",
    "percent_text",
    "ratio_text",
    "usual_ratio",
]

_TUMOUR = ("tumor", "tumour", "cancer", "carcinoma", "neoplas", "karzinom")


@dataclass(frozen=True)
class LegendRow:
    """One class in the legend.

    Attributes
    ----------
    label : int
        Store label.
    name, color : str
    mm2 : float
        Area.
    share : float
        Part of the tissue (all that has a class), 0 … 1.
    share_of_shown : float or None
        Part of the classes that are shown; None for a class that is hidden.
    """

    label: int
    name: str
    color: str
    mm2: float
    share: float
    share_of_shown: float | None

    @property
    def area_text(self) -> str:
        """The area for people."""
        return area_text(self.mm2)

    @property
    def percent_text(self) -> str:
        """The share of the tissue for people."""
        return percent_text(self.share)

    @property
    def shown_text(self) -> str:
        """The share of what is shown for people; a dash for a hidden class."""
        return "–" if self.share_of_shown is None else percent_text(self.share_of_shown)


def class_areas(schema: ClassSchema, state: RunState) -> list[float]:
    """Return mm² per class: the receipt's once there is one, those committed so far before.

    Parameters
    ----------
    schema : ClassSchema
        The store's own: the receipt speaks in its names.
    state : RunState
    """
    if state.areas is not None:
        return [state.areas.get(name, 0.0) for name in schema.names]
    if state.counts:
        return [count * (state.mpp / 1000) ** 2 for count in state.counts[1:]]
    return [0.0] * len(schema)


def legend(
    schema: ClassSchema, areas: Sequence[float], hidden: Collection[int] = frozenset()
) -> list[LegendRow]:
    """Return the lines of a legend.

    Parameters
    ----------
    schema : ClassSchema
        Names and colours as the user sees them.
    areas : sequence of float
        mm² per class.
    hidden : collection of int
        Store labels that are not shown.
    """
    total = sum(areas)
    shown = sum(area for label, area in enumerate(areas, start=1) if label not in hidden)
    return [
        LegendRow(
            label,
            tissue.name,
            tissue.color,
            area,
            area / total if total else 0.0,
            None if label in hidden else (area / shown if shown else 0.0),
        )
        for label, (tissue, area) in enumerate(zip(schema.classes, areas, strict=True), start=1)
    ]


def usual_ratio(names: Sequence[str]) -> tuple[int, int]:
    """Return the store labels whose ratio is most asked for: tumour to stroma, else the first to the second."""
    stroma = [label for label, name in enumerate(names, start=1) if "stroma" in name.lower()]
    tumour = [
        label
        for label, name in enumerate(names, start=1)
        if label not in stroma and any(word in name.lower() for word in _TUMOUR)
    ]
    return (tumour[0], stroma[0]) if tumour and stroma else (1, 2)


def ratio_text(rows: Sequence[LegendRow], one: int, other: int) -> str:
    """Return the ratio of the areas of two store labels, as ``1.84 : 1`` or ``1 : 9,350``.

    At most nine characters, so that it never pushes the panel's other numbers out of sight; a dash when the second has
    no area.
    """
    areas = {row.label: row.mm2 for row in rows}
    if not areas.get(other):
        return "–"
    ratio = areas.get(one, 0.0) / areas[other]
    return f"1 : {_times(1 / ratio)}" if 0 < ratio < 0.1 else f"{_times(ratio)} : 1"


def _times(value: float) -> str:
    if value >= 9999.5:
        return ">9999"
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.3g}"


def legend_table(rows: Sequence[LegendRow]) -> list[tuple[str, ...]]:
    """Return the legend as a table with a head, for the clipboard: full precision, units in the head."""
    head = ("class", "area_mm2", "percent_of_tissue", "percent_of_shown")
    return [
        head,
        *(
            (
                row.name,
                f"{row.mm2:.6f}",
                f"{100 * row.share:.3f}",
                "" if row.share_of_shown is None else f"{100 * row.share_of_shown:.3f}",
            )
            for row in rows
        ),
    ]


def percent_text(share: float) -> str:
    """Return a share in per cent, with as many digits as it takes to tell it from nothing."""
    percent = 100 * share
    if percent == 0:
        return "0 %"
    return "< 0.1 %" if percent < 0.1 else f"{percent:.1f} %"


def area_text(mm2: float) -> str:
    """Return mm² with three significant digits: 12.3, 0.0456, 123."""
    if mm2 == 0:
        return "0 mm²"
    digits = max(0, 2 - math.floor(math.log10(mm2)))
    return f"{mm2:.{min(digits, 6)}f} mm²"
