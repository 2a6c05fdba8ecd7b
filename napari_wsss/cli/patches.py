"""`wsss-tile patches`: annotations on a slide become weakly labelled training patches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_wsss.cli.border import answer, answer_json, before_work, tell

if TYPE_CHECKING:
    from tiling.dataset import PatchOptions
    from tiling.export import Frame

__all__ = ["cut_patches"]


def cut_patches(
    path: Path,
    file: Path,
    schema_name: str,
    out: Path,
    options: PatchOptions,
    mpp: float | None,
    names: str,
    skip_unknown: bool,
    frame: Frame,
    as_json: bool,
) -> int:
    """Run the command; prints how many patches show each class."""
    from napari_wsss.models import resolve_schema
    from tiling.annotations import parse_match, place_on, read_class_areas
    from tiling.dataset import write_patches
    from tiling.slides import open_slide

    with before_work():
        schema = resolve_schema(schema_name)
        match = parse_match(names, schema)
    with open_slide(path, mpp=mpp) as slide:
        annotations = read_class_areas(file, schema, place_on(slide, frame), match, skip_unknown)
        for note in annotations.notes:
            tell(f"Note: {note}")
        counts = write_patches(slide, annotations, schema, out, path.stem, options)
    if as_json:
        answer_json(counts)
    else:
        for what, count in counts.items():
            answer(f"{what}: {count}")
    tell(f"Written to {out / options.split}")
    return 0
