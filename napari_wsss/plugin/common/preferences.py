"""The panel's remembered values: napari's plugin settings, with plain defaults where there are none."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields
from typing import Any

__all__ = ["PLUGIN", "Preferences", "load_preferences", "save_preferences"]

PLUGIN = "napari-wsss"
SECTION = "run"


@dataclass(frozen=True)
class Preferences:
    """Options of a run that are the same from slide to slide.

    Attributes
    ----------
    bundle : str
        Name of an embedded bundle or a folder; empty for the default.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    overlap : float
        Shared fraction of neighbouring tiles, 0 to 0.8.
    gate : bool
        Whether stage 1 switches classes off.
    gate_threshold : float
        One threshold for all classes; 0 takes the bundle's own.
    skip_background : bool
        Whether glass is left out.
    keep_cams : bool
        Whether stage-1 CAMs are stored.
    batch_size : int
        Tiles per prediction.
    models : str
        Folders of own models that were ever chosen, one after another with the system's separator of paths.
    folder : str
        Where results go; empty for a folder beside the slide.
    """

    bundle: str = ""
    device: str = "auto"
    overlap: float = 0.25
    gate: bool = True
    gate_threshold: float = 0.0
    skip_background: bool = True
    keep_cams: bool = False
    batch_size: int = 16
    models: str = ""
    folder: str = ""

    @property
    def own_models(self) -> tuple[str, ...]:
        """Folders of own models."""
        return tuple(folder for folder in self.models.split(os.pathsep) if folder)

    @property
    def threshold(self) -> float | None:
        """The gate threshold as the pipeline takes it: None for the bundle's own."""
        return self.gate_threshold or None


def load_preferences() -> Preferences:
    """Return what napari remembers; the defaults where it remembers nothing (or the plugin is not installed)."""
    section = _section()
    if section is None:
        return Preferences()
    return Preferences(**{f.name: getattr(section, f.name) for f in fields(Preferences)})


def save_preferences(preferences: Preferences) -> None:
    """Remember values for the next session (and show them in napari's preferences dialogue)."""
    section = _section()
    if section is None:
        return
    for name, value in asdict(preferences).items():
        if getattr(section, name) != value:
            setattr(section, name, value)


def _section() -> Any | None:
    from napari.settings import get_plugin_settings

    try:
        return getattr(get_plugin_settings(PLUGIN), SECTION)
    except (KeyError, AttributeError):  # run from a checkout that is not installed
        return None
