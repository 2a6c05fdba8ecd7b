"""The light stage-1 classifier: EfficientNet-Lite0 and a 1×1 classifier, whose maps are known in closed form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from torch import Tensor, nn

from napari_wsss.models.efficientnet_lite import EfficientNetLite0
from napari_wsss.models.enlarge import prepared, require_preparation
from napari_wsss.models.patch_classifier import PatchClassifier

__all__ = ["LiteClassifier"]


class LiteClassifier(PatchClassifier):
    """Stage 1 on a CPU: EfficientNet-Lite0, a 1×1 classifier without bias and a global mean.

    It mirrors :class:`~napari_wsss.models.resnet38.ResNet38`: the logit of a class is the mean over the image
    of ``classifier_weights · features``, so that the last layer's CAM is known in closed form.

    Parameters
    ----------
    num_classes : int
        Number of tissue classes C.
    width : float, optional
        Channel multiplier of the encoder; 1 = ImageNet-compatible.
    output_stride : {16, 8}, optional
        Input pixels per CAM pixel.
    dropout : float, optional
        Whole feature channels dropped in training.
    colour_smoothing : int, optional
        Side in pixels of the box that smooths the colour of the input (:mod:`napari_wsss.models.colour`), so that
        two compressions of the same glass get one answer; 0 is off.
    enlarge : float, optional
        The input is resized by this factor first (:mod:`napari_wsss.models.enlarge`): patches of fewer than about 160
        pixels hold too few places for a CAM.
    deep_heads : bool, optional
        Give the two shallower CAM layers 1×1 classifiers of their own (``layer_weights``), so that their maps need no
        gradient. Only training and CAMs use them; the logits are those of the last layer.

    Notes
    -----
    ``cam_layers`` are the ends of stages 6 and 7 of the published table (112 and 192 channels) and the head,
    all at ``output_stride``.
    """

    architecture = "efficientnet-lite0"
    cam_layers: tuple[str, ...] = ("stage6", "stage7", "head")

    def __init__(
        self,
        num_classes: int,
        width: float = 1.0,
        output_stride: int = 16,
        dropout: float = 0.5,
        colour_smoothing: int = 0,
        enlarge: float = 1.0,
        deep_heads: bool = False,
    ) -> None:
        super().__init__()
        require_preparation(colour_smoothing, enlarge)
        self.num_classes = num_classes
        self.arguments: dict[str, Any] = {
            "width": width,
            "output_stride": output_stride,
            "dropout": dropout,
            "colour_smoothing": colour_smoothing,
            "enlarge": enlarge,
        }
        if deep_heads:  # Left out when off: a bundle without them reads as before.
            self.arguments["deep_heads"] = True
        self.colour_smoothing = colour_smoothing
        self.enlarge = enlarge
        self.encoder = EfficientNetLite0(width, output_stride)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(self.encoder.channels, num_classes, 1, bias=False)
        nn.init.xavier_uniform_(self.classifier.weight)
        heads: dict[str, nn.Conv2d] = {}
        for layer in self.cam_layers[:-1] if deep_heads else ():
            channels = self.encoder.stage_channels[int(layer.removeprefix("stage")) - 2]
            heads[layer] = nn.Conv2d(channels, num_classes, 1, bias=False)
            nn.init.xavier_uniform_(heads[layer].weight)
        self.deep_classifiers = nn.ModuleDict(heads)

    @property
    def layer_weights(self) -> dict[str, Tensor]:
        """Weights (C, K) of the CAM layers that have a classifier of their own; empty without ``deep_heads``."""
        return {n: head.get_parameter("weight").flatten(1) for n, head in self.deep_classifiers.items()}

    @property
    def last_layer(self) -> nn.Conv2d:
        """``classifier``."""
        return self.classifier

    @property
    def last_dropout(self) -> nn.Module:
        """``dropout``."""
        return self.dropout

    def _prepared(self, x: Tensor) -> Tensor:
        return prepared(x, self.colour_smoothing, self.enlarge)

    def features(self, x: Tensor) -> Tensor:
        """Return the last features, (N, 3, H, W) RGB / 255 -> (N, K, H / stride, W / stride)."""
        return self.encoder.forward_stages(self._prepared(x), ())[1]

    def activations(
        self, x: Tensor, layers: Sequence[str] = cam_layers, leaf: bool = False
    ) -> dict[str, Tensor]:
        """As :meth:`PatchClassifier.activations`: ``stage2`` … ``stage8``, and ``head``."""
        numbers = {number for number in range(2, 9) if f"stage{number}" in layers}
        stages, last = self.encoder.forward_stages(self._prepared(x), numbers, leaf)
        return {f"stage{number}": value for number, value in stages.items()} | {"head": last}

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Trainable parameters of the classifier, deep ones included."""
        return chain(self.classifier.parameters(), self.deep_classifiers.parameters())
