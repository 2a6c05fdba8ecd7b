"""Progress on standard error: a live display on a terminal, a plain line now and then anywhere else."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from napari_wsss.cli.border import tell
from tiling.engine import Planned, Progress
from tiling.untrusted import printable
from tiling.words import clock

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from tiling.batch import SlideJob, SlideOutcome
    from tiling.engine import Event

__all__ = ["LiveDisplay", "PlainDisplay", "make_display"]

_PLAIN_EVERY_S = 30.0


class PlainDisplay:
    """Lines for log files."""

    def __init__(self, slides: int) -> None:
        self._slides, self._done, self._last = slides, 0, time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def event(self, job: SlideJob, event: Event) -> None:
        """Say where a slide stands twice a minute."""
        if isinstance(event, Planned):
            tell(f"{printable(job.slide_id)}: {_planned(event)}")
            self._last = time.monotonic()
        elif isinstance(event, Progress) and time.monotonic() - self._last >= _PLAIN_EVERY_S:
            self._last = time.monotonic()
            tell(f"{printable(job.slide_id)}: {event.tiles_done} of {event.tiles} tiles, {_rates(event)}")

    def finished(self, outcome: SlideOutcome) -> None:
        """Say what became of a slide."""
        self._done += 1
        tell(f"[{self._done}/{self._slides}] {describe(outcome)}")

    def warn(self, message: str) -> None:
        """Say a warning."""
        tell(f"Warning: {message}")


class LiveDisplay:
    """Two bars, slides and the tiles of the current slide, with rates below them."""

    def __init__(self, slides: int, console: Console) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress as Bars, TextColumn

        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=console,
            transient=True,
        )
        self._failed = 0
        self._slides: TaskID = self._bars.add_task("Slides", total=slides, note="")
        self._tiles: TaskID = self._bars.add_task("", total=None, note="", visible=False)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def event(self, job: SlideJob, event: Event) -> None:
        """Move the bar of the current slide."""
        if isinstance(event, Planned):
            self._bars.reset(
                self._tiles,
                description=_shortened(printable(job.slide_id)),
                total=event.tiles,
                completed=event.tiles_done,
                note="",
                visible=True,
            )
        elif isinstance(event, Progress):
            self._bars.update(self._tiles, completed=event.tiles_done, total=event.tiles, note=_rates(event))

    def finished(self, outcome: SlideOutcome) -> None:
        """Leave a line for the slide and move the bar of slides."""
        self._failed += outcome.status == "failed"
        self._bars.console.print(describe(outcome), markup=False, highlight=False, soft_wrap=True)
        note = f"{self._failed} failed" if self._failed else ""
        self._bars.update(self._tiles, visible=False)
        self._bars.update(self._slides, advance=1, note=note)

    def warn(self, message: str) -> None:
        """Print a warning above the bars."""
        self._bars.console.print(f"Warning: {message}", markup=False, highlight=False, soft_wrap=True)


def _shortened(name: str) -> str:
    return name if len(name) <= 30 else f"{name[:14]}…{name[-15:]}"


def make_display(slides: int) -> PlainDisplay | LiveDisplay:
    """Choose by where standard error goes."""
    from rich.console import Console

    console = Console(stderr=True)
    return LiveDisplay(slides, console) if console.is_terminal else PlainDisplay(slides)


def describe(outcome: SlideOutcome) -> str:
    """Say in one line what became of a slide."""
    name = printable(outcome.slide_id)
    if outcome.error:
        return f"{name}: failed. {outcome.error}"
    if outcome.status == "done":
        rate = f", {outcome.tiles_per_s:.1f} tiles/s" if outcome.tiles else ""
        return f"{name}: done, {outcome.tiles} tiles in {duration(outcome.seconds)}{rate}"
    reason = "no tissue found" if outcome.status == "empty" else "complete already, receipt checked"
    return f"{name}: {outcome.status.value}, {reason}"


def duration(seconds: float) -> str:
    """Write a time span: 4.2 s, 3:07 min, 2:05:00 h."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{clock(seconds)} {'h' if round(seconds) >= 3600 else 'min'}"


def _planned(event: Planned) -> str:
    resumed = f", {event.tiles_done} of them done earlier" if event.tiles_done else ""
    return f"{event.tiles} tiles{resumed}, about {event.memory_bytes / 1e6:,.0f} MB of memory"


def _rates(event: Progress) -> str:
    left = "" if event.seconds_left is None else f"{duration(event.seconds_left)} left · "
    busy = f"read {event.read_busy:.0%} predict {event.predict_busy:.0%} write {event.write_busy:.0%}"
    return f"{event.tiles_per_second:.1f} tiles/s · {left}{busy}"
