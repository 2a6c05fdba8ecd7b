"""`wsss-tile info`: what a slide is, and what a run over it would take."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_wsss.cli.border import answer, answer_json, tell

if TYPE_CHECKING:
    from napari_wsss.models import Bundle
    from tiling.slides import Slide, WeighedStatement

__all__ = ["show_slide"]


def show_slide(
    path: Path,
    mpp: float | None,
    model: str | None,
    overlap: float,
    batch_size: int,
    read_threads: int,
    as_json: bool,
) -> int:
    """Print the facts of a slide and of a run with a model."""
    from napari_wsss.models import default_bundle, list_bundles, load_bundle
    from tiling.folders import is_store
    from tiling.slides import open_slide

    if is_store(path):
        return show_store(path, as_json)
    with open_slide(path, mpp=mpp) as slide:
        facts = _slide_facts(slide)
        if slide.mpp is not None and (model or list_bundles()):
            bundle = load_bundle(model or default_bundle(), verify=False)
            facts["run"] = _run_facts(slide, bundle, overlap, batch_size, read_threads)
        warnings = slide.warnings
    if as_json:
        answer_json(facts)
    else:
        for line in _lines(facts):
            answer(line)
    for warning in warnings:
        tell(f"Note: {warning}")
    return 0


def show_store(path: Path, as_json: bool) -> int:
    """Print the facts of a result store: areas, how tissue was found, and how many tiles are doubtful."""
    from tiling.store import open_store

    store = open_store(path)
    receipt = store.receipt or {}
    facts: dict[str, Any] = {
        "path": str(path),
        "slide_id": store.name,
        "status": receipt.get("status", "unfinished"),
        "mpp": store.mpp,
        "counters": receipt.get("counters", {}),
        "areas_mm2": store.areas,
        "tissue": receipt.get("tissue", {}),
        "warnings": receipt.get("warnings", []),
    }
    if as_json:
        answer_json(facts)
        return 0
    counters = facts["counters"]
    answer(f"Store        {path}")
    answer(f"Slide        {store.name}, {facts['status']}, labels of {store.mpp:g} µm")
    if counters:
        answer(f"Tiles        {counters['tiles']:,} of {counters['tiles_in_grid']:,}")
        doubts = [f"{count:,} {name}" for name, count in counters["doubts"].items() if count]
        answer(f"Doubtful     {', '.join(doubts) or 'none'}")
        answer(f"Tissue       {facts['tissue'].get('how', '')}")
    for name, area in facts["areas_mm2"].items():
        answer(f"{area:11,.3f}  mm² {name}")
    for warning in facts["warnings"]:
        tell(f"Note: {warning}")
    return 0


def _slide_facts(slide: Slide) -> dict[str, Any]:
    box = slide.bounds
    return {
        "path": str(slide.path),
        "format": slide.format,
        "vendor": slide.vendor,
        "width": slide.dimensions[0],
        "height": slide.dimensions[1],
        "mpp": slide.mpp,
        "mpp_source": slide.resolution.source if slide.resolution else None,
        "mpp_problem": slide.resolution_problem or None,
        "statements": [_statement_facts(weighed) for weighed in slide.statements],
        "warnings": list(slide.warnings),
        "beside": list(slide.beside),
        "bounds": {"x": box.x, "y": box.y, "width": box.width, "height": box.height},
        "levels": [
            {"width": level.width, "height": level.height, "downsample": level.downsample}
            for level in slide.levels
        ],
    }


def _statement_facts(weighed: WeighedStatement) -> dict[str, Any]:
    """Return one thing that the file says about its resolution, and what became of it."""
    said = weighed.statement
    return {
        "source": said.source,
        "mpp_x": _json_number(said.mpp_x),
        "mpp_y": _json_number(said.mpp_y),
        "speaks_of": None if said.speaks_of is None else list(said.speaks_of),
        "verdict": weighed.verdict,
        "reason": weighed.reason or None,
    }


def _json_number(value: float | None) -> float | str | None:
    """Return a number as JSON can hold it: infinities and NaN, which files do state, as text."""
    return value if value is None or math.isfinite(value) else str(value)


def _run_facts(
    slide: Slide, bundle: Bundle, overlap: float, batch_size: int, read_threads: int
) -> dict[str, Any]:
    from napari_wsss.pipeline import Settings
    from tiling.engine import estimate_memory
    from tiling.plan import make_plan

    settings = Settings(overlap=overlap, batch_size=batch_size, read_threads=read_threads)
    options = settings.run_options(bundle.mpp)
    plan = make_plan(slide, bundle.tile, options)
    memory = estimate_memory(
        plan.grid,
        len(bundle.schema),
        batch_size,
        read_threads,
        reader_bytes=slide.reader_bytes(read_threads),
    )
    return {
        "model": bundle.name,
        "model_mpp": bundle.mpp,
        "tile": bundle.tile,
        "overlap": overlap,
        "labels_width": plan.grid.width,
        "labels_height": plan.grid.height,
        "tiles_in_grid": plan.grid.rows * plan.grid.columns,
        "tiles_with_tissue": plan.tiles,
        "memory_bytes": memory.total,
        "memory_terms": [{"term": term, "bytes": value} for term, value in memory.terms],
    }


def _statement_lines(statements: list[dict[str, Any]]) -> list[str]:
    """Lay out what the file says of its resolution, where that is more than the value taken."""
    if len(statements) == 1 and statements[0]["verdict"] == "taken":
        return []
    lines = []
    for said in statements:
        values = [f"{float(value):.4g}" for value in (said["mpp_x"], said["mpp_y"]) if value is not None]
        numbers = " × ".join(dict.fromkeys(values)) + " µm" if values else "no number"
        reason = f" ({said['reason']})" if said["reason"] else ""
        lines.append(f"             {said['source']}: {numbers}: {said['verdict']}{reason}")
    return lines


def _lines(facts: dict[str, Any]) -> list[str]:
    """Lay the facts out for people."""
    bounds, mpp = facts["bounds"], facts["mpp"]
    known = f"{mpp:.4g} µm per pixel ({facts['mpp_source']})" if mpp else f"unknown: {facts['mpp_problem']}"
    size = f"{facts['width']:,} × {facts['height']:,} px"
    if mpp:
        size += f", {facts['width'] * mpp / 1000:.2f} × {facts['height'] * mpp / 1000:.2f} mm"
    lines = [
        f"Slide        {facts['path']}",
        f"Format       {facts['format']}" + (f" ({facts['vendor']})" if facts["vendor"] else ""),
        f"Size         {size}",
        f"Resolution   {known}",
        *_statement_lines(facts["statements"]),
        f"Scanned      {bounds['width']:,} × {bounds['height']:,} px from {bounds['x']:,}, {bounds['y']:,}",
    ]
    for i, level in enumerate(facts["levels"]):
        head = "Levels" if i == 0 else ""
        lines.append(
            f"{head:12} {i}: {level['width']:,} × {level['height']:,} px, downsample {level['downsample']:g}"
        )
    if facts["beside"]:
        lines.append(f"Beside it    {', '.join(facts['beside'])} (not read)")
    run = facts.get("run")
    if run is None:
        return lines
    lines += [
        f"Model        {run['model']}, {run['model_mpp']:g} µm per pixel",
        f"Grid         tiles of {run['tile']} px, overlap {run['overlap']:g}",
        f"Tiles        {run['tiles_with_tissue']:,} with tissue of {run['tiles_in_grid']:,}",
        f"Labels       {run['labels_width']:,} × {run['labels_height']:,} px",
        f"Memory       {run['memory_bytes'] / 1e6:,.0f} MB above the loaded program and networks:",
    ]
    lines += [f"             {term['bytes'] / 1e6:8,.1f} MB  {term['term']}" for term in run["memory_terms"]]
    return lines
