from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given, strategies as st

from napari_wsss.plugin.results.state import RunState, advance, progress_text
from tiling.engine.events import BlockWritten, Finished, Planned, Progress, TilesDone
from tiling.geometry import Box
from tiling.words import clock

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


def test_nothing_yet() -> None:
    assert progress_text(RunState()) == ""


def test_an_unfinished_result_of_an_earlier_session_has_no_total() -> None:
    text = progress_text(RunState("cancelled", store=Path("a.zarr"), tiles_done=305))
    assert text.startswith("305 tiles · not finished")
    assert "Resume" in text


@given(st.floats(0, 1e6))
def test_durations(seconds: float) -> None:
    parts = [int(part) for part in clock(seconds).split(":")]
    assert sum(part * 60**i for i, part in enumerate(reversed(parts))) == round(seconds)
    assert all(part < 60 for part in parts[1:])
