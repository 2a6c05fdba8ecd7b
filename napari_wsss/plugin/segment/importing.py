"""Published checkpoints made into a model folder, as ``wsss-tile models import`` does."""

from __future__ import annotations

from pathlib import Path

from napari_wsss.models import import_checkpoints
from tiling.errors import BundleError
from tiling.files import expanded

__all__ = ["SCHEMA_TITLES", "import_model"]

SCHEMA_TITLES = (("Breast (BCSS)", "bcss"), ("Lung (LUAD)", "luad"))
"""Classes of the published models, as people call them."""


def import_model(stage1: str, stage2: str, schema: str, folder: str, mpp: float) -> Path:
    """Make a model out of published files.

    Parameters
    ----------
    stage1, stage2 : str
        Checkpoints; the second may be empty.
    schema : str
        Name of the classes.
    folder : str
        Where the model is made, in a folder named after the first file.
    mpp : float
        µm per pixel of the training images.

    Returns
    -------
    Path
        The model's folder.

    Raises
    ------
    BundleError
        When a file is missing or not what it should be.
    """
    if not stage1 or not folder:
        raise BundleError("Choose at least the patch classifier and a folder.")
    first = expanded(stage1, BundleError)
    second = expanded(stage2, BundleError) if stage2 else None
    out = expanded(folder, BundleError) / first.name.split(".")[0]
    return import_checkpoints(first, second, schema, out, mpp=mpp)
