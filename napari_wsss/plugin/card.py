"""The card of a model bundle: what a pathologist should know before trusting it, as a little HTML."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from napari_wsss.models.bundle import Bundle

__all__ = ["bundle_card"]


def bundle_card(bundle: Bundle | None, problem: str = "") -> str:
    """Return the card as HTML for a label.

    Parameters
    ----------
    bundle : Bundle or None
    problem : str
        Shown instead when there is no bundle.
    """
    if bundle is None:
        return f"<i>{escape(problem) or 'No model.'}</i>"
    swatches = " ".join(
        f'<span style="color:{tissue.color}">■</span>&nbsp;{escape(tissue.name)}'
        for tissue in bundle.schema.classes
    )
    networks = " → ".join(spec.architecture for spec in (bundle.stage1, bundle.stage2) if spec is not None)
    rows = [
        ("Classes", swatches),
        ("Sees", f"tiles of {bundle.tile} px at {bundle.mpp:g} µm/px ({bundle.tile * bundle.mpp:.0f} µm)"),
        ("Networks", escape(networks)),
        ("Trained on", escape(bundle.training_data)),
        ("Scores", escape(metrics_text(bundle.metrics)).replace("\n", "<br>")),
        ("Licence", escape(bundle.licence)),
    ]
    table = "".join(f"<tr><td><b>{name}</b>&nbsp;</td><td>{text}</td></tr>" for name, text in rows if text)
    return f"<p>{escape(bundle.description)}</p><table>{table}</table>"


# The scores that a reader of the card knows, in the order shown.
_KNOWN = {"miou": "mean IoU", "fwiou": "FwIoU", "accuracy": "accuracy", "pixel_accuracy": "equal pixels"}
_MOST = 2


def metrics_text(metrics: Mapping[str, Any]) -> str:
    """Return the scores that matter, one line per data set: ``val: mean IoU 0.88, FwIoU 0.90``.

    Of results with and without the gate, those with it are shown: that is how the model runs by default.
    """
    lines = []
    for name, scores in _data_sets("", metrics):
        found = [(text, scores[key]) for key, text in _KNOWN.items() if _is_score(scores.get(key))]
        if found:
            line = ", ".join(f"{text} {value:.2f}" for text, value in found[:_MOST])
            lines.append(f"{name}: {line}" if name else line)
    return "\n".join(lines)


def _data_sets(path: str, value: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Flatten nested scores into (data set, scores by lower-case name)."""
    if "gate_on" in value and isinstance(value["gate_on"], Mapping):
        return _data_sets(path, value["gate_on"])
    own = {key.lower(): inner for key, inner in value.items() if not isinstance(inner, Mapping)}
    found = [(path, own)] if own else []
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            found += _data_sets(f"{path} {key}".strip().replace("_", " "), inner)
    return found


def _is_score(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
