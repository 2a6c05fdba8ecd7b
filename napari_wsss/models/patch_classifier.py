"""What every stage-1 network does with its last features: one 1×1 convolution without bias and a global mean."""

from __future__ import annotations

from torch import Tensor, nn

from napari_wsss.models.attention import progressive_dropout_attention

__all__ = ["PatchClassifier"]


class PatchClassifier(nn.Module):
    """A classifier whose logit of a class is the spatial mean of ``classifier_weights · features``.

    That is what makes the last layer's CAM known in closed form. Subclasses name the layers and give the features.
    """

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

    def features(self, x: Tensor) -> Tensor:
        """Return the last features, (N, 3, H, W) RGB / 255 -> (N, K, h, w)."""
        raise NotImplementedError

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
