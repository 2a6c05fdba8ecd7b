"""The one command that remakes the embedded bundle (``python -m training.synthetic_demo``).

Patches of synthetic tissue with patch labels only, stage 1, pseudo masks, stage 2, and the score on the sample slide of
``wsss-tile demo``, whose tissue is in none of the patches. Each step continues where a killed run stopped.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiling.files import read_json, write_json_atomic
from training.data import read_data
from training.loop import RunFolder
from training.settings import (
    PRESETS,
    BundleTexts,
    CamSettings,
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
    from tiling.synthetic import SyntheticSlide

__all__ = ["Recipe", "main", "make_bundle", "score_slide"]

_log = logging.getLogger("training")


@dataclass(frozen=True)
class Recipe:
    """All numbers of the embedded bundle.

    Attributes
    ----------
    patches, val : int
        Number of training patches and of val patches.
    data_seed : int
        First slide the patches are cut from; the sample slide has another seed.
    seed : int
        Of both trainings.
    stage1, cam, stage2
        Settings of the three programs.
    """

    patches: int
    val: int
    data_seed: int
    seed: int
    stage1: Stage1Settings
    cam: CamSettings
    stage2: Stage2Settings


def demo_recipe() -> Recipe:
    """Return the recipe of the bundle in the package: a narrow network without pretrained weights."""
    shared: dict[str, Any] = {
        "width": 0.5,
        "batch_size": 16,
        "optimiser.lr": 2e-3,
        "optimiser.ema": 0.99,
        "colour_smoothing": 9,
        "least_side": 0,
    }
    recommended = PRESETS["recommended"]
    # Two compressions of one slide must get one answer; without these, real tissue tells them apart.
    steady = {"augment.stain": 0.08, "augment.blur": 0.5, "augment.colour": 0.7, "augment.noise": 4.0}
    return Recipe(
        patches=1000,
        val=96,
        data_seed=1000,
        seed=1,
        stage1=override(recommended.stage1, {**shared, "epochs": 10}),
        cam=CamSettings(smooth=5, flip=True),
        stage2=override(
            recommended.stage2,
            {
                **shared,
                **steady,
                "epochs": 10,
                "head_channels": 64,
                "mosaic": 0.6,
                "layer_weights": (0.6, 0.2, 0.2),
                "select": "mean",
                "one_encoder": True,
                "shared_stages": 0,
                "gate_stride": 0,
            },
        ),
    )


def make_bundle(recipe: Recipe, work: Path, out: Path, workers: int = 0) -> Bundle:
    """Run every step that is not done yet and write the bundle.

    Parameters
    ----------
    recipe : Recipe
    work : Path
        Folder for patches, masks and runs.
    out : Path
        Bundle folder; replaced.
    workers : int
        Processes that read patches.
    """
    from napari_wsss.models import Gate, save_bundle
    from tiling.synthetic import DEMO, SYNTHETIC_SCHEMA, paint_patches
    from training.networks import ClassifierStage, SegmenterStage, trained_classifier
    from training.pseudo_masks import make_pseudo_masks
    from training.settings import LoopOptions

    root = work / "patches"
    made = root / "made.json"
    facts: dict[str, Any] = {"count": recipe.patches, "val": recipe.val, "test": 0}
    facts |= {"seed": recipe.data_seed, "mpp": 0.5}
    if not (made.is_file() and read_json(made) == facts):
        _log.info("patches: painting %d for training, %d for val", recipe.patches, recipe.val)
        paint_patches(root, **facts)
        write_json_atomic(made, facts)
    options = LoopOptions(seed=recipe.seed, device="cpu", workers=workers)
    data = read_data(root, SYNTHETIC_SCHEMA)
    stage1 = ClassifierStage(data, recipe.stage1, options, BundleTexts(mpp=0.5), "none")
    stage1.run(RunFolder(work / "stage1"))
    network, stage1_facts = trained_classifier(work / "stage1" / "bundle", "", len(SYNTHETIC_SCHEMA))
    masks = root / "train_PM"
    make_pseudo_masks(network, data.train, SYNTHETIC_SCHEMA, masks, recipe.cam, stage1_facts)
    data2 = read_data(root, SYNTHETIC_SCHEMA, masks=masks, layers=network.cam_layers[::-1])
    texts = BundleTexts("synthetic-demo", mpp=0.5, half=True)
    stage2 = SegmenterStage(data2, recipe.stage2, options, texts, "none", network, stage1_facts)
    trained = stage2.run(RunFolder(work / "stage2"))
    assert trained is not None  # on one device
    with tempfile.TemporaryDirectory() as folder:
        scores = score_slide(trained, DEMO, Path(folder))
    _log.info("sample slide: %s", json.dumps(scores))
    thresholds = trained.gate.thresholds
    return save_bundle(
        out,
        name="synthetic-demo",
        schema=trained.schema,
        mpp=trained.mpp,
        tile=trained.tile,
        stage1=trained.build_stage1(),
        stage2=trained.build_stage2(),
        description="Four classes of the synthetic sample slides; for trying the program, of no use on real tissue.",
        licence="BSD-3-Clause",
        training_data=f"{recipe.patches} synthetic patches with patch labels, made by tiling.synthetic",
        gate=Gate(thresholds),
        metrics={**trained.metrics, "sample_slide": scores},
        provenance={**trained.provenance, "command": "python -m training.synthetic_demo"},
        dtype="float16",
        overwrite=True,
    )


def score_slide(bundle: Bundle, slide: SyntheticSlide, folder: Path) -> dict[str, Any]:
    """Segment a synthetic slide as ``wsss-tile run`` does and compare with its truth.

    Parameters
    ----------
    bundle : Bundle
    slide : SyntheticSlide
    folder : Path
        For the slide file and the store.

    Returns
    -------
    dict
        mIoU, FwIoU and IoU per class over the tissue of the truth; tissue without a label counts as wrong.
    """
    from napari_wsss.pipeline import segment
    from tiling.synthetic import score_labels, write_slide

    path = folder / "slide.tif"
    write_slide(path, slide)
    result = segment(path, bundle, folder / "slide.zarr", device="cpu")
    scores = score_labels(result.labels[0], result.store.scale, slide)
    return {
        "miou": round(scores.miou, 4),
        "fwiou": round(scores.fwiou, 4),
        "iou": [round(v, 4) for v in scores.iou],
        "seed": slide.seed,
    }


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m training.synthetic_demo",
        description="Make the bundle synthetic-demo from scratch: patches, stage 1, pseudo masks, stage 2, score.",
    )
    add_recipe_options(parser, "synthetic-demo")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = _parser().parse_args(argv)
    set_up_logging(args.quiet)
    bundle = make_bundle(demo_recipe(), args.work, args.out, args.workers)
    size = sum(p.stat().st_size for p in args.out.iterdir())
    scores = {"val": bundle.metrics["val"], "sample_slide": bundle.metrics["sample_slide"]}
    sys.stdout.write(json.dumps({"bundle": str(args.out), "bytes": size, **scores}, indent=2) + "\n")


if __name__ == "__main__":
    run_command(main, sys.argv[1:])
