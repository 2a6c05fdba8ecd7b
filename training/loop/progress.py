"""The progress bar of a training run on a terminal: epoch, batches, loss and the time left in the epoch."""

from __future__ import annotations

import logging
import sys
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

__all__ = ["TrainingBar", "wants_bar"]


def wants_bar() -> bool:
    """Whether somebody looks: stderr is a terminal, and the log is not quiet."""
    return sys.stderr.isatty() and logging.getLogger("training").isEnabledFor(logging.INFO)


class TrainingBar(ProgressBar):
    """One line that is gone when the epoch is over; the log line of the epoch stays.

    Parameters
    ----------
    epochs : int
        Number of epochs of the run.
    console : rich.console.Console, optional
        Where to draw; default stderr.
    """

    def __init__(self, epochs: int, console: Console | None = None) -> None:
        super().__init__()
        self.epochs = epochs
        self._console = console or Console(stderr=True)
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def disable(self) -> None:
        """Lightning asks for this on all devices but the first."""
        self._console = Console(quiet=True)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start a bar for the epoch."""
        self._start(f"epoch {trainer.current_epoch + 1}/{self.epochs}", int(trainer.num_training_batches))

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count a batch and show the mean loss so far."""
        module: Any = pl_module
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, advance=1, loss=f"loss {module.mean_loss:.3f}")

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say that val is being scored."""
        batches = trainer.num_val_batches
        total = sum(int(n) for n in batches) if isinstance(batches, list) else int(batches)
        self._start(f"epoch {trainer.current_epoch + 1}/{self.epochs} val", total)

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count a batch of val."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, advance=1)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the bar away before the epoch's log line is written."""
        self._stop()

    on_validation_end = on_train_epoch_end

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Leave the terminal as it was, however the run ended."""
        self._stop()

    def _start(self, text: str, total: int) -> None:
        self._stop()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[loss]}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._progress.add_task(text, total=total, loss="")
        self._progress.start()

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
