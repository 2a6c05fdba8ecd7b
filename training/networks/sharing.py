"""Two encoders for little more than one: stage 2 keeps how stage 1's begins, and stage 1 looks at fewer places."""

from __future__ import annotations

from napari_wsss.models import EfficientNetLite0, LiteClassifier, PatchClassifier, SegmentationNetwork
from tiling.errors import TrainingError
from training.networks.cams import at_stride
from training.networks.freezing import freeze_encoder

__all__ = ["gatekeeper", "share_stages"]


def share_stages(network: SegmentationNetwork, stage1: PatchClassifier, stages: int) -> bool:
    """Give a segmentation network the encoder of stage 1 and hold its first stages still.

    A tile passes layers that are the same in both networks once (:mod:`napari_wsss.backends.graph`).

    Parameters
    ----------
    network : SegmentationNetwork
        Changed in place.
    stage1 : PatchClassifier
        Trained.
    stages : int
        As in :func:`training.networks.freezing.freeze_encoder`; 0 shares nothing.

    Returns
    -------
    bool
        Whether they share: False where not both have the light encoder, of one width and with the same input.
    """
    own, first = _encoder(network), _encoder(stage1)
    if not stages or own is None or first is None or own.width != first.width:
        return False
    if any(
        network.arguments.get(key) != stage1.arguments.get(key) for key in ("colour_smoothing", "enlarge")
    ):
        return False
    wanted = own.state_dict()
    own.load_state_dict({key: value for key, value in first.state_dict().items() if key in wanted})
    freeze_encoder(network, stages)
    return True


def gatekeeper(stage1: PatchClassifier, stride: int) -> PatchClassifier:
    """Return stage 1 at the stride at which it tells what a tile holds; as it is, where that would be another function.

    Parameters
    ----------
    stage1 : PatchClassifier
    stride : int
        Input pixels per place; 0 keeps the network as it is.
    """
    if not isinstance(stage1, LiteClassifier):
        return stage1
    try:
        return at_stride(stage1, stride)
    except TrainingError:  # a narrow one
        return stage1


def _encoder(network: SegmentationNetwork | PatchClassifier) -> EfficientNetLite0 | None:
    return next((m for m in network.modules() if isinstance(m, EfficientNetLite0)), None)
