"""Stage 2: train the segmentation network on pseudo masks and write the bundle (``python -m training.stage2``)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from training.data import read_data, recorded_layers
from training.loop import RunFolder
from training.settings import (
    PRESETS,
    CommandParser,
    Stage2Settings,
    add_common_options,
    add_training_options,
    natural,
    numbers,
    options_of,
    override,
    positive_int,
    run_command,
    set_up_logging,
    share,
    texts_of,
    with_options,
)

__all__ = ["main"]


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
    inputs.add_argument(
        "--layer-weights", type=numbers, metavar="A,B,…", help="weight of each layer's mask in the loss"
    )
    network = parser.add_argument_group("network and loss (defaults: the preset's)")
    network.add_argument(
        "--resume", dest="weights", metavar="FILE", help="same as --weights, as in the reference"
    )
    network.add_argument("--out-stride", dest="output_stride", type=int, choices=(8, 16, 32))
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
        "--partial-labels",
        type=share,
        metavar="F",
        help="say of the patch label alone in patches of several classes, later in the run: any of them will do",
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
        dest="gated_selection",
        action=argparse.BooleanOptionalAction,
        help="calibrate the gate on val, and choose the epoch by the gated score",
    )
    network.add_argument(
        "--gate-threshold", type=share, metavar="F", help="where the calibration on val starts"
    )
    network.add_argument(
        "--one-encoder",
        action=argparse.BooleanOptionalAction,
        help="let stage 2 say what a tile holds, without stage 1",
    )
    network.add_argument(
        "--shared-stages",
        type=natural,
        metavar="N",
        help="stages of stage 1's encoder that stage 2 keeps, unless --weights says otherwise: tiles pass them once",
    )
    network.add_argument(
        "--gate-stride",
        type=int,
        choices=(0, 8, 16, 32),
        help="px per place at which stage 1 opens the gate; 0: as for CAMs",
    )
    network.add_argument(
        "--eval-interval", type=positive_int, default=1, metavar="N", help="epochs per validation"
    )
    network.add_argument("--Is-GM", dest="gated_selection", type=_truth, help=argparse.SUPPRESS)
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


def settings_of(args: argparse.Namespace) -> Stage2Settings:
    """Return the preset with what a command line changes."""
    if args.backbone == "drn" and args.output_stride is None:
        args.output_stride = 8
    args.backbone = _KIN.get(args.backbone, args.backbone)
    return with_options(PRESETS[args.preset].stage2, args)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = _parser().parse_args(argv)
    set_up_logging(args.quiet)
    settings = settings_of(args)

    from napari_wsss.models import resolve_schema
    from training.networks import SegmenterStage, trained_classifier

    schema = resolve_schema(args.dataset)
    stage1, facts = trained_classifier(args.stage1, args.stage1_backbone, len(schema))
    masks = args.masks or args.dataroot / "train_PM"
    layers = args.layers.split(",") if args.layers else recorded_layers(masks) or stage1.cam_layers[::-1]
    if args.layer_weights is None and len(layers) != len(settings.layer_weights):
        deep, others = Stage2Settings().layer_weights[0], len(layers) - 1
        shares = (deep, *(((1.0 - deep) / others,) * others)) if others else (1.0,)
        settings = override(settings, {"layer_weights": tuple(round(s, 6) for s in shares)})
    data = read_data(
        args.dataroot, schema, args.skip_bad, masks=masks, layers=layers, trust_masks=args.trust_masks
    )
    stage = SegmenterStage(data, settings, options_of(args), texts_of(args), args.weights, stage1, facts)
    stage.run(RunFolder(args.out), args.restart)


if __name__ == "__main__":
    run_command(main, sys.argv[1:])
