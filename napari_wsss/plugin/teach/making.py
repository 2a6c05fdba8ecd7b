"""From labels to a model: the quick one at once, a trained one in the background."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_wsss.plugin.common import Job, Starter
from napari_wsss.plugin.segment import SegmentSession, session_for
from napari_wsss.plugin.teach.words import clock_words

if TYPE_CHECKING:
    from napari_wsss.plugin.teach.workspace import Workspace
    from napari_wsss.project import Project

__all__ = ["Making", "Training", "advance"]

QUICK = "quick"
TRAINED = "trained"

STEPS = {
    "patches": "cutting patches and drawing masks",
    "stage2": "learning to draw classes",
    "evaluate": "scoring",
}
"""The programs of a training in a pathologist's words."""


@dataclass(frozen=True)
class Training:
    """What is known of a training.

    Attributes
    ----------
    name : str
        Of the model that it makes.
    step : str
        What it does now, in words.
    epoch, epochs : int
    losses : tuple of float
        Of the step in work, one per epoch told.
    score : float or None
    share : float
        Of the whole, 0 … 1.
    seconds_left : float or None
    samples : Path or None
        A picture of what it draws by now.
    """

    name: str
    step: str = "starting"
    epoch: int = 0
    epochs: int = 0
    losses: tuple[float, ...] = field(default=())
    score: float | None = None
    share: float = 0.0
    seconds_left: float | None = None
    samples: Path | None = None

    def words(self) -> str:
        """Return one line about it."""
        parts = [self.step]
        if self.epochs:
            parts.append(f"round {self.epoch} of {self.epochs}")
        if self.losses:
            parts.append(f"loss {self.losses[-1]:.3g}")
        if self.score is not None:
            parts.append(f"score {self.score:.2f}")
        if self.seconds_left is not None:
            parts.append(f"{clock_words(self.seconds_left)} left")
        return " · ".join(parts)


def advance(training: Training, event: Any) -> Training:
    """Return what is known after an event of :meth:`napari_wsss.project.Project.train`."""
    step = getattr(event, "step", None)
    if step is None:  # the bundle is written
        return replace(training, step="done", share=1.0, seconds_left=0.0)
    words = STEPS.get(step.partition(" ")[0], step)
    if words != training.step:
        training = replace(training, step=words, epoch=0, epochs=0, losses=(), score=None)
    if not hasattr(event, "share"):
        return training
    losses = training.losses
    if event.loss is not None and (event.epoch != training.epoch or not losses):
        losses = (*losses, event.loss)
    elif event.loss is not None:
        losses = (*losses[:-1], event.loss)
    return replace(
        training,
        epoch=event.epoch,
        epochs=event.epochs,
        losses=losses,
        score=training.score if event.score is None else event.score,
        share=event.share,
        seconds_left=event.seconds_left,
        samples=event.samples or training.samples,
    )


class Making:
    """Makes models of the project.

    Parameters
    ----------
    work : Workspace
    start : callable
        Starts a job in another thread.

    Attributes
    ----------
    training : Training or None
        The training that goes on, or the last one.
    unfinished : str
        Name of a training that was begun and not finished; empty when there is none.
    goes_on : str
        Name of the trained model that the next training goes on from; empty when there is none.
    fresh : bool
        Whether the next training starts anew all the same.
    """

    def __init__(self, work: Workspace, start: Starter) -> None:
        self.work = work
        self.training: Training | None = None
        self.unfinished = ""
        self.goes_on = ""
        self.fresh = False
        self._start = start
        self._quick: Job[Path] | None = None
        self._train: Job[Any] | None = None
        self._session: SegmentSession | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a model is being made."""
        return self._quick is not None or self._train is not None

    @property
    def is_training(self) -> bool:
        """Whether a training goes on."""
        return self._train is not None

    def reset(self) -> None:
        """Stop (another project); a training can be gone on with."""
        for job in (self._quick, self._train):
            if job is not None:
                job.cancel()
                job.wait(10)
        self._quick = self._train = self.training = self._session = None

    def look_up(self) -> None:
        """See whether there is a training that was not finished."""
        project = self.work.project
        begun = [] if project is None else sorted(project.folder.glob("runs/*"), key=_changed_at)
        finished = set() if project is None else set(project.models())
        waiting = [folder.name for folder in begun if folder.is_dir() and folder.name not in finished]
        self.unfinished = waiting[-1] if waiting else ""
        self.goes_on = "" if project is None else project.goes_on_from()
        self.work.changed()

    def quick(self) -> bool:
        """Make the quick model, encoder and head, and choose it in *Segment slide*; tell whether that was started."""
        project = self.work.project
        if project is None or self._quick is not None:
            return False
        self.work.say("Making the quick model …")
        self._quick = Job(partial(_quick_made, project))
        self._start(self._quick)
        return True

    def train(self) -> bool:
        """Train a model, or go on with one that was interrupted; tell whether that was started."""
        project = self.work.project
        if project is None or self._train is not None:
            return False
        if not self.work.labels():
            self.work.say("Label some tiles first: a model learns from them.")
            return False
        name = self.unfinished or self._free_name(project)
        self.training = Training(name)
        self.work.say()
        self._train = Job(partial(project.train_events, name, fresh=self.fresh))
        self._start(self._train)
        return True

    def cancel(self) -> None:
        """Stop the training; what is done is kept, and Train goes on with it."""
        if self._train is not None:
            self._train.cancel()
            self.work.say("Stopping …")

    def poll(self) -> bool:
        """Take what the jobs have done; tell whether there was something."""
        return self._poll_quick() | self._poll_training()

    def _poll_quick(self) -> bool:
        job = self._quick
        if job is None or not job.has_ended:
            return False
        self._quick = None
        if job.error is not None:
            self.work.report(job.error)
        else:
            self._offer(job.poll()[0])
        return True

    def _poll_training(self) -> bool:
        job = self._train
        if job is None:
            return False
        ended = job.has_ended
        events = job.poll()
        for event in events:
            assert self.training is not None
            self.training = advance(self.training, event)
            if (bundle := getattr(event, "bundle", None)) is not None:
                self._offer(bundle, event.advice, event.use)
        if ended:
            self._train = None
            if job.error is not None:
                self.work.report(job.error)
            elif job.outcome == "cancelled":
                self.work.say("Stopped; Train goes on from here, also tomorrow.")
            self.look_up()
        if events or ended:
            self.work.changed()
        return bool(events) or ended

    def _offer(self, bundle: Path, advice: str = "", use: Path | None = None) -> None:
        """Choose a model in the Segment dock, the better one of two, and say what is to be said about it."""
        chosen = use or bundle
        self._session = session_for(self.work.viewer)  # held until its dock is opened, or our project closed
        self._session.choose_bundle(str(chosen))
        where = "and chosen in “Segment slide”"
        if chosen != bundle:
            where = f"; “{chosen.name}” is better and chosen in “Segment slide”"
        self.work.say(f"The model “{bundle.name}” is ready {where}. {advice}".replace(" ;", ";").rstrip())

    def _free_name(self, project: Project) -> str:
        taken = set(project.models())
        number = 1
        while f"{TRAINED}-{number}" in taken:
            number += 1
        return f"{TRAINED}-{number}"


def _changed_at(path: Path) -> float:
    return path.stat().st_mtime


def _quick_made(project: Project) -> Generator[Path]:
    yield project.quick_model(QUICK)
