"""What preparing and training tell while they go on: small frozen events, in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = [
    "PrepareEvent",
    "PreparePlanned",
    "PrepareProgress",
    "Prepared",
    "StepFinished",
    "StepStarted",
    "TrainEvent",
    "TrainProgress",
    "Trained",
]


@dataclass(frozen=True)
class PreparePlanned:
    """The work ahead on one slide, sent first.

    Attributes
    ----------
    slide_id : str
    tiles : int
        Tissue tiles of the slide.
    done : int
        Of these, the ones that an earlier run has prepared.
    """

    slide_id: str
    tiles: int
    done: int


@dataclass(frozen=True)
class PrepareProgress:
    """Where the slide stands.

    Attributes
    ----------
    slide_id : str
    done, tiles : int
        Tiles encoded, and in all. The last up to :data:`napari_wsss.project.features.CHUNK` may not be on disk yet.
    seconds : float
        Since the start of this run on this slide.
    tiles_per_second : float
        Of this run.
    """

    slide_id: str
    done: int
    tiles: int
    seconds: float
    tiles_per_second: float

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds to go; None while nothing is known."""
        if self.tiles_per_second <= 0:
            return None
        return (self.tiles - self.done) / self.tiles_per_second


@dataclass(frozen=True)
class Prepared:
    """The features of a slide are complete.

    Attributes
    ----------
    slide_id : str
    tiles : int
    seconds : float
        Of this run; 0 when there was nothing to do.
    unreadable : int
        Tiles of this run that could not be read and have no features.
    """

    slide_id: str
    tiles: int
    seconds: float
    unreadable: int = 0


PrepareEvent = PreparePlanned | PrepareProgress | Prepared


@dataclass(frozen=True)
class StepStarted:
    """A program of the training begins.

    Attributes
    ----------
    step : str
        ``patches``, ``stage2``, or ``evaluate`` and what is evaluated on.
    number, steps : int
        Which of how many, from 1.
    """

    step: str
    number: int
    steps: int


@dataclass(frozen=True)
class TrainProgress:
    """Where a program stands.

    Attributes
    ----------
    step : str
    epoch, epochs : int
    loss : float or None
    score : float or None
        On val, where there is a val.
    share : float
        Of the whole training that is done, 0 … 1.
    seconds, seconds_left : float
        Since the start, and what is estimated to be left.
    message : str
        The program's own last line.
    samples : Path or None
        The newest page of tiles with what is known of them and what is drawn by now (PNG).
    """

    step: str
    epoch: int
    epochs: int
    loss: float | None
    score: float | None
    share: float
    seconds: float
    seconds_left: float | None
    message: str = ""
    samples: Path | None = None


@dataclass(frozen=True)
class StepFinished:
    """A program is done.

    Attributes
    ----------
    step : str
    seconds : float
        0 when an earlier run had done it.
    """

    step: str
    seconds: float


@dataclass(frozen=True)
class Trained:
    """The bundle is written.

    Attributes
    ----------
    bundle : Path
    seconds : float
    metrics : mapping
        Evaluations of this model and of the quick one, on what was set aside.
    advice : str
        A sentence or two: whether it is better than the quick model, and than the one that it goes on from.
    use : Path or None
        The better one: this bundle, or that of the model that it goes on from.
    """

    bundle: Path
    seconds: float
    metrics: Mapping[str, object] = field(default_factory=dict)
    advice: str = ""
    use: Path | None = None


TrainEvent = StepStarted | TrainProgress | StepFinished | Trained
