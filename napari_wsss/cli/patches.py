"""`wsss-tile patches`: annotations on a slide become weakly labelled training patches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_wsss.cli.border import answer, answer_json, before_work, tell

if TYPE_CHECKING:
    from tiling.dataset import PatchOptions
    from tiling.export import Frame

__all__ = ["PatchRequest", "cut_patches"]


@dataclass(frozen=True)
class PatchRequest:
    """The command line of `patches`.

    Attributes
    ----------
    slide, annotations, out : Path
    schema : str
        ``bcss``, ``luad`` or a file.
    options : PatchOptions
    slide_mpp : float or None
        Overrides the slide's metadata.
    frame : {"qupath", "openslide"}
    skip_unknown : bool
    match : str
        What names of annotations mean, ``NAME=CLASS,…``.
    """

    slide: Path
    annotations: Path
    out: Path
    schema: str
    options: PatchOptions
    slide_mpp: float | None
    frame: Frame
    skip_unknown: bool
    match: str = ""


def cut_patches(request: PatchRequest, as_json: bool) -> int:
    """Run the command; prints how many patches show each class."""
    from napari_wsss.models import resolve_schema
    from tiling.annotations import parse_match, place_on, read_class_areas
    from tiling.dataset import write_patches
    from tiling.slides import open_slide

    with before_work():
        schema = resolve_schema(request.schema)
        match = parse_match(request.match, schema)
    with open_slide(request.slide, mpp=request.slide_mpp) as slide:
        annotations = read_class_areas(
            request.annotations, schema, place_on(slide, request.frame), match, request.skip_unknown
        )
        for note in annotations.notes:
            tell(f"Note: {note}")
        name = request.slide.stem
        counts = write_patches(slide, annotations, schema, request.out, name, request.options)
    if as_json:
        answer_json(counts)
    else:
        for what, count in counts.items():
            answer(f"{what}: {count}")
    tell(f"Written to {request.out / request.options.split}")
    return 0
