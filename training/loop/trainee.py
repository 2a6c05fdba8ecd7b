"""A network in training: its optimiser, schedule, averaged weights and checkpoints; subclasses add the loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import lightning as L
import torch
from torch import Tensor, nn

from tiling.errors import TrainingError
from training.settings import LearningRateSchedule, OptimiserSettings

__all__ = ["Trainee", "channels_last"]


_N = TypeVar("_N", bound=nn.Module)


def channels_last(network: _N) -> _N:
    """Lay out a network's kernels as its images lie: depthwise convolutions are many times faster on a CPU so."""
    convert: Callable[..., _N] = network.to
    return convert(memory_format=torch.channels_last)


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
        self.network = channels_last(network)
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
