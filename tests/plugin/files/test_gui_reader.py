from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiling.synthetic import SYNTHETIC_SCHEMA

pytestmark = pytest.mark.gui


@pytest.fixture
def slide_file(tmp_path: Path) -> Path:
    """A slide at 0.5 µm with a blue rectangle whose place is known: x 1000–1400, y 600–900."""
    import tifffile

    pixels = np.full((1500, 2400, 3), 240, np.uint8)
    pixels[600:900, 1000:1400] = (0, 0, 255)
    path = tmp_path / "slide.tif"
    options: dict[str, Any] = {"tile": (256, 256), "photometric": "rgb", "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as writer:
        for k in range(3):
            level = pixels[:: 2**k, :: 2**k]
            density = 1e4 / (0.5 * 2**k)
            writer.write(level, subfiletype=int(k > 0), resolution=(density, density), **options)
    return path


@pytest.fixture
def store_path(store_of: Callable[..., Path]) -> Path:
    """Its store at 1 µm: the rectangle is class 1, its surroundings within 40 µm are class 2."""
    labels = np.zeros((750, 1200), np.uint8)
    labels[260:490, 460:740] = 2
    labels[300:450, 500:700] = 1
    return store_of(labels, slide_mpp=0.5, step=2.0)


def shot(viewer: Any) -> np.ndarray:
    from qtpy.QtWidgets import QApplication

    for _ in range(5):
        QApplication.processEvents()
    return np.asarray(viewer.screenshot(canvas_only=True, flash=False))[..., :3].astype(int)


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Smallest box around True: left, top, right, bottom (inclusive)."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def look_at(viewer: Any, center: tuple[float, float], zoom: float) -> None:
    viewer.scene.camera.center = center
    viewer.scene.camera.zoom = zoom


@pytest.mark.parametrize("zoom", [0.6, 1.0, 3.0])
def test_slide_and_store_lie_on_each_other(
    make_napari_viewer: Callable[..., Any], slide_file: Path, store_path: Path, zoom: float
) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.open([str(slide_file), str(store_path)], plugin="napari-wsss")
    slide, overview, labels = viewer.layers
    assert not overview.visible
    assert (slide.scale == 0.5).all()
    assert [str(unit) for unit in slide.units] == [str(unit) for unit in labels.units] == ["micrometer"] * 2
    labels.opacity = 1.0
    look_at(viewer, (375, 600), zoom)  # the middle of the rectangle, in µm
    labels.visible = False
    plain = shot(viewer)
    labels.visible = True
    coloured = shot(viewer)
    blue = box_of((abs(plain - (0, 0, 255)) < 40).all(-1))
    tumour = np.array(SYNTHETIC_SCHEMA.classes[0].rgb)
    red = box_of((abs(coloured - tumour) < 12).all(-1))
    np.testing.assert_allclose(red, blue, atol=1)
    # The rectangle is 200 × 150 µm: a screen pixel is 1 / zoom µm.
    height, width = plain.shape[:2]
    expected = (100 * 2 * zoom, 75 * 2 * zoom)
    if expected[0] < width and expected[1] < height:
        assert blue[2] - blue[0] + 1 == pytest.approx(expected[0], abs=2)


def test_one_pixel_is_where_it_is(
    make_napari_viewer: Callable[..., Any], slide_file: Path, store_path: Path
) -> None:
    viewer = make_napari_viewer()
    viewer.open([str(slide_file), str(store_path)], plugin="napari-wsss")
    slide, _, labels = viewer.layers
    # The first label pixel of the rectangle covers level-0 pixels 1000 and 1001.
    first, second = (slide.data_to_world((600, x))[1] for x in (1000, 1001))
    assert labels.world_to_data((300.0, (first + second) / 2))[1] == pytest.approx(500)
    _, value = labels.get_value(slide.data_to_world((600, 1000)), world=True)
    assert value == 1


def test_the_class_under_the_cursor_is_named(
    make_napari_viewer: Callable[..., Any], store_path: Path
) -> None:
    viewer = make_napari_viewer()
    overview, labels = viewer.open(str(store_path), plugin="napari-wsss")
    assert overview.visible
    status = labels.get_status((375, 600), world=True)
    assert "Tumour" in status["value"]


def test_every_class_has_its_colour(
    make_napari_viewer: Callable[..., Any], store_of: Callable[..., Path]
) -> None:
    labels = np.repeat(np.repeat(np.arange(5, dtype=np.uint8)[None], 400, 0), 80, 1)
    viewer = make_napari_viewer(show=True)
    overview, layer = viewer.open(str(store_of(labels)), plugin="napari-wsss")
    overview.visible = False
    layer.opacity = 1.0
    look_at(viewer, (100, 100), 1.5)
    picture = shot(viewer)
    middle = picture.shape[0] // 2
    for label, tissue in enumerate(SYNTHETIC_SCHEMA.classes, start=1):
        # Label bands are 40 µm wide, 60 screen pixels.
        x = picture.shape[1] // 2 + round((label * 40 + 20 - 100) * 1.5)
        np.testing.assert_allclose(picture[middle, x], tissue.rgb, atol=6)


def test_the_sample_opens_from_the_menu(
    make_napari_viewer: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_wsss.plugin.files import sample
    from tiling.synthetic import SyntheticSlide

    monkeypatch.setenv("NAPARI_WSSS_CACHE", str(tmp_path))
    tiny = SyntheticSlide(width=2500, height=600, seed=2)
    monkeypatch.setattr(sample.sample_slide, "__defaults__", (tiny,))
    viewer = make_napari_viewer()
    viewer.open_sample("napari-wsss", "synthetic")
    slide, truth = viewer.layers
    assert slide.multiscale
    assert truth.multiscale
    assert slide.extent.world.tolist() == truth.extent.world.tolist()


def test_a_broken_slide_is_explained(make_napari_viewer: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "broken.svs"
    path.write_text("text")
    viewer = make_napari_viewer()
    with pytest.raises(Exception, match=r"broken\.svs"):
        viewer.open(str(path), plugin="napari-wsss")


@pytest.mark.shared
def test_the_real_slide_in_every_format(make_napari_viewer: Callable[..., Any], shared_dir: Path) -> None:
    viewer = make_napari_viewer()
    folder = shared_dir / "slides"
    viewer.open(
        [str(folder / "cmu-1-small-region.svs"), str(folder / "cmu-1-small-region-dicom")],
        plugin="napari-wsss",
    )
    svs, dicom = viewer.layers
    assert svs.data[0].shape == dicom.data[0].shape == (2967, 2220, 3)
    np.testing.assert_allclose(svs.scale, 0.499)
    np.testing.assert_allclose(svs.extent.world, dicom.extent.world)
    difference = abs(np.asarray(svs.data[-1]).astype(int) - np.asarray(dicom.data[-1]))
    assert np.quantile(difference, 0.99) < 20


@pytest.mark.parametrize("ending", [".geojson", ".zarr"])
def test_labels_are_saved_from_the_menu(
    make_napari_viewer: Callable[..., Any], tmp_path: Path, ending: str
) -> None:
    viewer = make_napari_viewer()
    drawn = np.zeros((60, 80), np.uint8)
    drawn[10:30, 20:50] = 1
    layer = viewer.add_labels(drawn, scale=(2, 2), units=("micrometer",) * 2)
    (path,) = layer.save(str(tmp_path / f"drawn{ending}"), plugin="napari-wsss")
    assert Path(path).exists()
    if ending == ".zarr":
        _, again = viewer.open(path, plugin="napari-wsss")
        np.testing.assert_array_equal(np.asarray(again.data[0]), drawn)
        np.testing.assert_allclose(again.extent.world, layer.extent.world)
