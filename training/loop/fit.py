"""The training loop both stages share: checkpoints, log and messages.

A run is resumed at the last finished epoch. Everything random is a function of (seed, epoch, …), so a resumed run
ends where an uninterrupted one does.
"""

from __future__ import annotations

import logging
import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from safetensors.torch import load_file
from torch.utils.data import DataLoader

from napari_wsss.models import sha256_of
from tiling.errors import BundleError, TrainingError
from tiling.files import read_json
from training.loop.keeper import History, Keeper
from training.loop.progress import TrainingBar, wants_bar
from training.loop.reports import Reporter, SamplePages
from training.loop.run_folder import RunFolder
from training.loop.trainee import Trainee
from training.settings import LoopOptions

__all__ = ["History", "fit_trainee", "load_best", "run_device", "seed_everything"]

_log = logging.getLogger("training")
_PRECISIONS: dict[str, Any] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def fit_trainee(
    trainee: Trainee,
    train: DataLoader[Any],
    val: DataLoader[Any] | None,
    folder: RunFolder,
    epochs: int,
    options: LoopOptions,
    pages: SamplePages | None = None,
) -> History:
    """Train, or continue to train, and return the history; the trainee holds the last weights.

    Parameters
    ----------
    trainee : Trainee
    train, val : DataLoader
        ``val`` None: no validation.
    folder : RunFolder
        Opened. Its last checkpoint, if there is one, is continued.
    epochs : int
    options : LoopOptions
    pages : SamplePages, optional
        What the page of samples shows after each epoch.

    Raises
    ------
    TrainingError
        When the loss stops being a number, or a checkpoint cannot be continued.
    """
    history = History()
    reporter = Reporter(folder, pages) if options.pictures else None
    logger: Any = False
    if options.tensorboard:
        from lightning.pytorch.loggers import TensorBoardLogger

        logger = TensorBoardLogger(folder.path, name="", version="tensorboard")
    device = "cpu" if options.device == "cpu" else ("auto" if options.device == "auto" else "gpu")
    progress = [TrainingBar(epochs)] if wants_bar() else []
    with _quiet():
        trainer = L.Trainer(
            accelerator=device,
            devices=_devices(options.devices, device),
            strategy=options.strategy,
            precision=_PRECISIONS[options.precision],
            max_epochs=epochs,
            logger=logger,
            callbacks=[Keeper(folder, history, epochs, reporter), *progress],
            enable_progress_bar=bool(progress),
            enable_model_summary=False,
            num_sanity_val_steps=0,
            check_val_every_n_epoch=options.eval_interval,
            gradient_clip_val=trainee.settings.gradient_clip or None,
            sync_batchnorm=options.sync_bn,
            default_root_dir=folder.path,
        )
        checkpoint = _checkpoint(folder)
        if checkpoint:
            _log.info("continuing from %s", folder.last)
        try:
            trainer.fit(trainee, train, val, ckpt_path=checkpoint, weights_only=True)
        except pickle.UnpicklingError as error:
            raise TrainingError(
                f"{folder.last} holds code, which is not run; pass --restart to start over."
            ) from error
    if trainer.interrupted:
        raise KeyboardInterrupt
    return history


def _checkpoint(folder: RunFolder) -> str | None:
    """Return the checkpoint to continue from, None when there is none yet.

    Raises
    ------
    TrainingError
        When it is not what was written.
    """
    if not folder.last.exists():
        return None
    try:
        known = read_json(folder.sums)
        if sha256_of(folder.last) in known:
            return str(folder.last)
    except (OSError, ValueError, TypeError, BundleError):
        pass  # The sums are missing or damaged; the answer is the same.
    raise TrainingError(
        f"{folder.last} is cut off or changed, so the run cannot be continued; pass --restart to start over."
    )


def load_best(trainee: Trainee, folder: RunFolder) -> None:
    """Put the weights of the best epoch into the network."""
    trainee.network.load_state_dict(load_file(folder.best))


def run_device(options: LoopOptions) -> torch.device:
    """Return the device of the run, the first of several: what is computed after training is computed there, too."""
    if options.device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    chosen = _devices(options.devices, "gpu")
    return torch.device("cuda", chosen[0] if isinstance(chosen, list) else 0)


def _devices(text: str, accelerator: str) -> Any:
    """Read ``--devices``: a count, or a list of ids such as ``0,1``; on a CPU, a number of processes."""
    if accelerator != "cpu" and not torch.cuda.is_available():
        return 1
    try:
        return [int(i) for i in text.split(",")] if "," in text else int(text)
    except ValueError:
        raise TrainingError(f"--devices {text!r} is neither a number nor a list such as 0,1.") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's banners and hints about workers away from the user."""
    loud = [
        logging.getLogger(n)
        for n in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")
    ]
    levels = [log.level for log in loud]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", module="torch.utils.data")
        for log in loud:
            log.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for log, level in zip(loud, levels, strict=True):
                log.setLevel(level)


def seed_everything(seed: int) -> None:
    """Seed the weights' initialisation; samples and dropout have their own seeds."""
    torch.manual_seed(seed)
