"""The training loop both stages share: one Lightning module base, checkpoints, log and messages.

A run is resumed at the last finished epoch. Everything random is a function of (seed, epoch, …), so a resumed run
ends where an uninterrupted one does.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import lightning as L
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from tiling.errors import TrainingError
from training.keeper import History, Keeper
from training.presets import OptimiserSettings
from training.progress import TrainingBar, wants_bar
from training.reports import Reporter, SamplePages
from training.run import RunFolder
from training.schedules import LearningRateSchedule

__all__ = ["History", "LoopOptions", "Trainee", "fit", "load_best", "options_of", "seed_everything"]

_log = logging.getLogger("training")
_PRECISIONS: dict[str, Any] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass(frozen=True)
class LoopOptions:
    """Where and how a run computes; only seed and precision decide its result."""

    seed: int = 1
    device: str = "auto"
    devices: str = "1"
    strategy: str = "auto"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    workers: int = 0
    eval_interval: int = 1
    sync_bn: bool = False
    tensorboard: bool = False
    pictures: bool = True


class Trainee(L.LightningModule):
    """A network with its optimiser, schedule and averaged weights; subclasses add the loss and the validation.

    Parameters
    ----------
    network : nn.Module
    settings : OptimiserSettings
    schedule : LearningRateSchedule
    seed : int
    """

    def __init__(
        self, network: nn.Module, settings: OptimiserSettings, schedule: LearningRateSchedule, seed: int
    ) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.settings = settings
        self.schedule = schedule
        self.seed = seed
        self.scores: dict[str, float] = {}
        """Scores of the last validation, by column name of the log."""
        self.batch_names: list[str] = []
        """Names of the patches by index, for the message about a loss that is not a number."""
        self._loss_sum, self._loss_count = 0.0, 0
        self._average = (
            {k: v.detach().clone() for k, v in network.state_dict().items()} if settings.ema > 0 else None
        )

    # -- what subclasses say ------------------------------------------------------------------------------------------

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return optimiser groups with their own lr and weight decay."""
        raise NotImplementedError

    def loss(self, batch: Any) -> Tensor:
        """Return the loss of a batch."""
        raise NotImplementedError

    def label_maps(self, images: Tensor) -> dict[str, Tensor]:
        """Return label maps (N, H, W) to look at, by name, for a batch of images."""
        return {}

    @property
    def score(self) -> float | None:
        """The number that chooses the best epoch (higher is better); None without validation."""
        return self.scores.get("score")

    # -- Lightning ----------------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        """Build the optimiser and a schedule that counts steps."""
        groups = [g for g in self.parameter_groups() if g["params"]]
        devices = 1 if self._trainer is None else self.trainer.world_size
        if devices > 1:
            # Each device sees its part of an epoch, so there are fewer steps than batches.
            steps = -(-self.schedule.steps_per_epoch // devices)
            self.schedule = replace(self.schedule, steps_per_epoch=steps)
        s = self.settings
        optimiser: torch.optim.Optimizer
        if s.name == "sgd":
            optimiser = torch.optim.SGD(groups, lr=s.lr, momentum=s.momentum, nesterov=s.nesterov)
        else:
            optimiser = torch.optim.AdamW(groups, lr=s.lr)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, self.schedule.factor)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        """Start the epoch in training mode, as the network understands it (ResNet38 keeps its batch norm still)."""
        self.network.train()
        self._loss_sum, self._loss_count = 0.0, 0

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Compute the loss; stop with the names of the patches when it is not a number."""
        # Dropout becomes a function of seed, step and device, whatever the loader or a resume has drawn before.
        torch.manual_seed((self.seed * 1_000_003 + self.global_step) * 1009 + self.global_rank)
        loss = self.loss(batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            names = ", ".join(self.batch_names[int(i)] for i in batch[-1]) if self.batch_names else "unknown"
            raise TrainingError(
                f"The loss became {value} in epoch {self.current_epoch + 1}, batch {batch_idx + 1} (patches: {names}); "
                "lower --lr, set --gradient-clip, or look at these patches."
            )
        self._loss_sum += value
        self._loss_count += 1
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Move the averaged weights a little; early steps count more, so that the start is forgotten."""
        if self._average is None:
            return
        decay = min(self.settings.ema, (1 + self.global_step) / (10 + self.global_step))
        with torch.no_grad():
            for key, value in self.network.state_dict().items():
                average = self._average[key].to(value.device)
                self._average[key] = (
                    average.lerp_(value, 1 - decay) if value.is_floating_point() else value.clone()
                )

    @property
    def mean_loss(self) -> float:
        """Mean training loss of the epoch so far."""
        return self._loss_sum / max(1, self._loss_count)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Use the averaged weights inside the block (nothing changes without ``ema``)."""
        if self._average is None:
            yield
            return
        own = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.network.load_state_dict(self._average)
        try:
            yield
        finally:
            self.network.load_state_dict(own)

    def on_validation_start(self) -> None:
        """Validate the averaged weights."""
        self._swap = self.averaged()
        self._swap.__enter__()

    def on_validation_end(self) -> None:
        """Go back to the weights in training."""
        self._swap.__exit__(None, None, None)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the averaged weights."""
        if self._average is not None:
            checkpoint["average"] = self._average

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the averaged weights back."""
        if self._average is not None:
            self._average = dict(checkpoint["average"])

    def weights(self) -> dict[str, Tensor]:
        """Return the weights that a bundle gets: averaged where there is an average."""
        state = self.network.state_dict() if self._average is None else self._average
        return {k: v.detach().cpu().contiguous().clone() for k, v in state.items()}


def fit(
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
        checkpoint = str(folder.last) if folder.last.is_file() else None
        if checkpoint:
            _log.info("continuing from %s", folder.last)
        trainer.fit(trainee, train, val, ckpt_path=checkpoint, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    return history


def load_best(trainee: Trainee, folder: RunFolder) -> None:
    """Put the weights of the best epoch into the network."""
    trainee.network.load_state_dict(load_file(folder.best))


def _devices(text: str, accelerator: str) -> Any:
    """Read ``--devices``: a count, or a list of ids such as ``0,1``."""
    if accelerator == "cpu" or not torch.cuda.is_available():
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


def options_of(args: Any) -> LoopOptions:
    """Read the device options of the command line."""
    return LoopOptions(
        seed=args.seed,
        device="cpu" if args.no_cuda else args.device,
        devices=args.devices,
        strategy=args.strategy,
        precision=args.precision,
        workers=args.workers,
        eval_interval=getattr(args, "eval_interval", 1),
        sync_bn=bool(getattr(args, "sync_bn", False)),
        tensorboard=args.tensorboard,
        pictures=args.pictures,
    )
