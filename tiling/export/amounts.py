"""How much of each tissue class a store holds: the numbers behind legends and tables."""

from __future__ import annotations

from dataclasses import dataclass

from tiling.classes import TissueClass
from tiling.errors import ExportError
from tiling.store import Store

__all__ = ["Amount", "amounts"]


@dataclass(frozen=True)
class Amount:
    """The area of one class.

    Attributes
    ----------
    tissue : TissueClass
    area_mm2 : float
    percent_of_tissue : float
        Of the area of all classes together; 0 when nothing is labelled.
    """

    tissue: TissueClass
    area_mm2: float
    percent_of_tissue: float


def amounts(store: Store) -> list[Amount]:
    """Return the amount of every class, in schema order.

    Raises
    ------
    ExportError
        When the run of the store has not finished: its areas are not known yet.
    """
    areas = store.areas
    if not areas:
        raise ExportError(f"{store.path} is not complete; run the slide again to finish it, then export.")
    total = sum(areas.values())
    return [
        Amount(tissue, areas[tissue.name], 100 * areas[tissue.name] / total if total else 0.0)
        for tissue in store.schema.classes
    ]
