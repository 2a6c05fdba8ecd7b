"""What happens after every epoch: a log row, the best weights, the checkpoint, the pictures."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint
from safetensors import SafetensorError
from safetensors.torch import save_file

from napari_wsss.models import sha256_of
from tiling.errors import TrainingError, WsssError
from tiling.files import read_json, write_json_atomic
from tiling.words import clock
from training.loop.reports import Reporter
from training.loop.run_folder import RunFolder

__all__ = ["History", "Keeper"]

_log = logging.getLogger("training")


@dataclass
class History:
    """One row of numbers per finished epoch, and which epoch was best on val."""

    rows: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int | None = None
    best_score: float = -math.inf

    def state_dict(self) -> dict[str, Any]:
        """Return plain numbers for the checkpoint."""
        return {"rows": self.rows, "best_epoch": self.best_epoch, "best_score": self.best_score}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        self.rows = [dict(row) for row in state["rows"]]
        self.best_epoch, self.best_score = state["best_epoch"], float(state["best_score"])


class Keeper(Checkpoint):
    """After every epoch: best weights, log row, checkpoint, pictures; each file is whole or absent.

    Parameters
    ----------
    folder : RunFolder
    history : History
        Filled in here, and kept in the checkpoint.
    epochs : int
        Number of epochs of the run, for the time left.
    reporter : Reporter, optional
    """

    def __init__(
        self, folder: RunFolder, history: History, epochs: int, reporter: Reporter | None = None
    ) -> None:
        self.folder = folder
        self.history = history
        self.epochs = epochs
        self.reporter = reporter
        self._epoch_start = self._run_start = time.monotonic()
        self._first_epoch = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the history, for the checkpoint."""
        return self.history.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the history back."""
        self.history.load_state_dict(state_dict)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock of the run."""
        self._run_start = time.monotonic()
        self._first_epoch = trainer.current_epoch

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock of the epoch."""
        self._epoch_start = time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write everything, in the order that a kill in between does not harm."""
        trainee: Any = pl_module
        epoch, now = trainer.current_epoch, time.monotonic()
        row: dict[str, float] = {"epoch": epoch + 1, "loss": round(trainee.mean_loss, 6)}
        row["lr"] = float(trainer.optimizers[0].param_groups[0]["lr"])
        row.update({k: round(v, 6) for k, v in trainee.scores.items()})
        row["seconds"] = round(now - self._epoch_start, 2)
        self.history.rows = [r for r in self.history.rows if r["epoch"] <= epoch] + [row]
        score = trainee.score
        if trainer.is_global_zero:
            if score is not None and (score > self.history.best_score or self.history.best_epoch is None):
                with _whole(self.folder.best, trainer) as temporary:
                    save_file(trainee.weights(), temporary)
                self.history.best_score, self.history.best_epoch = score, epoch + 1
            self.folder.write_log(self.history.rows)
        with _whole(self.folder.last, trainer, self.folder.sums) as temporary:
            trainer.save_checkpoint(temporary)
        if trainer.is_global_zero:
            self._say(row, now)
            if self.reporter is not None:
                self.reporter.after_epoch(trainee, self.history.rows)
        for logger in trainer.loggers:
            logger.log_metrics({k: v for k, v in row.items() if k != "epoch"}, step=epoch + 1)
        trainee.scores = {}

    def _say(self, row: Mapping[str, float], now: float) -> None:
        epoch = int(row["epoch"])
        left = (now - self._run_start) / max(1, epoch - self._first_epoch) * (self.epochs - epoch)
        scores = "  ".join(
            f"{k} {v:.3f}" for k, v in row.items() if k not in {"epoch", "lr", "seconds", "score"}
        )
        best = "  *" if self.history.best_epoch == epoch else ""
        _log.info(
            "epoch %d/%d  %s  %s, left %s%s",
            epoch,
            self.epochs,
            scores,
            clock(row["seconds"]),
            clock(left),
            best,
        )


@contextmanager
def _whole(path: Path, trainer: L.Trainer, sums: Path | None = None) -> Iterator[Path]:
    """Give a name to write under, which becomes ``path`` on success; its digest is known before it is in place.

    Every device enters, because all take part in a checkpoint; the first one writes.
    """
    temporary = path.with_suffix(".tmp")
    try:
        yield temporary
        if trainer.is_global_zero:
            if sums is not None:
                former = read_json(sums)[:1] if sums.is_file() else []
                write_json_atomic(sums, [sha256_of(temporary), *former])
            temporary.replace(path)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch says RuntimeError when a disk is full
        if isinstance(error, WsssError):
            raise
        temporary.unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise TrainingError(
            f"{path} cannot be written ({reason}); free some space and run the same command again."
        ) from error
