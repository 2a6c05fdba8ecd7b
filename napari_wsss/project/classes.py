"""Other classes for a project that has labels: renamed, recoloured, added or removed at the end; no label changes."""

from __future__ import annotations

from napari_wsss.project.core import ProjectCore
from napari_wsss.project.corrections import read_corrections
from tiling.classes import ClassSchema
from tiling.errors import ProjectError

__all__ = ["change_classes"]


def change_classes(project: ProjectCore, schema: ClassSchema) -> None:
    """Give a project other classes; see :meth:`napari_wsss.project.Project.change_classes`."""
    known, wanted = project.schema, schema
    least, most = project.description.class_counts
    for index in range(len(wanted), len(known)):
        name = known.names[index]
        tiles = sum(label.present[index] for label in project.labels())
        painted = sum(
            bool((correction.mask == index + 1).any())
            for slide_id in project.slides
            for correction in read_corrections(project, slide_id)
        )
        if tiles or painted:
            raise ProjectError(
                f"{name} cannot be removed: {_counted(tiles, 'label')} and {_counted(painted, 'painted region')} name "
                "it; take them back first, or rename the class."
            )
    project.change(schema=wanted, class_counts=(min(least, len(wanted)), max(most, len(wanted))))


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
