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
from napari_wsss.project.encoder import DEFAULT_ENCODER
from napari_wsss.project.events import StepFinished, StepStarted, Trained, TrainEvent, TrainProgress
from napari_wsss.project.programs import Seen, run_program
from napari_wsss.project.quick import write_quick_model
from napari_wsss.project.recipe import Recipe, recipe_for
from napari_wsss.project.run_lock import RunLock
from napari_wsss.project.sketch import MASKS, Sketch, sketched_patches, write_sketch
from tiling.errors import TrainingError
from tiling.files import read_json, write_json_atomic

__all__ = ["TrainOptions", "advice_on", "train_events"]

_RECORD = "project_run.json"
_SKETCHED = "sketched"
_QUICK = "quick"
_SPLITS = ("test", "val")
_RIVAL = "test of the quick model"
_GENTLY = ("--frozen-stages", "9", "--freeze-bn", "--lr", "1e-4")
"""For a stage 2 that can draw already: at the usual pace a few dozen tiles make it forget more than they teach."""
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
    recipe = _recipe(manifest, options)
    _begin(folder, manifest, recipe, options)
    sketched = sketched_patches(folder / _SKETCHED)
    if sketched is None:
        taught = sketch()
        write_quick_model(project, taught.head, folder / _QUICK)
        sketched = write_sketch(project, taught, data, folder / _SKETCHED)
    yield StepFinished("patches", time.monotonic() - started)
    steps = _steps(project, folder, data, recipe, sketched, options)
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
    advice = advice_on(metrics)
    bundle = _finish(project, name, folder, f"{card.sentence} {advice}", card, recipe, metrics)
    yield Trained(bundle, time.monotonic() - started, metrics, advice)


def _recipe(manifest: dict[str, Any], options: TrainOptions) -> Recipe:
    labels = [present for *_, present, test in manifest["labels"] if not test]
    single = [present.index(1) for present in labels if sum(present) == 1]
    return replace(recipe_for(len(labels), len(single), len(set(single))), epochs=options.epochs)


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
        for part in (_SKETCHED, _QUICK, "stage2"):
            shutil.rmtree(folder / part, ignore_errors=True)
        for result in folder.glob("*.json"):
            result.unlink()
        write_json_atomic(path, record)
    except OSError as error:
        raise TrainingError(f"{folder} cannot be written: {error.strerror or error}; mend it.") from error


def _steps(
    project: ProjectCore, folder: Path, data: Path, recipe: Recipe, sketched: int, options: TrainOptions
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
        *("--batch-size", str(recipe.batch_size), "--mosaic", f"{recipe.mosaic:g}"),
        *_start(project, recipe, quick),
        *("--device", options.device, "--seed", str(options.seed), "--samples", "2"),
    )
    log, proof = stage2 / "log.csv", stage2 / "bundle" / "model.json"
    steps = [_Step("stage2", "training.stage2", words, log, epochs, 0.9, proof)]
    for split in _SPLITS:
        if (data / split).is_dir():
            steps.append(
                _judged(
                    f"evaluate {split}", stage2 / "bundle", data, split, folder / f"{split}.json", options
                )
            )
            if split == "test":
                steps.append(
                    _judged(f"evaluate {_RIVAL}", quick, data, split, folder / f"{_RIVAL}.json", options)
                )
    return steps


def _judged(name: str, bundle: Path, data: Path, split: str, result: Path, options: TrainOptions) -> _Step:
    words = ("--bundle", str(bundle), "--dataroot", str(data), "--split", split, _OURS)
    rest = ("--json", str(result), "--device", options.device)
    return _Step(name, "training.evaluate", (*words, *rest), None, 1, 0.02, result)


def _start(project: ProjectCore, recipe: Recipe, quick: Path) -> tuple[str, ...]:
    """Return where stage 2 starts: it sees tissue as the quick model does, with what the encoder's bundle can draw."""
    name = project.description.encoder.name
    still: tuple[str, ...] = ("--frozen-stages", str(recipe.frozen))
    if name == DEFAULT_ENCODER:
        return (
            "--weights",
            str(quick),
            *still,
            "--least-side",
            str(recipe.side),
            "--head-channels",
            str(recipe.head_channels),
        )
    from napari_wsss.models import load_bundle

    bundle = load_bundle(name)
    seen, draws = bundle.stage1.arguments, bundle.stage2
    weights, channels = quick, recipe.head_channels
    if draws is not None and draws.arguments.get("backbone") == "efficientnet-lite0":
        weights, channels, still = bundle.path, draws.arguments["head_channels"], _GENTLY
    return (
        *("--weights", str(weights), *still, "--head-channels", str(channels)),
        *(
            "--width",
            f"{seen.get('width', 1.0):g}",
            "--colour-smoothing",
            str(seen.get("colour_smoothing", 0)),
        ),
        *("--least-side", str(round(seen.get("enlarge", 1.0) * project.tile))),
    )


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
    for name in (*_SPLITS, _RIVAL):
        try:
            found[name] = read_json(folder / f"{name}.json")
        except (OSError, ValueError):
            continue
    return found


def advice_on(metrics: Mapping[str, Any]) -> str:
    """Say whether a trained model is better than the quick one of the same labels, where test tiles tell.

    Corrected regions do not: whoever corrects begins with what a model says, and that model has most of it right.

    Parameters
    ----------
    metrics : mapping
        Evaluations of both on what was set aside.
    """
    ours, quick = (_miou(metrics.get(name)) for name in ("test", _RIVAL))
    if ours is None or quick is None:
        return "Whether it is better than the quick model is not known: label test tiles, and train again."
    scores = f"mIoU {ours:.2f} against {quick:.2f} on the test tiles"
    if ours < quick:
        return f"It is not better than the quick model ({scores}): use the quick model, or label more."
    return f"It is at least as good as the quick model ({scores})."


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
        metrics={**trained.metrics, **{split: _plain(values) for split, values in metrics.items()}},
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
