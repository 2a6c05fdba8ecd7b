"""Score a bundle on val or test by Han's protocol (``python -m training.evaluate``).

One confusion matrix over the whole split, background of the truth ignored, presence never taken from the truth. Beside
it: the keep-background variant, gate off and on, and intervals by a bootstrap over images or slides.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tiling.confusion import Scores, confusion, scores_of
from tiling.errors import DataError
from tiling.files import write_json_atomic
from training.data import MaskedImage, check_pairs, report_or_raise
from training.settings import CommandParser, positive_int, run_command, set_up_logging, share

if TYPE_CHECKING:
    from PIL import Image

    from napari_wsss.models import Bundle
    from training.scores import Ungated

__all__ = ["Evaluation", "TilePredictor", "best_and_worst", "bootstrap", "evaluate", "main", "presence_gated"]

_log = logging.getLogger("training")
Matrix = NDArray[np.int64]
_PICTURES = 4  # of the best images, and of the worst


@dataclass(frozen=True)
class Evaluation:
    """Confusion matrices (C + 1, C + 1), background last, of every image, per variant (``gate_on_tta``, …)."""

    classes: int
    groups: tuple[str, ...]
    matrices: Mapping[str, tuple[Matrix, ...]]

    def scores(self, variant: str, keep_background: bool = False) -> Scores:
        """Return the scores over the whole split."""
        total = np.sum(self.matrices[variant], axis=0)
        if not keep_background:
            total[self.classes] = 0
        return scores_of(total, self.classes)


def presence_gated(
    probabilities: NDArray[np.float32], presence: NDArray[np.float32], thresholds: Sequence[float]
) -> NDArray[np.float32]:
    """Apply the gate to ungated probabilities: a softmax without the closed classes is the rest, scaled to sum 1.

    Parameters
    ----------
    probabilities : (N, C, H, W) float32
    presence : (N, C) float32
    thresholds : one or C floats

    Returns
    -------
    (N, C, H, W) float32
    """
    opened = presence > np.asarray(thresholds, np.float32)
    opened[np.arange(len(opened)), presence.argmax(1)] |= ~opened.any(1)
    kept = probabilities * opened[:, :, None, None]
    # A pixel whose every open class underflowed: all open classes are equally good.
    kept += np.float32(1e-30) * opened[:, :, None, None]
    return np.asarray(kept / kept.sum(1, keepdims=True), np.float32)


VIEWS: dict[str, tuple[tuple[int, bool], ...]] = {
    "none": ((0, False),),
    "flip": ((0, False), (0, True)),
    "d4": tuple((turns, mirrored) for turns in range(4) for mirrored in (False, True)),
}
"""Test-time augmentation: quarter turns and mirroring of each view."""


class TilePredictor:
    """Class probabilities of tiles for each cell of the grid gate × test-time augmentation.

    Parameters
    ----------
    bundle : Bundle
    device : str
    tta : {"none", "flip", "d4"}
        Views whose probabilities (and presence) are averaged before the gate.
    gate_mode : {"tile", "field"}
        As in a run: whole tiles are gated, or each pixel of what is blended from them.
    """

    def __init__(
        self, bundle: Bundle, device: str = "auto", tta: str = "none", gate_mode: str = "tile"
    ) -> None:
        from napari_wsss.predictor import BundlePredictor

        self.bundle = bundle
        self.tta = tta
        self._plain = BundlePredictor(bundle, device=device, precision="fp32", gate=False)
        # The reference's gate works on logits; any other follows from the probabilities.
        reference = bundle.gate.mode != "mask"
        self._gated = BundlePredictor(bundle, device=device, precision="fp32") if reference else None
        self._by_field = gate_mode == "field" and not reference

    def ungated(self, tiles: NDArray[np.uint8]) -> dict[str, NDArray[np.float32] | Ungated]:
        """Predict tiles for :func:`~training.scores.tiled.blend_image`, gated there or here as ``gate_mode`` says."""
        from training.scores import Ungated

        found: dict[str, NDArray[np.float32] | Ungated] = {**self(tiles)}
        if self._by_field:
            for name in [name for name in found if name.startswith("gate_on")]:
                plain = found[name.replace("on", "off", 1)]
                assert not isinstance(plain, Ungated)
                presence = self._presence[name.endswith("tta")]
                found[name] = Ungated(plain, presence, self.bundle.gate.thresholds)
        return found

    def __call__(self, tiles: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Predict tiles (N, T, T, 3) uint8: per variant, probabilities (N, C, T, T) float32."""
        found: dict[str, NDArray[np.float32]] = {}
        sums: list[NDArray[np.float32]] = []
        for turns, mirrored in VIEWS[self.tta]:
            view = np.rot90(tiles[:, :, ::-1] if mirrored else tiles, turns, (1, 2))
            plain, gated, presence = self._view(np.ascontiguousarray(view))
            # Undo the turn, then the mirror.
            back = [np.rot90(p, -turns, (2, 3)) for p in (plain, gated)]
            back = [p[..., ::-1] if mirrored else p for p in back]
            if not found:
                found = {"gate_off": back[0], "gate_on": back[1]}
                sums = [*back, presence]
                self._presence = (presence, presence)
            else:
                sums = [a + b for a, b in zip(sums, [*back, presence], strict=True)]
        views = len(VIEWS[self.tta])
        if views > 1:
            plain, gated, presence = (s / np.float32(views) for s in sums)
            self._presence = (self._presence[0], presence)
            if self._gated is None:
                gated = presence_gated(plain, presence, self.bundle.gate.thresholds)
            found |= {"gate_off_tta": plain, "gate_on_tta": gated}
        return {name: np.ascontiguousarray(p) for name, p in found.items()}

    def _view(
        self, tiles: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        prediction = self._plain(tiles)
        plain, presence = prediction.probabilities, prediction.presence
        if self._gated is not None:
            return plain, self._gated(tiles).probabilities, presence
        return plain, presence_gated(plain, presence, self.bundle.gate.thresholds), presence


def evaluate(
    predictor: TilePredictor,
    pairs: Sequence[MaskedImage],
    *,
    overlap: float = 0.25,
    batch_size: int = 16,
    group: Callable[[str], str] = lambda name: name,
) -> Evaluation:
    """Segment every image of a split with every variant, and count.

    Parameters
    ----------
    predictor : TilePredictor
    pairs : sequence of MaskedImage
    overlap : float
        Between tiles of images larger than the bundle's tile.
    batch_size : int
    group : callable
        Image name to the name of its slide or patient, for the bootstrap.

    Returns
    -------
    Evaluation
    """
    from training.data import read_image, read_mask
    from training.scores import blend_image

    tile, classes = predictor.bundle.tile, len(predictor.bundle.schema)
    matrices: dict[str, list[Matrix]] = {}
    for number, pair in enumerate(pairs):
        labels = blend_image(read_image(pair.image), predictor.ungated, tile, overlap, batch_size)
        truth = read_mask(pair.mask, classes)
        for variant, found in labels.items():
            matrices.setdefault(variant, []).append(confusion(truth, found, classes + 1))
        if (number + 1) % 500 == 0:
            _log.info("  %d of %d images", number + 1, len(pairs))
    groups = tuple(group(p.image.stem) for p in pairs)
    return Evaluation(classes, groups, {variant: tuple(m) for variant, m in matrices.items()})


def bootstrap(evaluation: Evaluation, variant: str, rounds: int = 1000) -> dict[str, tuple[float, float]]:
    """Return 95 % intervals of mIoU and FwIoU from resampled groups of images.

    Parameters
    ----------
    evaluation : Evaluation
    variant : str
    rounds : int
    """
    names = sorted(set(evaluation.groups))
    sums = np.stack(
        [
            np.sum(
                [m for g, m in zip(evaluation.groups, evaluation.matrices[variant], strict=True) if g == n],
                axis=0,
            )
            for n in names
        ]
    )
    sums[:, evaluation.classes] = 0
    rng = np.random.default_rng(1)
    found: dict[str, list[float]] = {"miou": [], "fwiou": []}
    for _ in range(rounds):
        scores = scores_of(sums[rng.integers(len(sums), size=len(sums))].sum(0), evaluation.classes)
        found["miou"].append(scores.miou)
        found["fwiou"].append(scores.fwiou)
    return {k: tuple(np.nanpercentile(v, (2.5, 97.5)).tolist()) for k, v in found.items()}


def report(evaluation: Evaluation, rounds: int = 1000) -> dict[str, Any]:
    """Return everything as JSON-ready data."""
    result: dict[str, Any] = {
        "images": len(evaluation.groups),
        "groups": len(set(evaluation.groups)),
        "variants": {},
    }
    for variant in evaluation.matrices:
        intervals = bootstrap(evaluation, variant, rounds) if rounds else {}
        result["variants"][variant] = {
            **evaluation.scores(variant).to_dict(),
            "interval_95": {k: list(v) for k, v in intervals.items()},
            "keep_background": evaluation.scores(variant, keep_background=True).to_dict(),
        }
    return result


def table(evaluation: Evaluation, names: Sequence[str], rounds: int = 1000) -> str:
    """Return the scores as a plain text table, one row per variant."""
    head = ["", "mIoU", "FwIoU", "mDice", "accuracy", *names, "mIoU 95 %"]
    lines = [head]
    for variant in evaluation.matrices:
        s = evaluation.scores(variant)
        low, high = bootstrap(evaluation, variant, rounds)["miou"] if rounds else (float("nan"),) * 2
        numbers = [s.miou, s.fwiou, s.mdice, s.pixel_accuracy, *s.iou]
        lines.append([variant.replace("_", " "), *(f"{v:.4f}" for v in numbers), f"{low:.3f}–{high:.3f}"])
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.rjust(w) if i else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def best_and_worst(
    predictor: TilePredictor,
    pairs: Sequence[MaskedImage],
    evaluation: Evaluation,
    *,
    overlap: float = 0.25,
    batch_size: int = 16,
) -> Image.Image:
    """Draw the images with the highest and lowest pixel accuracy: image, truth, and every variant.

    Parameters
    ----------
    predictor : TilePredictor
    pairs : sequence of MaskedImage
        Those of ``evaluation``.
    evaluation : Evaluation
    overlap : float
    batch_size : int

    Returns
    -------
    PIL.Image.Image
    """
    from training.data import read_image, read_mask
    from training.loop import contact_sheet, overlay
    from training.scores import blend_image

    schema, side = predictor.bundle.schema, 320
    tissue = slice(0, evaluation.classes)
    right = [m.diagonal()[tissue].sum() / max(1, m[tissue].sum()) for m in evaluation.matrices["gate_on"]]
    order = [i for i in np.argsort(right) if evaluation.matrices["gate_on"][i][tissue].any()]
    chosen = order[::-1][:_PICTURES] + order[:_PICTURES]
    rows = []
    for i in dict.fromkeys(int(i) for i in chosen):
        image, truth = read_image(pairs[i].image), read_mask(pairs[i].mask, evaluation.classes)
        found = blend_image(image, predictor.ungated, predictor.bundle.tile, overlap, batch_size)
        step = max(1, -(-max(truth.shape) // side))
        small = image[::step, ::step]
        pictures = {"image": small, "truth": overlay(small, truth[::step, ::step], schema)}
        pictures |= {n.replace("_", " "): overlay(small, m[::step, ::step], schema) for n, m in found.items()}
        rows.append((f"{pairs[i].image.name}: {right[i]:.3f} of the tissue right", pictures))
    return contact_sheet(rows, schema, f"{predictor.bundle.name}: best and worst of {len(pairs)} images")


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m training.evaluate",
        description="Score a bundle on val or test: per-class IoU and Dice, mIoU, FwIoU, accuracy, gate off and on.",
    )
    parser.add_argument("--bundle", required=True, help="bundle folder, or the name of an embedded bundle")
    parser.add_argument(
        "--dataroot", required=True, type=Path, metavar="DIR", help="folder with val/ or test/"
    )
    parser.add_argument("--split", default="val", metavar="NAME", help="folder with img/ and mask/")
    parser.add_argument(
        "--overlap", type=share, default=0.25, metavar="F", help="of tiles, in images larger than one"
    )
    parser.add_argument("--batch-size", type=positive_int, default=16, metavar="N")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda")
    parser.add_argument(
        "--group", metavar="REGEX", help="part of the name that names the slide, for the intervals"
    )
    parser.add_argument(
        "--bootstrap", type=positive_int, default=1000, metavar="N", help="rounds for the intervals"
    )
    parser.add_argument(
        "--gate-mode",
        choices=("field", "tile"),
        default="field",
        help="gate each pixel of an image larger than a tile, as runs on slides do, or whole tiles",
    )
    parser.add_argument(
        "--tta",
        choices=sorted(VIEWS),
        default="none",
        help="also score the mean over flips, or flips and quarter turns",
    )
    parser.add_argument(
        "--pictures", type=Path, metavar="FILE", help="write a page of the best and worst images (PNG)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers")
    parser.add_argument("--trust-masks", action="store_true", help="take labels as they are")
    parser.add_argument("--skip-bad", action="store_true", help="leave bad files out instead of stopping")
    parser.add_argument("--quiet", action="store_true", help="only the table, warnings and errors")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = _parser()
    args = parser.parse_args(argv)
    set_up_logging(args.quiet)
    try:
        pattern = re.compile(args.group) if args.group else None
    except re.error as error:
        parser.error(f"--group {args.group!r} is not a regular expression ({error})")

    from napari_wsss.models import load_bundle

    bundle = load_bundle(args.bundle)
    pairs, problems = check_pairs(args.dataroot / args.split, len(bundle.schema), args.trust_masks)
    report_or_raise(problems, str(args.dataroot / args.split), args.skip_bad)
    if not pairs:
        raise DataError(f"{args.dataroot / args.split} holds no good image; it needs img/ and mask/.")

    def group(name: str) -> str:
        found = pattern.search(name) if pattern else None
        return found.group(0) if found else name

    predictor = TilePredictor(bundle, args.device, args.tta, args.gate_mode)
    evaluation = evaluate(predictor, pairs, overlap=args.overlap, batch_size=args.batch_size, group=group)
    if args.json:
        facts = {"bundle": bundle.name, "hashes": bundle.hashes, "split": args.split}
        write_json_atomic(args.json, {**facts, **report(evaluation, args.bootstrap)})
    if args.pictures:
        page = best_and_worst(predictor, pairs, evaluation, overlap=args.overlap, batch_size=args.batch_size)
        args.pictures.parent.mkdir(parents=True, exist_ok=True)
        page.save(args.pictures, format="PNG")
    abbreviations = [c.abbreviation for c in bundle.schema.classes]
    sys.stdout.write(table(evaluation, abbreviations, args.bootstrap) + "\n")


if __name__ == "__main__":
    run_command(main, sys.argv[1:])
