"""The gate: stage 1's image-level probabilities switch classes off in stage 2."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor

from tiling.checks import number

__all__ = ["GateMode", "apply_gate", "open_classes"]

GateMode = Literal["mask", "reference"]


def open_classes(
    probabilities: Tensor, threshold: float | Sequence[float] | Tensor = 0.1, fallback: bool = True
) -> Tensor:
    """Decide which classes may appear in each image.

    Parameters
    ----------
    probabilities : (N, C) float
        Stage-1 probability that the class is somewhere in the image.
    threshold : float or C floats, optional
        A class passes when its probability is strictly above.
    fallback : bool, optional
        Let the most probable class pass when none does.

    Returns
    -------
    (N, C) bool
    """
    if probabilities.ndim != 2:
        raise ValueError(f"probabilities must be (N, C), not {tuple(probabilities.shape)}")
    if not isinstance(threshold, Tensor):  # those of a device are not waited for
        given = (
            threshold if isinstance(threshold, Iterable) and not isinstance(threshold, bytes) else [threshold]
        )
        threshold = [number("threshold", one) for one in given]
    limits = torch.as_tensor(threshold, dtype=probabilities.dtype, device=probabilities.device)
    if limits.ndim > 1 or limits.numel() not in (1, probabilities.shape[1]):
        raise ValueError(
            f"threshold must be one number or {probabilities.shape[1]} numbers, not {tuple(limits.shape)}"
        )
    passed = probabilities > limits
    if fallback:
        top = torch.zeros_like(passed).scatter_(1, probabilities.argmax(1, keepdim=True), True)
        passed = passed | (top & ~passed.any(1, keepdim=True))
    return passed


def apply_gate(
    logits: Tensor,
    probabilities: Tensor,
    threshold: float | Sequence[float] | Tensor = 0.1,
    mode: GateMode = "mask",
) -> Tensor:
    """Switch off the classes that stage 1 does not see in the image.

    Parameters
    ----------
    logits : (N, C, H, W) float
        Stage-2 logits; left unchanged.
    probabilities : (N, C) float
        Stage-1 probabilities of the same images.
    threshold : float or C floats, optional
        A class passes when its probability is strictly above.
    mode : {"mask", "reference"}, optional
        ``mask`` sets a closed class to −inf, so that its softmax is exactly 0, and keeps the most probable
        class when none passes. ``reference`` multiplies by 0 as the released code does: a closed class at 0
        still beats open classes with negative logits.

    Returns
    -------
    (N, C, H, W) float

    Notes
    -----
    Han et al., Medical Image Analysis 2022, define the gate on probabilities with threshold 0.1.
    """
    if logits.ndim != 4 or logits.shape[:2] != probabilities.shape:
        raise ValueError(
            f"logits (N, C, H, W) and probabilities (N, C) must agree: {tuple(logits.shape)} and "
            f"{tuple(probabilities.shape)}"
        )
    passed = open_classes(probabilities, threshold, fallback=mode == "mask")[:, :, None, None]
    if mode == "mask":
        return logits.masked_fill(~passed, float("-inf"))
    if mode == "reference":
        return logits * passed
    raise ValueError(f"unknown gate mode {mode!r}: use 'mask' or 'reference'")
