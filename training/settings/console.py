"""What the training commands share on the command line: options, messages, exit codes.

Exit codes: 0 done, 1 the data or the run failed, 2 wrong usage, 130 interrupted. A user's mistake gives one message on
stderr and never a traceback. Nothing here loads torch, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import errno
import logging
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tiling.engine import kept_memory
from tiling.errors import WsssError
from training.settings.presets import PRESETS

__all__ = [
    "CommandParser",
    "add_common_options",
    "add_recipe_options",
    "add_training_options",
    "run_command",
    "say",
]


class CommandParser(argparse.ArgumentParser):
    """An argument parser that takes ``--batch_size`` for ``--batch-size`` (the reference uses both styles)."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=_Formatter, allow_abbrev=False, **options)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse, with underscores in option names read as hyphens where only that name exists."""
        words = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args([self._hyphened(w) for w in words], namespace)

    def _hyphened(self, word: str) -> str:
        name, equals, value = word.partition("=")
        hyphened = name.replace("_", "-")
        known = self._option_string_actions
        return hyphened + equals + value if name not in known and hyphened in known else word


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Show defaults, except where there is none or the preset decides."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, argparse.SUPPRESS) or "%(default)" in (action.help or ""):
            return action.help
        return super()._get_help_string(action)


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add what every program takes: the data set, how many workers, which device, how much to say."""
    data = parser.add_argument_group("data")
    data.add_argument(
        "--dataset", required=True, metavar="SCHEMA", help="bcss, luad, or a class schema file (JSON)"
    )
    data.add_argument(
        "--dataroot", required=True, type=Path, metavar="DIR", help="folder with train/, val/, test/"
    )
    data.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave bad files out (they are still listed) instead of stopping",
    )
    data.add_argument(
        "--trust-masks",
        action="store_true",
        help="take the labels of val as they are, also where they look like another encoding",
    )
    machine = parser.add_argument_group("machine")
    machine.add_argument(
        "--workers", type=natural, default=0, metavar="N", help="processes that read patches"
    )
    machine.add_argument("--quiet", action="store_true", help="only warnings and errors")


def add_recipe_options(parser: argparse.ArgumentParser, bundle: str) -> None:
    """Add what the commands that remake an embedded bundle share: ``out``, ``work``, ``workers``, ``quiet``."""
    from napari_wsss.models import EMBEDDED

    parser.add_argument("--out", type=Path, default=EMBEDDED / bundle, metavar="DIR", help="bundle folder")
    parser.add_argument("--work", type=Path, default=Path(bundle), metavar="DIR", help="for everything else")
    parser.add_argument("--workers", type=natural, default=0, metavar="N", help="processes that read patches")
    parser.add_argument("--quiet", action="store_true", help="only warnings and errors")


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Add what both training stages take: run folder, preset, optimiser and device options.

    What replaces a field of the preset is kept under the field's path; see :func:`training.settings.with_options`.
    """
    run = parser.add_argument_group("run")
    run.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="run folder: checkpoints, logs, bundle"
    )
    run.add_argument(
        "--restart", action="store_true", help="start over instead of continuing the run in --out"
    )
    run.add_argument(
        "--seed", type=natural, default=1, metavar="N", help="two runs with one seed are equal on a CPU"
    )
    run.add_argument(
        "--preset", choices=sorted(PRESETS), default="recommended", help="where defaults come from"
    )
    run.add_argument("--name", help="name of the bundle")
    run.add_argument(
        "--mpp", type=positive, metavar="F", help="µm per pixel of the patches, stored in the bundle"
    )
    run.add_argument("--half", action="store_true", help="store the bundle's weights as 16-bit numbers")
    run.add_argument("--description", default="", help="one sentence for model.json")
    run.add_argument("--licence", default="", help="licence of the weights")
    fit = parser.add_argument_group("training (defaults: the preset's)")
    fit.add_argument(
        "--backbone",
        metavar="NAME",
        help="resnet38 (stage 1), resnet101, resnet50, mobilenet-v2 (stage 2), efficientnet-lite0 (both), or an "
        "encoder (both): uni, virchow2, timm:NAME …",
    )
    fit.add_argument(
        "--weights",
        metavar="imagenet|none|FILE",
        help="initial weights: a .pth, .params or .safetensors file, or a bundle (default: imagenet, where they come "
        "with a package)",
    )
    fit.add_argument(
        "--mosaic", type=share, metavar="F", help="share of samples mixed from single-label patches"
    )
    fit.add_argument("--epochs", type=positive_int, metavar="N")
    fit.add_argument("--batch-size", type=positive_int, metavar="N")
    fit.add_argument("--lr", dest="optimiser.lr", type=positive, metavar="F", help="base learning rate")
    fit.add_argument("--optimiser", dest="optimiser.name", choices=("sgd", "adamw"))
    fit.add_argument("--momentum", dest="optimiser.momentum", type=float, metavar="F")
    fit.add_argument("--weight-decay", dest="optimiser.weight_decay", type=float, metavar="F")
    fit.add_argument(
        "--nesterov", dest="optimiser.nesterov", action=argparse.BooleanOptionalAction, default=None
    )
    fit.add_argument("--lr-scheduler", dest="optimiser.schedule", choices=("poly", "step", "cos", "constant"))
    fit.add_argument(
        "--lr-step",
        dest="optimiser.lr_step",
        type=positive_int,
        metavar="N",
        help="epochs between two drops of --lr-scheduler step",
    )
    fit.add_argument("--warmup-epochs", dest="optimiser.warmup_epochs", type=float, metavar="F")
    fit.add_argument(
        "--gradient-clip",
        dest="optimiser.gradient_clip",
        type=float,
        metavar="F",
        help="largest gradient norm; 0 is off",
    )
    fit.add_argument(
        "--ema", dest="optimiser.ema", type=float, metavar="F", help="decay of the averaged weights; 0 is off"
    )
    fit.add_argument(
        "--crop", type=natural, metavar="PX", help="train on random crops of this side; 0 is off"
    )
    fit.add_argument(
        "--width", type=positive, metavar="F", help="channel multiplier of a narrow or wide backbone"
    )
    fit.add_argument(
        "--least-side",
        type=natural,
        metavar="PX",
        help="the network enlarges smaller patches to this; 0 is off",
    )
    fit.add_argument(
        "--colour-smoothing",
        type=natural,
        metavar="PX",
        help="the network smooths colour with a box of this side; 0 is off",
    )
    fit.add_argument(
        "--frozen-stages",
        type=natural,
        metavar="N",
        help="stages of efficientnet-lite0, from the stem, that stay as they are, with all batch-norm statistics",
    )
    fit.add_argument(
        "--balance", type=share, metavar="F", help="frequent label combinations come less often; 0 is off"
    )
    fit.add_argument(
        "--train-encoder",
        action=argparse.BooleanOptionalAction,
        help="train an encoder that was taken by name, too; it stays as published otherwise",
    )
    fit.add_argument(
        "--stain",
        dest="augment.stain",
        type=float,
        metavar="F",
        help="strength of the stain jitter; 0 is off",
    )
    machine = parser.add_argument_group("device")
    machine.add_argument("--device", default="auto", metavar="auto|cpu|cuda", help="where to compute")
    machine.add_argument("--no-cuda", action="store_true", help="same as --device cpu")
    machine.add_argument("--devices", default="1", metavar="N", help="number of GPUs, or a list such as 0,1")
    machine.add_argument("--gpu-ids", dest="devices", metavar="LIST", help="same as --devices with a list")
    machine.add_argument("--strategy", default="auto", help="Lightning strategy for several devices (ddp, …)")
    machine.add_argument(
        "--precision", choices=("fp32", "bf16", "fp16"), default="fp32", help="mixed precision"
    )
    machine.add_argument(
        "--pictures",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="curves and sample pages each epoch",
    )
    machine.add_argument(
        "--samples", type=positive_int, default=8, metavar="N", help="windows on the page of samples"
    )
    machine.add_argument("--tensorboard", action="store_true", help="also write TensorBoard logs")


def run_command(main: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None = None) -> NoReturn:
    """Run a command and leave the process with its exit code."""
    try:
        with kept_memory():
            main(argv)
    except WsssError as error:
        say(f"error: {error}")
        sys.exit(1)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        if error.filename is None and not full:
            raise
        # What could not be written often has a temporary name, which says nothing.
        place = (
            "The disk" if error.filename is None else Path(error.filename).parent if full else error.filename
        )
        way = "; free some space and run the same command again" if full else ""
        say(f"error: {place}: {error.strerror}{way}.")
        sys.exit(1)
    except KeyboardInterrupt:
        say("interrupted; the same command continues.")
        sys.exit(130)
    sys.exit(0)


def say(message: str) -> None:
    """Write one message to stderr: results go to files, stdout stays free."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


def set_up_logging(quiet: bool) -> None:
    """Send the log of the training package to stderr as plain lines, and keep libraries quiet."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("training")
    log.handlers[:] = [handler]
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    log.propagate = False


def positive_int(text: str) -> int:
    """Parse a whole number above 0."""
    return _whole(text, 1)


def natural(text: str) -> int:
    """Parse a whole number, 0 included."""
    return _whole(text, 0)


def positive(text: str) -> float:
    """Parse a number above 0."""
    value = _real(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def share(text: str) -> float:
    """Parse a number from 0 to 1."""
    value = _real(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def numbers(text: str) -> tuple[float, ...]:
    """Parse numbers with commas between them."""
    found = tuple(_real(part) for part in text.split(","))
    if any(map(math.isnan, found)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 0.6,0.2,0.2")
    return found


def _whole(text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, {least} or more")
    return int(text)


def _real(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
