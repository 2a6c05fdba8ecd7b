"""Losses of both stages: the reference's, slips included, and the masked ones that replace them.

All losses compute in float32 whatever the precision of the network, because the reference's ignore trick puts a
logit of 100 beside the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "LossType",
    "masked_loss",
    "noise_weights",
    "partial_label_loss",
    "presence_loss",
    "reference_loss",
]

LossType = Literal["ce", "focal"]
_FOCAL_GAMMA = 2.0
_FOCAL_ALPHA = 0.5
_IGNORE_LOGIT = 100.0


def presence_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Multi-label soft-margin loss of stage 1.

    Parameters
    ----------
    logits : (N, C) float
    labels : (N, C) float, 0 or 1

    Returns
    -------
    () float32
    """
    return F.multilabel_soft_margin_loss(logits.float(), labels.float())


def _focal(cross_entropy: Tensor) -> Tensor:
    """Focal form of a cross-entropy: 0.5 (1 - p)² ce with p = exp(-ce)."""
    return _FOCAL_ALPHA * (1.0 - torch.exp(-cross_entropy)) ** _FOCAL_GAMMA * cross_entropy


def reference_loss(
    logits: Tensor, targets: Sequence[Tensor], layer_weights: Sequence[float], loss_type: LossType = "ce"
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Stage-2 loss of the released code, number for number.

    Class C (background) of the *first* target becomes an extra logit of 100; elsewhere that extra logit is 0 and
    takes part in the softmax. The mean runs over all pixels, and the batch mean is divided by the batch size once
    more. The focal form is applied to the mean, not to pixels.

    Parameters
    ----------
    logits : (N, C, H, W) float
    targets : sequence of (N, H, W) int
        Pseudo masks, deepest layer first; C is background.
    layer_weights : sequence of float
        One weight per target (0.6, 0.2, 0.2 in the reference).
    loss_type : {"ce", "focal"}

    Returns
    -------
    loss : () float32
        Weighted sum.
    terms : tuple of () float32
        One unweighted term per target.
    """
    classes = logits.shape[1]
    background = (targets[0] == classes).unsqueeze(1)
    extended = torch.cat([logits.float(), _IGNORE_LOGIT * background.float()], dim=1)
    terms = []
    for target in targets:
        term = F.cross_entropy(extended, target.long(), ignore_index=255)
        terms.append((term if loss_type == "ce" else _focal(term)) / logits.shape[0])
    total = torch.stack([w * t for w, t in zip(layer_weights, terms, strict=True)]).sum()
    return total, tuple(terms)


def masked_loss(
    logits: Tensor,
    targets: Sequence[Tensor],
    layer_weights: Sequence[float],
    loss_type: LossType = "ce",
    pixel_weights: Sequence[Tensor] | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Stage-2 loss in which background pixels take no part at all.

    Parameters
    ----------
    logits : (N, C, H, W) float
    targets : sequence of (N, H, W) int
        Pseudo masks, deepest layer first; C and above is ignored.
    layer_weights : sequence of float
        One weight per target.
    loss_type : {"ce", "focal"}
        ``focal`` is applied per pixel.
    pixel_weights : sequence of (N, H, W) float, optional
        Weight of each pixel per target (see :func:`noise_weights`).

    Returns
    -------
    loss : () float32
        Weighted sum; 0 with a gradient of 0 when every pixel is ignored.
    terms : tuple of () float32
        One unweighted term per target.
    """
    scores, classes = logits.float(), logits.shape[1]
    terms = []
    for i, target in enumerate(targets):
        valid = target < classes
        pixels = F.cross_entropy(
            scores, torch.where(valid, target, classes).long(), ignore_index=classes, reduction="none"
        )
        if loss_type == "focal":
            pixels = _focal(pixels)
        weight = valid.float() if pixel_weights is None else valid * pixel_weights[i].float()
        terms.append((pixels * weight).sum() / valid.sum().clamp(min=1))
    total = torch.stack([w * t for w, t in zip(layer_weights, terms, strict=True)]).sum()
    return total, tuple(terms)


def partial_label_loss(logits: Tensor, target: Tensor, present: Tensor) -> Tensor:
    """Negative log-likelihood of *one of the classes that the patch holds*, whichever, at every labelled pixel.

    Where in a patch of several classes which of them lies, its label does not say, and a pseudo mask says it only
    roughly. Patches of one class and mosaics, whose masks are exact, teach that better; this term leaves it to them,
    and still tells the network what a patch does not hold (learning from partial labels: Cour et al., JMLR 2011).

    Parameters
    ----------
    logits : (N, C, H, W) float
    target : (N, H, W) int
        Pseudo mask; C and above is ignored.
    present : (N, C) bool
        Patch labels; a patch with fewer than two classes takes no part.

    Returns
    -------
    () float32
        Sum over the pixels that take part, divided by the labelled pixels of the whole batch, as in
        :func:`masked_loss`; 0 with a gradient of 0 when none does.
    """
    scores = F.log_softmax(logits.float(), 1)
    several = present.sum(1) > 1
    held = present | ~several[:, None]  # a patch that takes no part has a loss of 0, never of infinity
    pixels = -torch.logsumexp(scores.masked_fill(~held[:, :, None, None], -torch.inf), 1)
    valid = target < logits.shape[1]
    return (pixels * (valid & several[:, None, None])).sum() / valid.sum().clamp(min=1)


def noise_weights(logits: Tensor, target: Tensor) -> Tensor:
    """Pixel weights that trust what the network finds easy (online easy-example mining, OEEM, MICCAI 2022).

    The softmax of the negative loss over the labelled pixels of an image, scaled to mean 1. Images whose target holds
    a single class keep weight 1: their label is exact.

    Parameters
    ----------
    logits : (N, C, H, W) float
    target : (N, H, W) int
        C and above is ignored.

    Returns
    -------
    (N, H, W) float32
        Without gradient; 0 on ignored pixels.
    """
    classes = logits.shape[1]
    with torch.no_grad():
        valid = target < classes
        safe = torch.where(valid, target, classes).long()
        loss = F.cross_entropy(logits.float(), safe, ignore_index=classes, reduction="none")
        score = (-loss).masked_fill(~valid, -torch.inf).flatten(1)
        count = valid.flatten(1).sum(1, keepdim=True)
        weights = (torch.softmax(score, dim=1) * count).nan_to_num(0.0).view_as(loss)
        one_hot = F.one_hot(safe, classes + 1)[..., :classes].flatten(1, 2).amax(1)
        single = (one_hot.sum(1) <= 1).view(-1, 1, 1)
        return torch.where(single, valid.float(), weights)
