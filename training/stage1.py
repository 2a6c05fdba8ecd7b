"""Stage 1: train a patch classifier from patch labels (``python -m training.stage1``)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

from training.data import read_data
from training.loop import RunFolder
from training.settings import (
    PRESETS,
    CommandParser,
    add_common_options,
    add_training_options,
    options_of,
    run_command,
    set_up_logging,
    texts_of,
    with_options,
)

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m training.stage1",
        description="Train a patch classifier from patch labels in file names, such as a[1 0 0 1].png.",
        epilog="Next: python -m training.pseudo_masks --weights OUT/bundle --dataset … --dataroot …",
    )
    add_common_options(parser)
    add_training_options(parser)
    network = parser.add_argument_group("network")
    network.add_argument(
        "--pda", dest="dropout", action=argparse.BooleanOptionalAction, help="progressive dropout attention"
    )
    network.add_argument(
        "--pda-normalised",
        action=argparse.BooleanOptionalAction,
        help="bound the attention, so that it cannot explode",
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
    parser.add_argument("--wt-dec", dest="optimiser.weight_decay", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--num-workers", dest="workers", type=int, help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = _parser().parse_args(argv)
    set_up_logging(args.quiet)
    settings = with_options(PRESETS[args.preset].stage1, args)
    if args.dropout is not None:
        known = settings.pda or PRESETS["paper"].stage1.pda
        settings = replace(settings, pda=known if args.dropout else None)

    from napari_wsss.models import resolve_schema
    from training.networks import ClassifierStage

    data = read_data(args.dataroot, resolve_schema(args.dataset), args.skip_bad, trust_masks=args.trust_masks)
    stage = ClassifierStage(data, settings, options_of(args), texts_of(args), args.weights)
    stage.run(RunFolder(args.out), args.restart)


if __name__ == "__main__":
    run_command(main, sys.argv[1:])
