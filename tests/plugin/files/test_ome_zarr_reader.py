"""Our stores in somebody else's reader: napari-ome-zarr shows the classes in their colours, where they belong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wsss_toys import TOY_SCHEMA, ColourPredictor, colourful

from tiling.engine.drive import run
from tiling.plan.run_plan import RunOptions
from tiling.slides.readers.array import ArrayReader
from tiling.slides.slide import Slide

pytest.importorskip("napari_ome_zarr")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ngff") / "slide.zarr"
    with Slide(ArrayReader(colourful(700, 900), mpp=0.5)) as slide:
        list(run(slide, ColourPredictor(64), out, RunOptions(mpp=0.5, tissue=None)))
    return out


def test_layers_have_class_colours_names_and_one_frame(store: Path, npe2pm: Any) -> None:
    from napari.components import ViewerModel

    viewer = ViewerModel()
    with npe2pm.tmp_plugin(package="napari-ome-zarr"):
        viewer.open(str(store), plugin="napari-ome-zarr")
    (labels,) = (layer for layer in viewer.layers if type(layer).__name__ == "Labels")
    image = next(layer for layer in viewer.layers if type(layer).__name__ == "Image")
    for value, tissue in enumerate(TOY_SCHEMA.classes, start=1):
        colour = np.asarray(labels.get_color(value))
        np.testing.assert_allclose(colour[:3] * 255, tissue.rgb, atol=1)
    nothing = labels.get_color(0)
    assert nothing is None or nothing[3] == 0
    picture = colourful(700, 900).argmax(-1) + 1
    np.testing.assert_array_equal(np.asarray(labels.data[0]), picture)
    # The same point in µm is the same tissue in both.
    np.testing.assert_allclose(labels.extent.world[:, -2:], image.extent.world[:, -2:], atol=1e-6)
    names = {str(v) for v in np.asarray(labels.features.get("class", [])).tolist()}
    assert {tissue.name for tissue in TOY_SCHEMA.classes} <= names
