"""The interface of stage-1 networks, and what they all do with their last features: a 1×1 convolution and a mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from napari_wsss.models.attention import progressive_dropout_attention

__all__ = ["PatchClassifier"]


class PatchClassifier(nn.Module):
    """A classifier whose logit of a class is the spatial mean of ``classifier_weights · features``.

    That is what makes the last layer's CAM known in closed form. Subclasses name the layers and give the features.

    Attributes
    ----------
    architecture : str
        Name in :mod:`napari_wsss.models.registry`.
    arguments : dict
        Constructor arguments beside the number of classes, JSON-ready.
    num_classes : int
    cam_layers : tuple of str
        Layers that have CAMs, shallow to deep; the last one is that of :meth:`features`.
    """

    architecture: str
    arguments: dict[str, Any]
    num_classes: int
    cam_layers: tuple[str, ...]

    @property
    def last_layer(self) -> nn.Conv2d:
        """The 1×1 convolution (K -> C) without bias."""
        raise NotImplementedError

    @property
    def last_dropout(self) -> nn.Module:
        """Dropout of whole feature channels before it."""
        raise NotImplementedError

    @property
    def classifier_weights(self) -> Tensor:
        """Weights of the last layer, (C, K)."""
        return self.last_layer.weight.flatten(1)

    @property
    def layer_weights(self) -> dict[str, Tensor]:
        """Weights (C, K) of inner CAM layers that have a classifier of their own."""
        return {}

    def features(self, x: Tensor) -> Tensor:
        """Return the last features, (N, 3, H, W) RGB / 255 -> (N, K, h, w)."""
        raise NotImplementedError

    def activations(self, x: Tensor, layers: Sequence[str] = (), leaf: bool = False) -> dict[str, Tensor]:
        """Return the activations (N, K, h, w) of some layers in one forward pass.

        Parameters
        ----------
        x : (N, 3, H, W) float
            RGB / 255.
        layers : sequence of str, optional
            Names of ``cam_layers``, and others that a network knows; the last features are always part of the result.
        leaf : bool, optional
            Start the graph at the first of ``layers``: what lies before runs without gradients.
        """
        raise NotImplementedError

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Trainable parameters of the classifiers (learning rate × 10 in the reference)."""
        return self.last_layer.parameters()

    def backbone_parameters(self) -> Iterator[nn.Parameter]:
        """Trainable parameters before them (learning rate × 1 in the reference)."""
        head = {id(p) for p in self.head_parameters()}
        return (p for p in self.parameters() if p.requires_grad and id(p) not in head)

    def classify(
        self, features: Tensor, pda_gamma: float | None = None, pda_normalise: bool = False
    ) -> Tensor:
        """Turn last features (N, K, h, w) into logits (N, C); see :meth:`forward` for the options."""
        if pda_gamma is not None:
            features = progressive_dropout_attention(
                features, self.last_layer.weight, pda_gamma, normalise=pda_normalise
            )
        logits: Tensor = self.last_layer(self.last_dropout(features).mean((2, 3), keepdim=True))
        return logits.flatten(1)

    def forward(self, x: Tensor, pda_gamma: float | None = None, pda_normalise: bool = False) -> Tensor:
        """Classify patches.

        Parameters
        ----------
        x : (N, 3, H, W) float
            RGB / 255.
        pda_gamma : float, optional
            Progressive dropout attention with this factor (training only); None switches it off.
        pda_normalise : bool, optional
            Use the bounded form of the attention.

        Returns
        -------
        (N, C) logits
        """
        return self.classify(self.features(x), pda_gamma, pda_normalise)
