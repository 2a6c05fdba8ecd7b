"""Where and how a training program computes, and what people will read about its result."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

__all__ = ["BundleTexts", "LoopOptions", "options_of", "texts_of"]


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
    samples: int = 8


@dataclass(frozen=True)
class BundleTexts:
    """What people read about a bundle, and how it is stored.

    Attributes
    ----------
    name : str or None
        Default: the run folder's.
    description, licence, training_data : str
    mpp : float or None
        µm per pixel of the patches; default 1.0 (10×, as the published sets).
    half : bool
        Store 16-bit weights.
    """

    name: str | None = None
    description: str = ""
    licence: str = ""
    training_data: str = ""
    mpp: float | None = None
    half: bool = False


def texts_of(args: Any) -> BundleTexts:
    """Read the bundle's texts from the command line."""
    return BundleTexts(args.name, args.description, args.licence, mpp=args.mpp, half=args.half)


def options_of(args: Any) -> LoopOptions:
    """Read the device options of the command line; a program lacks some."""
    said = {field.name: getattr(args, field.name) for field in fields(LoopOptions) if field.name in args}
    return LoopOptions(**said | ({"device": "cpu"} if args.no_cuda else {}))
