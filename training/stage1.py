"""Stage 1: train a patch classifier from patch labels (``python -m training.stage1``)."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiling.errors import DataError
from training.data import MaskedImage, Patch, check_pairs, check_patches, report_or_raise
from training.loop import RunFolder, data_digest
from training.settings import (
    PRESETS,
    CommandParser,
    Stage1Settings,
    add_common_options,
    add_training_options,
    optimiser_changes,
    override,
    run_command,
    set_up_logging,
    share,
    to_dict,
)

if TYPE_CHECKING:
    from napari_wsss.models import Bundle
    from tiling.classes import ClassSchema
    from training.settings import LoopOptions

__all__ = ["Stage1Data", "main", "read_stage1_data", "train_stage1"]

_log = logging.getLogger("training")


@dataclass(frozen=True)
class Stage1Data:
    """The checked data of stage 1; ``val`` may be empty."""

    root: Path
    schema: ClassSchema
    train: tuple[Patch, ...]
    val: tuple[MaskedImage, ...]

    @property
    def side(self) -> int:
        """Side of the patches in px (the shorter one)."""
        return min(self.train[0].size)

    @property
    def digest(self) -> str:
        """Changes when files are added, removed or replaced."""
        files = [p.path for p in self.train] + [f for p in self.val for f in (p.image, p.mask)]
        return data_digest(files, self.root)


def read_stage1_data(root: Path, schema: ClassSchema, skip_bad: bool = False) -> Stage1Data:
    """Check ``train`` and, when it exists, ``val``.

    Raises
    ------
    DataError
        One report of all bad files.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; --dataroot must hold train/ and may hold val/.")
    train, problems = check_patches(root / "train", len(schema))
    val: list[MaskedImage] = []
    if (root / "val").is_dir():
        val, more = check_pairs(root / "val", len(schema))
        problems += more
    report_or_raise(problems, str(root), skip_bad)
    if not train:
        raise DataError(f"{root / 'train'} holds no good patch.")
    return Stage1Data(root, schema, tuple(train), tuple(val))


def train_stage1(
    data: Stage1Data,
    settings: Stage1Settings,
    folder: RunFolder,
    options: LoopOptions,
    *,
    weights: str | None = None,
    name: str | None = None,
    mpp: float | None = None,
    half: bool = False,
    restart: bool = False,
) -> Bundle:
    """Train (or continue) and write a bundle with stage 1 only.

    Parameters
    ----------
    data : Stage1Data
    settings : Stage1Settings
    folder : RunFolder
    options : LoopOptions
    weights : str, optional
        ``imagenet``, ``none``, or a file; None: ImageNet where the backbone has such weights.
    name : str, optional
        Of the bundle; default: the run folder's.
    mpp : float, optional
        µm per pixel of the patches; default 1.0 (10×, as the published sets).
    half : bool
        Store 16-bit weights.
    restart : bool
        Forget a run in the folder.

    Returns
    -------
    Bundle

    Raises
    ------
    DataError, TrainingError, BundleError
    """
    from torch.utils.data import DataLoader

    from napari_wsss.models import Gate, load_bundle, save_bundle
    from training.data import EpochSampler, EvaluationSet, PatchSet, balance_weights
    from training.loop import SamplePages, fit_trainee, load_best, seed_everything
    from training.networks import CAM_THRESHOLD, ClassifierTrainee, initial_classifier
    from training.settings import LearningRateSchedule

    identity = {
        "program": "stage1",
        "settings": to_dict(settings),
        "schema": data.schema.to_dict(),
        "seed": options.seed,
        "precision": options.precision,
        "weights": weights,
        "data": data.digest,
        "patches": len(data.train),
    }
    folder.open(identity, restart)
    if folder.is_complete:
        _log.info("%s is complete already", folder.bundle)
        return load_bundle(folder.bundle)
    if len(data.train) < settings.batch_size:
        raise DataError(
            f"{data.root / 'train'} holds {len(data.train)} patches, less than one batch of {settings.batch_size}; "
            "lower --batch-size."
        )
    seed_everything(options.seed)
    network = initial_classifier(settings, len(data.schema), weights, data.side)
    steps = len(data.train) // settings.batch_size
    schedule = LearningRateSchedule(
        settings.optimiser.schedule,
        settings.epochs,
        steps,
        settings.optimiser.lr_step,
        settings.optimiser.warmup_epochs,
    )
    trainee = ClassifierTrainee(network, settings, schedule, options.seed)
    trainee.batch_names = [p.path.name for p in data.train]
    balance = balance_weights(data.train, settings.balance) if settings.balance else None
    loader = DataLoader(
        PatchSet(
            data.train,
            settings.augment,
            options.seed,
            settings.crop,
            settings.mosaic,
            settings.exact > 0,
            data.schema.white_background,
        ),
        settings.batch_size,
        sampler=EpochSampler(len(data.train), options.seed, weights=balance),
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
        drop_last=True,
    )
    val, pages = None, None
    if data.val:
        windows = EvaluationSet(data.val, len(data.schema), data.side)
        pages = SamplePages(data.schema, windows)
        val = DataLoader(windows, settings.batch_size, num_workers=options.workers)
    _log.info(
        "stage 1: %s, %d patches, %d val images, %d epochs of %d steps",
        settings.backbone,
        len(data.train),
        len(data.val),
        settings.epochs,
        steps,
    )
    history = fit_trainee(trainee, loader, val, folder, settings.epochs, options, pages)
    if settings.select == "best" and history.best_epoch is not None:
        load_best(trainee, folder)
        chosen = history.best_epoch
    else:
        trainee.network.load_state_dict(trainee.weights())
        chosen = settings.epochs
    row: dict[str, Any] = next((r for r in history.rows if r["epoch"] == chosen), {})
    bundle = save_bundle(
        folder.bundle,
        name=name or folder.path.resolve().name,
        schema=data.schema,
        mpp=mpp or 1.0,
        tile=data.side,
        stage1=trainee.network.cpu().eval(),
        training_data=f"{len(data.train)} patches with patch labels",
        gate=Gate((CAM_THRESHOLD,)),
        metrics={
            "val": {k: v for k, v in row.items() if k not in {"epoch", "seconds", "lr", "loss", "score"}}
        },
        provenance={"stage1": {**identity, "epoch": chosen}},
        dtype="float16" if half else "float32",
        overwrite=True,
    )
    _log.info("wrote %s (epoch %d)", folder.bundle, chosen)
    return bundle


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m training.stage1",
        description="Train a patch classifier from patch labels in file names, such as a[1 0 0 1].png.",
        epilog="Next: python -m training.pseudo_masks --weights OUT/bundle --dataset … --dataroot …",
    )
    add_common_options(parser)
    add_training_options(parser)
    network = parser.add_argument_group("network")
    network.add_argument("--backbone", help="resnet38, efficientnet-lite0 (default: the preset's)")
    network.add_argument(
        "--weights",
        metavar="imagenet|none|FILE",
        help="initial weights: .pth, .params, or a bundle (default: imagenet)",
    )
    network.add_argument("--pda", action=argparse.BooleanOptionalAction, help="progressive dropout attention")
    network.add_argument(
        "--pda-normalised",
        action=argparse.BooleanOptionalAction,
        help="bound the attention, so that it cannot explode",
    )
    network.add_argument(
        "--mosaic", type=share, metavar="F", help="share of samples mixed from single-label patches"
    )
    network.add_argument(
        "--exact", type=float, metavar="F", help="weight of a per-pixel loss where labels are exact; 0 is off"
    )
    network.add_argument(
        "--deep-heads",
        action=argparse.BooleanOptionalAction,
        help="classifiers on the shallower CAM layers too, whose maps then need no gradient",
    )
    network.add_argument("--select", choices=("last", "best"), help="which epoch becomes the bundle")
    parser.add_argument("--max-epoches", dest="epochs", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--wt-dec", dest="weight_decay", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--num-workers", dest="workers", type=int, help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = _parser().parse_args(argv)
    set_up_logging(args.quiet)
    preset = PRESETS[args.preset]
    settings: Stage1Settings = override(
        preset.stage1,
        {
            **optimiser_changes(args),
            "backbone": args.backbone,
            "select": args.select,
            "pda_normalised": args.pda_normalised,
            "mosaic": args.mosaic,
            "exact": args.exact,
            "deep_heads": args.deep_heads,
        },
    )
    if args.pda is not None:
        known = settings.pda or PRESETS["paper"].stage1.pda
        settings = override(settings, {"pda": known}) if args.pda else _without_pda(settings)

    from napari_wsss.models import resolve_schema

    data = read_stage1_data(args.dataroot, resolve_schema(args.dataset), args.skip_bad)

    from training.settings import options_of

    train_stage1(
        data,
        settings,
        RunFolder(args.out),
        options_of(args),
        weights=args.weights,
        name=args.name,
        mpp=args.mpp,
        half=args.half,
        restart=args.restart,
    )


def _without_pda(settings: Stage1Settings) -> Stage1Settings:
    from dataclasses import replace

    return replace(settings, pda=None)


if __name__ == "__main__":
    run_command(main, sys.argv[1:])
