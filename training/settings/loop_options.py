"""Where and how a training program computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["LoopOptions", "options_of"]


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
