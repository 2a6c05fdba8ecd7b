from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from napari_wsss.plugin.segment.run_state import LegendRow, RunState, advance, duration, legend, progress_text
from tiling.engine.events import BlockWritten, Finished, Planned, Progress, TilesDone
from tiling.geometry import Box
from tiling.synthetic import SYNTHETIC_SCHEMA

PLANNED = Planned(Path("a.zarr"), 100, 50, 1.0, 40, 4, 8, 1, 1000)


def block(counts: list[int]) -> BlockWritten:
    return BlockWritten(0, Box(0, 0, 2, 1), np.zeros((1, 2), np.uint8), np.array(counts))


def test_the_story_of_a_run() -> None:
    state = advance(RunState("starting"), PLANNED)
    assert (state.phase, state.tiles_done, state.tiles, state.store) == ("running", 4, 40, Path("a.zarr"))
    state = advance(state, TilesDone(1, (0, 1), 6, 40))
    state = advance(state, block([5, 3, 0, 0, 1]))
    state = advance(state, Progress(6, 40, 1, 8, 12.4, 4.0, 0.5, 0.5, 0.1))
    assert progress_text(state) == "6 / 40 tiles · 4.0 tiles/s · 0:08 left · elapsed 0:12"
    assert state.is_active
    state = advance(state, Finished(Path("a.zarr"), "done", 40, 75.0, {"Tumour": 1.5}))
    assert not state.is_active
    assert progress_text(state) == "Finished: 40 tiles in 1:15."


def test_cancelling_goes_on_while_events_still_come() -> None:
    state = advance(RunState("cancelling"), PLANNED)
    assert state.phase == "cancelling"
    assert "Cancelling…" in progress_text(state)
    assert RunState("cancelled", store=Path("a.zarr")).can_resume
    assert not RunState("done", store=Path("a.zarr")).can_resume


def test_areas_so_far_and_in_the_end() -> None:
    state = RunState("running", mpp=0.5, counts=(10, 3_000_000, 1_000_000, 0, 0))
    rows = legend(SYNTHETIC_SCHEMA, state)
    assert [row.label for row in rows] == [1, 2, 3, 4]
    assert rows[0].mm2 == pytest.approx(0.75)
    assert rows[0].percent_text == "75.0 %"
    assert rows[1].area_text == "0.250 mm²"
    done = RunState("done", areas={"Tumour": 2.0, "Stroma": 6.0})
    assert [row.percent_text for row in legend(SYNTHETIC_SCHEMA, done)] == ["25.0 %", "75.0 %", "0 %", "0 %"]


def test_nothing_yet() -> None:
    assert all(row.share == 0 == row.mm2 for row in legend(SYNTHETIC_SCHEMA, RunState()))
    assert progress_text(RunState()) == ""


@pytest.mark.parametrize(
    ("mm2", "text"),
    [
        (0, "0 mm²"),
        (0.000123, "0.000123 mm²"),
        (0.04567, "0.0457 mm²"),
        (12.345, "12.3 mm²"),
        (1234.5, "1234 mm²"),
    ],
)
def test_areas_have_three_digits(mm2: float, text: str) -> None:
    assert LegendRow(1, "a", "#000000", 0.0, mm2).area_text == text


def test_small_shares_are_not_nothing() -> None:
    assert LegendRow(1, "a", "#000000", 0.0002, 1.0).percent_text == "< 0.1 %"


@given(st.floats(0, 1e6))
def test_durations(seconds: float) -> None:
    parts = [int(part) for part in duration(seconds).split(":")]
    assert sum(part * 60**i for i, part in enumerate(reversed(parts))) == round(seconds)
    assert all(part < 60 for part in parts[1:])
