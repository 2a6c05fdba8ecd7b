from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_wsss.plugin.files.exporting import FORMATS, export_store, suggested_path
from napari_wsss.plugin.files.reader import get_reader
from napari_wsss.plugin.files.writer import labels_to_store, write_labels
from napari_wsss.plugin.view.layers import store_layers
from tiling.errors import ExportError
from tiling.store.reader import Store, open_store
from tiling.store.receipt import verify
from tiling.synthetic import SYNTHETIC_SCHEMA


@pytest.fixture
def finished(toy: Any, toy_bundle: Any, banded_slide: Path, tmp_path: Path) -> Store:
    from napari_wsss.plugin.common.preferences import Preferences
    from napari_wsss.plugin.segment.request import RunRequest

    preferences = Preferences(skip_background=False)
    out = tmp_path / "out" / "banded.zarr"
    list(toy.events(RunRequest(banded_slide, toy_bundle, out, None, None, None, preferences)))
    return open_store(out)


@pytest.mark.parametrize("ending", [kind.ending for kind in FORMATS if kind.ending != ".report.pdf"])
def test_every_button_writes_its_format(finished: Store, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"copy{ending}"
    assert export_store(finished, path) == path
    assert path.exists()
    assert suggested_path(finished.path, ending).name == f"banded{ending}"


def test_a_copy_is_the_same_result(finished: Store, tmp_path: Path) -> None:
    path = export_store(finished, tmp_path / "copy.zarr")
    assert verify(path).ok
    with pytest.raises(ExportError, match="exists"):
        export_store(finished, path)


def test_an_unknown_ending_and_an_unfinished_store(
    finished: Store, tmp_path: Path, store_of: Callable[..., Path]
) -> None:
    with pytest.raises(ExportError, match="ending"):
        export_store(finished, tmp_path / "a.docx")
    unfinished = open_store(store_of(np.ones((80, 80), np.uint8), name="unfinished"))
    with pytest.raises(ExportError, match="Resume"):
        export_store(unfinished, tmp_path / "a.geojson")


def test_a_result_layer_is_written_from_its_store(finished: Store, tmp_path: Path) -> None:
    _, (data, meta, _) = store_layers(finished)
    path = str(tmp_path / "a.geojson")
    assert write_labels(path, data, meta) == [path]
    features = json.loads(Path(path).read_text())["features"]
    assert [f["properties"]["classification"]["name"] for f in features] == list(SYNTHETIC_SCHEMA.names)
    # Level-0 pixels of the slide: the bands are 400 px wide.
    xs = sorted({x for f in features for ring in f["geometry"]["coordinates"] for x, _ in ring})
    assert xs == [0, 400, 800, 1200, 1600]


def test_other_labels_are_written_and_come_back(tmp_path: Path) -> None:
    labels = np.zeros((300, 200), np.int32)
    labels[50:100, 20:80] = 3
    meta = {
        "scale": np.array([0.5, 0.5]),
        "metadata": {"wsss": {"kind": "truth", "schema": SYNTHETIC_SCHEMA}},
    }
    path = tmp_path / "drawn.zarr"
    write_labels(str(path), labels, meta)
    reader = get_reader(str(path))
    assert reader is not None
    _, (data, arguments, _) = reader(str(path))
    np.testing.assert_array_equal(np.asarray(data[0]), labels)
    assert arguments["scale"] == (0.5, 0.5)
    assert arguments["metadata"]["wsss"]["schema"] == SYNTHETIC_SCHEMA
    outline = tmp_path / "drawn.geojson"
    write_labels(str(outline), [labels, labels[::2, ::2]], {**meta, "multiscale": True})
    (feature,) = json.loads(outline.read_text())["features"]
    assert feature["properties"]["classification"]["name"] == SYNTHETIC_SCHEMA.names[2]
    assert feature["properties"]["measurements"]["Area µm^2"] == 50 * 60 * 0.25


def test_labels_without_names(tmp_path: Path) -> None:
    store = labels_to_store(tmp_path / "a.zarr", np.array([[0, 2], [1, 2]]), {})
    assert store.schema.names == ("Label 1", "Label 2")
    assert store.mpp == 1


@pytest.mark.parametrize(
    ("labels", "scale", "message"),
    [
        (np.full((5, 5), 300), (1, 1), "largest label is 300"),
        (np.zeros((5, 5), int), (1, 1), "largest label is 0"),
        (np.ones((5, 5), int), (1, 2), "only square"),
        (np.ones((2, 5, 5), int), (1, 1), "3 axes"),
    ],
)
def test_labels_that_do_not_fit(
    tmp_path: Path, labels: np.ndarray, scale: tuple[float, float], message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        labels_to_store(tmp_path / "a.zarr", labels, {"scale": scale})


@pytest.mark.parametrize(
    ("unit", "size", "mpp"),
    [("nanometer", 250, 0.25), ("micrometer", 0.25, 0.25), ("millimeter", 0.00025, 0.25), ("pixel", 3, 3.0)],
)
def test_units_of_the_layer_count(tmp_path: Path, unit: str, size: float, mpp: float) -> None:
    """Review 16: a layer of 250 nm is one of 0.25 µm."""
    meta = {"scale": (size, size), "units": (unit, unit)}
    store = labels_to_store(tmp_path / "a.zarr", np.ones((5, 5), int), meta)
    assert store.mpp == pytest.approx(mpp)


def test_a_unit_that_is_no_length_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no unit of length"):
        labels_to_store(
            tmp_path / "a.zarr", np.ones((5, 5), int), {"scale": (1, 1), "units": ("second",) * 2}
        )
