"""From labels to a trained bundle: the quick model draws masks, stage 2 learns from them, and both are judged."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from napari_wsss.project.card import Card
from napari_wsss.project.core import ProjectCore
from napari_wsss.project.data_set import write_data_set
from napari_wsss.project.events import StepFinished, StepStarted, Trained, TrainEvent, TrainProgress
from napari_wsss.project.preparation import encoder_of, reduction_of
from napari_wsss.project.programs import Seen, require_programs, run_program
from napari_wsss.project.quick import write_quick_model
from napari_wsss.project.recipe import Recipe, recipe_for
from napari_wsss.project.run_lock import RunLock
from napari_wsss.project.sketch import MASKS, Sketch, sketched_patches, write_sketch
from napari_wsss.project.starting import STARTED, Former, former_of, models_of, start_words
from tiling.errors import TrainingError, disk_errors_as
from tiling.files import read_json, write_json_atomic

__all__ = ["TrainOptions", "advice_on", "train_events"]

_RECORD = "project_run.json"
_SKETCHED = "sketched"
_QUICK = "quick"
_SPLITS = ("test", "val")
_RIVAL = "test of the quick model"
_START = "start"  # the bundle that is gone on from, as it was when the run began
_BEFORE = "{} of the model before"
_OURS = "--trust-masks"  # they are written here: a class that they lack is no sign of another encoding


@dataclass(frozen=True)
class TrainOptions:
    """What a person may choose; the rest follows from the labels.

    Attributes
    ----------
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    epochs : int or None
        None: from the number of labels.
    seed : int
    fresh : bool
        Start from the encoder, also where the project has a trained model to go on from.
    """

    device: str = "auto"
    epochs: int | None = None
    seed: int = 1
    fresh: bool = False


@dataclass(frozen=True)
class _Step:
    """One program of the run, its share of the work, and the file that proves it is complete."""

    name: str
    module: str
    words: tuple[str, ...]
    log: Path | None
    epochs: int
    share: float
    proof: Path


def train_events(
    project: ProjectCore, name: str, card: Card, sketch: Callable[[], Sketch], options: TrainOptions
) -> Generator[TrainEvent]:
    """Train, as a generator of events; closing it ends the running program and leaves what the next call resumes.

    ``sketch`` is asked once, at the beginning: what is resumed needs no features.

    Raises
    ------
    FewLabelsError, SlideError, TrainingError, ProjectReadOnlyError
    """
    project.require_writable()
    require_programs()
    folder = project.folder / "runs" / name
    folder.mkdir(parents=True, exist_ok=True)
    with RunLock(folder) as lock:
        yield from _train(project, name, folder, card, sketch, options, lock)


def _train(
    project: ProjectCore,
    name: str,
    folder: Path,
    card: Card,
    sketch: Callable[[], Sketch],
    options: TrainOptions,
    lock: RunLock,
) -> Generator[TrainEvent]:
    started = time.monotonic()
    yield StepStarted("patches", 1, 1)
    data, manifest = write_data_set(project)
    former, recipe = _begin(project, folder, manifest, options)
    sketched = sketched_patches(folder / _SKETCHED)
    if sketched is None:
        taught = sketch()
        write_quick_model(project, taught.head, folder / _QUICK)
        reduction = reduction_of(project)
        encode = None if reduction is None else encoder_of(project, reduction, options.device)
        sketched = write_sketch(project, taught, data, folder / _SKETCHED, encode)
    yield StepFinished("patches", time.monotonic() - started)
    steps = _steps(project, folder, data, recipe, sketched, former, options)
    done = 0.0
    for number, step in enumerate(steps, 1):
        yield StepStarted(step.name, number, len(steps))
        begun = time.monotonic()
        if not step.proof.is_file():
            for seen in run_program(step.module, step.words, step.log, lock.inherited):
                yield _progress(step, seen, done, started)
        done += step.share
        yield StepFinished(step.name, time.monotonic() - begun)
    metrics = _metrics(folder)
    better = better_than_before(metrics)
    advice = advice_on(metrics, "" if former is None else former.name)
    start = None if former is None else {**asdict(former), "better": better}
    bundle = _finish(project, name, folder, f"{card.sentence} {advice}", card, recipe, metrics, start)
    use = bundle
    if former is not None and better is False:
        use = _kept(project, folder, former, name)
    yield Trained(bundle, time.monotonic() - started, metrics, advice, use)


def _recipe(manifest: dict[str, Any], options: TrainOptions, goes_on: bool) -> Recipe:
    labels = [present for *_, present, test in manifest["labels"] if not test]
    single = [present.index(1) for present in labels if sum(present) == 1]
    recipe = replace(recipe_for(len(labels), len(single), len(set(single))), epochs=options.epochs)
    return recipe.going_on() if goes_on else recipe


def _begin(
    project: ProjectCore, folder: Path, manifest: dict[str, Any], options: TrainOptions
) -> tuple[Former | None, Recipe]:
    """Record what is trained on and gone on from; what an earlier run of something else has left is removed before.

    A run that is gone on with keeps the model that it began with, whatever the project has got since.
    """
    path = folder / _RECORD
    try:
        before = read_json(path)
        former = None if before["start"] is None else Former(**before["start"])
    except (OSError, ValueError, KeyError, TypeError):
        before, former = None, None
    recipe = _recipe(manifest, options, former is not None)
    if before is not None and before == _record(manifest, recipe, options, former):
        return former, recipe
    former = None if options.fresh else former_of(project)
    recipe = _recipe(manifest, options, former is not None)
    try:
        path.unlink(missing_ok=True)
        for part in (_SKETCHED, _QUICK, _START, "stage2"):
            shutil.rmtree(folder / part, ignore_errors=True)
        for result in folder.glob("*.json"):
            result.unlink()
        if former is not None:
            shutil.copytree(models_of(project)[former.name], folder / _START)
        write_json_atomic(path, _record(manifest, recipe, options, former))
    except OSError as error:
        raise TrainingError(f"{folder} cannot be written: {error.strerror or error}; mend it.") from error
    return former, recipe


def _record(
    manifest: dict[str, Any], recipe: Recipe, options: TrainOptions, former: Former | None
) -> dict[str, Any]:
    return {
        "manifest": manifest,
        "recipe": asdict(recipe),
        "seed": options.seed,
        "fresh": options.fresh,
        "start": None if former is None else asdict(former),
    }


def _steps(
    project: ProjectCore,
    folder: Path,
    data: Path,
    recipe: Recipe,
    sketched: int,
    former: Former | None,
    options: TrainOptions,
) -> list[_Step]:
    stage2, quick, taught = folder / "stage2", folder / _QUICK, folder / _SKETCHED
    epochs = recipe.epochs_of(sketched)
    words = (
        *(
            "--dataset",
            str(data / "schema.json"),
            _OURS,
            "--dataroot",
            str(taught),
            "--masks",
            str(taught / MASKS),
        ),
        *("--stage1", str(quick), "--out", str(stage2), "--epochs", str(epochs), "--mpp", f"{project.mpp:g}"),
        *("--one-encoder", "--gate-stride", "0"),
        *("--batch-size", str(recipe.batch_size), "--mosaic", f"{recipe.mosaic:g}"),
        *("--partial-labels", f"{recipe.partial_labels:g}", "--ema", f"{recipe.ema:g}"),
        *start_words(project, recipe, quick, None if former is None else folder / _START),
        *("--device", options.device, "--seed", str(options.seed), "--samples", "2"),
        "--no-gate",  # what judges the model neither opens its gate nor chooses its epoch
    )
    log, proof = stage2 / "log.csv", stage2 / "bundle" / "model.json"
    steps = [_Step("stage2", "training.stage2", words, log, epochs, 0.9, proof)]
    for split in _SPLITS:
        if not (data / split).is_dir():
            continue
        judged = {split: stage2 / "bundle"}
        if split == "test":
            judged[_RIVAL] = quick
        if former is not None:
            judged[_BEFORE.format(split)] = folder / _START
        steps += [
            _judged(f"evaluate {name}", bundle, data, split, folder / f"{name}.json", options)
            for name, bundle in judged.items()
        ]
    return steps


def _judged(name: str, bundle: Path, data: Path, split: str, result: Path, options: TrainOptions) -> _Step:
    words = ("--bundle", str(bundle), "--dataroot", str(data), "--split", split, _OURS)
    rest = ("--json", str(result), "--device", options.device)
    return _Step(name, "training.evaluate", (*words, *rest), None, 1, 0.02, result)


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
        samples=_newest_samples(step, last.epoch) if last else None,
    )


def _newest_samples(step: _Step, epoch: int) -> Path | None:
    """Return the page of an epoch, or of the one before while it is being drawn."""
    folder = (step.log or Path()).parent / "samples"
    pages = (folder / f"epoch_{number:03}.png" for number in (epoch, epoch - 1))
    return next((page for page in pages if page.is_file()), None)


def _metrics(folder: Path) -> dict[str, Any]:
    found = {}
    for name in (*_SPLITS, _RIVAL, *map(_BEFORE.format, _SPLITS)):
        try:
            found[name] = read_json(folder / f"{name}.json")
        except (OSError, ValueError):
            continue
    return found


def advice_on(metrics: Mapping[str, Any], former: str = "") -> str:
    """Say whether a trained model is better than what there was before it, where something that was set aside tells.

    Whether it is better than the quick model of the same labels, only test tiles tell: whoever corrects a region
    begins with what a model says. Whether it is better than the model that it goes on from, regions tell as well.

    Parameters
    ----------
    metrics : mapping
        Evaluations on what was set aside.
    former : str, optional
        Name of the model that it goes on from.
    """
    ours, quick = (_miou(metrics.get(name)) for name in ("test", _RIVAL))
    if ours is None or quick is None:
        told = "Whether it is better than the quick model is not known: label test tiles, and train again."
    elif ours < quick:
        told = (
            f"It is not better than the quick model (mIoU {ours:.2f} against {quick:.2f} on the test tiles): "
            "use the quick model, or label more."
        )
    else:
        told = f"It is at least as good as the quick model (mIoU {ours:.2f} against {quick:.2f} on the test tiles)."
    if not former:
        return told
    told = f"It goes on from “{former}”. {told}"
    rivals = _against_before(metrics)
    if rivals is None:
        return told
    where, ours, theirs = rivals
    scores = f"mIoU {ours:.2f} against {theirs:.2f} on the {where}"
    if ours < theirs:
        return f"{told} It is not better than “{former}” ({scores}): use that one, or label more."
    return f"{told} It is at least as good as “{former}” ({scores})."


def better_than_before(metrics: Mapping[str, Any]) -> bool | None:
    """Return whether a model is at least as good as the one that it goes on from; None where nothing tells."""
    rivals = _against_before(metrics)
    return None if rivals is None else rivals[1] >= rivals[2]


def _against_before(metrics: Mapping[str, Any]) -> tuple[str, float, float] | None:
    """Return where both were judged, by what counts most, and the mIoU of the new and the former model."""
    for split, where in (("test", "test tiles"), ("val", "regions that judge")):
        ours, theirs = (_miou(metrics.get(name)) for name in (split, _BEFORE.format(split)))
        if ours is not None and theirs is not None:
            return where, ours, theirs
    return None


def _miou(evaluation: Any) -> float | None:
    """Return the gated mIoU; None without an evaluation, or where all of it was white."""
    value = None if evaluation is None else evaluation["variants"]["gate_on"]["miou"]
    return None if value is None or math.isnan(value) else float(value)


def _finish(
    project: ProjectCore,
    name: str,
    folder: Path,
    about: str,
    card: Card,
    recipe: Recipe,
    metrics: dict[str, Any],
    start: dict[str, Any] | None,
) -> Path:
    """Copy the bundle to ``models/`` with its card filled in."""
    from napari_wsss.models import load_bundle, save_bundle

    trained = load_bundle(folder / "stage2" / "bundle")
    out = project.folder / "models" / name
    save_bundle(
        out,
        name=f"{project.name}-{name}",
        schema=project.schema,
        mpp=project.mpp,
        tile=trained.tile,
        stage1=trained.build_stage1(),
        stage2=trained.build_stage2(),
        description=f"Trained in the project {project.name}. {about}",
        training_data=card.sentence,
        gate=trained.gate,
        presence_stride=trained.presence_stride,
        metrics={**trained.metrics, **{split: _plain(values) for split, values in metrics.items()}},
        provenance={
            **trained.provenance,
            "project": card.to_dict(),
            "recipe": asdict(recipe),
            "encoder": project.description.encoder.sha256,
            STARTED: start,
        },
        overwrite=True,
    )
    return out


def _kept(project: ProjectCore, folder: Path, former: Former, name: str) -> Path:
    """Return the bundle of a former model that is the better one; a new one of its name does not take its place."""
    path = project.folder / "models" / (former.name if former.name != name else f"{name}-before")
    if former.name == name or not (path / "model.json").is_file():
        with disk_errors_as(TrainingError, f"{path} cannot be written", "mend it"):
            shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(folder / _START, path)
    return path


def _plain(values: Any) -> Any:
    """Keep of an evaluation what a card shows: numbers, not lists of images."""
    if isinstance(values, dict):
        kept = {key: _plain(v) for key, v in values.items() if not isinstance(v, list)}
        return {key: v for key, v in kept.items() if v is not None and v != {}}
    return values if isinstance(values, int | float | str) else None
