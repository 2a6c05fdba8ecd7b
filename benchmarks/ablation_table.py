"""What an ablation says: the numbers of a row, and Markdown tables of all rows."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class View:
    """How a bundle is scored; nothing is trained for it.

    Attributes
    ----------
    tta : {"none", "flip", "d4"}
    gate : {"bundle", "fixed", "reference"}
        Thresholds of the bundle; 0.1 for every class; 0.1 and logits × 0 as in the released code.
    overlap : float
        Of tiles, as a fraction of a tile.
    """

    tta: str = "none"
    gate: str = "bundle"
    overlap: float = 0.25


@dataclass(frozen=True)
class Row:
    """One line of the table: a preset and the flags that differ from it, per program."""

    name: str
    what: str
    preset: str = "recommended"
    stage1: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    stage2: tuple[str, ...] = ()
    view: View = View()


def summarise(
    row: Row, seed: int, cam: Mapping[str, float], scores: Mapping[str, Any], common: int
) -> dict[str, Any]:
    """Pick the numbers of the table out of an evaluation.

    Parameters
    ----------
    row : Row
    seed : int
    cam : mapping
        Val scores of stage 1.
    scores : mapping
        Of :func:`score`.
    common : int
        The first classes of the schema, whose mean IoU is a column: those that are frequent enough to be trusted.
    """
    suffix = "" if row.view.tta == "none" else "_tta"
    cells = {}
    for gate in ("off", "on"):
        found = scores["variants"][f"gate_{gate}{suffix}"]
        cells[gate] = {
            "miou": found["miou"],
            "fwiou": found["fwiou"],
            "common": statistics.fmean(found["iou"][:common]),
            "iou": found["iou"],
            "interval": found["interval_95"]["fwiou"],
        }
    return {"row": asdict(row), "seed": seed, "cam": dict(cam), "gate": cells, "thresholds": scores["gate"]}


def table(results: Sequence[Mapping[str, Any]], names: Sequence[str], common: Sequence[str]) -> str:
    """Return a Markdown table, one line per row: means over seeds, with ranges where there are several.

    Parameters
    ----------
    results : sequence of mapping
        Of :func:`summarise`, with ``minutes`` and ``complete``.
    names : sequence of str
        Order of the rows; rows without results are left out.
    common : sequence of str
        Abbreviations of the classes of the column ``common``.
    """
    both = "+".join(common)
    head = [
        "row", "seeds", "CAM mIoU", "CAM FwIoU", "mIoU off", f"{both} off", "FwIoU off",
        "mIoU on", f"{both} on", "FwIoU on", "FwIoU on, 95 %", "CPU min",
    ]  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    for name in names:
        found = sorted((r for r in results if r["row"]["name"] == name), key=lambda r: r["seed"])
        if not found:
            continue
        cells = [name, str(len(found))]
        cells += [_numbers([r["cam"][k] for r in found]) for k in ("cam_miou", "cam_fwiou")]
        for gate in ("off", "on"):
            for key in ("miou", "common", "fwiou"):
                cells.append(_numbers([r["gate"][gate][key] for r in found], spread=key == "fwiou"))
        low, high = (statistics.fmean(r["gate"]["on"]["interval"][i] for r in found) for i in (0, 1))
        minutes = statistics.fmean(r["minutes"] for r in found)
        whole = all(r["complete"] for r in found)
        cells += [f"{low:.3f}–{high:.3f}", f"{'' if whole else '> '}{minutes:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _numbers(values: Sequence[float], spread: bool = True) -> str:
    """Write the mean, and the range of several values."""
    mean = f"{statistics.fmean(values):.3f}"
    return f"{mean} ({min(values):.3f}–{max(values):.3f})" if spread and len(values) > 1 else mean


def masks_table(results: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Return a Markdown table of :func:`run_masks`."""
    head = ["row", "seeds", "mIoU", "FwIoU", "FwIoU, 95 %", "FwIoU, several classes"]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    for name in names:
        if found := [r for r in results if r["row"]["name"] == name]:
            miou, fwiou, mixed = (_numbers([r[k] for r in found]) for k in ("miou", "fwiou", "mixed"))
            intervals = [
                r["interval"] for r in found if "interval" in r
            ]  # results of an earlier state have none
            low, high = (
                statistics.fmean(i[end] for i in intervals) if intervals else math.nan for end in (0, 1)
            )
            cells = [name, str(len(found)), miou, fwiou, f"{low:.3f}–{high:.3f}", mixed]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
