"""Random networks whose activations neither die out nor explode."""

from __future__ import annotations

import torch
from torch import nn


def shaken(network: nn.Module) -> nn.Module:
    """Fill a network with random weights and statistics, the same each time, and put it into eval mode."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            # Variances near those of the signal keep deep random networks from exploding.
            module.running_mean.uniform_(-0.1, 0.1, generator=generator)
            module.weight.data.uniform_(0.5, 1.0, generator=generator)
            module.bias.data.uniform_(-0.1, 0.1, generator=generator)
        if isinstance(module, nn.Conv2d):
            module.weight.data.normal_(0, module.weight[0].numel() ** -0.5, generator=generator)
    return network.eval().requires_grad_(False)
