"""Progressive dropout attention (PDA): in training, hide what the classifier already looks at most."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["progressive_dropout_attention"]


def progressive_dropout_attention(
    features: Tensor, weights: Tensor, gamma: float, normalise: bool = False
) -> Tensor:
    """Weight features by the class activations whose peaks are cut out.

    Per image and class: activation = ReLU(weights · features); values strictly above ``gamma`` × its maximum
    are set to zero; the mean over the classes multiplies the features. Gradients flow through the attention.

    Parameters
    ----------
    features : (N, K, h, w) float
        Last features of the classifier.
    weights : (C, K, 1, 1) float
        Its 1×1 classifier.
    gamma : float
        Share of the maximum that survives; 1 keeps everything.
    normalise : bool, optional
        Divide the attention by its maximum in the image, and leave an image alone that no class responds to.
        The published form (False) is unbounded: it can grow until the loss is NaN, and where every activation
        is negative it silences an image for good.

    Returns
    -------
    (N, K, h, w) float

    Notes
    -----
    Han et al., Medical Image Analysis 2022, section 3.2. The released code divides by 4, its number of
    classes; here C takes that place.
    """
    activation = functional.conv2d(features, weights).relu()
    peak = activation.amax((2, 3), keepdim=True)
    kept = torch.where(activation > gamma * peak, activation.new_zeros(()), activation)
    attention = kept.sum(1, keepdim=True) / weights.shape[0]
    if normalise:
        highest = attention.amax((2, 3), keepdim=True)
        alive = highest > 0
        attention = torch.where(alive, attention / highest.where(alive, highest.new_ones(())), 1.0)
    return features * attention
