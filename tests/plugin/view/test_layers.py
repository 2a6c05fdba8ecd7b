from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_wsss.plugin.view.colors import cam_colormap, class_features, label_colormap
from napari_wsss.plugin.view.layers import METADATA_KEY, every_kth, label_pyramid, slide_layer, store_layers
from tiling.slides.readers.array import ArrayReader
from tiling.slides.slide import Slide
from tiling.store.reader import open_store
from tiling.synthetic import SYNTHETIC_SCHEMA

StoreOf = Callable[..., Path]


def slide(**options: object) -> Slide:
    return Slide(ArrayReader(np.zeros((3000, 2500, 3), np.uint8), path="folder/a.svs", **options))  # type: ignore[arg-type]


def test_a_slide_is_one_layer_in_micrometres() -> None:
    data, arguments, kind = slide_layer(slide(mpp=0.25))
    assert kind == "image"
    assert [level.shape for level in data] == [(3000, 2500, 3), (2048, 1707, 3)]
    assert arguments["name"] == "a.svs"
    assert arguments["scale"] == (0.25, 0.25)
    assert arguments["units"] == ("micrometer", "micrometer")
    assert arguments["metadata"][METADATA_KEY]["mpp"] == 0.25


def test_a_slide_without_mpp_is_in_pixels_and_says_so() -> None:
    with pytest.warns(UserWarning, match=r"a\.svs does not say.*shown in pixels") as told:
        _, arguments, _ = slide_layer(slide())
    assert "--mpp" not in str(told[0].message), "there is no command line in the viewer"
    assert arguments["scale"] == (1, 1)
    assert arguments["units"] == ("pixel", "pixel")
    assert arguments["metadata"][METADATA_KEY]["mpp"] is None


def test_a_store_is_placed_as_it_says_itself(store_of: StoreOf) -> None:
    store = open_store(store_of(np.ones((130, 90), np.uint8), step=2.5, slide_mpp=0.4, origin=(120, 40)))
    (_, overview, _), (data, labels, kind) = store_layers(store)
    assert kind == "labels"
    np.testing.assert_allclose(labels["translate"], store.translation)
    np.testing.assert_allclose(labels["scale"], (1.0, 1.0))
    # Overview and labels cover the same ground: their corners agree.
    for axis in (0, 1):
        corner = labels["translate"][axis] - labels["scale"][axis] / 2
        assert overview["translate"][axis] - overview["scale"][axis] / 2 == pytest.approx(corner)
        extent = data[0].shape[axis] * labels["scale"][axis]
        pixels = (130 // 4, 90 // 4)[axis]
        assert pixels * overview["scale"][axis] == pytest.approx(extent)


def test_label_levels_end_in_memory_and_hold_the_same_labels(store_of: StoreOf) -> None:
    labels = np.random.default_rng(0).integers(0, 5, (1100, 700), dtype=np.uint8)
    arrays = open_store(store_of(labels)).labels()
    levels = label_pyramid(arrays, coarsest_max=600)
    assert [level.shape for level in levels] == [(1100, 700), (550, 350)]
    assert isinstance(levels[-1], np.ndarray)
    np.testing.assert_array_equal(levels[-1], arrays[1][:])
    one = label_pyramid(arrays[:1], coarsest_max=600)
    assert [level.shape for level in one] == [(1100, 700), (550, 350)]
    np.testing.assert_array_equal(one[-1], labels[::2, ::2])


@pytest.mark.parametrize(("height", "width", "step"), [(10, 10, 3), (8200, 3, 2), (12289, 5, 3), (1, 1, 4)])
def test_every_kth_pixel(height: int, width: int, step: int) -> None:
    level = np.arange(height * width, dtype=np.uint32).reshape(height, width)
    np.testing.assert_array_equal(every_kth(level, step), level[::step, ::step])


def test_class_colours_and_names() -> None:
    colors = label_colormap(SYNTHETIC_SCHEMA, hidden={2}).color_dict
    assert tuple(colors[None])[3] == tuple(colors[0])[3] == tuple(colors[2])[3] == 0
    np.testing.assert_allclose(colors[1][:3], np.array(SYNTHETIC_SCHEMA.classes[0].rgb) / 255, atol=1e-6)
    features = class_features(SYNTHETIC_SCHEMA)
    assert list(features["index"]) == [0, 1, 2, 3, 4]
    assert features["class"][1] == SYNTHETIC_SCHEMA.names[0]


def test_a_cam_is_clear_where_it_is_zero() -> None:
    ramp = cam_colormap(SYNTHETIC_SCHEMA.classes[0]).map(np.array([0.0, 1.0]))
    assert ramp[0, 3] == 0
    assert ramp[1, 3] > 0.8
