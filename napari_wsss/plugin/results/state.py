"""Where a run stands and what a panel has to say about it, as a pure function of its events."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tiling.engine import BlockWritten, Event, Finished, Planned, Progress, TilesDone
from tiling.words import clock

__all__ = ["Phase", "RunState", "advance", "progress_text"]

Phase = Literal["idle", "starting", "running", "cancelling", "cancelled", "done", "cached", "empty", "failed"]


@dataclass(frozen=True)
class RunState:
    """Where a run stands.

    Attributes
    ----------
    phase : Phase
        ``cancelled`` and ``failed`` leave a result that can be resumed.
    store : Path or None
        The result, known once the run was planned.
    tiles_done, tiles : int
    seconds : float
        Since the start of this run; in all, once it has ended.
    tiles_per_second : float
    seconds_left : float or None
    mpp : float
        µm per label pixel.
    counts : tuple of int
        Pixels per store label over all committed lines.
    areas : dict or None
        Class name → mm², from the receipt, once the run is finished.
    message : str
        What went wrong, in full.
    """

    phase: Phase = "idle"
    store: Path | None = None
    tiles_done: int = 0
    tiles: int = 0
    seconds: float = 0.0
    tiles_per_second: float = 0.0
    seconds_left: float | None = None
    mpp: float = 0.0
    counts: tuple[int, ...] = ()
    areas: dict[str, float] | None = None
    message: str = ""

    @property
    def is_active(self) -> bool:
        """Whether a job holds the store."""
        return self.phase in ("starting", "running", "cancelling")

    @property
    def can_resume(self) -> bool:
        """Whether an unfinished result is there to go on with."""
        return self.phase in ("cancelled", "failed") and self.store is not None


def advance(state: RunState, event: Event) -> RunState:
    """Return the state after an event."""
    match event:
        case Planned():
            phase: Phase = "cancelling" if state.phase == "cancelling" else "running"
            return replace(
                state,
                phase=phase,
                store=event.store,
                tiles=event.tiles,
                tiles_done=event.tiles_done,
                mpp=event.mpp,
            )
        case TilesDone():
            return replace(state, tiles_done=event.done, tiles=event.total)
        case BlockWritten():
            return replace(state, counts=tuple(int(n) for n in event.counts))
        case Progress():
            return replace(
                state,
                tiles_done=event.tiles_done,
                tiles=event.tiles,
                seconds=event.seconds,
                tiles_per_second=event.tiles_per_second,
                seconds_left=event.seconds_left,
            )
        case Finished():
            return replace(
                state,
                phase=event.status,
                store=event.store,
                seconds=event.seconds,
                seconds_left=0.0,
                tiles_done=event.tiles,
                tiles=event.tiles,
                areas=dict(event.areas),
            )


def progress_text(state: RunState) -> str:
    """Return the line under the progress bar."""
    match state.phase:
        case "idle":
            return ""
        case "starting":
            return "Loading the model and looking for tissue…"
        case "empty":
            return "Finished: no tissue was found."
        case "cached":
            return "This result was complete already; it was checked and is shown."
    tiles = f"{state.tiles_done:,} / {state.tiles:,} tiles" if state.tiles else f"{state.tiles_done:,} tiles"
    rate = f"{state.tiles_per_second:.1f} tiles/s"
    match state.phase:
        case "done":
            return f"Finished: {state.tiles:,} tiles in {clock(state.seconds)}."
        case "cancelling":
            return f"{tiles} · Cancelling…"
        case "cancelled":
            return f"{tiles} · not finished; what is done is kept. Resume goes on from here."
        case "failed":
            return f"{tiles} · stopped by an error." if state.tiles else "Stopped by an error."
    if state.seconds_left is None:
        return f"{tiles} · elapsed {clock(state.seconds)}"
    left = clock(state.seconds_left)
    return f"{tiles} · {rate} · {left} left · elapsed {clock(state.seconds)}"
