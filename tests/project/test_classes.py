"""Classes change while there are labels: nothing that was said is lost, and nothing is said that was not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_wsss.project import Project, open_project
from napari_wsss.project.data_set import write_data_set
from tiling.classes import ClassSchema, TissueClass
from tiling.errors import LabelError, ProjectError
from tiling.geometry import Box
from tiling.synthetic import SYNTHETIC_SCHEMA

Make = Callable[..., Project]
NAMES = SYNTHETIC_SCHEMA.names
NEW = TissueClass("Foam cells", "FOA", "#123456")


def with_classes(*classes: TissueClass) -> ClassSchema:
    return ClassSchema(SYNTHETIC_SCHEMA.name, classes)


def test_a_new_name_and_colour_keep_the_labels(make: Make, slides: dict[str, Path]) -> None:
    project = make(slides["small"])
    project.label("small", 5, 5, NAMES[:2], "KL")
    first = replace(SYNTHETIC_SCHEMA.classes[0], name="Invasive front", color="#00ff00")
    project.change_classes(with_classes(first, *SYNTHETIC_SCHEMA.classes[1:]))
    (label,) = project.labels()
    assert label.classes == ("Invasive front", NAMES[1])
    project.close()
    with open_project(project.folder) as again:
        assert again.labels()[0].classes == ("Invasive front", NAMES[1])
        with pytest.raises(LabelError, match="no class of this project"):
            again.label("small", 5, 5, NAMES[0])


def test_a_class_more_and_a_class_less(make: Make, slides: dict[str, Path]) -> None:
    project = make(slides["small"])
    for column in range(8):
        project.label("small", 64 * column + 5, 200, {NAMES[column % 4]}, "KL")
    painted = np.full((64, 64), 4, np.uint8)
    painted[:10] = 0
    project.correct("small", Box(0, 0, 64, 64), painted)
    before = {label.tile: label.classes for label in project.labels()}
    project.change_classes(with_classes(*SYNTHETIC_SCHEMA.classes, NEW))
    assert {label.tile: label.classes for label in project.labels()} == before
    assert all(label.present[4:] == (False,) for label in project.labels())
    np.testing.assert_array_equal(project.corrections("small")[0].mask, painted)
    data, manifest = write_data_set(project)
    assert manifest["classes"][-1] == "Foam cells"
    names = [path.name for path in (data / "train").iterdir()]
    assert sum(name.endswith(("00].png", "10].png")) for name in names) == len(names) == 8 + 1, (
        "and what is painted"
    )

    tile = project.label("small", 5, 5, {"FOA", NAMES[0]}, "KL")
    with pytest.raises(ProjectError, match=r"Foam cells cannot be removed: 1 label and 0 painted regions"):
        project.change_classes(SYNTHETIC_SCHEMA)
    assert project.schema.names[-1] == "Foam cells"
    project.undo("KL")
    project.correct("small", Box(64, 0, 64, 64), np.full((64, 64), 5, np.uint8))
    with pytest.raises(ProjectError, match="0 labels and 1 painted region"):
        project.change_classes(SYNTHETIC_SCHEMA)
    assert project.take_correction_back("small", Box(64, 0, 64, 64))
    project.change_classes(SYNTHETIC_SCHEMA)
    project.close()
    with open_project(project.folder) as again:
        assert {label.tile: label.classes for label in again.labels()} == before
        assert tile not in before
        np.testing.assert_array_equal(again.corrections("small")[0].mask, painted)
        # The log still knows how many classes there may be: a line that names six is damaged.
        log = again.folder / "labels" / "small.csv"
        log.write_text(log.read_text().replace("1 0 0 0,", "1 0 0 0 0 1,", 1))
        with pytest.raises(LabelError, match="6 labels, and the project has 4 classes"):
            again.labels()


def test_the_map_begins_anew_with_other_classes(make: Make, slides: dict[str, Path]) -> None:
    project = make(slides["small"])
    list(project.prepare())
    for column in range(4):
        project.label("small", 64 * column + 5, 200, {NAMES[column]})
    assert project.fit().names == NAMES
    project.change_classes(with_classes(*SYNTHETIC_SCHEMA.classes, NEW))
    assert project.fit().names == (*NAMES, "Foam cells")
    assert any("Foam cells" in note for note in project.fit().notes)
