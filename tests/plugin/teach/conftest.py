"""A project whose features are painted rather than computed, so that tests of the dock need no network."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_wsss.plugin.common.preferences import Preferences
from napari_wsss.plugin.teach.presenter import Teacher
from napari_wsss.project import Project, new_project
from napari_wsss.project.features import FeatureWriter, TileTable
from tiling.synthetic import SYNTHETIC_SCHEMA

TILE = 64
ROWS, COLUMNS = 12, 16
GLASS_COLUMNS = 2
STAINS = np.array([(150, 80, 150), (215, 130, 185), (95, 60, 140), (190, 100, 150)], float)


@dataclass(frozen=True)
class Banded:
    """A slide of four bands from left to right, one per class, with glass at its right edge."""

    path: Path

    def truth(self, row: int, column: int) -> int:
        """Return the class index of a tile."""
        return min(3, column * 4 // (COLUMNS - GLASS_COLUMNS))


def write_slide(path: Path, seed: int) -> Banded:
    rng = np.random.default_rng(seed)
    slide = Banded(path)
    pixels = np.full((ROWS * TILE, COLUMNS * TILE, 3), 245, np.uint8)
    for column in range(COLUMNS - GLASS_COLUMNS):
        part = pixels[:, column * TILE : (column + 1) * TILE]
        part[:] = np.clip(STAINS[slide.truth(0, column)] + rng.normal(0, 12, part.shape), 0, 255)
    tifffile.imwrite(
        path,
        pixels,
        tile=(256, 256),
        photometric="rgb",
        resolution=(1e4, 1e4),
        resolutionunit="CENTIMETER",
    )
    return slide


def paint_features(project: Project, slide_id: str, slide: Banded, seed: int = 0) -> None:
    """Write the features that an encoder might find: the class, and noise."""
    rng = np.random.default_rng(seed)
    row, column = np.divmod(np.arange(ROWS * (COLUMNS - GLASS_COLUMNS)), COLUMNS - GLASS_COLUMNS)
    tiles = [project.tile_of(slide_id, int(r), int(c)) for r, c in zip(row, column, strict=True)]
    table = TileTable(
        row.astype(np.int32),
        column.astype(np.int32),
        np.array([t.x for t in tiles]),
        np.array([t.y for t in tiles]),
        np.ones(len(tiles), np.float32),
    )
    kinds = np.array([slide.truth(int(r), int(c)) for r, c in zip(row, column, strict=True)])
    values = rng.normal(0, 0.3, (len(tiles), 2, 2, 8)).astype(np.float32)
    values[..., :4] += 2 * np.eye(4, dtype=np.float32)[kinds][:, None, None]
    writer = FeatureWriter(project.features_path(slide_id), table, 2, 8, dict(project._expected(slide_id)))
    writer.append(values)


@pytest.fixture
def slides(tmp_path: Path) -> list[Banded]:
    return [write_slide(tmp_path / f"{name}.tif", seed) for seed, name in enumerate("ab")]


@pytest.fixture
def folder(tmp_path: Path, slides: list[Banded]) -> Path:
    """A project with two slides, prepared."""
    path = tmp_path / "bands.wsss"
    with new_project(path, SYNTHETIC_SCHEMA, tile=TILE, mpp=1.0, encoder="synthetic-demo") as project:
        for number, slide in enumerate(slides):
            paint_features(project, project.add(slide.path, f"P{number}"), slide, number)
    return path


@pytest.fixture
def viewer() -> Any:
    from napari.components import ViewerModel

    return ViewerModel()


@pytest.fixture
def teacher(viewer: Any, folder: Path) -> Iterator[Teacher]:
    made = Teacher(viewer)
    made.work.reader = "KL"
    assert made.open_project(folder), made.work.problem
    made.listen(True)
    settle(made)
    yield made
    made.close()


@pytest.fixture
def teach_window(
    make_napari_viewer: Callable[..., Any], painted: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Any, Any]:
    """A napari window of 1280 × 800 with ``first.tif`` of the folder ``painted`` and the Teach dock: viewer, dock."""
    monkeypatch.setattr("napari_wsss.plugin.segment.choices.load_preferences", Preferences)
    monkeypatch.setattr("napari_wsss.plugin.segment.choices.save_preferences", lambda preferences: None)
    viewer = make_napari_viewer(show=True)
    viewer.window._qt_window.resize(1280, 800)
    viewer.open(str(painted / "first.tif"), plugin="napari-wsss")
    return viewer, viewer.window.add_plugin_dock_widget("napari-wsss", "Teach")[1]


def settle(teacher: Teacher, timeout: float = 300.0) -> None:
    """Wait until map, score and strip are up to date."""
    assert teacher.wait(timeout), "the dock never came to rest"


@pytest.fixture
def settled() -> Callable[[Teacher], None]:
    return settle


@pytest.fixture
def threads_before() -> Iterator[None]:
    """No thread is left behind."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 20
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not {t.name for t in set(threading.enumerate()) - before if t.name == "napari-wsss"}
