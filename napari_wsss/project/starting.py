"""Where a training starts: with the project's last model, what the encoder's bundle can draw, or the encoder alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_wsss.project.core import ProjectCore
from napari_wsss.project.encoder import DEFAULT_ENCODER
from napari_wsss.project.recipe import Recipe
from tiling.errors import BundleError

if TYPE_CHECKING:
    from napari_wsss.models import NetworkSpec

__all__ = ["STARTED", "Former", "former_of", "models_of", "start_words"]

STARTED = "started"
"""What the card of a trained model says about the model that it went on from: its name, and which is better."""

_DRAWS = "efficientnet-lite0"
_GENTLY = ("--frozen-stages", "9", "--freeze-bn", "--lr", "1e-4")
"""For a stage 2 that can draw already: at the usual pace a few dozen tiles make it forget more than they teach."""


@dataclass(frozen=True)
class Former:
    """A model that a training goes on from.

    Attributes
    ----------
    name : str
        Folder in ``models/``.
    sha256 : str
        Digest of its stage 2.
    """

    name: str
    sha256: str


def models_of(project: ProjectCore) -> dict[str, Path]:
    """Return the bundles of a project by name, oldest first."""
    found = [path.parent for path in (project.folder / "models").glob("*/model.json")]
    return {path.name: path for path in sorted(found, key=lambda path: path.stat().st_mtime)}


def former_of(project: ProjectCore) -> Former | None:
    """Return the last model that was trained here with the classes and the encoder of today, and is the better one.

    A model that was found worse than what it went on from is passed over, as is one that cannot be read. Where the
    encoder's bundle can draw, training starts there each time: going on was measured to be worse
    (``docs/performance.md``).
    """
    from napari_wsss.models import load_bundle

    if _drawing(project.description.encoder.name) is not None:
        return None
    for name, path in reversed(models_of(project).items()):
        try:
            bundle = load_bundle(path)
        except BundleError:
            continue
        about = bundle.provenance
        alike = (bundle.schema.names, bundle.tile, about.get("encoder")) == (
            project.schema.names,
            project.tile,
            project.description.encoder.sha256,
        )
        if bundle.stage2 is not None and alike and (about.get(STARTED) or {}).get("better") is not False:
            return Former(name, bundle.stage2.sha256)
    return None


def start_words(project: ProjectCore, recipe: Recipe, quick: Path, former: Path | None) -> tuple[str, ...]:
    """Return the options of stage 2 that say where it starts: it sees tissue as the quick model does.

    Parameters
    ----------
    project : ProjectCore
    recipe : Recipe
    quick : Path
        The quick model of the same labels.
    former : Path or None
        The bundle of the model to go on from.
    """
    from napari_wsss.models import load_bundle

    name = project.description.encoder.name
    encoder = None if name == DEFAULT_ENCODER else load_bundle(name)
    draws = _drawing(name)
    weights, channels = quick, recipe.head_channels
    seen: Mapping[str, Any] = {"enlarge": max(1.0, recipe.side / project.tile)}
    pace: tuple[str, ...] = ("--frozen-stages", str(recipe.frozen))
    if encoder is not None:
        seen = encoder.stage1.arguments
        if draws is not None:
            weights, channels, pace = encoder.path, draws.arguments["head_channels"], _GENTLY
    if former is not None:
        drawn = load_bundle(former).stage2
        assert drawn is not None, "what is gone on from has a stage 2"
        weights, channels, seen = former, drawn.arguments["head_channels"], drawn.arguments
        pace = (*pace, "--lr", f"{recipe.lr_going_on:g}")
    return (
        *("--weights", str(weights), *pace, "--head-channels", str(channels)),
        *("--width", f"{seen.get('width', 1.0):g}"),
        *("--colour-smoothing", str(seen.get("colour_smoothing", 0))),
        *("--least-side", str(round(seen.get("enlarge", 1.0) * project.tile))),
    )


def _drawing(encoder: str) -> NetworkSpec | None:
    """Return the stage 2 of an encoder's bundle that a training can start from; None where there is none."""
    from napari_wsss.models import load_bundle

    draws = None if encoder == DEFAULT_ENCODER else load_bundle(encoder).stage2
    return draws if draws is not None and draws.arguments.get("backbone") == _DRAWS else None
