"""Finished tile rows in memory: blended sums become labels, tables and pyramid lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiling.engine.blend import RowBlender, Strip
from tiling.engine.commit import FinishedRow
from tiling.engine.field import FieldGate
from tiling.engine.predictor import Prediction, require_whole
from tiling.grid import TileGrid
from tiling.plan import RunPlan, TileBatch
from tiling.store import FLAG_EMPTY, FLAG_PREDICTED, FLAG_READ_ERROR, StoreLayout

__all__ = ["RowAssembler"]


@dataclass
class _Open:
    """The row being assembled."""

    row: int
    lines: dict[str, NDArray[np.uint8]]
    table: dict[str, NDArray[Any]]
    tiles: int = 0
    read_errors: int = 0


class RowAssembler:
    """Blends the predictions of one row after the other.

    Parameters
    ----------
    plan : RunPlan
    layout : StoreLayout
    thresholds : sequence of float, optional
        Of the presence field; None: predictions are gated already.
    """

    def __init__(self, plan: RunPlan, layout: StoreLayout, thresholds: Sequence[float] | None = None) -> None:
        self._plan = plan
        self._layout = layout
        classes = len(layout.schema)
        self._field = (
            None if thresholds is None else FieldGate(plan.grid, thresholds, classes, self._take_strip)
        )
        self._blender = RowBlender(
            plan.grid, classes, self._take_strip if self._field is None else self._field.take
        )
        self._cams = RowBlender(plan.cam_grid, classes, self._take_cams) if plan.cam_grid else None
        self._abbreviations = [c.abbreviation for c in layout.schema.classes]
        self._now: _Open | None = None

    def restore(self, carry: dict[str, NDArray[Any]]) -> None:
        """Take over the carry of the last committed row."""
        self._blender.restore(carry["blend"])
        if self._field is not None:
            self._field.restore(carry["presence"])
        if self._cams is not None:
            self._cams.restore(carry["cams"])

    def begin(self, row: int) -> None:
        """Start a row."""
        plan, columns = self._plan, self._plan.grid.columns
        classes = len(self._layout.schema)
        lines = {"labels": _blank(plan.grid, row)}
        for kind, grid in (("probabilities", plan.grid), ("cams", plan.cam_grid)):
            if grid is not None and (kind == "cams" or self._layout.probabilities):
                lines |= {f"{kind}/{name}": _blank(grid, row) for name in self._abbreviations}
        table: dict[str, NDArray[Any]] = {
            "flags": np.full(columns, FLAG_EMPTY, np.uint8),
            "confidence": np.full(columns, np.nan, np.float32),
            "presence": np.full((columns, classes), np.nan, np.float32),
            "shares": np.full((columns, classes), np.nan, np.float32),
        }
        self._now = _Open(row, lines, table)
        self._blender.begin_row(row)
        if self._field is not None:
            self._field.begin_row(row)
        if self._cams is not None:
            self._cams.begin_row(row)

    def add(
        self,
        batch: TileBatch,
        prediction: Prediction,
        unreadable: tuple[int, ...] = (),
        doubts: NDArray[np.uint8] | None = None,
    ) -> None:
        """Add a predicted batch; unreadable tiles are flagged and contribute nothing, doubtful ones are flagged.

        Raises
        ------
        PredictionError
            When the prediction is not what was asked for.
        """
        now = self._require()
        columns = batch.columns
        cams = self._plan.cam_grid
        require_whole(
            prediction,
            len(columns),
            len(self._layout.schema),
            self._plan.grid.tile,
            None if cams is None else cams.tile,
        )
        good = [i for i, column in enumerate(columns) if column not in unreadable]
        kept = tuple(columns[i] for i in good)
        probabilities = prediction.probabilities
        everything = len(good) == len(columns)
        if self._field is not None:
            self._field.know(kept, prediction.presence[good])
        self._blender.add(kept, probabilities if everything else probabilities[good])
        if self._cams is not None:
            assert prediction.cams is not None, "checked above"
            self._cams.add(kept, prediction.cams if everything else prediction.cams[good])
        at = list(kept)
        now.table["flags"][at] = FLAG_PREDICTED | (0 if doubts is None else doubts[good])
        now.table["flags"][list(unreadable)] = FLAG_EMPTY | FLAG_READ_ERROR
        now.table["presence"][at] = prediction.presence[good]
        if prediction.confidence is not None:
            now.table["confidence"][at] = prediction.confidence[good]
        if prediction.shares is not None:
            now.table["shares"][at] = prediction.shares[good]
        now.tiles += len(kept)
        now.read_errors += len(unreadable)

    def finish(self) -> FinishedRow:
        """End the row; what is returned is independent of later rows."""
        now = self._require()
        self._blender.end_row()
        # The blender goes on with its carry while this one is being written.
        carry: dict[str, NDArray[Any]] = {"blend": self._blender.carry.copy()}
        if self._field is not None:
            self._field.end_row()
            carry["presence"] = self._field.presence.copy()
        if self._cams is not None:
            self._cams.end_row()
            carry["cams"] = self._cams.carry.copy()
        self._now = None
        return FinishedRow(
            row=now.row,
            first=self._plan.grid.finished_lines(now.row)[0],
            lines=now.lines,
            table=now.table,
            carry=carry,
            tiles=now.tiles,
            read_errors=now.read_errors,
        )

    def _require(self) -> _Open:
        if self._now is None:
            raise ValueError("begin() a row first")
        return self._now

    def _take_strip(self, strip: Strip) -> None:
        now = self._require()
        now.lines["labels"][strip.place] = strip.labels()
        if self._layout.probabilities:
            self._take_values("probabilities", strip)

    def _take_cams(self, strip: Strip) -> None:
        self._take_values("cams", strip)

    def _take_values(self, kind: str, strip: Strip) -> None:
        now = self._require()
        values = np.rint(np.clip(strip.means(), 0, 1) * 255).astype(np.uint8)
        for name, value in zip(self._abbreviations, values, strict=True):
            now.lines[f"{kind}/{name}"][strip.place] = value


def _blank(grid: TileGrid, row: int) -> NDArray[np.uint8]:
    first, last = grid.finished_lines(row)
    return np.zeros((last - first, grid.width), np.uint8)
