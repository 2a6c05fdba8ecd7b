"""`wsss-tile project`: everything that the Teach dock does, without a window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_wsss.cli.border import answer, answer_json, tell
from tiling.errors import FewLabelsError, ProjectReadOnlyError, UsageProblem

if TYPE_CHECKING:
    from napari_wsss.project import Head, Project, Tile, TileLabel
    from tiling.export import Frame

__all__ = [
    "LabelRequest",
    "add_slides",
    "fit_project",
    "make_project",
    "merge_project",
    "prepare_slides",
    "show_status",
    "train_project",
    "work_on_labels",
]


@dataclass(frozen=True)
class LabelRequest:
    """The command line of `project labels`; the fields are its options."""

    folder: Path
    slide: str | None
    say: tuple[str, ...]
    reader: str
    undo: bool
    suggest: int
    set_aside: int
    import_file: Path | None
    correct_file: Path | None
    export_file: Path | None
    min_share: float
    min_annotated: float
    match: str
    skip_unknown: bool
    frame: Frame


def _writing(folder: Path) -> Project:
    """Open a project to change it."""
    from napari_wsss.project import open_project

    project = open_project(folder)
    if project.read_only:
        raise ProjectReadOnlyError(project.notice)
    return project


def make_project(folder: Path, schema: str, tile: int, mpp: float, encoder: str) -> int:
    """Run `project new`."""
    from napari_wsss.project import new_project

    with new_project(folder, schema, tile=tile, mpp=mpp, encoder=encoder) as project:
        tell(f"Made {folder} for {', '.join(project.schema.names)}; add slides with `wsss-tile project add`.")
    return 0


def add_slides(
    folder: Path, slides: Sequence[Path], case: str | None, slide_id: str | None, mpp: float | None
) -> int:
    """Run `project add`; prints the ids."""
    if slide_id is not None and len(slides) > 1:
        raise UsageProblem("--id is for one slide; add the others with another command.")
    with _writing(folder) as project:
        for path in slides:
            answer(project.add(path, case, slide_id=slide_id, mpp=mpp))
    return 0


def work_on_labels(request: LabelRequest, as_json: bool) -> int:
    """Run `project labels`."""
    from napari_wsss.project import open_project
    from tiling.annotations import parse_match

    changes = request.say or request.undo or request.import_file or request.correct_file or request.set_aside
    with _writing(request.folder) if changes else open_project(request.folder, write=False) as project:
        if request.import_file is not None:
            tiles = project.import_labels(
                _one(request),
                request.import_file,
                request.reader,
                frame=request.frame,
                min_share=request.min_share,
                min_annotated=request.min_annotated,
                match=parse_match(request.match),
                skip_unknown=request.skip_unknown,
                on_note=_tell_note,
            )
            tell(f"Labelled {len(tiles)} tiles.")
        if request.correct_file is not None:
            painted = project.import_corrections(
                _one(request),
                request.correct_file,
                request.reader,
                frame=request.frame,
                match=parse_match(request.match),
                skip_unknown=request.skip_unknown,
                on_note=_tell_note,
            )
            tell(f"Kept the region as {painted}.")
        for words in request.say:
            x, y, names = _saying(words)
            project.label(_one(request), x, y, names, request.reader)
        if request.undo:
            tell(f"Took back the labels of {len(project.undo(request.reader or None, request.slide))} tiles.")
        if request.export_file is not None:
            count = project.export_labels(_one(request), request.export_file, frame=request.frame)
            tell(f"Wrote {count} labels to {request.export_file}.")
        shown: Sequence[Tile] | Sequence[TileLabel]
        if request.set_aside:
            shown = project.set_aside(request.set_aside)
        elif request.suggest:
            shown = project.suggest(request.suggest)
        elif changes or request.export_file is not None:
            return 0
        else:
            shown = project.labels(request.slide)
        _show([_row(each) for each in shown], as_json)
    return 0


def _tell_note(note: str) -> None:
    tell(f"Note: {note}")


def _one(request: LabelRequest) -> str:
    if request.slide is None:
        raise UsageProblem("Name the slide that the labels are about, after the project.")
    return request.slide


def _saying(words: str) -> tuple[float, float, list[str]]:
    """Read ``X,Y=A+B``."""
    place, equals, names = words.partition("=")
    try:
        x, y = (float(part) for part in place.split(","))
    except ValueError:
        equals = ""
        x = y = 0.0
    if not equals:
        raise UsageProblem(f"{words!r} is not X,Y=CLASS+CLASS, such as 1200,3400=tumour+stroma.")
    return x, y, [name.strip() for name in names.split("+") if name.strip()]


def _row(each: Tile | TileLabel) -> dict[str, Any]:
    from napari_wsss.project import TileLabel

    tile = each.tile if isinstance(each, TileLabel) else each
    row = {
        "slide_id": tile.slide_id,
        "x": round(tile.x, 2),
        "y": round(tile.y, 2),
        "side": round(tile.side, 2),
    }
    if isinstance(each, TileLabel):
        kept = {"classes": list(each.classes), "reader": each.reader, "time": each.time, "test": each.test}
        return {**row, **kept, "source": each.source}
    return row


def _show(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        answer_json(rows)
        return
    for row in rows:
        answer("\t".join("+".join(v) if isinstance(v, list) else str(v) for v in row.values()))


def prepare_slides(
    folder: Path, slides: Sequence[str], device: str, backend: str, batch_size: int, read_threads: int
) -> int:
    """Run `project prepare`."""
    from napari_wsss.project import Prepared, PrepareProgress

    if backend == "compile":
        raise UsageProblem("Preparing runs with --backend auto, torch or openvino.")
    with _writing(folder) as project:
        told = 0.0
        for event in project.prepare(
            *slides, device=device, backend=backend, batch_size=batch_size, read_threads=read_threads
        ):
            if isinstance(event, PrepareProgress) and event.seconds - told > _TELL_SECONDS:
                told = event.seconds
                left = event.seconds_left
                tell(
                    f"{event.slide_id}: {event.done} of {event.tiles} tiles, {event.tiles_per_second:.0f} tiles/s"
                    + (f", {left:.0f} s left" if left is not None else "")
                )
            elif isinstance(event, Prepared):
                told = 0.0
                lost = f", {event.unreadable} could not be read" if event.unreadable else ""
                tell(f"{event.slide_id}: {event.tiles} tiles prepared in {event.seconds:.0f} s{lost}")
    return 0


_TELL_SECONDS = 5.0


def fit_project(folder: Path, model: str, maps: Path | None, as_json: bool) -> int:
    """Run `project fit`; prints the path of the quick model and the score."""
    with _writing(folder) as project:
        path = project.quick_model(model)
        head = project.fit()
        if maps is not None:
            _draw_maps(project, head, maps)
        for note in head.notes:
            tell(note)
        score = head.score
        if as_json:
            answer_json({"model": str(path), "score": asdict(score), "notes": list(head.notes)})
        else:
            answer(path)
            answer(score)
            for each in score.classes:
                answer(f"  {each}")
    return 0


def _draw_maps(project: Project, head: Head, folder: Path) -> None:
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for slide_id in project.slides:
        if not project.prepared(slide_id)[0]:
            continue
        picture = Image.fromarray(project.schema.palette[head.map(slide_id).labels])
        picture.save(folder / f"{slide_id}.png")


def train_project(folder: Path, name: str, **options: Any) -> int:
    """Run `project train`; prints the bundle's path."""
    from napari_wsss.project import StepFinished, StepStarted, Trained, TrainProgress

    last: tuple[str, int] = ("", 0)

    def show(event: object) -> None:
        nonlocal last
        if isinstance(event, StepStarted):
            tell(f"[{event.number}/{event.steps}] {event.step}")
        elif isinstance(event, TrainProgress) and (event.step, event.epoch) > last:
            last = (event.step, event.epoch)
            loss = "" if event.loss is None else f", loss {event.loss:.3f}"
            score = "" if event.score is None else f", score {event.score:.3f}"
            left = "" if event.seconds_left is None else f", about {event.seconds_left:.0f} s left"
            tell(f"  epoch {event.epoch} of {event.epochs}{loss}{score}{left}")
        elif isinstance(event, StepFinished):
            tell(f"  done in {event.seconds:.0f} s")
        elif isinstance(event, Trained):
            tell(event.advice)

    with _writing(folder) as project:
        answer(project.train(name, on_event=show, **options))
    return 0


def show_status(folder: Path, as_json: bool) -> int:
    """Run `project status`."""
    from napari_wsss.project import open_project

    with open_project(folder, write=False) as project:
        status = _status(project)
    if as_json:
        answer_json(status)
        return 0
    answer(
        f"{status['name']}: {', '.join(status['classes'])}; tiles of {status['tile']} px at {status['mpp']:g} µm"
    )
    for slide in status["slides"]:
        done, tiles = slide["prepared"]
        held = ", ".join(f"{name} {count}" for name, count in slide["labels"].items() if count) or "no labels"
        ready = f"{done} of {tiles} tiles prepared" if tiles else "not prepared"
        answer(f"{slide['slide_id']} (case {slide['case']}): {ready}; {held}{slide['problem']}")
    answer(f"Score: {status['score']}")
    for name, path in status["models"].items():
        answer(f"Model {name}: {path}")
    for note in status["notes"]:
        answer(note)
    return 0


def _status(project: Project) -> dict[str, Any]:
    labels = project.labels()
    slides = []
    for slide_id in project.slides:
        entry = project.entry(slide_id)
        here = [label for label in labels if label.tile.slide_id == slide_id]
        missing = not entry.find(project.folder).exists()
        slides.append(
            {
                "slide_id": slide_id,
                "case": entry.case,
                "path": str(entry.find(project.folder)),
                "prepared": list(project.prepared(slide_id)),
                "labels": {n: sum(n in label.classes for label in here) for n in project.schema.names},
                "problem": "; its file is missing" if missing else "",
            }
        )
    score, notes = "too few labels to say", []
    try:
        head = project.fit()
        score, notes = str(head.score), list(head.notes)
    except FewLabelsError as error:
        notes = [str(error)]
    return {
        "name": project.name,
        "classes": list(project.schema.names),
        "tile": project.tile,
        "mpp": project.mpp,
        "encoder": project.description.encoder.name,
        "slides": slides,
        "labels": len(labels),
        "test_tiles": len(project.test_tiles()),
        "score": score,
        "models": {name: str(path) for name, path in project.models().items()},
        "notes": notes,
    }


def merge_project(folder: Path, other: Path, as_json: bool) -> int:
    """Run `project merge`; prints kappa per class and the conflicts."""
    with _writing(folder) as project:
        report = project.merge(other)
    conflicts = [
        {**_row(c.tile), report.first: list(c.first), report.second: list(c.second)} for c in report.conflicts
    ]
    if as_json:
        answer_json(
            {"added": report.added, "tiles": report.tiles, "kappa": report.kappa, "conflicts": conflicts}
        )
        return 0
    tell(f"Added {report.added} labels; {report.tiles} tiles have labels of both.")
    for name, value in report.kappa.items():
        answer(f"{name}\t{'undefined' if value is None else f'{value:.2f}'}")
    _show(conflicts, False)
    return 0
