from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from napari_wsss.plugin.compare import agreement as module
from napari_wsss.plugin.compare.agreement import AGREE, DIFFER, LabelRaster, agreement_pyramid, compare
from napari_wsss.plugin.compare.presenter import Comparer, comparison_rows, raster_of
from napari_wsss.plugin.view.frame import matrix, raster_frame
from napari_wsss.plugin.view.slide_key import SlideKey
from tiling.classes import ClassSchema, TissueClass
from tiling.errors import DataError
from tiling.synthetic import SYNTHETIC_SCHEMA


def raster(
    labels: np.ndarray, step: float = 1.0, origin: tuple[float, float] = (0, 0), **options: Any
) -> LabelRaster:
    schema = options.get("schema", SYNTHETIC_SCHEMA)
    return LabelRaster([labels], matrix(raster_frame(0.5, origin, step)), schema)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 5, (height, width), dtype=np.uint8)


def test_a_raster_agrees_with_itself() -> None:
    labels = noise(60, 70)
    found = compare(raster(labels), raster(labels))
    np.testing.assert_allclose(found.scores.iou, 1)
    assert found.scores.miou == found.scores.pixel_accuracy == found.coverage == 1


def test_counts_are_those_of_a_plain_confusion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STRIP", 7)
    a, b = noise(61, 40, 1), noise(61, 40, 2)
    found = compare(raster(a), raster(b))
    for i in range(4):
        for j in range(4):
            assert found.confusion[i, j] == ((a == i + 1) & (b == j + 1)).sum()
    assert found.only_first == ((a > 0) & (b == 0)).sum()
    assert found.only_second == ((a == 0) & (b > 0)).sum()
    both = (a > 0) & (b > 0)
    assert found.scores.iou[0] == (both & (a == 1) & (b == 1)).sum() / (both & ((a == 1) | (b == 1))).sum()


@given(st.sampled_from([1, 2, 4]), st.integers(0, 9), st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_any_resolution_and_origin(step: int, x: int, y: int) -> None:
    """A coarse raster made of blocks says the same as the fine one it was made from."""
    coarse = noise(20, 15)
    fine = np.zeros((120, 100), np.uint8)
    blown = np.kron(coarse, np.ones((step, step), np.uint8))
    fine[y : y + blown.shape[0], x : x + blown.shape[1]] = blown
    there = raster(coarse, step=step, origin=(x, y))
    found = compare(there, raster(fine))
    assert found.scores.pixel_accuracy == 1
    assert found.only_first == found.only_second == 0
    back = compare(raster(fine), there)
    assert back.scores.pixel_accuracy == 1
    assert back.only_first == back.only_second == 0


def test_classes_are_matched_by_name() -> None:
    other = ClassSchema(
        "other",
        (
            TissueClass("necrosis", "N", "#000000"),
            TissueClass("TUMOUR", "T", "#111111"),
            TissueClass("Fat", "F", "#222222"),
        ),
    )
    ours = np.array([[1, 4, 2, 3]], np.uint8)  # Tumour, Necrosis, Stroma, Lymphocytes
    theirs = np.array([[2, 1, 3, 3]], np.uint8)
    found = compare(raster(ours), raster(theirs, schema=other))
    assert found.names == (*SYNTHETIC_SCHEMA.names, "Fat")
    np.testing.assert_allclose(found.scores.iou, [1, 0, 0, 1, 0])
    assert found.scores.pixel_accuracy == 0.5


def test_nothing_in_common() -> None:
    found = compare(raster(np.ones((5, 5), np.uint8)), raster(np.ones((5, 5), np.uint8), origin=(100, 0)))
    assert found.only_first == 25
    assert np.isnan(found.scores.miou)
    assert np.isnan(found.scores.pixel_accuracy)
    assert dict(comparison_rows(found))["Mean IoU"] == "–"


def test_turned_layers_are_refused() -> None:
    turned = raster(noise(50, 50))
    angle = np.deg2rad(5)
    spin = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    with pytest.raises(DataError, match="turned"):
        compare(raster(noise(50, 50)), LabelRaster(turned.levels, spin @ turned.matrix, turned.schema))


def test_layers_turned_together_are_compared() -> None:
    coarse = noise(25, 25)
    fine = np.kron(coarse, np.ones((2, 2), np.uint8))
    spin = np.array([[0.0, -1, 7], [1, 0, 3], [0, 0, 1]])
    rasters = (raster(coarse, step=2), raster(fine))
    found = compare(*(LabelRaster(r.levels, spin @ r.matrix, r.schema) for r in rasters))
    assert found.scores.pixel_accuracy == 1
    assert found.only_first == found.only_second == 0


def test_the_agreement_image() -> None:
    a = np.zeros((3000, 2500), np.uint8)
    a[:, :1500] = 1
    b = a.copy()
    b[2000:] = 2
    b[:, :100] = 0
    levels = agreement_pyramid(raster(a), raster(b))
    assert [level.shape for level in levels] == [(3000, 2500), (1500, 1250)]
    assert isinstance(levels[-1], np.ndarray)
    for level in levels:
        k = 3000 // level.shape[0]
        assert level[10, 50 // k] == 0
        assert level[10, 300 // k] == AGREE
        assert level[2500 // k, 300 // k] == DIFFER
        assert level[2500 // k, 1600 // k] == 0
    np.testing.assert_array_equal(np.asarray(levels[0])[::2, ::2], levels[1])


def test_from_layers_to_table_and_layer() -> None:
    from napari.components import ViewerModel

    viewer = ViewerModel()
    comparer = Comparer(viewer)
    comparer.follow_layers()
    assert not comparer.run()
    assert "two different" in comparer.problem
    labels = noise(200, 300)
    placed = {"units": ("micrometer",) * 2}
    meta = {"metadata": {"wsss": {"kind": "truth", "schema": SYNTHETIC_SCHEMA}}}
    first = viewer.add_labels(labels, scale=(0.5, 0.5), **placed, **meta)
    nano = {"units": ("nanometer",) * 2}
    viewer.add_labels(labels, scale=(500, 500), name="other", **nano, **meta)
    comparer.follow_layers()
    assert comparer.run()
    assert not comparer.run()
    found = comparer.wait()
    assert found is not None
    assert found.scores.pixel_accuracy == 1
    agreement = viewer.layers["Agreement"]
    np.testing.assert_allclose(agreement.scale, first.scale)
    assert set(np.unique(np.asarray(agreement.data[0]))) == {0, AGREE}
    comparer.run()
    comparer.wait()
    assert [layer.name for layer in viewer.layers].count("Agreement") == 1
    assert dict(comparison_rows(found))["Equal pixels"] == "100.0 %"


def test_results_of_two_slides_are_not_compared() -> None:
    """Both begin at the origin, so that numbers would come out, of two pictures that have nothing in common."""
    from napari.components import ViewerModel

    viewer = ViewerModel()
    comparer = Comparer(viewer)
    keys = {name: SlideKey(name, 300, 200, name) for name in ("a.svs", "b.svs")}

    def add(name: str, slide: SlideKey, visible: bool) -> Any:
        known = {"kind": "store", "schema": SYNTHETIC_SCHEMA, "slide": slide}
        return viewer.add_labels(noise(200, 300), name=name, visible=visible, metadata={"wsss": known})

    hidden = add("a tissue", keys["a.svs"], False)
    seen = add("b tissue", keys["b.svs"], True)
    comparer.follow_layers()
    assert (comparer.first, comparer.second) == (seen, None)
    comparer.choose(hidden, seen)
    comparer.follow_layers()
    assert not comparer.run()
    assert comparer.problem == "a tissue and b tissue are of two slides; choose two results of one slide."
    other = add("b again", SlideKey("b-copy.svs", 300, 200, "b.svs"), True)
    drawn = add("drawn", SlideKey("", 0, 0, ""), True)  # of what slide it is nobody knows
    for second in (other, drawn):
        comparer.choose(seen, second)
        assert comparer.run()
        assert comparer.wait() is not None


def test_layers_that_cannot_be_compared() -> None:
    from napari.layers import Labels

    volume = Labels(np.zeros((3, 4, 5), np.uint8), name="volume")
    with pytest.raises(DataError, match="volume has 3 axes"):
        raster_of(volume, volume.units[-2:])
    flat = Labels(np.zeros((4, 5), np.uint8), units=("micrometer",) * 2)
    seconds = Labels(np.zeros((4, 5), np.uint8), units=("second",) * 2, name="time")
    with pytest.raises(DataError, match="time has units"):
        raster_of(seconds, flat.units)
    assert (
        raster_of(Labels(np.array([[0, 3]])), Labels(np.array([[0, 3]])).units).schema.names[-1] == "Label 3"
    )
