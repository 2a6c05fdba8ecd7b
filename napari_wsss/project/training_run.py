"""From labels to a trained bundle: patches, stage 1, pseudo masks, stage 2, test scores, and the card."""

from __future__ import annotations

import shutil
import time
from collections.abc import Generator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from napari_wsss.project.card import Card
from napari_wsss.project.core import ProjectCore
from napari_wsss.project.data_set import write_data_set
from napari_wsss.project.encoder import DEFAULT_ENCODER
from napari_wsss.project.events import StepFinished, StepStarted, Trained, TrainEvent, TrainProgress
from napari_wsss.project.programs import Seen, run_program
from napari_wsss.project.recipe import Recipe, recipe_for
from napari_wsss.project.run_lock import RunLock
from napari_wsss.project.sketch import MASKS, Sketch, agree_with_sketch, sketched_patches, write_sketch
from tiling.errors import TrainingError
from tiling.files import read_json, write_json_atomic

__all__ = ["TrainOptions", "train_events"]

_RECORD = "project_run.json"
_SKETCHED = "sketched"
_SPLITS = ("test", "val")
_OURS = "--trust-masks"  # they are written here: a class that they lack is no sign of another encoding


@dataclass(frozen=True)
class TrainOptions:
    """What a person may choose; the rest follows from the labels.

    Attributes
    ----------
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    epochs : int or None
        Of each stage; None: from the number of labels.
    seed : int
    """

    device: str = "auto"
    epochs: int | None = None
    seed: int = 1


@dataclass(frozen=True)
class _Step:
    """One program of the run, its share of the work, and the file that proves it is complete."""

    name: str
    module: str
    words: tuple[str, ...]
    log: Path | None
    epochs: int
    share: float
    proof: Path | None = None


def train_events(
    project: ProjectCore, name: str, card: Card, sketch: Sketch | None, options: TrainOptions
) -> Generator[TrainEvent]:
    """Train, as a generator of events; closing it ends the running program and leaves what the next call resumes.

    Raises
    ------
    FewLabelsError, SlideError, TrainingError, ProjectReadOnlyError
    """
    project.require_writable()
    folder = project.folder / "runs" / name
    folder.mkdir(parents=True, exist_ok=True)
    with RunLock(folder) as lock:
        yield from _train(project, name, folder, card, sketch, options, lock)


def _train(
    project: ProjectCore,
    name: str,
    folder: Path,
    card: Card,
    sketch: Sketch | None,
    options: TrainOptions,
    lock: RunLock,
) -> Generator[TrainEvent]:
    started = time.monotonic()
    yield StepStarted("patches", 1, 1)
    data, manifest = write_data_set(project)
    recipe = _recipe(manifest, options)
    _begin(folder, manifest, recipe, options)
    sketched = sketched_patches(folder / _SKETCHED)
    # A run that began without features goes on without.
    if sketched is None and sketch is not None and not (folder / "stage1").exists():
        sketched = write_sketch(project, sketch, data, folder / _SKETCHED)
    yield StepFinished("patches", time.monotonic() - started)
    steps = _steps(project, folder, data, recipe, sketched, options)
    done = 0.0
    for number, step in enumerate(steps, 1):
        yield StepStarted(step.name, number, len(steps))
        begun = time.monotonic()
        if step.proof is None or not step.proof.is_file():
            if step.name == "stage2" and sketched is not None:
                agree_with_sketch(folder / _SKETCHED, folder / "masks", project.schema)
            for seen in run_program(step.module, step.words, step.log, lock.inherited):
                yield _progress(step, seen, done, started)
        done += step.share
        yield StepFinished(step.name, time.monotonic() - begun)
    bundle = _finish(project, name, folder, card, recipe, (data / "test").is_dir())
    yield Trained(bundle, time.monotonic() - started, _metrics(folder))


def _recipe(manifest: dict[str, Any], options: TrainOptions) -> Recipe:
    labels = [present for *_, present, test in manifest["labels"] if not test]
    single = [present.index(1) for present in labels if sum(present) == 1]
    recipe = recipe_for(len(labels), len(single), len(set(single)), bool(manifest["corrections"]))
    if options.epochs is None:
        return recipe
    return replace(recipe, epochs1=options.epochs, epochs2=options.epochs)


def _begin(folder: Path, manifest: dict[str, Any], recipe: Recipe, options: TrainOptions) -> None:
    """Record what is trained on; what an earlier run of something else has left is removed before."""
    record = {"manifest": manifest, "recipe": asdict(recipe), "seed": options.seed}
    path = folder / _RECORD
    try:
        before = read_json(path)
    except (OSError, ValueError):
        before = None
    if before == record:
        return
    try:
        path.unlink(missing_ok=True)
        for part in ("stage1", "masks", _SKETCHED, "stage2"):
            shutil.rmtree(folder / part, ignore_errors=True)
        for split in _SPLITS:
            (folder / f"{split}.json").unlink(missing_ok=True)
        write_json_atomic(path, record)
    except OSError as error:
        raise TrainingError(f"{folder} cannot be written: {error.strerror or error}; mend it.") from error


def _steps(
    project: ProjectCore,
    folder: Path,
    data: Path,
    recipe: Recipe,
    sketched: int | None,
    options: TrainOptions,
) -> list[_Step]:
    stage1, stage2, masks = folder / "stage1", folder / "stage2", folder / "masks"
    taught, made = (data, masks) if sketched is None else (folder / _SKETCHED, folder / _SKETCHED / MASKS)
    patches = sketched if sketched is not None else sum(1 for _ in (data / "train").iterdir())
    epochs2 = recipe.epochs_of_stage2(patches)
    schema = ("--dataset", str(data / "schema.json"), _OURS)
    loop = (
        *("--batch-size", str(recipe.batch_size), "--mpp", f"{project.mpp:g}"),
        *("--device", options.device, "--seed", str(options.seed), "--no-pictures"),
    )
    width, weights = _start(project)
    words1 = (
        *("--dataroot", str(data), "--out", str(stage1), "--epochs", str(recipe.epochs1), *loop),
        *("--width", f"{width:g}", "--weights", weights, "--frozen-stages", str(recipe.frozen1)),
        *("--exact", f"{recipe.exact1:g}", "--mosaic", f"{recipe.mosaic1:g}", "--select", recipe.select),
    )
    words = (
        *("--dataroot", str(data), "--weights", str(stage1 / "bundle")),
        *("--out", str(masks), "--device", options.device),
    )
    words2 = (
        *("--dataroot", str(taught), "--stage1", str(stage1 / "bundle"), "--masks", str(made)),
        *("--out", str(stage2), "--epochs", str(epochs2), *loop, "--width", f"{width:g}"),
        *("--weights", str(stage1 / "bundle"), "--frozen-stages", str(recipe.frozen2)),
        *("--mosaic", f"{recipe.mosaic2:g}"),
    )
    proofs = [stage / "bundle" / "model.json" for stage in (stage1, stage2)]
    steps = [
        _Step(
            "stage1",
            "training.stage1",
            (*schema, *words1),
            stage1 / "log.csv",
            recipe.epochs1,
            0.3,
            proofs[0],
        ),
        _Step("pseudo_masks", "training.pseudo_masks", (*schema, *words), None, 1, 0.1),
        _Step("stage2", "training.stage2", (*schema, *words2), stage2 / "log.csv", epochs2, 0.55, proofs[1]),
    ]
    for split in _SPLITS:
        if (data / split).is_dir():
            judge = ("--bundle", str(stage2 / "bundle"), "--dataroot", str(data), "--split", split, _OURS)
            result = ("--json", str(folder / f"{split}.json"), "--device", options.device)
            steps.append(_Step(f"evaluate {split}", "training.evaluate", (*judge, *result), None, 1, 0.05))
    return steps


def _start(project: ProjectCore) -> tuple[float, str]:
    """Return the width of the encoder and where stage 1 starts: from the encoder of the quick model."""
    name = project.description.encoder.name
    if name == DEFAULT_ENCODER:
        return 1.0, "imagenet"
    from napari_wsss.models import load_bundle

    bundle = load_bundle(name)
    return float(bundle.stage1.arguments.get("width", 1.0)), str(bundle.path)


def _progress(step: _Step, seen: Seen, done: float, started: float) -> TrainProgress:
    last = seen.epochs[-1] if seen.epochs else None
    share = min(1.0, done + step.share * (last.epoch if last else 0) / max(1, step.epochs))
    seconds = time.monotonic() - started
    return TrainProgress(
        step=step.name,
        epoch=last.epoch if last else 0,
        epochs=step.epochs,
        loss=last.loss if last else None,
        score=last.score if last else None,
        share=share,
        seconds=seconds,
        seconds_left=seconds * (1 - share) / share if share > 0.02 else None,
        message=seen.message,
    )


def _metrics(folder: Path) -> dict[str, Any]:
    found = {}
    for split in _SPLITS:
        try:
            found[split] = read_json(folder / f"{split}.json")
        except (OSError, ValueError):
            continue
    return found


def _finish(project: ProjectCore, name: str, folder: Path, card: Card, recipe: Recipe, tested: bool) -> Path:
    """Copy the bundle to ``models/`` with its card filled in."""
    from napari_wsss.models import load_bundle, save_bundle

    trained = load_bundle(folder / "stage2" / "bundle")
    out = project.folder / "models" / name
    scores = {split: _plain(values) for split, values in _metrics(folder).items()}
    save_bundle(
        out,
        name=f"{project.name}-{name}",
        schema=project.schema,
        mpp=project.mpp,
        tile=trained.tile,
        stage1=trained.build_stage1(),
        stage2=trained.build_stage2(),
        description=f"Trained in the project {project.name}. {card.sentence}",
        training_data=card.sentence,
        gate=trained.gate,
        metrics={**trained.metrics, **scores} if tested or scores else trained.metrics,
        provenance={**trained.provenance, "project": card.to_dict(), "recipe": asdict(recipe)},
        overwrite=True,
    )
    return out


def _plain(values: Any) -> Any:
    """Keep of an evaluation what a card shows: numbers, not lists of images."""
    if isinstance(values, dict):
        kept = {key: _plain(v) for key, v in values.items() if not isinstance(v, list)}
        return {key: v for key, v in kept.items() if v is not None and v != {}}
    return values if isinstance(values, int | float | str) else None
