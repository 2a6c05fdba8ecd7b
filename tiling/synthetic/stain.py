"""Stains: amounts of haematoxylin and eosin to light, by the law of Beer and Lambert."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tiling.synthetic.fields import Float

__all__ = ["Stain"]


@dataclass(frozen=True)
class Stain:
    """The stains and the lamp of one slide.

    Attributes
    ----------
    haematoxylin, eosin : tuple of float
        Natural-log optical density in red, green and blue of one unit of each stain.
    light : tuple of float
        Brightness of empty glass, 0 to 255, in red, green and blue.
    """

    haematoxylin: tuple[float, float, float]
    eosin: tuple[float, float, float]
    light: tuple[float, float, float]

    @classmethod
    def of_seed(cls, seed: int) -> Stain:
        """Draw the stains of a laboratory: hue, strength and lamp vary from slide to slide."""
        rng = np.random.default_rng([seed & 0xFFFFFFFF, 77])
        h = np.array([0.58, 0.79, 0.42]) + rng.normal(0, [0.035, 0.03, 0.035])
        e = np.array([0.09, 0.88, 0.46]) + rng.normal(0, [0.025, 0.03, 0.045])
        h *= rng.uniform(0.88, 1.14)
        e *= rng.uniform(0.85, 1.18)
        light = np.clip(rng.normal([243, 243, 244], [1.5, 1.5, 1.5]), 238, 249)
        return cls(*((float(v[0]), float(v[1]), float(v[2])) for v in (h, e, light)))

    def light_through(self, haematoxylin: Float, eosin: Float) -> Float:
        """Return what is left of the light, (h, w, 3) float32 from 0 to 255, behind these amounts of stain (h, w)."""
        image = np.empty((*haematoxylin.shape, 3), np.float32)
        for band in range(3):
            density = haematoxylin * np.float32(-self.haematoxylin[band])
            density -= eosin * np.float32(self.eosin[band])
            np.exp(density, out=density)
            np.multiply(density, np.float32(self.light[band]), out=image[..., band])
        return image
