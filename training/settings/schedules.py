"""Learning-rate and PDA schedules as pure functions of the step or the epoch.

Each returns a factor (learning rates) or a threshold (PDA), so a schedule can be plotted, tested and resumed
without any optimiser. The rules are those of the reference (ChuHan89/WSSS-Tissue) and of its paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

__all__ = ["SCHEDULES", "LearningRateSchedule", "PdaSchedule", "ScheduleName"]

ScheduleName = Literal["poly", "cos", "step", "constant"]
_POWER = 0.9
_STEP_FACTOR = 0.1


SCHEDULES: dict[str, Callable[[float, int, int], float]] = {
    "poly": lambda progress, epoch, lr_step: (1.0 - progress) ** _POWER,
    "cos": lambda progress, epoch, lr_step: 0.5 * (1.0 + math.cos(math.pi * progress)),
    "step": lambda progress, epoch, lr_step: _STEP_FACTOR ** (epoch // lr_step),
    "constant": lambda progress, epoch, lr_step: 1.0,
}
"""Factor by progress (0 to 1), epoch and epochs between two drops."""


@dataclass(frozen=True)
class LearningRateSchedule:
    """Learning-rate factor per optimiser step.

    Attributes
    ----------
    name : {"poly", "cos", "step", "constant"}
        ``poly`` is (1 - t/T)^0.9, ``cos`` half a cosine to 0, ``step`` a factor 0.1 every ``lr_step`` epochs.
    epochs : int
        Number of epochs.
    steps_per_epoch : int
        Optimiser steps in one epoch.
    lr_step : int
        Epochs between two drops of ``step``.
    warmup_epochs : float
        The factor rises linearly from 0 over this many epochs (it multiplies the schedule, as in the reference).
    """

    name: ScheduleName
    epochs: int
    steps_per_epoch: int
    lr_step: int = 10
    warmup_epochs: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in SCHEDULES:
            raise ValueError(f"unknown schedule {self.name!r}; one of {', '.join(SCHEDULES)}")
        if min(self.epochs, self.steps_per_epoch, self.lr_step) < 1 or self.warmup_epochs < 0:
            raise ValueError(f"a schedule needs at least one epoch, step and lr_step: {self}")

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole training."""
        return self.epochs * self.steps_per_epoch

    def factor(self, step: int) -> float:
        """Return the factor on the base rate for optimiser step ``step`` (0 is the first).

        At and after ``total_steps`` the factor stays at that of the last step, as the reference's stage 1 does.
        """
        step = min(max(step, 0), self.total_steps - 1)
        factor = SCHEDULES[self.name](step / self.total_steps, step // self.steps_per_epoch, self.lr_step)
        warmup = self.warmup_epochs * self.steps_per_epoch
        return factor * step / warmup if step < warmup else factor


@dataclass(frozen=True)
class PdaSchedule:
    """Threshold gamma of progressive dropout attention (PDA) per epoch.

    Attributes
    ----------
    start : int
        First epoch (from 0) in which PDA is active.
    decay : float
        Factor per epoch.
    floor : float
        Lower bound of gamma.
    from_start : bool
        Decay from epoch 0 even while PDA is off (the released code) instead of from ``start`` on (the paper).
    clamp : bool
        Never go below ``floor`` (the paper). Otherwise decay stops once gamma ≤ ``floor`` (the released code, which
        so overshoots it by one update).
    """

    start: int = 3
    decay: float = 0.985
    floor: float = 0.65
    from_start: bool = False
    clamp: bool = True

    def gamma(self, epoch: int) -> float | None:
        """Return gamma for ``epoch`` (from 0), or None while PDA is off."""
        if epoch < self.start:
            return None
        gamma = 1.0
        for _ in range(epoch if self.from_start else epoch - self.start + 1):
            if gamma > self.floor:
                gamma *= self.decay
        return max(gamma, self.floor) if self.clamp else gamma
