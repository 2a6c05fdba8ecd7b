"""Stage 2: train the segmentation network on pseudo masks and write the bundle (``python -m training.stage2``)."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiling.errors import DataError
from tiling.files import read_json
from training.data import (
    MASKS_JSON,
    MaskedImage,
    Patch,
    check_pairs,
    check_patches,
    check_pseudo_masks,
    recorded_layers,
    report_or_raise,
)
from training.loop import RunFolder, data_digest
from training.settings import (
    PRESETS,
    CommandParser,
    Stage2Settings,
    add_common_options,
    add_training_options,
    natural,
    optimiser_changes,
    override,
    positive_int,
    run_command,
    set_up_logging,
    share,
    to_dict,
)

if TYPE_CHECKING:
    from torch import nn

    from napari_wsss.models import Bundle
    from tiling.classes import ClassSchema
    from training.settings import LoopOptions

__all__ = ["BundleTexts", "Stage2Data", "main", "read_stage2_data", "train_stage2"]

_log = logging.getLogger("training")


@dataclass(frozen=True)
class Stage2Data:
    """The checked data of stage 2; ``layers`` are deepest first."""

    root: Path
    masks: Path
    schema: ClassSchema
    layers: tuple[str, ...]
    train: tuple[Patch, ...]
    val: tuple[MaskedImage, ...]
    made_with: Mapping[str, Any]

    @property
    def side(self) -> int:
        """Side of the patches in px (the shorter one)."""
        return min(self.train[0].size)

    @property
    def digest(self) -> str:
        """Changes when files are added, removed or replaced."""
        files = [p.path for p in self.train] + [f for p in self.val for f in (p.image, p.mask)]
        return data_digest(files, self.root)


@dataclass(frozen=True)
class BundleTexts:
    """What people read about a bundle, and how it is stored."""

    name: str | None = None
    description: str = ""
    licence: str = ""
    training_data: str = ""
    mpp: float | None = None
    half: bool = False


def read_stage2_data(
    root: Path, masks: Path, schema: ClassSchema, layers: Sequence[str], skip_bad: bool = False
) -> Stage2Data:
    """Check ``train``, its pseudo masks in every layer and, when it exists, ``val``.

    Raises
    ------
    DataError
        One report of all bad files.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; --dataroot must hold train/ and may hold val/.")
    train, problems = check_patches(root / "train", len(schema))
    missing = check_pseudo_masks(masks, layers, train, len(schema))
    problems += missing
    if missing:
        bad = {p.path.stem for p in missing}
        train = [p for p in train if p.path.stem not in bad]
    val: list[MaskedImage] = []
    if (root / "val").is_dir():
        val, more = check_pairs(root / "val", len(schema))
        problems += more
    report_or_raise(problems, str(root), skip_bad)
    if not train:
        raise DataError(f"{root / 'train'} holds no good patch with pseudo masks.")
    record = masks / MASKS_JSON
    made_with = read_json(record) if record.is_file() else {}
    if not set(layers) <= set(made_with.get("layers", ())):
        made_with = {"made_with": "unknown"}
    return Stage2Data(root, masks, schema, tuple(layers), tuple(train), tuple(val), made_with)


def train_stage2(
    data: Stage2Data,
    stage1: nn.Module,
    stage1_facts: Mapping[str, Any],
    settings: Stage2Settings,
    folder: RunFolder,
    options: LoopOptions,
    texts: BundleTexts,
    *,
    weights: str | None = None,
    restart: bool = False,
) -> Bundle:
    """Train (or continue) and write a bundle with both stages.

    Parameters
    ----------
    data : Stage2Data
    stage1 : nn.Module
        Trained patch classifier.
    stage1_facts : mapping
        JSON-ready facts about it, for the provenance.
    settings : Stage2Settings
    folder : RunFolder
    options : LoopOptions
    texts : BundleTexts
    weights : str, optional
        Initial weights: ``imagenet``, ``none``, a file or a bundle.
    restart : bool
        Forget a run in the folder.

    Raises
    ------
    DataError, TrainingError, BundleError
    """
    from torch.utils.data import DataLoader

    from napari_wsss.models import Gate, load_bundle, save_bundle
    from training.data import EpochSampler, EvaluationSet, PseudoMaskSet, balance_weights
    from training.loop import SamplePages, fit_trainee, load_best, run_device, seed_everything
    from training.networks import SegmenterTrainee, calibrate_gate, initial_segmenter
    from training.settings import LearningRateSchedule

    identity = {
        "program": "stage2",
        "settings": to_dict(settings),
        "schema": data.schema.to_dict(),
        "seed": options.seed,
        "precision": options.precision,
        "weights": weights,
        "data": data.digest,
        "patches": len(data.train),
        "layers": list(data.layers),
        "masks": dict(data.made_with),
        "stage1": dict(stage1_facts),
    }
    folder.open(identity, restart)
    if folder.is_complete:
        _log.info("%s is complete already", folder.bundle)
        return load_bundle(folder.bundle)
    if settings.drop_last and len(data.train) < settings.batch_size:
        raise DataError(
            f"{data.root / 'train'} holds {len(data.train)} patches, less than one batch of {settings.batch_size}; "
            "lower --batch-size."
        )
    if len(settings.layer_weights) != len(data.layers):
        raise DataError(
            f"--layer-weights has {len(settings.layer_weights)} numbers for {len(data.layers)} layers "
            f"({', '.join(data.layers)}); give one each, deepest first."
        )
    seed_everything(options.seed)
    network = initial_segmenter(settings, len(data.schema), weights, data.side)
    full, rest = divmod(len(data.train), settings.batch_size)
    steps = full + (rest > 0 and not settings.drop_last)
    schedule = LearningRateSchedule(
        settings.optimiser.schedule,
        settings.epochs,
        steps,
        settings.optimiser.lr_step,
        settings.optimiser.warmup_epochs,
    )
    trainee = SegmenterTrainee(network, stage1, settings, schedule, options.seed)
    trainee.batch_names = [p.path.name for p in data.train]
    samples = PseudoMaskSet(
        data.train,
        data.masks,
        data.layers,
        len(data.schema),
        settings.augment,
        options.seed,
        settings.crop,
        settings.mosaic,
        settings.mosaic_cell,
        settings.self_labels > 0,
    )
    balance = balance_weights(data.train, settings.balance) if settings.balance else None
    loader = DataLoader(
        samples,
        settings.batch_size,
        sampler=EpochSampler(len(samples), options.seed, weights=balance),
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
        drop_last=settings.drop_last,
    )
    val, pages = None, None
    if data.val:
        windows = EvaluationSet(data.val, len(data.schema), data.side)
        pages = SamplePages(data.schema, windows)
        val = DataLoader(windows, settings.batch_size, num_workers=options.workers)
    _log.info(
        "stage 2: deeplabv3plus on %s, %d patches, %d val images, %d epochs of %d steps",
        settings.backbone,
        len(data.train),
        len(data.val),
        settings.epochs,
        steps,
    )
    history = fit_trainee(trainee, loader, val, folder, settings.epochs, options, pages)
    if settings.select != "last" and history.best_epoch is not None:
        load_best(trainee, folder)
        chosen = history.best_epoch
    else:
        trainee.network.load_state_dict(trainee.weights())
        chosen = settings.epochs
    thresholds, metrics = calibrate_gate(trainee, val, run_device(options))
    bundle = save_bundle(
        folder.bundle,
        name=texts.name or folder.path.resolve().name,
        schema=data.schema,
        mpp=texts.mpp or 1.0,
        tile=data.side,
        stage1=stage1.cpu().eval(),
        stage2=trainee.network.cpu().eval(),
        description=texts.description,
        licence=texts.licence,
        training_data=texts.training_data or f"{len(data.train)} patches with patch labels",
        gate=Gate(thresholds),
        metrics=metrics,
        provenance={"stage2": {**identity, "epoch": chosen}},
        dtype="float16" if texts.half else "float32",
        overwrite=True,
    )
    _log.info("wrote %s (epoch %d, gate %s)", folder.bundle, chosen, ", ".join(f"{t:g}" for t in thresholds))
    return bundle


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m training.stage2",
        description="Train the segmentation network on pseudo masks; the result is a bundle for wsss-tile and napari.",
        epilog="Next: wsss-tile run SLIDE --model OUT/bundle --out …",
    )
    add_common_options(parser)
    add_training_options(parser)
    inputs = parser.add_argument_group("stage 1 and its masks")
    inputs.add_argument(
        "--stage1", required=True, metavar="BUNDLE|FILE", help="trained stage 1, used by the gate"
    )
    inputs.add_argument("--stage1-backbone", default="resnet38", help="network of a .pth file")
    inputs.add_argument("--masks", type=Path, metavar="DIR", help="pseudo masks (default: DATAROOT/train_PM)")
    inputs.add_argument(
        "--layers", metavar="A,B,…", help="their layers, deepest first (default: all there are)"
    )
    inputs.add_argument("--layer-weights", metavar="A,B,…", help="weight of each layer's mask in the loss")
    network = parser.add_argument_group("network and loss (defaults: the preset's)")
    network.add_argument(
        "--backbone",
        metavar="NAME",
        help="efficientnet-lite0, resnet101, resnet50, mobilenet-v2, or timm:NAME (extra timm)",
    )
    network.add_argument(
        "--weights",
        metavar="imagenet|none|FILE",
        help="initial weights (default: imagenet for efficientnet-lite0, else none)",
    )
    network.add_argument(
        "--resume", dest="weights", metavar="FILE", help="same as --weights, as in the reference"
    )
    network.add_argument("--out-stride", type=int, choices=(8, 16))
    network.add_argument("--head-channels", type=positive_int, metavar="N", help="width of ASPP and decoder")
    network.add_argument(
        "--loss", choices=("masked", "reference"), help="masked cross-entropy, or the released loss"
    )
    network.add_argument("--loss-type", choices=("ce", "focal"))
    network.add_argument(
        "--noise-weights", action=argparse.BooleanOptionalAction, help="trust easy pixels more (OEEM)"
    )
    network.add_argument(
        "--self-labels",
        type=share,
        metavar="F",
        help="say of the network's own labels in patches of several classes, later in the run",
    )
    network.add_argument(
        "--mosaic", type=share, metavar="F", help="share of samples mixed from single-label patches"
    )
    network.add_argument(
        "--mosaic-cell", type=natural, metavar="PX", help="side of a mosaic piece; 0 varies it"
    )
    network.add_argument("--freeze-bn", action=argparse.BooleanOptionalAction, help="keep batch norm still")
    network.add_argument(
        "--sync-bn", action=argparse.BooleanOptionalAction, default=False, help="over several GPUs"
    )
    network.add_argument(
        "--select",
        choices=("miou", "mean", "last"),
        help="epoch that becomes the bundle: best on val, or last",
    )
    network.add_argument(
        "--gate",
        action=argparse.BooleanOptionalAction,
        help="calibrate the gate on val, and choose the epoch by the gated score",
    )
    network.add_argument(
        "--gate-threshold", type=share, metavar="F", help="where the calibration on val starts"
    )
    network.add_argument(
        "--eval-interval", type=positive_int, default=1, metavar="N", help="epochs per validation"
    )
    network.add_argument("--Is-GM", dest="gate", type=_truth, help=argparse.SUPPRESS)
    about = parser.add_argument_group("bundle")
    about.add_argument("--description", default="", help="one sentence for model.json")
    about.add_argument("--licence", default="", help="licence of the weights")
    return parser


_KIN = {
    "resnet": "resnet101",
    "mobilenet": "mobilenet-v2",
    "xception": "timm:xception65",
    "drn": "resnet50",
}
"""The reference's backbone names and what is nearest here; its DRN is a dilated ResNet of stride 8."""


def _truth(text: str) -> bool:
    """Read a word for yes or no (the reference's ``--Is_GM False`` meant True)."""
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False; use --gate or --no-gate")
    return words[text.lower()]


def settings_of(args: argparse.Namespace, layer_weights: tuple[float, ...] | None) -> Stage2Settings:
    """Return the preset with what a command line changes."""
    settings: Stage2Settings = override(
        PRESETS[args.preset].stage2,
        {
            **optimiser_changes(args),
            "backbone": _KIN.get(args.backbone, args.backbone),
            "output_stride": args.out_stride or (8 if args.backbone == "drn" else None),
            "head_channels": args.head_channels,
            "loss": args.loss,
            "loss_type": args.loss_type,
            "layer_weights": layer_weights,
            "noise_weights": args.noise_weights,
            "self_labels": args.self_labels,
            "mosaic": args.mosaic,
            "mosaic_cell": args.mosaic_cell,
            "freeze_bn": args.freeze_bn,
            "select": args.select,
            "gated_selection": args.gate,
            "gate_threshold": args.gate_threshold,
        },
    )
    return settings


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = _parser()
    args = parser.parse_args(argv)
    set_up_logging(args.quiet)
    try:
        layer_weights = (
            None if args.layer_weights is None else tuple(float(w) for w in args.layer_weights.split(","))
        )
    except ValueError:
        parser.error(f"--layer-weights {args.layer_weights!r} is not a list of numbers such as 0.6,0.2,0.2")
    settings = settings_of(args, layer_weights)

    from napari_wsss.models import resolve_schema
    from training.networks import trained_classifier
    from training.settings import options_of

    schema = resolve_schema(args.dataset)
    stage1, facts = trained_classifier(args.stage1, args.stage1_backbone, len(schema))
    masks = args.masks or args.dataroot / "train_PM"
    deepest_first: tuple[str, ...] = tuple(reversed(stage1.cam_layers))  # type: ignore[arg-type]
    layers = args.layers.split(",") if args.layers else recorded_layers(masks) or deepest_first
    if layer_weights is None and len(layers) != len(settings.layer_weights):
        deep, others = Stage2Settings().layer_weights[0], len(layers) - 1
        shares = (deep, *(((1.0 - deep) / others,) * others)) if others else (1.0,)
        settings = override(settings, {"layer_weights": tuple(round(s, 6) for s in shares)})
    data = read_stage2_data(args.dataroot, masks, schema, layers, args.skip_bad)
    texts = BundleTexts(args.name, args.description, args.licence, mpp=args.mpp, half=args.half)
    train_stage2(
        data,
        stage1,
        facts,
        settings,
        RunFolder(args.out),
        options_of(args),
        texts,
        weights=args.weights,
        restart=args.restart,
    )


if __name__ == "__main__":
    run_command(main, sys.argv[1:])
