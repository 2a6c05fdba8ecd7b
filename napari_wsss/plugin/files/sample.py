"""Sample data: the synthetic slide and, on it, its true classes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_wsss._version import __version__
from napari_wsss.plugin.view import (
    LABEL_OPACITY,
    METADATA_KEY,
    LayerData,
    class_features,
    label_colormap,
    slide_frame,
    slide_layer,
)
from tiling.slides import open_slide
from tiling.store import halve_labels, level_shapes
from tiling.synthetic import DEMO, SYNTHETIC_SCHEMA, SyntheticSlide

__all__ = ["CACHE_VARIABLE", "sample_files", "sample_slide"]

CACHE_VARIABLE = "NAPARI_WSSS_CACHE"
"""Environment variable that names another folder for generated files."""
SAMPLE_BUNDLE = "synthetic-demo"
"""The embedded model that was made for the sample slide."""


def sample_slide(sample: SyntheticSlide = DEMO) -> list[LayerData]:
    """Return the synthetic slide and its truth as layers.

    The first call writes the slide to the user's cache folder (some seconds), because a run needs a file.
    """
    slide_path, truth_path = sample_files(sample)
    truth = _read_labels(truth_path)
    levels = [truth]
    for _ in level_shapes(*truth.shape)[1:]:
        levels.append(halve_labels(levels[-1]))
    arguments: dict[str, Any] = {
        "name": "synthetic truth",
        "multiscale": len(levels) > 1,
        "opacity": LABEL_OPACITY,
        "visible": False,
        "colormap": label_colormap(SYNTHETIC_SCHEMA),
        "features": class_features(SYNTHETIC_SCHEMA),
        "metadata": {METADATA_KEY: {"kind": "truth", "path": str(truth_path), "schema": SYNTHETIC_SCHEMA}},
        **slide_frame(sample.mpp).layer_arguments(),
    }
    slide_data, slide_arguments, kind = slide_layer(open_slide(slide_path))
    slide_arguments["metadata"][METADATA_KEY]["bundle"] = SAMPLE_BUNDLE
    arguments["metadata"][METADATA_KEY]["slide"] = slide_arguments["metadata"][METADATA_KEY]["slide"]
    return [
        (slide_data, slide_arguments, kind),
        (levels if len(levels) > 1 else truth, arguments, "labels"),
    ]


def sample_files(sample: SyntheticSlide = DEMO) -> tuple[Path, Path]:
    """Return the paths of the synthetic slide and its truth (TIFF), written when they are not there.

    They lie in the user's cache folder, or the one named by ``NAPARI_WSSS_CACHE``.
    """
    # Another version may paint another picture: the name holds all that decides the pixels.
    key = hashlib.sha256(f"{__version__} {sample!r}".encode()).hexdigest()[:8]
    folder = _cache_folder()
    slide, truth = folder / f"synthetic-{key}.tif", folder / f"synthetic-{key}-truth.tif"
    if not (slide.exists() and truth.exists()):
        from napari.utils import progress

        from tiling.synthetic import write_slide

        with progress(total=sample.height, desc="Painting the synthetic slide") as bar:

            def report(done: int, total: int) -> None:
                bar.update(done - bar.n)

            write_slide(slide, sample, truth=truth, on_strip=report)
    return slide, truth


def _cache_folder() -> Path:
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_cache_dir("napari-wsss", appauthor=False))


def _read_labels(path: Path) -> NDArray[np.uint8]:
    import tifffile

    return np.asarray(tifffile.imread(path, key=0))
