"""Small synthetic slides and projects of them, with the embedded encoder that knows such tissue."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from toy_projects import OTHER, SMALL

from napari_wsss.project import Project, new_project
from tiling.synthetic import SYNTHETIC_SCHEMA, write_slide


@pytest.fixture(scope="session")
def encoder() -> str:
    """A narrow encoder that knows synthetic tissue."""
    return "synthetic-demo"


@pytest.fixture(scope="session")
def slides(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("slides")
    paths = {"small": folder / "small.tif", "other": folder / "other.tif"}
    write_slide(paths["small"], SMALL)
    write_slide(paths["other"], OTHER)
    return paths


@pytest.fixture
def make(tmp_path: Path, encoder: str) -> Iterator[Callable[..., Project]]:
    """Make projects that are closed when the test ends."""
    opened: list[Project] = []

    def new(*slides: Path, name: str = "liver") -> Project:
        project = new_project(tmp_path / f"{name}.wsss", SYNTHETIC_SCHEMA, tile=64, mpp=0.5, encoder=encoder)
        opened.append(project)
        for slide in slides:
            project.add(slide, case="P1")
        return project

    yield new
    for project in opened:
        project.close()
