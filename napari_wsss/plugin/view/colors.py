"""Colours of tissue classes in napari: label colormaps with hidden classes, and alpha ramps for CAMs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tiling.classes import ClassSchema, TissueClass

__all__ = ["cam_colormap", "class_features", "label_colormap"]

TRANSPARENT = "transparent"
CAM_MAX_ALPHA = 0.85


def label_colormap(schema: ClassSchema, hidden: Collection[int] = ()) -> Any:
    """Return napari's colormap of a class schema.

    Parameters
    ----------
    schema : ClassSchema
        The classes.
    hidden : collection of int
        Store labels (class index + 1) that are not shown.

    Returns
    -------
    napari.utils.colormaps.DirectLabelColormap
        Label 0 and labels outside the schema are transparent.
    """
    from napari.utils.colormaps import DirectLabelColormap

    colors: dict[int | None, str] = {None: TRANSPARENT, 0: TRANSPARENT}
    for label, tissue in enumerate(schema.classes, start=1):
        colors[label] = TRANSPARENT if label in hidden else tissue.color
    return DirectLabelColormap(color_dict=colors)


def cam_colormap(tissue: TissueClass) -> Any:
    """Return a colormap in the class colour whose opacity grows with the CAM, so that the slide shows through."""
    from napari.utils.colormaps import Colormap

    red, green, blue = (value / 255 for value in tissue.rgb)
    ramp = [[red, green, blue, 0.0], [red, green, blue, CAM_MAX_ALPHA]]
    return Colormap(ramp, name=f"{tissue.abbreviation} CAM")


def class_features(schema: ClassSchema) -> Any:
    """Return the table that makes napari's status bar name the class under the cursor.

    Returns
    -------
    pandas.DataFrame
        Columns ``index`` (the store label; napari looks rows up by it) and ``class``.
    """
    import pandas as pd

    return pd.DataFrame(
        {"index": range(len(schema) + 1), "class": ["nothing here", *(c.name for c in schema.classes)]}
    )
