"""Encoders by name, open to other packages: how each is built, what it expects, and under which licence it comes.

Weights are never fetched: whoever wants an encoder gets its file from its makers and gives the path. Knowing the names
loads no torch. Another package adds its own with :func:`register_encoder`, or by an entry point of the group
``napari_wsss.encoders`` whose object is an :class:`EncoderRecipe`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from tiling.plugins import loaded, others

if TYPE_CHECKING:
    from napari_wsss.models.encoder import Encoder

__all__ = ["GROUP", "TIMM", "EncoderRecipe", "encoder_names", "find_encoder", "register_encoder"]

GROUP = "napari_wsss.encoders"
"""Entry-point group of encoders."""
TIMM = "timm:"
"""What a name begins with when the rest is timm's name of the network."""


@dataclass(frozen=True)
class EncoderRecipe:
    """How to make an encoder, and what people must know about it.

    Attributes
    ----------
    name : str
        As in ``--backbone NAME``.
    build : callable or str
        Makes the :class:`~napari_wsss.models.encoder.Encoder` with fresh weights; ``module:name`` loads it when needed.
    arguments : mapping
        Keyword arguments of ``build``.
    side : int
        Input side in px that it was trained on.
    licence : str
        Of the weights; empty when it depends on the file.
    restricted : bool
        Whether its makers give the weights only on request: then a bundle with them must not be passed on.
    source : str
        Where the weights are to be had.
    """

    name: str
    build: Callable[..., Encoder] | str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    side: int = 224
    licence: str = ""
    restricted: bool = False
    source: str = ""

    def make(self) -> Encoder:
        """Build it with fresh weights."""
        made: Encoder = loaded(self.build)(**self.arguments)
        return made

    @property
    def card(self) -> str:
        """What the card of a bundle says about it."""
        facts = ", ".join(part for part in (self.licence, self.source) if part)
        kept = " Its makers give the weights on request only: do not pass this bundle on."
        return f"Encoder {self.name}{f' ({facts})' if facts else ''}.{kept if self.restricted else ''}"


def register_encoder(recipe: EncoderRecipe) -> None:
    """Make an encoder known by its name.

    Raises
    ------
    ValueError
        When the name is taken: bundles must mean the same network everywhere.
    """
    known = _known()
    if recipe.name.startswith(TIMM) or known.setdefault(recipe.name, recipe) is not recipe:
        raise ValueError(f"there is an encoder {recipe.name!r} already; register it under another name")


def encoder_names() -> list[str]:
    """Return the names of all registered encoders; besides, ``timm:NAME`` is any network of timm."""
    return sorted(_known())


def find_encoder(name: str) -> EncoderRecipe | None:
    """Return the recipe of an encoder; None when nobody knows the name."""
    if name.startswith(TIMM):
        build = "napari_wsss.models.timm_encoder:TimmEncoder"
        return EncoderRecipe(name, build, {"name": name.removeprefix(TIMM)})
    return _known().get(name)


@cache
def _known() -> dict[str, EncoderRecipe]:
    """Our own recipes and those of installed packages, by name; what cannot be loaded is warned of once."""
    own = {recipe.name: recipe for recipe in _OWN}
    return own | others(GROUP, EncoderRecipe, "encoder", own)


_VIT = "napari_wsss.models.vit:VisionTransformer"
_DINO = {"registers": 4, "scaled": True, "patch": 14}
_HF = "huggingface.co/"

_OWN = (
    EncoderRecipe("vit-small-16", _VIT),
    EncoderRecipe("vit-base-16", _VIT, {"dim": 768, "heads": 12}),
    EncoderRecipe("vit-large-16", _VIT, {"dim": 1024, "depth": 24, "heads": 16}),
    EncoderRecipe(
        "gigapath-flash",
        _VIT,
        {"hidden": 2048, "swiglu": True, "scaled": True},
        licence="Apache-2.0",
        restricted=True,
        source=_HF + "prov-gigapath/prov-gigapath-flash",
    ),
    EncoderRecipe(
        "hibou-b",
        _VIT,
        {
            **_DINO,
            "dim": 768,
            "heads": 12,
            "placed": 1,
            "mean": (0.7068, 0.5755, 0.722),
            "std": (0.195, 0.2316, 0.1816),
        },
        licence="Apache-2.0",
        source=_HF + "histai/hibou-b",
    ),
    EncoderRecipe(
        "uni",
        _VIT,
        {"dim": 1024, "depth": 24, "heads": 16, "scaled": True},
        licence="CC BY-NC-ND 4.0",
        restricted=True,
        source=_HF + "MahmoodLab/UNI",
    ),
    EncoderRecipe(
        "virchow2",
        _VIT,
        {**_DINO, "dim": 1280, "depth": 32, "heads": 16, "hidden": 6832, "swiglu": True},
        licence="CC BY-NC-ND 4.0",
        restricted=True,
        source=_HF + "paige-ai/Virchow2",
    ),
    EncoderRecipe(
        "conch",
        _VIT,
        {
            "dim": 768,
            "heads": 12,
            "side": 448,
            "mean": (0.48145466, 0.4578275, 0.40821073),
            "std": (0.26862954, 0.26130258, 0.27577711),
        },
        side=448,
        licence="CC BY-NC-ND 4.0",
        restricted=True,
        source=_HF + "MahmoodLab/CONCH",
    ),
)
"""Networks without weights: shapes, normalisation and licences as their makers state them."""
