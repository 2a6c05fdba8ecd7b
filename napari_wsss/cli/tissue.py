"""`wsss-tile tissue`: what counts as tissue on a slide, as numbers, picture and outlines."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from napari_wsss.cli.border import answer, answer_json, tell
from tiling.errors import UsageProblem

__all__ = ["show_tissue", "tissue_options"]


def tissue_options(none: bool, areas: Path | None, threshold: float | None) -> dict[str, Any]:
    """Return the settings that the options about tissue mean.

    Raises
    ------
    UsageProblem
        When they contradict each other.
    """
    from tiling.plan import TissueParameters

    given = [name for name, it in (("--no-tissue-mask", none or None), ("--tissue", areas)) if it is not None]
    given += [] if threshold is None else ["--tissue-threshold"]
    if len(given) > 1:
        raise UsageProblem(f"{' and '.join(given)} contradict each other; give one of them.")
    return {"tissue": None if none else TissueParameters(threshold=threshold)}


def show_tissue(
    path: Path,
    png: Path | None,
    geojson: Path | None,
    threshold: float | None,
    mpp: float | None,
    frame: Literal["qupath", "openslide"],
    as_json: bool,
) -> int:
    """Print how tissue was found and how much; write what was asked for."""
    from tiling.export import write_outlines, write_tissue_picture
    from tiling.plan import look_at_slide
    from tiling.slides import open_slide

    with open_slide(path, mpp=mpp) as slide:
        preview = look_at_slide(slide)
        mask = preview.look.mask(threshold)
        facts = {
            "path": str(path),
            **preview.look.receipt(threshold),
            "share": round(float(mask.mean()), 4),
            "area_mm2": round(preview.area_mm2(mask), 4),
        }
        if preview.look.problem:
            tell(f"Note: No tissue was looked for: {preview.look.problem}.")
        if geojson is not None:
            origin = (slide.bounds.x, slide.bounds.y) if frame == "qupath" else (0, 0)
            pieces = write_outlines(geojson, preview.outlines(mask), origin)
            tell(f"{pieces} pieces of tissue written to {geojson}")
        if png is not None:
            write_tissue_picture(png, preview.overview, mask)
            tell(f"Written to {png}")
    if as_json:
        answer_json(facts)
        return 0
    answer(f"Tissue     {facts['share']:.1%} of the scanned area, {facts['area_mm2']:,.2f} mm²")
    for glass in facts["glass"]:
        how = "assumed" if glass["assumed"] else "found"
        answer(f"Glass      RGB {', '.join(map(str, glass['rgb']))} ({how})")
    answer(f"Threshold  {facts['threshold']:g} (from {facts['threshold_from']})")
    return 0
