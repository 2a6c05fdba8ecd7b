"""Pseudo masks from stage 1's CAMs, one per patch or one per layer and patch (``python -m training.pseudo_masks``).

Each mask is written atomically, so a killed run is continued by the same command: what is there is whole.
``masks.json`` beside the layers says what the masks were made with; other masks are never mixed in.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tiling.errors import DataError, TrainingError
from tiling.files import read_json, write_json_atomic
from tiling.patch_files import write_mask
from training.data import (
    MASKS_JSON,
    Patch,
    check_patches,
    pseudo_mask_path,
    report_or_raise,
)
from training.settings import (
    PRESETS,
    CamSettings,
    CommandParser,
    add_common_options,
    natural,
    numbers,
    positive_int,
    run_command,
    set_up_logging,
    to_dict,
    with_options,
)

if TYPE_CHECKING:
    from napari_wsss.models import PatchClassifier
    from tiling.classes import ClassSchema

__all__ = [
    "cam_settings",
    "main",
    "make_pseudo_masks",
]

_WRITERS = 2
_log = logging.getLogger("training")


def make_pseudo_masks(
    network: PatchClassifier,
    patches: Sequence[Patch],
    schema: ClassSchema,
    out: Path,
    settings: CamSettings,
    made_with: dict[str, Any],
    *,
    layers: Sequence[str] | None = None,
    batch_size: int = 16,
    device: str = "cpu",
    restart: bool = False,
) -> int:
    """Write the masks that are missing in ``out/PM_<layer>/``.

    Parameters
    ----------
    network : PatchClassifier
        Stage 1.
    patches : sequence of Patch
    schema : ClassSchema
    out : Path
        The ``train_PM`` folder.
    settings : CamSettings
    made_with : dict
        JSON-ready facts about the network; stored, and compared on a second run.
    layers : sequence of str, optional
        Default: all of the network's.
    batch_size : int
        Patches per forward pass.
    device : str
    restart : bool
        Delete what is there first.

    Returns
    -------
    int
        Number of patches for which masks were made now.

    Raises
    ------
    DataError
        When the folder holds masks of something else.
    """
    from training.loop import channels_last
    from training.networks import at_stride, mask_layers

    network = at_stride(network, settings.output_stride)
    cams = tuple(sorted(layers or network.cam_layers, key=network.cam_layers.index))
    names = mask_layers(cams, settings)
    identity = {
        "schema": schema.to_dict(),
        "layers": list(names),
        "cams": list(cams),
        "cam": to_dict(settings),
        "made_with": made_with,
    }
    _open(out, names, identity, restart)
    todo = [p for p in patches if not all(pseudo_mask_path(out, n, p.path).is_file() for n in names)]
    _log.info("pseudo masks: %d patches, %d to do, layers %s", len(patches), len(todo), ", ".join(names))
    network = channels_last(network.to(device)).eval()
    start, done = time.monotonic(), 0
    with ThreadPoolExecutor(_WRITERS) as pool:
        pending: list[Future[None]] = []
        for batch, masks in _masks(
            network, todo, cams, settings, schema.white_background, batch_size, device, pool
        ):
            for layer, maps in masks.items():
                for patch, mask in zip(batch, maps, strict=True):
                    path = pseudo_mask_path(out, layer, patch.path)
                    pending.append(pool.submit(write_mask, path, mask, schema))
            # Wait for all but the last batch: errors surface early, and memory stays bounded.
            keep = len(batch) * len(names)
            for future in pending[:-keep]:
                future.result()
            pending = pending[-keep:]
            if done // 1000 != (done + len(batch)) // 1000:
                left = (time.monotonic() - start) / (done + len(batch)) * (len(todo) - done - len(batch))
                _log.info("  %d of %d, %.0f s left", done + len(batch), len(todo), left)
            done += len(batch)
        for future in pending:
            future.result()
    return len(todo)


def _masks(
    network: PatchClassifier,
    patches: Sequence[Patch],
    layers: Sequence[str],
    settings: CamSettings,
    background: bool,
    batch_size: int,
    device: str,
    pool: ThreadPoolExecutor,
) -> Iterator[tuple[Sequence[Patch], dict[str, NDArray[np.uint8]]]]:
    """Yield batches with their masks; the next batch is read while this one is computed.

    Patches of one class need no CAM, so they go in batches of their own: every forward pass is full.
    """
    from training.data import read_image
    from training.networks import batch_masks

    ordered = sorted(patches, key=lambda p: p.single is not None)
    batches = [ordered[i : i + batch_size] for i in range(0, len(ordered), batch_size)]

    def read(batch: Sequence[Patch]) -> NDArray[np.uint8]:
        return np.stack([read_image(p.path) for p in batch])

    upcoming = pool.submit(read, batches[0]) if batches else None
    for number, batch in enumerate(batches):
        assert upcoming is not None
        pixels = upcoming.result()
        if number + 1 < len(batches):
            upcoming = pool.submit(read, batches[number + 1])
        present = np.array([p.label for p in batch], np.bool_)
        yield batch, batch_masks(network, pixels, present, layers, settings, background, device)


def _open(out: Path, layers: Sequence[str], identity: dict[str, Any], restart: bool) -> None:
    """Prepare the folder, or make sure that its masks are ours."""
    record = out / MASKS_JSON
    if restart:
        for folder in out.glob("PM_*"):
            shutil.rmtree(folder)
        record.unlink(missing_ok=True)
    if record.is_file():
        if read_json(record) != identity:
            raise DataError(
                f"{out} holds pseudo masks made with other weights or settings; pass --restart to replace them, "
                "or another --out."
            )
    elif any(out.glob("PM_*")):
        raise DataError(
            f"{out} holds pseudo masks of another program; pass --restart to replace them, or another --out."
        )
    else:
        out.mkdir(parents=True, exist_ok=True)
        write_json_atomic(record, identity)
    for layer in layers:
        folder = out / f"PM_{layer}"
        folder.mkdir(exist_ok=True)
        for leftover in folder.glob(".*.tmp"):  # half-written by a killed run
            leftover.unlink()


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m training.pseudo_masks",
        description="Turn stage 1's CAMs of the training patches into pseudo masks, one per patch or per layer.",
        epilog="Next: python -m training.stage2 --stage1 BUNDLE --dataset … --dataroot … --out …",
    )
    add_common_options(parser)
    parser.add_argument(
        "--weights", required=True, metavar="BUNDLE|FILE", help="trained stage 1: a bundle or a .pth"
    )
    parser.add_argument("--backbone", default="resnet38", help="network of a .pth file")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: DATAROOT/train_PM")
    parser.add_argument("--restart", action="store_true", help="replace what is in --out")
    parser.add_argument(
        "--preset", choices=sorted(PRESETS), default="recommended", help="where defaults come from"
    )
    parser.add_argument("--layers", metavar="A,B,…", help="CAM layers (default: all three of the network)")
    parser.add_argument("--batch-size", type=positive_int, default=16, metavar="N")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda", help="where to compute")
    refine = parser.add_argument_group("refinement (defaults: the preset's)")
    refine.add_argument(
        "--cam-stride",
        dest="output_stride",
        type=int,
        choices=(0, 8, 16),
        help="input pixels per CAM pixel; 0: as trained",
    )
    refine.add_argument(
        "--smooth", type=natural, metavar="PX", help="side of the smoothing box in CAM pixels; 0 is off"
    )
    refine.add_argument(
        "--scales",
        type=numbers,
        metavar="A,B,…",
        help="relative sizes whose maps are averaged, such as 0.75,1,1.25",
    )
    refine.add_argument(
        "--flip", action=argparse.BooleanOptionalAction, help="average with the mirrored patch"
    )
    refine.add_argument(
        "--turns", action=argparse.BooleanOptionalAction, help="average over quarter turns of the patch too"
    )
    refine.add_argument(
        "--fuse",
        action=argparse.BooleanOptionalAction,
        help="one mask from the maps of all layers together, PM_fused, instead of one per layer",
    )
    refine.add_argument(
        "--superpixels", type=natural, metavar="N", help="superpixels for a majority vote; 0 is off"
    )
    refine.add_argument(
        "--ignore-white", type=natural, metavar="GRAY", help="ignore pixels brighter than this; 0 is off"
    )
    parser.add_argument("--num-workers", dest="workers", type=int, help=argparse.SUPPRESS)
    return parser


def cam_settings(words: Sequence[str]) -> CamSettings:
    """Return what a command line asks of the CAMs."""
    args = _parser().parse_args(words)
    return with_options(PRESETS[args.preset].cam, args)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = _parser().parse_args(argv)
    set_up_logging(args.quiet)
    settings = with_options(PRESETS[args.preset].cam, args)

    from napari_wsss.models import resolve_schema

    schema = resolve_schema(args.dataset)
    patches, problems = check_patches(args.dataroot / "train", len(schema))
    report_or_raise(problems, str(args.dataroot), args.skip_bad)

    import torch

    from training.networks import trained_classifier

    network, made_with = trained_classifier(args.weights, args.backbone, len(schema))
    device = args.device if args.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    layers = args.layers.split(",") if args.layers else None
    unknown = sorted(set(layers or ()) - set(network.cam_layers))
    if unknown:
        raise TrainingError(
            f"--layers {', '.join(unknown)}: the network has {', '.join(network.cam_layers)}."
        )
    out = args.out or args.dataroot / "train_PM"
    count = make_pseudo_masks(
        network,
        patches,
        schema,
        out,
        settings,
        made_with,
        layers=layers,
        batch_size=args.batch_size,
        device=device,
        restart=args.restart,
    )
    _log.info("wrote the masks of %d patches to %s", count, out)


if __name__ == "__main__":
    run_command(main, sys.argv[1:])
