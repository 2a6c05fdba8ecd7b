"""`wsss-tile models`: which models there are, what they are, and how to get more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_wsss.cli.border import answer, answer_json, tell
from tiling.errors import UsageProblem

if TYPE_CHECKING:
    from napari_wsss.models import Bundle

__all__ = ["export_model", "import_model", "list_models", "show_model"]


def list_models(as_json: bool) -> int:
    """Print one line per embedded model."""
    from napari_wsss.models import list_bundles, load_bundle

    bundles = [load_bundle(name, verify=False) for name in list_bundles()]
    if as_json:
        answer_json([_card(bundle) for bundle in bundles])
        return 0
    if not bundles:
        tell("There is no embedded model; give bundle folders to --model.")
    for bundle in bundles:
        classes = ", ".join(bundle.schema.names)
        answer(f"{bundle.name}: {len(bundle.schema)} classes ({classes}) at {bundle.mpp:g} µm per pixel")
    return 0


def show_model(name: str, as_json: bool) -> int:
    """Print the card of one model; its weights are checked against their digests."""
    from napari_wsss.models import load_bundle, scores_text

    bundle = load_bundle(name)
    if as_json:
        answer_json(_card(bundle))
        return 0
    lines = {
        "Model": bundle.name,
        "": bundle.description,
        "Folder": bundle.path,
        "Classes": ", ".join(f"{c.name} ({c.abbreviation}, {c.color})" for c in bundle.schema.classes),
        "Resolution": f"{bundle.mpp:g} µm per pixel, tiles of {bundle.tile} px",
        "Stage 1": bundle.stage1.architecture,
        "Stage 2": bundle.stage2.architecture if bundle.stage2 else "none: labels come from stage 1's CAMs",
        "Gate": ", ".join(f"{t:g}" for t in bundle.gate.thresholds),
        "Training data": bundle.training_data,
        "Licence": bundle.licence,
        "Scores": scores_text(bundle.metrics).replace("\n", "\n" + 15 * " "),
    }
    for key, value in lines.items():
        if str(value):
            answer(f"{key:14} {value}")
    answer("Research use only, not for diagnosis.")
    return 0


def import_model(stage1: Path, stage2: Path | None, schema: str, out: Path, **options: Any) -> int:
    """Make a bundle from published checkpoints (options of ``import_checkpoints``) and say how to use it."""
    from napari_wsss.models import import_checkpoints

    folder = import_checkpoints(stage1, stage2, schema, out, **options)
    answer(folder)
    tell(f"Use it with: wsss-tile run SLIDE --model {folder} --out DIR")
    return 0


def export_model(name: str, onnx: Path | None, wsinfer: Path | None) -> int:
    """Write a model for other programs and print the files."""
    from napari_wsss.models import load_bundle

    if onnx is None and wsinfer is None:
        raise UsageProblem("Nothing to export; give --onnx DIR, --wsinfer DIR, or both.")
    bundle = load_bundle(name)
    if onnx is not None:
        from napari_wsss.backends import export_onnx

        made = export_onnx(bundle, onnx)
        answer(made.path)
        tell(
            f"It labels {made.agreement:.2%} of the check tiles as torch does; {onnx / 'model.json'} describes it."
        )
    if wsinfer is not None:
        from napari_wsss.backends import export_wsinfer

        answer(export_wsinfer(bundle, wsinfer))
    return 0


def _card(bundle: Bundle) -> dict[str, Any]:
    return {"path": str(bundle.path), **bundle.to_dict()}
