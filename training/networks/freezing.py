"""Holding the early part of a pretrained encoder still: few patches teach late layers, and spoil early ones."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from napari_wsss.models import EfficientNetLite0
from tiling.errors import TrainingError

__all__ = ["StillBatchNorm2d", "freeze_encoder"]


class StillBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that normalises in training as at inference; its keys are those of ``nn.BatchNorm2d``."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, K, H, W) with the running statistics, which stay as they are."""
        return functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
        )


def freeze_encoder(network: nn.Module, stages: int) -> None:
    """Keep the first stages of the encoder as they are, and the batch-norm statistics of all of it.

    With a few dozen patches the statistics of a batch say more about the patches in it than about tissue.

    Parameters
    ----------
    network : nn.Module
        A network of the light pair; changed in place.
    stages : int
        Stages of the published table that do not train: 1 is the stem alone, 9 everything.

    Raises
    ------
    TrainingError
        When the network has another encoder.
    """
    encoders = [m for m in network.modules() if isinstance(m, EfficientNetLite0)]
    if not encoders:
        raise TrainingError(
            "Only the encoder efficientnet-lite0 can be frozen in part; set frozen stages to 0."
        )
    for encoder in encoders:
        _still(encoder)
        for part in encoder.stages(stages):
            part.requires_grad_(False)


def _still(module: nn.Module) -> None:
    """Replace every batch norm by its still form, with the same tensors."""
    for name, child in list(module.named_children()):
        if type(child) is nn.BatchNorm2d:
            still = StillBatchNorm2d(child.num_features, child.eps)
            still.load_state_dict(child.state_dict())
            setattr(module, name, still)
        else:
            _still(child)
