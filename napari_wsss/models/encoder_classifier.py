"""Stage 1 on any encoder by name: its last map, a 1×1 classifier, and classifiers on inner maps when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from torch import Tensor, nn

from napari_wsss.models.encoders import encoder_names, find_encoder
from napari_wsss.models.patch_classifier import PatchClassifier

__all__ = ["EncoderClassifier"]


class EncoderClassifier(PatchClassifier):
    """A patch classifier whose features are an encoder's last map.

    Parameters
    ----------
    num_classes : int
        Number of tissue classes C.
    encoder : str
        A name of :func:`napari_wsss.models.encoders.encoder_names`, or ``timm:NAME``.
    dropout : float, optional
        Whole feature channels dropped in training.
    deep_heads : bool, optional
        Give two inner maps 1×1 classifiers of their own, so that they have CAMs too.

    Raises
    ------
    ValueError
        For an unknown name.

    Notes
    -----
    ``cam_layers`` are ``map2``, ``map3`` and ``head`` with deep heads, else ``head`` alone: published encoders stay
    frozen, and a map that no classifier looks at has no gradient worth a CAM.
    """

    architecture = "encoder"

    def __init__(
        self, num_classes: int, encoder: str, dropout: float = 0.1, deep_heads: bool = False
    ) -> None:
        super().__init__()
        recipe = find_encoder(encoder)
        if recipe is None:
            raise ValueError(
                f"unknown encoder {encoder!r}: use one of {', '.join(encoder_names())}, timm:NAME"
            )
        self.num_classes = num_classes
        self.arguments: dict[str, Any] = {"encoder": encoder, "dropout": dropout, "deep_heads": deep_heads}
        self.encoder = recipe.make()
        channels = self.encoder.channels
        inner = list(range(1, len(channels) - 1))[-2:] if deep_heads else []
        self.cam_layers = (*(f"map{i + 1}" for i in inner), "head")
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels[-1], num_classes, 1, bias=False)
        heads = {f"map{i + 1}": nn.Conv2d(channels[i], num_classes, 1, bias=False) for i in inner}
        self.deep_classifiers = nn.ModuleDict(heads)
        for head in (self.classifier, *heads.values()):
            nn.init.xavier_uniform_(head.weight)

    @property
    def layer_weights(self) -> dict[str, Tensor]:
        """Weights (C, K) of the CAM layers that have a classifier of their own."""
        return {n: head.get_parameter("weight").flatten(1) for n, head in self.deep_classifiers.items()}

    @property
    def last_layer(self) -> nn.Conv2d:
        """``classifier``."""
        return self.classifier

    @property
    def last_dropout(self) -> nn.Module:
        """``dropout``."""
        return self.dropout

    def features(self, x: Tensor) -> Tensor:
        """Return the last map, (N, 3, H, W) RGB / 255 -> (N, K, h, w)."""
        maps: list[Tensor] = self.encoder(x)
        return maps[-1]

    def activations(self, x: Tensor, layers: Sequence[str] = (), leaf: bool = False) -> dict[str, Tensor]:
        """Return some maps in one forward pass; ``head``, the last one, is always part of the result."""
        maps: list[Tensor] = self.encoder(x)
        return {n: maps[int(n[3:]) - 1] for n in layers if n in self.cam_layers[:-1]} | {"head": maps[-1]}

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Trainable parameters of the classifiers."""
        return chain(self.classifier.parameters(), self.deep_classifiers.parameters())
